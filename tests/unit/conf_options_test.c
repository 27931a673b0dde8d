/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables: every type, its range and default, and what a person is told who errs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/conf.h"

struct inner {
	uint64_t count;
	const char *name;
};

struct all {
	bool flag;
	uint64_t count, size, time;
	const char *text, *path;
	int choice;
	struct conf_networks networks;
	struct conf_texts texts;
	struct conf_text_map map;
	struct inner group;
	struct conf_groups groups;
	int parsed;
};

static void parse_parity(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	*(int *)at = 0;
	if (node && span_equal(node->text, SPAN("odd")))
		*(int *)at = 1;
	else if (node && !span_equal(node->text, SPAN("even")))
		conf_problem(loading, PROBLEM_ERROR, node, "parsed: write odd or even");
}

static void check_count(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	if (*(const uint64_t *)at == 13)
		conf_problem(loading, PROBLEM_ERROR, node, "count: 13 brings bad luck");
}

static void check_text(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	if (strcmp(*(const char *const *)at, "bad") == 0)
		conf_problem(loading, PROBLEM_ERROR, node, "text: is bad");
}

static const struct conf_choice colours[] = {{"red", 1}, {"green", 2}, {"dark-blue", 3}, {NULL, 0}};

static const struct conf_option inner_options[] = {
	{.name = "count", .type = CONF_COUNT, .offset = CONF_AT(struct inner, count), .min = 1, .max = 9,
	 .preset = "3", .manual = "How many."},
	{.name = "name", .type = CONF_TEXT, .offset = CONF_AT(struct inner, name), .preset = NULL,
	 .min = 1, .max = 5, .manual = "Its name."},
	CONF_END};

static const struct conf_option group_options[] = {
	{.name = "count", .type = CONF_COUNT, .offset = CONF_AT(struct inner, count), .min = 1, .max = 9,
	 .preset = "4", .manual = "How many."},
	CONF_END};

static const struct conf_option options[] = {
	{.name = "flag", .type = CONF_BOOL, .offset = CONF_AT(struct all, flag), .preset = "yes",
	 .manual = "A flag."},
	{.name = "count", .type = CONF_COUNT, .offset = CONF_AT(struct all, count), .min = 1, .max = 100,
	 .preset = "7", .reload = CONF_RESTART, .check = check_count, .manual = "A count."},
	{.name = "size", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct all, size), .min = 1024,
	 .max = 1 << 20, .preset = "64K", .reload = CONF_NEW_SESSIONS, .manual = "A size."},
	{.name = "time", .type = CONF_TIME_MS, .offset = CONF_AT(struct all, time), .min = 0, .max = 3600000,
	 .preset = "10s", .manual = "A time."},
	{.name = "text", .type = CONF_TEXT, .offset = CONF_AT(struct all, text), .max = 10, .preset = "",
	 .check = check_text, .manual = "A text."},
	{.name = "path", .type = CONF_PATH, .offset = CONF_AT(struct all, path), .preset = "",
	 .manual = "A path."},
	{.name = "choice", .type = CONF_CHOICE, .offset = CONF_AT(struct all, choice), .choices = colours,
	 .preset = "green", .manual = "A colour."},
	{.name = "networks", .type = CONF_NETWORKS, .offset = CONF_AT(struct all, networks),
	 .preset = "[10.0.0.0/8]", .manual = "Networks."},
	{.name = "texts", .type = CONF_TEXTS, .offset = CONF_AT(struct all, texts), .preset = "[a, b]",
	 .manual = "Texts."},
	{.name = "map", .type = CONF_TEXT_MAP, .offset = CONF_AT(struct all, map), .preset = "",
	 .manual = "A map."},
	{.name = "group", .type = CONF_GROUP, .offset = CONF_AT(struct all, group), .group = group_options,
	 .preset = "", .manual = "A group."},
	{.name = "groups", .type = CONF_GROUPS, .offset = CONF_AT(struct all, groups), .group = inner_options,
	 .item_bytes = sizeof(struct inner), .preset = "", .manual = "Groups."},
	{.name = "parsed", .type = CONF_PARSED, .offset = CONF_AT(struct all, parsed), .preset = "even",
	 .parse = parse_parity, .type_text = "odd or even", .manual = "Parity."},
	CONF_END};

static struct arena arena;
static struct problems problems;
static struct all all;

static int open_all(void **state)
{
	(void)state;
	arena_init(&arena, 1 << 20);
	problems_init(&problems);
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	arena_fini(&arena);
	problems_fini(&problems);
	return 0;
}

static enum err load(const char *text)
{
	return conf_load(span_from(text), "/etc/sp/x.yaml", options, &arena, &problems, &all, sizeof(all));
}

static void must_load(const char *text)
{
	if (load(text) != ERR_NONE)
		fail_msg("%s: %u:%u: %s", text, problems.first->line, problems.first->column,
		         problems.first->text);
}

static void defaults_are_as_written(void **state)
{
	(void)state;
	must_load("");
	assert_true(all.flag);
	assert_int_equal(all.count, 7);
	assert_int_equal(all.size, 65536);
	assert_int_equal(all.time, 10000);
	assert_string_equal(all.text, "");
	assert_string_equal(all.path, "");
	assert_int_equal(all.choice, 2);
	assert_int_equal(all.networks.count, 1);
	assert_int_equal(all.texts.count, 2);
	assert_string_equal(all.texts.at[1], "b");
	assert_int_equal(all.map.count, 0);
	assert_int_equal(all.group.count, 4);
	assert_int_equal(all.groups.count, 0);
	assert_int_equal(all.parsed, 0);
}

static void every_type_is_read(void **state)
{
	const struct inner *inner;

	(void)state;
	must_load("flag: Off\ncount: 100\nsize: 1M\ntime: 250ms\ntext: \"7\"\npath: run/x\nchoice: dark-blue\n"
	          "networks: [10.0.0.0/8:443, 'fd00::/8']\ntexts: one\nmap: {a: b, c: ''}\ngroup: {count: 9}\n"
	          "groups:\n- {name: x}\n- {name: y, count: 1}\nparsed: odd\n");
	assert_false(all.flag);
	assert_int_equal(all.count, 100);
	assert_int_equal(all.size, 1 << 20);
	assert_int_equal(all.time, 250);
	assert_string_equal(all.text, "7");
	assert_string_equal(all.path, "/etc/sp/run/x");
	assert_int_equal(all.choice, 3);
	assert_int_equal(all.networks.count, 2);
	assert_int_equal(all.networks.at[0].port_first, 443);
	assert_int_equal(all.texts.count, 1);
	assert_string_equal(all.texts.at[0], "one");
	assert_int_equal(all.map.count, 2);
	assert_string_equal(all.map.at[0].name, "a");
	assert_string_equal(all.map.at[0].text, "b");
	assert_int_equal(all.map.at[0].line, 10);
	assert_int_equal(all.group.count, 9);
	assert_int_equal(all.groups.count, 2);
	inner = all.groups.at;
	assert_int_equal(inner[0].count, 3);
	assert_string_equal(inner[1].name, "y");
	assert_int_equal(all.parsed, 1);
}

static void paths_are_seen_from_their_file(void **state)
{
	(void)state;
	must_load("path: /abs/x\n");
	assert_string_equal(all.path, "/abs/x");
	must_load("path:\n");
	assert_string_equal(all.path, "");
	assert_int_equal(conf_load(SPAN("path: x"), "x.yaml", options, &arena, &problems, &all, sizeof(all)),
	                 ERR_NONE);
	assert_string_equal(all.path, "x");
}

static void one_error_is_told_with_its_place(void **state)
{
	static const struct {
		const char *text;
		unsigned line, column;
		const char *what;
	} rows[] = {
		{"flag: maybe", 1, 7, "neither true nor false"},
		{"flag: [true]", 1, 7, "expected true or false"},
		{"flag:", 1, 6, "true or false"},
		{"count: 0", 1, 8, "1 to 100"},
		{"count: 101", 1, 8, "out of range"},
		{"count: -1", 1, 8, "whole number"},
		{"count: 1.5", 1, 8, "whole number"},
		{"count: 1K", 1, 8, "whole number"},
		{"count: 99999999999999999999", 1, 8, "whole number"},
		{"count: 13", 1, 8, "bad luck"},
		{"size: 1023", 1, 7, "1K to 1M"},
		{"size: 64k", 1, 7, "size such as"},
		{"size: 64 K", 1, 7, "size such as"},
		{"size: 99999999999999999G", 1, 7, "size such as"},
		{"time: 10", 1, 7, "time such as"},
		{"time: 2h", 1, 7, "1h"},
		{"time: 1 s", 1, 7, "time such as"},
		{"text: bad", 1, 7, "is bad"},
		{"text: {a: b}", 1, 7, "expected a text"},
		{"choice: blue", 1, 9, "it can be red, green, dark-blue"},
		{"choice: gren", 1, 9, "did you mean green?"},
		{"networks: 10.0.0.1/8", 1, 11, "not a network"},
		{"networks: [10.0.0.0/8, x]", 1, 24, "not a network"},
		{"networks: [[a]]", 1, 12, "expected"},
		{"texts: [a, [b]]", 1, 12, "expected"},
		{"texts: {a: b}", 1, 8, "expected"},
		{"map: [a]", 1, 6, "mapping"},
		{"map: {a: [b]}", 1, 10, "text"},
		{"group: 3", 1, 8, "mapping"},
		{"group: {count: 10}", 1, 16, "1 to 9"},
		{"group: {cont: 1}", 1, 9, "did you mean count?"},
		{"groups: {a: b}", 1, 9, "list"},
		{"groups:\n- x", 2, 3, "mapping"},
		{"groups:\n- {count: 1}", 2, 3, "name is missing"},
		{"parsed: none", 1, 9, "odd or even"},
		{"cuont: 1", 1, 1, "did you mean count?"},
		{"xyzzy: 1", 1, 1, "unknown key \"xyzzy\""},
		{"- a", 1, 1, "mapping"},
		{"abc", 1, 1, "mapping"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		enum err err = load(rows[i].text);
		const struct problem *problem = problems.first;

		if (err != ERR_CONFIG || problem == NULL)
			fail_msg("\"%s\" is taken", rows[i].text);
		if (problems.error_count != 1 || problem->line != rows[i].line ||
		    problem->column != rows[i].column || strstr(problem->text, rows[i].what) == NULL)
			fail_msg("\"%s\": %zu errors, first %u:%u: %s", rows[i].text, problems.error_count,
			         problem->line, problem->column, problem->text);
		problems_fini(&problems);
	}
}

/* One fault is told once: nothing is too large here. */
static void a_text_of_wrong_length_is_one_error(void **state)
{
	(void)state;
	assert_int_equal(load("text: 12345678901"), ERR_CONFIG);
	assert_non_null(strstr(problems.first->text, "0 to 10 bytes"));
	assert_int_equal(problems.error_count, 1);
}

static void a_far_name_is_not_offered(void **state)
{
	static const char *const names[] = {"count", "choice", "path"};

	(void)state;
	assert_string_equal(conf_nearest(SPAN("cout"), names, COUNT_OF(names)), "count");
	assert_string_equal(conf_nearest(SPAN("paht"), names, COUNT_OF(names)), "path");
	assert_null(conf_nearest(SPAN("zebra"), names, COUNT_OF(names)));
	assert_null(conf_nearest(SPAN("a very long text that is longer than anything that could be meant by it"),
	                         names, COUNT_OF(names)));
	assert_null(conf_nearest(SPAN("x"), names, 0));
}

static bool has_problem(unsigned line, unsigned column)
{
	for (const struct problem *p = problems.first; p; p = p->next)
		if (p->line == line && p->column == column)
			return true;
	return false;
}

static void all_errors_come_at_once(void **state)
{
	static const struct {
		unsigned line, column;
	} places[] = {{1, 7}, {2, 8}, {3, 1}, {4, 7}, {5, 16}, {6, 12}, {8, 11}, {9, 3}};

	(void)state;
	assert_int_equal(load("flag: maybe\ncount: 1000\nunknown: 1\ntime: soon\ngroup: {count: 99}\n"
	                      "networks: [x]\ngroups:\n- {count: x, name: b}\n- {count: 2}\n"), ERR_CONFIG);
	assert_int_equal(problems.error_count, COUNT_OF(places));
	for (size_t i = 0; i < COUNT_OF(places); i++)
		if (!has_problem(places[i].line, places[i].column))
			fail_msg("nothing at %u:%u", places[i].line, places[i].column);
}

/* What a check finds is an error like any other: it comes with the others. */
static void errors_of_checks_come_with_the_others(void **state)
{
	(void)state;
	assert_int_equal(load("count: 13\ntext: bad\n"), ERR_CONFIG);
	assert_true(has_problem(1, 8));
	assert_true(has_problem(2, 7));
}

static void units_are_exact(void **state)
{
	static const struct {
		const char *text;
		bool time_ok, size_ok;
		uint64_t time, size;
	} rows[] = {
		{"0", true, true, 0, 0},
		{"250ms", true, false, 250, 0},
		{"10s", true, false, 10000, 0},
		{"5m", true, false, 300000, 0},
		{"2h", true, false, 7200000, 0},
		{"7d", true, false, 604800000, 0},
		{"64K", false, true, 0, 65536},
		{"16M", false, true, 0, 16777216},
		{"1G", false, true, 0, 1073741824},
		{"12", false, true, 0, 12},
		{"", false, false, 0, 0},
		{"s", false, false, 0, 0},
		{"1w", false, false, 0, 0},
		{"1S", false, false, 0, 0},
		{"-1s", false, false, 0, 0},
		{"1s ", false, false, 0, 0},
		{"213503982334d", true, false, UINT64_C(213503982334) * 86400000, 0},
		{"213503982335d", false, false, 0, 0},
		{"17179869183G", false, true, 0, UINT64_C(17179869183) << 30},
		{"17179869184G", false, false, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint64_t time = 0, size = 0;
		bool time_ok = conf_parse_time_ms(span_from(rows[i].text), &time);
		bool size_ok = conf_parse_size_bytes(span_from(rows[i].text), &size);

		if (time_ok != rows[i].time_ok || size_ok != rows[i].size_ok ||
		    (time_ok && time != rows[i].time) || (size_ok && size != rows[i].size))
			fail_msg("\"%s\"", rows[i].text);
	}
}

static void the_manual_has_every_option(void **state)
{
	static const char *const parts[] = {
		"flag\n    boolean; default yes; a reload changes it at once\n    A flag.\n",
		"count\n    number, 1 to 100; default 7; only a restart changes it\n",
		"size\n    size, 1K to 1M; default 64K; a reload changes it for new sessions\n",
		"choice\n    choice: red, green, dark-blue; default green;",
		"group.count\n", "groups[].name\n    text; required;", "parsed\n    odd or even; default even;",
	};
	struct buf out;
	char *text;

	(void)state;
	buf_init(&out, 100000);
	conf_reference(options, &out);
	text = buf_to_string(&out);
	buf_fini(&out);
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		if (strstr(text, parts[i]) == NULL)
			fail_msg("\"%s\" is not in:\n%s", parts[i], text);
	free(text);
}

int main(void)
{
#define ONE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
	const struct CMUnitTest tests[] = {
		ONE(defaults_are_as_written),
		ONE(every_type_is_read),
		ONE(paths_are_seen_from_their_file),
		ONE(one_error_is_told_with_its_place),
		ONE(a_text_of_wrong_length_is_one_error),
		ONE(a_far_name_is_not_offered),
		ONE(all_errors_come_at_once),
		ONE(errors_of_checks_come_with_the_others),
		ONE(units_are_exact),
		ONE(the_manual_has_every_option),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
