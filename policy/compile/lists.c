/* SPDX-License-Identifier: Apache-2.0 */
/* Lists: files of patterns, and patterns that stand in rules. */
#include <stdlib.h>
#include <string.h>

#include "policy/lint/lint.h"

enum { LIST_MAX_BYTES = 1 << 30, LINE_MAX_BYTES = 65536, LINES_BETWEEN = 16384 };

static uint16_t add_list(struct compile *compile, const char *name, unsigned line)
{
	struct image_list list = {.line = line, .file = compile->file};

	if (compile->list_count == compile->list_capacity) {
		size_t capacity = compile->list_capacity ? compile->list_capacity * 2 : 16;
		const char **names = realloc(compile->list_names, capacity * sizeof(*names));

		if (names)
			compile->list_names = names;
		if (names == NULL || capacity > LISTS_MAX * 2) {
			compile->build.failed = true;
			return 1;
		}
		compile->list_capacity = capacity;
	}
	list.name = build_text(&compile->build, span_from(name ? name : ""));
	build_add(&compile->build, &compile->build.lists, &list, 1, sizeof(list));
	compile->list_names[compile->list_count] = name;
	compile->list_count++;
	return (uint16_t)compile->list_count;
}

static void note_network(struct compile *compile, uint16_t list)
{
	struct image_list *lists = (void *)compile->build.lists.at;

	if (!compile->build.failed)
		lists[list - 1].has_networks = true;
}

static void read_line(struct compile *compile, const char *path, uint16_t list, uint16_t file,
                      unsigned number, struct span text)
{
	struct pattern_line line;
	const char *why = "";
	size_t at = 0;

	if (text.len > LINE_MAX_BYTES) {
		problem_add_code(compile->problems, PROBLEM_BAD_ENTRY, (struct problem_place){path, number, 1}, NULL,
		            "the line is longer than %d bytes", LINE_MAX_BYTES);
		return;
	}
	if (!pattern_line_parse(text, &line, &why, &at)) {
		problem_add_code(compile->problems, PROBLEM_BAD_ENTRY,
		                 (struct problem_place){path, number, (unsigned)at + 1}, NULL, "%s", why);
		return;
	}
	if (line.is_empty)
		return;
	if (!build_entry(&compile->build, &line, list, file, number, &why, &at))
		problem_add_code(compile->problems, PROBLEM_BAD_REGEX,
		                 (struct problem_place){path, number, (unsigned)at + 2}, NULL, "the regular expression is not valid: %s", why);
	if (line.pattern.kind == PATTERN_NETWORK)
		note_network(compile, list);
	lint_note_read(compile, file, number, &line);
}

/* Whoever copies a list while it is written gets a part of it, and "example.co" is a name, too. */
static void warn_of_end(struct compile *compile, const char *path, unsigned number)
{
	const struct problem_place at = {path, number, 1};

	problem_add_code(compile->problems, PROBLEM_CUT_OFF, at, NULL,
	                 "the list does not end with a line break: is it whole?");
}

static void read_list_file(struct compile *compile, uint16_t list, const struct yaml_node *node)
{
	struct arena arena;
	const char *path;
	struct span text, line;
	unsigned number = 0;
	size_t bytes;
	uint16_t file;
	bool is_cut_off;

	if (node->kind != YAML_SCALAR || node->text.len == 0) {
		WRONG(compile, node, "a list is the path of a file, or several in [ ]");
		return;
	}
	path = compile_path(compile, node->text);
	if (path == NULL) {
		compile->build.failed = true;
		return;
	}
	if (compile->options->on_list)
		compile->options->on_list(compile->options->context, compile->list_names[list - 1], path,
		                          compile_shown(compile, node->text));
	arena_init(&arena, LIST_MAX_BYTES + 4096);
	if (compile_read_file(compile, path, LIST_MAX_BYTES, &arena, &text) == ERR_NONE) {
		if (span_starts_with(text, SPAN("\xef\xbb\xbf")))
			text = span_skip(text, 3);
		file = compile_add_file(compile, path, compile_shown(compile, node->text), text);
		bytes = text.len;
		is_cut_off = text.len && text.at[text.len - 1] != '\n';
		while (text.len && span_split(&text, '\n', &line)) {
			read_line(compile, path, list, file, ++number, line);
			if (number % LINES_BETWEEN == 0 && compile->options->progress)
				compile->options->progress(compile->options->context, bytes - text.len, bytes);
		}
		if (is_cut_off)
			warn_of_end(compile, path, number);
		if (compile->build.entries.count > ENTRIES_MAX)
			compile->build.failed = true;
	}
	arena_fini(&arena);
}

static uint16_t find_list(struct compile *compile, struct span name)
{
	for (size_t i = 0; i < compile->list_count; i++)
		if (compile->list_names[i] && span_equal(name, span_from(compile->list_names[i])))
			return (uint16_t)(i + 1);
	return 0;
}

/* In one file YAML itself tells; here it is in two. */
static void complain_twice(struct compile *compile, const struct yaml_node *node, uint16_t list)
{
	const struct image_list *lists = (const void *)compile->build.lists.at;

	problem_add(compile->problems, PROBLEM_ERROR, compile->path, node->key_line, node->key_column,
	            "the list %.*s is named in %s:%u already; write all its files there, in [ ], or choose another name",
	            SPAN_ARG(node->key), compile_file_path(compile, lists[list - 1].file), lists[list - 1].line);
}

void compile_lists(struct compile *compile, const struct yaml_node *lists)
{
	if (lists == NULL || lists->kind == YAML_NULL)
		return;
	if (lists->kind != YAML_MAPPING) {
		WRONG(compile, lists, "lists: expected lines of \"name: path\"");
		return;
	}
	for (const struct yaml_node *node = lists->first; node; node = node->next) {
		uint16_t list = find_list(compile, node->key);

		if (pattern_find_control(node->key, false) < node->key.len)
			WRONG(compile, node, "lists: there is a control character in the name of a list");
		if (list) {
			complain_twice(compile, node, list);
			continue;
		}
		list = add_list(compile, arena_string(&compile->arena, node->key), node->key_line);
		if (node->kind != YAML_SEQUENCE)
			read_list_file(compile, list, node);
		else
			for (const struct yaml_node *n = node->first; n; n = n->next)
				read_list_file(compile, list, n);
	}
}

/* An inline pattern is a list of one entry, whose place is the policy file. */
static uint16_t add_inline(struct compile *compile, const struct yaml_node *node)
{
	struct pattern_line line = {.is_empty = false};
	const char *why = "", *nearest;
	const char *names[256];
	size_t at = 0, count = 0;
	uint16_t list;

	if (!pattern_parse(node->text, &line.pattern, &why, &at)) {
		WRONG(compile, node, "\"%.*s\" is no list, and no pattern either: %s",
		      SPAN_ARG(node->text), why);
		return 0;
	}
	for (size_t i = 0; i < compile->list_count && count < COUNT_OF(names); i++)
		if (compile->list_names[i])
			names[count++] = compile->list_names[i];
	nearest = conf_nearest(node->text, names, count);
	if (line.pattern.kind == PATTERN_EXACT && span_find(node->text, '.') == node->text.len) {
		/* One bare word is more often a misspelt list than a host. */
		WRONG(compile, node,
		      "there is no list \"%.*s\"%s%s%s (a host without a dot is written as \"%.*s.\")",
		      SPAN_ARG(node->text), nearest ? "; did you mean " : "", nearest ? nearest : "",
		      nearest ? "?" : "", SPAN_ARG(node->text));
		return 0;
	}
	list = add_list(compile, NULL, node->line);
	if (!build_entry(&compile->build, &line, list, compile->file, node->line, &why, &at)) {
		WRONG(compile, node, "the regular expression is not valid: %s", why);
		return 0;
	}
	if (line.pattern.kind == PATTERN_NETWORK)
		note_network(compile, list);
	return list;
}

struct image_range compile_list_refs(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.list_refs.count, 0};

	for (const struct yaml_node *n = compile_first(node); n; n = compile_next(node, n)) {
		uint16_t list;

		if (!compile_is_text(compile, n))
			continue;
		list = find_list(compile, n->text);
		if (list == 0)
			list = add_inline(compile, n);
		if (list == 0)
			continue;
		build_add(&compile->build, &compile->build.list_refs, &list, 1, sizeof(list));
		range.count++;
	}
	return range;
}
