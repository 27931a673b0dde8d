/* SPDX-License-Identifier: Apache-2.0 */
/* include: which files are read, in what order their rules stand, and what is said where they are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <ftw.h>
#include <sys/stat.h>

#include "policy_rig.h"

#define RULE(name) "- {name: " name ", when: {to: " name ".test}, then: {access: deny}}\n"
#define END "defaults: {access: allow}\n"

static struct policy_rig rig;

static int set_up(void **state)
{
	(void)state;
	policy_rig_init(&rig);
	return 0;
}

static int remove_one(const char *path, const struct stat *file, int type, struct FTW *walk)
{
	(void)file;
	(void)type;
	(void)walk;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	policy_close(rig.policy);
	free(rig.image);
	problems_fini(&rig.problems);
	return nftw(rig.folder, remove_one, 10, FTW_DEPTH | FTW_PHYS);
}

/* A file, and the folders on the way to it. */
static void put(const char *name, const char *text)
{
	char path[200];
	FILE *file;

	for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(path, sizeof(path), "%s/%.*s", rig.folder, (int)(slash - name), name);
		mkdir(path, 0755);
	}
	snprintf(path, sizeof(path), "%s/%s", rig.folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void link_to(const char *target, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", rig.folder, name);
	assert_int_equal(symlink(target, path), 0);
}

static void print_problems(void)
{
	struct buf text;

	buf_init(&text, 100000);
	problems_format(&rig.problems, &text);
	for (struct span rest = buf_span(&text), line; span_split(&rest, '\n', &line);)
		print_message("%.*s\n", SPAN_ARG(line));
	buf_fini(&text);
}

static void expect_good(void)
{
	policy_rig_compile(&rig);
	if (rig.err)
		print_problems();
	assert_int_equal(rig.err, ERR_NONE);
}

static void expect_problem(const char *file, unsigned line, unsigned column, const char *text)
{
	for (const struct problem *p = rig.problems.first; p; p = p->next)
		if (p->level == PROBLEM_ERROR && p->line == line && p->column == column && strstr(p->text, text) &&
		    span_ends_with(span_from(p->file), span_from(file)))
			return;
	print_problems();
	fail_msg("nothing says %s:%u:%u: ... %s", file, line, column, text);
}

static void expect_refused(const char *file, unsigned line, unsigned column, const char *text)
{
	if (rig.err == ERR_NONE && rig.policy == NULL)
		policy_rig_compile(&rig);
	assert_int_equal(rig.err, ERR_CONFIG);
	expect_problem(file, line, column, text);
}

/* "name file:line", rule by rule. */
static void expect_rules(const char *wanted)
{
	struct policy_stats stats;
	struct buf text;

	policy_stats(rig.policy, &stats);
	buf_init(&text, 100000);
	for (uint32_t i = 0; i < stats.rules; i++) {
		unsigned line;
		struct span file = policy_rule_file(rig.policy, i, &line);

		buf_printf(&text, "%.*s %.*s:%u\n", SPAN_ARG(policy_rule_name(rig.policy, i)), SPAN_ARG(file), line);
	}
	buf_add_byte(&text, 0);
	assert_string_equal((const char *)buf_span(&text).at, wanted);
	buf_fini(&text);
}

static void rules_stand_where_they_are_included(void **state)
{
	(void)state;
	put("policy.yaml", "include: [last, one.yaml]\nrules:\n" RULE("a") "- include: site\n" RULE("z") "- include: [two.yaml, empty]\n" END);
	put("site/20-b.yaml", "rules:\n" RULE("b20"));
	put("site/10-b.yaml", "rules:\n\n" RULE("b10") RULE("b11"));
	put("site/9-b.yml", "rules:\n" RULE("b9"));
	put("site/Z.yaml", "rules:\n" RULE("bZ"));
	put("last/x.yaml", "rules:\n" RULE("x") "- include: ../two.yaml\n");
	put("one.yaml", "rules:\n" RULE("one"));
	put("two.yaml", "rules:\n" RULE("two"));
	put("empty/nothing.txt", "this is no policy: [\n");
	expect_good();
	expect_rules("a policy.yaml:3\nb10 site/10-b.yaml:3\nb11 site/10-b.yaml:4\nb20 site/20-b.yaml:2\nb9 site/9-b.yml:2\n"
	             "bZ site/Z.yaml:2\nz policy.yaml:5\ntwo two.yaml:2\nx last/x.yaml:2\ntwo last/../two.yaml:2\none one.yaml:2\n");
}

static void what_editors_leave_is_not_read(void **state)
{
	static const char *const names[] = {"d/.hidden.yaml", "d/a.yaml~", "d/a.yaml.dpkg-old", "d/#a.yaml#", "d/a.yaml.swp", "d/README",
	                                    "d/yaml", "d/.yaml", "d/a.YAML"};

	(void)state;
	put("policy.yaml", "include: d/\n" END);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		put(names[i], "this is no policy: [\n");
	put("d/a.yaml", "rules:\n" RULE("a"));
	expect_good();
	expect_rules("a d/a.yaml:2\n");
}

/* Paths from the file that says them, as people would name them from the first; lists are known to all. */
static void lists_are_known_to_all_files(void **state)
{
	struct policy_entry entry;

	(void)state;
	put("policy.yaml", "lists: {top: top.list}\nrules:\n- {name: a, when: {to: [deep, top]}, then: {access: deny}}\ninclude: in/x.yaml\n" END);
	put("in/x.yaml", "lists: {mid: lists/mid.list}\nrules:\n- {name: b, when: {to: [top, mid, deep]}, then: {access: deny}}\n"
	                 "- include: [more/y.yaml]\n");
	put("in/more/y.yaml", "lists: {deep: ../deep.list}\n");
	put("top.list", "top.test\n");
	put("in/lists/mid.list", "\nmid.test\n");
	put("in/deep.list", "\n\ndeep.test\n");
	expect_good();
	for (uint32_t i = 0; i < 3; i++) {
		static const char *const files[] = {"top.list", "in/lists/mid.list", "in/more/../deep.list"};

		assert_true(policy_entry(rig.policy, i, &entry));
		assert_true(span_equal(entry.file, span_from(files[i])));
		assert_int_equal(entry.line, i + 1);
	}
}

static void everything_is_said_at_once(void **state)
{
	(void)state;
	put("policy.yaml", "lists: {a: a.list}\ninclude: [in, none.yaml, /nowhere/at/all]\nrules:\n- {name: r, when: {to: nolist}, then: {acces: deny}}\n" END);
	put("a.list", "good.test\nbad test\n");
	put("in/1.yaml", "lists: {a: a.list, b: none.list}\ndefaults: {access: deny}\nrules:\n- {name: s}\n");
	put("in/2.yaml", "rules: [\n");
	put("in/3.yaml", "- one\n- two\n");
	put("in/4.yaml", "rule: []\n");
	put("in/a.list", "x.test\n");
	expect_refused("policy.yaml", 2, 15, "no file or folder");
	expect_problem("policy.yaml", 2, 26, "/nowhere/at/all");
	expect_problem("policy.yaml", 4, 24, "nolist");
	expect_problem("policy.yaml", 4, 40, "acces");
	expect_problem("a.list", 2, 5, "key=value");
	expect_problem("in/1.yaml", 1, 9, "named in");
	expect_problem("in/none.list", 0, 0, "cannot be read");
	expect_problem("in/1.yaml", 2, 1, "defaults: belongs into");
	expect_problem("in/1.yaml", 4, 3, "then:");
	expect_problem("in/2.yaml", 2, 1, "");
	expect_problem("in/3.yaml", 1, 1, "lists:, rules:");
	expect_problem("in/4.yaml", 1, 1, "rule");
}

static void no_file_includes_itself(void **state)
{
	(void)state;
	put("policy.yaml", "include: [policy.yaml, ./policy.yaml, link.yaml, ., a.yaml]\n" END);
	link_to("policy.yaml", "link.yaml");
	put("a.yaml", "include: b/\n");
	put("b/b.yaml", "include: ../a.yaml\n");
	expect_refused("policy.yaml", 1, 11, "includes itself");
	expect_problem("policy.yaml", 1, 24, "includes itself");
	expect_problem("policy.yaml", 1, 39, "link.yaml includes itself");
	expect_problem("policy.yaml", 1, 50, "/./policy.yaml includes itself");
	expect_problem("b/b.yaml", 1, 10, "../a.yaml includes itself");
}

/* Twice by two ways is no recursion: its rules stand there twice. */
static void a_file_can_be_included_twice(void **state)
{
	(void)state;
	put("policy.yaml", "include: [a.yaml, b.yaml]\n" END);
	put("a.yaml", "include: c.yaml\n");
	put("b.yaml", "rules:\n- include: c.yaml\n");
	put("c.yaml", "rules:\n" RULE("c"));
	expect_good();
	expect_rules("c c.yaml:2\nc c.yaml:2\n");
}

static void put_chain(unsigned count)
{
	char name[40], text[60];

	put("policy.yaml", "include: 1.yaml\n" END);
	for (unsigned i = 1; i <= count; i++) {
		snprintf(name, sizeof(name), "%u.yaml", i);
		snprintf(text, sizeof(text), i < count ? "include: %u.yaml\n" : "rules:\n- {name: r, then: {access: deny}}\n", i + 1);
		put(name, text);
	}
}

static void eight_files_deep(void **state)
{
	(void)state;
	put_chain(8);
	expect_good();
	expect_rules("r 8.yaml:2\n");
}

static void nine_files_deep(void **state)
{
	(void)state;
	put_chain(9);
	expect_refused("8.yaml", 1, 10, "more than 8 files deep");
}

static void put_many(unsigned count)
{
	put("policy.yaml", "include: many\n" END);
	for (unsigned i = 0; i < count; i++) {
		char name[40];

		snprintf(name, sizeof(name), "many/%u.yaml", i);
		put(name, "rules: []\n");
	}
}

static void a_thousand_files(void **state)
{
	(void)state;
	put_many(1000);
	expect_good();
}

static void more_than_a_thousand_files(void **state)
{
	(void)state;
	put_many(1001);
	expect_refused("policy.yaml", 1, 10, "more than 1000 files");
}

/* A tree of includes that doubles at each step is refused, and soon. */
static void a_tree_that_doubles(void **state)
{
	(void)state;
	put("policy.yaml", "include: [1.yaml, 1.yaml, 1.yaml, 1.yaml]\n" END);
	for (unsigned i = 1; i < 8; i++) {
		char name[40], text[100];

		snprintf(name, sizeof(name), "%u.yaml", i);
		snprintf(text, sizeof(text), "include: [%u.yaml, %u.yaml, %u.yaml, %u.yaml]\n", i + 1, i + 1, i + 1, i + 1);
		put(name, text);
	}
	put("8.yaml", "rules: []\n");
	policy_rig_compile(&rig);
	assert_int_equal(rig.err, ERR_CONFIG);
	assert_non_null(rig.problems.first);
	assert_non_null(strstr(rig.problems.first->text, "more than 1000 files"));
}

static void what_cannot_be_read_is_said(void **state)
{
	char path[200];

	(void)state;
	put("policy.yaml", "lists: {f: fifo.list}\ninclude: [d]\nrules: [{name: r, when: {to: f}, then: {access: deny}}]\n" END);
	put("d/a.yaml/file", "a folder has this name\n");
	link_to("nowhere", "d/b.yaml");
	snprintf(path, sizeof(path), "%s/d/c.yaml", rig.folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/fifo.list", rig.folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	put("d/d.yaml", "rules: [\xff\xfe\x01\x02]\n");
	put("d/e.yaml", "");
	expect_refused("d/a.yaml", 0, 0, "not a regular file");
	expect_problem("d/b.yaml", 0, 0, "cannot be read");
	expect_problem("d/c.yaml", 0, 0, "not a regular file");
	expect_problem("fifo.list", 0, 0, "not a regular file");
	assert_true(rig.problems.error_count >= 5); /* and the bytes that are no YAML */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(rules_stand_where_they_are_included),
		TEST(what_editors_leave_is_not_read),
		TEST(lists_are_known_to_all_files),
		TEST(everything_is_said_at_once),
		TEST(no_file_includes_itself),
		TEST(a_file_can_be_included_twice),
		TEST(eight_files_deep),
		TEST(nine_files_deep),
		TEST(a_thousand_files),
		TEST(more_than_a_thousand_files),
		TEST(a_tree_that_doubles),
		TEST(what_cannot_be_read_is_said),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
