/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/auth.h"

#include <stdlib.h>
#include <string.h>

#include "auth/dialog.h"

enum { NAME_MAX_BYTES = 255, NAMES_WHY_MAX_BYTES = 500 };

enum err auth_new(const struct auth_env *env, struct auth **out)
{
	struct auth *auth = calloc(1, sizeof(*auth));
	enum err err;

	if (auth == NULL)
		return ERR_MEMORY;
	auth->env = *env;
	for (size_t i = 0; i < COUNT_OF(auth->names); i++)
		buf_init(&auth->names[i], NAME_MAX_BYTES);
	buf_init(&auth->no_names, NAMES_WHY_MAX_BYTES);
	err = broker_new(env->send, env->context, &auth->broker);
	if (err == ERR_NONE)
		err = cache_new(&auth->cache);
	if (err == ERR_NONE)
		err = keyed_hash_new(&auth->hash);
	if (err) {
		auth_free(auth);
		return err;
	}
	*out = auth;
	return ERR_NONE;
}

void auth_free(struct auth *auth)
{
	if (auth == NULL)
		return;
	broker_free(auth->broker);
	cache_free(auth->cache);
	keyed_hash_free(auth->hash);
	for (size_t i = 0; i < COUNT_OF(auth->names); i++)
		buf_fini(&auth->names[i]);
	buf_fini(&auth->no_names);
	explicit_bzero(&auth->env.keys, sizeof(auth->env.keys));
	free(auth);
}

void auth_metrics_add(struct auth_metrics *sum, const struct auth_metrics *one)
{
	for (size_t i = 0; i < AUTH_SCHEME_COUNT; i++)
		for (size_t j = 0; j < AUTH_RESULT_COUNT; j++)
			sum->attempts[i][j] += one->attempts[i][j];
	sum->asks += one->asks;
	sum->cache_hits += one->cache_hits;
	sum->kerberos += one->kerberos;
	sum->ntlm_v1 += one->ntlm_v1;
}

void auth_use(struct auth *auth, const struct auth_conf *conf)
{
	auth->conf = conf;
	cache_clear(auth->cache);
}

/* Five texts, each ended by a NUL: four names, and why there are none. */
void auth_write_names(const struct ntlm_names *names, struct span why, struct buf *out)
{
	const struct span texts[] = {names->netbios_domain, names->netbios_computer, names->dns_domain,
	                             names->dns_computer, why};

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		buf_add(out, texts[i]);
		buf_add_byte(out, 0);
	}
}

bool auth_take_names(struct auth *auth, struct span bytes)
{
	struct span text;

	for (size_t i = 0; i < COUNT_OF(auth->names); i++) {
		if (!span_split(&bytes, 0, &text) || text.len > NAME_MAX_BYTES)
			return false;
		buf_reset(&auth->names[i]);
		buf_add(&auth->names[i], text);
	}
	if (!span_split(&bytes, 0, &text) || bytes.len)
		return false;
	buf_reset(&auth->no_names);
	buf_add(&auth->no_names, span_first(text, NAMES_WHY_MAX_BYTES));
	auth->has_names = text.len == 0;
	return true;
}

bool auth_take_answer(struct auth *auth, uint64_t id, struct span bytes)
{
	return broker_take(auth->broker, id, bytes);
}

void auth_lose_verifier(struct auth *auth)
{
	broker_lose_all(auth->broker);
}

void auth_sweep(struct auth *auth)
{
	broker_sweep(auth->broker);
}
