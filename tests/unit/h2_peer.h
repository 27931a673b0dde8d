/* SPDX-License-Identifier: Apache-2.0 */
/* A real HTTP/2 peer on a socket, client or server, made of nghttp2: for tests of what lies between two of them. */
#ifndef TESTS_H2_PEER_H
#define TESTS_H2_PEER_H

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/compiler.h"

enum { H2_PEER_STREAMS = 1200, H2_PEER_FIELDS = 40 };

struct h2_peer;

struct h2_peer_stream {
	struct h2_peer *peer;
	int32_t id;
	struct buf head, trailers, interim; /* "name: value\n" */
	struct buf body;
	bool keeps_body;             /* else only counted */
	uint64_t body_bytes;
	bool head_done, ended, closed;
	uint32_t code;               /* of the end */
	/* what this side sends */
	uint64_t to_send;            /* bytes of a pattern */
	uint64_t sent;
	struct span text;            /* or this */
	bool holds;                  /* when all is sent, it does not end */
	bool is_deferred, sends_trailers, echoes, cut_when_sent;
	uint32_t cut_code;
};

struct h2_peer {
	nghttp2_session *ng;
	int fd;
	bool is_server, is_paused, is_mute, eof;
	struct buf out;              /* serialised and not sent */
	struct h2_peer_stream streams[H2_PEER_STREAMS];
	size_t count;
	bool has_goaway, has_settings;
	int32_t goaway_last;
	uint32_t goaway_code;
	uint64_t read_bytes;
	/* of a server: the head of a request is there; and all of it */
	void (*on_request)(struct h2_peer *peer, struct h2_peer_stream *stream);
	void (*on_end)(struct h2_peer *peer, struct h2_peer_stream *stream);
	size_t pings;
};

static inline struct h2_peer_stream *h2_peer_find(struct h2_peer *peer, int32_t id)
{
	for (size_t i = 0; i < peer->count; i++)
		if (peer->streams[i].id == id)
			return &peer->streams[i];
	return NULL;
}

static inline struct h2_peer_stream *h2_peer_add(struct h2_peer *peer, int32_t id)
{
	struct h2_peer_stream *stream = &peer->streams[peer->count++];

	ASSERT(peer->count <= H2_PEER_STREAMS);
	*stream = (struct h2_peer_stream){.peer = peer, .id = id, .keeps_body = true, .text = SPAN("")};
	buf_init(&stream->head, 1 << 20);
	buf_init(&stream->trailers, 1 << 20);
	buf_init(&stream->interim, 1 << 20);
	buf_init(&stream->body, 1 << 22);
	return stream;
}

static inline uint8_t h2_peer_pattern(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 8));
}

/* ---- callbacks ---- */

static inline int h2_peer_on_begin(nghttp2_session *ng, const nghttp2_frame *frame, void *context)
{
	struct h2_peer *peer = context;

	(void)ng;
	if (h2_peer_find(peer, frame->hd.stream_id) == NULL)
		h2_peer_add(peer, frame->hd.stream_id);
	return 0;
}

static inline int h2_peer_on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                                    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                                    void *context)
{
	struct h2_peer_stream *stream = h2_peer_find(context, frame->hd.stream_id);
	struct buf *out = stream->head_done ? &stream->trailers : &stream->head;

	(void)ng;
	buf_printf(out, "%.*s: %.*s%s\n", (int)name_len, name, (int)value_len, value,
	           flags & NGHTTP2_NV_FLAG_NO_INDEX ? " (never indexed)" : "");
	return 0;
}

static inline bool h2_peer_is_interim(const struct h2_peer_stream *stream)
{
	return span_starts_with(buf_span(&stream->head), SPAN(":status: 1"));
}

static inline void h2_peer_on_head(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	if (stream->head_done)
		return;
	if (!peer->is_server && h2_peer_is_interim(stream)) {
		buf_add(&stream->interim, buf_span(&stream->head));
		buf_reset(&stream->head);
		return;
	}
	stream->head_done = true;
	if (peer->on_request)
		peer->on_request(peer, stream);
}

static inline void h2_peer_resume(struct h2_peer_stream *stream)
{
	if (stream->is_deferred) {
		stream->is_deferred = false;
		nghttp2_session_resume_data(stream->peer->ng, stream->id);
	}
}

static inline int h2_peer_on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *context)
{
	struct h2_peer *peer = context;
	struct h2_peer_stream *stream = frame->hd.stream_id ? h2_peer_find(peer, frame->hd.stream_id) : NULL;

	(void)ng;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		peer->has_goaway = true;
		peer->goaway_last = frame->goaway.last_stream_id;
		peer->goaway_code = frame->goaway.error_code;
	}
	if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
		peer->has_settings = true;
	if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK))
		peer->pings++;
	if (frame->hd.type == NGHTTP2_HEADERS && stream)
		h2_peer_on_head(peer, stream);
	if (stream && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
		stream->ended = true;
		if (stream->echoes)
			h2_peer_resume(stream);
		if (peer->on_end)
			peer->on_end(peer, stream);
	}
	return 0;
}

static inline int h2_peer_on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *at, size_t len,
                                  void *context)
{
	struct h2_peer_stream *stream = h2_peer_find(context, id);

	(void)ng, (void)flags;
	if (stream == NULL)
		return 0;
	for (size_t i = 0; i < len && !stream->keeps_body; i++)
		ASSERT(at[i] == h2_peer_pattern(stream->body_bytes + i));
	stream->body_bytes += len;
	if (stream->keeps_body)
		buf_add(&stream->body, span_of(at, len));
	if (stream->echoes)
		h2_peer_resume(stream);
	return 0;
}

static inline int h2_peer_on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *context)
{
	struct h2_peer_stream *stream = h2_peer_find(context, id);

	(void)ng;
	if (stream) {
		stream->closed = true;
		stream->code = code;
	}
	return 0;
}

/* ---- what it sends ---- */

static inline nghttp2_nv h2_peer_nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value),
	                    NGHTTP2_NV_FLAG_NONE};
}

/* "name", "value", ..., NULL; a name that begins with '!' is sent as never indexed. */
static inline size_t h2_peer_list(const char *const *pairs, nghttp2_nv *out)
{
	size_t count = 0;

	for (; pairs && pairs[0]; pairs += 2) {
		bool never = pairs[0][0] == '!';

		ASSERT(count < H2_PEER_FIELDS);
		out[count] = h2_peer_nv(pairs[0] + never, pairs[1]);
		out[count++].flags = never ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
	}
	return count;
}

static inline ssize_t h2_peer_read_echo(struct h2_peer_stream *stream, uint8_t *to, size_t len, uint32_t *flags)
{
	size_t there = buf_len(&stream->body), count = there < len ? there : len;

	if (there == 0 && !stream->ended) {
		stream->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (there)
		memcpy(to, buf_span(&stream->body).at, count);
	buf_consume(&stream->body, count);
	if (count == there && stream->ended)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)count;
}

static inline ssize_t h2_peer_read(nghttp2_session *ng, int32_t id, uint8_t *to, size_t len, uint32_t *flags,
                                   nghttp2_data_source *source, void *context)
{
	struct h2_peer_stream *stream = h2_peer_find(context, id);
	uint64_t all = stream->text.len ? stream->text.len : stream->to_send, left = all - stream->sent;
	nghttp2_nv trailer = h2_peer_nv("x-trailer", "the end");
	size_t count = left < len ? (size_t)left : len;

	(void)source;
	if (stream->echoes)
		return h2_peer_read_echo(stream, to, len, flags);
	for (size_t i = 0; i < count; i++)
		to[i] = stream->text.len ? stream->text.at[stream->sent + i] : h2_peer_pattern(stream->sent + i);
	stream->sent += count;
	if (stream->sent < all)
		return (ssize_t)count;
	if (count == 0 && stream->cut_when_sent)
		nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, id, stream->cut_code);
	if (stream->holds || stream->cut_when_sent) {
		stream->is_deferred = count == 0;
		return count ? (ssize_t)count : NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (stream->sends_trailers) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		nghttp2_submit_trailer(ng, id, &trailer, 1);
	}
	return (ssize_t)count;
}

static inline void h2_peer_respond(struct h2_peer_stream *stream, const char *const *pairs, bool has_body)
{
	nghttp2_data_provider provider = {.read_callback = h2_peer_read};
	nghttp2_nv list[H2_PEER_FIELDS];

	nghttp2_submit_response(stream->peer->ng, stream->id, list, h2_peer_list(pairs, list),
	                        has_body ? &provider : NULL);
}

static inline void h2_peer_interim(struct h2_peer_stream *stream, const char *const *pairs)
{
	nghttp2_nv list[H2_PEER_FIELDS];

	nghttp2_submit_headers(stream->peer->ng, NGHTTP2_FLAG_NONE, stream->id, NULL, list, h2_peer_list(pairs, list),
	                       NULL);
}

static inline struct h2_peer_stream *h2_peer_request(struct h2_peer *peer, const char *const *pairs, bool has_body)
{
	nghttp2_data_provider provider = {.read_callback = h2_peer_read};
	nghttp2_nv list[H2_PEER_FIELDS];
	int32_t id = nghttp2_submit_request(peer->ng, NULL, list, h2_peer_list(pairs, list), has_body ? &provider : NULL,
	                                    NULL);

	ASSERT(id > 0);
	return h2_peer_add(peer, id);
}

/* ---- the socket ---- */

static inline void h2_peer_init(struct h2_peer *peer, int fd, bool is_server, bool keeps_windows)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *options;

	*peer = (struct h2_peer){.fd = fd, .is_server = is_server};
	buf_init(&peer->out, 1 << 20);
	ASSERT(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&options) == 0);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, h2_peer_on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, h2_peer_on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, h2_peer_on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, h2_peer_on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, h2_peer_on_close);
	nghttp2_option_set_no_auto_window_update(options, keeps_windows);
	ASSERT((is_server ? nghttp2_session_server_new2(&peer->ng, callbacks, peer, options)
	                  : nghttp2_session_client_new2(&peer->ng, callbacks, peer, options)) == 0);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(options);
}

static inline void h2_peer_settings(struct h2_peer *peer, const nghttp2_settings_entry *at, size_t count)
{
	ASSERT(nghttp2_submit_settings(peer->ng, NGHTTP2_FLAG_NONE, at, count) == 0);
}

static inline void h2_peer_close(struct h2_peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
}

static inline void h2_peer_fini(struct h2_peer *peer)
{
	for (size_t i = 0; i < peer->count; i++) {
		buf_fini(&peer->streams[i].head);
		buf_fini(&peer->streams[i].trailers);
		buf_fini(&peer->streams[i].interim);
		buf_fini(&peer->streams[i].body);
	}
	peer->count = 0;
	buf_fini(&peer->out);
	h2_peer_close(peer);
	nghttp2_session_del(peer->ng);
	peer->ng = NULL;
}

/* Send what there is, receive what there is. */
static inline void h2_peer_send(struct h2_peer *peer)
{
	const uint8_t *at;
	ssize_t len, count;

	while (peer->fd >= 0 && !peer->is_mute) {
		while (buf_len(&peer->out) < 65536 && (len = nghttp2_session_mem_send(peer->ng, &at)) > 0)
			buf_add(&peer->out, span_of(at, (size_t)len));
		if (buf_len(&peer->out) == 0)
			return;
		count = send(peer->fd, buf_span(&peer->out).at, buf_len(&peer->out), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (count < 0)
			return;
		buf_consume(&peer->out, (size_t)count);
	}
}

static inline void h2_peer_receive(struct h2_peer *peer)
{
	uint8_t bytes[16384];
	ssize_t count;

	while (peer->fd >= 0 && !peer->is_paused && !peer->eof &&
	       (count = recv(peer->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) >= 0) {
		if (count == 0) {
			peer->eof = true;
			return;
		}
		peer->read_bytes += (size_t)count;
		if (nghttp2_session_mem_recv(peer->ng, bytes, (size_t)count) < 0)
			return;
	}
}

#endif
