/* SPDX-License-Identifier: Apache-2.0 */
/* Does one rule include another: condition by condition, with what cannot be known, and with ports as DESIGN 5 has them.
 * Sound before all: what is not certain is not included. */
#include <string.h>

#include "policy/lint/lint.h"

bool lint_is_strict(enum policy_question question, unsigned answer)
{
	return (question == POLICY_ACCESS && answer == ACCESS_DENY) ||
	       (question == POLICY_TLS && answer == TLS_INSPECT) ||
	       (question == POLICY_AUTH && answer == AUTH_REQUIRED);
}

/* Comparing rules costs; when nothing is left, nothing is included. */
static void pay(struct lint *lint, uint64_t cost)
{
	lint->budget -= cost < lint->budget ? cost : lint->budget;
}

/* ---- ports ---- */

/* Is every port from first to last in one of the ranges? */
static bool has_range(const struct image_ports *ranges, size_t count, uint32_t first, uint32_t last)
{
	while (first <= last) {
		size_t i = 0;

		while (i < count && (first < ranges[i].first || first > ranges[i].last))
			i++;
		if (i == count)
			return false;
		first = (uint32_t)ranges[i].last + 1;
	}
	return true;
}

bool lint_ports_are_in(const struct lint *lint, struct image_range ports, struct image_range wider)
{
	const struct image_ports *all = (const void *)lint->build->ports.at;

	for (uint32_t i = 0; i < ports.count; i++)
		if (!has_range(all + wider.at, wider.count, all[ports.at + i].first, all[ports.at + i].last))
			return false;
	return true;
}

const struct image_range *lint_answer_ports(const struct lint *lint, const struct image_rule *rule,
                                            enum policy_question question)
{
	if (rule->port.count)
		return &rule->port;
	return policy_is_loosening(question, rule->answers[question]) ? &lint->build->default_ports : NULL;
}

/* Where b's answer holds without ports=, does a's? */
static bool includes_ports(const struct lint *lint, const struct image_rule *a, const struct image_rule *b,
                           enum policy_question question)
{
	static const struct image_ports every = {0, 65535};
	const struct image_ports *all = (const void *)lint->build->ports.at;
	const struct image_range *wide = lint_answer_ports(lint, a, question);
	const struct image_range *narrow = lint_answer_ports(lint, b, question);

	if (wide == NULL)
		return true;
	if (narrow == NULL)
		return has_range(all + wide->at, wide->count, every.first, every.last);
	return lint_ports_are_in(lint, *narrow, *wide);
}

/* ---- conditions ---- */

static bool includes_from(struct lint *lint, const struct image_rule *a, const struct image_rule *b)
{
	const struct network *all = (const void *)lint->build->networks.at;

	if (a->from.count == 0)
		return true;
	for (uint32_t i = 0; i < b->from.count; i++) {
		const struct network *network = &all[b->from.at + i];
		uint32_t j = 0;

		while (j < a->from.count && (all[a->from.at + j].prefix_len > network->prefix_len ||
		                             !network_has(&all[a->from.at + j], &network->base)))
			j++;
		pay(lint, j);
		if (j == a->from.count)
			return false;
	}
	return b->from.count > 0;
}

static bool includes_texts(struct lint *lint, struct image_range a, struct image_range b)
{
	const struct image_range *texts = (const void *)lint->build->texts.at;

	if (a.count == 0)
		return true;
	for (uint32_t i = 0; i < b.count; i++) {
		uint32_t j = 0;

		while (j < a.count && !span_equal(lint_text(lint, texts[a.at + j]), lint_text(lint, texts[b.at + i])))
			j++;
		pay(lint, j);
		if (j == a.count)
			return false;
	}
	return b.count > 0;
}

static bool includes_urls(struct lint *lint, const struct image_rule *a, const struct image_rule *b)
{
	const struct image_url *urls = (const void *)lint->build->urls.at;

	if (a->url.count == 0)
		return true;
	for (uint32_t i = 0; i < b->url.count; i++) {
		const struct image_url *url = &urls[b->url.at + i];
		uint32_t j = 0;

		while (j < a->url.count && (urls[a->url.at + j].regex != NONE ||
		                            !span_starts_with(lint_text(lint, url->text),
		                                              lint_text(lint, urls[a->url.at + j].text))))
			j++;
		pay(lint, j);
		if (url->regex != NONE || j == a->url.count)
			return false;
	}
	return b->url.count > 0;
}

static bool includes_lists(struct lint *lint, struct image_range a, struct image_range b)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;

	for (uint32_t i = 0; i < b.count; i++) {
		uint32_t j = 0;

		while (j < a.count && refs[a.at + j] != refs[b.at + i])
			j++;
		pay(lint, j);
		if (j == a.count)
			return false;
	}
	return b.count > 0;
}

/* ---- time: minutes of the week, where the zone is the same ---- */

enum { DAY_MIN = 1440 };

static bool has_same_zone(const struct lint *lint, const struct image_time *a, const struct image_time *b)
{
	const struct image_zone_change *zones = (const void *)lint->build->zones.at;

	return a->zone_min == b->zone_min && a->zone.count == b->zone.count &&
	       (a->zone.count == 0 || a->zone.at == b->zone.at ||
	        memcmp(zones + a->zone.at, zones + b->zone.at, a->zone.count * sizeof(*zones)) == 0);
}

static bool time_has(const struct image_time *time, uint32_t week_min)
{
	uint32_t day = week_min / DAY_MIN, minute = week_min % DAY_MIN;

	if (time->from_min <= time->until_min)
		return (time->days >> day & 1) && minute >= time->from_min && minute < time->until_min;
	return (minute >= time->from_min && (time->days >> day & 1)) ||
	       (minute < time->until_min && (time->days >> (day + 6) % 7 & 1));
}

static bool has_minute(const struct lint *lint, const struct image_rule *rule, const struct image_time *zone,
                       uint32_t week_min)
{
	const struct image_time *all = (const void *)lint->build->times.at;

	for (uint32_t i = 0; i < rule->time.count; i++)
		if (has_same_zone(lint, zone, &all[rule->time.at + i]) && time_has(&all[rule->time.at + i], week_min))
			return true;
	return false;
}

/* At this minute of each day: what holds there is in the rule? */
static bool includes_minute(const struct lint *lint, const struct image_rule *rule, const struct image_time *time,
                            uint32_t minute)
{
	for (uint32_t day = 0; day < 7 && minute < DAY_MIN; day++)
		if (time_has(time, day * DAY_MIN + minute) && !has_minute(lint, rule, time, day * DAY_MIN + minute))
			return false;
	return true;
}

/* Whatever holds can only change at midnight, and where some time begins or ends. */
static bool includes_time(const struct lint *lint, const struct image_rule *a, const struct image_rule *b)
{
	const struct image_time *all = (const void *)lint->build->times.at;

	if (a->time.count == 0)
		return true;
	for (uint32_t i = 0; i < b->time.count; i++) {
		const struct image_time *time = &all[b->time.at + i];

		if (!includes_minute(lint, a, time, 0) || !includes_minute(lint, a, time, time->from_min))
			return false;
		for (uint32_t j = 0; j < a->time.count; j++)
			if (!includes_minute(lint, a, time, all[a->time.at + j].from_min) ||
			    !includes_minute(lint, a, time, all[a->time.at + j].until_min))
				return false;
	}
	return b->time.count > 0;
}

/* ---- to ---- */

static bool has_regexes(const struct lint *lint, const struct image_rule *rule)
{
	const uint16_t *refs = (const void *)lint->build->list_refs.at;

	for (uint32_t i = 0; i < rule->to.count; i++)
		if (lint->lists[refs[rule->to.at + i]].has_regex)
			return true;
	return false;
}

static bool takes_for_rule(struct lint *lint, const struct lint_search *search, const struct build_entry *other)
{
	const struct build_entry *entry = search->entry;
	const struct image_range *wide = lint_answer_ports(lint, search->rule, search->question);

	if (!lint_has_list(search->lists, other->list) ||
	    (other->expires_min && (entry->expires_min == 0 || entry->expires_min > other->expires_min)))
		return false;
	if (other->ports & 0xff)
		return (entry->ports & 0xff) && lint_ports_are_in(lint, lint_entry_ports(entry), lint_entry_ports(other));
	if (entry->ports & 0xff)
		return wide == NULL || lint_ports_are_in(lint, lint_entry_ports(entry), *wide);
	return includes_ports(lint, search->rule, search->other_rule, search->question);
}

/* Is every entry of b's lists matched by one of a's, at each port? Only where there are few. */
static bool includes_entries(struct lint *lint, const struct image_rule *a, const struct image_rule *b,
                             enum policy_question question)
{
	enum { COMPARED_MAX = 1000 };
	const uint16_t *refs = (const void *)lint->build->list_refs.at;
	uint8_t lists[LINT_LIST_BYTES] = {0};
	struct lint_search search = {.takes = takes_for_rule, .rule = a, .other_rule = b, .question = question,
	                             .lists = lists};
	size_t count = 0;

	if (b->resolved)
		return false;
	for (uint32_t i = 0; i < a->to.count; i++)
		lint_set_list(lists, refs[a->to.at + i]);
	for (uint32_t i = 0; i < b->to.count; i++) {
		const struct lint_list *list = &lint->lists[refs[b->to.at + i]];

		count += list->entry_count;
		if (count > COMPARED_MAX || lint->budget < list->entry_count)
			return false;
		lint->budget -= list->entry_count;
		for (uint32_t j = 0; j < list->entry_count; j++) {
			search.entry = &lint->entries[list->first + j];
			if (lint_find_wider(lint, &search) == NULL)
				return false;
		}
	}
	return true;
}

/* ports= takes the place of a rule's ports: those of b's lists must be among a's. */
static bool includes_entry_ports(const struct lint *lint, const struct image_rule *a, const struct image_rule *b,
                                 enum policy_question question)
{
	const struct image_range *wide = lint_answer_ports(lint, a, question);
	const uint16_t *refs = (const void *)lint->build->list_refs.at;

	for (uint32_t i = 0; wide && i < b->to.count; i++)
		if (lint->lists[refs[b->to.at + i]].has_ports)
			return false;
	return true;
}

static bool includes_to(struct lint *lint, const struct image_rule *a, const struct image_rule *b,
                        enum policy_question question)
{
	if (a->to.count == 0)
		return includes_entry_ports(lint, a, b, question) && includes_ports(lint, a, b, question);
	if (b->to.count == 0 || (b->resolved && !a->resolved))
		return false;
	/* An expression of a's that gives up would keep it from asking for the address. */
	if (a->resolved && has_regexes(lint, a) && !lint_is_strict(question, a->answers[question]))
		return false;
	/* The same entry is found in both, with its ports=; but for an address that is only asked for where no name hit. */
	if (includes_lists(lint, a->to, b->to))
		return includes_ports(lint, a, b, question) &&
		       (!a->resolved || includes_entry_ports(lint, a, b, question));
	return includes_entries(lint, a, b, question);
}

/* ---- all ---- */

bool lint_includes(struct lint *lint, const struct image_rule *a, const struct image_rule *b,
                   enum policy_question question, unsigned but)
{
	bool may_be_unknown = a->user.count + a->group.count + a->sni.count + a->url.count + a->method.count + a->content_type.count > 0 ||
	                      a->resolved || (!(but & LINT_TO) && has_regexes(lint, a));

	if (lint->budget == 0)
		return false;
	pay(lint, 1 + (uint64_t)a->time.count * (a->time.count + 1) * b->time.count * 14 +
	                  (uint64_t)a->port.count * (b->port.count + 1));
	if (may_be_unknown && lint_is_strict(question, b->answers[question]) &&
	    !lint_is_strict(question, a->answers[question]))
		return false;
	if (!includes_from(lint, a, b) || !includes_texts(lint, a->listener, b->listener) ||
	    !includes_texts(lint, a->user, b->user) || !includes_texts(lint, a->group, b->group) ||
	    !includes_texts(lint, a->method, b->method) || !includes_texts(lint, a->content_type, b->content_type) || !includes_urls(lint, a, b) ||
	    (a->sni.count && !includes_lists(lint, a->sni, b->sni)) || !includes_time(lint, a, b))
		return false;
	if (but & LINT_TO)
		return (but & LINT_PORTS) || includes_ports(lint, a, b, question);
	return includes_to(lint, a, b, question);
}
