/* SPDX-License-Identifier: Apache-2.0 */
/* A decision for programs: one JSON object with everything. Members are added, never renamed. */
#include "base/clock.h"
#include "policy/explain/explain.h"

/* ---- small parts ---- */

static void add_member(struct buf *out, const char *key, struct span value)
{
	buf_printf(out, ",\"%s\":", key);
	buf_add_json(out, value);
}

static void add_known(struct buf *out, const char *key, struct span value)
{
	if (value.len)
		add_member(out, key, value);
}

static void add_facts(unsigned facts, struct buf *out)
{
	buf_add_byte(out, '[');
	explain_add_facts(facts, "\"", out);
	buf_add_byte(out, ']');
}

static void add_time(struct buf *out, const char *key, uint64_t ms)
{
	buf_printf(out, ",\"%s\":\"", key);
	clock_add_rfc3339(out, ms);
	buf_add_byte(out, '"');
}

static void add_address(struct buf *out, const char *key, const struct address *address)
{
	if (address->family == 0)
		return;
	buf_printf(out, ",\"%s\":\"", key);
	address_format(address, out);
	buf_add_byte(out, '"');
}

static struct span name_of(const struct policy_facts *facts, uint8_t index)
{
	return index == 1 ? facts->sni : index == 2 ? facts->inner_host : facts->host;
}

/* ---- what was asked ---- */

static void add_groups(const struct policy_facts *facts, struct buf *out)
{
	buf_add_string(out, ",\"groups\":[");
	for (size_t i = 0; i < facts->group_count; i++) {
		buf_add_string(out, i ? "," : "");
		buf_add_json(out, facts->groups[i]);
	}
	buf_add_byte(out, ']');
}

static void add_asked(const struct policy_facts *facts, struct buf *out)
{
	buf_add_string(out, ",\"facts\":{\"at\":\"");
	clock_add_rfc3339(out, facts->wall_ms);
	buf_add_byte(out, '"');
	add_address(out, "from", &facts->from);
	add_known(out, "listener", facts->listener);
	add_known(out, "method", facts->method);
	if (facts->known & FACT_REQUEST)
		add_known(out, "url", facts->url);
	if (facts->known & FACT_HELLO)
		add_member(out, "sni", facts->sni);
	add_known(out, "inner_host", facts->inner_host);
	if (facts->known & FACT_RESPONSE)
		add_member(out, "content_type", facts->content_type);
	if (facts->known & FACT_ADDRESS)
		add_address(out, "address", &facts->address);
	if (facts->known & FACT_USER) {
		add_member(out, "user", facts->user);
		add_groups(facts, out);
	}
	buf_add_byte(out, '}');
}

/* ---- entries ---- */

static void add_fields(const struct explanation *explained, const struct policy_entry *entry, struct buf *out)
{
	struct pattern_line line;
	enum line_state state = explain_read_line(explained, entry, &line);

	if (entry->port_count) {
		buf_add_string(out, ",\"ports\":\"");
		policy_entry_add_ports(entry, out);
		buf_add_byte(out, '"');
	}
	if (entry->expires_ms)
		add_time(out, "expires", entry->expires_ms);
	if (state == LINE_CHANGED)
		buf_add_string(out, ",\"changed\":true");
	if (state != LINE_SAME)
		return;
	add_known(out, "owner", line.owner);
	add_known(out, "ticket", line.ticket);
	add_known(out, "reason", line.reason);
	add_known(out, "added", line.added);
	add_known(out, "source", line.source);
}

static void add_entry(const struct explanation *explained, const struct policy_entry *entry, bool with_fields,
                      struct buf *out)
{
	struct buf fields;

	add_member(out, "file", entry->file);
	buf_printf(out, ",\"line\":%u", entry->line);
	add_member(out, "entry", entry->text);
	if (!with_fields)
		return;
	buf_init(&fields, 65536);
	add_fields(explained, entry, &fields);
	buf_printf(out, ",\"fields\":{%.*s}", SPAN_ARG(span_skip(buf_span(&fields), 1)));
	buf_fini(&fields);
}

/* ---- answers ---- */

static void add_rule(const struct policy *policy, uint32_t rule, struct buf *out)
{
	unsigned line;
	struct span file = policy_rule_file(policy, rule, &line);

	add_member(out, "rule", policy_rule_name(policy, rule));
	add_member(out, "rule_file", file);
	buf_printf(out, ",\"rule_line\":%u", line);
}

/* As a policy has them, beside the answer: ,"set":{"X-A":"1"},"remove":["X-B"] */
static void add_edits(const struct policy *policy, enum policy_question question, const struct policy_answer *answer,
                      struct buf *out)
{
	struct policy_header_edit edits[POLICY_HEADER_EDITS_MAX];
	size_t count = policy_header_edits(policy, question, answer, edits), written = 0;

	if (answer->answer != HEADERS_EDIT)
		return;
	buf_add_string(out, ",\"set\":{");
	for (size_t i = 0; i < count; i++) {
		if (!edits[i].is_set)
			continue;
		buf_add_string(out, written++ ? "," : "");
		buf_add_json(out, edits[i].name);
		buf_add_byte(out, ':');
		buf_add_json(out, edits[i].value);
	}
	buf_add_string(out, "},\"remove\":[");
	written = 0;
	for (size_t i = 0; i < count; i++) {
		if (edits[i].is_set)
			continue;
		buf_add_string(out, written++ ? "," : "");
		buf_add_json(out, edits[i].name);
	}
	buf_add_byte(out, ']');
}

static void add_answer(const struct explanation *explained, const struct policy_facts *facts,
                       enum policy_question question, const struct policy_answer *answer, bool with_fields,
                       struct buf *out)
{
	const struct policy *policy = explained->policy;
	struct policy_rate_limit rate;
	struct policy_entry entry;
	struct buf text;

	buf_printf(out, "{\"answer\":\"%s\",\"why\":\"%s\"", policy_answer_name(question, answer->answer),
	           reason_name(answer->reason));
	add_rule(policy, answer->rule, out);
	buf_init(&text, 4096);
	if (policy_say_reason(policy, facts, answer, &text))
		add_member(out, "reason", buf_span(&text));
	buf_fini(&text);
	if (question == POLICY_ROUTE && answer->answer == ROUTE_SOURCE)
		add_address(out, "source", &explained->decision.route_source);
	if (question == POLICY_RATE && policy_rate_limit(policy, answer, &rate))
		buf_printf(out, ",\"bytes_per_s\":%llu,\"each\":\"%s\"", (unsigned long long)rate.bytes_per_s,
		           policy_each_name(rate.each));
	if (question == POLICY_REQUEST_HEADERS || question == POLICY_RESPONSE_HEADERS)
		add_edits(policy, question, answer, out);
	if (answer->list && policy_entry(policy, answer->entry, &entry)) {
		add_known(out, "list", policy_list_name(policy, answer->list));
		add_entry(explained, &entry, with_fields, out);
	}
	add_member(out, "name", name_of(facts, answer->name_index));
	buf_add_byte(out, '}');
}

static void add_decision(const struct explanation *explained, const struct policy_facts *facts,
                         const struct policy_decision *decision, bool with_fields, struct buf *out)
{
	buf_add_string(out, ",\"decision\":{");
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		enum policy_question question = (enum policy_question)q;

		buf_printf(out, "%s\"%s\":", q ? "," : "", policy_question_name(question));
		if (decision->open >> q & 1)
			buf_add_string(out, "null");
		else
			add_answer(explained, facts, question, &decision->answers[q], with_fields, out);
	}
	buf_add_byte(out, '}');
}

/* Questions without an answer: for which facts they wait, and what they could become. */
static void add_open(const struct explanation *explained, struct buf *out)
{
	size_t count = 0;

	buf_add_string(out, ",\"open\":{");
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		unsigned could;
		size_t answers = 0;

		if (!(explained->decision.open >> q & 1))
			continue;
		buf_printf(out, "%s\"%s\":{\"needs\":", count++ ? "," : "", policy_question_name((enum policy_question)q));
		add_facts(explained->decision.needs[q], out);
		buf_add_string(out, ",\"could\":[");
		could = explain_could(explained, (enum policy_question)q);
		for (unsigned answer = 0; answer < 4; answer++)
			if (could >> answer & 1)
				buf_printf(out, "%s\"%s\"", answers++ ? "," : "",
				           policy_answer_name((enum policy_question)q, answer));
		buf_add_string(out, "]}");
	}
	buf_add_byte(out, '}');
}

/* ---- rules ---- */

static void add_states(const struct explanation *explained, uint32_t rule, const enum state *states, struct buf *out)
{
	size_t count = 0;

	buf_add_string(out, ",\"answers\":{");
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		if (states[q] == STATE_NONE)
			continue;
		buf_printf(out, "%s\"%s\":{\"answer\":\"%s\",\"state\":\"%s\"}", count++ ? "," : "",
		           policy_question_name((enum policy_question)q),
		           policy_answer_name((enum policy_question)q,
		                              explained->policy->image.rules[rule].answers[q]),
		           explain_state_codes[states[q]]);
	}
	buf_add_byte(out, '}');
}

static void add_standing(const struct explanation *explained, const struct standing *standing, uint32_t rule,
                         const enum state *states, struct buf *out)
{
	struct policy_entry entry;

	if (standing->failed) {
		buf_printf(out, ",\"matches\":false,\"failed\":\"%s\"", explain_condition((enum condition)standing->failed));
		return;
	}
	buf_add_string(out, ",\"matches\":true");
	if (standing->need) {
		buf_add_string(out, ",\"needs\":");
		add_facts(standing->need, out);
	}
	if (standing->reason != REASON_RULE)
		buf_printf(out, ",\"why\":\"%s\",\"unknown\":\"%s\"", reason_name((enum reason)standing->reason),
		           explain_condition((enum condition)standing->unknown));
	if (standing->hit.entry != NONE && policy_entry(explained->policy, standing->hit.entry, &entry)) {
		add_known(out, "list", policy_list_name(explained->policy, standing->hit.list));
		add_entry(explained, &entry, false, out);
	}
	add_states(explained, rule, states, out);
}

static void add_rules(const struct explanation *explained, const struct pass *pass, struct buf *out)
{
	enum state states[POLICY_QUESTION_COUNT];
	struct progress progress = {0, 0};

	buf_add_string(out, ",\"rules\":[");
	for (uint32_t i = 0; i < explained->policy->image.rules_count; i++) {
		explain_states(explained, pass, i, &progress, states);
		buf_printf(out, "%s{\"number\":%u", i ? "," : "", i + 1);
		add_rule(explained->policy, i, out);
		add_standing(explained, &pass->standings[i], i, states, out);
		buf_add_byte(out, '}');
	}
	buf_add_byte(out, ']');
}

/* What a name's own decision is, before the strictest is taken: questions that it has no part in are left out. */
static void add_alone(const struct explanation *explained, const struct pass *pass, struct buf *out)
{
	size_t count = 0;

	buf_add_string(out, ",\"alone\":{");
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		enum policy_question question = (enum policy_question)q;
		const struct policy_answer *answer = &pass->decision.answers[q];

		if (!explain_takes_part(pass, question))
			continue;
		buf_printf(out, "%s\"%s\":", count++ ? "," : "", policy_question_name(question));
		if (pass->decision.open >> q & 1) {
			buf_add_string(out, "null");
			continue;
		}
		buf_printf(out, "{\"answer\":\"%s\",\"why\":\"%s\"", policy_answer_name(question, answer->answer),
		           reason_name(answer->reason));
		add_rule(explained->policy, answer->rule, out);
		buf_add_byte(out, '}');
	}
	buf_add_byte(out, '}');
}

static void add_names(const struct explanation *explained, struct buf *out)
{
	buf_add_string(out, ",\"names\":[");
	for (size_t i = 0; i < explained->pass_count; i++) {
		const struct pass *pass = &explained->passes[i];

		buf_printf(out, "%s{\"kind\":\"%s\"", i ? "," : "", explain_subject_codes[pass->name.index]);
		add_member(out, "name", pass->name.text);
		if (pass->is_plain)
			add_member(out, "plain_url", pass->facts.url);
		add_alone(explained, pass, out);
		add_rules(explained, pass, out);
		buf_add_byte(out, '}');
	}
	buf_add_byte(out, ']');
}

/* ---- lists ---- */

static void add_match(const struct explanation *explained, const struct match *match, bool first, struct buf *out)
{
	struct policy_entry entry;

	if (!policy_entry(explained->policy, match->entry, &entry))
		return;
	buf_printf(out, "%s{\"for\":\"%s\",\"state\":\"%s\"", first ? "" : ",", explain_subject_codes[match->subject],
	           explain_match_codes[match->state]);
	add_entry(explained, &entry, true, out);
	buf_add_byte(out, '}');
}

/* Every list that a rule uses, by name; patterns that stand in rules only where they match. */
static void add_lists(const struct explanation *explained, struct buf *out)
{
	const struct policy *policy = explained->policy;
	size_t at = 0, count = 0;

	buf_add_string(out, ",\"lists\":[");
	for (size_t list = 1; list <= policy->image.lists_count; list++) {
		struct span name = policy_list_name(policy, (uint16_t)list);
		size_t end = at;

		while (end < explained->match_count && explained->matches[end].list == list)
			end++;
		if (end > at || (name.len && explained->is_used[list])) {
			buf_add_string(out, count++ ? ",{\"list\":" : "{\"list\":");
			if (name.len)
				buf_add_json(out, name);
			else
				buf_add_string(out, "null");
			buf_add_string(out, ",\"matches\":[");
			for (size_t i = at; i < end; i++)
				add_match(explained, &explained->matches[i], i == at, out);
			buf_add_string(out, "]}");
		}
		at = end;
	}
	buf_add_byte(out, ']');
}

void explain_json(const struct explanation *explained, struct buf *out)
{
	const struct policy_facts *facts = explained->facts;

	buf_add_string(out, "{\"host\":");
	buf_add_json(out, facts->host);
	buf_printf(out, ",\"port\":%u", facts->port);
	buf_add(out, explained->options->verdict);
	add_decision(explained, facts, &explained->decision, true, out);
	buf_add_string(out, ",\"need\":");
	add_facts(explained->decision.need, out);
	add_open(explained, out);
	buf_add_string(out, ",\"never_known\":");
	add_facts(facts->absent & ~facts->known, out);
	add_asked(facts, out);
	add_names(explained, out);
	add_lists(explained, out);
	buf_add(out, explained->options->more);
	buf_add_string(out, "}\n");
}
