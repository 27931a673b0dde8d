/* SPDX-License-Identifier: Apache-2.0 */
/* SERVE_H2: the connection as a whole. */
#include "session/h2/h2_private.h"
#include "session/inspect.h"

#include <stdlib.h>

enum {
	BUDGET_BYTES = 1 << 20, /* in one turn */
	TLS_COSTS = 2, /* times what plain bytes cost: here each is counted when it is read, and when it is written */
	/* A client may give up so many streams at once, and so many a second: more is an attack (CVE-2023-44487). */
	RESETS_BURST = 500,
	RESETS_PER_SECOND = 25,
	GRACE_MS = 1000,        /* streams notice that nothing moves before their connection does */
	RELEASE_MS = 500,       /* buffers of what moves are kept: to free and get them each time costs as much as copying */
};

/* ---- buffers ---- */

static void release(struct buf *buf)
{
	if (buf_len(buf) == 0)
		buf_fini(buf);
}

/* Idle connections and streams hold no buffer. */
static void on_release_due(struct loop_timer *timer)
{
	struct h2_relay *relay = CONTAINER_OF(timer, struct h2_relay, release);

	for (int side = 0; side < H2_SIDES; side++) {
		release(&relay->leg[side].out);
		LIST_EACH(&relay->streams, link)
			release(&LIST_ENTRY(link, struct h2_stream, link)->way[side].data);
	}
}

/* ---- beginning ---- */

enum step h2_start(struct session *session)
{
	struct h2_relay *relay = calloc(1, sizeof(*relay));

	if (relay == NULL)
		return session_go(session, SESSION_END);
	relay->session = session;
	list_init(&relay->streams);
	list_init(&relay->waiting);
	relay->was_idle = true;
	relay->release.on_due = on_release_due;
	session->h2 = relay;
	session_go(session, SESSION_SERVE_H2);
	if (h2_leg_init(&relay->leg[H2_ORIGIN], relay, H2_ORIGIN, session->origin) ||
	    h2_leg_init(&relay->leg[H2_CLIENT], relay, H2_CLIENT, &session->client))
		return session_go(session, SESSION_END);
	/* What is wrong with the origin is told on each stream, and it is not there any more. */
	relay->leg[H2_ORIGIN].is_gone = session->inspect->err != ERR_NONE;
	return STEP_NEXT;
}

/* ---- the end ---- */

void h2_relay_end(struct h2_relay *relay, enum err err)
{
	if (!relay->is_over)
		relay->end_err = err;
	relay->is_over = true;
}

void h2_note_end(struct session *session, enum err err)
{
	if (session->h2 && session->h2->end_err == ERR_NONE)
		session->h2->end_err = err;
}

bool h2_cut(struct session *session, bool (*is_cut)(struct session *session, void *context), void *context)
{
	size_t count = 0;

	LIST_EACH(&session->h2->streams, link)
	{
		struct h2_stream *stream = LIST_ENTRY(link, struct h2_stream, link);
		bool cut;

		if (!stream->is_open[H2_CLIENT] || !stream->exchange->is_decided || stream->is_page)
			continue;
		h2_stream_enter(stream);
		cut = is_cut(session, context);
		h2_stream_leave(stream);
		if (!cut)
			continue;
		count++;
		h2_stream_fail(stream, ERR_CUT, "");
	}
	if (count)
		session_run(session);
	return count > 0;
}

size_t h2_stream_count(const struct session *session)
{
	return session->h2->stream_count;
}

void h2_free(struct session *session)
{
	struct h2_relay *relay = session->h2;

	if (relay == NULL)
		return;
	LIST_EACH(&relay->streams, link)
	{
		struct h2_stream *stream = LIST_ENTRY(link, struct h2_stream, link);

		if (stream->is_open[H2_CLIENT])
			h2_stream_note(stream, relay->end_err ? relay->end_err : ERR_CLIENT_CLOSED, "");
		h2_stream_free(stream);
	}
	loop_timer_clear(session->env->loop, &relay->release);
	h2_leg_fini(&relay->leg[H2_CLIENT]);
	h2_leg_fini(&relay->leg[H2_ORIGIN]);
	free(relay);
	session->h2 = NULL;
}

static uint32_t goaway_code(enum err err)
{
	if (err == ERR_REQUEST_TIMEOUT || err == ERR_REQUEST_SIZE)
		return NGHTTP2_ENHANCE_YOUR_CALM;
	return err == ERR_INTERNAL || err == ERR_SESSION_MEMORY ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_NO_ERROR;
}

/* What can be said at once is said, to both; what was not answered must not look as if it were. */
static enum step leave(struct session *session)
{
	struct h2_relay *relay = session->h2;
	bool can_linger = !relay->leg[H2_CLIENT].is_gone;

	for (int side = 0; side < H2_SIDES; side++) {
		struct h2_leg *leg = &relay->leg[side];

		h2_leg_terminate(leg, side == H2_CLIENT ? goaway_code(relay->end_err) : NGHTTP2_NO_ERROR);
		h2_leg_write(leg);
	}
	can_linger = can_linger && !relay->leg[H2_CLIENT].is_gone;
	h2_free(session);
	origin_close(session, false);
	return session_go(session, can_linger ? SESSION_LINGER : SESSION_END);
}

void h2_on_due(struct session *session)
{
	h2_relay_end(session->h2, session->h2->stream_count ? ERR_IDLE_TIMEOUT : ERR_NONE);
	session_run(session);
}

/* ---- GOAWAY ---- */

/* The highest of the client's streams that was, or will be, served. */
static int32_t last_served(struct h2_relay *relay)
{
	int32_t last = relay->served_id;

	LIST_EACH(&relay->streams, link)
	{
		const struct h2_stream *stream = LIST_ENTRY(link, struct h2_stream, link);

		if (!stream->was_refused && stream->id[H2_CLIENT] > last)
			last = stream->id[H2_CLIENT];
	}
	return last;
}

void h2_relay_goaway(struct h2_relay *relay, uint32_t code)
{
	struct h2_leg *leg = &relay->leg[H2_CLIENT];

	relay->has_goaway = true;
	if (leg->is_gone)
		return;
	if (nghttp2_submit_goaway(leg->ng, NGHTTP2_FLAG_NONE, last_served(relay), code, NULL, 0))
		h2_relay_end(relay, ERR_SESSION_MEMORY);
}

/* Those that the origin has not seen, and will not see. */
static void refuse_unseen(struct h2_relay *relay, int32_t last_id)
{
	LIST_EACH(&relay->streams, link)
	{
		struct h2_stream *stream = LIST_ENTRY(link, struct h2_stream, link);

		if (list_is_linked(&stream->wait_link) ||
		    (stream->is_open[H2_ORIGIN] && stream->id[H2_ORIGIN] > last_id &&
		     !stream->way[H2_ORIGIN].is_started))
			h2_stream_refuse(stream);
	}
}

void h2_relay_on_origin_goaway(struct h2_relay *relay, int32_t last_id, uint32_t code)
{
	refuse_unseen(relay, last_id);
	h2_relay_goaway(relay, code);
}

static void lose_origin(struct h2_stream *stream, enum err err)
{
	const struct h2_way *down = &stream->way[H2_ORIGIN];

	if (stream->is_open[H2_ORIGIN])
		nghttp2_session_set_stream_user_data(stream->relay->leg[H2_ORIGIN].ng, stream->id[H2_ORIGIN], NULL);
	stream->is_open[H2_ORIGIN] = false;
	h2_stream_drop(&stream->way[H2_CLIENT]);
	if (!stream->is_open[H2_CLIENT] || stream->is_page || stream->was_refused)
		return;
	if (down->ended) {
		if (down->sent_end && !stream->way[H2_CLIENT].ended)
			h2_stream_reset(stream, H2_CLIENT, NGHTTP2_NO_ERROR);
	} else if (down->is_started) {
		if (!stream->has_pending) /* else it was cut before */
			stream->exchange->was_origin_reset = err != ERR_ORIGIN_CLOSED;
		h2_stream_note(stream, ERR_RESPONSE_INCOMPLETE, "");
		h2_stream_cut(stream, NGHTTP2_INTERNAL_ERROR);
	} else if (stream->has_head) {
		h2_stream_fail(stream, err, "");
	}
}

void h2_relay_on_origin_gone(struct h2_relay *relay, enum err err)
{
	relay->leg[H2_ORIGIN].is_gone = true;
	refuse_unseen(relay, INT32_MAX);
	LIST_EACH(&relay->streams, link)
	{
		struct h2_stream *stream = LIST_ENTRY(link, struct h2_stream, link);

		lose_origin(stream, err);
		if (!stream->is_open[H2_CLIENT])
			h2_stream_free(stream);
	}
	relay->origin_open = 0;
	h2_relay_goaway(relay, NGHTTP2_NO_ERROR);
}

/* ---- floods ---- */

void h2_relay_count_reset(struct h2_relay *relay)
{
	uint64_t now_ms = loop_now_ms(relay->session->env->loop);
	uint64_t leaked = (now_ms - relay->resets_at_ms) * RESETS_PER_SECOND / 1000;

	if (leaked) {
		relay->resets = leaked < relay->resets ? relay->resets - (unsigned)leaked : 0;
		relay->resets_at_ms = now_ms;
	}
	if (++relay->resets <= RESETS_BURST)
		return;
	h2_leg_terminate(&relay->leg[H2_CLIENT], NGHTTP2_ENHANCE_YOUR_CALM);
	h2_relay_end(relay, ERR_LIMIT);
}

/* ---- serving ---- */

void h2_relay_open_waiting(struct h2_relay *relay)
{
	struct list *link;

	if (relay->leg[H2_ORIGIN].is_gone)
		return;
	while (relay->origin_open < h2_leg_origin_room(relay) && (link = list_first(&relay->waiting)) != NULL)
		h2_stream_open(LIST_ENTRY(link, struct h2_stream, wait_link));
}

static uint64_t longest_ms(struct h2_relay *relay)
{
	const struct timeouts_conf *timeouts = &session_conf_of(relay->session)->timeouts;
	uint64_t longest = timeouts->exchange_idle_ms;

	if (timeouts->response_ms > longest)
		longest = timeouts->response_ms;
	if (timeouts->half_close_ms > longest)
		longest = timeouts->half_close_ms;
	LIST_EACH(&relay->streams, link)
		if (LIST_ENTRY(link, struct h2_stream, link)->is_connect && timeouts->tunnel_idle_ms > longest)
			return timeouts->tunnel_idle_ms;
	return longest;
}

/* Between streams, what moves is no reason to wait longer. */
static void set_clock(struct h2_relay *relay, bool moved)
{
	bool is_idle = relay->stream_count == 0;

	if (is_idle && !relay->was_idle)
		session_timeout(relay->session, session_conf_of(relay->session)->timeouts.keep_alive_ms);
	if (!is_idle && (moved || relay->was_idle))
		session_timeout(relay->session, longest_ms(relay) + GRACE_MS);
	relay->was_idle = is_idle;
}

static void check_origin(struct h2_relay *relay)
{
	struct h2_leg *origin = &relay->leg[H2_ORIGIN];

	if (!origin->is_gone && !origin->is_deaf && h2_leg_is_done(origin))
		h2_relay_on_origin_gone(relay, ERR_RESPONSE_SYNTAX);
	if (origin->is_gone)
		origin_close(relay->session, false);
}

/* One round: what there is to be read on each side, and to be written. How many bytes moved. */
static size_t move(struct h2_relay *relay)
{
	size_t moved = h2_leg_read(&relay->leg[H2_CLIENT]) + h2_leg_read(&relay->leg[H2_ORIGIN]);

	h2_relay_open_waiting(relay);
	moved += h2_leg_write(&relay->leg[H2_ORIGIN]) + h2_leg_write(&relay->leg[H2_CLIENT]);
	check_origin(relay);
	return moved;
}

enum step step_serve_h2(struct session *session)
{
	struct h2_relay *relay = session->h2;
	struct loop *loop = session->env->loop;
	size_t moved = 0, now;
	bool is_over_budget = false;

	if (session->env->draining && !relay->has_goaway)
		h2_relay_goaway(relay, NGHTTP2_NO_ERROR);
	do {
		now = move(relay);
		moved += now;
		loop_spend(loop, now * TLS_COSTS);
		if (!relay->is_over && h2_leg_is_done(&relay->leg[H2_CLIENT]))
			h2_relay_end(relay, relay->stream_count ? ERR_REQUEST_SYNTAX : ERR_NONE);
		if (relay->is_over)
			return leave(session);
		/* Others have their turn; events that came meanwhile are not told twice. */
		if (now && (moved > BUDGET_BYTES || loop_is_spent(loop))) {
			is_over_budget = true;
			loop_again(loop, &session->client.io, 0);
			break;
		}
	} while (now);
	session_set_class(session, is_over_budget ? LOOP_BULK : LOOP_NORMAL);
	set_clock(relay, moved > 0);
	if (moved)
		loop_timer_set(loop, &relay->release, RELEASE_MS);
	return STEP_WAIT;
}
