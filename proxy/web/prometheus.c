/* SPDX-License-Identifier: Apache-2.0 */
#include "web/prometheus.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "session/media_networks.h"
#include "session/session.h"

enum { NAME_MAX_BYTES = 64 };

/* X(own metric, name without sallyport_, kind, labels, text): beside those that workers count (METRICS_TABLE). */
#define OWN_METRICS(X) \
	X(BUILD_INFO, "build_info", "gauge", "version", \
	  "1; what runs is in the labels") \
	X(READY, "ready", "gauge", "", \
	  "1 when /readyz says ok") \
	X(WORKERS_WANTED, "workers_wanted", "gauge", "", \
	  "workers that there should be") \
	X(WORKERS_READY, "workers_ready", "gauge", "", \
	  "workers that run and have the policy in force") \
	X(POLICY_GENERATION, "policy_generation", "gauge", "", \
	  "configuration and policy in force, counted from 1 at the start") \
	X(START_TIME_SECONDS, "start_time_seconds", "gauge", "", \
	  "when the proxy was started, since 1970") \
	X(LAST_GOOD_LOAD_TIMESTAMP_SECONDS, "last_good_load_timestamp_seconds", "gauge", "", \
	  "when configuration and policy in force were loaded, since 1970") \
	X(LAST_REFUSED_LOAD_TIMESTAMP_SECONDS, "last_refused_load_timestamp_seconds", "gauge", "", \
	  "when a reload was refused last, since 1970; 0: never") \
	X(RELOADS_TOTAL, "reloads_total", "counter", "result", \
	  "reloads by their result") \
	X(ROLE_RESTARTS_TOTAL, "role_restarts_total", "counter", "role", \
	  "how often a process of this role was started again") \
	X(ROLE_PROCESSES, "role_processes", "gauge", "role", \
	  "processes of this role that run") \
	X(ERRORS_TOTAL, "errors_total", "counter", "error", \
	  "sessions and exchanges that ended with an error, by its name") \
	X(SESSION_STATE_SECONDS, "session_state_seconds", "histogram", "state", \
	  "how long sessions were in a state; read_head includes waiting for the next request") \
	X(MEDIA_LONGEST_GAP_SECONDS, "media_longest_gap_seconds", "histogram", "", \
	  "longest gap between packets of one direction, without pauses, of each media tunnel that has ended") \
	X(AUTH_ATTEMPTS_TOTAL, "auth_attempts_total", "counter", "scheme, result", \
	  "what became of credentials that clients sent, by scheme; who it was stands in the access log") \
	X(AUTH_KERBEROS_TOTAL, "auth_kerberos_total", "counter", "", \
	  "valid tickets: the rest of the valid ones of negotiate is NTLM") \
	X(AUTH_NTLM_V1_TOTAL, "auth_ntlm_v1_total", "counter", "", \
	  "clients that were let in by NTLMv1 (authentication.ntlm.allow_v1)") \
	X(AUTH_ASKS_TOTAL, "auth_asks_total", "counter", "", \
	  "questions of workers to the verifier") \
	X(AUTH_CACHE_HITS_TOTAL, "auth_cache_hits_total", "counter", "", \
	  "credentials that were known without one (authentication.cache_time)") \
	X(DECISIONS_TOTAL, "decisions_total", "counter", "question, answer, rule, place", \
	  "answers of the policy to exchanges that were denied or went on, by question and the rule that gave them") \
	X(LIST_ENTRIES, "list_entries", "gauge", "list", \
	  "entries of a list that is in force") \
	X(LIST_AGE_SECONDS, "list_age_seconds", "gauge", "list", \
	  "time since the youngest file of a list that is in force was changed")

#define OWN_ENUM(own, name, kind, labels, text) OWN_##own,
enum own { OWN_METRICS(OWN_ENUM) OWN_COUNT };
#undef OWN_ENUM

static const struct {
	const char *name, *kind, *labels, *text;
} own_metrics[OWN_COUNT] = {
#define OWN_ROW(own, name, kind, labels, text) {name, kind, labels, text},
	OWN_METRICS(OWN_ROW)
#undef OWN_ROW
};

static uint64_t load(const _Atomic uint64_t *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

bool prometheus_is_ready(const struct board *board)
{
	return load(&board->state) == BOARD_RUNNING &&
	       load(&board->workers_ready) >= load(&board->workers_wanted);
}

/* ---- the format ---- */

static void begin(struct buf *out, const char *name, const char *kind, const char *text)
{
	buf_printf(out, "# HELP sallyport_%s %s\n# TYPE sallyport_%s %s\n", name, text, name, kind);
}

static void begin_own(struct buf *out, enum own own)
{
	begin(out, own_metrics[own].name, own_metrics[own].kind, own_metrics[own].text);
}

void prometheus_add_value(struct buf *out, struct span value)
{
	buf_add_byte(out, '"');
	for (size_t i = 0; i < value.len; i++) {
		uint8_t byte = value.at[i];

		if (byte == '\n') {
			buf_add_string(out, "\\n");
			continue;
		}
		if (byte == '"' || byte == '\\')
			buf_add_byte(out, '\\');
		buf_add_byte(out, byte < 0x20 || byte == 0x7f ? '?' : byte);
	}
	buf_add_byte(out, '"');
}

static void add_number(struct buf *out, uint64_t value)
{
	buf_add_byte(out, ' ');
	buf_add_uint(out, value);
	buf_add_byte(out, '\n');
}

/* Not as a double: large numbers of seconds keep their milliseconds. */
static void add_ms(struct buf *out, uint64_t ms)
{
	buf_printf(out, " %llu.%03u\n", (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
}

static void add_us(struct buf *out, uint64_t us)
{
	buf_printf(out, " %llu.%06u\n", (unsigned long long)(us / 1000000), (unsigned)(us % 1000000));
}

static void write_one(struct buf *out, enum own own, uint64_t value)
{
	begin_own(out, own);
	buf_printf(out, "sallyport_%s", own_metrics[own].name);
	add_number(out, value);
}

/* ---- what workers count ---- */

static void add_times(struct metrics_times *sum, const struct metrics_times *one)
{
	sum->sum_ms += one->sum_ms;
	for (size_t i = 0; i < METRICS_BUCKETS; i++)
		sum->buckets[i] += one->buckets[i];
}

/* The longest turn is the longest of any; all else adds up. */
static void sum_metrics(const struct prometheus_source *source, struct metrics *sum)
{
	for (size_t w = 0; w < source->worker_count; w++) {
		const struct metrics *one = source->workers[w];
		uint64_t longest = one->longest_turn_us > sum->longest_turn_us ? one->longest_turn_us
		                                                               : sum->longest_turn_us;

#define ADD_CELL(name, kind, text) sum->name += one->name;
		METRICS_TABLE(ADD_CELL)
#undef ADD_CELL
		sum->longest_turn_us = longest;
		for (size_t i = 0; i < ERR_COUNT; i++)
			sum->errors[i] += one->errors[i];
		auth_metrics_add(&sum->auth, &one->auth);
		for (size_t s = 0; s < METRICS_STATES_MAX; s++)
			add_times(&sum->states[s], &one->states[s]);
		add_times(&sum->media_gaps, &one->media_gaps);
	}
}

/* Units of Prometheus are the base units: what ends in one of ours is shown in seconds. */
static const struct unit {
	const char *end, *shown;
	void (*add)(struct buf *out, uint64_t value);
} units[] = {
	{"_us", "_seconds", add_us},
	{"_ms_total", "_seconds_total", add_ms},
	{"", "", add_number},
};

static const struct unit *unit_of(const char *name)
{
	const struct unit *unit = units;

	while (!span_ends_with(span_from(name), span_from(unit->end)))
		unit++;
	return unit;
}

static const char *shown_name(const char *name, char shown[static NAME_MAX_BYTES])
{
	const struct unit *unit = unit_of(name);

	snprintf(shown, NAME_MAX_BYTES, "%.*s%s", (int)(strlen(name) - strlen(unit->end)), name, unit->shown);
	return shown;
}

static void write_cell(struct buf *out, const char *name, const char *kind, const char *text, uint64_t value)
{
	char shown[NAME_MAX_BYTES];

	begin(out, shown_name(name, shown), kind, text);
	buf_printf(out, "sallyport_%s", shown);
	unit_of(name)->add(out, value);
}

static void write_errors(const struct metrics *sum, struct buf *out)
{
	begin_own(out, OWN_ERRORS_TOTAL);
	for (int i = 1; i < ERR_COUNT; i++) {
		buf_printf(out, "sallyport_errors_total{error=\"%s\"}", err_name((enum err)i));
		add_number(out, sum->errors[i]);
	}
}

static void write_auth(const struct auth_metrics *auth, struct buf *out)
{
	begin_own(out, OWN_AUTH_ATTEMPTS_TOTAL);
	for (unsigned i = 0; i < AUTH_SCHEME_COUNT; i++) {
		for (unsigned j = 0; j < AUTH_RESULT_COUNT; j++) {
			buf_printf(out, "sallyport_auth_attempts_total{scheme=\"%s\",result=\"%s\"}",
			           auth_scheme_name((enum auth_scheme)i), auth_result_name((enum auth_result)j));
			add_number(out, auth->attempts[i][j]);
		}
	}
	write_one(out, OWN_AUTH_KERBEROS_TOTAL, auth->kerberos);
	write_one(out, OWN_AUTH_NTLM_V1_TOTAL, auth->ntlm_v1);
	write_one(out, OWN_AUTH_ASKS_TOTAL, auth->asks);
	write_one(out, OWN_AUTH_CACHE_HITS_TOTAL, auth->cache_hits);
}

/* `label`: `state="dial"`, or "". */
static void write_histogram(enum own own, const char *label, const struct metrics_times *times, struct buf *out)
{
	const char *name = own_metrics[own].name, *comma = label[0] ? "," : "", *open = label[0] ? "{" : "";
	const char *close = label[0] ? "}" : "";
	uint64_t count = 0;

	for (unsigned i = 0; i + 1 < METRICS_BUCKETS; i++) {
		count += times->buckets[i];
		buf_printf(out, "sallyport_%s_bucket{%s%sle=\"%g\"}", name, label, comma, (double)(UINT64_C(1) << i) / 1000);
		add_number(out, count);
	}
	count += times->buckets[METRICS_BUCKETS - 1];
	buf_printf(out, "sallyport_%s_bucket{%s%sle=\"+Inf\"}", name, label, comma);
	add_number(out, count);
	buf_printf(out, "sallyport_%s_sum%s%s%s", name, open, label, close);
	add_ms(out, times->sum_ms);
	buf_printf(out, "sallyport_%s_count%s%s%s", name, open, label, close);
	add_number(out, count);
}

static void write_state(const char *name, const struct metrics_times *times, struct buf *out)
{
	char label[NAME_MAX_BYTES];

	snprintf(label, sizeof(label), "state=\"%s\"", name);
	write_histogram(OWN_SESSION_STATE_SECONDS, label, times, out);
}

/* These two by the clients' networks. The last row is always there, so that the sum always is, too. Counts since the start are by
 * worker, too: each gives rows to other networks when it needs them, and what goes on to be shown never becomes less. */
static bool is_by_network(const char *name)
{
	return strcmp(name, "media_tunnels") == 0 || strcmp(name, "media_tunnels_total") == 0;
}

static void write_network_totals(struct buf *out, const struct prometheus_source *source)
{
	char network[MEDIA_NETWORKS_TEXT_BYTES];
	struct metrics_network row;

	for (size_t w = 0; w < source->worker_count; w++) {
		for (size_t i = 0; i < METRICS_NETWORKS_MAX; i++) {
			if (!media_networks_row(source->workers[w], i, &row))
				continue;
			buf_printf(out, "sallyport_media_tunnels_total{network=\"%s\",worker=\"%zu\"}", media_networks_name(&row, network), w);
			add_number(out, row.tunnels_total);
		}
		buf_printf(out, "sallyport_media_tunnels_total{network=\"others\",worker=\"%zu\"}", w);
		add_number(out, source->workers[w]->media_others.tunnels_total);
	}
}

static void write_by_network(struct buf *out, const char *name, const char *kind, const char *text,
                             const struct prometheus_source *source, const struct media_networks_sum *networks)
{
	char network[MEDIA_NETWORKS_TEXT_BYTES];

	begin(out, name, kind, text);
	if (strcmp(name, "media_tunnels_total") == 0) {
		write_network_totals(out, source);
		return;
	}
	for (size_t i = 0; i < networks->count; i++) {
		buf_printf(out, "sallyport_%s{network=\"%s\"}", name, media_networks_name(&networks->rows[i], network));
		add_number(out, networks->rows[i].tunnels);
	}
	buf_printf(out, "sallyport_%s{network=\"others\"}", name);
	add_number(out, networks->others.tunnels);
}

static void write_workers(const struct prometheus_source *source, struct buf *out)
{
	struct media_networks_sum networks;
	struct metrics sum = {0};
	const char *name;

	sum_metrics(source, &sum);
	media_networks_sum(source->workers, source->worker_count, &networks);
#define WRITE_CELL(cell, kind, text) \
	if (is_by_network(#cell)) \
		write_by_network(out, #cell, kind, text, source, &networks); \
	else \
		write_cell(out, #cell, kind, text, sum.cell);
	METRICS_TABLE(WRITE_CELL)
#undef WRITE_CELL
	write_errors(&sum, out);
	write_auth(&sum.auth, out);
	begin_own(out, OWN_SESSION_STATE_SECONDS);
	for (unsigned i = 0; i < METRICS_STATES_MAX && (name = session_state_name(i)) != NULL; i++)
		write_state(name, &sum.states[i], out);
	begin_own(out, OWN_MEDIA_LONGEST_GAP_SECONDS);
	write_histogram(OWN_MEDIA_LONGEST_GAP_SECONDS, "", &sum.media_gaps, out);
}

/* ---- decisions ---- */

static uint32_t hits_of(const struct prometheus_source *source, size_t rule, int question)
{
	size_t at = rule * POLICY_QUESTION_COUNT + (size_t)question;

	return at < source->rule_hit_count
	               ? atomic_load_explicit(&source->rule_hits[at], memory_order_relaxed)
	               : 0;
}

static void write_decision(struct buf *out, int question, const char *answer, struct span rule,
                           struct span file, unsigned line, uint64_t value)
{
	buf_printf(out, "sallyport_decisions_total{question=\"%s\",answer=\"%s\",rule=",
	           policy_question_name((enum policy_question)question), answer);
	prometheus_add_value(out, rule);
	buf_add_string(out, ",place=");
	if (file.len) {
		struct buf place;

		buf_init(&place, 4096);
		buf_printf(&place, "%.*s:%u", SPAN_ARG(file), line);
		prometheus_add_value(out, buf_span(&place));
		buf_fini(&place);
	} else {
		buf_add_string(out, "\"\"");
	}
	buf_add_byte(out, '}');
	add_number(out, value);
}

/* A question that a rule does not answer is never counted for it, so it has no row. */
static void write_rule(const struct prometheus_source *source, uint32_t rule, struct buf *out)
{
	unsigned line;
	struct span name = policy_rule_name(source->policy, rule);
	struct span file = policy_rule_file(source->policy, rule, &line);

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		unsigned answer;

		if (policy_rule_answers(source->policy, rule, (enum policy_question)q, &answer))
			write_decision(out, q, policy_answer_name((enum policy_question)q, answer), name, file, line,
			               hits_of(source, rule, q));
	}
}

static void write_decisions(const struct prometheus_source *source, struct buf *out)
{
	struct policy_stats stats;
	struct span file;
	unsigned line;

	policy_stats(source->policy, &stats);
	begin_own(out, OWN_DECISIONS_TOTAL);
	for (uint32_t rule = 0; rule < stats.rules && rule < PROMETHEUS_RULES_MAX; rule++)
		write_rule(source, rule, out);
	for (int q = 0; stats.rules > PROMETHEUS_RULES_MAX && q < POLICY_QUESTION_COUNT; q++) {
		uint64_t rest = 0;

		for (size_t rule = PROMETHEUS_RULES_MAX; rule < stats.rules; rule++)
			rest += hits_of(source, rule, q);
		write_decision(out, q, "", SPAN("rules behind the first 2000"), SPAN(""), 0, rest);
	}
	file = policy_rule_file(source->policy, POLICY_NO_RULE, &line);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		write_decision(out, q, "", SPAN("defaults"), file, line, hits_of(source, stats.rules, q));
}

static void write_lists(const struct prometheus_source *source, struct buf *out)
{
	uint64_t now_ms = clock_wall_ms();

	begin_own(out, OWN_LIST_ENTRIES);
	for (size_t i = 0; i < source->list_count; i++) {
		buf_add_string(out, "sallyport_list_entries{list=");
		prometheus_add_value(out, source->lists[i].name);
		buf_add_byte(out, '}');
		add_number(out, source->lists[i].entries);
	}
	begin_own(out, OWN_LIST_AGE_SECONDS);
	for (size_t i = 0; i < source->list_count; i++) {
		uint64_t changed_ms = source->lists[i].changed_ms;

		if (changed_ms == 0)
			continue;
		buf_add_string(out, "sallyport_list_age_seconds{list=");
		prometheus_add_value(out, source->lists[i].name);
		buf_add_byte(out, '}');
		add_number(out, now_ms > changed_ms ? (now_ms - changed_ms) / 1000 : 0);
	}
}

/* ---- what the parent tells ---- */

static void write_roles(const struct board *board, struct buf *out)
{
	begin_own(out, OWN_ROLE_RESTARTS_TOTAL);
	for (size_t i = 0; i < BOARD_ROLES_MAX && board->roles[i].name[0]; i++) {
		buf_printf(out, "sallyport_role_restarts_total{role=\"%.15s\"}", board->roles[i].name);
		add_number(out, load(&board->roles[i].restarts));
	}
	begin_own(out, OWN_ROLE_PROCESSES);
	for (size_t i = 0; i < BOARD_ROLES_MAX && board->roles[i].name[0]; i++) {
		buf_printf(out, "sallyport_role_processes{role=\"%.15s\"}", board->roles[i].name);
		add_number(out, load(&board->roles[i].running));
	}
}

static void write_time(struct buf *out, enum own own, uint64_t wall_ms)
{
	begin_own(out, own);
	buf_printf(out, "sallyport_%s", own_metrics[own].name);
	add_ms(out, wall_ms);
}

static void write_board(const struct board *board, struct buf *out)
{
	begin_own(out, OWN_BUILD_INFO);
	buf_add_string(out, "sallyport_build_info{version=\"" SALLYPORT_VERSION "\"} 1\n");
	write_one(out, OWN_READY, prometheus_is_ready(board));
	write_one(out, OWN_WORKERS_WANTED, load(&board->workers_wanted));
	write_one(out, OWN_WORKERS_READY, load(&board->workers_ready));
	write_one(out, OWN_POLICY_GENERATION, load(&board->generation));
	write_time(out, OWN_START_TIME_SECONDS, load(&board->started_ms));
	write_time(out, OWN_LAST_GOOD_LOAD_TIMESTAMP_SECONDS, load(&board->loaded_ms));
	write_time(out, OWN_LAST_REFUSED_LOAD_TIMESTAMP_SECONDS, load(&board->refused_ms));
	begin_own(out, OWN_RELOADS_TOTAL);
	buf_add_string(out, "sallyport_reloads_total{result=\"ok\"}");
	add_number(out, load(&board->reloads_total));
	buf_add_string(out, "sallyport_reloads_total{result=\"refused\"}");
	add_number(out, load(&board->refused_total));
	write_roles(board, out);
}

void prometheus_write(const struct prometheus_source *source, struct buf *out)
{
	write_board(source->board, out);
	write_workers(source, out);
	if (source->policy == NULL)
		return;
	write_decisions(source, out);
	write_lists(source, out);
}

void prometheus_reference(struct buf *out)
{
	char shown[NAME_MAX_BYTES];

	for (size_t i = 0; i < COUNT_OF(own_metrics); i++) {
		const char *labels = own_metrics[i].labels;

		buf_printf(out, "  sallyport_%s%s%s%s\n      %s: %s\n", own_metrics[i].name, labels[0] ? "{" : "", labels,
		           labels[0] ? "}" : "", own_metrics[i].kind, own_metrics[i].text);
	}
#define WORKER_ROW(name, kind, text) \
	buf_printf(out, "  sallyport_%s%s\n      %s: %s\n", shown_name(#name, shown), is_by_network(#name) ? "{network}" : "", kind, text);
	METRICS_TABLE(WORKER_ROW)
#undef WORKER_ROW
}
