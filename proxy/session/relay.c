/* SPDX-License-Identifier: Apache-2.0 */
/* RELAY: one exchange over http://. Content is taken out of the framing of one side and put into
 * that of the other, so nothing ambiguous can pass; both directions are bounded and stop reading when
 * the other side is slow. */
#include "session/session_private.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "net/socket.h"
#include "session/inspect.h"

enum {
	BUDGET_BYTES = 1 << 20,      /* in one turn */
	TLS_COSTS = 4,               /* times what plain bytes cost: decrypted and encrypted */
	INTERIM_MAX_BYTES = 1 << 20, /* more than any origin has to say before it answers */
	PAGES_MS = 10000,            /* for the role public to answer */
};

static bool is_idempotent(struct span method)
{
	static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};

	for (size_t i = 0; i < COUNT_OF(methods); i++)
		if (span_equal(method, span_from(methods[i])))
			return true;
	return false;
}

/* How much content may wait in `out` for its receiver. */
static bool has_room(const struct session *session, const struct buf *out)
{
	return buf_len(out) < session_conf_of(session)->limits.buffer_bytes;
}

/* How much is read at once: what the receiver's buffer may hold, and the scratch buffer does. */
static size_t read_size(const struct session *session, size_t scratch_len)
{
	uint64_t most = session_conf_of(session)->limits.buffer_bytes;

	return most < scratch_len ? (size_t)most : scratch_len;
}

/* The role public answers from memory: who has waited so long shall ask again, or ask another node. */
static uint64_t response_ms(const struct exchange *exchange, const struct timeouts_conf *timeouts)
{
	return exchange->is_for_pages && timeouts->response_ms > PAGES_MS ? PAGES_MS : timeouts->response_ms;
}

/* Something moved: the clock of what is waited for now starts again. */
static void restart_clock(struct session *session)
{
	const struct exchange *exchange = session->exchange;
	const struct timeouts_conf *timeouts = &session_conf_of(session)->timeouts;
	bool waits_for_head = !exchange->has_response && exchange->up.done &&
	                      buf_len(&exchange->to_origin) == 0;

	if (exchange->was_origin_reset || exchange->was_client_reset)
		session_timeout(session, timeouts->half_close_ms);
	else
		session_timeout(session, waits_for_head ? response_ms(exchange, timeouts) : timeouts->exchange_idle_ms);
}

/* ---- to the origin ---- */

/* Max-Forwards of TRACE and OPTIONS counts down (RFC 9110 section 7.6.2); others keep it. */
static uint64_t max_forwards_of(const struct http_head *head)
{
	const struct http_field *field = http_find(head, "max-forwards");
	uint64_t value;

	if (field == NULL || !span_to_uint(field->value, UINT32_MAX, &value) || value == 0 ||
	    (!span_equal(head->method, SPAN("TRACE")) && !span_equal(head->method, SPAN("OPTIONS"))))
		return UINT64_MAX;
	return value - 1;
}

/* for="[2001:db8::1]:4711";proto=http, for=unknown behind a UNIX socket (RFC 7239) */
static struct span forwarded_of(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct buf text;
	struct span copy;

	if (session_conf_of(session)->forwarding.forwarded == FORWARDED_OFF || session->inspect)
		return SPAN("");
	if (session->client_address.family == AF_UNIX)
		return SPAN("for=unknown;proto=http");
	buf_init(&text, 200);
	buf_add(&text, SPAN("for=\""));
	address_format_with_port(&session->client_address, &text);
	buf_add(&text, SPAN("\";proto=http"));
	copy = arena_copy(&exchange->arena, buf_span(&text));
	buf_fini(&text);
	return copy.at ? copy : SPAN("");
}

static void write_request(struct session *session)
{
	struct http_edit edits[HTTP_EDITS_MAX];
	struct exchange *exchange = session->exchange;
	struct http_target target = exchange->target;
	struct http_forward forward = {
		.via = session_conf_of(session)->forwarding.via,
		.forwarded = forwarded_of(session),
		.keep_alive = !exchange->is_for_pages,
		.framing = exchange->head.framing,
		.default_port = session->inspect && !session->inspect->is_plain ? 443 : 0,
		.without_via = session->inspect != NULL,
		.max_forwards = max_forwards_of(&exchange->head),
		.edits = edits,
		.edit_count = response_header_edits(session, POLICY_REQUEST_HEADERS, edits),
	};

	exchange->up_framing = exchange->head.framing;
	/* The public role is nobody's host, and HTTP/1.1 wants one. */
	if (target.form == HTTP_TARGET_ORIGIN && session->inspect == NULL)
		target.host = (struct http_host){.name = SPAN("localhost"), .port = 80};
	http_write_request(&exchange->head, &target, &forward, &exchange->to_origin);
}

enum step relay_start(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const size_t read_bytes[] = {0, 0}; /* of content: read_content() */

	if (session->inspect && !stream_is_open(session->origin))
		return session_fail(session, ERR_ORIGIN_CLOSED, "");
	if (!rates_start(session, exchange->decision.answers, exchange->identity, read_bytes))
		return session_fail(session, ERR_SESSION_MEMORY, "");
	http_body_init(&exchange->up, exchange->head.framing, exchange->head.body_bytes);
	buf_reset(&exchange->to_origin);
	write_request(session);
	if (!buf_is_whole(&exchange->to_origin))
		return session_fail(session, ERR_SESSION_MEMORY, "");
	exchange->keep_client = exchange->head.keep_alive;
	return session_go(session, SESSION_RELAY);
}

/* Put content that was taken from the client into the origin's framing; or away, once nobody wants it. */
static void take_up(struct session *session, struct span content)
{
	struct exchange *exchange = session->exchange;

	exchange->bytes_up += content.len;
	if (exchange->up_broken) {
		exchange->drained_bytes += content.len;
		return;
	}
	http_body_write_before(exchange->up_framing, content.len, &exchange->to_origin);
	buf_add(&exchange->to_origin, content);
	http_body_write_after(exchange->up_framing, content.len, &exchange->to_origin);
}

/* Use up bytes from the client; false if they are not what the framing says. */
static bool use_up(struct session *session, struct span *bytes)
{
	struct exchange *exchange = session->exchange;

	while (bytes->len && !exchange->up.done) {
		struct span content;

		if (http_body_read(&exchange->up, bytes, &content))
			return false;
		take_up(session, content);
	}
	if (exchange->up.done && !exchange->up_broken)
		http_body_write_end(exchange->up_framing, buf_span(&exchange->up.trailers),
		                    &exchange->to_origin);
	return true;
}

/* Nobody wants what is left, and it was more than is read for the connection's sake. */
static bool is_drained_enough(const struct session *session)
{
	const struct exchange *exchange = session->exchange;

	return exchange->up_broken && exchange->drained_bytes > session_conf_of(session)->limits.drain_bytes;
}

/* A reset that write(), or note_unread_resets(), was told is told once: read() would now say that this was an orderly end. What TLS says
 * is so. */
static enum stream_state read_stream(struct stream *stream, bool was_reset, uint8_t *at, size_t len, size_t *got)
{
	enum stream_state state = stream_read(stream, at, len, got);

	return state == STREAM_END && was_reset && stream->tls == NULL ? STREAM_RESET : state;
}

/* Read the request's content, as long as its receiver has room. STREAM_OK: that is so, or all of it is there; STREAM_AGAIN;
 * or what ended it: STREAM_BROKEN, where it is not what the framing says. */
static enum stream_state read_content(struct session *session)
{
	struct exchange *exchange = session->exchange;

	while (!exchange->up.done && has_room(session, &exchange->to_origin) && !is_drained_enough(session)) {
		size_t len, got;
		uint8_t *scratch = loop_scratch(session->env->loop, &len);
		struct span bytes = buf_span(&session->in);
		bool buffered = bytes.len > 0;

		if (buffered) {
			/* What came with the head is content all the same: its rate limits hold. */
			len = stream_room(&session->client, bytes.len);
			if (len == 0)
				return STREAM_AGAIN;
			bytes = span_first(bytes, len);
		} else {
			enum stream_state state;

			/* All of it may be requests behind the content, and has to fit there. */
			len = read_size(session, len);
			if (len > session->in.max_bytes)
				len = session->in.max_bytes;
			state = read_stream(&session->client, exchange->was_client_reset, scratch, len, &got);
			if (state != STREAM_OK)
				return state == STREAM_BROKEN ? STREAM_RESET : state;
			bytes = span_of(scratch, got);
		}
		if (!use_up(session, &bytes))
			return STREAM_BROKEN;
		if (buffered) {
			stream_note_read(&session->client, len - bytes.len);
			buf_consume(&session->in, len - bytes.len);
		} else {
			buf_add(&session->in, bytes); /* the next request, already */
		}
	}
	return STREAM_OK;
}

static void cut_off(struct session *session, enum err err, const char *detail, bool is_upload);

/* False: the exchange failed, or is cut. */
static bool read_up(struct session *session)
{
	struct exchange *exchange = session->exchange;
	bool was_done = exchange->up.done;
	enum stream_state state = read_content(session);

	if (state == STREAM_BROKEN)
		session_fail(session, ERR_REQUEST_FRAMING, "the chunks of the request");
	else if (state != STREAM_OK && state != STREAM_AGAIN)
		cut_off(session, state == STREAM_END ? ERR_CLIENT_CLOSED : ERR_CLIENT_RESET, "", true);
	if (state != STREAM_OK && state != STREAM_AGAIN)
		return false;
	if (!was_done && exchange->up.done && buf_len(&session->in) == 0)
		buf_fini(&session->in);
	return true;
}

/* The origin takes no more: what is left of the request is read and dropped. */
static void break_up(struct session *session)
{
	struct exchange *exchange = session->exchange;

	exchange->up_broken = true;
	exchange->keep_origin = false;
	buf_reset(&exchange->to_origin);
}

static void flush_up(struct session *session)
{
	struct exchange *exchange = session->exchange;

	while (buf_len(&exchange->to_origin) && !exchange->up_broken) {
		size_t taken;
		enum stream_state state =
			stream_write(session->origin, buf_span(&exchange->to_origin), &taken);

		if (state == STREAM_AGAIN)
			return;
		if (state != STREAM_OK) {
			/* Its answer may lie there all the same: "too large", and closed. Behind its FIN (EPIPE) all of it does; a reset
			 * is told once, and read() would now call it an orderly end. */
			session->origin->ready |= LOOP_BROKEN;
			if (session->origin->error_number != EPIPE)
				exchange->was_origin_reset = true;
			break_up(session);
			return;
		}
		buf_consume(&exchange->to_origin, taken);
		restart_clock(session);
	}
}

enum stream_state relay_drain(struct session *session)
{
	struct exchange *exchange = session->exchange;
	enum stream_state state;

	/* What was sent on before the refusal is read already. */
	if (exchange->up.framing == HTTP_NO_BODY)
		http_body_init(&exchange->up, exchange->head.framing, exchange->head.body_bytes);
	if (!exchange->up_broken)
		break_up(session);
	state = read_content(session);
	return is_drained_enough(session) ? STREAM_BROKEN : state;
}

/* ---- to the client ---- */

static bool is_http10(const struct session *session)
{
	return session->exchange->head.minor == 0;
}

/* The framing that the client gets: HTTP/1.0 knows no chunks, HTTP/1.1 needs no close. */
static enum http_framing down_framing_of(const struct session *session,
                                         const struct http_head *response)
{
	if (response->framing == HTTP_CHUNKED && is_http10(session))
		return HTTP_UNTIL_CLOSE;
	if (response->framing == HTTP_UNTIL_CLOSE && !is_http10(session))
		return HTTP_CHUNKED;
	return response->framing;
}

static void write_response(struct session *session, bool keep_alive)
{
	struct http_edit edits[HTTP_EDITS_MAX];
	struct exchange *exchange = session->exchange;
	bool is_final = exchange->response.status >= 200;
	struct http_forward forward = {
		.via = session_conf_of(session)->forwarding.via,
		.keep_alive = keep_alive,
		.framing = exchange->down_framing,
		.to_http10 = is_http10(session),
		.without_via = session->inspect != NULL,
		.max_forwards = UINT64_MAX,
		.fields = is_final ? exchange->success : SPAN(""),
		.edits = edits,
		.edit_count = is_final ? response_header_edits(session, POLICY_RESPONSE_HEADERS, edits) : 0,
	};

	http_write_response(&exchange->response, &forward, &exchange->to_client);
}

/* What policy forbids goes no further than here: a page takes its place, and the origin is closed with what it still sends. */
static enum step refuse_response(struct session *session, enum err err)
{
	return session_fail(session, err, session->exchange->detail);
}

static enum step switch_protocols(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct span first[2];
	enum err err;

	if (!exchange->head.upgrade || !http_find(&exchange->response, "upgrade"))
		return session_fail(session, ERR_UPGRADE_FAILED, "101 without Upgrade");
	if (!exchange->up.done || buf_len(&exchange->to_origin))
		return session_fail(session, ERR_UPGRADE_FAILED, "101 before the end of the request");
	err = response_decide_head(session, &exchange->response);
	if (err)
		return refuse_response(session, err);
	exchange->status = 101;
	exchange->down_framing = HTTP_NO_BODY;
	write_response(session, true);
	buf_add(&exchange->to_client, buf_span(&exchange->from_origin));
	if (!buf_is_whole(&exchange->to_client)) {
		buf_reset(&exchange->to_client);
		return session_fail(session, ERR_RESPONSE_SIZE, "");
	}
	first[PUMP_CLIENT] = buf_span(&session->in);
	first[PUMP_ORIGIN] = buf_span(&exchange->to_client);
	return tunnel_start(session, first, false);
}

static void forward_interim(struct session *session)
{
	struct exchange *exchange = session->exchange;

	/* From now on the client sends its content. */
	if (exchange->response.status == 100)
		exchange->head.expect_continue = false;
	/* HTTP/1.0 knows none (RFC 9110 section 15.2). */
	if (!is_http10(session)) {
		exchange->down_framing = HTTP_NO_BODY;
		write_response(session, true);
	}
	arena_fini(&exchange->response_arena);
}

static void note_response(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const struct http_head *response = &exchange->response;

	exchange->has_response = true;
	exchange->status = response->status;
	exchange->timing.first_byte_ms =
		(uint32_t)(loop_now_ms(session->env->loop) - exchange->started_ms);
	exchange->down_framing = down_framing_of(session, response);
	http_body_init(&exchange->down, response->framing, response->body_bytes);
	exchange->keep_origin = response->keep_alive && response->framing != HTTP_UNTIL_CLOSE &&
	                        !exchange->up_broken;
	if (exchange->down_framing == HTTP_UNTIL_CLOSE || session->env->draining)
		exchange->keep_client = false;
	/* A client that waits for 100 and gets this may send its content or not: nobody could tell. */
	if (!exchange->up.done && (exchange->head.expect_continue ||
	                           (exchange->up.framing == HTTP_LENGTH &&
	                            exchange->up.left_bytes > session_conf_of(session)->limits.drain_bytes)))
		exchange->keep_client = false;
}

/* A whole response head is in from_origin. */
static enum step on_response_head(struct session *session, size_t head_bytes)
{
	struct exchange *exchange = session->exchange;
	struct span all = buf_span(&exchange->from_origin);
	struct span head = arena_copy(&exchange->response_arena, span_first(all, head_bytes));
	const char *detail = "";
	enum err err;

	if (head.at == NULL)
		return session_fail(session, ERR_SESSION_MEMORY, "");
	buf_consume(&exchange->from_origin, head_bytes);
	exchange->scanned = 0;
	err = http_head_parse_response(head, exchange->head.method, &exchange->response_arena,
	                               &exchange->response, &detail);
	if (err)
		return session_fail(session, err, detail);
	if (exchange->response.status == 101)
		return switch_protocols(session);
	if (exchange->response.status < 200) {
		exchange->interim_bytes += head_bytes;
		if (exchange->interim_bytes > INTERIM_MAX_BYTES)
			return session_fail(session, ERR_RESPONSE_SIZE, "interim responses without end");
		forward_interim(session);
		return STEP_NEXT;
	}
	err = response_decide_head(session, &exchange->response);
	if (err)
		return refuse_response(session, err);
	note_response(session);
	write_response(session, exchange->keep_client);
	restart_clock(session);
	return STEP_NEXT;
}

/* False: the client is gone. */
static bool flush_down(struct session *session)
{
	struct exchange *exchange = session->exchange;

	while (buf_len(&exchange->to_client)) {
		size_t taken;
		enum stream_state state =
			stream_write(&session->client, buf_span(&exchange->to_client), &taken);

		if (state == STREAM_AGAIN)
			return true;
		if (state != STREAM_OK) {
			session_fail(session, ERR_CLIENT_RESET, "");
			return false;
		}
		buf_consume(&exchange->to_client, taken);
		restart_clock(session);
	}
	return true;
}

/* The response, or the request, has stopped in the middle. A reset drops what the kernel has not sent, so that has to be out
 * before; it does not say when. */
static enum step step_cut(struct session *session)
{
	struct exchange *exchange = session->exchange;
	bool is_upload = exchange->is_upload_cut;
	const struct buf *left = is_upload ? &exchange->to_origin : &exchange->to_client;
	int fd = is_upload ? session->origin->io.fd : session->client.io.fd;
	uint64_t now_ms = loop_now_ms(session->env->loop), half_close_ms = session_conf_of(session)->timeouts.half_close_ms;
	bool is_flushed;

	if (is_upload)
		flush_up(session);
	else if (!flush_down(session))
		return STEP_NEXT;
	is_flushed = buf_len(left) == 0;
	if (session_is_taken(session))
		exchange->cut_due_ms = now_ms + half_close_ms;
	if (now_ms >= exchange->cut_due_ms || (is_flushed && socket_is_sent(fd)))
		return session_fail(session, exchange->cut, exchange->cut_detail);
	session_timeout(session, is_flushed ? socket_ask_again_ms(now_ms + half_close_ms - exchange->cut_due_ms) : exchange->cut_due_ms - now_ms);
	return STEP_WAIT;
}

/* What there is goes out, and then the end, so that nobody takes it for whole. */
static void cut_off(struct session *session, enum err err, const char *detail, bool is_upload)
{
	struct exchange *exchange = session->exchange;

	exchange->cut = err;
	exchange->cut_detail = detail;
	exchange->is_upload_cut = is_upload;
	session_is_taken(session);
	exchange->cut_due_ms = loop_now_ms(session->env->loop) + session_conf_of(session)->timeouts.half_close_ms;
	step_cut(session);
}

static enum step cut_response(struct session *session, enum err err, const char *detail)
{
	cut_off(session, err, detail, false);
	return STEP_NEXT;
}

/* Put content of the response into the client's framing. */
static enum step use_down(struct session *session, struct span *bytes)
{
	struct exchange *exchange = session->exchange;
	struct span content;

	while (bytes->len && !exchange->down.done) {
		if (http_body_read(&exchange->down, bytes, &content))
			return cut_response(session, ERR_RESPONSE_FRAMING, "the chunks of the response");
		exchange->bytes_down += content.len;
		http_body_write_before(exchange->down_framing, content.len, &exchange->to_client);
		buf_add(&exchange->to_client, content);
		http_body_write_after(exchange->down_framing, content.len, &exchange->to_client);
	}
	if (exchange->down.done) {
		http_body_write_end(exchange->down_framing, buf_span(&exchange->down.trailers),
		                    &exchange->to_client);
		if (bytes->len)
			exchange->keep_origin = false; /* more than its framing says */
	}
	return STEP_WAIT;
}

bool relay_is_repeatable(const struct exchange *exchange)
{
	return is_idempotent(exchange->head.method) && exchange->head.framing == HTTP_NO_BODY;
}

/* A kept connection may have died just before it was used: once more, on a new one, where nothing
 * can have happened twice (RFC 9110 section 9.2.2). */
static bool can_retry(const struct session *session)
{
	const struct exchange *exchange = session->exchange;

	return exchange->is_reused && !exchange->was_retried &&
	       buf_len(&exchange->from_origin) == 0 && relay_is_repeatable(exchange);
}

/* Inside, the client has a connection of its own to try again with: it sees what it would see without us. */
static enum step on_inner_origin_end(struct session *session, enum stream_state state)
{
	enum { CERTIFICATE_REQUIRED = 116 };
	struct exchange *exchange = session->exchange;
	bool is_first = session->inspect->request_count == 1;
	enum err err = state == STREAM_END ? ERR_ORIGIN_CLOSED : ERR_ORIGIN_RESET;

	if (session->origin->tls && tls_stream_failure(session->origin).alert == CERTIFICATE_REQUIRED)
		return session_fail(session, ERR_CLIENT_CERTIFICATE, "the origin refuses whoever shows none (alert 116)");
	/* TLS 1.3 says so behind the handshake, and a reset may come before it. */
	if (is_first && session->inspect->was_asked)
		return session_fail(session, ERR_CLIENT_CERTIFICATE, "the origin closed the connection after it had got none");
	if (!is_first && buf_len(&exchange->from_origin) == 0 && relay_is_repeatable(exchange)) {
		session->env->metrics->errors[err]++;
		exchange->err = err;
		return session_go(session, SESSION_END);
	}
	return session_fail(session, err, "");
}

static enum step on_origin_end(struct session *session, enum stream_state state)
{
	struct exchange *exchange = session->exchange;

	if (!exchange->has_response && session->inspect)
		return on_inner_origin_end(session, state);
	if (!exchange->has_response) {
		if (can_retry(session)) {
			exchange->was_retried = true;
			exchange->is_reused = exchange->up_broken = exchange->was_origin_reset = false;
			origin_close(session, false);
			return session_go(session, SESSION_DIAL);
		}
		return session_fail(session, state == STREAM_END ? ERR_ORIGIN_CLOSED : ERR_ORIGIN_RESET,
		                    "");
	}
	exchange->was_origin_reset = state != STREAM_END;
	if (state != STREAM_END || !http_body_ends_here(&exchange->down))
		return cut_response(session, ERR_RESPONSE_INCOMPLETE, "");
	exchange->down.done = true;
	exchange->keep_origin = false;
	http_body_write_end(exchange->down_framing, SPAN(""), &exchange->to_client);
	return STEP_WAIT;
}

/* Read from the origin what is there. STEP_NEXT: the state changed. */
static enum step read_down(struct session *session)
{
	struct exchange *exchange = session->exchange;
	enum session_state before = (enum session_state)session->state;

	while (!exchange->down.done && has_room(session, &exchange->to_client)) {
		struct span waiting = buf_span(&exchange->from_origin), bytes;
		size_t head_bytes = 0, len, got;
		uint8_t *scratch = loop_scratch(session->env->loop, &len);
		enum stream_state state;

		if (!exchange->has_response) {
			head_bytes = http_head_find(waiting, &exchange->scanned);
			if (head_bytes == 0 && waiting.len >= session_conf_of(session)->limits.head_bytes)
				return session_fail(session, ERR_RESPONSE_SIZE, "limits.head");
		}
		if (head_bytes) {
			on_response_head(session, head_bytes);
			if (session->state != before || session->exchange != exchange)
				return STEP_NEXT;
			continue;
		}
		if (exchange->has_response && waiting.len) {
			bytes = waiting;
			if (use_down(session, &bytes) == STEP_NEXT)
				return STEP_NEXT;
			buf_fini(&exchange->from_origin);
			continue;
		}
		len = read_size(session, len);
		if (!exchange->has_response && len > exchange->from_origin.max_bytes - waiting.len)
			len = exchange->from_origin.max_bytes - waiting.len;
		state = read_stream(session->origin, exchange->was_origin_reset, scratch, len, &got);
		if (state == STREAM_AGAIN)
			return STEP_WAIT;
		if (state != STREAM_OK)
			return on_origin_end(session, state);
		bytes = span_of(scratch, got);
		if (!exchange->has_response)
			buf_add(&exchange->from_origin, bytes);
		else if (use_down(session, &bytes) == STEP_NEXT)
			return STEP_NEXT;
		if (exchange->has_response)
			restart_clock(session);
	}
	return STEP_WAIT;
}

/* ---- the end ---- */

static enum step finish(struct session *session)
{
	struct exchange *exchange = session->exchange;
	bool keep = exchange->keep_client && exchange->up.done && !session->client_ended;

	rates_stop(session);
	session_set_class(session, LOOP_NORMAL); /* before its origin is kept for others */
	/* Bytes behind the response would be taken for the next one. */
	if (session->inspect && exchange->keep_origin && exchange->up.done && !exchange->up_broken && keep &&
	    buf_len(&exchange->from_origin) == 0)
		;
	else if (session->inspect)
		keep = false;
	else if (exchange->keep_origin && exchange->up.done && !exchange->up_broken &&
	    buf_len(&exchange->from_origin) == 0 && !exchange->is_for_pages)
		origin_pool_give(session);
	else
		origin_close(session, false);
	session->env->metrics->exchanges_total++;
	session->env->metrics->bytes_up_total += exchange->bytes_up;
	session->env->metrics->bytes_down_total += exchange->bytes_down;
	access_log_exchange(session);
	exchange_free(session);
	return session_go(session, keep ? SESSION_READ_HEAD : SESSION_LINGER);
}

/* The whole response is out. What is left of the request is dropped within a bound, or not waited for. */
static bool is_over(struct session *session)
{
	struct exchange *exchange = session->exchange;

	if (!exchange->has_response || !exchange->down.done || buf_len(&exchange->to_client))
		return false;
	if (exchange->up.done || !exchange->keep_client)
		return true;
	if (!exchange->up_broken)
		break_up(session);
	if (!is_drained_enough(session))
		return false;
	exchange->keep_client = false;
	return true;
}

/* A client that has sent its request and closes its side still wants the answer; one that resets does not. */
static bool is_client_gone(struct session *session)
{
	struct exchange *exchange = session->exchange;

	if (!exchange->up.done || !(session->client.ready & (LOOP_PEER_CLOSED | LOOP_BROKEN)))
		return false;
	if (!(session->client.ready & LOOP_BROKEN)) {
		session->client_ended = exchange->keep_client ? session->client_ended : true;
		return false;
	}
	session_fail(session, ERR_CLIENT_RESET, "");
	return true;
}

/* Is it the client that everything waits for? */
static bool is_request_awaited(const struct exchange *exchange)
{
	return !exchange->up.done && buf_len(&exchange->to_origin) == 0 &&
	       !exchange->head.expect_continue;
}

void relay_on_due(struct session *session)
{
	struct exchange *exchange = session->exchange;

	if (exchange->cut)
		return; /* its step looks at the time */
	if ((exchange->was_client_reset || exchange->was_origin_reset) && session_is_taken(session))
		restart_clock(session);
	else if (exchange->was_client_reset)
		session_fail(session, ERR_CLIENT_RESET, "");
	else if (exchange->was_origin_reset)
		session_fail(session, exchange->has_response ? ERR_RESPONSE_INCOMPLETE : ERR_ORIGIN_RESET, "");
	else if (exchange->has_response && !socket_is_sent(session->client.io.fd) && session_is_taken(session))
		restart_clock(session); /* the client is still reading what it was sent */
	else if (exchange->has_response)
		session_fail(session, ERR_IDLE_TIMEOUT, "");
	else
		session_fail(session, is_request_awaited(exchange) ? ERR_REQUEST_TIMEOUT : ERR_RESPONSE_TIMEOUT, "");
}

/* A side is not read while its receiver takes nothing: what it had sent before a reset is not kept for as long as the receiver
 * likes. Behind its FIN a reset (EPIPE) says nothing of what it sent. */
static bool was_reset_unread(struct stream *from, const struct buf *to)
{
	return stream_is_open(from) && (from->ready & LOOP_BROKEN) && buf_len(to) &&
	       socket_was_reset(from->io.fd, &from->error_number) && from->error_number != EPIPE;
}

static void note_unread_resets(struct session *session)
{
	struct exchange *exchange = session->exchange;
	bool noted = false;

	if (!exchange->was_origin_reset && !exchange->down.done)
		noted = exchange->was_origin_reset = was_reset_unread(session->origin, &exchange->to_client);
	if (exchange->was_origin_reset)
		exchange->keep_origin = false;
	if (!exchange->was_client_reset && !exchange->up.done && was_reset_unread(&session->client, &exchange->to_origin))
		noted = exchange->was_client_reset = true;
	if (!noted)
		return;
	session_is_taken(session);
	restart_clock(session);
}

/* What changes whenever a byte is read or sent. */
static uint64_t progress_of(const struct exchange *exchange)
{
	return 2 * (exchange->bytes_up + exchange->bytes_down + exchange->interim_bytes) -
	       buf_len(&exchange->to_client) - buf_len(&exchange->to_origin);
}

static bool is_cut(const struct session *session)
{
	return session->state == SESSION_RELAY && session->exchange->cut != ERR_NONE;
}

enum step step_relay(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct loop *loop = session->env->loop;
	const uint64_t cost = session->inspect ? TLS_COSTS : 1;
	uint64_t began = exchange->bytes_up + exchange->bytes_down, moved = 0, before;

	if (is_client_gone(session))
		return STEP_NEXT;
	if (exchange->cut)
		return step_cut(session);
	do {
		/* Others have their turn; events that came meanwhile are not told twice. */
		before = exchange->bytes_up + exchange->bytes_down - began;
		loop_spend(loop, (before - moved) * cost);
		moved = before;
		if (moved > BUDGET_BYTES || (moved && loop_is_spent(loop))) {
			session_set_class(session, LOOP_BULK);
			loop_again(loop, &session->client.io, 0);
			return STEP_WAIT;
		}
		before = progress_of(exchange);
		if (!read_up(session))
			return is_cut(session) ? STEP_WAIT : STEP_NEXT;
		flush_up(session);
		if (read_down(session) == STEP_NEXT || session->state != SESSION_RELAY)
			return is_cut(session) ? STEP_WAIT : STEP_NEXT;
		if (!flush_down(session))
			return STEP_NEXT;
		if (is_over(session))
			return finish(session);
		if (SURPRISE(!buf_is_whole(&exchange->to_client) ||
		             !buf_is_whole(&exchange->to_origin)))
			return session_fail(session, ERR_INTERNAL, "");
		/* Also when only sending went on: then there is room for what was left unread. */
	} while (progress_of(exchange) != before);
	note_unread_resets(session);
	session_set_class(session, LOOP_NORMAL);
	return STEP_WAIT;
}
