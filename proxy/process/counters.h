/* SPDX-License-Identifier: Apache-2.0 */
/* Hits of rules and entries, counted by all workers in shared memory. The parent makes them. Those of entries go by the entry's
 * index, which stays its own over reloads, so generations share one region while it is large enough; those of rules go from one
 * generation to the next by the rule's name. */
#ifndef PROCESS_COUNTERS_H
#define PROCESS_COUNTERS_H

#include <stddef.h>

#include "base/err.h"
#include "policy/policy.h"

struct counters {
	int rules_fd, entries_fd;
	size_t rule_cells;         /* (rules + 1) x POLICY_QUESTION_COUNT: the last row is that of defaults */
	size_t entry_cells;        /* at least one for each entry */
	_Atomic uint32_t *rules, *entries;
};

/* The cell of a rule (POLICY_NO_RULE: of defaults) for a question, where there are so many cells. */
size_t counters_rule_cell(size_t rule_cells, uint32_t rule, enum policy_question question);

/* Bytes of a region with so many cells. */
size_t counters_bytes(uint64_t cells);

/* Nothing in it; may be closed. */
void counters_init(struct counters *counters);
void counters_close(struct counters *counters);

/* Regions for a policy. `previous` may be NULL: it lends its entries' region if that has room. errors: ERR_SYSTEM. */
MUST_USE enum err counters_make(struct counters *counters, const struct policy *policy,
                                const struct counters *previous);

/* The new policy is in force from now on: take over what was counted, and set to zero what belongs to nobody any more. */
void counters_take_over(struct counters *counters, const struct policy *policy, const struct counters *previous,
                        const struct policy *previous_policy);

#endif
