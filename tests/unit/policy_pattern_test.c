/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns and lines of lists, as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/pattern.h"

static void patterns_have_one_canonical_form(void **state)
{
	static const struct {
		const char *text;
		int kind; /* -1: refused */
		const char *canonical;
	} rows[] = {
		{"idbroker.webex.com", PATTERN_EXACT, "idbroker.webex.com"},
		{"IDBroker.WebEx.com.", PATTERN_EXACT, "idbroker.webex.com"},
		{"localhost.", PATTERN_EXACT, "localhost"},
		{"_sip._tcp.example.com", PATTERN_EXACT, "_sip._tcp.example.com"},
		{"b\xc3\xbc" "cher.example", PATTERN_EXACT, "xn--bcher-kva.example"},
		{"B\xc3\x9c" "CHER.example", PATTERN_EXACT, "xn--bcher-kva.example"},
		{"fa\xc3\x9f.example", PATTERN_EXACT, "xn--fa-hia.example"},
		{"*.wbx2.com", PATTERN_BELOW, "*.wbx2.com"},
		{"*.b\xc3\xbc" "cher.example", PATTERN_BELOW, "*.xn--bcher-kva.example"},
		{".example.com", PATTERN_SUFFIX, ".example.com"},
		{".com", PATTERN_SUFFIX, ".com"},
		{"*mcs*.webex.com", PATTERN_GLOB, "*mcs*.webex.com"},
		{"*.a*.webex.com", PATTERN_GLOB, "*.a*.webex.com"},
		{"170.72.0.0/16", PATTERN_NETWORK, "170.72.0.0/16"},
		{"170.72.0.1", PATTERN_NETWORK, "170.72.0.1"},
		{"170.72.0.1/32", PATTERN_NETWORK, "170.72.0.1"},
		{"0.0.0.0/0", PATTERN_NETWORK, "0.0.0.0/0"},
		{"[2402:2500::]/34", PATTERN_NETWORK, "2402:2500::/34"},
		{"2402:2500:0::/34", PATTERN_NETWORK, "2402:2500::/34"},
		{"::1", PATTERN_NETWORK, "::1"},
		{"::ffff:10.0.0.0/104", PATTERN_NETWORK, "10.0.0.0/8"},
		{"[::ffff:10.1.2.3]", PATTERN_NETWORK, "10.1.2.3"},
		{"::ffff:0:0/96", PATTERN_NETWORK, "0.0.0.0/0"},
		{"::fffe:0:0/95", PATTERN_NETWORK, "::fffe:0:0/95"},
		{"/^cdn\\d+\\.example\\.net$/", PATTERN_REGEX, "/^cdn\\d+\\.example\\.net$/"},
		{"", -1, NULL},
		{".", -1, NULL},
		{"*", -1, NULL},
		{"*.", -1, NULL},
		{"..com", -1, NULL},
		{"a..b", -1, NULL},
		{"a.b..", -1, NULL},
		{"*..b", -1, NULL},
		{"exa mple.com", -1, NULL},
		{"example.com:443", -1, NULL},
		{"http://example.com", -1, NULL},
		{"user@example.com", -1, NULL},
		{"1.2.3", -1, NULL},
		{"1.2.3.4.5", -1, NULL},
		{"170.72.1.0/8", -1, NULL},
		{"170.72.0.0/33", -1, NULL},
		{"10.0.0.256", -1, NULL},
		{"example.1", -1, NULL},
		{"[::1", -1, NULL},
		{"2402::/129", -1, NULL},
		{"//", -1, NULL},
		{"/abc", -1, NULL},
		{"/", -1, NULL},
		{"\xff.example", -1, NULL},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example", -1, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct pattern pattern;
		const char *why = NULL;
		size_t at = 0;
		bool ok = pattern_parse(span_from(rows[i].text), &pattern, &why, &at);

		if (ok != (rows[i].kind >= 0))
			fail_msg("\"%s\" is %s", rows[i].text, ok ? "taken" : why);
		if (!ok) {
			assert_non_null(why);
			assert_true(at <= strlen(rows[i].text) + 2);
			continue;
		}
		if ((int)pattern.kind != rows[i].kind ||
		    !span_equal(span_of(pattern.text, pattern.text_len), span_from(rows[i].canonical)))
			fail_msg("\"%s\" is kind %d \"%.*s\"", rows[i].text, (int)pattern.kind,
			         (int)pattern.text_len, pattern.text);
	}
}

/* Who has another syntax in mind is told this one. */
static void other_syntax_is_explained(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"http://foo.com/", "without http://"},     {"https://foo.com", "without http://"},
		{"*.foo.com:443", "ports=443"},             {"a.com:8443", "ports=443"},
		{"10.0.0.1:443", "ports=443"},              {"[::1]:443", "ports=443"},
		{"lists/foo.list", "named under lists:"},   {"foo.com/x", "without a path"},
		{"/lists/foo.list", "named under lists:"},  {"10.0.0.1/8", "bits behind"},
		{"fd00::1/8", "bits behind"},               {"a:b", "network"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct pattern pattern;
		const char *why = "";
		size_t at;

		assert_false(pattern_parse(span_from(rows[i].text), &pattern, &why, &at));
		if (strstr(why, rows[i].why) == NULL)
			fail_msg("\"%s\": %s", rows[i].text, why);
	}
}

static void names_have_253_bytes_at_most(void **state)
{
	struct pattern pattern;
	const char *why;
	char name[260];
	size_t at;

	(void)state;
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 64 == 63 ? '.' : 'a';
	assert_true(pattern_parse(span_of(name, 253), &pattern, &why, &at));
	name[253] = 'a';
	assert_false(pattern_parse(span_of(name, 254), &pattern, &why, &at));
}

static void globs_stay_inside_a_label(void **state)
{
	static const struct {
		const char *glob, *name;
		bool match;
	} rows[] = {
		{"*mcs*.webex.com", "mcs.webex.com", true},
		{"*mcs*.webex.com", "amcs1.webex.com", true},
		{"*mcs*.webex.com", "mc.webex.com", false},
		{"*mcs*.webex.com", "a.mcs.webex.com", false},
		{"*mcs*.webex.com", "mcs.a.webex.com", false},
		{"*mcs*.webex.com", "webex.com", false},
		{"*mcs*.webex.com", "mcs.webex.com.evil", false},
		{"a*b*c.x", "abc.x", true},
		{"a*b*c.x", "aXXbbYc.x", true},
		{"a*b*c.x", "acb.x", false},
		{"*.a*.x", "q.abc.x", true},
		{"*.a*.x", "p.q.abc.x", true},
		{"*.a*.x", "abc.x", false},
		{"*.*.a*.x", "p.q.abc.x", true},
		{"*.*.a*.x", "o.p.q.abc.x", true},
		{"*.*.a*.x", "q.abc.x", false},
		{"*.*.a*.x", "abc.x", false},
		{"*.*.a*.x", "p.q.b.x", false},
		{"*.*.*", "a.b.c", true},
		{"*.*.*", "a.b", false},
		{"cdn*", "cdn", true},
		{"cdn*", "cdn.x", false},
		{"x.*", "x.com", true},
		{"x.*", "x", false},
		{"a**b.x", "ab.x", true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (pattern_glob_matches(span_from(rows[i].glob), span_from(rows[i].name)) !=
		    rows[i].match)
			fail_msg("%s and %s", rows[i].glob, rows[i].name);
}

static void ports_are_numbers_and_ranges(void **state)
{
	static const struct {
		const char *text;
		size_t count; /* 0: refused */
		uint16_t last_first, last_last;
	} rows[] = {
		{"443", 1, 443, 443},
		{"443,5004", 2, 5004, 5004},
		{"443,33434-33598", 2, 33434, 33598},
		{"1-65535", 1, 1, 65535},
		{"", 0, 0, 0},
		{"0", 0, 0, 0},
		{"65536", 0, 0, 0},
		{"443,", 0, 0, 0},
		{",443", 0, 0, 0},
		{"500-400", 0, 0, 0},
		{"-5", 0, 0, 0},
		{"5-", 0, 0, 0},
		{"1-2-3", 0, 0, 0},
		{"443 5004", 0, 0, 0},
		{"https", 0, 0, 0},
		{"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", 16, 16, 16},
		{"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct image_ports ports[PATTERN_PORTS_MAX];
		size_t count;
		bool ok = pattern_ports_parse(span_from(rows[i].text), ports, COUNT_OF(ports), &count);

		if (ok != (rows[i].count > 0) || (ok && count != rows[i].count))
			fail_msg("\"%s\"", rows[i].text);
		if (ok && (ports[count - 1].first != rows[i].last_first ||
		           ports[count - 1].last != rows[i].last_last))
			fail_msg("\"%s\" is %u-%u", rows[i].text, ports[count - 1].first,
			         ports[count - 1].last);
	}
}

static void dates_end_with_their_day(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms; /* 0: refused */
	} rows[] = {
		{"2026-12-31", UINT64_C(1798761600000)},
		{"2026-12-31T18:00:00Z", UINT64_C(1798740000000)},
		{"2026-12-31T18:00Z", UINT64_C(1798740000000)},
		{"2028-02-29", UINT64_C(1835481600000)},
		{"2026-02-30", 0},
		{"2026-13-01", 0},
		{"2026-00-01", 0},
		{"31.12.2026", 0},
		{"2026-12-31T18:00:00", 0},
		{"2026-12-31T25:00:00Z", 0},
		{"2026-12-31 ", 0},
		{"tomorrow", 0},
		{"", 0},
		{"2026-12-31T18:00:00ZZZZZZZZZZZZZZZZZZZZZZZZZ", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint64_t ms = 0;
		bool ok = pattern_date_parse(span_from(rows[i].text), &ms);

		if (ok != (rows[i].ms > 0) || (ok && ms != rows[i].ms))
			fail_msg("\"%s\" is %llu", rows[i].text, (unsigned long long)ms);
	}
}

static void lines_have_fields_and_free_text(void **state)
{
	struct pattern_line line;
	const char *why;
	size_t at;

	(void)state;
	assert_true(pattern_line_parse(
		SPAN("\t*.wbx2.com  owner=\"Jane Doe\" ticket=IT-1 ports=443,5004\texpires=2026-12-31 # x=y\r"),
		&line, &why, &at));
	assert_false(line.is_empty);
	assert_int_equal(line.pattern.kind, PATTERN_BELOW);
	assert_true(span_equal(line.owner, SPAN("Jane Doe")));
	assert_true(span_equal(line.ticket, SPAN("IT-1")));
	assert_int_equal(line.port_count, 2);
	assert_int_equal(line.expires_ms, UINT64_C(1798761600000));
	assert_true(pattern_line_parse(SPAN("  # only a comment"), &line, &why, &at));
	assert_true(line.is_empty);
	assert_true(pattern_line_parse(SPAN("\r"), &line, &why, &at));
	assert_true(line.is_empty);
	assert_true(pattern_line_parse(SPAN("example.com"), &line, &why, &at));
	assert_int_equal(line.port_count, 0);
	assert_int_equal(line.expires_ms, 0);
}

/* Who published it, and when somebody looked last; both are gone on the next line. */
static void lines_say_where_they_were_read(void **state)
{
	struct pattern_line line;
	const char *why;
	size_t at;

	(void)state;
	assert_true(pattern_line_parse(
		SPAN("*.webex.com source=https://help.webex.com/a?b=c#d read=2026-12-31 # e"), &line, &why, &at));
	assert_true(span_equal(line.source, SPAN("https://help.webex.com/a?b=c#d")));
	assert_int_equal(line.read_ms, UINT64_C(1798761600000));
	assert_true(pattern_line_parse(SPAN("*.webex.com source=\"a guide, page 7\" read=2026-12-31T18:00Z"),
	                               &line, &why, &at));
	assert_true(span_equal(line.source, SPAN("a guide, page 7")));
	assert_int_equal(line.read_ms, UINT64_C(1798740000000));
	assert_true(pattern_line_parse(SPAN("example.com"), &line, &why, &at));
	assert_int_equal(line.source.len, 0);
	assert_int_equal(line.read_ms, 0);
}

static void bad_lines_say_where(void **state)
{
	static const struct {
		const char *text;
		size_t at;
	} rows[] = {
		{"exa$mple.com", 0},
		{"  exa$mple.com", 2},
		{"*.exa$mple.com", 2},
		{"example.com example.org", 12},
		{"example.com colour=red", 12},
		{"example.com owner=\"Jane", 12},
		{"example.com ports=0", 12},
		{"example.com expires=soon", 12},
		{"example.com added=soon", 12},
		{"example.com source=", 12},
		{"example.com source=x read=lately", 21},
		{"example.com =x", 12},
		{"example.com\x01", 11},
		{"\x1b[31mexample.com", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct pattern_line line;
		const char *why = NULL;
		size_t at = 999;

		if (pattern_line_parse(span_from(rows[i].text), &line, &why, &at))
			fail_msg("\"%s\" is taken", rows[i].text);
		if (at != rows[i].at || why == NULL)
			fail_msg("\"%s\": at %zu, %s", rows[i].text, at, why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns_have_one_canonical_form),
		cmocka_unit_test(other_syntax_is_explained),
		cmocka_unit_test(names_have_253_bytes_at_most),
		cmocka_unit_test(globs_stay_inside_a_label),
		cmocka_unit_test(ports_are_numbers_and_ranges),
		cmocka_unit_test(dates_end_with_their_day),
		cmocka_unit_test(lines_have_fields_and_free_text),
		cmocka_unit_test(lines_say_where_they_were_read),
		cmocka_unit_test(bad_lines_say_where),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
