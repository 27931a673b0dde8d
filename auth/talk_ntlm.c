/* SPDX-License-Identifier: Apache-2.0 */
/* NTLM (MS-NTHT): three messages on one connection. The first two lie here; the verifier gets all three. */
#include "auth/talk.h"
#include "base/secret.h"

enum { FILETIME_PER_MS = 10000, CHALLENGE_BYTES = 8 };
#define FILETIME_OF_1970 UINT64_C(116444736000000000)

bool talk_ntlm_challenge(struct talk *talk, const struct auth_try *one, struct span negotiate,
                         struct auth_outcome *outcome)
{
	const struct auth *auth = talk->auth;
	struct ntlm_names names = {buf_span(&auth->names[0]), buf_span(&auth->names[1]), buf_span(&auth->names[2]),
	                           buf_span(&auth->names[3])};
	struct ntlm_negotiate parsed;
	uint8_t challenge[CHALLENGE_BYTES];
	const char *why;

	if (!ntlm_parse_negotiate(negotiate, &parsed, &why)) {
		*outcome = talk_refuse(talk, one, why);
		return false;
	}
	if (!auth->has_names) {
		*outcome = talk_unavailable(talk, buf_len(&auth->no_names) ? buf_span(&auth->no_names)
		                                                          : SPAN("the verifier does not run yet"));
		return false;
	}
	secret_random(challenge, sizeof(challenge));
	buf_reset(&talk->negotiate);
	buf_reset(&talk->challenge);
	buf_add(&talk->negotiate, negotiate);
	ntlm_write_challenge(&parsed, challenge, &names, FILETIME_OF_1970 + one->wall_ms * FILETIME_PER_MS,
	                     &talk->challenge);
	talk->challenged_ms = one->now_ms;
	return true;
}

bool talk_ntlm_ask(struct talk *talk, const struct auth_try *one, struct span authenticate, struct ask *ask,
                   struct auth_outcome *outcome)
{
	const char *why = NULL;

	if (buf_len(&talk->challenge) == 0)
		why = "the third message of NTLM came without its second on this connection";
	else if (one->now_ms - talk->challenged_ms > TALK_CHALLENGE_MS)
		why = "the third message of NTLM came more than a minute after its second";
	if (why) {
		*outcome = talk_refuse(talk, one, why);
		return false;
	}
	*ask = (struct ask){.kind = ASK_NTLM,
	                    .negotiate = buf_span(&talk->negotiate),
	                    .challenge = buf_span(&talk->challenge),
	                    .authenticate = authenticate,
	                    .mech_types = buf_span(&talk->mech_types),
	                    .allow_v1 = auth_conf_allow_v1(one->conf, talk->network),
	                    .require_mic = auth_conf_require_mic(one->conf, talk->network),
	                    .require_mech_list_mic = talk->spnego == TALK_SPNEGO_OTHER};
	return true;
}

struct auth_outcome talk_ntlm_take(struct talk *talk, const struct auth_try *one, struct span token)
{
	struct auth_outcome outcome;
	struct ask ask;

	if (ntlm_type(token) == NTLM_NEGOTIATE) {
		talk_forget(talk);
		if (!talk_ntlm_challenge(talk, one, token, &outcome))
			return outcome;
		return talk_leg(talk, buf_span(&talk->challenge), "the second message of NTLM is sent");
	}
	if (!talk_ntlm_ask(talk, one, token, &ask, &outcome))
		return outcome;
	outcome = talk_ask(talk, one, &ask, NULL);
	/* One challenge, one answer. */
	buf_fini(&talk->challenge);
	return outcome;
}

static struct auth_outcome take(struct talk *talk, const struct auth_try *one, struct span credentials)
{
	struct auth_outcome outcome;
	struct buf token;
	const char *why;

	if (!talk_decode(credentials, ASK_NTLM_MAX_BYTES, &token, &why))
		return talk_refuse(talk, one, why);
	if (ntlm_type(buf_span(&token)) == NTLM_NONE)
		outcome = talk_refuse(talk, one, "the token is no message of NTLM");
	else
		outcome = talk_ntlm_take(talk, one, buf_span(&token));
	buf_fini(&token);
	return outcome;
}

struct auth_outcome talk_finish(struct talk *talk, const struct answer *answer)
{
	struct auth_outcome outcome;
	struct identity *identity;

	if (answer->verdict != VERDICT_VALID)
		return talk_refuse_as(talk, answer);
	identity = talk_identity(talk, answer);
	if (identity == NULL)
		return talk_unavailable(talk, SPAN("the user's name and groups are too long"));
	outcome = talk_valid(talk, identity);
	identity_unref(identity);
	return outcome;
}

const struct talk_scheme talk_ntlm = {take, talk_finish};
