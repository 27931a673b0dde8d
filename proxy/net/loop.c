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
	FETCHES_PER_TURN = 128, /* of so many events, where most of them are put off */
	SCRATCH_BYTES = 128 * 1024,
	TICK_MS = 10,
	TURN_BYTES = 8 << 20, /* about 2.5 ms of a core that moves bulk */
	CLASS_LEAST_BYTES = 2 << 20, /* for what is queued of a class, in a turn that others have spent */
	YOUNG_MS = 2000, /* after LOOP_NEW: about as long as a crowd takes */
	NEW_EVENT_COSTS_BYTES = 128 * 1024, /* a head that is read, decided and dialled for takes as long as so many bytes */
	MEDIA_EVENTS = 64,
	MEDIA_TURN_BYTES = 1 << 20, /* more in one turn is no call: it waits for the next one */
	MEDIA_EVENT_COSTS_BYTES = 512, /* a callback that moves next to nothing takes its time, too: 2,000 of them are a turn's */
	MEDIA_LIVES_MS = 500,
	SLICE_BYTES = 32 * 1024, /* while media lives: about 10 us of a core that moves bulk */
	SLICE_WITHOUT_MEDIA_BYTES = 512 * 1024,
	SLOTS = 1024, /* a ring of 10 s; what is due later goes round again */
	FAR_TICKS = 32, /* and shares one of so many slots, or 50,000 idle tunnels would wake us each tick */
};

/* Something to be called once more although the kernel has nothing new to say. */
struct again {
	struct loop_io *io; /* NULL: not any more */
	unsigned events;
};

/* First in, first out; a ticket is the place in the order of all that were ever queued, without 0. */
struct queue {
	struct again *ring;
	uint32_t first, next; /* tickets */
	uint32_t capacity;    /* a power of two, or 0 */
};

struct loop {
	int epoll;
	bool stopping;
	uint64_t now_ms, wall_offset_ms;
	uint64_t turns_count, longest_turn_us;
	struct epoll_event events[EVENTS_PER_TURN];
	int event_count;                     /* of this turn, for loop_unwatch() */
	int media;                           /* the epoll set of class media; it is in the other one, too */
	size_t media_count;
	struct epoll_event media_events[MEDIA_EVENTS];
	int media_event_count;
	bool media_lives, serves_media;
	uint64_t media_seen_ms;
	struct queue queues[LOOP_CLASS_COUNT];
	size_t slice_bytes;
	uint64_t turn_bytes, spent_bytes, media_spent_bytes; /* of this turn */
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

/* The kernel says of the set of media that it has events as it does of any descriptor. */
static bool open_sets(struct loop *loop)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &loop->media};

	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->media = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll >= 0 && loop->media >= 0 && epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->media, &event) == 0)
		return true;
	if (loop->epoll >= 0)
		close(loop->epoll);
	if (loop->media >= 0)
		close(loop->media);
	return false;
}

enum err loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return ERR_MEMORY;
	loop->slice_bytes = SLICE_BYTES;
	loop->turn_bytes = TURN_BYTES;
	if (!open_sets(loop)) {
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
	close(loop->media);
	for (int class = 0; class < LOOP_CLASS_COUNT; class++)
		free(loop->queues[class].ring);
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
	size_t slice = loop_slice_bytes(loop);

	*len = slice < SCRATCH_BYTES ? slice : SCRATCH_BYTES;
	return loop->scratch;
}

size_t loop_slice_bytes(const struct loop *loop)
{
	return loop->media_lives ? loop->slice_bytes : SLICE_WITHOUT_MEDIA_BYTES;
}

void loop_set_slice(struct loop *loop, size_t bytes)
{
	loop->slice_bytes = bytes ? bytes : SLICE_BYTES;
}

/* ---- descriptors ---- */

enum { WATCHED = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI };

static enum err add(int set, struct loop_io *io, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = io};

	if (epoll_ctl(set, EPOLL_CTL_ADD, io->fd, &event) == 0)
		return ERR_NONE;
	return errno == ENOSPC || errno == ENOMEM ? ERR_LIMIT : ERR_SYSTEM;
}

enum err loop_watch(struct loop *loop, struct loop_io *io)
{
	io->class = LOOP_NORMAL;
	return add(loop->epoll, io, (uint32_t)WATCHED | EPOLLET);
}

enum err loop_watch_listener(struct loop *loop, struct loop_io *io)
{
	io->class = LOOP_NORMAL;
	return add(loop->epoll, io, EPOLLIN | EPOLLEXCLUSIVE);
}

static int set_of(const struct loop *loop, const struct loop_io *io)
{
	return io->class == LOOP_MEDIA ? loop->media : loop->epoll;
}

static void remove_from_set(const struct loop *loop, const struct loop_io *io)
{
	if (epoll_ctl(set_of(loop, io), EPOLL_CTL_DEL, io->fd, NULL) < 0 && errno != ENOENT)
		log_event(EV_SYSTEM, "epoll_ctl: errno=%d", errno);
}

/* One that joins a set has its edges told anew there: none is lost. */
enum err loop_set_class(struct loop *loop, struct loop_io *io, enum loop_class class)
{
	if ((class == LOOP_MEDIA) != (io->class == LOOP_MEDIA)) {
		enum err err = add(class == LOOP_MEDIA ? loop->media : loop->epoll, io, (uint32_t)WATCHED | EPOLLET);

		if (err)
			return err;
		remove_from_set(loop, io);
		loop->media_count += class == LOOP_MEDIA ? 1 : (size_t)-1;
	}
	if (io->class == LOOP_NEW && class != LOOP_NEW)
		io->not_new_since_ms = (uint32_t)loop->now_ms;
	io->class = (uint8_t)class;
	return ERR_NONE;
}

/* What is normal has to have been so for a while. */
static enum loop_class served_as(const struct loop *loop, const struct loop_io *io)
{
	bool is_young = (uint32_t)loop->now_ms - io->not_new_since_ms < YOUNG_MS;

	return io->class == LOOP_NORMAL && is_young ? LOOP_NEW : (enum loop_class)io->class;
}

static void let_media_by(struct loop *loop);

/* ---- once more ---- */

static struct again *queued(const struct queue *queue, uint32_t ticket)
{
	return &queue->ring[ticket & (queue->capacity - 1)];
}

static void grow(struct queue *queue)
{
	struct queue grown = {.first = queue->first, .next = queue->next, .capacity = queue->capacity ? queue->capacity * 2 : 64};

	grown.ring = calloc(grown.capacity, sizeof(*grown.ring));
	ASSERT(grown.ring != NULL);
	for (uint32_t ticket = queue->first; ticket != queue->next; ticket++)
		*queued(&grown, ticket) = *queued(queue, ticket);
	free(queue->ring);
	*queue = grown;
}

void loop_again(struct loop *loop, struct loop_io *io, unsigned events)
{
	enum loop_class class = served_as(loop, io);
	struct queue *queue = &loop->queues[class];

	if (io->again) {
		queued(&loop->queues[io->again_class], io->again)->events |= events;
		return;
	}
	if (queue->next - queue->first == queue->capacity)
		grow(queue);
	if (queue->next == 0) { /* no ticket: it is passed over when its turn comes */
		*queued(queue, queue->next++) = (struct again){NULL, 0};
		loop_again(loop, io, events);
		return;
	}
	io->again = queue->next;
	io->again_class = (uint8_t)class;
	*queued(queue, queue->next++) = (struct again){io, events};
}

/* Call those that were there when it began, or fewer where `is_enough` says so; the others stay first. */
static void serve_queue(struct loop *loop, enum loop_class class, bool (*is_enough)(const struct loop *loop))
{
	struct queue *queue = &loop->queues[class];

	for (uint32_t end = queue->next; queue->first != end && !is_enough(loop);) {
		struct again again = *queued(queue, queue->first++);

		if (again.io == NULL)
			continue;
		again.io->again = 0;
		loop->spent_bytes += class == LOOP_NEW ? NEW_EVENT_COSTS_BYTES : 0;
		again.io->on_ready(again.io, again.events);
		let_media_by(loop);
	}
}

static bool has_queued(const struct loop *loop)
{
	for (int class = 0; class < LOOP_CLASS_COUNT; class++)
		if (loop->queues[class].first != loop->queues[class].next)
			return true;
	return false;
}

/* Events that were fetched in this turn may still name the descriptor: they are made void, so that
 * its memory can be freed at any time after. */
static void forget(struct loop *loop, struct loop_io *io)
{
	for (int i = 0; i < loop->event_count; i++)
		if (loop->events[i].data.ptr == io)
			loop->events[i].data.ptr = NULL;
	for (int i = 0; i < loop->media_event_count; i++)
		if (loop->media_events[i].data.ptr == io)
			loop->media_events[i].data.ptr = NULL;
	if (io->again)
		queued(&loop->queues[io->again_class], io->again)->io = NULL;
	io->again = 0;
	if (io->class == LOOP_MEDIA)
		loop->media_count--;
}

void loop_unwatch(struct loop *loop, struct loop_io *io)
{
	if (io->fd < 0)
		return;
	forget(loop, io);
	remove_from_set(loop, io);
	io->class = LOOP_NORMAL;
}

void loop_close(struct loop *loop, struct loop_io *io)
{
	if (io->fd < 0)
		return;
	forget(loop, io);
	io->class = LOOP_NORMAL;
	close(io->fd);
	io->fd = -1;
}

/* ---- timers ---- */

static void place(struct loop *loop, struct loop_timer *timer)
{
	uint64_t tick = timer->due_ms / TICK_MS + 1;

	if (tick <= loop->tick)
		tick = loop->tick + 1;
	else if (tick - loop->tick >= SLOTS)
		tick = (loop->tick + SLOTS - 1) & ~(uint64_t)(FAR_TICKS - 1);
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
			let_media_by(loop);
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
	if (loop->timer_count == 0 || wait_ms == 0)
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
		let_media_by(loop);
	}
}

static unsigned events_of(uint32_t events)
{
	return (events & EPOLLIN ? LOOP_READABLE : 0u) | (events & EPOLLOUT ? LOOP_WRITABLE : 0u) |
	       (events & EPOLLRDHUP ? LOOP_PEER_CLOSED : 0u) | (events & EPOLLPRI ? LOOP_URGENT : 0u) |
	       (events & (EPOLLERR | EPOLLHUP) ? LOOP_BROKEN : 0u);
}

/* ---- classes ---- */

static bool media_is_spent(const struct loop *loop)
{
	return loop->media_spent_bytes >= MEDIA_TURN_BYTES;
}

static void serve_media(struct loop *loop)
{
	if (loop->serves_media || media_is_spent(loop))
		return;
	loop->serves_media = true;
	serve_queue(loop, LOOP_MEDIA, media_is_spent);
	loop->media_event_count = epoll_wait(loop->media, loop->media_events, MEDIA_EVENTS, 0);
	if (loop->media_event_count > 0) {
		loop->media_seen_ms = loop->now_ms;
		loop->media_lives = true;
	}
	for (int i = 0; i < loop->media_event_count; i++) {
		struct loop_io *io = loop->media_events[i].data.ptr;

		loop->media_spent_bytes += MEDIA_EVENT_COSTS_BYTES;
		if (io)
			io->on_ready(io, events_of(loop->media_events[i].events));
	}
	loop->media_event_count = 0;
	loop->serves_media = false;
}

/* In the midst of a turn. */
static void let_media_by(struct loop *loop)
{
	if (loop->media_lives)
		serve_media(loop);
}

/* Is it among the events that were fetched? */
static bool is_media_named(struct loop *loop)
{
	bool is_named = false;

	for (int i = 0; i < loop->event_count && loop->media_count; i++) {
		if (loop->events[i].data.ptr != &loop->media)
			continue;
		loop->events[i].data.ptr = NULL;
		is_named = true;
	}
	return is_named;
}

/* At the begin of a turn. Who said nothing for long is asked only when the kernel names it. */
static void begin_media(struct loop *loop)
{
	bool is_queued = loop->queues[LOOP_MEDIA].first != loop->queues[LOOP_MEDIA].next;

	loop->media_lives = loop->media_count && loop->now_ms - loop->media_seen_ms < MEDIA_LIVES_MS;
	loop->media_spent_bytes = 0;
	if (is_media_named(loop) || is_queued)
		serve_media(loop);
}

void loop_spend(struct loop *loop, size_t bytes)
{
	if (loop->serves_media) {
		loop->media_spent_bytes += bytes;
		return;
	}
	loop->spent_bytes += bytes;
	let_media_by(loop);
}

bool loop_is_spent(const struct loop *loop)
{
	return loop->spent_bytes >= loop->turn_bytes;
}

/* Most that the kernel says at once; true if it may have more to say. */
static bool fetch(struct loop *loop, int wait_ms)
{
	loop->event_count = epoll_wait(loop->epoll, loop->events, EVENTS_PER_TURN, wait_ms);
	if (loop->event_count < 0) {
		if (errno != EINTR)
			log_event(EV_SYSTEM, "epoll_wait: errno=%d", errno);
		loop->event_count = 0;
	}
	return loop->event_count == EVENTS_PER_TURN;
}

/* Bulk and what is new are put into their queues. Returns how many were served at once. */
static unsigned serve_events(struct loop *loop)
{
	unsigned count = 0;

	for (int i = 0; i < loop->event_count; i++) {
		struct loop_io *io = loop->events[i].data.ptr;
		enum loop_class class;

		if (io == NULL || (void *)io == &loop->media)
			continue;
		class = served_as(loop, io);
		if (class == LOOP_BULK || class == LOOP_NEW) {
			loop_again(loop, io, events_of(loop->events[i].events));
			continue;
		}
		count++;
		io->on_ready(io, events_of(loop->events[i].events));
		let_media_by(loop);
	}
	loop->event_count = 0;
	return count;
}

/* What was fetched; and more, for the kernel names whoever came first: thousands that are new may stand before one that is not. */
static void serve_all_events(struct loop *loop, bool has_more)
{
	unsigned served = serve_events(loop);

	for (int i = 1; has_more && served < EVENTS_PER_TURN && i < FETCHES_PER_TURN; i++) {
		has_more = fetch(loop, 0);
		if (is_media_named(loop))
			serve_media(loop);
		served += serve_events(loop);
	}
}

/* What is queued. Something of it moves in every turn, whatever the others did. */
static void serve_class(struct loop *loop, enum loop_class class)
{
	if (loop->spent_bytes + CLASS_LEAST_BYTES > loop->turn_bytes)
		loop->turn_bytes = loop->spent_bytes + CLASS_LEAST_BYTES;
	serve_queue(loop, class, loop_is_spent);
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
	bool has_more;

	if (has_queued(loop) || !list_is_empty(&loop->tasks))
		wait_ms = 0;
	wait_ms = until_timer(loop, wait_ms);
	has_more = fetch(loop, wait_ms);
	began_us = clock_monotonic_us();
	loop->now_ms = began_us / 1000;
	begin_media(loop);
	serve_all_events(loop, has_more);
	serve_class(loop, LOOP_NORMAL);
	serve_class(loop, LOOP_NEW);
	serve_class(loop, LOOP_BULK);
	loop->turn_bytes = TURN_BYTES;
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
