/* SPDX-License-Identifier: Apache-2.0 */
/* A decision in words: explain, the error page and Proxy-Status say the same, since they say it from here. */
#include "base/reason.h"
#include "policy/trace.h"

enum { PORTS_SHOWN_MAX = 20 };

void policy_say_rule(const struct policy *policy, const struct policy_answer *answer, struct buf *out)
{
	unsigned line;
	struct span file = policy_rule_file(policy, answer->rule, &line);

	if (answer->rule == POLICY_NO_RULE)
		buf_printf(out, "defaults (%.*s:%u)", SPAN_ARG(file), line);
	else
		buf_printf(out, "rule \"%.*s\" (%.*s:%u)", SPAN_ARG(policy_rule_name(policy, answer->rule)),
		           SPAN_ARG(file), line);
}

/* As it would be written. */
static void add_size(uint64_t bytes, struct buf *out)
{
	static const char *const units[] = {"", "K", "M", "G"};
	size_t unit = 0;

	while (unit + 1 < COUNT_OF(units) && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	buf_printf(out, "%llu%s", (unsigned long long)bytes, units[unit]);
}

void policy_say_rate(const struct policy *policy, const struct policy_answer *answer, struct buf *out)
{
	struct policy_rate_limit limit;

	if (!policy_rate_limit(policy, answer, &limit))
		return;
	add_size(limit.bytes_per_s, out);
	buf_add_string(out, " a second");
	if (limit.each == EACH_RULE)
		buf_add_string(out, ", all together");
	else
		buf_printf(out, " for each %s", policy_each_name(limit.each));
}

bool policy_say_entry(const struct policy *policy, const struct policy_answer *answer, struct buf *out)
{
	struct span file, entry, list = policy_list_name(policy, answer->list);
	unsigned line;

	if (!policy_place(policy, answer, &file, &line, &entry))
		return false;
	buf_printf(out, "%.*s (%.*s:%u%s%.*s)", SPAN_ARG(entry), SPAN_ARG(file), line, list.len ? ", list " : "",
	           SPAN_ARG(list));
	return true;
}

static void say_port(const struct policy *policy, uint16_t port, struct buf *out)
{
	struct image_range range = policy->header->default_ports;

	buf_printf(out, "port %u is not among defaults.ports (", port);
	for (uint32_t i = 0; i < range.count && i < PORTS_SHOWN_MAX; i++) {
		const struct image_ports *ports = &policy->image.ports[range.at + i];

		buf_printf(out, "%s%u", i ? ", " : "", ports->first);
		if (ports->last != ports->first)
			buf_printf(out, "-%u", ports->last);
	}
	buf_add_string(out, range.count > PORTS_SHOWN_MAX ? ", ...)" : ")");
}

/* The conditions of a rule that can never be known of this session. */
static void say_never_known(const struct image_rule *rule, const struct policy_facts *facts, struct buf *out)
{
	bool has_sni = (facts->known & FACT_HELLO) && facts->sni.len;
	const struct {
		uint32_t count;
		bool is_known;
		const char *key;
	} rows[] = {
		{rule->user.count, facts->known & FACT_USER, "user"},
		{rule->group.count, facts->known & FACT_USER, "group"},
		{rule->method.count, facts->method.len, "method"},
		{rule->url.count, facts->known & FACT_REQUEST, "url"},
		{rule->sni.count, has_sni, "sni"},
		{rule->content_type.count, facts->known & FACT_RESPONSE, "content-type"},
		{rule->resolved, facts->known & FACT_ADDRESS, "resolved"},
	};
	size_t count = 0;

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].count && !rows[i].is_known)
			buf_printf(out, "%s%s", count++ ? ", " : "what it asks of ", rows[i].key);
	buf_add_string(out, " can never be known here, and counts as true");
}

bool policy_say_reason(const struct policy *policy, const struct policy_facts *facts,
                       const struct policy_answer *answer, struct buf *out)
{
	if (answer->reason == REASON_PORT_NOT_OPEN)
		say_port(policy, facts->port, out);
	else if (answer->reason == REASON_NEVER_KNOWN && answer->rule < policy->image.rules_count)
		say_never_known(&policy->image.rules[answer->rule], facts, out);
	else if (answer->reason == REASON_REGEX_LIMIT)
		buf_add_string(out, "a regular expression gave up at its limits, and counts as a match");
	else if (answer->reason == REASON_SNI_DIFFERS)
		buf_printf(out, "the ClientHello names %.*s, and not what was asked for", SPAN_ARG(facts->sni));
	else if (answer->reason == REASON_URL_MEMORY)
		buf_add_string(out, reason_text(REASON_URL_MEMORY));
	else
		return false;
	return true;
}

void policy_say_refusal(const struct policy *policy, const struct policy_facts *facts, enum policy_question question,
                        const struct policy_answer *answer, struct buf *out)
{
	if (question == POLICY_ACCESS) {
		policy_say_reason(policy, facts, answer, out);
		return;
	}
	buf_printf(out, "%s: %s", policy_question_name(question), policy_answer_name(question, answer->answer));
	if (answer->reason == REASON_RULE || answer->reason == REASON_DEFAULT)
		return;
	buf_add_string(out, "; ");
	policy_say_reason(policy, facts, answer, out);
}
