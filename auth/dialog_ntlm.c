/* SPDX-License-Identifier: Apache-2.0 */
/* NTLM (MS-NTHT): three messages on one connection. The first two lie here; the verifier gets all three. */
#include "auth/dialog.h"
#include "base/secret.h"

enum { FILETIME_PER_MS = 10000, CHALLENGE_BYTES = 8 };
#define FILETIME_OF_1970 UINT64_C(116444736000000000)

bool dialog_ntlm_challenge(struct dialog *dialog, const struct auth_try *one, struct span negotiate,
                         struct auth_outcome *outcome)
{
	const struct auth *auth = dialog->auth;
	struct ntlm_names names = {buf_span(&auth->names[0]), buf_span(&auth->names[1]), buf_span(&auth->names[2]),
	                           buf_span(&auth->names[3])};
	struct ntlm_negotiate parsed;
	uint8_t challenge[CHALLENGE_BYTES];
	const char *why;

	if (!ntlm_parse_negotiate(negotiate, &parsed, &why)) {
		*outcome = dialog_refuse(dialog, one, why);
		return false;
	}
	if (!auth->has_names) {
		*outcome = dialog_unavailable(dialog, buf_len(&auth->no_names) ? buf_span(&auth->no_names)
		                                                          : SPAN("the verifier does not run yet"));
		return false;
	}
	secret_random(challenge, sizeof(challenge));
	buf_reset(&dialog->negotiate);
	buf_reset(&dialog->challenge);
	buf_add(&dialog->negotiate, negotiate);
	ntlm_write_challenge(&parsed, challenge, &names, FILETIME_OF_1970 + one->wall_ms * FILETIME_PER_MS,
	                     &dialog->challenge);
	dialog->challenged_ms = one->now_ms;
	return true;
}

bool dialog_ntlm_ask(struct dialog *dialog, const struct auth_try *one, struct span authenticate, struct ask *ask,
                   struct auth_outcome *outcome)
{
	const char *why = NULL;

	if (buf_len(&dialog->challenge) == 0)
		why = "the third message of NTLM came without its second on this connection";
	else if (one->now_ms - dialog->challenged_ms > DIALOG_CHALLENGE_MS)
		why = "the third message of NTLM came more than a minute after its second";
	if (why) {
		*outcome = dialog_refuse(dialog, one, why);
		return false;
	}
	*ask = (struct ask){.kind = ASK_NTLM,
	                    .negotiate = buf_span(&dialog->negotiate),
	                    .challenge = buf_span(&dialog->challenge),
	                    .authenticate = authenticate,
	                    .mech_types = buf_span(&dialog->mech_types),
	                    .allow_v1 = auth_conf_allow_v1(one->conf, dialog->network),
	                    .require_mic = auth_conf_require_mic(one->conf, dialog->network),
	                    .require_mech_list_mic = dialog->spnego == DIALOG_SPNEGO_OTHER};
	return true;
}

struct auth_outcome dialog_ntlm_take(struct dialog *dialog, const struct auth_try *one, struct span token)
{
	struct auth_outcome outcome;
	struct ask ask;

	if (ntlm_type(token) == NTLM_NEGOTIATE) {
		dialog_forget(dialog);
		if (!dialog_ntlm_challenge(dialog, one, token, &outcome))
			return outcome;
		return dialog_leg(dialog, buf_span(&dialog->challenge), "the second message of NTLM is sent");
	}
	if (!dialog_ntlm_ask(dialog, one, token, &ask, &outcome))
		return outcome;
	outcome = dialog_ask(dialog, one, &ask, NULL);
	/* One challenge, one answer. */
	buf_fini(&dialog->challenge);
	return outcome;
}

static struct auth_outcome take(struct dialog *dialog, const struct auth_try *one, struct span credentials)
{
	struct auth_outcome outcome;
	struct buf token;
	const char *why;

	if (!dialog_decode(credentials, ASK_NTLM_MAX_BYTES, &token, &why))
		return dialog_refuse(dialog, one, why);
	if (ntlm_type(buf_span(&token)) == NTLM_NONE)
		outcome = dialog_refuse(dialog, one, "the token is no message of NTLM");
	else
		outcome = dialog_ntlm_take(dialog, one, buf_span(&token));
	buf_fini(&token);
	return outcome;
}

struct auth_outcome dialog_finish(struct dialog *dialog, const struct answer *answer)
{
	struct auth_outcome outcome;
	struct identity *identity;

	if (answer->verdict != VERDICT_VALID)
		return dialog_refuse_as(dialog, answer);
	identity = dialog_identity(dialog, answer);
	if (identity == NULL)
		return dialog_unavailable(dialog, SPAN("the user's name and groups are too long"));
	outcome = dialog_valid(dialog, identity);
	identity_unref(identity);
	return outcome;
}

const struct dialog_scheme dialog_ntlm = {take, dialog_finish};
