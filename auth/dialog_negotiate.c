/* SPDX-License-Identifier: Apache-2.0 */
/* Negotiate (RFC 4559): one door for three tokens. Kerberos, raw or in SPNEGO, is GSSAPI's, in the verifier; NTLM, raw or
 * in SPNEGO, is ours. */
#include "auth/scheme/spnego.h"
#include "auth/dialog.h"

static struct auth_outcome ask_gss(struct dialog *dialog, const struct auth_try *one, struct span token)
{
	struct ask ask = {.kind = ASK_GSS, .token = token, .context = dialog->gss_context};

	dialog->gss_context = 0;
	return dialog_ask(dialog, one, &ask, NULL);
}

/* Our part of SPNEGO, as the one challenge of a 407. */
static struct auth_outcome reply(struct dialog *dialog, enum spnego_state state, struct span token, const char *why)
{
	struct spnego_reply parts = {.state = state, .mech = SPNEGO_NTLM, .token = token};
	struct auth_outcome outcome;
	struct buf bytes;

	buf_init(&bytes, ASK_NTLM_MAX_BYTES + 256);
	spnego_write_response(&parts, &bytes);
	outcome = dialog_leg(dialog, buf_span(&bytes), why);
	buf_fini(&bytes);
	return outcome;
}

/* NTLM inside, though the client would have liked something else better: its next token is a first message. The list of
 * what it could do is protected by a MIC at the end, so that nobody else can have made the choice. */
static struct auth_outcome choose_ntlm(struct dialog *dialog, const char *why)
{
	dialog->spnego = DIALOG_SPNEGO_OTHER;
	return reply(dialog, SPNEGO_REQUEST_MIC, SPAN(""), why);
}

static bool keep_mechs(struct dialog *dialog, struct span mech_types)
{
	buf_reset(&dialog->mech_types);
	buf_add(&dialog->mech_types, mech_types);
	return buf_is_whole(&dialog->mech_types);
}

static struct auth_outcome begin_ntlm(struct dialog *dialog, const struct auth_try *one, struct span token)
{
	struct auth_outcome outcome;

	dialog->spnego = DIALOG_SPNEGO_NTLM;
	if (token.len == 0)
		return reply(dialog, SPNEGO_ACCEPT_INCOMPLETE, SPAN(""), "NTLM is chosen");
	if (ntlm_type(token) != NTLM_NEGOTIATE)
		return dialog_refuse(dialog, one, "the token for NTLM is no first message");
	if (!dialog_ntlm_challenge(dialog, one, token, &outcome))
		return outcome;
	return reply(dialog, SPNEGO_ACCEPT_INCOMPLETE, buf_span(&dialog->challenge), "the second message of NTLM is sent");
}

static struct auth_outcome refuse_ntlm(struct dialog *dialog, const struct auth_try *one)
{
	return dialog_refuse(dialog, one, "NTLM inside Negotiate is switched off (negotiate.ntlm)");
}

static struct auth_outcome take_init(struct dialog *dialog, const struct auth_try *one, struct span token)
{
	const struct negotiate_conf *conf = &one->conf->negotiate;
	struct spnego_init init;
	const char *why;

	dialog_forget(dialog);
	if (!spnego_parse_init(token, &init, &why))
		return dialog_refuse(dialog, one, why);
	if (!keep_mechs(dialog, init.mech_types))
		return dialog_refuse(dialog, one, "the list of mechanisms is too long");
	dialog->has_ntlm = init.has_ntlm && conf->ntlm;
	if (init.first == SPNEGO_NTLM && conf->ntlm)
		return begin_ntlm(dialog, one, init.token);
	if (conf->keytab[0] && init.has_krb5)
		return ask_gss(dialog, one, token);
	if (dialog->has_ntlm)
		return choose_ntlm(dialog, "NTLM is chosen: there is no keytab for Kerberos");
	return init.has_ntlm ? refuse_ntlm(dialog, one)
	                     : dialog_refuse(dialog, one, "none of the client's mechanisms is there: Kerberos needs a keytab");
}

static struct auth_outcome take_response(struct dialog *dialog, const struct auth_try *one, struct span token)
{
	struct spnego_response response;
	struct auth_outcome outcome;
	const char *why;
	struct ask ask;

	if (dialog->gss_context)
		return ask_gss(dialog, one, token);
	if (!spnego_parse_response(token, &response, &why))
		return dialog_refuse(dialog, one, why);
	if (dialog->spnego == DIALOG_SPNEGO_NONE)
		return dialog_refuse(dialog, one, "an answer of SPNEGO came without its question on this connection");
	/* It was on when the talk began. */
	if (!one->conf->negotiate.ntlm)
		return refuse_ntlm(dialog, one);
	if (ntlm_type(response.token) == NTLM_NEGOTIATE) {
		if (!dialog_ntlm_challenge(dialog, one, response.token, &outcome))
			return outcome;
		return reply(dialog, SPNEGO_ACCEPT_INCOMPLETE, buf_span(&dialog->challenge),
		             "the second message of NTLM is sent");
	}
	if (ntlm_type(response.token) != NTLM_AUTHENTICATE)
		return dialog_refuse(dialog, one, "the token inside SPNEGO is no message of NTLM");
	if (!dialog_ntlm_ask(dialog, one, response.token, &ask, &outcome))
		return outcome;
	ask.mech_list_mic = response.mech_list_mic;
	outcome = dialog_ask(dialog, one, &ask, NULL);
	buf_fini(&dialog->challenge);
	return outcome;
}

static struct auth_outcome take_token(struct dialog *dialog, const struct auth_try *one, struct span token)
{
	switch (spnego_kind(token)) {
	case SPNEGO_KIND_RAW_NTLM:
		if (!one->conf->negotiate.ntlm)
			return refuse_ntlm(dialog, one);
		if (dialog->spnego != DIALOG_SPNEGO_NONE)
			dialog_forget(dialog);
		return dialog_ntlm_take(dialog, one, token);
	case SPNEGO_KIND_RAW_KRB5:
		dialog_forget(dialog);
		return ask_gss(dialog, one, token);
	case SPNEGO_KIND_INIT:
		return take_init(dialog, one, token);
	case SPNEGO_KIND_RESPONSE:
		return take_response(dialog, one, token);
	case SPNEGO_KIND_INVALID:
	default:
		return dialog_refuse(dialog, one, "the token is neither Kerberos, nor SPNEGO, nor NTLM");
	}
}

static struct auth_outcome take(struct dialog *dialog, const struct auth_try *one, struct span credentials)
{
	struct auth_outcome outcome;
	struct buf token;
	const char *why;

	if (!dialog_decode(credentials, ASK_TOKEN_MAX_BYTES, &token, &why))
		return dialog_refuse(dialog, one, why);
	outcome = take_token(dialog, one, buf_span(&token));
	buf_fini(&token);
	return outcome;
}

/* The last token goes with the answer to the request. */
static void add_last_token(struct dialog *dialog, const struct answer *answer)
{
	struct spnego_reply parts = {.state = SPNEGO_ACCEPT_COMPLETED, .mech_list_mic = buf_span(&answer->token)};
	struct buf bytes;

	if (answer->mechanism == AUTH_MECHANISM_KERBEROS) {
		if (buf_len(&answer->token))
			dialog_add_token(dialog, buf_span(&answer->token));
		return;
	}
	if (dialog->spnego == DIALOG_SPNEGO_NONE)
		return;
	buf_init(&bytes, 1024);
	spnego_write_response(&parts, &bytes);
	dialog_add_token(dialog, buf_span(&bytes));
	buf_fini(&bytes);
}

static struct auth_outcome on_answer(struct dialog *dialog, const struct answer *answer)
{
	if (answer->verdict == VERDICT_CONTINUE) {
		dialog->gss_context = answer->context;
		return dialog_leg(dialog, buf_span(&answer->token), "Kerberos goes on");
	}
	if (answer->verdict == VERDICT_OTHER_MECH && dialog->has_ntlm && dialog->one.conf->negotiate.ntlm)
		return choose_ntlm(dialog, "NTLM is chosen: the ticket is for no key of the keytab");
	if (answer->verdict == VERDICT_VALID)
		add_last_token(dialog, answer);
	return dialog_finish(dialog, answer);
}

const struct dialog_scheme dialog_negotiate = {take, on_answer};
