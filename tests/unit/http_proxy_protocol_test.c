/* SPDX-License-Identifier: Apache-2.0 */
/* The PROXY protocol header: good and bad ones, and every good one cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/proxy_protocol.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4_BLOCK "\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\x57\x01\xbb"
#define V6_BLOCK \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01" \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x04\x57\x01\xbb"

#define ROW(name, text, ...) {name, {(const uint8_t *)(text), sizeof(text) - 1}, __VA_ARGS__}

static const struct good_row {
	const char *name;
	struct span text;
	bool local;
	const char *client, *listener;
} good[] = {
	ROW("v1 TCP4", "PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\r\n", false, "192.0.2.1:1111", "192.0.2.2:443"),
	ROW("v1 TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 1111 443\r\n", false, "[2001:db8::1]:1111", "[2001:db8::2]:443"),
	ROW("v1 longest", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff2 65535 65535\r\n", false, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff2]:65535"),
	ROW("v1 UNKNOWN", "PROXY UNKNOWN\r\n", true, NULL, NULL),
	ROW("v1 UNKNOWN with addresses", "PROXY UNKNOWN ffff:f::1 ffff:f::2 65535 65535\r\n", true, NULL, NULL),
	ROW("v2 TCP4", SIGNATURE "\x21\x11\x00\x0c" V4_BLOCK, false, "192.0.2.1:1111", "192.0.2.2:443"),
	ROW("v2 TCP6", SIGNATURE "\x21\x21\x00\x24" V6_BLOCK, false, "[2001:db8::1]:1111", "[2001:db8::2]:443"),
	ROW("v2 TCP4 with a TLV", SIGNATURE "\x21\x11\x00\x11" V4_BLOCK "\x04\x00\x02\xaa\xbb", false, "192.0.2.1:1111", "192.0.2.2:443"),
	ROW("v2 LOCAL", SIGNATURE "\x20\x00\x00\x00", true, NULL, NULL),
	ROW("v2 LOCAL with a block", SIGNATURE "\x20\x11\x00\x0c" V4_BLOCK, true, NULL, NULL),
	ROW("v2 UNSPEC", SIGNATURE "\x21\x00\x00\x00", true, NULL, NULL),
};

static bool is_address(const struct address *address, const char *want)
{
	struct buf text;
	bool same;

	buf_init(&text, 100);
	address_format_with_port(address, &text);
	same = span_equal(buf_span(&text), span_from(want));
	buf_fini(&text);
	return same;
}

static void check_good(const struct good_row *row, struct span bytes)
{
	struct address client, listener;
	size_t used;
	bool local;
	enum err err = proxy_protocol_parse(bytes, &used, &local, &client, &listener);

	if (err || used != row->text.len || local != row->local)
		fail_msg("%s: %s, %zu bytes, local %d", row->name, err ? err_name(err) : "taken", used,
		         local);
	if (row->client && (!is_address(&client, row->client) || !is_address(&listener, row->listener)))
		fail_msg("%s: wrong address", row->name);
}

static void good_headers_are_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct buf more;

		check_good(&good[i], good[i].text);
		buf_init(&more, 2000);
		buf_add(&more, good[i].text);
		buf_add(&more, SPAN("GET / HTTP/1.1\r\n\r\n"));
		check_good(&good[i], buf_span(&more));
		buf_fini(&more);
	}
}

static void a_part_is_waited_for(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		for (size_t len = 0; len < good[i].text.len; len++) {
			/* An exact allocation, so that a read behind the end is seen. */
			uint8_t *copy = malloc(len ? len : 1);
			struct address client, listener;
			size_t used = 1;
			bool local;
			enum err err;

			memcpy(copy, good[i].text.at, len);
			err = proxy_protocol_parse(span_of(copy, len), &used, &local, &client, &listener);
			free(copy);
			if (err || used)
				fail_msg("%s, %zu bytes: %s, used %zu", good[i].name, len,
				         err ? err_name(err) : "taken", used);
		}
	}
}

static void bad_headers_are_refused(void **state)
{
	static const struct {
		const char *name;
		struct span text;
		int unused;
	} rows[] = {
		ROW("a request", "GET / HTTP/1.1\r\n", 0),
		ROW("a hello", "\x16\x03\x01", 0),
		ROW("empty lines", "\r\n\r\nGET", 0),
		ROW("small letters", "proxy TCP4 192.0.2.1 192.0.2.2 1111 443\r\n", 0),
		ROW("two spaces", "PROXY  TCP4 192.0.2.1 192.0.2.2 1111 443\r\n", 0),
		ROW("no protocol", "PROXY \r\n", 0),
		ROW("UDP", "PROXY UDP4 192.0.2.1 192.0.2.2 1111 443\r\n", 0),
		ROW("family differs", "PROXY TCP6 192.0.2.1 192.0.2.2 1111 443\r\n", 0),
		ROW("families mixed", "PROXY TCP4 192.0.2.1 2001:db8::2 1111 443\r\n", 0),
		ROW("a name", "PROXY TCP4 a.example 192.0.2.2 1111 443\r\n", 0),
		ROW("no port", "PROXY TCP4 192.0.2.1 192.0.2.2 1111\r\n", 0),
		ROW("port too large", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n", 0),
		ROW("port with a sign", "PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n", 0),
		ROW("too much", "PROXY TCP4 192.0.2.1 192.0.2.2 1111 443 x\r\n", 0),
		ROW("space at the end", "PROXY TCP4 192.0.2.1 192.0.2.2 1111 443 \r\n", 0),
		ROW("LF alone", "PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\n", 0),
		ROW("107 bytes without an end", "PROXY UNKNOWN aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0),
		ROW("v2 of version 1", SIGNATURE "\x11\x11\x00\x0c" V4_BLOCK, 0),
		ROW("v2 of version 3", SIGNATURE "\x31", 0),
		ROW("v2 of another command", SIGNATURE "\x22\x11\x00\x0c" V4_BLOCK, 0),
		ROW("v2 with a short block", SIGNATURE "\x21\x11\x00\x0b" V4_BLOCK, 0),
		ROW("v2 without a block", SIGNATURE "\x21\x11\x00\x00", 0),
		ROW("v2 TCP6 with a block of TCP4", SIGNATURE "\x21\x21\x00\x0c" V4_BLOCK, 0),
		ROW("v2 too long", SIGNATURE "\x21\x11\xff\xff", 0),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct address client, listener;
		size_t used;
		bool local;
		enum err err = proxy_protocol_parse(rows[i].text, &used, &local, &client, &listener);

		if (err != ERR_PROXY_PROTOCOL || used)
			fail_msg("%s: %s, used %zu", rows[i].name, err ? err_name(err) : "taken", used);
	}
}

static void the_longest_header_fits_the_stated_maximum(void **state)
{
	static const char start[] = SIGNATURE "\x21\x11\x02\x08" V4_BLOCK;
	uint8_t bytes[PROXY_PROTOCOL_MAX_BYTES] = {0};
	struct address client, listener;
	size_t used;
	bool local;

	(void)state;
	memcpy(bytes, start, sizeof(start) - 1);
	assert_int_equal(proxy_protocol_parse(span_of(bytes, sizeof(bytes)), &used, &local, &client,
	                                      &listener), ERR_NONE);
	assert_int_equal(used, PROXY_PROTOCOL_MAX_BYTES);
	bytes[15] = 9;
	assert_int_equal(proxy_protocol_parse(span_of(bytes, sizeof(bytes)), &used, &local, &client,
	                                      &listener), ERR_PROXY_PROTOCOL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_headers_are_taken),
		cmocka_unit_test(a_part_is_waited_for),
		cmocka_unit_test(bad_headers_are_refused),
		cmocka_unit_test(the_longest_header_fits_the_stated_maximum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
