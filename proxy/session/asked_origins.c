/* SPDX-License-Identifier: Apache-2.0 */
#include "session/asked_origins.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* A table of fixed size: what falls on a taken place replaces what was there, and costs one handshake more. */
enum { PLACES = 4096, KEPT_MS = 12 * 3600 * 1000, KEY_MAX_BYTES = 520 };

struct asked_origins {
	struct hash_key key;
	struct {
		uint64_t hash, until_ms;
	} places[PLACES];
};

enum err asked_origins_new(struct asked_origins **out)
{
	*out = calloc(1, sizeof(**out));
	if (*out == NULL)
		return ERR_MEMORY;
	(*out)->key = hash_key_random();
	return ERR_NONE;
}

void asked_origins_free(struct asked_origins *asked)
{
	free(asked);
}

static uint64_t hash_of(const struct asked_origins *asked, const struct http_host *authority, struct span sni)
{
	uint8_t text[KEY_MAX_BYTES];
	size_t len = 0;
	struct span parts[] = {span_first(authority->name, 255), SPAN(" "), span_first(sni, 255),
	                       span_of(&authority->port, sizeof(authority->port))};

	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		memcpy(text + len, parts[i].at, parts[i].len);
		len += parts[i].len;
	}
	return hash_bytes(&asked->key, span_of(text, len));
}

void asked_origins_add(struct asked_origins *asked, const struct http_host *authority, struct span sni, uint64_t now_ms)
{
	uint64_t hash = hash_of(asked, authority, sni);

	asked->places[hash % PLACES].hash = hash;
	asked->places[hash % PLACES].until_ms = now_ms + KEPT_MS;
}

bool asked_origins_has(const struct asked_origins *asked, const struct http_host *authority, struct span sni, uint64_t now_ms)
{
	uint64_t hash = hash_of(asked, authority, sni);

	return asked->places[hash % PLACES].hash == hash && asked->places[hash % PLACES].until_ms > now_ms;
}
