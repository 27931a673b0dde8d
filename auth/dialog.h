/* SPDX-License-Identifier: Apache-2.0 */
/* The dialog with a client from the inside. Private to auth/: dialog.c, and one file for each scheme. */
#ifndef AUTH_DIALOG_H
#define AUTH_DIALOG_H

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

enum { DIALOG_FIELDS_MAX_BYTES = 80000, DIALOG_MECHS_MAX_BYTES = 1024, DIALOG_CHALLENGE_MS = 60000 };

/* Where SPNEGO stands (RFC 4178). */
enum dialog_spnego {
	DIALOG_SPNEGO_NONE,     /* NTLM without it, or nothing yet */
	DIALOG_SPNEGO_NTLM,     /* NTLM inside, as the client proposed it first */
	DIALOG_SPNEGO_OTHER,    /* NTLM inside, and it was not the first choice: MICs of the list are needed */
};

/* Of one client connection: nothing but the scheme's own state outlives an attempt. */
struct dialog {
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
	enum dialog_spnego spnego;
	struct buf mech_types;     /* DER of the client's MechTypeList */
	uint64_t gss_context;      /* 0: none */
	bool has_ntlm;             /* the list that waits has NTLM in it */
};

struct dialog_scheme {
	/* `credentials`: what is behind the scheme's name. */
	struct auth_outcome (*take)(struct dialog *dialog, const struct auth_try *one, struct span credentials);
	/* The verdict is one of VALID, INVALID, UNKNOWN_USER, CONTINUE, OTHER_MECH. */
	struct auth_outcome (*on_answer)(struct dialog *dialog, const struct answer *answer);
};

extern const struct dialog_scheme dialog_basic, dialog_digest, dialog_ntlm, dialog_negotiate;

/* ---- what schemes say in the end ---- */

/* 407 with all that is offered. `why` goes into the log. */
struct auth_outcome dialog_refuse(struct dialog *dialog, const struct auth_try *one, const char *why);
/* The same, for a verdict that is not VALID. */
struct auth_outcome dialog_refuse_as(struct dialog *dialog, const struct answer *answer);
/* The same, which people are not asked about again. */
struct auth_outcome dialog_stale(struct dialog *dialog, const struct auth_try *one, const char *why);
/* 407 with this token alone: the scheme goes on. */
struct auth_outcome dialog_leg(struct dialog *dialog, struct span token, const char *why);
struct auth_outcome dialog_unavailable(struct dialog *dialog, struct span why);
/* Takes a reference of its own. dialog->fields, if there are any, go with the answer. */
struct auth_outcome dialog_valid(struct dialog *dialog, struct identity *identity);

/* Ask the verifier; `key` as broker_ask(). */
struct auth_outcome dialog_ask(struct dialog *dialog, const struct auth_try *one, struct ask *ask, const uint8_t *key);

/* From a VALID answer; owns: the caller. NULL: no memory, or too large. */
struct identity *dialog_identity(struct dialog *dialog, const struct answer *answer);

/* dialog->fields become one challenge with this token. */
void dialog_add_token(struct dialog *dialog, struct span token);

/* Base64 of a token into *out (init()ed here; the caller's on success). */
MUST_USE bool dialog_decode(struct span text, size_t most, struct buf *out, const char **why);

/* Forget the legs so far. */
void dialog_forget(struct dialog *dialog);

/* NTLM, whoever carries it: answer a first message; the second is in dialog->challenge then. False: *outcome says why not. */
MUST_USE bool dialog_ntlm_challenge(struct dialog *dialog, const struct auth_try *one, struct span negotiate,
                                  struct auth_outcome *outcome);
/* Fill a question with the three messages; borrows from the dialog and from `authenticate`. False: *outcome. */
MUST_USE bool dialog_ntlm_ask(struct dialog *dialog, const struct auth_try *one, struct span authenticate, struct ask *ask,
                            struct auth_outcome *outcome);

/* A message of NTLM that came without SPNEGO. */
struct auth_outcome dialog_ntlm_take(struct dialog *dialog, const struct auth_try *one, struct span token);

/* The verdict on the last leg of NTLM or Negotiate. */
struct auth_outcome dialog_finish(struct dialog *dialog, const struct answer *answer);

#endif
