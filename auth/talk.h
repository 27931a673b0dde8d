/* SPDX-License-Identifier: Apache-2.0 */
/* The talk with a client from the inside. Private to auth/: talk.c, and one file for each scheme. */
#ifndef AUTH_TALK_H
#define AUTH_TALK_H

#include "auth/auth.h"
#include "auth/broker.h"
#include "auth/cache.h"
#include "base/arena.h"

/* Of one worker. */
struct auth {
	struct auth_env env;
	const struct auth_conf *conf;
	struct broker *broker;
	struct cache *cache;
	struct keyed_hash *hash;
	struct buf names[4];       /* as struct ntlm_names has them; of the verifier */
	struct buf no_names;       /* why there are none; empty: there are */
	bool has_names;
};

enum { TALK_FIELDS_MAX_BYTES = 80000, TALK_MECHS_MAX_BYTES = 1024, TALK_CHALLENGE_MS = 60000 };

/* Where SPNEGO stands (RFC 4178). */
enum talk_spnego {
	TALK_SPNEGO_NONE,     /* NTLM without it, or nothing yet */
	TALK_SPNEGO_NTLM,     /* NTLM inside, as the client proposed it first */
	TALK_SPNEGO_OTHER,    /* NTLM inside, and it was not the first choice: MICs of the list are needed */
};

/* Of one client connection: nothing but the scheme's own state outlives an attempt. */
struct talk {
	struct auth *auth;
	enum auth_scheme scheme;   /* of the last attempt */
	const struct auth_network_conf *network;
	auth_done *done;
	void *context;
	struct broker_wait wait;
	struct auth_try one;       /* that waits; without its texts */
	struct arena arena;        /* of `one` */
	struct buf fields, why;
	/* Basic and Digest: of the attempt that waits */
	uint8_t key[KEYED_HASH_BYTES];
	uint64_t nonce_id, nonce_expires_ms;
	uint32_t nonce_count;
	/* NTLM: the first two messages, as they were on the wire */
	struct buf negotiate, challenge;
	uint64_t challenged_ms;
	/* Negotiate */
	enum talk_spnego spnego;
	struct buf mech_types;     /* DER of the client's MechTypeList */
	uint64_t gss_context;      /* 0: none */
	bool has_ntlm;             /* the list that waits has NTLM in it */
};

struct talk_scheme {
	/* `credentials`: what is behind the scheme's name. */
	struct auth_outcome (*take)(struct talk *talk, const struct auth_try *one, struct span credentials);
	/* The verdict is one of VALID, INVALID, UNKNOWN_USER, CONTINUE, OTHER_MECH. */
	struct auth_outcome (*on_answer)(struct talk *talk, const struct answer *answer);
};

extern const struct talk_scheme talk_basic, talk_digest, talk_ntlm, talk_negotiate;

/* ---- what schemes say in the end ---- */

/* 407 with all that is offered. `why` goes into the log. */
struct auth_outcome talk_refuse(struct talk *talk, const struct auth_try *one, const char *why);
/* The same, for a verdict that is not VALID. */
struct auth_outcome talk_refuse_as(struct talk *talk, const struct answer *answer);
/* The same, which people are not asked about again. */
struct auth_outcome talk_stale(struct talk *talk, const struct auth_try *one, const char *why);
/* 407 with this token alone: the scheme goes on. */
struct auth_outcome talk_leg(struct talk *talk, struct span token, const char *why);
struct auth_outcome talk_unavailable(struct talk *talk, struct span why);
/* Takes a reference of its own. talk->fields, if there are any, go with the answer. */
struct auth_outcome talk_valid(struct talk *talk, struct identity *identity);

/* Ask the verifier; `key` as broker_ask(). */
struct auth_outcome talk_ask(struct talk *talk, const struct auth_try *one, struct ask *ask, const uint8_t *key);

/* From a VALID answer; owns: the caller. NULL: no memory, or too large. */
struct identity *talk_identity(struct talk *talk, const struct answer *answer);

/* talk->fields become one challenge with this token. */
void talk_add_token(struct talk *talk, struct span token);

/* Base64 of a token into *out (init()ed here; the caller's on success). */
MUST_USE bool talk_decode(struct span text, size_t most, struct buf *out, const char **why);

/* Forget the legs so far. */
void talk_forget(struct talk *talk);

/* NTLM, whoever carries it: answer a first message; the second is in talk->challenge then. False: *outcome says why not. */
MUST_USE bool talk_ntlm_challenge(struct talk *talk, const struct auth_try *one, struct span negotiate,
                                  struct auth_outcome *outcome);
/* Fill a question with the three messages; borrows from the talk and from `authenticate`. False: *outcome. */
MUST_USE bool talk_ntlm_ask(struct talk *talk, const struct auth_try *one, struct span authenticate, struct ask *ask,
                            struct auth_outcome *outcome);

/* A message of NTLM that came without SPNEGO. */
struct auth_outcome talk_ntlm_take(struct talk *talk, const struct auth_try *one, struct span token);

/* The verdict on the last leg of NTLM or Negotiate. */
struct auth_outcome talk_finish(struct talk *talk, const struct answer *answer);

#endif
