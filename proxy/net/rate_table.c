/* SPDX-License-Identifier: Apache-2.0 */
/* A slot whose bucket is full again is free for another key: one compare-and-swap changes the owner. A worker that is stopped
 * between finding its slot and taking from it may then charge the new owner, which costs that one a portion.
 *
 * The slot of a key is the first of its set that has the key, and it is looked for each time. Two workers may begin one key in two
 * slots at once; from then on all find the first of the two, and the other becomes full and free. */
#include "net/rate_table.h"

#include <stdatomic.h>

struct rate_slot {
	_Atomic uint64_t key;     /* 0: never used */
	_Atomic uint64_t full_ns; /* on the clock that all workers have */
};

enum { SET_BYTES = RATE_TABLE_SET_SLOTS * sizeof(struct rate_slot), TRIES = 64, SECOND_NS = 1000000000 };

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock in shared memory would be left locked by who dies");

size_t rate_table_bytes(size_t slots)
{
	size_t sets = slots / RATE_TABLE_SET_SLOTS + (slots % RATE_TABLE_SET_SLOTS != 0);

	return (sets ? sets : 1) * SET_BYTES;
}

void rate_table_init(struct rate_table *table, void *memory, size_t slots)
{
	ASSERT((uintptr_t)memory % 64 == 0);
	*table = (struct rate_table){.slots = memory, .set_count = rate_table_bytes(slots) / SET_BYTES};
}

static uint64_t load(const _Atomic uint64_t *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

/* Later than anybody can have made it: who wrote that is not well, and it counts for nothing. */
static bool is_free(uint64_t full_ns, uint64_t now_ns)
{
	return full_ns <= now_ns || full_ns - now_ns > RATE_BURST_MAX_NS + RATE_WAIT_MAX_NS;
}

static struct rate_slot *set_of(const struct rate_table *table, uint64_t key)
{
	return table->slots + (key >> 32) % table->set_count * RATE_TABLE_SET_SLOTS;
}

static struct rate_slot *find(const struct rate_table *table, uint64_t key)
{
	struct rate_slot *set = set_of(table, key);

	for (size_t i = 0; i < RATE_TABLE_SET_SLOTS; i++)
		if (load(&set[i].key) == key)
			return &set[i];
	return NULL;
}

/* The slot of the key, made its own if there is a free one; else one that it shares. */
static struct rate_slot *need(struct rate_table *table, uint64_t key, uint64_t now_ns)
{
	struct rate_slot *set = set_of(table, key), *slot = find(table, key);

	for (size_t i = 0; i < RATE_TABLE_SET_SLOTS && slot == NULL; i++) {
		uint64_t there = load(&set[i].key);

		if (!is_free(load(&set[i].full_ns), now_ns))
			continue;
		if (atomic_compare_exchange_strong(&set[i].key, &there, key))
			return &set[i];
		slot = find(table, key); /* somebody else was first, maybe with this very key */
	}
	if (slot)
		return slot;
	table->shared_count++;
	return &set[key % RATE_TABLE_SET_SLOTS];
}

static uint64_t cost_ns(struct rate rate, uint64_t bytes)
{
	return bytes * SECOND_NS / rate.bytes_per_s;
}

/* When it will be full, as far as that can be: with another burst before a reload it may have been later. */
static uint64_t full_at(uint64_t full_ns, struct rate rate, uint64_t now_ns)
{
	uint64_t latest_ns = now_ns + rate.burst_ns + RATE_WAIT_MAX_NS;

	if (is_free(full_ns, now_ns))
		return now_ns;
	return full_ns > latest_ns ? latest_ns : full_ns;
}

static uint64_t wait_ns(uint64_t full_ns, struct rate rate, uint64_t now_ns)
{
	return full_ns > now_ns + rate.burst_ns ? full_ns - now_ns - rate.burst_ns : 0;
}

/* Of many at once one is always done; who never is, because of all the others, waits and comes again. */
uint64_t rate_table_take(struct rate_table *table, uint64_t key, struct rate rate, uint64_t bytes, uint64_t now_ns)
{
	struct rate_slot *slot = need(table, key, now_ns);
	uint64_t was_ns = load(&slot->full_ns);

	for (int i = 0; i < TRIES; i++) {
		uint64_t full_ns = full_at(was_ns, rate, now_ns) + cost_ns(rate, bytes);
		if (wait_ns(full_ns, rate, now_ns) > RATE_WAIT_MAX_NS)
			return RATE_TOO_LONG;
		if (atomic_compare_exchange_strong(&slot->full_ns, &was_ns, full_ns))
			return wait_ns(full_ns, rate, now_ns);
	}
	return RATE_TOO_LONG;
}

void rate_table_give(struct rate_table *table, uint64_t key, struct rate rate, uint64_t bytes, uint64_t now_ns)
{
	struct rate_slot *slot = find(table, key);
	uint64_t cost = cost_ns(rate, bytes), was_ns;

	if (slot == NULL)
		return;
	was_ns = load(&slot->full_ns);
	for (int i = 0; i < TRIES && was_ns > now_ns; i++) {
		uint64_t left_ns = was_ns - now_ns > cost ? was_ns - cost : now_ns;

		if (atomic_compare_exchange_strong(&slot->full_ns, &was_ns, left_ns))
			return;
	}
}

uint64_t rate_table_wait_ns(struct rate_table *table, uint64_t key, struct rate rate, uint64_t now_ns)
{
	const struct rate_slot *slot = find(table, key);

	return slot ? wait_ns(full_at(load(&slot->full_ns), rate, now_ns), rate, now_ns) : 0;
}
