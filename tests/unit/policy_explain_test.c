/* SPDX-License-Identifier: Apache-2.0 */
/* The words in which a decision is told to people and programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "policy_rig.h"

static const char policy_text[] =
	"lists: {pinned: a.list}\n"
	"rules:\n"
	"- {name: 'pinned \"things\"', when: {to: pinned}, then: {access: allow, tls: bypass}}\n"
	"- {name: staff, when: {user: jane}, then: {log: none}}\n"
	"defaults: {access: deny}\n";

static char *explain_by(const char *policy, const struct policy_facts *facts, bool json)
{
	struct policy_explain_options options = {.verdict = SPAN(""), .more = SPAN("")};
	struct policy_rig rig;
	struct buf out;
	char *text;

	policy_rig_make(&rig, policy, "# pins\n*.wbx2.com\n/^cdn\\d+$/\n", NULL);
	assert_int_equal(rig.err, ERR_NONE);
	buf_init(&out, 100000);
	options.json = json;
	assert_int_equal(policy_explain(rig.policy, facts, &options, &out), ERR_NONE);
	text = buf_to_string(&out);
	buf_fini(&out);
	policy_rig_fini(&rig);
	return text;
}

static char *explain(const struct policy_facts *facts, bool json)
{
	return explain_by(policy_text, facts, json);
}

static void assert_has(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void text_names_rule_entry_and_place(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.wbx2.com", 443);
	char *text = explain(&facts, false);

	(void)state;
	assert_has(text, "a.wbx2.com port 443\n");
	assert_has(text, "allow    rule \"pinned \"things\"\" (policy.yaml:3)");
	assert_has(text, "because of *.wbx2.com (a.list:2, list pinned)");
	assert_has(text, "no rule answers; defaults (policy.yaml:5)");
	assert_has(text, "open     depends on: user");
	assert_has(text, "the proxy would find out: user");
	free(text);
}

static void a_regex_is_shown_as_it_is_written(void **state)
{
	struct policy_facts facts = policy_rig_facts("cdn7", 443);
	char *text = explain(&facts, false), *json = explain(&facts, true);

	(void)state;
	assert_has(text, "because of /^cdn\\d+$/ (a.list:3, list pinned)");
	assert_has(json, "\"entry\":\"/^cdn\\\\d+$/\"");
	free(text);
	free(json);
}

static void text_names_the_name_that_decided(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.wbx2.com", 443);
	char *text;

	(void)state;
	facts.known |= FACT_HELLO;
	facts.sni = SPAN("evil.example");
	text = explain(&facts, false);
	assert_has(text, "for the SNI, evil.example");
	free(text);
}

static json_t *member(json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	if (value == NULL)
		fail_msg("no member %s", key);
	return value;
}

static void json_says_the_same(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.wbx2.com", 443);
	char *text = explain(&facts, true);
	json_error_t error;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error), *access;

	(void)state;
	if (root == NULL)
		fail_msg("%s in %s", error.text, text);
	assert_string_equal(json_string_value(member(root, "host")), "a.wbx2.com");
	assert_int_equal(json_integer_value(member(root, "port")), 443);
	access = member(member(root, "decision"), "access");
	assert_string_equal(json_string_value(member(access, "answer")), "allow");
	assert_string_equal(json_string_value(member(access, "rule")), "pinned \"things\"");
	assert_int_equal(json_integer_value(member(access, "rule_line")), 3);
	assert_string_equal(json_string_value(member(access, "list")), "pinned");
	assert_string_equal(json_string_value(member(access, "file")), "a.list");
	assert_int_equal(json_integer_value(member(access, "line")), 2);
	assert_string_equal(json_string_value(member(access, "entry")), "*.wbx2.com");
	assert_true(json_is_null(member(member(root, "decision"), "log")));
	assert_int_equal(json_array_size(member(root, "need")), 1);
	json_decref(root);
	free(text);
}

/* The port alone is why it is denied: who reads "defaults" would look at access: allow, and wonder. */
static void a_port_that_denies_is_named(void **state)
{
	static const char reason[] = " is not among defaults.ports";
	static const struct {
		const char *policy;
		uint16_t port;
		const char *ports; /* NULL: it is not the port */
	} rows[] = {
		{"defaults: {access: allow}\n", 22, "(80, 443)"},
		{"defaults: {access: allow, ports: [443, 8000-8100]}\n", 22, "(443, 8000-8100)"},
		{"defaults: {access: allow}\n", 443, NULL},
		{"defaults: {access: deny}\n", 22, NULL},
		{"rules: [{name: r, then: {access: deny}}]\ndefaults: {access: allow}\n", 22, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts("a.example", rows[i].port);
		char *text = explain_by(rows[i].policy, &facts, false);
		char *json = explain_by(rows[i].policy, &facts, true);
		json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
		json_t *access = member(member(root, "decision"), "access");

		assert_int_equal(strstr(text, reason) != NULL, rows[i].ports != NULL);
		assert_int_equal(strstr(json, reason) != NULL, rows[i].ports != NULL);
		if (rows[i].ports) {
			assert_has(text, rows[i].ports);
			assert_string_equal(json_string_value(member(access, "why")), "port-not-open");
			assert_has(json_string_value(member(access, "reason")), rows[i].ports);
		}
		json_decref(root);
		free(text);
		free(json);
	}
}

/* Such a condition holds where it denies: who asks why must be told. */
static void what_is_never_known_is_said(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.wbx2.com", 443);
	char *text, *json;
	json_t *root;

	(void)state;
	facts.absent = (unsigned)FACT_HELLO | FACT_USER | FACT_REQUEST;
	text = explain(&facts, false);
	json = explain(&facts, true);
	root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
	assert_has(text, "  never known here: user;");
	assert_null(strstr(text, "depends on"));
	assert_int_equal(json_array_size(member(root, "never_known")), 3);
	assert_int_equal(json_array_size(member(root, "need")), 0);
	json_decref(root);
	free(text);
	free(json);
}

static void the_manual_says_how_it_is_written(void **state)
{
	struct buf out;
	char *text;

	(void)state;
	buf_init(&out, 100000);
	policy_reference(&out);
	text = buf_to_string(&out);
	buf_fini(&out);
	assert_has(text, "lists: {NAME: FILE or list of files}\n");
	assert_has(text, "  - include: FILE or folder\n");
	assert_has(text, "    route               direct, {source: ADDRESS}: how");
	assert_has(text, "holds for everyone where the rule denies and for no one where it allows");
	assert_has(text, "that of a CONNECT is never known");
	assert_has(text, "intranet in a list, and in a rule intranet.");
	assert_has(text, "the zone is an offset");
	free(text);
}

static void hostile_names_stay_inside_their_string(void **state)
{
	struct policy_facts facts = policy_rig_facts("a\"b\\c\n\xff", 443);
	char *text = explain(&facts, true);
	json_t *root = json_loads(text, 0, NULL);

	(void)state;
	assert_non_null(root);
	assert_string_equal(json_string_value(member(root, "host")), "a\"b\\c\n\xc3\xbf");
	json_decref(root);
	free(text);
}

/* ---- everything that a decision is made of ---- */

static const char whole_text[] =
	"lists: {pinned: a.list, other: b.list, unused: c.list}\n"
	"rules:\n"
	"- {name: elsewhere, when: {from: 10.0.0.0/8}, then: {access: deny}}\n"
	"- {name: get only, when: {to: pinned, method: GET}, then: {access: deny}}\n"
	"- {name: pins, when: {to: pinned}, then: {access: allow, tls: bypass}}\n"
	"- {name: pins again, when: {to: '*.wbx2.com'}, then: {access: deny, class: media}}\n"
	"- {name: net, when: {to: other, resolved: true}, then: {access: deny, log: brief}}\n"
	"- {name: names, when: {to: other, sni: other}, then: {tls: bypass}}\n"
	"defaults: {access: allow, tls: inspect, auth: exempt}\n";

static const char pinned_list[] = "# pins\n"
                                  "*.wbx2.com owner=net ticket=CHG-7 reason=\"it pins\" added=2026-01-02 expires=2026-12-31\n"
                                  ".wbx2.com ports=5004,8000-8100\n"
                                  ".com expires=2026-11-01\n";

static bool read_line(void *context, struct span file, unsigned line, struct span *text)
{
	struct span rest = span_from(context);

	if (!span_equal(file, SPAN("a.list")))
		return false;
	while (line-- > 1)
		rest = span_skip(rest, span_find(rest, '\n') + 1);
	*text = span_first(rest, span_find(rest, '\n'));
	return true;
}

/* `list`: what the file of the first list says by now. */
static char *explain_whole(const struct policy_facts *facts, const char *list, bool json, bool verbose)
{
	struct policy_explain_options options = {.json = json, .verbose = verbose, .verdict = SPAN(""),
	                                         .more = SPAN(""), .read_line = read_line};
	struct policy_rig rig;
	struct buf out;
	char *text;

	policy_rig_init(&rig);
	policy_rig_write(&rig, "policy.yaml", span_from(whole_text));
	policy_rig_write(&rig, "a.list", span_from(pinned_list));
	policy_rig_write(&rig, "b.list", SPAN("192.0.2.0/24\n.other.example\n"));
	policy_rig_write(&rig, "c.list", SPAN("never.example\n"));
	policy_rig_compile(&rig);
	assert_int_equal(rig.err, ERR_NONE);
	options.context = strdup(list);
	buf_init(&out, 1 << 20);
	assert_int_equal(policy_explain(rig.policy, facts, &options, &out), ERR_NONE);
	text = buf_to_string(&out);
	buf_fini(&out);
	free(options.context);
	policy_rig_fini(&rig);
	return text;
}

/* By path: "names.0.rules.3.failed". */
static json_t *at(json_t *root, const char *path)
{
	char key[64];

	while (root && *path) {
		size_t len = strcspn(path, ".");

		assert_true(len < sizeof(key));
		memcpy(key, path, len);
		key[len] = 0;
		root = json_is_array(root) ? json_array_get(root, (size_t)atoi(key)) : json_object_get(root, key);
		path += len + (path[len] == '.');
	}
	return root;
}

static void assert_at(json_t *root, const char *path, const char *want)
{
	const char *got = json_string_value(at(root, path));

	if (got == NULL || strcmp(got, want) != 0)
		fail_msg("%s is %s, not %s", path, got ? got : "no text", want);
}

static json_t *explain_json_of(const struct policy_facts *facts)
{
	char *text = explain_whole(facts, pinned_list, true, false);
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (root == NULL)
		fail_msg("no JSON: %s", text);
	free(text);
	return root;
}

static void every_rule_says_how_it_stands(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.wbx2.com", 443);
	static const struct {
		const char *path, *want;
	} rows[] = {
		{"names.0.kind", "authority"},
		{"names.0.rules.0.failed", "from"},
		{"names.0.rules.1.failed", "method"},
		{"names.0.rules.2.answers.access.state", "decides"},
		{"names.0.rules.2.answers.tls.state", "decides"},
		{"names.0.rules.2.entry", "*.wbx2.com"},
		{"names.0.rules.3.answers.access.state", "shadowed"},
		{"names.0.rules.3.answers.access.answer", "deny"},
		{"names.0.rules.3.answers.class.state", "decides"},
		{"names.0.rules.3.rule", "pins again"},
		{"names.0.rules.4.answers.access.state", "shadowed"},
		{"names.0.rules.4.answers.log.state", "waits"},
		{"names.0.rules.4.needs.0", "address"},
		{"names.0.rules.5.failed", "to"},
		{"names.0.alone.access.rule", "pins"},
		{"decision.access.why", "rule"},
		{"decision.auth.why", "default"},
		{"open.log.needs.0", "address"},
		{"open.log.could.0", "full"},
		{"open.log.could.1", "brief"},
		{"facts.from", "192.0.2.10"},
		{"facts.at", "2026-11-23T12:00:00.000Z"},
	};
	json_t *root = explain_json_of(&facts);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		assert_at(root, rows[i].path, rows[i].want);
	assert_true(json_is_false(at(root, "names.0.rules.0.matches")));
	assert_true(json_is_true(at(root, "names.0.rules.2.matches")));
	json_decref(root);
}

static void every_list_says_what_matches(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.wbx2.com", 443);
	static const struct {
		const char *path, *want;
	} rows[] = {
		{"lists.0.list", "pinned"},
		{"lists.0.matches.0.entry", "*.wbx2.com"},
		{"lists.0.matches.0.state", "in-force"},
		{"lists.0.matches.0.for", "authority"},
		{"lists.0.matches.0.fields.owner", "net"},
		{"lists.0.matches.0.fields.expires", "2027-01-01T00:00:00.000Z"},
		{"lists.0.matches.1.entry", ".wbx2.com"},
		{"lists.0.matches.1.state", "other-port"},
		{"lists.0.matches.1.fields.ports", "5004,8000-8100"},
		{"lists.0.matches.2.entry", ".com"},
		{"lists.0.matches.2.state", "expired"},
		{"lists.1.list", "other"},
		{"lists.1.matches.0.entry", "192.0.2.0/24"},
		{"lists.1.matches.0.for", "address"},
		{"lists.2.matches.0.entry", "*.wbx2.com"},
		{"decision.access.fields.reason", "it pins"},
		{"decision.access.fields.ticket", "CHG-7"},
		{"decision.access.fields.added", "2026-01-02"},
	};
	json_t *root;

	(void)state;
	facts.known |= FACT_ADDRESS;
	assert_true(address_parse(SPAN("192.0.2.7"), &facts.address));
	root = explain_json_of(&facts);
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		assert_at(root, rows[i].path, rows[i].want);
	assert_int_equal(json_array_size(at(root, "lists")), 3); /* what no rule uses is not told */
	assert_true(json_is_null(at(root, "lists.2.list"))); /* it stands in the rule */
	json_decref(root);
}

static void the_last_days_are_said_in_words(void **state)
{
	static const struct {
		uint64_t wall_ms;
		const char *want;
	} rows[] = {
		{UINT64_C(1798632000000), "expires 2026-12-31 (in 1 day)\n"},
		{UINT64_C(1798718400000), "expires 2026-12-31 (in less than a day)\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_facts facts = policy_rig_facts("a.wbx2.com", 443);
		char *text;

		facts.wall_ms = rows[i].wall_ms;
		text = explain_whole(&facts, pinned_list, false, false);
		assert_has(text, rows[i].want);
		free(text);
	}
}

static void people_read_who_why_and_until_when(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.wbx2.com", 443);
	char *text = explain_whole(&facts, pinned_list, false, false);

	(void)state;
	assert_has(text, "owner net, ticket CHG-7, reason \"it pins\", added 2026-01-02, expires 2026-12-31 (in 38 days)\n");
	assert_has(text, "  also match, too late to answer:\n    rule \"pins again\" (policy.yaml:6): access deny\n"
	                 "    rule \"net\" (policy.yaml:7): access deny (depends on: address)\n");
	assert_has(text, "  match, and are not in force:\n"
	                 "    the authority: .wbx2.com (a.list:3, list pinned) is for other ports, ports=5004,8000-8100\n"
	                 "    the authority: .com (a.list:4, list pinned) is no longer in force, expired 2026-11-01\n");
	assert_has(text, "open     depends on: address; could become full or brief\n");
	free(text);
	text = explain_whole(&facts, "# pins\n*.other.com\n\n\n", false, false);
	assert_has(text, "the line is another one by now");
	free(text);
	text = explain_whole(&facts, pinned_list, false, true);
	assert_has(text, "    rule \"elsewhere\" (policy.yaml:3): from does not match\n");
	assert_has(text, "    rule \"pins\" (policy.yaml:5): access allow, tls bypass (decides)\n");
	assert_has(text, "    rule \"net\" (policy.yaml:7): access deny (too late); log brief (waits for address)\n");
	assert_has(text, "  nothing matches in: other\n");
	free(text);
}

/* Whatever a fact turns out to be, the answer is among those that were said to be possible. */
static void what_could_become_does(void **state)
{
	static const char policy[] =
		"rules:\n"
		"- {name: a, when: {to: 192.0.2.0/24, resolved: true}, then: {access: deny, class: media}}\n"
		"- {name: b, when: {to: [198.51.100.0/24, x.example], resolved: true}, then: {access: allow, tls: bypass}}\n"
		"- {name: c, when: {to: 203.0.113.0/24, resolved: true}, then: {class: bulk, tls: inspect, client-certificate: bypass}}\n"
		"- {name: d, when: {to: y.example}, then: {tls: bypass, access: allow, client-certificate: deny}}\n"
		"defaults: {access: deny, tls: inspect}\n";
	static const char *const hosts[] = {"x.example", "y.example", "z.example"};
	static const char *const addresses[] = {"192.0.2.1", "198.51.100.1", "203.0.113.1", "9.9.9.9"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(hosts) * COUNT_OF(hosts) * COUNT_OF(addresses); i++) {
		struct policy_facts facts = policy_rig_facts(hosts[i % 3], 443);
		char *before, *after;
		json_t *open, *decision, *could, *one;
		const char *key;
		size_t at_could;

		facts.inner_host = span_from(hosts[i / 3 % 3]);
		before = explain_by(policy, &facts, true);
		assert_true(address_parse(span_from(addresses[i / 9]), &facts.address));
		facts.known |= FACT_ADDRESS;
		after = explain_by(policy, &facts, true);
		open = json_loads(before, 0, NULL);
		decision = json_loads(after, 0, NULL);
		json_object_foreach(at(open, "open"), key, could) {
			const char *answer = json_string_value(at(at(at(decision, "decision"), key), "answer"));
			bool is_among = false;

			assert_non_null(answer);
			json_array_foreach(at(could, "could"), at_could, one)
				is_among |= strcmp(json_string_value(one), answer) == 0;
			if (!is_among)
				fail_msg("%s: %s became %s\n%s%s", hosts[i % 3], key, answer, before, after);
		}
		json_decref(open);
		json_decref(decision);
		free(before);
		free(after);
	}
}

/* Each name has its rules; the strictest answer holds, and what is written as origins read a URL counts as well. */
static void names_are_told_one_by_one(void **state)
{
	struct policy_facts facts = policy_rig_facts("a.wbx2.com", 443);
	json_t *root;
	char *text;

	(void)state;
	facts.known |= FACT_HELLO;
	facts.sni = SPAN("x.other.example");
	root = explain_json_of(&facts);
	assert_at(root, "names.1.kind", "sni");
	assert_at(root, "names.1.alone.access.rule", "net");
	assert_at(root, "names.1.rules.5.answers.tls.state", "decides");
	assert_null(at(root, "names.1.alone.class"));
	assert_at(root, "decision.access.name", "x.other.example");
	json_decref(root);
	text = explain_whole(&facts, pinned_list, false, false);
	assert_has(text, "    the SNI, x.other.example: access deny by rule \"net\" (policy.yaml:7), tls bypass by rule");
	free(text);
}

/* Fields stand behind their answer, and what waits for a response says so. */
static void fields_are_told(void **state)
{
	static const char policy[] =
		"rules:\n"
		"- {name: t, when: {to: a.example}, then: {request-headers: {set: {X-A: '\"1\"', X-B: ''}, remove: Cookie}}}\n"
		"- {name: v, when: {content-type: video/*}, then: {access: deny, response-headers: {remove: Server}}}\n"
		"defaults: {access: allow}\n";
	struct policy_facts facts = policy_rig_facts("a.example", 80);
	char *text = explain_by(policy, &facts, false);
	json_t *root;

	(void)state;
	assert_has(text, "  request-headers    edit     rule \"t\" (policy.yaml:2) [rule]\n"
	                 "                              set X-A: \"1\"\n"
	                 "                              set X-B: \n"
	                 "                              remove Cookie\n"
	                 "                              because of a.example (policy.yaml:2)\n");
	assert_has(text, "  access             open     depends on: content-type; could become deny or allow\n");
	assert_has(text, "  response-headers   open     depends on: content-type; could become none or edit\n");
	free(text);
	facts.known = FACT_RESPONSE;
	facts.content_type = SPAN("video/mp4");
	text = explain_by(policy, &facts, true);
	root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	assert_at(root, "decision.request-headers.set.X-A", "\"1\"");
	assert_at(root, "decision.request-headers.remove.0", "Cookie");
	assert_at(root, "decision.access.rule", "v");
	assert_at(root, "decision.response-headers.remove.0", "Server");
	assert_at(root, "facts.content_type", "video/mp4");
	json_decref(root);
	free(text);
	facts.known = 0;
	facts.absent = FACT_RESPONSE;
	text = explain_by(policy, &facts, false);
	assert_has(text, "what it asks of content-type can never be known here, and counts as true\n");
	assert_has(text, "never known here: content-type;");
	free(text);
}

static void what_counts_as_true_is_named(void **state)
{
	static const char policy[] = "rules: [{name: s, when: {sni: x.example, user: jane}, then: {access: deny, tls: bypass}}]\n"
	                             "defaults: {access: allow}\n";
	struct policy_facts facts = policy_rig_facts("a.example", 443);
	char *text;
	json_t *root;

	(void)state;
	facts.absent = (unsigned)FACT_HELLO | FACT_USER;
	text = explain_by(policy, &facts, false);
	assert_has(text, "  access             deny     rule \"s\" (policy.yaml:1) [never-known]\n");
	assert_has(text, "what it asks of user, sni can never be known here, and counts as true\n");
	free(text);
	text = explain_by(policy, &facts, true);
	root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_at(root, "decision.access.why", "never-known");
	assert_at(root, "names.0.rules.0.unknown", "user");
	assert_at(root, "names.0.rules.0.answers.tls.state", "never-known");
	json_decref(root);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_names_rule_entry_and_place),
		cmocka_unit_test(a_regex_is_shown_as_it_is_written),
		cmocka_unit_test(text_names_the_name_that_decided),
		cmocka_unit_test(json_says_the_same),
		cmocka_unit_test(a_port_that_denies_is_named),
		cmocka_unit_test(what_is_never_known_is_said),
		cmocka_unit_test(every_rule_says_how_it_stands),
		cmocka_unit_test(every_list_says_what_matches),
		cmocka_unit_test(people_read_who_why_and_until_when),
		cmocka_unit_test(the_last_days_are_said_in_words),
		cmocka_unit_test(what_could_become_does),
		cmocka_unit_test(names_are_told_one_by_one),
		cmocka_unit_test(what_counts_as_true_is_named),
		cmocka_unit_test(fields_are_told),
		cmocka_unit_test(the_manual_says_how_it_is_written),
		cmocka_unit_test(hostile_names_stay_inside_their_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
