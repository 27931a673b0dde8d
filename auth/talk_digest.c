/* SPDX-License-Identifier: Apache-2.0 */
/* Digest (RFC 7616): nonces are signed and stateless; the HA1 of who was verified lately is known; each count of a nonce is
 * good once, whichever worker sees it. */
#include <string.h>

#include "auth/scheme/digest_proof.h"
#include "auth/talk.h"

/* The proof is right: is its count new? */
static struct auth_outcome use_count(struct talk *talk, const struct auth_try *one, struct identity *identity)
{
	switch (digest_table_use(talk->auth->env.table, talk->auth->env.table_slots, talk->nonce_id,
	                         talk->nonce_expires_ms, talk->nonce_count, one->wall_ms)) {
	case DIGEST_COUNT_FRESH:
		return talk_valid(talk, identity);
	case DIGEST_COUNT_REPLAYED:
		return talk_stale(talk, one, "the nonce count was used before");
	case DIGEST_COUNT_TOO_OLD:
		return talk_stale(talk, one, "the nonce count is too far behind others");
	case DIGEST_COUNT_FULL:
	default:
		return talk_stale(talk, one, "the table of nonces is full");
	}
}

static struct auth_outcome take_parsed(struct talk *talk, const struct auth_try *one, struct ask *ask)
{
	struct auth *auth = talk->auth;
	uint8_t kind[] = {(uint8_t)ask->algorithm, ask->is_userhash};
	struct span texts[] = {SPAN("digest"), span_of(kind, sizeof(kind)), ask->user};
	const struct cache_entry *entry;

	if (!keyed_hash_make(auth->hash, texts, COUNT_OF(texts), talk->key))
		return talk_unavailable(talk, SPAN("OpenSSL cannot make a MAC"));
	entry = cache_find(auth->cache, talk->key, one->now_ms);
	if (entry && entry->identity && digest_is_proved(ask, entry->ha1)) {
		auth->env.metrics->cache_hits++;
		return use_count(talk, one, entry->identity);
	}
	/* Not known, or the password has changed. */
	return talk_ask(talk, one, ask, NULL);
}

static bool is_offered(const struct digest_conf *conf, const struct ask *ask)
{
	uint8_t wanted = (uint8_t)((unsigned)ask->algorithm | (ask->is_session ? DIGEST_SESSION : 0u));

	return memchr(conf->algorithms, wanted, conf->algorithm_count) != NULL;
}

static struct auth_outcome take(struct talk *talk, const struct auth_try *one, struct span credentials)
{
	const struct auth_conf *conf = one->conf;
	struct digest_answer parsed;
	struct auth_outcome outcome;
	const char *why;

	if (!digest_parse(credentials, &parsed, &why))
		outcome = talk_refuse(talk, one, why);
	else if (!span_equal(parsed.ask.realm, span_from(conf->realm)))
		outcome = talk_refuse(talk, one, "the realm is not ours");
	else if (!is_offered(&conf->digest, &parsed.ask))
		outcome = talk_refuse(talk, one, "the algorithm is not offered");
	else if (!digest_uri_matches(parsed.ask.uri, one->method, one->target))
		outcome = talk_refuse(talk, one, "the uri is not that of the request");
	else if (digest_nonce_check(&talk->auth->env.keys, parsed.ask.nonce, one->wall_ms, conf->digest.nonce_ms,
	                            &talk->nonce_id, &talk->nonce_expires_ms) != DIGEST_NONCE_VALID)
		outcome = talk_stale(talk, one, "the nonce is too old, or not ours");
	else {
		talk->nonce_count = parsed.count;
		parsed.ask.method = one->method;
		outcome = take_parsed(talk, one, &parsed.ask);
	}
	digest_answer_fini(&parsed);
	return outcome;
}

static struct auth_outcome on_answer(struct talk *talk, const struct answer *answer)
{
	struct auth *auth = talk->auth;
	struct auth_outcome outcome;
	struct identity *identity;

	if (answer->verdict != VERDICT_VALID)
		return talk_refuse_as(talk, answer);
	identity = talk_identity(talk, answer);
	if (identity == NULL)
		return talk_unavailable(talk, SPAN("the user's name and groups are too long"));
	if (answer->has_ha1)
		cache_put(auth->cache, talk->key, identity, answer->ha1, talk->one.now_ms, auth->conf->cache_ms);
	outcome = use_count(talk, &talk->one, identity);
	identity_unref(identity);
	return outcome;
}

const struct talk_scheme talk_digest = {take, on_answer};
