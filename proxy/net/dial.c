/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dial.h"

#include <stdlib.h>
#include <unistd.h>

#include "net/socket.h"

enum { OPEN_MAX = 3, FAIR_MS = 2000 };

struct attempt {
	struct stream *stream; /* NULL when it is over */
	struct dial *dial;
	struct address to;
};

struct dial {
	struct loop *loop;
	dial_done *done;
	void *context;
	struct loop_timer next_timer;
	struct loop_task report;     /* of a failure, at the end of the turn */
	struct dial_result result;
	uint64_t attempt_delay_ms;
	struct address source;       /* family 0: none */
	size_t stream_bytes;
	size_t count, started, open;
	bool cancelled;
	struct attempt attempts[];
};

static void drop_stream(struct attempt *attempt)
{
	if (attempt->stream)
		stream_close(attempt->stream, false);
	free(attempt->stream);
	attempt->stream = NULL;
}

static void close_attempts(struct dial *dial)
{
	for (size_t i = 0; i < dial->started; i++)
		drop_stream(&dial->attempts[i]);
	dial->open = 0;
	loop_timer_clear(dial->loop, &dial->next_timer);
}

static void report(struct loop_task *task)
{
	struct dial *dial = CONTAINER_OF(task, struct dial, report);

	if (!dial->cancelled)
		dial->done(dial->context, &dial->result);
	free(dial);
}

static void finish(struct dial *dial)
{
	close_attempts(dial);
	loop_defer(dial->loop, &dial->report);
}

static void start_next(struct dial *dial);

static void on_failed(struct dial *dial, enum err err)
{
	dial->result.err = err;
	if (dial->started < dial->count)
		start_next(dial);
	else if (dial->open == 0)
		finish(dial);
}

static void on_connected(struct stream *stream, unsigned events)
{
	struct attempt *attempt = stream->owner;
	struct dial *dial = attempt->dial;
	enum err err;

	if (!(events & (LOOP_WRITABLE | LOOP_BROKEN)))
		return;
	err = events & LOOP_BROKEN ? socket_connect_result(stream->io.fd) : ERR_NONE;
	if (err) {
		drop_stream(attempt);
		dial->open--;
		on_failed(dial, err);
		return;
	}
	dial->result = (struct dial_result){ERR_NONE, stream, attempt->to};
	attempt->stream = NULL;
	close_attempts(dial);
	dial->done(dial->context, &dial->result);
	free(dial);
}

static void on_next_due(struct loop_timer *timer)
{
	struct dial *dial = CONTAINER_OF(timer, struct dial, next_timer);

	if (dial->started < dial->count)
		start_next(dial);
}

static enum err start_attempt(struct attempt *attempt)
{
	struct dial *dial = attempt->dial;
	struct stream *stream = calloc(1, dial->stream_bytes);
	enum err err;
	int fd;

	if (stream == NULL)
		return ERR_MEMORY;
	err = socket_connect(&attempt->to, dial->source.family ? &dial->source : NULL, &fd);
	if (err == ERR_NONE) {
		err = stream_open_plain(stream, dial->loop, fd, on_connected);
		if (err)
			close(fd);
	}
	if (err) {
		free(stream);
		return err;
	}
	stream_set_dialled(stream);
	stream->owner = attempt;
	attempt->stream = stream;
	return ERR_NONE;
}

static void drop_oldest(struct dial *dial)
{
	for (size_t i = 0; i < dial->started; i++) {
		if (dial->attempts[i].stream == NULL)
			continue;
		drop_stream(&dial->attempts[i]);
		dial->open--;
		return;
	}
}

/* Start attempts until one is under way (RFC 8305 section 5). A host with many silent addresses gets few
 * descriptors: the oldest attempt makes room, but not before it had a fair time. */
static void start_next(struct dial *dial)
{
	enum err err = ERR_ORIGIN_UNREACHABLE;

	if (dial->open >= OPEN_MAX)
		drop_oldest(dial);
	while (dial->started < dial->count) {
		err = start_attempt(&dial->attempts[dial->started++]);
		if (err)
			continue;
		dial->open++;
		if (dial->started < dial->count)
			loop_timer_set(dial->loop, &dial->next_timer,
			               dial->open < OPEN_MAX || dial->attempt_delay_ms > FAIR_MS
			                       ? dial->attempt_delay_ms
			                       : FAIR_MS);
		return;
	}
	dial->result.err = err;
	if (dial->open == 0)
		finish(dial);
}

enum err dial_start(struct loop *loop, const struct address *to, size_t count,
                    const struct address *source, uint64_t attempt_delay_ms, size_t stream_bytes,
                    dial_done *done, void *context, struct dial **out)
{
	struct dial *dial;

	ASSERT(count > 0 && count <= DIAL_ADDRESSES_MAX && stream_bytes >= sizeof(struct stream));
	dial = calloc(1, sizeof(*dial) + count * sizeof(dial->attempts[0]));
	if (dial == NULL)
		return ERR_MEMORY;
	dial->loop = loop;
	dial->done = done;
	dial->context = context;
	dial->attempt_delay_ms = attempt_delay_ms;
	dial->next_timer.on_due = on_next_due;
	dial->report.run = report;
	dial->count = count;
	dial->stream_bytes = stream_bytes;
	for (size_t i = 0; i < count; i++)
		dial->attempts[i] = (struct attempt){.dial = dial, .to = to[i]};
	if (source)
		dial->source = *source;
	*out = dial;
	start_next(dial);
	return ERR_NONE;
}

void dial_cancel(struct dial *dial)
{
	if (dial == NULL)
		return;
	dial->cancelled = true;
	finish(dial);
}
