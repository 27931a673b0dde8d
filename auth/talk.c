/* SPDX-License-Identifier: Apache-2.0 */
/* The talk with one client. Each scheme is a row: what it makes of credentials, and what of the verifier's answer. */
#include "auth/talk.h"

#include <stdlib.h>
#include <string.h>

#include "auth/scheme/base64.h"
#include "base/secret.h"

static const struct talk_scheme *const schemes[AUTH_SCHEME_COUNT] = {
	[AUTH_NEGOTIATE] = &talk_negotiate,
	[AUTH_NTLM] = &talk_ntlm,
	[AUTH_DIGEST] = &talk_digest,
	[AUTH_BASIC] = &talk_basic,
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

static struct auth_outcome outcome_of(struct talk *talk, enum auth_step step, enum err err)
{
	return (struct auth_outcome){.step = step,
	                             .err = err,
	                             .scheme = talk->scheme,
	                             .why = buf_span(&talk->why),
	                             .fields = buf_span(&talk->fields)};
}

static void count(struct talk *talk, enum auth_result result)
{
	talk->auth->env.metrics->attempts[talk->scheme][result]++;
}

static void say(struct talk *talk, struct span why)
{
	buf_reset(&talk->why);
	buf_add(&talk->why, why);
}

static struct auth_outcome refuse(struct talk *talk, const struct auth_try *one, struct span why)
{
	count(talk, AUTH_RESULT_INVALID);
	say(talk, why);
	talk_forget(talk);
	buf_reset(&talk->fields);
	auth_add_challenges(talk->auth, one, false, &talk->fields);
	return outcome_of(talk, AUTH_CHALLENGE, ERR_AUTH_REFUSED);
}

struct auth_outcome talk_refuse(struct talk *talk, const struct auth_try *one, const char *why)
{
	return refuse(talk, one, span_from(why));
}

struct auth_outcome talk_refuse_as(struct talk *talk, const struct answer *answer)
{
	return refuse(talk, &talk->one, buf_span(&answer->why));
}

struct auth_outcome talk_stale(struct talk *talk, const struct auth_try *one, const char *why)
{
	say(talk, span_from(why));
	auth_add_challenges(talk->auth, one, true, &talk->fields);
	return outcome_of(talk, AUTH_CHALLENGE, ERR_AUTH_LEG);
}

struct auth_outcome talk_leg(struct talk *talk, struct span token, const char *why)
{
	talk_add_token(talk, token);
	say(talk, span_from(why));
	return outcome_of(talk, AUTH_CHALLENGE, ERR_AUTH_LEG);
}

struct auth_outcome talk_unavailable(struct talk *talk, struct span why)
{
	count(talk, AUTH_RESULT_UNAVAILABLE);
	say(talk, why);
	talk_forget(talk);
	return outcome_of(talk, AUTH_FAIL, ERR_AUTH_UNAVAILABLE);
}

struct auth_outcome talk_valid(struct talk *talk, struct identity *identity)
{
	struct auth_metrics *metrics = talk->auth->env.metrics;
	struct auth_outcome outcome;

	count(talk, AUTH_RESULT_VALID);
	metrics->kerberos += identity->mechanism == AUTH_MECHANISM_KERBEROS;
	metrics->ntlm_v1 += identity->mechanism == AUTH_MECHANISM_NTLM_V1;
	talk_forget(talk);
	outcome = outcome_of(talk, AUTH_DONE, ERR_NONE);
	outcome.identity = identity_ref(identity);
	outcome.is_for_connection = talk->scheme == AUTH_NTLM || talk->scheme == AUTH_NEGOTIATE;
	return outcome;
}

void talk_add_token(struct talk *talk, struct span token)
{
	buf_reset(&talk->fields);
	buf_printf(&talk->fields, "Proxy-Authenticate: %s", auth_scheme_wire(talk->scheme));
	if (token.len) {
		buf_add_byte(&talk->fields, ' ');
		base64_encode(token, &talk->fields);
	}
	buf_add_string(&talk->fields, "\r\n");
}

/* One name for one person, with groups named in the same way. */
struct identity *talk_identity(struct talk *talk, const struct answer *answer)
{
	const struct auth_conf *conf = talk->auth->conf;
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
		identity = identity_new(talk->scheme, answer->mechanism, buf_span(&user), buf_span(&groups));
	buf_fini(&user);
	buf_fini(&groups);
	return identity;
}

/* ---- asking the verifier ---- */

/* The request's texts are gone when the answer comes: what is needed then is copied. */
static bool keep_try(struct talk *talk, const struct auth_try *one)
{
	talk->one = *one;
	talk->one.credentials = talk->one.method = talk->one.target = SPAN("");
	arena_fini(&talk->arena);
	talk->one.listener = arena_copy(&talk->arena, one->listener);
	return talk->one.listener.at != NULL;
}

static void on_answer(struct broker_wait *wait, const struct answer *answer)
{
	struct talk *talk = CONTAINER_OF(wait, struct talk, wait);
	struct auth_outcome outcome;
	enum auth_result result;

	/* `now_ms` is what it was when it was asked: an entry of the cache ends so much earlier. */
	talk->one.conf = talk->auth->conf;
	buf_reset(&talk->fields);
	switch (answer->verdict) {
	case VERDICT_UNAVAILABLE:
	case VERDICT_BUSY:
		outcome = talk_unavailable(talk, buf_span(&answer->why));
		break;
	case VERDICT_THROTTLED:
		result = AUTH_RESULT_THROTTLED;
		count(talk, result);
		say(talk, buf_span(&answer->why));
		talk_forget(talk);
		outcome = outcome_of(talk, AUTH_FAIL, ERR_AUTH_THROTTLED);
		break;
	case VERDICT_VALID:
	case VERDICT_INVALID:
	case VERDICT_CONTINUE:
	case VERDICT_UNKNOWN_USER:
	case VERDICT_OTHER_MECH:
	case VERDICT_COUNT:
	default:
		outcome = schemes[talk->scheme]->on_answer(talk, answer);
		break;
	}
	talk->done(talk->context, &outcome);
}

struct auth_outcome talk_ask(struct talk *talk, const struct auth_try *one, struct ask *ask, const uint8_t *key)
{
	enum err err;

	ask->client = one->client;
	if (!keep_try(talk, one))
		return talk_unavailable(talk, SPAN("no memory"));
	talk->wait.done = on_answer;
	talk->auth->env.metrics->asks++;
	if (key && broker_join(talk->auth->broker, key, &talk->wait))
		return outcome_of(talk, AUTH_WAIT, ERR_NONE);
	err = broker_ask(talk->auth->broker, ask, key, &talk->wait);
	if (err == ERR_NONE)
		return outcome_of(talk, AUTH_WAIT, ERR_NONE);
	return talk_unavailable(talk, err == ERR_LIMIT ? SPAN("the verifier has more questions than it can take")
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

static struct auth_outcome ask_for_credentials(struct talk *talk, const struct auth_try *one)
{
	talk_forget(talk);
	talk->scheme = AUTH_SCHEME_COUNT;
	auth_add_challenges(talk->auth, one, false, &talk->fields);
	return outcome_of(talk, AUTH_CHALLENGE, ERR_AUTH_REQUIRED);
}

/* Known, or not: what is not offered here is refused, though it may be right. */
static struct auth_outcome refuse_scheme(struct talk *talk, const struct auth_try *one)
{
	struct auth_outcome outcome = ask_for_credentials(talk, one);

	say(talk, SPAN("the client sends a scheme that is not offered to it"));
	outcome.why = buf_span(&talk->why);
	outcome.err = ERR_AUTH_REFUSED;
	return outcome;
}

struct auth_outcome talk_take(struct talk *talk, const struct auth_try *one, auth_done *done, void *context)
{
	const struct auth_offer *offer = auth_conf_offer(one->conf, &one->client, one->listener, &talk->network);
	struct span credentials = one->credentials;
	enum auth_scheme scheme;

	talk_cancel(talk);
	talk->done = done;
	talk->context = context;
	buf_reset(&talk->fields);
	buf_reset(&talk->why);
	if (offer->count == 0) {
		talk->scheme = AUTH_SCHEME_COUNT;
		return outcome_of(talk, AUTH_FAIL, ERR_AUTH_NOT_OFFERED);
	}
	if (credentials.len == 0)
		return ask_for_credentials(talk, one);
	scheme = cut_scheme(&credentials);
	if (scheme == AUTH_SCHEME_COUNT || !auth_offer_has(offer, scheme))
		return refuse_scheme(talk, one);
	if (scheme != talk->scheme)
		talk_forget(talk);
	talk->scheme = scheme;
	return schemes[scheme]->take(talk, one, credentials);
}

bool talk_decode(struct span text, size_t most, struct buf *out, const char **why)
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

struct talk *talk_new(struct auth *auth)
{
	struct talk *talk = calloc(1, sizeof(*talk));

	if (talk == NULL)
		return NULL;
	talk->auth = auth;
	talk->scheme = AUTH_SCHEME_COUNT;
	arena_init(&talk->arena, 4096);
	buf_init(&talk->fields, TALK_FIELDS_MAX_BYTES);
	buf_init(&talk->why, 1024);
	buf_init(&talk->negotiate, ASK_NTLM_MAX_BYTES);
	buf_init(&talk->challenge, ASK_NTLM_MAX_BYTES);
	buf_init(&talk->mech_types, TALK_MECHS_MAX_BYTES);
	return talk;
}

void talk_cancel(struct talk *talk)
{
	broker_cancel(&talk->wait);
}

void talk_forget(struct talk *talk)
{
	buf_fini(&talk->negotiate);
	buf_fini(&talk->challenge);
	buf_fini(&talk->mech_types);
	talk->gss_context = 0;
	talk->spnego = TALK_SPNEGO_NONE;
}

void talk_free(struct talk *talk)
{
	if (talk == NULL)
		return;
	talk_cancel(talk);
	talk_forget(talk);
	buf_fini(&talk->fields);
	buf_fini(&talk->why);
	arena_fini(&talk->arena);
	free(talk);
}
