/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of a fixed size that are found by their first bytes, up to a stated number: a hash table that can be walked
 * and sorted. */
#ifndef CLI_TALLY_H
#define CLI_TALLY_H

#include "base/hash.h"

struct tally {
	uint8_t *at; /* elements, in the order in which they came */
	size_t element_bytes, key_bytes, count, max;
	uint32_t *slots; /* index + 1; 0: free */
	size_t slot_count;
	struct hash_key key;
};

/* `key_bytes` are the first bytes of an element; padding among them has to be zero. */
void tally_init(struct tally *tally, size_t element_bytes, size_t key_bytes, size_t max);
void tally_fini(struct tally *tally);

/* The element with this key, new (zeros behind the key) or known. NULL: there is no room. Borrowed until the next. */
void *tally_find(struct tally *tally, const void *key);

/* The element at an index. */
static inline void *tally_at(const struct tally *tally, size_t index)
{
	return tally->at + index * tally->element_bytes;
}

#endif
