/* SPDX-License-Identifier: Apache-2.0 */
/* Which counts of which nonces were used: memory that all workers share, without locks. Each count of a nonce is
 * good once, whichever worker sees it, and counts may come out of order, as they do over parallel connections. A
 * nonce has a place here from its first proved use until a minute after its end, so requests without proof fill
 * nothing. Whoever can write to the memory can make others refuse what is good, or take a count twice; but not crash
 * or loop. */
#ifndef AUTH_DIGEST_TABLE_H
#define AUTH_DIGEST_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum {
	DIGEST_TABLE_BUCKET_SLOTS = 8,
	DIGEST_TABLE_BLOCK_COUNTS = 32,
	DIGEST_TABLE_BLOCKS = 6,
	/* So many counts, at least, may come after one that is ahead of them. */
	DIGEST_TABLE_WINDOW = (DIGEST_TABLE_BLOCKS - 1) * DIGEST_TABLE_BLOCK_COUNTS,
	DIGEST_TABLE_GRACE_MS = 60000,
};

struct digest_slot;

/* Of one process: where the memory is. What is shared holds no size. */
struct digest_table {
	struct digest_slot *slots;
	size_t bucket_count;
};

/* Bytes for `slots` nonces, rounded up to whole buckets, at least one. All zeros is an empty table. */
size_t digest_table_bytes(size_t slots);

/* Use this memory (aligned to 64, of digest_table_bytes(slots)), which others may use already. */
void digest_table_init(struct digest_table *table, void *memory, size_t slots);

enum digest_count {
	DIGEST_COUNT_FULL,     /* stale: no place for a nonce that was not used yet */
	DIGEST_COUNT_TOO_OLD,  /* stale: counts far ahead were used, the nonce has ended, or others just begin it */
	DIGEST_COUNT_REPLAYED, /* this count was used */
	DIGEST_COUNT_FRESH,    /* it was not, and now is */
};

/* Use a count of a nonce (id and end as digest_nonce_check() gives them) once its proof is right. `wall_ms` may be
 * behind that of other workers by less than DIGEST_TABLE_GRACE_MS. */
MUST_USE enum digest_count digest_table_use(struct digest_table *table, uint64_t id, uint64_t expires_ms,
                                            uint32_t count, uint64_t wall_ms);

/* How many slots are taken by nonces that have not ended; for metrics and tests, reads all of it. */
size_t digest_table_used(const struct digest_table *table, uint64_t wall_ms);

#endif
