/* SPDX-License-Identifier: Apache-2.0 */
/* What workers share: rings of log lines, and who holds how many sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "process/places.h"
#include "process/ring.h"

/* ---- rings ---- */

static struct ring *ring;
static uint8_t out[RING_LINE_MAX_BYTES];

static int make_ring(void **state)
{
	(void)state;
	ring = aligned_alloc(64, sizeof(*ring));
	memset(ring, 0, sizeof(*ring));
	return 0;
}

static int free_ring(void **state)
{
	(void)state;
	free(ring);
	return 0;
}

static bool read_one(size_t *len, uint32_t *kind)
{
	bool broken = false, got = ring_read(ring, out, len, kind, &broken);

	assert_false(broken);
	return got;
}

static void lines_come_out_as_they_went_in(void **state)
{
	size_t len;
	uint32_t kind;

	(void)state;
	/* Often enough to go round several times, in all lengths. */
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t line[700];

		memset(line, (int)('a' + i % 26), sizeof(line));
		assert_true(ring_write(ring, -1, RING_ACCESS + i % 3, span_of(line, i % sizeof(line))));
		if (i % 7 == 0)
			continue;
		while (read_one(&len, &kind) && len)
			assert_int_equal(out[0], out[len - 1]);
	}
	while (read_one(&len, &kind))
		;
	assert_int_equal(ring->dropped_count, 0);
	assert_int_equal(ring->head, ring->tail);
}

static void what_does_not_fit_is_dropped_and_counted(void **state)
{
	static uint8_t line[RING_LINE_MAX_BYTES + 1];
	uint64_t written = 0;
	uint32_t kind;
	size_t len;

	(void)state;
	assert_false(ring_write(ring, -1, RING_ACCESS, span_of(line, sizeof(line))));
	while (ring_write(ring, -1, RING_ACCESS, span_of(line, 60000)))
		written++;
	assert_in_range(written, RING_DATA_BYTES / 60000 - 1, RING_DATA_BYTES / 60000);
	assert_int_equal(ring->dropped_count, 2);
	assert_true(read_one(&len, &kind));
	assert_true(ring_write(ring, -1, RING_ACCESS, span_of(line, 60000)));
}

static void a_hostile_writer_costs_its_lines_only(void **state)
{
	static const uint64_t heads[] = {1, 7, 8, 16, RING_DATA_BYTES, RING_DATA_BYTES + 8, UINT64_MAX};
	bool broken;
	uint32_t kind;
	size_t len;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(heads); i++) {
		memset(ring->data, 0xff, sizeof(ring->data));
		ring->head = heads[i];
		ring->tail = 0;
		broken = false;
		assert_false(ring_read(ring, out, &len, &kind, &broken));
		assert_true(broken);
		assert_int_equal(ring->tail, ring->head);
	}
}

static void the_bell_rings_for_a_sleeper_only(void **state)
{
	int bell = eventfd(0, EFD_NONBLOCK);
	uint64_t count;
	uint32_t kind;
	size_t len;

	(void)state;
	assert_true(ring_write(ring, bell, RING_ACCESS, SPAN("a")));
	assert_int_equal(read(bell, &count, sizeof(count)), -1);
	assert_false(ring_may_sleep(ring));
	assert_true(read_one(&len, &kind));
	assert_true(ring_may_sleep(ring));
	assert_true(ring_write(ring, bell, RING_ACCESS, SPAN("b")));
	assert_true(ring_write(ring, bell, RING_ACCESS, SPAN("c")));
	assert_int_equal(read(bell, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	close(bell);
}

/* ---- places ---- */

enum { SLOTS = 1024 };

static struct place_page *pages[2];
static struct places views[2];

static int make_places(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		size_t bytes = (places_page_bytes(SLOTS) + 63) / 64 * 64;

		pages[i] = aligned_alloc(64, bytes);
		memset(pages[i], 0, bytes);
		atomic_store(&pages[i]->is_accepting, 1);
	}
	for (int i = 0; i < 2; i++)
		views[i] = (struct places){.own = pages[i],
		                           .pages = {pages[0], pages[1]},
		                           .count = 2,
		                           .slot_count = SLOTS,
		                           .key = {{1, 2}}};
	return 0;
}

static int free_places(void **state)
{
	(void)state;
	free(pages[0]);
	free(pages[1]);
	return 0;
}

static struct address client(unsigned number)
{
	return (struct address){.family = AF_INET,
	                        .bytes = {10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number}};
}

static void limits_hold_over_all_workers(void **state)
{
	struct address one = client(1), two = client(2), unnamed = {.family = 0};

	(void)state;
	assert_int_equal(places_enter(&views[0], &one, 4, 2), ERR_NONE);
	assert_int_equal(places_enter(&views[1], &one, 4, 2), ERR_NONE);
	assert_int_equal(places_enter(&views[0], &one, 4, 2), ERR_LIMIT_CLIENT);
	assert_int_equal(places_enter(&views[0], &two, 4, 2), ERR_NONE);
	assert_int_equal(places_enter(&views[1], &unnamed, 4, 2), ERR_NONE);
	assert_int_equal(places_enter(&views[1], &two, 4, 2), ERR_LIMIT_SESSIONS);
	places_leave(&views[1], &one);
	assert_int_equal(places_enter(&views[0], &one, 4, 2), ERR_NONE);
	places_leave(&views[1], &unnamed);
	assert_int_equal(atomic_load(&pages[1]->session_count), 0);
}

static void a_mapped_address_is_the_same_client(void **state)
{
	struct address plain = client(1), mapped = {.family = AF_INET6, .bytes = {[10] = 0xff, 0xff, 10, 0, 0, 1}};

	(void)state;
	assert_int_equal(places_enter(&views[0], &plain, 10, 1), ERR_NONE);
	assert_int_equal(places_enter(&views[1], &mapped, 10, 1), ERR_LIMIT_CLIENT);
}

static void counts_stay_true_over_many_clients(void **state)
{
	unsigned counts[400] = {0}, held = 0;

	(void)state;
	srand(1);
	for (int i = 0; i < 200000; i++) {
		unsigned number = (unsigned)rand() % COUNT_OF(counts);
		struct address address = client(number);

		if (counts[number] && rand() % 2) {
			places_leave(&views[0], &address);
			counts[number]--;
			held--;
		} else if (places_enter(&views[0], &address, 1000000, 5) == ERR_NONE) {
			counts[number]++;
			held++;
			assert_in_range(counts[number], 1, 5);
		} else {
			assert_int_equal(counts[number], 5);
		}
	}
	assert_int_equal(atomic_load(&pages[0]->session_count), held);
	for (unsigned i = 0; i < COUNT_OF(counts); i++)
		for (struct address address = client(i); counts[i]; counts[i]--)
			places_leave(&views[0], &address);
	assert_int_equal(views[0].used_slots, 0);
	for (size_t i = 0; i < SLOTS; i++)
		assert_int_equal(atomic_load(&pages[0]->slots[i].key), 0);
}

static void media_of_a_client_is_counted_over_all_workers(void **state)
{
	struct address one = client(1), two = client(2), unnamed = {.family = 0};

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(places_enter(&views[i], &one, 10, 0), ERR_NONE);
	assert_int_equal(places_enter(&views[0], &two, 10, 0), ERR_NONE);
	assert_true(places_enter_media(&views[0], &one, 2));
	assert_true(places_enter_media(&views[1], &one, 2));
	assert_false(places_enter_media(&views[0], &one, 2));
	assert_true(places_enter_media(&views[0], &two, 2));
	assert_true(places_enter_media(&views[0], &one, 0)); /* no limit, and counted */
	places_leave_media(&views[1], &one);
	assert_false(places_enter_media(&views[1], &one, 2));
	places_leave_media(&views[0], &one);
	assert_true(places_enter_media(&views[1], &one, 2));
	for (int i = 0; i < 5; i++)
		assert_true(places_enter_media(&views[0], &unnamed, 2));
	places_leave(&views[0], &one); /* its place goes, and all that it had in there */
	assert_int_equal(places_enter(&views[0], &one, 10, 0), ERR_NONE);
	assert_true(places_enter_media(&views[0], &one, 2));
}

static void a_dead_worker_gives_its_places_back(void **state)
{
	struct address one = client(1);

	(void)state;
	pages[0]->metrics.sessions_total = 7;
	assert_int_equal(places_enter(&views[0], &one, 10, 1), ERR_NONE);
	assert_int_equal(places_enter(&views[1], &one, 10, 1), ERR_LIMIT_CLIENT);
	places_clear(pages[0], SLOTS);
	assert_int_equal(places_enter(&views[1], &one, 10, 1), ERR_NONE);
	assert_int_equal(pages[0]->metrics.sessions_total, 7);
}

static void a_hostile_page_ends_no_search(void **state)
{
	struct address one = client(1);

	(void)state;
	for (size_t i = 0; i < SLOTS; i++) {
		atomic_store(&pages[1]->slots[i].key, i + 12345);
		atomic_store(&pages[1]->slots[i].counts[PLACE_SESSION], UINT32_MAX);
		atomic_store(&pages[1]->slots[i].counts[PLACE_MEDIA], UINT32_MAX);
	}
	assert_int_equal(places_enter(&views[0], &one, 10, 3), ERR_NONE);
	assert_true(places_enter_media(&views[0], &one, 3));
	places_leave_media(&views[0], &one);
	places_leave(&views[0], &one);
}

static void load_is_compared_with_those_that_accept(void **state)
{
	(void)state;
	atomic_store(&pages[0]->session_count, 40);
	assert_true(places_is_above_mean(&views[0]));
	assert_false(places_is_above_mean(&views[1]));
	atomic_store(&pages[1]->is_accepting, 0);
	assert_false(places_is_above_mean(&views[0]));
}

/* Clients wait for nobody: the last one that listens goes on. */
static void never_do_all_pause(void **state)
{
	(void)state;
	atomic_store(&pages[0]->session_count, 4);
	atomic_store(&pages[1]->session_count, 2);
	assert_false(places_is_above_mean(&views[0]));
	atomic_store(&pages[0]->session_count, 6);
	assert_true(places_is_above_mean(&views[0]));
	assert_true(places_pause(&views[0]));
	atomic_store(&pages[0]->session_count, 3);
	assert_true(places_is_above_mean(&views[0])); /* until it has no more than the others */
	assert_false(places_pause(&views[1]));
	assert_int_equal(atomic_load(&pages[1]->is_paused), 0);
	places_resume(&views[0]);
	assert_false(places_is_above_mean(&views[0]));
	assert_true(places_pause(&views[1]));
	places_resume(&views[1]);
	atomic_store(&pages[1]->is_accepting, 0);
	assert_false(places_pause(&views[0])); /* the other one has died */
	atomic_store(&pages[0]->is_paused, 1);
	places_clear(pages[0], SLOTS);
	assert_int_equal(atomic_load(&pages[0]->is_paused), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lines_come_out_as_they_went_in, make_ring, free_ring),
		cmocka_unit_test_setup_teardown(what_does_not_fit_is_dropped_and_counted, make_ring, free_ring),
		cmocka_unit_test_setup_teardown(a_hostile_writer_costs_its_lines_only, make_ring, free_ring),
		cmocka_unit_test_setup_teardown(the_bell_rings_for_a_sleeper_only, make_ring, free_ring),
		cmocka_unit_test_setup_teardown(limits_hold_over_all_workers, make_places, free_places),
		cmocka_unit_test_setup_teardown(a_mapped_address_is_the_same_client, make_places, free_places),
		cmocka_unit_test_setup_teardown(counts_stay_true_over_many_clients, make_places, free_places),
		cmocka_unit_test_setup_teardown(media_of_a_client_is_counted_over_all_workers, make_places, free_places),
		cmocka_unit_test_setup_teardown(a_dead_worker_gives_its_places_back, make_places, free_places),
		cmocka_unit_test_setup_teardown(a_hostile_page_ends_no_search, make_places, free_places),
		cmocka_unit_test_setup_teardown(never_do_all_pause, make_places, free_places),
		cmocka_unit_test_setup_teardown(load_is_compared_with_those_that_accept, make_places, free_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
