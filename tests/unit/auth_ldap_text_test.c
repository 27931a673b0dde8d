/* SPDX-License-Identifier: Apache-2.0 */
/* Names in filters and DNs, domains of directories, what refusals mean, servers that may be asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/backend/ldap_text.h"
#include "auth/fold.h"

static void assert_text(const struct buf *buf, const char *expected, const char *of)
{
	if (!span_equal(buf_span(buf), span_from(expected)))
		fail_msg("%s gives \"%.*s\", not \"%s\"", of, SPAN_ARG(buf_span(buf)), expected);
}

static void texts_are_escaped(void **state)
{
	static const struct {
		ldap_text_escape *escape;
		const char *text, *expected;
	} rows[] = {
		{ldap_text_for_filter, "alice", "alice"},
		{ldap_text_for_filter, "*)(uid=*", "\\2a\\29\\28uid=\\2a"},
		{ldap_text_for_filter, "a\\b", "a\\5cb"},
		{ldap_text_for_filter, "j\xc3\xbcrgen", "j\\c3\\bcrgen"},
		{ldap_text_for_filter, "\x01\x7f", "\\01\\7f"},
		{ldap_text_for_dn, "alice", "alice"},
		{ldap_text_for_dn, "a,ou=b", "a\\2cou\\3db"},
		{ldap_text_for_dn, "\"+,;<>\\=", "\\22\\2b\\2c\\3b\\3c\\3e\\5c\\3d"},
		{ldap_text_for_dn, " #a b# ", "\\20#a b#\\20"},
		{ldap_text_for_dn, "#a", "\\23a"},
		{ldap_text_for_dn, " ", "\\20"},
		{ldap_text_for_dn, "j\xc3\xbcrgen", "j\xc3\xbcrgen"},
		{ldap_text_raw, "a,b", "a,b"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf out;

		buf_init(&out, 256);
		rows[i].escape(span_from(rows[i].text), &out);
		assert_text(&out, rows[i].expected, rows[i].text);
		buf_fini(&out);
	}
}

static void a_nul_is_escaped(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 256);
	ldap_text_for_filter(SPAN("a\0b"), &out);
	ldap_text_for_dn(SPAN("a\0b"), &out);
	assert_text(&out, "a\\00ba\\00b", "NUL");
	buf_fini(&out);
}

static void patterns_are_filled(void **state)
{
	static const struct {
		const char *pattern, *expected;
		ldap_text_escape *escape;
	} rows[] = {
		{"(uid={user})", "(uid=a\\2ab)", ldap_text_for_filter},
		{"(|(uid={user})(mail={name}))", "(|(uid=a\\2ab)(mail=a\\2ab@x))", ldap_text_for_filter},
		{"{user}{user}", "a*ba*b", ldap_text_raw},
		{"{use}{", "{use}{", ldap_text_raw},
		{"", "", ldap_text_raw},
		{"{user", "{user", ldap_text_raw},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf out;

		buf_init(&out, 256);
		ldap_text_fill(rows[i].pattern, SPAN("a*b"), SPAN("a*b@x"), rows[i].escape, &out);
		assert_int_equal(buf_len(&out), strlen(rows[i].expected) + 1);
		assert_string_equal((const char *)buf_span(&out).at, rows[i].expected);
		buf_fini(&out);
	}
}

static void what_is_filled_in_is_not_filled_again(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 256);
	ldap_text_fill("{user}", SPAN("{name}"), SPAN("secret"), ldap_text_raw, &out);
	assert_string_equal((const char *)buf_span(&out).at, "{name}");
	buf_fini(&out);
}

static void patterns_have_a_key(void **state)
{
	static const struct {
		const char *pattern, *key;
		bool is_whole;
	} rows[] = {
		{"(sAMAccountName={user})", "sAMAccountName", false},
		{"(&(objectClass=user)(|(userPrincipalName={name})(mail={user})))", "userPrincipalName", true},
		{"uid={user},ou=people,dc=x", "uid", false},
		{"2.5.4.3={user},dc=x", "2.5.4.3", false},
		{"{user}@ad.test", "", false},
		{"{name}", "", true},
		{"ADTEST\\{user}", "", false},
		{"(uid~={user})", "", false},
		{"(uid=x{user})", "", false},
		{"=", "", false},
		{"={user}", "", false},
		{"", "", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		bool is_whole = true;
		struct span key = ldap_text_key(rows[i].pattern, &is_whole);

		if (!span_equal(key, span_from(rows[i].key)) || is_whole != rows[i].is_whole)
			fail_msg("%s: \"%.*s\" %d", rows[i].pattern, SPAN_ARG(key), is_whole);
	}
}

static void directories_have_a_domain(void **state)
{
	static const struct {
		const char *template, *base, *domain;
	} rows[] = {
		{"", "dc=ad,dc=test", "ad.test"},
		{"", "OU=People, DC=ad, DC=test", "ad.test"},
		{"", "o=example", ""},
		{"", "", ""},
		{"", "no dn", ""},
		{"{user}@corp.test", "dc=ad,dc=test", "corp.test"},
		{"ADTEST\\{user}", "dc=ad,dc=test", "ad.test"},
		{"{name}", "dc=ad,dc=test", "ad.test"},
		{"{user}@{name}", "dc=ad,dc=test", "ad.test"},
		{"uid={user},ou=people,dc=example,dc=test", "", "example.test"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct ldap_conf conf = {.template = rows[i].template, .base = rows[i].base};
		struct buf out;

		buf_init(&out, 256);
		ldap_text_domain(&conf, &out);
		assert_text(&out, rows[i].domain, rows[i].base);
		buf_fini(&out);
	}
}

static void first_values_of_dns(void **state)
{
	static const struct {
		const char *dn, *key, *value;
	} rows[] = {
		{"CN=staff,OU=groups,DC=ad,DC=test", NULL, "staff"},
		{"cn=Research\\, North,dc=x", NULL, "Research, North"},
		{"cn=Research\\2C North,dc=x", NULL, "Research, North"},
		{"cn=a+uid=b,dc=x", "uid", "b"},
		{"cn=a,uid=b", "uid", ""},
		{"cn=#04026869,dc=x", "mail", ""},
		{"", NULL, ""},
		{"no dn", NULL, ""},
		{",", NULL, ""},
		{"cn=", NULL, ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf out;

		buf_init(&out, 256);
		ldap_text_first_value(rows[i].dn, rows[i].key, &out);
		assert_text(&out, rows[i].value, rows[i].dn);
		buf_fini(&out);
	}
}

static void names_and_spellings(void **state)
{
	static const struct {
		const char *name;
		bool is_name, has_one_spelling;
	} rows[] = {
		{"alice", true, true},       {"j\xc3\xbcrgen", true, false}, {"a b", true, false},
		{" alice", false, false},    {"alice ", false, false},       {"", false, false},
		{"a\tb", false, false},      {"a\xff", false, false},        {"a\xc2\x85", false, false},
		{"a\x7f", false, false},     {"o,brien", true, true},        {"\xef\xbd\x81lice", true, false},
		{"al\xc2\xadice", true, false}, {"\xed\xa0\x80", false, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(ldap_text_is_name(span_from(rows[i].name)), rows[i].is_name);
		assert_int_equal(ldap_text_has_one_spelling(span_from(rows[i].name)), rows[i].has_one_spelling);
	}
	assert_false(ldap_text_is_name(SPAN("a\0b")));
}

static void refusals_of_active_directory(void **state)
{
	static const struct {
		const char *text, *words;
		enum ask_verdict verdict;
	} rows[] = {
		{"80090308: LdapErr: DSID-0C090569, comment: AcceptSecurityContext error, data 52e, v4563", "wrong", VERDICT_INVALID},
		{"data 525, v1", "not known", VERDICT_UNKNOWN_USER},
		{"data 533", "disabled", VERDICT_INVALID},
		{"data 532, v", "expired", VERDICT_INVALID},
		{"data 773, v", "changed", VERDICT_INVALID},
		{"data 775, v", "locked", VERDICT_INVALID},
		{"data 5250, v", "wrong", VERDICT_INVALID},
		{"", "wrong", VERDICT_INVALID},
		{NULL, "wrong", VERDICT_INVALID},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *words = "";

		assert_int_equal(ldap_text_refusal(rows[i].text, &words), rows[i].verdict);
		assert_non_null(strstr(words, rows[i].words));
	}
}

static void servers_that_may_be_asked(void **state)
{
	static const struct {
		const char *server;
		bool in_clear, with_starttls;
	} rows[] = {
		{"ldaps://dc1.ad.test", true, true},
		{"ldaps://dc1.ad.test:3269", true, true},
		{"ldaps://[2001:db8::1]:636", true, true},
		{"ldap://dc1.ad.test", false, true},
		{"ldap://127.0.0.1", true, true},
		{"ldap://127.9.8.7:3890", true, true},
		{"ldap://[::1]:389", true, true},
		{"ldap://localhost", true, true},
		{"ldap://LocalHost:389", true, true},
		{"ldap://127.evil.test", false, true},
		{"ldap://localhost.evil.test", false, true},
		{"ldap://[::ffff:192.0.2.1]", false, true},
		{"ldap://192.0.2.1", false, true},
		{"ldapi://%2Frun%2Fslapd%2Fldapi", true, true},
		{"ldap://", false, false},
		{"ldaps://", false, false},
		{"", false, false},
		{"dc1.ad.test", false, false},
		{"http://127.0.0.1", false, false},
		{"cldap://127.0.0.1", false, false},
		{"ldaps://a.test ldap://192.0.2.1", false, false},
		{"ldaps://a.test,ldap://192.0.2.1", false, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if ((ldap_text_server_fault(rows[i].server, false) == NULL) != rows[i].in_clear ||
		    (ldap_text_server_fault(rows[i].server, true) == NULL) != rows[i].with_starttls)
			fail_msg("\"%s\"", rows[i].server);
	}
}

static void texts_of_others_are_one_line(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	ldap_text_one_line("a\nb\x1b[31m\xff\xc2\x9bz", &out);
	assert_text(&out, "a b [31m  z", "controls");
	for (int i = 0; i < 10; i++)
		ldap_text_one_line("0123456789012345678901234567890123456789012345678901234567890123456789"
		                   "0123456789012345678901234567890123456789012345678901234567890123456789"
		                   "0123456789012345678901234567890123456789012345678901234567890123456789"
		                   "0123456789012345678901234567890123456789012345678901234567890123456789",
		                   &out);
	assert_true(buf_len(&out) <= 11 + 10 * 240);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_escaped),
		cmocka_unit_test(a_nul_is_escaped),
		cmocka_unit_test(patterns_are_filled),
		cmocka_unit_test(what_is_filled_in_is_not_filled_again),
		cmocka_unit_test(patterns_have_a_key),
		cmocka_unit_test(directories_have_a_domain),
		cmocka_unit_test(first_values_of_dns),
		cmocka_unit_test(names_and_spellings),
		cmocka_unit_test(refusals_of_active_directory),
		cmocka_unit_test(servers_that_may_be_asked),
		cmocka_unit_test(texts_of_others_are_one_line),
	};

	fold_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
