/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that share limits, on a clock that the test moves: how much each gets, who waits, and what is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/stream.h"

/* The clock and the timers of loops are the test's. */
static uint64_t clock_ms;
static void set_timer(struct loop_timer *timer, uint64_t after_ms);
static void call_again(struct loop_io *io);

#define loop_now_ms(loop) ((void)(loop), clock_ms)
#define loop_timer_set(loop, timer, after_ms) ((void)(loop), set_timer(timer, after_ms))
#define loop_timer_clear(loop, timer) ((void)(loop), (timer)->due_ms = 0)
#define loop_again(loop, io, events) ((void)(loop), call_again(io))
#include "net/meter.c" /* NOLINT: with the test's clock */

enum { SESSIONS_MAX = 64, SLOTS = 1024, MEGABYTE = 1 << 20, TICK = 10 };

static struct rate_table tables[2]; /* of two workers, on the same memory */
static struct meters workers[2];
static uint64_t waits, waited_ms;
static void *memory;

/* A session whose sender always has more, or, with `message`, only so many bytes now and then. */
struct flow {
	struct stream stream;
	struct meter meter;
	size_t message, waiting;
	uint64_t every_ms, read, late_ms, sent_ms;
	bool is_asleep;
};
static struct flow flows[SESSIONS_MAX];
static size_t flow_count;

static void set_timer(struct loop_timer *timer, uint64_t after_ms)
{
	timer->due_ms = clock_ms + after_ms;
}

static void call_again(struct loop_io *io)
{
	CONTAINER_OF(io, struct flow, stream.io)->is_asleep = false;
}

static int open_workers(void **state)
{
	(void)state;
	memory = aligned_alloc(64, rate_table_bytes(SLOTS));
	assert_non_null(memory);
	memset(memory, 0, rate_table_bytes(SLOTS));
	memset(flows, 0, sizeof(flows));
	flow_count = 0;
	waits = waited_ms = 0;
	clock_ms = 1000000;
	for (int i = 0; i < 2; i++) {
		rate_table_init(&tables[i], memory, SLOTS);
		workers[i] = (struct meters){.table = &tables[i], .burst_ms = 1000, .waits_total = &waits, .waited_ms_total = &waited_ms};
	}
	return 0;
}

static int close_workers(void **state)
{
	(void)state;
	free(memory);
	return 0;
}

static struct flow *add_flow(struct meters *worker, const struct meter_limit *limits, size_t count)
{
	struct flow *flow = &flows[flow_count++];

	flow->stream.ops = &stream_plain_ops; /* open, as far as anybody asks */
	meter_init(&flow->meter, worker);
	meter_start(&flow->meter, &flow->stream, limits, count);
	assert_ptr_equal(flow->stream.meter, &flow->meter);
	return flow;
}

static struct flow *add_limited(struct meters *worker, uint64_t key, uint64_t bytes_per_s)
{
	const struct meter_limit limit = {key, bytes_per_s, METER_RULE};

	return add_flow(worker, &limit, 1);
}

static void read_flow(struct flow *flow)
{
	size_t room, most = 64 * 1024;

	if (flow->message && flow->waiting == 0 && clock_ms - flow->sent_ms >= flow->every_ms) {
		flow->waiting = flow->message;
		flow->sent_ms = clock_ms;
	}
	while (!flow->is_asleep && (flow->message == 0 || flow->waiting)) {
		size_t got;

		room = stream_room(&flow->stream, most);
		if (room == 0) {
			flow->is_asleep = true;
			break;
		}
		got = flow->message && flow->waiting < room ? flow->waiting : room;
		stream_note_read(&flow->stream, got);
		flow->read += got;
		if (flow->message && (flow->waiting -= got) == 0 && clock_ms - flow->sent_ms > flow->late_ms)
			flow->late_ms = clock_ms - flow->sent_ms;
		if (flow->stream.meter == NULL || flow->stream.io.class == LOOP_MEDIA)
			break; /* it would go on for ever */
	}
}

/* Timers are looked at every 10 ms, each worker at its own time. */
static void run_for(uint64_t ms)
{
	for (uint64_t end = clock_ms + ms; clock_ms < end; clock_ms++) {
		for (size_t i = 0; i < flow_count; i++) {
			struct meter *meter = &flows[i].meter;
			uint64_t phase = meter->meters == &workers[1] ? 3 : 0;

			if (clock_ms % TICK == phase && meter->timer.due_ms && meter->timer.due_ms <= clock_ms) {
				meter->timer.due_ms = 0;
				meter->timer.on_due(&meter->timer);
			}
		}
		for (size_t i = 0; i < flow_count; i++)
			read_flow(&flows[i]);
	}
}

static uint64_t all_read(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < flow_count; i++)
		sum += flows[i].read;
	return sum;
}

/* So many bytes in so many seconds, behind the burst: not more, and hardly less. */
static void assert_rate(uint64_t bytes, uint64_t bytes_per_s, uint64_t seconds)
{
	assert_true(bytes <= bytes_per_s * seconds + 2 * PORTION_MOST_BYTES);
	assert_true(bytes >= bytes_per_s * seconds * 95 / 100);
}

static void one_download_has_the_rate(void **state)
{
	static const uint64_t rates[] = {16 << 10, 100 << 10, MEGABYTE, 10 * MEGABYTE, 500 * MEGABYTE};

	for (size_t i = 0; i < COUNT_OF(rates); i++) {
		struct flow *flow;
		uint64_t before;

		close_workers(state);
		open_workers(state);
		flow = add_limited(&workers[0], 7, rates[i]);
		run_for(1);
		/* The burst at once: a second's worth, and 64K at least. */
		assert_true(flow->read + rates[i] / 50 + PORTION_LEAST_BYTES >= rates[i]);
		assert_true(flow->read >= 65536 - PORTION_LEAST_BYTES);
		assert_true(flow->read <= rates[i] + 65536 + PORTION_MOST_BYTES);
		run_for(1000);
		before = flow->read;
		run_for(10000);
		assert_rate(flow->read - before, rates[i], 10);
		assert_true(waits > 0 && waited_ms > 0);
		assert_true(flow->meter.waited_ms > 5000);
	}
}

static void downloads_share_alike(void **state)
{
	uint64_t before[SESSIONS_MAX], sum = 0;

	(void)state;
	/* Three in one worker, one in the other. */
	for (int i = 0; i < 4; i++)
		add_limited(&workers[i == 3], 7, 2 * MEGABYTE);
	run_for(2000);
	for (int i = 0; i < 4; i++)
		before[i] = flows[i].read;
	run_for(20000);
	for (int i = 0; i < 4; i++)
		sum += flows[i].read - before[i];
	assert_rate(sum, 2 * MEGABYTE, 20);
	for (int i = 0; i < 4; i++) {
		uint64_t share = (flows[i].read - before[i]) * 100 / sum;

		assert_true(share >= 20 && share <= 30);
	}
}

/* Very many, and little for each: none of them is forgotten. */
static void none_is_starved(void **state)
{
	uint64_t before, least = UINT64_MAX, most = 0;

	(void)state;
	for (int i = 0; i < SESSIONS_MAX; i++)
		add_limited(&workers[i % 2], 7, 128 << 10);
	run_for(20000);
	before = all_read();
	for (int i = 0; i < SESSIONS_MAX; i++)
		flows[i].read = 0;
	run_for(60000);
	assert_true(before > 0);
	assert_rate(all_read(), 128 << 10, 60);
	for (int i = 0; i < SESSIONS_MAX; i++) {
		least = flows[i].read < least ? flows[i].read : least;
		most = flows[i].read > most ? flows[i].read : most;
	}
	assert_true(least * 3 >= most);
}

/* Sixteen seconds' worth of waiting: all have a place in the order. */
static void none_is_starved_where_the_queue_is_long(void **state)
{
	uint64_t least = UINT64_MAX, most = 0;

	(void)state;
	for (int i = 0; i < SESSIONS_MAX; i++)
		add_limited(&workers[i % 2], 7, 16 << 10);
	run_for(100000);
	for (int i = 0; i < SESSIONS_MAX; i++)
		flows[i].read = 0;
	run_for(300000);
	assert_rate(all_read(), 16 << 10, 300);
	for (int i = 0; i < SESSIONS_MAX; i++) {
		least = flows[i].read < least ? flows[i].read : least;
		most = flows[i].read > most ? flows[i].read : most;
	}
	assert_true(least * 3 >= most);
}

/* After a reload nobody waits for what was owed at the rate before. */
static void another_rate_holds_at_once(void **state)
{
	const struct meter_limit limit = {7, 0, METER_CLIENT};

	(void)state;
	workers[0].rates[METER_CLIENT] = workers[1].rates[METER_CLIENT] = 16 << 10;
	for (int i = 0; i < SESSIONS_MAX; i++)
		add_flow(&workers[i % 2], &limit, 1);
	run_for(60000);
	for (int i = 0; i < SESSIONS_MAX; i++)
		flows[i].read = 0;
	workers[0].rates[METER_CLIENT] = workers[1].rates[METER_CLIENT] = MEGABYTE;
	run_for(5000);
	assert_rate(all_read(), MEGABYTE, 6); /* a burst of a second among it */
	for (int i = 0; i < SESSIONS_MAX; i++)
		assert_true(flows[i].read > 0);
}

static void talk_goes_on_beside_downloads(void **state)
{
	struct flow *talk;

	(void)state;
	for (int i = 0; i < 8; i++)
		add_limited(&workers[i % 2], 7, MEGABYTE);
	run_for(5000);
	talk = add_limited(&workers[0], 7, MEGABYTE);
	talk->message = 64;
	talk->every_ms = 50;
	run_for(30000);
	assert_int_equal(talk->waiting, 0);
	assert_true(talk->read >= 64 * 30000 / 50 * 9 / 10);
	assert_true(talk->late_ms <= 500);
	/* What it says now and then does not wait at all. */
	talk->every_ms = 1500;
	run_for(3000);
	talk->late_ms = 0;
	run_for(30000);
	assert_int_equal(talk->late_ms, 0);
}

static void the_strictest_holds(void **state)
{
	const struct meter_limit limits[] = {{7, MEGABYTE, METER_RULE}, {8, 0, METER_CLIENT}, {9, 0, METER_USER}};
	struct flow *flow;
	uint64_t before;

	(void)state;
	workers[0].rates[METER_CLIENT] = 256 << 10;
	workers[0].rates[METER_USER] = 0; /* none */
	flow = add_flow(&workers[0], limits, COUNT_OF(limits));
	run_for(5000);
	before = flow->read;
	run_for(10000);
	assert_rate(flow->read - before, 256 << 10, 10);
	assert_string_equal(meter_kind_name((enum meter_kind)flow->meter.slowest), "client");
	/* Other limits hold at once. */
	workers[0].rates[METER_CLIENT] = 512 << 10;
	workers[0].rates[METER_USER] = 128 << 10;
	run_for(5000);
	before = flow->read;
	run_for(10000);
	assert_rate(flow->read - before, 128 << 10, 10);
	assert_string_equal(meter_kind_name((enum meter_kind)flow->meter.slowest), "user");
	workers[0].rates[METER_CLIENT] = workers[0].rates[METER_USER] = 0;
	run_for(5000);
	before = flow->read;
	run_for(10000);
	assert_rate(flow->read - before, MEGABYTE, 10);
}

static void media_is_not_counted(void **state)
{
	struct flow *flow;

	(void)state;
	flow = add_limited(&workers[0], 7, 16 << 10);
	flow->stream.io.class = LOOP_MEDIA;
	run_for(1000);
	assert_int_equal(flow->read, 1000 * 64 * 1024);
	assert_int_equal(waits, 0);
	assert_int_equal(rate_table_wait_ns(&tables[0], 7, (struct rate){16 << 10, 1}, clock_ms * MS_NS), 0);
	/* It was none, after all. */
	flow->stream.io.class = LOOP_BULK;
	flow->read = 0;
	run_for(1000);
	assert_true(flow->read <= (16 << 10) + 65536 + PORTION_LEAST_BYTES);
	assert_true(waits > 0);
}

static void what_is_not_used_is_given_back(void **state)
{
	const struct rate rate = {MEGABYTE, 1000 * MS_NS};
	uint64_t before, bucket;

	(void)state;
	add_limited(&workers[0], 7, MEGABYTE);
	add_limited(&workers[1], 7, MEGABYTE);
	run_for(1);
	assert_true(flows[0].meter.waits && flows[1].meter.waits);
	bucket = bucket_of(&flows[0].meter.limits[0], rate);
	before = rate_table_wait_ns(&tables[0], bucket, rate, clock_ms * MS_NS);
	assert_true(before > 0);
	meter_stop(&flows[0].meter);
	meter_stop(&flows[1].meter);
	assert_null(flows[0].stream.meter);
	assert_false(flows[0].meter.waits);
	assert_int_equal(flows[0].meter.timer.due_ms, 0);
	assert_true(rate_table_wait_ns(&tables[0], bucket, rate, clock_ms * MS_NS) < before / 10);
	meter_stop(&flows[0].meter); /* once more is fine */
	/* One that ends without a word, as with its worker: what it took is there again after that time. */
	meter_start(&flows[0].meter, &flows[0].stream, &(struct meter_limit){7, MEGABYTE, METER_RULE}, 1);
	assert_int_equal(meter_room(&flows[0].meter, 65536), 0);
	clock_ms += 1 + before / MS_NS;
	assert_int_equal(rate_table_wait_ns(&tables[0], bucket, rate, clock_ms * MS_NS), 0);
}

static void limits_can_be_added(void **state)
{
	struct flow *flow;
	uint64_t before;

	(void)state;
	flow = add_limited(&workers[0], 7, 10 * MEGABYTE);
	run_for(10);
	for (uint64_t key = 8; key < 20; key++) {
		meter_add(&flow->meter, (struct meter_limit){8, MEGABYTE, METER_RULE});
		meter_add(&flow->meter, (struct meter_limit){key, MEGABYTE, METER_RULE});
	}
	assert_int_equal(flow->meter.count, METER_LIMITS_MAX);
	run_for(5000);
	before = flow->read;
	run_for(10000);
	assert_rate(flow->read - before, MEGABYTE, 10);
}

static void what_was_read_before_is_charged(void **state)
{
	struct flow *flow;

	(void)state;
	flow = add_limited(&workers[0], 7, MEGABYTE);
	meter_charge(&flow->meter, 0);
	meter_charge(&flow->meter, MEGABYTE / 2);
	assert_false(flow->meter.waits);
	run_for(1);
	assert_true(flow->read <= MEGABYTE / 2 + PORTION_MOST_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_download_has_the_rate, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(downloads_share_alike, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(none_is_starved, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(none_is_starved_where_the_queue_is_long, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(another_rate_holds_at_once, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(talk_goes_on_beside_downloads, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(the_strictest_holds, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(media_is_not_counted, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(what_is_not_used_is_given_back, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(limits_can_be_added, open_workers, close_workers),
		cmocka_unit_test_setup_teardown(what_was_read_before_is_charged, open_workers, close_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
