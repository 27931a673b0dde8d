/* SPDX-License-Identifier: Apache-2.0 */
/* Pinned clients: each sign, each thing that only looks like one, and tables that stay as large as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "session/pins_table.h"

enum { HOUR_MS = 3600 * 1000 };

/* ---- a history in letters ---- */

/* A client at a host, one letter each, as step() has them. A blank is half a
 * second, a dot two seconds, H an hour, D a day. `o` is a success at another host, `y` one at this. */
struct story {
	struct pins_table *table;
	struct pins_key key, other;
	uint64_t now_ms;
	unsigned pins, cas;
	struct pins_told told;
};

static void fail_with(struct story *story, enum pins_sign sign)
{
	switch (pins_table_fail(story->table, &story->key, sign, story->now_ms, &story->told)) {
	case PINS_NEWS_PIN: story->pins++; break;
	case PINS_NEWS_CA: story->cas++; break;
	case PINS_NEWS_NONE: break;
	}
}

static void step(struct story *story, char letter)
{
	switch (letter) {
	case ' ': story->now_ms += 500; break;
	case '.': story->now_ms += 2000; break;
	case 'H': story->now_ms += HOUR_MS; break;
	case 'D': story->now_ms += 24 * HOUR_MS; break;
	case 'y': pins_table_succeed(story->table, &story->key, story->now_ms); break;
	case 'o': pins_table_succeed(story->table, &story->other, story->now_ms); break;
	case 'b': fail_with(story, pins_score_of_alert(42)); break;
	case 'n': fail_with(story, pins_score_of_alert(43)); break;
	case 'e': fail_with(story, pins_score_of_alert(45)); break;
	case 'k': fail_with(story, pins_score_of_alert(46)); break;
	case 'u': fail_with(story, pins_score_of_alert(48)); break;
	case 'c': fail_with(story, pins_score_of_close(false, 10)); break;
	case 's': fail_with(story, pins_score_of_close(true, 10)); break;
	case 'l': fail_with(story, pins_score_of_close(true, 2001)); break;  /* held in stock */
	case 't': fail_with(story, pins_score_of_close(false, 2001)); break; /* given up */
	case 'h': fail_with(story, pins_score_of_alert(121)); break;
	case 'a': fail_with(story, pins_score_of_alert(90)); break;
	case 'z': fail_with(story, pins_score_of_alert(0)); break;
	case 'x': fail_with(story, pins_score_of_alert(40)); break;
	default: fail_msg("no letter %c", letter);
	}
}

static struct address address_of(const char *text)
{
	struct address address;

	assert_true(address_parse(span_from(text), &address));
	return address;
}

static struct story story_new(void)
{
	struct story story = {.now_ms = 1000};

	assert_int_equal(pins_table_new(&story.table), ERR_NONE);
	story.key = (struct pins_key){address_of("192.0.2.7"), SPAN(""), SPAN("pinned.example"), 443};
	story.other = story.key;
	story.other.host = SPAN("other.example");
	return story;
}

static const struct {
	const char *what, *letters;
	unsigned pins;
} rows[] = {
	{"three alerts of a client that trusts us elsewhere", "ou.u.u", 1},
	{"each alert is as good", "ob.n.k", 1},
	{"an expired one, too", "oe.e.e", 1},
	{"two alerts are not enough", "ou.u", 0},
	{"six closes are", "os.s.s.c.c.c", 1},
	{"five are not", "os.s.s.c.c", 0},
	{"alerts and closes together", "ou.u.s.s.s.s", 1},
	{"alerts and closes together, one less", "ou.u.s.s.s", 0},
	{"trust may be seen later", "u.u.uo.u", 1},
	{"it is told once an hour", "ou.u.u.u.u.u", 1},
	{"and again after it", "ou.u.uHu", 2},
	/* what only looks like it */
	{"a client that was never seen to trust us", "u.u.u.u.u.u", 0},
	{"trust of two days ago says nothing", "oDDu.u.u", 0},
	{"retries in a burst are one attempt", "ouuuuuuu uuuuuuu", 0},
	{"the next burst is another", "ouuuuuuu  u", 1},
	{"a burst of closes, too", "ossssssssssssss s s", 0},
	{"a success ends it", "ou.u.y.u", 0},
	{"connections in stock, mixed with use", "os.s.y.s.s.y.s.s.s.s.s.s.s.s", 0},
	{"the host was taken today", "oy.u.u.u.u", 0},
	{"the app was updated since", "oyDou.u.u", 1},
	{"connections in stock are held longer", "ol.l.l.l.l.l.l.l", 0},
	{"somebody gave up waiting", "ot.t.t.t.t.t.t.t", 0},
	{"ECH is no pin", "oh.h.h.h.h.h.h", 0},
	{"user_canceled", "oa.a.a.a.a.a.a", 0},
	{"close_notify as an alert", "oz.z.z.z.z.z.z", 0},
	{"handshake_failure is about something else", "ox.x.x.x.x.x.x", 0},
	{"once a day is not often", "ouDouDouDou", 0},
	{"a close within a second of an alert adds nothing", "ouc.uc.s", 0},
	{"the alert of a burst counts, not the close before it", "ocu.cu.cu", 1},
};

static void histories_are_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct story story = story_new();

		for (const char *at = rows[i].letters; *at; at++)
			step(&story, *at);
		if (story.pins != rows[i].pins || story.cas)
			fail_msg("%s: \"%s\" gives %u and %u", rows[i].what, rows[i].letters, story.pins, story.cas);
		pins_table_free(story.table);
	}
}

/* ---- clients that do not have our CA ---- */

static void at_host(struct story *story, const char *host, const char *letters)
{
	story->key.host = span_from(host);
	for (; *letters; letters++)
		step(story, *letters);
}

static void without_ca_is_told_apart(void **state)
{
	struct story story = story_new();

	(void)state;
	at_host(&story, "a.example", "u.u.u.u");
	at_host(&story, "b.example", "k");
	assert_int_equal(story.cas, 0);
	at_host(&story, "c.example", "u");
	assert_int_equal(story.cas, 1);
	assert_int_equal(story.told.hosts, 3);
	at_host(&story, "d.example", "u.u.u.u");
	assert_int_equal(story.cas, 1);
	at_host(&story, "d.example", "Hu");
	assert_int_equal(story.cas, 2);
	assert_int_equal(story.pins, 0);
	pins_table_free(story.table);
}

static void whoever_trusts_us_once_has_our_ca(void **state)
{
	struct story story = story_new();

	(void)state;
	step(&story, 'o');
	at_host(&story, "a.example", "u");
	at_host(&story, "b.example", "u");
	at_host(&story, "c.example", "u");
	at_host(&story, "d.example", "u.u.u");
	assert_int_equal(story.cas, 0);
	assert_int_equal(story.pins, 1);
	pins_table_free(story.table);
}

static void silence_at_few_hosts_is_no_missing_ca(void **state)
{
	static const char *const hosts[] = {"a.example", "b.example", "c.example", "d.example", "e.example"};
	struct story story = story_new();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(hosts); i++)
		at_host(&story, hosts[i], "s.s.s.s.s.s");
	assert_int_equal(story.cas, 0);
	at_host(&story, "f.example", "s");
	assert_int_equal(story.cas, 1);
	pins_table_free(story.table);
}

/* ---- who is who ---- */

static void clients_are_not_mixed(void **state)
{
	static const char *const addresses[] = {"192.0.2.8", "192.0.2.9", "2001:db8:0:1::1", "2001:db8:0:2::1"};
	struct story story = story_new();

	(void)state;
	step(&story, 'o');
	for (size_t i = 0; i < COUNT_OF(addresses); i++) {
		story.key.client = address_of(addresses[i]);
		step(&story, 'u');
	}
	story.key.client = address_of("192.0.2.7");
	story.key.user = SPAN("bob");
	at_host(&story, "pinned.example", "u.u.u");
	story.key.user = SPAN("");
	story.key.port = 8443;
	step(&story, 'u');
	story.key.port = 443;
	at_host(&story, "pinned.example", "u.u");
	assert_int_equal(story.pins, 0);
	at_host(&story, "pinned.example", ".u");
	assert_int_equal(story.pins, 1);
	pins_table_free(story.table);
}

static void addresses_of_a_network_of_ipv6_are_one_client(void **state)
{
	static const char *const addresses[] = {"2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::3"};
	struct story story = story_new();

	(void)state;
	story.other.client = address_of("2001:db8:0:1:8::9");
	step(&story, 'o');
	for (size_t i = 0; i < COUNT_OF(addresses); i++) {
		story.key.client = address_of(addresses[i]);
		at_host(&story, "pinned.example", "u.");
	}
	assert_int_equal(story.pins, 1);
	pins_table_free(story.table);
}

/* ---- what is said ---- */

static void evidence_is_said(void **state)
{
	struct pins_evidence evidence = {.last_ms = 0};
	struct buf text;

	(void)state;
	buf_init(&text, 4096);
	for (uint64_t i = 0; i < 3; i++)
		assert_true(pins_score_add(&evidence, PINS_SIGN_UNKNOWN_CA, 1000 + i * 1000));
	assert_true(pins_score_add(&evidence, PINS_SIGN_CERTIFICATE_EXPIRED, 9000));
	assert_true(pins_score_add(&evidence, PINS_SIGN_SILENT, 12000));
	pins_score_say(&evidence, &text);
	assert_true(span_equal(buf_span(&text), SPAN("3 alerts unknown_ca (48), 1 alert certificate_expired (45), "
	                                             "1 closed behind the handshake without a byte")));
	assert_false(pins_score_is_clock_wrong(&evidence));
	assert_int_equal(pins_score_strong_count(&evidence), 4);
	assert_int_equal(pins_score_weak_count(&evidence), 1);
	buf_fini(&text);
}

static void a_wrong_clock_is_noticed(void **state)
{
	struct story story = story_new();

	(void)state;
	for (const char *at = "oe.e.u"; *at; at++)
		step(&story, *at);
	assert_int_equal(story.pins, 1);
	assert_true(pins_score_is_clock_wrong(&story.told.evidence));
	pins_table_free(story.table);
}

static void names_are_read_back(void **state)
{
	(void)state;
	for (int i = PINS_SIGN_NONE + 1; i < PINS_SIGN_COUNT; i++) {
		assert_int_equal(pins_score_parse(span_from(pins_score_name((enum pins_sign)i))), i);
		assert_false(pins_score_is_strong((enum pins_sign)i) && pins_score_is_weak((enum pins_sign)i));
	}
	assert_int_equal(pins_score_parse(SPAN("alert-40")), PINS_SIGN_NONE);
	assert_int_equal(pins_score_of_alert(-1), PINS_SIGN_NONE);
}

/* ---- tables ---- */

static struct pins_key numbered(struct pins_key key, char text[static 32], unsigned number)
{
	int len = snprintf(text, 32, "h%u.example", number);

	key.host = span_of(text, (size_t)len);
	key.client = (struct address){.family = AF_INET, .bytes = {10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number}};
	return key;
}

/* D10: whatever comes, what comes last is remembered, and memory does not grow (the sanitizer would see it leave the table). */
static void a_million_hosts_fit(void **state)
{
	struct story story = story_new();
	struct pins_told told;
	char text[32];

	(void)state;
	for (unsigned i = 0; i < 1000000; i++) {
		const struct pins_key key = numbered(story.key, text, i);

		story.now_ms++;
		if (i % 3 == 0)
			pins_table_succeed(story.table, &key, story.now_ms);
		else if (pins_table_fail(story.table, &key, PINS_SIGN_UNKNOWN_CA, story.now_ms, &told) != PINS_NEWS_NONE)
			fail_msg("news of client %u, which failed once", i);
	}
	for (const char *at = "ou.u.u"; *at; at++)
		step(&story, *at);
	assert_int_equal(story.pins, 1);
	pins_table_free(story.table);
}

/* Successes do not drive failures out: most of what inspected browsers do is successes. */
static void successes_leave_failures_alone(void **state)
{
	struct story story = story_new();
	char text[32];

	(void)state;
	step(&story, 'o');
	step(&story, 'u');
	for (unsigned i = 0; i < 100000; i++) {
		struct pins_key key = numbered(story.key, text, i);

		key.client = story.key.client;
		pins_table_succeed(story.table, &key, story.now_ms);
	}
	for (const char *at = ".u.u"; *at; at++)
		step(&story, *at);
	assert_int_equal(story.pins, 1);
	pins_table_free(story.table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(histories_are_judged),
		cmocka_unit_test(without_ca_is_told_apart),
		cmocka_unit_test(whoever_trusts_us_once_has_our_ca),
		cmocka_unit_test(silence_at_few_hosts_is_no_missing_ca),
		cmocka_unit_test(clients_are_not_mixed),
		cmocka_unit_test(addresses_of_a_network_of_ipv6_are_one_client),
		cmocka_unit_test(evidence_is_said),
		cmocka_unit_test(a_wrong_clock_is_noticed),
		cmocka_unit_test(names_are_read_back),
		cmocka_unit_test(a_million_hosts_fit),
		cmocka_unit_test(successes_leave_failures_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
