/* SPDX-License-Identifier: Apache-2.0 */
/* Basic (RFC 7617): what was right lately is known, what was wrong lately, too; the rest is asked, once for all who ask
 * the same at the same time. */
#include <string.h>

#include "auth/scheme/basic.h"
#include "auth/dialog.h"

static struct auth_outcome take_parsed(struct dialog *dialog, const struct auth_try *one, struct span user,
                                       struct span password)
{
	struct auth *auth = dialog->auth;
	struct span texts[] = {SPAN("basic"), user, password};
	struct ask ask = {.kind = ASK_PASSWORD, .user = user, .password = password};
	const struct cache_entry *entry;

	if (!keyed_hash_make(auth->hash, texts, COUNT_OF(texts), dialog->key))
		return dialog_unavailable(dialog, SPAN("OpenSSL cannot make a MAC"));
	entry = cache_find(auth->cache, dialog->key, one->now_ms);
	if (entry == NULL)
		return dialog_ask(dialog, one, &ask, dialog->key);
	auth->env.metrics->cache_hits++;
	return entry->identity ? dialog_valid(dialog, entry->identity)
	                       : dialog_refuse(dialog, one, "the same credentials were refused a moment ago");
}

static struct auth_outcome take(struct dialog *dialog, const struct auth_try *one, struct span credentials)
{
	struct auth_outcome outcome;
	struct buf user, password;
	const char *why;

	buf_init(&user, BASIC_MAX_BYTES);
	buf_init(&password, BASIC_MAX_BYTES);
	if (basic_parse(credentials, &user, &password, &why))
		outcome = take_parsed(dialog, one, buf_span(&user), buf_span(&password));
	else
		outcome = dialog_refuse(dialog, one, why);
	if (password.at)
		explicit_bzero(password.at, password.capacity);
	buf_fini(&user);
	buf_fini(&password);
	return outcome;
}

static struct auth_outcome on_answer(struct dialog *dialog, const struct answer *answer)
{
	struct auth *auth = dialog->auth;
	struct auth_outcome outcome;
	struct identity *identity;

	if (answer->verdict != VERDICT_VALID) {
		cache_put_wrong(auth->cache, dialog->key, dialog->one.now_ms, auth->conf->cache_ms);
		return dialog_refuse_as(dialog, answer);
	}
	identity = dialog_identity(dialog, answer);
	if (identity == NULL)
		return dialog_unavailable(dialog, SPAN("the user's name and groups are too long"));
	cache_put(auth->cache, dialog->key, identity, NULL, dialog->one.now_ms, auth->conf->cache_ms);
	outcome = dialog_valid(dialog, identity);
	identity_unref(identity);
	return outcome;
}

const struct dialog_scheme dialog_basic = {take, on_answer};
