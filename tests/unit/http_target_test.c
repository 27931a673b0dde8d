/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts and request targets in their one canonical form, or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/target.h"

static struct arena arena;

static int open_arena(void **state)
{
	(void)state;
	arena_init(&arena, 1 << 16);
	return 0;
}

static int close_arena(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

#define LABEL63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define NAME253 LABEL63 "." LABEL63 "." LABEL63 ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void hosts_have_one_form(void **state)
{
	static const struct {
		const char *text;
		uint16_t preset;
		const char *name; /* NULL: refused */
		uint16_t port, family;
	} rows[] = {
		{"a.example:443", 0, "a.example", 443, 0},
		{"A.Example:1", 0, "a.example", 1, 0},
		{"a.example.:65535", 0, "a.example", 65535, 0},
		{"a.example", 80, "a.example", 80, 0},
		{"localhost:80", 0, "localhost", 80, 0},
		{"xn--bcher-kva.example:443", 0, "xn--bcher-kva.example", 443, 0},
		{"_sip.a-b.example:443", 0, "_sip.a-b.example", 443, 0},
		{"1a.2b:443", 0, "1a.2b", 443, 0},
		{"1.a:443", 0, "1.a", 443, 0},
		{"a.0y:443", 0, "a.0y", 443, 0},
		{NAME253 ":1", 0, NAME253, 1, 0},
		{"192.0.2.1:443", 0, "192.0.2.1", 443, AF_INET},
		{"[2001:DB8::1]:443", 0, "2001:db8::1", 443, AF_INET6},
		{"[::1]", 80, "::1", 80, AF_INET6},
		{"[::ffff:192.0.2.1]:443", 0, "::ffff:192.0.2.1", 443, AF_INET6},

		{"a.example", 0, NULL, 0, 0},
		{"", 80, NULL, 0, 0},
		{":443", 0, NULL, 0, 0},
		{".:443", 0, NULL, 0, 0},
		{"a.example:", 80, NULL, 0, 0},
		{"a.example:0", 0, NULL, 0, 0},
		{"a.example:65536", 0, NULL, 0, 0},
		{"a.example:000443", 0, NULL, 0, 0},
		{"a.example:+443", 0, NULL, 0, 0},
		{"a.example:443a", 0, NULL, 0, 0},
		{"a.example:443:443", 0, NULL, 0, 0},
		{"a..example:443", 0, NULL, 0, 0},
		{".a.example:443", 0, NULL, 0, 0},
		{"a.example..:443", 0, NULL, 0, 0},
		{"user@a.example:443", 0, NULL, 0, 0},
		{"user:pass@a.example:443", 0, NULL, 0, 0},
		{"b\xc3\xbc" "cher.example:443", 0, NULL, 0, 0},
		{"a%2eexample:443", 0, NULL, 0, 0},
		{"a example:443", 0, NULL, 0, 0},
		{"a/b:443", 0, NULL, 0, 0},
		{"a\\b:443", 0, NULL, 0, 0},
		{"*.example:443", 0, NULL, 0, 0},
		{"a.example\t:443", 0, NULL, 0, 0},
		{"a.1:443", 0, NULL, 0, 0},
		{"a.0x1f:443", 0, NULL, 0, 0},
		{"a.0X:443", 0, NULL, 0, 0},
		{"2130706433:443", 0, NULL, 0, 0},
		{"0x7f000001:443", 0, NULL, 0, 0},
		{"127.1:443", 0, NULL, 0, 0},
		{"0177.0.0.1:443", 0, NULL, 0, 0},
		{"127.0.0.1.:443", 0, NULL, 0, 0},
		{"127.0.0.256:443", 0, NULL, 0, 0},
		{"[192.0.2.1]:443", 0, NULL, 0, 0},
		{"2001:db8::1:443", 0, NULL, 0, 0},
		{"[2001:db8::1]443", 0, NULL, 0, 0},
		{"[2001:db8::1:443", 0, NULL, 0, 0},
		{"[fe80::1%25eth0]:443", 0, NULL, 0, 0},
		{"[fe80::1%eth0]:443", 0, NULL, 0, 0},
		{"[v1.a]:443", 0, NULL, 0, 0},
		{"[]:443", 0, NULL, 0, 0},
		{"[a.example]:443", 0, NULL, 0, 0},
		{LABEL63 "a.example:443", 0, NULL, 0, 0},
		{NAME253 "a:1", 0, NULL, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct http_host host;
		enum err err = http_host_parse(span_from(rows[i].text), rows[i].preset, &arena, &host);

		if (rows[i].name == NULL) {
			if (err != ERR_REQUEST_AUTHORITY)
				fail_msg("\"%s\": %s", rows[i].text, err ? err_name(err) : "taken");
			continue;
		}
		if (err)
			fail_msg("\"%s\": %s", rows[i].text, err_name(err));
		if (!span_equal(host.name, span_from(rows[i].name)) || host.port != rows[i].port ||
		    host.address.family != rows[i].family ||
		    (rows[i].family && host.address.port != rows[i].port))
			fail_msg("\"%s\" is \"%.*s\" %u", rows[i].text, SPAN_ARG(host.name), host.port);
	}
}

static void targets_have_four_forms(void **state)
{
	static const struct {
		const char *method, *target;
		enum err err;
		enum http_target_form form;
		const char *name, *path;
		uint16_t port;
	} rows[] = {
		{"CONNECT", "a.example:443", ERR_NONE, HTTP_TARGET_AUTHORITY, "a.example", "", 443},
		{"CONNECT", "[::1]:443", ERR_NONE, HTTP_TARGET_AUTHORITY, "::1", "", 443},
		{"CONNECT", "a.example", ERR_REQUEST_AUTHORITY, 0, "", "", 0},
		{"CONNECT", "http://a.example/", ERR_REQUEST_AUTHORITY, 0, "", "", 0},
		{"CONNECT", "/", ERR_REQUEST_AUTHORITY, 0, "", "", 0},
		{"CONNECT", "*", ERR_REQUEST_AUTHORITY, 0, "", "", 0},
		{"GET", "http://a.example/x?y=z", ERR_NONE, HTTP_TARGET_ABSOLUTE, "a.example", "/x?y=z", 80},
		{"GET", "HTTP://A.EXAMPLE/X", ERR_NONE, HTTP_TARGET_ABSOLUTE, "a.example", "/X", 80},
		{"GET", "http://a.example:8080/", ERR_NONE, HTTP_TARGET_ABSOLUTE, "a.example", "/", 8080},
		{"GET", "http://a.example", ERR_NONE, HTTP_TARGET_ABSOLUTE, "a.example", "/", 80},
		{"GET", "http://a.example?q", ERR_NONE, HTTP_TARGET_ABSOLUTE, "a.example", "/?q", 80},
		{"GET", "http://[2001:db8::1]:81/", ERR_NONE, HTTP_TARGET_ABSOLUTE, "2001:db8::1", "/", 81},
		{"GET", "http://192.0.2.1/", ERR_NONE, HTTP_TARGET_ABSOLUTE, "192.0.2.1", "/", 80},
		{"GET", "http://a.example/http://b.example/", ERR_NONE, HTTP_TARGET_ABSOLUTE, "a.example", "/http://b.example/", 80},
		{"OPTIONS", "http://a.example", ERR_NONE, HTTP_TARGET_ABSOLUTE, "a.example", "*", 80},
		{"OPTIONS", "http://a.example/", ERR_NONE, HTTP_TARGET_ABSOLUTE, "a.example", "/", 80},
		{"OPTIONS", "*", ERR_NONE, HTTP_TARGET_ASTERISK, "", "", 0},
		{"GET", "*", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "/x?y", ERR_NONE, HTTP_TARGET_ORIGIN, "", "/x?y", 0},
		{"GET", "//a.example/", ERR_NONE, HTTP_TARGET_ORIGIN, "", "//a.example/", 0},
		{"GET", "https://a.example/", ERR_REQUEST_SCHEME, 0, "", "", 0},
		{"GET", "ftp://a.example/", ERR_REQUEST_SCHEME, 0, "", "", 0},
		{"GET", "://a.example/", ERR_REQUEST_SCHEME, 0, "", "", 0},
		{"GET", "a.example:443", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "a.example", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "http:/a.example/", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "http:///x", ERR_REQUEST_AUTHORITY, 0, "", "", 0},
		{"GET", "http://", ERR_REQUEST_AUTHORITY, 0, "", "", 0},
		{"GET", "http://user@a.example/", ERR_REQUEST_AUTHORITY, 0, "", "", 0},
		{"GET", "http://a.example\\@b.example/", ERR_REQUEST_AUTHORITY, 0, "", "", 0},
		{"GET", "http://a.example:0/", ERR_REQUEST_AUTHORITY, 0, "", "", 0},
		{"GET", "http://a.example#x", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "/x#y", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "http://a.example/\xc3\xbc", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "http://b\xc3\xbc" "cher.example/", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "/a b", ERR_REQUEST_TARGET, 0, "", "", 0},
		{"GET", "/a\x7f", ERR_REQUEST_TARGET, 0, "", "", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct http_target target;
		enum err err = http_target_parse(span_from(rows[i].method), span_from(rows[i].target),
		                                 &arena, &target);

		if (err != rows[i].err)
			fail_msg("%s \"%s\": %s", rows[i].method, rows[i].target,
			         err ? err_name(err) : "taken");
		if (err)
			continue;
		if (target.form != rows[i].form || target.host.port != rows[i].port ||
		    !span_equal(target.host.name, span_from(rows[i].name)) ||
		    !span_equal(target.path, span_from(rows[i].path)))
			fail_msg("%s \"%s\" is form %d \"%.*s\" %u \"%.*s\"", rows[i].method,
			         rows[i].target, (int)target.form, SPAN_ARG(target.host.name),
			         target.host.port, SPAN_ARG(target.path));
	}
}

static void memory_is_bounded(void **state)
{
	struct http_target target;

	(void)state;
	arena_init(&arena, 8);
	assert_int_equal(http_target_parse(SPAN("GET"), SPAN("http://a.example/"), &arena, &target),
	                 ERR_SESSION_MEMORY);
}

int main(void)
{
#define ONE(name) cmocka_unit_test_setup_teardown(name, open_arena, close_arena)
	const struct CMUnitTest tests[] = {
		ONE(hosts_have_one_form),
		ONE(targets_have_four_forms),
		ONE(memory_is_bounded),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
