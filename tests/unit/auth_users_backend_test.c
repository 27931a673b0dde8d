/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the user file: passwords, responses of Digest, talks of NTLM, by every form of a name. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/backend/backend.h"
#include "auth/backend/crypt_hash.h"
#include "auth/backend/users.h"
#include "auth/scheme/digest_proof.h"
#include "ntlm_rig.h"

#define REALM "http-auth@example.org"

static const struct conf_text_pair domains[] = {{"CORP", "", 1}, {"lab.test", "lab", 2}};
static const struct auth_conf conf = {.realm = REALM, .domains = {domains, COUNT_OF(domains)}, .default_domain = "",
                                      .ntlm = {.skew_ms = RIG_SKEW_MS}};
static struct users *users;

/* A line as the command writes it. `what`: c(rypt), s(ha256), m(d5), n(t). */
static void add_user(const char *name, const char *password, const char *what, struct span groups, struct buf *out)
{
	struct users_entry entry = {.name = span_from(name), .groups = groups, .crypt = SPAN("")};
	struct buf crypt;

	buf_init(&crypt, 1000);
	if (strchr(what, 'c')) {
		assert_true(crypt_hash_make(span_from(password), &crypt));
		entry.crypt = buf_span(&crypt);
	}
	for (unsigned i = 0; i < DIGEST_ALGORITHM_COUNT; i++) {
		entry.has_ha1[i] = strchr(what, i == DIGEST_MD5 ? 'm' : 's');
		assert_true(digest_ha1((enum digest_algorithm)i, entry.name, SPAN(REALM), span_from(password), entry.ha1[i]));
	}
	entry.has_nt = strchr(what, 'n');
	assert_true(ntlm_hash(span_from(password), entry.nt));
	users_format(&entry, SPAN(REALM), out);
	buf_add_byte(out, '\n');
	buf_fini(&crypt);
}

static int load(void **state)
{
	struct problems problems;
	struct buf text;
	const char *why;

	(void)state;
	if (!ntlm_init(&why))
		return 1;
	buf_init(&text, 1 << 16);
	problems_init(&problems);
	add_user("Mufasa", "Circle of Life", "csmn", SPAN("kings\0lions\0"), &text);
	add_user("alice", "alicepw", "csmn", SPAN("staff\0"), &text);
	add_user("Alice", "other", "csmn", SPAN(""), &text);
	add_user("alice@lab", "labpw", "csmn", SPAN("lab\0"), &text);
	add_user("nothing", "pw", "", SPAN("staff\0"), &text);
	add_user("J\xc3\xa4s\xc3\xb8n Doe", "Secret, or not?", "smn", SPAN(""), &text);
	if (users_load(&(struct users_source){"users", buf_span(&text)}, 1, SPAN(REALM), &problems, &users))
		fail_msg("%s", problems.first->text);
	problems_fini(&problems);
	buf_fini(&text);
	return 0;
}

static int unload(void **state)
{
	(void)state;
	users_free(users);
	return 0;
}

/* The verdict, and what has to come with it; `user` NULL: it is not VALID. */
static enum ask_verdict put(const struct ask *ask, const char *user, struct span groups)
{
	const struct backend_env env = {.conf = &conf, .users = users};
	struct answer answer;
	enum ask_verdict verdict;

	answer_init(&answer);
	verdict = backend_users.verify(NULL, &env, ask, &answer);
	assert_int_equal(answer.verdict, verdict);
	assert_int_equal(verdict == VERDICT_VALID, buf_len(&answer.why) == 0);
	if (verdict == VERDICT_VALID) {
		if (user == NULL || !span_equal(buf_span(&answer.user), span_from(user)) ||
		    !span_equal(buf_span(&answer.groups), groups))
			fail_msg("it is \"%.*s\", not \"%s\"", SPAN_ARG(buf_span(&answer.user)), user ? user : "nobody");
		assert_int_equal(answer.has_ha1, ask->kind == ASK_DIGEST);
		assert_int_equal(answer.mechanism, ask->kind == ASK_NTLM ? AUTH_MECHANISM_NTLM : AUTH_MECHANISM_NONE);
	} else {
		assert_true(buf_len(&answer.user) == 0 && buf_len(&answer.groups) == 0 && buf_len(&answer.token) == 0);
		assert_true(!answer.has_ha1 && answer.mechanism == AUTH_MECHANISM_NONE);
	}
	answer_fini(&answer);
	return verdict;
}

static void passwords(void **state)
{
	static const struct {
		const char *user, *password, *found;
		enum ask_verdict verdict;
	} rows[] = {
		{"alice", "alicepw", "alice", VERDICT_VALID}, {"Alice", "other", "Alice", VERDICT_VALID},
		{"CORP\\alice", "alicepw", "alice", VERDICT_VALID}, {"corp\\ALICE", "alicepw", "alice", VERDICT_VALID},
		{"alice@lab.test", "labpw", "alice@lab", VERDICT_VALID}, {"LAB.TEST\\alice", "labpw", "alice@lab", VERDICT_VALID},
		{"alice", "Alicepw", NULL, VERDICT_INVALID}, {"alice", "alicepw ", NULL, VERDICT_INVALID},
		{"alice", "other", NULL, VERDICT_INVALID}, {"alice@lab.test", "alicepw", NULL, VERDICT_INVALID},
		{"ALICE", "alicepw", NULL, VERDICT_UNKNOWN_USER}, {"bob", "alicepw", NULL, VERDICT_UNKNOWN_USER},
		{"OTHER\\alice", "alicepw", NULL, VERDICT_UNKNOWN_USER}, {"nothing", "pw", NULL, VERDICT_INVALID},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct ask ask = {.kind = ASK_PASSWORD, .user = span_from(rows[i].user), .password = span_from(rows[i].password)};
		const struct users_entry *entry = rows[i].found ? users_find(users, span_from(rows[i].found)) : NULL;

		if (put(&ask, rows[i].found, entry ? entry->groups : SPAN("")) != rows[i].verdict)
			fail_msg("row %zu: %s with %s", i, rows[i].user, rows[i].password);
	}
}

/* A name that is none, and passwords that have no hash: nobody's, and no crash. */
static void hostile_passwords(void **state)
{
	static uint8_t longest[1024];
	static const struct span texts[] = {{longest, 1024}, {longest, 512}, {(const uint8_t *)"alicepw\0x", 9},
	                                    {(const uint8_t *)"\xff", 1}, {(const uint8_t *)"", 0}};

	(void)state;
	memset(longest, '\\', sizeof(longest));
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		assert_int_equal(put(&(struct ask){.kind = ASK_PASSWORD, .user = SPAN("alice"), .password = texts[i]}, NULL, SPAN("")),
		                 VERDICT_INVALID);
		assert_int_equal(put(&(struct ask){.kind = ASK_PASSWORD, .user = texts[i], .password = SPAN("alicepw")}, NULL, SPAN("")),
		                 VERDICT_UNKNOWN_USER);
	}
}

/* RFC 7616 section 3.9.1. */
static struct ask digest_ask(enum digest_algorithm algorithm)
{
	static const uint8_t md5[16] = {0x8c, 0xa5, 0x23, 0xf5, 0xe9, 0x50, 0x6f, 0xed,
	                                0x46, 0x57, 0xc9, 0x70, 0x0e, 0xeb, 0xdb, 0xec};
	static const uint8_t sha256[32] = {0x75, 0x39, 0x27, 0xfa, 0x0e, 0x85, 0xd1, 0x55, 0x56, 0x4e, 0x2e,
	                                   0x27, 0x2a, 0x28, 0xd1, 0x80, 0x2c, 0xa1, 0x0d, 0xaf, 0x44, 0x96,
	                                   0x79, 0x46, 0x97, 0xcf, 0x8d, 0xb5, 0x85, 0x6c, 0xb6, 0xc1};
	struct ask ask = {.kind = ASK_DIGEST, .algorithm = algorithm, .user = SPAN("Mufasa"), .realm = SPAN(REALM),
	                  .nonce = SPAN("7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"),
	                  .cnonce = SPAN("f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"), .nc = SPAN("00000001"),
	                  .method = SPAN("GET"), .uri = SPAN("/dir/index.html")};

	memcpy(ask.response, algorithm == DIGEST_MD5 ? md5 : sha256, digest_bytes(algorithm));
	return ask;
}

static void responses_of_digest(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DIGEST_ALGORITHM_COUNT; i++) {
		struct ask ask = digest_ask((enum digest_algorithm)i), changed;

		assert_int_equal(put(&ask, "Mufasa", SPAN("kings\0lions\0")), VERDICT_VALID);
		for (size_t k = 0; k < digest_bytes(ask.algorithm); k++) {
			changed = ask;
			changed.response[k] ^= 0x80;
			assert_int_equal(put(&changed, NULL, SPAN("")), VERDICT_INVALID);
		}
		changed = ask;
		changed.method = SPAN("CONNECT");
		assert_int_equal(put(&changed, NULL, SPAN("")), VERDICT_INVALID);
		changed = ask;
		changed.nc = SPAN("00000002");
		assert_int_equal(put(&changed, NULL, SPAN("")), VERDICT_INVALID);
		changed = ask;
		changed.is_session = true;
		assert_int_equal(put(&changed, NULL, SPAN("")), VERDICT_INVALID);
		changed = ask;
		changed.user = SPAN("mufasa");
		assert_int_equal(put(&changed, NULL, SPAN("")), VERDICT_UNKNOWN_USER);
		changed.user = SPAN("nothing");
		assert_int_equal(put(&changed, NULL, SPAN("")), VERDICT_INVALID);
		/* The client has hashed its domain, too: the file cannot verify that. */
		changed.user = SPAN("CORP\\alice");
		assert_int_equal(put(&changed, NULL, SPAN("")), VERDICT_INVALID);
	}
}

/* -sess (section 3.4.2) by its formula, with a user by his hash (section 3.4.4). */
static void a_session_and_a_hashed_user(void **state)
{
	struct span user = SPAN("J\xc3\xa4s\xc3\xb8n Doe"), password = SPAN("Secret, or not?");

	(void)state;
	for (unsigned i = 0; i < DIGEST_ALGORITHM_COUNT; i++) {
		struct ask ask = digest_ask((enum digest_algorithm)i);
		uint8_t ha1[DIGEST_MAX_BYTES], hash[DIGEST_MAX_BYTES];
		struct buf digits;

		buf_init(&digits, 100);
		assert_true(digest_userhash(ask.algorithm, user, SPAN(REALM), hash));
		for (size_t k = 0; k < digest_bytes(ask.algorithm); k++)
			buf_printf(&digits, "%02x", hash[k]);
		ask.user = buf_span(&digits);
		ask.is_userhash = ask.is_session = true;
		assert_true(digest_ha1(ask.algorithm, user, SPAN(REALM), password, ha1));
		assert_true(digest_proof(ask.algorithm, true, ha1, ask.nonce, ask.nc, ask.cnonce, ask.method, ask.uri, ask.response));
		assert_int_equal(put(&ask, "J\xc3\xa4s\xc3\xb8n Doe", SPAN("")), VERDICT_VALID);
		ask.is_session = false;
		assert_int_equal(put(&ask, NULL, SPAN("")), VERDICT_INVALID);
		ask.is_userhash = false;
		assert_int_equal(put(&ask, NULL, SPAN("")), VERDICT_UNKNOWN_USER);
		buf_fini(&digits);
	}
}

static void *ask_digest(void *arg)
{
	struct ask ask = digest_ask(*(enum digest_algorithm *)arg);

	for (unsigned i = 0; i < 200; i++)
		if (put(&ask, "Mufasa", SPAN("kings\0lions\0")) != VERDICT_VALID)
			return NULL;
	return arg;
}

/* At the same time, and no thread leaves anything behind (which a build with sanitizers sees). */
static void threads_hash_at_once(void **state)
{
	static enum digest_algorithm algorithms[] = {DIGEST_MD5, DIGEST_SHA256, DIGEST_MD5, DIGEST_SHA256};
	pthread_t threads[COUNT_OF(algorithms)];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_digest, &algorithms[i]), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		void *result;

		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_equal(result, &algorithms[i]);
	}
}

static void talks_of_ntlm(void **state)
{
	static const struct {
		const char *domain, *user, *password, *found;
		enum ask_verdict verdict;
	} rows[] = {
		{"", "alice", "alicepw", "alice", VERDICT_VALID}, {"", "Alice", "other", "Alice", VERDICT_VALID},
		{"", "ALICE", "alicepw", "alice", VERDICT_VALID}, /* the first in the file */
		{"CORP", "Alice", "alicepw", "alice", VERDICT_VALID}, {"LAPTOP7", "alice", "alicepw", "alice", VERDICT_VALID},
		{"lab.test", "alice", "labpw", "alice@lab", VERDICT_VALID}, {"LAB.TEST", "ALICE", "labpw", "alice@lab", VERDICT_VALID},
		{"", "MUFASA", "Circle of Life", "Mufasa", VERDICT_VALID},
		{"CORP", "j\xc3\x84S\xc3\x98N DOE", "Secret, or not?", "J\xc3\xa4s\xc3\xb8n Doe", VERDICT_VALID},
		{"", "alice", "other", NULL, VERDICT_INVALID}, {"lab.test", "alice", "alicepw", NULL, VERDICT_INVALID},
		{"", "bob", "alicepw", NULL, VERDICT_UNKNOWN_USER}, {"CORP", "bob", "", NULL, VERDICT_UNKNOWN_USER},
		{"", "nothing", "pw", NULL, VERDICT_INVALID},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct ntlm_client client = {.user = span_from(rows[i].user), .domain = span_from(rows[i].domain),
		                             .password = span_from(rows[i].password), .workstation = SPAN("WS"),
		                             .target = SPAN("HTTP/proxy"), .mic = true};
		const struct users_entry *entry = rows[i].found ? users_find(users, span_from(rows[i].found)) : NULL;
		struct rig_talk talk;
		struct ask ask;

		assert_true(rig_begin(&talk, 0) && rig_end(&talk, &client));
		ask = rig_ask(&talk);
		if (put(&ask, rows[i].found, entry ? entry->groups : SPAN("")) != rows[i].verdict)
			fail_msg("row %zu: %s\\%s", i, rows[i].domain, rows[i].user);
		rig_fini(&talk);
	}
	assert_int_equal(put(&(struct ask){.kind = ASK_NTLM, .authenticate = SPAN("NTLMSSP")}, NULL, SPAN("")), VERDICT_INVALID);
}

/* Nobody's hash has to cost what others do: crypt(3) has to be able to do it. */
static void nobody_costs_what_others_do(void **state)
{
	struct users_source source;
	struct problems problems;
	struct users *some;

	(void)state;
	assert_true(span_starts_with(users_usual_crypt(users), SPAN("$y$")));
	source = (struct users_source){"users", SPAN("a:nt=000102030405060708090a0b0c0d0e0f\n"
	                                             "b:$1$7lfEwUvy$myBOobmWkEhOh8O6s1Q0T0\n"
	                                             "c:1lYaIlaDP1mCc\nd:1lYaIlaDP1mCc\n"
	                                             "e:$1$7lfEwUvy$myBOobmWkEhOh8O6s1Q0T0\n"
	                                             "f:$1$7lfEwUvy$myBOobmWkEhOh8O6s1Q0T0\n")};
	problems_init(&problems);
	assert_int_equal(users_load(&source, 1, SPAN(REALM), &problems, &some), ERR_NONE);
	assert_true(span_starts_with(users_usual_crypt(some), SPAN("$1$")));
	users_free(some);
	source.text = SPAN("");
	assert_int_equal(users_load(&source, 1, SPAN(REALM), &problems, &some), ERR_NONE);
	assert_int_equal(users_usual_crypt(some).len, 0);
	users_free(some);
	problems_fini(&problems);
}

static void without_a_file_there_is_no_answer(void **state)
{
	const struct backend_env env = {.conf = &conf};
	const struct ask ask = {.kind = ASK_PASSWORD, .user = SPAN("alice"), .password = SPAN("alicepw")};
	struct answer answer;

	(void)state;
	answer_init(&answer);
	assert_int_equal(backend_users.verify(NULL, &env, &ask, &answer), VERDICT_UNAVAILABLE);
	answer_fini(&answer);
	assert_int_equal(put(&(struct ask){.kind = ASK_GSS, .token = SPAN("x")}, NULL, SPAN("")), VERDICT_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passwords),
		cmocka_unit_test(hostile_passwords),
		cmocka_unit_test(responses_of_digest),
		cmocka_unit_test(a_session_and_a_hashed_user),
		cmocka_unit_test(threads_hash_at_once),
		cmocka_unit_test(talks_of_ntlm),
		cmocka_unit_test(nobody_costs_what_others_do),
		cmocka_unit_test(without_a_file_there_is_no_answer),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
