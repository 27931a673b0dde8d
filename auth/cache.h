/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker knows of users who were verified lately, for a limited time: Basic credentials that are right, or wrong,
 * and HA1s of Digest. Keys are keyed hashes; passwords are not in it. A fixed number of places: the oldest goes. */
#ifndef AUTH_CACHE_H
#define AUTH_CACHE_H

#include "auth/ask.h"
#include "auth/keyed_hash.h"

struct cache;

struct cache_entry {
	uint8_t key[KEYED_HASH_BYTES];
	struct identity *identity; /* NULL: it is wrong */
	uint64_t until_ms;         /* 0: a free place */
	uint8_t ha1[DIGEST_MAX_BYTES];
	uint8_t failures;          /* in a row: each makes a wrong one wrong for longer */
};

MUST_USE enum err cache_new(struct cache **out); /* errors: ERR_MEMORY */
void cache_free(struct cache *cache); /* NULL is allowed */

/* The entry of this key that is still valid; NULL: there is none. Borrowed until the cache is changed. */
const struct cache_entry *cache_find(const struct cache *cache, const uint8_t key[static KEYED_HASH_BYTES],
                                     uint64_t now_ms);

/* It is right: takes a reference of its own to the identity. `ha1` may be NULL. */
void cache_put(struct cache *cache, const uint8_t key[static KEYED_HASH_BYTES], struct identity *identity,
               const uint8_t *ha1, uint64_t now_ms, uint64_t valid_ms);

/* It is wrong: so for a second, then for two, four, .. up to `longest_ms`. */
void cache_put_wrong(struct cache *cache, const uint8_t key[static KEYED_HASH_BYTES], uint64_t now_ms,
                     uint64_t longest_ms);

/* Forget all: passwords may have changed. */
void cache_clear(struct cache *cache);

#endif
