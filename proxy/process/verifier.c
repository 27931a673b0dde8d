/* SPDX-License-Identifier: Apache-2.0 */
#include "process/verifier.h"

#include <errno.h>
#include <fcntl.h>
#include <nss.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/backend/gss.h"
#include "auth/backend/ldap.h"
#include "auth/backend/users.h"
#include "auth/fold.h"
#include "auth/verifier/ntlm_names.h"
#include "auth/verifier/verify.h"
#include "base/clock.h"
#include "base/log.h"
#include "process/auth_files.h"
#include "process/ipc.h"
#include "process/sandbox.h"
#include "process/settings.h"
#include "process/shared.h"

enum { TICK_MS = 1000, MESSAGES_PER_TURN = 64, ARENA_MAX_BYTES = 64 << 20, HOST_MAX_BYTES = 256 };

/* Places in the set of poll(). */
enum { AT_CHANNEL, AT_DONE, AT_NAMES, AT_WORKERS, AT_COUNT = AT_WORKERS + SETTINGS_WORKERS_MAX };

struct worker_channel {
	int fd;                    /* -1: none */
	uint64_t serial;           /* changes with each connection */
};

struct verifier {
	int channel;
	struct verify *verify;
	struct ntlm_namer *namer;
	struct worker_channel workers[SETTINGS_WORKERS_MAX];
	uint64_t next_serial, unsent, told_ms;
	struct buf out;
	struct ipc_message message, question;
};

/* What one IPC_AUTH message brought; threads hold references. */
struct verifier_env {
	struct pool_env pool;
	struct arena arena;
	struct settings settings;
	struct users *users;
	struct secret ldap_password;
	int keytab_fd, pam_fd;
	char keytab[64];
};

/* ---- configuration ---- */

static void free_env(struct pool_env *pool)
{
	struct verifier_env *env = CONTAINER_OF(pool, struct verifier_env, pool);

	users_free(env->users);
	secret_fini(&env->ldap_password);
	if (env->keytab_fd >= 0)
		close(env->keytab_fd);
	if (env->pam_fd >= 0)
		close(env->pam_fd);
	arena_fini(&env->arena);
	free(env);
}

/* What a descriptor holds: sealed by the parent. Borrowed until shared_unmap(). */
static struct span map_fd(int fd)
{
	struct stat stat;
	void *at;

	if (fstat(fd, &stat) < 0 || stat.st_size <= 0)
		return SPAN("");
	at = shared_map(fd, (size_t)stat.st_size, false);
	return at ? span_of(at, (size_t)stat.st_size) : SPAN("");
}

static enum err load_settings(struct verifier_env *env, int fd, struct span path)
{
	struct span mapped = map_fd(fd), copy = arena_copy(&env->arena, mapped);
	const char *name = arena_string(&env->arena, path);
	struct problems problems;
	enum err err;

	shared_unmap(mapped.at, mapped.len);
	if (copy.at == NULL || name == NULL)
		return ERR_MEMORY;
	problems_init(&problems);
	err = settings_load(copy, name, &env->arena, &problems, &env->settings);
	problems_fini(&problems);
	return err;
}

static enum err load_users(struct verifier_env *env, const int *fds, size_t count)
{
	const struct conf_texts *paths = &env->settings.auth.users;
	struct users_source *sources = arena_alloc(&env->arena, (count + 1) * sizeof(*sources));
	struct problems problems;
	enum err err;

	if (count == 0)
		return ERR_NONE; /* nothing needs them */
	if (sources == NULL || count != paths->count)
		return sources ? ERR_MESSAGE : ERR_MEMORY;
	for (size_t i = 0; i < count; i++)
		sources[i] = (struct users_source){paths->at[i], map_fd(fds[i])};
	problems_init(&problems);
	err = users_load(sources, count, span_from(env->settings.auth.realm), &problems, &env->users);
	if (err && problems.first)
		log_event(EV_CONFIG_PROBLEM, "%s:%u: %s", problems.first->file, problems.first->line,
		          problems.first->text);
	problems_fini(&problems);
	for (size_t i = 0; i < count; i++)
		shared_unmap(sources[i].text.at, sources[i].text.len);
	return err;
}

static enum err fill_env(struct verifier_env *env, struct ipc_message *message, const struct ipc_auth *head)
{
	struct span path = span_skip(message->payload, sizeof(*head));
	int text = ipc_take_fd(message, 0);
	size_t at = 1;
	enum err err = path.len == head->path_bytes ? load_settings(env, text, path) : ERR_MESSAGE;

	close(text);
	if (err)
		return err;
	if (head->has_keytab) {
		env->keytab_fd = ipc_take_fd(message, at++);
		snprintf(env->keytab, sizeof(env->keytab), "FILE:/proc/self/fd/%d", env->keytab_fd);
		env->pool.backend.keytab = env->keytab;
	}
	if (head->has_ldap_password) {
		struct span mapped = map_fd(at < message->fd_count ? message->fds[at] : -1);

		if (!secret_init(&env->ldap_password, mapped))
			err = ERR_MEMORY;
		shared_unmap(mapped.at, mapped.len);
		env->pool.backend.ldap_password = &env->ldap_password;
		at++;
	}
	if (head->has_pam)
		env->pool.backend.pam_fd = env->pam_fd = ipc_take_fd(message, at++);
	if (at + head->users_count != message->fd_count)
		return ERR_MESSAGE;
	return err ? err : load_users(env, message->fds + at, head->users_count);
}

static enum err take_auth(struct verifier *verifier, struct ipc_message *message)
{
	static uint64_t generation;
	struct verifier_env *env = calloc(1, sizeof(*env));
	struct ipc_ready ready;
	struct ipc_auth head;
	enum err err;

	if (env == NULL)
		return ERR_MEMORY;
	memcpy(&head, message->payload.at, sizeof(head));
	arena_init(&env->arena, ARENA_MAX_BYTES);
	env->keytab_fd = env->pam_fd = -1;
	env->pool.references = 1;
	env->pool.free = free_env;
	env->pool.backend = (struct backend_env){.conf = &env->settings.auth, .pam_fd = -1, .generation = ++generation};
	err = fill_env(env, message, &head);
	env->pool.backend.users = env->users;
	if (err) {
		free_env(&env->pool);
		return err;
	}
	ntlm_namer_use(verifier->namer, &env->settings.auth.ntlm);
	log_set_level((enum log_level)env->settings.events.level);
	err = verify_use(verifier->verify, &env->pool);
	ready = (struct ipc_ready){.generation = head.generation};
	return err ? err : ipc_send(verifier->channel, IPC_READY, head.generation, span_of(&ready, sizeof(ready)), NULL, 0);
}

/* ---- workers ---- */

static void close_worker(struct worker_channel *worker)
{
	if (worker->fd >= 0)
		close(worker->fd);
	worker->fd = -1;
}

/* A worker that does not take its answers loses them: it has time-outs. */
static void on_reply(void *context, const struct verify_place *place, const struct answer *answer)
{
	struct verifier *verifier = context;
	const struct worker_channel *worker = &verifier->workers[place->channel];

	if (worker->fd < 0 || worker->serial != place->serial)
		return;
	buf_reset(&verifier->out);
	answer_write(answer, &verifier->out);
	if (!buf_is_whole(&verifier->out) ||
	    ipc_send(worker->fd, IPC_VERIFIED, place->id, buf_span(&verifier->out), NULL, 0))
		verifier->unsent++;
	if (verifier->out.at)
		explicit_bzero(verifier->out.at, verifier->out.capacity); /* HA1s */
}

static void send_names(struct verifier *verifier, const struct worker_channel *worker)
{
	buf_reset(&verifier->out);
	ntlm_namer_write(verifier->namer, &verifier->out);
	if (worker->fd >= 0 && ipc_send(worker->fd, IPC_NAMES, 0, buf_span(&verifier->out), NULL, 0))
		verifier->unsent++;
}

static enum err take_channel(struct verifier *verifier, struct ipc_message *message)
{
	struct ipc_channel head;
	struct worker_channel *worker;

	memcpy(&head, message->payload.at, sizeof(head));
	if (head.worker >= SETTINGS_WORKERS_MAX)
		return ERR_MESSAGE;
	worker = &verifier->workers[head.worker];
	close_worker(worker);
	*worker = (struct worker_channel){ipc_take_fd(message, 0), ++verifier->next_serial};
	send_names(verifier, worker);
	return ERR_NONE;
}

static void read_worker(struct verifier *verifier, unsigned number)
{
	struct worker_channel *worker = &verifier->workers[number];

	for (int i = 0; i < MESSAGES_PER_TURN && worker->fd >= 0; i++) {
		enum ipc_got got = ipc_receive(worker->fd, UINT32_C(1) << IPC_VERIFY, &verifier->question);
		struct verify_place place = {number, worker->serial, verifier->question.id};
		bool is_valid;

		if (got == IPC_EMPTY)
			return;
		is_valid = got == IPC_GOT &&
		           verify_take(verifier->verify, &place, verifier->question.payload, clock_monotonic_ms());
		if (got == IPC_GOT) {
			explicit_bzero(verifier->question.bytes, verifier->question.payload.len);
			ipc_drop(&verifier->question);
		}
		if (is_valid)
			continue;
		if (got != IPC_CLOSED)
			log_event(EV_ROLE_MESSAGE, "role=worker number=%u what=question", number);
		close_worker(worker);
	}
}

/* ---- the loop ---- */

/* False: it is over; *status. */
static bool read_channel(struct verifier *verifier, int *status)
{
	struct ipc_message *message = &verifier->message;
	enum ipc_got got = ipc_receive(verifier->channel, roles_row(ROLE_PARENT)->sends, message);
	enum err err = ERR_MESSAGE;

	*status = got == IPC_INVALID;
	if (got != IPC_GOT || message->type == IPC_STOP)
		return false;
	if (message->type == IPC_AUTH)
		err = take_auth(verifier, message);
	else if (message->type == IPC_CHANNEL)
		err = take_channel(verifier, message);
	ipc_drop(message);
	if (err)
		log_event(EV_ROLE_MESSAGE, "role=parent type=%s error=%s", ipc_type_name(message->type), err_name(err));
	*status = err != ERR_NONE;
	return err == ERR_NONE;
}

/* Once a second: is there a backend whose library hangs for good? */
static bool is_lost(struct verifier *verifier, uint64_t now_ms)
{
	const char *backend;

	if (now_ms - verifier->told_ms < TICK_MS)
		return false;
	verifier->told_ms = now_ms;
	if (verifier->unsent)
		log_event(EV_AUTH_UNSENT, "answers=%llu", (unsigned long long)verifier->unsent);
	verifier->unsent = 0;
	backend = verify_find_lost(verifier->verify, now_ms);
	if (backend)
		log_event(EV_AUTH_LOST, "backend=%s", backend);
	return backend != NULL;
}

static void fill(struct verifier *verifier, struct pollfd fds[static AT_COUNT])
{
	fds[AT_CHANNEL].fd = verifier->channel;
	fds[AT_DONE].fd = verify_fd(verifier->verify);
	fds[AT_NAMES].fd = ntlm_namer_fd(verifier->namer);
	for (size_t i = 0; i < SETTINGS_WORKERS_MAX; i++)
		fds[AT_WORKERS + i].fd = verifier->workers[i].fd;
	for (size_t i = 0; i < AT_COUNT; i++)
		fds[i].events = POLLIN;
}

static int serve(struct verifier *verifier)
{
	struct pollfd fds[AT_COUNT];
	int status;

	for (;;) {
		fill(verifier, fds);
		if (poll(fds, AT_COUNT, TICK_MS) < 0 && errno != EINTR)
			return 1;
		if (fds[AT_CHANNEL].revents && !read_channel(verifier, &status))
			return status;
		if (fds[AT_DONE].revents)
			verify_run(verifier->verify, clock_monotonic_ms());
		if (fds[AT_NAMES].revents)
			for (size_t i = 0; i < SETTINGS_WORKERS_MAX; i++)
				send_names(verifier, &verifier->workers[i]);
		for (unsigned i = 0; i < SETTINGS_WORKERS_MAX; i++)
			if (fds[AT_WORKERS + i].revents && fds[AT_WORKERS + i].fd == verifier->workers[i].fd)
				read_worker(verifier, i);
		if (is_lost(verifier, clock_monotonic_ms()))
			_exit(1); /* threads that hang cannot be waited for */
	}
}

/* ---- beginning ---- */

/* What libraries read before the sandbox closes; and it is said that it is missing, rather than at the first use. */
static void init_libraries(const char *replay_cache)
{
	const char *why = "";

	/* Other sources are plugins, which cannot be loaded any more once they are asked for. */
	__nss_configure_lookup("hosts", "files dns");
	__nss_configure_lookup("passwd", "files");
	__nss_configure_lookup("group", "files");
	fold_init();
	if (!ntlm_init(&why))
		log_event(EV_AUTH_LIBRARY, "what=ntlm why=\"%s\"", why);
	if (!ldap_backend_init(&why))
		log_event(EV_AUTH_LIBRARY, "what=ldap why=\"%s\"", why);
	if (!gss_backend_init(replay_cache, &why))
		log_event(EV_AUTH_LIBRARY, "what=kerberos why=\"%s\"", why);
}

static enum err expect_auth(struct verifier *verifier)
{
	enum err err = ipc_expect(verifier->channel, roles_row(ROLE_PARENT)->sends, IPC_AUTH, &verifier->message);

	if (err == ERR_NONE) {
		err = take_auth(verifier, &verifier->message);
		ipc_drop(&verifier->message);
	}
	return err;
}

static enum err set_up(struct verifier *verifier)
{
	char host[HOST_MAX_BYTES] = "", replay_cache[64];
	struct ipc_start start;
	enum err err = ipc_expect(verifier->channel, roles_row(ROLE_PARENT)->sends, IPC_START, &verifier->message);

	if (err)
		return err;
	memcpy(&start, verifier->message.payload.at, sizeof(start));
	snprintf(replay_cache, sizeof(replay_cache), "/proc/self/fd/%d", ipc_take_fd(&verifier->message, 0));
	ipc_drop(&verifier->message);
	err = sandbox_drop(ROLE_VERIFIER, &start);
	if (err)
		return err;
	init_libraries(replay_cache);
	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = 0;
	err = sandbox_close(ROLE_VERIFIER);
	if (err == ERR_NONE)
		err = ntlm_namer_new(span_from(host), &verifier->namer);
	if (err == ERR_NONE)
		err = verify_new(on_reply, verifier, &verifier->verify);
	return err ? err : expect_auth(verifier);
}

int verifier_main(int channel, unsigned number)
{
	static struct verifier verifier;
	enum err err;
	int status;

	signal(SIGPIPE, SIG_IGN);
	verifier.channel = channel;
	for (size_t i = 0; i < SETTINGS_WORKERS_MAX; i++)
		verifier.workers[i].fd = -1;
	buf_init(&verifier.out, ANSWER_WIRE_MAX_BYTES);
	err = set_up(&verifier);
	if (err) {
		log_event(EV_SYSTEM, "role=verifier number=%u what=start error=%s errno=%d", number, err_name(err), errno);
		return 1;
	}
	status = serve(&verifier);
	if (SALLYPORT_SANITIZED) { /* elsewhere the system does it, also where a thread is in a call */
		verify_free(verifier.verify);
		gss_backend_fini();
		ntlm_namer_free(verifier.namer);
		buf_fini(&verifier.out);
		for (size_t i = 0; i < SETTINGS_WORKERS_MAX; i++)
			close_worker(&verifier.workers[i]);
		return status;
	}
	_exit(status);
}
