/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that each are well and contradict each other. */
#include <string.h>

#include "policy/lint/lint.h"

/* ---- a bypass that is wider than what is allowed ---- */

static bool answers(const struct image_rule *rule, enum policy_question question, unsigned answer)
{
	return rule->answers[question] == answer;
}

/* The lists of rules that allow; false if some rule allows without naming hosts. */
static bool find_allowed(const struct lint *lint, uint8_t *lists)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;

	for (size_t i = 0; i < lint->rule_count; i++) {
		const struct image_rule *rule = &lint->rules[i];

		if (!answers(rule, POLICY_ACCESS, ACCESS_ALLOW))
			continue;
		if (rule->to.count == 0)
			return false;
		for (uint32_t j = 0; j < rule->to.count; j++)
			lint_set_list(lists, refs[rule->to.at + j]);
	}
	return true;
}

static bool takes_in_lists(struct lint *lint, const struct lint_search *search, const struct build_entry *other)
{
	(void)lint;
	return lint_has_list(search->lists, other->list);
}

/* The name, and what is below it, may be allowed in two lines. */
static bool is_allowed_in_two(const struct lint *lint, const struct build_entry *entry, const uint8_t *lists)
{
	const struct build_entry *other = lint_find_key(lint, lint_entry_key(lint, entry));
	unsigned found = 0;

	for (; other; other = lint_next_of_key(lint, other))
		if (lint_has_list(lists, other->list))
			found |= 1u << other->kind;
	return (found >> PATTERN_EXACT & 1) && (found >> PATTERN_BELOW & 1);
}

static bool is_allowed(struct lint *lint, const struct build_entry *entry, uint8_t *lists)
{
	const struct lint_search search = {.entry = entry, .takes = takes_in_lists, .lists = lists};

	return lint_has_list(lists, entry->list) || entry->kind == PATTERN_REGEX || lint_find_wider(lint, &search) ||
	       (entry->kind == PATTERN_SUFFIX && is_allowed_in_two(lint, entry, lists));
}

static void check_bypass(struct lint *lint, const struct image_rule *rule, uint8_t *lists)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;

	for (uint32_t i = 0; i < rule->to.count; i++) {
		const struct lint_list *list = &lint->lists[refs[rule->to.at + i]];

		for (uint32_t j = 0; j < list->entry_count; j++) {
			const struct build_entry *entry = &lint->entries[list->first + j];
			struct problem_place there = lint_rule_place(lint, rule);

			if (!is_allowed(lint, entry, lists))
				LINT_ENTRY(lint, BYPASS_WIDER, entry, &there,
				           "shall not be opened (rule \"%.*s\", %s), and no rule allows all of it: defaults deny",
				           SPAN_ARG(lint_text(lint, rule->name)),
				           lint_where(lint, lint_entry_place(lint, entry), there));
		}
	}
}

static void check_bypasses(struct lint *lint)
{
	uint8_t lists[LINT_LIST_BYTES] = {0};

	if (!lint->is_full || lint->build->defaults[POLICY_ACCESS] != ACCESS_DENY || !find_allowed(lint, lists))
		return;
	for (size_t i = 0; i < lint->rule_count; i++)
		if (answers(&lint->rules[i], POLICY_TLS, TLS_BYPASS) &&
		    lint->rules[i].answers[POLICY_ACCESS] == NO_ANSWER)
			check_bypass(lint, &lint->rules[i], lists);
}

/* ---- what is asked for inside TLS, where TLS is never opened ---- */

static bool is_never_inspected(const struct lint *lint)
{
	for (size_t i = 0; i < lint->rule_count; i++)
		if (answers(&lint->rules[i], POLICY_TLS, TLS_INSPECT))
			return false;
	return lint->build->defaults[POLICY_TLS] == TLS_BYPASS;
}

/* The host of "https://host/..."; empty where the text may go on inside of it. */
static struct span url_host(struct span url)
{
	struct span rest = span_skip(url, strlen("https://"));
	size_t end = 0;

	while (end < rest.len && rest.at[end] != '/' && rest.at[end] != ':')
		end++;
	return end < rest.len ? span_first(rest, end) : SPAN("");
}

static bool list_has_name(const struct lint *lint, const struct image_rule *rule, struct span name)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;

	for (size_t at = 0; at < name.len; at += span_find(span_skip(name, at), '.') + 1) {
		const struct build_entry *entry = lint_find_key(lint, span_skip(name, at));

		for (; entry; entry = lint_next_of_key(lint, entry)) {
			if (entry->ports || entry->expires_min || entry->kind == (at ? PATTERN_EXACT : PATTERN_BELOW))
				continue;
			for (uint32_t i = 0; i < rule->to.count; i++)
				if (refs[rule->to.at + i] == entry->list)
					return true;
		}
	}
	return rule->to.count == 0;
}

/* The rule that bypasses the host for every client; NULL if some rule may come before it. */
static const struct image_rule *find_bypass(const struct lint *lint, struct span host)
{
	for (size_t i = 0; i < lint->rule_count && host.len; i++) {
		const struct image_rule *rule = &lint->rules[i];

		if (answers(rule, POLICY_TLS, TLS_INSPECT))
			return NULL;
		if (answers(rule, POLICY_TLS, TLS_BYPASS) &&
		    rule->port.count + rule->from.count + rule->user.count + rule->group.count + rule->sni.count +
		                    rule->method.count + rule->listener.count + rule->url.count + rule->time.count == 0 &&
		    list_has_name(lint, rule, host))
			return rule;
	}
	return NULL;
}

static void check_urls(const struct lint *lint, const struct image_rule *rule, bool is_never)
{
	const struct image_url *urls = (const void *)lint->build->urls.at;

	for (uint32_t i = 0; i < rule->url.count; i++) {
		const struct image_url *url = &urls[rule->url.at + i];
		struct span text = lint_text(lint, url->text);
		const struct image_rule *bypass;
		struct problem_place there;

		if (url->regex != NONE || !span_starts_with(text, SPAN("https://")))
			continue;
		if (is_never) {
			LINT_RULE(lint, NEVER_OPENED, rule, NULL,
			          "url: %.*s is inside TLS, and no rule and no default inspects: it is never seen",
			          SPAN_ARG(text));
			continue;
		}
		bypass = find_bypass(lint, url_host(text));
		if (bypass == NULL)
			continue;
		there = lint_rule_place(lint, bypass);
		LINT_RULE(lint, NEVER_OPENED, rule, &there,
		          "url: %.*s is never seen: the rule \"%.*s\" (%s) bypasses that host", SPAN_ARG(text),
		          SPAN_ARG(lint_text(lint, bypass->name)), lint_where(lint, lint_rule_place(lint, rule), there));
	}
}

static bool is_https_alone(const struct lint *lint, const struct image_rule *rule)
{
	const struct image_ports *ports = (const void *)lint->build->ports.at;

	for (uint32_t i = 0; i < rule->port.count; i++)
		if (ports[rule->port.at + i].first != 443 || ports[rule->port.at + i].last != 443)
			return false;
	return rule->port.count > 0;
}

/* At port 443 there is a CONNECT, and methods inside of it. */
static void check_methods(const struct lint *lint, const struct image_rule *rule)
{
	const struct image_range *texts = (const void *)lint->build->texts.at;

	for (uint32_t i = 0; i < rule->method.count; i++)
		if (span_equal(lint_text(lint, texts[rule->method.at + i]), SPAN("CONNECT")))
			return;
	if (rule->method.count && is_https_alone(lint, rule))
		LINT_RULE(lint, NEVER_OPENED, rule, NULL,
		          "method: at port %d requests are inside TLS, and no rule and no default inspects", 443);
}

static void check_opened(const struct lint *lint)
{
	bool is_never = is_never_inspected(lint);

	for (size_t i = 0; i < lint->rule_count; i++) {
		check_urls(lint, &lint->rules[i], is_never);
		if (is_never)
			check_methods(lint, &lint->rules[i]);
	}
}

/* ---- who it is, where nobody is asked ---- */

/* The rule that exempts all that this one matches; NULL if something may require before it. */
static const struct image_rule *find_exemption(struct lint *lint, const struct image_rule *rule)
{
	struct image_rule asked = *rule;

	asked.answers[POLICY_AUTH] = AUTH_EXEMPT;
	for (size_t i = 0; i < lint->rule_count; i++) {
		const struct image_rule *before = &lint->rules[i];

		if (answers(before, POLICY_AUTH, AUTH_REQUIRED))
			return NULL;
		if (answers(before, POLICY_AUTH, AUTH_EXEMPT) && lint_includes(lint, before, &asked, POLICY_AUTH, 0))
			return before;
	}
	return NULL;
}

static bool is_somebody_asked(const struct lint *lint)
{
	for (size_t i = 0; i < lint->rule_count; i++)
		if (answers(&lint->rules[i], POLICY_AUTH, AUTH_REQUIRED))
			return true;
	return lint->build->defaults[POLICY_AUTH] == AUTH_REQUIRED;
}

static void check_users(struct lint *lint)
{
	bool is_asked = is_somebody_asked(lint);

	for (size_t i = 0; i < lint->rule_count; i++) {
		const struct image_rule *rule = &lint->rules[i], *exemption;
		struct problem_place there;

		if (rule->user.count + rule->group.count == 0)
			continue;
		if (!is_asked) {
			LINT_RULE(lint, AUTH_IMPOSSIBLE, rule, NULL,
			          "asks for %s, and no rule and no default answers auth: required: who it is, is never known; it "
			          "holds for everyone where it denies and for no one where it allows",
			          rule->user.count ? "user" : "group");
			continue;
		}
		exemption = find_exemption(lint, rule);
		if (exemption == NULL)
			continue;
		there = lint_rule_place(lint, exemption);
		LINT_RULE(lint, AUTH_IMPOSSIBLE, rule, &there,
		          "asks for %s, and the rule \"%.*s\" (%s) exempts all that it matches: who it is, is never known",
		          rule->user.count ? "user" : "group", SPAN_ARG(lint_text(lint, exemption->name)),
		          lint_where(lint, lint_rule_place(lint, rule), there));
	}
}

void lint_clashes(struct lint *lint)
{
	check_bypasses(lint);
	check_opened(lint);
	check_users(lint);
}
