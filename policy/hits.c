/* SPDX-License-Identifier: Apache-2.0 */
/* The counter of an entry: 20 bits of count, and behind them 12 bits of days since 2026-01-01, so that an entry that
 * nobody has needed for months can be told from one that was hit yesterday. */
#include <stdatomic.h>

#include "policy/policy.h"

enum {
	COUNT_BITS = 20,
	COUNT_MASK = (1 << COUNT_BITS) - 1,
	DAY_MAX = (1 << 12) - 1,
	FIRST_DAY = 20453, /* 2026-01-01 */
};

#define DAY_MS UINT64_C(86400000)

uint32_t policy_hits_count(uint32_t cell)
{
	uint32_t count = cell & COUNT_MASK;

	return count > POLICY_HITS_MAX ? POLICY_HITS_MAX : count;
}

uint32_t policy_hits_day(uint32_t cell)
{
	return cell & COUNT_MASK ? FIRST_DAY + (cell >> COUNT_BITS) : 0;
}

static uint32_t day_of(uint64_t wall_ms)
{
	uint64_t day = wall_ms / DAY_MS;

	if (day < FIRST_DAY)
		return 0;
	return day - FIRST_DAY > DAY_MAX ? DAY_MAX : (uint32_t)(day - FIRST_DAY);
}

void policy_hits_add(_Atomic uint32_t *cell, uint64_t wall_ms)
{
	uint32_t today = day_of(wall_ms), old = atomic_load_explicit(cell, memory_order_relaxed), next;

	/* One that loses the race tries once more, and then leaves it: it is a count of many, and nobody waits here. */
	for (int i = 0; i < 2; i++) {
		uint32_t count = old & COUNT_MASK;

		next = today << COUNT_BITS | (count < POLICY_HITS_MAX ? count + 1 : count);
		if (next == old || atomic_compare_exchange_weak_explicit(cell, &old, next, memory_order_relaxed,
		                                                         memory_order_relaxed))
			return;
	}
}
