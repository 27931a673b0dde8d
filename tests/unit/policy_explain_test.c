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
	facts.absent = POLICY_NEVER_KNOWN | FACT_REQUEST;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_names_rule_entry_and_place),
		cmocka_unit_test(a_regex_is_shown_as_it_is_written),
		cmocka_unit_test(text_names_the_name_that_decided),
		cmocka_unit_test(json_says_the_same),
		cmocka_unit_test(a_port_that_denies_is_named),
		cmocka_unit_test(what_is_never_known_is_said),
		cmocka_unit_test(the_manual_says_how_it_is_written),
		cmocka_unit_test(hostile_names_stay_inside_their_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
