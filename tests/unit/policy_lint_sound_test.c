/* SPDX-License-Identifier: Apache-2.0 */
/* What the linter calls dead can be deleted: policies at random, each once as it is and once without what was called
 * dead, must decide the same of every session. LINT_ROUNDS in the environment: more of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy_rig.h"

enum { ROUNDS = 600, SESSIONS = 60, RULES_MAX = 8, LINES_MAX = 10, INLINE_MAX = 3, LIST_COUNT = 3 };

/* xorshift: the same on every machine. */
static uint64_t seed;

static unsigned roll(unsigned sides)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 33) % sides;
}

static bool chance(unsigned of_100)
{
	return roll(100) < of_100;
}

#define PICK(table) (table)[roll(COUNT_OF(table))]

static const char *const patterns[] = {
	"a.example", "*.a.example", ".a.example", "b.a.example", "*.b.a.example", ".b.a.example", "c.b.a.example",
	".example", "*b*.a.example", "c.*a*.example", "*.c*.a.example", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.1.2.0/24",
	"2001:db8::/32", "2001:db8::1", "d.example", ".d.example", "/^[ab]\\.a\\.example$/",
};
static const char *const ports[] = {"443", "80,443", "22", "20-30", "1-1000", "8000-9000,22"};
static const char *const expiries[] = {"2026-11-25", "2026-12-20", "2998-01-01"};
static const char *const answers[] = {
	"access: allow", "access: deny", "tls: bypass", "tls: inspect", "auth: exempt", "auth: required", "class: media",
	"class: bulk", "log: none", "log: brief", "request-headers: {remove: B}", "request-headers: {set: {B: y}}",
	"response-headers: none", "response-headers: {set: {A: x}}",
};
static const char *const list_names[LIST_COUNT] = {"a", "b", "c"};

struct line {
	char text[100];
	bool is_dead;
};

struct rule {
	bool lists[LIST_COUNT];
	struct line inlines[INLINE_MAX];
	size_t inline_count;
	char conditions[300];              /* others than to */
	const char *answers[COUNT_OF(answers)]; /* at most one of a question */
	bool has_to, may_auth;
	bool answer_is_dead[COUNT_OF(answers)];
	size_t answer_count;
};

struct made {
	struct line lines[LIST_COUNT][LINES_MAX];
	size_t line_counts[LIST_COUNT];
	struct rule rules[RULES_MAX];
	size_t rule_count;
	const char *defaults;
};

/* ---- made at random ---- */

static bool is_question(const char *answer, const char *question)
{
	return strncmp(answer, question, strlen(question)) == 0;
}

static void make_line(struct line *line)
{
	struct buf text;

	buf_init(&text, sizeof(line->text));
	buf_add_string(&text, PICK(patterns));
	if (chance(30))
		buf_printf(&text, " ports=%s", PICK(ports));
	if (chance(15))
		buf_printf(&text, " expires=%s", PICK(expiries));
	snprintf(line->text, sizeof(line->text), "%.*s", SPAN_ARG(buf_span(&text)));
	line->is_dead = false;
	buf_fini(&text);
}

/* What asks for the type of a response can answer little. */
static bool may_answer(const struct rule *rule, const char *answer)
{
	if (is_question(answer, "auth") && !rule->may_auth)
		return false;
	return strstr(rule->conditions, "content-type") == NULL || is_question(answer, "access") ||
	       is_question(answer, "log") || is_question(answer, "response-headers");
}

static void make_answers(struct rule *rule)
{
	rule->answer_count = 0;
	while (rule->answer_count == 0) {
		for (size_t i = 0; i < COUNT_OF(answers); i += 2) {
			if (!chance(35) || !may_answer(rule, answers[i]))
				continue;
			rule->answers[rule->answer_count++] = answers[i + roll(2)];
		}
	}
}

static void make_rule(struct rule *rule)
{
	static const char *const always[] = {
		"port: 443", "port: [80, 443]", "port: 1-1000", "from: 10.0.0.0/8", "from: [10.1.0.0/16, 192.0.2.0/24]",
		"listener: x", "listener: [x, y]", "method: GET", "method: [GET, CONNECT]", "time: mon-fri 08:00-18:00",
		"time: tue 09:00-12:00", "time: ['mon 22:00-06:00', 'tue 06:00-20:00']", "time: tue",
	};
	static const char *const late[] = {
		"user: jane", "user: [jane, joe]", "group: g", "url: 'http://a.example/'", "url: 'http://a.example/x'",
		"sni: a", "sni: [a, b]", "sni: .b.a.example", "content-type: none", "content-type: [video/*, text/html]",
		"content-type: video/*",
	};
	struct buf text;
	bool is_late = false, is_resolved;

	*rule = (struct rule){.has_to = chance(75)};
	buf_init(&text, sizeof(rule->conditions));
	for (size_t i = 0; i < COUNT_OF(always); i++)
		if (chance(7) && span_find_span(buf_span(&text), span_first(span_from(always[i]), 4)) == buf_len(&text))
			buf_printf(&text, ", %s", always[i]);
	for (size_t i = 0; i < COUNT_OF(late); i++) {
		if (!chance(6) || span_find_span(buf_span(&text), span_first(span_from(late[i]), 4)) < buf_len(&text))
			continue;
		buf_printf(&text, ", %s", late[i]);
		is_late = true;
	}
	is_resolved = rule->has_to && chance(15);
	if (is_resolved)
		buf_add_string(&text, ", resolved: true");
	snprintf(rule->conditions, sizeof(rule->conditions), "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
	for (size_t i = 0; i < LIST_COUNT; i++)
		rule->lists[i] = rule->has_to && chance(40);
	for (size_t i = 0; rule->has_to && i < INLINE_MAX; i++)
		if (chance(25) || (i == 0 && !rule->lists[0] && !rule->lists[1] && !rule->lists[2]))
			snprintf(rule->inlines[rule->inline_count++].text, sizeof(rule->inlines[0].text), "%s",
			         patterns[roll(COUNT_OF(patterns) - 1)]);
	rule->may_auth = !is_late && !is_resolved;
	make_answers(rule);
}

/* The same conditions as an earlier one, perhaps some more, and other answers: what is dead is no rare thing then. */
static void make_similar(struct rule *rule, const struct rule *earlier)
{
	static const char *const more[] = {", listener: x", ", from: 10.1.0.0/16", ", port: 443", ", user: jane"};
	const char *add = PICK(more);
	size_t len = strlen(earlier->conditions);

	*rule = *earlier;
	if (chance(50) &&
	    span_find_span(span_from(earlier->conditions), span_first(span_from(add + 2), 4)) == len) {
		snprintf(rule->conditions + len, sizeof(rule->conditions) - len, "%s", add);
		rule->may_auth = rule->may_auth && strstr(add, "user") == NULL;
	}
	if (rule->has_to && chance(30))
		rule->lists[roll(LIST_COUNT)] = true;
	make_answers(rule);
}

static void make(struct made *made)
{
	static const char *const defaults[] = {
		"{access: deny, tls: bypass, auth: exempt}", "{access: allow, tls: inspect, auth: required}",
		"{access: allow, tls: bypass, auth: exempt, ports: [22, 443]}",
	};

	*made = (struct made){.rule_count = 1 + roll(RULES_MAX), .defaults = PICK(defaults)};
	for (size_t i = 0; i < LIST_COUNT; i++) {
		made->line_counts[i] = roll(LINES_MAX + 1);
		for (size_t j = 0; j < made->line_counts[i]; j++)
			make_line(&made->lines[i][j]);
	}
	for (size_t i = 0; i < made->rule_count; i++)
		if (i && chance(35))
			make_similar(&made->rules[i], &made->rules[roll((unsigned)i)]);
		else
			make_rule(&made->rules[i]);
}

/* ---- as files: rule n stands in line n + 3 of policy.yaml, whatever is left of it ---- */

static void add_to(const struct rule *rule, struct buf *out)
{
	const char *between = "to: [";

	for (size_t i = 0; i < LIST_COUNT; i++) {
		if (!rule->lists[i])
			continue;
		buf_printf(out, "%s%s", between, list_names[i]);
		between = ", ";
	}
	for (size_t i = 0; i < rule->inline_count; i++) {
		if (rule->inlines[i].is_dead)
			continue;
		buf_printf(out, "%s'%s'", between, rule->inlines[i].text);
		between = ", ";
	}
	/* Without any it would be for all. */
	buf_add_string(out, between[0] == 't' ? "to: nobody.invalid" : "]");
}

static void add_rule(const struct rule *rule, size_t index, struct buf *out)
{
	const char *between = "";
	bool is_left = false;

	for (size_t i = 0; i < rule->answer_count; i++)
		is_left |= !rule->answer_is_dead[i];
	if (!is_left) {
		buf_add_string(out, "# nothing is left of it\n");
		return;
	}
	buf_printf(out, "- {name: r%zu, when: {", index);
	if (rule->has_to)
		add_to(rule, out);
	buf_printf(out, "%s}, then: {", rule->conditions + (rule->has_to || !rule->conditions[0] ? 0 : 2));
	for (size_t i = 0; i < rule->answer_count; i++) {
		if (rule->answer_is_dead[i])
			continue;
		buf_printf(out, "%s%s", between, rule->answers[i]);
		between = ", ";
	}
	buf_add_string(out, "}}\n");
}

static void compile(const struct made *made, struct policy_rig *rig)
{
	struct buf text;

	policy_rig_init(rig);
	buf_init(&text, 1 << 16);
	buf_printf(&text, "lists: {a: a.list, b: b.list, c: c.list}\nrules:\n");
	for (size_t i = 0; i < made->rule_count; i++)
		add_rule(&made->rules[i], i, &text);
	buf_printf(&text, "defaults: %s\n", made->defaults);
	policy_rig_write(rig, "policy.yaml", buf_span(&text));
	for (size_t i = 0; i < LIST_COUNT; i++) {
		char name[16];

		buf_reset(&text);
		for (size_t j = 0; j < made->line_counts[i]; j++)
			buf_printf(&text, "%s\n", made->lines[i][j].is_dead ? "" : made->lines[i][j].text);
		snprintf(name, sizeof(name), "%s.list", list_names[i]);
		policy_rig_write(rig, name, buf_span(&text));
	}
	buf_fini(&text);
	policy_rig_compile(rig);
}

static void print_made(const struct made *made)
{
	for (size_t i = 0; i < LIST_COUNT; i++)
		for (size_t j = 0; j < made->line_counts[i]; j++)
			print_message("%s.list:%zu: %s%s\n", list_names[i], j + 1, made->lines[i][j].text,
			              made->lines[i][j].is_dead ? "   (dead)" : "");
	for (size_t i = 0; i < made->rule_count; i++) {
		struct buf text;

		buf_init(&text, 2000);
		add_rule(&made->rules[i], i, &text);
		print_message("policy.yaml:%zu: %.*s", i + 3, SPAN_ARG(buf_span(&text)));
		buf_fini(&text);
	}
	print_message("defaults: %s\n", made->defaults);
}

/* ---- what was called dead ---- */

static void kill_rule(struct made *made, const struct problem *problem)
{
	struct rule *rule = &made->rules[problem->line - 3];
	const char *at = strstr(problem->text, "never reached for ");
	struct span questions = at ? span_from(at + strlen("never reached for ")) : SPAN("");

	questions = span_first(questions, span_find(questions, ':'));
	for (size_t i = 0; i < rule->answer_count; i++) {
		struct span question = span_first(span_from(rule->answers[i]), span_find(span_from(rule->answers[i]), ':'));

		if (problem->code == PROBLEM_DUPLICATE_RULE || span_find_span(questions, question) < questions.len)
			rule->answer_is_dead[i] = true;
	}
}

static void kill_inline(struct made *made, const struct problem *problem)
{
	struct rule *rule = &made->rules[problem->line - 3];
	struct span text = span_from(problem->text);

	text = span_first(text, span_find(text, ' '));
	for (size_t i = 0; i < rule->inline_count; i++) {
		if (rule->inlines[i].is_dead || !span_equal(span_from(rule->inlines[i].text), text))
			continue;
		rule->inlines[i].is_dead = true;
		return;
	}
	fail_msg("no pattern in the rule: %s", problem->text);
}

static bool kill(struct made *made, const struct problem *problem, bool entries)
{
	struct span file = span_from(problem->file);
	bool is_policy = span_ends_with(file, SPAN("policy.yaml"));
	bool is_entry = problem->code == PROBLEM_COVERED_ENTRY || problem->code == PROBLEM_OVERRULED_ENTRY ||
	                problem->code == PROBLEM_DUPLICATE_ENTRY;

	if (!entries && (problem->code == PROBLEM_SHADOWED_RULE || problem->code == PROBLEM_DUPLICATE_RULE))
		kill_rule(made, problem);
	else if (entries && is_entry && is_policy)
		kill_inline(made, problem);
	else if (entries && is_entry)
		made->lines[file.at[file.len - 6] - 'a'][problem->line - 1].is_dead = true;
	else
		return false;
	return true;
}

/* ---- sessions ---- */

static struct policy_facts make_facts(void)
{
	static const char *const hosts[] = {"a.example", "b.a.example", "c.b.a.example", "x.c.b.a.example", "d.example",
	                                    "c.a.example", "x.d.example", "other.test", "10.1.2.3", "10.9.9.9", "2001:db8::1"};
	static const char *const clients[] = {"10.1.0.1", "10.2.0.1", "192.0.2.1", "198.51.100.1"};
	static const char *const addresses[] = {"10.1.2.3", "10.1.2.4", "10.9.9.9", "192.0.2.9", "2001:db8::1"};
	static const uint16_t numbers[] = {443, 80, 22, 25, 8443, 500};
	static const char *const urls[] = {"http://a.example/", "http://a.example/x/y", "http://d.example/"};
	static const char *const methods[] = {"CONNECT", "GET", "POST", ""};
	static const char *const types[] = {"", "text/html", "Video/mp4", "text/plain"};
	static struct span groups[2];
	struct policy_facts facts = policy_rig_facts(PICK(hosts), PICK(numbers));

	assert_true(address_parse(span_from(PICK(clients)), &facts.from));
	facts.listener = chance(50) ? SPAN("x") : SPAN("y");
	facts.known = facts.known | roll(32);
	facts.absent = ~facts.known & roll(32);
	facts.content_type = span_from(PICK(types));
	if (!facts.host_address.family)
		assert_true(address_parse(span_from(PICK(addresses)), &facts.address));
	facts.sni = chance(80) ? span_from(PICK(hosts)) : SPAN("");
	facts.inner_host = chance(30) ? span_from(PICK(hosts)) : SPAN("");
	facts.user = chance(50) ? SPAN("jane") : SPAN("joe");
	groups[0] = SPAN("g");
	groups[1] = SPAN("h");
	facts.groups = groups;
	facts.group_count = roll(3);
	facts.method = span_from(PICK(methods));
	facts.url = span_from(PICK(urls));
	facts.wall_ms += (uint64_t)roll(60 * 24) * 3600000 / 2;
	return facts;
}

static bool has_same_edits(const struct policy_rig *whole, const struct policy_rig *rest, enum policy_question question,
                           const struct policy_decision *a, const struct policy_decision *b)
{
	struct policy_header_edit one[POLICY_HEADER_EDITS_MAX], other[POLICY_HEADER_EDITS_MAX];
	size_t count = policy_header_edits(whole->policy, question, &a->answers[question], one);

	if (a->open >> question & 1)
		return true;
	if (policy_header_edits(rest->policy, question, &b->answers[question], other) != count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (one[i].is_set != other[i].is_set || !span_equal(one[i].name, other[i].name) ||
		    !span_equal(one[i].value, other[i].value))
			return false;
	return true;
}

static bool is_same(const struct policy_decision *a, const struct policy_decision *b)
{
	if (a->need != b->need || a->open != b->open)
		return false;
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (a->needs[q] != b->needs[q] || (!(a->open >> q & 1) && a->answers[q].answer != b->answers[q].answer))
			return false;
	return true;
}

/* A permission that is never reached may keep a denial from being certain before all is known: then it is denied a step later. */
static bool is_certain_too_late(const struct policy_decision *whole, const struct policy_decision *rest)
{
	return whole->open == (rest->open | 1u << POLICY_ACCESS) && whole->open != rest->open &&
	       rest->answers[POLICY_ACCESS].answer == ACCESS_DENY;
}

static void compare(const struct made *made, const struct policy_rig *whole, const struct policy_rig *rest)
{
	for (int i = 0; i < SESSIONS; i++) {
		struct policy_facts facts = make_facts();
		struct policy_decision a, b;

		policy_decide(whole->policy, &facts, &a);
		policy_decide(rest->policy, &facts, &b);
		if (is_certain_too_late(&a, &b)) {
			facts.known |= a.need | b.need;
			policy_decide(whole->policy, &facts, &a);
			policy_decide(rest->policy, &facts, &b);
		}
		if (is_same(&a, &b) && has_same_edits(whole, rest, POLICY_REQUEST_HEADERS, &a, &b) &&
		    has_same_edits(whole, rest, POLICY_RESPONSE_HEADERS, &a, &b))
			continue;
		print_made(made);
		for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
			print_message("%s: %u %u, open %u %u\n", policy_question_name((enum policy_question)q),
			              a.answers[q].answer, b.answers[q].answer, a.open >> q & 1, b.open >> q & 1);
		for (const struct problem *p = whole->problems.first; p; p = p->next)
			print_message("%s:%u: %s [%s]\n", p->file, p->line, p->text, problem_row(p->code)->code);
		fail_msg("%.*s:%u sni %.*s inner %.*s known %u absent %u method %.*s", SPAN_ARG(facts.host), facts.port,
		         SPAN_ARG(facts.sni), SPAN_ARG(facts.inner_host), facts.known, facts.absent, SPAN_ARG(facts.method));
	}
}

/* Delete dead rules, or dead entries; how many there were. */
static size_t check_without(const struct made *made, const struct policy_rig *whole, bool entries)
{
	struct made without = *made;
	struct policy_rig rest;
	size_t count = 0;

	for (const struct problem *p = whole->problems.first; p; p = p->next)
		count += kill(&without, p, entries);
	if (count == 0)
		return 0;
	compile(&without, &rest);
	assert_int_equal(rest.err, ERR_NONE);
	compare(&without, whole, &rest);
	policy_rig_fini(&rest);
	return count;
}

static void what_is_dead_can_be_deleted(void **state)
{
	const char *more = getenv("LINT_ROUNDS");
	unsigned long rounds = more ? strtoul(more, NULL, 10) : ROUNDS;
	size_t rules = 0, entries = 0;

	(void)state;
	seed = UINT64_C(88172645463325252);
	for (unsigned long i = 0; i < rounds; i++) {
		struct policy_rig whole;
		struct made made;

		make(&made);
		compile(&made, &whole);
		if (whole.err) {
			print_made(&made);
			fail_msg("%s", whole.problems.first ? whole.problems.first->text : "");
		}
		rules += check_without(&made, &whole, false);
		entries += check_without(&made, &whole, true);
		policy_rig_fini(&whole);
	}
	print_message("%lu policies: %zu dead rules, %zu dead entries\n", rounds, rules, entries);
	assert_true(rules > rounds / 4 && entries > rounds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_dead_can_be_deleted)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
