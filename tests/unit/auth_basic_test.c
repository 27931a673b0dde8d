/* SPDX-License-Identifier: Apache-2.0 */
/* What clients send as Basic, and what is refused before a backend sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/scheme/base64.h"
#include "auth/scheme/basic.h"

#define ROW(text, ...) {{(const uint8_t *)(text), sizeof(text) - 1}, __VA_ARGS__}

static bool parse(struct span plain, struct buf *user, struct buf *password, const char **why)
{
	struct buf text;
	bool well;

	buf_init(&text, 8000);
	buf_init(user, BASIC_MAX_BYTES);
	buf_init(password, BASIC_MAX_BYTES);
	base64_encode(plain, &text);
	assert_true(buf_is_whole(&text));
	well = basic_parse(buf_span(&text), user, password, why);
	buf_fini(&text);
	return well;
}

static void credentials_are_taken(void **state)
{
	static const struct {
		struct span text;
		const char *user, *password;
	} rows[] = {
		ROW("Aladdin:open sesame", "Aladdin", "open sesame"),
		ROW("test:123\xc2\xa3", "test", "123\xc2\xa3"),                    /* RFC 7617 section 2.1 */
		ROW("a:b:c", "a", "b:c"),
		ROW("a::", "a", ":"),
		ROW("ADTEST\\alice: x ", "ADTEST\\alice", " x "),
		ROW("alice@AD.TEST:x", "alice@AD.TEST", "x"),
		ROW("j\xc3\xbcrgen:gr\xc3\xbc\xc3\x9f", "j\xc3\xbcrgen", "gr\xc3\xbc\xc3\x9f"),
		ROW("j\xfcrgen:gr\xfc\xdf", "j\xc3\xbcrgen", "gr\xc3\xbc\xc3\x9f"), /* Latin-1 */
		/* One byte that is not UTF-8, and all of it is Latin-1. */
		ROW("j\xc3\xbcrgen:gr\xfc\xdf", "j\xc3\x83\xc2\xbcrgen", "gr\xc3\xbc\xc3\x9f"),
		ROW("a:\xf0\x9f\x94\x91", "a", "\xf0\x9f\x94\x91"),
		ROW("a:tab\there\x01", "a", "tab\there\x01"),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf user, password;
		const char *why;

		if (!parse(rows[i].text, &user, &password, &why))
			fail_msg("row %zu: %s", i, why);
		assert_null(why);
		if (!span_equal(buf_span(&user), span_from(rows[i].user)) ||
		    !span_equal(buf_span(&password), span_from(rows[i].password)))
			fail_msg("row %zu: \"%.*s\", \"%.*s\"", i, SPAN_ARG(buf_span(&user)), SPAN_ARG(buf_span(&password)));
		buf_fini(&user);
		buf_fini(&password);
	}
}

static void credentials_are_refused(void **state)
{
	static const struct {
		struct span text;
		const char *why;
	} rows[] = {
		ROW("alice", "there is no colon behind the user"),
		ROW(":secret", "the user is empty"),
		ROW(":", "the user is empty"),
		ROW("alice:", "the password is empty"),
		ROW("ali\0ce:secret", "there is a NUL in the credentials"),
		ROW("alice:sec\0ret", "there is a NUL in the credentials"),
		ROW("alice\n:secret", "there is a control character in the user"),
		ROW("\x7f:secret", "there is a control character in the user"),
		ROW("a\xc2\x85:secret", "there is a control character in the user"),
		ROW("a\x85:secret", "there is a control character in the user"),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf user, password;
		const char *why;

		if (parse(rows[i].text, &user, &password, &why))
			fail_msg("row %zu was taken", i);
		assert_string_equal(why, rows[i].why);
		buf_fini(&user);
		buf_fini(&password);
	}
}

static void what_is_no_base64_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"", "there are no credentials behind the scheme"},
		{"YTpi ", "the credentials are no base64"},
		{"YTpiYw", "the credentials are no base64"},
		{"YTpi, realm=\"x\"", "the credentials are no base64"},
		{"====", "the credentials are no base64"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf user, password;
		const char *why;

		buf_init(&user, BASIC_MAX_BYTES);
		buf_init(&password, BASIC_MAX_BYTES);
		assert_false(basic_parse(span_from(rows[i].text), &user, &password, &why));
		assert_string_equal(why, rows[i].why);
		buf_fini(&user);
		buf_fini(&password);
	}
}

/* A user and a password of these lengths, all of one byte. */
static const char *why_not(size_t user_len, size_t password_len, uint8_t byte)
{
	uint8_t text[6000];
	struct buf user, password;
	const char *why;

	assert_true(user_len + password_len < sizeof(text));
	memset(text, byte, sizeof(text));
	text[user_len] = ':';
	if (parse(span_of(text, user_len + 1 + password_len), &user, &password, &why)) {
		size_t width = byte < 0x80 ? 1 : 2;

		assert_int_equal(buf_len(&user), user_len * width);
		assert_int_equal(buf_len(&password), password_len * width);
	}
	buf_fini(&user);
	buf_fini(&password);
	return why;
}

static void lengths_are_bounded(void **state)
{
	(void)state;
	assert_null(why_not(1024, 1024, 'a'));
	assert_string_equal(why_not(1025, 1, 'a'), "the user is longer than 1024 bytes");
	assert_string_equal(why_not(1, 1025, 'a'), "the password is longer than 1024 bytes");
	/* As UTF-8 they are twice as long. */
	assert_null(why_not(512, 512, 0xe4));
	assert_string_equal(why_not(513, 1, 0xe4), "the user is longer than 1024 bytes");
	assert_string_equal(why_not(1, 513, 0xe4), "the password is longer than 1024 bytes");
	assert_string_equal(why_not(2000, 2000, 'a'), "the credentials are longer than any are");
	assert_string_equal(why_not(1024, 1025, 'a'), "the credentials are longer than any are");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(credentials_are_taken),
		cmocka_unit_test(credentials_are_refused),
		cmocka_unit_test(what_is_no_base64_is_refused),
		cmocka_unit_test(lengths_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
