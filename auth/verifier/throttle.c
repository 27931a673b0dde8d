/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/verifier/throttle.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum { SLOTS = 1 << 15, WAYS = 4, KNOWN_MS = 86400000, IPV6_PREFIX_BYTES = 8 };

/* One client, or one user from one client. `until_ms` is when the last failure will be forgotten: so many times
 * `every_ms` from now are so many failures. */
struct slot {
	uint64_t key, until_ms, known_until_ms, right;
};

struct throttle {
	struct hash_key hash;
	struct slot slots[SLOTS];
};

enum err throttle_new(struct throttle **out)
{
	*out = calloc(1, sizeof(**out));
	if (*out == NULL)
		return ERR_MEMORY;
	(*out)->hash = hash_key_random();
	return ERR_NONE;
}

void throttle_free(struct throttle *throttle)
{
	free(throttle);
}

static uint64_t key_of(const struct throttle *throttle, const struct address *client, struct span user)
{
	struct buf text;
	uint64_t key;

	buf_init(&text, 2048);
	buf_add_byte(&text, (uint8_t)client->family);
	buf_add(&text, span_of(client->bytes, client->family == AF_INET6 ? IPV6_PREFIX_BYTES : 4));
	buf_add(&text, span_first(user, 1024));
	key = hash_bytes(&throttle->hash, buf_span(&text));
	buf_fini(&text);
	return key | 1; /* 0 is a free slot */
}

/* The slot of this key; with `make`, one that is free or says least is taken for it. */
static struct slot *find(struct throttle *throttle, uint64_t key, bool make)
{
	struct slot *set = &throttle->slots[(key >> 8) % (SLOTS / WAYS) * WAYS], *least = set;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].until_ms < least->until_ms)
			least = &set[i];
	}
	if (!make)
		return NULL;
	*least = (struct slot){.key = key};
	return least;
}

static bool is_over(const struct slot *slot, uint64_t most, uint64_t every_ms, uint64_t now_ms)
{
	return slot && most && slot->until_ms > now_ms && slot->until_ms - now_ms > (most - 1) * every_ms;
}

/* What was right; never the password itself. */
static uint64_t hash_of(const struct throttle *throttle, struct span password)
{
	return password.len ? hash_bytes(&throttle->hash, password) | 1 : 0;
}

bool throttle_allows(struct throttle *throttle, const struct failures_conf *conf, const struct throttle_try *one)
{
	const struct slot *own = find(throttle, key_of(throttle, &one->client, one->user), false);
	const struct slot *all = find(throttle, key_of(throttle, &one->client, SPAN("")), false);
	bool is_known = own && own->known_until_ms > one->now_ms;

	if (is_known && own->right && own->right == hash_of(throttle, one->password))
		return true;
	if (is_over(own, conf->per_user, conf->every_ms, one->now_ms))
		return false;
	return is_known || !is_over(all, conf->per_client, conf->every_ms, one->now_ms);
}

static void add_failure(struct slot *slot, uint64_t every_ms, uint64_t now_ms)
{
	slot->until_ms = (slot->until_ms > now_ms ? slot->until_ms : now_ms) + every_ms;
}

void throttle_note(struct throttle *throttle, const struct failures_conf *conf, const struct throttle_try *one,
                   bool valid)
{
	uint64_t key = key_of(throttle, &one->client, one->user);
	struct slot *own = find(throttle, key, true);

	if (valid) {
		*own = (struct slot){.key = key,
		                     .known_until_ms = one->now_ms + KNOWN_MS,
		                     .right = hash_of(throttle, one->password)};
		return;
	}
	add_failure(own, conf->every_ms, one->now_ms);
	if (one->user.len)
		add_failure(find(throttle, key_of(throttle, &one->client, SPAN("")), true), conf->every_ms, one->now_ms);
}
