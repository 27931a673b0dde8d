/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include <errno.h>
#include <sys/socket.h>

#include "net/socket.h"

static enum stream_state state_of(struct stream *stream)
{
	if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
		return STREAM_AGAIN;
	stream->error_number = errno;
	return errno == ECONNRESET || errno == EPIPE ? STREAM_RESET : STREAM_BROKEN;
}

static enum stream_state plain_read(struct stream *stream, void *at, size_t len, size_t *got)
{
	ssize_t count;

	do {
		count = recv(stream->io.fd, at, len, 0);
	} while (count < 0 && errno == EINTR);
	*got = count > 0 ? (size_t)count : 0;
	if (count > 0)
		return STREAM_OK;
	return count == 0 ? STREAM_END : state_of(stream);
}

static enum stream_state plain_write(struct stream *stream, struct span bytes, size_t *taken)
{
	ssize_t count;

	if (stream->is_delaying && stream->has_written)
		stream_end_delay(stream);
	stream->has_written = true;
	do {
		count = send(stream->io.fd, bytes.at, bytes.len, MSG_NOSIGNAL);
	} while (count < 0 && errno == EINTR);
	*taken = count > 0 ? (size_t)count : 0;
	return count >= 0 ? STREAM_OK : state_of(stream);
}

static enum stream_state plain_shutdown(struct stream *stream)
{
	if (shutdown(stream->io.fd, SHUT_WR) == 0)
		return STREAM_OK;
	return errno == ENOTCONN ? STREAM_RESET : state_of(stream);
}

static void plain_close(struct stream *stream, bool reset)
{
	if (reset) {
		/* Closing with linger time 0 sends RST, and drops what was not sent. */
		struct linger linger = {.l_onoff = 1, .l_linger = 0};

		if (setsockopt(stream->io.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
			stream->error_number = errno;
	}
	loop_close(stream->loop, &stream->io);
}

const struct stream_ops stream_plain_ops = {"plain", plain_read, plain_write, plain_shutdown,
                                            plain_close};

static void on_io(struct loop_io *io, unsigned events)
{
	struct stream *stream = CONTAINER_OF(io, struct stream, io);

	stream->ready |= events;
	if ((events & LOOP_URGENT) && stream->is_dialled)
		socket_keep_urgent(io->fd);
	/* TLS may have to write before it can read on, and the other way round. */
	if (stream->tls && (events & (LOOP_READABLE | LOOP_WRITABLE)))
		stream->ready |= LOOP_READABLE | LOOP_WRITABLE;
	stream->on_ready(stream, events);
}

enum stream_state stream_read(struct stream *stream, void *at, size_t len, size_t *got)
{
	enum stream_state state;

	*got = 0;
	if (!stream_is_readable(stream))
		return STREAM_AGAIN;
	if (len && (len = stream_room(stream, len)) == 0)
		return STREAM_AGAIN;
	state = stream->ops->read(stream, at, len, got);
	stream_note_read(stream, *got);
	/* A short read has emptied the socket: what comes later is a new edge. Only when a FIN, an error
	 * or urgent bytes were announced, they may be there already, behind these, without another edge. What TLS has decrypted says
	 * nothing of what the socket holds. */
	if (state == STREAM_AGAIN ||
	    (state == STREAM_OK && *got < len && stream->tls == NULL &&
	     !(stream->ready & (LOOP_PEER_CLOSED | LOOP_BROKEN | LOOP_URGENT))))
		stream->ready &= ~(unsigned)LOOP_READABLE;
	if (state == STREAM_AGAIN)
		stream->ready &= ~(unsigned)(LOOP_PEER_CLOSED | LOOP_BROKEN | LOOP_URGENT);
	return state;
}

enum stream_state stream_write(struct stream *stream, struct span bytes, size_t *taken)
{
	enum stream_state state;

	*taken = 0;
	if (!stream_is_writable(stream))
		return STREAM_AGAIN;
	state = stream->ops->write(stream, bytes, taken);
	if (state == STREAM_AGAIN || (state == STREAM_OK && *taken < bytes.len))
		stream->ready &= ~(unsigned)LOOP_WRITABLE;
	return state;
}

enum err stream_open_plain(struct stream *stream, struct loop *loop, int fd,
                           void (*on_ready)(struct stream *stream, unsigned events))
{
	enum err err;

	*stream = (struct stream){
		.io = {.fd = fd, .on_ready = on_io}, .ops = &stream_plain_ops, .loop = loop, .on_ready = on_ready,
		.ready = LOOP_WRITABLE};
	err = loop_watch(loop, &stream->io);
	if (err)
		*stream = (struct stream){.io = {.fd = -1}};
	return err;
}

void stream_set_dialled(struct stream *stream)
{
	stream->is_dialled = stream->is_delaying = true;
}

void stream_end_delay(struct stream *stream)
{
	if (stream->is_delaying)
		socket_no_delay(stream->io.fd);
	stream->is_delaying = false;
}

bool stream_is_plain(const struct stream *stream)
{
	return stream->ops == &stream_plain_ops;
}

void stream_close(struct stream *stream, bool reset)
{
	if (stream_is_open(stream))
		stream->ops->close(stream, reset);
}
