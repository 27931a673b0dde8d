/* SPDX-License-Identifier: Apache-2.0 */
#include "net/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum {
	EVENTS_PER_TURN = 128,
	SCRATCH_BYTES = 128 * 1024,
	TICK_MS = 10,
	TURN_BYTES = 8 << 20, /* about 2.5 ms of a core that moves bulk */
	SLOTS = 1024, /* a ring of 10 s; what is due later goes round again */
};

/* Something to be called once more although the kernel has nothing new to say. */
struct again {
	struct loop_io *io;
	unsigned events;
};

struct loop {
	int epoll;
	bool stopping;
	uint64_t now_ms, wall_offset_ms;
	uint64_t turns_count, longest_turn_us;
	struct epoll_event events[EVENTS_PER_TURN];
	int event_count;                     /* of this turn, for loop_unwatch() */
	struct again *again, *again_now;     /* for the next turn; being served */
	size_t again_count, again_capacity, again_now_count, again_now_capacity;
	uint64_t spent_bytes;                /* in this turn */
	struct list slots[SLOTS];
	size_t timer_count;
	uint64_t tick;                       /* last one that was served */
	struct list tasks;
	uint8_t scratch[SCRATCH_BYTES];
};

static void read_clock(struct loop *loop)
{
	loop->now_ms = clock_monotonic_ms();
}

enum err loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return ERR_MEMORY;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0) {
		free(loop);
		return ERR_SYSTEM;
	}
	for (size_t i = 0; i < SLOTS; i++)
		list_init(&loop->slots[i]);
	list_init(&loop->tasks);
	read_clock(loop);
	loop->wall_offset_ms = clock_wall_ms() - loop->now_ms;
	loop->tick = loop->now_ms / TICK_MS;
	*out = loop;
	return ERR_NONE;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	close(loop->epoll);
	free(loop->again);
	free(loop->again_now);
	free(loop);
}

uint64_t loop_now_ms(const struct loop *loop)
{
	return loop->now_ms;
}

uint64_t loop_wall_ms(const struct loop *loop)
{
	return loop->now_ms + loop->wall_offset_ms;
}

uint64_t loop_turns_count(const struct loop *loop)
{
	return loop->turns_count;
}

uint64_t loop_longest_turn_us(const struct loop *loop)
{
	return loop->longest_turn_us;
}

uint8_t *loop_scratch(struct loop *loop, size_t *len)
{
	*len = SCRATCH_BYTES;
	return loop->scratch;
}

/* ---- descriptors ---- */

static enum err add(struct loop *loop, struct loop_io *io, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = io};

	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, io->fd, &event) == 0)
		return ERR_NONE;
	return errno == ENOSPC || errno == ENOMEM ? ERR_LIMIT : ERR_SYSTEM;
}

enum err loop_watch(struct loop *loop, struct loop_io *io)
{
	return add(loop, io, (uint32_t)EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

enum err loop_watch_listener(struct loop *loop, struct loop_io *io)
{
	return add(loop, io, EPOLLIN | EPOLLEXCLUSIVE);
}

/* Events that were fetched in this turn may still name the descriptor: they are made void, so that
 * its memory can be freed at any time after. */
static void forget(struct loop *loop, struct loop_io *io)
{
	for (int i = 0; i < loop->event_count; i++)
		if (loop->events[i].data.ptr == io)
			loop->events[i].data.ptr = NULL;
	if (io->again)
		loop->again[io->again - 1].io = NULL;
	io->again = 0;
	for (size_t i = 0; i < loop->again_now_count; i++)
		if (loop->again_now[i].io == io)
			loop->again_now[i].io = NULL;
}

void loop_unwatch(struct loop *loop, struct loop_io *io)
{
	if (io->fd < 0)
		return;
	forget(loop, io);
	if (epoll_ctl(loop->epoll, EPOLL_CTL_DEL, io->fd, NULL) < 0 && errno != ENOENT)
		log_event(EV_SYSTEM, "epoll_ctl: errno=%d", errno);
}

void loop_close(struct loop *loop, struct loop_io *io)
{
	if (io->fd < 0)
		return;
	forget(loop, io);
	close(io->fd);
	io->fd = -1;
}

void loop_again(struct loop *loop, struct loop_io *io, unsigned events)
{
	if (io->again) {
		loop->again[io->again - 1].events |= events;
		return;
	}
	if (loop->again_count == loop->again_capacity) {
		size_t capacity = loop->again_capacity ? loop->again_capacity * 2 : 64;
		struct again *grown = realloc(loop->again, capacity * sizeof(*grown));

		ASSERT(grown != NULL);
		loop->again = grown;
		loop->again_capacity = capacity;
	}
	loop->again[loop->again_count++] = (struct again){io, events};
	io->again = (unsigned)loop->again_count;
}

/* ---- timers ---- */

static void place(struct loop *loop, struct loop_timer *timer)
{
	uint64_t tick = timer->due_ms / TICK_MS + 1;

	if (tick <= loop->tick)
		tick = loop->tick + 1;
	timer->queued_ms = tick * TICK_MS;
	list_add_last(&loop->slots[tick % SLOTS], &timer->link);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t after_ms)
{
	if (after_ms == 0) {
		loop_timer_clear(loop, timer);
		return;
	}
	timer->due_ms = loop->now_ms + after_ms;
	if (timer->link.next && timer->queued_ms <= timer->due_ms + TICK_MS)
		return; /* looked at early enough; put back then */
	if (timer->link.next)
		list_remove(&timer->link);
	else
		loop->timer_count++;
	place(loop, timer);
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
	if (timer->link.next == NULL)
		return;
	list_remove(&timer->link);
	timer->link.next = timer->link.previous = NULL;
	loop->timer_count--;
}

static void serve_slot(struct loop *loop, struct list *slot)
{
	struct list due;

	/* Taken out as a whole: callbacks may set and clear any timer meanwhile. */
	list_init(&due);
	while (!list_is_empty(slot)) {
		struct list *link = slot->next;

		list_remove(link);
		list_add_last(&due, link);
	}
	while (!list_is_empty(&due)) {
		struct loop_timer *timer = LIST_ENTRY(due.next, struct loop_timer, link);

		if (timer->due_ms > loop->now_ms) {
			list_remove(&timer->link);
			place(loop, timer);
		} else {
			loop_timer_clear(loop, timer);
			timer->on_due(timer);
		}
	}
}

static void serve_timers(struct loop *loop)
{
	uint64_t tick = loop->now_ms / TICK_MS;

	if (tick - loop->tick > SLOTS)
		loop->tick = tick - SLOTS;
	while (loop->tick < tick) {
		loop->tick++;
		serve_slot(loop, &loop->slots[loop->tick % SLOTS]);
	}
}

/* Most milliseconds to wait until a slot with timers comes up. */
static int until_timer(const struct loop *loop, int wait_ms)
{
	if (loop->timer_count == 0)
		return wait_ms;
	for (uint64_t i = 1; i <= SLOTS; i++) {
		uint64_t due = (loop->tick + i) * TICK_MS;

		if (list_is_empty(&loop->slots[(loop->tick + i) % SLOTS]))
			continue;
		if (due <= loop->now_ms)
			return 0;
		due -= loop->now_ms;
		return wait_ms < 0 || due < (uint64_t)wait_ms ? (int)due : wait_ms;
	}
	return wait_ms;
}

/* ---- a turn ---- */

void loop_defer(struct loop *loop, struct loop_task *task)
{
	if (!loop_is_deferred(task))
		list_add_last(&loop->tasks, &task->link);
}

bool loop_is_deferred(const struct loop_task *task)
{
	return task->link.next != NULL;
}

void loop_undefer(struct loop_task *task)
{
	if (!loop_is_deferred(task))
		return;
	list_remove(&task->link);
	task->link.next = NULL;
}

static void serve_tasks(struct loop *loop)
{
	struct list *link;

	while ((link = list_first(&loop->tasks)) != NULL) {
		struct loop_task *task = LIST_ENTRY(link, struct loop_task, link);

		list_remove(link);
		link->next = link->previous = NULL;
		task->run(task);
	}
}

static unsigned events_of(uint32_t events)
{
	return (events & EPOLLIN ? LOOP_READABLE : 0u) | (events & EPOLLOUT ? LOOP_WRITABLE : 0u) |
	       (events & EPOLLRDHUP ? LOOP_PEER_CLOSED : 0u) |
	       (events & (EPOLLERR | EPOLLHUP) ? LOOP_BROKEN : 0u);
}

void loop_spend(struct loop *loop, size_t bytes)
{
	loop->spent_bytes += bytes;
}

bool loop_is_spent(const struct loop *loop)
{
	return loop->spent_bytes >= TURN_BYTES;
}

/* What a spent turn did not come to is first in the next, before those that were served in this. */
static void put_back(struct loop *loop, size_t from)
{
	size_t requeued = loop->again_count, kept = 0;

	for (size_t i = from; i < loop->again_now_count; i++) {
		struct again again = loop->again_now[i];

		loop->again_now[i].io = NULL;
		if (again.io && again.io->again == 0)
			loop->again_now[from + kept++] = again;
		else if (again.io)
			loop->again[again.io->again - 1].events |= again.events;
	}
	for (size_t i = 0; i < kept; i++)
		loop_again(loop, loop->again_now[from + i].io, loop->again_now[from + i].events);
	memmove(loop->again + kept, loop->again, requeued * sizeof(*loop->again));
	memcpy(loop->again, loop->again_now + from, kept * sizeof(*loop->again));
	for (size_t i = 0; i < loop->again_count; i++)
		if (loop->again[i].io)
			loop->again[i].io->again = (unsigned)i + 1;
}

static void serve_again(struct loop *loop)
{
	struct again *swap = loop->again_now;
	size_t capacity = loop->again_now_capacity;

	loop->again_now = loop->again;
	loop->again_now_count = loop->again_count;
	loop->again_now_capacity = loop->again_capacity;
	loop->again = swap;
	loop->again_count = 0;
	loop->again_capacity = capacity;
	for (size_t i = 0; i < loop->again_now_count; i++)
		if (loop->again_now[i].io)
			loop->again_now[i].io->again = 0;
	for (size_t i = 0; i < loop->again_now_count; i++) {
		struct again again = loop->again_now[i];

		if (loop_is_spent(loop)) {
			put_back(loop, i);
			break;
		}
		loop->again_now[i].io = NULL;
		if (again.io)
			again.io->on_ready(again.io, again.events);
	}
	loop->again_now_count = 0;
}

static void measure(struct loop *loop, uint64_t began_us)
{
	uint64_t took_us = clock_monotonic_us() - began_us;

	loop->turns_count++;
	if (took_us > loop->longest_turn_us)
		loop->longest_turn_us = took_us;
}

void loop_turn(struct loop *loop, int wait_ms)
{
	uint64_t began_us;

	if (loop->again_count || !list_is_empty(&loop->tasks))
		wait_ms = 0;
	wait_ms = until_timer(loop, wait_ms);
	loop->event_count = epoll_wait(loop->epoll, loop->events, EVENTS_PER_TURN, wait_ms);
	if (loop->event_count < 0) {
		if (errno != EINTR)
			log_event(EV_SYSTEM, "epoll_wait: errno=%d", errno);
		loop->event_count = 0;
	}
	began_us = clock_monotonic_us();
	loop->now_ms = began_us / 1000;
	for (int i = 0; i < loop->event_count; i++) {
		struct loop_io *io = loop->events[i].data.ptr;

		if (io)
			io->on_ready(io, events_of(loop->events[i].events));
	}
	loop->event_count = 0;
	serve_again(loop);
	loop->spent_bytes = 0;
	serve_timers(loop);
	serve_tasks(loop);
	measure(loop, began_us);
}

void loop_run(struct loop *loop)
{
	loop->stopping = false;
	while (!loop->stopping)
		loop_turn(loop, -1);
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}
