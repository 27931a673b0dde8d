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
	X(media_tunnels, "gauge", "tunnels of class media open: calls for which this proxy is the last resort") \
	X(origin_idle, "gauge", "idle origin connections kept") \
	X(sessions_total, "counter", "client connections accepted") \
	X(tunnels_total, "counter", "tunnels established") \
	X(media_tunnels_total, "counter", "tunnels of class media, by rule or by their first bytes") \
	X(media_recognised_total, "counter", "tunnels of class auto whose first bytes were those of a call") \
	X(media_demoted_total, "counter", "tunnels that were taken for calls and moved more than calls do (classes.media.most)") \
	X(media_too_many_total, "counter", "tunnels whose first bytes were those of a call, and whose client had enough calls (classes.media.per_client)") \
	X(media_packets_total, "counter", "packets of media tunnels, both directions; where no framing is seen, reads") \
	X(media_stalls_total, "counter", "gaps between packets of one direction above classes.media.stall, below 5 s") \
	X(media_waits_total, "counter", "times that packets waited in the proxy because their receiver took none") \
	X(media_bytes_up_total, "counter", "bytes of media tunnels from clients") \
	X(media_bytes_down_total, "counter", "bytes of media tunnels from origins") \
	X(exchanges_total, "counter", "exchanges finished") \
	X(replies_total, "counter", "replies made by the proxy itself") \
	X(denied_total, "counter", "requests denied by policy") \
	X(opened_total, "counter", "TLS sessions opened") \
	X(pin_failures_strong_total, "counter", "handshakes that clients ended with an alert about our certificate") \
	X(pin_failures_weak_total, "counter", "connections that clients closed at our certificate without a word") \
	X(pins_suspected_total, "counter", "clients and hosts that were said to be pinned") \
	X(leaves_signed_total, "counter", "certificates signed for opened hosts") \
	X(bytes_up_total, "counter", "bytes from clients to origins") \
	X(bytes_down_total, "counter", "bytes from origins to clients") \
	X(rate_waits_total, "counter", "times that a session waited for its rate limits") \
	X(rate_waited_ms_total, "counter", "time that sessions waited for their rate limits") \
	X(rate_shared_total, "counter", "portions taken from a bucket that others had, too: the table of rate limits was full") \
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

/* Media tunnels of the clients of one network: an IPv4 /24, or an IPv6 /64. */
struct metrics_network {
	uint64_t family; /* 4, 6; 0: free */
	uint64_t base;   /* the first 8 bytes of its addresses */
	uint64_t tunnels, tunnels_total;
	uint64_t used_at; /* media_tunnels_total when one began or ended last */
	uint64_t version; /* odd while the row becomes another network's */
};
enum { METRICS_NETWORKS_MAX = 32 };

struct metrics {
#define METRICS_CELL(name, kind, text) uint64_t name;
	METRICS_TABLE(METRICS_CELL)
#undef METRICS_CELL
	uint64_t errors[ERR_COUNT]; /* sessions and exchanges that ended with it */
	struct auth_metrics auth;
	struct metrics_times states[METRICS_STATES_MAX]; /* session_state_name() */
	struct metrics_times media_gaps; /* longest gap of each media tunnel that has ended */
	struct metrics_network media_networks[METRICS_NETWORKS_MAX], media_others; /* the last: those for which there was no row */
	uint64_t media_last_ms; /* monotonic clock, when there was one last; 0: never */
};

#endif
