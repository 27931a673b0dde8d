/* SPDX-License-Identifier: Apache-2.0 */
/* User files of three kinds, hashes of every kind that is taken, and what is refused with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "auth/backend/crypt_hash.h"
#include "auth/backend/users.h"

static enum err load(const char *text, struct problems *problems, struct users **out)
{
	struct users_source source = {"users", span_from(text)};

	problems_init(problems);
	return users_load(&source, 1, SPAN("Corporate egress"), problems, out);
}

/* Of "password", as openssl passwd wrote them. */
static void hashes_of_other_programs(void **state)
{
	static const char *const hashes[] = {
		"$apr1$salt1234$k3J5yKYW6TlGmTytnkXbQ0",
		"$5$saltstring$OH4IDuTlsuTYPdED1gsuiRMyTAwNlRWyA6Xr3I4/dQ5",
		"$6$saltstring$adDbXsJjcDlq2662QPgd.tkSOVmnG9Tt3oXl4HR60SusC3AGjirnDenVZp3DGwLwqy6iYKCzannhaX9DR72nN1",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(hashes); i++) {
		assert_null(crypt_hash_check(span_from(hashes[i])));
		assert_true(crypt_hash_verify(span_from(hashes[i]), SPAN("password")));
		assert_false(crypt_hash_verify(span_from(hashes[i]), SPAN("passwor")));
	}
}

static void hashes_that_are_taken(void **state)
{
	struct buf hash;

	(void)state;
	buf_init(&hash, 1024);
	assert_true(crypt_hash_make(SPAN("password"), &hash));
	assert_null(crypt_hash_check(buf_span(&hash)));
	assert_true(crypt_hash_verify(buf_span(&hash), SPAN("password")));
	assert_false(crypt_hash_verify(buf_span(&hash), SPAN("passwore")));
	assert_false(crypt_hash_verify(buf_span(&hash), SPAN("password1")));
	assert_false(crypt_hash_verify(buf_span(&hash), SPAN("")));
	buf_fini(&hash);
	/* DES, MD5, bcrypt, SHA-256, SHA-512, as the manuals of crypt(3) have them. */
	assert_true(crypt_hash_verify(SPAN("rl.3StKT.4T8M"), SPAN("rasmuslerdorf")));
	assert_true(crypt_hash_verify(SPAN("$1$rasmusle$rISCgZzpwk3UhDidwXvin0"), SPAN("rasmuslerdorf")));
	assert_true(crypt_hash_verify(SPAN("$2a$07$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi"), SPAN("rasmuslerdorf")));
	assert_true(crypt_hash_verify(SPAN("$5$rounds=5000$usesomesillystri$KqJWpanXZHKq2BOB43TSaYhEWsQ1Lr5QNyPCDH/Tp.6"),
	                              SPAN("rasmuslerdorf")));
}

static void what_is_no_hash_is_of_no_password(void **state)
{
	static const char *const bad[] = {"", "x", "*", "!", "password", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "{PLAIN}password", "$1$", "$y$",
	                                  "$apr1$", "$6$$"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_false(crypt_hash_verify(span_from(bad[i]), SPAN("password")));
		assert_false(crypt_hash_verify(span_from(bad[i]), span_from(bad[i])));
		assert_non_null(crypt_hash_check(span_from(bad[i])));
	}
}

static void three_kinds_of_lines(void **state)
{
	static const char text[] = "# people\n\n"
	                           "alice:sha256=c388508e83c5ea8988e845585653f9343cbdc5392a77b3b2956b00ecba086e29:"
	                           "nt=8cc19b6a8cfeac299c2871c86b38de28:realm=Corporate egress:groups=staff,it\n"
	                           "bob:$5$rounds=5000$usesomesillystri$KqJWpanXZHKq2BOB43TSaYhEWsQ1Lr5QNyPCDH/Tp.6\r\n"
	                           "carol:Corporate egress:63a4581ffd953a910e75242409ffcfca\n"
	                           "dan:Another:63a4581ffd953a910e75242409ffcfca";
	const struct users_entry *alice;
	struct problems problems;
	struct users *users = NULL;

	(void)state;
	assert_int_equal(load(text, &problems, &users), ERR_NONE);
	alice = users_find(users, SPAN("alice"));
	assert_non_null(alice);
	assert_true(alice->has_ha1[DIGEST_SHA256] && !alice->has_ha1[DIGEST_MD5] && alice->has_nt && alice->crypt.len == 0);
	assert_memory_equal(alice->groups.at, "staff\0it\0", 9);
	assert_ptr_equal(users_find_folded(users, SPAN("ALICE")), alice);
	assert_null(users_find(users, SPAN("ALICE")));
	assert_true(users_find(users, SPAN("bob"))->crypt.len > 40);
	assert_true(users_find(users, SPAN("carol"))->has_ha1[DIGEST_MD5]);
	assert_true(users_find(users, SPAN("dan"))->other_realm && !users_find(users, SPAN("dan"))->has_ha1[DIGEST_MD5]);
	assert_null(users_find(users, SPAN("people")));
	users_free(users);
	problems_fini(&problems);
}

static void the_hash_of_a_name_finds_it(void **state)
{
	/* H("alice:Corporate egress") with SHA-256 and MD5 are what the file's loader makes: any other digits are nobody. */
	struct problems problems;
	struct users *users = NULL;

	(void)state;
	assert_int_equal(load("alice:Corporate egress:63a4581ffd953a910e75242409ffcfca\n", &problems, &users), ERR_NONE);
	assert_null(users_find_hashed(users, DIGEST_MD5, SPAN("63a4581ffd953a910e75242409ffcfca")));
	assert_null(users_find_hashed(users, DIGEST_SHA256, SPAN("alice")));
	assert_null(users_find_hashed(users, DIGEST_SHA256, SPAN("")));
	users_free(users);
	problems_fini(&problems);
}

static void wrong_lines_are_named_and_nothing_is_loaded(void **state)
{
	static const char *const bad[] = {"alice:password\n", "alice\n", ":x\n", "alice:nt=12\n", "alice:sha256=zz:realm=Corporate egress\n",
	                                  "alice:nt=8cc19b6a8cfeac299c2871c86b38de28\nalice:nt=8cc19b6a8cfeac299c2871c86b38de28\n",
	                                  "alice:unknown=1\n", "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", "\xff:nt=8cc19b6a8cfeac299c2871c86b38de28\n"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct problems problems;
		struct users *users = NULL;
		enum err err = load(bad[i], &problems, &users);

		if (err != ERR_CONFIG)
			fail_msg("taken: %s", bad[i]);
		assert_null(users);
		problems_fini(&problems);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_of_other_programs),
		cmocka_unit_test(hashes_that_are_taken),
		cmocka_unit_test(what_is_no_hash_is_of_no_password),
		cmocka_unit_test(three_kinds_of_lines),
		cmocka_unit_test(the_hash_of_a_name_finds_it),
		cmocka_unit_test(wrong_lines_are_named_and_nothing_is_loaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
