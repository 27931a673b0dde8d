/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 there and back, and everything that other decoders let pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/scheme/base64.h"

static void vectors_of_the_rfc(void **state)
{
	static const char *const rows[][2] = {
		{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"}, {"\xfb\xff\xfe", "+//+"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct span bytes = span_from(rows[i][0]), text = span_from(rows[i][1]);
		uint8_t array[8];
		size_t len;
		struct buf out;

		buf_init(&out, 100);
		base64_encode(bytes, &out);
		assert_true(buf_is_whole(&out) && span_equal(buf_span(&out), text));
		buf_reset(&out);
		buf_add_string(&out, "before ");
		assert_true(base64_decode(text, &out));
		assert_true(span_equal(span_skip(buf_span(&out), 7), bytes));
		buf_fini(&out);
		assert_true(base64_decode_into(text, array, sizeof(array), &len));
		assert_true(span_equal(span_of(array, len), bytes));
	}
}

static void anything_else_is_refused(void **state)
{
	static const char *const rows[] = {
		"Z", "Zg", "Zg=", "Zg===", "Zg====", "====", "=", "==", "Z===", "=Zg=", "Zg=a", "Z=g=", "Zm9v=", "Zm9v====",
		" Zg==", "Zg== ", "Zg=\n=", "Zm9\n", "Zm9 ", "Zm-_", "Zm9v\r\n", "Zh==", "Zm9=", "Zm\xc3\xa4", "Zm9vZg==Zm9v",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t array[32];
		size_t len;
		struct buf out;

		buf_init(&out, 100);
		buf_add_string(&out, "before");
		if (base64_decode(span_from(rows[i]), &out))
			fail_msg("\"%s\" was taken", rows[i]);
		assert_true(span_equal(buf_span(&out), SPAN("before")));
		assert_false(base64_decode_into(span_from(rows[i]), array, sizeof(array), &len));
		buf_fini(&out);
	}
}

static void a_nul_is_no_digit(void **state)
{
	uint8_t array[4];
	size_t len;

	(void)state;
	assert_false(base64_decode_into(SPAN("Zm9\0"), array, sizeof(array), &len));
}

static void what_does_not_fit_is_refused(void **state)
{
	uint8_t array[2];
	size_t len;
	struct buf out;

	(void)state;
	buf_init(&out, 2);
	assert_true(base64_decode(SPAN("Zm8="), &out));
	assert_false(base64_decode(SPAN("Zg=="), &out));
	assert_int_equal(buf_len(&out), 2);
	buf_fini(&out);
	assert_false(base64_decode_into(SPAN("Zm9v"), array, sizeof(array), &len));
	assert_true(base64_decode_into(SPAN("Zm8="), array, sizeof(array), &len) && len == 2);
	base64_encode(SPAN("f"), &out);
	assert_false(buf_is_whole(&out));
	buf_fini(&out);
	buf_init(&out, 2);
	base64_encode(span_of(array, SIZE_MAX), &out);
	assert_false(buf_is_whole(&out));
}

static void every_length_comes_back(void **state)
{
	uint8_t bytes[70], text[BASE64_URL_LEN(70)], back[70];
	struct buf out;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 151 + 7);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		size_t text_len = BASE64_URL_LEN(len), got;

		buf_init(&out, 200);
		base64_encode(span_of(bytes, len), &out);
		assert_true(base64_decode_into(buf_span(&out), back, len, &got) && got == len);
		assert_memory_equal(back, bytes, len);
		buf_fini(&out);

		base64_url_encode(span_of(bytes, len), text);
		assert_int_equal(span_find(span_of(text, text_len), '+'), text_len);
		assert_int_equal(span_find(span_of(text, text_len), '/'), text_len);
		assert_true(base64_url_decode(span_of(text, text_len), back, len));
		assert_memory_equal(back, bytes, len);
		assert_false(base64_url_decode(span_of(text, text_len), back, len + 1));
		if (text_len) {
			text[text_len - 1] = '=';
			assert_false(base64_url_decode(span_of(text, text_len), back, len));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_of_the_rfc),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(a_nul_is_no_digit),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(every_length_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
