/* SPDX-License-Identifier: Apache-2.0 */
/* Digest as clients send it and as it must not be; nonces; and the whole way from a challenge to a proof. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/scheme/digest.h"
#include "auth/scheme/digest_client.h"
#include "auth/scheme/digest_proof.h"

#define MD5_HEX "8ca523f5e9506fed4657c9700eebdbec"
#define SHA_HEX "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
#define REST "realm=\"r\", nonce=\"n\", uri=\"/x\", cnonce=\"c\", nc=0000000a, qop=auth"

/* ---- reading ---- */

struct row {
	const char *name, *text, *user, *uri, *cnonce;
	enum digest_algorithm algorithm;
	bool is_session, is_userhash;
	uint32_t count;
};

static void check_row(const struct row *row)
{
	struct digest_answer answer;
	const char *why;
	struct ask *ask = &answer.ask;

	if (!digest_parse(span_from(row->text), &answer, &why))
		fail_msg("%s: %s", row->name, why);
	assert_null(why);
	if (!span_equal(ask->user, span_from(row->user)) || !span_equal(ask->uri, span_from(row->uri)) ||
	    !span_equal(ask->cnonce, span_from(row->cnonce)))
		fail_msg("%s: \"%.*s\", \"%.*s\", \"%.*s\"", row->name, SPAN_ARG(ask->user), SPAN_ARG(ask->uri),
		         SPAN_ARG(ask->cnonce));
	assert_int_equal(ask->kind, ASK_DIGEST);
	assert_int_equal(ask->algorithm, row->algorithm);
	assert_int_equal(ask->is_session, row->is_session);
	assert_int_equal(ask->is_userhash, row->is_userhash);
	assert_int_equal(answer.count, row->count);
	assert_int_equal(ask->nc.len, 8);
	assert_int_equal(ask->response[0], row->algorithm == DIGEST_MD5 ? 0x8c : 0x75);
	assert_int_equal(ask->response[15], row->algorithm == DIGEST_MD5 ? 0xec : 0x80);
	digest_answer_fini(&answer);
}

static void clients_are_understood(void **state)
{
	static const struct row rows[] = {
		{"curl", "username=\"alice\", realm=\"Corp \\\"x\\\"\", nonce=\"n-_\", uri=\"/x?a=b\", cnonce=\"ZGE5=\", "
		         "nc=00000001, qop=auth, response=\"" SHA_HEX "\", algorithm=SHA-256",
		 "alice", "/x?a=b", "ZGE5=", DIGEST_SHA256, false, false, 1},
		{"curl, DOMAIN\\user", "username=\"DOM\\\\alice\", " REST ", response=\"" MD5_HEX "\", algorithm=MD5",
		 "DOM\\alice", "/x", "c", DIGEST_MD5, false, false, 10},
		{"Chromium, Firefox", "username=\"j\xc3\xbcrgen\", realm=\"r\", nonce=\"n\", uri=\"a.test:443\", "
		                      "algorithm=SHA-256, response=\"" SHA_HEX "\", qop=auth, nc=0000001F, cnonce=\"0a1b\"",
		 "j\xc3\xbcrgen", "a.test:443", "0a1b", DIGEST_SHA256, false, false, 31},
		{"Java", "username=\"alice\", realm=\"r\", nonce=\"n\", nc=00000002, uri=\"http://a.test/x\", "
		         "response=\"" MD5_HEX "\", algorithm=\"MD5\", cnonce=\"JGL\", qop=auth",
		 "alice", "http://a.test/x", "JGL", DIGEST_MD5, false, false, 2},
		{"SSPI", "username=\"alice\",realm=\"r\",nonce=\"n\",uri=\"/\",cnonce=\"+Upgraded+v1f\",nc=00000001,"
		         "algorithm=MD5-sess,response=\"" MD5_HEX "\",qop=\"auth\",charset=utf-8,"
		         "hashed-dirs=\"service-name,channel-binding\",service-name=\"HTTP/a\",opaque=\"\"",
		 "alice", "/", "+Upgraded+v1f", DIGEST_MD5, true, false, 1},
		{"no algorithm", "username=\"a\"," REST ",response=\"" MD5_HEX "\"", "a", "/x", "c", DIGEST_MD5, false, false, 10},
		{"all in capitals", "USERNAME=\"a\",REALM=\"r\",NONCE=\"n\",URI=\"/x\",CNONCE=\"c\",NC=0000000A,QOP=AUTH,"
		                    "RESPONSE=\"8CA523F5E9506FED4657C9700EEBDBEC\",ALGORITHM=md5-SESS,USERHASH=FALSE",
		 "a", "/x", "c", DIGEST_MD5, true, false, 10},
		{"no quotes", "username=alice, realm=r, nonce=a/b==, uri=/x?a=b&c, cnonce=c+d=, nc=ffffffff, qop=auth, "
		              "response=" SHA_HEX ", algorithm=SHA-256-sess",
		 "alice", "/x?a=b&c", "c+d=", DIGEST_SHA256, true, false, UINT32_MAX},
		{"all quotes, spaces, empty elements",
		 " ,, username = \"a\" ,realm\t=\t\"r\",, nonce= \"n\",uri =\"/x\",cnonce=\"c\",nc=\"00000000\",qop=\"auth\","
		 "response=\"" MD5_HEX "\" , ",
		 "a", "/x", "c", DIGEST_MD5, false, false, 0},
		{"username*", "username*=UTF-8''J%C3%A4s%c3%b8n%20Doe, " REST ", response=\"" MD5_HEX "\"",
		 "J\xc3\xa4s\xc3\xb8n Doe", "/x", "c", DIGEST_MD5, false, false, 10},
		{"username* with a language", "username*=utf-8'da'a%27b'c, " REST ", response=\"" MD5_HEX "\"",
		 "a'b'c", "/x", "c", DIGEST_MD5, false, false, 10},
		{"userhash", "username=\"" SHA_HEX "\", userhash=true, " REST ", response=\"" SHA_HEX "\", algorithm=SHA-256",
		 SHA_HEX, "/x", "c", DIGEST_SHA256, false, true, 10},
		{"Java, DOMAIN\\user", "username=\"DOM\\alice\", " REST ", response=\"" MD5_HEX "\"",
		 "DOM\\alice", "/x", "c", DIGEST_MD5, false, false, 10},
		{"escapes in several", "username=\"\\\"a\\\\b\\c\", realm=\"r\", nonce=\"n\", uri=\"/\\\"x\", cnonce=\"c\\\\\", "
		                       "nc=0000000a, qop=\"auth\", response=\"" MD5_HEX "\"",
		 "\"a\\b\\c", "/\"x", "c\\", DIGEST_MD5, false, false, 10},
		{"commas in strings", "username=\"a, b\", realm=\"r\", nonce=\"n\", uri=\"/x,realm=\", cnonce=\",\", "
		                      "nc=0000000a, qop=auth, response=\"" MD5_HEX "\"",
		 "a, b", "/x,realm=", ",", DIGEST_MD5, false, false, 10},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		check_row(&rows[i]);
}

static void other_values_are_given_back(void **state)
{
	struct digest_answer answer;
	const char *why;

	(void)state;
	assert_true(digest_parse(SPAN("username=a, realm=\"R \\\"q\\\"\", nonce=\"n-1_\", uri=\"/x\", cnonce=c, nc=00abcdef, qop=auth, "
	                              "opaque=\"o/p\", response=" MD5_HEX), &answer, &why));
	assert_true(span_equal(answer.ask.realm, SPAN("R \"q\"")));
	assert_true(span_equal(answer.ask.nonce, SPAN("n-1_")));
	assert_true(span_equal(answer.opaque, SPAN("o/p")));
	assert_true(span_equal(answer.ask.nc, SPAN("00abcdef")));
	assert_int_equal(answer.count, 0xabcdef);
	digest_answer_fini(&answer);
}

static void everything_else_is_refused(void **state)
{
#define BASE "username=\"a\", " REST ", response=\"" MD5_HEX "\""
#define NO_LIST "the credentials are no list of parameters"
	static const char *const rows[][2] = {
		{"", "there are no credentials behind the scheme"},
		{"a", NO_LIST},
		{BASE ", x", NO_LIST},
		{BASE ", x=", NO_LIST},
		{BASE ", =x", NO_LIST},
		{BASE ", x=\"", NO_LIST},
		{BASE ", x=\"y", NO_LIST},
		{BASE ", x=\"y\\", NO_LIST},
		{BASE ", x=\"y\\\"", NO_LIST},
		{BASE ", x=\"y\"z", NO_LIST},
		{BASE ", x=y z", NO_LIST},
		{BASE ", x=y\"z\"", NO_LIST},
		{BASE ", x=\"\x01\"", NO_LIST},
		{BASE ", x=\"\\\x7f\"", NO_LIST},
		{BASE ", x@y=z", NO_LIST},
		{BASE "; x=y", NO_LIST},
		{BASE ", uri=\"/x\"", "uri is there twice"},
		{BASE ", URI=\"/y\"", "uri is there twice"},
		{BASE ", nc=0000000a", "nc is there twice"},
		{BASE ", opaque=\"\", opaque=\"\"", "opaque is there twice"},
		{BASE ", username*=UTF-8''a", "username and username* are both there"},
		{REST ", response=\"" MD5_HEX "\"", "username is missing"},
		{"username=\"\"," REST ", response=\"" MD5_HEX "\"", "the user is empty"},
		{"username*=UTF-8''," REST ", response=\"" MD5_HEX "\"", "the user is empty"},
		{"username=\"a\"," REST, "response is missing or empty"},
		{"username=\"a\"," REST ", response=\"\"", "response is missing or empty"},
		{"username=\"a\", nonce=\"n\"", "realm is missing or empty"},
		{"username=\"a\", realm=r", "nonce is missing or empty"},
		{"username=\"a\", realm=r, nonce=n", "uri is missing or empty"},
		{"username=\"a\", realm=r, nonce=n, uri=\"\"", "uri is missing or empty"},
		{"username=\"a\", realm=r, nonce=n, uri=u, response=r, nc=00000001, qop=auth", "cnonce is missing or empty"},
		/* RFC 2069 */
		{"username=\"a\", realm=r, nonce=n, uri=u, cnonce=c, response=" MD5_HEX, "qop is missing or empty"},
		{"username=\"a\", realm=r, nonce=n, uri=u, cnonce=c, qop=auth, response=" MD5_HEX, "nc is missing or empty"},
		{"username=\"a\", realm=r, nonce=n, uri=u, cnonce=c, nc=00000001, qop=auth-int, response=" MD5_HEX, "qop is not auth"},
		{"username=\"a\", realm=r, nonce=n, uri=u, cnonce=c, nc=00000001, qop=\"auth,auth-int\", response=" MD5_HEX,
		 "qop is not auth"},
		{"username=\"a\", realm=r, nonce=n, uri=u, cnonce=c, nc=1, qop=auth, response=" MD5_HEX,
		 "nc is not eight hexadecimal digits"},
		{"username=\"a\", realm=r, nonce=n, uri=u, cnonce=c, nc=000000001, qop=auth, response=" MD5_HEX,
		 "nc is not eight hexadecimal digits"},
		{"username=\"a\", realm=r, nonce=n, uri=u, cnonce=c, nc=0000000g, qop=auth, response=" MD5_HEX,
		 "nc is not eight hexadecimal digits"},
		{"username=\"a\", realm=r, nonce=n, uri=u, cnonce=c, nc=\"+0000001\", qop=auth, response=" MD5_HEX,
		 "nc is not eight hexadecimal digits"},
		{BASE ", algorithm=SHA-512-256", "the algorithm is not known"},
		{BASE ", algorithm=\"\"", "the algorithm is not known"},
		{BASE ", algorithm=MD5-session", "the algorithm is not known"},
		{BASE ", algorithm=SHA-256", "the response is not as many hexadecimal digits as its algorithm makes"},
		{"username=\"a\"," REST ", response=" SHA_HEX, "the response is not as many hexadecimal digits as its algorithm makes"},
		{"username=\"a\"," REST ", response=\"8ca523f5e9506fed4657c9700eebdbe \"",
		 "the response is not as many hexadecimal digits as its algorithm makes"},
		{BASE ", userhash=1", "userhash is neither true nor false"},
		{BASE ", userhash=true", "the userhash is not as many hexadecimal digits as its algorithm makes"},
		{"username=\"" SHA_HEX "\", userhash=true, " REST ", response=\"" MD5_HEX "\"",
		 "the userhash is not as many hexadecimal digits as its algorithm makes"},
		{"username*=UTF-8''a, userhash=true, " REST ", response=" MD5_HEX, "username* cannot be a userhash"},
		{"username*=ISO-8859-1''a," REST ", response=" MD5_HEX, "username* is not UTF-8'' and percent escapes"},
		{"username*=UTF-8'a," REST ", response=" MD5_HEX, "username* is not UTF-8'' and percent escapes"},
		{"username*=UTF-8''a%4," REST ", response=" MD5_HEX, "username* is not UTF-8'' and percent escapes"},
		{"username*=UTF-8''a%," REST ", response=" MD5_HEX, "username* is not UTF-8'' and percent escapes"},
		{"username*=UTF-8''a%4g," REST ", response=" MD5_HEX, "username* is not UTF-8'' and percent escapes"},
		{"username*=UTF-8''a%e4," REST ", response=" MD5_HEX, "the user is not UTF-8"},
		{"username*=UTF-8''a%00b," REST ", response=" MD5_HEX, "there is a control character in the user"},
		{"username*=UTF-8''a%0ab," REST ", response=" MD5_HEX, "there is a control character in the user"},
		{"username=\"a\tb\"," REST ", response=" MD5_HEX, "there is a control character in the user"},
		{"username=\"a\xc2\x80\"," REST ", response=" MD5_HEX, "there is a control character in the user"},
		{"username=\"j\xfcrgen\"," REST ", response=" MD5_HEX, "the user is not UTF-8"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct digest_answer answer;
		const char *why;

		if (digest_parse(span_from(rows[i][0]), &answer, &why))
			fail_msg("\"%s\" was taken", rows[i][0]);
		if (strcmp(why, rows[i][1]) != 0)
			fail_msg("\"%s\": %s", rows[i][0], why);
		digest_answer_fini(&answer);
	}
}

/* A parameter of this length, among others that are right. */
static const char *why_not(const char *name, size_t len)
{
	struct digest_answer answer;
	const char *why;
	struct buf text;

	buf_init(&text, 100000);
	buf_printf(&text, "%s=\"", name);
	for (size_t i = 0; i < len; i++)
		buf_add_byte(&text, 'a');
	buf_add_byte(&text, '"');
	for (size_t i = 0; i < 6; i++) {
		static const char *const names[] = {"username", "realm", "nonce", "uri", "cnonce", "qop"};

		if (strcmp(name, names[i]) != 0)
			buf_printf(&text, ", %s=auth", names[i]);
	}
	buf_add_string(&text, ", nc=00000001, response=" MD5_HEX);
	assert_true(buf_is_whole(&text));
	if (digest_parse(buf_span(&text), &answer, &why))
		assert_null(why);
	digest_answer_fini(&answer);
	buf_fini(&text);
	return why;
}

static void lengths_are_bounded(void **state)
{
	(void)state;
	assert_null(why_not("username", 1024));
	assert_string_equal(why_not("username", 1025), "username is too long");
	assert_null(why_not("realm", 1024));
	assert_string_equal(why_not("realm", 1025), "realm is too long");
	assert_null(why_not("cnonce", 256));
	assert_string_equal(why_not("cnonce", 257), "cnonce is too long");
	assert_null(why_not("nonce", 256));
	assert_string_equal(why_not("nonce", 257), "nonce is too long");
	assert_null(why_not("uri", 32768));
	assert_string_equal(why_not("uri", 32769), "uri is too long");
	assert_null(why_not("other", 32769));
	assert_string_equal(why_not("other", 40000), "the credentials are longer than any are");
}

/* ---- uri ---- */

static void uris_are_compared(void **state)
{
	static const struct {
		const char *uri, *method, *target;
		bool matches;
	} rows[] = {
		{"/x?a=b", "GET", "/x?a=b", true},
		{"/x?a=b", "GET", "http://a.test/x?a=b", true},
		{"http://a.test/x?a=b", "GET", "http://a.test/x?a=b", true},
		{"HTTP://A.TEST:80/x", "GET", "http://a.test/x", true},
		{"http://a.test/x", "GET", "http://a.test:80/x", true},
		{"http://a.test:/x", "GET", "http://a.test/x", true},
		{"http://a.test", "GET", "http://a.test/", true},
		{"http://a.test/?q", "GET", "http://a.test?q", true},
		{"/", "GET", "http://a.test", true},
		{"/?q", "GET", "http://a.test?q", true},
		{"/a?u=http://b.test/", "GET", "http://a.test/a?u=http://b.test/", true},
		{"*", "OPTIONS", "*", true},
		{"*", "OPTIONS", "http://a.test", true},
		{"a.test:443", "CONNECT", "a.test:443", true},
		{"A.test:443", "CONNECT", "a.TEST:443", true},
		{"/", "CONNECT", "a.test:443", true},
		{"[::1]:443", "CONNECT", "[::1]:443", true},

		{"", "GET", "/", false},
		{"", "CONNECT", "a.test:443", false},
		{"/", "GET", "/x", false},
		{"/", "GET", "http://a.test/x", false},
		{"/x", "GET", "http://a.test/x?a=b", false},
		{"/x?a=b", "GET", "http://a.test/x", false},
		{"x", "GET", "http://a.test/x", false},
		{"?q", "GET", "http://a.test?q", false},
		{"/X", "GET", "http://a.test/x", false},
		{"/%78", "GET", "http://a.test/x", false},
		{"/%7e", "GET", "http://a.test/%7E", false},
		{"//", "GET", "http://a.test", false},
		{"//", "GET", "http://a.test/", false},
		{"http://a.test/X", "GET", "http://a.test/x", false},
		{"http://b.test/x", "GET", "http://a.test/x", false},
		{"http://a.test:8080/x", "GET", "http://a.test/x", false},
		{"https://a.test/x", "GET", "http://a.test/x", false},
		{"https://a.test:80/x", "GET", "https://a.test/x", false},
		{"http://a.test/x", "GET", "/x", false},
		{"a.test:443", "GET", "http://a.test:443/", false},
		{"*", "GET", "http://a.test", false},
		{"*", "OPTIONS", "http://a.test/", false},
		{"b.test:443", "CONNECT", "a.test:443", false},
		{"a.test", "CONNECT", "a.test:443", false},
		{"a.test:44", "CONNECT", "a.test:443", false},
		{"/x", "CONNECT", "a.test:443", false},
		{"http://a.test:443", "CONNECT", "a.test:443", false},
		{"/", "connect", "a.test:443", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (digest_uri_matches(span_from(rows[i].uri), span_from(rows[i].method), span_from(rows[i].target)) !=
		    rows[i].matches)
			fail_msg("%s of %s %s", rows[i].uri, rows[i].method, rows[i].target);
}

/* ---- nonces ---- */

enum { NOW = 1800000000, LIFE = 300000 };
static const uint8_t random_bytes[DIGEST_NONCE_RANDOM_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};

static const struct digest_keys keys = {.current = "current", .previous = "previous"};

static void make_nonce(const struct digest_keys *with, uint64_t wall_ms, uint8_t out[static DIGEST_NONCE_LEN])
{
	assert_true(digest_nonce_make(with, wall_ms, LIFE, random_bytes, out));
}

static enum digest_nonce check(const struct digest_keys *with, const uint8_t *nonce, uint64_t wall_ms, uint64_t life_ms)
{
	uint64_t id = 0, expires_ms = 0;
	enum digest_nonce got = digest_nonce_check(with, span_of(nonce, DIGEST_NONCE_LEN), wall_ms, life_ms, &id, &expires_ms);

	if (got != DIGEST_NONCE_FOREIGN) {
		assert_int_equal(id, 0x0102030405060708);
		assert_int_equal(expires_ms, (uint64_t)NOW + LIFE);
	}
	return got;
}

static void nonces_live_as_long_as_they_were_given(void **state)
{
	uint8_t nonce[DIGEST_NONCE_LEN];

	(void)state;
	make_nonce(&keys, NOW, nonce);
	assert_int_equal(check(&keys, nonce, NOW, LIFE), DIGEST_NONCE_VALID);
	assert_int_equal(check(&keys, nonce, NOW + LIFE - 1, LIFE), DIGEST_NONCE_VALID);
	assert_int_equal(check(&keys, nonce, NOW + LIFE, LIFE), DIGEST_NONCE_STALE);
	assert_int_equal(check(&keys, nonce, UINT64_MAX, LIFE), DIGEST_NONCE_STALE);
	/* The clock of another node, or one that was set back. */
	assert_int_equal(check(&keys, nonce, NOW - 60000, LIFE), DIGEST_NONCE_VALID);
	assert_int_equal(check(&keys, nonce, NOW - 60001, LIFE), DIGEST_NONCE_FOREIGN);
	assert_int_equal(check(&keys, nonce, 0, LIFE), DIGEST_NONCE_FOREIGN);
	/* After a reload with another life. */
	assert_int_equal(check(&keys, nonce, NOW + 1000, 1000), DIGEST_NONCE_STALE);
	assert_int_equal(check(&keys, nonce, NOW + LIFE, 10 * LIFE), DIGEST_NONCE_STALE);
}

static void nonces_of_others_are_foreign(void **state)
{
	struct digest_keys other = {.current = "another"}, next = {.current = "next", .previous = "current"};
	uint8_t nonce[DIGEST_NONCE_LEN], broken[DIGEST_NONCE_LEN];
	uint64_t id, expires_ms;

	(void)state;
	make_nonce(&keys, NOW, nonce);
	assert_int_equal(check(&other, nonce, NOW, LIFE), DIGEST_NONCE_FOREIGN);
	assert_int_equal(check(&next, nonce, NOW, LIFE), DIGEST_NONCE_FOREIGN);
	next.has_previous = true;
	assert_int_equal(check(&next, nonce, NOW, LIFE), DIGEST_NONCE_VALID);
	for (size_t i = 0; i < DIGEST_NONCE_LEN; i++) {
		memcpy(broken, nonce, sizeof(nonce));
		broken[i] = broken[i] == 'A' ? 'B' : 'A';
		assert_int_equal(check(&keys, broken, NOW, LIFE), DIGEST_NONCE_FOREIGN);
		broken[i] = '=';
		assert_int_equal(check(&keys, broken, NOW, LIFE), DIGEST_NONCE_FOREIGN);
		assert_int_equal(digest_nonce_check(&keys, span_of(nonce, i), NOW, LIFE, &id, &expires_ms),
		                 DIGEST_NONCE_FOREIGN);
	}
}

static void nonces_differ(void **state)
{
	uint8_t one[DIGEST_NONCE_LEN], two[DIGEST_NONCE_LEN], random[DIGEST_NONCE_RANDOM_BYTES] = {8};

	(void)state;
	make_nonce(&keys, NOW, one);
	assert_true(digest_nonce_make(&keys, NOW, LIFE, random, two));
	assert_memory_not_equal(one, two, sizeof(one));
	make_nonce(&keys, NOW + 1, two);
	assert_memory_not_equal(one, two, sizeof(one));
}

/* ---- challenges ---- */

static const struct digest_conf conf = {
	.algorithms = {DIGEST_SHA256, DIGEST_MD5, DIGEST_SHA256 | DIGEST_SESSION, DIGEST_MD5 | DIGEST_SESSION},
	.algorithm_count = 4,
	.nonce_ms = LIFE,
};

static void challenges_are_a_line_each(void **state)
{
	static const char *const names[] = {"SHA-256", "MD5", "SHA-256-sess", "MD5-sess"};
	struct digest_conf with_userhash = conf;
	struct buf out, expected;
	struct span nonce;

	(void)state;
	with_userhash.userhash = true;
	for (int stale = 0; stale < 2; stale++) {
		for (int userhash = 0; userhash < 2; userhash++) {
			uint64_t id, expires_ms;

			buf_init(&out, 4096);
			buf_init(&expected, 4096);
			digest_write_challenges(userhash ? &with_userhash : &conf, SPAN("A \"B\" \\ C\r\n"), &keys, NOW, stale, &out);
			nonce = span_skip(buf_span(&out), span_find_span(buf_span(&out), SPAN("nonce=\"")) + 7);
			nonce = span_first(nonce, DIGEST_NONCE_LEN);
			assert_int_equal(digest_nonce_check(&keys, nonce, NOW, LIFE, &id, &expires_ms), DIGEST_NONCE_VALID);
			assert_int_equal(expires_ms, (uint64_t)NOW + LIFE);
			for (size_t i = 0; i < COUNT_OF(names); i++)
				buf_printf(&expected,
				           "Proxy-Authenticate: Digest realm=\"A \\\"B\\\" \\\\ C\", qop=\"auth\", algorithm=%s, "
				           "nonce=\"%.*s\", charset=UTF-8%s%s\r\n",
				           names[i], SPAN_ARG(nonce), userhash ? ", userhash=true" : "", stale ? ", stale=true" : "");
			if (!span_equal(buf_span(&out), buf_span(&expected)))
				fail_msg("%.*s", SPAN_ARG(buf_span(&out)));
			buf_fini(&out);
			buf_fini(&expected);
		}
	}
}

/* ---- the whole way ---- */

static bool is_right(const struct ask *ask, struct span user, const char *password)
{
	uint8_t ha1[DIGEST_MAX_BYTES];

	assert_true(digest_ha1(ask->algorithm, user, ask->realm, span_from(password), ha1));
	return digest_is_proved(ask, ha1);
}

/* RFC 7616 section 3.9.1. */
static void the_example_of_the_rfc_is_right(void **state)
{
	static const char *const rows[][2] = {{"MD5", MD5_HEX}, {"SHA-256", SHA_HEX}};
	const struct digest_client client = {.user = SPAN("Mufasa"),
	                                     .password = SPAN("Circle of Life"),
	                                     .method = SPAN("GET"),
	                                     .uri = SPAN("/dir/index.html"),
	                                     .cnonce = SPAN("f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"),
	                                     .count = 1};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct digest_answer answer;
		struct buf challenge, out;
		const char *why;

		buf_init(&challenge, 1000);
		buf_init(&out, 1000);
		buf_printf(&challenge,
		           "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=%s, "
		           "nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", "
		           "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
		           rows[i][0]);
		assert_true(digest_client_answer(buf_span(&challenge), &client, &out, &why));
		assert_true(span_find_span(buf_span(&out), span_from(rows[i][1])) < buf_len(&out));
		assert_true(span_starts_with(buf_span(&out), SPAN("Digest ")));
		assert_true(digest_parse(span_skip(buf_span(&out), 7), &answer, &why));
		assert_true(span_equal(answer.opaque, SPAN("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS")));
		answer.ask.method = client.method;
		assert_true(is_right(&answer.ask, client.user, "Circle of Life"));
		assert_false(is_right(&answer.ask, client.user, "Circle of life"));
		answer.ask.method = SPAN("POST");
		assert_false(is_right(&answer.ask, client.user, "Circle of Life"));
		digest_answer_fini(&answer);
		buf_fini(&challenge);
		buf_fini(&out);
	}
}

static void a_hash_may_stand_for_the_user(void **state)
{
	static const char *const names[] = {"MD5", "SHA-256", "MD5-sess", "SHA-256-sess"};
	const struct digest_client client = {.user = SPAN("J\xc3\xa4s\xc3\xb8n Doe"),
	                                     .password = SPAN("Secret, or not?"),
	                                     .method = SPAN("GET"),
	                                     .uri = SPAN("/doe.json"),
	                                     .count = 1,
	                                     .wants_userhash = true};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		uint8_t hash[DIGEST_MAX_BYTES];
		struct digest_answer answer;
		struct buf challenge, out;
		const char *why;

		buf_init(&challenge, 1000);
		buf_init(&out, 1000);
		buf_printf(&challenge, "Digest realm=\"api@example.org\", qop=auth, algorithm=%s, nonce=\"n\", userhash=true",
		           names[i]);
		assert_true(digest_client_answer(buf_span(&challenge), &client, &out, &why));
		assert_true(digest_parse(span_skip(buf_span(&out), 7), &answer, &why));
		assert_true(answer.ask.is_userhash);
		assert_true(digest_userhash(answer.ask.algorithm, client.user, answer.ask.realm, hash));
		for (size_t k = 0; k < digest_bytes(answer.ask.algorithm); k++) {
			char digits[3];

			snprintf(digits, sizeof(digits), "%02x", hash[k]);
			assert_memory_equal(answer.ask.user.at + 2 * k, digits, 2);
		}
		answer.ask.method = client.method;
		assert_true(is_right(&answer.ask, client.user, "Secret, or not?"));
		assert_false(is_right(&answer.ask, answer.ask.user, "Secret, or not?"));
		digest_answer_fini(&answer);
		buf_fini(&challenge);
		buf_fini(&out);
	}
}

/* Our own challenges, one after the other, to a client and back. */
static void our_challenges_can_be_answered(void **state)
{
	const struct digest_client client = {.user = SPAN("ADTEST\\j\xc3\xbcrgen \"j\""),
	                                     .password = SPAN("gr\xc3\xbc\xc3\x9f"),
	                                     .method = SPAN("CONNECT"),
	                                     .uri = SPAN("a.test:443"),
	                                     .count = 0x1234};
	struct buf lines;
	struct span rest, line;
	size_t count = 0;

	(void)state;
	buf_init(&lines, 4096);
	digest_write_challenges(&conf, SPAN("A \"B\""), &keys, NOW, true, &lines);
	rest = buf_span(&lines);
	while (rest.len && span_split(&rest, '\n', &line)) {
		struct digest_answer answer;
		struct buf out;
		const char *why;
		uint64_t id, expires_ms;

		buf_init(&out, 1000);
		line.len--;
		assert_true(span_starts_with(line, SPAN("Proxy-Authenticate: ")));
		assert_true(digest_client_answer(span_skip(line, 20), &client, &out, &why));
		assert_true(digest_parse(span_skip(buf_span(&out), 7), &answer, &why));
		assert_true(span_equal(answer.ask.realm, SPAN("A \"B\"")));
		assert_true(span_equal(answer.ask.user, client.user));
		assert_int_equal(answer.count, 0x1234);
		assert_int_equal(answer.ask.algorithm | (answer.ask.is_session ? DIGEST_SESSION : 0), conf.algorithms[count]);
		assert_int_equal(digest_nonce_check(&keys, answer.ask.nonce, NOW, LIFE, &id, &expires_ms), DIGEST_NONCE_VALID);
		assert_true(digest_uri_matches(answer.ask.uri, client.method, SPAN("A.test:443")));
		answer.ask.method = client.method;
		assert_true(is_right(&answer.ask, client.user, "gr\xc3\xbc\xc3\x9f"));
		assert_false(is_right(&answer.ask, client.user, "gruss"));
		digest_answer_fini(&answer);
		buf_fini(&out);
		count++;
	}
	assert_int_equal(count, 4);
	buf_fini(&lines);
}

static void challenges_that_cannot_be_answered_are_told(void **state)
{
	static const char *const rows[][2] = {
		{"", "this is no challenge of Digest"},
		{"Basic realm=\"x\"", "this is no challenge of Digest"},
		{"Digest realm", "the challenge is no list of parameters"},
		{"Digest", "the challenge has no realm or no nonce"},
		{"Digest realm=\"r\", qop=\"auth\"", "the challenge has no realm or no nonce"},
		{"Digest realm=\"r\", nonce=\"n\"", "the challenge does not offer qop auth"},
		{"Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"", "the challenge does not offer qop auth"},
		{"Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-512-256", "the algorithm is not known"},
	};
	const struct digest_client client = {.user = SPAN("a"), .password = SPAN("b"), .method = SPAN("GET"),
	                                     .uri = SPAN("/"), .count = 1};
	struct buf out;
	const char *why;

	(void)state;
	buf_init(&out, 1000);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_false(digest_client_answer(span_from(rows[i][0]), &client, &out, &why));
		assert_string_equal(why, rows[i][1]);
		assert_int_equal(buf_len(&out), 0);
	}
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clients_are_understood),
		cmocka_unit_test(other_values_are_given_back),
		cmocka_unit_test(everything_else_is_refused),
		cmocka_unit_test(lengths_are_bounded),
		cmocka_unit_test(uris_are_compared),
		cmocka_unit_test(nonces_live_as_long_as_they_were_given),
		cmocka_unit_test(nonces_of_others_are_foreign),
		cmocka_unit_test(nonces_differ),
		cmocka_unit_test(challenges_are_a_line_each),
		cmocka_unit_test(the_example_of_the_rfc_is_right),
		cmocka_unit_test(a_hash_may_stand_for_the_user),
		cmocka_unit_test(our_challenges_can_be_answered),
		cmocka_unit_test(challenges_that_cannot_be_answered_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
