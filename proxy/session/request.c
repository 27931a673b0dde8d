/* SPDX-License-Identifier: Apache-2.0 */
/* READ_PROXY, READ_HEAD, DECIDE: from bytes to a decision. */
#include "session/session_private.h"

#include <stdio.h>
#include <string.h>

#include "http/proxy_protocol.h"
#include "session/inspect.h"

enum stream_state request_read_more(struct session *session)
{
	size_t room = session->in.max_bytes - buf_len(&session->in), len, got;
	uint8_t *scratch = loop_scratch(session->env->loop, &len);
	enum stream_state state = stream_read(&session->client, scratch, room < len ? room : len, &got);

	if (state == STREAM_OK)
		buf_add(&session->in, span_of(scratch, got));
	return state;
}

/* ---- READ_PROXY ---- */

enum step step_read_proxy(struct session *session)
{
	struct address client, listener;
	enum stream_state state;
	size_t used;
	enum err err;
	bool local;

	for (;;) {
		if (proxy_protocol_parse(buf_span(&session->in), &used, &local, &client, &listener)) {
			if (session->exchange == NULL && exchange_new(session) == NULL)
				return session_go(session, SESSION_END);
			return session_fail(session, ERR_PROXY_PROTOCOL, "");
		}
		if (used)
			break;
		state = request_read_more(session);
		if (state == STREAM_AGAIN)
			return STEP_WAIT;
		if (state != STREAM_OK)
			return session_go(session, SESSION_END);
	}
	buf_consume(&session->in, used);
	err = session_is_for(session, local ? &session->client_address : &client);
	if (err && session->exchange == NULL && exchange_new(session) == NULL)
		return session_go(session, SESSION_END);
	if (err)
		return session_fail(session, err, "");
	return session_go(session, SESSION_READ_HEAD);
}

/* ---- READ_HEAD ---- */

static enum step fail_head(struct session *session, enum err err, const char *detail)
{
	if (exchange_new(session) == NULL)
		return session_go(session, SESSION_END);
	return session_fail(session, err, detail);
}

static enum step on_client_gone(struct session *session, enum stream_state state)
{
	/* Connect and close without a word is no request and gives no line. */
	if (buf_len(&session->in) == 0) {
		if (session->inspect && session->inspect->request_count == 0)
			pins_note_silence(session);
		return session_go(session, SESSION_END);
	}
	return fail_head(session, state == STREAM_END ? ERR_CLIENT_CLOSED : ERR_CLIENT_RESET, "");
}

static struct span copy_head(struct session *session, size_t head_bytes)
{
	struct span head = arena_copy(&session->exchange->arena,
	                              span_first(buf_span(&session->in), head_bytes));

	buf_consume(&session->in, head_bytes);
	session->scanned = 0;
	/* Between requests and in tunnels no buffer is held. */
	if (buf_len(&session->in) == 0)
		buf_fini(&session->in);
	return head;
}

static enum step check_target(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const struct http_head *head = &exchange->head;
	const struct http_field *host = http_find(head, "host");
	struct http_host named;
	enum err err;

	err = http_target_parse(head->method, head->target, &exchange->arena, &exchange->target);
	if (err == ERR_REQUEST_SCHEME)
		return session_fail(session, err,
		                    "only http:// can be asked for so; https:// goes through CONNECT");
	if (err)
		return session_fail(session, err, "the request target");
	/* An empty Host is what RFC 9112 section 3.2 wants where the target has no authority. */
	if (host && host->value.len &&
	    http_host_parse(host->value, 80, &exchange->arena, &named))
		return session_fail(session, ERR_REQUEST_HOST, "the Host field is no host");
	if (http_via_has(head, session_conf_of(session)->forwarding.via))
		return session_fail(session, ERR_REQUEST_LOOP, "our own name is in Via");
	return session_go(session, SESSION_DECIDE);
}

static enum step on_head(struct session *session, size_t head_bytes)
{
	struct exchange *exchange = exchange_new(session);
	const char *detail = "";
	struct span head;
	enum err err;

	if (exchange == NULL)
		return session_go(session, SESSION_END);
	head = copy_head(session, head_bytes);
	if (head.at == NULL)
		return session_fail(session, ERR_SESSION_MEMORY, "");
	err = http_head_parse_request(head, &exchange->arena, &exchange->head, &detail);
	if (err)
		return session_fail(session, err, detail);
	exchange->is_parsed = true;
	exchange->is_connect = span_equal(exchange->head.method, SPAN("CONNECT"));
	if (session->env->draining)
		exchange->head.keep_alive = false;
	return session->inspect ? session_go(session, SESSION_DECIDE) : check_target(session);
}

/* No HTTP: its client would not read it. A fatal alert, protocol_version (RFC 8446 section 6). */
static enum step refuse_tls(struct session *session)
{
	static const uint8_t alert[] = {0x15, 0x03, 0x01, 0, 2, 2, 70};
	struct exchange *exchange = exchange_new(session);
	size_t taken;

	if (exchange == NULL)
		return session_go(session, SESSION_END);
	exchange->err = ERR_REQUEST_SYNTAX;
	exchange->detail =
		"the client speaks TLS to the proxy; write http:// in its proxy settings";
	session->env->metrics->errors[exchange->err]++;
	access_log_exchange(session);
	exchange_free(session);
	if (stream_write(&session->client, span_of(alert, sizeof(alert)), &taken) > STREAM_AGAIN)
		return session_go(session, SESSION_END);
	return session_go(session, SESSION_LINGER);
}

/* The first byte tells other protocols, and clients that wait for an answer before they send more. */
enum { BYTE_SOCKS4 = 4, BYTE_SOCKS5 = 5, BYTE_TLS = 0x16 };

/* What can be said of a head before it is complete; STEP_WAIT: nothing, read on. */
static enum step check_start(struct session *session, size_t scanned_before)
{
	struct span bytes = buf_span(&session->in);
	const char *detail = "";
	enum err err = ERR_NONE;

	if (bytes.len >= session_conf_of(session)->limits.head_bytes)
		return fail_head(session, ERR_REQUEST_SIZE, "limits.head");
	/* Once: when the end of the first line has come, behind two empty lines at most. */
	if (scanned_before <= 4 && session->scanned > scanned_before)
		err = http_head_check_start(bytes, &detail);
	return err ? fail_head(session, err, detail) : STEP_WAIT;
}

/* Between two requests of an opened session the origin has closed: so do we, and the client sees what it would see without
 * us. */
static bool is_over_inside(const struct session *session)
{
	const struct inspect *inspect = session->inspect;

	return inspect && inspect->err == ERR_NONE && buf_len(&session->in) == 0 && inspect_has_origin_gone(session);
}

enum step step_read_head(struct session *session)
{
	for (;;) {
		size_t scanned_before = session->scanned;
		size_t head_bytes = http_head_find(buf_span(&session->in), &session->scanned);
		uint8_t first_byte = buf_len(&session->in) ? buf_span(&session->in).at[0] : 0;
		enum stream_state state;
		bool first;

		if (first_byte == BYTE_TLS && session->inspect == NULL)
			return refuse_tls(session);
		if (session->inspect == NULL && (first_byte == BYTE_SOCKS4 || first_byte == BYTE_SOCKS5))
			return fail_head(session, ERR_REQUEST_SYNTAX,
			                 "the client speaks SOCKS; this is an HTTP proxy");
		if (head_bytes)
			return on_head(session, head_bytes);
		if (check_start(session, scanned_before) == STEP_NEXT)
			return STEP_NEXT;
		first = buf_len(&session->in) == 0;
		state = request_read_more(session);
		if (state == STREAM_AGAIN)
			return is_over_inside(session) ? session_go(session, SESSION_END) : STEP_WAIT;
		if (state != STREAM_OK)
			return on_client_gone(session, state);
		if (first) /* the clock of a head starts with its first byte and does not start again */
			session_timeout(session, session_conf_of(session)->timeouts.head_ms);
	}
}

/* ---- DECIDE ---- */

static struct span url_of(struct exchange *exchange)
{
	const struct http_host *host = &exchange->target.host;
	bool brackets = host->address.family == AF_INET6;
	char port[8] = "";

	if (host->port != 80)
		snprintf(port, sizeof(port), ":%u", host->port);
	return span_from(arena_printf(&exchange->arena, "http://%s%.*s%s%s%.*s", brackets ? "[" : "",
	                              SPAN_ARG(host->name), brackets ? "]" : "", port,
	                              SPAN_ARG(exchange->target.path)));
}

/* The Host field, where it names another host than the target: both are decided. False: no memory. */
static bool get_other_host(struct exchange *exchange, struct span *out)
{
	const struct http_field *field = http_find(&exchange->head, "host");
	struct http_host host;

	/* It was checked before: what cannot be parsed now is empty, or there is no room for it. */
	if (field == NULL || field->value.len == 0)
		return true;
	if (http_host_parse(field->value, 80, &exchange->arena, &host))
		return false;
	if (!span_equal(host.name, exchange->target.host.name))
		*out = host.name;
	return true;
}

/* A fact that is left out would let pass what a rule on it denies. */
bool request_fill_facts(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct policy_facts *facts = &exchange->facts;

	*facts = (struct policy_facts){
		.from = session->client_address,
		.listener = span_from(session->listener->name),
		.host = exchange->target.host.name,
		.host_address = exchange->target.host.address,
		.port = exchange->target.host.port,
		.method = exchange->head.method,
		.sni = SPAN(""),
		.url = SPAN(""),
		.user = SPAN(""),
		.inner_host = SPAN(""),
		.content_type = SPAN(""),
		.wall_ms = loop_wall_ms(session->env->loop),
		.absent = exchange->is_connect ? 0 : FACT_HELLO,
	};
	if (exchange->identity) {
		facts->known |= FACT_USER;
		facts->user = exchange->identity->user;
		facts->groups = exchange->identity->groups;
		facts->group_count = exchange->identity->group_count;
	}
	if (exchange->is_connect) {
		/* What is asked inside is seen only where the session can be opened. */
		if (!inspect_is_possible(session))
			facts->absent |= (unsigned)FACT_REQUEST | FACT_RESPONSE;
	} else {
		facts->known |= FACT_REQUEST;
		facts->url = url_of(exchange);
		if (facts->url.len == 0 || !get_other_host(exchange, &facts->inner_host))
			return false;
	}
	if (facts->host_address.family) {
		facts->known |= FACT_ADDRESS;
		facts->address = facts->host_address;
	}
	return true;
}

/* Was this entry counted for a question before? One exchange is one hit. */
static bool was_counted(const struct policy_decision *decision, int question)
{
	const struct policy_answer *answer = &decision->answers[question];

	for (int q = 0; q < question; q++)
		if (decision->answers[q].list && decision->answers[q].entry == answer->entry)
			return true;
	return false;
}

void request_count_hits(struct session *session, const struct policy_decision *decision)
{
	const struct session_generation *generation = session->generation;
	uint64_t wall_ms = loop_wall_ms(session->env->loop);
	size_t rows = generation->rule_cells / POLICY_QUESTION_COUNT, defaults = rows - 1;

	if (rows == 0)
		return; /* nobody counts */
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		const struct policy_answer *answer = &decision->answers[q];
		size_t row = answer->rule == POLICY_NO_RULE ? defaults : answer->rule;

		if (row > defaults || (decision->open >> q & 1))
			continue;
		atomic_fetch_add_explicit(&generation->rule_hits[row * POLICY_QUESTION_COUNT + (size_t)q], 1,
		                          memory_order_relaxed);
		if (answer->list && answer->entry < generation->entry_cells && !was_counted(decision, q))
			policy_hits_add(&generation->entry_hits[answer->entry], wall_ms);
	}
}

static bool deny(struct session *session, enum policy_question question, enum err err)
{
	struct exchange *exchange = session->exchange;
	const char *detail;
	struct buf text;

	buf_init(&text, 1024);
	policy_say_refusal(session->generation->policy, &exchange->facts, question,
	                   &exchange->decision.answers[question], &text);
	detail = arena_string(&exchange->arena, buf_span(&text));
	buf_fini(&text);
	exchange->denied_by = question;
	request_count_hits(session, &exchange->decision);
	if (err == ERR_POLICY_DENIED)
		session->env->metrics->denied_total++;
	session_fail(session, err, detail ? detail : "");
	return false;
}

/* Where nobody has to say who it is, it stays unknown. */
static void decide(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct policy_decision *decision = &exchange->decision;

	policy_decide(session->generation->policy, &exchange->facts, decision);
	exchange->is_decided = true;
	if ((decision->need & (FACT_REQUEST | FACT_RESPONSE)) && !(decision->open >> POLICY_TLS & 1) &&
	    decision->answers[POLICY_TLS].answer == TLS_BYPASS) {
		exchange->facts.absent |= (unsigned)FACT_REQUEST | FACT_RESPONSE;
		policy_decide(session->generation->policy, &exchange->facts, decision);
	}
	if (exchange->identity || (exchange->facts.absent & FACT_USER) || (decision->open >> POLICY_AUTH & 1) ||
	    decision->answers[POLICY_AUTH].answer != AUTH_EXEMPT)
		return;
	exchange->facts.absent |= FACT_USER;
	if (session->generation->asks_user)
		policy_decide(session->generation->policy, &exchange->facts, decision);
}

/* Asked once, when the exchange begins: a policy that changes meanwhile asks the next one. */
static bool must_ask(const struct session *session)
{
	const struct exchange *exchange = session->exchange;

	return session->state == SESSION_DECIDE && exchange->tried == AUTH_SCHEME_COUNT &&
	       exchange->decision.answers[POLICY_AUTH].answer == AUTH_REQUIRED && exchange->identity == NULL;
}

bool request_decide(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct policy_decision *decision = &exchange->decision;

	decide(session);
	if (!(decision->open >> POLICY_ACCESS & 1) &&
	    decision->answers[POLICY_ACCESS].answer == ACCESS_DENY)
		return deny(session, POLICY_ACCESS, ERR_POLICY_DENIED);
	if (must_ask(session)) {
		session_go(session, SESSION_AUTHENTICATE);
		return false;
	}
	if (exchange->is_connect && !inspect_is_possible(session) && !(decision->open >> POLICY_TLS & 1) &&
	    decision->answers[POLICY_TLS].answer == TLS_INSPECT)
		return deny(session, POLICY_TLS, ERR_INSPECT_UNAVAILABLE);
	return true;
}

/* Requests to the proxy itself, and those that end here by Max-Forwards. */
static bool is_for_us(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const struct http_field *field = http_find(&exchange->head, "max-forwards");
	bool counts = span_equal(exchange->head.method, SPAN("TRACE")) ||
	              span_equal(exchange->head.method, SPAN("OPTIONS"));

	if (exchange->target.form == HTTP_TARGET_ORIGIN ||
	    exchange->target.form == HTTP_TARGET_ASTERISK)
		return true;
	return counts && field && span_equal(field->value, SPAN("0"));
}

static bool is_page(struct span path)
{
	static const char *const pages[] = {"/proxy.pac", "/wpad.dat", "/ca", "/ca.pem", "/ca.crt", "/ca.crl"};

	for (size_t i = 0; i < COUNT_OF(pages); i++)
		if (span_equal(path, span_from(pages[i])))
			return true;
	return false;
}

/* The PAC file or the CA's certificate, asked of the proxy itself; or whatever the URL is asked for by which clients know the public role. */
static bool is_for_pages(const struct session *session)
{
	const struct session_generation *generation = session->generation;
	const struct exchange *exchange = session->exchange;
	const struct http_host *host = &exchange->target.host, *url = &generation->pages_url;
	struct span path = span_first(exchange->target.path, span_find(exchange->target.path, '?'));

	if (!generation->has_pages || exchange->is_connect ||
	    span_equal(exchange->head.method, SPAN("TRACE")) ||
	    span_equal(exchange->head.method, SPAN("OPTIONS")))
		return false;
	if (exchange->target.form == HTTP_TARGET_ORIGIN)
		return is_page(path);
	return url->name.len && span_equal(host->name, url->name) && host->port == url->port;
}

enum step step_decide(struct session *session)
{
	if (session->inspect)
		return inspect_check_request(session) ? relay_start(session) : STEP_NEXT;
	if (is_for_pages(session)) {
		/* No question of policy: whoever may connect may know how. */
		session->exchange->is_for_pages = true;
		return session_go(session, SESSION_DIAL);
	}
	if (is_for_us(session))
		return session_go(session, SESSION_REFUSE);
	authenticate_use_connection(session);
	if (!request_fill_facts(session))
		return session_fail(session, ERR_SESSION_MEMORY, "limits.session_memory");
	if (!request_decide(session))
		return STEP_NEXT;
	return session_go(session, SESSION_RESOLVE);
}
