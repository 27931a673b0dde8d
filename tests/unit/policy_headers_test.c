/* SPDX-License-Identifier: Apache-2.0 */
/* What rules set and remove in the heads of messages, and what they say of the type of a response. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy_rig.h"

static struct policy_rig rig;

static int close_rig(void **state)
{
	(void)state;
	policy_rig_fini(&rig);
	return 0;
}

static void open_rig(const char *policy)
{
	policy_rig_make(&rig, policy, NULL, NULL);
	if (rig.err) {
		for (const struct problem *p = rig.problems.first; p; p = p->next)
			print_message("%s:%u:%u: %s\n", p->file, p->line, p->column, p->text);
		fail_msg("the policy of the test does not compile");
	}
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

/* ---- fields ---- */

/* "+A: x, -B" */
static void check_edits(const char *row, const struct policy_decision *decision, enum policy_question question,
                        const char *want)
{
	struct policy_header_edit edits[POLICY_HEADER_EDITS_MAX];
	struct buf text;
	size_t count;

	if (decision->open >> question & 1)
		fail_msg("%s: %s is open", row, policy_question_name(question));
	count = policy_header_edits(rig.policy, question, &decision->answers[question], edits);
	buf_init(&text, 1000);
	for (size_t i = 0; i < count; i++) {
		buf_printf(&text, "%s%s%.*s", i ? ", " : "", edits[i].is_set ? "+" : "-", SPAN_ARG(edits[i].name));
		if (edits[i].is_set)
			buf_printf(&text, ": %.*s", SPAN_ARG(edits[i].value));
	}
	if (!span_equal(buf_span(&text), span_from(want)))
		fail_msg("%s: %s is %.*s, not %s", row, policy_question_name(question), SPAN_ARG(buf_span(&text)), want);
	buf_fini(&text);
}

/* The first rule decides, whole: its edits are not added to those of others. No other name and no other spelling gets rid of
 * them, and the authority's go before those of other names. */
static void fields_follow_the_first_rule(void **state)
{
	static const struct {
		const char *name, *host, *inner, *url, *request, *response;
		uint16_t port;
	} rows[] = {
		{"first", "a.example", "", "http://a.example/", "+A: x, -B", "+S: ", 80},
		{"every port", "a.example", "", "http://a.example:22/", "+A: x, -B", "+S: ", 22},
		{"none by a rule", "a.example", "", "http://a.example/plain", "", "+S: ", 80},
		{"none by a rule, spelled otherwise", "a.example", "", "http://a.example/%70lain", "+A: x, -B", "+S: ", 80},
		{"other", "b.example", "", "http://b.example/", "", "-T, -U", 80},
		{"by its URL", "b.example", "", "http://b.example/only", "+C: z", "-T, -U", 80},
		{"by its URL, spelled otherwise", "b.example", "", "http://b.example/%6fnly", "+C: z", "-T, -U", 80},
		{"by another name", "b.example", "a.example", "http://b.example/", "+A: x, -B", "-T, -U", 80},
		{"by both names", "b.example", "a.example", "http://b.example/only", "+C: z", "-T, -U", 80},
	};

	(void)state;
	open_rig("rules:\n"
	         "- {name: p, when: {url: 'http://a.example/plain'}, then: {request-headers: none}}\n"
	         "- {name: a, when: {to: a.example}, then: {request-headers: {set: {A: x}, remove: B}, response-headers: {set: {S: ''}}}}\n"
	         "- {name: b, when: {url: 'http://b.example/only'}, then: {request-headers: {set: {C: z}}}}\n"
	         "- {name: l, then: {response-headers: {remove: [T, U]}}}\n"
	         "defaults: {access: allow, ports: 1-65535}\n");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts(rows[i].host, rows[i].port);
		struct policy_decision decision;

		facts.known |= FACT_REQUEST;
		facts.method = SPAN("GET");
		facts.url = span_from(rows[i].url);
		facts.inner_host = span_from(rows[i].inner);
		decision = decide(&facts);
		check_edits(rows[i].name, &decision, POLICY_REQUEST_HEADERS, rows[i].request);
		check_edits(rows[i].name, &decision, POLICY_RESPONSE_HEADERS, rows[i].response);
	}
}

/* Where a condition is never known no field is set. */
static void fields_are_not_set_on_a_guess(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n- {name: r, when: {user: jane}, then: {request-headers: {set: {A: x}}}}\n"
	         "defaults: {access: allow}\n");
	decision = decide(&facts);
	assert_int_equal(decision.open, 1u << POLICY_REQUEST_HEADERS);
	assert_int_equal(decision.need, FACT_USER);
	facts.absent = FACT_USER;
	decision = decide(&facts);
	check_answer("absent", &decision, POLICY_REQUEST_HEADERS, HEADERS_NONE, "defaults");
}

/* ---- types ---- */

static void types_match(void **state)
{
	static const struct {
		const char *type;
		bool match;
	} rows[] = {
		{"video/mp4", true}, {"VIDEO/WebM", true}, {"videos/mp4", false}, {"video", false},
		{"audio/video", false}, {"application/x-msdownload", true}, {"Application/X-MSDownload", true},
		{"application/x-msdownload2", false}, {"application/x-msdownloa", false}, {"", true}, {"none", false},
	};

	(void)state;
	open_rig("rules:\n- {name: r, when: {content-type: [Application/x-msdownload, video/*, none]}, then: {access: deny}}\n"
	         "defaults: {access: allow, ports: 1-65535}\n");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts("a.example", 443);
		struct policy_decision decision;

		facts.known = FACT_RESPONSE;
		facts.content_type = span_from(rows[i].type);
		decision = decide(&facts);
		check_answer(rows[i].type, &decision, POLICY_ACCESS, rows[i].match ? ACCESS_DENY : ACCESS_ALLOW,
		             rows[i].match ? "r" : "defaults");
	}
}

/* What the field says, type by type: parameters and what is no type are no part of it. */
static void types_are_cut_off(void **state)
{
	static const struct {
		const char *value, *types; /* with a blank between */
	} rows[] = {
		{"text/html", "text/html "}, {" Text/HTML ;charset=utf-8", "Text/HTML "}, {"", ""}, {"html", ""}, {"*/*", ""},
		{"text/*", ""}, {"a/b, c/d;x=y , e/f", "a/b c/d e/f "}, {"multipart/x; b=\"p,q\"", "multipart/x "},
		{"a/b/c", ""}, {"a b/c", ""}, {"/b", ""}, {"a/", ""}, {",,a/b", "a/b "},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct span rest = span_from(rows[i].value), type;
		struct buf text;

		buf_init(&text, 1000);
		while (policy_content_type_next(&rest, &type))
			buf_printf(&text, "%.*s ", SPAN_ARG(type));
		if (!span_equal(buf_span(&text), span_from(rows[i].types)))
			fail_msg("\"%s\": %.*s", rows[i].value, SPAN_ARG(buf_span(&text)));
		buf_fini(&text);
	}
}

/* The response comes when all else is answered; where there is none, what denies holds. */
static void types_are_waited_for(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	struct policy_decision decision;

	(void)state;
	open_rig("rules:\n"
	         "- {name: r, when: {content-type: text/*}, then: {access: allow, log: none, response-headers: {remove: A}}}\n"
	         "- {name: s, when: {content-type: none, to: b.example}, then: {access: deny}}\n"
	         "defaults: {access: allow}\n");
	decision = decide(&facts);
	assert_int_equal(decision.need, FACT_RESPONSE);
	assert_int_equal(decision.open, 1u << POLICY_ACCESS | 1u << POLICY_LOG | 1u << POLICY_RESPONSE_HEADERS);
	check_answer("not waited for", &decision, POLICY_REQUEST_HEADERS, HEADERS_NONE, "defaults");
	facts.absent = FACT_RESPONSE;
	decision = decide(&facts);
	assert_int_equal(decision.need, 0);
	check_answer("absent", &decision, POLICY_ACCESS, ACCESS_ALLOW, "defaults");
	check_answer("absent", &decision, POLICY_LOG, LOG_FULL, "defaults");
	check_edits("absent", &decision, POLICY_RESPONSE_HEADERS, "");
	facts.host = SPAN("b.example");
	decision = decide(&facts);
	check_answer("absent, denies", &decision, POLICY_ACCESS, ACCESS_DENY, "s");
	facts.absent = 0;
	facts.known = FACT_RESPONSE;
	facts.content_type = SPAN("text/plain");
	decision = decide(&facts);
	check_answer("known", &decision, POLICY_ACCESS, ACCESS_ALLOW, "r");
	check_edits("known", &decision, POLICY_RESPONSE_HEADERS, "-A");
}

int main(void)
{
#define ONE(name) cmocka_unit_test_teardown(name, close_rig)
	const struct CMUnitTest tests[] = {
		ONE(fields_follow_the_first_rule),
		ONE(fields_are_not_set_on_a_guess),
		ONE(types_match),
		cmocka_unit_test(types_are_cut_off),
		ONE(types_are_waited_for),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
