/* SPDX-License-Identifier: Apache-2.0 */
/* One end of a conversation: bytes in, bytes out. Plain TCP and UNIX sockets now; TLS is another
 * set of operations, so that everything above moves bytes in one way. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <sys/types.h>

#include "net/meter.h"

enum stream_state {
	STREAM_OK,      /* some bytes moved */
	STREAM_AGAIN,   /* would block: wait for on_ready */
	STREAM_END,     /* reading: the other side closed in order (FIN, close_notify) */
	STREAM_RESET,   /* connection reset */
	STREAM_BROKEN,  /* any other error; see error_number */
};

struct stream;

struct stream_ops {
	const char *name;
	enum stream_state (*read)(struct stream *stream, void *at, size_t len, size_t *got);
	enum stream_state (*write)(struct stream *stream, struct span bytes, size_t *taken);
	/* Send FIN (close_notify); reading goes on. */
	enum stream_state (*shutdown)(struct stream *stream);
	/* Close; `reset`: with RST, unsent bytes are dropped. */
	void (*close)(struct stream *stream, bool reset);
};

struct stream {
	struct loop_io io;             /* io.fd is -1 when closed */
	const struct stream_ops *ops;  /* NULL when never opened */
	void *tls;                     /* of proxy/tls, where ops are TLS's; else NULL */
	struct meter *meter;           /* rate limits of what is read; NULL: none */
	struct loop *loop;
	/* Edge: call stream_read()/stream_write() until STREAM_AGAIN. Set by whoever owns the stream now. */
	void (*on_ready)(struct stream *stream, unsigned events);
	int error_number;              /* errno of the last STREAM_BROKEN or STREAM_RESET */
	void *owner;                   /* whatever on_ready needs */
	/* Edges seen and not used up: LOOP_READABLE until a read finds nothing more, LOOP_WRITABLE until a
	 * write finds no room; the other events stay. Whoever takes a stream over looks here first. */
	unsigned ready;
	/* A socket that was dialled: options that those of a listener have, set once they matter, since many tunnels end before. */
	bool is_dialled;   /* urgent bytes are kept in place when the first are announced */
	bool is_delaying;  /* no Nagle from the second write on: the first never waits */
	bool has_written;
};

/* Take over a connected non-blocking socket and watch it. errors: ERR_SYSTEM (fd stays the caller's). */
MUST_USE enum err stream_open_plain(struct stream *stream, struct loop *loop, int fd,
                                    void (*on_ready)(struct stream *stream, unsigned events));

/* Its socket is one of socket_connect(). */
void stream_set_dialled(struct stream *stream);
/* Bytes will be written to the socket itself (splice). */
void stream_end_delay(struct stream *stream);

static inline bool stream_is_open(const struct stream *stream)
{
	return stream->ops && stream->io.fd >= 0;
}

static inline bool stream_is_readable(const struct stream *stream)
{
	return stream->ready & (LOOP_READABLE | LOOP_PEER_CLOSED | LOOP_BROKEN);
}

static inline bool stream_is_writable(const struct stream *stream)
{
	return stream->ready & (LOOP_WRITABLE | LOOP_BROKEN);
}

/* How many bytes may be read now by its rate limits, up to `want`; 0: on_ready runs once more when there are. Of media all. */
static inline size_t stream_room(const struct stream *stream, size_t want)
{
	return stream->meter == NULL || stream->io.class == LOOP_MEDIA ? want : meter_room(stream->meter, want);
}

/* So many were read: for who does not call stream_read(). */
static inline void stream_note_read(const struct stream *stream, size_t bytes)
{
	if (stream->meter && stream->io.class != LOOP_MEDIA)
		meter_use(stream->meter, bytes);
}

/* Read, with the edge kept in `ready`: AGAIN at once when none is left, or when its rate limits say so. */
enum stream_state stream_read(struct stream *stream, void *at, size_t len, size_t *got);

/* Write, in the same way. May take a part. */
enum stream_state stream_write(struct stream *stream, struct span bytes, size_t *taken);

/* The operations of a plain socket: for what is put over one (proxy/tls). */
extern const struct stream_ops stream_plain_ops;

/* Is it a plain socket, so that bytes may go from kernel to kernel? */
bool stream_is_plain(const struct stream *stream);

/* Close if open. With `reset`, the other side sees RST. */
void stream_close(struct stream *stream, bool reset);

#endif
