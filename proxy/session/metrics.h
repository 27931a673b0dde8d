/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker counts. One page per worker in shared memory, one writer (that worker), any number of
 * readers; all cells are 64-bit and written with plain stores. Adding a counter is adding a row. */
#ifndef SESSION_METRICS_H
#define SESSION_METRICS_H

#include <stdint.h>

#include "auth/auth.h"
#include "base/err.h"

/* X(name, "counter" or "gauge", text) */
#define METRICS_TABLE(X) \
	X(sessions, "gauge", "client connections open") \
	X(tunnels, "gauge", "tunnels open") \
	X(exchanges, "gauge", "exchanges under way") \
	X(origin_idle, "gauge", "idle origin connections kept") \
	X(sessions_total, "counter", "client connections accepted") \
	X(tunnels_total, "counter", "tunnels established") \
	X(exchanges_total, "counter", "exchanges finished") \
	X(replies_total, "counter", "replies made by the proxy itself") \
	X(denied_total, "counter", "requests denied by policy") \
	X(opened_total, "counter", "TLS sessions opened") \
	X(bytes_up_total, "counter", "bytes from clients to origins") \
	X(bytes_down_total, "counter", "bytes from origins to clients") \
	X(dns_queries_total, "counter", "questions to name servers") \
	X(dns_hits_total, "counter", "names answered from cache or hosts") \
	X(dials_total, "counter", "connections opened to origins") \
	X(origin_reused_total, "counter", "exchanges on a kept origin connection") \
	X(access_lines_total, "counter", "lines for the access log") \
	X(access_dropped_total, "counter", "lines of the access log that did not fit the ring") \
	X(surprises_total, "counter", "faults that ended one session") \
	X(loop_turns_total, "counter", "turns of the event loop") \
	X(longest_turn_us, "gauge", "longest turn of the event loop since the start")

/* How long sessions were in one state. Bucket n: less than 2^n ms, and not in the one before; the last one is for
 * all that is longer. */
enum { METRICS_STATES_MAX = 24, METRICS_BUCKETS = 18 };
struct metrics_times {
	uint64_t buckets[METRICS_BUCKETS], sum_ms;
};

/* A few ns: where states change. */
static inline void metrics_note_time(struct metrics_times *times, uint32_t ms)
{
	unsigned bucket = ms ? 32 - (unsigned)__builtin_clz(ms) : 0;

	times->buckets[bucket < METRICS_BUCKETS ? bucket : METRICS_BUCKETS - 1]++;
	times->sum_ms += ms;
}

struct metrics {
#define METRICS_CELL(name, kind, text) uint64_t name;
	METRICS_TABLE(METRICS_CELL)
#undef METRICS_CELL
	uint64_t errors[ERR_COUNT]; /* sessions and exchanges that ended with it */
	struct auth_metrics auth;
	struct metrics_times states[METRICS_STATES_MAX]; /* session_state_name() */
};

#endif
