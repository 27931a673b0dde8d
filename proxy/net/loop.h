/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's event loop: epoll (edge-triggered), lazy timers, work for the end of the turn.
 * One thread; nothing here blocks but loop_run(). No epoll type leaks out.
 *
 * Descriptors have a class. In each turn media is served first, then normal, then what is new, then bulk; what is queued of
 * each has a least share. What is new is so also for a while after it was said to be normal: a crowd at the door, and the tunnels that it
 * just got, are served after those that stand. While media lives (it said something in the last half second) it is also served in the
 * midst of a turn: after each callback, and whenever somebody calls loop_spend().
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/err.h"
#include "base/list.h"
#include "base/span.h"

struct loop;

enum loop_event {
	LOOP_READABLE = 1,
	LOOP_WRITABLE = 2,
	LOOP_PEER_CLOSED = 4, /* FIN seen */
	LOOP_BROKEN = 8,      /* error or reset */
	LOOP_URGENT = 16,     /* there are urgent bytes: reading ends in front of them, and goes on */
};

enum loop_class { LOOP_NORMAL, LOOP_MEDIA, LOOP_BULK, LOOP_NEW, LOOP_CLASS_COUNT };

/* A descriptor under watch, embedded by its owner. Edge-triggered: registered once for both
 * directions; after an event, read or write until it would block. */
struct loop_io {
	int fd;
	uint32_t not_new_since_ms; /* of the loop: when it left LOOP_NEW */
	void (*on_ready)(struct loop_io *io, unsigned events); /* bits of enum loop_event */
	/* of the loop: */
	uint32_t again;      /* ticket among those to be called once more; 0: none */
	uint8_t again_class; /* whose queue that is */
	uint8_t class;       /* enum loop_class: loop_set_class() */
};

/* A deadline, embedded by its owner; zeroed is unarmed. Moving a deadline later costs nothing: the
 * timer is put back when its old place comes up. Resolution: about 10 ms, never early. */
struct loop_timer {
	struct list link;
	uint64_t due_ms, queued_ms;
	void (*on_due)(struct loop_timer *timer);
};

/* Work for the end of the turn: freeing what events of this turn may still point to. */
struct loop_task {
	struct list link;
	void (*run)(struct loop_task *task);
};

MUST_USE enum err loop_new(struct loop **out);
void loop_free(struct loop *loop);

/* Serve events until loop_stop(). blocks: yes, that is its work. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* One turn: wait at most `wait_ms`, serve what is there. For tests. */
void loop_turn(struct loop *loop, int wait_ms);

/* Milliseconds of the monotonic clock, read once per turn. */
uint64_t loop_now_ms(const struct loop *loop);
/* Milliseconds since 1970, derived from the same reading. */
uint64_t loop_wall_ms(const struct loop *loop);

/* How busy it was: turns since the start, and the longest of them without its waiting. */
uint64_t loop_turns_count(const struct loop *loop);
uint64_t loop_longest_turn_us(const struct loop *loop);

/* Watch io->fd; on_ready runs from the next turn on. errors: ERR_SYSTEM, ERR_LIMIT. */
MUST_USE enum err loop_watch(struct loop *loop, struct loop_io *io);
/* Watch for input only, level-triggered, one waiter woken per event (listening sockets). */
MUST_USE enum err loop_watch_listener(struct loop *loop, struct loop_io *io);
/* No event reaches `io` after this, also none that this turn already fetched. The descriptor stays
 * open: close it with loop_close() instead, where it is to be closed at once. */
void loop_unwatch(struct loop *loop, struct loop_io *io);
/* Unwatch without a system call (closing removes it from the set) and close; io->fd becomes -1. */
void loop_close(struct loop *loop, struct loop_io *io);
/* Have on_ready called once more with `events` in the next turn (work left after a budget). */
void loop_again(struct loop *loop, struct loop_io *io, unsigned events);

/* Say that so many bytes were moved in this turn. Once a turn has moved as much as a turn should, it is spent: whoever
 * has more to do calls loop_again(), and those that did so before are first in the next turn.
 * Media that came meanwhile is served in here: call it where the scratch buffer holds nothing that is needed. */
void loop_spend(struct loop *loop, size_t bytes);
bool loop_is_spent(const struct loop *loop);

/* Serve it in another class from now on; LOOP_NORMAL from the start. errors: ERR_SYSTEM, ERR_LIMIT (to or from media): then
 * it is watched as before. */
MUST_USE enum err loop_set_class(struct loop *loop, struct loop_io *io, enum loop_class class);

/* Most bytes to move at once, so that media does not wait behind them; loop_scratch() goes by it. */
size_t loop_slice_bytes(const struct loop *loop);
/* Of that while media lives; 0: the preset. */
void loop_set_slice(struct loop *loop, size_t bytes);

/* Arm, or move. after_ms 0 disarms. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t after_ms);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);

/* Run the task once at the end of this turn; more calls before then do nothing more. */
void loop_defer(struct loop *loop, struct loop_task *task);
/* Is it to be run at the end of this turn? And: it is not, after all. */
bool loop_is_deferred(const struct loop_task *task);
void loop_undefer(struct loop_task *task);

/* The worker's scratch buffer (128 KiB; a slice of it while media lives), for reading before it is known how much there is.
 * Its content is gone when the callback returns. */
uint8_t *loop_scratch(struct loop *loop, size_t *len);

#endif
