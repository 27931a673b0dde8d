/* SPDX-License-Identifier: Apache-2.0 */
/* NTLM: the examples of MS-NLMP 4.2, messages, names, and whole talks with our own client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ntlm_rig.h"

static struct buf parts[4];

static int init(void **state)
{
	const char *why = "";

	(void)state;
	if (ntlm_init(&why) && ntlm_init(&why))
		return 0;
	print_message("%s\n", why);
	return 1;
}

static int fini(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		buf_fini(&parts[i]);
	return 0;
}

static void assert_bytes(const uint8_t *at, const char *expected)
{
	struct span bytes = rig_bytes(expected, &parts[3]);

	assert_memory_equal(at, bytes.at, bytes.len);
}

/* ---- MS-NLMP 4.2: user "User", domain "Domain", password "Password" ---- */

static const char *const v2_challenge =
	"4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000 2400240044000000"
	"060070170000000f 530065007200760065007200 02000c00 44006f006d00610069006e00 01000c00 530065007200760065007200 00000000";
static const char *const v2_authenticate =
	"4e544c4d53535000 03000000 180018006c000000 5400540084000000 0c000c0048000000 0800080054000000 100010005c000000"
	"10001000d8000000 358288e2 0501280a0000000f 44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200"
	"86c35097ac9cec102554764a57cccc19 aaaaaaaaaaaaaaaa 68cd0ab851e51c96aabc927bebef6a1c 0101000000000000 0000000000000000"
	"aaaaaaaaaaaaaaaa 00000000 02000c00 44006f006d00610069006e00 01000c00 530065007200760065007200 00000000 00000000"
	"c5dad2544fc9799094ce1ce90bc9d03e";
static const char *const v1_challenge =
	"4e544c4d53535000 02000000 0c000c0038000000 338202e2 0123456789abcdef 0000000000000000 0000000000000000"
	"060070170000000f 530065007200760065007200";
static const char *const v1_authenticate =
	"4e544c4d53535000 03000000 180018006c000000 1800180084000000 0c000c0048000000 0800080054000000 100010005c000000"
	"100010009c000000 358280e2 0501280a0000000f 44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200"
	"98def7b87f88aa5dafe2df779688a172def11c7d5ccdef13 67c43011f30298a2ad35ece64f16331c44bdbed927841f94"
	"518822b1b3f350c8958682ecbb3e3cb7";
static const char *const session_challenge =
	"4e544c4d53535000 02000000 0c000c0038000000 33820a82 0123456789abcdef 0000000000000000 0000000000000000"
	"060070170000000f 530065007200760065007200";
static const char *const session_authenticate =
	"4e544c4d53535000 03000000 180018006c000000 1800180084000000 0c000c0048000000 0800080054000000 100010005c000000"
	"000000009c000000 35820882 0501280a0000000f 44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200"
	"aaaaaaaaaaaaaaaa00000000000000000000000000000000 7537f803ae367128ca458204bde7caf81e97ed2683267232";

static void hashes_are_those_of_the_specification(void **state)
{
	uint8_t out[24], hash[16];

	(void)state;
	assert_true(ntlm_hash(SPAN("Password"), hash));
	assert_bytes(hash, "a4f49c406510bdcab6824ee7c30fd852");
	assert_true(ntlm_response_key(hash, SPAN("User"), CAPITALS_WINDOWS, SPAN("Domain"), out));
	assert_bytes(out, "0c868a403bfd7a93a3001ef22ef02e3f");
	assert_true(ntlm_desl(hash, (const uint8_t *)"\x01\x23\x45\x67\x89\xab\xcd\xef", out));
	assert_bytes(out, "67c43011f30298a2ad35ece64f16331c44bdbed927841f94");
	/* RFC 1320 appendix 5: MD4 of nothing. */
	assert_true(ntlm_hash(SPAN(""), hash));
	assert_bytes(hash, "31d6cfe0d16ae931b73c59d7e0c089c0");
}

/* A password longer than what a buffer begins with, and characters beyond 16 bits. */
static void hashes_of_long_and_wide_passwords(void **state)
{
	uint8_t hash[16], same[16];
	struct buf text, wire;

	(void)state;
	buf_init(&text, 4096);
	buf_init(&wire, 4096);
	for (int i = 0; i < 100; i++) {
		buf_add(&text, SPAN("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91"));
		buf_add(&wire, span_of("a\0\xe4\0\xac\x20\x3d\xd8\x11\xdd", 10));
	}
	assert_true(ntlm_hash(buf_span(&text), hash) && ntlm_md4(buf_span(&wire), same));
	assert_memory_equal(hash, same, sizeof(hash));
	buf_fini(&text);
	buf_fini(&wire);
}

/* Windows' table has no capitals for some letters that have them in Unicode; Java and Chromium go by Unicode. */
static void capitals_are_made_both_ways(void **state)
{
	static const struct {
		const char *user, *windows, *unicode;
	} rows[] = {
		{"aZ9._-", "AZ9._-", "AZ9._-"},
		{"j\xc3\xbcrgen", "J\xc3\x9cRGEN", "J\xc3\x9cRGEN"},
		{"\xc3\xbf\xd0\xb6\xcf\x82", "\xc5\xb8\xd0\x96\xce\xa3", "\xc5\xb8\xd0\x96\xce\xa3"},
		{"gro\xc3\x9f", "GRO\xc3\x9f", "GROSS"},
		{"\xc4\xb1\xc2\xb5\xc5\xbf", "\xc4\xb1\xc2\xb5\xc5\xbf", "I\xce\x9cS"},
		{"\xf0\x90\x90\xa8", "\xf0\x90\x90\xa8", "\xf0\x90\x90\x80"},
		{"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
	};
	static const uint8_t hash[16] = {1, 2, 3};

	(void)state;
	for (size_t i = 0; i < 2 * COUNT_OF(rows); i++) {
		const char *expected = i % 2 ? rows[i / 2].unicode : rows[i / 2].windows;
		uint8_t key[16], same[16];
		struct span piece;
		struct buf wire;

		buf_init(&wire, 200);
		ntlm_add_utf16(span_from(expected), &wire);
		ntlm_add_utf16(SPAN("Domain"), &wire); /* as it is */
		piece = buf_span(&wire);
		assert_true(ntlm_hmac_md5(hash, &piece, 1, same));
		assert_true(ntlm_response_key(hash, span_from(rows[i / 2].user), i % 2 ? CAPITALS_UNICODE : CAPITALS_WINDOWS,
		                              SPAN("Domain"), key));
		if (memcmp(key, same, sizeof(key)) != 0)
			fail_msg("row %zu", i / 2);
		buf_fini(&wire);
	}
}

struct example {
	const char *challenge, *authenticate;
	bool is_v1, is_session;
	const char *base_key, *exported;
};

static void messages_of_the_specification(void **state)
{
	static const struct example rows[] = {
		{v1_challenge, v1_authenticate, true, false, "d87262b0cde4b1cb7499becccdf10784",
		 "55555555555555555555555555555555"},
		{session_challenge, session_authenticate, true, true, "d87262b0cde4b1cb7499becccdf10784",
		 "eb93429a8bd952f8b89c55b87f475edc"},
		{v2_challenge, v2_authenticate, false, false, "8de40ccadbc14a82f15cb0ad0de95ca3",
		 "55555555555555555555555555555555"},
	};
	uint8_t hash[16], base_key[16], key[16];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct ntlm_authenticate authenticate;
		struct ntlm_challenge challenge;
		const char *why = "";

		assert_true(ntlm_hash(SPAN("Password"), hash));
		assert_true(ntlm_parse_challenge(rig_bytes(rows[i].challenge, &parts[0]), &challenge));
		assert_true(ntlm_parse_authenticate(rig_bytes(rows[i].authenticate, &parts[1]), &authenticate, &why));
		assert_true(ntlm_is_v1(&authenticate) == rows[i].is_v1 && ntlm_is_session(&authenticate) == rows[i].is_session);
		if (!(rows[i].is_v1 ? ntlm_check_v1 : ntlm_check_v2)(hash, &authenticate, &challenge, base_key, &why))
			fail_msg("row %zu: %s", i, why);
		assert_bytes(base_key, rows[i].base_key);
		assert_true(ntlm_export_key(&authenticate, &challenge, base_key, key, &why));
		assert_bytes(key, rows[i].exported);
		hash[0] ^= 1;
		assert_false((rows[i].is_v1 ? ntlm_check_v1 : ntlm_check_v2)(hash, &authenticate, &challenge, base_key, &why));
	}
}

/* MS-NLMP 4.2.4.4 and 4.2.3.4 encrypt "Plaintext" and sign it: with the same keys as the MIC of SPNEGO's list. */
static void keys_of_the_specification(void **state)
{
	uint8_t exported[16], sign[16], seal[16], mac[16], bytes[18 + 8], sealed[sizeof(bytes)];
	struct span pieces[] = {span_of("\0\0\0", 4), span_of("P\0l\0a\0i\0n\0t\0e\0x\0t", 18)};

	(void)state;
	memset(exported, 0x55, sizeof(exported));
	assert_true(ntlm_make_key(exported, 16, true, "signing", sign) && ntlm_make_key(exported, 16, true, "sealing", seal));
	assert_bytes(sign, "4788dc861b4782f35d43fd98fe1a2d39");
	assert_bytes(seal, "59f600973cc4960a25480a7c196e4c58");
	assert_true(ntlm_hmac_md5(sign, pieces, 2, mac));
	memcpy(bytes, pieces[1].at, 18);
	memcpy(bytes + 18, mac, 8);
	assert_true(ntlm_rc4(span_of(seal, 16), span_of(bytes, sizeof(bytes)), sealed));
	assert_bytes(sealed, "54e50165bf1936dc996020c1811b0f06fb5f 7fb38ec5c55d4976");

	/* Of 56 bits, without a key of the client's own. */
	rig_bytes("eb93429a8bd952f8b89c55b87f475edc", &parts[0]);
	assert_true(ntlm_make_key(parts[0].at, 16, true, "signing", sign) &&
	            ntlm_make_key(parts[0].at, 7, true, "sealing", seal));
	assert_bytes(sign, "60e799be5c72fc92922ae8ebe961fb8d");
	assert_bytes(seal, "04dd7f014d8504d265a25cc86a3a7c06");
	/* Not encrypted: no exchange of keys. Its first four bytes are the number of the message, 0, in both. */
	assert_true(ntlm_hmac_md5(sign, pieces, 2, mac));
	assert_bytes(mac, "ff2aeb52f681793a");
	assert_true(ntlm_list_mic(FLAG_56 | FLAG_EXTENDED, parts[0].at, true, pieces[1], bytes));
	assert_bytes(bytes, "01000000 ff2aeb52f681793a 00000000");
	/* And encrypted with that key of 56 bits. */
	assert_true(ntlm_rc4(span_of(seal, 16), span_of(mac, 8), sealed));
	assert_true(ntlm_list_mic(FLAG_56 | FLAG_EXTENDED | FLAG_KEY_EXCHANGE, parts[0].at, true, pieces[1], bytes));
	assert_memory_equal(bytes + 4, sealed, 8);
}

/* ---- the second message ---- */

static void the_second_message_is_what_clients_take(void **state)
{
	struct rig_talk talk;
	struct ntlm_negotiate curl = {.flags = 0x00088206};

	(void)state;
	rig_init(&talk);
	ntlm_write_challenge(&curl, rig_challenge, &rig_names, 0x0102030405060708, &talk.challenge);
	assert_true(span_equal(buf_span(&talk.challenge),
	    rig_bytes("4e544c4d53535000 02000000 0600060038000000 05828902 0102030405060708 0000000000000000"
	              "5c005c003e000000 0601b11d0000000f 4c0041004200"
	              "0200 0600 4c0041004200 0100 0a00 500052004f0058005900"
	              "0400 1000 6c00610062002e007400650073007400"
	              "0300 1c00 700072006f00780079002e006c00610062002e007400650073007400"
	              "0700 0800 0807060504030201 0000 0000", &parts[0])));
	/* What the client has of signing and sealing is mirrored, and nothing else. */
	buf_reset(&talk.challenge);
	curl.flags = UINT32_MAX;
	ntlm_write_challenge(&curl, rig_challenge, &rig_names, 1, &talk.challenge);
	assert_int_equal(ntlm_u32(buf_span(&talk.challenge).at + 20), 0xe2898235);
	/* Without DNS names they are left out, not empty. */
	buf_reset(&talk.challenge);
	ntlm_write_challenge(&curl, rig_challenge, &(struct ntlm_names){SPAN("D"), SPAN("C"), SPAN(""), SPAN("")}, 1,
	                     &talk.challenge);
	assert_true(span_ends_with(buf_span(&talk.challenge),
	    rig_bytes("4400 0200 0200 4400 0100 0200 4300 0700 0800 0100000000000000 0000 0000", &parts[0])));
	rig_fini(&talk);
}

static void names_that_are_too_long_are_told(void **state)
{
	static uint8_t name[5000];
	struct ntlm_negotiate negotiate = {0};
	struct buf out;

	(void)state;
	memset(name, 'x', sizeof(name));
	buf_init(&out, RIG_MAX_BYTES);
	ntlm_write_challenge(&negotiate, rig_challenge,
	                     &(struct ntlm_names){span_of(name, sizeof(name)), SPAN("C"), SPAN(""), SPAN("")}, 1, &out);
	assert_false(buf_is_whole(&out));
	buf_fini(&out);
}

static void first_messages(void **state)
{
	static const struct {
		const char *name, *bytes;
		bool is_taken;
	} rows[] = {
		{"curl, Chromium, Firefox, Java", "4e544c4d53535000 01000000 06820800 0000000000000000 0000000000000000", true},
		{"Windows", "4e544c4d53535000 01000000 978208e2 0000000000000000 0000000000000000 0a00614a0000000f", true},
		{"cntlm", "4e544c4d535350000100000005b208a2030003002300000003000300200000005753314c4142", true},
		{"requests_ntlm", "4e544c4d53535000 01000000 078208a2 0300030028000000 0000000028000000 000000000000000f 444f4d", true},
		{"without its fields", "4e544c4d53535000 01000000 06820800", true},
		{"names that point outside, which nobody reads",
		 "4e544c4d53535000 01000000 06b20800 ffffffffffffffff ffffffffffffffff", true},
		{"too short", "4e544c4d53535000 01000000 068208", false},
		{"a third", "4e544c4d53535000 03000000 06820800 0000000000000000 0000000000000000", false},
		{"a type of more than a byte", "4e544c4d53535000 01000100 06820800 0000000000000000 0000000000000000", false},
		{"without its signature's end", "4e544c4d53535020 01000000 06820800 0000000000000000 0000000000000000", false},
		{"nothing", "", false},
	};
	uint8_t large[ASK_NTLM_MAX_BYTES + 1] = "NTLMSSP\0\1";
	struct ntlm_negotiate negotiate;
	const char *why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (ntlm_parse_negotiate(rig_bytes(rows[i].bytes, &parts[0]), &negotiate, &why) != rows[i].is_taken)
			fail_msg("%s", rows[i].name);
	assert_true(ntlm_parse_negotiate(span_of(large, sizeof(large) - 1), &negotiate, &why));
	assert_false(ntlm_parse_negotiate(span_of(large, sizeof(large)), &negotiate, &why));
	assert_string_equal(why, "the first message of NTLM is too long");
}

/* ---- names ---- */

static void names_are_read_as_text(void **state)
{
	static const struct {
		const char *wire, *text; /* NULL: refused */
		bool is_oem;
	} rows[] = {
		{"6100 6c00", "al", false},
		{"e400 ac20 3dd8 00de", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", false},
		{"fffd ffff", "\xef\xb7\xbf\xef\xbf\xbf", false},
		{"61 6c", "al", true},
		{"e4 ff", "\xc3\xa4\xc3\xbf", true},
		{"6100 6c", NULL, false},     /* half a unit */
		{"3dd8", NULL, false},        /* half a character, at the end */
		{"3dd8 6100", NULL, false},
		{"00de 6100", NULL, false},
		{"3dd8 3dd8 00de", NULL, false},
		{"6100 0000", NULL, false},
		{"6100 0a00", NULL, false},
		{"1b00", NULL, false},
		{"7f00", NULL, false},
		{"8500", NULL, false},        /* NEL: a control character, too */
		{"9b00", NULL, false},
		{"61 00", NULL, true},
		{"61 0d", NULL, true},
		{"9f", NULL, true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf out;
		bool well;

		buf_init(&out, 100);
		well = ntlm_add_text(rig_bytes(rows[i].wire, &parts[0]), rows[i].is_oem ? FLAG_OEM : FLAG_UNICODE, &out);
		if (well != (rows[i].text != NULL) || (well && !span_equal(buf_span(&out), span_from(rows[i].text))))
			fail_msg("row %zu: \"%.*s\"", i, SPAN_ARG(buf_span(&out)));
		buf_fini(&out);
	}
}

/* ---- whole talks ---- */

static enum ask_verdict verify(const struct ask *ask, struct span password, struct answer *answer)
{
	uint8_t hash[16];

	assert_true(ntlm_hash(password, hash));
	answer_init(answer);
	return ntlm_verify_local(ask, hash, RIG_SKEW_MS, answer);
}

static void assert_refused(const char *name, const struct ask *ask, struct span password, const char *why)
{
	struct answer answer;

	if (verify(ask, password, &answer) != VERDICT_INVALID || !span_equal(buf_span(&answer.why), span_from(why)))
		fail_msg("%s: \"%.*s\" instead of \"%s\"", name, SPAN_ARG(buf_span(&answer.why)), why);
	assert_int_equal(answer.mechanism, AUTH_MECHANISM_NONE);
	answer_fini(&answer);
}

static void our_client_is_taken(void **state)
{
	static const struct {
		const char *user, *domain, *password;
		bool mic, v1, session;
		uint32_t without;
	} rows[] = {
		{"alice", "LAB", "secret", true, false, false, 0},
		{"alice", "LAB", "secret", false, false, false, 0},
		{"Alice", "lab", "secret", true, false, false, FLAG_KEY_EXCHANGE},
		{"alice", "", "secret", true, false, false, FLAG_KEY_EXCHANGE | FLAG_128},
		{"alice@lab.test", "", "secret", true, false, false, FLAG_EXTENDED},
		{"alice", "LAB", "secret", false, true, false, 0},
		{"alice", "LAB", "secret", false, true, true, 0},
		{"alice", "LAB", "secret", false, true, true, FLAG_KEY_EXCHANGE},
		{"j\xc3\xbcrgen", "D\xc3\x96MAIN", "gr\xc3\xbc\xc3\x9f", true, false, false, 0},
		{"\xf0\x9f\x98\x80\xd0\xb6", "\xe6\x97\xa5", "\xf0\x9f\x94\x91", true, false, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct ntlm_client client = {.user = span_from(rows[i].user), .domain = span_from(rows[i].domain),
		                             .password = span_from(rows[i].password), .workstation = SPAN("WS"),
		                             .target = SPAN("HTTP/proxy"), .mic = rows[i].mic, .v1 = rows[i].v1,
		                             .session = rows[i].session};
		struct rig_talk talk;
		struct answer answer;
		struct ask ask;

		assert_true(rig_begin(&talk, rows[i].without) && rig_end(&talk, &client));
		ask = rig_ask(&talk);
		ask.allow_v1 = rows[i].v1;
		ask.require_mic = rows[i].mic;
		if (verify(&ask, client.password, &answer) != VERDICT_VALID)
			fail_msg("row %zu: %.*s", i, SPAN_ARG(buf_span(&answer.why)));
		assert_int_equal(answer.mechanism, rows[i].v1 ? AUTH_MECHANISM_NTLM_V1 : AUTH_MECHANISM_NTLM);
		assert_int_equal(buf_len(&answer.token), 0);
		answer_fini(&answer);
		assert_refused("another password", &ask, SPAN("Secret"), "the password is wrong");
		rig_fini(&talk);
	}
}

/* Some clients name a domain and leave it out of the response (MS-NLMP 3.2.5.1.2). */
static void a_domain_may_be_missing_in_the_response(void **state)
{
	const struct ntlm_client client = {.user = SPAN("alice"), .password = SPAN("secret"), .workstation = SPAN("LAB")};
	struct rig_talk talk;
	struct answer answer;
	struct ask ask;
	struct buf texts[3];
	const char *why;

	(void)state;
	assert_true(rig_begin(&talk, 0) && rig_end(&talk, &client));
	/* The workstation becomes the domain, too: fields at 44 and 28. */
	memcpy(talk.authenticate.at + 28, talk.authenticate.at + 44, 8);
	ask = rig_ask(&talk);
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		buf_init(&texts[i], 100);
	assert_true(ntlm_who(ask.authenticate, &texts[0], &texts[1], &texts[2], &why));
	assert_true(span_equal(buf_span(&texts[0]), SPAN("LAB")));
	assert_int_equal(verify(&ask, client.password, &answer), VERDICT_VALID);
	answer_fini(&answer);
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		buf_fini(&texts[i]);
	rig_fini(&talk);
}

/* A client that repeats the flag of extended session security, and knows nothing of it: plain NTLMv1. */
static void v1_with_the_flag_of_the_other_is_v1(void **state)
{
	const struct ntlm_client client = {.user = SPAN("alice"), .password = SPAN("secret"), .v1 = true};
	struct rig_talk talk;
	struct answer answer;
	struct ask ask;

	(void)state;
	assert_true(rig_begin(&talk, 0) && rig_end(&talk, &client));
	talk.authenticate.at[62] |= FLAG_EXTENDED >> 16;
	talk.authenticate.at[ntlm_u32(talk.authenticate.at + 16) + 23] = 1; /* its LM response is a response */
	ask = rig_ask(&talk);
	ask.allow_v1 = true;
	assert_int_equal(verify(&ask, client.password, &answer), VERDICT_VALID);
	assert_int_equal(answer.mechanism, AUTH_MECHANISM_NTLM_V1);
	answer_fini(&answer);
	rig_fini(&talk);
}

/* Somebody else has checked the response, and gives the key. */
static void a_key_from_an_authority_will_do(void **state)
{
	struct ntlm_client client = {.user = SPAN("alice"), .domain = SPAN("LAB"), .password = SPAN("secret"), .v1 = true};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct ntlm_authenticate authenticate;
		struct ntlm_responses responses;
		struct ntlm_challenge challenge;
		uint8_t hash[16], key[16], expected[24];
		struct rig_talk talk;
		struct answer answer;
		struct ask ask;
		const char *why;
		bool is_v1;

		client.v1 = i > 0;
		client.session = i > 1;
		client.mic = i == 0;
		assert_true(rig_begin(&talk, 0) && rig_end(&talk, &client));
		ask = rig_ask(&talk);
		ask.allow_v1 = true;
		assert_true(ntlm_check_form(&ask, RIG_SKEW_MS, &is_v1, &why));
		assert_true(is_v1 == client.v1);
		assert_true(ntlm_parse_challenge(ask.challenge, &challenge) &&
		            ntlm_parse_authenticate(ask.authenticate, &authenticate, &why) &&
		            ntlm_hash(client.password, hash) && ntlm_responses(&ask, &responses, &why));
		/* What an authority is asked is right as NTLMv1 of its challenge, with extended security or without. */
		assert_int_equal(responses.lm.len, client.session ? 0 : 24);
		assert_true(span_equal(responses.nt, authenticate.nt));
		assert_true(ntlm_desl(hash, responses.challenge, expected));
		if (is_v1)
			assert_memory_equal(expected, responses.nt.at, sizeof(expected));
		else
			assert_memory_equal(responses.challenge, rig_challenge, sizeof(rig_challenge));
		assert_true((is_v1 ? ntlm_check_v1 : ntlm_check_v2)(hash, &authenticate, &challenge, key, &why));
		ask.mech_types = SPAN("list");
		assert_true(ntlm_list_mic(FLAG_EXTENDED | authenticate.flags, talk.key, true, ask.mech_types, expected));
		if (authenticate.flags & FLAG_EXTENDED)
			ask.mech_list_mic = span_of(expected, 16);
		answer_init(&answer);
		if (ntlm_verify_known_key(&ask, is_v1, key, &answer) != VERDICT_VALID)
			fail_msg("%u: %.*s", i, SPAN_ARG(buf_span(&answer.why)));
		assert_int_equal(answer.mechanism, is_v1 ? AUTH_MECHANISM_NTLM_V1 : AUTH_MECHANISM_NTLM);
		answer_fini(&answer);
		/* And with another key it will not. */
		key[0] ^= 1;
		answer_init(&answer);
		if (i != 1)
			assert_int_equal(ntlm_verify_known_key(&ask, is_v1, key, &answer), VERDICT_INVALID);
		answer_fini(&answer);
		rig_fini(&talk);
	}
}

static void the_list_of_mechanisms_is_protected(void **state)
{
	static const uint32_t without[] = {0, FLAG_KEY_EXCHANGE, FLAG_128, FLAG_128 | FLAG_KEY_EXCHANGE};
	const struct ntlm_client client = {.user = SPAN("alice"), .password = SPAN("secret"), .mic = true};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(without); i++) {
		uint8_t mic[16], ours[16];
		struct rig_talk talk;
		struct answer answer;
		uint32_t flags;
		struct ask ask;

		assert_true(rig_begin(&talk, without[i]) && rig_end(&talk, &client));
		ask = rig_ask(&talk);
		flags = ntlm_flags(ask.authenticate);
		assert_int_equal(flags & without[i], 0);
		ask.mech_types = SPAN("any bytes");
		ask.require_mech_list_mic = true;
		assert_true(ntlm_list_mic(flags, talk.key, true, ask.mech_types, mic) &&
		            ntlm_list_mic(flags, talk.key, false, ask.mech_types, ours));
		assert_memory_not_equal(mic, ours, sizeof(mic));
		assert_refused("no MIC", &ask, client.password,
		               "the list of mechanisms has no MIC, and NTLM was not the client's first choice");
		ask.mech_list_mic = span_of(mic, sizeof(mic));
		assert_int_equal(verify(&ask, client.password, &answer), VERDICT_VALID);
		assert_true(span_equal(buf_span(&answer.token), span_of(ours, sizeof(ours))));
		answer_fini(&answer);
		for (size_t at = 0; at < sizeof(mic); at++) {
			mic[at] ^= 0x80;
			assert_refused("a changed MIC", &ask, client.password, "the MIC of the list of mechanisms is wrong");
			mic[at] ^= 0x80;
		}
		ask.mech_list_mic = span_of(mic, 15);
		assert_refused("a short MIC", &ask, client.password, "the MIC of the list of mechanisms is wrong");
		ask.mech_list_mic = span_of(mic, sizeof(mic));
		ask.mech_types = SPAN("any byteS");
		assert_refused("another list", &ask, client.password, "the MIC of the list of mechanisms is wrong");
		ask.mech_types = SPAN("");
		assert_refused("no list", &ask, client.password, "there is a MIC of a list of mechanisms, and no list");
		ask.mech_list_mic = span_of(ours, sizeof(ours));
		ask.mech_types = SPAN("any bytes");
		assert_refused("ours sent back", &ask, client.password, "the MIC of the list of mechanisms is wrong");
		rig_fini(&talk);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_are_those_of_the_specification),
		cmocka_unit_test(hashes_of_long_and_wide_passwords),
		cmocka_unit_test(capitals_are_made_both_ways),
		cmocka_unit_test(messages_of_the_specification),
		cmocka_unit_test(keys_of_the_specification),
		cmocka_unit_test(the_second_message_is_what_clients_take),
		cmocka_unit_test(names_that_are_too_long_are_told),
		cmocka_unit_test(first_messages),
		cmocka_unit_test(names_are_read_as_text),
		cmocka_unit_test(our_client_is_taken),
		cmocka_unit_test(a_domain_may_be_missing_in_the_response),
		cmocka_unit_test(v1_with_the_flag_of_the_other_is_v1),
		cmocka_unit_test(a_key_from_an_authority_will_do),
		cmocka_unit_test(the_list_of_mechanisms_is_protected),
	};

	return cmocka_run_group_tests(tests, init, fini);
}
