/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/lint/lint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMPARED_IN_PASSING_MAX = 50000000, COMPARED_MAX = 500000000, EXPIRES_SOON_DAYS = 14, ENTRIES_IN_PASSING_MAX = 100000, BETWEEN = 16384 };

/* ---- saying it ---- */

struct span lint_text(const struct lint *lint, struct image_range range)
{
	return span_of(lint->build->strings.at + range.at, range.count);
}

struct problem_place lint_rule_place(const struct lint *lint, const struct image_rule *rule)
{
	return (struct problem_place){compile_file_path(lint->compile, (uint16_t)rule->file), rule->line, rule->column};
}

struct problem_place lint_entry_place(const struct lint *lint, const struct build_entry *entry)
{
	return (struct problem_place){compile_file_path(lint->compile, entry->file), entry->line, 1};
}

struct span lint_list_name(const struct lint *lint, uint16_t list)
{
	const struct image_list *lists = (const void *)lint->build->lists.at;
	struct span name = lint_text(lint, lists[list - 1].name);

	return name.len ? name : SPAN("a rule");
}

const char *lint_where(const struct lint *lint, struct problem_place at, struct problem_place other)
{
	static char text[600];
	struct span policy = span_from(lint->compile->path), file = span_from(other.file);
	struct span folder = span_first(policy, span_find_last(policy, '/') + 1);

	if (span_starts_with(file, folder))
		file = span_skip(file, folder.len);
	if (strcmp(at.file, other.file) == 0)
		snprintf(text, sizeof(text), "line %u", other.line);
	else
		snprintf(text, sizeof(text), "%.*s:%u", SPAN_ARG(file), other.line);
	return text;
}

void lint_progress(const struct lint *lint, enum lint_pass pass, size_t done)
{
	const struct policy_compile_options *options = lint->compile->options;

	if (options->lint_progress && done % BETWEEN == 0)
		options->lint_progress(options->context, (uint64_t)pass * lint->entry_count + done,
		                       (uint64_t)lint->entry_count * LINT_PASS_COUNT);
}

/* ---- conditions that can never be known ---- */

static bool is_strict_somewhere(const struct image_rule *rule)
{
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (lint_is_strict((enum policy_question)q, rule->answers[q]))
			return true;
	return false;
}

static bool takes_connect(const struct lint *lint, const struct image_rule *rule)
{
	const struct image_range *texts = (const void *)lint->build->texts.at;

	for (uint32_t i = 0; i < rule->method.count; i++)
		if (span_equal(lint_text(lint, texts[rule->method.at + i]), SPAN("CONNECT")))
			return true;
	return rule->method.count == 0;
}

static void check_conditions(const struct lint *lint)
{
	for (size_t i = 0; i < lint->rule_count; i++) {
		const struct image_rule *rule = &lint->rules[i];

		if (rule->sni.count)
			LINT_RULE(lint, NEVER_KNOWN, rule, NULL,
			          "in this version the condition %s holds for everyone where the rule denies and "
			          "for no one where it allows: it is never known", "sni");
		if (rule->url.count + rule->content_type.count && is_strict_somewhere(rule) && takes_connect(lint, rule))
			LINT_RULE(lint, NEVER_KNOWN, rule, NULL,
			          "the %s of a CONNECT is never known: the condition %s holds for every CONNECT; add "
			          "method: [GET, POST, ...] if http:// requests are meant",
			          rule->url.count ? "URL" : "response", rule->url.count ? "url" : "content-type");
	}
}

/* ---- answers without effect ---- */

static void check_answers(const struct lint *lint)
{
	static const enum policy_question idle[] = {POLICY_OPAQUE, POLICY_CLIENT_CERTIFICATE};

	for (size_t i = 0; i < COUNT_OF(idle); i++) {
		const char *name = policy_question_name(idle[i]);
		struct problem_place defaults = {compile_file_path(lint->compile, (uint16_t)lint->build->policy_file),
		                                 lint->build->defaults_line, 1};
		size_t rule = 0;

		while (rule < lint->rule_count && lint->rules[rule].answers[idle[i]] == NO_ANSWER)
			rule++;
		if (rule < lint->rule_count)
			LINT_RULE(lint, NO_EFFECT, &lint->rules[rule], NULL, "%s has no effect in this version", name);
		else if (lint->build->answered >> idle[i] & 1)
			problem_add_code(lint->compile->problems, PROBLEM_NO_EFFECT, defaults, NULL,
			                 "defaults: %s has no effect in this version", name);
	}
}

/* ---- lists ---- */

static void check_unused(const struct lint *lint)
{
	const struct image_list *lists = (const void *)lint->build->lists.at;

	for (size_t i = 1; i <= lint->list_count; i++) {
		struct problem_place at = {compile_file_path(lint->compile, lists[i - 1].file), lists[i - 1].line, 1};

		if (!lint->lists[i].in_to && !lint->lists[i].in_sni)
			problem_add_code(lint->compile->problems, PROBLEM_UNUSED_LIST, at, NULL, "no rule uses the list %.*s",
			                 SPAN_ARG(lint_list_name(lint, (uint16_t)i)));
	}
}

static void check_expiry(const struct lint *lint)
{
	uint64_t now_min = lint->compile->now_ms / 60000, soon_min = now_min + EXPIRES_SOON_DAYS * 1440;

	for (size_t i = 0; i < lint->entry_count; i++) {
		const struct build_entry *entry = &lint->entries[i];

		if (entry->expires_min == 0 || entry->expires_min > soon_min)
			continue;
		if (entry->expires_min <= now_min)
			LINT_ENTRY(lint, EXPIRED, entry, NULL, "has expired and matches %s; remove it or set a new expires=",
			           "nothing");
		else
			LINT_ENTRY(lint, EXPIRES_SOON, entry, NULL, "expires within %d days", EXPIRES_SOON_DAYS);
	}
}

/* ---- the whole ---- */

static void note_uses(struct lint *lint, const struct image_rule *rule)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;
	bool allows = rule->answers[POLICY_ACCESS] == ACCESS_ALLOW;
	bool bypasses = rule->answers[POLICY_TLS] == TLS_BYPASS || rule->answers[POLICY_AUTH] == AUTH_EXEMPT;

	for (uint32_t i = 0; i < rule->to.count; i++) {
		struct lint_list *list = &lint->lists[refs[rule->to.at + i]];

		list->in_to = true;
		list->in_resolved |= rule->resolved != 0;
		list->loosens |= allows || bypasses;
		list->bypasses |= bypasses;
	}
	for (uint32_t i = 0; i < rule->sni.count; i++) {
		struct lint_list *list = &lint->lists[refs[rule->sni.at + i]];

		list->in_sni = true;
		list->loosens |= allows || bypasses;
		list->bypasses |= bypasses;
	}
}

static bool note_lists(struct lint *lint)
{
	lint->lists = calloc(lint->list_count + 1, sizeof(*lint->lists));
	lint->is_dead = calloc(lint->rule_count + 1, sizeof(*lint->is_dead));
	for (size_t i = 0; lint->lists && i < lint->entry_count; i++) {
		const struct build_entry *entry = &lint->entries[i];
		struct lint_list *list = &lint->lists[entry->list];

		if (list->entry_count++ == 0)
			list->first = (uint32_t)i;
		list->has_ports |= (entry->ports & 0xff) != 0;
		list->has_regex |= entry->kind == PATTERN_REGEX;
		list->has_networks |= entry->kind == PATTERN_NETWORK;
	}
	for (size_t i = 0; lint->lists && i < lint->rule_count; i++)
		note_uses(lint, &lint->rules[i]);
	return lint->lists && lint->is_dead;
}

static void lint_fini(struct lint *lint)
{
	for (size_t i = 0; lint->lists && i <= lint->list_count; i++)
		free(lint->lists[i].stands_in);
	free(lint->lists);
	free(lint->is_dead);
	lint_index_fini(lint);
}

static void run_on_entries(struct lint *lint)
{
	lint_covered(lint);
	lint_wide(lint);
	lint_names(lint);
}

void lint_run(struct compile *compile)
{
	const struct build *build = &compile->build;
	struct lint lint = {
		.compile = compile,
		.build = build,
		.rules = (const void *)build->rules.at,
		.rule_count = build->rules.count,
		.entries = (const void *)build->entries.at,
		.entry_count = build->entries.count,
		.list_count = build->lists.count,
		.budget = compile->options->lint_entries_max ? COMPARED_MAX : COMPARED_IN_PASSING_MAX,
	};

	lint.is_full = lint.entry_count <= (compile->options->lint_entries_max ? compile->options->lint_entries_max
	                                                                        : ENTRIES_IN_PASSING_MAX);
	if (!note_lists(&lint) || !lint_index_init(&lint)) {
		compile->build.failed = true;
		lint_fini(&lint);
		return;
	}
	check_conditions(&lint);
	lint_rules(&lint);
	lint_clashes(&lint);
	check_answers(&lint);
	check_unused(&lint);
	lint_ages(&lint);
	check_expiry(&lint);
	if (lint.is_full)
		run_on_entries(&lint);
	if (lint.budget == 0 && compile->options->lint_entries_max)
		problem_add_code(compile->problems, PROBLEM_NOT_COMPARED, (struct problem_place){compile->path, 0, 0}, NULL,
		                 "%zu rules with their values are too many to compare each with all: some that are never "
		                 "reached are not told", lint.rule_count);
	lint_fini(&lint);
}
