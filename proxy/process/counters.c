/* SPDX-License-Identifier: Apache-2.0 */
#include "process/counters.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "process/shared.h"

enum { CELLS_MIN = 1024 };

size_t counters_rule_cell(size_t rule_cells, uint32_t rule, enum policy_question question)
{
	size_t defaults = rule_cells / POLICY_QUESTION_COUNT - 1;

	return (rule == POLICY_NO_RULE ? defaults : rule) * POLICY_QUESTION_COUNT + (size_t)question;
}

size_t counters_bytes(uint64_t cells)
{
	return (size_t)cells * sizeof(uint32_t);
}

void counters_init(struct counters *counters)
{
	*counters = (struct counters){.rules_fd = -1, .entries_fd = -1};
}

static void close_region(int *fd, _Atomic uint32_t **cells, size_t count)
{
	shared_unmap_cells(*cells, count);
	*cells = NULL;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void counters_close(struct counters *counters)
{
	close_region(&counters->rules_fd, &counters->rules, counters->rule_cells);
	close_region(&counters->entries_fd, &counters->entries, counters->entry_cells);
}

static enum err make_region(const char *name, size_t cells, int *fd, _Atomic uint32_t **out)
{
	enum err err = shared_new(name, counters_bytes(cells), fd);

	if (err == ERR_NONE)
		*out = shared_map(*fd, counters_bytes(cells), true);
	return err ? err : *out ? ERR_NONE : ERR_SYSTEM;
}

static enum err share_entries(struct counters *counters, const struct counters *previous)
{
	counters->entry_cells = previous->entry_cells;
	counters->entries_fd = fcntl(previous->entries_fd, F_DUPFD_CLOEXEC, 0);
	if (counters->entries_fd < 0)
		return ERR_SYSTEM;
	counters->entries = shared_map(counters->entries_fd, counters_bytes(counters->entry_cells), true);
	return counters->entries ? ERR_NONE : ERR_SYSTEM;
}

enum err counters_make(struct counters *counters, const struct policy *policy, const struct counters *previous)
{
	struct policy_stats stats;
	enum err err;

	policy_stats(policy, &stats);
	counters_init(counters);
	counters->rule_cells = (stats.rules + 1) * POLICY_QUESTION_COUNT;
	err = make_region("sallyport-rule-hits", counters->rule_cells, &counters->rules_fd, &counters->rules);
	if (err)
		return err;
	if (previous && previous->entry_cells >= stats.counters)
		return share_entries(counters, previous);
	/* Room to grow: what a few entries more need is here already. */
	counters->entry_cells = stats.counters + stats.counters / 4 + CELLS_MIN;
	return make_region("sallyport-entry-hits", counters->entry_cells, &counters->entries_fd, &counters->entries);
}

static uint32_t get(const _Atomic uint32_t *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

static void set(_Atomic uint32_t *cell, uint32_t value)
{
	atomic_store_explicit(cell, value, memory_order_relaxed);
}

static void take_over_row(struct counters *counters, uint32_t rule, const struct counters *previous, uint32_t old)
{
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		set(&counters->rules[counters_rule_cell(counters->rule_cells, rule, (enum policy_question)q)],
		    get(&previous->rules[counters_rule_cell(previous->rule_cells, old, (enum policy_question)q)]));
}

/* ---- rules by name ---- */

struct named {
	struct span name;
	uint32_t rule;
};

static int compare_named(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
	int order = len ? memcmp(x->name.at, y->name.at, len) : 0;

	if (order)
		return order;
	if (x->name.len != y->name.len)
		return x->name.len < y->name.len ? -1 : 1;
	return x->rule < y->rule ? -1 : x->rule > y->rule;
}

static struct named *sort_rules(const struct policy *policy, size_t count)
{
	struct named *rules = calloc(count + 1, sizeof(*rules));

	for (uint32_t i = 0; rules && i < count; i++)
		rules[i] = (struct named){policy_rule_name(policy, i), i};
	if (rules)
		qsort(rules, count, sizeof(*rules), compare_named);
	return rules;
}

/* The n-th rule of a name is the n-th of that name before: names should be one of a kind, but need not. */
static void take_over_sorted(struct counters *counters, const struct named *rules, size_t count,
                             const struct counters *previous, const struct named *old, size_t old_count)
{
	for (size_t i = 0, j = 0; i < count && j < old_count;) {
		struct named one = {rules[i].name, 0}, other = {old[j].name, 0};
		int order = compare_named(&one, &other);

		if (order == 0)
			take_over_row(counters, rules[i].rule, previous, old[j].rule);
		i += order <= 0;
		j += order >= 0;
	}
}

static void take_over_rules(struct counters *counters, const struct policy *policy, const struct counters *previous,
                            const struct policy *previous_policy)
{
	size_t count = counters->rule_cells / POLICY_QUESTION_COUNT - 1;
	size_t old_count = previous->rule_cells / POLICY_QUESTION_COUNT - 1;
	struct named *rules = sort_rules(policy, count), *old = sort_rules(previous_policy, old_count);

	take_over_row(counters, POLICY_NO_RULE, previous, POLICY_NO_RULE);
	if (rules && old)
		take_over_sorted(counters, rules, count, previous, old, old_count);
	else
		log_event(EV_SYSTEM, "what=rule-counters error=%s: they begin anew", err_name(ERR_MEMORY));
	free(rules);
	free(old);
}

void counters_take_over(struct counters *counters, const struct policy *policy, const struct counters *previous,
                        const struct policy *previous_policy)
{
	bool is_shared = previous->entry_cells == counters->entry_cells;
	size_t count = policy_entry_count(policy), old_count = policy_entry_count(previous_policy);

	take_over_rules(counters, policy, previous, previous_policy);
	for (uint32_t i = 0; i < old_count; i++) {
		bool is_kept = i < count && policy_has_entry(policy, i);

		if (!is_kept && is_shared)
			set(&counters->entries[i], 0);
		else if (is_kept && !is_shared)
			set(&counters->entries[i], get(&previous->entries[i]));
	}
}
