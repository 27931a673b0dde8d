/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets with times that the test gives: what is there, when the rest is, and that no content of the memory does harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "net/rate_table.h"

#define SECOND UINT64_C(1000000000)
#define BEGIN (1000 * SECOND)

enum { THREADS = 4, PORTION = 4096, TAKES = 20000 };

/* A megabyte a second, a second's worth at once. */
static const struct rate rate = {1000000, SECOND};

static struct rate_table table;
static void *memory;

static void make_table(size_t slots)
{
	free(memory);
	memory = aligned_alloc(64, rate_table_bytes(slots));
	assert_non_null(memory);
	memset(memory, 0, rate_table_bytes(slots));
	rate_table_init(&table, memory, slots);
}

static int free_table(void **state)
{
	(void)state;
	free(memory);
	memory = NULL;
	return 0;
}

static uint64_t take(uint64_t key, uint64_t bytes, uint64_t at)
{
	return rate_table_take(&table, key, rate, bytes, at);
}

static void a_burst_is_there_and_then_the_rate(void **state)
{
	(void)state;
	make_table(64);
	assert_int_equal(rate_table_wait_ns(&table, 7, rate, BEGIN), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(take(7, 100000, BEGIN), 0);
	assert_int_equal(rate_table_wait_ns(&table, 7, rate, BEGIN), 0);
	assert_int_equal(take(7, 1000, BEGIN), SECOND / 1000);
	assert_int_equal(rate_table_wait_ns(&table, 7, rate, BEGIN), SECOND / 1000);
	/* First asked, first there. */
	assert_int_equal(take(7, 2000, BEGIN), SECOND / 1000 * 3);
	assert_int_equal(take(7, 1, BEGIN), SECOND / 1000 * 3 + 1000);
	/* Another one has its own. */
	assert_int_equal(take(8, 1000000, BEGIN), 0);
	/* Half a second later there is half of it, all of it after a long time, and never more. */
	assert_int_equal(take(8, 500000, BEGIN + SECOND / 2), 0);
	assert_int_equal(take(8, 1, BEGIN + SECOND / 2), 1000);
	assert_int_equal(take(8, 1000000, BEGIN + 1000 * SECOND), 0);
	assert_int_equal(take(8, 1000, BEGIN + 1000 * SECOND), SECOND / 1000);
}

static void what_is_given_back_is_there_again(void **state)
{
	(void)state;
	make_table(64);
	assert_int_equal(take(7, 1000000, BEGIN), 0);
	assert_int_equal(take(7, 1000000, BEGIN), SECOND);
	rate_table_give(&table, 7, rate, 1000000, BEGIN);
	assert_int_equal(take(7, 1000, BEGIN), SECOND / 1000);
	/* Never more than there is room for. */
	rate_table_give(&table, 7, rate, 1 << 30, BEGIN);
	assert_int_equal(take(7, 1000000, BEGIN), 0);
	assert_int_equal(take(7, 1000, BEGIN), SECOND / 1000);
	rate_table_give(&table, 99, rate, 1000, BEGIN); /* there is none */
	assert_int_equal(take(99, 1000000, BEGIN), 0);
	assert_int_equal(take(99, 1000, BEGIN), SECOND / 1000);
}

static void nobody_waits_too_long(void **state)
{
	const struct rate slow = {1024, 64 * SECOND};
	uint64_t ns, taken = 0;

	(void)state;
	make_table(64);
	while ((ns = rate_table_take(&table, 7, slow, PORTION, BEGIN)) != RATE_TOO_LONG) {
		assert_true(ns <= RATE_WAIT_MAX_NS);
		taken += PORTION;
	}
	assert_int_equal(taken, 65536 + 15 * PORTION); /* 60 s of it in advance */
	/* What is refused is not taken. */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(rate_table_take(&table, 7, slow, PORTION, BEGIN), RATE_TOO_LONG);
	assert_int_equal(rate_table_take(&table, 7, slow, PORTION, BEGIN + 4 * SECOND), 60 * SECOND);
	/* Extremes of what can be asked for. */
	assert_int_equal(rate_table_take(&table, 8, (struct rate){1, SECOND}, 1 << 30, BEGIN), RATE_TOO_LONG);
	assert_int_equal(rate_table_take(&table, 8, (struct rate){UINT64_C(1) << 40, SECOND}, 1 << 30, BEGIN), 0);
	assert_int_equal(rate_table_take(&table, 9, (struct rate){1024, RATE_BURST_MAX_NS}, 0, BEGIN), 0);
}

/* Another rate than before, and clocks that are a little apart: workers read theirs once per turn. */
static void rates_and_clocks_may_change(void **state)
{
	const struct rate fast = {100000000, SECOND}, narrow = {1000000, SECOND / 10};
	uint64_t ns;

	(void)state;
	make_table(64);
	assert_int_equal(take(7, 1500000, BEGIN), SECOND / 2);
	assert_int_equal(rate_table_wait_ns(&table, 7, fast, BEGIN), SECOND / 2);
	assert_int_equal(rate_table_wait_ns(&table, 7, fast, BEGIN + SECOND / 2), 0);
	ns = rate_table_wait_ns(&table, 7, narrow, BEGIN);
	assert_true(ns > SECOND && ns <= RATE_WAIT_MAX_NS);
	assert_int_equal(take(7, 1000, BEGIN - SECOND / 100), SECOND / 2 + SECOND / 100 + SECOND / 1000);
	assert_int_equal(rate_table_wait_ns(&table, 7, rate, 0), 0);  /* far from what can be */
	assert_int_equal(take(7, 1000000, 0), 0);
	assert_int_equal(take(7, 1000, 0), SECOND / 1000);
}

static void whatever_the_memory_holds(void **state)
{
	uint8_t *bytes;

	(void)state;
	make_table(64);
	bytes = memory;
	srand(4711);
	for (int i = 0; i < 20000; i++) {
		uint64_t key = (uint64_t)rand() % 8 + 1, at = BEGIN + (uint64_t)rand() * 1000, ns;

		bytes[(size_t)rand() % rate_table_bytes(64)] = (uint8_t)rand();
		ns = take(key, (uint64_t)rand() % 100000, at);
		assert_true(ns == RATE_TOO_LONG || ns <= RATE_WAIT_MAX_NS);
		assert_true(rate_table_wait_ns(&table, key, rate, at) <= RATE_WAIT_MAX_NS);
		rate_table_give(&table, key, rate, (uint64_t)rand() % 100000, at);
	}
	/* Every key its own bucket, and all of them never full again: one who comes afresh has a bucket all the same. */
	memset(memory, 0xff, rate_table_bytes(64));
	assert_int_equal(take(7, 1000000, BEGIN), 0);
	assert_int_equal(take(7, 1000, BEGIN), SECOND / 1000);
	assert_int_equal(table.shared_count, 0);
}

/* A set has room for eight that are in use; the ninth shares one, so that nobody is without a limit. */
static void a_full_set_is_shared(void **state)
{
	uint64_t fresh;

	(void)state;
	make_table(RATE_TABLE_SET_SLOTS);
	for (uint64_t key = 1; key <= RATE_TABLE_SET_SLOTS; key++)
		assert_int_equal(take(key, 1000000, BEGIN), 0);
	assert_int_equal(table.shared_count, 0);
	assert_int_equal(take(100, 1000, BEGIN), SECOND / 1000);
	assert_int_equal(table.shared_count, 1);
	/* Who is full again makes room. */
	fresh = BEGIN + 2 * SECOND;
	assert_int_equal(take(100, 1000000, fresh), 0);
	assert_int_equal(take(100, 1000, fresh), SECOND / 1000);
	assert_int_equal(table.shared_count, 1);
}

static uint64_t longest[THREADS];

static void *take_many(void *at)
{
	uint64_t *most = at;
	struct rate_table own;

	rate_table_init(&own, memory, 64);
	for (int i = 0; i < TAKES; i++) {
		uint64_t ns = rate_table_take(&own, 7, (struct rate){UINT64_C(1) << 30, SECOND}, PORTION, BEGIN);

		while (ns == RATE_TOO_LONG)
			ns = rate_table_take(&own, 7, (struct rate){UINT64_C(1) << 30, SECOND}, PORTION, BEGIN);
		*most = ns > *most ? ns : *most;
	}
	return NULL;
}

/* No byte is taken twice, whoever takes it. */
static void many_at_once(void **state)
{
	const struct rate fast = {UINT64_C(1) << 30, SECOND};
	const uint64_t all = (uint64_t)THREADS * TAKES * PORTION, each_ns = (uint64_t)PORTION * SECOND / fast.bytes_per_s;
	pthread_t threads[THREADS];

	(void)state;
	make_table(64);
	rate_table_take(&table, 7, fast, fast.bytes_per_s, BEGIN);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_many, &longest[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 1; i < THREADS; i++)
		longest[0] = longest[i] > longest[0] ? longest[i] : longest[0];
	assert_int_equal(longest[0], all / PORTION * each_ns);
	assert_int_equal(rate_table_wait_ns(&table, 7, fast, BEGIN), longest[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_is_there_and_then_the_rate),
		cmocka_unit_test(what_is_given_back_is_there_again),
		cmocka_unit_test(nobody_waits_too_long),
		cmocka_unit_test(rates_and_clocks_may_change),
		cmocka_unit_test(whatever_the_memory_holds),
		cmocka_unit_test(a_full_set_is_shared),
		cmocka_unit_test(many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, free_table);
}
