/* SPDX-License-Identifier: Apache-2.0 */
/* request-headers and response-headers: which fields of a message are set, and which are removed. */
#include "policy/compile/compile.h"

/* One answer while it is read. */
struct reading {
	struct compile *compile;
	const char *question;
	struct image_range edits;
	size_t bytes;
};

static struct span edit_text(const struct build *build, struct image_range range)
{
	return span_of(build->strings.at + range.at, range.count);
}

static bool is_there(const struct reading *reading, struct span name)
{
	const struct build *build = &reading->compile->build;
	const struct image_edit *edits = (const void *)build->edits.at;

	for (uint32_t i = 0; i < reading->edits.count; i++)
		if (span_equal_nocase(edit_text(build, edits[reading->edits.at + i].name), name))
			return true;
	return false;
}

/* A name at its place; false: it is complained of. */
static bool is_good_name(const struct reading *reading, struct span name, unsigned line, unsigned column)
{
	struct compile *compile = reading->compile;
	const char *why = policy_header_name_wrong(name);

	if (why)
		problem_add(compile->problems, PROBLEM_ERROR, compile->path, line, column,
		            "%s: \"%.*s\" cannot be set or removed: %s", reading->question, SPAN_ARG(name), why);
	else if (is_there(reading, name))
		problem_add(compile->problems, PROBLEM_ERROR, compile->path, line, column,
		            "%s: \"%.*s\" is there twice; a field is set or removed once", reading->question, SPAN_ARG(name));
	else
		return true;
	return false;
}

/* What is too much is said once, where it becomes so. */
static void add_edit(struct reading *reading, const struct yaml_node *node, struct span name, const struct span *value)
{
	struct build *build = &reading->compile->build;
	struct image_edit edit = {.is_set = value != NULL};
	size_t bytes = reading->bytes;

	reading->bytes += name.len + (value ? value->len : 0);
	if (bytes <= POLICY_HEADER_EDITS_MAX_BYTES && reading->bytes > POLICY_HEADER_EDITS_MAX_BYTES)
		WRONG(reading->compile, node, "%s: names and values are more than %d bytes together", reading->question,
		      POLICY_HEADER_EDITS_MAX_BYTES);
	if (reading->edits.count == POLICY_HEADER_EDITS_MAX)
		WRONG(reading->compile, node, "%s: more than %d fields", reading->question, POLICY_HEADER_EDITS_MAX);
	edit.name = build_text(build, name);
	if (value)
		edit.value = build_text(build, *value);
	build_add(build, &build->edits, &edit, 1, sizeof(edit));
	reading->edits.count++;
}

static void read_set(struct reading *reading, const struct yaml_node *set)
{
	if (set->kind != YAML_MAPPING) {
		WRONG(reading->compile, set, "%s: set: expected {NAME: VALUE}", reading->question);
		return;
	}
	for (const struct yaml_node *node = set->first; node; node = node->next) {
		const char *why = policy_header_value_wrong(node->text);

		if (!is_good_name(reading, node->key, node->key_line, node->key_column))
			continue;
		if (node->kind != YAML_SCALAR)
			WRONG(reading->compile, node, "%s: the value of %.*s is no text; write \"\" for an empty one",
			      reading->question, SPAN_ARG(node->key));
		else if (why)
			WRONG(reading->compile, node, "%s: the value of %.*s %s", reading->question, SPAN_ARG(node->key), why);
		else
			add_edit(reading, node, node->key, &node->text);
	}
}

static void read_remove(struct reading *reading, const struct yaml_node *remove)
{
	for (const struct yaml_node *node = compile_first(remove); node; node = compile_next(remove, node)) {
		if (node->kind != YAML_SCALAR || node->text.len == 0)
			WRONG(reading->compile, node, "%s: remove: expected the name of a field, or a list of them",
			      reading->question);
		else if (is_good_name(reading, node->text, node->line, node->column))
			add_edit(reading, node, node->text, NULL);
	}
}

struct image_range compile_headers(struct compile *compile, const struct yaml_node *node,
                                   enum policy_question question, uint8_t *answer)
{
	static const char *const names[] = {"set", "remove"};
	struct reading reading = {compile, policy_question_name(question), {(uint32_t)compile->build.edits.count, 0}, 0};
	size_t errors = compile->problems->error_count;

	if (node->kind == YAML_SCALAR && span_equal(node->text, SPAN("none"))) {
		*answer = HEADERS_NONE;
		return reading.edits;
	}
	*answer = HEADERS_EDIT;
	if (node->kind != YAML_MAPPING) {
		WRONG(compile, node, "%s: write {set: {NAME: VALUE}, remove: [NAME]}, or none", reading.question);
		return reading.edits;
	}
	for (const struct yaml_node *part = node->first; part; part = part->next) {
		if (span_equal(part->key, SPAN("set")))
			read_set(&reading, part);
		else if (span_equal(part->key, SPAN("remove")))
			read_remove(&reading, part);
		else
			compile_complain_unknown(compile, part, names, COUNT_OF(names));
	}
	if (reading.edits.count == 0 && compile->problems->error_count == errors)
		WRONG(compile, node, "%s: is empty; write {set: {NAME: VALUE}, remove: [NAME]}, or none", reading.question);
	return reading.edits;
}

struct image_range compile_content_types(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.texts.count, 0};

	for (const struct yaml_node *n = compile_first(node); n; n = compile_next(node, n)) {
		struct image_range text;

		if (!compile_is_text(compile, n))
			continue;
		if (span_find(n->text, ';') < n->text.len) {
			WRONG(compile, n, "content-type: \"%.*s\": parameters are not compared; write %.*s", SPAN_ARG(n->text),
			      SPAN_ARG(span_trim(span_first(n->text, span_find(n->text, ';')))));
			continue;
		}
		if (!policy_is_content_type(n->text)) {
			WRONG(compile, n, "content-type: \"%.*s\" is no media type; write video/mp4, video/*, or " CONTENT_TYPE_NONE
			                  " for responses that have none", SPAN_ARG(n->text));
			continue;
		}
		text = build_text(&compile->build, n->text);
		build_add(&compile->build, &compile->build.texts, &text, 1, sizeof(text));
		range.count++;
	}
	return range;
}
