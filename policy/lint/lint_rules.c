/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that are not reached, rules that are there twice, names that stand for two. */
#include <stdlib.h>

#include "policy/lint/lint.h"

/* ---- not reached ---- */

static bool has_entry_ports(const struct lint *lint, const struct image_rule *rule)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;

	for (uint32_t i = 0; i < rule->to.count; i++)
		if (lint->lists[refs[rule->to.at + i]].has_ports)
			return true;
	return false;
}

/* A permission holds at defaults.ports: what comes behind it is reached at others alone. */
static bool includes_at_default_ports(struct lint *lint, const struct image_rule *a, const struct image_rule *b,
                                      enum policy_question question)
{
	return policy_is_loosening(question, a->answers[question]) &&
	       !policy_is_loosening(question, b->answers[question]) && a->port.count + b->port.count == 0 &&
	       a->to.count == 0 && !has_entry_ports(lint, b) &&
	       lint_includes(lint, a, b, question, LINT_TO | LINT_PORTS);
}

/* What one rule takes of another: questions as bits. */
struct shadow {
	unsigned whole, default_ports;
};

static struct shadow shadow_of(struct lint *lint, const struct image_rule *a, const struct image_rule *b,
                               unsigned questions)
{
	struct shadow shadow = {0, 0};

	for (int q = 0; q < POLICY_QUESTION_COUNT && questions >> q; q++) {
		if (!(questions >> q & 1) || a->answers[q] == NO_ANSWER)
			continue;
		if (lint_includes(lint, a, b, (enum policy_question)q, 0))
			shadow.whole |= 1u << q;
		else if (includes_at_default_ports(lint, a, b, (enum policy_question)q))
			shadow.default_ports |= 1u << q;
	}
	return shadow;
}

static unsigned questions_of(const struct image_rule *rule)
{
	unsigned questions = 0;

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		questions |= rule->answers[q] == NO_ANSWER ? 0 : 1u << q;
	return questions;
}

/* "access, tls" */
static void add_questions(unsigned questions, struct buf *out)
{
	const char *between = "";

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		if (!(questions >> q & 1))
			continue;
		buf_printf(out, "%s%s", between, policy_question_name((enum policy_question)q));
		between = ", ";
	}
}

static bool has_conditions(const struct image_rule *rule)
{
	return rule->to.count + rule->sni.count + rule->port.count + rule->from.count + rule->user.count +
	               rule->group.count + rule->method.count + rule->listener.count + rule->url.count +
	               rule->content_type.count + rule->time.count > 0;
}

static void say_shadow(const struct lint *lint, const struct image_rule *rule, const struct image_rule *before,
                       unsigned questions, bool is_whole)
{
	struct problem_place at = lint_rule_place(lint, rule), there = lint_rule_place(lint, before);
	const char *where = lint_where(lint, at, there), *why = has_conditions(before) ? "matches all that it matches"
	                                                                             : "has no conditions";
	struct span name = lint_text(lint, before->name), list;
	struct buf text;

	buf_init(&text, 400);
	add_questions(questions, &text);
	list = buf_span(&text);
	if (is_whole)
		LINT_RULE(lint, SHADOWED_RULE, rule, &there,
		          "is never reached for %.*s: the rule \"%.*s\" (%s) answers it, %s and comes first", SPAN_ARG(list),
		          SPAN_ARG(name), where, why);
	else
		LINT_RULE(lint, SHADOWED_PORTS, rule, &there,
		          "is never reached for %.*s at defaults.ports: the rule \"%.*s\" (%s) answers it there, %s and "
		          "comes first", SPAN_ARG(list), SPAN_ARG(name), where, why);
	buf_fini(&text);
}

/* Do both set and remove the same, in the same order? */
static bool has_same_edits(const struct lint *lint, struct image_range a, struct image_range b)
{
	const struct image_edit *edits = (const void *)lint->build->edits.at;

	for (uint32_t i = 0; i < a.count && a.count == b.count; i++) {
		const struct image_edit *one = &edits[a.at + i], *other = &edits[b.at + i];

		if (one->is_set != other->is_set ||
		    !span_equal_nocase(lint_text(lint, one->name), lint_text(lint, other->name)) ||
		    !span_equal(lint_text(lint, one->value), lint_text(lint, other->value)))
			return false;
	}
	return a.count == b.count;
}

/* The same conditions and the same answers? */
static bool is_same(struct lint *lint, const struct image_rule *a, const struct image_rule *b)
{
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (a->answers[q] != b->answers[q] ||
		    (a->answers[q] != NO_ANSWER && !lint_includes(lint, b, a, (enum policy_question)q, 0)))
			return false;
	if (!has_same_edits(lint, a->request_headers, b->request_headers) ||
	    !has_same_edits(lint, a->response_headers, b->response_headers))
		return false;
	if (a->answers[POLICY_RATE] == RATE_LIMIT && (a->rate_bytes != b->rate_bytes || a->rate_each != b->rate_each))
		return false;
	return a->answers[POLICY_ROUTE] != ROUTE_SOURCE || address_equal(&a->route_source, &b->route_source);
}

static void check_rule(struct lint *lint, size_t index)
{
	const struct image_rule *rule = &lint->rules[index];
	unsigned left = questions_of(rule), all = left, default_ports = 0;

	for (size_t i = 0; i < index && left && lint->budget; i++) {
		const struct image_rule *before = &lint->rules[i];
		struct shadow shadow = shadow_of(lint, before, rule, left);
		struct problem_place there = lint_rule_place(lint, before);

		if (shadow.whole == all && is_same(lint, before, rule)) {
			LINT_RULE(lint, DUPLICATE_RULE, rule, &there, "says what the rule \"%.*s\" (%s) says",
			          SPAN_ARG(lint_text(lint, before->name)),
			          lint_where(lint, lint_rule_place(lint, rule), there));
			lint->is_dead[index] = true;
			return;
		}
		if (shadow.whole)
			say_shadow(lint, rule, before, shadow.whole, true);
		shadow.default_ports &= ~default_ports;
		if (shadow.default_ports)
			say_shadow(lint, rule, before, shadow.default_ports, false);
		default_ports |= shadow.default_ports;
		left &= ~shadow.whole;
	}
	lint->is_dead[index] = left == 0;
}

/* ---- names ---- */

struct named {
	struct span name;
	size_t rule;
};

static int compare_named(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = span_compare(x->name, y->name);

	return order ? order : x->rule < y->rule ? -1 : x->rule > y->rule;
}

static void check_names(const struct lint *lint)
{
	struct named *named = calloc(lint->rule_count + 1, sizeof(*named));

	for (size_t i = 0; named && i < lint->rule_count; i++)
		named[i] = (struct named){lint_text(lint, lint->rules[i].name), i};
	if (named && lint->rule_count)
		qsort(named, lint->rule_count, sizeof(*named), compare_named);
	for (size_t i = 1; named && i < lint->rule_count; i++) {
		const struct image_rule *rule = &lint->rules[named[i].rule];
		struct problem_place there = lint_rule_place(lint, &lint->rules[named[i - 1].rule]);

		if (span_equal(named[i - 1].name, named[i].name))
			LINT_RULE(lint, SAME_NAME, rule, &there,
			          "the rule in %s has the same name: logs do not tell them apart",
			          lint_where(lint, lint_rule_place(lint, rule), there));
	}
	free(named);
}

void lint_rules(struct lint *lint)
{
	for (size_t i = 0; i < lint->rule_count; i++)
		check_rule(lint, i);
	check_names(lint);
}
