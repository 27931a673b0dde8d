/* SPDX-License-Identifier: Apache-2.0 */
/* Spans, buffers, cursors, arenas: what every parser and writer stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"

static void assert_span(struct span got, const char *want)
{
	if (!span_equal(got, span_from(want)))
		fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want);
}

static void splits_keep_empty_pieces(void **state)
{
	static const char *const want[] = {"a", "", "b", ""};
	struct span rest = SPAN("a,,b,"), piece;
	size_t count = 0;

	(void)state;
	while (span_split(&rest, ',', &piece)) {
		assert_true(count < COUNT_OF(want));
		assert_span(piece, want[count++]);
	}
	assert_int_equal(count, COUNT_OF(want));
}

static void numbers_are_digits_alone(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
		bool ok;
		uint64_t value;
	} rows[] = {
		{"0", 10, true, 0},
		{"65535", 65535, true, 65535},
		{"65536", 65535, false, 0},
		{"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
		{"18446744073709551616", UINT64_MAX, false, 0},
		{"99999999999999999999999", UINT64_MAX, false, 0},
		{"", 10, false, 0},
		{"+1", 10, false, 0},
		{"-1", 10, false, 0},
		{" 1", 10, false, 0},
		{"1x", 100, false, 0},
		{"0x1", 100, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint64_t value = 0;

		if (span_to_uint(span_from(rows[i].text), rows[i].max, &value) != rows[i].ok)
			fail_msg("\"%s\"", rows[i].text);
		assert_int_equal(value, rows[i].value);
	}
}

static void trimming_and_finding(void **state)
{
	(void)state;
	assert_span(span_trim(SPAN(" \t a b \t")), "a b");
	assert_span(span_trim(SPAN("  ")), "");
	assert_int_equal(span_find(SPAN("a:b:c"), ':'), 1);
	assert_int_equal(span_find_last(SPAN("a:b:c"), ':'), 3);
	assert_int_equal(span_find(SPAN("abc"), ':'), 3);
	assert_int_equal(span_find_span(SPAN("xxabc"), SPAN("abc")), 2);
	assert_true(span_equal_nocase(SPAN("HoSt"), SPAN("hOsT")));
	assert_false(span_equal_nocase(SPAN("[x]"), SPAN("{x}")));
	assert_true(span_starts_with(SPAN("abc"), SPAN("")));
	assert_false(span_ends_with(SPAN("bc"), SPAN("abc")));
	assert_true(span_compare(SPAN("a"), SPAN("ab")) < 0);
	assert_true(span_compare(SPAN("b"), SPAN("ab")) > 0);
}

static void buffers_never_exceed_their_maximum(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 10);
	buf_add(&buf, SPAN("12345678"));
	assert_true(buf_is_whole(&buf));
	buf_add(&buf, SPAN("90a"));
	assert_false(buf_is_whole(&buf));
	assert_span(buf_span(&buf), "12345678");
	buf_add_byte(&buf, '9');
	buf_add_byte(&buf, '0');
	buf_add_byte(&buf, 'x');
	assert_span(buf_span(&buf), "1234567890");
	buf_consume(&buf, 3);
	buf_reset(&buf);
	assert_true(buf_is_whole(&buf));
	assert_null(buf_reserve(&buf, SIZE_MAX));
	buf_fini(&buf);
}

static void consumed_room_is_used_again(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 300);
	for (int i = 0; i < 1000; i++) {
		buf_add(&buf, SPAN("0123456789abcdef"));
		assert_int_equal(buf_len(&buf), 16);
		assert_span(buf_span(&buf), "0123456789abcdef");
		buf_consume(&buf, 16);
	}
	assert_true(buf.capacity <= 300);
	buf_fini(&buf);
}

static void hostile_text_is_escaped(void **state)
{
	static const struct {
		void (*add)(struct buf *buf, struct span text);
		struct span in;
		const char *out;
	} rows[] = {
		{buf_add_json, {(const uint8_t *)"a\"b\\\n\0z", 7}, "\"a\\\"b\\\\\\u000a\\u0000z\""},
		{buf_add_json, {(const uint8_t *)"gr\xc3\xbc\xc3\x9f", 6}, "\"gr\xc3\xbc\xc3\x9f\""},
		{buf_add_json, {(const uint8_t *)"\xff\xc0\x80", 3}, "\"\\u00ff\\u00c0\\u0080\""},
		{buf_add_json, {(const uint8_t *)"\xed\xa0\x80", 3}, "\"\\u00ed\\u00a0\\u0080\""},
		{buf_add_json, {(const uint8_t *)"\xf4\x90\x80\x80", 4}, "\"\\u00f4\\u0090\\u0080\\u0080\""},
		{buf_add_json, {(const uint8_t *)"\xe2\x82", 2}, "\"\\u00e2\\u0082\""},
		{buf_add_json, {(const uint8_t *)"\x7f", 1}, "\"\\u007f\""},
		{buf_add_html, {(const uint8_t *)"<a b='c' d=\"e\">&\x01", 17}, "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;"},
		{buf_add_percent, {(const uint8_t *)"a b\"\\\n\xff" "~", 8}, "a%20b%22%5C%0A%FF~"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf buf;

		buf_init(&buf, 1000);
		rows[i].add(&buf, rows[i].in);
		assert_span(buf_span(&buf), rows[i].out);
		buf_fini(&buf);
	}
}

static void formatting(void **state)
{
	struct buf buf;
	char wide[2001];

	(void)state;
	memset(wide, 'x', 2000);
	wide[2000] = 0;
	buf_init(&buf, 5000);
	buf_printf(&buf, "%s|%d", wide, 7);
	assert_int_equal(buf_len(&buf), 2002);
	buf_reset(&buf);
	buf_add_uint(&buf, 0);
	buf_add_uint(&buf, UINT64_MAX);
	assert_span(buf_span(&buf), "018446744073709551615");
	buf_reset(&buf);
	clock_add_rfc3339(&buf, UINT64_C(1795421639123));
	assert_span(buf_span(&buf), "2026-11-23T08:13:59.123Z");
	buf_fini(&buf);
}

static void cursors_stick_at_the_end(void **state)
{
	static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	struct cursor cursor = cursor_over(span_of(bytes, sizeof(bytes))), sub;

	(void)state;
	assert_int_equal(cursor_u8(&cursor), 1);
	assert_int_equal(cursor_u16(&cursor), 0x0203);
	assert_int_equal(cursor_u24(&cursor), 0x040506);
	assert_int_equal(cursor_u32(&cursor), 0x0708090a);
	sub = cursor_sub(&cursor, 3);
	assert_int_equal(cursor_u16(&sub), 0x0b0c);
	assert_int_equal(cursor_u16(&sub), 0);
	assert_true(sub.overrun);
	assert_false(cursor.overrun);
	assert_int_equal(cursor_u32(&cursor), 0);
	assert_true(cursor.overrun);
	assert_int_equal(cursor_u8(&cursor), 0);
}

static void arenas_hold_their_maximum(void **state)
{
	struct arena arena;
	size_t got = 0;

	(void)state;
	arena_init(&arena, 4096);
	while (arena_alloc(&arena, 100))
		got += 100;
	assert_in_range(got, 2000, 4096);
	assert_null(arena_alloc(&arena, SIZE_MAX));
	arena_fini(&arena);
	assert_string_equal(arena_printf(&arena, "%s-%d", "a", 1), "a-1");
	assert_span(arena_copy(&arena, SPAN("xyz")), "xyz");
	assert_null(arena_copy(&arena, span_of("", 5000)).at);
	arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_keep_empty_pieces),
		cmocka_unit_test(numbers_are_digits_alone),
		cmocka_unit_test(trimming_and_finding),
		cmocka_unit_test(buffers_never_exceed_their_maximum),
		cmocka_unit_test(consumed_room_is_used_again),
		cmocka_unit_test(hostile_text_is_escaped),
		cmocka_unit_test(formatting),
		cmocka_unit_test(cursors_stick_at_the_end),
		cmocka_unit_test(arenas_hold_their_maximum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
