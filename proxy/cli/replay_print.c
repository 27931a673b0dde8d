/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/replay_report.h"

enum { ROWS_SHOWN_MAX = 100, WHO_SHOWN_MAX = 4, PEOPLE_SHOWN_MAX = 20, FLUSH_BYTES = 65536, TEXT_MAX_BYTES = 4 << 20 };

static const char *const turn_names[REPLAY_TURNS] = {"denied", "allowed", "inspected", "bypassed", "other"};

static void flush(struct buf *out)
{
	fwrite(buf_span(out).at, 1, buf_len(out), stdout);
	buf_reset(out);
}

static void flush_if_full(struct buf *out)
{
	if (buf_len(out) > FLUSH_BYTES)
		flush(out);
}

/* "open" where the log lacks a fact. */
static const char *answer_name(uint8_t question, uint8_t answer)
{
	return answer == REPLAY_OPEN ? "open" : policy_answer_name((enum policy_question)question, answer);
}

/* 1234567 as 1,234,567. */
static void add_count(struct buf *out, uint64_t count)
{
	if (count >= 1000) {
		add_count(out, count / 1000);
		buf_printf(out, ",%03u", (unsigned)(count % 1000));
	} else {
		buf_printf(out, "%u", (unsigned)count);
	}
}

static void add_column(struct buf *out, uint64_t count, int width)
{
	struct buf text;

	buf_init(&text, 64);
	add_count(&text, count);
	buf_printf(out, "%*.*s", width, SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

static const char *plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

static struct policy_answer answer_of(const struct replay_answer *answer)
{
	return (struct policy_answer){.answer = answer->answer, .list = answer->list, .rule = answer->rule,
	                              .entry = answer->entry};
}

/* The text of a log is somebody else's: nothing in it shall steer a terminal. */
static void add_shown(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		/* U+0080 to U+009F are control characters, too. */
		bool is_c1 = i > 0 && text.at[i - 1] == 0xc2 && text.at[i] >= 0x80 && text.at[i] < 0xa0;

		if (text.at[i] < 0x20 || text.at[i] == 0x7f || is_c1)
			buf_printf(out, "\\x%02x", text.at[i]);
		else
			buf_add_byte(out, text.at[i]);
	}
}

static void add_fact_names(struct buf *out, unsigned needs)
{
	static const struct {
		unsigned fact;
		const char *name;
	} rows[] = {{FACT_USER, "user"}, {FACT_ADDRESS, "address"}, {FACT_HELLO, "sni"}, {FACT_REQUEST, "url"},
	            {FACT_RESPONSE, "content-type"}};
	const char *comma = "";

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (!(needs & rows[i].fact))
			continue;
		buf_printf(out, "%s%s", comma, rows[i].name);
		comma = ", ";
	}
}

/* ---- for people ---- */

static void add_side(struct buf *out, const struct replay_side *side, const struct replay_answer *answer)
{
	struct policy_answer place = answer_of(answer);
	struct span file, entry;
	unsigned line;

	if (answer->answer == REPLAY_OPEN) {
		buf_add_string(out, "open, as the log does not have the ");
		add_fact_names(out, answer->needs);
		return;
	}
	file = policy_rule_file(side->policy, answer->rule, &line);
	if (answer->rule == POLICY_NO_RULE)
		buf_add_string(out, "defaults");
	else
		buf_printf(out, "\"%.*s\"", SPAN_ARG(policy_rule_name(side->policy, answer->rule)));
	buf_printf(out, " %.*s:%u", SPAN_ARG(file), line);
	if (policy_place(side->policy, &place, &file, &line, &entry))
		buf_printf(out, " by %.*s %.*s:%u", SPAN_ARG(entry), SPAN_ARG(file), line);
}

static void add_who(struct buf *out, const struct replay_report *report, const struct replay_change *change)
{
	uint32_t shown = 0;

	for (; shown < change->pair_count && shown < WHO_SHOWN_MAX; shown++) {
		const struct replay_pair *pair = tally_at(&report->pairs, change->first_pair + shown);

		buf_add_string(out, shown ? ", " : "");
		add_shown(out, span_skip(report->who.at[pair->who], 1));
		buf_add_byte(out, ' ');
		add_count(out, pair->requests);
	}
	if (shown < change->pair_count)
		buf_printf(out, " and %u more", change->pair_count - shown);
}

static void add_host(struct buf *out, struct span host, uint16_t port)
{
	bool is_v6 = span_find(host, ':') < host.len;

	buf_add_string(out, is_v6 ? "[" : "");
	add_shown(out, host);
	buf_printf(out, "%s:%u", is_v6 ? "]" : "", port);
}

static void add_change(struct buf *out, const struct replay_report *report, const struct replay_change *change)
{
	char turn[64];
	struct buf host;

	snprintf(turn, sizeof(turn), "%s -> %s", answer_name(change->question, change->before.answer),
	         answer_name(change->question, change->after.answer));
	buf_init(&host, 4096);
	add_host(&host, report->hosts.at[change->host], change->port);
	add_column(out, change->requests, 12);
	buf_printf(out, "  %-18s %-40.*s ", turn, SPAN_ARG(buf_span(&host)));
	add_who(out, report, change);
	buf_printf(out, "\n%14s", "");
	add_side(out, &report->before, &change->before);
	buf_add_string(out, " -> ");
	add_side(out, &report->after, &change->after);
	buf_add_byte(out, '\n');
	buf_fini(&host);
}

/* Access and TLS with every host; of other questions the sum says enough. */
static void print_changes(struct buf *out, const struct replay_report *report)
{
	size_t shown = 0, left = 0;

	for (size_t i = 0; i < report->changes.count; i++) {
		const struct replay_change *change = tally_at(&report->changes, i);

		if (change->question != POLICY_ACCESS && change->question != POLICY_TLS)
			continue;
		if (shown == ROWS_SHOWN_MAX) {
			left++;
			continue;
		}
		if (shown++ == 0)
			buf_printf(out, "%12s  %-18s %-40s %s\n", "REQUESTS", "CHANGE", "HOST", "WHO");
		add_change(out, report, change);
		flush_if_full(out);
	}
	if (left)
		buf_printf(out, "%12s  and %zu more; --json has all\n", "", left);
	if (shown)
		buf_add_byte(out, '\n');
}

static void print_people(struct buf *out, const struct replay_report *report)
{
	size_t count = report->people.count;

	if (count == 0)
		return;
	buf_printf(out, "%-30s %12s", "WHO", "REQUESTS");
	for (int i = 0; i < REPLAY_TURNS; i++)
		buf_printf(out, " %11s", turn_names[i]);
	for (size_t i = 0; i < count && i < PEOPLE_SHOWN_MAX; i++) {
		const struct replay_person *person = tally_at(&report->people, i);
		struct buf name;

		buf_init(&name, 4096);
		add_shown(&name, span_skip(report->who.at[person->who], 1));
		buf_printf(out, "\n%-30.*s ", SPAN_ARG(buf_span(&name)));
		buf_fini(&name);
		add_column(out, person->requests, 12);
		for (int t = 0; t < REPLAY_TURNS; t++)
			add_column(out, person->turns[t], 12);
	}
	if (count > PEOPLE_SHOWN_MAX)
		buf_printf(out, "\nand %zu more; --json has all", count - PEOPLE_SHOWN_MAX);
	buf_add_string(out, "\n\n");
}

static void print_sum(struct buf *out, const struct replay_report *report)
{
	struct replay_row *rows;
	size_t count;

	if (!replay_report_sum(report, &rows, &count)) {
		buf_add_string(out, "out of memory for the summary\n");
		return;
	}
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "%-19s %s -> %s: ", policy_question_name((enum policy_question)rows[i].question),
		           answer_name(rows[i].question, rows[i].before),
		           answer_name(rows[i].question, rows[i].after));
		add_count(out, rows[i].sum.requests);
		buf_printf(out, " request%s, ", plural(rows[i].sum.requests));
		add_count(out, rows[i].sum.hosts);
		buf_printf(out, " host%s\n", plural(rows[i].sum.hosts));
	}
	free(rows);
}

static void print_notes(struct buf *out, const struct replay_report *report)
{
	for (size_t i = 0; i < REPLAY_SHOWN_UNREADABLE && report->unreadable_first[i].why; i++)
		buf_printf(out, "not read: %s:%llu: %s\n", report->unreadable_first[i].file,
		           (unsigned long long)report->unreadable_first[i].line, report->unreadable_first[i].why);
	if (report->unreadable > REPLAY_SHOWN_UNREADABLE)
		buf_printf(out, "not read: %llu lines in all\n", (unsigned long long)report->unreadable);
	/* A few come from expiry and time; more mean that the log is older than the policy. */
	if (report->logged_otherwise * 100 > report->logged)
		buf_printf(out,
		           "note: the log says otherwise than the policy in force for %llu of %llu requests: it was "
		           "another one then\n",
		           (unsigned long long)report->logged_otherwise, (unsigned long long)report->logged);
	if (report->beyond)
		buf_printf(out, "note: %llu changes are in no row: there are more than %d different ones\n",
		           (unsigned long long)report->beyond, REPLAY_CHANGES_MAX);
	if (report->is_beyond_pairs)
		buf_add_string(out, "note: not everybody is listed: they are too many\n");
}

static void add_part(struct buf *out, uint64_t count, const char *what)
{
	if (count == 0)
		return;
	buf_add_string(out, ", ");
	add_count(out, count);
	buf_printf(out, " %s", what);
}

void replay_report_print(struct replay_report *report)
{
	struct buf out;

	buf_init(&out, TEXT_MAX_BYTES);
	replay_report_sort(report);
	print_changes(&out, report);
	print_people(&out, report);
	print_sum(&out, report);
	print_notes(&out, report);
	add_count(&out, report->lines);
	buf_printf(&out, " line%s: ", plural(report->lines));
	add_count(&out, report->requests);
	buf_printf(&out, " request%s", plural(report->requests));
	add_part(&out, report->running, "of running tunnels");
	add_part(&out, report->asked, "that asked for a name (407)");
	add_part(&out, report->without_host, "without a host");
	add_part(&out, report->unreadable, "not readable");
	buf_add_string(&out, report->changed ? "; " : "; nothing changes\n");
	if (report->changed) {
		add_count(&out, report->changed);
		buf_printf(&out, " change%s from %s to %s\n", report->changed == 1 ? "s" : "",
		           report->before.path, report->after.path);
	}
	flush(&out);
	buf_fini(&out);
}

/* ---- for programs ---- */

static void add_member(struct buf *out, const char *key, struct span value)
{
	buf_printf(out, ",\"%s\":", key);
	buf_add_json(out, value);
}

static void add_number(struct buf *out, const char *key, uint64_t value)
{
	buf_printf(out, ",\"%s\":", key);
	buf_add_uint(out, value);
}

static void add_side_json(struct buf *out, const struct replay_side *side, uint8_t question,
                          const struct replay_answer *answer)
{
	struct policy_answer place = answer_of(answer);
	struct span file, entry;
	unsigned line;

	buf_printf(out, "{\"answer\":\"%s\"", answer_name(question, answer->answer));
	if (answer->answer == REPLAY_OPEN) {
		buf_add_string(out, ",\"needs\":\"");
		add_fact_names(out, answer->needs);
		buf_add_string(out, "\"}");
		return;
	}
	file = policy_rule_file(side->policy, answer->rule, &line);
	add_member(out, "rule", policy_rule_name(side->policy, answer->rule));
	add_member(out, "rule_file", file);
	add_number(out, "rule_line", line);
	if (policy_place(side->policy, &place, &file, &line, &entry)) {
		if (policy_list_name(side->policy, answer->list).len)
			add_member(out, "list", policy_list_name(side->policy, answer->list));
		add_member(out, "file", file);
		add_number(out, "line", line);
		add_member(out, "entry", entry);
	}
	buf_add_byte(out, '}');
}

static void add_who_json(struct buf *out, struct span who)
{
	buf_printf(out, "{\"%s\":", who.at[0] == 'u' ? "user" : "client");
	buf_add_json(out, span_skip(who, 1));
}

static void add_change_json(struct buf *out, const struct replay_report *report,
                            const struct replay_change *change)
{
	buf_printf(out, "{\"question\":\"%s\",\"host\":", policy_question_name((enum policy_question)change->question));
	buf_add_json(out, report->hosts.at[change->host]);
	add_number(out, "port", change->port);
	add_number(out, "requests", change->requests);
	buf_add_string(out, ",\"before\":");
	add_side_json(out, &report->before, change->question, &change->before);
	buf_add_string(out, ",\"after\":");
	add_side_json(out, &report->after, change->question, &change->after);
	buf_add_string(out, ",\"who\":[");
	for (uint32_t i = 0; i < change->pair_count; i++) {
		const struct replay_pair *pair = tally_at(&report->pairs, change->first_pair + i);

		buf_add_string(out, i ? "," : "");
		add_who_json(out, report->who.at[pair->who]);
		add_number(out, "requests", pair->requests);
		buf_add_byte(out, '}');
		flush_if_full(out);
	}
	buf_add_string(out, "]}");
}

static void add_counts_json(struct buf *out, const struct replay_report *report)
{
	buf_add_string(out, "{\"before\":");
	buf_add_json(out, span_from(report->before.path));
	add_member(out, "after", span_from(report->after.path));
	add_number(out, "lines", report->lines);
	add_number(out, "requests", report->requests);
	add_number(out, "running", report->running);
	add_number(out, "asked", report->asked);
	add_number(out, "without_host", report->without_host);
	add_number(out, "unreadable", report->unreadable);
	add_number(out, "logged", report->logged);
	add_number(out, "logged_otherwise", report->logged_otherwise);
	add_number(out, "changed", report->changed);
	add_number(out, "changes_left_out", report->beyond);
	buf_printf(out, ",\"all_who\":%s,\"unreadable_first\":[", report->is_beyond_pairs ? "false" : "true");
	for (size_t i = 0; i < REPLAY_SHOWN_UNREADABLE && report->unreadable_first[i].why; i++) {
		buf_printf(out, "%s{\"line\":%llu", i ? "," : "",
		           (unsigned long long)report->unreadable_first[i].line);
		add_member(out, "file", span_from(report->unreadable_first[i].file));
		add_member(out, "why", span_from(report->unreadable_first[i].why));
		buf_add_byte(out, '}');
	}
	buf_add_byte(out, ']');
}

static void add_sum_json(struct buf *out, const struct replay_report *report)
{
	struct replay_row *rows;
	size_t count;

	if (!replay_report_sum(report, &rows, &count))
		return;
	buf_add_string(out, ",\"summary\":[");
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "%s{\"question\":\"%s\",\"before\":\"%s\",\"after\":\"%s\"", i ? "," : "",
		           policy_question_name((enum policy_question)rows[i].question),
		           answer_name(rows[i].question, rows[i].before),
		           answer_name(rows[i].question, rows[i].after));
		add_number(out, "requests", rows[i].sum.requests);
		add_number(out, "hosts", rows[i].sum.hosts);
		buf_add_byte(out, '}');
	}
	buf_add_byte(out, ']');
	free(rows);
}

void replay_report_print_json(struct replay_report *report)
{
	struct buf out;

	buf_init(&out, TEXT_MAX_BYTES);
	replay_report_sort(report);
	add_counts_json(&out, report);
	add_sum_json(&out, report);
	buf_add_string(&out, ",\"changes\":[");
	for (size_t i = 0; i < report->changes.count; i++) {
		buf_add_string(&out, i ? ",\n" : "\n");
		add_change_json(&out, report, tally_at(&report->changes, i));
		flush_if_full(&out);
	}
	buf_add_string(&out, "],\"people\":[");
	for (size_t i = 0; i < report->people.count; i++) {
		const struct replay_person *person = tally_at(&report->people, i);

		buf_add_string(&out, i ? ",\n" : "\n");
		add_who_json(&out, report->who.at[person->who]);
		add_number(&out, "requests", person->requests);
		for (int t = 0; t < REPLAY_TURNS; t++)
			add_number(&out, turn_names[t], person->turns[t]);
		buf_add_byte(&out, '}');
		flush_if_full(&out);
	}
	buf_add_string(&out, "]}\n");
	flush(&out);
	buf_fini(&out);
}
