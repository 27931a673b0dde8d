/* SPDX-License-Identifier: Apache-2.0 */
/* One connection with its nghttp2 session: made, read, written. */
#include "session/h2/h2_private.h"

enum {
	ORIGIN_STREAMS_DEFAULT = 100, /* before its SETTINGS are known (RFC 9113 section 6.5.2 recommends no less) */
	WINDOWS_PER_CONNECTION = 16,
	ORIGIN_WINDOW_FACTOR = 4,     /* the way to origins is long: more is on its way at once */
	FRAME_ROOM_BYTES = 262144,    /* what one frame, or one block of a head, may be over H2_OUT_BYTES */
};

static struct session *session_of(const struct h2_leg *leg)
{
	return leg->relay->session;
}

/* ---- settings ---- */

/* Asked once: what was promised holds, whatever the configuration says later. */
static int32_t window_by_conf(const struct h2_leg *leg)
{
	uint64_t buffer = session_conf_of(session_of(leg))->limits.buffer_bytes;

	return (int32_t)(leg->side == H2_ORIGIN ? buffer * ORIGIN_WINDOW_FACTOR : buffer);
}

static uint32_t head_max(const struct h2_leg *leg)
{
	return (uint32_t)session_conf_of(session_of(leg))->limits.head_bytes;
}

static enum err submit_settings(struct h2_leg *leg, const nghttp2_settings_entry *at, size_t count)
{
	return nghttp2_submit_settings(leg->ng, NGHTTP2_FLAG_NONE, at, count) ? ERR_MEMORY : ERR_NONE;
}

static enum err settings_for_origin(struct h2_leg *leg)
{
	const nghttp2_settings_entry entries[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)leg->window_bytes},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, head_max(leg)},
	};

	return submit_settings(leg, entries, COUNT_OF(entries));
}

uint32_t h2_leg_origin_room(const struct h2_relay *relay)
{
	uint32_t said;

	if (!relay->has_origin_settings)
		return ORIGIN_STREAMS_DEFAULT;
	said = nghttp2_session_get_remote_settings(relay->leg[H2_ORIGIN].ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	return said < H2_STREAMS_MAX ? said : H2_STREAMS_MAX;
}

/* Extended CONNECT is offered where the origin has it; once offered it cannot be taken back (RFC 8441 section 3). */
static bool has_connect_protocol(const struct h2_relay *relay)
{
	return relay->connect_protocol ||
	       (relay->has_origin_settings &&
	        nghttp2_session_get_remote_settings(relay->leg[H2_ORIGIN].ng,
	                                            NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL));
}

static enum err settings_for_client(struct h2_relay *relay)
{
	struct h2_leg *leg = &relay->leg[H2_CLIENT];
	uint32_t room = relay->has_origin_settings ? h2_leg_origin_room(relay) : H2_STREAMS_MAX;
	bool protocol = has_connect_protocol(relay);
	const nghttp2_settings_entry entries[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, room},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)leg->window_bytes},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, head_max(leg)},
		{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
	};

	if (room == relay->concurrent && protocol == relay->connect_protocol)
		return ERR_NONE;
	relay->concurrent = room;
	relay->connect_protocol = protocol;
	return submit_settings(leg, entries, COUNT_OF(entries) - (protocol ? 0 : 1));
}

void h2_leg_tell_settings(struct h2_relay *relay)
{
	if (settings_for_client(relay))
		h2_relay_end(relay, ERR_SESSION_MEMORY);
}

/* ---- made and freed ---- */

static nghttp2_option *new_options(const struct h2_leg *leg)
{
	nghttp2_option *options;

	if (nghttp2_option_new(&options))
		return NULL;
	nghttp2_option_set_no_auto_window_update(options, 1);
	nghttp2_option_set_no_closed_streams(options, 1);
	/* What came in may be sent on, with what is added to it. */
	nghttp2_option_set_max_send_header_block_length(options, (size_t)head_max(leg) * 2 + 65536);
	return options;
}

static enum err new_session(struct h2_leg *leg)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *options = new_options(leg);
	int failed = options ? nghttp2_session_callbacks_new(&callbacks) : NGHTTP2_ERR_NOMEM;

	if (failed == 0) {
		h2_events_set(callbacks);
		failed = leg->side == H2_CLIENT
		                 ? nghttp2_session_server_new2(&leg->ng, callbacks, leg, options)
		                 : nghttp2_session_client_new2(&leg->ng, callbacks, leg, options);
		nghttp2_session_callbacks_del(callbacks);
	}
	if (options)
		nghttp2_option_del(options);
	return failed ? ERR_MEMORY : ERR_NONE;
}

enum err h2_leg_init(struct h2_leg *leg, struct h2_relay *relay, enum h2_side side, struct stream *stream)
{
	*leg = (struct h2_leg){.relay = relay, .side = side, .stream = stream};
	leg->window_bytes = window_by_conf(leg);
	buf_init(&leg->out, H2_OUT_BYTES + FRAME_ROOM_BYTES);
	if (new_session(leg))
		return ERR_MEMORY;
	if (side == H2_ORIGIN ? settings_for_origin(leg) : settings_for_client(relay))
		return ERR_MEMORY;
	return nghttp2_session_set_local_window_size(leg->ng, NGHTTP2_FLAG_NONE, 0,
	                                             leg->window_bytes * WINDOWS_PER_CONNECTION)
	               ? ERR_MEMORY
	               : ERR_NONE;
}

void h2_leg_fini(struct h2_leg *leg)
{
	nghttp2_session_del(leg->ng);
	leg->ng = NULL;
	buf_fini(&leg->out);
}

void h2_leg_terminate(struct h2_leg *leg, uint32_t code)
{
	if (!leg->is_gone && nghttp2_session_terminate_session(leg->ng, code))
		h2_relay_end(leg->relay, ERR_SESSION_MEMORY);
}

bool h2_leg_is_done(const struct h2_leg *leg)
{
	return leg->is_gone || (!nghttp2_session_want_read(leg->ng) && !nghttp2_session_want_write(leg->ng) &&
	                        buf_len(&leg->out) == 0);
}

/* ---- read ---- */

static void on_gone(struct h2_leg *leg, enum stream_state state)
{
	bool ended = state == STREAM_END;

	leg->is_gone = true;
	if (leg->side == H2_CLIENT)
		h2_relay_end(leg->relay, ended ? ERR_CLIENT_CLOSED : ERR_CLIENT_RESET);
	else
		h2_relay_on_origin_gone(leg->relay, ended ? ERR_ORIGIN_CLOSED : ERR_ORIGIN_RESET);
}

/* What this side sends makes frames for both: while those are not taken, it waits. */
static bool is_stalled(const struct h2_leg *leg)
{
	for (int side = 0; side < H2_SIDES; side++) {
		const struct h2_leg *one = &leg->relay->leg[side];

		if (!one->is_gone && nghttp2_session_get_outbound_queue_size(one->ng) > H2_QUEUE_MAX)
			return true;
	}
	return false;
}

/* No HTTP/2, or more of it than we bear with. */
static void on_broken(struct h2_leg *leg, ssize_t code)
{
	if (code == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
		leg->is_gone = true;
	h2_leg_terminate(leg, code == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_INTERNAL_ERROR);
	if (leg->side == H2_CLIENT)
		h2_relay_end(leg->relay, ERR_REQUEST_SYNTAX);
	else
		h2_relay_on_origin_gone(leg->relay, ERR_RESPONSE_SYNTAX);
}

static void use(struct h2_leg *leg, struct span bytes)
{
	ssize_t used = nghttp2_session_mem_recv(leg->ng, bytes.at, bytes.len);

	if (used < 0)
		on_broken(leg, used);
}

static size_t use_rest(struct h2_leg *leg)
{
	struct buf *in = &session_of(leg)->in;
	size_t len = buf_len(in);

	use(leg, buf_span(in));
	buf_fini(in);
	return len;
}

size_t h2_leg_read(struct h2_leg *leg)
{
	size_t len, got;
	uint8_t *scratch = loop_scratch(session_of(leg)->env->loop, &len);
	enum stream_state state;

	if (leg->is_gone || leg->relay->is_over || is_stalled(leg) || !nghttp2_session_want_read(leg->ng))
		return 0;
	if (leg->side == H2_CLIENT && buf_len(&session_of(leg)->in))
		return use_rest(leg);
	state = stream_read(leg->stream, scratch, len, &got);
	if (state == STREAM_AGAIN)
		return 0;
	if (state != STREAM_OK) {
		on_gone(leg, state);
		return 0;
	}
	use(leg, span_of(scratch, got));
	return got;
}

/* ---- write ---- */

/* False: nothing more is there to be sent, or a flow-control window is shut. */
static bool fill(struct h2_leg *leg)
{
	size_t before = buf_len(&leg->out);

	while (buf_len(&leg->out) < H2_OUT_BYTES) {
		const uint8_t *at;
		ssize_t len = nghttp2_session_mem_send(leg->ng, &at);

		if (len <= 0) {
			if (len < 0)
				on_broken(leg, len);
			break;
		}
		buf_add(&leg->out, span_of(at, (size_t)len));
	}
	if (SURPRISE(!buf_is_whole(&leg->out)))
		h2_relay_end(leg->relay, ERR_INTERNAL);
	return buf_len(&leg->out) > before;
}

/* Of an origin that takes no more, what it said before may still lie there. */
static void on_unwritable(struct h2_leg *leg, enum stream_state state)
{
	buf_reset(&leg->out);
	if (leg->side == H2_CLIENT) {
		on_gone(leg, state);
		return;
	}
	leg->is_deaf = true;
	leg->stream->ready |= LOOP_BROKEN;
}

size_t h2_leg_write(struct h2_leg *leg)
{
	size_t sent = 0;

	while (!leg->is_gone && !leg->is_deaf && (fill(leg) || buf_len(&leg->out))) {
		size_t taken;
		enum stream_state state = stream_write(leg->stream, buf_span(&leg->out), &taken);

		if (state == STREAM_AGAIN)
			return sent;
		if (state != STREAM_OK) {
			on_unwritable(leg, state);
			return sent + 1; /* there is something to be read */
		}
		buf_consume(&leg->out, taken);
		sent += taken;
	}
	return sent;
}
