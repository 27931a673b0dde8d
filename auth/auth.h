/* SPDX-License-Identifier: Apache-2.0 */
/* Who is asking, for the sessions of a worker: the dialog with the client (RFC 9110 section 11.7), scheme by scheme. What
 * needs a password, a key or an authority is asked of the verifier; the worker has none of them. No I/O, no clock. */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "auth/ask.h"
#include "auth/auth_conf.h"
#include "auth/scheme/digest.h"
#include "auth/scheme/digest_table.h"
#include "auth/scheme/ntlm.h"

/* What became of an attempt. X(name, as in metrics) */
#define AUTH_RESULTS(X) X(VALID, "valid") X(INVALID, "invalid") X(UNAVAILABLE, "unavailable") X(THROTTLED, "throttled")
#define AUTH_RESULT_ENUM(name, key) AUTH_RESULT_##name,
enum auth_result { AUTH_RESULTS(AUTH_RESULT_ENUM) AUTH_RESULT_COUNT };
#undef AUTH_RESULT_ENUM

const char *auth_result_name(enum auth_result result);

/* One writer, a worker; in its page of shared memory. */
struct auth_metrics {
	uint64_t attempts[AUTH_SCHEME_COUNT][AUTH_RESULT_COUNT];
	uint64_t asks, cache_hits; /* questions to the verifier, and what was known without one */
	uint64_t kerberos, ntlm_v1; /* valid ones: the former with Negotiate, the rest of which is NTLM */
};

/* For whoever adds up workers. */
void auth_metrics_add(struct auth_metrics *sum, const struct auth_metrics *one);

struct auth;
struct dialog;

/* What a worker lends; outlives `auth`. */
struct auth_env {
	void *context;
	/* Hand a question to the verifier; never blocks. errors: ERR_LIMIT, ERR_SYSTEM. */
	enum err (*send)(void *context, uint64_t id, struct span ask);
	struct auth_metrics *metrics;
	struct digest_keys keys;       /* that sign nonces: the same for all workers */
	struct digest_table table;     /* of counts, shared by all workers */
};

MUST_USE enum err auth_new(const struct auth_env *env, struct auth **out); /* errors: ERR_MEMORY, ERR_SYSTEM */
void auth_free(struct auth *auth); /* all dialogs are over */

/* From now on with this configuration, which outlives the next call; what is known of users is forgotten. */
void auth_use(struct auth *auth, const struct auth_conf *conf);

/* What the verifier says: names for NTLM, or why there are none (`why` is empty then where there are some). False: this
 * is no such message. */
MUST_USE bool auth_take_names(struct auth *auth, struct span bytes);
void auth_write_names(const struct ntlm_names *names, struct span why, struct buf *out);

/* An answer of the verifier. False: this is none. */
MUST_USE bool auth_take_answer(struct auth *auth, uint64_t id, struct span bytes);

/* The verifier is gone. */
void auth_lose_verifier(struct auth *auth);

/* Every half minute or so. */
void auth_sweep(struct auth *auth);

/* ---- the dialog on one client connection ---- */

/* An attempt: the request that it comes with. Borrowed until auth_take() returns. */
struct auth_try {
	const struct auth_conf *conf;
	struct address client;
	struct span listener;
	struct span credentials;   /* value of Proxy-Authorization; empty: there is none */
	struct span method, target; /* as in the request line */
	uint64_t now_ms, wall_ms;
};

enum auth_step {
	AUTH_WAIT,      /* `done` will be called */
	AUTH_DONE,      /* it is `identity` */
	AUTH_CHALLENGE, /* 407 with `fields`, and ERR_AUTH_REQUIRED, _LEG or _REFUSED */
	AUTH_FAIL,      /* `err`: ERR_AUTH_UNAVAILABLE, _THROTTLED, _NOT_OFFERED */
};

struct auth_outcome {
	enum auth_step step;
	struct identity *identity; /* DONE: the receiver's reference */
	bool is_for_connection;    /* DONE: later requests of this connection, too, are of this identity */
	enum err err;
	enum auth_scheme scheme;   /* that was tried; AUTH_SCHEME_COUNT: none */
	struct span why;           /* which check failed; borrowed from the dialog until it is used again */
	struct span fields;        /* whole header lines: of a 407, or (DONE) of the answer; as `why` */
};

/* Runs once for each AUTH_WAIT, never before auth_take() returned. */
typedef void auth_done(void *context, const struct auth_outcome *outcome);

/* owns: the caller, who frees it with its connection. NULL: no memory. */
struct dialog *dialog_new(struct auth *auth);
void dialog_free(struct dialog *dialog); /* also while it waits; NULL is allowed */

/* Take the next step with this request. */
struct auth_outcome dialog_take(struct dialog *dialog, const struct auth_try *one, auth_done *done, void *context);

/* Nobody waits for the answer any more; what was begun is forgotten. */
void dialog_cancel(struct dialog *dialog);

/* Header lines with everything that is offered to this client, one challenge a line. `stale`: RFC 7616 section 3.3. */
void auth_add_challenges(struct auth *auth, const struct auth_try *one, bool stale, struct buf *out);

#endif
