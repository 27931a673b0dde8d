/* SPDX-License-Identifier: Apache-2.0 */
#include "session/pins_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum {
	PAIRS = 4096,
	CLIENTS = 4096,
	SUCCESSES = 16384,
	WAYS = 8, /* places that a hash may have */
	TOLD_AGAIN_MS = 3600 * 1000,
	PART_MAX_BYTES = 256,
};

/* What each record begins with. */
struct place {
	uint64_t hash, used_ms; /* used_ms 0: free */
};

/* A client and a host that it had trouble with. */
struct pair {
	struct place place;
	uint64_t told_ms; /* 0: never */
	struct pins_evidence evidence;
};

struct client {
	struct place place;
	uint64_t told_ms;
	struct pins_client state;
};

/* Successes are many, and must not drive out what is rare: a table of their own, in which the latest wins. */
struct success {
	uint64_t hash, at_ms;
};

struct pins_table {
	struct hash_key key;
	struct pair pairs[PAIRS];
	struct client clients[CLIENTS];
	struct success successes[SUCCESSES];
};

enum err pins_table_new(struct pins_table **out)
{
	*out = calloc(1, sizeof(**out));
	if (*out == NULL)
		return ERR_MEMORY;
	(*out)->key = hash_key_random();
	return ERR_NONE;
}

void pins_table_free(struct pins_table *table)
{
	free(table);
}

/* ---- records ---- */

/* The record of this hash, or the one of those in its place that was not used for longest. */
static struct place *look_for(void *records, size_t count, size_t record_bytes, uint64_t hash)
{
	uint8_t *first = (uint8_t *)records + hash % (count / WAYS) * WAYS * record_bytes;
	struct place *oldest = (struct place *)(void *)first;

	for (size_t i = 0; i < WAYS; i++) {
		struct place *place = (struct place *)(void *)(first + i * record_bytes);

		if (place->used_ms && place->hash == hash)
			return place;
		if (place->used_ms < oldest->used_ms)
			oldest = place;
	}
	return oldest;
}

static void *find(void *records, size_t count, size_t record_bytes, uint64_t hash, uint64_t now_ms)
{
	struct place *place = look_for(records, count, record_bytes, hash);

	if (place->used_ms == 0 || place->hash != hash) {
		memset(place, 0, record_bytes);
		place->hash = hash;
	}
	place->used_ms = now_ms;
	return place;
}

static struct client *client_of(struct pins_table *table, uint64_t hash, uint64_t now_ms)
{
	return find(table->clients, CLIENTS, sizeof(struct client), hash, now_ms);
}

static struct success *success_of(struct pins_table *table, uint64_t pair)
{
	return &table->successes[pair % SUCCESSES];
}

/* ---- what they are known by ---- */

struct hashes {
	uint64_t client, host, pair;
};

static uint64_t hash_of(const struct pins_table *table, struct span first, struct span second, struct span third)
{
	const struct span parts[] = {first, second, third};
	uint8_t text[COUNT_OF(parts) * (PART_MAX_BYTES + 1)];
	size_t len = 0;

	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		struct span part = span_first(parts[i], PART_MAX_BYTES);

		text[len++] = (uint8_t)part.len;
		memcpy(text + len, part.at, part.len);
		len += part.len;
	}
	return hash_bytes(&table->key, span_of(text, len));
}

static struct hashes hashes_of(const struct pins_table *table, const struct pins_key *key)
{
	struct address address = address_unmapped(&key->client);
	size_t len = address.family == AF_INET6 ? 8 : address.family == AF_INET ? 4 : 0;
	struct hashes hashes;

	hashes.client = hash_of(table, span_of(&address.family, sizeof(address.family)), span_of(address.bytes, len), key->user);
	hashes.host = hash_of(table, key->host, SPAN(""), SPAN(""));
	hashes.pair = hash_of(table, span_of(&hashes.client, sizeof(hashes.client)), key->host,
	                      span_of(&key->port, sizeof(key->port)));
	return hashes;
}

/* ---- what happened ---- */

static bool is_to_be_told(uint64_t *told_ms, uint64_t now_ms)
{
	if (*told_ms && now_ms - *told_ms < TOLD_AGAIN_MS)
		return false;
	*told_ms = now_ms;
	return true;
}

enum pins_news pins_table_fail(struct pins_table *table, const struct pins_key *key, enum pins_sign sign, uint64_t now_ms,
                               struct pins_told *told)
{
	struct hashes hashes = hashes_of(table, key);
	struct pair *pair = find(table->pairs, PAIRS, sizeof(struct pair), hashes.pair, now_ms);
	struct client *client = client_of(table, hashes.client, now_ms);
	const struct success *success = success_of(table, hashes.pair);
	uint64_t success_ms = success->hash == hashes.pair ? success->at_ms : 0;

	if (!pins_score_add(&pair->evidence, sign, now_ms))
		return PINS_NEWS_NONE;
	pins_score_note_failure(&client->state, hashes.host, pins_score_is_strong(sign));
	*told = (struct pins_told){pair->evidence, client->state.host_count};
	if (pins_score_is_untrusting(&client->state))
		return is_to_be_told(&client->told_ms, now_ms) ? PINS_NEWS_CA : PINS_NEWS_NONE;
	if (pins_score_judge(&pair->evidence, &client->state, success_ms, now_ms) != PINS_SUSPECTED)
		return PINS_NEWS_NONE;
	return is_to_be_told(&pair->told_ms, now_ms) ? PINS_NEWS_PIN : PINS_NEWS_NONE;
}

void pins_table_succeed(struct pins_table *table, const struct pins_key *key, uint64_t now_ms)
{
	struct hashes hashes = hashes_of(table, key);
	struct place *place = look_for(table->pairs, PAIRS, sizeof(struct pair), hashes.pair);

	if (place->hash == hashes.pair)
		CONTAINER_OF(place, struct pair, place)->evidence = (struct pins_evidence){.last_ms = 0};
	*success_of(table, hashes.pair) = (struct success){hashes.pair, now_ms};
	pins_score_note_success(&client_of(table, hashes.client, now_ms)->state, now_ms);
}
