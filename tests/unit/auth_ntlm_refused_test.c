/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of NTLM that are refused, each with its own reason. Every row is one change of a talk that is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ntlm_rig.h"

/* Where the fields of a third message are. */
enum { FIELD_LM = 12, FIELD_NT = 20, FIELD_DOMAIN = 28, FIELD_USER = 36, FIELD_WORKSTATION = 44, FIELD_KEY = 52,
       AT_FLAGS = 60 };

static uint8_t hash[NTLM_HASH_BYTES];

static int init(void **state)
{
	const char *why = "";

	(void)state;
	return !ntlm_init(&why) || !ntlm_hash(SPAN("secret"), hash);
}

static void put(struct buf *message, size_t at, uint32_t value, size_t bytes)
{
	assert_true(at + bytes <= buf_len(message));
	for (size_t i = 0; i < bytes; i++)
		message->at[message->start + at + i] = (uint8_t)(value >> (8 * i));
}

static uint32_t third_flags(const struct rig_talk *talk)
{
	return ntlm_flags(buf_span(&talk->authenticate));
}

/* Where the NTLMv2 blob of a third message begins, and the value of a pair in it. */
static size_t blob_at(const struct rig_talk *talk)
{
	return ntlm_u32(buf_span(&talk->authenticate).at + FIELD_NT + 4) + PROOF_BYTES;
}

static size_t pair_at(const struct rig_talk *talk, enum ntlm_av id)
{
	struct span whole = buf_span(&talk->authenticate);
	struct ntlm_avs avs;

	assert_true(ntlm_parse_avs(span_skip(whole, blob_at(talk) + BLOB_HEAD_BYTES), &avs));
	assert_non_null(avs.values[id].at);
	return (size_t)(avs.values[id].at - whole.at);
}

/* ---- the changes ---- */

typedef void change(struct rig_talk *talk, struct ask *ask);

static void first_is_none(struct rig_talk *talk, struct ask *ask)
{
	(void)talk;
	ask->negotiate = SPAN("");
}

static void first_is_third(struct rig_talk *talk, struct ask *ask)
{
	ask->negotiate = buf_span(&talk->authenticate);
}

static void first_is_long(struct rig_talk *talk, struct ask *ask)
{
	while (buf_len(&talk->negotiate) <= ASK_NTLM_MAX_BYTES)
		buf_add_byte(&talk->negotiate, 0);
	ask->negotiate = buf_span(&talk->negotiate);
}

static void second_is_first(struct rig_talk *talk, struct ask *ask)
{
	ask->challenge = buf_span(&talk->negotiate);
}

static void second_is_cut(struct rig_talk *talk, struct ask *ask)
{
	(void)talk;
	ask->challenge.len -= 4;
}

static void second_has_no_time(struct rig_talk *talk, struct ask *ask)
{
	put(&talk->challenge, ask->challenge.len - 16, 99, 2);
}

static void second_has_no_list(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->challenge, 40, 0, 2);
}

static void third_is_first(struct rig_talk *talk, struct ask *ask)
{
	ask->authenticate = buf_span(&talk->negotiate);
}

static void third_is_short(struct rig_talk *talk, struct ask *ask)
{
	(void)talk;
	ask->authenticate.len = 63;
}

static void third_is_long(struct rig_talk *talk, struct ask *ask)
{
	while (buf_len(&talk->authenticate) <= ASK_NTLM_MAX_BYTES)
		buf_add_byte(&talk->authenticate, 0);
	ask->authenticate = buf_span(&talk->authenticate);
}

#define OUTSIDE(name, field) \
	static void name##_is_outside(struct rig_talk *talk, struct ask *ask) \
	{ \
		put(&talk->authenticate, field, 2, 2); \
		put(&talk->authenticate, field + 4, (uint32_t)ask->authenticate.len - 1, 4); \
	}
OUTSIDE(lm, FIELD_LM)
OUTSIDE(nt, FIELD_NT)
OUTSIDE(domain, FIELD_DOMAIN)
OUTSIDE(user, FIELD_USER)
OUTSIDE(workstation, FIELD_WORKSTATION)
OUTSIDE(key, FIELD_KEY)

static void offset_wraps(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, FIELD_USER + 4, 0xfffffff8, 4);
}

static void flag_anonymous(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, AT_FLAGS, third_flags(talk) | FLAG_ANONYMOUS, 4);
}

static void nobody(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, FIELD_USER, 0, 2);
	put(&talk->authenticate, FIELD_NT, 0, 2);
	put(&talk->authenticate, FIELD_LM, 1, 2);
}

static void no_user(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, FIELD_USER, 0, 2);
}

static void lm_alone(struct rig_talk *talk, struct ask *ask)
{
	ask->allow_v1 = true;
	put(&talk->authenticate, FIELD_NT, 0, 2);
}

static void no_response(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, FIELD_NT, 0, 2);
	put(&talk->authenticate, FIELD_LM, 0, 2);
}

static void response_of_24(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, FIELD_NT, 24, 2);
}

static void response_of_24_allowed(struct rig_talk *talk, struct ask *ask)
{
	ask->allow_v1 = true;
	put(&talk->authenticate, FIELD_NT, 24, 2);
}

static void v1_and_mic(struct rig_talk *talk, struct ask *ask)
{
	ask->allow_v1 = ask->require_mic = true;
	put(&talk->authenticate, FIELD_NT, 24, 2);
}

static void response_of_25(struct rig_talk *talk, struct ask *ask)
{
	ask->allow_v1 = true;
	put(&talk->authenticate, FIELD_NT, 25, 2);
}

static void response_without_list(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, FIELD_NT, PROOF_BYTES + BLOB_HEAD_BYTES, 2);
}

static void version_2(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, blob_at(talk), 2, 1);
}

static void list_without_end(struct rig_talk *talk, struct ask *ask)
{
	uint32_t len = ntlm_u16(ask->authenticate.at + FIELD_NT);

	put(&talk->authenticate, FIELD_NT, len - 8, 2);
}

static void pair_too_long(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, pair_at(talk, AV_NB_COMPUTER) - 2, 0xffff, 2);
}

static void pair_twice(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, pair_at(talk, AV_DNS_DOMAIN) - 4, AV_NB_DOMAIN, 2);
}

static void flags_of_two_bytes(struct rig_talk *talk, struct ask *ask)
{
	size_t at = pair_at(talk, AV_FLAGS);

	(void)ask;
	put(&talk->authenticate, at - 2, 0, 2);
	put(&talk->authenticate, at, 50, 2);
	put(&talk->authenticate, at + 2, 0, 2);
}

static void another_computer(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, pair_at(talk, AV_NB_COMPUTER), 'X', 1);
}

static void no_computer(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, pair_at(talk, AV_NB_COMPUTER) - 4, 50, 2);
}

static void another_domain(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, pair_at(talk, AV_NB_DOMAIN), 'X', 1);
}

static void no_domain(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, pair_at(talk, AV_NB_DOMAIN) - 4, 50, 2);
}

static void another_time_in_the_list(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, pair_at(talk, AV_TIMESTAMP), 1, 1);
}

static void no_time_in_the_list(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, pair_at(talk, AV_TIMESTAMP) - 4, 50, 2);
}

static void year_1601(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, blob_at(talk) + 8, 0, 4);
	put(&talk->authenticate, blob_at(talk) + 12, 0, 4);
}

static void put_time(struct rig_talk *talk, uint64_t filetime)
{
	put(&talk->authenticate, blob_at(talk) + 8, (uint32_t)filetime, 4);
	put(&talk->authenticate, blob_at(talk) + 12, (uint32_t)(filetime >> 32), 4);
}

static void clock_ahead(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put_time(talk, RIG_TIME + 10000 * (uint64_t)(RIG_SKEW_MS + 1));
}

static void clock_behind(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put_time(talk, RIG_TIME - 10000 * (uint64_t)(RIG_SKEW_MS + 1));
}

static void no_mic(struct rig_talk *talk, struct ask *ask)
{
	ask->require_mic = true;
	put(&talk->authenticate, pair_at(talk, AV_FLAGS), 0, 4);
}

static void short_key(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, FIELD_KEY, 15, 2);
}

static void no_key(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, FIELD_KEY, 0, 2);
}

static void wrong_mic(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, AT_MIC, 0, 4);
}

static void another_first(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->negotiate, 16, 1, 1);
}

static void another_key(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, ntlm_u32(buf_span(&talk->authenticate).at + FIELD_KEY + 4), 0, 4);
}

static void another_challenge(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->challenge, 24, 0, 1);
}

static void another_user(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, ntlm_u32(buf_span(&talk->authenticate).at + FIELD_USER + 4), 'b', 1);
}

static void user_in_half(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, FIELD_USER, 9, 2);
}

static void user_of_controls(struct rig_talk *talk, struct ask *ask)
{
	(void)ask;
	put(&talk->authenticate, ntlm_u32(buf_span(&talk->authenticate).at + FIELD_USER + 4), '\n', 1);
}

static void list_mic_of_old(struct rig_talk *talk, struct ask *ask)
{
	(void)talk;
	ask->mech_types = SPAN("list");
	ask->mech_list_mic = SPAN("0123456789abcdef");
}

#define NOT_OURS "the second message of NTLM is not one of ours"
#define OUTSIDE_WHY "the third message of NTLM has a field that points outside"
#define LIST_WHY "the list in the NTLMv2 response is malformed"
#define COMPUTER_WHY "the answer was made for another server: the computer's name is not ours"
#define DOMAIN_WHY "the answer was made for another server: the domain's name is not ours"
#define TIME_WHY "the answer was made for another second message: the time in its list is not ours"
#define SKEW_WHY "the time in the answer is not ours (authentication.ntlm.skew)"
#define MIC_WHY "there is no MIC (authentication.ntlm.require_mic)"
#define TEXT_WHY "a name in the third message of NTLM is no text"
#define KEY_WHY "the session key has not 16 bytes"

/* What needs no password: the form. */
static const struct refused {
	const char *name;
	change *change;
	const char *why;
} forms[] = {
	{"first is none", first_is_none, "this is no first message of NTLM"},
	{"first is third", first_is_third, "this is no first message of NTLM"},
	{"first is long", first_is_long, "the first message of NTLM is too long"},
	{"second is first", second_is_first, NOT_OURS},
	{"second is cut", second_is_cut, NOT_OURS},
	{"second has no time", second_has_no_time, NOT_OURS},
	{"second has no list", second_has_no_list, NOT_OURS},
	{"third is first", third_is_first, "this is no third message of NTLM"},
	{"third is short", third_is_short, "this is no third message of NTLM"},
	{"third is long", third_is_long, "the third message of NTLM is too long"},
	{"LM is outside", lm_is_outside, OUTSIDE_WHY},
	{"NT is outside", nt_is_outside, OUTSIDE_WHY},
	{"domain is outside", domain_is_outside, OUTSIDE_WHY},
	{"user is outside", user_is_outside, OUTSIDE_WHY},
	{"workstation is outside", workstation_is_outside, OUTSIDE_WHY},
	{"key is outside", key_is_outside, OUTSIDE_WHY},
	{"offset wraps", offset_wraps, OUTSIDE_WHY},
	{"flag anonymous", flag_anonymous, "the client is anonymous"},
	{"nobody", nobody, "the client is anonymous"},
	{"no user", no_user, "the user's name is empty"},
	{"LM alone", lm_alone, "the answer is LM alone, which is refused"},
	{"no response", no_response, "the answer has no response"},
	{"v1", response_of_24, "the answer is NTLMv1, which is refused (authentication.ntlm.allow_v1)"},
	{"v1 and a MIC", v1_and_mic, MIC_WHY},
	{"response of 25 bytes", response_of_25, "the NTLM response has a length that none has"},
	{"response without list", response_without_list, "the NTLMv2 response is too short, or of another version"},
	{"version 2", version_2, "the NTLMv2 response is too short, or of another version"},
	{"list without end", list_without_end, LIST_WHY},
	{"pair too long", pair_too_long, LIST_WHY},
	{"pair twice", pair_twice, LIST_WHY},
	{"flags of two bytes", flags_of_two_bytes, LIST_WHY},
	{"another computer", another_computer, COMPUTER_WHY},
	{"no computer", no_computer, COMPUTER_WHY},
	{"another domain", another_domain, DOMAIN_WHY},
	{"no domain", no_domain, DOMAIN_WHY},
	{"another time in the list", another_time_in_the_list, TIME_WHY},
	{"no time in the list", no_time_in_the_list, TIME_WHY},
	{"1601", year_1601, "the answer has no time"},
	{"clock ahead", clock_ahead, SKEW_WHY},
	{"clock behind", clock_behind, SKEW_WHY},
	{"no MIC", no_mic, MIC_WHY},
	{"short key", short_key, KEY_WHY},
	{"no key", no_key, KEY_WHY},
};

/* What comes out with the hash. */
static const struct refused proofs[] = {
	{"v1 that is wrong", response_of_24_allowed, "the password is wrong"},
	{"another challenge", another_challenge, "the password is wrong"},
	{"another user", another_user, "the password is wrong"},
	{"user in half", user_in_half, TEXT_WHY},
	{"user of controls", user_of_controls, TEXT_WHY},
	{"wrong MIC", wrong_mic, "the MIC is wrong"},
	{"another first message", another_first, "the MIC is wrong"},
	{"another key", another_key, "the MIC is wrong"},
};

static void begin(struct rig_talk *talk, struct ask *ask, bool mic, uint32_t without)
{
	const struct ntlm_client client = {.user = SPAN("alice"), .domain = SPAN("LAB"), .password = SPAN("secret"),
	                                   .workstation = SPAN("WS"), .mic = mic};
	struct answer answer;

	assert_true(rig_begin(talk, without) && rig_end(talk, &client));
	*ask = rig_ask(talk);
	answer_init(&answer);
	assert_int_equal(ntlm_verify_local(ask, hash, RIG_SKEW_MS, &answer), VERDICT_VALID);
	answer_fini(&answer);
}

static bool is_refused(const struct refused *row, const struct ask *ask)
{
	struct answer answer;
	bool well;

	answer_init(&answer);
	well = ntlm_verify_local(ask, hash, RIG_SKEW_MS, &answer) == VERDICT_INVALID &&
	       span_equal(buf_span(&answer.why), span_from(row->why));
	if (!well)
		print_message("%s: \"%.*s\"\n", row->name, SPAN_ARG(buf_span(&answer.why)));
	answer_fini(&answer);
	return well;
}

static void forms_are_refused(void **state)
{
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(forms); i++) {
		struct rig_talk talk;
		const char *why = "";
		struct ask ask;
		bool is_v1;

		begin(&talk, &ask, true, 0);
		forms[i].change(&talk, &ask);
		/* Before anybody is asked. */
		if (ntlm_check_form(&ask, RIG_SKEW_MS, &is_v1, &why) || strcmp(why, forms[i].why) != 0) {
			print_message("%s: \"%s\"\n", forms[i].name, why);
			wrong++;
		}
		wrong += !is_refused(&forms[i], &ask);
		rig_fini(&talk);
	}
	assert_int_equal(wrong, 0);
}

static void proofs_are_refused(void **state)
{
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(proofs); i++) {
		struct rig_talk talk;
		const char *why = "";
		struct ask ask;
		bool is_v1;

		begin(&talk, &ask, true, 0);
		proofs[i].change(&talk, &ask);
		if (!ntlm_check_form(&ask, RIG_SKEW_MS, &is_v1, &why)) {
			print_message("%s: \"%s\"\n", proofs[i].name, why);
			wrong++;
		}
		wrong += !is_refused(&proofs[i], &ask);
		rig_fini(&talk);
	}
	assert_int_equal(wrong, 0);
}

static void mics_of_old_are_refused(void **state)
{
	static const struct refused row = {"without extended session security", list_mic_of_old,
	    "the MIC of the list of mechanisms is one without extended session security"};
	struct rig_talk talk;
	struct ask ask;
	uint8_t mic[16];

	(void)state;
	begin(&talk, &ask, true, FLAG_EXTENDED);
	row.change(&talk, &ask);
	assert_true(is_refused(&row, &ask));
	assert_false(ntlm_list_mic(ntlm_flags(ask.authenticate), talk.key, true, ask.mech_types, mic));
	rig_fini(&talk);
}

/* A clock may be off by what is configured, and clients that write their own are taken. */
static void clocks_within_the_skew_are_taken(void **state)
{
	static const int64_t offsets_ms[] = {-RIG_SKEW_MS, -1, 1, RIG_SKEW_MS};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(offsets_ms); i++) {
		const struct ntlm_client client = {.user = SPAN("alice"), .password = SPAN("secret"), .mic = true,
		                                   .filetime = RIG_TIME + (uint64_t)(offsets_ms[i] * 10000)};
		struct rig_talk talk;
		struct answer answer;
		struct ask ask;

		assert_true(rig_begin(&talk, 0) && rig_end(&talk, &client));
		ask = rig_ask(&talk);
		answer_init(&answer);
		assert_int_equal(ntlm_verify_local(&ask, hash, RIG_SKEW_MS, &answer), VERDICT_VALID);
		answer_fini(&answer);
		rig_fini(&talk);
	}
}

/* A MIC that the client says is there, in a message that ends before it. */
static void a_mic_without_room_is_refused(void **state)
{
	struct ntlm_authenticate authenticate;
	struct rig_talk talk;
	const char *why = "";
	struct ask ask;

	(void)state;
	begin(&talk, &ask, true, 0);
	assert_true(ntlm_parse_authenticate(ask.authenticate, &authenticate, &why));
	ask.authenticate.len = MIC_END - 1;
	assert_false(ntlm_check_mic(&ask, &authenticate, talk.key, &why));
	assert_string_equal(why, "there is no room for the MIC that is said to be there");
	rig_fini(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms_are_refused),
		cmocka_unit_test(proofs_are_refused),
		cmocka_unit_test(mics_of_old_are_refused),
		cmocka_unit_test(clocks_within_the_skew_are_taken),
		cmocka_unit_test(a_mic_without_room_is_refused),
	};

	return cmocka_run_group_tests(tests, init, NULL);
}
