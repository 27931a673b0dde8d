/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dial.h"

#include <stdlib.h>
#include <string.h>

#include "net/socket.h"

struct attempt {
	struct loop_io io; /* io.fd is -1 when it is over */
	struct dial *dial;
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
	size_t count, started, open;
	bool cancelled;
	struct address to[DIAL_ADDRESSES_MAX];
	struct attempt attempts[];
};

static void close_attempts(struct dial *dial)
{
	for (size_t i = 0; i < dial->started; i++)
		loop_close(dial->loop, &dial->attempts[i].io);
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

static void on_connected(struct loop_io *io, unsigned events)
{
	struct attempt *attempt = CONTAINER_OF(io, struct attempt, io);
	struct dial *dial = attempt->dial;
	enum err err;

	if (!(events & (LOOP_WRITABLE | LOOP_BROKEN)))
		return;
	err = events & LOOP_BROKEN ? socket_connect_result(io->fd) : ERR_NONE;
	if (err) {
		loop_close(dial->loop, io);
		dial->open--;
		on_failed(dial, err);
		return;
	}
	dial->result = (struct dial_result){ERR_NONE, io, dial->to[attempt - dial->attempts]};
	dial->done(dial->context, &dial->result);
	close_attempts(dial);
	free(dial);
}

static void on_next_due(struct loop_timer *timer)
{
	struct dial *dial = CONTAINER_OF(timer, struct dial, next_timer);

	if (dial->started < dial->count)
		start_next(dial);
}

/* Start attempts until one is under way (RFC 8305 section 5). */
static void start_next(struct dial *dial)
{
	enum err err = ERR_ORIGIN_UNREACHABLE;

	while (dial->started < dial->count) {
		struct attempt *attempt = &dial->attempts[dial->started];
		const struct address *to = &dial->to[dial->started++];

		attempt->dial = dial;
		attempt->io = (struct loop_io){.fd = -1, .on_ready = on_connected};
		err = socket_connect(to, dial->source.family ? &dial->source : NULL,
		                     &attempt->io.fd);
		if (err == ERR_NONE)
			err = loop_watch(dial->loop, &attempt->io);
		if (err == ERR_NONE) {
			dial->open++;
			if (dial->started < dial->count)
				loop_timer_set(dial->loop, &dial->next_timer,
				               dial->attempt_delay_ms);
			return;
		}
		loop_close(dial->loop, &attempt->io);
	}
	dial->result.err = err;
	if (dial->open == 0)
		finish(dial);
}

enum err dial_start(struct loop *loop, const struct address *to, size_t count,
                    const struct address *source, uint64_t attempt_delay_ms, dial_done *done,
                    void *context, struct dial **out)
{
	struct dial *dial;

	ASSERT(count > 0 && count <= DIAL_ADDRESSES_MAX);
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
	memcpy(dial->to, to, count * sizeof(*to));
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
