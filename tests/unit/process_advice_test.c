/* SPDX-License-Identifier: Apache-2.0 */
/* What sallyport.yaml and policy.yaml say together, and where it is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy_rig.h"
#include "process/advice.h"

#define LOCAL "listen: [{name: local, address: '127.0.0.1:1'}, {name: office, address: 'unix:x'}]\npolicy: policy.yaml\n"
#define OPEN "listen: [{name: net, address: '0.0.0.0:1'}]\npolicy: policy.yaml\n"

static const struct row {
	const char *name, *settings, *policy;
	size_t errors, warnings;
	unsigned line, column; /* of the first */
	const char *text;
} rows[] = {
	{"nothing", LOCAL, "defaults: {access: allow, tls: bypass}\n", 0, 0, 0, 0, NULL},
	{"inspect in a rule", LOCAL, "rules:\n- {name: a, then: {tls: bypass}}\n- {name: r, then: {tls: inspect}}\n"
	 "- {name: s, then: {tls: inspect}}\ndefaults: {access: allow, tls: bypass}\n", 0, 1, 3, 3, "tls: inspect"},
	{"inspect in defaults", LOCAL, "rules: []\ndefaults: {access: allow}\n", 0, 1, 2, 1, "tls: inspect"},
	{"inspect by nobody", LOCAL, "", 0, 1, 0, 0, "tls: inspect"},
	{"auth in a rule", LOCAL, "rules:\n- {name: r, then: {auth: required}}\ndefaults: {access: allow, tls: bypass}\n",
	 1, 0, 2, 3, "auth: required"},
	{"listener that is there", LOCAL, "rules: [{name: r, when: {listener: office}, then: {access: allow}}]\n"
	 "defaults: {access: deny, tls: bypass}\n", 0, 0, 0, 0, NULL},
	{"listener that is not", LOCAL, "rules:\n- {name: r, when: {listener: [local, ofice]}, then: {access: allow}}\n"
	 "defaults: {access: deny, tls: bypass}\n", 0, 1, 2, 30, "no listener \"ofice\"; did you mean office?"},
	{"open by defaults", OPEN, "defaults: {access: allow, tls: bypass}\n", 0, 1, 0, 0, "listen net"},
	{"open by a rule", OPEN, "rules: [{name: r, then: {access: allow}}]\ndefaults: {access: deny, tls: bypass}\n",
	 0, 1, 0, 0, "listen net"},
	{"open for some", OPEN, "rules: [{name: r, when: {from: 10.0.0.0/8}, then: {access: allow}}, "
	 "{name: s, when: {user: jane}, then: {access: allow}}]\ndefaults: {access: deny, tls: bypass}\n",
	 0, 0, 0, 0, NULL},
	{"network that is never dialled", LOCAL, "rules:\n- {name: r, when: {to: [10.1.0.0/16, 192.0.2.0/24]}, then: {access: allow}}\n"
	 "defaults: {access: deny, tls: bypass}\n", 0, 1, 2, 1, "10.1.0.0/16 is private, and never dialled"},
	{"network that is denied anyway", LOCAL, "rules:\n- {name: r, when: {to: 10.1.0.0/16}, then: {access: deny}}\n"
	 "defaults: {access: allow, tls: bypass}\n", 0, 0, 0, 0, NULL},
	{"network that is permitted", LOCAL "destinations: {permit: [10.1.2.3]}\n",
	 "rules:\n- {name: r, when: {to: 10.1.0.0/16}, then: {access: allow}}\ndefaults: {access: deny, tls: bypass}\n",
	 0, 0, 0, 0, NULL},
	{"rates of users that nobody knows", LOCAL "limits: {rate_per_user: 1M, rate_per_client: 1M}\n",
	 "defaults: {access: allow, tls: bypass}\n", 0, 1, 0, 0, "limits.rate_per_user: no rule"},
	{"closed", OPEN, "defaults: {access: deny, tls: bypass}\n", 0, 0, 0, 0, NULL},
};

static bool is_as_told(const struct row *row)
{
	struct problems problems;
	struct policy_rig rig;
	struct settings settings;
	struct arena arena;
	const struct problem *p;
	enum err err;
	bool ok;

	arena_init(&arena, 1 << 22);
	problems_init(&problems);
	policy_rig_make(&rig, row->policy, NULL, NULL);
	assert_int_equal(rig.err, ERR_NONE);
	assert_int_equal(settings_load(span_from(row->settings), "/x/sallyport.yaml", &arena, &problems, &settings),
	                 ERR_NONE);
	err = advice_add(&settings, rig.policy, "/x/sallyport.yaml", &problems);
	p = problems.first;
	ok = problems.error_count == row->errors && problems.warning_count == row->warnings &&
	     (err == ERR_NONE) == (row->errors == 0) &&
	     (p == NULL || (p->line == row->line && p->column == row->column && strstr(p->text, row->text)));
	for (; p && !ok; p = p->next)
		print_message("%s:%u:%u: %s\n", p->file, p->line, p->column, p->text);
	policy_rig_fini(&rig);
	problems_fini(&problems);
	arena_fini(&arena);
	return ok;
}

static void advice_names_its_place(void **state)
{
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (is_as_told(&rows[i]))
			continue;
		print_message("wrong: %s\n", rows[i].name);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(advice_names_its_place)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
