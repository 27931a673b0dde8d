/* SPDX-License-Identifier: Apache-2.0 */
/* REFUSE and LINGER: replies of our own, and closing so that they arrive. */
#include "net/socket.h"
#include "session/inspect.h"

enum { QUOTE_MAX_BYTES = 4096 };

/* After these it is still clear where the next request begins; after all others it is not. */
static const bool keeps_framing[ERR_COUNT] = {
	[ERR_NONE] = true,
	[ERR_POLICY_DENIED] = true,
	[ERR_DESTINATION_DENIED] = true,
	[ERR_INSPECT_UNAVAILABLE] = true,
	[ERR_AUTH_REQUIRED] = true,
	[ERR_AUTH_LEG] = true,
	[ERR_AUTH_REFUSED] = true,
	[ERR_AUTH_NOT_OFFERED] = true,
	[ERR_AUTH_THROTTLED] = true,
	[ERR_AUTH_UNAVAILABLE] = true,
	[ERR_AUTH_TIMEOUT] = true,
	[ERR_ROUTE_SOURCE] = true,
	[ERR_DNS_NOT_FOUND] = true,
	[ERR_DNS_FAILED] = true,
	[ERR_DNS_TIMEOUT] = true,
	[ERR_ORIGIN_REFUSED] = true,
	[ERR_ORIGIN_UNREACHABLE] = true,
	[ERR_ORIGIN_CONNECT_TIMEOUT] = true,
	[ERR_ORIGIN_RESET] = true,
	[ERR_ORIGIN_CLOSED] = true,
	[ERR_RESPONSE_SYNTAX] = true,
	[ERR_PAGES_BUSY] = true,
	[ERR_RESPONSE_FRAMING] = true,
	[ERR_RESPONSE_SIZE] = true,
	[ERR_RESPONSE_TIMEOUT] = true,
	[ERR_UPGRADE_FAILED] = true,
	[ERR_REQUEST_SCHEME] = true,
	[ERR_REQUEST_LOOP] = true,
	[ERR_INNER_HOST] = true,
};

static bool is_about_auth(enum err err)
{
	return err >= ERR_AUTH_REQUIRED && err <= ERR_AUTH_TIMEOUT;
}

/* Does the client want to go on? What a CONNECT says of its connection is meant for the tunnel, and a talk of several
 * legs ends where the connection does. */
static bool wants_to_go_on(const struct exchange *exchange)
{
	return exchange->head.keep_alive || (exchange->is_connect && is_about_auth(exchange->err));
}

/* Content of a refused request is read and dropped, if it is not too much. A client that waits for 100 may send it or
 * not: nobody could tell. */
static bool can_drain(const struct session *session)
{
	const struct http_head *head = &session->exchange->head;

	if (head->framing == HTTP_NO_BODY)
		return true;
	return !head->expect_continue &&
	       (head->framing != HTTP_LENGTH || head->body_bytes <= session_conf_of(session)->limits.drain_bytes);
}

/* Policy refused the response to a request that has come whole. */
static bool is_all_read(const struct exchange *exchange)
{
	return exchange->err == ERR_POLICY_DENIED && exchange->up.done;
}

/* Can the connection be used for another request after this reply? */
static bool can_keep(const struct session *session)
{
	const struct exchange *exchange = session->exchange;

	/* Inside, what was wrong with the origin stays wrong; and one that was closed for this reply is gone. */
	if (session->inspect && (session->inspect->err || session->origin == NULL || !stream_is_open(session->origin)))
		return false;
	if (!exchange->is_parsed || !wants_to_go_on(exchange) || !keeps_framing[exchange->err] ||
	    session->env->draining || session->client_ended)
		return false;
	/* Where the response was begun, its content may be on its way. */
	if (!can_drain(session) || (exchange->head.framing != HTTP_NO_BODY && exchange->bytes_up && !is_all_read(exchange)))
		return false;
	/* What follows a CONNECT was for its tunnel. */
	return !exchange->is_connect || buf_len(&session->in) == 0;
}

/* In the words of explain. */
static void quote_decision(struct session *session, struct http_reply *reply)
{
	struct exchange *exchange = session->exchange;
	const struct policy_answer *answer = access_refusing_answer(exchange);
	const struct policy *policy = session->generation->policy;
	struct buf text;

	reply->why = reason_name(access_reason(exchange));
	if (answer == NULL)
		return;
	buf_init(&text, QUOTE_MAX_BYTES);
	policy_say_rule(policy, answer, &text);
	reply->rule = span_from(arena_string(&exchange->arena, buf_span(&text)));
	buf_reset(&text);
	policy_say_entry(policy, answer, &text);
	reply->entry = span_from(arena_string(&exchange->arena, buf_span(&text)));
	buf_fini(&text);
}

/* As it is asked for: the port may be what is denied. */
static struct span authority_of(struct exchange *exchange)
{
	const struct http_host *host = &exchange->target.host;
	bool brackets = host->address.family == AF_INET6;

	if (!exchange->is_parsed || host->name.len == 0)
		return SPAN("");
	return span_from(arena_printf(&exchange->arena, "%s%.*s%s:%u", brackets ? "[" : "",
	                              SPAN_ARG(host->name), brackets ? "]" : "", host->port));
}

/* What would have to be permitted: people asked for a name. */
static struct span refused_address(struct exchange *exchange)
{
	struct buf text;
	char *shown;

	if (exchange->err != ERR_DESTINATION_DENIED)
		return SPAN("");
	buf_init(&text, 64);
	address_format(&exchange->refused, &text);
	shown = arena_string(&exchange->arena, buf_span(&text));
	buf_fini(&text);
	return span_from(shown);
}

/* What TRACE gives back is the request without what is secret (RFC 9110 section 9.3.8). */
static void write_trace(struct exchange *exchange, struct buf *out)
{
	static const char *const secret[] = {"authorization", "proxy-authorization", "cookie"};
	struct buf echo;

	buf_init(&echo, 1 << 20);
	buf_add(&echo, exchange->head.method);
	buf_add_byte(&echo, ' ');
	buf_add(&echo, exchange->head.target);
	buf_printf(&echo, " HTTP/1.%u\r\n", exchange->head.minor);
	for (size_t i = 0; i < exchange->head.field_count; i++) {
		const struct http_field *field = &exchange->head.fields[i];
		bool hide = false;

		for (size_t j = 0; j < COUNT_OF(secret); j++)
			hide |= span_equal_nocase(field->name, span_from(secret[j]));
		if (!hide)
			buf_printf(&echo, "%.*s: %.*s\r\n", SPAN_ARG(field->name),
			           SPAN_ARG(field->value));
	}
	buf_add(&echo, SPAN("\r\n"));
	buf_printf(out, "HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: %zu\r\n"
	                "Connection: %s\r\n\r\n", buf_len(&echo),
	           exchange->head.keep_alive ? "keep-alive" : "close");
	buf_add(out, buf_span(&echo));
	buf_fini(&echo);
}

static void describe_ourselves(struct exchange *exchange, struct http_reply *reply)
{
	bool options = span_equal(exchange->head.method, SPAN("OPTIONS"));
	bool root = span_equal(exchange->target.path, SPAN("/"));

	reply->status = root || options ? 200 : 404;
	reply->title = SPAN("This is a proxy");
	reply->text = SPAN("Programs reach the web through it: set its address and port as the HTTP "
	                   "proxy in the settings of your system or program. It has no pages of its own");
	if (options)
		reply->fields = SPAN("Allow: GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH\r\n");
}

void refuse_write(struct session *session)
{
	struct exchange *exchange = session->exchange;
	char id[48];
	struct http_reply reply = {
		.status = err_status(exchange->err),
		.err = exchange->err,
		.proxy_name = session_conf_of(session)->forwarding.via,
		.id = session_id_text(session, id),
		/* Whether it was the user or the password is nobody's to know. */
		.detail = is_about_auth(exchange->err) ? "" : exchange->detail,
		.authority = authority_of(exchange),
		.address = refused_address(exchange),
		.why = "",
		.rule = SPAN(""),
		.entry = SPAN(""),
		.fields = exchange->challenge.len ? exchange->challenge : exchange->success,
		.title = SPAN(""),
		.text = SPAN(""),
		.html = exchange->is_parsed && http_wants_html(&exchange->head),
		.keep_alive = can_keep(session),
		.head_only = exchange->is_parsed && span_equal(exchange->head.method, SPAN("HEAD")),
	};

	if (exchange->err == ERR_NONE)
		describe_ourselves(exchange, &reply);
	else
		quote_decision(session, &reply);
	exchange->status = reply.status;
	exchange->head.keep_alive = reply.keep_alive;
	/* Interim responses that the client has not got yet, or half, go before it. */
	if (exchange->err == ERR_NONE && span_equal(exchange->head.method, SPAN("TRACE"))) {
		exchange->status = 200;
		write_trace(exchange, &exchange->to_client);
	} else {
		http_write_reply(&reply, loop_wall_ms(session->env->loop), &exchange->to_client);
	}
	session->env->metrics->replies_total++;
}

/* Has the request, or a part of it, been sent to the origin? */
static bool was_relayed(const struct exchange *exchange)
{
	return exchange->up.framing != HTTP_NO_BODY || exchange->up.done;
}

enum step step_refuse(struct session *session)
{
	struct exchange *exchange = session->exchange;
	enum stream_state state;
	size_t taken;
	bool keep;

	/* Of an opened session it stays, where nothing of the request has gone there. */
	if (session->inspect == NULL || was_relayed(exchange))
		origin_close(session, false);
	resolve_cancel(exchange->query);
	dial_cancel(exchange->dial);
	exchange->query = NULL;
	exchange->dial = NULL;
	if (exchange->is_asking)
		dialog_cancel(session->dialog);
	exchange->is_asking = false;
	if (exchange->status == 0)
		refuse_write(session);
	while (buf_len(&exchange->to_client)) {
		state = stream_write(&session->client, buf_span(&exchange->to_client), &taken);
		if (state == STREAM_AGAIN)
			return STEP_WAIT;
		if (state != STREAM_OK)
			return session_go(session, SESSION_END);
		exchange->bytes_down += taken;
		buf_consume(&exchange->to_client, taken);
	}
	keep = exchange->head.keep_alive;
	access_log_exchange(session);
	if (keep && exchange->head.framing != HTTP_NO_BODY)
		return session_go(session, SESSION_DRAIN);
	exchange_free(session);
	return session_go(session, keep ? SESSION_READ_HEAD : SESSION_LINGER);
}

enum step step_drain(struct session *session)
{
	enum stream_state state = relay_drain(session);

	if (state == STREAM_AGAIN)
		return STEP_WAIT;
	exchange_free(session);
	if (state == STREAM_OK)
		return session_go(session, SESSION_READ_HEAD);
	/* Longer than was said, or no chunks: where the next request begins is not known. */
	return session_go(session, SESSION_LINGER);
}

/* Closing while bytes of the client are unread would send RST, and RST may overtake our reply: so
 * FIN first, then what comes is read and dropped until the client closes (RFC 9112 section 9.6). */
enum step step_linger(struct session *session)
{
	size_t len, got;
	uint8_t *scratch = loop_scratch(session->env->loop, &len);
	enum stream_state state;

	if (!session->has_shut) {
		session->has_shut = true;
		buf_fini(&session->in);
		if (session->client.ops->shutdown(&session->client) != STREAM_OK)
			return session_go(session, SESSION_END);
	}
	do {
		state = stream_read(&session->client, scratch, len, &got);
		session->lingered_bytes += got;
		if (session->lingered_bytes > session_conf_of(session)->limits.drain_bytes)
			return session_go(session, SESSION_END);
	} while (state == STREAM_OK);
	return state == STREAM_AGAIN ? STEP_WAIT : session_go(session, SESSION_END);
}

/* Closed now, a client that goes on to say what it has taken (WINDOW_UPDATE) would be answered with a reset, which drops the rest. */
bool linger_goes_on(struct session *session)
{
	if (socket_is_sent(session->client.io.fd) || !session_is_taken(session))
		return false;
	session_timeout(session, session_conf_of(session)->timeouts.half_close_ms);
	return true;
}
