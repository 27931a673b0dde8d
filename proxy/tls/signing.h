/* SPDX-License-Identifier: Apache-2.0 */
/* What the signer does, without its sockets: questions of workers in, certificates out. It holds the CA, the keys of the
 * certificates, and the one cache for all workers. Workers are hostile: what they ask is looked at, and a worker that asks
 * without end uses up its own share of the signer's time, not that of others. */
#ifndef TLS_SIGNING_H
#define TLS_SIGNING_H

#include "tls/leaf_message.h"
#include "tls/mint.h"

enum { SIGNING_WORKERS_MAX = 64 };

/* Who asked. */
struct signing_place {
	unsigned worker;
	uint64_t serial, id; /* of its channel, of its question: given back */
};

struct signing_env {
	/* An answer; may run inside signing_take(). */
	void (*answer)(void *context, const struct signing_place *place, struct span answer);
	/* Workers are to have this key from now on. The message is secret. */
	void (*tell_key)(void *context, struct span message);
	/* An RSA key is wanted, which takes long: make it aside, then signing_take_rsa(). Not again before that. */
	void (*want_rsa)(void *context);
	void *context;
};

struct signing_time {
	uint64_t monotonic_us;
	int64_t wall; /* seconds since 1970 */
};

struct signing;

MUST_USE enum err signing_new(const struct signing_env *env, struct signing **out);
void signing_free(struct signing *signing);

/* Sign with this CA from now on. owns: ca, in every case. errors: ERR_MEMORY: nothing can be
 * signed then. */
MUST_USE enum err signing_use(struct signing *signing, struct ca *ca, const struct mint_conf *conf, size_t max_count,
                              struct signing_time now);

/* The CA in use; NULL before the first. */
const struct ca *signing_ca(const struct signing *signing);

/* A question. False: this is none, and who asks so is not what it should be. */
MUST_USE bool signing_take(struct signing *signing, const struct signing_place *place, struct span question,
                           struct signing_time now);

/* The key that was wanted; NULL: it could not be made. owns: key. */
void signing_take_rsa(struct signing *signing, EVP_PKEY *key, struct signing_time now);

/* Now and then: keys are made anew once a day. */
void signing_tick(struct signing *signing, struct signing_time now);

/* The message of a key, for a worker that is new; false: there is none of this kind. The text is secret. */
bool signing_write_key(struct signing *signing, enum leaf_kind kind, struct buf *out);

/* A worker's channel is new: nobody waits there. Not inside answer(). */
void signing_forget(struct signing *signing, unsigned worker);

struct signing_counts {
	uint64_t questions, minted, refused, unavailable;
};
struct signing_counts signing_counts(const struct signing *signing);

#endif
