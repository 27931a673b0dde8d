/* SPDX-License-Identifier: Apache-2.0 */
/* policy.yaml and its lists, read and checked as a whole: every problem with its place, or an image. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy/compile.h"

enum { POLICY_MAX_BYTES = 4 << 20 };

static void read_route(struct compile *compile, const struct yaml_node *node, uint8_t *answer,
                       struct address *source)
{
	const struct yaml_node *text = yaml_find(node, "source");

	if (node->kind == YAML_SCALAR && span_equal(node->text, SPAN("direct"))) {
		*answer = ROUTE_DIRECT;
	} else if (yaml_find(node, "parent")) {
		WRONG(compile, node, "route: this version has no parent proxies yet; write direct or "
		                     "{source: ADDRESS}");
	} else if (text == NULL || text->kind != YAML_SCALAR || node->count != 1) {
		WRONG(compile, node, "route: write direct or {source: ADDRESS}");
	} else if (!address_parse(text->text, source)) {
		WRONG(compile, text, "route: \"%.*s\" is no address of this host", SPAN_ARG(text->text));
	} else {
		*answer = ROUTE_SOURCE;
	}
}

static void read_answer(struct compile *compile, const struct yaml_node *node,
                        enum policy_question question, uint8_t *answer)
{
	struct buf all;

	buf_init(&all, 200);
	for (unsigned i = 0; policy_answer_name(question, i); i++) {
		const char *name = policy_answer_name(question, i);

		if (node->kind == YAML_SCALAR && span_equal(node->text, span_from(name))) {
			*answer = (uint8_t)i;
			buf_fini(&all);
			return;
		}
		buf_printf(&all, "%s%s", i ? ", " : "", name);
	}
	WRONG(compile, node, "%s: \"%.*s\" is no answer; it can be %.*s",
	      policy_question_name(question), SPAN_ARG(node->text), SPAN_ARG(buf_span(&all)));
	buf_fini(&all);
}

static void read_default_ports(struct compile *compile, const struct yaml_node *node)
{
	size_t errors = compile->problems->error_count;

	compile->build.default_ports = compile_ports(compile, node);
	if (compile->build.default_ports.count == 0 && compile->problems->error_count == errors)
		WRONG(compile, node, "ports: is empty; write the ports at which allow, bypass and exempt may "
		                     "hold, such as [80, 443], or leave it out: it is these two then");
}

/* Read answers; `ports` only belongs to defaults. */
static void read_then(struct compile *compile, const struct yaml_node *then, uint8_t *answers,
                      struct address *source, bool is_defaults)
{
	const char *names[POLICY_QUESTION_COUNT + 1];

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		names[q] = policy_question_name((enum policy_question)q);
	names[POLICY_QUESTION_COUNT] = "ports";
	for (const struct yaml_node *node = then->first; node; node = node->next) {
		int q = 0;

		while (q < POLICY_QUESTION_COUNT && !span_equal(node->key, span_from(names[q])))
			q++;
		if (q == POLICY_ROUTE)
			read_route(compile, node, &answers[q], source);
		else if (q < POLICY_QUESTION_COUNT)
			read_answer(compile, node, (enum policy_question)q, &answers[q]);
		else if (is_defaults && span_equal(node->key, SPAN("ports")))
			read_default_ports(compile, node);
		else
			compile_complain_unknown(compile, node, names,
			                 COUNT_OF(names) - (is_defaults ? 0 : 1));
	}
}

static bool rule_loosens(const struct image_rule *rule)
{
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (rule->answers[q] != NO_ANSWER &&
		    policy_is_loosening((enum policy_question)q, rule->answers[q]))
			return true;
	return false;
}

static struct span build_span(const struct compile *compile, struct image_range range)
{
	return span_of(compile->build.strings.at + range.at, range.count);
}

static void note_lists(const struct build *build, struct image_range lists, bool *noted)
{
	const uint16_t *refs = (const void *)build->list_refs.at;

	for (uint32_t i = 0; i < lists.count; i++)
		noted[refs[lists.at + i]] = true;
}

/* Lists that loosen must not hold a regular expression that a longer name could slip through. */
static void check_regexes(struct compile *compile)
{
	const struct build *build = &compile->build;
	const struct image_rule *rules = (const void *)build->rules.at;
	const struct image_entry *entries = (const void *)build->entries.at;
	const uint32_t *regexes = (const void *)build->regexes.at;
	const struct image_range *files = (const void *)build->files.at;
	bool *loosens = calloc(compile->list_count + 1, sizeof(*loosens));

	if (loosens == NULL) {
		compile->build.failed = true;
		return;
	}
	for (size_t i = 0; i < build->rules.count; i++) {
		if (!rule_loosens(&rules[i]))
			continue;
		note_lists(build, rules[i].to, loosens);
		note_lists(build, rules[i].sni, loosens);
	}
	for (size_t i = 0; i < build->regexes.count; i++) {
		const struct image_entry *entry;
		struct span text, file;

		if (regexes[i] == NONE)
			continue;
		entry = &entries[regexes[i]];
		text = build_span(compile, (struct image_range){entry->text_at, entry->text_len});
		file = build_span(compile, files[entry->file]);
		if (loosens[entry->list] && !build_regex_is_anchored(pattern_regex(text))) {
			char *path = entry->file ? arena_string(&compile->arena, file) : NULL;

			problem_add(compile->problems, PROBLEM_ERROR, path ? path : compile->path,
			            entry->line, 1,
			            "%.*s is used to loosen, so it must be anchored at both ends: /^...$/ "
			            "(alternatives in parentheses: /^(a|b)$/)",
			            SPAN_ARG(text));
		}
	}
	free(loosens);
}

/* Only with sallyport.yaml can it be told whether there is such a listener. */
static void note_listener(const struct yaml_node *node, struct image_rule *rule)
{
	if (node == NULL)
		return;
	rule->listener_line = node->line;
	rule->listener_column = node->column;
}

static void read_rule(struct compile *compile, const struct yaml_node *node)
{
	static const char *const names[] = {"name", "when", "then"};
	const struct yaml_node *name = yaml_find(node, "name"), *then = yaml_find(node, "then");
	struct image_rule rule = {.line = node->line, .column = node->column};

	memset(rule.answers, NO_ANSWER, sizeof(rule.answers));
	if (node->kind != YAML_MAPPING) {
		WRONG(compile, node, "a rule is {name: ..., when: {...}, then: {...}}");
		return;
	}
	for (const struct yaml_node *n = node->first; n; n = n->next)
		if (!span_equal(n->key, span_from("name")) && !span_equal(n->key, span_from("when")) &&
		    !span_equal(n->key, span_from("then")))
			compile_complain_unknown(compile, n, names, COUNT_OF(names));
	if (name == NULL || name->kind != YAML_SCALAR || name->text.len == 0 || name->text.len > 200)
		WRONG(compile, node, "the rule needs a name of 1 to 200 bytes: it is what logs and pages say");
	else
		rule.name = build_text(&compile->build, name->text);
	compile_when(compile, yaml_find(node, "when"), &rule);
	note_listener(yaml_find(yaml_find(node, "when"), "listener"), &rule);
	if (then == NULL || then->kind != YAML_MAPPING || then->count == 0)
		WRONG(compile, node, "the rule needs then: with at least one answer");
	else
		read_then(compile, then, rule.answers, &rule.route_source, false);
	compile_check_questions(compile, node, &rule);
	build_add(&compile->build, &compile->build.rules, &rule, 1, sizeof(rule));
}

static void read_rules(struct compile *compile, const struct yaml_node *rules)
{
	if (rules == NULL || rules->kind == YAML_NULL)
		return;
	if (rules->kind != YAML_SEQUENCE) {
		WRONG(compile, rules, "rules: expected a list (lines that begin with \"- \")");
		return;
	}
	if (rules->count > RULES_MAX)
		WRONG(compile, rules, "more than %d rules", RULES_MAX);
	for (const struct yaml_node *node = rules->first; node; node = node->next)
		read_rule(compile, node);
}

/* What defaults leaves open is the safe answer, but auth: nobody is asked unless policy says so. */
static void read_defaults(struct compile *compile, const struct yaml_node *defaults)
{
	static const struct image_ports web[] = {{80, 80}, {443, 443}};
	uint8_t *answers = compile->build.defaults;
	struct address source = {0};

	if (defaults && defaults->kind == YAML_MAPPING) {
		compile->build.defaults_line = defaults->key_line;
		read_then(compile, defaults, answers, &source, true);
		if (answers[POLICY_ROUTE] == ROUTE_SOURCE)
			WRONG(compile, defaults, "defaults: route can only be direct; a source address needs a rule");
	} else if (defaults && defaults->kind != YAML_NULL) {
		WRONG(compile, defaults, "defaults: expected answers, such as {access: allow}");
	}
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		compile->build.answered |= answers[q] == NO_ANSWER ? 0 : 1u << q;
	if (answers[POLICY_AUTH] == NO_ANSWER)
		answers[POLICY_AUTH] = AUTH_EXEMPT;
	if (answers[POLICY_ACCESS] == NO_ANSWER)
		problem_add(compile->problems, PROBLEM_WARNING, compile->path,
		            compile->build.defaults_line, compile->build.defaults_line ? 1 : 0,
		            "defaults: access is not said: what no rule allows is denied; write access: deny or access: allow");
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (answers[q] == NO_ANSWER)
			answers[q] = 0;
	if (compile->build.default_ports.count == 0)
		compile->build.default_ports = (struct image_range){
			build_add(&compile->build, &compile->build.ports, web, 2, sizeof(web[0])), 2};
}

static void read_policy(struct compile *compile, const struct yaml_node *root)
{
	static const char *const names[] = {"lists", "rules", "defaults"};
	size_t errors = compile->problems->error_count;

	if (root->kind != YAML_MAPPING) {
		WRONG(compile, root, "a policy has lists:, rules: and defaults:");
		return;
	}
	for (const struct yaml_node *node = root->first; node; node = node->next) {
		size_t i = 0;

		while (i < COUNT_OF(names) && !span_equal(node->key, span_from(names[i])))
			i++;
		if (i == COUNT_OF(names))
			compile_complain_unknown(compile, node, names, COUNT_OF(names));
	}
	read_defaults(compile, yaml_find(root, "defaults"));
	compile_lists(compile, yaml_find(root, "lists"));
	read_rules(compile, yaml_find(root, "rules"));
	compile_check_lists(compile);
	check_regexes(compile);
	if (compile->problems->error_count == errors && !compile->build.failed)
		doubts_add(&compile->build, compile->path, compile->problems);
}

enum err policy_compile(const char *path, struct problems *problems, void **image,
                        size_t *image_bytes)
{
	struct compile compile = {.path = path, .problems = problems};
	size_t errors = problems->error_count;
	struct yaml_node *root;
	struct span text;
	enum err err;

	compile.now_ms = (uint64_t)time(NULL) * 1000;
	arena_init(&compile.arena, POLICY_MAX_BYTES * 4);
	build_init(&compile.build);
	err = yaml_read_file(path, POLICY_MAX_BYTES, &compile.arena, problems, &text);
	if (err == ERR_NONE)
		err = yaml_parse(text, path, &compile.arena, problems, &root);
	if (err == ERR_NONE) {
		struct span shown = span_from(path);

		build_note_content(&compile.build, text);
		/* As people name it: the file, not the way to it. */
		compile_add_file(&compile, span_skip(shown, span_find_last(shown, '/') == shown.len
		                                            ? 0 : span_find_last(shown, '/') + 1));
		read_policy(&compile, root);
		err = problems->error_count > errors ? ERR_CONFIG
		      : compile.build.failed         ? ERR_MEMORY
		                                     : build_image(&compile.build, image, image_bytes);
	}
	if (err == ERR_SYSTEM || err == ERR_LIMIT)
		err = ERR_CONFIG;
	build_fini(&compile.build);
	arena_fini(&compile.arena);
	free(compile.list_names);
	free(compile.list_used);
	return err;
}
