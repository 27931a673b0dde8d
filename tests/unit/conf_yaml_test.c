/* SPDX-License-Identifier: Apache-2.0 */
/* YAML as a tree with places, and what of YAML is not wanted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/yaml.h"

static struct arena arena;
static struct problems problems;

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

static const struct yaml_node *parse(const char *text)
{
	struct yaml_node *root;

	assert_int_equal(yaml_parse(span_from(text), "x.yaml", &arena, &problems, &root), ERR_NONE);
	assert_int_equal(problems.error_count, 0);
	return root;
}

static const struct yaml_node *need(const struct yaml_node *mapping, const char *key)
{
	const struct yaml_node *node = yaml_find(mapping, key);

	if (node == NULL)
		fail_msg("no %s", key);
	return node;
}

static void nodes_know_kind_text_and_place(void **state)
{
	const struct yaml_node *root = parse("# comment\n"
	                                     "name: office\n"
	                                     "list: [a, \"b c\"]\n"
	                                     "inner:\n"
	                                     "  deep: 'x'\n"
	                                     "none:\n"
	                                     "tilde: ~\n"
	                                     "quoted: \"~\"\n"
	                                     "block: |\n"
	                                     "  two\n"
	                                     "  lines\n");
	const struct yaml_node *node;

	(void)state;
	assert_int_equal(root->kind, YAML_MAPPING);
	assert_int_equal(root->count, 7);
	node = need(root, "name");
	assert_int_equal(node->kind, YAML_SCALAR);
	assert_true(span_equal(node->text, SPAN("office")));
	assert_int_equal(node->text.at[node->text.len], 0);
	assert_int_equal(node->line, 2);
	assert_int_equal(node->column, 7);
	assert_int_equal(node->key_line, 2);
	assert_int_equal(node->key_column, 1);
	node = need(root, "list");
	assert_int_equal(node->kind, YAML_SEQUENCE);
	assert_int_equal(node->count, 2);
	assert_false(node->first->quoted);
	assert_true(node->first->next->quoted);
	assert_int_equal(node->first->next->column, 11);
	assert_null(node->first->next->next);
	node = need(need(root, "inner"), "deep");
	assert_int_equal(node->line, 5);
	assert_int_equal(node->key_column, 3);
	assert_int_equal(need(root, "none")->kind, YAML_NULL);
	assert_int_equal(need(root, "tilde")->kind, YAML_NULL);
	assert_int_equal(need(root, "quoted")->kind, YAML_SCALAR);
	assert_true(span_equal(need(root, "block")->text, SPAN("two\nlines\n")));
	assert_null(yaml_find(root, "other"));
	assert_null(yaml_find(need(root, "list"), "a"));
	assert_null(yaml_find(NULL, "a"));
}

static void empty_texts_are_empty_mappings(void **state)
{
	static const char *const texts[] = {"", "\n", "# nothing\n", "---\n", "---\n...\n", "~", "\xef\xbb\xbf"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		const struct yaml_node *root = parse(texts[i]);

		assert_int_equal(root->kind, YAML_MAPPING);
		assert_int_equal(root->count, 0);
	}
}

static void what_is_not_wanted_is_a_problem(void **state)
{
	static const struct {
		const char *name;
		struct span text;
		unsigned line, column;
		const char *what;
	} rows[] = {
#define ROW(name, text, ...) {name, {(const uint8_t *)(text), sizeof(text) - 1}, __VA_ARGS__}
		ROW("anchor", "a: &x 1\n", 1, 4, "anchors"),
		ROW("alias", "a: *x\n", 1, 4, "anchors"),
		ROW("anchor of a list", "a: &x [1]\n", 1, 4, "anchors"),
		ROW("anchor of a mapping", "a: &x {b: c}\n", 1, 4, "anchors"),
		ROW("tag", "a: !!str 1\n", 1, 4, "tags"),
		ROW("merge key", "a: {<<: *x}\n", 1, 9, "anchors"),
		ROW("duplicate key", "a: 1\nb: 2\na: 3\n", 3, 1, "already in line 1"),
		ROW("duplicate inner key", "a: {b: 1, b: 2}\n", 1, 11, "already"),
		ROW("list as key", "[a]: 1\n", 1, 1, "key"),
		ROW("null as key", "~: 1\n", 1, 1, "key"),
		ROW("two documents", "a: 1\n---\nb: 2\n", 2, 1, "one document"),
		ROW("tab", "a:\n\tb: 1\n", 2, 1, "indent with spaces"),
		ROW("umlauts", "\xc3\xbc: {\xc3\xbc: 1}\n\xc3\xbc\xc3\xbc:\tx: 1\n", 2, 6, "put in quotes"),
		ROW("tab behind spaces", "a:\n  b: 1\n \tc: 2\n", 3, 2, "indent with spaces"),
		ROW("star without quotes", "a: *.example.com\n", 1, 5, "put in quotes: '*.example.com'"),
		ROW("star in a list", "a: [b, *.example.com]\n", 1, 9, "put in quotes"),
		ROW("stars that are an alias", "a: *x\n", 1, 4, "put in quotes"),
		ROW("colon without quotes", "a: rule: one\n", 1, 8, "put in quotes"),
		ROW("at sign", "a: @x\n", 1, 4, "put in quotes"),
		ROW("unclosed list", "a: [1\n", 2, 1, "YAML"),
		ROW("unclosed quote", "a: 'x\n", 2, 1, "YAML"),
		ROW("bad indent", "a: 1\n b: 2\n", 2, 3, "YAML"),
		ROW("NUL in a text", "a: \"x\\0y\"\n", 1, 4, "NUL"),
		ROW("not UTF-8", "a: \xff\n", 0, 0, "UTF-8"),
		ROW("control character", "a: \x01\n", 0, 0, "UTF-8"),
#undef ROW
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct yaml_node *root;
		const struct problem *problem;
		enum err err = yaml_parse(rows[i].text, "x.yaml", &arena, &problems, &root);

		problem = problems.first;
		if (err != ERR_CONFIG || problem == NULL || root != NULL)
			fail_msg("%s is taken", rows[i].name);
		if (problem->line != rows[i].line || problem->column != rows[i].column ||
		    strstr(problem->text, rows[i].what) == NULL)
			fail_msg("%s: %u:%u: %s", rows[i].name, problem->line, problem->column,
			         problem->text);
		assert_string_equal(problem->file, "x.yaml");
		problems_fini(&problems);
	}
}

static void depth_and_length_are_bounded(void **state)
{
	struct yaml_node *root;
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 10000; i++)
		buf_add_byte(&text, '[');
	assert_int_equal(yaml_parse(buf_span(&text), "x", &arena, &problems, &root), ERR_CONFIG);
	assert_non_null(strstr(problems.first->text, "deep"));
	problems_fini(&problems);
	buf_reset(&text);
	buf_add(&text, SPAN("a: "));
	for (int i = 0; i < 70000; i++)
		buf_add_byte(&text, 'x');
	assert_int_equal(yaml_parse(buf_span(&text), "x", &arena, &problems, &root), ERR_CONFIG);
	assert_non_null(strstr(problems.first->text, "long"));
	buf_fini(&text);
}

static void memory_is_bounded(void **state)
{
	struct yaml_node *root;

	(void)state;
	arena_init(&arena, 256);
	assert_int_equal(yaml_parse(SPAN("a: [b, c, d, e, f, g, h, i]"), "x", &arena, &problems, &root),
	                 ERR_CONFIG);
	assert_true(problems.error_count > 0);
}

static void files_are_read_whole_or_refused(void **state)
{
	char folder[] = "/tmp/sallyport-yaml-XXXXXX", path[60], fifo[60];
	struct span text;
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/x.yaml", folder);
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("a: 1\n", file);
	fclose(file);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(yaml_read_file(path, 5, &arena, &problems, &text), ERR_NONE);
	assert_true(span_equal(text, SPAN("a: 1\n")));
	assert_int_equal(yaml_read_file(path, 4, &arena, &problems, &text), ERR_LIMIT);
	assert_int_equal(yaml_read_file(fifo, 100, &arena, &problems, &text), ERR_SYSTEM);
	assert_int_equal(yaml_read_file(folder, 100, &arena, &problems, &text), ERR_SYSTEM);
	unlink(fifo);
	unlink(path);
	assert_int_equal(yaml_read_file(path, 100, &arena, &problems, &text), ERR_SYSTEM);
	assert_int_equal(problems.error_count, 4);
	assert_string_equal(problems.first->file, path);
	rmdir(folder);
}

int main(void)
{
#define ONE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
	const struct CMUnitTest tests[] = {
		ONE(nodes_know_kind_text_and_place),
		ONE(empty_texts_are_empty_mappings),
		ONE(what_is_not_wanted_is_a_problem),
		ONE(depth_and_length_are_bounded),
		ONE(memory_is_bounded),
		ONE(files_are_read_whole_or_refused),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
