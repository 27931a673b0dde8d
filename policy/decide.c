/* SPDX-License-Identifier: Apache-2.0 */
/* Rules are read in order, for each known name alone; what a list says of a name is found in one
 * pass over the index first. Three values run through it: holds, does not hold, not known yet. */
#include <stdlib.h>
#include <string.h>

#include "policy/look_up.h"
#include "policy/url.h"

/* How a rule's conditions stand. `need`: facts that must be asked for. `absent`: some condition can
 * never be known here (a regular expression that gave up, too), and everything else holds. */
struct standing {
	bool fails;
	bool is_absent;
	unsigned need;
	struct look_up_hit hit; /* in the lists of `to` */
};

/* A name that a decision is made for. */
struct name {
	struct span text;
	struct address address; /* family 0: it is a name */
	uint8_t index;
};

static const char *const question_names[] = {
#define QUESTION_NAME(name, key) key,
	POLICY_QUESTIONS(QUESTION_NAME)
#undef QUESTION_NAME
};

static const char *const answer_names[POLICY_QUESTION_COUNT][4] = {
	[POLICY_ACCESS] = {"deny", "allow"},
	[POLICY_AUTH] = {"required", "exempt"},
	[POLICY_TLS] = {"inspect", "bypass"},
	[POLICY_OPAQUE] = {"deny", "tunnel"},
	[POLICY_CLIENT_CERTIFICATE] = {"ignore", "deny", "bypass"},
	[POLICY_CLASS] = {"normal", "media", "bulk"},
	[POLICY_ROUTE] = {"direct", "source"},
	[POLICY_PAC] = {"proxy", "direct"},
	[POLICY_LOG] = {"full", "brief", "none"},
};

const char *policy_question_name(enum policy_question question)
{
	return question_names[question];
}

const char *policy_answer_name(enum policy_question question, unsigned answer)
{
	return answer < 4 ? answer_names[question][answer] : NULL;
}

bool policy_is_loosening(enum policy_question question, unsigned answer)
{
	switch (question) {
	case POLICY_ACCESS:
		return answer == ACCESS_ALLOW;
	case POLICY_AUTH:
		return answer == AUTH_EXEMPT;
	case POLICY_TLS:
		return answer == TLS_BYPASS;
	case POLICY_CLIENT_CERTIFICATE:
		return answer == CLIENT_CERTIFICATE_BYPASS;
	case POLICY_OPAQUE:
	case POLICY_CLASS:
	case POLICY_ROUTE:
	case POLICY_PAC:
	case POLICY_LOG:
	case POLICY_QUESTION_COUNT:
		break;
	}
	return false;
}

/* Answers that hold where a fact can never be known: what cannot be proved shall not loosen. */
static bool is_strict(enum policy_question question, unsigned answer)
{
	return (question == POLICY_ACCESS && answer == ACCESS_DENY) ||
	       (question == POLICY_TLS && answer == TLS_INSPECT) ||
	       (question == POLICY_AUTH && answer == AUTH_REQUIRED);
}

/* ---- conditions ---- */

/* A fact that is missing: to be asked for, or never to be known. */
static void miss(struct standing *standing, const struct policy_facts *facts, unsigned fact)
{
	if (facts->absent & fact)
		standing->is_absent = true;
	else
		standing->need |= fact;
}

static bool has_text(const struct policy *policy, struct image_range texts, struct span text)
{
	for (uint32_t i = 0; i < texts.count; i++)
		if (span_equal(image_text(policy, policy->image.texts[texts.at + i]), text))
			return true;
	return false;
}

static bool check_from(const struct policy *policy, const struct image_rule *rule,
                       const struct policy_facts *facts)
{
	for (uint32_t i = 0; i < rule->from.count; i++)
		if (network_has(&policy->image.networks[rule->from.at + i], &facts->from))
			return true;
	return rule->from.count == 0;
}

static bool check_time(const struct policy *policy, const struct image_rule *rule,
                       const struct policy_facts *facts)
{
	for (uint32_t i = 0; i < rule->time.count; i++) {
		const struct image_time *time = &policy->image.times[rule->time.at + i];
		int64_t minutes = (int64_t)(facts->wall_ms / 60000) + time->zone_min;
		uint32_t minute = (uint32_t)(((minutes % 1440) + 1440) % 1440);
		uint32_t day = (uint32_t)((minutes / 1440 + 3) % 7); /* 1970-01-01 was a Thursday */

		if (time->from_min <= time->until_min) {
			if ((time->days >> day & 1) && minute >= time->from_min && minute < time->until_min)
				return true;
		} else if ((minute >= time->from_min && (time->days >> day & 1)) ||
		           (minute < time->until_min && (time->days >> (day + 6) % 7 & 1))) {
			return true; /* over midnight: it belongs to the day on which it began */
		}
	}
	return rule->time.count == 0;
}

static bool check_group(const struct policy *policy, const struct image_rule *rule,
                        const struct policy_facts *facts)
{
	for (size_t i = 0; i < facts->group_count; i++)
		if (has_text(policy, rule->group, facts->groups[i]))
			return true;
	return false;
}

static void check_user(const struct policy *policy, const struct image_rule *rule,
                       const struct policy_facts *facts, struct standing *standing)
{
	if (rule->user.count == 0 && rule->group.count == 0)
		return;
	if (!(facts->known & FACT_USER))
		miss(standing, facts, FACT_USER);
	else if ((rule->user.count && !has_text(policy, rule->user, facts->user)) ||
	         (rule->group.count && !check_group(policy, rule, facts)))
		standing->fails = true;
}

static enum policy_match match_url(const struct policy *policy, const struct image_url *url,
                                   struct span text)
{
	if (url->regex != NONE)
		return policy_regex_match(policy, url->regex, text);
	return span_starts_with(text, image_text(policy, url->text)) ? MATCH_YES : MATCH_NO;
}

static void check_url(const struct policy *policy, const struct image_rule *rule,
                      const struct policy_facts *facts, struct standing *standing)
{
	bool is_unsure = false;

	for (uint32_t i = 0; i < rule->url.count; i++) {
		enum policy_match match =
			match_url(policy, &policy->image.urls[rule->url.at + i], facts->url);

		if (match == MATCH_YES)
			return;
		is_unsure |= match == MATCH_GAVE_UP;
	}
	if (is_unsure)
		standing->is_absent = true;
	else
		standing->fails = true;
}

static void check_request(const struct policy *policy, const struct image_rule *rule,
                          const struct policy_facts *facts, struct standing *standing)
{
	if (rule->method.count && facts->method.len) {
		if (!has_text(policy, rule->method, facts->method))
			standing->fails = true;
	} else if (rule->method.count) {
		miss(standing, facts, FACT_REQUEST);
	}
	if (rule->url.count == 0)
		return;
	if (!(facts->known & FACT_REQUEST))
		miss(standing, facts, FACT_REQUEST);
	else
		check_url(policy, rule, facts, standing);
}

/* The lists were looked up for the name before; a rule with resolved: also asks for the address. */
static void check_to(const struct policy *policy, const struct image_rule *rule,
                     const struct policy_facts *facts, const struct name *name,
                     struct standing *standing)
{
	if (rule->to.count == 0 || look_up_find(policy, rule->to, &standing->hit))
		return;
	if (look_up_find_unsure(policy, rule->to, &standing->hit)) {
		standing->is_absent = true;
		return;
	}
	if (!rule->resolved || name->address.family || !look_up_has_networks(policy, rule->to)) {
		standing->fails = true;
	} else if (!(facts->known & FACT_ADDRESS)) {
		miss(standing, facts, FACT_ADDRESS);
	} else {
		look_up(policy, facts, SPAN(""), &facts->address);
		standing->fails = !look_up_find(policy, rule->to, &standing->hit);
		look_up(policy, facts, name->text, &name->address);
	}
}

static void check_sni(const struct policy *policy, const struct image_rule *rule,
                      const struct policy_facts *facts, const struct name *name,
                      struct standing *standing)
{
	static const struct address none;
	struct look_up_hit ignored;

	if (rule->sni.count == 0)
		return;
	if (!(facts->known & FACT_HELLO)) {
		miss(standing, facts, FACT_HELLO);
	} else if (facts->sni.len == 0) {
		standing->is_absent = true;
	} else {
		look_up(policy, facts, facts->sni, &none);
		if (!look_up_find(policy, rule->sni, &ignored)) {
			bool is_unsure = look_up_find_unsure(policy, rule->sni, &ignored);

			standing->is_absent |= is_unsure;
			standing->fails = !is_unsure;
		}
		look_up(policy, facts, name->text, &name->address);
	}
}

static struct standing check_rule(const struct policy *policy, const struct image_rule *rule,
                                  const struct policy_facts *facts, const struct name *name)
{
	struct standing standing = {.hit.entry = NONE};

	if (!check_from(policy, rule, facts) || !check_time(policy, rule, facts) ||
	    (rule->listener.count && !has_text(policy, rule->listener, facts->listener)))
		standing.fails = true;
	if (!standing.fails)
		check_to(policy, rule, facts, name, &standing);
	if (!standing.fails && rule->port.count && !standing.hit.has_ports)
		standing.fails = !look_up_has_port(policy, rule->port, facts->port);
	if (!standing.fails)
		check_user(policy, rule, facts, &standing);
	if (!standing.fails)
		check_request(policy, rule, facts, &standing);
	if (!standing.fails)
		check_sni(policy, rule, facts, name, &standing);
	return standing;
}

/* Does the answer hold at this port? Without `port` and ports=, a loosening one only at the default ports. */
static bool holds_at_port(const struct policy *policy, const struct image_rule *rule,
                          const struct policy_facts *facts, const struct standing *standing,
                          enum policy_question question, unsigned answer)
{
	if (rule->port.count || standing->hit.has_ports || !policy_is_loosening(question, answer))
		return true;
	return look_up_has_port(policy, policy->header->default_ports, facts->port);
}

/* ---- one name, then all ---- */

/* Questions that take part for a name: all for the authority, the strict ones for the others. */
static bool takes_part(enum policy_question question, const struct name *name)
{
	return name->index == 0 || question <= POLICY_CLIENT_CERTIFICATE;
}

static void apply_rule(const struct policy *policy, uint32_t index, const struct policy_facts *facts,
                       const struct name *name, struct policy_decision *out, unsigned *left)
{
	const struct image_rule *rule = &policy->image.rules[index];
	struct standing standing = check_rule(policy, rule, facts, name);

	if (standing.fails)
		return;
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		enum policy_question question = (enum policy_question)q;
		uint8_t answer = rule->answers[q];

		if (answer == NO_ANSWER || !(*left >> q & 1) ||
		    !holds_at_port(policy, rule, facts, &standing, question, answer))
			continue;
		if (standing.is_absent && !is_strict(question, answer))
			continue;
		*left &= ~(1u << q);
		if (standing.need) {
			out->needs[q] = (uint8_t)standing.need;
			out->open |= 1u << q;
			continue;
		}
		out->answers[q] = (struct policy_answer){answer, name->index, standing.hit.list, index,
		                                         standing.hit.entry};
		if (question == POLICY_ROUTE)
			out->route_source = rule->route_source;
	}
}

static uint8_t default_answer(const struct policy *policy, const struct policy_facts *facts,
                              enum policy_question question)
{
	uint8_t answer = policy->header->defaults[question];

	if (question == POLICY_ACCESS && answer == ACCESS_ALLOW &&
	    !look_up_has_port(policy, policy->header->default_ports, facts->port))
		return ACCESS_DENY;
	return answer;
}

static void decide_name(const struct policy *policy, const struct policy_facts *facts,
                        const struct name *name, struct policy_decision *out)
{
	unsigned left = 0;

	*out = (struct policy_decision){.need = 0};
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (takes_part((enum policy_question)q, name))
			left |= 1u << q;
	look_up(policy, facts, name->text, &name->address);
	for (uint32_t i = 0; left && i < policy->image.rules_count; i++)
		apply_rule(policy, i, facts, name, out, &left);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (left >> q & 1)
			out->answers[q] = (struct policy_answer){
				default_answer(policy, facts, (enum policy_question)q), name->index, 0,
				POLICY_NO_RULE, NONE};
}

/* Smaller is stricter. */
static unsigned rank(enum policy_question question, unsigned answer)
{
	static const uint8_t certificate_ranks[] = {1, 0, 2}; /* ignore, deny, bypass */

	return question == POLICY_CLIENT_CERTIFICATE && answer < 3 ? certificate_ranks[answer] : answer;
}

static bool is_open(const struct policy_decision *decision, enum policy_question question)
{
	return decision->open >> question & 1;
}

/* Nothing can be stricter, whatever another name still needs. */
static bool is_strictest(const struct policy_decision *decision, enum policy_question question)
{
	return !is_open(decision, question) && rank(question, decision->answers[question].answer) == 0;
}

static void merge(struct policy_decision *out, const struct policy_decision *other,
                  enum policy_question question)
{
	if (is_strictest(out, question))
		return;
	if (!is_strictest(other, question) && (is_open(out, question) || is_open(other, question))) {
		out->open |= 1u << question;
		out->needs[question] |= other->needs[question];
		return;
	}
	if (is_open(out, question) || rank(question, other->answers[question].answer) <
	                                      rank(question, out->answers[question].answer))
		out->answers[question] = other->answers[question];
	out->open &= ~(1u << question);
	out->needs[question] = 0;
}

static void decide_names(const struct policy *policy, const struct policy_facts *facts,
                         struct policy_decision *out)
{
	struct name names[3] = {{.text = facts->host, .address = facts->host_address, .index = 0},
	                        {.text = SPAN(""), .index = 1},
	                        {.text = facts->inner_host, .index = 2}};
	struct policy_decision other;

	if (facts->known & FACT_HELLO)
		names[1].text = facts->sni;
	decide_name(policy, facts, &names[0], out);
	for (size_t i = 1; i < COUNT_OF(names); i++) {
		if (names[i].text.len == 0 || span_equal(names[i].text, facts->host))
			continue;
		if (address_parse(names[i].text, &names[i].address))
			names[i].address.port = facts->port;
		decide_name(policy, facts, &names[i], &other);
		for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
			if (takes_part((enum policy_question)q, &names[i]))
				merge(out, &other, (enum policy_question)q);
	}
}

/* A URL can be spelled in many ways that an origin takes for the same: as it is written and as origins
 * read it, both are decided, and the strictest answer holds. */
static void decide_plain_url(const struct policy *policy, const struct policy_facts *facts,
                             struct policy_decision *out)
{
	struct policy_facts plain = *facts;
	struct policy_decision other;
	uint8_t *copy;

	if (!url_make_plain(facts->url, &copy, &plain.url)) {
		out->answers[POLICY_ACCESS] =
			(struct policy_answer){ACCESS_DENY, 0, 0, POLICY_NO_RULE, NONE};
		out->open &= ~(1u << POLICY_ACCESS);
		out->needs[POLICY_ACCESS] = 0;
		return;
	}
	if (!span_equal(plain.url, facts->url)) {
		decide_names(policy, &plain, &other);
		for (int q = 0; q <= POLICY_CLIENT_CERTIFICATE; q++)
			merge(out, &other, (enum policy_question)q);
	}
	free(copy);
}

void policy_decide(const struct policy *policy, const struct policy_facts *facts,
                   struct policy_decision *out)
{
	decide_names(policy, facts, out);
	if (policy->image.urls_count && (facts->known & FACT_REQUEST))
		decide_plain_url(policy, facts, out);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		out->need |= out->needs[q];
}

/* ---- for people ---- */

struct span policy_rule_name(const struct policy *policy, uint32_t rule)
{
	if (rule >= policy->image.rules_count)
		return SPAN("defaults");
	return image_text(policy, policy->image.rules[rule].name);
}

struct span policy_rule_file(const struct policy *policy, uint32_t rule, unsigned *line)
{
	uint32_t file = policy->header->policy_file;

	*line = policy->header->defaults_line;
	if (rule < policy->image.rules_count) {
		file = policy->image.rules[rule].file;
		*line = policy->image.rules[rule].line;
	}
	return image_text(policy, policy->image.files[file]);
}

struct span policy_list_name(const struct policy *policy, uint16_t list)
{
	if (list == 0 || list > policy->image.lists_count)
		return SPAN("");
	return image_text(policy, policy->image.lists[list - 1].name);
}

bool policy_place(const struct policy *policy, const struct policy_answer *answer,
                  struct span *file, unsigned *line, struct span *entry_text)
{
	const struct image_entry *entry;

	if (answer->list == 0 || answer->entry >= policy->image.entries_count)
		return false;
	entry = &policy->image.entries[answer->entry];
	*file = image_text(policy, policy->image.files[entry->file]);
	*line = entry->line;
	*entry_text = image_entry_text(policy, entry);
	return true;
}
