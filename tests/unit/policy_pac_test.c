/* SPDX-License-Identifier: Apache-2.0 */
/* The PAC file as text, and PCRE2's expressions as JavaScript's. What it answers is tested by a JavaScript engine:
 * tests/process/pages.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/pac/pac.h"
#include "policy/pac/pac_text.h"
#include "policy_rig.h"

static struct address address_of(const char *text)
{
	struct address address;

	assert_true(address_parse(span_from(text), &address));
	return address;
}

static char *write_pac(const struct policy_rig *rig, const char *from, uint64_t wall_ms)
{
	struct address address = address_of(from);
	struct buf out;
	char *text;

	assert_int_equal(rig->err, ERR_NONE);
	buf_init(&out, PAC_MAX_BYTES);
	policy_pac_begin(SPAN("PROXY a:1; PROXY b:2"), &out);
	assert_int_equal(policy_pac_write(rig->policy, &address, wall_ms, &out), ERR_NONE);
	text = buf_to_string(&out);
	buf_fini(&out);
	return text;
}

static void assert_has(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void assert_has_not(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("\"%s\" is in:\n%s", part, text);
}

static const char rules[] =
	"lists: {direct: a.list, office: b.list}\n"
	"rules:\n"
	"- {name: not of it, when: {to: secret.example}, then: {access: deny}}\n"
	"- {name: all, when: {to: direct, port: '80,8000-8100'}, then: {pac: direct}}\n"
	"- {name: some, when: {to: office, from: 10.0.0.0/8}, then: {pac: direct}}\n"
	"defaults: {access: allow, tls: bypass, auth: exempt}\n";

static void lists_become_tables(void **state)
{
	struct policy_rig rig;
	char *text;

	(void)state;
	policy_rig_make(&rig, rules,
	                "b.example\na.example\n*.below.example\n.both.example\n170.72.0.0/16\n[2402:2500::]/34\n"
	                "*mcs*.webex.com\n/^cdn\\d+$/\nlast.example ports=5004,33434-33598\ngone.example expires=2020-01-01\n",
	                "intranet.example\n");
	text = write_pac(&rig, "192.0.2.1", 1767225600000);
	assert_has(text, "var sp_answers = [\"PROXY a:1; PROXY b:2\", \"DIRECT\"];");
	assert_has(text, ",[],[\"=\"],\"a.example b.example\");");
	assert_has(text, ",[5004,5004,33434,33598],[\"=\"],\"last.example\");");
	assert_has(text, ",[],[\".\"],\"below.example\");");
	assert_has(text, ",[],[\"=\",\".\"],\"both.example\");");
	assert_has(text, ",[],[\"\"],\"416:2856845312 634:9218.9472.0\");");
	assert_has(text, "[/^[^.]*mcs[^.]*\\.webex\\.com$/i]");
	assert_has(text, "[/^cdn\\d+$/i]");
	assert_has(text, "var sp_prefixes4 = [16];\nvar sp_prefixes6 = [34];");
	assert_has(text, ",[80,80,8000,8100],1]];");
	assert_has(text, "var sp_default = 0;");
	assert_has_not(text, "secret");
	assert_has_not(text, "gone");
	assert_has_not(text, "intranet");
	free(text);
	policy_rig_fini(&rig);
}

static void clients_have_classes(void **state)
{
	struct address out = address_of("192.0.2.1"), in = address_of("10.1.2.3"), too = address_of("::ffff:10.9.9.9");
	struct policy_rig rig;
	char *text;

	(void)state;
	policy_rig_make(&rig, rules, "a.example\n", "intranet.example\n");
	text = write_pac(&rig, "10.1.2.3", 0);
	assert_has(text, "intranet.example");
	assert_true(policy_pac_has_classes(rig.policy));
	assert_true(policy_pac_class(rig.policy, &in) == policy_pac_class(rig.policy, &too));
	assert_true(policy_pac_class(rig.policy, &in) != policy_pac_class(rig.policy, &out));
	free(text);
	policy_rig_fini(&rig);
}

static void same_policy_same_bytes(void **state)
{
	char *texts[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct policy_rig rig;

		policy_rig_make(&rig, rules, "c.example\na.example\n*.b.example\n10.0.0.0/8\n", "d.example\n");
		texts[i] = write_pac(&rig, "10.1.2.3", 0);
		policy_rig_fini(&rig);
	}
	assert_string_equal(texts[0], texts[1]);
	free(texts[0]);
	free(texts[1]);
}

static void what_is_too_large_names_its_lists(void **state)
{
	struct policy_rig rig;
	struct buf list, why;
	char *text;

	(void)state;
	buf_init(&list, 1 << 20);
	buf_init(&why, 1000);
	for (int i = 0; i < 2000; i++)
		buf_printf(&list, "host-%d.of-a-long-name.example\n", i);
	text = buf_to_string(&list);
	policy_rig_make(&rig, rules, text, "d.example\n");
	assert_int_equal(rig.err, ERR_NONE);
	assert_true(policy_pac_fits(rig.policy, 0, PAC_MAX_BYTES, &why));
	assert_false(policy_pac_fits(rig.policy, 0, 60000, &why));
	free(text);
	text = buf_to_string(&why);
	assert_string_equal(text, "it takes most for the lists direct (64 KiB), office (1 KiB)");
	free(text);
	buf_fini(&list);
	buf_fini(&why);
	policy_rig_fini(&rig);
}

static const struct {
	const char *in, *out, *why; /* out NULL: refused, and why */
} regexes[] = {
	{"^a+b*?c{2,3}$", "/^a+b*?c{2,3}$/i", NULL},
	{"^(cdn|img)\\d+\\.x$", "/^(?:cdn|img)\\d+\\.x$/i", NULL},
	{"[]a^-]", "/[\\]a\\^\\-]/i", NULL},
	{"[^a-f\\w./]", "/[^a-f\\w\\.\\/]/i", NULL},
	{"a/b]}", "/a\\/b\\]\\}/i", NULL},
	{"(?=x)(?!y)(?:z)?", "/(?=x)(?!y)(?:z)?/i", NULL},
	{"\\x41\\_\\-\\bq", "/A_\\-\\bq/i", NULL},
	{"a++", NULL, "possessive"},
	{"(?>a)", NULL, "(?:"},
	{"(?i)a", NULL, "leave (?i) out"},
	{"(?<=a)b", NULL, "(?:"},
	{"(?<n>a)", NULL, "(?:"},
	{"(a)\\1", NULL, "escape"},
	{"\\Aa\\z", NULL, "escape"},
	{"\\Qa.b\\E", NULL, "escape"},
	{"[[:alpha:]]", NULL, "range"},
	{"[\\d-z]", NULL, "range"},
	{"a{,3}", NULL, "brace"},
	{"(?=a)*", NULL, "repeated"},
	{"(*UTF)a", NULL, "(*"},
	{"\xc3\xa4", NULL, "ASCII"},
	{"(?#a)b", NULL, "(?:"},
	{"[\\b]", NULL, "escape"},
	{"</script><!--", "/\\x3c\\/script\\x3e\\x3c!\\-\\-/i", NULL},
	{"[</]", "/[\\x3c\\/]/i", NULL},
	{"a/;alert\\(1\\)//", "/a\\/;alert\\(1\\)\\/\\//i", NULL},
	{"a\\/b", "/a\\/b/i", NULL},
	{"a\\\n", "/a\\x0a/i", NULL},
	{"a\n", NULL, "ASCII"},
	{"a\\", NULL, "backslash"},
	{"\xe2\x80\xa8", NULL, "ASCII"},
	{"\\\xe2\x80\xa8", NULL, "backslash"},
	{"[\xe2\x80\xa9]", NULL, "ASCII"},
};

static void expressions_are_converted_or_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(regexes); i++) {
		const char *why = "";
		struct buf out;
		char *text;
		size_t at;
		bool ok;

		buf_init(&out, 1000);
		ok = pac_regex_write(span_from(regexes[i].in), &out, &why, &at);
		text = buf_to_string(&out);
		if (ok != (regexes[i].out != NULL))
			fail_msg("%s: %s (%s)", regexes[i].in, ok ? "was taken" : "was refused", why);
		if (ok)
			assert_string_equal(text, regexes[i].out);
		else
			assert_has(why, regexes[i].why);
		free(text);
		buf_fini(&out);
	}
}

static void repeats_of_repeats_are_found(void **state)
{
	static const struct {
		const char *regex;
		bool is_slow;
	} rows[] = {
		{"^(a+)+$", true}, {"^(a*)*$", true}, {"^(?:[a-z]+)*\\.x$", true}, {"^((a+))+$", true}, {"^(a+|b)+$", true},
		{"^(b|a{2,})+$", true}, {"^(a+b*)+$", true}, {"^(a*b*)+$", true}, {"^(a+){2,}$", true}, {"^(a+?)+?$", true},
		{"^((ab)+)*$", true}, {"x(y(a+)+z)?$", true}, {"^(?:(a+)b?)+$", true}, {"(\\w+)+", true}, {"(.*)*", true},
		{"^(?!(a+)+)b$", true}, {"^(?:(?:a+){2})+$", true},
		{"^([a-z0-9-]+\\.)+x\\.test$", false}, {"^a+b+c*$", false}, {"^(a+b+)+$", false}, {"^(a+)$", false},
		{"^(a+){1,3}$", false}, {"^(a+){3}$", false}, {"^(a+)?$", false}, {"^(\\ba+)+$", false}, {"^(a|b)+$", false},
		{"^(a+)(b+)+$", true}, {"^(a+)b+$", false}, {"^(a{2,3}b)+$", false}, {"^(x[+]+y)+$", false}, {"(a", false},
		{"^(a+(?=b))+$", false}, {"^(x|a+y)+$", false}, {"^(?:\\.a*)+$", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (pac_regex_is_slow(span_from(rows[i].regex)) != rows[i].is_slow)
			fail_msg("%s: %s", rows[i].regex, rows[i].is_slow ? "was not found" : "was found");
}

static void a_slow_expression_is_warned_of(void **state)
{
	static const char policy[] = "lists: {direct: a.list, other: b.list}\nrules:\n- {name: r, when: {to: direct}, then: {pac: direct}}\n"
	                             "- {name: o, when: {to: other}, then: {access: deny}}\ndefaults: {access: allow}\n";
	struct policy_rig rig;
	struct buf text;
	char *said;

	(void)state;
	policy_rig_make(&rig, policy, "/^([a-z]+\\.)+a$/\n/^(a+)+$/\n", "/^(b+)+$/\n");
	assert_int_equal(rig.err, ERR_NONE);
	buf_init(&text, 100000);
	problems_format(&rig.problems, &text);
	said = buf_to_string(&text);
	assert_has(said, "a.list:2:1: warning: /^(a+)+$/ decides pac");
	assert_has(said, "[slow-pac]");
	assert_has_not(said, "a.list:1:1: warning: /^([a-z]+\\.)+a$/ decides pac");
	assert_has_not(said, "(b+)+$/ decides pac");
	free(said);
	buf_fini(&text);
	policy_rig_fini(&rig);
}

static void globs_keep_to_their_labels(void **state)
{
	static const char *const rows[][2] = {
		{"*mcs*.webex.com", "/^[^.]*mcs[^.]*\\.webex\\.com$/i"},
		{"*.*.example.com", "/^(?:[^.]+\\.){2,}example\\.com$/i"},
		{"*.cdn-*.example.com", "/^(?:[^.]+\\.){1,}cdn\\-[^.]*\\.example\\.com$/i"},
		{"*</script>/\n", "/^[^.]*\\x3c\\/script\\x3e\\/\\x0a$/i"},
		{"*\xe2\x80\xa8", "/^[^.]*\\xe2\\x80\\xa8$/i"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf out;
		char *text;

		buf_init(&out, 1000);
		pac_glob_write(span_from(rows[i][0]), &out);
		text = buf_to_string(&out);
		assert_string_equal(text, rows[i][1]);
		free(text);
		buf_fini(&out);
	}
}

/* What is read is checked long before; here nothing of it can end the string, the line or the script. */
static void strings_hold_what_is_in_them(void **state)
{
	static const char *const rows[][2] = {
		{"a-b_c.example [2001:db8::1]:80; x", "a-b_c.example [2001:db8::1]:80; x"},
		{"a\"; alert(1); \"", "a\\x22; alert(1); \\x22"},
		{"a\\", "a\\x5c"},
		{"\\u0022", "\\x5cu0022"},
		{"a'b`${c}", "a\\x27b\\x60${c}"},
		{"</script><!--", "\\x3c/script\\x3e\\x3c!--"},
		{"a\r\nb\tc\x7f", "a\\x0d\\x0ab\\x09c\\x7f"},
		{"\xe2\x80\xa8\xe2\x80\xa9", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf out;
		char *text;

		buf_init(&out, 1000);
		pac_string_write(span_from(rows[i][0]), &out);
		text = buf_to_string(&out);
		assert_string_equal(text, rows[i][1]);
		free(text);
		buf_fini(&out);
		buf_init(&out, 1000);
		policy_pac_begin(span_from(rows[i][0]), &out);
		text = buf_to_string(&out);
		assert_has(text, rows[i][1]);
		free(text);
		buf_fini(&out);
	}
}

static const struct {
	const char *rule, *list, *problem;
} refused[] = {
	{"when: {to: direct, method: GET}, then: {pac: direct}", "a.test\n", "cannot ask for method"},
	{"when: {to: direct, time: mon}, then: {pac: direct}", "a.test\n", "cannot ask for time"},
	{"when: {url: 'http://a/'}, then: {access: deny, pac: direct}", "a.test\n", "cannot ask for url"},
	{"when: {listener: a}, then: {pac: proxy}", "a.test\n", "cannot ask for listener"},
	{"when: {user: a}, then: {pac: proxy}", "a.test\n", "cannot ask for user"},
	{"when: {group: a}, then: {pac: proxy}", "a.test\n", "cannot ask for group"},
	{"when: {sni: direct}, then: {pac: proxy}", "a.test\n", "cannot ask for sni"},
	{"when: {to: direct, resolved: true}, then: {pac: direct}", "10.0.0.0/8\n", "resolved: true"},
	{"when: {to: direct}, then: {pac: direct}", "a.test\n/^(?>a)b$/\n", "a.list:2:1: error: /^(?>a)b$/ decides pac"},
	{"when: {to: '/^a\\Kb$/'}, then: {pac: direct}", "a.test\n", "policy.yaml:3:1: error: /^a\\Kb$/ decides pac"},
};

static void what_a_file_cannot_say_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		struct policy_rig rig;
		char policy[500], *said;
		struct buf text;

		snprintf(policy, sizeof(policy), "lists: {direct: a.list}\nrules:\n- {name: r, %s}\ndefaults: {access: allow}\n",
		         refused[i].rule);
		policy_rig_make(&rig, policy, refused[i].list, NULL);
		assert_int_equal(rig.err, ERR_CONFIG);
		buf_init(&text, 100000);
		problems_format(&rig.problems, &text);
		said = buf_to_string(&text);
		assert_has(said, refused[i].problem);
		free(said);
		buf_fini(&text);
		policy_rig_fini(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_become_tables),
		cmocka_unit_test(clients_have_classes),
		cmocka_unit_test(same_policy_same_bytes),
		cmocka_unit_test(what_is_too_large_names_its_lists),
		cmocka_unit_test(expressions_are_converted_or_refused),
		cmocka_unit_test(what_a_file_cannot_say_is_refused),
		cmocka_unit_test(globs_keep_to_their_labels),
		cmocka_unit_test(repeats_of_repeats_are_found),
		cmocka_unit_test(a_slow_expression_is_warned_of),
		cmocka_unit_test(strings_hold_what_is_in_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
