/* SPDX-License-Identifier: Apache-2.0 */
/* policy.yaml and its lists, read and checked as a whole: every problem with its place, or an image. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy/compile/compile.h"
#include "policy/lint/lint.h"
#include "policy/pac/pac_text.h"

enum { ARENA_MAX_BYTES = 256 << 20 };

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
static void read_then(struct compile *compile, const struct yaml_node *then, struct image_rule *rule, bool is_defaults)
{
	uint8_t *answers = rule->answers;
	const char *names[POLICY_QUESTION_COUNT + 1];

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		names[q] = policy_question_name((enum policy_question)q);
	names[POLICY_QUESTION_COUNT] = "ports";
	for (const struct yaml_node *node = then->first; node; node = node->next) {
		int q = 0;

		while (q < POLICY_QUESTION_COUNT && !span_equal(node->key, span_from(names[q])))
			q++;
		if (q == POLICY_ROUTE)
			read_route(compile, node, &answers[q], &rule->route_source);
		else if (q == POLICY_RATE)
			compile_rate(compile, node, rule);
		else if (q == POLICY_REQUEST_HEADERS)
			rule->request_headers = compile_headers(compile, node, POLICY_REQUEST_HEADERS, &answers[q]);
		else if (q == POLICY_RESPONSE_HEADERS)
			rule->response_headers = compile_headers(compile, node, POLICY_RESPONSE_HEADERS, &answers[q]);
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
	const struct build_entry *entries = (const void *)build->entries.at;
	const uint32_t *regexes = (const void *)build->regexes.at;
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
		const struct build_entry *entry;
		struct span text;

		if (regexes[i] == NONE)
			continue;
		entry = &entries[regexes[i]];
		text = build_entry_text(build, entry);
		if (loosens[entry->list] && !build_regex_is_anchored(pattern_regex(text))) {
			problem_add_code(compile->problems, PROBLEM_LOOSE_REGEX,
			            (struct problem_place){compile_file_path(compile, entry->file), entry->line, 1}, NULL,
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
	static const char *const names[] = {"name", "when", "then", "include"};
	const struct yaml_node *name = yaml_find(node, "name"), *then = yaml_find(node, "then");
	struct image_rule rule = {.file = compile->file, .line = node->line, .column = node->column};

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
	else if (pattern_find_control(name->text, false) < name->text.len)
		WRONG(compile, name, "name: there is a control character in it; logs, pages and terminals show it");
	else
		rule.name = build_text(&compile->build, name->text);
	compile_when(compile, yaml_find(node, "when"), &rule);
	note_listener(yaml_find(yaml_find(node, "when"), "listener"), &rule);
	if (then == NULL || then->kind != YAML_MAPPING || then->count == 0)
		WRONG(compile, node, "the rule needs then: with at least one answer");
	else
		read_then(compile, then, &rule, false);
	compile_check_rate(compile, then, &rule);
	compile_check_questions(compile, node, &rule);
	build_add(&compile->build, &compile->build.rules, &rule, 1, sizeof(rule));
}

static void read_rules_of(struct compile *compile, const struct document *document);

/* The rules of what this include names stand here. */
static void read_included(struct compile *compile, const struct document *from, const struct yaml_node *include)
{
	for (const struct yaml_node *node = compile_first(include); node; node = compile_next(include, node))
		for (const struct document *document = compile->documents; document; document = document->next)
			if (document->include == node)
				read_rules_of(compile, document);
	compile_enter(compile, from);
}

static void read_rules_of(struct compile *compile, const struct document *document)
{
	const struct yaml_node *rules = yaml_find(document->root, "rules");
	const struct yaml_node *include = yaml_find(document->root, "include");

	compile_enter(compile, document);
	if (rules && rules->kind != YAML_SEQUENCE && rules->kind != YAML_NULL)
		WRONG(compile, rules, "rules: expected a list (lines that begin with \"- \")");
	for (const struct yaml_node *node = rules && rules->kind == YAML_SEQUENCE ? rules->first : NULL; node;
	     node = node->next) {
		const struct yaml_node *inner = yaml_find(node, "include");

		if (inner && node->count == 1)
			read_included(compile, document, inner);
		else
			read_rule(compile, node);
	}
	if (include)
		read_included(compile, document, include);
	if (compile->build.rules.count > RULES_MAX)
		WRONG(compile, document->root, "more than %d rules", RULES_MAX);
}

/* Answers with something behind them belong to a rule, which can do without conditions. */
static void check_defaults(struct compile *compile, const struct yaml_node *defaults, const uint8_t *answers)
{
	if (answers[POLICY_ROUTE] == ROUTE_SOURCE)
		WRONG(compile, defaults, "defaults: route can only be direct; a source address needs a rule");
	if (answers[POLICY_RATE] == RATE_LIMIT)
		WRONG(compile, defaults, "defaults: rate can only be none; to limit everything, write a last rule without when:, or "
		                         "limits.rate_per_client in sallyport.yaml");
	for (int q = POLICY_REQUEST_HEADERS; q <= POLICY_RESPONSE_HEADERS; q++)
		if (answers[q] == HEADERS_EDIT)
			WRONG(compile, defaults, "defaults: %s can only be none; to set fields of every message, write a last "
			                         "rule without when:", policy_question_name((enum policy_question)q));
}

/* What defaults leaves open is the safe answer, but auth: nobody is asked unless policy says so. */
static void read_defaults(struct compile *compile, const struct yaml_node *defaults)
{
	static const struct image_ports web[] = {{80, 80}, {443, 443}};
	uint8_t *answers = compile->build.defaults;
	struct image_rule read = {.line = 0};

	if (defaults && defaults->kind == YAML_MAPPING) {
		compile->build.defaults_line = defaults->key_line;
		memset(read.answers, NO_ANSWER, sizeof(read.answers));
		read_then(compile, defaults, &read, true);
		memcpy(answers, read.answers, sizeof(read.answers));
		check_defaults(compile, defaults, answers);
	} else if (defaults && defaults->kind != YAML_NULL) {
		WRONG(compile, defaults, "defaults: expected answers, such as {access: allow}");
	}
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		compile->build.answered |= answers[q] == NO_ANSWER ? 0 : 1u << q;
	if (answers[POLICY_AUTH] == NO_ANSWER)
		answers[POLICY_AUTH] = AUTH_EXEMPT;
	if (answers[POLICY_ACCESS] == NO_ANSWER)
		problem_add_code(compile->problems, PROBLEM_NO_DEFAULT,
		            (struct problem_place){compile->path, compile->build.defaults_line,
		                                   compile->build.defaults_line ? 1 : 0}, NULL,
		            "defaults: access is not said: what no rule allows is denied; write access: deny or access: allow");
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (answers[q] == NO_ANSWER)
			answers[q] = 0;
	if (compile->build.default_ports.count == 0)
		compile->build.default_ports = (struct image_range){
			build_add(&compile->build, &compile->build.ports, web, 2, sizeof(web[0])), 2};
}

static void check_keys(struct compile *compile, const struct document *document)
{
	static const char *const names[] = {"lists", "rules", "include", "defaults"};

	compile_enter(compile, document);
	if (document->root->kind != YAML_MAPPING) {
		WRONG(compile, document->root, "a policy has lists:, rules:, include: and defaults:");
		return;
	}
	for (const struct yaml_node *node = document->root->first; node; node = node->next) {
		size_t i = 0;

		while (i < COUNT_OF(names) && !span_equal(node->key, span_from(names[i])))
			i++;
		if (i == COUNT_OF(names))
			compile_complain_unknown(compile, node, names, COUNT_OF(names));
		else if (document->from && span_equal(node->key, SPAN("defaults")))
			problem_add(compile->problems, PROBLEM_ERROR, compile->path, node->key_line, node->key_column,
			            "defaults: belongs into %s; a file that is included has lists: and rules:",
			            compile->documents->path);
	}
}

static void read_policy(struct compile *compile)
{
	const struct document *first = compile->documents;

	for (const struct document *document = first; document; document = document->next)
		check_keys(compile, document);
	compile_enter(compile, first);
	read_defaults(compile, yaml_find(first->root, "defaults"));
	for (const struct document *document = first; document; document = document->next) {
		compile_enter(compile, document);
		compile_lists(compile, yaml_find(document->root, "lists"));
	}
	read_rules_of(compile, first);
	compile_enter(compile, first);
	check_regexes(compile);
	pac_check(compile);
}

static void compile_fini(struct compile *compile)
{
	build_fini(&compile->build);
	arena_fini(&compile->arena);
	free(compile->paths.at);
	free(compile->ages.at);
	free(compile->list_names);
}

enum err policy_compile_with(const char *path, const struct policy_compile_options *options,
                             struct problems *problems, void **image, size_t *image_bytes)
{
	struct compile compile = {.path = path, .options = options, .problems = problems};
	size_t errors = problems->error_count;
	enum err err;

	compile.now_ms = (uint64_t)time(NULL) * 1000;
	arena_init(&compile.arena, ARENA_MAX_BYTES);
	build_init(&compile.build);
	compile.build.previous = options->previous;
	err = compile_read_documents(&compile, path);
	/* What is wrong in lists and rules is said together with an include that is wrong. */
	if (compile.documents)
		read_policy(&compile);
	if (err == ERR_NONE)
		err = problems->error_count > errors ? ERR_CONFIG : compile.build.failed ? ERR_MEMORY : ERR_NONE;
	if (err == ERR_NONE) {
		lint_run(&compile);
		err = build_image(&compile.build, image, image_bytes);
	}
	compile_fini(&compile);
	return err;
}

enum err policy_compile(const char *path, struct problems *problems, void **image, size_t *image_bytes)
{
	static const struct policy_compile_options none;

	return policy_compile_with(path, &none, problems, image, image_bytes);
}
