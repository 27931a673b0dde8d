/* SPDX-License-Identifier: Apache-2.0 */
/* RESOLVE and DIAL: from a host to a connection. Every address is checked before it is dialled, and
 * what was checked is what is dialled. */
#include "session/inspect.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/socket.h"

static uint32_t since(const struct session *session, uint64_t ms)
{
	return (uint32_t)(loop_now_ms(session->env->loop) - ms);
}

/* Keep the addresses that guard and policy allow. *why is the guard's reason for the last refused. */
static bool filter(struct session *session, const struct resolve_answer *answer, const char **why)
{
	struct exchange *exchange = session->exchange;
	struct session_env *env = session->env;
	bool asks_address = exchange->decision.need & FACT_ADDRESS;
	struct policy_decision kept;

	exchange->address_count = 0;
	for (size_t i = 0; i < answer->count; i++) {
		struct address address = answer->at[i];

		address.port = exchange->target.host.port;
		if (!guard_allows(session->generation->destinations, env->own, env->own_count, &address,
		                  why)) {
			exchange->refused = address;
			continue;
		}
		if (asks_address) {
			exchange->facts.known |= FACT_ADDRESS;
			exchange->facts.address = address;
			policy_decide(session->generation->policy, &exchange->facts,
			              &exchange->decision);
			if (!(exchange->decision.open >> POLICY_ACCESS & 1) &&
			    exchange->decision.answers[POLICY_ACCESS].answer == ACCESS_DENY)
				continue;
			/* One set of answers holds for all that are dialled: those of the first. */
			if (exchange->address_count &&
			    (kept.answers[POLICY_TLS].answer !=
			             exchange->decision.answers[POLICY_TLS].answer ||
			     kept.answers[POLICY_AUTH].answer !=
			             exchange->decision.answers[POLICY_AUTH].answer))
				continue;
			if (exchange->address_count == 0)
				kept = exchange->decision;
		}
		exchange->addresses[exchange->address_count++] = address;
	}
	if (asks_address && exchange->address_count) {
		exchange->decision = kept;
		exchange->facts.address = exchange->addresses[0];
	}
	return exchange->address_count > 0;
}

static enum step on_answer(struct session *session, const struct resolve_answer *answer)
{
	struct exchange *exchange = session->exchange;
	bool asks_address = exchange->decision.need & FACT_ADDRESS;
	const char *why = NULL;

	if (exchange->target.host.address.family == 0)
		exchange->timing.dns_ms = since(session, exchange->started_ms);
	if (answer->cached)
		session->env->metrics->dns_hits_total++;
	else
		session->env->metrics->dns_queries_total =
			resolver_queries_count(session->env->resolver);
	if (answer->err)
		return session_fail(session, answer->err, "");
	exchange->is_resolved = true;
	if (!filter(session, answer, &why)) {
		if (why == NULL && asks_address)
			return request_decide(session) ? session_fail(session, ERR_INTERNAL, "")
			                               : STEP_NEXT;
		return session_fail(session, ERR_DESTINATION_DENIED, why);
	}
	/* With the address, questions that waited for it are answered now. */
	if (asks_address && !request_decide(session))
		return STEP_NEXT;
	request_count_hits(session, &exchange->decision);
	return session_go(session, SESSION_DIAL);
}

static void on_resolved(void *context, const struct resolve_answer *answer)
{
	struct session *session = context;

	session->exchange->query = NULL;
	on_answer(session, answer);
	session_run(session);
}

enum step step_resolve(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct resolve_answer answer;
	enum err err;

	if (exchange->query)
		return STEP_WAIT;
	if (exchange->is_resolved)
		return session_go(session, SESSION_DIAL);
	if (resolve_now(session->env->resolver, exchange->target.host.name, &answer))
		return on_answer(session, &answer);
	err = resolve_name(session->env->resolver, exchange->target.host.name, on_resolved, session,
	                   &exchange->query);
	if (err)
		return session_fail(session, err == ERR_LIMIT ? ERR_DNS_FAILED : ERR_SESSION_MEMORY,
		                    err == ERR_LIMIT ? "too many names are asked for at once" : "");
	return STEP_WAIT;
}

/* ---- DIAL ---- */

/* The client was told 200: from here on its bytes are the tunnel's, or they are looked at. */
static enum step on_connected(struct session *session, struct span unsent)
{
	struct exchange *exchange = session->exchange;
	struct policy_decision *decision = &exchange->decision;
	bool is_bypassed = !(decision->open >> POLICY_TLS & 1) && !(decision->open >> POLICY_ACCESS & 1) &&
	                   decision->answers[POLICY_TLS].answer == TLS_BYPASS;
	bool is_media = !(decision->open >> POLICY_CLASS & 1) && decision->answers[POLICY_CLASS].answer == CLASS_MEDIA;
	struct span first[2] = {[PUMP_CLIENT] = buf_span(&session->in), [PUMP_ORIGIN] = unsent};

	/* Media is never held: whatever waits for its ClientHello is answered as if there were none. */
	if (is_bypassed && is_media && decision->open) {
		exchange->facts.absent |= FACT_HELLO;
		policy_decide(session->generation->policy, &exchange->facts, decision);
	}
	if (is_bypassed && (is_media || decision->open == 0))
		return tunnel_start(session, first, !is_media);
	if (inspect_new(session))
		return session_go(session, SESSION_END);
	buf_add(&exchange->to_client, unsent);
	return inspect_start(session);
}

/* Bytes of a client that is served before its tunnel stands stay where they are. */
static enum step on_origin_stands(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct span reply = SPAN("HTTP/1.1 200 Connection established\r\n\r\n"), first[2];
	size_t taken;

	if (!exchange->is_connect)
		return relay_start(session);
	if (session->inspect) { /* once more, and untouched */
		first[PUMP_CLIENT] = buf_span(&session->in);
		first[PUMP_ORIGIN] = SPAN("");
		return tunnel_start(session, first, false);
	}
	exchange->status = 200;
	if (exchange->success.len)
		reply = span_from(arena_printf(&exchange->arena, "HTTP/1.1 200 Connection established\r\n%.*s\r\n",
		                               SPAN_ARG(exchange->success)));
	if (reply.len == 0)
		return session_fail(session, ERR_SESSION_MEMORY, "limits.session_memory");
	if (stream_write(&session->client, reply, &taken) > STREAM_AGAIN)
		return session_fail(session, ERR_CLIENT_RESET, "");
	return on_connected(session, span_skip(reply, taken));
}

/* The rule names an address that is not, or no longer, one of this host. */
static enum step fail_source(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const char *detail;
	struct buf text;

	buf_init(&text, 128);
	buf_add_string(&text, "the rule's source address ");
	address_format(&exchange->decision.route_source, &text);
	buf_add_string(&text, " is not on this host");
	detail = arena_string(&exchange->arena, buf_span(&text));
	buf_fini(&text);
	exchange->denied_by = POLICY_ROUTE;
	return session_fail(session, ERR_ROUTE_SOURCE, detail);
}

static void on_dialled(void *context, const struct dial_result *result)
{
	struct session *session = context;
	struct exchange *exchange = session->exchange;
	enum err err = result->err;

	exchange->dial = NULL;
	if (err == ERR_NONE) {
		exchange->origin = result->address;
		exchange->timing.connect_ms = since(session, exchange->started_ms) -
		                              (exchange->timing.dns_ms == ABSENT_MS
		                                       ? 0
		                                       : exchange->timing.dns_ms);
		if (session_conf_of(session)->limits.kernel_buffer_bytes)
			socket_set_buffers(result->stream->io.fd, session_conf_of(session)->limits.kernel_buffer_bytes);
		origin_use(session, result->stream);
	}
	if (err == ERR_NONE)
		on_origin_stands(session);
	else if (err == ERR_ROUTE_SOURCE)
		fail_source(session);
	else
		session_fail(session, err == ERR_ORIGIN_RESET ? ERR_ORIGIN_REFUSED : err, "");
	session_run(session);
}

/* A source address is a promise about where connections come from: one of the other family would
 * come from elsewhere. */
static void keep_family(struct exchange *exchange, uint16_t family)
{
	size_t kept = 0;

	for (size_t i = 0; i < exchange->address_count; i++)
		if (exchange->addresses[i].family == family)
			exchange->addresses[kept++] = exchange->addresses[i];
	exchange->address_count = kept;
}

/* To a role of our own, which is told by us, and by nobody else, who the client is. */
static enum step dial_pages(struct session *session)
{
	struct session_env *env = session->env;
	int fd = env->open_pages ? env->open_pages(env->context, &session->client_address) : -1;
	struct stream *stream = fd < 0 ? NULL : calloc(1, origin_bytes);

	if (stream == NULL || stream_open_plain(stream, env->loop, fd, on_origin_ready)) {
		if (fd >= 0)
			close(fd);
		free(stream);
		return session_fail(session, ERR_PAGES_BUSY, "");
	}
	origin_use(session, stream);
	return on_origin_stands(session);
}

enum step step_dial(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const struct policy_answer *route = &exchange->decision.answers[POLICY_ROUTE];
	const struct address *source =
		route->answer == ROUTE_SOURCE ? &exchange->decision.route_source : NULL;
	enum err err;

	if (exchange->dial)
		return STEP_WAIT;
	if (exchange->is_for_pages)
		return dial_pages(session);
	if (source)
		keep_family(exchange, source->family);
	if (exchange->address_count == 0)
		return session_fail(session, ERR_ORIGIN_UNREACHABLE,
		                    "no address of the family of the route's source");
	if (!exchange->is_connect && !exchange->was_retried && origin_pool_take(session)) {
		exchange->is_reused = true;
		session->env->metrics->origin_reused_total++;
		return on_origin_stands(session);
	}
	session->env->metrics->dials_total++;
	err = dial_start(session->env->loop, exchange->addresses, exchange->address_count, source,
	                 session->generation->dns->attempt_delay_ms, origin_bytes, on_dialled,
	                 session, &exchange->dial);
	return err ? session_fail(session, ERR_SESSION_MEMORY, "") : STEP_WAIT;
}

void on_origin_ready(struct stream *stream, unsigned events)
{
	(void)events;
	session_run(stream->owner);
}
