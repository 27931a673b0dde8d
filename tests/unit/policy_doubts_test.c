/* SPDX-License-Identifier: Apache-2.0 */
/* What is valid and warned of all the same, with its place; and what is not warned of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy_rig.h"

#define TAIL "defaults: {access: deny, tls: bypass}\n"
#define LISTED "lists: {a: [a.list, b.list]}\nrules: [{name: r, when: {to: a}, then: {access: deny}}]\n" TAIL

static void print_problems(const struct problems *problems)
{
	struct buf text;

	buf_init(&text, 100000);
	problems_format(problems, &text);
	print_message("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

/* The first warning of each policy; text NULL: there is none. */
static void warnings_name_their_place(void **state)
{
	static const struct {
		const char *name, *policy;
		size_t count;
		unsigned line, column;
		const char *text;
	} rows[] = {
		{"sni denies", "rules:\n- {name: r, when: {sni: x.example}, then: {access: deny}}\n" TAIL, 1, 2, 3,
		 "rule \"r\": in this version the condition sni holds for everyone"},
		{"user allows", "rules:\n- {name: r, when: {user: jane}, then: {access: allow}}\n" TAIL, 1, 2, 3,
		 "condition user"},
		{"user and group", "rules:\n- {name: r, when: {user: j, group: g}, then: {log: none}}\n" TAIL, 2, 2, 3,
		 "condition user"},
		{"url denies CONNECT", "rules:\n- {name: r, when: {url: 'http://a/'}, then: {access: deny}}\n" TAIL, 1,
		 2, 3, "every CONNECT"},
		{"url and CONNECT", "rules:\n- {name: r, when: {url: 'http://a/', method: CONNECT}, then: {access: deny}}\n" TAIL,
		 1, 2, 3, "every CONNECT"},
		{"url and GET", "rules:\n- {name: r, when: {url: 'http://a/', method: GET}, then: {access: deny}}\n" TAIL,
		 0, 0, 0, NULL},
		{"url allows", "rules:\n- {name: r, when: {url: 'http://a/'}, then: {access: allow}}\n" TAIL, 0, 0, 0, NULL},
		{"method in small letters", "rules:\n- {name: r, when: {method: [GET, post]}, then: {access: deny}}\n" TAIL,
		 1, 2, 34, "\"post\" is another method than POST"},
		{"unknown method", "rules:\n- {name: r, when: {method: CONECT}, then: {access: deny}}\n" TAIL, 1, 2, 28,
		 "did you mean CONNECT?"},
		{"behind a denial of all", "rules:\n- {name: r, when: {}, then: {access: deny}}\n"
		 "- {name: s, when: {port: 22}, then: {log: none}}\n- {name: t, when: {port: 22}, then: {access: allow}}\n"
		 "- {name: u, when: {port: 23}, then: {access: allow}}\n" TAIL, 1, 4, 3,
		 "rule \"t\": is never reached for access: the rule \"r\" in line 2"},
		{"behind a permission of all", "rules:\n- {name: r, then: {access: allow}}\n"
		 "- {name: s, when: {to: a.example}, then: {access: deny}}\n" TAIL, 1, 3, 3, "at defaults.ports"},
		{"ports behind a permission of all", "rules:\n- {name: r, then: {access: allow}}\n"
		 "- {name: s, when: {port: 22}, then: {access: allow}}\n" TAIL, 0, 0, 0, NULL},
		{"behind another question", "rules:\n- {name: r, then: {tls: bypass}}\n"
		 "- {name: s, when: {to: a.example}, then: {access: allow}}\n" TAIL, 0, 0, 0, NULL},
		{"one name for two", "rules:\n- {name: r, when: {port: 1}, then: {access: deny}}\n"
		 "- {name: s, when: {port: 2}, then: {access: deny}}\n- {name: r, when: {port: 3}, then: {access: deny}}\n"
		 TAIL, 1, 4, 3, "the rule in line 2 has the same name"},
		{"answers without effect", "rules:\n- {name: r, when: {port: 1}, then: {pac: direct}}\n"
		 "- {name: s, when: {port: 2}, then: {pac: direct}}\n" TAIL, 1, 2, 3, "pac has no effect"},
		{"defaults without effect", "defaults: {access: deny, tls: bypass, opaque: tunnel}\n", 1, 1, 1,
		 "defaults: opaque has no effect"},
		{"class is logged", "rules:\n- {name: r, when: {port: 1}, then: {class: media}}\n" TAIL, 0, 0, 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_rig rig;
		const struct problem *p;
		bool ok;

		policy_rig_make(&rig, rows[i].policy, NULL, NULL);
		p = rig.problems.first;
		ok = rig.err == ERR_NONE && rig.problems.warning_count == rows[i].count &&
		     (rows[i].text == NULL ||
		      (p && p->line == rows[i].line && p->column == rows[i].column &&
		       span_ends_with(span_from(p->file), SPAN("policy.yaml")) && strstr(p->text, rows[i].text)));
		if (!ok) {
			print_message("wrong: %s\n", rows[i].name);
			print_problems(&rig.problems);
		}
		policy_rig_fini(&rig);
		assert_true(ok);
	}
}

static void repeated_entries_name_both_lines(void **state)
{
	static const struct {
		const char *a, *b;
		unsigned line;
		const char *file, *text;
	} rows[] = {
		{"a.example\nb.example\nA.example. # again\n", "", 3, "/a.list", "a.example is in this list already: line 1"},
		{"x.example\n10.0.0.0/8\n", "y.example\n10.0.0.0/8\n", 2, "/b.list", "/a.list:2"},
		{"/^a$/\n*.a.example\n", "/^a$/\n.a.example\n", 1, "/b.list", "/a.list:1"},
		{"*.a.example\na.example\n.a.example\n", "", 0, NULL, NULL},
		{"a.example ports=80\na.example ports=81\n", "a.example\n", 0, NULL, NULL},
		{"a.example ports=80\na.example ports=80 owner=x\n", "", 2, "/a.list", "line 1"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct policy_rig rig;
		const struct problem *p;

		policy_rig_make(&rig, LISTED, rows[i].a, rows[i].b);
		p = rig.problems.first;
		assert_int_equal(rig.err, ERR_NONE);
		assert_int_equal(rig.problems.warning_count, rows[i].line > 0);
		if (p) {
			assert_int_equal(p->line, rows[i].line);
			assert_true(span_ends_with(span_from(p->file), span_from(rows[i].file)));
			assert_non_null(strstr(p->text, rows[i].text));
		}
		policy_rig_fini(&rig);
	}
}

/* A list that was appended to itself says so in a few lines, and leaves room for what else there is. */
static void many_repeated_entries_are_counted(void **state)
{
	enum { LINES = 5000 };
	struct policy_rig rig;
	struct buf text;
	char *list;

	(void)state;
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 2 * LINES; i++)
		buf_printf(&text, "h%d.example\n", i % LINES);
	list = buf_to_string(&text);
	policy_rig_make(&rig, LISTED, list, "");
	assert_int_equal(rig.err, ERR_NONE);
	assert_int_equal(rig.problems.warning_count, 21);
	policy_rig_fini(&rig);
	free(list);
	buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(warnings_name_their_place),
		cmocka_unit_test(repeated_entries_name_both_lines),
		cmocka_unit_test(many_repeated_entries_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
