/* SPDX-License-Identifier: Apache-2.0 */
/* Negotiate (RFC 4559): one door for three tokens. Kerberos, raw or in SPNEGO, is GSSAPI's, in the verifier; NTLM, raw or
 * in SPNEGO, is ours. */
#include "auth/scheme/spnego.h"
#include "auth/talk.h"

static struct auth_outcome ask_gss(struct talk *talk, const struct auth_try *one, struct span token)
{
	struct ask ask = {.kind = ASK_GSS, .token = token, .context = talk->gss_context};

	talk->gss_context = 0;
	return talk_ask(talk, one, &ask, NULL);
}

/* Our part of SPNEGO, as the one challenge of a 407. */
static struct auth_outcome reply(struct talk *talk, enum spnego_state state, struct span token, const char *why)
{
	struct spnego_reply parts = {.state = state, .mech = SPNEGO_NTLM, .token = token};
	struct auth_outcome outcome;
	struct buf bytes;

	buf_init(&bytes, ASK_NTLM_MAX_BYTES + 256);
	spnego_write_response(&parts, &bytes);
	outcome = talk_leg(talk, buf_span(&bytes), why);
	buf_fini(&bytes);
	return outcome;
}

/* NTLM inside, though the client would have liked something else better: its next token is a first message. The list of
 * what it could do is protected by a MIC at the end, so that nobody else can have made the choice. */
static struct auth_outcome choose_ntlm(struct talk *talk, const char *why)
{
	talk->spnego = TALK_SPNEGO_OTHER;
	return reply(talk, SPNEGO_REQUEST_MIC, SPAN(""), why);
}

static bool keep_mechs(struct talk *talk, struct span mech_types)
{
	buf_reset(&talk->mech_types);
	buf_add(&talk->mech_types, mech_types);
	return buf_is_whole(&talk->mech_types);
}

static struct auth_outcome begin_ntlm(struct talk *talk, const struct auth_try *one, struct span token)
{
	struct auth_outcome outcome;

	talk->spnego = TALK_SPNEGO_NTLM;
	if (token.len == 0)
		return reply(talk, SPNEGO_ACCEPT_INCOMPLETE, SPAN(""), "NTLM is chosen");
	if (ntlm_type(token) != NTLM_NEGOTIATE)
		return talk_refuse(talk, one, "the token for NTLM is no first message");
	if (!talk_ntlm_challenge(talk, one, token, &outcome))
		return outcome;
	return reply(talk, SPNEGO_ACCEPT_INCOMPLETE, buf_span(&talk->challenge), "the second message of NTLM is sent");
}

static struct auth_outcome take_init(struct talk *talk, const struct auth_try *one, struct span token)
{
	const struct negotiate_conf *conf = &one->conf->negotiate;
	struct spnego_init init;
	const char *why;

	talk_forget(talk);
	if (!spnego_parse_init(token, &init, &why))
		return talk_refuse(talk, one, why);
	if (!keep_mechs(talk, init.mech_types))
		return talk_refuse(talk, one, "the list of mechanisms is too long");
	talk->has_ntlm = init.has_ntlm && conf->ntlm;
	if (init.first == SPNEGO_NTLM && conf->ntlm)
		return begin_ntlm(talk, one, init.token);
	if (conf->keytab[0] && init.has_krb5)
		return ask_gss(talk, one, token);
	if (talk->has_ntlm)
		return choose_ntlm(talk, "NTLM is chosen: there is no keytab for Kerberos");
	return talk_refuse(talk, one, init.has_ntlm ? "NTLM inside Negotiate is switched off (negotiate.ntlm)"
	                                            : "none of the client's mechanisms is there: Kerberos needs a keytab");
}

static struct auth_outcome take_response(struct talk *talk, const struct auth_try *one, struct span token)
{
	struct spnego_response response;
	struct auth_outcome outcome;
	const char *why;
	struct ask ask;

	if (talk->gss_context)
		return ask_gss(talk, one, token);
	if (!spnego_parse_response(token, &response, &why))
		return talk_refuse(talk, one, why);
	if (talk->spnego == TALK_SPNEGO_NONE)
		return talk_refuse(talk, one, "an answer of SPNEGO came without its question on this connection");
	if (ntlm_type(response.token) == NTLM_NEGOTIATE) {
		if (!talk_ntlm_challenge(talk, one, response.token, &outcome))
			return outcome;
		return reply(talk, SPNEGO_ACCEPT_INCOMPLETE, buf_span(&talk->challenge),
		             "the second message of NTLM is sent");
	}
	if (ntlm_type(response.token) != NTLM_AUTHENTICATE)
		return talk_refuse(talk, one, "the token inside SPNEGO is no message of NTLM");
	if (!talk_ntlm_ask(talk, one, response.token, &ask, &outcome))
		return outcome;
	ask.mech_list_mic = response.mech_list_mic;
	outcome = talk_ask(talk, one, &ask, NULL);
	buf_fini(&talk->challenge);
	return outcome;
}

static struct auth_outcome take_token(struct talk *talk, const struct auth_try *one, struct span token)
{
	switch (spnego_kind(token)) {
	case SPNEGO_KIND_RAW_NTLM:
		if (!one->conf->negotiate.ntlm)
			return talk_refuse(talk, one, "NTLM inside Negotiate is switched off (negotiate.ntlm)");
		if (talk->spnego != TALK_SPNEGO_NONE)
			talk_forget(talk);
		return talk_ntlm_take(talk, one, token);
	case SPNEGO_KIND_RAW_KRB5:
		talk_forget(talk);
		return ask_gss(talk, one, token);
	case SPNEGO_KIND_INIT:
		return take_init(talk, one, token);
	case SPNEGO_KIND_RESPONSE:
		return take_response(talk, one, token);
	case SPNEGO_KIND_INVALID:
	default:
		return talk_refuse(talk, one, "the token is neither Kerberos, nor SPNEGO, nor NTLM");
	}
}

static struct auth_outcome take(struct talk *talk, const struct auth_try *one, struct span credentials)
{
	struct auth_outcome outcome;
	struct buf token;
	const char *why;

	if (!talk_decode(credentials, ASK_TOKEN_MAX_BYTES, &token, &why))
		return talk_refuse(talk, one, why);
	outcome = take_token(talk, one, buf_span(&token));
	buf_fini(&token);
	return outcome;
}

/* The last token goes with the answer to the request. */
static void add_last_token(struct talk *talk, const struct answer *answer)
{
	struct spnego_reply parts = {.state = SPNEGO_ACCEPT_COMPLETED, .mech_list_mic = buf_span(&answer->token)};
	struct buf bytes;

	if (answer->mechanism == AUTH_MECHANISM_KERBEROS) {
		if (buf_len(&answer->token))
			talk_add_token(talk, buf_span(&answer->token));
		return;
	}
	if (talk->spnego == TALK_SPNEGO_NONE)
		return;
	buf_init(&bytes, 1024);
	spnego_write_response(&parts, &bytes);
	talk_add_token(talk, buf_span(&bytes));
	buf_fini(&bytes);
}

static struct auth_outcome on_answer(struct talk *talk, const struct answer *answer)
{
	if (answer->verdict == VERDICT_CONTINUE) {
		talk->gss_context = answer->context;
		return talk_leg(talk, buf_span(&answer->token), "Kerberos goes on");
	}
	if (answer->verdict == VERDICT_OTHER_MECH && talk->has_ntlm)
		return choose_ntlm(talk, "NTLM is chosen: the ticket is for no key of the keytab");
	if (answer->verdict == VERDICT_VALID)
		add_last_token(talk, answer);
	return talk_finish(talk, answer);
}

const struct talk_scheme talk_negotiate = {take, on_answer};
