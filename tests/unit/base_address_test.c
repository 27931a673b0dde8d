/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/address.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/problem.h"
#include "base/secret.h"

static const struct {
	const char *text, *canonical; /* canonical NULL: refused */
} addresses[] = {
	{"192.0.2.1", "192.0.2.1"},
	{"0.0.0.0", "0.0.0.0"},
	{"2001:DB8:0::1", "2001:db8::1"},
	{"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
	{"192.0.2", NULL},
	{"192.0.2.1.1", NULL},
	{"192.0.02.1", NULL},
	{"192.0.2.256", NULL},
	{"0x7f.0.0.1", NULL},
	{"127.1", NULL},
	{"192.0.2.1 ", NULL},
	{"", NULL},
	{"::1%lo", NULL},
	{"[::1]", NULL},
	{"1:2:3:4:5:6:7:8:9", NULL},
	{"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", NULL},
};

static void addresses_are_parsed_strictly(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(addresses); i++) {
		struct address address;
		struct buf text;
		bool ok = address_parse(span_from(addresses[i].text), &address);

		if (ok != (addresses[i].canonical != NULL))
			fail_msg("\"%s\"", addresses[i].text);
		if (!ok)
			continue;
		buf_init(&text, 100);
		address_format(&address, &text);
		assert_true(span_equal(buf_span(&text), span_from(addresses[i].canonical)));
		buf_fini(&text);
	}
}

static void ports_and_brackets(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} rows[] = {
		{"192.0.2.1:3128", true}, {"[::1]:3128", true},    {"::1:3128", false},
		{"[192.0.2.1]:1", false}, {"192.0.2.1", false},    {"192.0.2.1:65536", false},
		{"192.0.2.1:", false},    {"[::1]", false},        {"[::1:80", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct address address;
		struct sockaddr_storage storage;
		struct address back;
		struct buf text;

		if (address_parse_with_port(span_from(rows[i].text), &address) != rows[i].ok)
			fail_msg("\"%s\"", rows[i].text);
		if (!rows[i].ok)
			continue;
		assert_true(address_to_sockaddr(&address, &storage) > 0);
		address_from_sockaddr((struct sockaddr *)&storage, &back);
		buf_init(&text, 100);
		address_format_with_port(&back, &text);
		assert_true(span_equal(buf_span(&text), span_from(rows[i].text)));
		buf_fini(&text);
	}
}

static void networks_contain(void **state)
{
	static const struct {
		const char *network, *address; /* address NULL: the network is refused */
		bool inside;
	} rows[] = {
		{"10.0.0.0/8", "10.255.0.1:1", true},
		{"10.0.0.0/8", "11.0.0.0:1", false},
		{"10.1.0.0/9", NULL, false},
		{"10.0.0.0/33", NULL, false},
		{"10.0.0.0/", NULL, false},
		{"0.0.0.0/0", "203.0.113.9:1", true},
		{"0.0.0.0/0", "[2001:db8::1]:1", false},
		{"10.0.0.0/8", "[::ffff:10.1.2.3]:1", true},
		{"::ffff:0.0.0.0/96", "[::ffff:10.1.2.3]:1", true},
		{"2402:2500::/34", "[2402:2500:3fff::1]:1", true},
		{"[2402:2500::]/34", "[2402:2500:4000::1]:1", false},
		{"192.0.2.1", "192.0.2.1:9", true},
		{"192.0.2.1", "192.0.2.2:9", false},
		{"192.0.2.0/25:443", "192.0.2.9:443", true},
		{"192.0.2.0/25:443", "192.0.2.9:444", false},
		{"192.0.2.0/25:8000-8100", "192.0.2.9:8100", true},
		{"192.0.2.0/25:8100-8000", NULL, false},
		{"192.0.2.0/25:0", NULL, false},
		{"[fd00::]/8:443", "[fd12::1]:443", true},
		{"[fd00::]/8:443", "[fd12::1]:80", false},
		{"fd00::/8", "[fd12::1]:80", true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct network network;
		struct address address;
		bool ok = network_parse(span_from(rows[i].network), true, &network);

		if (ok != (rows[i].address != NULL))
			fail_msg("\"%s\"", rows[i].network);
		if (!ok)
			continue;
		assert_true(address_parse_with_port(span_from(rows[i].address), &address));
		if (network_has(&network, &address) != rows[i].inside)
			fail_msg("%s in %s", rows[i].address, rows[i].network);
	}
}

static void errors_are_one_table(void **state)
{
	(void)state;
	assert_string_equal(err_name(ERR_ORIGIN_REFUSED), "origin_refused");
	assert_string_equal(err_token(ERR_ORIGIN_REFUSED), "connection_refused");
	for (int err = 1; err < ERR_COUNT; err++) {
		assert_true(err_name((enum err)err)[0] != 0);
		assert_true(err_text((enum err)err)[0] != 0);
		/* Whatever can be answered can be explained to a program, too. */
		assert_int_equal(err_status((enum err)err) != 0, err_token((enum err)err) != NULL);
	}
}

static void hash_depends_on_everything(void **state)
{
	/* The published vector of SipHash-1-3 for the key 00 01 .. 0f and no bytes. */
	struct hash_key published = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};
	struct hash_key key = {{1, 2}}, other = {{1, 3}};
	uint8_t bytes[32] = {0};
	uint64_t base = hash_bytes(&key, span_of(bytes, sizeof(bytes)));

	(void)state;
	assert_true(hash_bytes(&published, SPAN("")) == 0xabac0158050fc4dc);
	assert_true(base == hash_bytes(&key, span_of(bytes, sizeof(bytes))));
	assert_true(base != hash_bytes(&other, span_of(bytes, sizeof(bytes))));
	assert_true(base != hash_bytes(&key, span_of(bytes, sizeof(bytes) - 1)));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = 1;
		assert_true(base != hash_bytes(&key, span_of(bytes, sizeof(bytes))));
		bytes[i] = 0;
	}
}

static void problems_are_all_kept_with_their_place(void **state)
{
	struct problems problems;
	struct buf text;

	(void)state;
	problems_init(&problems);
	problem_add(&problems, PROBLEM_ERROR, "a.yaml", 3, 5, "unknown key \"%s\"", "x");
	problem_add(&problems, PROBLEM_WARNING, "", 0, 0, "odd");
	buf_init(&text, 1 << 20);
	problems_format(&problems, &text);
	assert_true(span_equal(buf_span(&text),
	                       SPAN("a.yaml:3:5: error: unknown key \"x\" [configuration]\nwarning: odd [doubtful]\n")));
	for (int i = 0; i < 5000; i++)
		problem_add(&problems, PROBLEM_ERROR, "a.yaml", 1, 1, "again");
	assert_int_equal(problems.error_count, 5001);
	buf_reset(&text);
	problems_format(&problems, &text);
	assert_true(span_ends_with(buf_span(&text), SPAN("a.yaml: error: and 4901 more [configuration]\n")));
	buf_fini(&text);
	problems_fini(&problems);
}

static void secrets_compare(void **state)
{
	struct secret secret;
	uint8_t a[32] = {0}, b[32] = {0};

	(void)state;
	assert_true(secret_init(&secret, SPAN("hunter2")));
	assert_true(secret_equal(&secret, SPAN("hunter2")));
	assert_false(secret_equal(&secret, SPAN("hunter3")));
	assert_false(secret_equal(&secret, SPAN("hunter")));
	secret_fini(&secret);
	secret_random(a, sizeof(a));
	secret_random(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_parsed_strictly),
		cmocka_unit_test(ports_and_brackets),
		cmocka_unit_test(networks_contain),
		cmocka_unit_test(errors_are_one_table),
		cmocka_unit_test(hash_depends_on_everything),
		cmocka_unit_test(problems_are_all_kept_with_their_place),
		cmocka_unit_test(secrets_compare),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
