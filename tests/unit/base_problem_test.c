/* SPDX-License-Identifier: Apache-2.0 */
/* Problems as text and as JSON: codes, the other place, and what is counted and not shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/problem.h"

static const struct problem_place here = {"a.list", 3, 1}, there = {"b \"q\".list", 7, 0};

static void check_text(const struct problems *problems, bool json, const char *expected)
{
	struct buf text;

	buf_init(&text, 1 << 20);
	(json ? problems_format_json : problems_format)(problems, &text);
	if (!span_equal(buf_span(&text), span_from(expected)))
		fail_msg("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

static void both_places_are_told(void **state)
{
	struct problems problems;

	(void)state;
	problems_init(&problems);
	check_text(&problems, false, "");
	check_text(&problems, true, "[]");
	problem_add_code(&problems, PROBLEM_COVERED_ENTRY, here, &there, "x is covered by %s", "y");
	problem_add_code(&problems, PROBLEM_NO_FILE, (struct problem_place){"", 0, 0}, NULL, "cannot");
	assert_int_equal(problems.warning_count, 1);
	assert_int_equal(problems.error_count, 1);
	check_text(&problems, false, "a.list:3:1: warning: x is covered by y [covered-entry]\nerror: cannot [no-file]\n");
	check_text(&problems, true,
	           "[{\"level\":\"warning\",\"code\":\"covered-entry\",\"file\":\"a.list\",\"line\":3,\"column\":1,"
	           "\"text\":\"x is covered by y\",\"related\":{\"file\":\"b \\\"q\\\".list\",\"line\":7}},"
	           "{\"level\":\"error\",\"code\":\"no-file\",\"file\":\"\",\"line\":0,\"column\":0,\"text\":\"cannot\"}]");
	problems_fini(&problems);
}

/* Of one code in one file; other codes and other files have room of their own. */
static void what_is_not_shown_is_counted(void **state)
{
	struct problems problems;
	size_t shown = 0;

	(void)state;
	problems_init(&problems);
	for (int i = 0; i < 1000; i++) {
		problem_add_code(&problems, PROBLEM_EXPIRED, here, NULL, "%d", i);
		problem_add_code(&problems, PROBLEM_EXPIRED, (struct problem_place){"c.list", 1, 1}, NULL, "%d", i);
		problem_add_code(&problems, PROBLEM_BAD_ENTRY, here, NULL, "%d", i);
	}
	problems_add_more(&problems, PROBLEM_EXPIRED, "a.list", 5);
	problems_add_more(&problems, PROBLEM_UNUSED_LIST, "d.yaml", 2);
	assert_int_equal(problems.warning_count, 2007);
	assert_int_equal(problems.error_count, 1000);
	for (const struct problem *p = problems.first; p; p = p->next)
		shown++;
	assert_int_equal(shown, 20 + 20 + 100);
	for (const struct problem_group *group = problems.groups; group; group = group->next)
		if (group->code == PROBLEM_EXPIRED)
			assert_int_equal(group->more, strcmp(group->file, "a.list") == 0 ? 985 : 980);
	problems_fini(&problems);
}

/* However many files there are, memory has its end, and the sum stays true. */
static void memory_has_its_end(void **state)
{
	struct problems problems;
	struct buf text;

	(void)state;
	problems_init(&problems);
	for (int i = 0; i < 10000; i++) {
		char file[32];

		snprintf(file, sizeof(file), "%d.list", i);
		problem_add_code(&problems, PROBLEM_EXPIRED, (struct problem_place){file, 1, 1}, NULL, "old");
	}
	assert_int_equal(problems.warning_count, 10000);
	assert_int_equal(problems.kept, 1000);
	buf_init(&text, 1 << 20);
	problems_format(&problems, &text);
	assert_true(span_ends_with(buf_span(&text), SPAN("\nand 6000 more\n")));
	buf_fini(&text);
	problems_fini(&problems);
}

static void they_can_be_read_from_above(void **state)
{
	static const struct problem_place places[] = {
		{"b.yaml", 9, 1}, {"a.list", 3, 7}, {"b.yaml", 2, 5}, {"", 0, 0}, {"a.list", 3, 1}, {"b.yaml", 2, 5},
	};
	struct problems problems;

	(void)state;
	problems_init(&problems);
	problems_sort(&problems);
	for (size_t i = 0; i < COUNT_OF(places); i++)
		problem_add_code(&problems, i == 5 ? PROBLEM_EXPIRED : PROBLEM_NO_FILE, places[i], NULL, "%zu", i);
	problems_sort(&problems);
	problem_add_code(&problems, PROBLEM_NO_FILE, (struct problem_place){"c", 1, 1}, NULL, "behind");
	check_text(&problems, false, "b.yaml:2:5: error: 2 [no-file]\nb.yaml:2:5: warning: 5 [expired]\n"
	                             "b.yaml:9:1: error: 0 [no-file]\na.list:3:1: error: 4 [no-file]\n"
	                             "a.list:3:7: error: 1 [no-file]\nerror: 3 [no-file]\nc:1:1: error: behind [no-file]\n");
	problems_fini(&problems);
}

static void codes_are_one_table(void **state)
{
	(void)state;
	for (int i = 0; i < PROBLEM_CODE_COUNT; i++) {
		const struct problem_row *row = problem_row((enum problem_code)i);

		assert_true(strlen(row->code) > 2 && strlen(row->meaning) > 2 && strlen(row->action) > 2);
		assert_null(strpbrk(row->code, " _ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(row->code, problem_row((enum problem_code)j)->code);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_places_are_told),
		cmocka_unit_test(what_is_not_shown_is_counted),
		cmocka_unit_test(memory_has_its_end),
		cmocka_unit_test(they_can_be_read_from_above),
		cmocka_unit_test(codes_are_one_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
