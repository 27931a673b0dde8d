/* SPDX-License-Identifier: Apache-2.0 */
/* Each direction is named by the side that its bytes come from. A direction is served until its
 * source is empty, its sink is full, or its budget for this turn is used up. */
#include "net/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/pipes.h"
#include "net/socket.h"

enum {
	BUDGET_BYTES = 4096 * 1024, /* per direction and turn, then others have theirs; 1 MiB costs half as much again */
	/* So much in one turn is a stream: worth a pipe. CPU of four downloads, times the floor: from 8 KiB 1.14, from 32 KiB 1.02,
	 * from 128 KiB 1.01 (within the noise), never 1.56. */
	STREAMS_FROM_BYTES = 32 * 1024,
	STREAMS_UNTIL_BYTES = 8 * 1024, /* so little in one turn is none any more */
	KEEP_ALIVE_FROM_MS = 30000, /* a tunnel so old is a long one */
	MEDIA_BUDGET_BYTES = 64 * 1024, /* the same for class media: calls have far less in one turn */
	MEDIA_CHUNK_BYTES = 16 * 1024, /* most of it that is stored */
	WINDOW_MS = 1000, /* that a rate is of */
};

/* Bits of pump.state[side]: */
enum {
	SIDE_ENDED = 1,  /* nothing more comes from it (FIN, or reset) */
	SIDE_SHUT = 2,   /* FIN was sent to it, or nothing can be sent any more */
	SIDE_KEPT = 8,   /* its socket has keep-alive */
	SIDE_BROKEN = 4, /* it was reset, or writing to it failed */
	SIDE_STREAMS = 16, /* so much came from it in its last turn that a pipe pays */
};

/* One direction that is more than idle. Either `rest` holds bytes, or the pipe does. */
struct pump_flow {
	uint8_t *rest;
	size_t rest_at, rest_len;
	struct pipe pipe;
};

/* ---- a direction's store ---- */

static struct pump_flow *need_flow(struct pump *pump, enum pump_side from)
{
	struct pump_flow *flow = pump->flows[from];

	if (flow == NULL) {
		flow = calloc(1, sizeof(*flow));
		if (flow == NULL)
			return NULL;
		flow->pipe = PIPE_NONE;
		pump->flows[from] = flow;
	}
	return flow;
}

static void drop_flow(struct pump *pump, enum pump_side from)
{
	struct pump_flow *flow = pump->flows[from];

	if (flow == NULL)
		return;
	pipes_give(pump->pipes, &flow->pipe);
	free(flow->rest);
	free(flow);
	pump->flows[from] = NULL;
}

static bool has_rest(const struct pump *pump, enum pump_side from)
{
	const struct pump_flow *flow = pump->flows[from];

	return flow && (flow->rest_len || flow->pipe.bytes);
}

static bool has_pipe(const struct pump *pump, enum pump_side from)
{
	return pump->flows[from] && pump->flows[from]->pipe.ends[0] >= 0;
}

static bool store(struct pump *pump, enum pump_side from, struct span rest)
{
	struct pump_flow *flow = need_flow(pump, from);
	uint8_t *copy = flow ? malloc(rest.len) : NULL;

	if (copy == NULL)
		return false;
	memcpy(copy, rest.at, rest.len);
	flow->rest = copy;
	flow->rest_at = 0;
	flow->rest_len = rest.len;
	return true;
}

static enum pump_side other(enum pump_side side)
{
	return side == PUMP_CLIENT ? PUMP_ORIGIN : PUMP_CLIENT;
}

static void note_end(struct pump *pump, enum pump_side side, enum pump_how how)
{
	bool ended = (pump->state[0] | pump->state[1]) & SIDE_ENDED;

	/* The first who closed is named; a reset says more than a FIN before it. */
	if (!ended || (how != PUMP_FIN && pump->first.how == PUMP_FIN))
		pump->first = (struct pump_end){side, how};
}

static void change_class(struct pump *pump, enum loop_class class)
{
	struct loop *loop = pump->sides[0]->loop;

	if (loop_set_class(loop, &pump->sides[0]->io, class))
		return;
	if (loop_set_class(loop, &pump->sides[1]->io, class) == ERR_NONE)
		pump->class = (uint8_t)class;
	else if (loop_set_class(loop, &pump->sides[0]->io, pump->class)) /* both, or none */
		log_event(EV_SYSTEM, "class: errno=%d", errno);
}

/* Its class, by the bytes of this second, or of the last that was full. */
static void judge(struct pump *pump)
{
	const struct pump_limits *limits = pump->limits;
	uint64_t total = pump->bytes[0] + pump->bytes[1], moved = total - pump->window_bytes;
	uint64_t most = pump->class == LOOP_MEDIA ? limits->media_most_bytes : limits->bulk_bytes;
	bool is_over = (uint32_t)pump->last_moved_ms - pump->window_ms >= WINDOW_MS;
	uint8_t before = pump->class;

	if (most && moved >= most && before != LOOP_BULK)
		change_class(pump, LOOP_BULK);
	else if (before == LOOP_BULK && is_over && moved < most / 2)
		change_class(pump, LOOP_NORMAL);
	if (is_over) {
		pump->window_bytes = total;
		pump->window_ms = (uint32_t)pump->last_moved_ms;
	}
	if (pump->class != before && pump->on_class)
		pump->on_class(pump);
}

static void note_moved(struct pump *pump, enum pump_side from, size_t count)
{
	pump->bytes[from] += count;
	pump->last_moved_ms = loop_now_ms(pump->sides[from]->loop);
	if (!pump->is_class_fixed)
		judge(pump);
}

/* TCP_USER_TIMEOUT and keep-alive end a connection so. */
static bool is_dead(int error_number)
{
	return error_number == ETIMEDOUT || error_number == EHOSTUNREACH || error_number == ENETUNREACH;
}

/* Whoever reads slowly what the kernel has for him takes something, too, and has more time. */
static void note_taken(struct pump *pump)
{
	uint32_t now = socket_acknowledged(pump->sides[0]->io.fd) + socket_acknowledged(pump->sides[1]->io.fd);

	if (pump->acknowledged && now != pump->acknowledged)
		pump->last_moved_ms = loop_now_ms(pump->sides[0]->loop);
	pump->acknowledged = now;
}

/* Nothing can be sent to `side` any more: what was for it is lost, what it sent is still read. */
static void break_side(struct pump *pump, enum pump_side side)
{
	if (pump->state[side] & SIDE_BROKEN)
		return;
	note_end(pump, side, is_dead(pump->sides[side]->error_number) ? PUMP_DEAD : PUMP_RST);
	pump->state[side] |= SIDE_BROKEN | SIDE_SHUT;
	drop_flow(pump, other(side));
	pump->sides[side]->ready |= LOOP_BROKEN; /* so that it is read to its end */
	note_taken(pump);
	pump->last_moved_ms = loop_now_ms(pump->sides[side]->loop);
	loop_timer_set(pump->sides[side]->loop, &pump->timer, pump->limits->half_close_ms);
}

static void on_source_end(struct pump *pump, enum pump_side from, enum stream_state state)
{
	bool reset = state != STREAM_END || (pump->state[from] & SIDE_BROKEN);

	if (reset)
		break_side(pump, from);
	else
		note_end(pump, from, PUMP_FIN);
	pump->state[from] |= SIDE_ENDED;
	if (reset)
		return;
	/* Most ends are over at once: what is acknowledged is asked at half time, and compared at the end of it. */
	pump->last_moved_ms = loop_now_ms(pump->sides[from]->loop);
	loop_timer_set(pump->sides[from]->loop, &pump->timer, pump->limits->half_close_ms / 2 + 1);
}

/* ---- moving ---- */

/* Results of one step of a direction. */
enum step { STEP_MOVED, STEP_WAIT, STEP_OVER };

static enum step flush_bytes(struct pump *pump, enum pump_side from, struct pump_flow *flow)
{
	struct stream *to = pump->sides[other(from)];
	size_t taken;
	enum stream_state state =
		stream_write(to, span_of(flow->rest + flow->rest_at, flow->rest_len), &taken);

	if (state == STREAM_AGAIN)
		return STEP_WAIT;
	if (state != STREAM_OK) {
		break_side(pump, other(from));
		return STEP_OVER;
	}
	note_moved(pump, from, taken);
	flow->rest_at += taken;
	flow->rest_len -= taken;
	if (flow->rest_len)
		return STEP_WAIT;
	if (pump->on_wait)
		pump->on_wait(pump, from, false);
	if (flow->pipe.ends[0] >= 0) {
		free(flow->rest);
		flow->rest = NULL;
	} else {
		drop_flow(pump, from);
	}
	return STEP_MOVED;
}

static enum step flush_pipe(struct pump *pump, enum pump_side from, struct pump_flow *flow)
{
	struct stream *to = pump->sides[other(from)];
	size_t slice = loop_slice_bytes(to->loop);
	ssize_t count;

	if (!stream_is_writable(to))
		return STEP_WAIT;
	if (slice > flow->pipe.bytes)
		slice = flow->pipe.bytes;
	do {
		count = splice(flow->pipe.ends[0], NULL, to->io.fd, NULL, slice, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} while (count < 0 && errno == EINTR);
	if (count < 0 && errno == EAGAIN) {
		to->ready &= ~(unsigned)LOOP_WRITABLE;
		return STEP_WAIT;
	}
	if (count <= 0) {
		to->error_number = count < 0 ? errno : EPIPE;
		break_side(pump, other(from));
		return STEP_OVER;
	}
	flow->pipe.bytes -= (size_t)count;
	note_moved(pump, from, (size_t)count);
	return STEP_MOVED;
}

static enum step flush(struct pump *pump, enum pump_side from)
{
	struct pump_flow *flow = pump->flows[from];

	return flow->rest_len ? flush_bytes(pump, from, flow) : flush_pipe(pump, from, flow);
}

/* Written at once; what does not fit is stored. */
static enum step forward(struct pump *pump, enum pump_side from, struct span bytes)
{
	size_t taken;
	enum stream_state state = stream_write(pump->sides[other(from)], bytes, &taken);

	if (state != STREAM_OK && state != STREAM_AGAIN) {
		break_side(pump, other(from));
		return STEP_OVER;
	}
	note_moved(pump, from, taken);
	if (taken == bytes.len)
		return STEP_MOVED;
	if (!store(pump, from, span_skip(bytes, taken))) {
		break_side(pump, other(from));
		return STEP_OVER;
	}
	if (pump->on_wait)
		pump->on_wait(pump, from, true);
	return STEP_WAIT;
}

static enum step copy(struct pump *pump, enum pump_side from)
{
	struct stream *to = pump->sides[other(from)];
	size_t len, got;
	uint8_t *scratch = loop_scratch(to->loop, &len);
	enum stream_state state;

	if (len > pump->limits->buffer_bytes)
		len = pump->limits->buffer_bytes;
	if (pump->class == LOOP_MEDIA && len > MEDIA_CHUNK_BYTES)
		len = MEDIA_CHUNK_BYTES;
	state = stream_read(pump->sides[from], scratch, len, &got);
	if (state == STREAM_AGAIN)
		return STEP_WAIT;
	if (state != STREAM_OK) {
		on_source_end(pump, from, state);
		return STEP_MOVED;
	}
	if (pump->see && (pump->class == LOOP_MEDIA || pump->shows_all))
		pump->see(pump, from, span_of(scratch, got));
	return forward(pump, from, span_of(scratch, got));
}

/* More bytes behind those that are kept. */
static bool keep_more(struct pump *pump, struct span more)
{
	struct pump_flow *flow = need_flow(pump, PUMP_CLIENT);
	uint8_t *grown = flow ? realloc(flow->rest, flow->rest_len + more.len + 1) : NULL;

	if (grown == NULL)
		return false;
	memcpy(grown + flow->rest_len, more.at, more.len);
	flow->rest = grown;
	flow->rest_at = 0;
	flow->rest_len += more.len;
	return true;
}

static struct span kept_bytes(const struct pump *pump)
{
	const struct pump_flow *flow = pump->flows[PUMP_CLIENT];

	return flow ? span_of(flow->rest + flow->rest_at, flow->rest_len) : SPAN("");
}

static enum step stop(struct pump *pump)
{
	pump->has_stopped = true;
	loop_timer_clear(pump->sides[0]->loop, &pump->timer);
	return STEP_OVER;
}

/* The client's bytes are looked at before the first of them goes on. */
static enum step look(struct pump *pump)
{
	size_t len, got = 0;
	uint8_t *scratch = loop_scratch(pump->sides[0]->loop, &len);
	bool is_kept = has_rest(pump, PUMP_CLIENT);
	enum stream_state state = STREAM_OK;
	enum pump_look said;

	if (!is_kept || pump->is_known) {
		state = stream_read(pump->sides[PUMP_CLIENT], scratch, len, &got);
		if (state == STREAM_AGAIN)
			return STEP_WAIT;
	}
	if (is_kept && got && !keep_more(pump, span_of(scratch, got))) {
		break_side(pump, PUMP_ORIGIN);
		return STEP_OVER;
	}
	pump->is_known = true;
	said = pump->look(pump, is_kept ? kept_bytes(pump) : span_of(scratch, got), state != STREAM_OK);
	if (said != PUMP_LOOK_GO && !is_kept && got && !keep_more(pump, span_of(scratch, got))) {
		break_side(pump, PUMP_ORIGIN);
		return STEP_OVER;
	}
	if (said == PUMP_LOOK_STOP)
		return stop(pump);
	if (state != STREAM_OK)
		on_source_end(pump, PUMP_CLIENT, state);
	else if (said == PUMP_LOOK_MORE)
		return STEP_MOVED;
	pump->look = NULL;
	if (pump->see && (pump->class == LOOP_MEDIA || pump->shows_all))
		pump->see(pump, PUMP_CLIENT, is_kept ? kept_bytes(pump) : span_of(scratch, got));
	if (is_kept)
		return flush(pump, PUMP_CLIENT);
	return got ? forward(pump, PUMP_CLIENT, span_of(scratch, got)) : STEP_MOVED;
}

static enum step fill_pipe(struct pump *pump, enum pump_side from)
{
	struct pump_flow *flow = pump->flows[from];
	struct stream *source = pump->sides[from];
	size_t most = stream_is_readable(source) ? stream_room(source, loop_slice_bytes(source->loop)) : 0;
	ssize_t count;

	if (most == 0)
		return STEP_WAIT;
	do {
		count = splice(source->io.fd, NULL, flow->pipe.ends[1], NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} while (count < 0 && errno == EINTR);
	if (count > 0) {
		stream_note_read(source, (size_t)count);
		flow->pipe.bytes = (size_t)count;
		return flush_pipe(pump, from, flow);
	}
	if (count < 0 && errno != EAGAIN && errno != EINVAL) {
		/* Told once: recv() would now say that this was an orderly end. */
		source->error_number = errno;
		drop_flow(pump, from);
		on_source_end(pump, from, STREAM_RESET);
		return STEP_MOVED;
	}
	/* The pipe is empty: it is the socket that has nothing, or urgent bytes, at which splice() stops. */
	if (count < 0 && errno == EAGAIN && !(source->ready & LOOP_URGENT)) {
		source->ready &= ~(unsigned)LOOP_READABLE;
		if (!(source->ready & (LOOP_PEER_CLOSED | LOOP_BROKEN)))
			return STEP_WAIT;
	}
	/* The end, or something that cannot be spliced: recv() says which. */
	drop_flow(pump, from);
	return copy(pump, from);
}

/* FIN goes on when everything before it has. */
static void pass_end(struct pump *pump, enum pump_side from)
{
	enum pump_side to = other(from);

	if (!(pump->state[from] & SIDE_ENDED) || has_rest(pump, from) ||
	    (pump->state[to] & SIDE_SHUT) || (pump->state[from] & SIDE_BROKEN))
		return;
	drop_flow(pump, from);
	pump->state[to] |= SIDE_SHUT;
	if ((pump->state[to] & SIDE_ENDED) && (pump->state[from] & SIDE_SHUT))
		return; /* the last of all: closing says it, too */
	if (pump->sides[to]->ops->shutdown(pump->sides[to]) != STREAM_OK)
		break_side(pump, to);
}

static enum step step(struct pump *pump, enum pump_side from)
{
	if (from == PUMP_CLIENT && pump->look && !(pump->state[PUMP_CLIENT] & SIDE_ENDED) &&
	    !(pump->state[PUMP_ORIGIN] & SIDE_BROKEN))
		return look(pump);
	if (has_rest(pump, from))
		return flush(pump, from);
	if (pump->state[from] & SIDE_ENDED)
		return STEP_OVER;
	if (pump->state[other(from)] & SIDE_BROKEN)
		return STEP_OVER; /* nobody is left to read it */
	return has_pipe(pump, from) ? fill_pipe(pump, from) : copy(pump, from);
}

/* While it streams a direction has a pipe for as long as it is served, and beyond only if bytes are in it: a few pipes do for
 * many that stream. */
static void begin_stream(struct pump *pump, enum pump_side from)
{
	struct pump_flow *flow;
	struct pipe pipe;

	if (pump->class == LOOP_MEDIA || has_pipe(pump, from) || has_rest(pump, from) || pump->pipes == NULL ||
	    !stream_is_plain(pump->sides[0]) || !stream_is_plain(pump->sides[1]) ||
	    !pipes_take(pump->pipes, &pipe))
		return;
	flow = need_flow(pump, from);
	if (flow == NULL) {
		pipes_give(pump->pipes, &pipe);
		return;
	}
	flow->pipe = pipe;
	stream_end_delay(pump->sides[other(from)]);
}

static void give_pipe_back(struct pump *pump, enum pump_side from)
{
	if (has_pipe(pump, from) && !has_rest(pump, from))
		drop_flow(pump, from);
}

/* Has this direction had its share? A spent turn still takes one step for each that is no stream. */
static bool must_wait(struct pump *pump, enum pump_side from, uint64_t moved)
{
	if (pump->class == LOOP_MEDIA)
		return moved >= MEDIA_BUDGET_BYTES;
	return moved >= BUDGET_BYTES || (loop_is_spent(pump->sides[from]->loop) &&
	                                 (moved || (pump->state[from] & SIDE_STREAMS)));
}

static void serve(struct pump *pump, enum pump_side from)
{
	struct loop *loop = pump->sides[from]->loop;
	uint64_t before = pump->bytes[from], moved = 0;
	enum step result = STEP_MOVED;
	uint8_t class = pump->class;

	/* One that is of another class now goes on when that is served. */
	while (result == STEP_MOVED && pump->class == class && !must_wait(pump, from, moved)) {
		if (moved >= STREAMS_FROM_BYTES)
			pump->state[from] |= SIDE_STREAMS;
		if (pump->state[from] & SIDE_STREAMS)
			begin_stream(pump, from);
		result = step(pump, from);
		loop_spend(loop, pump->bytes[from] - before - moved);
		moved = pump->bytes[from] - before;
	}
	give_pipe_back(pump, from);
	if (result == STEP_MOVED) {
		loop_again(loop, &pump->sides[from]->io, 0);
		return;
	}
	if (moved < STREAMS_UNTIL_BYTES)
		pump->state[from] &= (uint8_t)~SIDE_STREAMS;
	pass_end(pump, from);
}

/* ---- the end ---- */

static void finish(struct pump *pump, bool reset)
{
	loop_timer_clear(pump->sides[0]->loop, &pump->timer);
	drop_flow(pump, PUMP_CLIENT);
	drop_flow(pump, PUMP_ORIGIN);
	stream_close(pump->sides[PUMP_CLIENT], reset);
	stream_close(pump->sides[PUMP_ORIGIN], reset);
	pump->on_end(pump, pump->first);
}

/* All that `side` had sent was delivered. A reset overtakes, and drops, what is still in the kernel's
 * queue, so that has to be empty, too; if it is not, it is looked at again soon. */
static bool is_delivered(struct pump *pump, enum pump_side side)
{
	struct stream *to = pump->sides[other(side)];

	if (!(pump->state[side] & SIDE_ENDED) || has_rest(pump, side))
		return false;
	if (socket_is_sent(to->io.fd))
		return true;
	loop_timer_set(to->loop, &pump->timer, socket_ask_again_ms(loop_now_ms(to->loop) - pump->last_moved_ms));
	return false;
}

/* Is it over? Then true, and on_end has run. */
static bool check_over(struct pump *pump)
{
	const uint8_t *state = pump->state;

	if ((state[0] & SIDE_BROKEN) && (state[1] & SIDE_BROKEN)) {
		finish(pump, true);
		return true;
	}
	for (int side = 0; side < 2; side++) {
		if ((state[side] & SIDE_BROKEN) && is_delivered(pump, (enum pump_side)side)) {
			finish(pump, true);
			return true;
		}
	}
	if ((state[0] & state[1] & SIDE_ENDED) && (state[0] & state[1] & SIDE_SHUT)) {
		finish(pump, false);
		return true;
	}
	return false;
}

/* Behind its FIN a side is not read any more: a reset that follows would go by. */
static void note_late_reset(struct pump *pump, enum pump_side side)
{
	struct stream *stream = pump->sides[side];

	if ((pump->state[side] & (SIDE_ENDED | SIDE_SHUT)) == SIDE_ENDED &&
	    (stream->ready & LOOP_BROKEN) && socket_was_reset(stream->io.fd, &stream->error_number))
		break_side(pump, side);
}

/* Nor is it read while its receiver takes nothing: what is left of a side that was reset is not kept for ever. */
static void note_unread_reset(struct pump *pump, enum pump_side side)
{
	struct stream *stream = pump->sides[side];

	if ((stream->ready & LOOP_BROKEN) && !(pump->state[side] & (SIDE_ENDED | SIDE_BROKEN)) &&
	    has_rest(pump, side) && socket_was_reset(stream->io.fd, &stream->error_number))
		break_side(pump, side);
}

static void serve_all(struct pump *pump)
{
	serve(pump, PUMP_CLIENT);
	if (pump->has_stopped)
		return;
	serve(pump, PUMP_ORIGIN);
	/* A write of the second may have broken the side that the first reads. */
	if (pump->state[PUMP_CLIENT] & SIDE_BROKEN)
		serve(pump, PUMP_CLIENT);
}

static void serve_both(struct pump *pump)
{
	if (pump->has_stopped)
		return;
	/* Of class media, and served in another class's stead since it was queued before: events that come in its midst wait. */
	if (pump->is_served) {
		loop_again(pump->sides[PUMP_CLIENT]->loop, &pump->sides[PUMP_CLIENT]->io, 0);
		return;
	}
	pump->is_served = true;
	note_late_reset(pump, PUMP_CLIENT);
	note_late_reset(pump, PUMP_ORIGIN);
	serve_all(pump);
	pump->is_served = false;
	if (pump->has_stopped) {
		pump->on_stop(pump);
		return;
	}
	note_unread_reset(pump, PUMP_CLIENT);
	note_unread_reset(pump, PUMP_ORIGIN);
	check_over(pump);
}

static struct pump *pump_of(struct stream *stream)
{
	return stream->owner;
}

static void on_ready(struct stream *stream, unsigned events)
{
	(void)events;
	serve_both(pump_of(stream));
}

static void on_due(struct loop_timer *timer)
{
	struct pump *pump = CONTAINER_OF(timer, struct pump, timer);
	struct loop *loop = pump->sides[0]->loop;
	uint8_t state = pump->state[0] | pump->state[1];
	bool ending = state & (SIDE_ENDED | SIDE_BROKEN);
	uint64_t limit = ending ? pump->limits->half_close_ms : pump->limits->idle_ms;
	uint64_t idle;

	if (ending)
		note_taken(pump);
	idle = loop_now_ms(loop) - pump->last_moved_ms;
	if (!(pump->state[PUMP_ORIGIN] & SIDE_KEPT))
		socket_keep_alive(pump->sides[PUMP_ORIGIN]->io.fd);
	pump->state[PUMP_ORIGIN] |= SIDE_KEPT;
	if (idle < limit) {
		loop_timer_set(loop, timer, limit - idle);
		if (state & SIDE_BROKEN)
			check_over(pump);
	} else if (state & SIDE_BROKEN) { /* what it had sent could not be delivered in time */
		finish(pump, true);
	} else {
		pump->first.how = state & SIDE_ENDED ? PUMP_HALF_CLOSE_TIMEOUT : PUMP_TIMEOUT;
		finish(pump, has_rest(pump, PUMP_CLIENT) || has_rest(pump, PUMP_ORIGIN));
	}
}

enum err pump_start(struct pump *pump, struct loop *loop, struct stream *client,
                    struct stream *origin, const struct span first[2])
{
	pump->sides[PUMP_CLIENT] = client;
	pump->sides[PUMP_ORIGIN] = origin;
	pump->last_moved_ms = loop_now_ms(loop);
	pump->timer.on_due = on_due;
	pump->window_ms = (uint32_t)pump->last_moved_ms;
	for (int side = 0; side < 2; side++) {
		pump->sides[side]->on_ready = on_ready;
		pump->sides[side]->owner = pump;
		if (first[side].len && !store(pump, (enum pump_side)side, first[side])) {
			drop_flow(pump, PUMP_CLIENT);
			return ERR_MEMORY;
		}
	}
	loop_timer_set(loop, &pump->timer,
	               pump->limits->idle_ms < KEEP_ALIVE_FROM_MS ? pump->limits->idle_ms
	                                                          : KEEP_ALIVE_FROM_MS);
	/* What is there already is served in the next turn, so that on_end never runs before return. */
	if (first[PUMP_CLIENT].len || first[PUMP_ORIGIN].len || stream_is_readable(client) ||
	    stream_is_readable(origin))
		loop_again(loop, &client->io, 0);
	return ERR_NONE;
}

void pump_set_class(struct pump *pump, enum loop_class class, const struct classes_conf *conf)
{
	for (int side = 0; side < 2; side++)
		socket_set_class(pump->sides[side]->io.fd, class, conf);
	if (class == LOOP_MEDIA) /* with times of its own */
		pump->state[PUMP_ORIGIN] |= SIDE_KEPT;
	change_class(pump, class);
	pump->window_bytes = pump->bytes[0] + pump->bytes[1];
	pump->window_ms = (uint32_t)loop_now_ms(pump->sides[0]->loop);
}

bool pump_release(struct pump *pump, uint8_t **held, size_t *held_len)
{
	struct pump_flow *flow = pump->flows[PUMP_CLIENT];

	if (has_rest(pump, PUMP_ORIGIN))
		return false;
	*held = NULL;
	*held_len = 0;
	if (flow && flow->rest_len) {
		*held = flow->rest;
		*held_len = flow->rest_len;
		flow->rest = NULL;
		flow->rest_len = 0;
	}
	loop_timer_clear(pump->sides[0]->loop, &pump->timer);
	drop_flow(pump, PUMP_CLIENT);
	drop_flow(pump, PUMP_ORIGIN);
	change_class(pump, LOOP_NORMAL); /* who has the streams now may not be served in the midst of others */
	return true;
}

void pump_stop(struct pump *pump)
{
	pump->first.how = PUMP_STOPPED;
	finish(pump, has_rest(pump, PUMP_CLIENT) || has_rest(pump, PUMP_ORIGIN));
}
