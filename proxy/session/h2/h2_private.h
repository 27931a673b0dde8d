/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 from the inside. Private to this folder. A leg is one connection with its nghttp2 session; a way is one
 * direction of one stream, named by who sends: way[H2_CLIENT] is the request.
 * Callbacks of nghttp2 never run nghttp2_session_mem_recv() or _mem_send(); they note, submit and resume. */
#ifndef SESSION_H2_PRIVATE_H
#define SESSION_H2_PRIVATE_H

#include <nghttp2/nghttp2.h>

#include "session/h2/h2.h"

enum h2_side { H2_CLIENT, H2_ORIGIN, H2_SIDES };

enum {
	H2_STREAMS_MAX = 128,        /* that a client may have open at once */
	H2_OUT_BYTES = 65536,        /* serialised and not written, per leg: about */
	H2_QUEUE_MAX = 500,          /* frames that wait in a leg before no more is read that could make others */
	H2_INTERIM_MAX_BYTES = 65536,/* of all interim responses of one stream */
	H2_NEVER_INDEXED_MAX = 8,
};

/* The fields of one header block while it comes in. In an arena of the exchange. */
struct h2_fields {
	struct http_field *at;
	size_t count, room;
	size_t bytes;              /* as SETTINGS_MAX_HEADER_LIST_SIZE counts them */
	bool is_too_large;
	struct span method, scheme, authority, path, protocol;
	int status;
	/* Values that must not enter a compression table on the way (RFC 7541 section 7.1.3). */
	const uint8_t *never_indexed[H2_NEVER_INDEXED_MAX];
	size_t never_count;        /* more than there is room for: all of them */
};

struct h2_way {
	struct h2_stream *stream;
	enum h2_side from;
	struct buf data;           /* received, not sent on, and so not credited yet */
	struct h2_fields fields;   /* of the head; interim responses, too */
	struct h2_fields trailers;
	bool is_started;           /* its head was given to the receiver's leg */
	bool is_deferred;          /* the receiver's leg waits for data */
	bool has_trailers;
	bool ended;                /* END_STREAM was received */
	bool sent_end;             /* END_STREAM was sent on */
};

struct h2_stream {
	struct list link;          /* in relay->streams, oldest first */
	struct list wait_link;     /* in relay->waiting, or unlinked */
	struct h2_relay *relay;
	struct exchange *exchange;
	struct session_generation *generation; /* that the exchange began with */
	uint32_t number;           /* of the exchange */
	int32_t id[H2_SIDES];      /* 0: none on this side */
	bool is_open[H2_SIDES];
	bool was_reset[H2_SIDES];  /* by us */
	bool heard_reset[H2_SIDES];/* from there */
	struct h2_way way[H2_SIDES];
	bool has_head;             /* the request is complete but for its content */
	bool is_page;              /* the response is ours */
	bool is_connect;           /* RFC 8441: bytes both ways */
	bool was_refused;          /* the origin has not seen it: the client may repeat it */
	bool has_pending;          /* a reset that follows what is still to be sent to the client */
	uint32_t pending_code;
	struct loop_timer timer;
};

struct h2_leg {
	struct h2_relay *relay;
	enum h2_side side;
	nghttp2_session *ng;
	struct stream *stream;
	struct buf out;            /* serialised and not written */
	int32_t window_bytes;      /* of each stream: what may be on its way to us, and be held */
	bool is_gone;              /* nothing can be read or written any more */
	bool is_deaf;              /* it takes no more; what it said may still come */
	unsigned wasted;           /* frames in a row that moved nothing on */
};

struct h2_relay {
	struct session *session;
	struct h2_leg leg[H2_SIDES];
	struct list streams, waiting; /* waiting: for the origin to allow one more */
	size_t stream_count;
	uint32_t origin_open;      /* streams there */
	int32_t served_id;         /* highest of the client's that ended and was not refused */
	bool has_origin_settings;
	bool has_goaway;           /* was sent to the client */
	bool is_over;              /* the session ends at the end of this step */
	enum err end_err;
	uint32_t concurrent, connect_protocol; /* as the client was told */
	uint64_t resets_at_ms;     /* abnormal ends: a bucket that leaks */
	unsigned resets;
	bool was_idle;             /* for the clock */
	struct loop_timer release; /* of buffers, when nothing moves */
};

static inline enum h2_side h2_other(enum h2_side side)
{
	return side == H2_CLIENT ? H2_ORIGIN : H2_CLIENT;
}

/* ---- h2_leg.c: one connection ---- */

MUST_USE enum err h2_leg_init(struct h2_leg *leg, struct h2_relay *relay, enum h2_side side, struct stream *stream);
void h2_leg_fini(struct h2_leg *leg);

/* Read once, and use it up; write what is to be written. How many bytes moved. */
size_t h2_leg_read(struct h2_leg *leg);
size_t h2_leg_write(struct h2_leg *leg);

/* Neither side has more to say here. */
bool h2_leg_is_done(const struct h2_leg *leg);

/* End this leg with a GOAWAY of this code, as soon as it is written. */
void h2_leg_terminate(struct h2_leg *leg, uint32_t code);

/* SETTINGS for the client: ours, within what the origin said of itself. Sent if it has changed. */
void h2_leg_tell_settings(struct h2_relay *relay);

/* How many streams the origin takes. */
uint32_t h2_leg_origin_room(const struct h2_relay *relay);

/* Callbacks; h2_events.c. */
void h2_events_set(nghttp2_session_callbacks *callbacks);
ssize_t h2_events_read(nghttp2_session *ng, int32_t id, uint8_t *to, size_t len, uint32_t *flags,
                       nghttp2_data_source *source, void *context);

/* ---- h2.c: the connection as a whole ---- */

/* The session ends at the end of this step, for this reason. */
void h2_relay_end(struct h2_relay *relay, enum err err);

/* The client shall open no more streams; which of its streams have been, or will be, served. */
void h2_relay_goaway(struct h2_relay *relay, uint32_t code);

/* The origin takes no more than the streams up to this one of its own. */
void h2_relay_on_origin_goaway(struct h2_relay *relay, int32_t last_id, uint32_t code);

/* Nothing more comes from the origin. */
void h2_relay_on_origin_gone(struct h2_relay *relay, enum err err);

/* One more stream of the client ended in another way than complete: too often? */
void h2_relay_count_reset(struct h2_relay *relay);

/* Give waiting streams to the origin, as many as it takes. */
void h2_relay_open_waiting(struct h2_relay *relay);

/* ---- h2_stream.c ---- */

/* NULL: no memory. */
struct h2_stream *h2_stream_new(struct h2_relay *relay, int32_t client_id);

/* The session's line, and the memory. */
void h2_stream_free(struct h2_stream *stream);

/* Calls between these two are about this stream: session->exchange, and the generation and number that belong to it. */
struct session *h2_stream_enter(struct h2_stream *stream);
void h2_stream_leave(struct h2_stream *stream);

/* Note the first cause of a failure. */
void h2_stream_note(struct h2_stream *stream, enum err err, const char *detail);

/* The request's head is complete: decide, and let it wait for its turn, or refuse it. */
void h2_stream_on_request(struct h2_stream *stream);

/* Open it at the origin. */
void h2_stream_open(struct h2_stream *stream);

/* A head, interim or final, came from the origin. */
void h2_stream_on_response(struct h2_stream *stream);

/* Content went on to the receiver: its sender is credited with it. */
void h2_stream_took(struct h2_way *way, size_t len);

/* Content came; END_STREAM came. */
void h2_stream_on_data(struct h2_way *way, struct span bytes);
void h2_stream_on_end(struct h2_way *way);

/* Nobody will take what there is: credited and forgotten. */
void h2_stream_drop(struct h2_way *way);

/* This side's leg has closed it. */
void h2_stream_on_close(struct h2_stream *stream, enum h2_side side, uint32_t code);

/* END_STREAM was sent to this side. */
void h2_stream_on_end_sent(struct h2_stream *stream, enum h2_side to);

/* Answer with a page of our own; where a response has begun, cut it. The origin's stream is given up. */
void h2_stream_fail(struct h2_stream *stream, enum err err, const char *detail);

/* RST_STREAM to this side, once. */
void h2_stream_reset(struct h2_stream *stream, enum h2_side side, uint32_t code);

/* The origin has not seen it: REFUSED_STREAM. */
void h2_stream_refuse(struct h2_stream *stream);

/* A response that will get no further ends with this code behind what is still to be sent. */
void h2_stream_cut(struct h2_stream *stream, uint32_t code);

/* Something moved. */
void h2_stream_touch(struct h2_stream *stream);

/* ---- h2_head.c ---- */

/* The block that comes in from this side now: a head, or trailers. */
struct h2_fields *h2_head_block(struct h2_stream *stream, enum h2_side side);

void h2_fields_reset(struct h2_fields *fields);

/* One field of a block. What is over the limit is left out, and noted. */
void h2_fields_add(struct h2_fields *fields, struct arena *arena, size_t max_bytes, struct span name, struct span value,
                   bool never_indexed);

/* Make the exchange's head and target from the fields of the request. errors: ERR_REQUEST_SIZE, _HOST, _AUTHORITY,
 * _TARGET, _SCHEME, _METHOD, _LOOP, ERR_SESSION_MEMORY. */
MUST_USE enum err h2_head_request(struct h2_stream *stream, const char **detail);

/* Make exchange->response. errors: ERR_RESPONSE_SIZE, ERR_SESSION_MEMORY. */
MUST_USE enum err h2_head_response(struct h2_stream *stream);

/* What nghttp2 is to send. The spans live as long as the exchange's arenas. */
struct h2_list {
	nghttp2_nv *at;
	size_t count, room;
};

/* The request for the origin; a response for the client; trailers. False: no memory. */
MUST_USE bool h2_head_list_request(struct h2_stream *stream, struct h2_list *out);
MUST_USE bool h2_head_list_response(struct h2_stream *stream, struct h2_list *out);
MUST_USE bool h2_head_list_trailers(struct h2_way *way, struct h2_list *out);

/* Arena for what comes from this side. */
struct arena *h2_head_arena(struct h2_stream *stream, enum h2_side side);

#endif
