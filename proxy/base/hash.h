/* SPDX-License-Identifier: Apache-2.0 */
/* A keyed 64-bit hash (SipHash-1-3) for tables whose keys a stranger chooses. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/span.h"

struct hash_key {
	uint64_t words[2];
};

/* A key from the kernel's random generator. */
struct hash_key hash_key_random(void);

uint64_t hash_bytes(const struct hash_key *key, struct span bytes);

#endif
