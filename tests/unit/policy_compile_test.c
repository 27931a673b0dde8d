/* SPDX-License-Identifier: Apache-2.0 */
/* What the compiler refuses and warns of, with its places; and what a compiled policy says of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy_rig.h"

#define RULE(when, then) "rules:\n- {name: r, when: {" when "}, then: {" then "}}\n"

static void print_problems(const struct problems *problems)
{
	struct buf text;

	buf_init(&text, 100000);
	problems_format(problems, &text);
	print_message("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

/* Is there a problem whose file ends so, at this place, with this text in it? */
static bool has_problem(const struct problems *problems, enum problem_level level, const char *file,
                        unsigned line, unsigned column, const char *text)
{
	for (const struct problem *p = problems->first; p; p = p->next)
		if (p->level == level && p->line == line && p->column == column &&
		    span_ends_with(span_from(p->file), span_from(file)) && strstr(p->text, text))
			return true;
	return false;
}

static void a_whole_policy_compiles(void **state)
{
	struct policy_rig rig;
	struct policy_stats stats;

	(void)state;
	policy_rig_make(&rig,
	                "lists: {pinned: a.list, more: [a.list, b.list]}\n"
	                "rules:\n"
	                "- name: first\n"
	                "  when: {to: [pinned, '*.example.net', 10.0.0.0/8], port: [443, 8000-8100],\n"
	                "         from: 10.20.0.0/16, method: CONNECT, time: 'mon-fri 08:00-18:00 +01:00',\n"
	                "         listener: [office, guests]}\n"
	                "  then: {access: allow, auth: exempt, tls: bypass, class: media, log: brief}\n"
	                "- name: second\n"
	                "  when: {to: more, user: jane, group: [staff], sni: pinned, url: 'http://example.com/x',\n"
	                "         resolved: true}\n"
	                "  then: {access: deny, client-certificate: bypass, opaque: tunnel}\n"
	                "- {name: third, then: {pac: direct, route: {source: 192.0.2.7}}}\n"
	                "defaults: {access: allow, tls: bypass, auth: exempt, ports: [80, 443, 8443]}\n",
	                "\xef\xbb\xbf*.wbx2.com ports=443\r\n# comment\r\n\r\n.example.com\r\n",
	                "/^cdn\\d+\\.example\\.net$/\n2402:2500::/34 expires=2099-12-31\n");
	if (rig.err)
		print_problems(&rig.problems);
	assert_int_equal(rig.err, ERR_NONE);
	policy_stats(rig.policy, &stats);
	assert_int_equal(stats.rules, 3);
	assert_int_equal(stats.image_bytes, rig.image_bytes);
	assert_int_equal(stats.entries, 2 + 4 + 2);
	assert_int_equal(stats.lists, 2); /* a pattern in a rule is none */
	assert_false(stats.wants_inspect);
	assert_false(stats.wants_auth);
	policy_rig_fini(&rig);
}

static void an_empty_policy_is_the_safe_one(void **state)
{
	struct policy_decision decision;
	struct policy_facts facts = policy_rig_facts("example.com", 443);
	struct policy_rig rig;

	(void)state;
	policy_rig_make(&rig, "", NULL, NULL);
	assert_int_equal(rig.err, ERR_NONE);
	policy_decide(rig.policy, &facts, &decision);
	assert_int_equal(decision.answers[POLICY_ACCESS].answer, ACCESS_DENY);
	assert_int_equal(decision.answers[POLICY_TLS].answer, TLS_INSPECT);
	assert_int_equal(decision.answers[POLICY_AUTH].answer, AUTH_EXEMPT); /* nobody is asked unless policy says so */
	policy_rig_fini(&rig);
}

/* Each policy has exactly one error. */
static void errors_name_their_place(void **state)
{
	static const struct {
		const char *name, *policy;
		unsigned line, column;
		const char *text;
	} rows[] = {
		{"top key", "rule: []\n", 1, 1, "rules"},
		{"rules is a mapping", "rules: {a: b}\n", 1, 8, "list"},
		{"lists is a text", "lists: abc\n", 1, 8, "path"},
		{"rule is a text", "rules:\n- abc\n", 2, 3, "a rule is"},
		{"rule without a name", "rules:\n- {then: {access: deny}}\n", 2, 3, "name"},
		{"rule without then", "rules:\n- {name: r}\n", 2, 3, "then"},
		{"unknown key of a rule", "rules:\n- {name: r, wen: {}, then: {access: deny}}\n", 2, 13, "when"},
		{"unknown condition", RULE("form: 10.0.0.0/8", "access: deny"), 2, 20, "from"},
		{"unknown question", RULE("port: 443", "acces: deny"), 2, 39, "access"},
		{"unknown answer", RULE("port: 443", "access: maybe"), 2, 47, "deny, allow"},
		{"answer is a list", RULE("port: 443", "access: [deny]"), 2, 47, "access"},
		{"rate without a unit that is known", RULE("port: 443", "rate: 10MB"), 2, 45, "512K or 10M"},
		{"rate of nothing", RULE("port: 443", "rate: 0"), 2, 45, "none is no limit"},
		{"rate too small", RULE("port: 443", "rate: 1023"), 2, 45, "from 1K"},
		{"rate too large", RULE("port: 443", "rate: 1025G"), 2, 45, "1024G"},
		{"rate is a list", RULE("port: 443", "rate: [1M]"), 2, 45, "rate: write"},
		{"rate of each without rate", RULE("port: 443", "rate: {each: client}"), 2, 45, "rate: write"},
		{"rate of each host", RULE("port: 443", "rate: {each: host, rate: 1M}"), 2, 52, "rule, client, user"},
		{"rate with more", RULE("port: 443", "rate: {rate: 1M, burst: 2M}"), 2, 56, "burst"},
		{"rate in defaults", "defaults: {access: allow, rate: 1M}\n", 1, 11, "rate can only be none"},
		{"misspelt list", "lists: {}\n" "rules:\n- {name: r, when: {to: spark}, then: {access: deny}}\n", 3, 24, "no list"},
		{"bad inline pattern", RULE("to: exa$mple.com", "access: deny"), 2, 24, "pattern"},
		{"bad port", RULE("port: https", "access: deny"), 2, 26, "port"},
		{"bad network", RULE("from: 10.0.0.1/8", "access: deny"), 2, 26, "network"},
		{"bad time", RULE("time: sometimes", "access: deny"), 2, 26, "time"},
		{"empty condition", RULE("to: []", "access: deny"), 2, 24, "empty"},
		{"bad regex", RULE("to: '/(/'", "access: deny"), 2, 24, "regular"},
		{"bad url regex", RULE("url: '/(/'", "access: deny"), 2, 25, "regular"},
		{"resolved without to", RULE("resolved: true", "access: deny"), 2, 3, "to:"},
		{"resolved is a number", RULE("to: example.com, resolved: 1", "access: deny"), 2, 47, "true"},
		{"parent route", RULE("port: 443", "route: {parent: x}"), 2, 46, "parent"},
		{"bad source", RULE("port: 443", "route: {source: x}"), 2, 55, "address"},
		{"auth asks for user", RULE("user: jane", "auth: exempt"), 2, 3, "auth"},
		{"auth asks for group", RULE("group: jane", "auth: exempt"), 2, 3, "auth"},
		{"auth asks for sni", RULE("sni: example.com", "auth: exempt"), 2, 3, "auth"},
		{"auth asks for url", RULE("url: 'http://a/'", "auth: exempt"), 2, 3, "auth"},
		{"auth asks for address", RULE("to: 10.0.0.0/8, resolved: true", "auth: exempt"), 2, 3, "auth"},
		{"route asks for sni", RULE("sni: example.com", "route: direct"), 2, 3, "route"},
		{"route asks for url", RULE("url: 'http://a/'", "route: direct"), 2, 3, "route"},
		{"fields as a text", RULE("port: 443", "request-headers: x"), 2, 56, "write {set: {NAME: VALUE}"},
		{"no fields", RULE("port: 443", "response-headers: {}"), 2, 57, "empty"},
		{"unknown part", RULE("port: 443", "response-headers: {sett: {a: b}}"), 2, 58, "set"},
		{"set is a text", RULE("port: 443", "request-headers: {set: a}"), 2, 62, "{NAME: VALUE}"},
		{"remove is a mapping", RULE("port: 443", "request-headers: {remove: {a: b}}"), 2, 65, "the name of a field"},
		{"framing is set", RULE("port: 443", "request-headers: {set: {content-LENGTH: 1}}"), 2, 63, "where the content ends"},
		{"framing is removed", RULE("port: 443", "response-headers: {remove: Transfer-Encoding}"), 2, 66, "content ends"},
		{"host is set", RULE("port: 443", "request-headers: {set: {A: b, Host: b}}"), 2, 69, "\"Host\" cannot be"},
		{"connection", RULE("port: 443", "request-headers: {remove: [A, Connection]}"), 2, 69, "one connection"},
		{"between client and proxy", RULE("port: 443", "response-headers: {remove: proxy-Status}"), 2, 66, "its proxy"},
		{"via", RULE("port: 443", "response-headers: {remove: Via}"), 2, 66, "loops"},
		{"pseudo header", RULE("port: 443", "request-headers: {set: {':path': /}}"), 2, 63, "pseudo"},
		{"no name", RULE("port: 443", "request-headers: {set: {'a b': /}}"), 2, 63, "a name is"},
		{"no value", RULE("port: 443", "request-headers: {set: {a: }}"), 2, 66, "no text"},
		{"a line end in a value", RULE("port: 443", "request-headers: {set: {a: \"b\\r\\nHost: c\"}}"), 2, 66, "control"},
		{"a blank behind a value", RULE("port: 443", "request-headers: {set: {a: 'b '}}"), 2, 66, "blank"},
		{"a field twice", RULE("port: 443", "request-headers: {set: {A: b}, remove: a}"), 2, 78, "twice"},
		{"fields as default", "defaults: {access: deny, request-headers: {remove: a}}\n", 1, 11, "last rule without when"},
		{"no type", RULE("content-type: video", "access: deny"), 2, 34, "no media type"},
		{"every type", RULE("content-type: '*/*'", "access: deny"), 2, 34, "no media type"},
		{"type with a parameter", RULE("content-type: [none, text/html; a=b]", "access: deny"), 2, 41, "write text/html"},
		{"auth asks for a type", RULE("content-type: video/*", "auth: exempt"), 2, 3, "before there is a response"},
		{"tls asks for a type", RULE("content-type: video/*", "tls: bypass"), 2, 3, "before there is a response"},
		{"the request's fields ask for a type", RULE("content-type: video/*", "request-headers: none"), 2, 3,
		 "access, response-headers and log"},
		{"unanchored regex loosens", RULE("to: '/example/'", "access: allow"), 2, 1, "anchored"},
		{"half anchored regex loosens", RULE("to: '/^example/'", "tls: bypass"), 2, 1, "anchored"},
		{"alternative loosens", RULE("to: '/^a|b$/'", "tls: bypass"), 2, 1, "anchored"},
		{"defaults is a text", "defaults: allow\n", 1, 11, "defaults"},
		{"source as default", "defaults: {route: {source: 192.0.2.1}}\n", 1, 11, "source"},
		{"no default ports", "defaults: {access: allow, ports: []}\n", 1, 34, "write the ports"},
		{"ports in a rule", RULE("port: 443", "ports: 443"), 2, 39, "ports"},
		{"list file is missing", "lists: {x: missing.list}\n" RULE("to: x", "access: deny"), 0, 0, "cannot be read"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *file = rows[i].line ? "policy.yaml" : "missing.list";
		struct policy_rig rig;

		policy_rig_make(&rig, rows[i].policy, NULL, NULL);
		if (rig.err != ERR_CONFIG || rig.problems.error_count != 1 ||
		    !has_problem(&rig.problems, PROBLEM_ERROR, file, rows[i].line, rows[i].column,
		                 rows[i].text)) {
			print_message("wrong: %s\n", rows[i].name);
			print_problems(&rig.problems);
			policy_rig_fini(&rig);
			fail();
		}
		policy_rig_fini(&rig);
	}
}

/* Bounds of an answer's fields: as many as there may be are taken, and one more is not. */
static void fields_are_not_too_many(void **state)
{
	static const struct {
		unsigned count, bytes; /* fields, and bytes of each value */
		const char *text;      /* NULL: it is good */
	} rows[] = {
		{POLICY_HEADER_EDITS_MAX, 10, NULL},
		{POLICY_HEADER_EDITS_MAX + 1, 10, "more than 32 fields"},
		{1, POLICY_HEADER_VALUE_MAX_BYTES, NULL},
		{1, POLICY_HEADER_VALUE_MAX_BYTES + 1, "longer than 8192 bytes"},
		{2, POLICY_HEADER_VALUE_MAX_BYTES, "more than 16384 bytes together"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_rig rig;
		struct buf text;

		buf_init(&text, 1 << 16);
		buf_add_string(&text, "rules:\n- name: r\n  then:\n    request-headers:\n      set:\n");
		for (unsigned j = 0; j < rows[i].count; j++)
			buf_printf(&text, "        x%u: \"%0*u\"\n", j, (int)rows[i].bytes, 0u);
		policy_rig_init(&rig);
		policy_rig_write(&rig, "policy.yaml", buf_span(&text));
		policy_rig_compile(&rig);
		if (rows[i].text)
			assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "policy.yaml", 5 + rows[i].count, 13 + (rows[i].count > 10),
			                        rows[i].text));
		assert_int_equal(rig.err, rows[i].text ? ERR_CONFIG : ERR_NONE);
		buf_fini(&text);
		policy_rig_fini(&rig);
	}
}

/* What only looks anchored: the anchor is quoted, escaped or a comment, or another alternative has none. */
static void anchors_hold_for_the_whole_expression(void **state)
{
	static const struct {
		const char *regex;
		bool ok;
	} rows[] = {
		{"^a$", true}, {"^$", true}, {"^(a|b)$", true}, {"^[]|(]$", true}, {"^[[:alpha:]|]$", true},
		{"^a\\\\$", true}, {"^(?i)a$", true}, {"^a(?#|)b$", true}, {"^a\\Q|\\E$", true},
		{"a$", false}, {"^a", false}, {"^a|b$", false}, {"^a[(]x|b$", false}, {"^a|^b$", false},
		{"^|(a)$", false}, {"^a\\$", false}, {"^a\\c$", false}, {"^a\\Q$", false},
		{"^a\\Q(\\Ex|b$", false}, {"^(?x)a#$", false}, {"^(?i)a|b$", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_rig rig;
		char policy[200];
		enum err err;

		snprintf(policy, sizeof(policy), RULE("to: '/%s/'", "tls: bypass"), rows[i].regex);
		policy_rig_make(&rig, policy, NULL, NULL);
		err = rig.err;
		policy_rig_fini(&rig);
		if ((err == ERR_NONE) != rows[i].ok)
			fail_msg("/%s/ is %s", rows[i].regex, err ? "refused" : "taken");
	}
}

/* "In a list that loosens it must be anchored at both ends": also where the list stands in sni. */
static void an_sni_list_that_loosens_is_anchored(void **state)
{
	struct policy_rig rig;
	enum err err;

	(void)state;
	policy_rig_make(&rig, RULE("sni: '/example/'", "tls: bypass"), NULL, NULL);
	err = rig.err;
	policy_rig_fini(&rig);
	assert_int_equal(err, ERR_CONFIG);
}

static void all_errors_come_at_once(void **state)
{
	struct policy_rig rig;

	(void)state;
	policy_rig_make(&rig,
	                "lists: {a: a.list, b: b.list}\n"
	                "rules:\n"
	                "- {name: r, when: {to: a, port: x}, then: {access: perhaps}}\n"
	                "- {when: {to: [b, nolist]}, then: {tls: bypass}}\n"
	                "defaults: {access: yes}\n",
	                "good.example\nbad$.example\n\n# fine\n*.two example\n",
	                "10.0.0.1/8\nexample.com ports=0\n/(/\n");
	assert_int_equal(rig.err, ERR_CONFIG);
	if (rig.problems.error_count != 10)
		print_problems(&rig.problems);
	assert_int_equal(rig.problems.error_count, 10);
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "a.list", 2, 1, "letters"));
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "a.list", 5, 7, "key=value"));
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "b.list", 1, 1, "network"));
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "b.list", 2, 13, "ports="));
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "b.list", 3, 3, "regular"));
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "policy.yaml", 3, 33, "port"));
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "policy.yaml", 3, 52, "answer"));
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "policy.yaml", 4, 3, "name"));
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "policy.yaml", 4, 19, "no list"));
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "policy.yaml", 5, 20, "answer"));
	policy_rig_fini(&rig);
}

static void expired_and_unused_things_are_warned_of(void **state)
{
	struct policy_rig rig;

	(void)state;
	policy_rig_make(&rig, "lists: {a: a.list, b: b.list}\n" RULE("to: a", "access: allow")
	                "defaults: {access: deny}\n",
	                "old.example expires=2001-01-01\nnew.example expires=2999-01-01\n",
	                "example.com\n");
	assert_int_equal(rig.err, ERR_NONE);
	assert_int_equal(rig.problems.warning_count, 2);
	assert_true(has_problem(&rig.problems, PROBLEM_WARNING, "a.list", 1, 1, "expired"));
	assert_true(has_problem(&rig.problems, PROBLEM_WARNING, "policy.yaml", 1, 1, "no rule uses"));
	policy_rig_fini(&rig);
}

static void a_list_that_may_be_a_part_is_warned_of(void **state)
{
	struct policy_rig rig;

	(void)state;
	policy_rig_make(&rig, "lists: {a: [a.list, b.list]}\n" RULE("to: a", "access: allow") "defaults: {access: deny}\n",
	                "one.example\ntwo.exam", "three.example\n");
	assert_int_equal(rig.err, ERR_NONE);
	assert_int_equal(rig.problems.warning_count, 1);
	assert_true(has_problem(&rig.problems, PROBLEM_WARNING, "a.list", 2, 1, "is it whole?"));
	policy_rig_fini(&rig);
}

static void long_lines_are_refused(void **state)
{
	struct policy_rig rig;
	char *line = malloc(70001);

	(void)state;
	memset(line, 'x', 70000);
	line[70000] = 0;
	memcpy(line, "example.com # ", 14);
	policy_rig_make(&rig, "lists: {a: a.list}\n" RULE("to: a", "access: deny"), line, NULL);
	free(line);
	assert_int_equal(rig.err, ERR_CONFIG);
	assert_true(has_problem(&rig.problems, PROBLEM_ERROR, "a.list", 1, 1, "longer"));
	policy_rig_fini(&rig);
}

static uint64_t hash_of(const char *policy, const char *list)
{
	struct policy_stats stats = {0};
	struct policy_rig rig;

	policy_rig_make(&rig, policy, list, "example.org\n");
	if (rig.policy)
		policy_stats(rig.policy, &stats);
	policy_rig_fini(&rig);
	return stats.generation_hash;
}

/* "The same policy has the same number on every machine", and another one another. */
static void the_generation_tells_policies_apart(void **state)
{
	static const struct {
		const char *name, *one, *other;
	} rows[] = {
		{"answer", RULE("port: 443", "access: deny"), RULE("port: 443", "access: allow")},
		{"port", RULE("port: 443", "access: deny"), RULE("port: 444", "access: deny")},
		{"name", RULE("to: a.example", "access: deny"), RULE("to: b.example", "access: deny")},
		{"kind", RULE("to: .example.com", "access: deny"), RULE("to: ['*example.com']", "access: deny")},
		{"default", "defaults: {access: allow}\n", "defaults: {access: deny}\n"},
		{"from", RULE("from: 10.0.0.0/8", "access: deny"), RULE("from: 11.0.0.0/8", "access: deny")},
		{"time", RULE("time: mon", "access: deny"), RULE("time: tue", "access: deny")},
		{"list", "lists: {a: a.list, b: b.list}\n" RULE("to: a", "access: deny"),
		 "lists: {a: a.list, b: b.list}\n" RULE("to: b", "access: deny")},
	};
	static const char *const lists[] = {"example.com\n", ".example.com\n", "example.com ports=80\n",
	                                    "example.com expires=2099-01-01\n", "example.net\n"};
	static const char listed[] = "lists: {a: a.list}\n" RULE("to: a", "access: deny");
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lists); i++)
		for (size_t j = 0; j < COUNT_OF(lists); j++)
			assert_int_equal(hash_of(listed, lists[i]) == hash_of(listed, lists[j]), i == j);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (hash_of(rows[i].one, lists[0]) != hash_of(rows[i].other, lists[0]))
			continue;
		print_message("the same number for two policies that differ in: %s\n", rows[i].name);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_policy_compiles),
		cmocka_unit_test(an_empty_policy_is_the_safe_one),
		cmocka_unit_test(errors_name_their_place),
		cmocka_unit_test(fields_are_not_too_many),
		cmocka_unit_test(anchors_hold_for_the_whole_expression),
		cmocka_unit_test(an_sni_list_that_loosens_is_anchored),
		cmocka_unit_test(all_errors_come_at_once),
		cmocka_unit_test(expired_and_unused_things_are_warned_of),
		cmocka_unit_test(a_list_that_may_be_a_part_is_warned_of),
		cmocka_unit_test(long_lines_are_refused),
		cmocka_unit_test(the_generation_tells_policies_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
