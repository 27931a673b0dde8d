/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions, from tables: a policy, facts, and what is answered by which rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy_rig.h"

#define MINUTE_MS UINT64_C(60000)
#define DAY_MS (1440 * MINUTE_MS)

static struct policy_rig rig;

static int close_rig(void **state)
{
	(void)state;
	policy_rig_fini(&rig);
	return 0;
}

static void open_rig(const char *policy, const char *a, const char *b)
{
	policy_rig_make(&rig, policy, a, b);
	if (rig.err) {
		for (const struct problem *p = rig.problems.first; p; p = p->next)
			print_message("%s:%u:%u: %s\n", p->file, p->line, p->column, p->text);
		fail_msg("the policy of the test does not compile");
	}
}

/* For tests that open several: closing is safe to repeat. */
static void reset_rig(void)
{
	policy_rig_fini(&rig);
	rig = (struct policy_rig){.folder = "/nonexistent"};
	problems_init(&rig.problems);
}

static struct policy_decision decide(const struct policy_facts *facts)
{
	struct policy_decision decision;

	policy_decide(rig.policy, facts, &decision);
	return decision;
}

/* Fail unless the question is answered so, by the rule of this name. */
static void check_answer(const char *row, const struct policy_decision *decision,
                         enum policy_question question, unsigned want, const char *rule)
{
	const struct policy_answer *answer = &decision->answers[question];

	if (decision->open >> question & 1)
		fail_msg("%s: %s is open", row, policy_question_name(question));
	if (answer->answer != want ||
	    !span_equal(policy_rule_name(rig.policy, answer->rule), span_from(rule)))
		fail_msg("%s: %s is %s by %.*s", row, policy_question_name(question),
		         policy_answer_name(question, answer->answer),
		         SPAN_ARG(policy_rule_name(rig.policy, answer->rule)));
}

/* ---- patterns ---- */

static void patterns_match_what_the_design_says(void **state)
{
	static const struct {
		const char *host;
		const char *rule; /* that denies it; "defaults": none */
	} rows[] = {
		{"exact.example", "exact"},
		{"a.exact.example", "defaults"},
		{"xexact.example", "defaults"},
		{"below.example", "defaults"},
		{"a.below.example", "below"},
		{"a.b.c.below.example", "below"},
		{"xbelow.example", "defaults"},
		{"suffix.example", "suffix"},
		{"a.b.suffix.example", "suffix"},
		{"xsuffix.example", "defaults"},
		{"amcsb.glob.example", "glob"},
		{"a.mcs.glob.example", "defaults"},
		{"cdn12.regex.example", "regex"},
		{"acdn12.regex.example", "defaults"},
		{"cdn.regex.example", "defaults"},
		{"xn--bcher-kva.example", "idna"},
		{"10.1.2.3", "network"},
		{"11.1.2.3", "defaults"},
		{"2001:db8::1", "network"},
		{"2001:db9::1", "defaults"},
		{"::ffff:10.1.2.3", "network"},
		{"192.0.2.77", "address"},
		{"192.0.2.78", "defaults"},
		{"example", "defaults"},
	};

	(void)state;
	open_rig("rules:\n"
	         "- {name: exact, when: {to: exact.example}, then: {access: deny}}\n"
	         "- {name: below, when: {to: '*.below.example'}, then: {access: deny}}\n"
	         "- {name: suffix, when: {to: .suffix.example}, then: {access: deny}}\n"
	         "- {name: glob, when: {to: '*mcs*.glob.example'}, then: {access: deny}}\n"
	         "- {name: regex, when: {to: '/^cdn\\d+\\.regex\\.example$/'}, then: {access: deny}}\n"
	         "- {name: idna, when: {to: b\xc3\xbc" "cher.example}, then: {access: deny}}\n"
	         "- {name: network, when: {to: [10.0.0.0/8, '[2001:db8::]/32']}, then: {access: deny}}\n"
	         "- {name: address, when: {to: 192.0.2.77}, then: {access: deny}}\n"
	         "defaults: {access: allow}\n", NULL, NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts(rows[i].host, 443);
		struct policy_decision decision = decide(&facts);

		check_answer(rows[i].host, &decision, POLICY_ACCESS,
		             strcmp(rows[i].rule, "defaults") == 0 ? ACCESS_ALLOW : ACCESS_DENY,
		             rows[i].rule);
	}
}

/* A mapped network is the IPv4 network, not one that never matches. */
static void mapped_networks_are_not_lost(void **state)
{
	struct policy_facts facts = policy_rig_facts("10.1.2.3", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n- {name: r, when: {to: '::ffff:10.0.0.0/104', from: '::ffff:192.0.2.0/120'},"
	         " then: {access: deny}}\n"
	         "defaults: {access: allow}\n", NULL, NULL);
	decision = decide(&facts);
	check_answer("mapped", &decision, POLICY_ACCESS, ACCESS_DENY, "r");
}

static void many_entries_are_all_found(void **state)
{
	struct buf list;
	char *text;

	(void)state;
	buf_init(&list, 1 << 20);
	for (int i = 0; i < 5000; i++)
		buf_printf(&list, "%sn%d.example\n", i % 3 == 0 ? "" : i % 3 == 1 ? "." : "*.", i);
	text = buf_to_string(&list);
	buf_fini(&list);
	open_rig("lists: {a: a.list}\nrules:\n- {name: r, when: {to: a}, then: {access: deny}}\n"
	         "defaults: {access: allow}\n", text, NULL);
	free(text);
	for (unsigned i = 0; i < 5000; i++) {
		struct policy_decision decision;
		struct policy_facts facts;
		struct span file, entry;
		char host[40];
		unsigned line;

		snprintf(host, sizeof(host), "%sn%u.example", i % 3 == 2 ? "x." : "", i);
		facts = policy_rig_facts(host, 443);
		decision = decide(&facts);
		check_answer(host, &decision, POLICY_ACCESS, ACCESS_DENY, "r");
		assert_true(policy_place(rig.policy, &decision.answers[POLICY_ACCESS], &file, &line,
		                         &entry));
		assert_int_equal(line, i + 1);
		assert_true(span_equal(file, SPAN("a.list")));
		snprintf(host, sizeof(host), "%sm%u.example", i % 3 == 2 ? "x." : "", i);
		facts = policy_rig_facts(host, 443);
		decision = decide(&facts);
		check_answer(host, &decision, POLICY_ACCESS, ACCESS_ALLOW, "defaults");
	}
}

/* The same networks in two lists: each of them is found, whatever order the index has them in. */
static void networks_in_two_lists_are_found(void **state)
{
	struct buf list;
	char *text;

	(void)state;
	buf_init(&list, 10000);
	for (int i = 0; i < 20; i++)
		buf_printf(&list, "10.%d.0.0/16\n", i);
	text = buf_to_string(&list);
	buf_fini(&list);
	open_rig("lists: {a: a.list, b: b.list}\nrules:\n- {name: r, when: {to: [a, b]}, then: {access: deny}}\n"
	         "defaults: {access: allow}\n", text, text);
	free(text);
	for (int i = 0; i < 20; i++) {
		struct policy_decision decision;
		struct policy_facts facts;
		char host[40];

		snprintf(host, sizeof(host), "10.%d.1.2", i);
		facts = policy_rig_facts(host, 443);
		decision = decide(&facts);
		check_answer(host, &decision, POLICY_ACCESS, ACCESS_DENY, "r");
	}
}

/* ---- which rule ---- */

static void the_first_match_answers_each_question(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n"
	         "- {name: other, when: {to: b.example}, then: {access: deny, class: bulk}}\n"
	         "- {name: class, when: {to: a.example}, then: {class: media}}\n"
	         "- {name: access, when: {to: .example}, then: {access: allow, class: bulk}}\n"
	         "- {name: late, then: {access: deny, tls: bypass, log: none}}\n"
	         "defaults: {access: deny, auth: required, pac: direct}\n", NULL, NULL);
	decision = decide(&facts);
	assert_int_equal(decision.need, 0);
	check_answer("class", &decision, POLICY_CLASS, CLASS_MEDIA, "class");
	check_answer("access", &decision, POLICY_ACCESS, ACCESS_ALLOW, "access");
	check_answer("tls", &decision, POLICY_TLS, TLS_BYPASS, "late");
	check_answer("log", &decision, POLICY_LOG, LOG_NONE, "late");
	check_answer("pac", &decision, POLICY_PAC, PAC_DIRECT, "defaults");
	check_answer("auth", &decision, POLICY_AUTH, AUTH_REQUIRED, "defaults");
}

static void conditions_must_all_hold(void **state)
{
	static const struct {
		const char *name, *host;
		uint16_t port;
		uint8_t from; /* last byte of 192.0.2.x */
		const char *listener, *method;
		bool match;
	} rows[] = {
		{"all", "a.example", 443, 10, "office", "CONNECT", true},
		{"to", "b.example", 443, 10, "office", "CONNECT", false},
		{"port", "a.example", 444, 10, "office", "CONNECT", false},
		{"port of a range", "a.example", 8050, 10, "office", "CONNECT", true},
		{"port behind a range", "a.example", 8101, 10, "office", "CONNECT", false},
		{"from", "a.example", 443, 200, "office", "CONNECT", false},
		{"listener", "a.example", 443, 10, "offic", "CONNECT", false},
		{"second listener", "a.example", 443, 10, "guests", "CONNECT", true},
		{"method", "a.example", 443, 10, "office", "GET", false},
	};

	(void)state;
	open_rig("rules:\n- {name: r, when: {to: a.example, port: [443, 8000-8100], from: 192.0.2.0/25,\n"
	         "   listener: [office, guests], method: CONNECT}, then: {access: deny}}\n"
	         "defaults: {access: allow, ports: 1-65535}\n", NULL, NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts(rows[i].host, rows[i].port);
		struct policy_decision decision;

		facts.from.bytes[3] = rows[i].from;
		facts.listener = span_from(rows[i].listener);
		facts.method = span_from(rows[i].method);
		decision = decide(&facts);
		check_answer(rows[i].name, &decision, POLICY_ACCESS,
		             rows[i].match ? ACCESS_DENY : ACCESS_ALLOW,
		             rows[i].match ? "r" : "defaults");
	}
}

/* ---- ports ---- */

static void loosening_holds_at_default_ports_alone(void **state)
{
	static const struct {
		const char *host;
		uint16_t port;
		unsigned access, tls, auth;
		const char *access_rule, *tls_rule, *auth_rule;
	} rows[] = {
		{"plain.example", 443, ACCESS_ALLOW, TLS_BYPASS, AUTH_EXEMPT, "plain", "plain", "plain"},
		{"plain.example", 8443, ACCESS_ALLOW, TLS_BYPASS, AUTH_EXEMPT, "plain", "plain", "plain"},
		{"plain.example", 22, ACCESS_DENY, TLS_INSPECT, AUTH_REQUIRED, "defaults", "defaults", "defaults"},
		{"ported.example", 22, ACCESS_ALLOW, TLS_BYPASS, AUTH_EXEMPT, "ported", "ported", "ported"},
		{"ported.example", 443, ACCESS_DENY, TLS_INSPECT, AUTH_REQUIRED, "defaults", "defaults", "defaults"},
		{"entry.example", 5004, ACCESS_ALLOW, TLS_BYPASS, AUTH_EXEMPT, "plain", "plain", "plain"},
		{"entry.example", 443, ACCESS_DENY, TLS_INSPECT, AUTH_REQUIRED, "defaults", "defaults", "defaults"},
		{"both.example", 5004, ACCESS_ALLOW, TLS_BYPASS, AUTH_EXEMPT, "ported", "ported", "ported"},
		{"both.example", 22, ACCESS_DENY, TLS_INSPECT, AUTH_REQUIRED, "defaults", "defaults", "defaults"},
		{"strict.example", 9999, ACCESS_DENY, TLS_INSPECT, AUTH_REQUIRED, "strict", "strict", "strict"},
	};

	(void)state;
	open_rig("lists: {a: a.list, b: b.list}\nrules:\n"
	         "- {name: plain, when: {to: a}, then: {access: allow, tls: bypass, auth: exempt}}\n"
	         "- {name: ported, when: {to: b, port: 22}, then: {access: allow, tls: bypass, auth: exempt}}\n"
	         "- {name: strict, when: {to: strict.example}, then: {access: deny, tls: inspect, auth: required}}\n"
	         "defaults: {access: deny, auth: required, ports: [443, 8443]}\n",
	         "plain.example\nentry.example ports=5004\n", "ported.example\nboth.example ports=5004\n");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts(rows[i].host, rows[i].port);
		struct policy_decision decision = decide(&facts);
		char row[60];

		snprintf(row, sizeof(row), "%s:%u", rows[i].host, rows[i].port);
		check_answer(row, &decision, POLICY_ACCESS, rows[i].access, rows[i].access_rule);
		check_answer(row, &decision, POLICY_TLS, rows[i].tls, rows[i].tls_rule);
		check_answer(row, &decision, POLICY_AUTH, rows[i].auth, rows[i].auth_rule);
	}
}

/* What neither loosens nor tightens, and what tightens, holds at every port. */
static void other_answers_hold_at_every_port(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.example", 5004);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n- {name: r, when: {to: a.example}, then: {access: allow, class: media, log: brief}}\n"
	         "defaults: {access: allow, ports: 443}\n", NULL, NULL);
	decision = decide(&facts);
	check_answer("class", &decision, POLICY_CLASS, CLASS_MEDIA, "r");
	check_answer("log", &decision, POLICY_LOG, LOG_BRIEF, "r");
	check_answer("access", &decision, POLICY_ACCESS, ACCESS_DENY, "defaults");
}

static void web_ports_are_the_default(void **state)
{
	static const struct {
		uint16_t port;
		unsigned access;
	} rows[] = {{80, ACCESS_ALLOW}, {443, ACCESS_ALLOW}, {81, ACCESS_DENY}, {8080, ACCESS_DENY}};

	(void)state;
	open_rig("defaults: {access: allow}\n", NULL, NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts("a.example", rows[i].port);
		struct policy_decision decision = decide(&facts);

		check_answer("default", &decision, POLICY_ACCESS, rows[i].access, "defaults");
	}
}

/* ---- time ---- */

static void expired_entries_match_no_more(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("lists: {a: a.list}\nrules:\n- {name: r, when: {to: a}, then: {access: deny}}\n"
	         "defaults: {access: allow}\n", "a.example expires=2030-01-02\n", NULL);
	facts.wall_ms = UINT64_C(1893628799000); /* 2030-01-02T23:59:59Z */
	decision = decide(&facts);
	check_answer("before", &decision, POLICY_ACCESS, ACCESS_DENY, "r");
	facts.wall_ms = UINT64_C(1893628800000);
	decision = decide(&facts);
	check_answer("after", &decision, POLICY_ACCESS, ACCESS_ALLOW, "defaults");
}

/* Fail unless the time holds so at the minute of the week (2026-11-23 is a Monday). */
static void check_time(const char *time, uint64_t day, uint64_t hour, uint64_t minute, bool want)
{
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;
	char policy[200], row[100];

	snprintf(policy, sizeof(policy),
	         "rules:\n- {name: r, when: {time: '%s'}, then: {access: deny}}\n"
	         "defaults: {access: allow}\n", time);
	snprintf(row, sizeof(row), "%s, day %u at %02u:%02u", time, (unsigned)day, (unsigned)hour,
	         (unsigned)minute);
	open_rig(policy, NULL, NULL);
	facts.wall_ms = UINT64_C(1795392000000) + day * DAY_MS + (hour * 60 + minute) * MINUTE_MS;
	decision = decide(&facts);
	if ((decision.answers[POLICY_ACCESS].answer == ACCESS_DENY) != want)
		print_message("wrong: %s\n", row);
	assert_int_equal(decision.answers[POLICY_ACCESS].answer == ACCESS_DENY, want);
	reset_rig();
}

static void days_alone(void **state)
{
	(void)state;
	check_time("mon-fri", 0, 0, 0, true);
	check_time("mon-fri", 4, 23, 59, true);
	check_time("mon-fri", 5, 0, 0, false);
	check_time("sat,sun", 6, 12, 0, true);
	check_time("sat,sun", 0, 12, 0, false);
	check_time("fri-mon", 0, 12, 0, true);
	check_time("fri-mon", 2, 12, 0, false);
}

static void hours_alone(void **state)
{
	(void)state;
	check_time("08:00-18:00", 2, 8, 0, true);
	check_time("08:00-18:00", 2, 17, 59, true);
	check_time("08:00-18:00", 2, 18, 0, false);
	check_time("08:00-18:00", 2, 7, 59, false);
	check_time("00:00-24:00", 2, 23, 59, true);
	check_time("22:00-06:00", 2, 23, 0, true);
	check_time("22:00-06:00", 2, 5, 59, true);
	check_time("22:00-06:00", 2, 12, 0, false);
}

static void days_and_hours(void **state)
{
	(void)state;
	check_time("mon-fri 08:00-18:00", 0, 12, 0, true);
	check_time("mon-fri 08:00-18:00", 0, 7, 0, false);
	check_time("mon-fri 08:00-18:00", 5, 12, 0, false);
}

static void over_midnight_belongs_to_its_first_day(void **state)
{
	(void)state;
	check_time("fri 22:00-06:00", 4, 23, 0, true);
	check_time("fri 22:00-06:00", 5, 5, 0, true);
	check_time("fri 22:00-06:00", 4, 5, 0, false);
	check_time("fri 22:00-06:00", 5, 23, 0, false);
}

static void zones(void **state)
{
	(void)state;
	check_time("08:00-18:00 +01:00", 0, 7, 0, true);
	check_time("08:00-18:00 +01:00", 0, 17, 0, false);
	check_time("mon +02:00", 6, 22, 30, true);
	check_time("mon +02:00", 0, 22, 30, false);
	check_time("mon -05:00", 0, 4, 59, false);
	check_time("mon -05:00", 0, 5, 0, true);
	check_time("mon-fri 08:00-18:00 +01:00", 0, 7, 30, true);
	check_time("mon-fri 08:00-18:00 +01:00", 5, 12, 0, false);
}

/* ---- facts that come later ---- */

static void unknown_facts_are_asked_for(void **state)
{
	static const struct {
		const char *when;
		unsigned need;
	} rows[] = {
		{"user: jane", FACT_USER},
		{"group: staff", FACT_USER},
		{"sni: b.example", FACT_HELLO},
		{"url: 'http://a.example/x'", FACT_REQUEST},
		{"to: 10.0.0.0/8, resolved: true", FACT_ADDRESS},
		{"user: jane, sni: b.example", FACT_USER | FACT_HELLO},
		{"user: jane, to: other.example", 0},
		{"user: jane, port: 80", 0},
		{"to: 10.0.0.0/8", 0},
		{"to: other.example, resolved: true", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts("a.example", 443);
		struct policy_decision decision;
		char policy[300];

		snprintf(policy, sizeof(policy),
		         "rules:\n- {name: r, when: {%s}, then: {access: deny, opaque: tunnel}}\n"
		         "defaults: {access: allow, class: bulk}\n", rows[i].when);
		open_rig(policy, NULL, NULL);
		decision = decide(&facts);
		if (decision.need != rows[i].need)
			fail_msg("%s needs %u", rows[i].when, decision.need);
		assert_int_equal(decision.open, rows[i].need
		                                        ? 1u << POLICY_ACCESS | 1u << POLICY_OPAQUE : 0);
		/* What does not depend on it is answered all the same. */
		check_answer(rows[i].when, &decision, POLICY_CLASS, CLASS_BULK, "defaults");
		reset_rig();
	}
}

static void known_facts_settle_it(void **state)
{
	struct span groups[] = {SPAN("guests"), SPAN("Staff")};
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n"
	         "- {name: user, when: {user: [jane, joe]}, then: {log: brief}}\n"
	         "- {name: group, when: {group: staff}, then: {class: bulk}}\n"
	         "- {name: sni, when: {sni: .b.example}, then: {opaque: tunnel}}\n"
	         "- {name: url, when: {url: 'http://a.example/x'}, then: {client-certificate: bypass}}\n"
	         "- {name: address, when: {to: 10.0.0.0/8, resolved: true}, then: {access: deny}}\n"
	         "defaults: {access: allow}\n", NULL, NULL);
	facts.known = FACT_USER | FACT_HELLO | FACT_REQUEST | FACT_ADDRESS;
	facts.user = SPAN("joe");
	facts.groups = groups;
	facts.group_count = COUNT_OF(groups);
	facts.sni = SPAN("x.b.example");
	facts.url = SPAN("http://a.example/xyz");
	assert_true(address_parse(SPAN("10.9.9.9"), &facts.address));
	decision = decide(&facts);
	assert_int_equal(decision.need, 0);
	check_answer("user", &decision, POLICY_LOG, LOG_BRIEF, "user");
	check_answer("group", &decision, POLICY_CLASS, CLASS_BULK, "group");
	check_answer("url", &decision, POLICY_CLIENT_CERTIFICATE, CLIENT_CERTIFICATE_BYPASS, "url");
	check_answer("address", &decision, POLICY_ACCESS, ACCESS_DENY, "address");
	facts.user = SPAN("Joe");
	facts.group_count = 1;
	facts.url = SPAN("http://a.example/");
	assert_true(address_parse(SPAN("192.0.2.9"), &facts.address));
	decision = decide(&facts);
	check_answer("user", &decision, POLICY_LOG, LOG_FULL, "defaults");
	check_answer("group", &decision, POLICY_CLASS, CLASS_NORMAL, "defaults");
	check_answer("url", &decision, POLICY_CLIENT_CERTIFICATE, CLIENT_CERTIFICATE_IGNORE, "defaults");
	check_answer("address", &decision, POLICY_ACCESS, ACCESS_ALLOW, "defaults");
}

/* A fact that cannot exist: false for what loosens, true for deny, inspect and required. */
static void absent_facts_never_loosen(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n"
	         "- {name: loosen, when: {user: jane}, then: {access: allow, tls: bypass, class: media}}\n"
	         "- {name: tighten, when: {sni: b.example}, then: {access: deny, tls: inspect, class: bulk}}\n"
	         "defaults: {access: allow, tls: bypass}\n", NULL, NULL);
	facts.absent = FACT_USER | FACT_HELLO;
	decision = decide(&facts);
	assert_int_equal(decision.need, 0);
	check_answer("access", &decision, POLICY_ACCESS, ACCESS_DENY, "tighten");
	check_answer("tls", &decision, POLICY_TLS, TLS_INSPECT, "tighten");
	check_answer("class", &decision, POLICY_CLASS, CLASS_NORMAL, "defaults");
	/* A hello without a name is the same. */
	facts.absent = FACT_USER;
	facts.known = FACT_HELLO;
	decision = decide(&facts);
	check_answer("no sni", &decision, POLICY_ACCESS, ACCESS_DENY, "tighten");
}

static void needs_and_absences_of_one_rule(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n- {name: r, when: {user: jane, sni: b.example}, then: {access: deny, class: media}}\n"
	         "defaults: {access: allow}\n", NULL, NULL);
	facts.absent = FACT_HELLO;
	decision = decide(&facts);
	assert_int_equal(decision.need, FACT_USER);
	assert_int_equal(decision.open, 1u << POLICY_ACCESS);
	check_answer("class", &decision, POLICY_CLASS, CLASS_NORMAL, "defaults");
	facts.known = FACT_USER;
	facts.user = SPAN("joe");
	decision = decide(&facts);
	check_answer("other user", &decision, POLICY_ACCESS, ACCESS_ALLOW, "defaults");
}

/* ---- several names ---- */

static void the_strictest_name_wins(void **state)
{
	static const struct {
		const char *host, *sni, *inner;
		unsigned access, tls;
		uint8_t access_name, tls_name;
	} rows[] = {
		{"good.example", "good.example", "", ACCESS_ALLOW, TLS_BYPASS, 0, 0},
		{"good.example", "", "", ACCESS_ALLOW, TLS_BYPASS, 0, 0},
		{"good.example", "bad.example", "", ACCESS_DENY, TLS_INSPECT, 1, 1},
		{"bad.example", "good.example", "", ACCESS_DENY, TLS_INSPECT, 0, 0},
		{"good.example", "good.example", "bad.example", ACCESS_DENY, TLS_INSPECT, 2, 2},
		{"good.example", "other.example", "", ACCESS_ALLOW, TLS_INSPECT, 0, 1},
		{"other.example", "good.example", "", ACCESS_ALLOW, TLS_INSPECT, 0, 0},
		{"good.example", "10.1.2.3", "", ACCESS_DENY, TLS_INSPECT, 1, 1},
		{"192.0.2.1", "good.example", "", ACCESS_ALLOW, TLS_INSPECT, 0, 0},
	};

	(void)state;
	open_rig("rules:\n"
	         "- {name: good, when: {to: good.example}, then: {tls: bypass, class: media}}\n"
	         "- {name: bad, when: {to: [bad.example, 10.0.0.0/8]}, then: {access: deny, class: bulk}}\n"
	         "defaults: {access: allow}\n", NULL, NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts(rows[i].host, 443);
		struct policy_decision decision;

		facts.known |= FACT_HELLO;
		facts.sni = span_from(rows[i].sni);
		facts.inner_host = span_from(rows[i].inner);
		decision = decide(&facts);
		if (decision.answers[POLICY_ACCESS].answer != rows[i].access ||
		    decision.answers[POLICY_TLS].answer != rows[i].tls ||
		    decision.answers[POLICY_ACCESS].name_index != rows[i].access_name ||
		    decision.answers[POLICY_TLS].name_index != rows[i].tls_name)
			fail_msg("%s %s %s: access %u of %u, tls %u of %u", rows[i].host, rows[i].sni,
			         rows[i].inner, decision.answers[POLICY_ACCESS].answer,
			         decision.answers[POLICY_ACCESS].name_index,
			         decision.answers[POLICY_TLS].answer,
			         decision.answers[POLICY_TLS].name_index);
		/* class follows the authority */
		assert_int_equal(decision.answers[POLICY_CLASS].name_index, 0);
	}
}

/* The authority is denied: no fact can change that, so none is asked for. */
static void a_denial_is_settled_whatever_other_names_need(void **state)
{
	struct policy_facts facts = policy_rig_facts("bad.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n"
	         "- {name: bad, when: {to: bad.example}, then: {access: deny}}\n"
	         "- {name: user, when: {to: good.example, user: jane}, then: {access: allow}}\n"
	         "defaults: {access: deny}\n", NULL, NULL);
	facts.known = FACT_HELLO;
	facts.sni = SPAN("good.example");
	decision = decide(&facts);
	check_answer("access", &decision, POLICY_ACCESS, ACCESS_DENY, "bad");
	assert_int_equal(decision.need, 0);
	/* Nor if it is the other name that is denied. */
	facts.host = SPAN("good.example");
	facts.sni = SPAN("bad.example");
	decision = decide(&facts);
	check_answer("access", &decision, POLICY_ACCESS, ACCESS_DENY, "bad");
	assert_int_equal(decision.answers[POLICY_ACCESS].name_index, 1);
	assert_int_equal(decision.need, 0);
}

/* What one name allows, another may still deny. */
static void an_answer_that_can_get_stricter_waits(void **state)
{
	struct policy_facts facts = policy_rig_facts("good.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n"
	         "- {name: good, when: {to: good.example}, then: {access: allow}}\n"
	         "- {name: user, when: {to: other.example, user: joe}, then: {access: deny}}\n"
	         "- {name: log, when: {url: 'http://x/'}, then: {log: none}}\n"
	         "defaults: {access: allow}\n", NULL, NULL);
	facts.known = FACT_HELLO;
	facts.sni = SPAN("other.example");
	for (int i = 0; i < 2; i++) {
		decision = decide(&facts);
		assert_int_equal(decision.open, 1u << POLICY_ACCESS | 1u << POLICY_LOG);
		assert_int_equal(decision.needs[POLICY_ACCESS], FACT_USER);
		assert_int_equal(decision.needs[POLICY_LOG], FACT_REQUEST);
		assert_int_equal(decision.need, FACT_USER | FACT_REQUEST);
		facts.host = SPAN("other.example");
		facts.sni = SPAN("good.example");
	}
}

static void client_certificates_have_an_order_of_their_own(void **state)
{
	struct policy_facts facts = policy_rig_facts("bypass.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n"
	         "- {name: bypass, when: {to: bypass.example}, then: {client-certificate: bypass}}\n"
	         "- {name: deny, when: {to: deny.example}, then: {client-certificate: deny}}\n",
	         NULL, NULL);
	facts.known = FACT_HELLO;
	facts.sni = SPAN("other.example");
	decision = decide(&facts);
	check_answer("ignore", &decision, POLICY_CLIENT_CERTIFICATE, CLIENT_CERTIFICATE_IGNORE,
	             "defaults");
	facts.sni = SPAN("deny.example");
	decision = decide(&facts);
	check_answer("deny", &decision, POLICY_CLIENT_CERTIFICATE, CLIENT_CERTIFICATE_DENY, "deny");
}

static void routes_carry_their_source(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;
	struct address want;

	(void)state;
	open_rig("rules:\n"
	         "- {name: r, when: {to: a.example}, then: {route: {source: 192.0.2.7}}}\n"
	         "- {name: late, then: {route: {source: 192.0.2.8}}}\n", NULL, NULL);
	decision = decide(&facts);
	check_answer("route", &decision, POLICY_ROUTE, ROUTE_SOURCE, "r");
	assert_true(address_parse(SPAN("192.0.2.7"), &want));
	assert_true(address_equal(&decision.route_source, &want));
}

static void rates_carry_their_limit(void **state)
{
	static const struct {
		const char *host, *rule;
		enum policy_rate answer;
		uint64_t bytes_per_s;
		enum policy_each each;
		const char *said;
	} rows[] = {
		{"a.example", "a", RATE_LIMIT, 10 << 20, EACH_RULE, "10M a second, all together"},
		{"b.example", "b", RATE_LIMIT, 1536 << 10, EACH_CLIENT, "1536K a second for each client"},
		{"c.example", "c", RATE_LIMIT, 5000, EACH_USER, "5000 a second for each user"},
		{"d.example", "d", RATE_NONE, 0, EACH_RULE, ""},
		{"e.example", "defaults", RATE_NONE, 0, EACH_RULE, ""},
	};

	(void)state;
	open_rig("rules:\n"
	         "- {name: a, when: {to: a.example}, then: {rate: 10M}}\n"
	         "- {name: b, when: {to: b.example}, then: {rate: {each: client, rate: 1536K}}}\n"
	         "- {name: c, when: {to: c.example}, then: {rate: {rate: 5000, each: user}}}\n"
	         "- {name: d, when: {to: d.example}, then: {rate: none}}\n"
	         "- {name: late, when: {to: '*.example', port: 444}, then: {rate: 1G}}\n", NULL, NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts(rows[i].host, 443);
		struct policy_decision decision = decide(&facts);
		struct policy_rate_limit limit = {0, EACH_RULE};
		struct buf said;

		check_answer(rows[i].host, &decision, POLICY_RATE, rows[i].answer, rows[i].rule);
		assert_int_equal(policy_rate_limit(rig.policy, &decision.answers[POLICY_RATE], &limit), rows[i].answer == RATE_LIMIT);
		assert_int_equal(limit.bytes_per_s, rows[i].bytes_per_s);
		assert_int_equal(limit.each, rows[i].each);
		buf_init(&said, 100);
		policy_say_rate(rig.policy, &decision.answers[POLICY_RATE], &said);
		assert_true(span_equal(buf_span(&said), span_from(rows[i].said)));
		buf_fini(&said);
	}
}

/* ---- zones with a name, and names that must match ---- */

static void zones_have_their_summer_time(void **state)
{
	/* 08:00-18:00 in Berlin: from 07:00Z in winter, from 06:00Z in summer. */
	static const struct {
		const char *at;
		uint64_t wall_ms;
		const char *rule;
	} rows[] = {
		{"2026-11-23T06:59Z", UINT64_C(1795417140000), "defaults"},
		{"2026-11-23T07:00Z", UINT64_C(1795417200000), "work"},
		{"2026-11-23T16:59Z", UINT64_C(1795453140000), "work"},
		{"2026-11-23T17:00Z", UINT64_C(1795453200000), "defaults"},
		{"2027-07-05T05:59Z", UINT64_C(1814767140000), "defaults"},
		{"2027-07-05T06:00Z", UINT64_C(1814767200000), "work"},
		{"2027-07-05T16:00Z", UINT64_C(1814803200000), "defaults"},
		/* The change itself: 2027-03-28 01:00Z. */
		{"2027-03-28T00:30Z, 01:30", UINT64_C(1806193800000), "night"},
		{"2027-03-28T01:30Z, 03:30", UINT64_C(1806197400000), "defaults"},
	};

	(void)state;
	open_rig("rules:\n- {name: work, when: {time: mon-fri 08:00-18:00 Europe/Berlin}, then: {access: allow}}\n"
	         "- {name: night, when: {time: '01:00-03:00 Europe/Berlin'}, then: {access: allow}}\n"
	         "defaults: {access: deny}\n", NULL, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy_facts facts = policy_rig_facts("a.example", 443);
		struct policy_decision decision;

		facts.wall_ms = rows[i].wall_ms;
		decision = decide(&facts);
		check_answer(rows[i].at, &decision, POLICY_ACCESS,
		             strcmp(rows[i].rule, "defaults") ? ACCESS_ALLOW : ACCESS_DENY, rows[i].rule);
	}
}

static void must_match_denies_another_name(void **state)
{
	static const struct {
		const char *host, *sni;
		unsigned access;
		const char *rule;
	} rows[] = {
		{"a.example", "a.example", ACCESS_ALLOW, "front"},
		{"a.example", "b.example", ACCESS_DENY, "front"},
		{"a.example", "", ACCESS_ALLOW, "front"},
		{"192.0.2.1", "b.example", ACCESS_DENY, "front"},
		{"c.example", "b.example", ACCESS_ALLOW, "defaults"},
	};

	(void)state;
	open_rig("rules:\n- {name: front, when: {to: [a.example, 192.0.2.1]}, then: {access: allow, sni: must-match}}\n"
	         "defaults: {access: allow}\n", NULL, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy_facts facts = policy_rig_facts(rows[i].host, 443);
		struct policy_decision decision;

		facts.known |= FACT_HELLO;
		facts.sni = span_from(rows[i].sni);
		decision = decide(&facts);
		check_answer(rows[i].sni, &decision, POLICY_ACCESS, rows[i].access, rows[i].rule);
	}
}

static void must_match_asks_for_the_hello(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("defaults: {access: allow, sni: must-match}\n", NULL, NULL);
	decision = decide(&facts);
	check_answer("provisional", &decision, POLICY_ACCESS, ACCESS_ALLOW, "defaults");
	assert_int_equal(decision.need, FACT_HELLO);
	facts.absent = FACT_HELLO;
	assert_int_equal(decide(&facts).need, 0);
}

/* ---- what is not asked for ---- */

static void what_is_denied_anyway_is_not_asked_for(void **state)
{
	static const struct {
		const char *policy, *rule; /* rule NULL: the address is asked for */
	} rows[] = {
		{"rules:\n- {name: r, when: {to: 198.51.100.0/24, resolved: true}, then: {access: deny}}\n"
		 "defaults: {access: deny}\n", "defaults"},
		{"rules:\n- {name: r, when: {to: 198.51.100.0/24, resolved: true}, then: {access: deny}}\n"
		 "- {name: all, then: {access: deny}}\ndefaults: {access: allow}\n", "all"},
		{"rules:\n- {name: r, when: {to: 198.51.100.0/24, resolved: true}, then: {access: deny}}\n"
		 "defaults: {access: allow}\n", NULL},
		{"rules:\n- {name: r, when: {to: 198.51.100.0/24, resolved: true}, then: {access: allow}}\n"
		 "defaults: {access: deny}\n", NULL},
		{"rules:\n- {name: r, when: {to: 198.51.100.0/24, resolved: true}, then: {access: deny}}\n"
		 "- {name: s, when: {to: 203.0.113.0/24, resolved: true}, then: {access: allow}}\n"
		 "defaults: {access: deny}\n", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy_facts facts = policy_rig_facts("a.example", 443);
		struct policy_decision decision;

		open_rig(rows[i].policy, NULL, NULL);
		decision = decide(&facts);
		if (rows[i].rule)
			check_answer(rows[i].policy, &decision, POLICY_ACCESS, ACCESS_DENY, rows[i].rule);
		else
			assert_int_equal(decision.needs[POLICY_ACCESS], FACT_ADDRESS);
		reset_rig();
	}
}

int main(void)
{
#define ONE(name) cmocka_unit_test_teardown(name, close_rig)
	const struct CMUnitTest tests[] = {
		ONE(patterns_match_what_the_design_says),
		ONE(mapped_networks_are_not_lost),
		ONE(many_entries_are_all_found),
		ONE(networks_in_two_lists_are_found),
		ONE(the_first_match_answers_each_question),
		ONE(conditions_must_all_hold),
		ONE(loosening_holds_at_default_ports_alone),
		ONE(other_answers_hold_at_every_port),
		ONE(web_ports_are_the_default),
		ONE(expired_entries_match_no_more),
		ONE(days_alone),
		ONE(hours_alone),
		ONE(days_and_hours),
		ONE(over_midnight_belongs_to_its_first_day),
		ONE(zones),
		ONE(unknown_facts_are_asked_for),
		ONE(known_facts_settle_it),
		ONE(absent_facts_never_loosen),
		ONE(needs_and_absences_of_one_rule),
		ONE(the_strictest_name_wins),
		ONE(a_denial_is_settled_whatever_other_names_need),
		ONE(an_answer_that_can_get_stricter_waits),
		ONE(client_certificates_have_an_order_of_their_own),
		ONE(routes_carry_their_source),
		ONE(rates_carry_their_limit),
		ONE(zones_have_their_summer_time),
		ONE(must_match_denies_another_name),
		ONE(must_match_asks_for_the_hello),
		ONE(what_is_denied_anyway_is_not_asked_for),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
