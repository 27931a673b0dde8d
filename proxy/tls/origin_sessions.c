/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/origin_sessions.h"

#include <stdlib.h>
#include <string.h>

enum { OF_SCOPE_MAX = 2 };

struct entry {
	struct list used;         /* in all, longest unused first */
	struct entry *next;       /* of its bucket */
	struct tls_scope scope;
	SSL_SESSION *sessions[OF_SCOPE_MAX];
	uint64_t until_ms[OF_SCOPE_MAX];
};

struct origin_sessions {
	struct list all;
	struct entry **buckets;
	size_t bucket_count, count, max_count;
};

enum err origin_sessions_new(size_t max_count, struct origin_sessions **out)
{
	struct origin_sessions *sessions = calloc(1, sizeof(*sessions));

	if (sessions == NULL)
		return ERR_MEMORY;
	list_init(&sessions->all);
	sessions->max_count = max_count;
	sessions->bucket_count = 1024;
	sessions->buckets = calloc(sessions->bucket_count, sizeof(struct entry *));
	if (sessions->buckets == NULL) {
		free(sessions);
		return ERR_MEMORY;
	}
	*out = sessions;
	return ERR_NONE;
}

/* Scopes are digests: any part of them is a hash. */
static struct entry **bucket_of(struct origin_sessions *sessions, const struct tls_scope *scope)
{
	uint64_t hash;

	memcpy(&hash, scope->bytes, sizeof(hash));
	return &sessions->buckets[hash % sessions->bucket_count];
}

static struct entry *find(struct origin_sessions *sessions, const struct tls_scope *scope)
{
	struct entry *entry = *bucket_of(sessions, scope);

	while (entry && memcmp(&entry->scope, scope, sizeof(*scope)) != 0)
		entry = entry->next;
	return entry;
}

static void drop(struct origin_sessions *sessions, struct entry *entry)
{
	struct entry **at = bucket_of(sessions, &entry->scope);

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	list_remove(&entry->used);
	for (size_t i = 0; i < OF_SCOPE_MAX; i++)
		SSL_SESSION_free(entry->sessions[i]);
	free(entry);
	sessions->count--;
}

void origin_sessions_clear(struct origin_sessions *sessions, size_t max_count)
{
	struct list *link;

	while ((link = list_first(&sessions->all)) != NULL)
		drop(sessions, LIST_ENTRY(link, struct entry, used));
	sessions->max_count = max_count;
}

void origin_sessions_free(struct origin_sessions *sessions)
{
	if (sessions == NULL)
		return;
	origin_sessions_clear(sessions, 0);
	free(sessions->buckets);
	free(sessions);
}

static struct entry *add(struct origin_sessions *sessions, const struct tls_scope *scope)
{
	struct entry *entry = sessions->max_count ? calloc(1, sizeof(*entry)) : NULL;

	if (entry == NULL)
		return NULL;
	if (sessions->count >= sessions->max_count)
		drop(sessions, LIST_ENTRY(list_first(&sessions->all), struct entry, used));
	entry->scope = *scope;
	entry->next = *bucket_of(sessions, scope);
	*bucket_of(sessions, scope) = entry;
	list_add_last(&sessions->all, &entry->used);
	sessions->count++;
	return entry;
}

void origin_sessions_put(struct origin_sessions *sessions, const struct tls_scope *scope, SSL_SESSION *session, uint64_t until_ms)
{
	struct entry *entry = find(sessions, scope);
	size_t at = 0;

	if (entry == NULL)
		entry = add(sessions, scope);
	if (entry == NULL) {
		SSL_SESSION_free(session);
		return;
	}
	/* A free place, else the older one's. */
	if (entry->sessions[0] && (entry->sessions[1] == NULL || entry->until_ms[1] < entry->until_ms[0]))
		at = 1;
	SSL_SESSION_free(entry->sessions[at]);
	entry->sessions[at] = session;
	entry->until_ms[at] = until_ms;
}

SSL_SESSION *origin_sessions_take(struct origin_sessions *sessions, const struct tls_scope *scope, uint64_t now_ms,
                                  uint64_t *until_ms)
{
	struct entry *entry = find(sessions, scope);

	if (entry == NULL)
		return NULL;
	for (size_t i = 0; i < OF_SCOPE_MAX; i++) {
		SSL_SESSION *session = entry->sessions[i];

		if (session == NULL)
			continue;
		if (entry->until_ms[i] < now_ms || !SSL_SESSION_is_resumable(session)) {
			SSL_SESSION_free(session);
			entry->sessions[i] = NULL;
			continue;
		}
		*until_ms = entry->until_ms[i];
		list_remove(&entry->used);
		list_add_last(&sessions->all, &entry->used);
		if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION)
			SSL_SESSION_up_ref(session);
		else
			entry->sessions[i] = NULL;
		return session;
	}
	drop(sessions, entry);
	return NULL;
}
