/* SPDX-License-Identifier: Apache-2.0 */
/* An entry's index is that of its counter: it stays the entry's own over reloads. And the counter itself: count and day in 32 bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "policy_rig.h"

#define POLICY_AB "lists: {a: a.list, b: b.list}\n" \
	"rules:\n- {name: one, when: {to: a}, then: {access: deny}}\n- {name: two, when: {to: b}, then: {access: deny}}\n" \
	"defaults: {access: allow}\n"

/* One load after the other, in one folder. */
struct load {
	void *image;
	struct policy *policy;
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

static struct load load(const char *policy, const char *a, const char *b, const struct load *previous)
{
	struct policy_compile_options options = {.previous = previous ? previous->policy : NULL};
	struct load next;
	char path[100];
	size_t bytes;

	policy_rig_write(&rig, "policy.yaml", span_from(policy));
	policy_rig_write(&rig, "a.list", span_from(a));
	policy_rig_write(&rig, "b.list", span_from(b));
	policy_rig_path(&rig, "policy.yaml", path);
	assert_int_equal(policy_compile_with(path, &options, &rig.problems, &next.image, &bytes), ERR_NONE);
	assert_int_equal(policy_open(next.image, bytes, &next.policy), ERR_NONE);
	return next;
}

static void unload(struct load *one)
{
	policy_close(one->policy);
	free(one->image);
}

/* The index of the n-th entry with this text in a file, by lines; UINT32_MAX: there is none. */
static uint32_t index_of(const struct load *one, const char *file, const char *text, unsigned line)
{
	struct policy_entry entry;

	for (uint32_t i = 0; i < policy_entry_count(one->policy); i++)
		if (policy_entry(one->policy, i, &entry) && span_equal(entry.file, span_from(file)) &&
		    span_equal(entry.text, span_from(text)) && (line == 0 || entry.line == line))
			return i;
	return UINT32_MAX;
}

static void expect_same(const struct load *old, const struct load *next, const char *file, const char *text)
{
	uint32_t index = index_of(old, file, text, 0);

	assert_int_not_equal(index, UINT32_MAX);
	assert_int_equal(index_of(next, file, text, 0), index);
}

static const char all_kinds[] = "one.test\n*.one.test\n.one.test ports=443\n10.0.0.0/8\n2001:db8::/32\n*x*.one.test\n"
                                "/^two[0-9]$/\n";
static const char *const texts[] = {"one.test", "*.one.test", ".one.test", "10.0.0.0/8", "2001:db8::/32", "*x*.one.test",
                                    "/^two[0-9]$/"};

static void entries_keep_their_index_where_lines_move(void **state)
{
	struct load first = load(POLICY_AB, all_kinds, "one.test\n", NULL);
	struct load moved = load(POLICY_AB, "# more\nnew.test\n\n/^two[0-9]$/ expires=2099-01-01\n*x*.one.test\n10.0.0.0/8\nnew2.test\n"
	                                    "2001:db8::/32\n.one.test ports=443 owner=me\n*.one.test\none.test # last\n/new/\n",
	                         "zzz.test\none.test\n", &first);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		expect_same(&first, &moved, "a.list", texts[i]);
	expect_same(&first, &moved, "b.list", "one.test");
	/* The new ones have numbers of their own. */
	assert_true(index_of(&moved, "a.list", "new.test", 0) >= policy_entry_count(first.policy));
	unload(&first);
	unload(&moved);
}

/* Lists are known by their names: in what order they stand, in how many files, and which rules use them, means nothing. */
static void lists_and_rules_may_change(void **state)
{
	struct load first = load(POLICY_AB, all_kinds, "one.test\nb.test\n", NULL);
	struct load other = load("lists: {new: b.list, b: b.list, a: [b.list, a.list]}\n"
	                         "rules:\n- {name: three, when: {to: [b, a], port: 22}, then: {tls: inspect}}\n"
	                         "- {name: four, when: {to: new}, then: {access: deny}}\ndefaults: {access: deny}\n",
	                         all_kinds, "one.test\nb.test\n", &first);
	struct policy_entry entry;
	uint32_t index = index_of(&first, "b.list", "b.test", 0);

	(void)state;
	for (size_t i = 1; i < COUNT_OF(texts); i++) /* the first is in b.list, too, which comes first now */
		expect_same(&first, &other, "a.list", texts[i]);
	/* b.test is in three lists now; that of the list b has the index. */
	assert_true(policy_entry(other.policy, index, &entry));
	assert_true(span_equal(entry.text, SPAN("b.test")));
	assert_true(span_equal(policy_list_name(other.policy, entry.list), SPAN("b")));
	unload(&first);
	unload(&other);
}

static void a_renamed_list_begins_anew(void **state)
{
	struct load first = load(POLICY_AB, "one.test\n", "b.test\n", NULL);
	struct load other = load("lists: {c: a.list, b: b.list}\nrules:\n- {name: one, when: {to: [b, c]}, then: {access: deny}}\n"
	                         "defaults: {access: deny}\n", "one.test\n", "b.test\n", &first);

	(void)state;
	expect_same(&first, &other, "b.list", "b.test");
	assert_int_not_equal(index_of(&first, "a.list", "one.test", 0), index_of(&other, "a.list", "one.test", 0));
	unload(&first);
	unload(&other);
}

/* A hole for one load, so that what still counts for the old policy counts for nobody; then it is free. */
static void a_removed_entry_leaves_a_hole(void **state)
{
	struct load first = load(POLICY_AB, "one.test\ntwo.test\n/three/\nfour.test\n", "", NULL);
	uint32_t hole = index_of(&first, "a.list", "two.test", 0), scan = index_of(&first, "a.list", "/three/", 0);
	struct load second = load(POLICY_AB, "one.test\nnew.test\nfour.test\n/new/\n", "", &first);
	struct load third = load(POLICY_AB, "one.test\nnew.test\nfour.test\n/new/\nnewer.test\n*newest*.test\n", "", &second);
	struct policy_stats stats;

	(void)state;
	assert_false(policy_has_entry(second.policy, hole));
	assert_false(policy_has_entry(second.policy, scan));
	policy_stats(second.policy, &stats);
	assert_int_equal(stats.entries, 4);
	assert_int_equal(stats.counters, 6);
	expect_same(&second, &third, "a.list", "new.test");
	expect_same(&second, &third, "a.list", "/new/");
	assert_true(policy_has_entry(third.policy, hole) && policy_has_entry(third.policy, scan));
	policy_stats(third.policy, &stats);
	assert_int_equal(stats.counters, 6);
	unload(&first);
	unload(&second);
	unload(&third);
}

static void other_ports_are_another_entry(void **state)
{
	struct load first = load(POLICY_AB, "one.test ports=443\ntwo.test ports=80,443\n/x/ ports=1-5\nthree.test\n", "", NULL);
	struct load other = load(POLICY_AB, "one.test ports=444\ntwo.test ports=443,80\n/x/ ports=1-6\nthree.test expires=2099-01-01\n",
	                         "", &first);

	(void)state;
	assert_int_not_equal(index_of(&first, "a.list", "one.test", 0), index_of(&other, "a.list", "one.test", 0));
	assert_int_not_equal(index_of(&first, "a.list", "two.test", 0), index_of(&other, "a.list", "two.test", 0));
	assert_int_not_equal(index_of(&first, "a.list", "/x/", 0), index_of(&other, "a.list", "/x/", 0));
	expect_same(&first, &other, "a.list", "three.test"); /* when it ends is no other entry */
	unload(&first);
	unload(&other);
}

/* The same line twice is one entry; the same with another end is two, which keep their order. */
static void the_same_again(void **state)
{
	struct load first = load(POLICY_AB, "one.test\none.test\none.test ports=22\n/x/\n/x/\n", "one.test\n", NULL);
	struct load second = load(POLICY_AB, "one.test ports=22\none.test\n/x/\n/x/\n/x/\none.test\n", "one.test\none.test\n", &first);

	(void)state;
	assert_int_equal(index_of(&first, "a.list", "one.test", 2), UINT32_MAX);
	assert_int_equal(index_of(&second, "a.list", "one.test", 1), index_of(&first, "a.list", "one.test", 3));
	assert_int_equal(index_of(&second, "a.list", "one.test", 2), index_of(&first, "a.list", "one.test", 1));
	assert_int_equal(index_of(&second, "a.list", "/x/", 3), index_of(&first, "a.list", "/x/", 4));
	assert_int_equal(index_of(&second, "a.list", "/x/", 4), index_of(&first, "a.list", "/x/", 5));
	assert_int_equal(index_of(&second, "b.list", "one.test", 1), index_of(&first, "b.list", "one.test", 1));
	unload(&first);
	unload(&second);
}

static void patterns_in_rules_keep_theirs(void **state)
{
	struct load first = load("rules:\n- {name: r, when: {to: [one.test, '*.two.test', 10.0.0.0/8, '/^x$/']}, then: {access: deny}}\n"
	                         "defaults: {access: allow}\n", "", "", NULL);
	struct load other = load("lists: {a: a.list}\nrules:\n- {name: q, when: {to: [new.test, a]}, then: {access: deny}}\n"
	                         "- {name: r, when: {to: ['/^x$/', '*.two.test', three.test, 10.0.0.0/8]}, then: {access: deny}}\n"
	                         "- {name: s, when: {sni: one.test}, then: {access: deny}}\ndefaults: {access: allow}\n",
	                         "one.test\n", "", &first);

	(void)state;
	expect_same(&first, &other, "policy.yaml", "one.test");
	expect_same(&first, &other, "policy.yaml", "*.two.test");
	expect_same(&first, &other, "policy.yaml", "10.0.0.0/8");
	expect_same(&first, &other, "policy.yaml", "/^x$/");
	unload(&first);
	unload(&other);
}

/* Another tenth each time, and the whole turned round: who stays keeps his number, and nobody has another's. */
static void many_entries_over_many_loads(void **state)
{
	enum { ENTRIES = 50000, LOADS = 4 };
	static uint32_t numbers[LOADS][ENTRIES * 2];
	struct load loads[LOADS];
	struct policy_entry entry;
	uint64_t id;

	(void)state;
	memset(numbers, 0xff, sizeof(numbers));
	for (unsigned n = 0; n < LOADS; n++) {
		struct buf text;

		buf_init(&text, 16 << 20);
		for (unsigned i = 0; i < ENTRIES; i++) {
			unsigned at = n % 2 ? ENTRIES - 1 - i : i;

			if (at % 10 != n)
				buf_printf(&text, at % 1000 == 7 ? "/^h%u\\.test$/\n" : "h%u.test\n", at % 10 == 9 ? at + ENTRIES * (n / 2) : at);
		}
		buf_add_byte(&text, 0);
		loads[n] = load(POLICY_AB, (const char *)buf_span(&text).at, "", n ? &loads[n - 1] : NULL);
		buf_fini(&text);
		for (uint32_t i = 0; i < policy_entry_count(loads[n].policy); i++) {
			if (!policy_entry(loads[n].policy, i, &entry))
				continue;
			entry.text = span_skip(entry.text, span_find(entry.text, 'h') + 1);
			assert_true(span_to_uint(span_first(entry.text, span_find(entry.text, entry.text.at[entry.text.len - 1] == '/' ? '\\' : '.')),
			                         ENTRIES * 2 - 1, &id));
			assert_int_equal(numbers[n][id], UINT32_MAX);
			numbers[n][id] = i;
		}
		for (uint32_t i = 0; n && i < ENTRIES * 2; i++)
			if (numbers[n][i] != UINT32_MAX && numbers[n - 1][i] != UINT32_MAX)
				assert_int_equal(numbers[n][i], numbers[n - 1][i]);
	}
	/* Holes are used again: a tenth comes and a tenth goes. */
	assert_true(policy_entry_count(loads[LOADS - 1].policy) < ENTRIES + ENTRIES / 4);
	for (unsigned n = 0; n < LOADS; n++)
		unload(&loads[n]);
}

/* Far more of one key than anybody writes: that the next load ends is what is asked for, not that all keep theirs. */
static void one_key_again_and_again(void **state)
{
	enum { TIMES = 40000 };
	struct load first, second;
	struct policy_stats stats;
	struct buf text;

	(void)state;
	buf_init(&text, 16 << 20);
	for (unsigned i = 0; i < TIMES; i++)
		buf_printf(&text, "%s expires=2%03u-%02u-%02u\n", i % 4 ? "same.test" : "/^same[.]test$/", 100 + i / 336 % 800, i / 28 % 12 + 1, i % 28 + 1);
	buf_add_byte(&text, 0);
	first = load(POLICY_AB, (const char *)buf_span(&text).at, "one.test\n", NULL);
	second = load(POLICY_AB, (const char *)buf_span(&text).at, "one.test\n", &first);
	buf_fini(&text);
	expect_same(&first, &second, "b.list", "one.test");
	policy_stats(second.policy, &stats);
	assert_int_equal(stats.entries, TIMES + 1);
	assert_true(stats.counters <= 2 * TIMES + 2);
	unload(&first);
	unload(&second);
}

/* ---- the counter ---- */

#define DAY_MS UINT64_C(86400000)
#define TODAY_MS UINT64_C(1795435200000) /* 2026-11-23T12:00:00Z */

static void hits_are_counted_by_day(void **state)
{
	_Atomic uint32_t cell = 0;

	(void)state;
	assert_int_equal(policy_hits_count(cell), 0);
	assert_int_equal(policy_hits_day(cell), 0);
	policy_hits_add(&cell, TODAY_MS);
	policy_hits_add(&cell, TODAY_MS + 1);
	assert_int_equal(policy_hits_count(cell), 2);
	assert_int_equal(policy_hits_day(cell), TODAY_MS / DAY_MS);
	policy_hits_add(&cell, TODAY_MS + DAY_MS);
	assert_int_equal(policy_hits_count(cell), 3);
	assert_int_equal(policy_hits_day(cell), TODAY_MS / DAY_MS + 1);
	/* Before the first day and behind the last that can be said. */
	policy_hits_add(&cell, 0);
	assert_int_equal(policy_hits_day(cell), 20453);
	policy_hits_add(&cell, UINT64_MAX);
	assert_int_equal(policy_hits_day(cell), 20453 + 4095);
	assert_int_equal(policy_hits_count(cell), 5);
}

static void hits_stop_at_their_most(void **state)
{
	_Atomic uint32_t cell = 0;

	(void)state;
	for (int i = 0; i < (1 << 20) + 10; i++) /* more than there are bits for */
		policy_hits_add(&cell, TODAY_MS);
	assert_int_equal(policy_hits_count(cell), POLICY_HITS_MAX);
	assert_int_equal(policy_hits_day(cell), TODAY_MS / DAY_MS);
	policy_hits_add(&cell, TODAY_MS + 3 * DAY_MS); /* the day goes on */
	assert_int_equal(policy_hits_count(cell), POLICY_HITS_MAX);
	assert_int_equal(policy_hits_day(cell), TODAY_MS / DAY_MS + 3);
	/* What a hostile worker writes. */
	assert_int_equal(policy_hits_count(UINT32_MAX), POLICY_HITS_MAX);
}

enum { ADDS = 100000 };

static void *add_many(void *context)
{
	_Atomic uint32_t *cell = context;

	for (unsigned i = 0; i < ADDS; i++)
		policy_hits_add(cell, TODAY_MS + i / (ADDS / 4) * DAY_MS);
	return NULL;
}

/* One that loses a race twice is left out; never is one counted that was none, and the day is one of those. */
static void two_threads_count(void **state)
{
	_Atomic uint32_t cell = 0;
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, &cell), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(policy_hits_count(cell) > ADDS && policy_hits_count(cell) <= 2 * ADDS);
	assert_true(policy_hits_day(cell) >= TODAY_MS / DAY_MS && policy_hits_day(cell) <= TODAY_MS / DAY_MS + 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(entries_keep_their_index_where_lines_move, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lists_and_rules_may_change, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_renamed_list_begins_anew, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_removed_entry_leaves_a_hole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(other_ports_are_another_entry, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_same_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(patterns_in_rules_keep_theirs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_entries_over_many_loads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_key_again_and_again, set_up, tear_down),
		cmocka_unit_test(hits_are_counted_by_day),
		cmocka_unit_test(hits_stop_at_their_most),
		cmocka_unit_test(two_threads_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
