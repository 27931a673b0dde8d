/* SPDX-License-Identifier: Apache-2.0 */
/* Rules are read in order, for each known name alone; what a list says of a name is found in one
 * pass over the index first. Three values run through it: holds, does not hold, not known yet. */
#include <stdlib.h>
#include <string.h>

#include "base/reason.h"
#include "policy/trace.h"
#include "policy/url.h"

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
	[POLICY_CLASS] = {"normal", "media", "bulk", "auto"},
	[POLICY_ROUTE] = {"direct", "source"},
	[POLICY_PAC] = {"proxy", "direct"},
	[POLICY_LOG] = {"full", "brief", "none"},
	[POLICY_SNI] = {"any", "must-match"},
	[POLICY_RATE] = {"none", "limit"},
	[POLICY_REQUEST_HEADERS] = {"none", "edit"},
	[POLICY_RESPONSE_HEADERS] = {"none", "edit"},
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
	case POLICY_SNI:
	case POLICY_RATE:
	case POLICY_REQUEST_HEADERS:
	case POLICY_RESPONSE_HEADERS:
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

/* A condition that does not hold; the first is kept. */
static void fail(struct standing *standing, enum condition condition)
{
	if (standing->failed == CONDITION_NONE)
		standing->failed = (uint8_t)condition;
}

/* A condition of which it can never be told whether it holds; the first is kept. */
static void give_up(struct standing *standing, enum reason reason, enum condition condition)
{
	if (standing->reason != REASON_RULE)
		return;
	standing->reason = (uint8_t)reason;
	standing->unknown = (uint8_t)condition;
}

/* A fact that is missing: to be asked for, or never to be known. */
static void miss(struct standing *standing, const struct policy_facts *facts, enum policy_fact fact,
                 enum condition condition)
{
	if (facts->absent & fact)
		give_up(standing, REASON_NEVER_KNOWN, condition);
	else
		standing->need |= (uint8_t)fact;
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

/* Minutes east of UTC at that time: of a zone with a name the last change before it. */
static int32_t zone_at(const struct policy *policy, const struct image_time *time, int64_t now_min)
{
	int32_t zone_min = time->zone_min;

	for (uint32_t i = 0; i < time->zone.count; i++) {
		const struct image_zone_change *change = &policy->image.zones[time->zone.at + i];

		if (change->from_min > now_min)
			break;
		zone_min = change->zone_min;
	}
	return zone_min;
}

static bool check_time(const struct policy *policy, const struct image_rule *rule,
                       const struct policy_facts *facts)
{
	for (uint32_t i = 0; i < rule->time.count; i++) {
		const struct image_time *time = &policy->image.times[rule->time.at + i];
		int64_t now_min = (int64_t)(facts->wall_ms / 60000);
		int64_t minutes = now_min + zone_at(policy, time, now_min);
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
	for (uint32_t i = 0; i < rule->group.count; i++) {
		struct span text = image_text(policy, policy->image.texts[rule->group.at + i]);

		/* Directories know no case, and each writes them as it likes. */
		for (size_t j = 0; j < facts->group_count; j++)
			if (span_equal_nocase(text, facts->groups[j]))
				return true;
	}
	return false;
}

static void check_user(const struct policy *policy, const struct image_rule *rule,
                       const struct policy_facts *facts, struct standing *standing)
{
	if (rule->user.count == 0 && rule->group.count == 0)
		return;
	if (!(facts->known & FACT_USER))
		miss(standing, facts, FACT_USER, rule->user.count ? CONDITION_USER : CONDITION_GROUP);
	else if (rule->user.count && !has_text(policy, rule->user, facts->user))
		fail(standing, CONDITION_USER);
	else if (rule->group.count && !check_group(policy, rule, facts))
		fail(standing, CONDITION_GROUP);
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
		give_up(standing, REASON_REGEX_LIMIT, CONDITION_URL);
	else
		fail(standing, CONDITION_URL);
}

static void check_request(const struct policy *policy, const struct image_rule *rule,
                          const struct policy_facts *facts, struct standing *standing)
{
	if (rule->method.count && facts->method.len) {
		if (!has_text(policy, rule->method, facts->method))
			fail(standing, CONDITION_METHOD);
	} else if (rule->method.count) {
		miss(standing, facts, FACT_REQUEST, CONDITION_METHOD);
	}
	if (rule->url.count == 0)
		return;
	if (!(facts->known & FACT_REQUEST))
		miss(standing, facts, FACT_REQUEST, CONDITION_URL);
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
		give_up(standing, REASON_REGEX_LIMIT, CONDITION_TO);
		return;
	}
	if (!rule->resolved || name->address.family || !look_up_has_networks(policy, rule->to)) {
		fail(standing, CONDITION_TO);
	} else if (!(facts->known & FACT_ADDRESS)) {
		miss(standing, facts, FACT_ADDRESS, CONDITION_TO);
	} else {
		look_up(policy, facts, SPAN(""), &facts->address);
		if (!look_up_find(policy, rule->to, &standing->hit))
			fail(standing, CONDITION_TO);
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
		miss(standing, facts, FACT_HELLO, CONDITION_SNI);
	} else if (facts->sni.len == 0) {
		give_up(standing, REASON_NEVER_KNOWN, CONDITION_SNI);
	} else {
		look_up(policy, facts, facts->sni, &none);
		if (!look_up_find(policy, rule->sni, &ignored)) {
			if (look_up_find_unsure(policy, rule->sni, &ignored))
				give_up(standing, REASON_REGEX_LIMIT, CONDITION_SNI);
			else
				fail(standing, CONDITION_SNI);
		}
		look_up(policy, facts, name->text, &name->address);
	}
}

static void check_content_type(const struct policy *policy, const struct image_rule *rule,
                               const struct policy_facts *facts, struct standing *standing)
{
	if (rule->content_type.count == 0)
		return;
	if (!(facts->known & FACT_RESPONSE))
		miss(standing, facts, FACT_RESPONSE, CONDITION_CONTENT_TYPE);
	else if (!policy_content_type_matches(policy, rule->content_type, facts->content_type))
		fail(standing, CONDITION_CONTENT_TYPE);
}

static struct standing check_rule(const struct policy *policy, const struct image_rule *rule,
                                  const struct policy_facts *facts, const struct name *name)
{
	struct standing standing = {.reason = REASON_RULE, .hit.entry = NONE};

	if (!check_from(policy, rule, facts))
		fail(&standing, CONDITION_FROM);
	else if (!check_time(policy, rule, facts))
		fail(&standing, CONDITION_TIME);
	else if (rule->listener.count && !has_text(policy, rule->listener, facts->listener))
		fail(&standing, CONDITION_LISTENER);
	if (!standing.failed)
		check_to(policy, rule, facts, name, &standing);
	if (!standing.failed && rule->port.count && !standing.hit.has_ports &&
	    !look_up_has_port(policy, rule->port, facts->port))
		fail(&standing, CONDITION_PORT);
	if (!standing.failed)
		check_user(policy, rule, facts, &standing);
	if (!standing.failed)
		check_request(policy, rule, facts, &standing);
	if (!standing.failed)
		check_sni(policy, rule, facts, name, &standing);
	if (!standing.failed)
		check_content_type(policy, rule, facts, &standing);
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

/* All are asked for the authority; those of which one answer is stricter than another for other names and spellings, too. Fields
 * that a rule sets may restrict: nobody gets rid of them by asking for another name. */
bool trace_is_merged(enum policy_question question)
{
	return question <= POLICY_CLIENT_CERTIFICATE || question == POLICY_REQUEST_HEADERS ||
	       question == POLICY_RESPONSE_HEADERS;
}

bool trace_takes_part(enum policy_question question, const struct name *name)
{
	return name->index == 0 || trace_is_merged(question);
}

enum outcome trace_outcome(const struct policy *policy, const struct image_rule *rule, const struct policy_facts *facts,
                           const struct standing *standing, enum policy_question question)
{
	uint8_t answer = rule->answers[question];

	if (standing->failed || answer == NO_ANSWER)
		return OUTCOME_NONE;
	if (!holds_at_port(policy, rule, facts, standing, question, answer))
		return OUTCOME_PORT;
	if (standing->reason != REASON_RULE && !is_strict(question, answer))
		return OUTCOME_UNKNOWN;
	return standing->need ? OUTCOME_NEED : OUTCOME_HOLDS;
}

static void apply_rule(const struct policy *policy, uint32_t index, const struct policy_facts *facts,
                       const struct name *name, const struct standing *standing, struct policy_decision *out,
                       unsigned *left)
{
	const struct image_rule *rule = &policy->image.rules[index];

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		enum policy_question question = (enum policy_question)q;
		enum outcome outcome;

		if (!(*left >> q & 1))
			continue;
		outcome = trace_outcome(policy, rule, facts, standing, question);
		if (outcome < OUTCOME_NEED)
			continue;
		*left &= ~(1u << q);
		if (outcome == OUTCOME_NEED) {
			out->needs[q] = standing->need;
			out->open |= 1u << q;
			continue;
		}
		out->answers[q] = (struct policy_answer){
			.answer = rule->answers[q],
			.name_index = name->index & 3u,
			.reason = standing->reason & 63u,
			.list = standing->hit.list,
			.rule = index,
			.entry = standing->hit.entry,
		};
		if (question == POLICY_ROUTE)
			out->route_source = rule->route_source;
	}
}

struct policy_answer trace_default(const struct policy *policy, const struct policy_facts *facts,
                                   const struct name *name, enum policy_question question)
{
	struct policy_answer out = {
		.answer = policy->header->defaults[question],
		.name_index = name->index & 3u,
		.reason = REASON_DEFAULT,
		.rule = POLICY_NO_RULE,
		.entry = NONE,
	};

	if (question == POLICY_ACCESS && out.answer == ACCESS_ALLOW &&
	    !look_up_has_port(policy, policy->header->default_ports, facts->port)) {
		out.answer = ACCESS_DENY;
		out.reason = REASON_PORT_NOT_OPEN;
	}
	return out;
}

/* The decision for one name alone. `standings`: NULL, or how all rules stand. */
/* Is access denied whatever the facts will be? Then nothing is asked: a name server would hear names that nobody may reach. What
 * is quoted is what denies for certain. */
static void deny_without_asking(const struct policy *policy, const struct policy_facts *facts, const struct name *name,
                                struct policy_decision *out)
{
	struct policy_decision certain = {.need = 0};
	unsigned left = 1u << POLICY_ACCESS;

	for (uint32_t i = 0; left && i < policy->image.rules_count; i++) {
		const struct image_rule *rule = &policy->image.rules[i];
		struct standing standing;

		if (rule->answers[POLICY_ACCESS] == NO_ANSWER)
			continue;
		standing = check_rule(policy, rule, facts, name);
		if (standing.failed)
			continue;
		if (trace_outcome(policy, rule, facts, &standing, POLICY_ACCESS) != OUTCOME_NEED)
			apply_rule(policy, i, facts, name, &standing, &certain, &left);
		else if (rule->answers[POLICY_ACCESS] == ACCESS_ALLOW)
			return;
	}
	if (left)
		certain.answers[POLICY_ACCESS] = trace_default(policy, facts, name, POLICY_ACCESS);
	if (certain.answers[POLICY_ACCESS].answer != ACCESS_DENY)
		return;
	out->answers[POLICY_ACCESS] = certain.answers[POLICY_ACCESS];
	out->open &= ~(1u << POLICY_ACCESS);
	out->needs[POLICY_ACCESS] = 0;
}

static void decide_name(const struct policy *policy, const struct policy_facts *facts,
                        const struct name *name, struct standing *standings, struct policy_decision *out)
{
	unsigned left = 0;

	*out = (struct policy_decision){.need = 0};
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (trace_takes_part((enum policy_question)q, name))
			left |= 1u << q;
	look_up(policy, facts, name->text, &name->address);
	for (uint32_t i = 0; (left || standings) && i < policy->image.rules_count; i++) {
		struct standing standing = check_rule(policy, &policy->image.rules[i], facts, name);

		if (!standing.failed)
			apply_rule(policy, i, facts, name, &standing, out, &left);
		if (standings)
			standings[i] = standing;
	}
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (left >> q & 1)
			out->answers[q] = trace_default(policy, facts, name, (enum policy_question)q);
	if (out->open >> POLICY_ACCESS & 1)
		deny_without_asking(policy, facts, name, out);
}

void trace_rules(const struct policy *policy, const struct policy_facts *facts, const struct name *name,
                 struct standing *standings, struct policy_decision *out)
{
	decide_name(policy, facts, name, standings, out);
}

unsigned trace_rank(enum policy_question question, unsigned answer)
{
	static const uint8_t certificate_ranks[] = {1, 0, 2}; /* ignore, deny, bypass */

	if (question == POLICY_REQUEST_HEADERS || question == POLICY_RESPONSE_HEADERS)
		return answer == HEADERS_NONE;
	return question == POLICY_CLIENT_CERTIFICATE && answer < 3 ? certificate_ranks[answer] : answer;
}

static bool is_open(const struct policy_decision *decision, enum policy_question question)
{
	return decision->open >> question & 1;
}

/* Nothing can be stricter, whatever another name still needs. */
static bool is_strictest(const struct policy_decision *decision, enum policy_question question)
{
	return !is_open(decision, question) && trace_rank(question, decision->answers[question].answer) == 0;
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
	if (is_open(out, question) || trace_rank(question, other->answers[question].answer) <
	                                      trace_rank(question, out->answers[question].answer))
		out->answers[question] = other->answers[question];
	out->open &= ~(1u << question);
	out->needs[question] = 0;
}

size_t trace_names(const struct policy_facts *facts, struct name names[static NAMES_MAX])
{
	const struct span others[] = {facts->known & FACT_HELLO ? facts->sni : SPAN(""), facts->inner_host};
	size_t count = 1;

	names[0] = (struct name){.text = facts->host, .address = facts->host_address};
	for (size_t i = 0; i < COUNT_OF(others); i++) {
		struct name *name = &names[count];

		if (others[i].len == 0 || span_equal(others[i], facts->host))
			continue;
		*name = (struct name){.text = others[i], .index = (uint8_t)(i + 1)};
		if (address_parse(name->text, &name->address))
			name->address.port = facts->port;
		count++;
	}
	return count;
}

static void decide_names(const struct policy *policy, const struct policy_facts *facts,
                         struct policy_decision *out)
{
	struct name names[NAMES_MAX];
	size_t count = trace_names(facts, names);
	struct policy_decision other;

	decide_name(policy, facts, &names[0], NULL, out);
	for (size_t i = 1; i < count; i++) {
		decide_name(policy, facts, &names[i], NULL, &other);
		for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
			if (trace_takes_part((enum policy_question)q, &names[i]))
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
			(struct policy_answer){.answer = ACCESS_DENY, .reason = REASON_URL_MEMORY,
			                       .rule = POLICY_NO_RULE, .entry = NONE};
		out->open &= ~(1u << POLICY_ACCESS);
		out->needs[POLICY_ACCESS] = 0;
		return;
	}
	if (!span_equal(plain.url, facts->url)) {
		decide_names(policy, &plain, &other);
		for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
			if (trace_is_merged((enum policy_question)q))
				merge(out, &other, (enum policy_question)q);
	}
	free(copy);
}

/* Another name in the ClientHello than the one that was asked for reaches another host behind the same address (domain
 * fronting). One that sends none, as media clients do, says nothing that could differ. */
static void decide_sni(const struct policy_facts *facts, struct policy_decision *out)
{
	const struct policy_answer *sni = &out->answers[POLICY_SNI];

	if (is_open(out, POLICY_SNI) || sni->answer != SNI_MUST_MATCH || is_strictest(out, POLICY_ACCESS))
		return;
	if (!(facts->known & FACT_HELLO)) {
		if (!(facts->absent & FACT_HELLO))
			out->needs[POLICY_SNI] |= FACT_HELLO;
		return;
	}
	if (facts->sni.len == 0 || span_equal(facts->sni, facts->host))
		return;
	out->answers[POLICY_ACCESS] = *sni;
	out->answers[POLICY_ACCESS].answer = ACCESS_DENY;
	out->answers[POLICY_ACCESS].name_index = 1;
	out->answers[POLICY_ACCESS].reason = REASON_SNI_DIFFERS;
	out->open &= ~(1u << POLICY_ACCESS);
	out->needs[POLICY_ACCESS] = 0;
}

void policy_decide(const struct policy *policy, const struct policy_facts *facts,
                   struct policy_decision *out)
{
	decide_names(policy, facts, out);
	if (policy->image.urls_count && (facts->known & FACT_REQUEST))
		decide_plain_url(policy, facts, out);
	decide_sni(facts, out);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		out->need |= out->needs[q];
}
