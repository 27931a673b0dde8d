/* SPDX-License-Identifier: Apache-2.0 */
/* User files: the three kinds of lines, who is found by which name, and what is refused with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/backend/users.h"
#include "auth/scheme/digest_proof.h"

#define REALM "Corporate egress"
#define HEX16 "000102030405060708090a0b0c0d0e0f"
#define HEX32 HEX16 "101112131415161718191A1B1C1D1E1F"
#define HASH "$apr1$12345678$rYmpQWzMSsiCfvkFT79Zk."

static enum err load_both(const char *first, const char *second, struct problems *problems, struct users **out)
{
	struct users_source sources[] = {{"users", span_from(first)}, {"more", span_from(second)}};

	problems_init(problems);
	return users_load(sources, second ? 2 : 1, SPAN(REALM), problems, out);
}

static struct users *load(const char *first, const char *second)
{
	struct problems problems;
	struct users *users;

	if (load_both(first, second, &problems, &users) != ERR_NONE)
		fail_msg("%s: %s", first, problems.first ? problems.first->text : "no problem is said");
	assert_int_equal(problems.error_count, 0);
	problems_fini(&problems);
	return users;
}

static struct users_stats stats_of(const struct users *users)
{
	struct users_stats stats;

	users_stats(users, &stats);
	return stats;
}

static void ours_is_read(void **state)
{
	struct users *users = load("# by hand\n"
	                           "\n"
	                           "  \t\n"
	                           "alice:crypt=" HASH ":sha256=" HEX32 ":md5=" HEX16 ":nt=" HEX16
	                           ":realm=Corporate%20egress:groups=staff,it%2cops,j%c3%bcrgens\r\n"
	                           "b%25ob%20x:nt=" HEX16, NULL);
	const struct users_entry *entry = users_find(users, SPAN("alice"));

	(void)state;
	assert_int_equal(stats_of(users).count, 2);
	assert_non_null(entry);
	assert_true(span_equal(entry->crypt, SPAN(HASH)));
	assert_true(span_equal(entry->groups, SPAN("staff\0it,ops\0j\xc3\xbcrgens\0")));
	assert_true(entry->has_ha1[DIGEST_MD5] && entry->has_ha1[DIGEST_SHA256] && entry->has_nt);
	for (uint8_t i = 0; i < 32; i++) {
		assert_int_equal(entry->ha1[DIGEST_SHA256][i], i);
		assert_int_equal(i < 16 ? entry->ha1[DIGEST_MD5][i] : i, i);
		assert_int_equal(i < 16 ? entry->nt[i] : i, i);
	}
	entry = users_find(users, SPAN("b%ob x"));
	assert_non_null(entry);
	assert_true(entry->has_nt && entry->crypt.len == 0 && entry->groups.len == 0);
	assert_ptr_equal(users_at(users, 1), entry);
	assert_null(users_at(users, 2));
	users_free(users);
}

static void other_programs_lines_are_read_as_they_are(void **state)
{
	struct users *users = load("apr:" HASH "\n"
	                           "des:1lYaIlaDP1mCc\n"
	                           "a%41:" HASH "\n" /* no %XX here */
	                           "dora:" REALM ":" HEX16 "\n"
	                           "dora:Other:ffffffffffffffffffffffffffffffff\n"
	                           "emil:realm=x:" HEX16 "\n" /* a realm of htdigest, and no field */
	                           "fritz:a:b:" HEX16 "\n", NULL);
	struct users_stats stats = stats_of(users);
	const struct users_entry *dora = users_find(users, SPAN("dora"));

	(void)state;
	assert_int_equal(stats.count, 6);
	assert_int_equal(stats.crypt, 3);
	assert_int_equal(stats.ha1[DIGEST_MD5], 1);
	assert_int_equal(stats.ha1[DIGEST_SHA256], 0);
	assert_int_equal(stats.other_realm, 2);
	assert_non_null(users_find(users, SPAN("a%41")));
	assert_null(users_find(users, SPAN("aA")));
	assert_true(dora && dora->has_ha1[DIGEST_MD5] && dora->ha1[DIGEST_MD5][1] == 1);
	users_free(users);
}

/* HA1s of another realm are none; all else counts. */
static void other_realms_are_counted(void **state)
{
	struct users *users = load("a:md5=" HEX16 ":sha256=" HEX32 ":realm=Other:nt=" HEX16 ":groups=x\n"
	                           "b:md5=" HEX16 "\n" /* of ours: nothing else is said */
	                           "c:crypt=" HASH ":realm=Other\n", NULL);
	const struct users_entry *a = users_find(users, SPAN("a"));

	(void)state;
	assert_int_equal(stats_of(users).other_realm, 1);
	assert_int_equal(stats_of(users).ha1[DIGEST_MD5], 1);
	assert_true(a && !a->has_ha1[DIGEST_MD5] && !a->has_ha1[DIGEST_SHA256] && a->has_nt && a->groups.len);
	users_free(users);
}

/* One person in the files of several programs, in either order. */
static void what_belongs_to_one_person_is_put_together(void **state)
{
	static const char digest[] = "alice:" REALM ":" HEX16 "\n", other[] = "alice:md5=" HEX16 ":realm=Other:groups=it\n",
	                  passwords[] = "alice:" HASH "\n";
	static const char *const rows[][2] = {{digest, passwords}, {passwords, digest}, {other, passwords}, {passwords, other}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct users *users = load(rows[i][0], rows[i][1]);
		const struct users_entry *entry = users_find(users, SPAN("alice"));

		assert_int_equal(stats_of(users).count, 1);
		assert_true(entry && span_equal(entry->crypt, SPAN(HASH)));
		assert_int_equal(entry->has_ha1[DIGEST_MD5], i < 2);
		assert_int_equal(entry->groups.len, i < 2 ? 0 : 3);
		assert_int_equal(stats_of(users).other_realm, i < 2 ? 0 : 1);
		users_free(users);
	}
}

static void lines_are_refused(void **state)
{
	static const struct {
		const char *text;
		unsigned line;
		const char *why;
	} rows[] = {
		{"# ok\n\nalice\n", 3, "there is no colon"},
		{":" HASH "\n", 1, "no name of a user"},
		{"a\x01z:" HASH "\n", 1, "no name of a user"},
		{"a\x7fz:" HASH "\n", 1, "no name of a user"},
		{"a\xc2\x85z:" HASH "\n", 1, "no name of a user"},
		{"j\xfcrgen:" HASH "\n", 1, "no name of a user"},
		{"a%00z:nt=" HEX16 "\n", 1, "no name of a user"},
		{"a%3Az:nt=" HEX16 "\n", 1, "no name of a user"},
		{"a%4:nt=" HEX16 "\n", 1, "no name of a user"},
		{"a%zz:nt=" HEX16 "\n", 1, "no name of a user"},
		{"alice:" HASH "\nbob:hunter2\n", 2, "the hash of bob is not taken: it is no hash: passwords in clear are not taken"},
		{"alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", 1, "{SHA} has no salt"},
		{"alice:{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3\n", 1, "{SSHA} is one round"},
		{"alice:\n", 1, "it is empty"},
		{"alice:" HASH ":\n", 1, "too many parts"},
		{"alice:" REALM ":" HEX16 "0\n", 1, "too many parts, or the last one has not 32 hexadecimal digits"},
		{"alice:sha265=" HEX32 "\n", 1, "\"sha265\" is no field; did you mean sha256?"},
		{"alice:group=it\n", 1, "\"group\" is no field; did you mean groups?"},
		{"alice:nt=" HEX16 ":colour=red\n", 1, "\"colour\" is no field; the fields are"},
		{"alice:nt=" HEX16 ":secret\n", 1, "a field has no \"=\""},
		{"alice:nt=" HEX16 ":nt=" HEX16 "\n", 1, "nt= stands there twice"},
		{"alice:nt=" HEX16 "0\n", 1, "nt= of alice has not 32 hexadecimal digits"},
		{"alice:md5=" HEX32 "\n", 1, "md5= of alice has not 32 hexadecimal digits"},
		{"alice:sha256=" HEX16 "\n", 1, "sha256= of alice has not 64 hexadecimal digits"},
		{"alice:md5=0001020304050607zz090a0b0c0d0e0f\n", 1, "md5= of alice has not 32 hexadecimal digits"},
		{"alice:crypt=\n", 1, "it is empty"},
		{"alice:crypt=secret\n", 1, "passwords in clear"},
		{"alice:realm=%\n", 1, "realm= of alice has a %"},
		{"alice:groups=a,,b\n", 1, "groups: \"\" is no name of a group"},
		{"alice:groups=a%0ab\n", 1, "groups: \"a%0ab\" is no name of a group"},
		{"alice:groups=a%3ab\n", 1, "groups: \"a%3ab\" is no name of a group"},
		{"alice:nt=" HEX16 "\nbob:nt=" HEX16 "\nalice:nt=" HEX16 "\n", 3, "alice is there already (users:1); remove one"},
		{"alice:" HASH "\nalice:crypt=" HASH "\n", 2, "alice is there already (users:1)"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct problems problems;
		struct users *users;
		enum err err = load_both(rows[i].text, NULL, &problems, &users);

		if (err != ERR_CONFIG || problems.error_count != 1)
			fail_msg("%s: %zu problems", rows[i].text, problems.error_count);
		assert_null(users);
		if (strstr(problems.first->text, rows[i].why) == NULL || problems.first->line != rows[i].line)
			fail_msg("%s: line %u: %s", rows[i].text, problems.first->line, problems.first->text);
		assert_string_equal(problems.first->file, "users");
		if (strstr(problems.first->text, "hunter2") || strstr(problems.first->text, "secret"))
			fail_msg("a password is said: %s", problems.first->text);
		problems_fini(&problems);
	}
}

static void all_problems_are_said_with_both_places(void **state)
{
	struct problems problems;
	struct users *users;

	(void)state;
	assert_int_equal(load_both("a:nt=" HEX16 "\nb:x\n", "# more\nA:nt=" HEX16 "\nc:y\na:nt=" HEX16 "\n", &problems, &users),
	                 ERR_CONFIG);
	assert_int_equal(problems.error_count, 3);
	assert_string_equal(problems.first->file, "users");
	assert_int_equal(problems.first->line, 2);
	assert_string_equal(problems.first->next->file, "more");
	assert_int_equal(problems.first->next->line, 3);
	assert_string_equal(problems.first->next->next->file, "more");
	assert_int_equal(problems.first->next->next->line, 4);
	assert_string_equal(problems.first->next->next->text, "a is there already (users:1); remove one of the two");
	problems_fini(&problems);
}

static void names_and_lines_are_bounded(void **state)
{
	static char text[70000];

	(void)state;
	for (size_t len = 256; len < 258; len++) {
		struct problems problems;
		struct users *users;

		memset(text, 'a', len);
		memcpy(text + len, ":" HASH, sizeof(":" HASH));
		assert_int_equal(load_both(text, NULL, &problems, &users), len == 256 ? ERR_NONE : ERR_CONFIG);
		if (users) {
			assert_non_null(users_find(users, span_of(text, 256)));
			assert_non_null(users_find_folded(users, span_of(text, 256)));
			memset(text, 'a', sizeof(text));
			for (size_t longer = 257; longer < sizeof(text); longer *= 3) {
				assert_null(users_find(users, span_of(text, longer)));
				assert_null(users_find_folded(users, span_of(text, longer)));
			}
		}
		users_free(users);
		problems_fini(&problems);
	}
	for (size_t len = 65536; len < 65538; len++) {
		struct problems problems;
		struct users *users;

		memset(text, 'g', len);
		memcpy(text, "a:groups=", 9);
		for (size_t i = 100; i < len; i += 100)
			text[i] = ',';
		text[len] = 0;
		assert_int_equal(load_both(text, NULL, &problems, &users), len == 65536 ? ERR_NONE : ERR_CONFIG);
		assert_true(users || strstr(problems.first->text, "longer than 65536 bytes"));
		users_free(users);
		problems_fini(&problems);
	}
}

static void names_without_case(void **state)
{
	static const struct {
		const char *asked, *found; /* NULL: nobody */
	} rows[] = {
		{"alice", "alice"}, {"ALICE", "Alice"}, {"Alice", "Alice"}, {"aLICE", "Alice"},
		{"J\xc3\x9cRGEN", "j\xc3\xbcrgen"},
		{"\xce\x91\xce\xbb\xce\xad\xce\xbe", "\xce\xb1\xce\x9b\xce\x88\xce\x9e"}, /* Greek */
		{"bob", NULL}, {"", NULL}, {"alic", NULL}, {"\xff", NULL}, {"j\xc3\xbcrge", NULL},
	};
	struct users *users = load("Alice:nt=" HEX16 "\nalice:nt=" HEX16 "\nj\xc3\xbcrgen:nt=" HEX16
	                           "\n\xce\xb1\xce\x9b\xce\x88\xce\x9e:nt=" HEX16 "\n", NULL);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct users_entry *entry = users_find_folded(users, span_from(rows[i].asked));

		if (rows[i].found ? !entry || !span_equal(entry->name, span_from(rows[i].found)) : entry != NULL)
			fail_msg("\"%s\": \"%.*s\"", rows[i].asked, SPAN_ARG(entry ? entry->name : SPAN("nobody")));
	}
	assert_null(users_find(users, SPAN("ALICE")));
	users_free(users);
}

/* RFC 7616 section 3.9.2 is about "Jaesoen Doe" of api@example.org; its own digits are of SHA-512/256, which is not
 * offered, so these are the same of SHA-256 and MD5, as sha256sum and md5sum have them. */
static void names_by_their_hash(void **state)
{
	struct users_source source = {"users", SPAN("J\xc3\xa4s\xc3\xb8n Doe:nt=" HEX16 "\nMufasa:nt=" HEX16 "\n")};
	struct problems problems;
	struct users *users;
	const struct users_entry *entry;

	(void)state;
	problems_init(&problems);
	assert_int_equal(users_load(&source, 1, SPAN("api@example.org"), &problems, &users), ERR_NONE);
	entry = users_find_hashed(users, DIGEST_SHA256, SPAN("5a1a8a47df5c298551b9b42ba9b05835174a5bd7d511ff7fe9191d8e946fc4e7"));
	assert_true(entry && span_equal(entry->name, SPAN("J\xc3\xa4s\xc3\xb8n Doe")));
	assert_ptr_equal(users_find_hashed(users, DIGEST_MD5, SPAN("2e063fa2c54dea1c36808b7a6e3b14c9")), entry);
	assert_null(users_find_hashed(users, DIGEST_SHA256, SPAN("2e063fa2c54dea1c36808b7a6e3b14c9")));
	assert_null(users_find_hashed(users, DIGEST_MD5, SPAN("5a1a8a47df5c298551b9b42ba9b05835174a5bd7d511ff7fe9191d8e946fc4e7")));
	assert_null(users_find_hashed(users, DIGEST_MD5, SPAN(HEX16)));
	assert_null(users_find_hashed(users, DIGEST_MD5, SPAN("")));
	assert_null(users_find_hashed(users, DIGEST_MD5, SPAN("J\xc3\xa4s\xc3\xb8n Doe")));
	users_free(users);
	problems_fini(&problems);
}

static void nobody_in_no_files(void **state)
{
	struct users *users = load("", "");

	(void)state;
	assert_null(users_find(users, SPAN("alice")));
	assert_null(users_find_folded(users, SPAN("alice")));
	assert_null(users_find_hashed(users, DIGEST_MD5, SPAN(HEX16)));
	assert_null(users_at(users, 0));
	users_free(users);
	users_free(NULL);
}

static void what_is_written_is_read(void **state)
{
	const struct {
		struct span name, groups, line;
	} rows[] = {
		{SPAN("alice"), SPAN(""), SPAN("alice:")},
		{SPAN("#no comment"), SPAN("a\0"), SPAN("%23no%20comment:")},
		{SPAN("50%,\"\\"), SPAN("a,b\0c%d\0e f\0"), SPAN("50%25%2C\"\\:")},
		{SPAN("j\xc3\xbcrgen"), SPAN("\xc3\xa4\0"), SPAN("j\xc3\xbcrgen:")},
		{SPAN("crypt=x"), SPAN("nt=y\0"), SPAN("crypt=x:")},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows) * 16; i++) {
		size_t row = i / 16;
		struct users_entry entry = {.name = rows[row].name, .groups = rows[row].groups,
		                            .crypt = i & 1 ? SPAN(HASH) : SPAN(""), .has_nt = (i >> 1 & 1) || i % 16 == 0,
		                            .has_ha1 = {i >> 2 & 1, i >> 3 & 1}};
		const struct users_entry *again;
		struct problems problems;
		struct users *users;
		struct buf line;

		memset(entry.ha1, 0x5a, sizeof(entry.ha1));
		memset(entry.nt, 0xa5, sizeof(entry.nt));
		buf_init(&line, 4096);
		users_format(&entry, SPAN(REALM), &line);
		assert_true(span_starts_with(buf_span(&line), rows[row].line));
		assert_int_equal(span_find(buf_span(&line), '\n'), buf_len(&line));
		problems_init(&problems);
		if (users_load(&(struct users_source){"users", buf_span(&line)}, 1, SPAN(REALM), &problems, &users))
			fail_msg("%.*s: %s", SPAN_ARG(buf_span(&line)), problems.first->text);
		again = users_find(users, entry.name);
		assert_non_null(again);
		assert_true(span_equal(again->groups, entry.groups) && span_equal(again->crypt, entry.crypt));
		assert_true(again->has_nt == entry.has_nt && (!entry.has_nt || memcmp(again->nt, entry.nt, 16) == 0));
		for (unsigned j = 0; j < DIGEST_ALGORITHM_COUNT; j++)
			assert_true(again->has_ha1[j] == entry.has_ha1[j] &&
			            (!entry.has_ha1[j] ||
			             memcmp(again->ha1[j], entry.ha1[j], digest_bytes((enum digest_algorithm)j)) == 0));
		users_free(users);
		problems_fini(&problems);
		buf_fini(&line);
	}
}

static void whose_line_it_is(void **state)
{
	static const struct {
		const char *line, *name; /* NULL: nobody's */
		bool is_other_realm;
	} rows[] = {
		{"", NULL, false}, {"# alice:x", NULL, false}, {"alice", NULL, false},
		{"alice:" HASH, "alice", false}, {"a%41:" HASH, "a%41", false}, {"a%41:nt=" HEX16, "aA", false},
		{"a%4:nt=" HEX16, NULL, false}, {"alice:" REALM ":" HEX16, "alice", false},
		{"alice:Other:" HEX16, "alice", true}, {"a%41:Other:" HEX16, "a%41", true},
		{"alice:md5=" HEX16 ":realm=Other", "alice", false}, /* to be written anew: it is ours */
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		bool is_other_realm;
		struct buf name;

		buf_init(&name, 1000);
		if (users_line_name(span_from(rows[i].line), SPAN(REALM), &name, &is_other_realm) != (rows[i].name != NULL) ||
		    is_other_realm != rows[i].is_other_realm ||
		    (rows[i].name && !span_equal(buf_span(&name), span_from(rows[i].name))))
			fail_msg("%s: \"%.*s\"", rows[i].line, SPAN_ARG(buf_span(&name)));
		buf_fini(&name);
	}
}

/* Time is not measured, but with an index that degenerates this would not end. */
static void many_users_are_loaded(void **state)
{
	enum { COUNT = 200000 };
	struct problems problems;
	struct users *users;
	struct buf text;

	(void)state;
	buf_init(&text, 256 << 20);
	for (unsigned i = 0; i < COUNT; i++)
		buf_printf(&text, "User%u:crypt=" HASH ":sha256=" HEX32 ":md5=" HEX16 ":nt=" HEX16 ":realm=Corporate%%20egress:groups=g%u\n",
		           i, i % 100);
	assert_true(buf_is_whole(&text));
	problems_init(&problems);
	assert_int_equal(users_load(&(struct users_source){"users", buf_span(&text)}, 1, SPAN(REALM), &problems, &users), ERR_NONE);
	assert_int_equal(stats_of(users).nt, COUNT);
	for (unsigned i = 0; i < COUNT; i += 997) {
		const struct users_entry *entry;

		buf_reset(&text);
		buf_printf(&text, "User%u", i);
		entry = users_find(users, buf_span(&text));
		assert_ptr_equal(entry, users_at(users, i));
		buf_reset(&text);
		buf_printf(&text, "uSER%u", i);
		assert_ptr_equal(users_find_folded(users, buf_span(&text)), entry);
		assert_null(users_find(users, buf_span(&text)));
	}
	buf_reset(&text);
	buf_printf(&text, "User%u", COUNT);
	assert_null(users_find(users, buf_span(&text)));
	buf_fini(&text);
	users_free(users);
	problems_fini(&problems);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ours_is_read),
		cmocka_unit_test(other_programs_lines_are_read_as_they_are),
		cmocka_unit_test(other_realms_are_counted),
		cmocka_unit_test(what_belongs_to_one_person_is_put_together),
		cmocka_unit_test(lines_are_refused),
		cmocka_unit_test(all_problems_are_said_with_both_places),
		cmocka_unit_test(names_and_lines_are_bounded),
		cmocka_unit_test(names_without_case),
		cmocka_unit_test(names_by_their_hash),
		cmocka_unit_test(nobody_in_no_files),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(whose_line_it_is),
		cmocka_unit_test(many_users_are_loaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
