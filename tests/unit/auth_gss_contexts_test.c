/* SPDX-License-Identifier: Apache-2.0 */
/* The table of exchanges that have not ended: each is taken once, in time, and there are not too many. And what is found
 * inside tokens of SPNEGO. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/backend/gss_contexts.h"
#include "auth/backend/gss_status.h"

static uint64_t put(uint64_t began_ms, uint64_t now_ms)
{
	return gss_contexts_put((struct gss_partial){GSS_C_NO_CONTEXT, began_ms}, now_ms);
}

static void each_is_taken_once(void **state)
{
	uint64_t first = put(1000, 1000), second = put(1001, 1001);
	struct gss_partial partial;

	(void)state;
	assert_true(first != 0 && second != 0 && first != second);
	assert_true(gss_contexts_take(second, 1002, &partial));
	assert_int_equal(partial.began_ms, 1001);
	assert_false(gss_contexts_take(second, 1002, &partial));
	assert_true(gss_contexts_take(first, 1002, &partial));
	assert_int_equal(partial.began_ms, 1000);
	assert_false(gss_contexts_take(0, 1002, &partial));
	assert_false(gss_contexts_take(first + 1, 1002, &partial));
	gss_contexts_fini();
}

/* The time counts from the first token, however many have come since. */
static void their_time_is_limited(void **state)
{
	uint64_t in_time = put(1000, 1000), late = put(1000, 1000), again;
	struct gss_partial partial;

	(void)state;
	assert_true(gss_contexts_take(in_time, 1000 + GSS_CONTEXTS_LIFE_MS, &partial));
	again = gss_contexts_put(partial, 1000 + GSS_CONTEXTS_LIFE_MS);
	assert_false(gss_contexts_take(late, 1001 + GSS_CONTEXTS_LIFE_MS, &partial));
	assert_false(gss_contexts_take(again, 1001 + GSS_CONTEXTS_LIFE_MS, &partial));
	gss_contexts_fini();
}

static void the_oldest_goes_for_a_new_one(void **state)
{
	static uint64_t ids[GSS_CONTEXTS_MAX + 2];
	struct gss_partial partial;

	(void)state;
	for (size_t i = 0; i < GSS_CONTEXTS_MAX + 2; i++)
		ids[i] = put(1000 + i, 1000 + i);
	for (size_t i = 0; i < GSS_CONTEXTS_MAX + 2; i++)
		assert_int_equal(gss_contexts_take(ids[i], 3000, &partial), i >= 2);
	gss_contexts_fini();
}

#define ROW(text, at, len) {{(const uint8_t *)(text), sizeof(text) - 1}, at, len}
#define OID "\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"

static void kerberos_is_found_inside(void **state)
{
	static const struct {
		struct span token;
		size_t at, len;
	} rows[] = {
		ROW("\xa1\x60\x0d" OID "\x01\x00", 1, 15),
		ROW("\xa1\x60\x81\x0d" OID "\x01\x00tail", 1, 16),
		ROW("\x60\x60\x82\x00\x0d" OID "\x01\x00", 1, 17),
		ROW("\xa1\x60\x0e" OID "\x01\x00", 0, 0),          /* longer than there is */
		ROW("\xa1\x60\x80" OID "\x01\x00", 0, 0),          /* no length */
		ROW("\xa1\x60\x84\x00\x00\x00\x0d" OID "\x01\x00", 0, 0), /* a length of four bytes */
		ROW("\xa1\x60\x0d\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x03\x01\x00", 0, 0),
		ROW("\xa1\x60", 0, 0),
		ROW("", 0, 0),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t *copy = malloc(rows[i].token.len ? rows[i].token.len : 1);
		struct span inner;

		assert_non_null(copy);
		memcpy(copy, rows[i].token.at, rows[i].token.len);
		inner = gss_status_inner(span_of(copy, rows[i].token.len));
		assert_int_equal(inner.len, rows[i].len);
		if (inner.len)
			assert_ptr_equal(inner.at, copy + rows[i].at);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_taken_once),
		cmocka_unit_test(their_time_is_limited),
		cmocka_unit_test(the_oldest_goes_for_a_new_one),
		cmocka_unit_test(kerberos_is_found_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
