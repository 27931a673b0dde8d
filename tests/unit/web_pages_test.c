/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the small listeners that need no connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/metrics.h"
#include "web/admin_pages.h"
#include "web/prometheus.h"
#include "web/public_pages.h"
#include "web/web_conf.h"

static void a_bearer_is_what_follows(void **state)
{
	static const struct {
		const char *in, *token;
	} rows[] = {
		{"Bearer abc", "abc"},
		{"bearer    a.b-c~/+=", "a.b-c~/+="},
		{"BEARER x", "x"},
		{"Bearer", NULL},
		{"Bearer ", NULL},
		{"Bearer  ", NULL},
		{"Bearerabc", NULL},
		{"Bearer a b", NULL},
		{"Bearer a\x80", NULL},
		{"Basic YTpi", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct span token = SPAN("");
		bool ok = web_bearer_parse(span_from(rows[i].in), &token);

		if (ok != (rows[i].token != NULL))
			fail_msg("\"%s\": %d", rows[i].in, ok);
		assert_true(!ok || span_equal(token, span_from(rows[i].token)));
	}
}

static char *proxies_for(const char *proxies, const char *client)
{
	struct address address;
	struct buf out;
	char *text;

	assert_true(address_parse(span_from(client), &address));
	buf_init(&out, 10000);
	public_pages_proxies(span_from(proxies), &address, &out);
	text = buf_to_string(&out);
	buf_fini(&out);
	return text;
}

/* Fixed for ever: nodes of different versions must agree. */
static void the_first_proxy_is_the_client_s_own(void **state)
{
	static const char *const rows[][2] = {
		{"192.0.2.1", "PROXY a:1; PROXY b:2; PROXY [::3]:3"},
		{"192.0.2.5", "PROXY [::3]:3; PROXY a:1; PROXY b:2"},
		{"::ffff:192.0.2.5", "PROXY [::3]:3; PROXY a:1; PROXY b:2"},
	};
	static const char all[] = "a:1\nb:2\n[::3]:3\n";
	unsigned firsts[3] = {0};
	char *text, *other;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		text = proxies_for(all, rows[i][0]);
		assert_string_equal(text, rows[i][1]);
		free(text);
	}
	for (int i = 0; i < 3000; i++) {
		char client[20];

		snprintf(client, sizeof(client), "10.%d.%d.7", i / 250, i % 250);
		text = proxies_for(all, client);
		firsts[text[6] == 'a' ? 0 : text[6] == 'b' ? 1 : 2]++;
		free(text);
	}
	for (size_t i = 0; i < COUNT_OF(firsts); i++)
		assert_in_range(firsts[i], 850, 1150);
	text = proxies_for(all, "2001:db8::1");
	other = proxies_for(all, "2001:db8::ffff:1"); /* the same subscriber */
	assert_string_equal(text, other);
	free(text);
	free(other);
	text = proxies_for("", "192.0.2.1");
	assert_string_equal(text, "");
	free(text);
	text = proxies_for("only:1\n", "192.0.2.1");
	assert_string_equal(text, "PROXY only:1");
	free(text);
}

static void values_of_labels_are_escaped(void **state)
{
	struct buf out;
	char *text;

	(void)state;
	buf_init(&out, 100);
	prometheus_add_value(&out, SPAN("a\"b\\c\nd\x01\xc3\xa4"));
	text = buf_to_string(&out);
	assert_string_equal(text, "\"a\\\"b\\\\c\\nd?\xc3\xa4\"");
	free(text);
	buf_fini(&out);
}

static void times_fall_into_their_buckets(void **state)
{
	static const struct {
		uint32_t ms;
		unsigned bucket;
	} rows[] = {{0, 0}, {1, 1}, {2, 2}, {3, 2}, {4, 3}, {1023, 10}, {1024, 11}, {65535, 16}, {65536, 17},
	            {UINT32_MAX, 17}};
	struct metrics_times times = {.sum_ms = 0};
	uint64_t sum = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint64_t before = times.buckets[rows[i].bucket];

		metrics_note_time(&times, rows[i].ms);
		assert_int_equal(times.buckets[rows[i].bucket], before + 1);
		sum += rows[i].ms;
	}
	assert_int_equal(times.sum_ms, sum);
}

static void strangers_names_are_not_admin_s(void **state)
{
	static const struct {
		const char *host;
		bool is;
	} rows[] = {
		{"127.0.0.1", true}, {"127.0.0.1:8088", true}, {"192.0.2.7:80", true}, {"[::1]:8088", true}, {"[2001:db8::1]", true},
		{"localhost", true}, {"LOCALHOST:8088", true}, {"localhost.", true}, {"a.test", true}, {"A.Test.:1", true},
		{"b.test:65535", true}, {"", true}, {"evil.example", false}, {"evil.example:8088", false},
		{"a.localhost", false}, {"localhost.evil.example", false}, {"127.0.0.1.evil.example", false}, {"x.a.test", false},
		{"a.test.x", false}, {"a.test\nb.test", false}, {"a.test/", false}, {"evil@127.0.0.1", false}, {"127.1", false},
		{"2130706433", false}, {"0x7f000001", false}, {"::1", false}, {"a.test:0", false}, {" ", false}, {":80", false},
		{"127.0.0.1, evil.example", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (admin_pages_is_host(SPAN("a.test\nb.test\n"), span_from(rows[i].host)) != rows[i].is)
			fail_msg("\"%s\" is not %d", rows[i].host, rows[i].is);
	assert_false(admin_pages_is_host(SPAN(""), SPAN("a.test")));
}

static void proxies_have_one_spelling(void **state)
{
	static const char *const rows[][2] = {
		{"Proxy.Example.COM.:3128", "proxy.example.com:3128"}, {"[2001:DB8:0::1]:80", "[2001:db8::1]:80"},
		{"192.0.2.1:3128", "192.0.2.1:3128"}, {"proxy.example.com", ""}, {"a b:1", ""}, {"a\"b:1", ""},
		{"a:0", ""}, {"a:65536", ""}, {"::1:80", ""}, {"", ""}, {"PROXY a:1", ""}, {"a:1; DIRECT", ""},
	};
	struct arena arena;

	(void)state;
	arena_init(&arena, 65536);
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (!span_equal(web_conf_proxy(span_from(rows[i][0]), &arena), span_from(rows[i][1])))
			fail_msg("\"%s\" is not \"%s\"", rows[i][0], rows[i][1]);
	arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bearer_is_what_follows),
		cmocka_unit_test(the_first_proxy_is_the_client_s_own),
		cmocka_unit_test(values_of_labels_are_escaped),
		cmocka_unit_test(times_fall_into_their_buckets),
		cmocka_unit_test(proxies_have_one_spelling),
		cmocka_unit_test(strangers_names_are_not_admin_s),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
