/* SPDX-License-Identifier: Apache-2.0 */
/* What the linter says, code by code and with its place; and the near misses of which it says nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "policy_rig.h"

#define DENY "defaults: {access: deny, tls: bypass}\n"
#define ALLOW "defaults: {access: allow, tls: bypass}\n"
#define BOTH "lists: {a: [a.list, b.list]}\n"
#define TWO "lists: {a: a.list, b: b.list}\n"
#define TO_A "rules: [{name: r, when: {to: a}, then: {access: allow}}]\n"
#define DENY_A "rules: [{name: r, when: {to: a}, then: {access: deny}}]\n"
#define BYPASS_A "rules: [{name: r, when: {to: a}, then: {access: allow, tls: bypass}}]\n"

struct row {
	const char *name, *policy, *a, *b;
	const char *found; /* "code file:line, ..." in order; "": nothing */
	const char *text;  /* in the first */
};

static void print_problems(const struct problems *problems)
{
	struct buf text;

	buf_init(&text, 100000);
	problems_format(problems, &text);
	print_message("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

/* "code file:line" of all, with commas between. */
static void add_found(const struct problems *problems, struct buf *out)
{
	for (const struct problem *p = problems->first; p; p = p->next) {
		struct span file = span_from(p->file);

		buf_printf(out, "%s%s %.*s:%u", p == problems->first ? "" : ", ", problem_row(p->code)->code,
		           SPAN_ARG(span_skip(file, span_find_last(file, '/') + 1)), p->line);
	}
}

static bool is_as_told(const struct row *row)
{
	struct policy_rig rig;
	struct buf found;
	bool ok;

	policy_rig_make(&rig, row->policy, row->a, row->b);
	buf_init(&found, 4096);
	add_found(&rig.problems, &found);
	ok = rig.err == ERR_NONE && span_equal(buf_span(&found), span_from(row->found)) &&
	     (row->text == NULL || (rig.problems.first && strstr(rig.problems.first->text, row->text)));
	if (!ok) {
		print_message("wrong: %s\nfound: %.*s\n", row->name, SPAN_ARG(buf_span(&found)));
		print_problems(&rig.problems);
	}
	buf_fini(&found);
	policy_rig_fini(&rig);
	return ok;
}

static void check_rows(const struct row *rows, size_t count)
{
	size_t wrong = 0;

	for (size_t i = 0; i < count; i++)
		wrong += !is_as_told(&rows[i]);
	assert_int_equal(wrong, 0);
}

static void conditions_and_answers(void **state)
{
	static const struct row rows[] = {
		{"sni denies", "rules:\n- {name: r, when: {sni: x.example}, then: {access: deny}}\n" DENY, NULL, NULL,
		 "", NULL},
		{"user and group", "rules:\n- {name: r, when: {user: j, group: g}, then: {log: none}}\n" DENY, NULL, NULL,
		 "auth-impossible policy.yaml:2", "no rule and no default answers auth: required"},
		{"url denies CONNECT", "rules:\n- {name: r, when: {url: 'http://a/'}, then: {access: deny}}\n" DENY, NULL,
		 NULL, "never-known policy.yaml:2", "every CONNECT"},
		{"url and GET", "rules:\n- {name: r, when: {url: 'http://a/', method: GET}, then: {access: deny}}\n" DENY,
		 NULL, NULL, "", NULL},
		{"url allows", "rules:\n- {name: r, when: {url: 'http://a/'}, then: {access: allow}}\n" DENY, NULL, NULL,
		 "", NULL},
		{"type of a response denies CONNECT",
		 "rules:\n- {name: r, when: {content-type: video/*}, then: {access: deny}}\n" DENY, NULL, NULL,
		 "never-known policy.yaml:2", "the response of a CONNECT is never known, and the condition content-type"},
		{"type and GET", "rules:\n- {name: r, when: {content-type: video/*, method: GET}, then: {access: deny}}\n" DENY,
		 NULL, NULL, "", NULL},
		{"method in small letters",
		 "rules:\n- {name: r, when: {method: [GET, post]}, then: {access: deny}}\n" DENY, NULL, NULL,
		 "unknown-method policy.yaml:2", "\"post\" is another method than POST"},
		{"unknown method", "rules:\n- {name: r, when: {method: CONECT}, then: {access: deny}}\n" DENY, NULL, NULL,
		 "unknown-method policy.yaml:2", "did you mean CONNECT?"},
		{"no default", "rules: [{name: r, when: {to: a.example}, then: {access: allow}}]\n", NULL, NULL,
		 "no-default policy.yaml:0", NULL},
		{"opaque", "rules:\n- {name: r, when: {port: 1}, then: {opaque: tunnel}}\n" DENY, NULL, NULL, "", NULL},
		{"class is logged", "rules:\n- {name: r, when: {port: 1}, then: {class: media}}\n" DENY, NULL, NULL, "", NULL},
		{"rate of calls", "rules:\n- {name: r, when: {port: 1}, then: {class: media, rate: 1M}}\n" DENY, NULL, NULL,
		 "no-effect policy.yaml:2", "class media, which is never limited"},
		{"rate of bulk", "rules:\n- {name: r, when: {port: 1}, then: {class: bulk, rate: 1M}}\n" DENY, NULL, NULL, "", NULL},
		{"no rate of calls", "rules:\n- {name: r, when: {port: 1}, then: {class: media, rate: none}}\n" DENY, NULL, NULL, "",
		 NULL},
		{"rate that is hardly one", "rules:\n- {name: r, when: {port: 1}, then: {rate: 15K}}\n" DENY, NULL, NULL,
		 "doubtful policy.yaml:2", "15K are bytes per second"},
		{"two rates", "rules:\n- {name: r, when: {port: 1}, then: {rate: 1M}}\n"
		 "- {name: s, when: {port: 1}, then: {rate: 2M}}\n" DENY, NULL, NULL, "shadowed-rule policy.yaml:3",
		 "never reached for rate"},
		{"one rate twice", "rules:\n- {name: r, when: {port: 1}, then: {rate: 1M}}\n"
		 "- {name: s, when: {port: 1}, then: {rate: 1024K}}\n" DENY, NULL, NULL, "duplicate-rule policy.yaml:3", NULL},
		{"unused list", TWO TO_A DENY, "a.example\n", "b.example\n", "unused-list policy.yaml:1",
		 "no rule uses the list b"},
		{"used in sni", "lists: {a: a.list}\nrules: [{name: r, when: {sni: a}, then: {log: none}}]\n" DENY,
		 "a.example\n", NULL, "", NULL},
	};

	(void)state;
	check_rows(rows, COUNT_OF(rows));
}

#define RULES(first, second) "rules:\n- {name: r, when: {" first "}}\n- {name: s, when: {" second "}}\n" DENY
#define SHADOWS(first, second) RULES(first "}, then: {access: allow", second "}, then: {access: allow")
#define S "shadowed-rule policy.yaml:3"
#define D "duplicate-rule policy.yaml:3"

static void rules_that_are_not_reached(void **state)
{
	static const struct row rows[] = {
		{"behind a denial of all", RULES("}, then: {access: deny", "port: 22}, then: {access: allow"), NULL, NULL, S,
		 "rule \"s\": is never reached for access: the rule \"r\" (line 2) answers it, has no conditions"},
		{"behind a permission of all", RULES("}, then: {access: allow", "to: a.example}, then: {access: deny"), NULL,
		 NULL, "shadowed-ports policy.yaml:3", "at defaults.ports"},
		{"ports behind a permission of all", SHADOWS("", "port: 22"), NULL, NULL, "", NULL},
		{"fields of messages", RULES("}, then: {request-headers: {set: {A: x}}", "port: 22}, then: {request-headers: none"),
		 NULL, NULL, S, "never reached for request-headers"},
		{"the same fields", RULES("}, then: {request-headers: {set: {A: x}}", "}, then: {request-headers: {set: {a: x}}"),
		 NULL, NULL, D, NULL},
		{"another value", RULES("}, then: {request-headers: {set: {A: x}}", "}, then: {request-headers: {set: {A: y}}"),
		 NULL, NULL, S, NULL},
		{"behind a type", RULES("content-type: [text/html, none]}, then: {log: none", "content-type: none}, then: {log: brief"),
		 NULL, NULL, S, NULL},
		{"behind another type", RULES("content-type: text/html}, then: {log: none", "content-type: none}, then: {log: brief"),
		 NULL, NULL, "", NULL},
		{"another question", RULES("}, then: {tls: bypass", "to: a.example}, then: {access: allow"), NULL, NULL, "",
		 NULL},
		{"one of two questions",
		 RULES("to: .a.example}, then: {log: none", "to: b.a.example}, then: {access: allow, log: brief"), NULL,
		 NULL, S, "for log:"},
		{"from", SHADOWS("from: 10.0.0.0/8", "from: 10.1.0.0/16"), NULL, NULL, S, NULL},
		{"from, wider", SHADOWS("from: 10.1.0.0/16", "from: 10.0.0.0/8"), NULL, NULL, "", NULL},
		{"from, one of two", SHADOWS("from: 10.0.0.0/8", "from: [10.1.0.0/16, 11.0.0.0/8]"), NULL, NULL, "", NULL},
		{"from and everyone", SHADOWS("from: 10.0.0.0/8", "to: a.example"), NULL, NULL, "", NULL},
		{"port", SHADOWS("port: 1-100", "port: 22"), NULL, NULL, S, NULL},
		{"ports that join", SHADOWS("port: [1-50, 51-100]", "port: 22-80"), NULL, NULL, S, NULL},
		{"ports with a hole", SHADOWS("port: [1-50, 52-100]", "port: 22-80"), NULL, NULL, "", NULL},
		{"port of the defaults", SHADOWS("port: [80, 443]", "to: a.example"), NULL, NULL, S, NULL},
		{"denial behind a port", RULES("port: 443}, then: {access: allow", "to: a.example}, then: {access: deny"),
		 NULL, NULL, "", NULL},
		{"denial behind all ports", RULES("port: 1-65535}, then: {access: allow", "to: a.example}, then: {access: deny"),
		 NULL, NULL, "", NULL}, /* port 0 */
		{"listener", SHADOWS("listener: [x, y]", "listener: y"), NULL, NULL, S, NULL},
		{"listener, other", SHADOWS("listener: [x, y]", "listener: [y, z]"), NULL, NULL, "", NULL},
		{"method", SHADOWS("method: [GET, HEAD]", "method: GET"), NULL, NULL, S, NULL},
		{"denial behind a method that may be unknown",
		 RULES("method: GET}, then: {access: allow", "method: GET, port: 80}, then: {access: deny"), NULL, NULL, "",
		 NULL},
		{"time", SHADOWS("time: mon-fri 08:00-18:00", "time: tue 09:00-12:00"), NULL, NULL, S, NULL},
		{"time over midnight", SHADOWS("time: mon-sun 22:00-06:00", "time: tue 02:00-05:00"), NULL, NULL, S, NULL},
		{"time of two", SHADOWS("time: ['mon 08:00-12:00', 'mon 12:00-18:00']", "time: mon 09:00-17:00"), NULL, NULL,
		 S, NULL},
		{"time with a gap", SHADOWS("time: ['mon 08:00-12:00', 'mon 12:01-18:00']", "time: mon 09:00-17:00"), NULL, NULL,
		 "", NULL},
		{"time over midnight, another day", SHADOWS("time: mon 22:00-06:00", "time: tue 02:00-07:00"), NULL, NULL, "",
		 NULL},
		{"time over midnight, the day after", SHADOWS("time: mon 22:00-06:00", "time: tue 02:00-06:00"), NULL, NULL, S,
		 NULL},
		{"time, all day", SHADOWS("time: mon-fri", "time: tue 09:00-19:00"), NULL, NULL, S, NULL},
		{"time, other hours", SHADOWS("time: mon-fri 08:00-18:00", "time: tue 09:00-19:00"), NULL, NULL, "", NULL},
		{"time, other zone", SHADOWS("time: 'mon-fri 08:00-18:00 +01:00'", "time: tue 09:00-12:00"), NULL, NULL, "",
		 NULL},
		{"url", SHADOWS("url: 'http://a/'", "url: 'http://a/b'"), NULL, NULL, S, NULL},
		{"url, shorter", SHADOWS("url: 'http://a/b'", "url: 'http://a/'"), NULL, NULL, "", NULL},
		{"to", SHADOWS("to: .a.example", "to: [b.a.example, '*.a.example']"), NULL, NULL, S, NULL},
		{"to, not all", SHADOWS("to: '*.a.example'", "to: [b.a.example, a.example]"), NULL, NULL,
		 "covered-entry policy.yaml:3", NULL},
		{"to network", SHADOWS("to: 10.0.0.0/8", "to: 10.1.2.3"), NULL, NULL, S, NULL},
		{"to, resolved behind names", SHADOWS("to: 10.0.0.0/8", "to: 10.1.2.3, resolved: true"), NULL, NULL, "", NULL},
		{"to behind resolved", SHADOWS("to: [x.example, 10.0.0.0/8], resolved: true", "to: [x.example, 10.1.0.0/16]"),
		 NULL, NULL, S, NULL},
		{"twice", SHADOWS("to: a.example, port: 1", "to: a.example, port: 1"), NULL, NULL, D, "line 2"},
		{"twice, otherwise",
		 RULES("to: a.example}, then: {access: deny", "to: a.example}, then: {access: allow"), NULL, NULL,
		 S, NULL},
		{"one name for two", "rules:\n- {name: r, when: {port: 1}, then: {access: deny}}\n"
		 "- {name: s, when: {port: 2}, then: {access: deny}}\n- {name: r, when: {port: 3}, then: {access: deny}}\n"
		 DENY, NULL, NULL, "same-name policy.yaml:4", "the rule in line 2 has the same name"},
		{"list", "lists: {a: a.list}\nrules:\n- {name: r, when: {to: a}, then: {access: deny}}\n"
		 "- {name: s, when: {to: a, from: 10.0.0.0/8}, then: {access: allow}}\n" DENY, "a.example\n", NULL,
		 "shadowed-rule policy.yaml:4", NULL},
		{"list with ports=", "lists: {a: a.list}\nrules:\n- {name: r, when: {port: 80}, then: {access: deny}}\n"
		 "- {name: s, when: {to: a, port: 80}, then: {access: allow}}\n" DENY, "a.example ports=22\n", NULL, "", NULL},
	};

	(void)state;
	check_rows(rows, COUNT_OF(rows));
}

#define AB BOTH DENY_A ALLOW

static void entries_that_are_covered(void **state)
{
	static const struct row rows[] = {
		{"twice", AB, "a.example\nb.example\nA.example. # again\n", "", "duplicate-entry a.list:3",
		 "a.example is in this list already: line 1"},
		{"twice in two files", AB, "x.example\n10.0.0.0/8\n", "y.example\n10.0.0.0/8\n", "duplicate-entry b.list:2",
		 "a.list:2"},
		{"a regex twice", AB, "/^a$/\n", "/^a$/\n", "duplicate-entry b.list:1", "a.list:1"},
		{"a glob twice", AB, "x.example\n*b*.a.example\n", "*b*.a.example\n", "duplicate-entry b.list:1", "a.list:2"},
		{"three times", AB, "a.example\na.example\na.example\n", "", "duplicate-entry a.list:2, duplicate-entry a.list:3",
		 NULL},
		{"below and the name", AB, "*.a.example\na.example\n", "", "", NULL},
		{"suffix", AB, "*.a.example\na.example\n.a.example\n", "", "covered-entry a.list:1, covered-entry a.list:2",
		 "*.a.example is covered by .a.example (line 3)"},
		{"other ports", AB, "a.example ports=80\na.example ports=81\n", "", "", NULL},
		{"ports in ports", AB, "a.example ports=80\na.example ports=79-81\n", "", "duplicate-entry a.list:1",
		 "its ports= are wider"},
		{"ports where all ports are denied", AB, "a.example\na.example ports=80\n", "", "duplicate-entry a.list:2", NULL},
		{"ports of a permission", BOTH TO_A DENY, "a.example\na.example ports=80\na.example ports=22\n", "",
		 "duplicate-entry a.list:2", NULL},
		{"same ports, other owner", AB, "a.example ports=80\na.example ports=80 owner=x\n", "",
		 "duplicate-entry a.list:2", NULL},
		{"ends sooner", AB, "a.example expires=2999-01-01\na.example\n", "", "duplicate-entry a.list:1", NULL},
		{"ends later", AB, "*.a.example expires=2998-01-01\nb.a.example expires=2999-01-01\n", "", "", NULL},
		{"network", AB, "10.1.0.0/16\n10.0.0.0/8\n::ffff:10.2.0.0/112\n11.0.0.0/8\n", "",
		 "covered-entry a.list:1, covered-entry a.list:3", "10.1.0.0/16 is covered by 10.0.0.0/8 (line 2)"},
		{"glob below", AB, "*mcs*.a.example\n*.a.example\n", "", "covered-entry a.list:1", NULL},
		{"glob and name", AB, "*mcs*.a.example\nmcs1.a.example\nb.a.example\n", "", "covered-entry a.list:2", NULL},
		{"glob of another place", AB, "a.*mcs*.example\n*.a.example\n", "", "", NULL},
		{"earlier rule, same answer", TWO "rules:\n- {name: r, when: {to: b}, then: {access: allow}}\n"
		 "- {name: s, when: {to: a}, then: {access: allow}}\n" DENY, "x.a.example\nc.example\n", ".a.example\n",
		 "covered-entry a.list:1", "b.list:1, in b)"},
		{"the same in a list of an earlier rule", TWO "rules:\n- {name: r, when: {to: b}, then: {access: allow}}\n"
		 "- {name: s, when: {to: a}, then: {access: allow}}\n" DENY, "x.a.example\nc.example\n", "x.a.example\n", "",
		 NULL},
		{"earlier rule, other answer", TWO "rules:\n- {name: r, when: {to: b}, then: {access: deny}}\n"
		 "- {name: s, when: {to: a}, then: {access: allow}}\n" DENY, "x.a.example\nc.example\n", ".a.example\n",
		 "overruled-entry a.list:1", "b.list:1, in b)"},
		{"later rule", TWO "rules:\n- {name: s, when: {to: a}, then: {access: allow}}\n"
		 "- {name: r, when: {to: b}, then: {access: allow}}\n" DENY, "x.a.example\nc.example\n", ".a.example\n", "",
		 NULL},
		{"earlier rule for some", TWO "rules:\n- {name: r, when: {to: b, from: 10.0.0.0/8}, then: {access: allow}}\n"
		 "- {name: s, when: {to: a}, then: {access: allow}}\n" DENY, "x.a.example\nc.example\n", ".a.example\n", "",
		 NULL},
		{"earlier rule, one of two questions; the first is said of the rule", TWO "rules:\n- {name: r, when: {to: b}, then: {access: allow}}\n"
		 "- {name: s, when: {to: a}, then: {access: allow, class: bulk}}\n" DENY, "x.a.example\n", ".a.example\n",
		 "shadowed-rule policy.yaml:4", NULL},
		{"same rule", TWO "rules:\n- {name: r, when: {to: [a, b]}, then: {access: allow}}\n" DENY, "x.a.example\n",
		 ".a.example\nx.a.example\n", "covered-entry a.list:1, covered-entry b.list:2", NULL},
		{"same rule, and one of its own", TWO "rules:\n- {name: r, when: {to: [a, b]}, then: {access: allow}}\n"
		 "- {name: s, when: {to: a}, then: {class: bulk}}\n" DENY, "x.a.example\n", ".a.example\n", "", NULL},
	};

	(void)state;
	check_rows(rows, COUNT_OF(rows));
}

static void patterns_that_match_too_much_or_nothing(void **state)
{
	static const struct row rows[] = {
		{"top level", BOTH BYPASS_A ALLOW, "*.com\n.co.uk\n*e*.com\nfoo.*\n", "",
		 "covered-entry a.list:3, public-suffix a.list:1, public-suffix a.list:2, public-suffix a.list:3, "
		 "public-suffix a.list:4", NULL},
		{"below a private suffix", BOTH BYPASS_A ALLOW, "x.github.io\n*.y.github.io\n", "", "", NULL},
		{"private suffix alone", BOTH BYPASS_A ALLOW, "*.github.io\n", "", "public-suffix a.list:1",
		 "github.io is a public suffix"},
		{"cdn", BOTH BYPASS_A ALLOW, "*.cloudfront.net\nd1.akamai.net\n*x*.s3.amazonaws.com\n", "",
		 "cdn-wide a.list:1, cdn-wide a.list:3", NULL},
		{"cdn allowed", BOTH TO_A DENY, "*.cloudfront.net\n", "", "cdn-wide a.list:1", NULL},
		{"cdn allowed where all is", BOTH TO_A ALLOW, "*.cloudfront.net\n", "", "", NULL},
		{"top level denied", BOTH DENY_A ALLOW, "*.zip\n*.cloudfront.net\n", "", "", NULL},
		{"names that nobody registers", BOTH BYPASS_A ALLOW, "*.corp\n*.intranet\n", "", "", NULL},
		{"wide regex", BOTH BYPASS_A ALLOW, "/^.*$/\n/^[a-z]+\\.a\\.example$/\n", "", "wide-regex a.list:1", NULL},
		{"wide regex that denies", BOTH DENY_A ALLOW, "/./\n", "", "", NULL},
		{"numbers", BOTH DENY_A ALLOW, "10.*\n*.1*.example\n/^10\\.\\d+\\.\\d+\\.[0-9]{1,3}$/\n/^1\\.[1-9-]+$/\n", "",
		 "address-as-name a.list:1, address-as-name a.list:3", NULL},
		{"bytes that no name has", BOTH DENY_A ALLOW, "/^https:\\/\\/a\\.example/\n/x\\.example\\/y/\n/^a\\.example\\.$/\n",
		 "", "never-matches a.list:1, never-matches a.list:2, never-matches a.list:3", NULL},
		{"bytes that a name may do without", BOTH DENY_A ALLOW,
		 "/^(https:\\/\\/)?abc\\.example$/\n/abcd\\/?/\n/abcd\\.$|abce/\n/abcf\\\\.$/\n/abcg{2,3}/\n", "", "", NULL},
		{"network in sni", "lists: {a: a.list}\nrules: [{name: r, when: {sni: a}, then: {log: none}}]\n" DENY,
		 "10.0.0.0/8\n", NULL, "never-matches a.list:1", NULL},
		{"network in sni and to",
		 "lists: {a: a.list}\nrules: [{name: r, when: {sni: a, to: a}, then: {log: none}}]\n" DENY, "10.0.0.0/8\n",
		 NULL, "", NULL},
		{"few slow expressions", BOTH DENY_A ALLOW, "/a.b/\n/a.c/\n", "", "", NULL},
		{"slow expressions", BOTH DENY_A ALLOW, "/abcd/\n/a.b/\n/a.c/\n/a.d/\n/a.e/\n/a.f/\n/a.g/\n/a.h/\n/a.i/\n/a.j/\n",
		 "", "slow-regex a.list:2", "8 more"},
	};

	(void)state;
	check_rows(rows, COUNT_OF(rows));
}

static void names_that_look_like_others(void **state)
{
	static const struct row rows[] = {
		{"twin in Cyrillic", BOTH DENY_A ALLOW, "paypal.example\n*.p\xd0\xb0ypal.example\n", "",
		 "mixed-script a.list:2, punycode-twin a.list:2", "mixes Latin and Cyrillic"},
		{"twin in whole Cyrillic", BOTH DENY_A ALLOW, "*.ace.example\n\xd0\xb0\xd1\x81\xd0\xb5.example\n", "",
		 "punycode-twin a.list:2", "looks like *.ace.example (line 1)"},
		{"twin below", BOTH DENY_A ALLOW, "ace.example\nx.\xd0\xb0\xd1\x81\xd0\xb5.example\n", "",
		 "punycode-twin a.list:2", NULL},
		{"twins of each other", BOTH DENY_A ALLOW,
		 "xn--80ak6aa92e.example\n\xd0\xb0\xd1\x81\xd0\xb5.example\n\xce\xb1\xd1\x81\xd0\xb5.example\n", "",
		 "mixed-script a.list:3, punycode-twin a.list:3", NULL},
		{"twin of a well known name", BOTH DENY_A ALLOW, "*.w\xd0\xb5" "bex.com\n", "",
		 "mixed-script a.list:1, punycode-twin a.list:1", NULL},
		{"honest names", BOTH DENY_A ALLOW, "b\xc3\xbc" "cher.example\n\xe6\x97\xa5\xe6\x9c\xac.example\n"
		 "abc\xe6\x97\xa5\xe6\x9c\xac.example\n\xd0\xbf\xd0\xb8\xd1\x80.example\n", "", "", NULL},
		{"bad labels", BOTH DENY_A ALLOW, "xn--a.example\nxn--ls8h.example\nx--n.example\n", "",
		 "bad-idna a.list:1, bad-idna a.list:2", NULL},
		{"ASCII twins in a bypass", BOTH BYPASS_A ALLOW,
		 "*.modern.com\n*.modem.com\n*.go0gle.com\n*.paypa1.com\nx.paypal.com\n", "",
		 "punycode-twin a.list:3, punycode-twin a.list:2, punycode-twin a.list:5", NULL},
		{"ASCII twins elsewhere", BOTH DENY_A ALLOW, "*.paypa1.com\npaypal.com\n", "", "", NULL},
		{"below one owner", BOTH BYPASS_A ALLOW, "cdn1.a.com\ncdnl.a.com\ns10.a.com\ns1o.a.com\n", "", "", NULL},
	};

	(void)state;
	check_rows(rows, COUNT_OF(rows));
}

static void rules_that_contradict_each_other(void **state)
{
	static const struct row rows[] = {
		{"bypass wider than allow", TWO "rules:\n- {name: r, when: {to: a}, then: {tls: bypass}}\n"
		 "- {name: s, when: {to: b}, then: {access: allow}}\ndefaults: {access: deny, tls: inspect}\n",
		 "*.a.example\nx.b.example\n.c.example\n", "api.a.example\n*.b.example\nc.example\n*.c.example\n",
		 "bypass-wider-than-allow a.list:1", "*.a.example shall not be opened (rule \"r\""},
		{"bypass where all is allowed", TWO "rules:\n- {name: r, when: {to: a}, then: {tls: bypass}}\n"
		 "- {name: s, when: {to: b}, then: {access: allow}}\ndefaults: {access: allow, tls: inspect}\n",
		 "*.a.example\n", "api.a.example\n", "", NULL},
		{"bypass where a network is allowed", TWO "rules:\n- {name: r, when: {to: a}, then: {tls: bypass}}\n"
		 "- {name: s, when: {to: b}, then: {access: allow}}\n- {name: t, when: {from: 10.0.0.0/8}, then: {access: allow}}\n"
		 "defaults: {access: deny, tls: inspect}\n", "*.a.example\n", "api.a.example\n", "", NULL},
		{"url where nothing is opened",
		 "rules: [{name: r, when: {url: 'https://a.example/x', method: GET}, then: {access: deny}}]\n" DENY, NULL,
		 NULL, "never-opened policy.yaml:1", "no rule and no default inspects"},
		{"url of a host that is bypassed",
		 "rules:\n- {name: b, when: {to: .a.example}, then: {tls: bypass}}\n"
		 "- {name: r, when: {url: ['https://x.a.example/x', 'https://b.example/'], method: GET}, then: {access: deny}}\n"
		 "defaults: {access: allow, tls: inspect}\n", NULL, NULL, "never-opened policy.yaml:3", "https://x.a.example/x"},
		{"url of a host that is bypassed for some",
		 "rules:\n- {name: b, when: {to: .a.example, from: 10.0.0.0/8}, then: {tls: bypass}}\n"
		 "- {name: r, when: {url: 'https://x.a.example/x', method: GET}, then: {access: deny}}\n"
		 "defaults: {access: allow, tls: inspect}\n", NULL, NULL, "", NULL},
		{"method where nothing is opened",
		 "rules: [{name: r, when: {method: POST, port: 443}, then: {access: deny}}]\n" ALLOW, NULL, NULL,
		 "never-opened policy.yaml:1", NULL},
		{"method at other ports", "rules: [{name: r, when: {method: POST, port: [80, 443]}, then: {access: deny}}]\n"
		 ALLOW, NULL, NULL, "", NULL},
		{"user of an exempt one",
		 "rules:\n- {name: x, when: {from: 10.0.0.0/8}, then: {auth: exempt}}\n"
		 "- {name: r, when: {from: 10.1.0.0/16, user: jane}, then: {access: allow}}\n"
		 "defaults: {access: deny, tls: bypass, auth: required}\n", NULL, NULL,
		 "auth-impossible policy.yaml:3", NULL},
		{"user of one who is asked",
		 "rules:\n- {name: q, when: {from: 10.1.0.0/16}, then: {auth: required}}\n"
		 "- {name: x, when: {from: 10.0.0.0/8}, then: {auth: exempt}}\n"
		 "- {name: r, when: {from: 10.1.0.0/16, user: jane}, then: {access: allow}}\n" DENY, NULL, NULL,
		 "", NULL},
	};

	(void)state;
	check_rows(rows, COUNT_OF(rows));
}

/* Days from now, as lists have them. */
static const char *day(int days)
{
	static char text[16];
	time_t then = time(NULL) + (time_t)days * 86400;
	struct tm tm;

	gmtime_r(&then, &tm);
	strftime(text, sizeof(text), "%Y-%m-%d", &tm);
	return text;
}

static void check_dated(const char *format, int days, const char *found, const char *text)
{
	char list[200];
	const struct row row = {format, BOTH DENY_A ALLOW, list, "", found, text};

	snprintf(list, sizeof(list), "x.example\na.example %s=%s source=\"a page\"\n", format, day(days));
	assert_true(is_as_told(&row));
}

static void dates(void **state)
{
	(void)state;
	check_dated("expires", -2, "expired a.list:2", "has expired");
	check_dated("expires", 5, "expires-soon a.list:2", "within 14 days");
	check_dated("expires", 20, "", NULL);
	check_dated("read", -200, "old-preset a.list:2", "1 entry of this file was read in a page");
	check_dated("read", -170, "", NULL);
}

/* What we ship: nothing but that a vendor's page was read long ago, or that a vendor asks for a whole CDN. */
static void what_is_shipped_is_clean(void **state)
{
	static const char *const policies[] = {
		"../../conf/defaults/policy.yaml", "../../conf/presets/examples/apple.yaml",
		"../../conf/presets/examples/google-chromeos.yaml", "../../conf/presets/examples/microsoft365-tenants.yaml",
		"../../conf/presets/examples/microsoft365.yaml", "../../conf/presets/examples/webex-hybrid.yaml",
		"../../conf/presets/examples/webex.yaml", "../../conf/presets/examples/zoom.yaml",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(policies); i++) {
		struct problems problems;
		void *image = NULL;
		size_t image_bytes;

		problems_init(&problems);
		assert_int_equal(policy_compile(policies[i], &problems, &image, &image_bytes), ERR_NONE);
		for (const struct problem *p = problems.first; p; p = p->next)
			if (p->code != PROBLEM_OLD_PRESET && (i == 0 || p->code != PROBLEM_CDN_WIDE))
				fail_msg("%s:%u: %s", p->file, p->line, p->text);
		problems_fini(&problems);
		free(image);
	}
}

/* A list that was appended to itself says so in a few lines, and leaves room for what else there is. */
static void many_findings_are_counted(void **state)
{
	enum { LINES = 5000 };
	struct policy_rig rig;
	struct buf text;
	size_t shown = 0;
	char *list;

	(void)state;
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 2 * LINES; i++)
		buf_printf(&text, "h%d.example\n", i % LINES);
	list = buf_to_string(&text);
	policy_rig_make(&rig, AB, list, "");
	assert_int_equal(rig.err, ERR_NONE);
	assert_int_equal(rig.problems.warning_count, LINES);
	for (const struct problem *p = rig.problems.first; p; p = p->next)
		shown++;
	assert_int_equal(shown, 20);
	buf_reset(&text);
	problems_format(&rig.problems, &text);
	assert_true(span_ends_with(buf_span(&text), SPAN("/a.list: warning: and 4980 more [duplicate-entry]\n")));
	policy_rig_fini(&rig);
	free(list);
	buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conditions_and_answers),
		cmocka_unit_test(rules_that_are_not_reached),
		cmocka_unit_test(entries_that_are_covered),
		cmocka_unit_test(patterns_that_match_too_much_or_nothing),
		cmocka_unit_test(names_that_look_like_others),
		cmocka_unit_test(rules_that_contradict_each_other),
		cmocka_unit_test(dates),
		cmocka_unit_test(what_is_shipped_is_clean),
		cmocka_unit_test(many_findings_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
