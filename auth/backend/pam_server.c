/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/pam_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auth/backend/pam_check.h"
#include "base/clock.h"
#include "base/cursor.h"

enum { CHILDREN_MAX = 32, ANSWER_ROOM = 65536 };

/* ---- messages ---- */

static void add_u64(struct buf *out, uint64_t number)
{
	for (int i = 7; i >= 0; i--)
		buf_add_byte(out, (uint8_t)(number >> (8 * i)));
}

void pam_question_write(const struct pam_question *question, struct buf *out)
{
	const struct span texts[] = {question->service, question->folder, question->user, question->password};

	add_u64(out, question->id);
	add_u64(out, question->wait_ms);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		buf_add(out, texts[i]);
		buf_add_byte(out, 0);
	}
}

bool pam_question_read(struct span bytes, struct pam_question *out)
{
	struct cursor cursor = cursor_over(bytes);
	struct span *const texts[] = {&out->service, &out->folder, &out->user, &out->password};

	out->id = cursor_u64(&cursor);
	out->wait_ms = cursor_u64(&cursor);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		*texts[i] = cursor_take(&cursor, span_find(cursor.rest, 0));
		if (cursor_u8(&cursor) != 0)
			return false;
	}
	return !cursor.overrun && cursor.rest.len == 0 && out->service.len && out->user.len && out->password.len;
}

/* ---- children ---- */

struct pam_child {
	pid_t pid;                 /* 0: free */
	int fd;                    /* its answer comes here */
	uint64_t id, due_ms;
	struct buf answer;
};

struct pam_server {
	int fd;
	struct pam_child children[CHILDREN_MAX];
};

static void send_answer(struct pam_server *server, uint64_t id, struct span answer)
{
	struct buf bytes;

	buf_init(&bytes, ANSWER_ROOM);
	add_u64(&bytes, id);
	buf_add(&bytes, answer);
	/* A verifier that is gone needs no answer; one that does not read has time-outs. */
	while (send(server->fd, buf_span(&bytes).at, buf_len(&bytes), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR)
		;
	buf_fini(&bytes);
}

static void send_verdict(struct pam_server *server, uint64_t id, enum ask_verdict verdict, const char *why)
{
	struct answer answer;
	struct buf bytes;

	answer_init(&answer);
	buf_init(&bytes, ANSWER_ROOM);
	answer_say(&answer, verdict, "%s", why);
	answer_write(&answer, &bytes);
	send_answer(server, id, buf_span(&bytes));
	buf_fini(&bytes);
	answer_fini(&answer);
}

NORETURN static void be_child(const struct pam_question *question, int fd)
{
	struct answer answer;
	struct buf bytes;
	struct span rest;

	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	answer_init(&answer);
	buf_init(&bytes, ANSWER_ROOM);
	pam_check((const char *)question->service.at, (const char *)question->folder.at, question->user,
	          question->password, &answer);
	answer_write(&answer, &bytes);
	for (rest = buf_span(&bytes); rest.len;) {
		ssize_t wrote = write(fd, rest.at, rest.len);

		if (wrote < 0 && errno != EINTR)
			break;
		rest = span_skip(rest, wrote > 0 ? (size_t)wrote : 0);
	}
	_exit(0);
}

static struct pam_child *find_free(struct pam_server *server)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (server->children[i].pid == 0)
			return &server->children[i];
	return NULL;
}

static void start(struct pam_server *server, const struct pam_question *question)
{
	struct pam_child *child = find_free(server);
	int ends[2];
	pid_t pid;

	if (child == NULL || pipe2(ends, O_CLOEXEC) < 0) {
		send_verdict(server, question->id, VERDICT_BUSY, "PAM is asked more at once than it may be");
		return;
	}
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		close(server->fd);
		be_child(question, ends[1]);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		send_verdict(server, question->id, VERDICT_BUSY, "the system lets PAM start no process");
		return;
	}
	*child = (struct pam_child){pid, ends[0], question->id, clock_monotonic_ms() + question->wait_ms, {.at = NULL}};
	buf_init(&child->answer, ANSWER_ROOM - 16);
}

static bool is_ours(const struct pam_server *server, pid_t pid)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (server->children[i].pid == pid)
			return true;
	return false;
}

/* What a module had started has no parent but this process now (PR_SET_CHILD_SUBREAPER), whatever group it went to. */
static void end_strays(const struct pam_server *server)
{
	FILE *file = fopen("/proc/thread-self/children", "re");
	int pid;

	while (file && fscanf(file, "%d", &pid) == 1) {
		if (is_ours(server, pid))
			continue;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	if (file)
		fclose(file);
}

static void end(struct pam_server *server, struct pam_child *child)
{
	kill(-child->pid, SIGKILL);
	kill(child->pid, SIGKILL);
	while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(child->fd);
	buf_fini(&child->answer);
	child->pid = 0;
	end_strays(server);
}

/* The answer is whole when the child closes its end. */
static void read_child(struct pam_server *server, struct pam_child *child)
{
	uint8_t bytes[4096];
	ssize_t got = read(child->fd, bytes, sizeof(bytes));

	if (got < 0 && errno == EINTR)
		return;
	if (got > 0) {
		buf_add(&child->answer, span_of(bytes, (size_t)got));
		return;
	}
	if (buf_len(&child->answer) && buf_is_whole(&child->answer))
		send_answer(server, child->id, buf_span(&child->answer));
	else
		send_verdict(server, child->id, VERDICT_UNAVAILABLE, "a module of PAM has crashed");
	end(server, child);
}

/* ---- the loop ---- */

/* False: the other end is gone, or speaks something else. */
static bool read_question(struct pam_server *server)
{
	uint8_t bytes[PAM_MESSAGE_MAX_BYTES];
	struct pam_question question;
	ssize_t got = recv(server->fd, bytes, sizeof(bytes), 0);
	bool well = got > 0 && pam_question_read(span_of(bytes, (size_t)got), &question);

	if (well)
		start(server, &question);
	explicit_bzero(bytes, sizeof(bytes));
	return well || (got < 0 && errno == EINTR);
}

static int wait_ms(const struct pam_server *server, uint64_t now_ms)
{
	int least = -1;

	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		const struct pam_child *child = &server->children[i];
		int left = child->due_ms > now_ms ? (int)(child->due_ms - now_ms) : 0;

		if (child->pid && (least < 0 || left < least))
			least = left;
	}
	return least;
}

static void end_late(struct pam_server *server, uint64_t now_ms)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		struct pam_child *child = &server->children[i];

		if (child->pid == 0 || child->due_ms > now_ms)
			continue;
		send_verdict(server, child->id, VERDICT_UNAVAILABLE, "the stack of PAM did not answer in time (pam.timeout)");
		end(server, child);
	}
}

int pam_server_run(int fd)
{
	struct pam_server server = {.fd = fd};
	struct pollfd fds[CHILDREN_MAX + 1];

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return 1;
	for (;;) {
		fds[CHILDREN_MAX] = (struct pollfd){.fd = fd, .events = POLLIN};
		for (size_t i = 0; i < CHILDREN_MAX; i++)
			fds[i] = (struct pollfd){.fd = server.children[i].pid ? server.children[i].fd : -1, .events = POLLIN};
		if (poll(fds, COUNT_OF(fds), wait_ms(&server, clock_monotonic_ms())) < 0 && errno != EINTR)
			break;
		for (size_t i = 0; i < CHILDREN_MAX; i++)
			if (fds[i].revents && server.children[i].pid)
				read_child(&server, &server.children[i]);
		end_late(&server, clock_monotonic_ms());
		if (fds[CHILDREN_MAX].revents && !read_question(&server))
			break;
	}
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (server.children[i].pid)
			end(&server, &server.children[i]);
	return 0;
}
