/* SPDX-License-Identifier: Apache-2.0 */
/* What real clients sent is taken; cut short, changed in a byte, or with another password it is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ntlm_clients.h"
#include "ntlm_rig.h"

static uint8_t hash[NTLM_HASH_BYTES];
static struct buf parts[6];

static int init(void **state)
{
	const char *why = "";

	(void)state;
	if (ntlm_init(&why))
		return !ntlm_hash(SPAN("pw"), hash);
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

static struct ask ask_of(const struct ntlm_recording *one)
{
	return (struct ask){.kind = ASK_NTLM,
	                    .negotiate = rig_bytes(one->negotiate, &parts[0]),
	                    .challenge = rig_bytes(one->challenge, &parts[1]),
	                    .authenticate = rig_bytes(one->authenticate, &parts[2]),
	                    .mech_types = rig_bytes(one->mech_types, &parts[3]),
	                    .mech_list_mic = rig_bytes(one->mech_list_mic, &parts[4]),
	                    .allow_v1 = one->is_v1};
}

/* "" where it is valid, else why not; one of the constants, so that it may outlive the answer. */
static bool verify(const struct ask *ask, struct buf *why, struct answer *answer)
{
	bool well;

	answer_init(answer);
	well = ntlm_verify_local(ask, hash, RIG_SKEW_MS, answer) == VERDICT_VALID;
	buf_init(why, 1024);
	buf_add(why, buf_span(&answer->why));
	assert_true(well == (buf_len(why) == 0) && well == (answer->verdict == VERDICT_VALID));
	return well;
}

static bool is_refused(const struct ask *ask, const char *expected)
{
	struct answer answer;
	struct buf why;
	bool well = !verify(ask, &why, &answer) && answer.mechanism == AUTH_MECHANISM_NONE && buf_len(&answer.token) == 0 &&
	            (expected == NULL || span_equal(buf_span(&why), span_from(expected)));

	if (!well)
		print_message("not \"%s\" but \"%.*s\"\n", expected ? expected : "refused", SPAN_ARG(buf_span(&why)));
	answer_fini(&answer);
	buf_fini(&why);
	return well;
}

static void what_they_send_is_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(ntlm_recordings); i++) {
		const struct ntlm_recording *one = &ntlm_recordings[i];
		struct ask ask = ask_of(one);
		struct buf domain, user, workstation, why;
		struct answer answer;
		const char *text;

		if (!verify(&ask, &why, &answer))
			fail_msg("%s: %.*s", one->name, SPAN_ARG(buf_span(&why)));
		assert_int_equal(answer.mechanism, one->is_v1 ? AUTH_MECHANISM_NTLM_V1 : AUTH_MECHANISM_NTLM);
		assert_true(span_equal(buf_span(&answer.token), rig_bytes(one->answer, &parts[5])));
		buf_init(&domain, 100);
		buf_init(&user, 100);
		buf_init(&workstation, 100);
		assert_true(ntlm_who(ask.authenticate, &domain, &user, &workstation, &text));
		assert_true(span_equal(buf_span(&domain), SPAN("LAB")));
		assert_true(span_equal(buf_span(&user), span_from(one->user)));
		assert_true(buf_len(&workstation) > 0);
		buf_fini(&domain);
		buf_fini(&user);
		buf_fini(&workstation);
		buf_fini(&why);
		answer_fini(&answer);
	}
}

static void another_password_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(ntlm_recordings); i++) {
		struct ask ask = ask_of(&ntlm_recordings[i]);
		bool well;

		hash[7] ^= 1;
		well = is_refused(&ask, "the password is wrong");
		hash[7] ^= 1;
		assert_true(well);
	}
}

static void rules_of_an_administrator_hold(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(ntlm_recordings); i++) {
		const struct ntlm_recording *one = &ntlm_recordings[i];
		struct ask ask = ask_of(one);
		struct answer answer;
		struct buf why;

		ask.require_mic = true;
		if (one->has_mic) {
			assert_true(verify(&ask, &why, &answer));
			answer_fini(&answer);
			buf_fini(&why);
		} else {
			assert_true(is_refused(&ask, "there is no MIC (authentication.ntlm.require_mic)"));
		}
		ask = ask_of(one);
		ask.allow_v1 = false;
		if (one->is_v1)
			assert_true(is_refused(
			    &ask, "the answer is NTLMv1, which is refused (authentication.ntlm.allow_v1)"));
		ask = ask_of(one);
		ask.mech_list_mic = SPAN("");
		ask.require_mech_list_mic = true;
		assert_true(is_refused(
		    &ask, "the list of mechanisms has no MIC, and NTLM was not the client's first choice"));
	}
}

/* A MIC is over every bit of the three messages. */
static void a_mic_covers_every_byte(void **state)
{
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(ntlm_recordings); i++) {
		if (!ntlm_recordings[i].has_mic)
			continue;
		for (size_t part = 0; part < 3; part++) {
			struct ask ask = ask_of(&ntlm_recordings[i]);

			for (size_t at = 0; at < buf_len(&parts[part]); at++) {
				parts[part].at[at] ^= 0x10;
				if (!is_refused(&ask, NULL))
					fail_msg("%s: byte %zu of message %zu", ntlm_recordings[i].name, at, part + 1);
				parts[part].at[at] ^= 0x10;
				count++;
			}
		}
	}
	assert_true(count > 2000);
}

static void a_response_covers_its_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(ntlm_recordings); i++) {
		struct ask ask = ask_of(&ntlm_recordings[i]);
		size_t len = ntlm_u16(ask.authenticate.at + 20), offset = ntlm_u32(ask.authenticate.at + 24);

		for (size_t at = offset; at < offset + len; at++) {
			parts[2].at[at] ^= 0x01;
			if (!is_refused(&ask, NULL))
				fail_msg("%s: byte %zu", ntlm_recordings[i].name, at);
			parts[2].at[at] ^= 0x01;
		}
	}
}

/* Cut anywhere, in an allocation of just that size, so that a read behind it is seen. */
static void cut_short_it_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(ntlm_recordings); i++) {
		struct ask ask = ask_of(&ntlm_recordings[i]), cut;

		for (size_t part = 0; part < 3; part++) {
			struct span whole = buf_span(&parts[part]);

			for (size_t len = 0; len < whole.len; len++) {
				uint8_t *copy = malloc(len ? len : 1);
				struct span piece = span_of(copy, len);
				struct answer answer;
				struct buf why;

				assert_non_null(copy);
				memcpy(copy, whole.at, len);
				cut = ask;
				*(part == 0 ? &cut.negotiate : part == 1 ? &cut.challenge : &cut.authenticate) = piece;
				/* Without a MIC nothing says how long the first was; its names are not read. */
				if (verify(&cut, &why, &answer) &&
				    (part != 0 || ntlm_recordings[i].has_mic || len < 16))
					fail_msg("%s: message %zu of %zu bytes", ntlm_recordings[i].name, part + 1, len);
				answer_fini(&answer);
				buf_fini(&why);
				free(copy);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_they_send_is_taken),
		cmocka_unit_test(another_password_is_refused),
		cmocka_unit_test(rules_of_an_administrator_hold),
		cmocka_unit_test(a_mic_covers_every_byte),
		cmocka_unit_test(a_response_covers_its_bytes),
		cmocka_unit_test(cut_short_it_is_refused),
	};

	return cmocka_run_group_tests(tests, init, fini);
}
