/* SPDX-License-Identifier: Apache-2.0 */
/* A slot belongs to the nonce in its `key`. Three states, told by the key alone:
 *   0            free
 *   id           in use: `expires_ms` and the words are of this nonce
 *   id | CLAIMED somebody is making it ready, and only that one writes to it
 * In use -> claimed only when the nonce has ended, and always by compare-and-swap, so one slot has one owner.
 *
 * Counts. A word holds the number of a block of 32 counts and a bit for each. Numbers in a word never go down, and
 * bits of a block are only added, both in one compare-and-swap: so of all who try a count in one slot, one succeeds.
 *
 * One nonce, one slot. Two workers may begin the same nonce at once in different slots of its bucket. Each one first
 * writes its claim, then reads all other slots, and makes its slot ready only if none holds the same nonce, claimed
 * or in use; else it takes its claim back. All of this is sequentially consistent: of two claims one is first in the
 * single order, so whoever made the second reads after both, and sees the first, claimed or in use. It has to give
 * up, unless the first was taken back before. So two slots are never in use for one nonce. Both may see each other
 * and both give up; they try again a few times, and then the client gets a new nonce.
 *
 * A slot that changes hands. A worker may find its nonce in a slot and be stopped until the nonce has ended, a
 * minute more has gone by, and the slot is another's. Its compare-and-swap may then mark a count of that one, which
 * costs a refusal. But it does not take its own count for fresh: the key was changed before the words were emptied,
 * so if the word that it changed was an emptied one, it sees another key when it looks once more.
 *
 * A worker that dies within the few instructions of a claim leaves a slot that is never used again: taking it away
 * from an owner who is only stopped would be worse, and there are thousands. */
#include "auth/scheme/digest_table.h"

#include <stdatomic.h>

enum { CLAIMED = 1, SLOT_BYTES = 64, TRIES = 16, SPINS = 64, WORD_TRIES = 1000 };

struct digest_slot {
	_Atomic uint64_t key;        /* id without its lowest bit */
	_Atomic uint64_t expires_ms;
	_Atomic uint64_t words[DIGEST_TABLE_BLOCKS]; /* of block b in [b % BLOCKS]: b << 32 | a bit for each count */
};

_Static_assert(sizeof(struct digest_slot) == SLOT_BYTES, "one slot, one cache line");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock in shared memory would be left locked by who dies");

size_t digest_table_bytes(size_t slots)
{
	size_t buckets = slots / DIGEST_TABLE_BUCKET_SLOTS + (slots % DIGEST_TABLE_BUCKET_SLOTS != 0);

	return (buckets ? buckets : 1) * DIGEST_TABLE_BUCKET_SLOTS * SLOT_BYTES;
}

void digest_table_init(struct digest_table *table, void *memory, size_t slots)
{
	ASSERT((uintptr_t)memory % SLOT_BYTES == 0);
	table->slots = memory;
	table->bucket_count = digest_table_bytes(slots) / (DIGEST_TABLE_BUCKET_SLOTS * SLOT_BYTES);
}

/* ---- counts ---- */

static enum digest_count use_count(struct digest_slot *slot, uint64_t key, uint32_t count)
{
	uint64_t block = count / DIGEST_TABLE_BLOCK_COUNTS, bit = UINT64_C(1) << count % DIGEST_TABLE_BLOCK_COUNTS;
	_Atomic uint64_t *word = &slot->words[block % DIGEST_TABLE_BLOCKS];
	uint64_t old = atomic_load(word);

	/* Each failure is another's success, of which there are few; only a hostile one goes on for ever. */
	for (int i = 0; i < WORD_TRIES; i++) {
		uint64_t next = old >> 32 == block ? old | bit : block << 32 | bit;

		if (old >> 32 > block)
			return DIGEST_COUNT_TOO_OLD;
		if (next == old)
			return DIGEST_COUNT_REPLAYED;
		if (atomic_compare_exchange_strong(word, &old, next))
			return atomic_load(&slot->key) == key ? DIGEST_COUNT_FRESH : DIGEST_COUNT_TOO_OLD;
	}
	return DIGEST_COUNT_TOO_OLD;
}

/* ---- slots ---- */

enum found { FOUND_NONE, FOUND_CLAIMED, FOUND_READY };

/* Is the nonce in the bucket, but for `except`? */
static enum found find(struct digest_slot *bucket, uint64_t key, const struct digest_slot *except,
                       struct digest_slot **out)
{
	enum found found = FOUND_NONE;

	for (size_t i = 0; i < DIGEST_TABLE_BUCKET_SLOTS; i++) {
		uint64_t there = atomic_load(&bucket[i].key);

		if (&bucket[i] == except)
			continue;
		if (there == key) {
			*out = &bucket[i];
			return FOUND_READY;
		}
		if (there == (key | CLAIMED))
			found = FOUND_CLAIMED;
	}
	return found;
}

static bool has_ended(uint64_t expires_ms, uint64_t wall_ms)
{
	return wall_ms > expires_ms && wall_ms - expires_ms > DIGEST_TABLE_GRACE_MS;
}

/* Claim a slot that is free or whose nonce has ended; NULL if there is none. */
static struct digest_slot *claim(struct digest_slot *bucket, uint64_t key, uint64_t wall_ms)
{
	for (size_t i = 0; i < DIGEST_TABLE_BUCKET_SLOTS; i++) {
		uint64_t there = atomic_load(&bucket[i].key);

		/* The end is read after the key: it is of this nonce or, if the slot has changed hands since, the
		 * exchange fails. */
		if (there & CLAIMED || (there && !has_ended(atomic_load(&bucket[i].expires_ms), wall_ms)))
			continue;
		if (atomic_compare_exchange_strong(&bucket[i].key, &there, key | CLAIMED))
			return &bucket[i];
	}
	return NULL;
}

/* From claimed to `next`. False: somebody hostile was there. */
static bool settle(struct digest_slot *slot, uint64_t key, uint64_t next)
{
	uint64_t claimed = key | CLAIMED;

	return atomic_compare_exchange_strong(&slot->key, &claimed, next);
}

/* Begin a nonce that was in no slot. FOUND_NONE: there is no place; CLAIMED: another one is about to begin it. */
static enum found begin(struct digest_slot *bucket, uint64_t key, uint64_t expires_ms, uint64_t wall_ms,
                        struct digest_slot **out)
{
	struct digest_slot *slot = claim(bucket, key, wall_ms), *other;

	if (slot == NULL)
		return FOUND_NONE;
	atomic_store(&slot->expires_ms, expires_ms);
	for (size_t i = 0; i < DIGEST_TABLE_BLOCKS; i++)
		atomic_store(&slot->words[i], 0);
	if (find(bucket, key, slot, &other) != FOUND_NONE) {
		(void)settle(slot, key, 0);
		return FOUND_CLAIMED;
	}
	*out = slot;
	return settle(slot, key, key) ? FOUND_READY : FOUND_CLAIMED;
}

/* While another one makes it ready, which takes some ten instructions if it is not stopped meanwhile. */
static enum found await(struct digest_slot *bucket, uint64_t key, struct digest_slot **out)
{
	enum found found = FOUND_CLAIMED;

	for (int i = 0; i < SPINS && found == FOUND_CLAIMED; i++)
		found = find(bucket, key, NULL, out);
	return found;
}

enum digest_count digest_table_use(struct digest_table *table, uint64_t id, uint64_t expires_ms, uint32_t count,
                                   uint64_t wall_ms)
{
	struct digest_slot *bucket = table->slots + id % table->bucket_count * DIGEST_TABLE_BUCKET_SLOTS, *slot = NULL;
	uint64_t key = id & ~(uint64_t)CLAIMED;

	if (key == 0)
		key = (uint64_t)CLAIMED << 1;
	if (wall_ms > expires_ms)
		return DIGEST_COUNT_TOO_OLD;
	for (int i = 0; i < TRIES; i++) {
		enum found found = await(bucket, key, &slot);

		if (found == FOUND_NONE)
			found = begin(bucket, key, expires_ms, wall_ms, &slot);
		if (found == FOUND_READY)
			return use_count(slot, key, count);
		if (found == FOUND_NONE)
			return DIGEST_COUNT_FULL;
	}
	return DIGEST_COUNT_TOO_OLD;
}

size_t digest_table_used(const struct digest_table *table, uint64_t wall_ms)
{
	size_t used = 0;

	for (size_t i = 0; i < table->bucket_count * DIGEST_TABLE_BUCKET_SLOTS; i++)
		if (atomic_load(&table->slots[i].key) && atomic_load(&table->slots[i].expires_ms) >= wall_ms)
			used++;
	return used;
}
