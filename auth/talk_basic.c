/* SPDX-License-Identifier: Apache-2.0 */
/* Basic (RFC 7617): what was right lately is known, what was wrong lately, too; the rest is asked, once for all who ask
 * the same at the same time. */
#include <string.h>

#include "auth/scheme/basic.h"
#include "auth/talk.h"

static struct auth_outcome take_parsed(struct talk *talk, const struct auth_try *one, struct span user,
                                       struct span password)
{
	struct auth *auth = talk->auth;
	struct span texts[] = {SPAN("basic"), user, password};
	struct ask ask = {.kind = ASK_PASSWORD, .user = user, .password = password};
	const struct cache_entry *entry;

	if (!keyed_hash_make(auth->hash, texts, COUNT_OF(texts), talk->key))
		return talk_unavailable(talk, SPAN("OpenSSL cannot make a MAC"));
	entry = cache_find(auth->cache, talk->key, one->now_ms);
	if (entry == NULL)
		return talk_ask(talk, one, &ask, talk->key);
	auth->env.metrics->cache_hits++;
	return entry->identity ? talk_valid(talk, entry->identity)
	                       : talk_refuse(talk, one, "the same credentials were refused a moment ago");
}

static struct auth_outcome take(struct talk *talk, const struct auth_try *one, struct span credentials)
{
	struct auth_outcome outcome;
	struct buf user, password;
	const char *why;

	buf_init(&user, BASIC_MAX_BYTES);
	buf_init(&password, BASIC_MAX_BYTES);
	if (basic_parse(credentials, &user, &password, &why))
		outcome = take_parsed(talk, one, buf_span(&user), buf_span(&password));
	else
		outcome = talk_refuse(talk, one, why);
	if (password.at)
		explicit_bzero(password.at, password.capacity);
	buf_fini(&user);
	buf_fini(&password);
	return outcome;
}

static struct auth_outcome on_answer(struct talk *talk, const struct answer *answer)
{
	struct auth *auth = talk->auth;
	struct auth_outcome outcome;
	struct identity *identity;

	if (answer->verdict != VERDICT_VALID) {
		cache_put_wrong(auth->cache, talk->key, talk->one.now_ms, auth->conf->cache_ms);
		return talk_refuse_as(talk, answer);
	}
	identity = talk_identity(talk, answer);
	if (identity == NULL)
		return talk_unavailable(talk, SPAN("the user's name and groups are too long"));
	cache_put(auth->cache, talk->key, identity, NULL, talk->one.now_ms, auth->conf->cache_ms);
	outcome = talk_valid(talk, identity);
	identity_unref(identity);
	return outcome;
}

const struct talk_scheme talk_basic = {take, on_answer};
