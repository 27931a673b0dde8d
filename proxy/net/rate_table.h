/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets by key in memory that all workers share, without a lock. A bucket is one word: the time at which it will be
 * full again, if nobody takes from it. So nothing has to be counted up, one that is full is the same as one that is not there,
 * and what a dead worker has taken comes back by itself.
 *
 * Who takes more than there is gets it all the same, and is told when it will be there: what is taken first is there first,
 * whichever worker took it, and nobody is passed over. Not here: who waits, and how (net/meter.h).
 *
 * A hostile worker can fill and empty buckets: others are slowed down, or not at all. No more, since nothing in here is an
 * address or a length. */
#ifndef NET_RATE_TABLE_H
#define NET_RATE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct rate_slot;

struct rate_table {
	struct rate_slot *slots;
	size_t set_count;
	uint64_t shared_count; /* takes by this worker from a bucket that is another key's, too */
};

enum { RATE_TABLE_SET_SLOTS = 8 };

/* How fast a bucket fills, and what it holds: so much time at this speed. */
struct rate {
	uint64_t bytes_per_s; /* not 0 */
	uint64_t burst_ns;
};

/* Longest time that somebody can be told to wait, and longest burst. Who would wait longer has no place in the order, and those that
 * have one keep it: so it is long enough for more waiters than any rate is of use to. */
#define RATE_WAIT_MAX_NS UINT64_C(60000000000)
#define RATE_BURST_MAX_NS UINT64_C(70000000000)
#define RATE_TOO_LONG UINT64_MAX

/* Bytes of a table with so many slots: rounded up to whole sets. */
size_t rate_table_bytes(size_t slots);

/* Use this memory (aligned to 64, zeroed by who made it, of rate_table_bytes(slots)), which others may use already. */
void rate_table_init(struct rate_table *table, void *memory, size_t slots);

/* Take `bytes` (up to a GiB) from the bucket of `key` (not 0). In how many ns they are there, 0 where they are; RATE_TOO_LONG
 * if that would be more than RATE_WAIT_MAX_NS: then nothing was taken. Where a set of the table is full of other buckets that are in
 * use, one of them is shared: then both keys together have the rate of one. */
uint64_t rate_table_take(struct rate_table *table, uint64_t key, struct rate rate, uint64_t bytes, uint64_t now_ns);

/* Give back what was taken and is not used. */
void rate_table_give(struct rate_table *table, uint64_t key, struct rate rate, uint64_t bytes, uint64_t now_ns);

/* How long somebody would wait for the next byte: 0 where there is one. */
uint64_t rate_table_wait_ns(struct rate_table *table, uint64_t key, struct rate rate, uint64_t now_ns);

#endif
