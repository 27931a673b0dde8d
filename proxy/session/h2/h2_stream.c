/* SPDX-License-Identifier: Apache-2.0 */
/* One stream of the client, and the one at the origin that it is mapped to. */
#include <stdlib.h>

#include "session/h2/h2_private.h"
#include "session/inspect.h"

enum { INITIAL_WINDOW_BYTES = 65535 /* before the sender knows ours */ };

static nghttp2_session *ng_of(const struct h2_stream *stream, enum h2_side side)
{
	return stream->relay->leg[side].ng;
}

static bool can_use(const struct h2_stream *stream, enum h2_side side)
{
	return stream->is_open[side] && !stream->relay->leg[side].is_gone;
}

/* ---- made and freed ---- */

static void on_due(struct loop_timer *timer);

static void init_way(struct h2_stream *stream, enum h2_side from)
{
	int32_t window = stream->relay->leg[from].window_bytes;
	struct h2_way *way = &stream->way[from];

	way->stream = stream;
	way->from = from;
	buf_init(&way->data, window < INITIAL_WINDOW_BYTES ? INITIAL_WINDOW_BYTES : (size_t)window);
	h2_fields_reset(&way->fields);
	h2_fields_reset(&way->trailers);
}

struct h2_stream *h2_stream_new(struct h2_relay *relay, int32_t client_id)
{
	struct session *session = relay->session;
	struct h2_stream *stream = calloc(1, sizeof(*stream));

	if (stream == NULL || exchange_new(session) == NULL) {
		free(stream);
		return NULL;
	}
	stream->relay = relay;
	stream->exchange = session->exchange;
	stream->generation = session_generation_ref(session->generation);
	stream->number = session->exchange_count;
	session->exchange = NULL;
	stream->id[H2_CLIENT] = client_id;
	stream->is_open[H2_CLIENT] = true;
	stream->timer.on_due = on_due;
	init_way(stream, H2_CLIENT);
	init_way(stream, H2_ORIGIN);
	list_init(&stream->wait_link);
	list_add_last(&relay->streams, &stream->link);
	relay->stream_count++;
	loop_timer_set(session->env->loop, &stream->timer, session_conf_of(session)->timeouts.head_ms);
	return stream;
}

struct session *h2_stream_enter(struct h2_stream *stream)
{
	struct session *session = stream->relay->session;
	struct session_generation *generation = session->generation;
	uint32_t number = session->exchange_count;

	ASSERT(session->exchange == NULL);
	session->exchange = stream->exchange;
	session->generation = stream->generation;
	session->exchange_count = stream->number;
	stream->generation = generation;
	stream->number = number;
	return session;
}

void h2_stream_leave(struct h2_stream *stream)
{
	struct session *session = stream->relay->session;
	struct session_generation *generation = session->generation;
	uint32_t number = session->exchange_count;

	stream->exchange = session->exchange;
	session->exchange = NULL;
	session->generation = stream->generation;
	session->exchange_count = stream->number;
	stream->generation = generation;
	stream->number = number;
}

/* Once: when the client has all that it will get. */
static void write_line(struct h2_stream *stream)
{
	struct exchange *exchange = stream->exchange;
	struct session *session;
	struct metrics *metrics;

	if (exchange->was_logged)
		return;
	session = h2_stream_enter(stream);
	metrics = session->env->metrics;
	metrics->exchanges_total++;
	metrics->bytes_up_total += exchange->bytes_up;
	metrics->bytes_down_total += exchange->bytes_down;
	access_log_exchange(session);
	h2_stream_leave(stream);
}

void h2_stream_free(struct h2_stream *stream)
{
	struct h2_relay *relay = stream->relay;
	struct session *session = relay->session;

	write_line(stream);
	if (!stream->was_refused && stream->id[H2_CLIENT] > relay->served_id)
		relay->served_id = stream->id[H2_CLIENT];
	h2_stream_enter(stream);
	exchange_free(session);
	h2_stream_leave(stream);
	session_generation_unref(stream->generation);
	loop_timer_clear(session->env->loop, &stream->timer);
	buf_fini(&stream->way[H2_CLIENT].data);
	buf_fini(&stream->way[H2_ORIGIN].data);
	list_remove(&stream->wait_link);
	list_remove(&stream->link);
	relay->stream_count--;
	free(stream);
}

/* ---- time ---- */

static uint64_t patience_ms(const struct h2_stream *stream)
{
	const struct timeouts_conf *timeouts = &session_conf_of(stream->relay->session)->timeouts;
	const struct h2_way *up = &stream->way[H2_CLIENT], *down = &stream->way[H2_ORIGIN];

	if (stream->has_pending)
		return timeouts->half_close_ms;
	if (!down->is_started && up->ended && buf_len(&up->data) == 0)
		return timeouts->response_ms;
	return stream->is_connect ? timeouts->tunnel_idle_ms : timeouts->exchange_idle_ms;
}

void h2_stream_touch(struct h2_stream *stream)
{
	loop_timer_set(stream->relay->session->env->loop, &stream->timer, patience_ms(stream));
}

/* Without an error code, half of a response could be taken for all of it. */
static uint32_t cutting_code(uint32_t code)
{
	return code == NGHTTP2_NO_ERROR ? NGHTTP2_INTERNAL_ERROR : code;
}

static void on_due(struct loop_timer *timer)
{
	struct h2_stream *stream = CONTAINER_OF(timer, struct h2_stream, timer);
	struct session *session = stream->relay->session;
	const struct h2_way *up = &stream->way[H2_CLIENT];

	if (stream->has_pending) { /* what is left was not taken in time */
		h2_stream_note(stream, ERR_CLIENT_TIMEOUT, "");
		h2_stream_reset(stream, H2_CLIENT, cutting_code(stream->pending_code));
	} else if (!stream->has_head)
		h2_relay_end(stream->relay, ERR_REQUEST_TIMEOUT); /* no other stream can go on before its head has */
	else if (stream->way[H2_ORIGIN].is_started)
		h2_stream_fail(stream, ERR_IDLE_TIMEOUT, "");
	else
		h2_stream_fail(stream, up->ended || buf_len(&up->data) ? ERR_RESPONSE_TIMEOUT : ERR_REQUEST_TIMEOUT, "");
	session_run(session);
}

/* ---- the ways ---- */

/* A stream that is cut waits for its client to take what is left, and not for what the client still sends. */
static void touch_for(const struct h2_way *way)
{
	if (!way->stream->has_pending || way->from == H2_ORIGIN)
		h2_stream_touch(way->stream);
}

/* The receiver has taken it: its sender may send as much again. */
void h2_stream_took(struct h2_way *way, size_t len)
{
	struct h2_stream *stream = way->stream;
	bool is_ours = way->from == H2_ORIGIN && stream->is_page;

	buf_consume(&way->data, len);
	if (len && !is_ours && !stream->relay->leg[way->from].is_gone)
		nghttp2_session_consume(ng_of(stream, way->from), stream->id[way->from], len);
	touch_for(way);
}

/* Whoever should have got it is gone. */
void h2_stream_drop(struct h2_way *way)
{
	if (buf_len(&way->data))
		h2_stream_took(way, buf_len(&way->data));
}

static void resume(struct h2_way *way)
{
	struct h2_stream *stream = way->stream;
	enum h2_side to = h2_other(way->from);

	if (!way->is_deferred || !can_use(stream, to))
		return;
	way->is_deferred = false;
	nghttp2_session_resume_data(ng_of(stream, to), stream->id[to]);
}

/* Will anybody take it? The origin may do so later. */
static bool has_receiver(const struct h2_way *way)
{
	const struct h2_stream *stream = way->stream;

	if (way->from == H2_ORIGIN)
		return stream->is_open[H2_CLIENT] && !stream->is_page && !stream->was_reset[H2_CLIENT];
	return !stream->is_page && !stream->was_reset[H2_ORIGIN] &&
	       (stream->is_open[H2_ORIGIN] || list_is_linked(&stream->wait_link));
}

void h2_stream_on_data(struct h2_way *way, struct span bytes)
{
	struct h2_stream *stream = way->stream;

	if (way->from == H2_CLIENT)
		stream->exchange->bytes_up += bytes.len;
	else if (!stream->is_page)
		stream->exchange->bytes_down += bytes.len;
	touch_for(way);
	if (!has_receiver(way)) {
		nghttp2_session_consume(ng_of(stream, way->from), stream->id[way->from], bytes.len);
		return;
	}
	buf_add(&way->data, bytes);
	/* nghttp2 keeps the sender within its window. */
	if (SURPRISE(!buf_is_whole(&way->data)))
		h2_relay_end(stream->relay, ERR_INTERNAL);
	resume(way);
}

void h2_stream_on_end(struct h2_way *way)
{
	if (way->from == H2_ORIGIN && way->stream->is_page)
		return;
	way->ended = true;
	touch_for(way);
	resume(way);
}

static nghttp2_data_provider *provider_of(struct h2_way *way, nghttp2_data_provider *provider)
{
	*provider = (nghttp2_data_provider){.source.ptr = way, .read_callback = h2_events_read};
	return way->ended && buf_len(&way->data) == 0 && !way->has_trailers ? NULL : provider;
}

/* ---- ends ---- */

void h2_stream_note(struct h2_stream *stream, enum err err, const char *detail)
{
	struct exchange *exchange = stream->exchange;

	if (exchange->err || exchange->was_logged)
		return;
	exchange->err = err;
	exchange->detail = detail;
	stream->relay->session->env->metrics->errors[err]++;
}

void h2_stream_reset(struct h2_stream *stream, enum h2_side side, uint32_t code)
{
	if (!can_use(stream, side) || stream->was_reset[side])
		return;
	stream->was_reset[side] = true;
	if (nghttp2_submit_rst_stream(ng_of(stream, side), NGHTTP2_FLAG_NONE, stream->id[side], code))
		h2_relay_end(stream->relay, ERR_SESSION_MEMORY);
}

void h2_stream_refuse(struct h2_stream *stream)
{
	stream->was_refused = true;
	list_remove(&stream->wait_link);
	h2_stream_drop(&stream->way[H2_CLIENT]);
	h2_stream_note(stream, ERR_ORIGIN_CLOSED, "the origin takes no more requests on this connection");
	h2_stream_reset(stream, H2_CLIENT, NGHTTP2_REFUSED_STREAM);
}

void h2_stream_cut(struct h2_stream *stream, uint32_t code)
{
	const struct h2_way *down = &stream->way[H2_ORIGIN];

	if (stream->has_pending)
		return;
	stream->has_pending = true;
	stream->pending_code = down->ended ? code : cutting_code(code);
	if (down->ended ? down->sent_end : buf_len(&down->data) == 0)
		h2_stream_reset(stream, H2_CLIENT, stream->pending_code);
	else
		h2_stream_touch(stream);
}

/* Its content, if any is still to come, is wanted by nobody (RFC 9113 section 8.1). */
void h2_stream_on_end_sent(struct h2_stream *stream, enum h2_side to)
{
	stream->way[h2_other(to)].sent_end = true;
	if (to == H2_ORIGIN || stream->way[H2_CLIENT].ended)
		return;
	if (stream->has_pending)
		h2_stream_reset(stream, H2_CLIENT, stream->pending_code);
	else if (!stream->is_open[H2_ORIGIN] || stream->was_reset[H2_ORIGIN])
		h2_stream_reset(stream, H2_CLIENT, NGHTTP2_NO_ERROR);
}

static void on_client_closed(struct h2_stream *stream, uint32_t code)
{
	bool is_whole = code == NGHTTP2_NO_ERROR && stream->way[H2_ORIGIN].sent_end;

	if (!is_whole && !stream->was_reset[H2_CLIENT] && !stream->way[H2_ORIGIN].sent_end)
		h2_stream_note(stream, stream->heard_reset[H2_CLIENT] ? ERR_CLIENT_RESET : ERR_REQUEST_SYNTAX,
		               nghttp2_http2_strerror(code));
	if (stream->heard_reset[H2_CLIENT] && !stream->way[H2_ORIGIN].sent_end)
		h2_relay_count_reset(stream->relay);
	list_remove(&stream->wait_link);
	/* A request that is still on its way to the origin goes on, where the client is content. */
	if (!is_whole || !stream->way[H2_CLIENT].ended)
		h2_stream_reset(stream, H2_ORIGIN, stream->heard_reset[H2_CLIENT] ? code : NGHTTP2_CANCEL);
	write_line(stream);
}

/* The origin has no more to say of it. */
static void on_origin_closed(struct h2_stream *stream, uint32_t code)
{
	const struct h2_way *down = &stream->way[H2_ORIGIN];
	bool heard = stream->heard_reset[H2_ORIGIN];

	if (!stream->is_open[H2_CLIENT] || stream->was_reset[H2_ORIGIN] || stream->was_refused)
		return;
	if (down->ended) {
		if (!stream->way[H2_CLIENT].ended)
			h2_stream_cut(stream, code);
	} else if (down->is_started) {
		stream->exchange->was_origin_reset = true;
		h2_stream_note(stream, ERR_RESPONSE_INCOMPLETE, nghttp2_http2_strerror(code));
		h2_stream_cut(stream, heard ? code : NGHTTP2_INTERNAL_ERROR);
	} else if (code == NGHTTP2_REFUSED_STREAM) {
		h2_stream_refuse(stream);
	} else if (heard) {
		h2_stream_note(stream, ERR_ORIGIN_RESET, nghttp2_http2_strerror(code));
		h2_stream_reset(stream, H2_CLIENT, cutting_code(code));
	} else {
		h2_stream_fail(stream, ERR_RESPONSE_SYNTAX, nghttp2_http2_strerror(code));
	}
}

void h2_stream_on_close(struct h2_stream *stream, enum h2_side side, uint32_t code)
{
	stream->is_open[side] = false;
	if (side == H2_ORIGIN)
		stream->relay->origin_open--;
	h2_stream_drop(&stream->way[h2_other(side)]);
	if (side == H2_CLIENT)
		on_client_closed(stream, code);
	else
		on_origin_closed(stream, code);
	if (!stream->is_open[H2_CLIENT] && !stream->is_open[H2_ORIGIN])
		h2_stream_free(stream);
}

/* ---- replies of our own ---- */

/* The reply is written as HTTP/1 and read again: there is one writer of pages. */
static bool make_page(struct h2_stream *stream, enum err err, const char *detail)
{
	struct session *session = h2_stream_enter(stream);
	struct exchange *exchange = session->exchange;
	struct h2_way *down = &stream->way[H2_ORIGIN];
	size_t scanned = 0, head_bytes;
	const char *wrong = "";
	bool is_made = false;

	if (exchange->err == ERR_NONE) {
		exchange->err = err;
		exchange->detail = detail;
	}
	session->env->metrics->errors[exchange->err]++;
	refuse_write(session);
	head_bytes = http_head_find(buf_span(&exchange->to_client), &scanned);
	if (buf_is_whole(&exchange->to_client) && head_bytes) {
		struct span all = arena_copy(&exchange->response_arena, buf_span(&exchange->to_client));

		is_made = all.at && http_head_parse_response(span_first(all, head_bytes), exchange->head.method,
		                                             &exchange->response_arena, &exchange->response,
		                                             &wrong) == ERR_NONE;
		if (is_made)
			buf_add(&down->data, span_skip(all, head_bytes));
	}
	buf_fini(&exchange->to_client);
	exchange->bytes_down += buf_len(&down->data);
	h2_stream_leave(stream);
	return is_made && buf_is_whole(&down->data);
}

/* Also half of one that comes in. */
static void forget_response(struct h2_stream *stream)
{
	h2_fields_reset(&stream->way[H2_ORIGIN].fields);
	stream->exchange->facts.content_type = SPAN(""); /* it was the response's */
	arena_fini(&stream->exchange->response_arena);
}

static bool submit_response(struct h2_stream *stream)
{
	struct h2_way *down = &stream->way[H2_ORIGIN];
	nghttp2_data_provider provider;
	struct h2_list list;

	down->is_started = true;
	return h2_head_list_response(stream, &list) &&
	       nghttp2_submit_response(ng_of(stream, H2_CLIENT), stream->id[H2_CLIENT], list.at, list.count,
	                               provider_of(down, &provider)) == 0;
}

static void send_page(struct h2_stream *stream, enum err err, const char *detail)
{
	struct h2_way *down = &stream->way[H2_ORIGIN];

	stream->is_page = true;
	down->ended = true;
	down->has_trailers = false;
	forget_response(stream);
	if (!make_page(stream, err, detail) || !submit_response(stream))
		h2_stream_reset(stream, H2_CLIENT, NGHTTP2_INTERNAL_ERROR);
}

void h2_stream_fail(struct h2_stream *stream, enum err err, const char *detail)
{
	bool is_started = stream->way[H2_ORIGIN].is_started;

	list_remove(&stream->wait_link);
	h2_stream_reset(stream, H2_ORIGIN, NGHTTP2_CANCEL);
	if (!stream->is_open[H2_CLIENT])
		return;
	if (!is_started && err_status(err)) {
		if (!can_use(stream, H2_ORIGIN))
			h2_stream_drop(&stream->way[H2_CLIENT]);
		send_page(stream, err, detail);
		return;
	}
	h2_stream_note(stream, err, detail);
	h2_stream_reset(stream, H2_CLIENT, is_started ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL);
}

/* ---- the request ---- */

void h2_stream_on_request(struct h2_stream *stream)
{
	const char *detail = "";
	enum err err = h2_head_request(stream, &detail);
	struct session *session;

	stream->has_head = true;
	h2_stream_touch(stream);
	if (err == ERR_NONE) {
		session = h2_stream_enter(stream);
		if (session->inspect->request_count++ == 0)
			pins_note_success(session);
		err = inspect_decide(session);
		if (err == ERR_NONE && !rates_add(session, stream->exchange->decision.answers, stream->exchange->identity))
			err = ERR_SESSION_MEMORY;
		h2_stream_leave(stream);
		detail = stream->exchange->detail;
	}
	if (err) {
		h2_stream_fail(stream, err, detail);
		return;
	}
	if (stream->relay->has_goaway) {
		h2_stream_refuse(stream);
		return;
	}
	list_add_last(&stream->relay->waiting, &stream->wait_link);
}

void h2_stream_open(struct h2_stream *stream)
{
	struct h2_way *up = &stream->way[H2_CLIENT];
	nghttp2_data_provider provider;
	struct h2_list list;
	int32_t id = NGHTTP2_ERR_NOMEM;

	list_remove(&stream->wait_link);
	if (h2_head_list_request(stream, &list))
		id = nghttp2_submit_request(ng_of(stream, H2_ORIGIN), NULL, list.at, list.count,
		                            provider_of(up, &provider), stream);
	if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) {
		h2_relay_goaway(stream->relay, NGHTTP2_NO_ERROR);
		h2_stream_refuse(stream);
		return;
	}
	if (id < 0) {
		h2_stream_fail(stream, ERR_SESSION_MEMORY, "");
		return;
	}
	up->is_started = true;
	stream->id[H2_ORIGIN] = id;
	stream->is_open[H2_ORIGIN] = true;
	stream->relay->origin_open++;
	h2_stream_touch(stream);
}

/* ---- the response ---- */

static void forward_interim(struct h2_stream *stream)
{
	struct exchange *exchange = stream->exchange;
	struct h2_list list;
	bool sent;

	exchange->interim_bytes += stream->way[H2_ORIGIN].fields.bytes;
	if (exchange->interim_bytes > H2_INTERIM_MAX_BYTES) {
		h2_stream_fail(stream, ERR_RESPONSE_SIZE, "interim responses without end");
		return;
	}
	sent = h2_head_list_response(stream, &list) &&
	       nghttp2_submit_headers(ng_of(stream, H2_CLIENT), NGHTTP2_FLAG_NONE, stream->id[H2_CLIENT], NULL, list.at,
	                              list.count, NULL) == 0;
	forget_response(stream);
	if (!sent)
		h2_stream_fail(stream, ERR_SESSION_MEMORY, "");
}

void h2_stream_on_response(struct h2_stream *stream)
{
	struct exchange *exchange = stream->exchange;
	struct session *session = stream->relay->session;
	enum err err;

	h2_stream_touch(stream);
	if (!stream->is_open[H2_CLIENT] || stream->is_page || stream->was_reset[H2_CLIENT])
		return;
	err = h2_head_response(stream);
	if (err) {
		h2_stream_fail(stream, err, err == ERR_RESPONSE_SIZE ? "limits.head" : "");
		return;
	}
	if (exchange->response.status < 200) {
		forward_interim(stream);
		return;
	}
	h2_stream_enter(stream);
	err = response_decide_head(session, &exchange->response);
	h2_stream_leave(stream);
	if (err) {
		h2_stream_fail(stream, err, exchange->detail);
		return;
	}
	exchange->has_response = true;
	exchange->status = exchange->response.status;
	exchange->timing.first_byte_ms = (uint32_t)(loop_now_ms(session->env->loop) - exchange->started_ms);
	if (!submit_response(stream))
		h2_stream_fail(stream, ERR_SESSION_MEMORY, "");
}
