/* SPDX-License-Identifier: Apache-2.0 */
/* PAM, asked through the role pam; in a command, in this process. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "auth/backend/backend.h"
#include "auth/backend/pam_check.h"
#include "auth/backend/pam_server.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/list.h"
#include "base/secret.h"

/* How long an answer may be behind what the role was given. */
enum { SPARE_MS = 1000, NAME_MAX_BYTES = 1024 };

/* A thread that waits. Threads share one socket to the role: one of them reads for all. After a reload, or where the role was
 * started anew, there are two for a while. */
struct waiter {
	struct list link;
	uint64_t id;               /* random: the role outlives a verifier, and may still answer the last one's questions */
	ino_t socket;              /* descriptors are copies of one another */
	struct answer *answer;
	bool reads, is_done;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct list waiters;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
            .waiters = {&shared.waiters, &shared.waiters}};

/* Under the lock. Answers that come too late are nobody's. */
static void hand_out(ino_t socket, struct span bytes)
{
	struct cursor cursor = cursor_over(bytes);
	uint64_t id = cursor_u64(&cursor);

	LIST_EACH(&shared.waiters, link)
	{
		struct waiter *waiter = LIST_ENTRY(link, struct waiter, link);
		struct answer *answer = waiter->answer;

		if (waiter->id != id || waiter->socket != socket || waiter->is_done)
			continue;
		answer_fini(answer);
		answer_init(answer);
		if (!answer_read(cursor.rest, answer) || answer->verdict == VERDICT_CONTINUE || answer->has_ha1 ||
		    buf_len(&answer->groups) || buf_len(&answer->token)) {
			answer_fini(answer);
			answer_init(answer);
			answer_say(answer, VERDICT_UNAVAILABLE, "what the role pam says is no answer");
		}
		waiter->is_done = true;
	}
}

/* Without the lock, by the one reader. False: the role is gone. */
static bool read_one(const struct waiter *reader, int fd, uint64_t due_ms)
{
	uint8_t bytes[ANSWER_WIRE_MAX_BYTES];
	struct pollfd one = {.fd = fd, .events = POLLIN};
	uint64_t now_ms = clock_monotonic_ms();
	ssize_t got;

	if (now_ms >= due_ms || poll(&one, 1, (int)(due_ms - now_ms)) <= 0)
		return true;
	got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	pthread_mutex_lock(&shared.lock);
	hand_out(reader->socket, span_of(bytes, (size_t)got));
	pthread_mutex_unlock(&shared.lock);
	return true;
}

static bool has_reader(const struct waiter *waiter)
{
	LIST_EACH(&shared.waiters, link)
	{
		const struct waiter *other = LIST_ENTRY(link, struct waiter, link);

		if (other->socket == waiter->socket && other->reads)
			return true;
	}
	return false;
}

static void wait_for_others(uint64_t due_ms)
{
	struct timespec until = {(time_t)(due_ms / 1000), (long)(due_ms % 1000) * 1000000};

	pthread_cond_clockwait(&shared.changed, &shared.lock, CLOCK_MONOTONIC, &until);
}

/* Under the lock. */
static void wait_for(struct waiter *waiter, int fd, uint64_t due_ms)
{
	bool well = true;

	while (!waiter->is_done && well && clock_monotonic_ms() < due_ms) {
		if (has_reader(waiter)) {
			wait_for_others(due_ms);
			continue;
		}
		waiter->reads = true;
		pthread_mutex_unlock(&shared.lock);
		well = read_one(waiter, fd, due_ms);
		pthread_mutex_lock(&shared.lock);
		waiter->reads = false;
		/* Somebody may have an answer, or has to read now. */
		pthread_cond_broadcast(&shared.changed);
	}
	if (!waiter->is_done)
		answer_say(waiter->answer, VERDICT_UNAVAILABLE, "the role pam does not answer");
}

static bool send_question(int fd, const struct pam_question *question)
{
	struct buf bytes;
	bool well;

	buf_init(&bytes, PAM_QUESTION_MAX_BYTES);
	/* At once as large as it may become: growing would leave passwords behind. */
	well = buf_reserve(&bytes, PAM_QUESTION_MAX_BYTES) != NULL;
	if (well)
		pam_question_write(question, &bytes);
	well = well && buf_is_whole(&bytes) &&
	       send(fd, buf_span(&bytes).at, buf_len(&bytes), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)buf_len(&bytes);
	if (bytes.at)
		explicit_bzero(bytes.at, bytes.capacity);
	buf_fini(&bytes);
	return well;
}

static enum ask_verdict ask_role(const struct backend_env *env, struct pam_question *question, struct answer *answer)
{
	uint64_t due_ms = clock_monotonic_ms() + env->conf->pam.timeout_ms;
	struct waiter waiter = {.answer = answer};
	struct stat status;

	if (fstat(env->pam_fd, &status) < 0)
		return answer_say(answer, VERDICT_UNAVAILABLE, "there is no role pam");
	waiter.socket = status.st_ino;
	question->due_ms = due_ms;
	secret_random(&waiter.id, sizeof(waiter.id));
	question->id = waiter.id;
	pthread_mutex_lock(&shared.lock);
	list_add_last(&shared.waiters, &waiter.link);
	if (send_question(env->pam_fd, question))
		wait_for(&waiter, env->pam_fd, due_ms + SPARE_MS);
	else if (errno == EAGAIN)
		answer_say(answer, VERDICT_BUSY, "the role pam has more questions than it can take");
	else
		answer_say(answer, VERDICT_UNAVAILABLE, "the role pam does not take the question");
	list_remove(&waiter.link);
	pthread_mutex_unlock(&shared.lock);
	return answer->verdict;
}

static bool is_text(struct span text)
{
	return text.len && text.len < PAM_TEXT_MAX_BYTES && memchr(text.at, 0, text.len) == NULL;
}

static enum ask_verdict verify(void *thread, const struct backend_env *env, const struct ask *ask,
                               struct answer *answer)
{
	const struct pam_conf *conf = &env->conf->pam;
	struct pam_question question = {.service = span_from(conf->service),
	                                .folder = span_from(conf->folder),
	                                .password = ask->password};
	struct buf name, client;

	(void)thread;
	if (ask->kind != ASK_PASSWORD)
		return answer_say(answer, VERDICT_UNAVAILABLE, "PAM cannot verify this");
	buf_init(&name, NAME_MAX_BYTES);
	buf_init(&client, NAME_MAX_BYTES);
	auth_conf_map_name(env->conf, ask->user, &name);
	if (ask->client.family == AF_INET || ask->client.family == AF_INET6)
		address_format(&ask->client, &client);
	question.user = buf_span(&name);
	question.client = buf_span(&client);
	if (!is_text(question.user) || !is_text(question.password)) {
		answer_say(answer, VERDICT_INVALID, "user or password is empty, too long, or has a NUL in it");
	} else if (env->pam_fd >= 0) {
		ask_role(env, &question, answer);
	} else {
		buf_add_byte(&client, 0);
		pam_check(conf->service, conf->folder, question.user, question.password, (const char *)buf_span(&client).at,
		          answer);
	}
	buf_fini(&name);
	buf_fini(&client);
	return answer->verdict;
}

const struct backend backend_pam = {.name = "pam", .kinds = 1u << ASK_PASSWORD, .verify = verify};
