/* SPDX-License-Identifier: Apache-2.0 */
/* The dialog with one client. Each scheme is a row: what it makes of credentials, and what of the verifier's answer. */
#include "auth/dialog.h"

#include <stdlib.h>
#include <string.h>

#include "auth/scheme/base64.h"
#include "base/secret.h"

static const struct dialog_scheme *const schemes[AUTH_SCHEME_COUNT] = {
	[AUTH_NEGOTIATE] = &dialog_negotiate,
	[AUTH_NTLM] = &dialog_ntlm,
	[AUTH_DIGEST] = &dialog_digest,
	[AUTH_BASIC] = &dialog_basic,
};

const char *auth_result_name(enum auth_result result)
{
	static const char *const names[AUTH_RESULT_COUNT] = {
#define RESULT_ROW(name, key) [AUTH_RESULT_##name] = key,
		AUTH_RESULTS(RESULT_ROW)
#undef RESULT_ROW
	};

	return names[result];
}

/* ---- challenges ---- */

static void add_challenge(struct auth *auth, const struct auth_try *one, enum auth_scheme scheme, bool stale,
                          struct buf *out)
{
	if (scheme == AUTH_DIGEST)
		digest_write_challenges(&one->conf->digest, span_from(one->conf->realm), &auth->env.keys, one->wall_ms,
		                        stale, out);
	else if (scheme == AUTH_BASIC)
		buf_printf(out, "Proxy-Authenticate: Basic realm=\"%s\", charset=\"UTF-8\"\r\n", one->conf->realm);
	else
		buf_printf(out, "Proxy-Authenticate: %s\r\n", auth_scheme_wire(scheme));
}

void auth_add_challenges(struct auth *auth, const struct auth_try *one, bool stale, struct buf *out)
{
	const struct auth_network_conf *network;
	const struct auth_offer *offer = auth_conf_offer(one->conf, &one->client, one->listener, &network);

	for (size_t i = 0; i < offer->count; i++)
		add_challenge(auth, one, (enum auth_scheme)offer->schemes[i], stale, out);
}

/* ---- outcomes ---- */

static struct auth_outcome outcome_of(struct dialog *dialog, enum auth_step step, enum err err)
{
	return (struct auth_outcome){.step = step,
	                             .err = err,
	                             .scheme = dialog->scheme,
	                             .why = buf_span(&dialog->why),
	                             .fields = buf_span(&dialog->fields)};
}

static void count(struct dialog *dialog, enum auth_result result)
{
	dialog->auth->env.metrics->attempts[dialog->scheme][result]++;
}

static void say(struct dialog *dialog, struct span why)
{
	buf_reset(&dialog->why);
	buf_add(&dialog->why, why);
}

static struct auth_outcome refuse(struct dialog *dialog, const struct auth_try *one, struct span why)
{
	count(dialog, AUTH_RESULT_INVALID);
	say(dialog, why);
	dialog_forget(dialog);
	buf_reset(&dialog->fields);
	auth_add_challenges(dialog->auth, one, false, &dialog->fields);
	return outcome_of(dialog, AUTH_CHALLENGE, ERR_AUTH_REFUSED);
}

struct auth_outcome dialog_refuse(struct dialog *dialog, const struct auth_try *one, const char *why)
{
	return refuse(dialog, one, span_from(why));
}

struct auth_outcome dialog_refuse_as(struct dialog *dialog, const struct answer *answer)
{
	return refuse(dialog, &dialog->one, buf_span(&answer->why));
}

struct auth_outcome dialog_stale(struct dialog *dialog, const struct auth_try *one, const char *why)
{
	say(dialog, span_from(why));
	auth_add_challenges(dialog->auth, one, true, &dialog->fields);
	return outcome_of(dialog, AUTH_CHALLENGE, ERR_AUTH_LEG);
}

struct auth_outcome dialog_leg(struct dialog *dialog, struct span token, const char *why)
{
	dialog_add_token(dialog, token);
	say(dialog, span_from(why));
	return outcome_of(dialog, AUTH_CHALLENGE, ERR_AUTH_LEG);
}

struct auth_outcome dialog_unavailable(struct dialog *dialog, struct span why)
{
	count(dialog, AUTH_RESULT_UNAVAILABLE);
	say(dialog, why);
	dialog_forget(dialog);
	return outcome_of(dialog, AUTH_FAIL, ERR_AUTH_UNAVAILABLE);
}

struct auth_outcome dialog_valid(struct dialog *dialog, struct identity *identity)
{
	struct auth_metrics *metrics = dialog->auth->env.metrics;
	struct auth_outcome outcome;

	count(dialog, AUTH_RESULT_VALID);
	metrics->kerberos += identity->mechanism == AUTH_MECHANISM_KERBEROS;
	metrics->ntlm_v1 += identity->mechanism == AUTH_MECHANISM_NTLM_V1;
	dialog_forget(dialog);
	outcome = outcome_of(dialog, AUTH_DONE, ERR_NONE);
	outcome.identity = identity_ref(identity);
	outcome.is_for_connection = dialog->scheme == AUTH_NTLM || dialog->scheme == AUTH_NEGOTIATE;
	return outcome;
}

void dialog_add_token(struct dialog *dialog, struct span token)
{
	buf_reset(&dialog->fields);
	buf_printf(&dialog->fields, "Proxy-Authenticate: %s", auth_scheme_wire(dialog->scheme));
	if (token.len) {
		buf_add_byte(&dialog->fields, ' ');
		base64_encode(token, &dialog->fields);
	}
	buf_add_string(&dialog->fields, "\r\n");
}

/* One name for one person, with groups named in the same way. */
struct identity *dialog_identity(struct dialog *dialog, const struct answer *answer)
{
	const struct auth_conf *conf = dialog->auth->conf;
	struct span rest = buf_span(&answer->groups), name;
	struct buf user, groups;
	struct identity *identity = NULL;

	buf_init(&user, IDENTITY_TEXT_MAX_BYTES);
	buf_init(&groups, IDENTITY_TEXT_MAX_BYTES);
	auth_conf_map_name(conf, buf_span(&answer->user), &user);
	while (rest.len && span_split(&rest, 0, &name)) {
		if (name.len == 0)
			continue;
		auth_conf_map_name(conf, name, &groups);
		buf_add_byte(&groups, 0);
	}
	if (buf_is_whole(&user) && buf_is_whole(&groups) && buf_len(&user))
		identity = identity_new(dialog->scheme, answer->mechanism, buf_span(&user), buf_span(&groups));
	buf_fini(&user);
	buf_fini(&groups);
	return identity;
}

/* ---- asking the verifier ---- */

/* The request's texts are gone when the answer comes: what is needed then is copied. */
static bool keep_try(struct dialog *dialog, const struct auth_try *one)
{
	dialog->one = *one;
	dialog->one.credentials = dialog->one.method = dialog->one.target = SPAN("");
	arena_fini(&dialog->arena);
	dialog->one.listener = arena_copy(&dialog->arena, one->listener);
	return dialog->one.listener.at != NULL;
}

static void on_answer(struct broker_wait *wait, const struct answer *answer)
{
	struct dialog *dialog = CONTAINER_OF(wait, struct dialog, wait);
	struct auth_outcome outcome;
	enum auth_result result;

	/* `now_ms` is what it was when it was asked: an entry of the cache ends so much earlier. */
	dialog->one.conf = dialog->auth->conf;
	buf_reset(&dialog->fields);
	switch (answer->verdict) {
	case VERDICT_UNAVAILABLE:
	case VERDICT_BUSY:
		outcome = dialog_unavailable(dialog, buf_span(&answer->why));
		break;
	case VERDICT_THROTTLED:
		result = AUTH_RESULT_THROTTLED;
		count(dialog, result);
		say(dialog, buf_span(&answer->why));
		dialog_forget(dialog);
		outcome = outcome_of(dialog, AUTH_FAIL, ERR_AUTH_THROTTLED);
		break;
	case VERDICT_VALID:
	case VERDICT_INVALID:
	case VERDICT_CONTINUE:
	case VERDICT_UNKNOWN_USER:
	case VERDICT_OTHER_MECH:
	case VERDICT_COUNT:
	default:
		outcome = schemes[dialog->scheme]->on_answer(dialog, answer);
		break;
	}
	dialog->done(dialog->context, &outcome);
}

struct auth_outcome dialog_ask(struct dialog *dialog, const struct auth_try *one, struct ask *ask, const uint8_t *key)
{
	enum err err;

	ask->client = one->client;
	if (!keep_try(dialog, one))
		return dialog_unavailable(dialog, SPAN("no memory"));
	dialog->wait.done = on_answer;
	if (key && broker_join(dialog->auth->broker, key, &dialog->wait))
		return outcome_of(dialog, AUTH_WAIT, ERR_NONE);
	err = broker_ask(dialog->auth->broker, ask, key, &dialog->wait);
	if (err == ERR_NONE) {
		dialog->auth->env.metrics->asks++;
		return outcome_of(dialog, AUTH_WAIT, ERR_NONE);
	}
	return dialog_unavailable(dialog, err == ERR_LIMIT ? SPAN("the verifier has more questions than it can take")
	                                               : SPAN("the verifier does not run; see the event log"));
}

/* ---- one attempt ---- */

/* "Basic dXNlcjpwYXNz": the scheme's name, and what is behind it. */
static enum auth_scheme cut_scheme(struct span *credentials)
{
	size_t end = span_find(*credentials, ' ');
	struct span name = span_first(*credentials, end);
	enum auth_scheme scheme = 0;

	while (scheme < AUTH_SCHEME_COUNT && !span_equal_nocase(name, span_from(auth_scheme_wire(scheme))))
		scheme++;
	*credentials = span_trim(span_skip(*credentials, end));
	return scheme;
}

static struct auth_outcome ask_for_credentials(struct dialog *dialog, const struct auth_try *one)
{
	dialog_forget(dialog);
	dialog->scheme = AUTH_SCHEME_COUNT;
	auth_add_challenges(dialog->auth, one, false, &dialog->fields);
	return outcome_of(dialog, AUTH_CHALLENGE, ERR_AUTH_REQUIRED);
}

/* Known, or not: what is not offered here is refused, though it may be right. */
static struct auth_outcome refuse_scheme(struct dialog *dialog, const struct auth_try *one)
{
	struct auth_outcome outcome = ask_for_credentials(dialog, one);

	say(dialog, SPAN("the client sends a scheme that is not offered to it"));
	outcome.why = buf_span(&dialog->why);
	outcome.err = ERR_AUTH_REFUSED;
	return outcome;
}

struct auth_outcome dialog_take(struct dialog *dialog, const struct auth_try *one, auth_done *done, void *context)
{
	const struct auth_offer *offer = auth_conf_offer(one->conf, &one->client, one->listener, &dialog->network);
	struct span credentials = one->credentials;
	enum auth_scheme scheme;

	dialog_cancel(dialog);
	dialog->done = done;
	dialog->context = context;
	buf_reset(&dialog->fields);
	buf_reset(&dialog->why);
	if (offer->count == 0) {
		dialog->scheme = AUTH_SCHEME_COUNT;
		return outcome_of(dialog, AUTH_FAIL, ERR_AUTH_NOT_OFFERED);
	}
	if (credentials.len == 0)
		return ask_for_credentials(dialog, one);
	scheme = cut_scheme(&credentials);
	if (scheme == AUTH_SCHEME_COUNT || !auth_offer_has(offer, scheme))
		return refuse_scheme(dialog, one);
	if (scheme != dialog->scheme)
		dialog_forget(dialog);
	dialog->scheme = scheme;
	return schemes[scheme]->take(dialog, one, credentials);
}

bool dialog_decode(struct span text, size_t most, struct buf *out, const char **why)
{
	buf_init(out, most);
	if (text.len == 0)
		*why = "there are no credentials behind the scheme";
	else if (text.len / 4 * 3 > most)
		*why = "the token is larger than any is";
	else if (!base64_decode(text, out))
		*why = "the token is no base64";
	else
		return true;
	buf_fini(out);
	return false;
}

/* ---- beginning and end ---- */

struct dialog *dialog_new(struct auth *auth)
{
	struct dialog *dialog = calloc(1, sizeof(*dialog));

	if (dialog == NULL)
		return NULL;
	dialog->auth = auth;
	dialog->scheme = AUTH_SCHEME_COUNT;
	arena_init(&dialog->arena, 4096);
	buf_init(&dialog->fields, DIALOG_FIELDS_MAX_BYTES);
	buf_init(&dialog->why, 1024);
	buf_init(&dialog->negotiate, ASK_NTLM_MAX_BYTES);
	buf_init(&dialog->challenge, ASK_NTLM_MAX_BYTES);
	buf_init(&dialog->mech_types, DIALOG_MECHS_MAX_BYTES);
	return dialog;
}

void dialog_cancel(struct dialog *dialog)
{
	broker_cancel(&dialog->wait);
}

void dialog_forget(struct dialog *dialog)
{
	buf_fini(&dialog->negotiate);
	buf_fini(&dialog->challenge);
	buf_fini(&dialog->mech_types);
	dialog->gss_context = 0;
	dialog->has_ntlm = false;
	dialog->spnego = DIALOG_SPNEGO_NONE;
}

void dialog_free(struct dialog *dialog)
{
	if (dialog == NULL)
		return;
	dialog_cancel(dialog);
	dialog_forget(dialog);
	buf_fini(&dialog->fields);
	buf_fini(&dialog->why);
	arena_fini(&dialog->arena);
	free(dialog);
}
