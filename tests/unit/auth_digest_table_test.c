/* SPDX-License-Identifier: Apache-2.0 */
/* Each count of a nonce is good once, whoever asks and in whatever order; and no content of the memory does harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "auth/scheme/digest_table.h"

enum { BEGIN = 1000000, LIFE = 300000, END = BEGIN + LIFE, THREADS = 8 };

static struct digest_table table;
static void *memory;

static void make_table(size_t slots)
{
	free(memory);
	memory = aligned_alloc(64, digest_table_bytes(slots));
	assert_non_null(memory);
	memset(memory, 0, digest_table_bytes(slots));
	digest_table_init(&table, memory, slots);
}

static int free_table(void **state)
{
	(void)state;
	free(memory);
	memory = NULL;
	return 0;
}

static enum digest_count use(uint64_t id, uint32_t count)
{
	return digest_table_use(&table, id, END, count, BEGIN);
}

static void a_count_is_good_once(void **state)
{
	(void)state;
	make_table(1);
	assert_int_equal(digest_table_used(&table, BEGIN), 0);
	for (uint32_t count = 0; count < 1000; count++) {
		assert_int_equal(use(77, count), DIGEST_COUNT_FRESH);
		assert_int_equal(use(77, count), DIGEST_COUNT_REPLAYED);
		if (count)
			assert_int_equal(use(77, count - 1), DIGEST_COUNT_REPLAYED);
	}
	assert_int_equal(use(78 << 1, 1), DIGEST_COUNT_FRESH);
	assert_int_equal(digest_table_used(&table, BEGIN), 2);
	assert_int_equal(use(0, 1), DIGEST_COUNT_FRESH);
	assert_int_equal(use(0, 1), DIGEST_COUNT_REPLAYED);
	assert_int_equal(use(UINT64_MAX, UINT32_MAX), DIGEST_COUNT_FRESH);
	assert_int_equal(use(UINT64_MAX, UINT32_MAX), DIGEST_COUNT_REPLAYED);
	assert_int_equal(use(UINT64_MAX, 0), DIGEST_COUNT_FRESH);
}

static void counts_may_come_late(void **state)
{
	(void)state;
	assert_true(DIGEST_TABLE_WINDOW >= 96);
	for (uint32_t last = 500; last < 500 + 2 * DIGEST_TABLE_BLOCK_COUNTS; last++) {
		make_table(8);
		assert_int_equal(use(2, last), DIGEST_COUNT_FRESH);
		for (uint32_t back = 1; back <= DIGEST_TABLE_WINDOW; back++)
			assert_int_equal(use(2, last - back), DIGEST_COUNT_FRESH);
		for (uint32_t back = 0; back <= DIGEST_TABLE_WINDOW; back++)
			assert_int_equal(use(2, last - back), DIGEST_COUNT_REPLAYED);
	}
	/* All blocks are ahead: what was before them is gone for good. */
	make_table(8);
	for (uint32_t count = 100; count < 1000; count++)
		assert_int_equal(use(2, count), DIGEST_COUNT_FRESH);
	for (uint32_t count = 0; count < 700; count++)
		assert_int_equal(use(2, count), DIGEST_COUNT_TOO_OLD);
}

static void a_full_bucket_is_stale(void **state)
{
	(void)state;
	make_table(8);
	for (uint64_t id = 2; id < 18; id += 2)
		assert_int_equal(use(id, 1), DIGEST_COUNT_FRESH);
	assert_int_equal(digest_table_used(&table, BEGIN), 8);
	assert_int_equal(use(18, 1), DIGEST_COUNT_FULL);
	for (uint64_t id = 2; id < 18; id += 2) {
		assert_int_equal(use(id, 1), DIGEST_COUNT_REPLAYED);
		assert_int_equal(use(id, 2), DIGEST_COUNT_FRESH);
	}
}

static void slots_are_free_a_minute_after_the_end(void **state)
{
	const uint64_t last = END + DIGEST_TABLE_GRACE_MS;

	(void)state;
	make_table(8);
	for (uint64_t id = 2; id < 18; id += 2)
		for (uint32_t count = 0; count < 200; count++)
			assert_int_equal(use(id, count), DIGEST_COUNT_FRESH);
	assert_int_equal(digest_table_use(&table, 2, END, 200, END), DIGEST_COUNT_FRESH);
	assert_int_equal(digest_table_use(&table, 2, END, 201, END + 1), DIGEST_COUNT_TOO_OLD);
	assert_int_equal(digest_table_use(&table, 18, last + LIFE, 1, last), DIGEST_COUNT_FULL);
	/* A worker whose clock is behind still finds what was used. */
	assert_int_equal(use(2, 200), DIGEST_COUNT_REPLAYED);
	assert_int_equal(digest_table_used(&table, END + 1), 0);
	for (uint64_t id = 18; id < 34; id += 2) {
		assert_int_equal(digest_table_use(&table, id, last + LIFE, 1, last + 1), DIGEST_COUNT_FRESH);
		assert_int_equal(digest_table_use(&table, id, last + LIFE, 1, last + 1), DIGEST_COUNT_REPLAYED);
		assert_int_equal(digest_table_use(&table, id, last + LIFE, 0, last + 1), DIGEST_COUNT_FRESH);
	}
	assert_int_equal(digest_table_use(&table, 34, last + LIFE, 1, last + 1), DIGEST_COUNT_FULL);
}

static void many_nonces_have_many_slots(void **state)
{
	enum { NONCES = 20000 };
	size_t full = 0;
	uint64_t id = 88172645463325252;

	(void)state;
	make_table(65536);
	for (int i = 0; i < NONCES; i++) {
		enum digest_count got;

		id ^= id << 13;
		id ^= id >> 7;
		id ^= id << 17;
		got = use(id, 1);
		if (got == DIGEST_COUNT_FRESH)
			assert_int_equal(use(id, 1), DIGEST_COUNT_REPLAYED);
		else
			full += got == DIGEST_COUNT_FULL;
	}
	assert_int_equal(digest_table_used(&table, BEGIN), NONCES - full);
	/* Poisson with a mean of 2.44 nonces for 8 slots: some 10 of 8192 buckets have more. */
	assert_in_range(full, 0, 60);
}

/* As a worker leaves it that died there, or as it is while one is at it. */
static void a_claimed_slot_is_left_alone(void **state)
{
	enum { SLOT_WORDS = 8 };
	uint64_t *words;

	(void)state;
	make_table(8);
	words = memory;
	words[3 * SLOT_WORDS] = 2 | 1;
	assert_int_equal(use(2, 1), DIGEST_COUNT_TOO_OLD);
	assert_int_equal(use(4, 1), DIGEST_COUNT_FRESH);
	make_table(8);
	words = memory;
	for (uint64_t i = 0; i < 8; i++)
		words[i * SLOT_WORDS] = 2 * (i + 1) | 1;
	assert_int_equal(use(2, 1), DIGEST_COUNT_TOO_OLD);
	assert_int_equal(use(20, 1), DIGEST_COUNT_FULL);
}

/* ---- threads ---- */

struct racer {
	pthread_t thread;
	pthread_barrier_t *barrier;
	unsigned number;
	uint64_t ids;         /* nonces 2, 4, .. */
	uint32_t counts;      /* of each */
	unsigned stale;
};

static _Atomic unsigned wins[64][4096];

/* Each thread tries every count of every nonce, each in an order of its own that stays in the window. */
static void *race(void *context)
{
	struct racer *racer = context;

	pthread_barrier_wait(racer->barrier);
	for (uint32_t begin = 0; begin < racer->counts; begin += DIGEST_TABLE_BLOCK_COUNTS) {
		for (uint64_t id = 0; id < racer->ids; id++) {
			for (uint32_t i = 0; i < DIGEST_TABLE_BLOCK_COUNTS; i++) {
				uint32_t count = begin + (i * 5 + racer->number * 11) % DIGEST_TABLE_BLOCK_COUNTS;
				enum digest_count got = use((id + 1) * 2, count);

				if (got == DIGEST_COUNT_FRESH)
					atomic_fetch_add(&wins[id][count], 1);
				racer->stale += got == DIGEST_COUNT_TOO_OLD || got == DIGEST_COUNT_FULL;
			}
		}
		/* No thread more than one block ahead: nothing is too old. */
		pthread_barrier_wait(racer->barrier);
	}
	return NULL;
}

static unsigned run_race(uint64_t ids, uint32_t counts)
{
	struct racer racers[THREADS];
	pthread_barrier_t barrier;
	unsigned stale = 0;

	memset(wins, 0, sizeof(wins));
	assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){.barrier = &barrier, .number = i, .ids = ids, .counts = counts};
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(racers[i].thread, NULL);
		stale += racers[i].stale;
	}
	pthread_barrier_destroy(&barrier);
	return stale;
}

static void of_threads_one_wins_each_count(void **state)
{
	enum { COUNTS = 4096 };

	(void)state;
	make_table(8);
	/* The nonce has its slot. */
	assert_int_equal(use(2, 0), DIGEST_COUNT_FRESH);
	assert_int_equal(run_race(1, COUNTS), 0);
	assert_int_equal(wins[0][0], 0);
	for (size_t count = 1; count < COUNTS; count++)
		assert_int_equal(wins[0][count], 1);
	assert_int_equal(digest_table_used(&table, BEGIN), 1);
}

static void threads_that_begin_a_nonce_at_once_share_a_slot(void **state)
{
	enum { ROUNDS = 300 };

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		unsigned stale;

		make_table(64);
		/* Each try of one that gave up is a count that may be nobody's; none is of two. */
		stale = run_race(8, 2 * DIGEST_TABLE_BLOCK_COUNTS);
		for (size_t id = 0; id < 8; id++) {
			for (size_t count = 0; count < 2 * DIGEST_TABLE_BLOCK_COUNTS; count++) {
				assert_in_range(wins[id][count], stale ? 0 : 1, 1);
				assert_int_equal(use((id + 1) * 2, (uint32_t)count),
				                 wins[id][count] ? DIGEST_COUNT_REPLAYED : DIGEST_COUNT_FRESH);
			}
		}
		assert_int_equal(digest_table_used(&table, BEGIN), 8);
	}
}

/* Nonces that fight for the slots of one bucket, all of which are of ended ones. */
static void threads_take_over_ended_slots(void **state)
{
	enum { ROUNDS = 100, IDS = 8 };

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		unsigned stale;

		make_table(8);
		for (uint64_t id = 1000; id < 1016; id += 2)
			for (uint32_t count = 0; count < 200; count++)
				assert_int_equal(digest_table_use(&table, id, 10, count, 10), DIGEST_COUNT_FRESH);
		stale = run_race(IDS, 2 * DIGEST_TABLE_BLOCK_COUNTS);
		for (size_t id = 0; id < IDS; id++)
			for (size_t count = 0; count < 2 * DIGEST_TABLE_BLOCK_COUNTS; count++)
				assert_in_range(wins[id][count], stale ? 0 : 1, 1);
		assert_in_range(digest_table_used(&table, BEGIN), 1, 8);
	}
}

/* ---- a hostile worker ---- */

static void rubbish_does_no_harm(void **state)
{
	uint64_t noise = 88172645463325252;

	(void)state;
	make_table(64);
	for (int round = 0; round < 2000; round++) {
		uint64_t *words = memory;

		for (size_t i = 0; i < digest_table_bytes(64) / sizeof(*words); i++) {
			noise ^= noise << 13;
			noise ^= noise >> 7;
			noise ^= noise << 17;
			words[i] = round % 3 == 0 ? noise : round % 3 == 1 ? noise % 8 : UINT64_MAX << (noise % 64);
		}
		for (uint64_t id = 0; id < 16; id++)
			assert_in_range(use(round % 2 ? id : noise ^ id, (uint32_t)(noise >> id)), DIGEST_COUNT_FULL,
			                DIGEST_COUNT_FRESH);
	}
}

static _Atomic bool is_over;

static void *scribble(void *context)
{
	_Atomic uint64_t *words = context;
	uint64_t noise = 88172645463325252;

	while (!atomic_load(&is_over)) {
		noise ^= noise << 13;
		noise ^= noise >> 7;
		noise ^= noise << 17;
		atomic_store(&words[noise % (digest_table_bytes(8) / sizeof(*words))], noise >> 32 & 7);
	}
	return NULL;
}

static void somebody_who_scribbles_stops_nobody(void **state)
{
	pthread_t thread;

	(void)state;
	make_table(8);
	atomic_store(&is_over, false);
	assert_int_equal(pthread_create(&thread, NULL, scribble, memory), 0);
	for (uint32_t count = 0; count < 50000; count++)
		assert_in_range(use(count % 8, count), DIGEST_COUNT_FULL, DIGEST_COUNT_FRESH);
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_count_is_good_once),
		cmocka_unit_test(counts_may_come_late),
		cmocka_unit_test(a_full_bucket_is_stale),
		cmocka_unit_test(slots_are_free_a_minute_after_the_end),
		cmocka_unit_test(many_nonces_have_many_slots),
		cmocka_unit_test(a_claimed_slot_is_left_alone),
		cmocka_unit_test(of_threads_one_wins_each_count),
		cmocka_unit_test(threads_that_begin_a_nonce_at_once_share_a_slot),
		cmocka_unit_test(threads_take_over_ended_slots),
		cmocka_unit_test(rubbish_does_no_harm),
		cmocka_unit_test(somebody_who_scribbles_stops_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, free_table);
}
