/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/verifier/verify.h"

#include <stdlib.h>
#include <string.h>

#include "auth/backend/ldap.h"
#include "auth/backend/users.h"
#include "auth/fold.h"
#include "auth/scheme/ntlm.h"
#include "auth/verifier/throttle.h"

/* X(what the configuration must want, backend) */
enum { POOL_USERS, POOL_LDAP, POOL_PAM, POOL_WINBIND, POOL_GSS, POOL_COUNT };

enum { BYTES_MAX = 32 << 20, USER_MAX_BYTES = 1024 };

static const struct backend *const backends[POOL_COUNT] = {
	[POOL_USERS] = &backend_users,     [POOL_LDAP] = &backend_ldap, [POOL_PAM] = &backend_pam,
	[POOL_WINBIND] = &backend_winbind, [POOL_GSS] = &backend_gss,
};

struct verify {
	verify_reply *reply;
	void *context;
	struct pool_env *env;
	struct pool_done *done;
	struct pool *pools[POOL_COUNT];
	struct throttle *throttle;
	size_t bytes;              /* of all questions under way */
};

struct question {
	struct pool_job job;
	struct verify_place place;
	uint8_t chain[BASIC_BACKEND_COUNT]; /* pools that are asked one after the other */
	size_t chain_count, chain_at;
	struct buf user;           /* for the throttle */
	size_t len;
	uint8_t bytes[];
};

/* ---- which backends ---- */

static bool is_wanted(const struct auth_conf *conf, unsigned pool)
{
	switch (pool) {
	case POOL_USERS:
		return auth_conf_uses_users(conf);
	case POOL_LDAP:
		return auth_conf_uses_basic(conf, BASIC_BACKEND_LDAP);
	case POOL_PAM:
		return auth_conf_uses_basic(conf, BASIC_BACKEND_PAM);
	case POOL_WINBIND:
		return auth_conf_uses_ntlm(conf, NTLM_BACKEND_WINBIND);
	default:
		return auth_conf_uses(conf, AUTH_NEGOTIATE) && conf->negotiate.keytab[0];
	}
}

static void choose(const struct auth_conf *conf, struct question *question)
{
	static const uint8_t basic[BASIC_BACKEND_COUNT] = {[BASIC_BACKEND_USERS] = POOL_USERS,
	                                                   [BASIC_BACKEND_LDAP] = POOL_LDAP,
	                                                   [BASIC_BACKEND_PAM] = POOL_PAM};
	enum ask_kind kind = question->job.ask.kind;

	question->chain_count = kind == ASK_PASSWORD ? conf->basic.backend_count : 1;
	for (size_t i = 0; kind == ASK_PASSWORD && i < question->chain_count; i++)
		question->chain[i] = basic[conf->basic.backends[i]];
	if (kind == ASK_DIGEST)
		question->chain[0] = POOL_USERS;
	else if (kind == ASK_NTLM)
		question->chain[0] = conf->ntlm.backend == NTLM_BACKEND_WINBIND ? POOL_WINBIND : POOL_USERS;
	else if (kind == ASK_GSS)
		question->chain[0] = POOL_GSS;
}

/* ---- one question ---- */

static void free_question(struct verify *verify, struct question *question)
{
	verify->bytes -= question->len;
	pool_env_unref(question->job.env);
	answer_fini(&question->job.answer);
	buf_fini(&question->user);
	explicit_bzero(question->bytes, question->len); /* passwords */
	free(question);
}

static struct throttle_try try_of(const struct question *question, uint64_t now_ms)
{
	const struct ask *ask = &question->job.ask;

	return (struct throttle_try){.client = ask->client,
	                             .user = buf_span(&question->user),
	                             .password = ask->kind == ASK_PASSWORD ? ask->password : SPAN(""),
	                             .now_ms = now_ms};
}

/* The name that a question is about, without its domain: DOM\\alice, alice@DOM and alice are guesses at one password. */
static struct span bare_name(struct span user)
{
	size_t slash = span_find(user, '\\');

	return slash < user.len ? span_skip(user, slash + 1) : span_first(user, span_find(user, '@'));
}

/* Whose guess it is, in whatever form the client names him. Tickets are not guessed. */
static void name_user(struct question *question)
{
	const struct ask *ask = &question->job.ask;
	const struct users *users = question->job.env->backend.users;
	const struct users_entry *entry;
	struct buf domain, user, workstation;
	const char *why;

	buf_init(&question->user, USER_MAX_BYTES);
	buf_init(&domain, USER_MAX_BYTES);
	buf_init(&user, USER_MAX_BYTES);
	buf_init(&workstation, USER_MAX_BYTES);
	if (ask->kind == ASK_NTLM && !ntlm_who(ask->authenticate, &domain, &user, &workstation, &why))
		buf_reset(&user);
	else if (ask->kind != ASK_NTLM)
		buf_add(&user, span_first(ask->user, USER_MAX_BYTES));
	entry = ask->is_userhash && users ? users_find_hashed(users, ask->algorithm, ask->user) : NULL;
	fold_lower(bare_name(entry ? entry->name : buf_span(&user)), &question->user);
	buf_fini(&domain);
	buf_fini(&user);
	buf_fini(&workstation);
}

static void finish(struct verify *verify, struct question *question, uint64_t now_ms)
{
	const struct answer *answer = &question->job.answer;
	const struct failures_conf *failures = &question->job.env->backend.conf->failures;
	struct throttle_try one = try_of(question, now_ms);

	if (question->job.ask.kind != ASK_GSS &&
	    (answer->verdict == VERDICT_VALID || answer->verdict == VERDICT_INVALID ||
	     answer->verdict == VERDICT_UNKNOWN_USER))
		throttle_note(verify->throttle, failures, &one, answer->verdict == VERDICT_VALID);
	verify->reply(verify->context, &question->place, answer);
	free_question(verify, question);
}

/* Have the next backend of its chain answer it. */
static void go_on(struct verify *verify, struct question *question, uint64_t now_ms)
{
	struct pool *pool = verify->pools[question->chain[question->chain_at]];
	struct answer *answer = &question->job.answer;

	if (pool == NULL && question->job.ask.kind == ASK_GSS)
		answer_say(answer, VERDICT_OTHER_MECH, "the client sends a ticket, and there is no keytab here (negotiate.keytab)");
	else if (pool == NULL)
		answer_say(answer, VERDICT_UNAVAILABLE, "this backend is not set up");
	else if (pool_put(pool, &question->job) == ERR_NONE)
		return;
	else
		answer_say(answer, VERDICT_BUSY, "%s: more questions wait than may (authentication.queue)",
		           backends[question->chain[question->chain_at]]->name);
	finish(verify, question, now_ms);
}

static struct question *new_question(struct verify *verify, struct span bytes)
{
	struct question *question = calloc(1, sizeof(*question) + bytes.len);

	if (question == NULL)
		return NULL;
	question->len = bytes.len;
	memcpy(question->bytes, bytes.at, bytes.len);
	verify->bytes += bytes.len;
	answer_init(&question->job.answer);
	question->job.env = pool_env_ref(verify->env);
	return question;
}

/* Nothing was kept of it: said at once. */
static void turn_away(struct verify *verify, const struct verify_place *place, const char *why)
{
	struct answer answer;

	answer_init(&answer);
	answer_say(&answer, VERDICT_BUSY, "%s", why);
	verify->reply(verify->context, place, &answer);
	answer_fini(&answer);
}

bool verify_take(struct verify *verify, const struct verify_place *place, struct span bytes, uint64_t now_ms)
{
	struct question *question;
	struct throttle_try one;
	struct ask ask;

	if (!ask_read(bytes, &ask))
		return false;
	if (verify->env == NULL || verify->bytes + bytes.len > BYTES_MAX ||
	    (question = new_question(verify, bytes)) == NULL) {
		turn_away(verify, place, "the verifier has as many questions as it can hold");
		return true;
	}
	if (SURPRISE(!ask_read(span_of(question->bytes, question->len), &question->job.ask))) {
		free_question(verify, question);
		return false;
	}
	question->place = *place;
	question->job.due_ms = now_ms + VERIFY_WAIT_MS;
	name_user(question);
	choose(verify->env->backend.conf, question);
	one = try_of(question, now_ms);
	if (question->job.ask.kind != ASK_GSS &&
	    !throttle_allows(verify->throttle, &verify->env->backend.conf->failures, &one)) {
		answer_say(&question->job.answer, VERDICT_THROTTLED, "too many failures of this user or client lately");
		finish(verify, question, now_ms);
	} else {
		go_on(verify, question, now_ms);
	}
	return true;
}

int verify_fd(const struct verify *verify)
{
	return pool_done_fd(verify->done);
}

void verify_run(struct verify *verify, uint64_t now_ms)
{
	struct pool_job *job;

	while ((job = pool_done_next(verify->done)) != NULL) {
		struct question *question = CONTAINER_OF(job, struct question, job);

		/* Only the one that knows the user says whether the password is right. */
		if (job->answer.verdict == VERDICT_UNKNOWN_USER && question->chain_at + 1 < question->chain_count) {
			question->chain_at++;
			answer_fini(&job->answer);
			answer_init(&job->answer);
			go_on(verify, question, now_ms);
		} else {
			finish(verify, question, now_ms);
		}
	}
}

/* ---- beginning and end ---- */

enum err verify_new(verify_reply *reply, void *context, struct verify **out)
{
	struct verify *verify = calloc(1, sizeof(*verify));
	enum err err;

	if (verify == NULL)
		return ERR_MEMORY;
	verify->reply = reply;
	verify->context = context;
	err = pool_done_new(&verify->done);
	if (err == ERR_NONE)
		err = throttle_new(&verify->throttle);
	if (err) {
		verify_free(verify);
		return err;
	}
	*out = verify;
	return ERR_NONE;
}

enum err verify_use(struct verify *verify, struct pool_env *env)
{
	const struct auth_conf *conf = env->backend.conf;
	enum err err = ERR_NONE;

	pool_env_unref(verify->env);
	verify->env = env;
	for (unsigned i = 0; i < POOL_COUNT && err == ERR_NONE; i++)
		if (verify->pools[i] == NULL && is_wanted(conf, i))
			err = pool_new(backends[i], (size_t)conf->threads, (size_t)conf->queue, verify->done,
			               &verify->pools[i]);
	return err;
}

/* Whoever waits for an authority as long as the configuration says does not hang. */
static uint64_t lost_ms(const struct verify *verify)
{
	const struct auth_conf *conf = verify->env ? verify->env->backend.conf : NULL;
	uint64_t ldap_ms = conf ? LDAP_STEPS_MAX * conf->ldap.timeout_ms : 0, pam_ms = conf ? conf->pam.timeout_ms : 0;

	return VERIFY_LOST_MS + (ldap_ms > pam_ms ? ldap_ms : pam_ms);
}

const char *verify_find_lost(struct verify *verify, uint64_t now_ms)
{
	uint64_t longest_ms = lost_ms(verify);

	for (unsigned i = 0; i < POOL_COUNT; i++) {
		struct pool *pool = verify->pools[i];

		if (pool && pool_stuck_count(pool, now_ms, longest_ms) == pool_thread_count(pool))
			return backends[i]->name;
	}
	return NULL;
}

void verify_free(struct verify *verify)
{
	struct pool_job *job;

	for (unsigned i = 0; i < POOL_COUNT; i++)
		pool_free(verify->pools[i]);
	while (verify->done && (job = pool_done_next(verify->done)) != NULL)
		free_question(verify, CONTAINER_OF(job, struct question, job));
	pool_done_free(verify->done);
	throttle_free(verify->throttle);
	pool_env_unref(verify->env);
	free(verify);
}
