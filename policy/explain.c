/* SPDX-License-Identifier: Apache-2.0 */
#include "base/reason.h"
#include "policy/image.h"

static const char *const name_kinds[] = {"the authority", "the SNI", "the inner host"};

static struct span name_of(const struct policy_facts *facts, uint8_t index)
{
	return index == 1 ? facts->sni : index == 2 ? facts->inner_host : facts->host;
}

static void add_fact_names(unsigned facts, struct buf *out)
{
	static const struct {
		enum policy_fact fact;
		const char *text;
	} rows[] = {
		{FACT_USER, "user"},
		{FACT_ADDRESS, "address"},
		{FACT_HELLO, "sni"},
		{FACT_REQUEST, "request"},
	};
	bool first = true;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (!(facts & rows[i].fact))
			continue;
		buf_printf(out, "%s%s", first ? "" : ", ", rows[i].text);
		first = false;
	}
}

static void explain_answer(const struct policy *policy, const struct policy_facts *facts,
                           enum policy_question question, const struct policy_answer *answer,
                           struct buf *out)
{
	struct span file, entry, rule_file;
	unsigned line, rule_line;

	rule_file = policy_rule_file(policy, answer->rule, &rule_line);
	if (answer->rule == POLICY_NO_RULE)
		buf_printf(out, "no rule answers; defaults (%.*s:%u)\n", SPAN_ARG(rule_file), rule_line);
	else
		buf_printf(out, "rule \"%.*s\" (%.*s:%u)\n",
		           SPAN_ARG(policy_rule_name(policy, answer->rule)), SPAN_ARG(rule_file),
		           rule_line);
	(void)question;
	if (answer->reason == REASON_PORT_NOT_OPEN) {
		buf_printf(out, "%-30s", "");
		policy_say_reason(policy, facts, answer, out);
		buf_add_byte(out, '\n');
	}
	if (policy_place(policy, answer, &file, &line, &entry))
		buf_printf(out, "%-30sbecause of %.*s (%.*s:%u%s%.*s)\n", "", SPAN_ARG(entry),
		           SPAN_ARG(file), line,
		           policy_list_name(policy, answer->list).len ? ", list " : "",
		           SPAN_ARG(policy_list_name(policy, answer->list)));
	if (answer->name_index)
		buf_printf(out, "%-30sfor %s, %.*s\n", "", name_kinds[answer->name_index],
		           SPAN_ARG(name_of(facts, answer->name_index)));
}

/* The facts that the conditions of a rule ask for. */
static unsigned asks_for(const struct image_rule *rule)
{
	return (rule->user.count + rule->group.count ? (unsigned)FACT_USER : 0) |
	       (rule->sni.count ? (unsigned)FACT_HELLO : 0) |
	       (rule->url.count ? (unsigned)FACT_REQUEST : 0);
}

/* Of the facts that can never be known here, those that some rule asks for. */
static unsigned missed_facts(const struct policy *policy, const struct policy_facts *facts)
{
	unsigned asked = 0;

	for (size_t i = 0; i < policy->image.rules_count; i++)
		asked |= asks_for(&policy->image.rules[i]);
	return asked & facts->absent & ~facts->known;
}

static void explain_text(const struct policy *policy, const struct policy_facts *facts,
                         const struct policy_decision *decision, struct span more, struct buf *out)
{
	buf_printf(out, "%.*s port %u\n", SPAN_ARG(facts->host), facts->port);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		enum policy_question question = (enum policy_question)q;
		const struct policy_answer *answer = &decision->answers[q];

		buf_printf(out, "  %-19s", policy_question_name(question));
		if (decision->open >> q & 1) {
			buf_add_string(out, "open     depends on: ");
			add_fact_names(decision->needs[q], out);
			buf_add_byte(out, '\n');
			continue;
		}
		buf_printf(out, "%-9s", policy_answer_name(question, answer->answer));
		explain_answer(policy, facts, question, answer, out);
	}
	if (decision->need) {
		buf_add_string(out, "  the proxy would find out: ");
		add_fact_names(decision->need, out);
		buf_add_byte(out, '\n');
	}
	if (missed_facts(policy, facts)) {
		buf_add_string(out, "  never known here: ");
		add_fact_names(missed_facts(policy, facts), out);
		buf_add_string(out, "; such a condition holds where its rule denies, and not where it allows\n");
	}
	buf_add(out, more);
}

static void add_json_member(struct buf *out, const char *key, struct span value)
{
	buf_printf(out, ",\"%s\":", key);
	buf_add_json(out, value);
}

static void explain_answer_json(const struct policy *policy, const struct policy_facts *facts,
                                enum policy_question question,
                                const struct policy_answer *answer, struct buf *out)
{
	struct span file, entry, rule_file;
	unsigned line, rule_line;

	buf_printf(out, "{\"answer\":\"%s\"", policy_answer_name(question, answer->answer));
	rule_file = policy_rule_file(policy, answer->rule, &rule_line);
	add_json_member(out, "rule", policy_rule_name(policy, answer->rule));
	add_json_member(out, "rule_file", rule_file);
	buf_printf(out, ",\"rule_line\":%u", rule_line);
	if (answer->reason == REASON_PORT_NOT_OPEN) {
		buf_add_string(out, ",\"why\":\"");
		policy_say_reason(policy, facts, answer, out);
		buf_add_byte(out, '"');
	}
	if (policy_place(policy, answer, &file, &line, &entry)) {
		if (policy_list_name(policy, answer->list).len)
			add_json_member(out, "list", policy_list_name(policy, answer->list));
		add_json_member(out, "file", file);
		buf_printf(out, ",\"line\":%u", line);
		add_json_member(out, "entry", entry);
	}
	add_json_member(out, "name", name_of(facts, answer->name_index));
	buf_add_byte(out, '}');
}

static void add_facts_json(unsigned facts, struct buf *out)
{
	size_t count = 0;

	buf_add_byte(out, '[');
	for (unsigned fact = 1; fact <= FACT_REQUEST; fact <<= 1) {
		if (!(facts & fact))
			continue;
		buf_add_string(out, count++ ? ",\"" : "\"");
		add_fact_names(fact, out);
		buf_add_byte(out, '"');
	}
	buf_add_byte(out, ']');
}

static void explain_json(const struct policy *policy, const struct policy_facts *facts,
                         const struct policy_decision *decision, struct span more, struct buf *out)
{
	buf_add_string(out, "{\"host\":");
	buf_add_json(out, facts->host);
	buf_printf(out, ",\"port\":%u,\"decision\":{", facts->port);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		enum policy_question question = (enum policy_question)q;

		buf_printf(out, "%s\"%s\":", q ? "," : "", policy_question_name(question));
		if (decision->open >> q & 1)
			buf_add_string(out, "null");
		else
			explain_answer_json(policy, facts, question, &decision->answers[q], out);
	}
	buf_add_string(out, "},\"need\":");
	add_facts_json(decision->need, out);
	buf_add_string(out, ",\"never_known\":");
	add_facts_json(facts->absent & ~facts->known, out);
	buf_add(out, more);
	buf_add_string(out, "}\n");
}

void policy_explain(const struct policy *policy, const struct policy_facts *facts, bool json,
                    struct span more, struct buf *out)
{
	struct policy_decision decision;

	policy_decide(policy, facts, &decision);
	if (json)
		explain_json(policy, facts, &decision, more, out);
	else
		explain_text(policy, facts, &decision, more, out);
}
