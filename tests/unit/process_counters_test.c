/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of rules and entries over reloads: who keeps what was counted, who begins at zero, and when the region is another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <stdatomic.h>

#include "policy_rig.h"
#include "process/counters.h"

struct load {
	void *image;
	struct policy *policy;
	struct counters counters;
};

static struct policy_rig rig;

static int set_up(void **state)
{
	(void)state;
	policy_rig_init(&rig);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	policy_rig_fini(&rig);
	return 0;
}

static struct load load(const char *rules, const char *list, const struct load *previous)
{
	struct policy_compile_options options = {.previous = previous ? previous->policy : NULL};
	struct load next;
	struct buf text;
	char path[100];
	size_t bytes;

	buf_init(&text, 16 << 20);
	buf_printf(&text, "lists: {a: a.list}\nrules:\n");
	for (; *rules; rules++)
		buf_printf(&text, "- {name: %c, when: {to: a}, then: {access: deny, tls: bypass}}\n", *rules);
	buf_add_string(&text, "defaults: {access: allow}\n");
	policy_rig_write(&rig, "policy.yaml", buf_span(&text));
	buf_fini(&text);
	policy_rig_write(&rig, "a.list", span_from(list));
	policy_rig_path(&rig, "policy.yaml", path);
	assert_int_equal(policy_compile_with(path, &options, &rig.problems, &next.image, &bytes), ERR_NONE);
	assert_int_equal(policy_open_as(next.image, bytes, POLICY_FOR_READING, &next.policy), ERR_NONE);
	assert_int_equal(counters_make(&next.counters, next.policy, previous ? &previous->counters : NULL), ERR_NONE);
	return next;
}

static void take_over(struct load *next, struct load *previous)
{
	counters_take_over(&next->counters, next->policy, &previous->counters, previous->policy);
}

static void unload(struct load *one)
{
	counters_close(&one->counters);
	policy_close(one->policy);
	free(one->image);
}

static _Atomic uint32_t *rule_cell(const struct load *one, uint32_t rule, enum policy_question question)
{
	return &one->counters.rules[counters_rule_cell(one->counters.rule_cells, rule, question)];
}

/* Rule n has 10 + n for access, 20 + n for tls; defaults 5. */
static void count_rules(struct load *one, const char *rules)
{
	for (uint32_t i = 0; rules[i]; i++) {
		atomic_store(rule_cell(one, i, POLICY_ACCESS), 10 + i);
		atomic_store(rule_cell(one, i, POLICY_TLS), 20 + i);
	}
	atomic_store(rule_cell(one, POLICY_NO_RULE, POLICY_LOG), 5);
}

/* `from`: by rule, the place of the one whose count it has ('-': none). */
static void expect_rules(const char *before, const char *after, const char *from)
{
	struct load old = load(before, "x.test\n", NULL), next = load(after, "x.test\n", &old);

	count_rules(&old, before);
	take_over(&next, &old);
	for (uint32_t i = 0; after[i]; i++) {
		assert_int_equal(atomic_load(rule_cell(&next, i, POLICY_ACCESS)), from[i] == '-' ? 0 : 10 + from[i] - '0');
		assert_int_equal(atomic_load(rule_cell(&next, i, POLICY_TLS)), from[i] == '-' ? 0 : 20 + from[i] - '0');
		assert_int_equal(atomic_load(rule_cell(&next, i, POLICY_LOG)), 0);
	}
	assert_int_equal(atomic_load(rule_cell(&next, POLICY_NO_RULE, POLICY_LOG)), 5);
	unload(&next);
	unload(&old);
}

static void rules_are_known_by_name(void **state)
{
	(void)state;
	expect_rules("abc", "abc", "012");
	expect_rules("abc", "cab", "201");   /* moved */
	expect_rules("abc", "axbyc", "0-1-2");
	expect_rules("abc", "c", "2");       /* removed */
	expect_rules("abc", "abd", "01-");   /* renamed */
	expect_rules("", "abc", "---");
	expect_rules("aab", "aba", "021");   /* the second of a name is the second */
	expect_rules("aba", "aab", "021");
	expect_rules("ab", "aaab", "0--1");
	expect_rules("aaa", "a", "0");
}

static uint32_t index_of(const struct load *one, const char *text)
{
	struct policy_entry entry;

	for (uint32_t i = 0; i < policy_entry_count(one->policy); i++)
		if (policy_entry(one->policy, i, &entry) && span_equal(entry.text, span_from(text)))
			return i;
	fail_msg("there is no %s", text);
	return 0;
}

static uint32_t hits(const struct load *one, const char *text)
{
	return atomic_load(&one->counters.entries[index_of(one, text)]);
}

static void entries_share_a_region_while_it_is_large_enough(void **state)
{
	struct load first = load("a", "one.test\ntwo.test\nthree.test\n", NULL), second, third;
	uint32_t hole = index_of(&first, "two.test");

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		atomic_store(&first.counters.entries[i], 100 + i);
	second = load("a", "new.test\n# moved\nthree.test\none.test\n", &first);
	assert_int_equal(second.counters.entry_cells, first.counters.entry_cells);
	take_over(&second, &first);
	assert_int_equal(hits(&second, "one.test"), 100 + index_of(&first, "one.test"));
	assert_int_equal(hits(&second, "three.test"), 100 + index_of(&first, "three.test"));
	assert_int_equal(hits(&second, "new.test"), 0);
	assert_int_equal(atomic_load(&second.counters.entries[hole]), 0);
	/* A worker that has not switched over counts in the same memory. */
	atomic_fetch_add(&first.counters.entries[index_of(&first, "one.test")], 1);
	assert_int_equal(hits(&second, "one.test"), 101 + index_of(&first, "one.test"));
	/* One that decides by the old policy counts for what is a hole now: nobody has that when it comes. */
	third = load("a", "new.test\nthree.test\none.test\nnewer.test\n", &second);
	assert_int_equal(index_of(&third, "newer.test"), hole);
	take_over(&third, &second);
	assert_int_equal(hits(&third, "newer.test"), 0);
	unload(&first);
	unload(&second);
	unload(&third);
}

/* A load that was refused at the end leaves nothing. */
static void a_load_that_is_dropped_changes_nothing(void **state)
{
	struct load first = load("ab", "one.test\ntwo.test\n", NULL), dropped;

	(void)state;
	count_rules(&first, "ab");
	atomic_store(&first.counters.entries[0], 7);
	atomic_store(&first.counters.entries[1], 8);
	dropped = load("b", "two.test\nthree.test\n", &first);
	unload(&dropped);
	assert_int_equal(atomic_load(&first.counters.entries[0]), 7);
	assert_int_equal(atomic_load(&first.counters.entries[1]), 8);
	assert_int_equal(atomic_load(rule_cell(&first, 1, POLICY_ACCESS)), 11);
	unload(&first);
}

static void entries_move_into_a_larger_region(void **state)
{
	enum { MANY = 3000 };
	struct load first = load("a", "one.test\ntwo.test\nthree.test\n", NULL), second;
	struct buf text;

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		atomic_store(&first.counters.entries[i], 100 + i);
	buf_init(&text, 1 << 20);
	for (unsigned i = 0; i < MANY; i++)
		buf_printf(&text, "h%u.test\n%s", i, i == MANY / 2 ? "three.test\none.test\n" : "");
	buf_add_byte(&text, 0);
	second = load("a", (const char *)buf_span(&text).at, &first);
	buf_fini(&text);
	assert_true(second.counters.entry_cells >= MANY + 3);
	take_over(&second, &first);
	assert_int_equal(hits(&second, "one.test"), 100 + index_of(&first, "one.test"));
	assert_int_equal(hits(&second, "three.test"), 100 + index_of(&first, "three.test"));
	for (uint32_t i = 0, sum = 0; i < second.counters.entry_cells; i++) {
		sum += atomic_load(&second.counters.entries[i]) > 0;
		assert_true(sum <= 2);
	}
	unload(&first);
	/* The old region is gone, the new one is whole. */
	atomic_fetch_add(&second.counters.entries[second.counters.entry_cells - 1], 1);
	unload(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rules_are_known_by_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(entries_share_a_region_while_it_is_large_enough, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_load_that_is_dropped_changes_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(entries_move_into_a_larger_region, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
