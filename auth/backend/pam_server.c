/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/pam_server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auth/backend/pam_check.h"
#include "base/clock.h"
#include "base/cursor.h"

/* REAP_MS: how often children that were killed are looked after. LATEST_MS: no question may take longer, whatever it says. */
enum { CHILDREN_MAX = 16, ANSWER_MAX_BYTES = 4096, REAP_MS = 10, LATEST_MS = 70000, ENDING_MS = 2000 };

struct pam_child {
	pid_t pid;                 /* 0: free */
	int fd;                    /* its answer comes here, as one packet; -1: it has come, and the child is dying */
	uint64_t id, due_ms;
};

struct pam_server {
	int fd;
	pid_t pid;                 /* our own */
	bool has_orphans;          /* processes that a module has started, and that live longer than its child */
	struct pam_child children[CHILDREN_MAX];
};

/* ---- messages ---- */

static void add_u64(struct buf *out, uint64_t number)
{
	for (int i = 7; i >= 0; i--)
		buf_add_byte(out, (uint8_t)(number >> (8 * i)));
}

void pam_question_write(const struct pam_question *question, struct buf *out)
{
	const struct span texts[] = {question->service, question->folder, question->user, question->password,
	                             question->client};

	add_u64(out, question->id);
	add_u64(out, question->due_ms);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		buf_add(out, texts[i]);
		buf_add_byte(out, 0);
	}
}

bool pam_question_read(struct span bytes, struct pam_question *out)
{
	struct cursor cursor = cursor_over(bytes);
	struct span *const texts[] = {&out->service, &out->folder, &out->user, &out->password, &out->client};

	out->id = cursor_u64(&cursor);
	out->due_ms = cursor_u64(&cursor);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		*texts[i] = cursor_take(&cursor, span_find(cursor.rest, 0));
		cursor_u8(&cursor); /* the NUL, or an overrun */
	}
	return !cursor.overrun && cursor.rest.len == 0 && out->service.len && out->user.len && out->password.len;
}

static void send_bytes(const struct pam_server *server, uint64_t id, struct span answer)
{
	struct buf bytes;

	buf_init(&bytes, ANSWER_MAX_BYTES + 8);
	add_u64(&bytes, id);
	buf_add(&bytes, answer);
	/* A verifier that is gone needs no answer; one that does not read has time-outs. */
	while (send(server->fd, buf_span(&bytes).at, buf_len(&bytes), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR)
		;
	buf_fini(&bytes);
}

static void send_verdict(const struct pam_server *server, uint64_t id, enum ask_verdict verdict, const char *why)
{
	struct answer answer;
	struct buf bytes;

	answer_init(&answer);
	buf_init(&bytes, ANSWER_MAX_BYTES);
	answer_say(&answer, verdict, "%s", why);
	answer_write(&answer, &bytes);
	send_bytes(server, id, buf_span(&bytes));
	buf_fini(&bytes);
	answer_fini(&answer);
}

/* ---- children ---- */

NORETURN static void be_child(const struct pam_server *server, const struct pam_question *question, int fd)
{
	struct answer answer;
	struct buf bytes;

	/* The role may be gone already. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != server->pid)
		_exit(1);
	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	/* What others ask and are told is no business of a module. */
	close(server->fd);
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (server->children[i].pid && server->children[i].fd >= 0)
			close(server->children[i].fd);
	answer_init(&answer);
	buf_init(&bytes, ANSWER_MAX_BYTES);
	pam_check((const char *)question->service.at, (const char *)question->folder.at, question->user,
	          question->password, (const char *)question->client.at, &answer);
	answer_write(&answer, &bytes);
	if (buf_is_whole(&bytes))
		while (send(fd, buf_span(&bytes).at, buf_len(&bytes), MSG_NOSIGNAL) < 0 && errno == EINTR)
			;
	_exit(0);
}

static struct pam_child *find_free(struct pam_server *server)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (server->children[i].pid == 0)
			return &server->children[i];
	return NULL;
}

static void start(struct pam_server *server, struct pam_child *child, const struct pam_question *question)
{
	uint64_t now_ms = clock_monotonic_ms();
	int ends[2];
	pid_t pid;

	if (question->due_ms <= now_ms) {
		send_verdict(server, question->id, VERDICT_BUSY, "PAM is asked more than it can answer in time");
		return;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		send_verdict(server, question->id, VERDICT_BUSY, "the system gives PAM no descriptors");
		return;
	}
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		be_child(server, question, ends[1]);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		send_verdict(server, question->id, VERDICT_BUSY, "the system lets PAM start no process");
		return;
	}
	setpgid(pid, pid); /* whoever of both is first */
	*child = (struct pam_child){pid, ends[0], question->id,
	                            question->due_ms < now_ms + LATEST_MS ? question->due_ms : now_ms + LATEST_MS};
}

/* Its group: what a module has started ends with it. The slot is free when the child is gone. */
static void end(struct pam_child *child)
{
	kill(-child->pid, SIGKILL);
	kill(child->pid, SIGKILL);
	close(child->fd);
	child->fd = -1;
}

static bool is_child(const struct pam_server *server, pid_t pid)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (server->children[i].pid == pid)
			return true;
	return false;
}

/* Modules may put what they start into sessions of its own (pam_exec does): it comes to us when its child is gone, and ends
 * too. What it has started comes then, and so on. */
static void end_orphans(struct pam_server *server)
{
	FILE *file = fopen("/proc/thread-self/children", "re");
	long pid;

	server->has_orphans = false;
	while (file && fscanf(file, "%ld", &pid) == 1) {
		if (pid <= 1 || is_child(server, (pid_t)pid))
			continue;
		server->has_orphans = true;
		kill((pid_t)pid, SIGKILL);
		waitpid((pid_t)pid, NULL, WNOHANG);
	}
	if (file)
		fclose(file);
}

static void reap(struct pam_server *server)
{
	bool any = server->has_orphans;

	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		struct pam_child *child = &server->children[i];

		if (child->pid == 0 || child->fd >= 0 || waitpid(child->pid, NULL, WNOHANG) == 0)
			continue;
		child->pid = 0;
		any = true;
	}
	if (any)
		end_orphans(server);
}

static void read_child(struct pam_server *server, struct pam_child *child)
{
	uint8_t bytes[ANSWER_MAX_BYTES];
	ssize_t got = recv(child->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got > 0)
		send_bytes(server, child->id, span_of(bytes, (size_t)got));
	else
		send_verdict(server, child->id, VERDICT_UNAVAILABLE, "a module of the stack has crashed");
	end(child);
}

/* ---- the loop ---- */

enum got { GOT_QUESTION, GOT_END, GOT_NONSENSE };

static enum got read_question(struct pam_server *server, struct pam_child *child)
{
	uint8_t bytes[PAM_QUESTION_MAX_BYTES];
	struct pam_question question;
	ssize_t got = recv(server->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC);
	enum got result = GOT_NONSENSE;

	if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
		result = GOT_QUESTION; /* later */
	} else if (got <= 0) {
		result = GOT_END;
	} else if ((size_t)got <= sizeof(bytes) && pam_question_read(span_of(bytes, (size_t)got), &question)) {
		start(server, child, &question);
		result = GOT_QUESTION;
	}
	explicit_bzero(bytes, sizeof(bytes));
	return result;
}

/* Until something has to be done without being told; -1: never. */
static int wait_ms(const struct pam_server *server, uint64_t now_ms)
{
	uint64_t least_ms = server->has_orphans ? REAP_MS : UINT64_MAX;

	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		const struct pam_child *child = &server->children[i];
		uint64_t left_ms = child->fd < 0 ? REAP_MS : child->due_ms > now_ms ? child->due_ms - now_ms : 0;

		if (child->pid && left_ms < least_ms)
			least_ms = left_ms;
	}
	return least_ms == UINT64_MAX ? -1 : (int)least_ms;
}

static void end_late(struct pam_server *server, uint64_t now_ms)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		struct pam_child *child = &server->children[i];

		if (child->pid == 0 || child->fd < 0 || child->due_ms > now_ms)
			continue;
		send_verdict(server, child->id, VERDICT_UNAVAILABLE, "the PAM stack did not answer in time (pam.timeout)");
		end(child);
	}
}

static enum got serve_once(struct pam_server *server)
{
	struct pam_child *unused = find_free(server);
	struct pollfd fds[CHILDREN_MAX + 1];

	for (size_t i = 0; i < CHILDREN_MAX; i++)
		fds[i] = (struct pollfd){.fd = server->children[i].pid ? server->children[i].fd : -1, .events = POLLIN};
	/* That the other end has gone is told in any case. */
	fds[CHILDREN_MAX] = (struct pollfd){.fd = server->fd, .events = unused ? POLLIN : 0};
	if (poll(fds, COUNT_OF(fds), wait_ms(server, clock_monotonic_ms())) < 0)
		return errno == EINTR ? GOT_QUESTION : GOT_END;
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (fds[i].revents)
			read_child(server, &server->children[i]);
	end_late(server, clock_monotonic_ms());
	reap(server);
	if (fds[CHILDREN_MAX].revents & POLLIN)
		return read_question(server, unused);
	return fds[CHILDREN_MAX].revents ? GOT_END : GOT_QUESTION;
}

int pam_server_run(int fd)
{
	struct pam_server server = {.fd = fd, .pid = getpid()};
	enum got got;
	uint64_t latest_ms;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		errno = 0; /* what modules leave behind comes to init then */
	do
		got = serve_once(&server);
	while (got == GOT_QUESTION);
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (server.children[i].pid && server.children[i].fd >= 0)
			end(&server.children[i]);
	latest_ms = clock_monotonic_ms() + ENDING_MS;
	for (reap(&server); wait_ms(&server, 0) >= 0 && clock_monotonic_ms() < latest_ms; reap(&server))
		poll(NULL, 0, REAP_MS);
	return got == GOT_END ? 0 : 1;
}
