/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits of what is read from one stream. Bytes are taken from the buckets of all limits in portions of about 20 ms before they
 * are read; where they are not there yet, the stream is not read until they are, and TCP slows the sender down: nothing is stored,
 * dropped or refused. A stream of class media is not limited, nor counted (net/stream.h looks).
 *
 * Buckets hand out in the order of asking, over all workers. Who has not used its last portion within a second, though, does not
 * wait behind the downloads of others for a small one: it is charged all the same. */
#ifndef NET_METER_H
#define NET_METER_H

#include "base/hash.h"
#include "net/loop.h"
#include "net/rate_table.h"

struct stream;

enum meter_kind { METER_RULE, METER_CLIENT, METER_USER, METER_KIND_COUNT };

enum { METER_LIMITS_MAX = 4 };

/* "rule", "client", "user" */
const char *meter_kind_name(enum meter_kind kind);

/* What the meters of one worker share. */
struct meters {
	struct loop *loop;
	struct rate_table *table;
	uint64_t rates[METER_KIND_COUNT]; /* bytes per second, in force now; 0: no limit; METER_RULE: unused */
	uint64_t burst_ms;
	struct hash_key key;              /* for those who make keys of buckets */
	uint64_t *waits_total, *waited_ms_total; /* metrics */
};

struct meter_limit {
	uint64_t key;         /* of its bucket: not 0 */
	uint64_t bytes_per_s; /* METER_RULE */
	enum meter_kind kind;
};

struct meter {
	struct meters *meters;
	struct stream *stream; /* NULL: stopped */
	struct loop_timer timer;
	uint64_t due_ms;       /* while it waits */
	uint64_t waits_at;     /* the sum of its rates when it began to */
	uint64_t taken_ms;     /* when the portion was taken, or there */
	uint64_t waited_ms;    /* all in all */
	uint32_t portion_bytes; /* taken, and not read yet */
	bool waits, has_taken;
	uint8_t slowest;       /* enum meter_kind: the limit that it waited for last */
	uint8_t count;
	struct meter_limit limits[METER_LIMITS_MAX];
};

/* Nothing is limited yet. borrows: meters. */
void meter_init(struct meter *meter, struct meters *meters);

/* Limit what is read from the stream (its `meter` is set) by these, up to METER_LIMITS_MAX, until meter_stop(), which comes before
 * the stream is closed or becomes another's. */
void meter_start(struct meter *meter, struct stream *stream, const struct meter_limit *limits, size_t count);

/* One more, if there is room for it and it is not there. */
void meter_add(struct meter *meter, struct meter_limit limit);

/* No more limits; what was taken and not used is given back. Stopped already is fine. */
void meter_stop(struct meter *meter);

/* How many bytes, up to `want`, may be read now. 0: none; the stream's on_ready runs once more when there are. */
size_t meter_room(struct meter *meter, size_t want);

/* So many were read. */
void meter_use(struct meter *meter, size_t bytes);

/* So many were read before it began: they are charged, and nobody waits. */
void meter_charge(struct meter *meter, size_t bytes);

#endif
