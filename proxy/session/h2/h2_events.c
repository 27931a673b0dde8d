/* SPDX-License-Identifier: Apache-2.0 */
/* What nghttp2 tells of both legs, and what it asks for. */
#include <string.h>

#include "session/h2/h2_private.h"

enum {
	WASTED_MAX = 10000,   /* frames in a row that move nothing on */
	FRAME_HEAD_BYTES = 9,
	FIELDS_HARD_FACTOR = 4, /* a block of so many times the limit ends the connection */
};

static struct h2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
	return nghttp2_session_get_stream_user_data(ng, id);
}

/* ---- heads ---- */

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *context)
{
	struct h2_leg *leg = context;
	struct h2_stream *stream = stream_of(ng, frame->hd.stream_id);

	if (leg->side == H2_CLIENT && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		stream = h2_stream_new(leg->relay, frame->hd.stream_id);
		if (stream == NULL)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id, stream);
	}
	if (stream)
		h2_fields_reset(h2_head_block(stream, leg->side));
	return 0;
}

/* More of it than we bear with. Nothing that comes after it on this leg is looked at. */
static void give_up(struct h2_leg *leg, enum err client_err, enum err origin_err)
{
	h2_leg_terminate(leg, NGHTTP2_ENHANCE_YOUR_CALM);
	if (leg->side == H2_CLIENT)
		h2_relay_end(leg->relay, client_err);
	else
		h2_relay_on_origin_gone(leg->relay, origin_err);
}

static struct span span_of_rcbuf(nghttp2_rcbuf *rcbuf)
{
	nghttp2_vec vec = nghttp2_rcbuf_get_buf(rcbuf);

	return span_of(vec.base, vec.len);
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                     uint8_t flags, void *context)
{
	struct h2_leg *leg = context;
	struct h2_stream *stream = stream_of(ng, frame->hd.stream_id);
	size_t max_bytes;
	struct h2_fields *fields;

	if (stream == NULL)
		return 0;
	fields = h2_head_block(stream, leg->side);
	max_bytes = session_conf_of(leg->relay->session)->limits.head_bytes;
	h2_fields_add(fields, h2_head_arena(stream, leg->side), max_bytes, span_of_rcbuf(name), span_of_rcbuf(value),
	              flags & NGHTTP2_NV_FLAG_NO_INDEX);
	/* A block without end is decoded all the same, or the tables of compression would differ: somewhere that stops. */
	if (fields->bytes > max_bytes * FIELDS_HARD_FACTOR)
		give_up(leg, ERR_REQUEST_SIZE, ERR_RESPONSE_SIZE);
	return 0;
}

/* nghttp2 would drop it and go on: a request would be decided without what its origin may have read from it. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value, uint8_t flags, void *context)
{
	struct h2_leg *leg = context;

	(void)ng, (void)frame, (void)name, (void)value, (void)flags;
	return leg->side == H2_CLIENT ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

/* The content before trailers that are too large is sound, and the response is cut behind it. False: nothing ends here. */
static bool on_trailers(struct h2_leg *leg, struct h2_stream *stream)
{
	struct h2_way *way = &stream->way[leg->side];

	if (!way->trailers.is_too_large || stream->is_page) {
		way->has_trailers = !stream->is_page;
		return true;
	}
	if (leg->side == H2_CLIENT) {
		h2_stream_fail(stream, ERR_REQUEST_SIZE, "trailers");
		return true;
	}
	h2_stream_note(stream, ERR_RESPONSE_SIZE, "trailers");
	h2_stream_reset(stream, H2_ORIGIN, NGHTTP2_CANCEL);
	h2_stream_cut(stream, NGHTTP2_INTERNAL_ERROR);
	return false;
}

static void on_head_end(struct h2_leg *leg, struct h2_stream *stream, const nghttp2_frame *frame)
{
	struct h2_way *way = &stream->way[leg->side];
	bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	leg->wasted = 0;
	if (h2_head_block(stream, leg->side) == &way->trailers) {
		if (on_trailers(leg, stream) && ends)
			h2_stream_on_end(way);
		return;
	}
	way->ended = ends;
	if (leg->side == H2_CLIENT)
		h2_stream_on_request(stream);
	else
		h2_stream_on_response(stream);
}

/* ---- other frames ---- */

static void on_settings(struct h2_leg *leg)
{
	if (leg->side == H2_CLIENT)
		return;
	leg->relay->has_origin_settings = true;
	h2_leg_tell_settings(leg->relay);
}

/* A side that keeps us busy with nothing. */
static bool is_flood(struct h2_leg *leg, const nghttp2_frame *frame)
{
	bool is_message = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;

	return !(is_message && frame->hd.length) && ++leg->wasted > WASTED_MAX;
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *context)
{
	struct h2_leg *leg = context;
	struct h2_stream *stream = frame->hd.stream_id ? stream_of(ng, frame->hd.stream_id) : NULL;

	if (is_flood(leg, frame))
		give_up(leg, ERR_LIMIT, ERR_RESPONSE_SYNTAX);
	else if (frame->hd.type == NGHTTP2_HEADERS && stream)
		on_head_end(leg, stream, frame);
	else if (frame->hd.type == NGHTTP2_DATA && stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		h2_stream_on_end(&stream->way[leg->side]);
	else if (frame->hd.type == NGHTTP2_RST_STREAM && stream)
		stream->heard_reset[leg->side] = true;
	else if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
		on_settings(leg);
	else if (frame->hd.type == NGHTTP2_GOAWAY && leg->side == H2_ORIGIN)
		h2_relay_on_origin_goaway(leg->relay, frame->goaway.last_stream_id, frame->goaway.error_code);
	return 0;
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int code, void *context)
{
	struct h2_leg *leg = context;

	(void)ng, (void)frame, (void)code;
	/* What makes us reset costs as much as what is reset. */
	if (leg->side == H2_CLIENT)
		h2_relay_count_reset(leg->relay);
	return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *at, size_t len, void *context)
{
	struct h2_leg *leg = context;
	struct h2_stream *stream = stream_of(ng, id);

	(void)flags;
	leg->wasted = 0;
	if (stream)
		h2_stream_on_data(&stream->way[leg->side], span_of(at, len));
	else
		nghttp2_session_consume(ng, id, len);
	return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *context)
{
	struct h2_leg *leg = context;
	struct h2_stream *stream = stream_of(ng, id);

	if (stream)
		h2_stream_on_close(stream, leg->side, code);
	return 0;
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *context)
{
	struct h2_leg *leg = context;
	struct h2_stream *stream;

	if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
	    !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	stream = stream_of(ng, frame->hd.stream_id);
	if (stream)
		h2_stream_on_end_sent(stream, leg->side);
	return 0;
}

/* A request that came behind the origin's GOAWAY: never seen there. Its stream is closed next. */
static int on_frame_not_send(nghttp2_session *ng, const nghttp2_frame *frame, int code, void *context)
{
	struct h2_leg *leg = context;
	struct h2_stream *stream;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	stream = stream_of(ng, frame->hd.stream_id);
	if (stream && leg->side == H2_ORIGIN && code == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED)
		h2_stream_refuse(stream);
	else if (stream && leg->side == H2_CLIENT && code != NGHTTP2_ERR_STREAM_CLOSING)
		h2_stream_reset(stream, H2_CLIENT, NGHTTP2_INTERNAL_ERROR);
	return 0;
}

/* ---- content that goes on ---- */

static ssize_t read_end(nghttp2_session *ng, int32_t id, struct h2_way *way, uint32_t *flags)
{
	struct h2_list trailers;

	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (!way->has_trailers)
		return 0;
	if (!h2_head_list_trailers(way, &trailers))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (trailers.count == 0)
		return 0;
	*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	return nghttp2_submit_trailer(ng, id, trailers.at, trailers.count) ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

/* How much there is; send_data() takes it. */
ssize_t h2_events_read(nghttp2_session *ng, int32_t id, uint8_t *to, size_t len, uint32_t *flags,
                       nghttp2_data_source *source, void *context)
{
	struct h2_way *way = source->ptr;
	size_t there = buf_len(&way->data);
	ssize_t failed;

	(void)to, (void)context;
	if (there == 0 && !way->ended) {
		way->is_deferred = true;
		if (way->stream->has_pending && way->from == H2_ORIGIN)
			h2_stream_reset(way->stream, H2_CLIENT, way->stream->pending_code);
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (there > len)
		return (ssize_t)len;
	failed = way->ended ? read_end(ng, id, way, flags) : 0;
	return failed ? failed : (ssize_t)there;
}

static int send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t len,
                     nghttp2_data_source *source, void *context)
{
	struct h2_leg *leg = context;
	struct h2_way *way = source->ptr;

	(void)ng, (void)frame;
	if (buf_len(&leg->out) >= H2_OUT_BYTES)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (SURPRISE(buf_len(&way->data) < len))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	leg->wasted = 0;
	buf_add(&leg->out, span_of(head, FRAME_HEAD_BYTES));
	buf_add(&leg->out, span_first(buf_span(&way->data), len));
	h2_stream_took(way, len);
	return 0;
}

void h2_events_set(nghttp2_session_callbacks *callbacks)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback2(callbacks, on_invalid_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
}
