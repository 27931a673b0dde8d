/* SPDX-License-Identifier: Apache-2.0 */
/* Requests inside an opened session: SNIFF finds out whether it is HTTP, and each request is held against policy and against
 * the certificate that the origin was verified by. */
#include "session/inspect.h"

#include <stdio.h>

/* ---- SNIFF ---- */

static enum step tunnel_inside(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct span first[2] = {[PUMP_CLIENT] = buf_span(&session->in), [PUMP_ORIGIN] = SPAN("")};

	exchange->status = 200;
	session->inspect->is_opaque = true;
	return tunnel_start(session, first, false);
}

/* The exchange of the CONNECT once more, to decide on what is inside. */
static bool make_exchange(struct session *session)
{
	struct exchange *exchange = exchange_new(session);
	const struct inspect *inspect = session->inspect;

	if (exchange == NULL)
		return false;
	exchange->is_connect = true;
	exchange->is_parsed = true;
	exchange->head = (struct http_head){.is_request = true, .minor = 1, .method = SPAN("CONNECT")};
	exchange->target.form = HTTP_TARGET_AUTHORITY;
	exchange->target.host = inspect->authority;
	exchange->head.target = span_from(arena_printf(&exchange->arena, "%.*s:%u", SPAN_ARG(inspect->authority.name),
	                                               inspect->authority.port));
	exchange->origin = inspect->origin;
	exchange->identity = inspect->identity ? identity_ref(inspect->identity) : NULL;
	return exchange->head.target.len > 0;
}

static enum step on_opaque(struct session *session)
{
	struct exchange *exchange;
	const struct policy_decision *decision;

	if (!make_exchange(session))
		return session_go(session, SESSION_END);
	exchange = session->exchange;
	decision = &exchange->decision;
	inspect_decide(session);
	if (!(decision->open >> POLICY_OPAQUE & 1) && decision->answers[POLICY_OPAQUE].answer == OPAQUE_TUNNEL)
		return tunnel_inside(session);
	exchange->denied_by = POLICY_OPAQUE;
	exchange->err = ERR_NONE;
	return session_fail(session, ERR_OPAQUE_DENIED,
	                    arena_printf(&exchange->arena, "what is inside TLS is %s; question opaque says deny",
	                                 hello_class_name(session->inspect->class)));
}

/* Without ALPN the bytes say what they are; who speaks first, or ends it, may be the origin. */
enum step step_sniff(struct session *session)
{
	struct inspect *inspect = session->inspect;

	for (;;) {
		struct span bytes = buf_span(&session->in);
		enum hello_state said = bytes.len ? hello_read(&inspect->hello, bytes) : HELLO_MORE;
		enum stream_state state;

		inspect->class = inspect->hello.class;
		if (said != HELLO_MORE) {
			hello_fini(&inspect->hello);
			return said == HELLO_OTHER && inspect->class == HELLO_HTTP ? session_go(session, SESSION_READ_HEAD) : on_opaque(session);
		}
		state = request_read_more(session);
		if (state != STREAM_AGAIN && state != STREAM_OK) {
			pins_note_silence(session);
			return session_go(session, SESSION_END);
		}
		if (state == STREAM_AGAIN && bytes.len == 0 && inspect_has_origin_gone(session)) {
			inspect->class = HELLO_SERVER_FIRST;
			return on_opaque(session);
		}
		if (state == STREAM_AGAIN)
			return STEP_WAIT;
		pins_note_success(session);
	}
}

/* ---- requests ---- */

static struct span url_of(const struct session *session)
{
	struct exchange *exchange = session->exchange;
	const struct http_host *host = &exchange->target.host;
	bool is_plain = session->inspect->is_plain, brackets = host->address.family == AF_INET6;
	char port[8] = "";

	if (host->port != (is_plain ? 80 : 443))
		snprintf(port, sizeof(port), ":%u", host->port);
	return span_from(arena_printf(&exchange->arena, "%s://%s%.*s%s%s%.*s", is_plain ? "http" : "https", brackets ? "[" : "",
	                              SPAN_ARG(host->name), brackets ? "]" : "", port, SPAN_ARG(exchange->target.path)));
}

/* False: no memory. */
static bool fill_facts(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const struct inspect *inspect = session->inspect;
	struct policy_facts *facts = &exchange->facts;

	*facts = (struct policy_facts){
		.from = session->client_address,
		.listener = span_from(session->listener->name),
		.host = inspect->authority.name,
		.host_address = inspect->authority.address,
		.port = inspect->authority.port,
		.method = exchange->head.method,
		.sni = inspect->sni,
		.url = SPAN(""),
		.user = SPAN(""),
		.inner_host = SPAN(""),
		.content_type = SPAN(""),
		.wall_ms = loop_wall_ms(session->env->loop),
		.known = FACT_ADDRESS,
		.address = inspect->origin,
	};
	if (inspect->sni.len)
		facts->known |= FACT_HELLO;
	else
		facts->absent |= FACT_HELLO;
	if (exchange->identity) {
		facts->known |= FACT_USER;
		facts->user = exchange->identity->user;
		facts->groups = exchange->identity->groups;
		facts->group_count = exchange->identity->group_count;
	} else {
		facts->absent |= FACT_USER;
	}
	if (exchange->is_connect) { /* what is no HTTP */
		facts->absent |= (unsigned)FACT_REQUEST | FACT_RESPONSE;
		return true;
	}
	facts->known |= FACT_REQUEST;
	facts->url = url_of(session);
	if (!span_equal(exchange->target.host.name, inspect->authority.name))
		facts->inner_host = exchange->target.host.name;
	return facts->url.len > 0;
}

/* A host that the session is not with, but that the verified certificate covers, is the origin's own business. */
static bool is_host_of_session(const struct session *session)
{
	const struct inspect *inspect = session->inspect;
	const struct http_host *host = &session->exchange->target.host;
	SSL *ssl = session->origin ? tls_stream_ssl(session->origin) : NULL;

	if (span_equal(host->name, inspect->authority.name) || span_equal(host->name, inspect->sni))
		return host->port == inspect->authority.port;
	return host->port == inspect->authority.port && ssl && inspect->was_verified &&
	       trust_covers(SSL_get0_peer_certificate(ssl), host->name, &host->address);
}

static enum err deny(struct session *session, enum err err, const char *detail)
{
	struct exchange *exchange = session->exchange;

	exchange->err = err;
	exchange->detail = detail ? detail : "";
	return err;
}

static enum err deny_by_policy(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const char *detail;
	struct buf text;

	buf_init(&text, 1024);
	policy_say_refusal(session->generation->policy, &exchange->facts, POLICY_ACCESS, &exchange->decision.answers[POLICY_ACCESS],
	                   &text);
	detail = arena_string(&exchange->arena, buf_span(&text));
	buf_fini(&text);
	exchange->denied_by = POLICY_ACCESS;
	session->env->metrics->denied_total++;
	return deny(session, ERR_POLICY_DENIED, detail);
}

enum err inspect_decide(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct inspect *inspect = session->inspect;
	struct policy_decision *decision = &exchange->decision;

	if (exchange->identity == NULL && inspect->identity)
		exchange->identity = identity_ref(inspect->identity);
	exchange->origin = inspect->origin;
	if (!fill_facts(session))
		return deny(session, ERR_SESSION_MEMORY, "limits.session_memory");
	if (inspect->err) {
		exchange->decision = inspect->decision;
		exchange->denied_by = inspect->denied_by;
		exchange->is_decided = inspect->err == ERR_POLICY_DENIED;
		return deny(session, inspect->err, inspect->detail);
	}
	policy_decide(session->generation->policy, &exchange->facts, decision);
	exchange->is_decided = true;
	request_count_hits(session, decision);
	if (decision->answers[POLICY_ACCESS].answer == ACCESS_DENY && !(decision->open >> POLICY_ACCESS & 1))
		return deny_by_policy(session);
	if (!exchange->is_connect && !inspect->is_plain && !is_host_of_session(session))
		return deny(session, ERR_INNER_HOST,
		            arena_printf(&exchange->arena, "%.*s:%u is neither %.*s:%u nor in the origin's certificate",
		                         SPAN_ARG(exchange->target.host.name), exchange->target.host.port,
		                         SPAN_ARG(inspect->authority.name), inspect->authority.port));
	if (!exchange->is_connect && inspect->is_plain && !span_equal(exchange->target.host.name, inspect->authority.name))
		return deny(session, ERR_INNER_HOST,
		            arena_printf(&exchange->arena, "the session is with %.*s", SPAN_ARG(inspect->authority.name)));
	return ERR_NONE;
}

/* A request to a server, not to a proxy: origin form, and Host says whom it is for (RFC 9112 section 3.2.1). */
bool inspect_check_request(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct inspect *inspect = session->inspect;
	const struct http_field *host = http_find(&exchange->head, "host");
	enum err err;

	if (inspect->request_count++ == 0)
		pins_note_success(session);
	if (exchange->is_connect) {
		exchange->is_connect = false;
		session_fail(session, ERR_REQUEST_METHOD, "CONNECT inside an opened session");
		return false;
	}
	if (http_target_parse(exchange->head.method, exchange->head.target, &exchange->arena, &exchange->target) ||
	    (exchange->target.form != HTTP_TARGET_ORIGIN && exchange->target.form != HTTP_TARGET_ASTERISK)) {
		session_fail(session, ERR_REQUEST_TARGET, "inside an opened session, a path is asked for");
		return false;
	}
	exchange->target.host = inspect->authority;
	if (host && host->value.len &&
	    http_host_parse(host->value, inspect->authority.port, &exchange->arena, &exchange->target.host)) {
		session_fail(session, ERR_REQUEST_HOST, "the Host field is no host");
		return false;
	}
	err = inspect_decide(session);
	if (err)
		session_fail(session, err, exchange->detail);
	return err == ERR_NONE;
}

/* ---- between requests ---- */

/* What it may have said, closing included, is looked at without being taken. */
bool inspect_has_origin_gone(const struct session *session)
{
	struct stream *origin = session->origin;

	if (origin == NULL || !stream_is_open(origin))
		return true;
	if (!(origin->ready & (LOOP_READABLE | LOOP_PEER_CLOSED | LOOP_BROKEN)))
		return false;
	return tls_stream_has_ended(origin);
}
