/* SPDX-License-Identifier: Apache-2.0 */
/* Entries that could be deleted without changing a decision: another one, in the same list or in one that the same or an
 * earlier rule uses, matches all that they match, at all ports and as long. */
#include <stdlib.h>
#include <string.h>

#include "policy/lint/lint.h"

/* ---- which lists can stand for which ---- */

/* Bits of lists while they are found: all that the rules so far leave, and those that answer otherwise. */
struct relation {
	uint8_t left[LINT_LIST_BYTES], differs[LINT_LIST_BYTES];
};

static bool refers_to(const struct lint *lint, struct image_range lists, uint16_t list)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;

	for (uint32_t i = 0; i < lists.count; i++)
		if (refs[lists.at + i] == list)
			return true;
	return false;
}

static void keep_lists(struct relation *relation, const uint8_t *lists)
{
	for (size_t i = 0; i < LINT_LIST_BYTES; i++)
		relation->left[i] = relation->left[i] & lists[i];
}

/* Is there more to an answer than its name? */
static bool has_more(enum policy_question question)
{
	return question == POLICY_ROUTE || question == POLICY_RATE || question == POLICY_REQUEST_HEADERS || question == POLICY_RESPONSE_HEADERS;
}

/* The question that the rule answers at an entry must be answered there by a rule that uses the other list: by itself, or
 * by one before it. */
static void relate_question(struct lint *lint, size_t index, enum policy_question question,
                            struct relation *relation)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;
	const struct image_rule *rule = &lint->rules[index];
	uint8_t found[LINT_LIST_BYTES] = {0};

	for (size_t i = lint->budget ? 0 : index; i <= index; i++) {
		const struct image_rule *before = &lint->rules[i];
		bool differs = before->answers[question] != rule->answers[question] ||
		               (has_more(question) && i < index);

		if (before->answers[question] == NO_ANSWER || before->to.count == 0)
			continue;
		/* Where an address is asked for only if no name hits, a name less may be an address more. */
		if (i < index && (rule->resolved || !lint_includes(lint, before, rule, question, LINT_TO)))
			continue;
		for (uint32_t j = 0; j < before->to.count; j++) {
			if (differs && !lint_has_list(found, refs[before->to.at + j]))
				lint_set_list(relation->differs, refs[before->to.at + j]);
			lint_set_list(found, refs[before->to.at + j]);
		}
	}
	keep_lists(relation, found);
}

static void relate_rule(struct lint *lint, size_t index, uint16_t list, struct relation *relation)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;
	const struct image_rule *rule = &lint->rules[index];
	uint8_t found[LINT_LIST_BYTES] = {0};

	for (int q = 0; q < POLICY_QUESTION_COUNT && refers_to(lint, rule->to, list); q++)
		if (rule->answers[q] != NO_ANSWER)
			relate_question(lint, index, (enum policy_question)q, relation);
	if (!refers_to(lint, rule->sni, list))
		return;
	for (uint32_t i = 0; i < rule->sni.count; i++)
		lint_set_list(found, refs[rule->sni.at + i]);
	keep_lists(relation, found);
}

static void relate_list(struct lint *lint, uint16_t at)
{
	struct lint_list *list = &lint->lists[at];
	struct relation relation = {.differs = {0}};

	bool is_dead = true;

	memset(relation.left, 0xff, sizeof(relation.left));
	for (size_t i = 0; i < lint->rule_count; i++) {
		is_dead = is_dead && (lint->is_dead[i] || !(refers_to(lint, lint->rules[i].to, at) ||
		                                            refers_to(lint, lint->rules[i].sni, at)));
		relate_rule(lint, i, at, &relation);
	}
	if (is_dead)
		return; /* that is said of the rule */
	list->stands_in = malloc(2 * LINT_LIST_BYTES);
	if (list->stands_in == NULL)
		return;
	list->overrules = list->stands_in + LINT_LIST_BYTES;
	memcpy(list->stands_in, relation.left, LINT_LIST_BYTES);
	memcpy(list->overrules, relation.differs, LINT_LIST_BYTES);
}

static void relate_lists(struct lint *lint)
{
	for (size_t i = 1; i <= lint->list_count; i++)
		if (lint->lists[i].entry_count && (lint->lists[i].in_to || lint->lists[i].in_sni))
			relate_list(lint, (uint16_t)i);
}

/* ---- entries ---- */

/* Are the entry's ports= among those at which every answer of the rules that use its list holds anyway? */
static bool ports_are_idle(struct lint *lint, const struct build_entry *entry)
{
	if (lint->budget < lint->rule_count)
		return false;
	lint->budget -= lint->rule_count;
	for (size_t i = 0; i < lint->rule_count; i++) {
		const struct image_rule *rule = &lint->rules[i];

		for (int q = 0; q < POLICY_QUESTION_COUNT && refers_to(lint, rule->to, entry->list); q++) {
			const struct image_range *ports;

			if (rule->answers[q] == NO_ANSWER)
				continue;
			ports = lint_answer_ports(lint, rule, (enum policy_question)q);
			if (ports && !lint_ports_are_in(lint, lint_entry_ports(entry), *ports))
				return false;
		}
	}
	return true;
}

static bool covers(struct lint *lint, const struct build_entry *entry, const struct build_entry *other)
{
	if (entry->list != other->list && !lint_has_list(lint->lists[entry->list].stands_in, other->list))
		return false;
	if (other->expires_min && (entry->expires_min == 0 || entry->expires_min > other->expires_min))
		return false;
	if (!(entry->ports & 0xff))
		return !(other->ports & 0xff);
	if (other->ports & 0xff)
		return lint_ports_are_in(lint, lint_entry_ports(entry), lint_entry_ports(other));
	return ports_are_idle(lint, entry);
}

static bool has_same_text(const struct lint *lint, const struct build_entry *a, const struct build_entry *b)
{
	return a->kind == b->kind && span_equal(build_entry_text(lint->build, a), build_entry_text(lint->build, b));
}

/* Has some rule both lists in the same condition? */
static bool shares_rule(const struct lint *lint, uint16_t list, uint16_t other)
{
	for (size_t i = 0; i < lint->rule_count; i++)
		if (refers_to(lint, lint->rules[i].to, list) && refers_to(lint, lint->rules[i].to, other))
			return true;
	return false;
}

/* A list for what is allowed may repeat what one for what is not opened has: each is whole for its readers. */
static bool is_repeated_in_another(const struct lint *lint, const struct build_entry *entry,
                                   const struct build_entry *other)
{
	const struct image_list *lists = (const void *)lint->build->lists.at;

	return entry->list != other->list && lists[entry->list - 1].name.count && lists[other->list - 1].name.count &&
	       !lint_has_list(lint->lists[entry->list].overrules, other->list) &&
	       !shares_rule(lint, entry->list, other->list) && has_same_text(lint, entry, other);
}

/* Of two that cover each other the first stays. The same glob twice is found where regular expressions are. */
static bool takes(struct lint *lint, const struct lint_search *search, const struct build_entry *other)
{
	const struct build_entry *entry = search->entry;

	if (!covers(lint, entry, other) || is_repeated_in_another(lint, entry, other) || (entry->kind == PATTERN_GLOB && other->kind == PATTERN_GLOB))
		return false;
	return other < entry || other->kind != entry->kind || other->text_len != entry->text_len ||
	       !covers(lint, other, entry);
}

static void say(const struct lint *lint, const struct build_entry *entry, const struct build_entry *other)
{
	struct problem_place at = lint_entry_place(lint, entry), there = lint_entry_place(lint, other);
	const char *where = lint_where(lint, at, there);
	struct span text = build_entry_text(lint->build, other), name = lint_list_name(lint, other->list);

	if (lint_has_list(lint->lists[entry->list].overrules, other->list))
		LINT_ENTRY(lint, OVERRULED_ENTRY, entry, &there,
		           "has no effect: %.*s (%s, in %.*s) matches it, and a rule that comes first answers otherwise",
		           SPAN_ARG(text), where, SPAN_ARG(name));
	else if (entry->list != other->list)
		LINT_ENTRY(lint, COVERED_ENTRY, entry, &there,
		           "is covered by %.*s (%s, in %.*s), whose rule comes first or is the same", SPAN_ARG(text),
		           where, SPAN_ARG(name));
	else if (!has_same_text(lint, entry, other))
		LINT_ENTRY(lint, COVERED_ENTRY, entry, &there, "is covered by %.*s (%s)", SPAN_ARG(text), where);
	else
		LINT_ENTRY(lint, DUPLICATE_ENTRY, entry, &there, "is in this list already: %s%s", where,
		           lint_ports_are_in(lint, lint_entry_ports(other), lint_entry_ports(entry))
		                   ? "" : " (its ports= are wider)");
}

/* ---- globs and regular expressions: the same text twice ---- */

static int compare_patterns(const void *a, const void *b, void *context)
{
	const struct lint *lint = context;
	const struct build_entry *x = &lint->entries[*(const uint32_t *)a], *y = &lint->entries[*(const uint32_t *)b];
	int order = x->list < y->list ? -1 : x->list > y->list;

	if (order == 0)
		order = span_compare(build_entry_text(lint->build, x), build_entry_text(lint->build, y));
	return order ? order : x < y ? -1 : x > y;
}

static void cover_patterns(struct lint *lint)
{
	const uint32_t *regexes = (const void *)lint->build->regexes.at;
	uint32_t *order = calloc(lint->build->regexes.count + lint->glob_count + 1, sizeof(*order));
	size_t count = 0, first = 0;

	for (size_t i = 0; order && i < lint->build->regexes.count; i++)
		if (regexes[i] != NONE)
			order[count++] = regexes[i];
	for (size_t i = 0; order && i < lint->glob_count; i++)
		order[count++] = lint->globs[i];
	if (count)
		qsort_r(order, count, sizeof(*order), compare_patterns, lint);
	for (size_t i = 1; i < count; i++) {
		const struct build_entry *entry = &lint->entries[order[i]], *other = &lint->entries[order[first]];

		if (other->list != entry->list || !has_same_text(lint, entry, other))
			first = i;
		else if (covers(lint, entry, other))
			say(lint, entry, other);
	}
	free(order);
}

void lint_covered(struct lint *lint)
{
	relate_lists(lint);
	for (size_t i = 0; i < lint->entry_count; i++) {
		struct lint_search search = {.entry = &lint->entries[i], .takes = takes};
		const struct build_entry *other = lint_find_wider(lint, &search);

		if (other)
			say(lint, search.entry, other);
		lint_progress(lint, LINT_PASS_COVERED, i);
	}
	cover_patterns(lint);
}
