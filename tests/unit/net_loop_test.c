/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: edges, timers, work that is put off. Times are lower bounds only: a slow machine
 * makes these tests slow, not wrong. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/loop.h"

static struct loop *loop;

static int open_loop(void **state)
{
	(void)state;
	return loop_new(&loop) == ERR_NONE ? 0 : -1;
}

static int close_loop(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

/* ---- timers ---- */

struct alarm {
	struct loop_timer timer;
	struct loop_timer *clears; /* cleared when this one is due */
	unsigned count, again_count;
	uint64_t at_ms;
};

static void on_alarm(struct loop_timer *timer)
{
	struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);

	alarm->count++;
	alarm->at_ms = loop_now_ms(loop);
	if (alarm->clears)
		loop_timer_clear(loop, alarm->clears);
	if (alarm->again_count) {
		alarm->again_count--;
		loop_timer_set(loop, timer, 10);
	}
}

static void wait_for(const struct alarm *alarm, unsigned count)
{
	for (int i = 0; alarm->count < count && i < 10000; i++)
		loop_turn(loop, 100);
	assert_int_equal(alarm->count, count);
}

static void timers_are_due_once_and_never_early(void **state)
{
	struct alarm alarm = {.timer.on_due = on_alarm};
	uint64_t start;

	(void)state;
	loop_turn(loop, 0);
	start = loop_now_ms(loop);
	loop_timer_set(loop, &alarm.timer, 35);
	wait_for(&alarm, 1);
	assert_true(alarm.at_ms >= start + 35);
	assert_null(alarm.timer.link.next);
	for (int i = 0; i < 5; i++)
		loop_turn(loop, 10);
	assert_int_equal(alarm.count, 1);
}

static void a_moved_timer_keeps_its_last_place(void **state)
{
	struct alarm later = {.timer.on_due = on_alarm}, sooner = {.timer.on_due = on_alarm};
	uint64_t start;

	(void)state;
	loop_turn(loop, 0);
	start = loop_now_ms(loop);
	loop_timer_set(loop, &later.timer, 10);
	loop_timer_set(loop, &later.timer, 80);
	loop_timer_set(loop, &sooner.timer, 30000);
	loop_timer_set(loop, &sooner.timer, 20);
	wait_for(&sooner, 1);
	wait_for(&later, 1);
	assert_true(sooner.at_ms >= start + 20);
	assert_true(sooner.at_ms < start + 30000);
	assert_true(later.at_ms >= start + 80);
}

/* Many that are due long after do not wake the loop for each of them. */
static void far_timers_share_their_wake_ups(void **state)
{
	enum { FAR = 2000 };
	static struct alarm far[FAR];
	uint64_t began_ms = loop_now_ms(loop), turns = loop_turns_count(loop), took_ms;

	(void)state;
	for (uint64_t i = 0; i < FAR; i++) {
		far[i] = (struct alarm){.timer.on_due = on_alarm};
		loop_timer_set(loop, &far[i].timer, 11000 + i * 10);
	}
	while ((took_ms = loop_now_ms(loop) - began_ms) < 1500)
		loop_turn(loop, -1);
	assert_in_range(loop_turns_count(loop) - turns, 1, took_ms / 300 + 2);
	for (int i = 0; i < FAR; i++) {
		assert_int_equal(far[i].count, took_ms < 11000 ? 0 : far[i].count);
		loop_timer_clear(loop, &far[i].timer);
	}
}

static void a_cleared_timer_is_not_due(void **state)
{
	struct alarm cleared = {.timer.on_due = on_alarm}, zero = {.timer.on_due = on_alarm};
	struct alarm last = {.timer.on_due = on_alarm}, far = {.timer.on_due = on_alarm};

	(void)state;
	loop_timer_set(loop, &cleared.timer, 10);
	loop_timer_set(loop, &zero.timer, 10);
	loop_timer_set(loop, &far.timer, 3600000);
	loop_timer_set(loop, &last.timer, 50);
	loop_timer_clear(loop, &cleared.timer);
	loop_timer_clear(loop, &cleared.timer);
	loop_timer_set(loop, &zero.timer, 0);
	wait_for(&last, 1);
	assert_int_equal(cleared.count + zero.count + far.count, 0);
	loop_timer_clear(loop, &far.timer);
}

/* Two that are due together, and the first takes the other away. */
static void a_callback_may_clear_its_neighbour(void **state)
{
	struct alarm first = {.timer.on_due = on_alarm}, second = {.timer.on_due = on_alarm};

	(void)state;
	first.clears = &second.timer;
	second.clears = &first.timer;
	loop_timer_set(loop, &first.timer, 20);
	loop_timer_set(loop, &second.timer, 20);
	for (int i = 0; i < 1000 && first.count + second.count == 0; i++)
		loop_turn(loop, 100);
	loop_turn(loop, 30);
	assert_int_equal(first.count + second.count, 1);
}

static void a_callback_may_set_its_own_timer(void **state)
{
	struct alarm alarm = {.timer.on_due = on_alarm, .again_count = 3};

	(void)state;
	loop_timer_set(loop, &alarm.timer, 10);
	wait_for(&alarm, 4);
	assert_null(alarm.timer.link.next);
}

/* ---- descriptors ---- */

struct watch {
	struct loop_io io;
	struct watch *unwatches, *closes;
	unsigned count, again_count, events;
};

static void on_watch(struct loop_io *io, unsigned events)
{
	struct watch *watch = CONTAINER_OF(io, struct watch, io);

	watch->count++;
	watch->events |= events;
	if (watch->unwatches)
		loop_unwatch(loop, &watch->unwatches->io);
	if (watch->closes)
		loop_close(loop, &watch->closes->io);
	if (watch->again_count) {
		watch->again_count--;
		loop_again(loop, io, LOOP_READABLE);
	}
}

/* A watched end of a pair; the other end is *peer. The first edge (writable) is used up. */
static void open_watch(struct watch *watch, int *peer)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	*watch = (struct watch){.io = {.fd = ends[0], .on_ready = on_watch}};
	*peer = ends[1];
	assert_int_equal(loop_watch(loop, &watch->io), ERR_NONE);
	loop_turn(loop, 0);
	assert_int_equal(watch->events, LOOP_WRITABLE);
	watch->count = watch->events = 0;
}

static void edges_come_once(void **state)
{
	struct watch watch;
	char byte;
	int peer;

	(void)state;
	open_watch(&watch, &peer);
	assert_int_equal(write(peer, "a", 1), 1);
	loop_turn(loop, 0);
	loop_turn(loop, 0);
	assert_int_equal(watch.count, 1);
	assert_true(watch.events & LOOP_READABLE);
	assert_int_equal(write(peer, "b", 1), 1);
	loop_turn(loop, 0);
	assert_int_equal(watch.count, 2);
	assert_int_equal(read(watch.io.fd, &byte, 1), 1);
	watch.events = 0;
	shutdown(peer, SHUT_WR);
	loop_turn(loop, 0);
	assert_true(watch.events & LOOP_PEER_CLOSED);
	assert_false(watch.events & LOOP_BROKEN);
	close(peer);
	loop_turn(loop, 0);
	assert_true(watch.events & LOOP_BROKEN);
	loop_close(loop, &watch.io);
	assert_int_equal(watch.io.fd, -1);
	loop_close(loop, &watch.io);
}

/* Both have events in one turn; whoever is served first takes the other away. */
static void fetched_events_of_an_unwatched_io_are_void(void **state)
{
	struct watch first, second;
	int peers[2];

	(void)state;
	open_watch(&first, &peers[0]);
	open_watch(&second, &peers[1]);
	first.unwatches = &second;
	second.unwatches = &first;
	assert_int_equal(write(peers[0], "a", 1), 1);
	assert_int_equal(write(peers[1], "a", 1), 1);
	loop_turn(loop, 0);
	loop_turn(loop, 0);
	assert_int_equal(first.count + second.count, 1);
	close(first.io.fd);
	close(second.io.fd);
	close(peers[0]);
	close(peers[1]);
}

static void listeners_repeat_until_accepted(void **state)
{
	struct watch watch;
	int ends[2];

	(void)state;
	/* Level-triggered: a socket with unread bytes stands for a listener with a full queue. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	watch = (struct watch){.io = {.fd = ends[0], .on_ready = on_watch}};
	assert_int_equal(loop_watch_listener(loop, &watch.io), ERR_NONE);
	loop_turn(loop, 0);
	assert_int_equal(watch.count, 0);
	assert_int_equal(write(ends[1], "a", 1), 1);
	loop_turn(loop, 0);
	loop_turn(loop, 0);
	assert_int_equal(watch.count, 2);
	loop_close(loop, &watch.io);
	close(ends[1]);
}

static void a_bad_descriptor_is_an_error(void **state)
{
	struct loop_io io = {.fd = 1000000, .on_ready = on_watch};

	(void)state;
	assert_int_equal(loop_watch(loop, &io), ERR_SYSTEM);
}

/* ---- again ---- */

static void again_comes_in_the_next_turn_with_all_events(void **state)
{
	struct watch watch;
	int peer;

	(void)state;
	open_watch(&watch, &peer);
	loop_again(loop, &watch.io, LOOP_READABLE);
	loop_again(loop, &watch.io, LOOP_PEER_CLOSED);
	assert_int_equal(watch.count, 0);
	loop_turn(loop, 10000); /* does not wait */
	assert_int_equal(watch.count, 1);
	assert_int_equal(watch.events, LOOP_READABLE | LOOP_PEER_CLOSED);
	watch.again_count = 3;
	loop_again(loop, &watch.io, 0);
	for (unsigned i = 2; i < 6; i++) {
		loop_turn(loop, 0);
		assert_int_equal(watch.count, i);
	}
	loop_turn(loop, 0);
	assert_int_equal(watch.count, 5);
	loop_close(loop, &watch.io);
	close(peer);
}

static void again_of_a_closed_io_is_void(void **state)
{
	struct watch first, second, third;
	int peers[3];

	(void)state;
	open_watch(&first, &peers[0]);
	open_watch(&second, &peers[1]);
	open_watch(&third, &peers[2]);
	loop_again(loop, &first.io, 0);
	loop_again(loop, &second.io, 0);
	loop_again(loop, &third.io, 0);
	first.closes = &second; /* while both are being served */
	loop_close(loop, &third.io);
	loop_turn(loop, 0);
	assert_int_equal(first.count, 1);
	assert_int_equal(second.count + third.count, 0);
	loop_close(loop, &first.io);
	for (int i = 0; i < 3; i++)
		close(peers[i]);
}

struct greedy {
	struct loop_io io;
	unsigned count;
};

/* Takes a third of a turn, and always has more to do. */
static void on_greedy(struct loop_io *io, unsigned events)
{
	struct greedy *greedy = CONTAINER_OF(io, struct greedy, io);

	(void)events;
	greedy->count++;
	loop_spend(loop, (size_t)3 << 20);
	loop_again(loop, io, 0);
}

static void a_spent_turn_leaves_the_rest_first_in_the_next(void **state)
{
	struct greedy all[7] = {{.io = {.fd = -1}}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		all[i].io = (struct loop_io){.fd = -1, .on_ready = on_greedy};
		loop_again(loop, &all[i].io, LOOP_READABLE);
	}
	for (unsigned turn = 1; turn <= 70; turn++) {
		unsigned least = UINT_MAX, most = 0;

		assert_false(loop_is_spent(loop));
		loop_turn(loop, 0);
		for (size_t i = 0; i < COUNT_OF(all); i++) {
			least = all[i].count < least ? all[i].count : least;
			most = all[i].count > most ? all[i].count : most;
		}
		assert_in_range(most - least, 0, 1);
	}
	assert_int_equal(all[0].count, 30);
}

static void many_agains(void **state)
{
	enum { MANY = 300 };
	struct watch *watches = calloc(MANY, sizeof(*watches));

	(void)state;
	for (int i = 0; i < MANY; i++) {
		watches[i].io = (struct loop_io){.fd = -1, .on_ready = on_watch};
		loop_again(loop, &watches[i].io, LOOP_WRITABLE);
	}
	loop_turn(loop, 0);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(watches[i].count, 1);
	free(watches);
}

/* ---- classes ---- */

/* Who was served, in order. */
static struct watch *served[32];
static size_t served_count;

static void on_classed(struct loop_io *io, unsigned events)
{
	struct watch *watch = CONTAINER_OF(io, struct watch, io);

	watch->count++;
	watch->events |= events;
	if (served_count < COUNT_OF(served))
		served[served_count++] = watch;
}

static void open_class(struct watch *watch, int *peer, enum loop_class class)
{
	open_watch(watch, peer);
	watch->io.on_ready = on_classed;
	assert_int_equal(loop_set_class(loop, &watch->io, class), ERR_NONE);
	loop_turn(loop, 0); /* one that joins a set is told its edges */
	watch->count = watch->events = 0;
	served_count = 0;
}

static void say(int peer)
{
	assert_int_equal(write(peer, "x", 1), 1);
}

static void media_then_normal_then_bulk(void **state)
{
	struct watch bulk, normal, media, *const order[] = {&media, &normal, &bulk};
	int peers[3];

	(void)state;
	open_class(&bulk, &peers[0], LOOP_BULK);
	open_class(&normal, &peers[1], LOOP_NORMAL);
	open_class(&media, &peers[2], LOOP_MEDIA);
	for (int i = 0; i < 3; i++)
		say(peers[i]);
	loop_turn(loop, 10000);
	assert_int_equal(served_count, 3);
	assert_memory_equal(served, order, sizeof(order));
	loop_again(loop, &bulk.io, LOOP_PEER_CLOSED);
	loop_again(loop, &normal.io, LOOP_PEER_CLOSED);
	loop_again(loop, &media.io, LOOP_PEER_CLOSED);
	served_count = 0;
	loop_turn(loop, 10000);
	assert_int_equal(served_count, 3);
	assert_memory_equal(served, order, sizeof(order));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(order[i]->events & (LOOP_READABLE | LOOP_PEER_CLOSED), LOOP_READABLE | LOOP_PEER_CLOSED);
		loop_close(loop, &order[i]->io);
		close(peers[i]);
	}
}

/* It moves a slice, and media speaks meanwhile. */
struct talked_over {
	struct loop_io io;
	int media_peer;
	struct watch *media;
	unsigned seen[4]; /* times that media was served, behind each slice */
};

static void on_talked_over(struct loop_io *io, unsigned events)
{
	struct talked_over *bulk = CONTAINER_OF(io, struct talked_over, io);

	(void)events;
	for (size_t i = 0; i < COUNT_OF(bulk->seen); i++) {
		say(bulk->media_peer);
		loop_spend(loop, loop_slice_bytes(loop));
		bulk->seen[i] = bulk->media->count;
	}
}

static void media_is_served_in_the_midst_of_a_turn(void **state)
{
	struct watch media;
	struct talked_over bulk = {.io = {.fd = -1, .on_ready = on_talked_over, .class = LOOP_BULK}, .media = &media};
	size_t before = loop_slice_bytes(loop);

	(void)state;
	open_class(&media, &bulk.media_peer, LOOP_MEDIA);
	say(bulk.media_peer);
	loop_turn(loop, 10000);
	assert_int_equal(media.count, 1);
	loop_again(loop, &bulk.io, 0);
	loop_turn(loop, 0);
	for (unsigned i = 0; i < COUNT_OF(bulk.seen); i++)
		assert_int_equal(bulk.seen[i], 2 + i);
	assert_true(loop_slice_bytes(loop) < before);
	loop_set_slice(loop, 12345);
	assert_int_equal(loop_slice_bytes(loop), 12345);
	loop_close(loop, &media.io);
	loop_turn(loop, 0);
	assert_int_equal(loop_slice_bytes(loop), before);
	close(bulk.media_peer);
}

static void on_small_packet(struct loop_io *io, unsigned events)
{
	char byte;

	on_classed(io, events);
	while (read(io->fd, &byte, 1) == 1)
		;
}

/* It moves many slices, and media says a byte before each. */
static void on_talked_at(struct loop_io *io, unsigned events)
{
	struct talked_over *bulk = CONTAINER_OF(io, struct talked_over, io);

	(void)events;
	for (int i = 0; i < 10000; i++) {
		if (write(bulk->media_peer, "x", 1) < 0)
			assert_int_equal(errno, EAGAIN); /* it is not read any more */
		loop_spend(loop, 1);
	}
}

/* Callbacks cost, too, where they move next to nothing. */
static void many_small_packets_are_no_turn_either(void **state)
{
	struct watch media;
	struct talked_over bulk = {.io = {.fd = -1, .on_ready = on_talked_at, .class = LOOP_BULK}, .media = &media};

	(void)state;
	open_class(&media, &bulk.media_peer, LOOP_MEDIA);
	media.io.on_ready = on_small_packet;
	say(bulk.media_peer);
	loop_turn(loop, 10000);
	media.count = 0;
	loop_again(loop, &bulk.io, 0);
	loop_turn(loop, 0);
	assert_in_range(media.count, 500, 5000);
	loop_turn(loop, 10000); /* the rest comes in the next */
	assert_in_range(media.count, 501, 5001);
	loop_close(loop, &media.io);
	close(bulk.media_peer);
}

static void on_greedy_media(struct loop_io *io, unsigned events)
{
	struct greedy *greedy = CONTAINER_OF(io, struct greedy, io);

	(void)events;
	greedy->count++;
	loop_spend(loop, 64 << 10);
	loop_again(loop, io, 0);
}

static void no_class_starves_another(void **state)
{
	struct greedy media = {.io = {.fd = -1, .on_ready = on_greedy_media, .class = LOOP_MEDIA}};
	struct greedy normal[4], bulk[2];

	(void)state;
	for (int i = 0; i < 4; i++) {
		normal[i] = (struct greedy){.io = {.fd = -1, .on_ready = on_greedy}};
		loop_again(loop, &normal[i].io, 0);
	}
	for (int i = 0; i < 2; i++) {
		bulk[i] = (struct greedy){.io = {.fd = -1, .on_ready = on_greedy, .class = LOOP_BULK}};
		loop_again(loop, &bulk[i].io, 0);
	}
	loop_again(loop, &media.io, 0);
	for (int i = 0; i < 20; i++)
		loop_turn(loop, 0);
	assert_in_range(media.count, 20, 20 * 64);
	for (int i = 0; i < 4; i++)
		assert_in_range(normal[i].count, 14, 16); /* three of them are a turn */
	for (int i = 0; i < 2; i++)
		assert_in_range(bulk[i].count, 9, 11); /* one in each turn all the same */
}

/* Events of its own in each turn, each a whole turn's worth. */
static void on_saturating(struct loop_io *io, unsigned events)
{
	struct watch *watch = CONTAINER_OF(io, struct watch, io);

	(void)events;
	watch->count++;
	loop_spend(loop, (size_t)8 << 20);
}

static void events_do_not_starve_what_is_queued(void **state)
{
	struct watch saturating[2];
	struct greedy queued[3];
	int peers[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		open_watch(&saturating[i], &peers[i]);
		saturating[i].io.on_ready = on_saturating;
	}
	for (int i = 0; i < 3; i++) {
		queued[i] = (struct greedy){.io = {.fd = -1, .on_ready = on_greedy}};
		loop_again(loop, &queued[i].io, 0);
	}
	for (int turn = 0; turn < 12; turn++) {
		for (int i = 0; i < 2; i++)
			say(peers[i]);
		loop_turn(loop, 0);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(saturating[i].count, 12);
		loop_close(loop, &saturating[i].io);
		close(peers[i]);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(queued[i].count, 4); /* one of them in each turn */
}

/* ---- a crowd ---- */

enum { CROWD = 500 };

static struct watch crowd[CROWD];
static int crowd_peers[CROWD];

/* All have events, in the order in which they came. */
static void open_crowd(void)
{
	for (int i = 0; i < CROWD; i++) {
		open_watch(&crowd[i], &crowd_peers[i]);
		assert_int_equal(loop_set_class(loop, &crowd[i].io, LOOP_NEW), ERR_NONE);
	}
	for (int i = 0; i < CROWD; i++)
		say(crowd_peers[i]);
}

static void close_crowd(void)
{
	for (int i = 0; i < CROWD; i++) {
		loop_close(loop, &crowd[i].io);
		close(crowd_peers[i]);
	}
}

static unsigned served_of_crowd(void)
{
	unsigned count = 0;

	for (int i = 0; i < CROWD; i++)
		count += crowd[i].count;
	return count;
}

static void on_one_that_stands(struct loop_io *io, unsigned events)
{
	struct watch *watch = CONTAINER_OF(io, struct watch, io);

	(void)events;
	watch->count++;
	watch->again_count = served_of_crowd(); /* before it */
}

/* The kernel names hundreds before it; it is served before any of them, and they have their share of each turn. */
static void what_stands_goes_before_a_crowd(void **state)
{
	struct watch stands;
	unsigned before = 0, turns = 0;
	int peer;

	(void)state;
	open_watch(&stands, &peer);
	stands.io.on_ready = on_one_that_stands;
	open_crowd();
	while (served_of_crowd() < CROWD) {
		say(peer);
		loop_turn(loop, 10000);
		turns++;
		assert_int_equal(stands.count, turns);
		assert_int_equal(stands.again_count, before);
		assert_in_range(served_of_crowd() - before, 1, 100);
		for (int i = 1; i < CROWD; i++)
			assert_true(crowd[i].count <= crowd[i - 1].count); /* who came first is first */
		before = served_of_crowd();
	}
	loop_turn(loop, 0);
	assert_int_equal(served_of_crowd(), CROWD); /* each of them once */
	loop_close(loop, &stands.io);
	close(peer);
	close_crowd();
}

/* Those that stand have more to do than fits into a turn. */
static void a_crowd_has_a_least_share(void **state)
{
	struct greedy normal[4];

	(void)state;
	open_crowd();
	for (int i = 0; i < 4; i++) {
		normal[i] = (struct greedy){.io = {.fd = -1, .on_ready = on_greedy}};
		loop_again(loop, &normal[i].io, 0);
	}
	for (unsigned turn = 1; turn <= 10; turn++) {
		loop_turn(loop, 0);
		assert_in_range(served_of_crowd(), turn * 10, turn * 20);
	}
	close_crowd();
}

/* Of a crowd that got what it wanted in one instant, all have something to say. */
static void what_was_new_just_now_is_still_served_behind(void **state)
{
	struct watch young, stands, *const before[] = {&stands, &young}, *const after[] = {&young, &stands};
	uint64_t since_ms;
	int peers[2];

	(void)state;
	open_class(&young, &peers[0], LOOP_NEW);
	open_class(&stands, &peers[1], LOOP_NORMAL);
	loop_turn(loop, 0);
	since_ms = loop_now_ms(loop);
	assert_int_equal(loop_set_class(loop, &young.io, LOOP_NORMAL), ERR_NONE);
	say(peers[0]);
	say(peers[1]);
	served_count = 0;
	loop_turn(loop, 10000);
	if (loop_now_ms(loop) - since_ms < 2000) {
		assert_int_equal(served_count, 2);
		assert_memory_equal(served, before, sizeof(before));
	}
	while (loop_now_ms(loop) - since_ms < 2000)
		loop_turn(loop, 100);
	say(peers[0]);
	say(peers[1]);
	served_count = 0;
	loop_turn(loop, 10000);
	assert_int_equal(served_count, 2);
	assert_memory_equal(served, after, sizeof(after));
	for (int i = 0; i < 2; i++) {
		loop_close(loop, &after[i]->io);
		close(peers[i]);
	}
}

static void one_that_leaves_media_is_served_on(void **state)
{
	struct watch watch;
	int peer;

	(void)state;
	open_class(&watch, &peer, LOOP_MEDIA);
	say(peer);
	assert_int_equal(loop_set_class(loop, &watch.io, LOOP_NORMAL), ERR_NONE);
	loop_turn(loop, 10000);
	assert_int_equal(watch.count, 1);
	assert_true(watch.events & LOOP_READABLE);
	loop_unwatch(loop, &watch.io);
	say(peer);
	loop_turn(loop, 0);
	assert_int_equal(watch.count, 1);
	close(watch.io.fd);
	close(peer);
}

/* ---- tasks, stopping ---- */

struct work {
	struct loop_task task;
	struct work *defers;
	unsigned count;
	bool stops;
};

static void run_work(struct loop_task *task)
{
	struct work *work = CONTAINER_OF(task, struct work, task);

	work->count++;
	if (work->defers)
		loop_defer(loop, &work->defers->task);
	if (work->stops)
		loop_stop(loop);
}

static void deferred_work_runs_once_at_the_end_of_the_turn(void **state)
{
	struct work second = {.task.run = run_work}, first = {.task.run = run_work, .defers = &second};

	(void)state;
	loop_defer(loop, &first.task);
	loop_defer(loop, &first.task);
	assert_int_equal(first.count, 0);
	loop_turn(loop, 10000); /* does not wait */
	assert_int_equal(first.count, 1);
	assert_int_equal(second.count, 1);
	loop_turn(loop, 0);
	assert_int_equal(first.count, 1);
	loop_defer(loop, &first.task);
	loop_turn(loop, 0);
	assert_int_equal(first.count, 2);
}

static void a_stopped_loop_returns(void **state)
{
	struct work work = {.task.run = run_work, .stops = true};
	uint64_t turns = loop_turns_count(loop);

	(void)state;
	loop_defer(loop, &work.task);
	loop_run(loop);
	assert_int_equal(work.count, 1);
	assert_int_equal(loop_turns_count(loop), turns + 1);
	loop_defer(loop, &work.task);
	loop_run(loop);
	assert_int_equal(work.count, 2);
}

static void the_scratch_buffer_is_large(void **state)
{
	size_t len;
	uint8_t *scratch = loop_scratch(loop, &len);

	(void)state;
	assert_true(len >= 65536);
	memset(scratch, 0xaa, len);
	assert_true(loop_wall_ms(loop) > UINT64_C(1600000000000));
}

int main(void)
{
#define ONE(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)
	const struct CMUnitTest tests[] = {
		ONE(timers_are_due_once_and_never_early),
		ONE(a_moved_timer_keeps_its_last_place),
		ONE(far_timers_share_their_wake_ups),
		ONE(a_cleared_timer_is_not_due),
		ONE(a_callback_may_clear_its_neighbour),
		ONE(a_callback_may_set_its_own_timer),
		ONE(edges_come_once),
		ONE(fetched_events_of_an_unwatched_io_are_void),
		ONE(listeners_repeat_until_accepted),
		ONE(a_bad_descriptor_is_an_error),
		ONE(again_comes_in_the_next_turn_with_all_events),
		ONE(again_of_a_closed_io_is_void),
		ONE(a_spent_turn_leaves_the_rest_first_in_the_next),
		ONE(many_agains),
		ONE(media_then_normal_then_bulk),
		ONE(media_is_served_in_the_midst_of_a_turn),
		ONE(many_small_packets_are_no_turn_either),
		ONE(no_class_starves_another),
		ONE(events_do_not_starve_what_is_queued),
		ONE(what_stands_goes_before_a_crowd),
		ONE(a_crowd_has_a_least_share),
		ONE(what_was_new_just_now_is_still_served_behind),
		ONE(one_that_leaves_media_is_served_on),
		ONE(deferred_work_runs_once_at_the_end_of_the_turn),
		ONE(a_stopped_loop_returns),
		ONE(the_scratch_buffer_is_large),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
