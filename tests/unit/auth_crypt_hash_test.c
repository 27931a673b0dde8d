/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes of passwords as htpasswd, openssl passwd, mkpasswd and crypt(3) make them, and what is none. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/backend/crypt_hash.h"

static const struct {
	const char *hash, *password;
} hashes[] = {
	/* htpasswd -m */
	{"$apr1$evZY6tnL$iKltpVEhbatSXDZHDBMoj1", "secret"},
	{"$apr1$rQAu5cHf$zFaUuTrp5ArXNN5T2ChTG1", "x"},
	{"$apr1$Z.kkh6W2$mVE9P33lOdpf5Z6C15LC91", "correct horse battery staple"},
	{"$apr1$mPyIdNqj$v/zFnfnTRkoxo3NNRfCSY.", "0123456789abcdef"},
	{"$apr1$F89Z1jvS$0Yib6YqsLA2tl2YjdCHZL.", "0123456789abcdefg"},
	{"$apr1$Yuzk9iI/$gyFbQqXaF8r.0Y2UgbAZ1/", "gr\xc3\xbc\xc3\x9f"},
	/* openssl passwd -apr1 */
	{"$apr1$ab$8kcutQXL76cHBkdcXul75/", "myPassword"},
	{"$apr1$12345678$rYmpQWzMSsiCfvkFT79Zk.", "pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp"},
	{"$apr1$salt1234$k3J5yKYW6TlGmTytnkXbQ0", "password"},
	/* Manuals of crypt(3). */
	{"rl.3StKT.4T8M", "rasmuslerdorf"},
	{"$1$rasmusle$rISCgZzpwk3UhDidwXvin0", "rasmuslerdorf"},
	{"$2a$07$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi", "rasmuslerdorf"},
	{"$5$rounds=5000$usesomesillystri$KqJWpanXZHKq2BOB43TSaYhEWsQ1Lr5QNyPCDH/Tp.6", "rasmuslerdorf"},
	{"$5$saltstring$OH4IDuTlsuTYPdED1gsuiRMyTAwNlRWyA6Xr3I4/dQ5", "password"},
	{"$6$saltstring$adDbXsJjcDlq2662QPgd.tkSOVmnG9Tt3oXl4HR60SusC3AGjirnDenVZp3DGwLwqy6iYKCzannhaX9DR72nN1", "password"},
	/* htpasswd -B */
	{"$2y$04$2g.kM4wqmP3Uzfl5wXPaDeLik7e2o1M3XBVNojcurV6t10Q2xnRFe", "secret"},
	/* htpasswd -d */
	{"1lYaIlaDP1mCc", "secret"},
	/* htpasswd -2 */
	{"$5$/uNqmZIrKNdoS4Ml$C6osqLKTNOGoPrQ9bCk5Cv1kwwQaCSp4GkECvEzbav2", "secret"},
	/* htpasswd -5 */
	{"$6$ez8QfFx3/uCoUckz$jCPna/DGoKRkMLPD6bUzKHSzF/4jCN/LWJcJF719tCl.OZJpAWxNeJiimEyfZ1Dh0gmTVzGg4AhecL0rDfim./", "secret"},
	/* openssl passwd -1 */
	{"$1$7lfEwUvy$myBOobmWkEhOh8O6s1Q0T0", "secret"},
	/* openssl passwd -5 */
	{"$5$jhqBFlqfHOfWYySi$Kzw4vkTGHUN423rX9esxFmbrnOvew2u310Q9AiOJ6ED", "secret"},
	/* openssl passwd -6 */
	{"$6$tCIofwsyYlyvRJk.$n9NT29K6UjhnhC8Z5UPGHxGZ3CwFrpqsqYolNKoSTVSpgh9.Hj8Pf8DvdwBCfXwQuxKlXlKj2tE7/KGRFZh.E0", "secret"},
	/* crypt(3) */
	{"$2a$04$SZ6MsSM6imKV5sgKtmd2zOeUa0uLcDcNUm6OcVnDAJlz4uQ83ZMVC", "secret"},
	{"$2b$04$BdylW/PIj72W7lmVBZmA.O6ufvfOTjWTwYIZu5XWHVn7fVH.WUfnm", "secret"},
	{"$5$rounds=1000$5zFuHoGXx94B7A2C$Fkoeg3HZNoyRPAFRPRzqPo8gLQc2m2eat74wvBsOUT0", "secret"},
	{"$6$rounds=1000$AQI1AavvWsg90.dQ$PG2nM0o4S.mqbV/IxTNccRCjdKUD3ozJtNTvqxtu8FJXZGi1CKY181o7UFhmIsKQYKgksThdubBmhV.AqWeVw/", "secret"},
	{"$y$j75$oTkwUugQMFOKJuhRSglf..$hcbwHBMij8/VGZeT8E7JWSFuc/stS5i548FFOnZWVHA", "secret"},
	{"$gy$j75$un5FHFPuiCVFewV7PbnSS.$f9BKzPUbKMVbOnqCVoH.xzfyRy3BfV18Yf/Nm9Mc0/2", "secret"},
	{"$7$BU..../....g/OkS8Jq4huOCzTEFffeL/$HUwzG1k0nSOOoR2WBsq0L4cAtehC/cWxTWkFXYaepZD", "secret"},
};

static void hashes_are_verified(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(hashes); i++) {
		struct span hash = span_from(hashes[i].hash), password = span_from(hashes[i].password);
		uint8_t wrong[600];
		const char *why = crypt_hash_check(hash);

		if (why)
			fail_msg("%s is refused: %s", hashes[i].hash, why);
		if (!crypt_hash_verify(hash, password))
			fail_msg("%s is not the hash of \"%s\"", hashes[i].hash, hashes[i].password);
		/* Another first letter, and one more in front. */
		memcpy(wrong, password.at, password.len);
		wrong[0] ^= 1;
		if (crypt_hash_verify(hash, span_of(wrong, password.len)))
			fail_msg("%s is the hash of another password, too", hashes[i].hash);
		memcpy(wrong + 1, password.at, password.len);
		if (crypt_hash_verify(hash, span_of(wrong, password.len + 1)))
			fail_msg("%s is the hash of a longer password, too", hashes[i].hash);
	}
}

/* Each with its last character changed, and each cut off by one: never a crash, never right. */
static void damaged_hashes_are_of_no_password(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(hashes); i++) {
		struct span hash = span_from(hashes[i].hash), password = span_from(hashes[i].password);
		char text[200];

		assert_true(hash.len + 2 < sizeof(text));
		memcpy(text, hash.at, hash.len);
		text[hash.len - 2] = text[hash.len - 2] == 'a' ? 'b' : 'a';
		if (crypt_hash_verify(span_of(text, hash.len), password))
			fail_msg("row %zu: one character does not count", i);
		if (crypt_hash_check(span_first(hash, hash.len - 1)) == NULL)
			fail_msg("row %zu: one that is cut off is taken", i);
		memcpy(text, hash.at, hash.len);
		text[hash.len] = '.';
		if (crypt_hash_check(span_of(text, hash.len + 1)) == NULL)
			fail_msg("row %zu: one with more behind it is taken", i);
		text[hash.len - 1] = ' ';
		if (crypt_hash_check(span_of(text, hash.len)) == NULL)
			fail_msg("row %zu: one with a space in it is taken", i);
	}
}

static void what_is_no_hash_is_refused(void **state)
{
	static const struct {
		const char *hash, *why;
	} rows[] = {
		{"", "it is empty"},
		{"secret", "it is no hash: passwords in clear are not taken"},
		{"Sunshine-2026", "it is no hash: passwords in clear are not taken"}, /* as long as DES is */
		{"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "{SHA} has no salt: one table finds all its passwords"},
		{"{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3",
		 "{SSHA} is one round of a fast hash: its passwords are guessed by the thousand million"},
		{"{SSHA512}x", "{SSHA} is one round of a fast hash: its passwords are guessed by the thousand million"},
		{"{PLAIN}secret", "this kind of hash is not known"},
		{"$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA", "this kind of hash is not known"},
		{"$2x$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
		 "$2x$ is of a bcrypt that made the same hash of several passwords"},
		{"!$6$abc$x", "it is locked: remove the user instead"},
		{"*", "it is locked: remove the user instead"},
		{"$", "this kind of hash is not known"},
		{"$6$", "it is cut off, or something stands behind it"},
		{"$apr1$abc", "it is cut off, or something stands behind it"},
		{"$6$salt$short", "it is cut off, or something stands behind it"},
		{"$2y$05$short", "it is cut off, or something stands behind it"},
	};
	char longer[500];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *why = crypt_hash_check(span_from(rows[i].hash));

		if (why == NULL || strcmp(why, rows[i].why) != 0)
			fail_msg("\"%s\": %s", rows[i].hash, why ? why : "taken");
		assert_false(crypt_hash_verify(span_from(rows[i].hash), span_from(rows[i].hash)));
		assert_false(crypt_hash_verify(span_from(rows[i].hash), SPAN("secret")));
	}
	memset(longer, '.', sizeof(longer));
	memcpy(longer, "$6$", 3);
	assert_string_equal(crypt_hash_check(span_of(longer, sizeof(longer))), "it is longer than any hash is");
	assert_false(crypt_hash_verify(span_of(longer, sizeof(longer)), SPAN("secret")));
}

/* Settings that crypt(3) cannot do are false, and no crash: the form is right. */
static void impossible_settings_are_of_no_password(void **state)
{
#define DIGITS43 "0123456789012345678901234567890123456789012"
#define DIGITS53 DIGITS43 "0123456789"
	static const char *const rows[] = {
		"$2y$99$" DIGITS53, "$2y$0$" DIGITS53, "$2b$" DIGITS53, "$y$zzz$abc$" DIGITS43, "$y$$" DIGITS43, "$7$" "$" DIGITS43,
		"$5$rounds=x$abc$" DIGITS43, "$gy$$$" DIGITS43, "$apr1$$0123456789012345678901", "$apr1$0123456789012345678901",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (crypt_hash_verify(span_from(rows[i]), SPAN("secret")))
			fail_msg("%s is a hash", rows[i]);
}

static void new_hashes_are_yescrypt_with_salt(void **state)
{
	struct span password = SPAN("gr\xc3\xbc\xc3\x9f 1");
	struct buf one, two;

	(void)state;
	buf_init(&one, 500);
	buf_init(&two, 500);
	assert_true(crypt_hash_make(password, &one));
	assert_true(crypt_hash_make(password, &two));
	assert_true(span_starts_with(buf_span(&one), SPAN("$y$")));
	assert_false(span_equal(buf_span(&one), buf_span(&two)));
	assert_null(crypt_hash_check(buf_span(&one)));
	assert_true(crypt_hash_verify(buf_span(&one), password));
	assert_true(crypt_hash_verify(buf_span(&two), password));
	assert_false(crypt_hash_verify(buf_span(&one), SPAN("gr\xc3\xbc\xc3\x9f 2")));
	buf_fini(&one);
	buf_fini(&two);
}

static void passwords_are_bounded(void **state)
{
	uint8_t text[512];
	struct buf hash;

	(void)state;
	memset(text, 'a', sizeof(text));
	buf_init(&hash, 500);
	assert_true(crypt_hash_make(span_of(text, 511), &hash));
	assert_true(crypt_hash_verify(buf_span(&hash), span_of(text, 511)));
	assert_false(crypt_hash_verify(buf_span(&hash), span_of(text, 510)));
	buf_reset(&hash);
	assert_false(crypt_hash_make(span_of(text, 512), &hash));
	assert_false(crypt_hash_make(SPAN("a\0b"), &hash));
	assert_false(crypt_hash_make(SPAN(""), &hash));
	assert_int_equal(buf_len(&hash), 0);
	buf_fini(&hash);
	/* Where a C string would end, nothing ends. */
	for (size_t i = 0; i < COUNT_OF(hashes); i++) {
		struct span hashed = span_from(hashes[i].hash), password = span_from(hashes[i].password);

		memset(text, 0, sizeof(text));
		memcpy(text, password.at, password.len);
		if (crypt_hash_verify(hashed, span_of(text, password.len + 1)))
			fail_msg("row %zu: a NUL ends the password", i);
	}
}

static void *verify_often(void *arg)
{
	for (size_t i = 0; i < 3 * COUNT_OF(hashes); i++) {
		size_t row = (i + *(const size_t *)arg) % COUNT_OF(hashes);

		if (!crypt_hash_verify(span_from(hashes[row].hash), span_from(hashes[row].password)))
			return NULL;
	}
	return arg;
}

static void threads_do_not_disturb_each_other(void **state)
{
	pthread_t threads[4];
	size_t from[COUNT_OF(threads)];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		from[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, verify_often, &from[i]), 0);
	}
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		void *result;

		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_equal(result, &from[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_are_verified),
		cmocka_unit_test(damaged_hashes_are_of_no_password),
		cmocka_unit_test(what_is_no_hash_is_refused),
		cmocka_unit_test(impossible_settings_are_of_no_password),
		cmocka_unit_test(new_hashes_are_yescrypt_with_salt),
		cmocka_unit_test(passwords_are_bounded),
		cmocka_unit_test(threads_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
