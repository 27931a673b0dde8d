/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker knows of who was verified lately: for how long, how many, and never under another key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "auth/cache.h"
#include "auth/identity.h"

static struct cache *cache;

static int make(void **state)
{
	(void)state;
	return cache_new(&cache) != ERR_NONE;
}

static int drop(void **state)
{
	(void)state;
	cache_free(cache);
	return 0;
}

static const uint8_t *key(unsigned number)
{
	static uint8_t keys[2][KEYED_HASH_BYTES];
	static unsigned turn;
	uint8_t *one = keys[turn++ % 2];

	memset(one, 0, KEYED_HASH_BYTES);
	memcpy(one, &number, sizeof(number));
	return one;
}

static void right_ones_are_known_for_their_time(void **state)
{
	uint8_t ha1[DIGEST_MAX_BYTES] = {7};
	struct identity *identity = identity_new(AUTH_BASIC, AUTH_MECHANISM_NONE, SPAN("alice"), SPAN("staff\0"));

	(void)state;
	assert_non_null(identity);
	cache_put(cache, key(1), identity, ha1, 1000, 500);
	assert_null(cache_find(cache, key(2), 1000));
	assert_non_null(cache_find(cache, key(1), 1499));
	assert_ptr_equal(cache_find(cache, key(1), 1499)->identity, identity);
	assert_memory_equal(cache_find(cache, key(1), 1499)->ha1, ha1, sizeof(ha1));
	assert_null(cache_find(cache, key(1), 1500));
	cache_clear(cache);
	assert_null(cache_find(cache, key(1), 1001));
	identity_unref(identity);
}

static void wrong_ones_are_wrong_for_longer_each_time(void **state)
{
	uint64_t now_ms = 1000;

	(void)state;
	for (uint64_t wait_ms = 1000; wait_ms <= 8000; wait_ms *= 2) {
		cache_put_wrong(cache, key(3), now_ms, 60000);
		assert_non_null(cache_find(cache, key(3), now_ms + wait_ms - 1));
		assert_null(cache_find(cache, key(3), now_ms + wait_ms - 1)->identity);
		assert_null(cache_find(cache, key(3), now_ms + wait_ms));
		now_ms += wait_ms;
	}
	cache_put_wrong(cache, key(3), now_ms, 2000);
	assert_null(cache_find(cache, key(3), now_ms + 2000));
}

/* A million strangers take no more room than there is. */
static void it_does_not_grow(void **state)
{
	size_t known = 0;

	(void)state;
	for (unsigned i = 0; i < 1000000; i++)
		cache_put_wrong(cache, key(i), 1000, 60000);
	for (unsigned i = 0; i < 1000000; i++)
		known += cache_find(cache, key(i), 1000) != NULL;
	assert_in_range(known, 1, 100000);
	assert_non_null(cache_find(cache, key(999999), 1000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(right_ones_are_known_for_their_time, make, drop),
		cmocka_unit_test_setup_teardown(wrong_ones_are_wrong_for_longer_each_time, make, drop),
		cmocka_unit_test_setup_teardown(it_does_not_grow, make, drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
