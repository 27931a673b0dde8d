/* SPDX-License-Identifier: Apache-2.0 */
/* AUTHENTICATE: policy wants to know who is asking. Basic and Digest prove it with each request; NTLM and Negotiate prove
 * it once for the connection. */
#include "session/session_private.h"

#include "base/log.h"

static struct auth_try try_of(const struct session *session, struct span credentials)
{
	const struct exchange *exchange = session->exchange;

	return (struct auth_try){.conf = session->generation->auth,
	                         .client = session->client_address,
	                         .listener = span_from(session->listener->name),
	                         .credentials = credentials,
	                         .method = exchange->head.method,
	                         .target = exchange->head.target,
	                         .now_ms = loop_now_ms(session->env->loop),
	                         .wall_ms = loop_wall_ms(session->env->loop)};
}

/* The one Proxy-Authorization field; false: there are several, of which two readers may take different ones. */
static bool find_credentials(const struct http_head *head, struct span *out)
{
	size_t count = 0;

	*out = SPAN("");
	for (size_t i = 0; i < head->field_count; i++) {
		if (!span_equal_nocase(head->fields[i].name, SPAN("proxy-authorization")))
			continue;
		*out = head->fields[i].value;
		count++;
	}
	return count <= 1;
}

bool authenticate_has_credentials(const struct exchange *exchange)
{
	return http_find(&exchange->head, "proxy-authorization") != NULL;
}

void authenticate_forget(struct session *session)
{
	dialog_free(session->dialog);
	identity_unref(session->identity);
	session->dialog = NULL;
	session->identity = NULL;
}

/* Another configuration: is the way in which it was proved still good enough? */
static bool is_still_offered(const struct session *session)
{
	const struct auth_conf *conf = session->generation->auth;
	const struct identity *identity = session->identity;
	const struct auth_network_conf *network;
	const struct auth_offer *offer =
		auth_conf_offer(conf, &session->client_address, span_from(session->listener->name), &network);
	bool is_v1 = identity->mechanism == AUTH_MECHANISM_NTLM_V1, is_ntlm = is_v1 || identity->mechanism == AUTH_MECHANISM_NTLM;

	return auth_offer_has(offer, identity->scheme) && (!is_v1 || auth_conf_allow_v1(conf, network)) &&
	       (!is_ntlm || identity->scheme != AUTH_NEGOTIATE || conf->negotiate.ntlm);
}

void authenticate_use_connection(struct session *session)
{
	/* Whoever comes with credentials may be somebody else. */
	if (session->identity == NULL || session->exchange->identity || authenticate_has_credentials(session->exchange))
		return;
	if (session->identity_number != session->generation->number) {
		if (!is_still_offered(session)) {
			authenticate_forget(session);
			return;
		}
		session->identity_number = session->generation->number;
	}
	session->exchange->identity = identity_ref(session->identity);
}

/* Texts of the dialog are gone with its next step. */
static const char *keep(struct exchange *exchange, struct span text)
{
	const char *copy = arena_string(&exchange->arena, text);

	return copy ? copy : "";
}

static enum step on_outcome(struct session *session, const struct auth_outcome *outcome)
{
	struct exchange *exchange = session->exchange;

	exchange->tried = outcome->scheme;
	if (outcome->step == AUTH_CHALLENGE) {
		exchange->challenge = arena_copy(&exchange->arena, outcome->fields);
		if (exchange->challenge.at == NULL)
			return session_fail(session, ERR_SESSION_MEMORY, "limits.session_memory");
	}
	if (outcome->step != AUTH_DONE)
		return session_fail(session, outcome->err, keep(exchange, outcome->why));
	exchange->success = arena_copy(&exchange->arena, outcome->fields);
	exchange->identity = outcome->identity;
	if (outcome->is_for_connection) {
		identity_unref(session->identity);
		session->identity = identity_ref(outcome->identity);
		session->identity_number = session->generation->number;
	}
	return session_go(session, SESSION_DECIDE);
}

static void on_authenticated(void *context, const struct auth_outcome *outcome)
{
	struct session *session = context;
	struct exchange *exchange = session->exchange;

	exchange->is_asking = false;
	exchange->timing.auth_ms = (uint32_t)(loop_now_ms(session->env->loop) - exchange->asked_ms);
	on_outcome(session, outcome);
	session_run(session);
}

enum step step_authenticate(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct auth_outcome outcome;
	struct span credentials;
	struct auth_try one;

	if (exchange->is_asking)
		return STEP_WAIT;
	if (session->dialog == NULL)
		session->dialog = dialog_new(session->env->auth);
	if (session->dialog == NULL)
		return session_fail(session, ERR_SESSION_MEMORY, "");
	/* Whoever comes with credentials begins anew. */
	identity_unref(session->identity);
	session->identity = NULL;
	if (!find_credentials(&exchange->head, &credentials))
		return session_fail(session, ERR_REQUEST_SYNTAX, "there is more than one Proxy-Authorization field");
	one = try_of(session, credentials);
	exchange->asked_ms = one.now_ms;
	outcome = dialog_take(session->dialog, &one, on_authenticated, session);
	if (outcome.step != AUTH_WAIT)
		return on_outcome(session, &outcome);
	exchange->is_asking = true;
	return STEP_WAIT;
}
