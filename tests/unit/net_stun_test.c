/* SPDX-License-Identifier: Apache-2.0 */
/* STUN: the messages of RFC 5769, each cut and damaged at every byte, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/stun.h"

#define COOKIE "\x21\x12\xa4\x42"
#define ID "\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae"
#define SOFTWARE "\x80\x22\x00\x0b" "test vector "
#define HEAD(type, len) type "\x00" len COOKIE ID

/* RFC 5769 sections 2.2 and 2.3. */
static const char response_v4[] = HEAD("\x01\x01", "\x3c") SOFTWARE
	"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"
	"\x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7"
	"\x80\x28\x00\x04\xc0\x7d\x4c\x96";
static const char response_v6[] = HEAD("\x01\x01", "\x48") SOFTWARE
	"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9"
	"\x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41"
	"\x80\x28\x00\x04\xc8\xfb\x0b\x4c";

#define BYTES(text) {(const uint8_t *)(text), sizeof(text) - 1}
#define ROW(name, text, ...) {name, BYTES(text), __VA_ARGS__}

static const struct good_row {
	const char *name;
	struct span bytes;
	uint16_t type, error_code;
	const char *mapped;
} good[] = {
	ROW("RFC 5769 2.2", response_v4, STUN_BINDING_SUCCESS, 0, "192.0.2.1:32853"),
	ROW("RFC 5769 2.3", response_v6, STUN_BINDING_SUCCESS, 0, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
	ROW("nothing in it", HEAD("\x01\x01", "\x00"), STUN_BINDING_SUCCESS, 0, NULL),
	ROW("an old one", HEAD("\x01\x01", "\x0c") "\x00\x01\x00\x08\x00\x01\x80\x55\xc0\x00\x02\x01",
	    STUN_BINDING_SUCCESS, 0, "192.0.2.1:32853"),
	ROW("masked and not", HEAD("\x01\x01", "\x18") "\x00\x01\x00\x08\x00\x01\x00\x01\x0a\x00\x00\x01"
	    "\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43", STUN_BINDING_SUCCESS, 0, "192.0.2.1:32853"),
	ROW("masked, then not", HEAD("\x01\x01", "\x18") "\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"
	    "\x00\x01\x00\x08\x00\x01\x00\x01\x0a\x00\x00\x01", STUN_BINDING_SUCCESS, 0, "192.0.2.1:32853"),
	ROW("401 of a relay", HEAD("\x01\x11", "\x08") "\x00\x09\x00\x04\x00\x00\x04\x01", STUN_BINDING_ERROR, 401, NULL),
	ROW("no such family", HEAD("\x01\x01", "\x0c") "\x00\x01\x00\x08\x00\x03\x80\x55\xc0\x00\x02\x01",
	    STUN_BINDING_SUCCESS, 0, NULL),
	ROW("half an address", HEAD("\x01\x01", "\x08") "\x00\x20\x00\x04\x00\x01\xa1\x47", STUN_BINDING_SUCCESS, 0, NULL),
	ROW("no such code", HEAD("\x01\x11", "\x08") "\x00\x09\x00\x04\x00\x00\x02\x01", STUN_BINDING_ERROR, 0, NULL),
	ROW("a request", HEAD("\x00\x01", "\x00"), STUN_BINDING_REQUEST, 0, NULL),
};

static const struct bad_row {
	const char *name;
	struct span bytes;
} bad[] = {
	{"empty", BYTES("")},
	{"RTP", BYTES("\x80\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
	{"another cookie", BYTES("\x01\x01\x00\x00\x21\x12\xa4\x43" ID)},
	{"no whole words", BYTES(HEAD("\x01\x01", "\x01") "\x00")},
	{"half an attribute", BYTES(HEAD("\x01\x01", "\x04") "\x00\x20\x00\x04")},
	{"an attribute beyond the end", BYTES(HEAD("\x01\x01", "\x08") "\x80\x22\x00\x05" "abcd")},
	{"longest attribute", BYTES(HEAD("\x01\x01", "\x08") "\x80\x22\xff\xff" "abcd")},
	{"wrong fingerprint", BYTES(HEAD("\x01\x01", "\x08") "\x80\x28\x00\x04\x00\x00\x00\x00")},
	{"short fingerprint", BYTES(HEAD("\x01\x01", "\x08") "\x80\x28\x00\x03\x00\x00\x00\x00")},
	{"empty fingerprint", BYTES(HEAD("\x01\x01", "\x04") "\x80\x28\x00\x00")},
};

static void check_mapped(const struct good_row *row, const struct address *mapped)
{
	struct buf text;

	buf_init(&text, 100);
	if (mapped->family)
		address_format_with_port(mapped, &text);
	if (!span_equal(buf_span(&text), span_from(row->mapped)))
		fail_msg("%s: %.*s", row->name, SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

static void good_ones_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		const struct good_row *row = &good[i];
		struct stun_message message;
		size_t bytes;

		if (!stun_parse(row->bytes, &message))
			fail_msg("%s: not taken", row->name);
		if (message.type != row->type || message.error_code != row->error_code)
			fail_msg("%s: type %x, error %u", row->name, message.type, message.error_code);
		assert_memory_equal(message.id, ID, STUN_ID_BYTES);
		check_mapped(row, &message.mapped);
		assert_int_equal(stun_header_shape(row->bytes, &bytes), STUN_SHAPE_WHOLE);
		assert_int_equal(bytes, row->bytes.len);
	}
}

static void bad_ones_are_not(void **state)
{
	struct stun_message message;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (stun_parse(bad[i].bytes, &message))
			fail_msg("%s: taken", bad[i].name);
}

/* Of a part nothing is known but the shape of what is there. */
static void parts_are_not_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		for (size_t len = 0; len < good[i].bytes.len; len++) {
			struct span part = span_first(good[i].bytes, len);
			struct stun_message message;
			size_t bytes;

			assert_false(stun_parse(part, &message));
			assert_int_equal(stun_header_shape(part, &bytes),
			                 len < STUN_HEADER_BYTES ? STUN_SHAPE_SHORT : STUN_SHAPE_WHOLE);
		}
}

/* The id and the address: what has become another length or another attribute may be no FINGERPRINT any more. */
static void a_fingerprint_guards_what_it_stands_behind(void **state)
{
	uint8_t damaged[sizeof(response_v6) - 1];
	struct stun_message message;

	(void)state;
	for (size_t i = 8; i < 60; i = i == STUN_HEADER_BYTES - 1 ? 40 : i + 1)
		for (int bit = 0; bit < 8; bit++) {
			memcpy(damaged, response_v6, sizeof(damaged));
			damaged[i] ^= (uint8_t)(1 << bit);
			if (stun_parse(span_of(damaged, sizeof(damaged)), &message))
				fail_msg("byte %zu, bit %d", i, bit);
		}
}

static void shapes_are_told_early(void **state)
{
	size_t bytes;

	(void)state;
	assert_int_equal(stun_header_shape(SPAN(""), &bytes), STUN_SHAPE_SHORT);
	assert_int_equal(stun_header_shape(SPAN("\x16\x03\x01\x00"), &bytes), STUN_SHAPE_SHORT);
	assert_int_equal(stun_header_shape(SPAN("\x16\x03\x01\x00\x00"), &bytes), STUN_SHAPE_OTHER);
	assert_int_equal(stun_header_shape(SPAN("\x80"), &bytes), STUN_SHAPE_OTHER);
	assert_int_equal(stun_header_shape(SPAN("GET "), &bytes), STUN_SHAPE_OTHER);
	assert_int_equal(stun_header_shape(SPAN("\x00\x01\x00\x00" COOKIE), &bytes), STUN_SHAPE_SHORT);
}

static void a_request_is_one(void **state)
{
	uint8_t request[STUN_REQUEST_BYTES];
	struct stun_message message;

	(void)state;
	stun_format_binding((const uint8_t *)ID, request);
	assert_true(stun_parse(span_of(request, sizeof(request)), &message));
	assert_int_equal(message.type, STUN_BINDING_REQUEST);
	assert_memory_equal(message.id, ID, STUN_ID_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones_are_read),
		cmocka_unit_test(bad_ones_are_not),
		cmocka_unit_test(parts_are_not_messages),
		cmocka_unit_test(a_fingerprint_guards_what_it_stands_behind),
		cmocka_unit_test(shapes_are_told_early),
		cmocka_unit_test(a_request_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
