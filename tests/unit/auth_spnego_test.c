/* SPDX-License-Identifier: Apache-2.0 */
/* SPNEGO: tokens of a real client (MIT's GSSAPI, through curl), of Windows' shape, what we write read again, and every
 * token cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/scheme/spnego.h"
#include "ntlm_rig.h"

static const char *const init_krb5 =
	"608202eb06062b0601050502a08202df308202dba019301706092a864886f712010202060a2b06010401823702020aa28202"
	"bc048202b8608202b406092a864886f71201020201006e8202a33082029fa003020105a10302010ea20703050020000000a3"
	"8201b8618201b4308201b0a003020105a10c1b0a50524f58592e54455354a21c301aa003020103a11330111b04485454501b"
	"096c6f63616c686f7374a382017b30820177a003020112a103020102a28201690482016503ed23ea94fc951bf0dbdc00ae93"
	"3d95616c9bb16cae505bc84363aa963597ced1e17c8875d4852c9b4aa5b8850fd196b83489768cfcbd6b3dafe170eb5071fd"
	"f9bdb619000a53e7aa03dbf4d7fda733a633a256117550e6b3bd61efbf7d3f97ff496464329edcebb4ffa63fc2fa3f15de84"
	"ec33d3fbda665e13f8acac184b4843288510a4a18a8844ef0faf921b60bbcdcb01d659feb6e4480636c9da2f630e6f416c21"
	"bb9c13ddd02b8987e782f3d9b238595063a9cac177c0055571d1b9fa1927ac2c4e4f1bedbcc4505b228927a172767ff4f0b6"
	"7d54b66f907ebd60629e8054d260f9a95f654d149cc8859649e1c16badf61055e93cd1412eb24d8f0a4631608a0ab6cebea4"
	"cbc3686f8f786355464279ba8a24d32ae1ef9789ac3146573223953a8909ea160d0852833c8d63db010876411dc8e8aa3416"
	"c12f1055418db6cdfe2f68307e5ab8b50803b5b2fa0e34f7c0d67144eb513391107c2c9ec7522a502753dca481cd3081caa0"
	"03020112a281c20481bf88d2056a6d16b27313b0f6eb772d15f66efc80091fab26310468efccf59a5fcc99e4d1c7cf0acd85"
	"ca21dd95da123206297e30fa43ea47e1dd90c85abbcb5d46e6217567c80e24771df490d14421bc4b979afc1fc142eb32b6d1"
	"ec95b6b029929675de27447b23beee7ed0d44da2ad5be84718bef80716d94356f945acca31f3c9f503038311cad0178c7120"
	"a20af4833ad0356ac3e0120dc16919cc877a99d4020e87a35cd12c2065f21c9b142b3929ca2870bb9ef506151ee1dc774ef6"
	"cf";
static const char *const init_ntlm =
	"604806062b0601050502a03e303ca00e300c060a2b06010401823702020aa22a04284e544c4d5353500001000000178208e2"
	"00000000000000000000000000000000060200000000000f";
static const char *const response_mic =
	"a182015530820151a0030a0101a2820134048201304e544c4d53535000030000000000000058000000b400b4005800000006"
	"0006000c0100000a000a0012010000040004001c0100001000100020010000158289e2060200000000000f66d9ade6d36643"
	"04c3a286c60953d225891ffdaaa2a9691f8b85b049842760e10101000000000000c0428c7bab7edd01e056290f8d2eb9bd00"
	"00000001000a00500052004f0058005900020006004c004100420003001c00700072006f00780079002e006c00610062002e"
	"007400650073007400040010006c00610062002e007400650073007400060004000200000007000800c0428c7bab7edd0109"
	"001c0048005400540050002f006c006f00630061006c0068006f007300740000000000000000004c004100420061006c0069"
	"006300650056004d00f3b42d0486a6968626a9f06ec06f0bdfa312041001000000363b861f7e50937a00000000";
static const char *const response_first =
	"a1333031a0030a0101a22a04284e544c4d5353500001000000178208e2000000000000000000000000000000000602000000"
	"00000f";
/* As Windows lists them: NEGOEX first, with its token; then both Kerberos and NTLM. */
static const char *const init_windows =
	"604e 06062b0601050502 a044 3042 a030 302e 060a2b06010401823702021e 06092a864882f712010202 06092a864886f712010202"
	"060a2b06010401823702020a a20e 040c 4e45474f455854530000 0000";

static struct buf parts[4];

static int fini(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		buf_fini(&parts[i]);
	return 0;
}

static void first_tokens_of_clients(void **state)
{
	static const struct {
		const char *const *token, *mech_types;
		enum spnego_mech first;
		bool has_krb5, has_ntlm, is_ntlm;
	} rows[] = {
		{&init_krb5, "301706092a864886f712010202060a2b06010401823702020a", SPNEGO_KRB5, true, true, false},
		{&init_ntlm, "300c060a2b06010401823702020a", SPNEGO_NTLM, false, true, true},
		{&init_windows, "302e060a2b06010401823702021e06092a864882f71201020206092a864886f712010202060a2b06010401823702020a",
		 SPNEGO_NEGOEX, true, true, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct span token = rig_bytes(*rows[i].token, &parts[0]);
		struct spnego_init init;
		const char *why = "";

		assert_int_equal(spnego_kind(token), SPNEGO_KIND_INIT);
		if (!spnego_parse_init(token, &init, &why))
			fail_msg("row %zu: %s", i, why);
		assert_true(span_equal(init.mech_types, rig_bytes(rows[i].mech_types, &parts[1])));
		assert_int_equal(init.first, rows[i].first);
		assert_true(init.has_krb5 == rows[i].has_krb5 && init.has_ntlm == rows[i].has_ntlm);
		assert_true((ntlm_type(init.token) == NTLM_NEGOTIATE) == rows[i].is_ntlm);
		assert_true(init.token.len > 0);
		assert_int_equal(init.mech_list_mic.len, 0);
	}
}

static void answers_of_clients(void **state)
{
	struct spnego_response response;
	const char *why = "";

	(void)state;
	assert_int_equal(spnego_kind(rig_bytes(response_first, &parts[0])), SPNEGO_KIND_RESPONSE);
	assert_true(spnego_parse_response(buf_span(&parts[0]), &response, &why));
	assert_true(response.has_state && response.state == SPNEGO_ACCEPT_INCOMPLETE && response.mech == SPNEGO_OTHER);
	assert_int_equal(ntlm_type(response.token), NTLM_NEGOTIATE);
	assert_int_equal(response.mech_list_mic.len, 0);
	assert_true(spnego_parse_response(rig_bytes(response_mic, &parts[0]), &response, &why));
	assert_int_equal(ntlm_type(response.token), NTLM_AUTHENTICATE);
	assert_int_equal(response.mech_list_mic.len, NTLM_MIC_BYTES);
	/* As Windows sends it: without a state. */
	assert_true(spnego_parse_response(rig_bytes("a10a 3008 a206 0404 4e544c4d", &parts[0]), &response, &why));
	assert_false(response.has_state);
	assert_true(span_equal(response.token, SPAN("NTLM")));
}

static void kinds_are_told_apart(void **state)
{
	static const struct {
		const char *bytes;
		enum spnego_kind kind;
	} rows[] = {
		{"4e544c4d53535000 01000000 06820800", SPNEGO_KIND_RAW_NTLM},
		{"600d 06092a864886f712010202 0100", SPNEGO_KIND_RAW_KRB5},
		{"600d 06092a864882f712010202 0100", SPNEGO_KIND_RAW_KRB5},
		{"600c 060a2b06010401823702020a", SPNEGO_KIND_INVALID}, /* NTLM has no such frame */
		{"6008 06062b0601050502", SPNEGO_KIND_INIT},
		{"a100", SPNEGO_KIND_RESPONSE},
		{"a000", SPNEGO_KIND_INVALID},
		{"4e544c4d53535000 04000000 06820800", SPNEGO_KIND_INVALID},
		{"4e544c4d535350", SPNEGO_KIND_INVALID},
		{"6080 06062b0601050502 0000", SPNEGO_KIND_INVALID},
		{"6009 06062b0601050502", SPNEGO_KIND_INVALID},
		{"60", SPNEGO_KIND_INVALID},
		{"", SPNEGO_KIND_INVALID},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (spnego_kind(rig_bytes(rows[i].bytes, &parts[0])) != rows[i].kind)
			fail_msg("row %zu: %s", i, rows[i].bytes);
}

#define NTLM_OID "060a2b06010401823702020a"
#define SPNEGO_OID "06062b0601050502"

static void first_tokens_are_read_strictly(void **state)
{
	static const struct {
		const char *name, *bytes;
		bool is_taken;
		const char *mic; /* NULL: none */
	} rows[] = {
		{"lengths that do not fit", "601a " SPNEGO_OID "a010 300e a00e 300c " NTLM_OID, false, NULL},
		{"the list alone", "601c " SPNEGO_OID "a012 3010 a00e 300c " NTLM_OID, true, NULL},
		{"with flags", "6022 " SPNEGO_OID "a018 3016 a00e 300c " NTLM_OID "a104 03020640", true, NULL},
		{"with a token", "6022 " SPNEGO_OID "a018 3016 a00e 300c " NTLM_OID "a204 04024142", true, NULL},
		{"with a MIC", "6022 " SPNEGO_OID "a018 3016 a00e 300c " NTLM_OID "a304 04024142", true, "AB"},
		{"with negHints", "6022 " SPNEGO_OID "a018 3016 a00e 300c " NTLM_OID "a304 3002a000", true, NULL},
		{"with negHints and a MIC",
		 "6028 " SPNEGO_OID "a01e 301c a00e 300c " NTLM_OID "a304 3002a000 a404 04024142", true, "AB"},
		{"long lengths", "60820022 " SPNEGO_OID "a08118 308116 a00e 300c " NTLM_OID "a204 04024142", false, NULL},
		{"long lengths that fit", "60820024 " SPNEGO_OID "a08119 308116 a00e 300c " NTLM_OID "a204 04024142", true, NULL},
		{"no length of its own", "6080 " SPNEGO_OID "a012 3010 a00e 300c " NTLM_OID "0000", false, NULL},
		{"length of four bytes", "60840000001c " SPNEGO_OID "a012 3010 a00e 300c " NTLM_OID, false, NULL},
		{"bytes behind it", "601c " SPNEGO_OID "a012 3010 a00e 300c " NTLM_OID "00", false, NULL},
		{"bytes behind the choice", "601d " SPNEGO_OID "a012 3010 a00e 300c " NTLM_OID "00", false, NULL},
		{"bytes behind the sequence", "601e " SPNEGO_OID "a014 3010 a00e 300c " NTLM_OID "0500", false, NULL},
		{"bytes behind the list", "601e " SPNEGO_OID "a014 3012 a010 300c " NTLM_OID "0500", false, NULL},
		{"an unknown part", "6022 " SPNEGO_OID "a018 3016 a00e 300c " NTLM_OID "a504 04024142", false, NULL},
		{"parts out of order", "6028 " SPNEGO_OID "a01e 301c a00e 300c " NTLM_OID "a304 04024142 a204 04024142", false, NULL},
		{"a token of another type", "6022 " SPNEGO_OID "a018 3016 a00e 300c " NTLM_OID "a204 0c024142", false, NULL},
		{"a token of two strings", "6024 " SPNEGO_OID "a01a 3018 a00e 300c " NTLM_OID "a206 040141 040142", false, NULL},
		{"a list of nothing", "6010 " SPNEGO_OID "a006 3004 a002 3000", false, NULL},
		{"a list of numbers", "6013 " SPNEGO_OID "a009 3007 a005 3003 020101", false, NULL},
		{"no list", "600c " SPNEGO_OID "a002 3000", false, NULL},
		{"another frame", "601c 06062b0601050503 a012 3010 a00e 300c " NTLM_OID, false, NULL},
		{"a response", "a112 3010 a00e 300c " NTLM_OID, false, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct spnego_init init;
		const char *why = "";

		if (spnego_parse_init(rig_bytes(rows[i].bytes, &parts[0]), &init, &why) != rows[i].is_taken)
			fail_msg("%s", rows[i].name);
		if (rows[i].is_taken && !span_equal(init.mech_list_mic, span_from(rows[i].mic)))
			fail_msg("%s: another MIC", rows[i].name);
		if (!rows[i].is_taken)
			assert_string_equal(why, "the first token of SPNEGO is malformed");
	}
}

static void answers_are_read_strictly(void **state)
{
	static const struct {
		const char *name, *bytes;
		bool is_taken;
	} rows[] = {
		{"nothing in it", "a102 3000", true},
		{"a state", "a107 3005 a003 0a0100", true},
		{"a state of none", "a107 3005 a003 0a0104", false},
		{"a state of two bytes", "a108 3006 a004 0a020000", false},
		{"a state of no byte", "a106 3004 a002 0a00", false},
		{"two states", "a10a 3008 a006 0a0100 0a0100", false},
		{"a mechanism", "a110 300e a10c " NTLM_OID, true},
		{"a mechanism that is a number", "a107 3005 a103 020101", false},
		{"bytes behind the mechanism", "a112 3010 a10e " NTLM_OID "0500", false},
		{"bytes behind it", "a102 3000 00", false},
		{"bytes behind the sequence", "a104 3000 0500", false},
		{"an unknown part", "a108 3006 a404 04024142", false},
		{"no sequence", "a100", false},
		{"an init", "601c " SPNEGO_OID "a012 3010 a00e 300c " NTLM_OID, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct spnego_response response;
		const char *why = "";

		if (spnego_parse_response(rig_bytes(rows[i].bytes, &parts[0]), &response, &why) != rows[i].is_taken)
			fail_msg("%s", rows[i].name);
		if (!rows[i].is_taken)
			assert_string_equal(why, "a token of SPNEGO is malformed");
	}
}

static void lists_have_a_bound(void **state)
{
	enum spnego_mech mechs[SPNEGO_MECHS_MAX + 1];

	(void)state;
	for (size_t count = SPNEGO_MECHS_MAX; count <= SPNEGO_MECHS_MAX + 1; count++) {
		struct spnego_init init;
		struct buf out;
		const char *why;

		for (size_t i = 0; i < count; i++)
			mechs[i] = SPNEGO_NTLM;
		buf_init(&out, RIG_MAX_BYTES);
		spnego_write_init(mechs, count, SPAN(""), &out);
		assert_true(buf_is_whole(&out));
		assert_true(spnego_parse_init(buf_span(&out), &init, &why) == (count <= SPNEGO_MECHS_MAX));
		buf_fini(&out);
	}
}

/* Across all lengths of a length. */
static void what_is_written_is_read(void **state)
{
	static const size_t sizes[] = {0, 1, 40, 100, 110, 120, 127, 128, 200, 240, 255, 256, 8000, 60000};
	static const enum spnego_mech mechs[] = {SPNEGO_NEGOEX, SPNEGO_KRB5, SPNEGO_NTLM};
	uint8_t *bytes = calloc(1, 70000);

	(void)state;
	assert_non_null(bytes);
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct span token = span_of(bytes, sizes[i]);
		struct spnego_reply reply = {SPNEGO_REQUEST_MIC, SPNEGO_NTLM, token, span_of(bytes, sizes[i] % 200)};
		struct spnego_response response;
		struct buf out, types;
		struct spnego_init init;
		const char *why;

		buf_init(&out, 1 << 17);
		buf_init(&types, 1000);
		spnego_write_response(&reply, &out);
		assert_true(buf_is_whole(&out) && spnego_parse_response(buf_span(&out), &response, &why));
		assert_true(response.has_state && response.state == reply.state && response.mech == reply.mech);
		assert_true(span_equal(response.token, token) && span_equal(response.mech_list_mic, reply.mech_list_mic));
		buf_reset(&out);
		spnego_write_init(mechs, COUNT_OF(mechs), token, &out);
		spnego_write_mech_types(mechs, COUNT_OF(mechs), &types);
		assert_true(buf_is_whole(&out) && spnego_parse_init(buf_span(&out), &init, &why));
		assert_true(init.first == SPNEGO_NEGOEX && init.has_krb5 && init.has_ntlm);
		assert_true(span_equal(init.token, token) && span_equal(init.mech_types, buf_span(&types)));
		buf_fini(&types);
		buf_fini(&out);
	}
	free(bytes);
}

static void what_does_not_fit_is_told(void **state)
{
	uint8_t *bytes = calloc(1, 70000);
	struct spnego_reply reply = {.token = span_of(bytes, 70000)};
	static const enum spnego_mech mechs[] = {SPNEGO_NTLM};
	struct buf out;

	(void)state;
	assert_non_null(bytes);
	buf_init(&out, 1 << 17);
	spnego_write_response(&reply, &out);
	assert_false(buf_is_whole(&out));
	buf_reset(&out);
	spnego_write_init(mechs, 1, reply.token, &out);
	assert_false(buf_is_whole(&out));
	buf_fini(&out);
	free(bytes);
}

/* What we answer, to the byte: MIT and Windows took it. */
static void answers_to_the_byte(void **state)
{
	struct spnego_reply choice = {.state = SPNEGO_REQUEST_MIC, .mech = SPNEGO_NTLM},
	                    end = {.state = SPNEGO_ACCEPT_COMPLETED, .mech_list_mic = SPAN("0123")};
	struct buf out;

	(void)state;
	buf_init(&out, 1000);
	spnego_write_response(&choice, &out);
	assert_true(span_equal(buf_span(&out), rig_bytes("a115 3013 a003 0a0103 a10c " NTLM_OID, &parts[0])));
	buf_reset(&out);
	spnego_write_response(&end, &out);
	assert_true(span_equal(buf_span(&out), rig_bytes("a10f 300d a003 0a0100 a306 0404 30313233", &parts[0])));
	buf_fini(&out);
}

/* Each in an allocation of just its size, so that a read behind it is seen. */
static void cut_anywhere_it_is_refused(void **state)
{
	static const char *const *const tokens[] = {&init_krb5, &init_ntlm, &init_windows, &response_first, &response_mic};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(tokens); i++) {
		struct span whole = rig_bytes(*tokens[i], &parts[0]);

		for (size_t len = 0; len < whole.len; len++) {
			uint8_t *copy = malloc(len ? len : 1);
			struct spnego_response response;
			struct spnego_init init;
			const char *why;

			assert_non_null(copy);
			memcpy(copy, whole.at, len);
			assert_false(spnego_parse_init(span_of(copy, len), &init, &why));
			assert_false(spnego_parse_response(span_of(copy, len), &response, &why));
			assert_int_not_equal(spnego_kind(span_of(copy, len)), SPNEGO_KIND_INIT);
			free(copy);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_tokens_of_clients),
		cmocka_unit_test(answers_of_clients),
		cmocka_unit_test(kinds_are_told_apart),
		cmocka_unit_test(first_tokens_are_read_strictly),
		cmocka_unit_test(answers_are_read_strictly),
		cmocka_unit_test(lists_have_a_bound),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(what_does_not_fit_is_told),
		cmocka_unit_test(answers_to_the_byte),
		cmocka_unit_test(cut_anywhere_it_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, fini);
}
