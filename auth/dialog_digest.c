/* SPDX-License-Identifier: Apache-2.0 */
/* Digest (RFC 7616): nonces are signed and stateless; the HA1 of who was verified lately is known; each count of a nonce is
 * good once, whichever worker sees it. */
#include <string.h>

#include "auth/scheme/digest_proof.h"
#include "auth/dialog.h"

/* The proof is right: is its count new? */
static struct auth_outcome use_count(struct dialog *dialog, const struct auth_try *one, struct identity *identity)
{
	switch (digest_table_use(&dialog->auth->env.table, dialog->nonce_id, dialog->nonce_expires_ms, dialog->nonce_count,
	                         one->wall_ms)) {
	case DIGEST_COUNT_FRESH:
		return dialog_valid(dialog, identity);
	case DIGEST_COUNT_REPLAYED:
		return dialog_stale(dialog, one, "the nonce count was used before");
	case DIGEST_COUNT_TOO_OLD:
		return dialog_stale(dialog, one, "the nonce count is too far behind others");
	case DIGEST_COUNT_FULL:
	default:
		return dialog_stale(dialog, one, "the table of nonces is full");
	}
}

static struct auth_outcome take_parsed(struct dialog *dialog, const struct auth_try *one, struct ask *ask)
{
	struct auth *auth = dialog->auth;
	uint8_t kind[] = {(uint8_t)ask->algorithm, ask->is_userhash};
	struct span texts[] = {SPAN("digest"), span_of(kind, sizeof(kind)), ask->user};
	const struct cache_entry *entry;

	if (!keyed_hash_make(auth->hash, texts, COUNT_OF(texts), dialog->key))
		return dialog_unavailable(dialog, SPAN("OpenSSL cannot make a MAC"));
	entry = cache_find(auth->cache, dialog->key, one->now_ms);
	if (entry && entry->identity && digest_is_proved(ask, entry->ha1)) {
		auth->env.metrics->cache_hits++;
		return use_count(dialog, one, entry->identity);
	}
	/* Not known, or the password has changed. */
	return dialog_ask(dialog, one, ask, NULL);
}

static bool is_offered(const struct digest_conf *conf, const struct ask *ask)
{
	uint8_t wanted = (uint8_t)((unsigned)ask->algorithm | (ask->is_session ? DIGEST_SESSION : 0u));

	return memchr(conf->algorithms, wanted, conf->algorithm_count) != NULL;
}

static struct auth_outcome take(struct dialog *dialog, const struct auth_try *one, struct span credentials)
{
	const struct auth_conf *conf = one->conf;
	struct digest_answer parsed;
	struct auth_outcome outcome;
	const char *why;

	if (!digest_parse(credentials, &parsed, &why))
		outcome = dialog_refuse(dialog, one, why);
	else if (!span_equal(parsed.ask.realm, span_from(conf->realm)))
		outcome = dialog_refuse(dialog, one, "the realm is not ours");
	else if (!is_offered(&conf->digest, &parsed.ask))
		outcome = dialog_refuse(dialog, one, "the algorithm is not offered");
	else if (!digest_uri_matches(parsed.ask.uri, one->method, one->target))
		outcome = dialog_refuse(dialog, one, "the uri is not that of the request");
	else if (digest_nonce_check(&dialog->auth->env.keys, parsed.ask.nonce, one->wall_ms, conf->digest.nonce_ms,
	                            &dialog->nonce_id, &dialog->nonce_expires_ms) != DIGEST_NONCE_VALID)
		outcome = dialog_stale(dialog, one, "the nonce is too old, or not ours");
	else {
		dialog->nonce_count = parsed.count;
		parsed.ask.method = one->method;
		outcome = take_parsed(dialog, one, &parsed.ask);
	}
	digest_answer_fini(&parsed);
	return outcome;
}

static struct auth_outcome on_answer(struct dialog *dialog, const struct answer *answer)
{
	struct auth *auth = dialog->auth;
	struct auth_outcome outcome;
	struct identity *identity;

	if (answer->verdict != VERDICT_VALID)
		return dialog_refuse_as(dialog, answer);
	identity = dialog_identity(dialog, answer);
	if (identity == NULL)
		return dialog_unavailable(dialog, SPAN("the user's name and groups are too long"));
	if (answer->has_ha1)
		cache_put(auth->cache, dialog->key, identity, answer->ha1, dialog->one.now_ms, auth->conf->cache_ms);
	outcome = use_count(dialog, &dialog->one, identity);
	identity_unref(identity);
	return outcome;
}

const struct dialog_scheme dialog_digest = {take, on_answer};
