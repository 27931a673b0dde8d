/* SPDX-License-Identifier: Apache-2.0 */
/* PAM, asked through the role pam; in a command, in this process. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "auth/backend/backend.h"
#include "auth/backend/pam_check.h"
#include "auth/backend/pam_server.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/list.h"

enum { SLICE_MS = 50, SPARE_MS = 1000 };

/* A thread that waits. Threads share one descriptor: one of them reads for all. */
struct waiter {
	struct list link;
	uint64_t id;
	struct answer *answer;
	bool is_done;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct list waiters;
	bool has_reader;
	uint64_t next_id;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
            .waiters = {&shared.waiters, &shared.waiters}};

/* Under the lock. */
static void hand_out(struct span bytes)
{
	struct cursor cursor = cursor_over(bytes);
	uint64_t id = cursor_u64(&cursor);

	LIST_EACH(&shared.waiters, link)
	{
		struct waiter *waiter = LIST_ENTRY(link, struct waiter, link);

		if (waiter->id != id)
			continue;
		answer_fini(waiter->answer);
		answer_init(waiter->answer);
		if (!answer_read(cursor.rest, waiter->answer))
			answer_say(waiter->answer, VERDICT_UNAVAILABLE, "the answer of PAM is none");
		waiter->is_done = true;
	}
}

/* Without the lock, by the one reader, for a moment. False: the role is gone. */
static bool read_some(int fd)
{
	uint8_t bytes[ANSWER_WIRE_MAX_BYTES];
	struct pollfd one = {.fd = fd, .events = POLLIN};
	ssize_t got;

	if (poll(&one, 1, SLICE_MS) <= 0)
		return true;
	got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	pthread_mutex_lock(&shared.lock);
	hand_out(span_of(bytes, (size_t)got));
	pthread_mutex_unlock(&shared.lock);
	return true;
}

static void wait_for_reader(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += SLICE_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_cond_timedwait(&shared.changed, &shared.lock, &until);
}

static void wait_for(struct waiter *waiter, int fd, uint64_t due_ms)
{
	bool well = true;

	pthread_mutex_lock(&shared.lock);
	while (!waiter->is_done && well && clock_monotonic_ms() < due_ms) {
		if (shared.has_reader) {
			wait_for_reader();
			continue;
		}
		shared.has_reader = true;
		pthread_mutex_unlock(&shared.lock);
		well = read_some(fd);
		pthread_mutex_lock(&shared.lock);
		shared.has_reader = false;
		pthread_cond_broadcast(&shared.changed);
	}
	list_remove(&waiter->link);
	pthread_mutex_unlock(&shared.lock);
	if (!waiter->is_done)
		answer_say(waiter->answer, VERDICT_UNAVAILABLE, "the role pam does not answer");
}

static bool send_question(int fd, const struct pam_question *question)
{
	struct buf bytes;
	bool well;

	buf_init(&bytes, PAM_MESSAGE_MAX_BYTES);
	pam_question_write(question, &bytes);
	well = buf_is_whole(&bytes) &&
	       send(fd, buf_span(&bytes).at, buf_len(&bytes), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)buf_len(&bytes);
	if (bytes.at)
		explicit_bzero(bytes.at, bytes.capacity);
	buf_fini(&bytes);
	return well;
}

static enum ask_verdict ask_role(const struct backend_env *env, const struct ask *ask, struct span user,
                                 struct answer *answer)
{
	const struct pam_conf *conf = &env->conf->pam;
	struct waiter waiter = {.answer = answer};
	struct pam_question question = {.wait_ms = conf->timeout_ms,
	                                .service = span_from(conf->service),
	                                .folder = span_from(conf->folder),
	                                .user = user,
	                                .password = ask->password};

	pthread_mutex_lock(&shared.lock);
	question.id = waiter.id = ++shared.next_id;
	list_add_last(&shared.waiters, &waiter.link);
	pthread_mutex_unlock(&shared.lock);
	if (send_question(env->pam_fd, &question)) {
		wait_for(&waiter, env->pam_fd, clock_monotonic_ms() + conf->timeout_ms + SPARE_MS);
	} else {
		pthread_mutex_lock(&shared.lock);
		list_remove(&waiter.link);
		pthread_mutex_unlock(&shared.lock);
		answer_say(answer, VERDICT_UNAVAILABLE, "the role pam does not take the question");
	}
	return answer->verdict;
}

static enum ask_verdict verify(void *thread, const struct backend_env *env, const struct ask *ask,
                               struct answer *answer)
{
	const struct pam_conf *conf = &env->conf->pam;
	enum ask_verdict verdict;
	struct buf name;

	(void)thread;
	if (ask->kind != ASK_PASSWORD || memchr(ask->user.at, 0, ask->user.len) ||
	    memchr(ask->password.at, 0, ask->password.len))
		return answer_say(answer, VERDICT_INVALID, "PAM cannot verify this");
	buf_init(&name, 1024);
	auth_conf_map_name(env->conf, ask->user, &name);
	verdict = env->pam_fd < 0 ? pam_check(conf->service, conf->folder, buf_span(&name), ask->password, answer)
	                          : ask_role(env, ask, buf_span(&name), answer);
	buf_fini(&name);
	return verdict;
}

const struct backend backend_pam = {.name = "pam", .kinds = 1u << ASK_PASSWORD, .verify = verify};
