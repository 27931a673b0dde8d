/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's certificates for opened hosts: a small cache before the signer, which is asked once for all who wait. */
#ifndef TLS_LEAVES_H
#define TLS_LEAVES_H

#include <openssl/x509.h>

#include "base/err.h"
#include "base/span.h"
#include "net/loop.h"

enum leaf_kind { LEAF_ECDSA, LEAF_RSA, LEAF_KIND_COUNT };

/* What a client is shown. Immutable; shared by all sessions that show it. */
struct leaf {
	unsigned references;
	X509 *certificate;
	EVP_PKEY *key;               /* shared by all leaves of its kind, never the CA's */
	STACK_OF(X509) *chain;       /* what is sent behind it, without the root */
	uint8_t ca_id[32];           /* SHA-256 of the CA's certificate */
	char serial[33];             /* hex, for the log */
};
struct leaf *leaf_ref(struct leaf *leaf);
void leaf_unref(struct leaf *leaf); /* NULL is allowed */

struct leaves_env {
	struct loop *loop;
	/* Hand a question to the signer; its answer comes through leaves_take_answer(). errors: ERR_SYSTEM, ERR_LIMIT. */
	enum err (*send)(void *context, uint64_t id, struct span question);
	void *context;
};

struct leaves;
struct leaf_query;

struct leaf_result {
	enum err err;        /* ERR_NONE, ERR_SIGNER_UNAVAILABLE, ERR_SIGNER_REFUSED */
	const char *detail;  /* of a refusal, for people: "the CA's name constraints exclude corp.example"; borrowed */
	struct leaf *leaf;   /* the receiver's reference */
};
/* Runs once, never before leaves_ask() returned. */
typedef void leaf_done(void *context, const struct leaf_result *result);

MUST_USE enum err leaves_new(const struct leaves_env *env, size_t max_count, struct leaves **out);
/* Who still waits is not told. */
void leaves_free(struct leaves *leaves);

/* Of a host name or an address in text (canonical), if it is here: a reference, else NULL. */
struct leaf *leaves_now(struct leaves *leaves, struct span host, enum leaf_kind kind);

/* Ask the signer, or the next one where there is none now. *out can be cancelled until done has run. errors: ERR_SIGNER_UNAVAILABLE, ERR_MEMORY (done is not called). */
MUST_USE enum err leaves_ask(struct leaves *leaves, struct span host, enum leaf_kind kind, leaf_done *done, void *context,
                             struct leaf_query **out);
void leaves_cancel(struct leaf_query *query);

/* What the signer said: its answer to a question, or its key (of one kind) and chain. False: that is no such message. */
bool leaves_take_answer(struct leaves *leaves, uint64_t id, struct span answer);
bool leaves_take_key(struct leaves *leaves, struct span message);

/* The signer has gone: who waits is asked for again when the next one has sent its key, once. What is cached stays. */
void leaves_lose_signer(struct leaves *leaves);

/* Of the CA in force, 32 bytes; zeros before the signer has said. Part of the scope of session tickets. */
const uint8_t *leaves_ca_id(const struct leaves *leaves);

#endif
