/* SPDX-License-Identifier: Apache-2.0 */
/* What is no TLS: each protocol by what its clients begin with, after no more bytes than are needed, and never otherwise with
 * more of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tls/hello.h"

#define ROW(class, needed, text) {HELLO_##class, needed, {(const uint8_t *)(text), sizeof(text) - 1}}
#define LONG_PATH "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* The class, after how many bytes it is known, and what is said. */
static const struct row {
	enum hello_class class;
	size_t needed;
	struct span said;
} rows[] = {
	ROW(SSLV2, 5, "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"),
	ROW(SSLV2, 5, "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"),
	ROW(DTLS, 3, "\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x50\x01"),
	ROW(DTLS, 5, "\x00\x99\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x50\x01"),
	ROW(HTTP, 5, "GET / HTTP/1.1\r\n\r\n"),
	ROW(HTTP, 7, "\r\nGET / HTTP/1.1\r\n"),
	ROW(HTTP, 6, "POST /" LONG_PATH " HTTP/1.1\r\n"),
	ROW(HTTP, 11, "GET http://" LONG_PATH ".test/ HTTP/1.1\r\n"),
	ROW(HTTP, 31, "CONNECT www.a.test:443 HTTP/1.1\r\n"),
	ROW(HTTP, 8, "SEARCH /x HTTP/1.1\r\n"),
	ROW(HTTP, 17, "FOO /bar HTTP/1.0\r\n"),
	ROW(HTTP, 18, "OPTIONS * HTTP/1.1\r\n"),
	ROW(UNKNOWN, 11, "OPTIONS * RTSP/1.0\r\n"),
	ROW(UNKNOWN, 29, "OPTIONS rtsp://a.test/video RTSP/1.0\r\n"),
	ROW(UNKNOWN, HELLO_CLASSIFY_MAX_BYTES, "FOO /" LONG_PATH " HTTP/1.1\r\n"),
	ROW(H2C, 16, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	ROW(SSH, 4, "SSH-2.0-OpenSSH_9.2\r\n"),
	ROW(UNKNOWN, 8, "SSH 2.0\r\n"),
	ROW(STUN, 8, "\x00\x01\x00\x00\x21\x12\xa4\x42" "0123456789ab"),
	ROW(STUN, 10, "\x00\x1c\x00\x01\x00\x08\x21\x12\xa4\x42" "0123456789ab\x80\x22\x00\x04node"),
	ROW(UNKNOWN, 6, "\x00\x14\x00\x01\x00\x08\x21\x12\xa4\x42" "0123456789ab"),
	ROW(RTP, 4, "\x00\xac\x80\x60\x12\x34\x00\x00\x00\x00\xde\xad\xbe\xef"),
	ROW(RTP, 6, "\x00\x1c\x80\xc8\x00\x06\x12\x34\x56\x78"),
	ROW(UNKNOWN, 6, "\x00\x1c\x80\xc8\x00\x46\x12\x34\x56\x78"),
	ROW(UNKNOWN, 4, "\x00\x0c\x8f\x60\x12\x34"),
	ROW(RDP, 6, "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"),
	ROW(UNKNOWN, 6, "\x03\x00\x00\x13\x08\x02\x00\x00"),
	ROW(BITTORRENT, 20, "\x13" "BitTorrent protocol\0\0\0\0\0\0\0\0"),
	ROW(SOCKS, 3, "\x05\x01\x00"),
	ROW(SOCKS, 5, "\x05\x03\x00\x01\x02"),
	ROW(SOCKS, 9, "\x04\x01\x01\xbb\xc0\x00\x02\x01\x00"),
	ROW(SOCKS, 11, "\x04\x01\x01\xbb\x00\x00\x00\x01me\x00" "a.test\0"),
	ROW(UNKNOWN, 3, "\x05\x01\x55"),
	ROW(UNKNOWN, 12, "EHLO a.test\r\n"),
	ROW(UNKNOWN, 3, "\xff\xff\xff\xff"),
	ROW(SSLTCP, 64, "\x80\x46\x01\x03\x01\x00\x2d\x00\x00\x00\x10\x01\x00\x80\x03\x00\x80\x07\x00\xc0\x06\x00\x40\x02\x00\x80\x04\x00"
	    "\x80\x00\x00\x04\x00\xfe\xff\x00\x00\x0a\x00\xfe\xfe\x00\x00\x09\x00\x00\x64\x00\x00\x62\x00\x00\x03\x00\x00\x06"
	    "\x1f\x17\x0c\xa6\x2f\x00\x78\xfc\x46\x55\x2e\xb1\x83\x39\xf1\xea"),
	ROW(SSLV2, 57, "\x80\x46\x01\x03\x01\x00\x2d\x00\x00\x00\x10\x01\x00\x80\x03\x00\x80\x07\x00\xc0\x06\x00\x40\x02\x00\x80\x04\x00"
	    "\x80\x00\x00\x04\x00\xfe\xff\x00\x00\x0a\x00\xfe\xfe\x00\x00\x09\x00\x00\x64\x00\x00\x62\x00\x00\x03\x00\x00\x06"
	    "another challenge"),
	/* Much like TLS, and none. */
	ROW(UNKNOWN, 2, "\x16\x02\x01\x00\x10\x01"),
	ROW(UNKNOWN, 5, "\x16\x03\x01\x50\x10\x01"),
	ROW(UNKNOWN, 6, "\x16\x03\x01\x00\x10\x02"),
	ROW(UNKNOWN, 2, "\x17\x03\x03\x00\x10\x01"),
};

static struct row seen(const struct row *row, size_t len, enum hello_state *state)
{
	struct hello hello = {.class = HELLO_TLS};
	struct row seen = {.class = HELLO_TLS};

	*state = hello_read(&hello, span_first(row->said, len));
	seen.class = hello.class;
	hello_fini(&hello);
	return seen;
}

static void is_known_when_it_is_certain(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		size_t needed = 0;
		enum hello_state state = HELLO_MORE;

		for (size_t len = 1; len <= rows[i].said.len; len++) {
			struct row now = seen(&rows[i], len, &state);

			if (state == HELLO_MORE)
				continue;
			needed = needed ? needed : len;
			if (state != HELLO_OTHER || now.class != rows[i].class)
				fail_msg("row %zu: %s after %zu bytes", i, hello_class_name(now.class), len);
		}
		if (needed != rows[i].needed)
			fail_msg("row %zu: known after %zu bytes, not %zu", i, needed, rows[i].needed);
	}
}

static void calls_are_known_by_their_first_bytes(void **unused)
{
	static const struct {
		enum hello_call call;
		struct span said;
	} calls[] = {
#define CALL(call, text) {HELLO_CALL_##call, {(const uint8_t *)(text), sizeof(text) - 1}}
		CALL(YES, "\x00\x01\x00\x00\x21\x12\xa4\x42" "0123456789ab"),
		CALL(YES, "\x00\x03\x00\x08\x21\x12\xa4\x42" "0123456789ab\x00\x19\x00\x04\x11\0\0\0"), /* Allocate */
		CALL(YES, "\x00\x1c\x00\x01\x00\x08\x21\x12\xa4\x42" "0123456789ab\x80\x22\x00\x04node"),
		CALL(YES, "\x00\x99\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x50\x01"),
		CALL(NO, "\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x50\x01"),
		CALL(LIKELY, "\x00\xac\x80\x60\x12\x34\x00\x00\x00\x00\xde\xad\xbe\xef"),
		CALL(LIKELY, "\x00\x1c\x80\xc8\x00\x06\x12\x34\x56\x78"),
		CALL(OPEN, "\x00\xac\x80"),
		CALL(OPEN, "\x00"),
		CALL(OPEN, ""),
		CALL(NO, "\x16\x03\x01\x02\x00\x01"),
		CALL(NO, "GET / HTTP/1.1\r\n"),
		CALL(NO, "SSH-2.0-x\r\n"),
		CALL(NO, "\x40\x00\x00\x04media"), /* ChannelData: nobody begins with it */
		CALL(NO, "\x03\x00\x00\x13\x0e\xe0\x00\x00"),
#undef CALL
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		enum hello_class class;

		if (hello_call_of(calls[i].said, &class) != calls[i].call)
			fail_msg("row %zu: %d, %s", i, (int)hello_call_of(calls[i].said, &class), hello_class_name(class));
	}
}

static void letters_are_not_guessed(void **unused)
{
	static const char *const open[] = {"S", "SS", "SSH", "P", "PRI * HTTP/", "G", "GET ", "\r", "\x16", "\x16\x03\x01\x00\x10",
	                                   "\x80\x2e\x01\x03", "\x05", "\x05\x02\x01", "\x04\x01\x01\xbb"};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(open); i++) {
		struct hello hello = {.class = HELLO_TLS};

		if (hello_read(&hello, span_from(open[i])) != HELLO_MORE)
			fail_msg("\"%s\" is %s", open[i], hello_class_name(hello.class));
		hello_fini(&hello);
	}
}

static void classes_have_names(void **unused)
{
	(void)unused;
	assert_string_equal(hello_class_name(HELLO_SERVER_FIRST), "server-first");
	assert_string_equal(hello_class_name(HELLO_TLS), "tls");
	assert_string_equal(hello_class_name(HELLO_CLASS_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_known_when_it_is_certain),
		cmocka_unit_test(calls_are_known_by_their_first_bytes),
		cmocka_unit_test(letters_are_not_guessed),
		cmocka_unit_test(classes_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
