/* SPDX-License-Identifier: Apache-2.0 */
/* The options of net/: what is taken and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/net_conf.h"

union any {
	struct dns_conf dns;
	struct destinations_conf destinations;
	struct listen_conf listen;
};

/* The errors of one text by one table. */
static size_t count_errors(const struct conf_option *options, const char *text, union any *out)
{
	struct arena arena;
	struct problems problems;
	size_t count;
	enum err err;

	arena_init(&arena, 1 << 18);
	problems_init(&problems);
	err = conf_load(span_from(text), "x.yaml", options, &arena, &problems, out, sizeof(*out));
	count = problems.error_count;
	assert_int_equal(err, count ? ERR_CONFIG : ERR_NONE);
	problems_fini(&problems);
	arena_fini(&arena);
	return count;
}

static void texts_have_so_many_errors(void **state)
{
	static const struct {
		const struct conf_option *options;
		const char *text;
		size_t errors;
	} rows[] = {
		{dns_options, "", 0},
		{dns_options, "servers: [system, 192.0.2.53, '192.0.2.53:5353', '[2001:db8::53]:53', '2001:db8::53']", 0},
		{dns_options, "servers: [dns.example]", 1},
		{dns_options, "hosts: {a.example: 192.0.2.1, b.example: '::1'}", 0},
		{dns_options, "hosts: {A.example: 192.0.2.1}", 1},
		{dns_options, "hosts: {'*.example': 192.0.2.1, .b.example: 192.0.2.1, '/c/': 192.0.2.1}", 3},
		{dns_options, "hosts: {a.example: b.example}", 1},
		{dns_options, "timeout: 1ms", 1},
		{destinations_options, "", 0},
		{destinations_options, "deny: []", 0},
		{destinations_options, "deny: [private, metadata]", 0},
		{destinations_options, "deny: [privat]", 1},
		{destinations_options, "deny: private", 1},
		{destinations_options, "deny:", 1},
		{destinations_options, "permit: [10.0.0.0/8, '10.0.0.0/8:443', '[fd00::]/8:1-2']", 0},
		{destinations_options, "permit: [example.com]", 1},
		{listen_options, "{name: a, address: '127.0.0.1:3128'}", 0},
		{listen_options, "{name: a, address: 'unix:run/x.sock', mode: 0600}", 0},
		{listen_options, "{name: a}", 1},
		{listen_options, "{address: '127.0.0.1:3128'}", 1},
		{listen_options, "{name: a, address: 3128}", 1},
		{listen_options, "{name: a, address: [x]}", 1},
		{listen_options, "{name: a, address: '127.0.0.1:3128', mode: 0999}", 1},
		{listen_options, "{name: a, address: '127.0.0.1:3128', mode: 07777}", 1},
		{listen_options, "{name: a, address: '127.0.0.1:3128', proxy_protocol: 10.0.0.0/8}", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		union any any;
		size_t errors = count_errors(rows[i].options, rows[i].text, &any);

		if (errors != rows[i].errors)
			fail_msg("\"%s\": %zu errors", rows[i].text, errors);
	}
}

static void defaults_deny_everything_inside(void **state)
{
	union any any;

	(void)state;
	assert_int_equal(count_errors(destinations_options, "", &any), 0);
	assert_int_equal(any.destinations.deny, 31);
	assert_int_equal(count_errors(destinations_options, "deny: [loopback]", &any), 0);
	assert_int_equal(any.destinations.deny, DESTINATION_LOOPBACK);
}

static void modes_are_octal(void **state)
{
	union any any;

	(void)state;
	assert_int_equal(count_errors(listen_options, "{name: a, address: 'unix:x'}", &any), 0);
	assert_int_equal(any.listen.mode, 0660);
	assert_int_equal(count_errors(listen_options, "{name: a, address: 'unix:x', mode: 0777}", &any), 0);
	assert_int_equal(any.listen.mode, 0777);
}

/* Neither of these is a mode; taken for 0, they would lock everybody out. */
static void a_mode_that_is_none_is_refused(void **state)
{
	union any any;

	(void)state;
	assert_int_equal(count_errors(listen_options, "{name: a, address: 'unix:x', mode: [0600]}", &any), 1);
	assert_int_equal(count_errors(listen_options, "{name: a, address: 'unix:x', mode: ''}", &any), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_have_so_many_errors),
		cmocka_unit_test(defaults_deny_everything_inside),
		cmocka_unit_test(modes_are_octal),
		cmocka_unit_test(a_mode_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
