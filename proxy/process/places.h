/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds how many sessions: the page of one worker in shared memory, with its metrics, its load
 * and its part of every client's count. A page has one writer; other workers read it to add up, so a
 * hostile worker can cost refusals and nothing else, and a dead one's share is taken off by clearing
 * its page. Readers may see a client's count for a moment too low while its writer moves entries. */
#ifndef PROCESS_PLACES_H
#define PROCESS_PLACES_H

#include <stdatomic.h>

#include "base/address.h"
#include "base/err.h"
#include "base/hash.h"
#include "session/metrics.h"

/* What a client holds: connections, and tunnels among them that are media by their shape. */
enum place_kind { PLACE_SESSION, PLACE_MEDIA, PLACE_KIND_COUNT };

struct place_slot {
	_Atomic uint64_t key; /* keyed hash of the client's address; 0: free */
	_Atomic uint32_t counts[PLACE_KIND_COUNT];
};

struct place_page {
	struct metrics metrics;
	_Alignas(64) _Atomic uint32_t session_count;
	_Atomic uint32_t is_accepting; /* alive, and takes new clients */
	_Atomic uint32_t is_paused;    /* but leaves them to others at the moment */
	_Alignas(64) struct place_slot slots[];
};

enum { PLACES_WORKERS_MAX = 64 };

/* The view of one worker: its own page and those of all others. */
struct places {
	struct place_page *own;
	const struct place_page *pages[PLACES_WORKERS_MAX]; /* all, own included */
	size_t count;
	size_t slot_count; /* a power of two, as the parent said; never read from a page */
	size_t used_slots; /* of the own page */
	struct hash_key key;
};

/* Slots that suffice for so many sessions, and the bytes of a page with that many slots. */
size_t places_slots_for(uint64_t sessions);
size_t places_page_bytes(size_t slot_count);

/* Take a place for a client; 0 for `per_client` means no limit, and so does a client without an IP address.
 * errors: ERR_LIMIT_SESSIONS, ERR_LIMIT_CLIENT; then none was taken. */
MUST_USE enum err places_enter(struct places *places, const struct address *client,
                               uint64_t sessions, uint64_t per_client);

/* Give it back. */
void places_leave(struct places *places, const struct address *client);

/* The same for one more tunnel that is media by its shape, of a client that has a place. False: it has as many as it may. */
MUST_USE bool places_enter_media(struct places *places, const struct address *client, uint64_t per_client);
void places_leave_media(struct places *places, const struct address *client);

/* Has this worker clearly more sessions than the mean of those that accept, or still more at all when it has paused? */
bool places_is_above_mean(const struct places *places);

/* Say that this worker leaves new clients to others; false, and nothing said, when all others do so. */
bool places_pause(struct places *places);
void places_resume(struct places *places);

/* For the parent, when the page's worker is dead: give all its places back, set its gauges to
 * zero. Counters stay. */
void places_clear(struct place_page *page, size_t slot_count);

#endif
