/* SPDX-License-Identifier: Apache-2.0 */
/* The access log: one line per finished exchange or tunnel. The names of the fields are a contract. */
#include "session/inspect.h"
#include "session/media_tunnel.h"

#include "base/clock.h"

enum { TARGET_MAX_BYTES = 4096, GROUPS_MAX_BYTES = 2048 };

/* Everything that a line can say, wherever it comes from. Empty spans, ABSENT_MS and 0 are "not known". */
struct record {
	const struct session *session;
	const char *event; /* NULL: finished */
	struct span method, target, host;
	struct span sni;             /* of the ClientHello */
	const struct inspect *inspect; /* NULL: TLS was not looked into */
	const struct identity *identity;  /* NULL: not known */
	enum auth_scheme scheme;          /* that was tried; AUTH_SCHEME_COUNT: none */
	uint16_t port;
	struct address origin;
	const struct policy_answer *answers; /* NULL: not decided */
	unsigned open;               /* bits 1 << question: not answered before it was refused */
	int status;
	enum err err;
	const char *reason;      /* which check it was; NULL or "": not known */
	enum reason why;         /* REASON_NONE: the error says all */
	struct address refused;
	const char *ended_by, *how;
	uint64_t bytes_up, bytes_down, duration_ms;
	struct timing timing;
	unsigned question_count; /* of `answers` */
	const struct span *content_type; /* of the response; NULL: there was none */
	uint64_t waited_ms;      /* for rate limits */
	bool is_tunnel;
	const char *class;           /* how it was served; NULL: not known */
	const struct media *media;   /* NULL: no call */
};

static struct span target_shown(const struct session *session, struct span target)
{
	size_t scheme = span_find_span(target, SPAN("://"));

	target = span_first(target, TARGET_MAX_BYTES);
	/* A password may stand before the host of a URL that is refused for it. */
	if (scheme < target.len) {
		struct span rest = span_skip(target, scheme + 3);
		size_t at = span_find_last(span_first(rest, span_find(rest, '/')), '@');

		if (at < span_find(rest, '/'))
			target = span_skip(rest, at + 1);
	}
	return session_conf_of(session)->access.query ? target
	                                              : span_first(target, span_find(target, '?'));
}

/* ---- JSON ---- */

/* A line has thirty keys: each is one piece, whose length the compiler knows. */
#define KEY(name) SPAN(",\"" name "\":")

static void add_text(struct buf *out, struct span key, struct span value)
{
	if (value.len == 0)
		return;
	buf_add(out, key);
	buf_add_json(out, value);
}

static void add_address(struct buf *out, struct span key, const struct address *address)
{
	if (address->family == 0)
		return;
	buf_add(out, key);
	buf_add_byte(out, '"');
	address_format_with_port(address, out);
	buf_add_byte(out, '"');
}

static void add_refused(struct buf *out, const struct address *address)
{
	if (address->family == 0)
		return;
	buf_add_string(out, ",\"address\":\"");
	address_format(address, out);
	buf_add_byte(out, '"');
}

static void add_number(struct buf *out, struct span key, uint64_t value)
{
	buf_add(out, key);
	buf_add_uint(out, value);
}

static void add_answer(const struct policy *policy, enum policy_question question,
                       const struct policy_answer *answer, bool first, struct buf *out)
{
	struct span rule_file, file, entry;
	unsigned rule_line, main_line, line;

	buf_add_string(out, first ? "\"" : ",\"");
	buf_add_string(out, policy_question_name(question));
	buf_add(out, SPAN("\":{\"answer\":\""));
	buf_add_string(out, policy_answer_name(question, answer->answer));
	buf_add(out, SPAN("\",\"why\":\""));
	buf_add_string(out, reason_name(answer->reason));
	buf_add_byte(out, '"');
	add_text(out, KEY("rule"), policy_rule_name(policy, answer->rule));
	rule_file = policy_rule_file(policy, answer->rule, &rule_line);
	if (!span_equal(rule_file, policy_rule_file(policy, POLICY_NO_RULE, &main_line)))
		add_text(out, KEY("rule_file"), rule_file);
	add_number(out, KEY("rule_line"), rule_line);
	/* What is written in the rule itself is no list. */
	if (policy_list_name(policy, answer->list).len &&
	    policy_place(policy, answer, &file, &line, &entry)) {
		add_text(out, KEY("list"), policy_list_name(policy, answer->list));
		add_text(out, KEY("file"), file); /* a list may have several */
		add_number(out, KEY("line"), line);
	}
	buf_add_byte(out, '}');
}

/* Questions of later versions are only told where a rule spoke of them. */
static bool is_told(enum policy_question question, const struct policy_answer *answer)
{
	return question <= POLICY_TLS || question == POLICY_CLASS || question == POLICY_ROUTE ||
	       answer->rule != POLICY_NO_RULE;
}

static void add_decision(const struct record *record, struct buf *out)
{
	const struct policy *policy = record->session->generation->policy;
	bool first = true;

	if (record->answers == NULL)
		return;
	buf_add_string(out, ",\"decision\":{");
	for (unsigned q = 0; q < record->question_count; q++) {
		bool has_refused = q == POLICY_OPAQUE && record->err == ERR_OPAQUE_DENIED;

		if ((record->open >> q & 1) || (!has_refused && !is_told((enum policy_question)q, &record->answers[q])))
			continue;
		add_answer(policy, (enum policy_question)q, &record->answers[q], first, out);
		first = false;
	}
	buf_add_byte(out, '}');
}

static void add_timing(const struct timing *timing, struct buf *out)
{
	const struct {
		const char *key;
		uint32_t ms;
	} rows[] = {{"auth_ms", timing->auth_ms},
	            {"dns_ms", timing->dns_ms},
	            {"connect_ms", timing->connect_ms},
	            {"tls_origin_ms", timing->tls_origin_ms},
	            {"tls_client_ms", timing->tls_client_ms},
	            {"first_byte_ms", timing->first_byte_ms}};
	bool first = true;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (rows[i].ms == ABSENT_MS)
			continue;
		buf_add_string(out, first ? ",\"timing\":{\"" : ",\"");
		buf_add_string(out, rows[i].key);
		buf_add(out, SPAN("\":"));
		buf_add_uint(out, rows[i].ms);
		first = false;
	}
	if (!first)
		buf_add_byte(out, '}');
}

/* ---- TLS ---- */

static void add_leg(const char *key, const struct tls_leg *leg, const char *ja4, const char *verify, struct buf *out)
{
	buf_printf(out, "\"%s\":{\"version\":\"%s\",\"cipher\":\"%s\"", key, leg->version, leg->cipher);
	add_text(out, KEY("alpn"), span_from(leg->alpn));
	buf_printf(out, ",\"resumed\":%s", leg->resumed ? "true" : "false");
	add_text(out, KEY("ja4"), span_from(ja4));
	add_text(out, KEY("verify"), span_from(verify));
	buf_add_byte(out, '}');
}

/* "good", or the token of what is wrong; "": not known. */
static const char *verify_text(const struct inspect *inspect)
{
	return inspect->was_verified ? "good" : trust_fault_token(inspect->fault);
}

static void add_tls(const struct inspect *inspect, struct buf *out)
{
	bool is_first = true;

	if (inspect == NULL || inspect->is_plain)
		return;
	buf_add(out, KEY("tls"));
	buf_add_byte(out, '{');
	if (inspect->client_leg.version) {
		add_leg("client", &inspect->client_leg, inspect->ja4, NULL, out);
		is_first = false;
	}
	if (inspect->origin_leg.version) {
		if (!is_first)
			buf_add_byte(out, ',');
		add_leg("origin", &inspect->origin_leg, NULL, verify_text(inspect), out);
		is_first = false;
	}
	buf_printf(out, "%s\"opened\":%s", is_first ? "" : ",", inspect->is_open ? "true" : "false");
	if (inspect->leaf && inspect->is_open) {
		add_text(out, KEY("certificate"), SPAN("forged"));
		add_text(out, KEY("serial"), span_from(inspect->leaf->serial));
	}
	if (inspect->client_leg.version == NULL)
		add_text(out, KEY("ja4"), span_from(inspect->ja4));
	if (inspect->was_asked)
		buf_add_string(out, ",\"asks_certificate\":true");
	add_text(out, KEY("evidence"), span_from(pins_score_name(inspect->sign)));
	buf_add_byte(out, '}');
}

/* A ticket of Active Directory may name hundreds of groups. */
static void add_groups(const struct identity *identity, struct buf *out)
{
	size_t bytes = 0;

	buf_add(out, KEY("groups"));
	buf_add_byte(out, '[');
	for (size_t i = 0; i < identity->group_count && bytes < GROUPS_MAX_BYTES; i++) {
		if (i)
			buf_add_byte(out, ',');
		buf_add_json(out, identity->groups[i]);
		bytes += identity->groups[i].len + 3;
	}
	buf_add_byte(out, ']');
}

static void add_who(const struct record *record, bool brief, struct buf *out)
{
	const struct identity *identity = record->identity;

	if (identity)
		add_text(out, KEY("user"), identity->user);
	if (record->scheme != AUTH_SCHEME_COUNT)
		add_text(out, KEY("scheme"), span_from(auth_scheme_name(record->scheme)));
	if (identity)
		add_text(out, KEY("mechanism"), span_from(auth_mechanism_name(identity->mechanism)));
	if (identity && identity->group_count && !brief)
		add_groups(identity, out);
}

static void write_json(const struct record *record, bool brief, struct buf *out)
{
	const struct session *session = record->session;
	char id[48];

	buf_add_string(out, "{\"ts\":\"");
	clock_add_rfc3339(out, loop_wall_ms(session->env->loop));
	buf_add_byte(out, '"');
	if (record->event)
		add_text(out, KEY("event"), span_from(record->event));
	add_text(out, KEY("id"), span_from(session_id_text(session, id)));
	add_text(out, KEY("listener"), span_from(session->listener->name));
	add_address(out, KEY("client"), &session->client_address);
	add_who(record, brief, out);
	add_text(out, KEY("method"), record->method);
	add_text(out, KEY("target"), target_shown(session, record->target));
	add_text(out, KEY("host"), record->host);
	if (record->port)
		add_number(out, KEY("port"), record->port);
	add_text(out, KEY("sni"), record->sni);
	add_address(out, KEY("origin"), &record->origin);
	if (!brief)
		add_text(out, KEY("class"), span_from(record->class));
	if (!brief)
		add_decision(record, out);
	if (record->status)
		add_number(out, KEY("status"), (uint64_t)record->status);
	if (record->content_type) { /* a response without a type has an empty one */
		buf_add(out, KEY("content_type"));
		buf_add_json(out, *record->content_type);
	}
	if (record->err)
		add_text(out, KEY("error"), span_from(err_name(record->err)));
	add_text(out, KEY("why"), span_from(reason_name(record->why)));
	add_text(out, KEY("reason"), span_from(record->reason));
	add_refused(out, &record->refused);
	add_text(out, KEY("ended_by"), span_from(record->ended_by));
	add_text(out, KEY("how"), span_from(record->how));
	add_number(out, KEY("bytes_up"), record->bytes_up);
	add_number(out, KEY("bytes_down"), record->bytes_down);
	add_number(out, KEY("duration_ms"), record->duration_ms);
	if (!brief)
		add_timing(&record->timing, out);
	if (record->waited_ms)
		buf_printf(out, ",\"rate\":{\"by\":\"%s\",\"waited_ms\":%llu}", rates_slowest(session, false),
		           (unsigned long long)record->waited_ms);
	add_tls(record->inspect, out);
	if (record->media) {
		buf_add(out, KEY("media"));
		media_add_json(record->media, out);
	}
	add_number(out, KEY("policy"), session->generation->number);
	buf_add_string(out, "}\n");
}

/* ---- Squid's native format: time elapsed client code/status bytes method URL user hierarchy type ---- */

static const char *squid_code(const struct record *record)
{
	if (record->err == ERR_POLICY_DENIED || record->err == ERR_DESTINATION_DENIED || record->status == 407)
		return "TCP_DENIED";
	if (record->is_tunnel)
		return "TCP_TUNNEL";
	return record->origin.family ? "TCP_MISS" : "NONE";
}

static void write_squid(const struct record *record, struct buf *out)
{
	uint64_t wall_ms = loop_wall_ms(record->session->env->loop);
	struct span target = target_shown(record->session, record->target);

	buf_printf(out, "%llu.%03llu %6llu ", (unsigned long long)(wall_ms / 1000),
	           (unsigned long long)(wall_ms % 1000), (unsigned long long)record->duration_ms);
	address_format(&record->session->client_address, out);
	buf_printf(out, " %s/%03d %llu ", squid_code(record), record->status,
	           (unsigned long long)record->bytes_down);
	buf_add_percent(out, record->method.len ? record->method : SPAN("-"));
	buf_add_byte(out, ' ');
	buf_add_percent(out, target.len ? target : SPAN("-"));
	buf_add_byte(out, ' ');
	buf_add_percent(out, record->identity ? record->identity->user : SPAN("-"));
	buf_add_string(out, record->origin.family ? " HIER_DIRECT/" : " HIER_NONE/");
	address_format(&record->origin, out);
	buf_add_byte(out, ' ');
	buf_add_percent(out, record->content_type && record->content_type->len ? *record->content_type : SPAN("-"));
	buf_add_byte(out, '\n');
}

/* ---- templates ---- */

static void add_known(struct buf *out, uint64_t number, uint64_t absent)
{
	if (number != absent)
		buf_add_uint(out, number);
}

static void add_place(const struct policy *policy, const struct policy_answer *access,
                      struct buf *out)
{
	struct span file, entry;
	unsigned line;

	if (!policy_place(policy, access, &file, &line, &entry))
		return;
	buf_add_percent(out, file);
	buf_printf(out, ":%u", line);
}

/* What policy said; a dash for all of it where it was not asked. */
static void add_decided_field(const struct record *record, enum access_field field, struct buf *out)
{
	const struct policy *policy = record->session->generation->policy;
	const struct policy_answer *access = &record->answers[POLICY_ACCESS];

	if (field == ACCESS_FIELD_CLASS)
		buf_add_string(out, record->class ? record->class : "");
	else if (field == ACCESS_FIELD_ACCESS)
		buf_add_string(out, policy_answer_name(POLICY_ACCESS, access->answer));
	else if (field == ACCESS_FIELD_RULE)
		buf_add_percent(out, policy_rule_name(policy, access->rule));
	else if (field == ACCESS_FIELD_PLACE)
		add_place(policy, access, out);
}

static void add_field(const struct record *record, enum access_field field, struct buf *out)
{
	const struct session *session = record->session;
	char id[48];
	size_t before = buf_len(out);

#define FIELD(name) else if (field == ACCESS_FIELD_##name)
#define NUMBER(name, value, absent) FIELD(name) add_known(out, value, absent)
#define TEXT(name, value) FIELD(name) buf_add_percent(out, value)
	if (field == ACCESS_FIELD_TS)
		clock_add_rfc3339(out, loop_wall_ms(session->env->loop));
	TEXT(EVENT, span_from(record->event));
	TEXT(ID, span_from(session_id_text(session, id)));
	TEXT(LISTENER, span_from(session->listener->name));
	FIELD(CLIENT) address_format_with_port(&session->client_address, out);
	TEXT(USER, record->identity ? record->identity->user : SPAN(""));
	TEXT(SCHEME, span_from(auth_scheme_name(record->scheme)));
	TEXT(METHOD, record->method);
	TEXT(TARGET, target_shown(session, record->target));
	TEXT(HOST, record->host);
	NUMBER(PORT, record->port, 0);
	FIELD(ORIGIN) address_format_with_port(&record->origin, out);
	NUMBER(STATUS, (uint64_t)record->status, 0);
	TEXT(CONTENT_TYPE, record->content_type ? *record->content_type : SPAN(""));
	TEXT(ERROR, record->err ? span_from(err_name(record->err)) : SPAN(""));
	TEXT(WHY, span_from(reason_name(record->why)));
	TEXT(REASON, span_from(record->reason));
	FIELD(ADDRESS) address_format(&record->refused, out);
	TEXT(ENDED_BY, span_from(record->ended_by));
	TEXT(HOW, span_from(record->how));
	NUMBER(BYTES_UP, record->bytes_up, UINT64_MAX);
	NUMBER(BYTES_DOWN, record->bytes_down, UINT64_MAX);
	NUMBER(DURATION_MS, record->duration_ms, UINT64_MAX);
	NUMBER(AUTH_MS, record->timing.auth_ms, ABSENT_MS);
	NUMBER(DNS_MS, record->timing.dns_ms, ABSENT_MS);
	NUMBER(CONNECT_MS, record->timing.connect_ms, ABSENT_MS);
	NUMBER(TLS_ORIGIN_MS, record->timing.tls_origin_ms, ABSENT_MS);
	NUMBER(TLS_CLIENT_MS, record->timing.tls_client_ms, ABSENT_MS);
	TEXT(TLS, record->inspect ? span_from(record->inspect->is_open ? "opened" : "not-opened") : SPAN(""));
	TEXT(JA4, record->inspect ? span_from(record->inspect->ja4) : SPAN(""));
	TEXT(VERIFY, record->inspect ? span_from(verify_text(record->inspect)) : SPAN(""));
	TEXT(EVIDENCE, record->inspect ? span_from(pins_score_name(record->inspect->sign)) : SPAN(""));
	TEXT(SNI, record->sni);
	NUMBER(FIRST_BYTE_MS, record->timing.first_byte_ms, ABSENT_MS);
	NUMBER(MEDIA_PACKETS, record->media ? media_packet_count(record->media) : UINT64_MAX, UINT64_MAX);
	NUMBER(MEDIA_STALLS, record->media ? media_stall_count(record->media) : UINT64_MAX, UINT64_MAX);
	NUMBER(MEDIA_LONGEST_GAP_MS, record->media ? media_longest_gap_ms(record->media) : UINT64_MAX, UINT64_MAX);
	NUMBER(WAITED_MS, record->waited_ms, UINT64_MAX);
	NUMBER(POLICY, session->generation->number, 0);
	else if (record->answers)
		add_decided_field(record, field, out);
#undef FIELD
#undef NUMBER
#undef TEXT
	if (buf_len(out) == before)
		buf_add_byte(out, '-');
}

static void write_template(const struct record *record, struct buf *out)
{
	struct span rest = span_from(session_conf_of(record->session)->access.template), text, key;
	enum access_field field;

	while (session_conf_template_next(&rest, &text, &key, &field)) {
		buf_add(out, text);
		if (key.at)
			add_field(record, field, out);
	}
	buf_add_byte(out, '\n');
}

/* ---- lines ---- */

static void write_line(const struct record *record)
{
	const struct session *session = record->session;
	struct session_env *env = session->env;
	const struct access_conf *conf = &session_conf_of(session)->access;
	unsigned log = record->answers ? record->answers[POLICY_LOG].answer : LOG_FULL;
	struct buf *line = &env->line;

	if (conf->target == LOG_TO_NONE || log == LOG_NONE)
		return;
	buf_reset(line);
	if (conf->format == ACCESS_SQUID)
		write_squid(record, line);
	else if (conf->format == ACCESS_TEMPLATE)
		write_template(record, line);
	else
		write_json(record, log == LOG_BRIEF, line);
	if (!buf_is_whole(line)) {
		env->metrics->access_dropped_total++;
		return;
	}
	env->metrics->access_lines_total++;
	env->write_access(env->context, buf_span(line));
}

const struct policy_answer *access_refusing_answer(const struct exchange *exchange)
{
	bool is_policy = exchange->err == ERR_POLICY_DENIED || exchange->err == ERR_INSPECT_UNAVAILABLE || exchange->err == ERR_OPAQUE_DENIED ||
	                 exchange->err == ERR_ROUTE_SOURCE;

	return is_policy && exchange->is_decided ? &exchange->decision.answers[exchange->denied_by] : NULL;
}

enum reason access_reason(const struct exchange *exchange)
{
	const struct policy_answer *answer = access_refusing_answer(exchange);

	if (exchange->err == ERR_DESTINATION_DENIED)
		return guard_reason(exchange->detail);
	return answer ? (enum reason)answer->reason : REASON_NONE;
}

/* Who ended an exchange, and how, where its error says so. */
static const struct {
	const char *by, *how;
} endings[ERR_COUNT] = {
	[ERR_CLIENT_CLOSED] = {"client", "fin"},
	[ERR_CLIENT_RESET] = {"client", "rst"},
	[ERR_CLIENT_TIMEOUT] = {"client", "timeout"},
	[ERR_ORIGIN_CLOSED] = {"origin", "fin"},
	[ERR_ORIGIN_RESET] = {"origin", "rst"},
	[ERR_RESPONSE_INCOMPLETE] = {"origin", NULL}, /* the exchange knows */
	[ERR_REQUEST_TIMEOUT] = {"proxy", "timeout"},
	[ERR_RESPONSE_TIMEOUT] = {"proxy", "timeout"},
	[ERR_IDLE_TIMEOUT] = {"proxy", "timeout"},
	[ERR_CUT] = {"proxy", "cut"},
	[ERR_STOPPED] = {"proxy", "stop"},
};

/* Inside, a path is asked for: with its host it says what a URL to a proxy says. */
static struct span target_of(const struct session *session)
{
	const struct exchange *exchange = session->exchange;

	return session->inspect && exchange->facts.url.len ? exchange->facts.url : exchange->head.target;
}

/* What the ClientHello named, where it was looked at. */
static struct span tunnel_sni(const struct tunnel *tunnel)
{
	if (tunnel->sni)
		return span_from(tunnel->sni);
	return tunnel->is_sni_host ? span_of(tunnel->text + tunnel->method_len, tunnel->host_len) : SPAN("");
}

/* At our certificate, and there is no error that says so. */
static bool was_closed_by_client(const struct inspect *inspect)
{
	return inspect && inspect->sign != PINS_SIGN_NONE && inspect->sign != PINS_SIGN_UNUSED;
}

/* What policy says; auto is for tunnels, and nothing else is media by its bytes. */
static const char *exchange_class(const struct exchange *exchange)
{
	unsigned class = exchange->decision.answers[POLICY_CLASS].answer;

	if (!exchange->is_decided)
		return NULL;
	return policy_answer_name(POLICY_CLASS, class == CLASS_AUTO ? CLASS_NORMAL : class);
}

void access_log_exchange(struct session *session)
{
	struct exchange *exchange = session->exchange;
	uint64_t ended_ms;
	struct record record;

	if (exchange == NULL || exchange->was_logged)
		return;
	exchange->was_logged = true;
	ended_ms = exchange->ended_ms ? exchange->ended_ms : loop_now_ms(session->env->loop);
	record = (struct record){
		.session = session,
		.method = exchange->is_parsed ? exchange->head.method : SPAN(""),
		.target = exchange->is_parsed ? target_of(session) : SPAN(""),
		.sni = session->inspect ? session->inspect->sni : SPAN(""),
		.inspect = session->inspect,
		.host = exchange->target.host.name,
		.identity = exchange->identity,
		.scheme = exchange->identity ? exchange->identity->scheme : exchange->tried,
		.port = exchange->target.host.port,
		.origin = exchange->origin,
		.answers = exchange->is_decided ? exchange->decision.answers : NULL,
		.question_count = POLICY_QUESTION_COUNT,
		.content_type = exchange->facts.known & FACT_RESPONSE ? &exchange->facts.content_type : NULL,
		.open = exchange->decision.open,
		.status = exchange->status,
		.err = exchange->err,
		.reason = exchange->detail,
		.why = access_reason(exchange),
		.bytes_up = exchange->bytes_up,
		.bytes_down = exchange->bytes_down,
		.duration_ms = ended_ms - exchange->started_ms,
		.waited_ms = rates_waited_ms(session) - exchange->waited_before_ms,
		.timing = exchange->timing,
		.class = exchange_class(exchange),
	};
	if (exchange->err == ERR_DESTINATION_DENIED)
		record.refused = exchange->refused;
	record.ended_by = endings[exchange->err].by;
	record.how = endings[exchange->err].how;
	if (exchange->err == ERR_RESPONSE_INCOMPLETE)
		record.how = exchange->was_origin_reset ? "rst" : "fin";
	if (record.ended_by == NULL && was_closed_by_client(session->inspect))
		record.ended_by = "client";
	write_line(&record);
}

static const char *const how_texts[] = {
	[PUMP_FIN] = "fin",
	[PUMP_RST] = "rst",
	[PUMP_TIMEOUT] = "timeout",
	[PUMP_HALF_CLOSE_TIMEOUT] = "timeout",
	[PUMP_DEAD] = "timeout",
	[PUMP_ERROR] = "rst",
	[PUMP_STOPPED] = "stop",
};

void access_log_tunnel(struct session *session, bool is_running, const struct pump_end *end)
{
	const struct tunnel *tunnel = session->tunnel;
	const char *text = tunnel->text;
	struct record record = {
		.session = session,
		.event = is_running ? "running" : NULL,
		.method = span_of(text, tunnel->method_len),
		.host = span_of(text + tunnel->method_len, tunnel->host_len),
		.target = span_of(text + tunnel->method_len + tunnel->host_len, tunnel->target_len),
		.sni = tunnel_sni(tunnel),
		.inspect = session->inspect,
		.identity = tunnel->identity,
		.scheme = tunnel->identity ? tunnel->identity->scheme : AUTH_SCHEME_COUNT,
		.port = tunnel->port,
		.origin = tunnel->origin,
		.answers = tunnel->answers,
		.question_count = POLICY_TUNNEL_QUESTION_COUNT,
		.status = tunnel->status,
		.err = tunnel->err,
		.bytes_up = tunnel->pump.bytes[PUMP_CLIENT],
		.bytes_down = tunnel->pump.bytes[PUMP_ORIGIN],
		.duration_ms = loop_now_ms(session->env->loop) - tunnel->started_ms,
		.waited_ms = rates_waited_ms(session) - tunnel->waited_before_ms,
		.timing = tunnel->timing,
		.is_tunnel = true,
		.class = media_tunnel_class(tunnel),
		.media = media_tunnel_figures(tunnel),
	};

	if (end) {
		bool by_us = end->how == PUMP_TIMEOUT || end->how == PUMP_HALF_CLOSE_TIMEOUT ||
		             end->how == PUMP_STOPPED;

		/* Ended from above, whatever the sockets did. */
		record.how = tunnel->err == ERR_CUT || tunnel->err == ERR_STOPPED ? endings[tunnel->err].how : how_texts[end->how];
		record.ended_by = by_us ? "proxy" : end->ended_by == PUMP_CLIENT ? "client" : "origin";
	}
	write_line(&record);
}
