/* SPDX-License-Identifier: Apache-2.0 */
#include "process/places.h"

#include <string.h>

#include "session/media_networks.h"

enum { CLIENT_BYTES = 8, SLOTS_MIN = 1024, SLOTS_MAX = 1 << 21 };

size_t places_slots_for(uint64_t sessions)
{
	size_t slots = SLOTS_MIN;

	/* At most half full, so that looking for a client that is not there ends soon. */
	while (slots < SLOTS_MAX && slots / 2 < sessions)
		slots *= 2;
	return slots;
}

size_t places_page_bytes(size_t slot_count)
{
	return sizeof(struct place_page) + slot_count * sizeof(struct place_slot);
}

static uint64_t key_of(const struct places *places, const struct address *client)
{
	struct address plain = address_unmapped(client);
	/* Of IPv6, one subscriber has a whole /64. */
	uint64_t key = hash_bytes(&places->key, span_of(plain.bytes, CLIENT_BYTES));

	return key ? key : 1;
}

/* Behind a UNIX socket are many clients without an address of their own. */
static bool is_named(const struct address *client)
{
	return client->family == AF_INET || client->family == AF_INET6;
}

static uint64_t load(const _Atomic uint64_t *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

static void store(_Atomic uint64_t *cell, uint64_t value)
{
	atomic_store_explicit(cell, value, memory_order_relaxed);
}

static uint32_t load_count(const struct place_slot *slot, enum place_kind kind)
{
	return atomic_load_explicit(&slot->counts[kind], memory_order_relaxed);
}

static void store_count(struct place_slot *slot, enum place_kind kind, uint32_t value)
{
	atomic_store_explicit(&slot->counts[kind], value, memory_order_relaxed);
}

/* The slot of a key in a page: where it is, or the free one where it would be; slot_count if the
 * page is full (or its writer is hostile). */
static size_t find(const struct place_page *page, size_t slot_count, uint64_t key)
{
	size_t at = key & (slot_count - 1);

	for (size_t i = 0; i < slot_count; i++, at = (at + 1) & (slot_count - 1)) {
		uint64_t there = load(&page->slots[at].key);

		if (there == key || there == 0)
			return at;
	}
	return slot_count;
}

static uint32_t count_in(const struct place_page *page, size_t slot_count, uint64_t key, enum place_kind kind)
{
	size_t at = find(page, slot_count, key);

	return at < slot_count && load(&page->slots[at].key) == key ? load_count(&page->slots[at], kind) : 0;
}

/* Its slot in the own page; NULL: it has none. */
static struct place_slot *own_slot(struct places *places, uint64_t key)
{
	size_t at = find(places->own, places->slot_count, key);

	return at < places->slot_count && load(&places->own->slots[at].key) == key ? &places->own->slots[at] : NULL;
}

static bool add_client(struct places *places, uint64_t key)
{
	size_t at = find(places->own, places->slot_count, key);
	struct place_slot *slot;

	if (at == places->slot_count)
		return false;
	slot = &places->own->slots[at];
	if (load(&slot->key) == 0) {
		if (places->used_slots >= places->slot_count - places->slot_count / 8)
			return false;
		places->used_slots++;
		for (int kind = 0; kind < PLACE_KIND_COUNT; kind++)
			store_count(slot, (enum place_kind)kind, 0);
		store(&slot->key, key);
	}
	store_count(slot, PLACE_SESSION, load_count(slot, PLACE_SESSION) + 1);
	return true;
}

/* Close the gap at `hole` with entries behind it that belong before it (linear probing). */
static void close_gap(struct places *places, size_t hole)
{
	struct place_slot *slots = places->own->slots;
	size_t mask = places->slot_count - 1;

	for (size_t at = (hole + 1) & mask; load(&slots[at].key); at = (at + 1) & mask) {
		size_t home = load(&slots[at].key) & mask;

		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		for (int kind = 0; kind < PLACE_KIND_COUNT; kind++)
			store_count(&slots[hole], (enum place_kind)kind, load_count(&slots[at], (enum place_kind)kind));
		store(&slots[hole].key, load(&slots[at].key));
		hole = at;
	}
	store(&slots[hole].key, 0);
	places->used_slots--;
}

static void remove_client(struct places *places, uint64_t key)
{
	struct place_slot *slot = own_slot(places, key);

	if (slot == NULL)
		return;
	if (load_count(slot, PLACE_SESSION) > 1)
		store_count(slot, PLACE_SESSION, load_count(slot, PLACE_SESSION) - 1);
	else
		close_gap(places, (size_t)(slot - places->own->slots));
}

static uint64_t sum_sessions(const struct places *places)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < places->count; i++)
		sum += atomic_load(&places->pages[i]->session_count);
	return sum;
}

static uint64_t sum_client(const struct places *places, uint64_t key, enum place_kind kind)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < places->count; i++)
		sum += count_in(places->pages[i], places->slot_count, key, kind);
	return sum;
}

enum err places_enter(struct places *places, const struct address *client, uint64_t sessions,
                      uint64_t per_client)
{
	uint64_t key = key_of(places, client);
	enum err err = ERR_NONE;

	/* Count first, then look: of two workers at the edge, none lets one too many in. */
	atomic_fetch_add(&places->own->session_count, 1);
	if (sum_sessions(places) > sessions) {
		err = ERR_LIMIT_SESSIONS;
	} else if (!is_named(client)) {
		return ERR_NONE;
	} else if (!add_client(places, key)) {
		err = ERR_LIMIT_CLIENT;
	} else if (per_client) {
		atomic_thread_fence(memory_order_seq_cst);
		if (sum_client(places, key, PLACE_SESSION) > per_client) {
			remove_client(places, key);
			err = ERR_LIMIT_CLIENT;
		}
	}
	if (err)
		atomic_fetch_sub(&places->own->session_count, 1);
	return err;
}

void places_leave(struct places *places, const struct address *client)
{
	if (is_named(client))
		remove_client(places, key_of(places, client));
	atomic_fetch_sub(&places->own->session_count, 1);
}

bool places_enter_media(struct places *places, const struct address *client, uint64_t per_client)
{
	uint64_t key = key_of(places, client);
	struct place_slot *slot = is_named(client) ? own_slot(places, key) : NULL;

	if (slot == NULL)
		return !is_named(client);
	store_count(slot, PLACE_MEDIA, load_count(slot, PLACE_MEDIA) + 1);
	atomic_thread_fence(memory_order_seq_cst);
	if (per_client == 0 || sum_client(places, key, PLACE_MEDIA) <= per_client)
		return true;
	places_leave_media(places, client);
	return false;
}

void places_leave_media(struct places *places, const struct address *client)
{
	struct place_slot *slot = is_named(client) ? own_slot(places, key_of(places, client)) : NULL;

	if (slot && load_count(slot, PLACE_MEDIA))
		store_count(slot, PLACE_MEDIA, load_count(slot, PLACE_MEDIA) - 1);
}

bool places_is_above_mean(const struct places *places)
{
	uint64_t own = atomic_load_explicit(&places->own->session_count, memory_order_relaxed);
	uint64_t sum = own, count = 1, mean;

	for (size_t i = 0; i < places->count; i++) {
		const struct place_page *page = places->pages[i];

		if (page == places->own ||
		    !atomic_load_explicit(&page->is_accepting, memory_order_relaxed))
			continue;
		sum += atomic_load_explicit(&page->session_count, memory_order_relaxed);
		count++;
	}
	mean = sum / count;
	return own > mean + (atomic_load_explicit(&places->own->is_paused, memory_order_relaxed) ? 0 : 1 + mean / 8);
}

/* Said before it looks at the others, so that of two that do so at once one sees the other, or both do. */
bool places_pause(struct places *places)
{
	atomic_store(&places->own->is_paused, 1);
	for (size_t i = 0; i < places->count; i++) {
		const struct place_page *page = places->pages[i];

		if (page != places->own && atomic_load(&page->is_accepting) && !atomic_load(&page->is_paused))
			return true;
	}
	places_resume(places);
	return false;
}

void places_resume(struct places *places)
{
	atomic_store(&places->own->is_paused, 0);
}

void places_clear(struct place_page *page, size_t slot_count)
{
	struct metrics *metrics = &page->metrics;

	atomic_store(&page->is_accepting, 0);
	atomic_store(&page->is_paused, 0);
	for (size_t i = 0; i < slot_count; i++) {
		/* Read first: a page of memory that was never written stays unwritten. */
		if (load(&page->slots[i].key) == 0)
			continue;
		store(&page->slots[i].key, 0);
	}
	metrics->sessions = metrics->tunnels = metrics->exchanges = metrics->origin_idle = 0;
	media_networks_clear(metrics);
	atomic_store(&page->session_count, 0);
}
