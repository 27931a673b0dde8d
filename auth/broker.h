/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's end of the way to the verifier: questions that are out, and who waits for each. Private to auth/. */
#ifndef AUTH_BROKER_H
#define AUTH_BROKER_H

#include "auth/ask.h"
#include "auth/keyed_hash.h"
#include "base/list.h"

struct broker;

/* Who waits, embedded by it; zeroed: it does not. */
struct broker_wait {
	struct list link;
	struct broker *broker;
	/* Runs exactly once, never before broker_ask() returned, unless broker_cancel() came first. */
	void (*done)(struct broker_wait *wait, const struct answer *answer);
};

/* `send` hands a question to the verifier. errors of it: ERR_LIMIT (it does not read), ERR_SYSTEM (it is not there). */
MUST_USE enum err broker_new(enum err (*send)(void *context, uint64_t id, struct span ask), void *context,
                             struct broker **out);
void broker_free(struct broker *broker);

/* Ask. With a `key`, those who ask the same at the same time share one question. errors: ERR_LIMIT (as many are out as may
 * be, or the verifier does not read), ERR_SYSTEM (there is no verifier), ERR_MEMORY. */
MUST_USE enum err broker_ask(struct broker *broker, const struct ask *ask, const uint8_t *key, struct broker_wait *wait);

/* The same key is asked already: wait with those. False: it is not. */
MUST_USE bool broker_join(struct broker *broker, const uint8_t key[static KEYED_HASH_BYTES], struct broker_wait *wait);

/* It no longer waits. */
void broker_cancel(struct broker_wait *wait);
bool broker_is_waiting(const struct broker_wait *wait);

/* An answer of the verifier. An id that nobody waits for is dropped. False: it is no answer at all. */
MUST_USE bool broker_take(struct broker *broker, uint64_t id, struct span bytes);

/* The verifier is gone: whoever waits is told so. */
void broker_lose_all(struct broker *broker);

/* Every half minute or so: what was out at the last call, too, is answered no more. */
void broker_sweep(struct broker *broker);

/* Questions that are out. */
size_t broker_count(const struct broker *broker);

#endif
