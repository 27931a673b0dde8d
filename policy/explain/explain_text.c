/* SPDX-License-Identifier: Apache-2.0 */
/* A decision for people: the answers first, then why, then what else there was. */
#include <time.h>

#include "policy/explain/explain.h"

enum { SHADOWED_SHOWN_MAX = 10, DAY_MS = 86400000 };

#define INDENT "%-30s"

/* ---- entries ---- */

/* "2026-12-31" for the end of that day, else with the time. */
static void add_time(uint64_t ms, struct buf *out)
{
	bool is_day = ms % DAY_MS == 0;
	time_t seconds = (time_t)(ms / 1000) - is_day;
	char text[40];
	struct tm tm;

	if (gmtime_r(&seconds, &tm) && strftime(text, sizeof(text), is_day ? "%Y-%m-%d" : "%Y-%m-%dT%H:%MZ", &tm))
		buf_add_string(out, text);
}

static void add_days_left(uint64_t days, struct buf *out)
{
	if (days == 0)
		buf_add_string(out, " (in less than a day)");
	else
		buf_printf(out, " (in %llu day%s)", (unsigned long long)days, days == 1 ? "" : "s");
}

static void add_expiry(const struct explanation *explained, const struct policy_entry *entry, struct buf *out)
{
	uint64_t now_ms = explained->facts->wall_ms;

	buf_add_string(out, now_ms >= entry->expires_ms ? "expired " : "expires ");
	add_time(entry->expires_ms, out);
	if (now_ms < entry->expires_ms)
		add_days_left((entry->expires_ms - now_ms) / DAY_MS, out);
}

static void add_field(const char *key, struct span value, size_t *count, struct buf *out)
{
	const char *quote = span_find(value, ' ') < value.len ? "\"" : "";

	if (value.len)
		buf_printf(out, "%s%s %s%.*s%s", (*count)++ ? ", " : "", key, quote, SPAN_ARG(value), quote);
}

/* What is written beside the pattern: who wants it, why, until when. */
static void add_fields(const struct explanation *explained, const struct policy_entry *entry, struct buf *out)
{
	enum line_state state;
	struct pattern_line line;
	size_t count = 0;

	buf_printf(out, INDENT, "");
	state = explain_read_line(explained, entry, &line);
	if (state == LINE_SAME) {
		add_field("owner", line.owner, &count, out);
		add_field("ticket", line.ticket, &count, out);
		add_field("reason", line.reason, &count, out);
		add_field("added", line.added, &count, out);
		add_field("source", line.source, &count, out);
	} else if (state == LINE_CHANGED) {
		buf_add_string(out, "the line is another one by now; sallyport reload would take it");
		count++;
	}
	if (entry->port_count) {
		buf_add_string(out, count++ ? ", ports " : "ports ");
		policy_entry_add_ports(entry, out);
	}
	if (entry->expires_ms) {
		buf_add_string(out, count++ ? ", " : "");
		add_expiry(explained, entry, out);
	}
	if (count)
		buf_add_byte(out, '\n');
	else
		buf_add_string(out, state == LINE_SAME ? "nothing is written beside it: no owner, no reason, no end\n"
		                                       : "its line cannot be read now\n");
}

/* ---- answers ---- */

static void add_because(const struct explanation *explained, const struct policy_answer *answer, bool with_fields,
                        struct buf *out)
{
	const struct policy *policy = explained->policy;
	struct policy_entry entry;

	if (answer->list == 0 || !policy_entry(policy, answer->entry, &entry))
		return;
	buf_printf(out, INDENT "because of ", "");
	policy_say_entry(policy, answer, out);
	buf_add_byte(out, '\n');
	if (with_fields && explained->options->read_line && policy_list_name(policy, answer->list).len)
		add_fields(explained, &entry, out);
}

static struct span name_of(const struct policy_facts *facts, uint8_t index)
{
	return index == 1 ? facts->sni : index == 2 ? facts->inner_host : facts->host;
}

/* The fields that are set and removed. */
static void add_edits(const struct explanation *explained, enum policy_question question, struct buf *out)
{
	struct policy_header_edit edits[POLICY_HEADER_EDITS_MAX];
	size_t count = policy_header_edits(explained->policy, question, &explained->decision.answers[question], edits);

	for (size_t i = 0; i < count; i++) {
		buf_printf(out, INDENT "%s %.*s", "", edits[i].is_set ? "set" : "remove", SPAN_ARG(edits[i].name));
		if (edits[i].is_set)
			buf_printf(out, ": %.*s", SPAN_ARG(edits[i].value));
		buf_add_byte(out, '\n');
	}
}

static void add_answer(const struct explanation *explained, enum policy_question question, bool with_fields,
                       struct buf *out)
{
	const struct policy_answer *answer = &explained->decision.answers[question];

	buf_printf(out, "%-9s%s", policy_answer_name(question, answer->answer),
	           answer->rule == POLICY_NO_RULE ? "no rule answers; " : "");
	policy_say_rule(explained->policy, answer, out);
	buf_printf(out, " [%s]\n", reason_name(answer->reason));
	if (answer->reason != REASON_RULE && answer->reason != REASON_DEFAULT) {
		buf_printf(out, INDENT, "");
		policy_say_reason(explained->policy, explained->facts, answer, out);
		buf_add_byte(out, '\n');
	}
	if (question == POLICY_REQUEST_HEADERS || question == POLICY_RESPONSE_HEADERS)
		add_edits(explained, question, out);
	if (question == POLICY_RATE && answer->answer == RATE_LIMIT) {
		buf_printf(out, INDENT, "");
		policy_say_rate(explained->policy, answer, out);
		buf_add_byte(out, '\n');
	}
	add_because(explained, answer, with_fields, out);
	if (answer->name_index)
		buf_printf(out, INDENT "for %s, %.*s\n", "", explain_subject_texts[answer->name_index],
		           SPAN_ARG(name_of(explained->facts, answer->name_index)));
}

static void add_could(const struct explanation *explained, enum policy_question question, struct buf *out)
{
	unsigned could = explain_could(explained, question);
	size_t count = 0;

	for (unsigned answer = 0; answer < 4; answer++)
		if (could >> answer & 1)
			buf_printf(out, "%s%s", count++ ? " or " : "", policy_answer_name(question, answer));
}

/* What is written beside an entry is told once. */
static bool is_first_of_entry(const struct explanation *explained, int question)
{
	const struct policy_answer *answers = explained->decision.answers;

	for (int q = 0; q < question; q++)
		if (!(explained->decision.open >> q & 1) && answers[q].list && answers[q].entry == answers[question].entry)
			return false;
	return true;
}

/* Answers of defaults, but for access, stand in one line. */
static bool is_of_the_rest(const struct explanation *explained, int question)
{
	const struct policy_answer *answer = &explained->decision.answers[question];

	return !explained->options->verbose && question != POLICY_ACCESS && answer->reason == REASON_DEFAULT &&
	       !(explained->decision.open >> question & 1);
}

static void add_the_rest(const struct explanation *explained, struct buf *out)
{
	const struct policy_answer defaults = {.rule = POLICY_NO_RULE};
	size_t count = 0;

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		if (!is_of_the_rest(explained, q))
			continue;
		if (count++ == 0) {
			buf_printf(out, "  %-19sno rule answers; ", "the rest");
			policy_say_rule(explained->policy, &defaults, out);
		}
		buf_printf(out, "%s %s %s", count == 1 ? ":" : ",", policy_question_name((enum policy_question)q),
		           policy_answer_name((enum policy_question)q, explained->decision.answers[q].answer));
	}
	if (count)
		buf_add_byte(out, '\n');
}

static void add_answers(const struct explanation *explained, struct buf *out)
{
	const struct policy_decision *decision = &explained->decision;

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		if (is_of_the_rest(explained, q))
			continue;
		buf_printf(out, "  %-19s", policy_question_name((enum policy_question)q));
		if (!(decision->open >> q & 1)) {
			add_answer(explained, (enum policy_question)q, is_first_of_entry(explained, q), out);
			continue;
		}
		buf_add_string(out, "open     depends on: ");
		explain_add_facts(decision->needs[q], "", out);
		buf_add_string(out, "; could become ");
		add_could(explained, (enum policy_question)q, out);
		buf_add_byte(out, '\n');
	}
}

/* ---- facts ---- */

static void add_missing(const struct explanation *explained, struct buf *out)
{
	unsigned missed = explain_missed(explained);

	if (explained->decision.need) {
		buf_add_string(out, "  the proxy would find out: ");
		explain_add_facts(explained->decision.need, "", out);
		buf_add_byte(out, '\n');
	}
	if (missed) {
		buf_add_string(out, "  never known here: ");
		explain_add_facts(missed, "", out);
		buf_add_string(out, "; such a condition holds where its rule denies, and not where it allows\n");
	}
}

static void add_pass_name(const struct pass *pass, struct buf *out)
{
	buf_printf(out, "%s, %.*s%s%.*s", explain_subject_texts[pass->name.index], SPAN_ARG(pass->name.text),
	           pass->is_plain ? ", as origins read its URL: " : "", pass->is_plain ? (int)pass->facts.url.len : 0,
	           (const char *)pass->facts.url.at);
}

static void add_pass_answers(const struct explanation *explained, const struct pass *pass, struct buf *out)
{
	size_t count = 0;

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		const struct policy_answer *answer = &pass->decision.answers[q];
		bool is_open = pass->decision.open >> q & 1;

		if (!trace_is_merged((enum policy_question)q))
			continue;

		/* Those of defaults are the same for all names. */
		if (!is_open && answer->rule == POLICY_NO_RULE && q != POLICY_ACCESS)
			continue;
		buf_printf(out, "%s%s %s", count++ ? ", " : "", policy_question_name((enum policy_question)q),
		           is_open ? "open" : policy_answer_name((enum policy_question)q, answer->answer));
		if (!is_open) {
			buf_add_string(out, " by ");
			policy_say_rule(explained->policy, answer, out);
		}
	}
}

static void add_names(const struct explanation *explained, struct buf *out)
{
	if (explained->pass_count < 2)
		return;
	buf_add_string(out, "  each name is decided alone, and the strictest answer holds:\n");
	for (size_t i = 0; i < explained->pass_count; i++) {
		buf_add_string(out, "    ");
		add_pass_name(&explained->passes[i], out);
		buf_add_string(out, ": ");
		add_pass_answers(explained, &explained->passes[i], out);
		buf_add_byte(out, '\n');
	}
}

/* ---- rules ---- */

static void add_rule(const struct explanation *explained, uint32_t rule, struct buf *out)
{
	const struct policy_answer answer = {.rule = rule};

	policy_say_rule(explained->policy, &answer, out);
}

/* The answers that stand in one state: "access allow, tls bypass". False: there is none. */
static bool add_in_state(const struct explanation *explained, uint32_t rule, const enum state *states,
                         enum state state, const char *before, struct buf *out)
{
	size_t count = 0;

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		if (states[q] != state)
			continue;
		buf_printf(out, "%s%s %s", count++ ? ", " : before, policy_question_name((enum policy_question)q),
		           policy_answer_name((enum policy_question)q,
		                              explained->policy->image.rules[rule].answers[q]));
	}
	return count > 0;
}

/* What it takes for the rule to match, where that is not known. */
static void add_doubt(const struct standing *standing, struct buf *out)
{
	if (standing->need) {
		buf_add_string(out, " (depends on: ");
		explain_add_facts(standing->need, "", out);
		buf_add_byte(out, ')');
	} else if (standing->unknown) {
		buf_printf(out, " (never known here: %s)", explain_condition((enum condition)standing->unknown));
	}
}

/* Rules that match as well, or may, and come too late to answer. */
static void add_shadowed(const struct explanation *explained, const struct pass *pass, struct buf *out)
{
	enum state states[POLICY_QUESTION_COUNT];
	struct progress progress = {0, 0};
	size_t count = 0;

	for (uint32_t i = 0; i < explained->policy->image.rules_count; i++) {
		bool is_shown = false;

		explain_states(explained, pass, i, &progress, states);
		for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
			is_shown |= states[q] == STATE_SHADOWED;
		if (!is_shown || count++ >= SHADOWED_SHOWN_MAX)
			continue;
		if (count == 1)
			buf_add_string(out, "  also match, too late to answer:\n");
		buf_add_string(out, "    ");
		add_rule(explained, i, out);
		add_in_state(explained, i, states, STATE_SHADOWED, ": ", out);
		add_doubt(&pass->standings[i], out);
		buf_add_byte(out, '\n');
	}
	if (count > SHADOWED_SHOWN_MAX)
		buf_printf(out, "    and %zu more (--verbose tells all)\n", count - SHADOWED_SHOWN_MAX);
}

static void add_standing(const struct explanation *explained, const struct pass *pass, uint32_t rule,
                         const enum state *states, struct buf *out)
{
	const struct standing *standing = &pass->standings[rule];
	const char *before = ": ";

	if (standing->failed) {
		buf_printf(out, ": %s does not match", explain_condition((enum condition)standing->failed));
		return;
	}
	for (int state = STATE_COUNT - 1; state > STATE_NONE; state--) {
		if (!add_in_state(explained, rule, states, (enum state)state, before, out))
			continue;
		before = "; ";
		buf_printf(out, " (%s", explain_state_texts[state]);
		if (state == STATE_WAITS) {
			buf_add_byte(out, ' ');
			explain_add_facts(standing->need, "", out);
		} else if (state == STATE_UNKNOWN) {
			buf_printf(out, ": %s", explain_condition((enum condition)standing->unknown));
		}
		buf_add_byte(out, ')');
	}
}

static void add_rules(const struct explanation *explained, const struct pass *pass, struct buf *out)
{
	enum state states[POLICY_QUESTION_COUNT];
	struct progress progress = {0, 0};

	buf_add_string(out, "  rules for ");
	add_pass_name(pass, out);
	buf_add_byte(out, '\n');
	for (uint32_t i = 0; i < explained->policy->image.rules_count; i++) {
		explain_states(explained, pass, i, &progress, states);
		buf_add_string(out, "    ");
		add_rule(explained, i, out);
		add_standing(explained, pass, i, states, out);
		buf_add_byte(out, '\n');
	}
}

/* ---- lists ---- */

static void add_match(const struct explanation *explained, const struct match *match, struct buf *out)
{
	const struct policy_answer answer = {.list = match->list, .entry = match->entry};
	struct policy_entry entry;

	if (!policy_entry(explained->policy, match->entry, &entry))
		return;
	buf_printf(out, "    %s: ", explain_subject_texts[match->subject]);
	policy_say_entry(explained->policy, &answer, out);
	buf_printf(out, " %s", explain_match_texts[match->state]);
	if (entry.port_count) {
		buf_add_string(out, ", ports=");
		policy_entry_add_ports(&entry, out);
	}
	if (entry.expires_ms) {
		buf_add_string(out, ", ");
		add_expiry(explained, &entry, out);
	}
	buf_add_byte(out, '\n');
}

/* All that match, or those of which one would think so. */
static void add_matches(const struct explanation *explained, bool all, struct buf *out)
{
	size_t count = 0;

	for (size_t i = 0; i < explained->match_count; i++) {
		if (!all && explained->matches[i].state == MATCH_IN_FORCE)
			continue;
		if (count++ == 0)
			buf_add_string(out, all ? "  in lists\n" : "  match, and are not in force:\n");
		add_match(explained, &explained->matches[i], out);
	}
	if (all && count == 0)
		buf_add_string(out, "  in no list\n");
}

static void add_lists_without(const struct explanation *explained, struct buf *out)
{
	const struct policy *policy = explained->policy;
	size_t count = 0;

	for (size_t list = 1; list <= policy->image.lists_count; list++) {
		bool has_match = policy_list_name(policy, (uint16_t)list).len == 0;

		for (size_t i = 0; i < explained->match_count && !has_match; i++)
			has_match = explained->matches[i].list == list;
		if (has_match || !explained->is_used[list])
			continue;
		buf_printf(out, "%s%.*s", count++ ? ", " : "  nothing matches in: ",
		           SPAN_ARG(policy_list_name(policy, (uint16_t)list)));
	}
	if (count)
		buf_add_byte(out, '\n');
}

void explain_text(const struct explanation *explained, struct buf *out)
{
	const struct policy_facts *facts = explained->facts;

	buf_printf(out, "%.*s port %u\n", SPAN_ARG(facts->host), facts->port);
	buf_add(out, explained->options->verdict);
	add_answers(explained, out);
	add_the_rest(explained, out);
	buf_add(out, explained->options->more);
	add_missing(explained, out);
	add_names(explained, out);
	if (!explained->options->verbose) {
		add_shadowed(explained, &explained->passes[0], out);
		add_matches(explained, false, out);
		return;
	}
	for (size_t i = 0; i < explained->pass_count; i++)
		add_rules(explained, &explained->passes[i], out);
	add_matches(explained, true, out);
	add_lists_without(explained, out);
}
