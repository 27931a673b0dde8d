/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/cache.h"

#include <stdlib.h>
#include <string.h>

enum { PLACES = 1 << 14, WAYS = 4, WRONG_FIRST_MS = 1000, FAILURES_MAX = 10, FORGOTTEN_MS = 300000 };

struct cache {
	struct cache_entry entries[PLACES];
};

enum err cache_new(struct cache **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? ERR_NONE : ERR_MEMORY;
}

static void clear_entry(struct cache_entry *entry)
{
	identity_unref(entry->identity);
	explicit_bzero(entry, sizeof(*entry));
}

void cache_clear(struct cache *cache)
{
	for (size_t i = 0; i < PLACES; i++)
		if (cache->entries[i].until_ms)
			clear_entry(&cache->entries[i]);
}

void cache_free(struct cache *cache)
{
	if (cache)
		cache_clear(cache);
	free(cache);
}

/* Keys are evenly spread: they come out of a MAC. */
static size_t set_of(const uint8_t key[static KEYED_HASH_BYTES])
{
	uint32_t number;

	memcpy(&number, key, sizeof(number));
	return number % (PLACES / WAYS) * WAYS;
}

const struct cache_entry *cache_find(const struct cache *cache, const uint8_t key[static KEYED_HASH_BYTES],
                                     uint64_t now_ms)
{
	const struct cache_entry *set = &cache->entries[set_of(key)];

	for (size_t i = 0; i < WAYS; i++)
		if (set[i].until_ms > now_ms && memcmp(set[i].key, key, KEYED_HASH_BYTES) == 0)
			return &set[i];
	return NULL;
}

/* The place of this key; else one that is free, else the one that ends first. */
static struct cache_entry *place_for(struct cache *cache, const uint8_t key[static KEYED_HASH_BYTES])
{
	struct cache_entry *set = &cache->entries[set_of(key)], *least = set;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].until_ms && memcmp(set[i].key, key, KEYED_HASH_BYTES) == 0)
			return &set[i];
		if (set[i].until_ms < least->until_ms)
			least = &set[i];
	}
	clear_entry(least);
	memcpy(least->key, key, KEYED_HASH_BYTES);
	return least;
}

void cache_put(struct cache *cache, const uint8_t key[static KEYED_HASH_BYTES], struct identity *identity,
               const uint8_t *ha1, uint64_t now_ms, uint64_t valid_ms)
{
	struct cache_entry *entry;

	if (valid_ms == 0)
		return;
	entry = place_for(cache, key);
	identity_ref(identity);
	identity_unref(entry->identity);
	entry->identity = identity;
	entry->failures = 0;
	entry->until_ms = now_ms + valid_ms;
	if (ha1)
		memcpy(entry->ha1, ha1, sizeof(entry->ha1));
}

void cache_put_wrong(struct cache *cache, const uint8_t key[static KEYED_HASH_BYTES], uint64_t now_ms,
                     uint64_t longest_ms)
{
	struct cache_entry *entry;
	uint64_t wrong_ms;

	if (longest_ms == 0)
		return;
	entry = place_for(cache, key);
	if (entry->until_ms + FORGOTTEN_MS < now_ms)
		entry->failures = 0;
	identity_unref(entry->identity);
	entry->identity = NULL;
	wrong_ms = (uint64_t)WRONG_FIRST_MS << entry->failures;
	if (entry->failures < FAILURES_MAX)
		entry->failures++;
	entry->until_ms = now_ms + (wrong_ms < longest_ms ? wrong_ms : longest_ms);
}
