/* SPDX-License-Identifier: Apache-2.0 */
/* Moves the bytes of a tunnel both ways between two streams: through the loop's scratch buffer, and
 * through a pooled pipe (splice) once a direction streams. Holds no buffer while idle. FIN travels as FIN;
 * on a reset, what was received is delivered first, then the other side is reset.
 *
 * A tunnel has the class of its two descriptors (net/loop.h). One whose class is not fixed becomes bulk by what it moves,
 * and normal again; media that was only taken for such by its shape is no media any more once it moves more than calls do. */
#ifndef NET_PUMP_H
#define NET_PUMP_H

#include "net/stream.h"

enum pump_side { PUMP_CLIENT, PUMP_ORIGIN };
enum pump_how { PUMP_FIN, PUMP_RST, PUMP_TIMEOUT, PUMP_HALF_CLOSE_TIMEOUT, PUMP_ERROR, PUMP_STOPPED, PUMP_DEAD /* nothing is acknowledged any more */ };

struct pump_limits {
	uint64_t idle_ms, half_close_ms;
	size_t buffer_bytes; /* most that is stored per direction when the receiver is slow */
	uint64_t bulk_bytes, media_most_bytes; /* per second, both directions; 0: whatever */
};

struct pump_end {
	enum pump_side ended_by;  /* who closed first */
	enum pump_how how;
};

struct pipes;

/* What whoever looks at the client's first bytes says of them. */
enum pump_look {
	PUMP_LOOK_MORE, /* they are kept until there are more */
	PUMP_LOOK_GO,   /* they go on, and are not looked at any more */
	PUMP_LOOK_STOP, /* nothing more is moved: on_stop runs at the end of this turn's work, and the pump is its own */
};

struct pump_flow; /* one direction that is more than idle: a stored rest, or a pipe */

/* Embedded; small, because 50,000 of them lie idle. */
struct pump {
	struct stream *sides[2];            /* by enum pump_side */
	struct pump_flow *flows[2];         /* NULL while nothing is stored; flows[i] holds bytes from side i */
	uint64_t bytes[2];                  /* delivered: [PUMP_CLIENT] what the client sent (up), [PUMP_ORIGIN] down */
	const struct pump_limits *limits;
	struct pipes *pipes;                /* NULL: never splice */
	struct loop_timer timer;
	uint64_t last_moved_ms;
	void (*on_end)(struct pump *pump, struct pump_end end); /* once; both streams are closed by then */
	/* Look at all bytes that came from the client, before any of them goes on; it has ended when `is_end`. NULL: nobody looks, any more. */
	enum pump_look (*look)(struct pump *pump, struct span bytes, bool is_end);
	void (*on_stop)(struct pump *pump);
	/* Bytes that came from a side, before they go on; not those that a stream moves through a pipe. Class media, and with
	 * shows_all any class. NULL: nobody sees them, any more. */
	void (*see)(struct pump *pump, enum pump_side from, struct span bytes);
	/* Bytes from a side are stored, since the other one does not take them; or all of those have gone on. NULL: nobody is told. */
	void (*on_wait)(struct pump *pump, enum pump_side from, bool is_waiting);
	/* The class has become another one by what the tunnel moves. NULL: nobody is told. */
	void (*on_class)(struct pump *pump);
	uint64_t window_bytes;              /* delivered when the window began that the rate is of */
	uint32_t window_ms;                 /* loop clock, when that was; it may go round */
	uint32_t acknowledged;              /* of both sockets, when it was last looked at: once a side has ended */
	uint8_t class;                      /* enum loop_class: pump_set_class() */
	bool is_class_fixed;                /* a rule says it */
	bool shows_all;
	uint8_t state[2];
	struct pump_end first;
	bool has_stopped;
	bool is_served;                     /* at this moment: loop_spend() may come back to it */
	bool is_known;                      /* what is stored was looked at */
};

/* Take over both streams (their on_ready) and move bytes until the end. `first[side]` are bytes that
 * were read from that side before and are to be delivered first (copied; may be empty).
 * borrows: streams, limits, pipes, until on_end ran or pump_stop(). */
MUST_USE enum err pump_start(struct pump *pump, struct loop *loop, struct stream *client,
                             struct stream *origin, const struct span first[2]);

/* Both sockets get what that class has by `conf`, and are served with it from now on. Where the kernel does not take it, the
 * tunnel stays what it is. */
struct classes_conf;
void pump_set_class(struct pump *pump, enum loop_class class, const struct classes_conf *conf);

/* After on_stop ran: let go of both streams, which stay open. What was looked at is the caller's (`held`, to be freed: NULL if
 * there is nothing), and so is whatever else comes. False: bytes for the client are stored, and it cannot be let go. */
bool pump_release(struct pump *pump, uint8_t **held, size_t *held_len);

/* End it now: both sides are reset (or closed in order if nothing is stored). on_end runs. */
void pump_stop(struct pump *pump);

#endif
