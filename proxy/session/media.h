/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of one call: whether its first bytes are those of one, and how its packets came. Pure: it is told what came and
 * when, and touches nothing. media_tunnel.c has the tunnel around it. */
#ifndef SESSION_MEDIA_H
#define SESSION_MEDIA_H

#include "net/pump.h"
#include "session/media_frames.h"
#include "tls/hello.h"

enum {
	MEDIA_PAUSE_US = 5000000,     /* so long a silence is a pause (hold, mute), no stall */
	MEDIA_LOOK_MAX_BYTES = 4096,  /* that a second frame has to come within */
};

/* One direction. */
struct media_flow {
	struct media_frames frames;
	bool has_gap, is_waiting;
	uint64_t packets, bytes;
	uint64_t last_us;             /* when the last packet came; 0: none did */
	uint64_t longest_gap_us;      /* without pauses; where has_gap */
	uint64_t waits_since_us;      /* where is_waiting */
	uint64_t waited_us, longest_wait_us;
	uint32_t stalls, pauses, waits;
};

enum media_state {
	MEDIA_LOOKS, /* is it a call? The client's first bytes will tell */
	MEDIA_OTHER, /* it is none */
	MEDIA_RUNS,
	MEDIA_WAS,   /* it was taken for one, and moves more than calls do */
	MEDIA_TOO_MANY, /* it begins like one, and its client has enough of them */
};

struct media {
	struct media_flow flows[2]; /* by enum pump_side */
	uint64_t stall_us;
	uint8_t state;              /* enum media_state */
	uint8_t shape;              /* enum hello_class: by what it was recognised; HELLO_TLS: it was not, a rule said so */
	uint8_t first_len;
	uint8_t first[HELLO_CLASSIFY_MAX_BYTES]; /* of the client, MEDIA_LOOKS */
};

/* It is one because a rule says so, or (`looks`) if its first bytes say so. */
void media_init(struct media *media, uint64_t stall_ms, bool looks);

/* What came from a side, just now, by the monotonic clock. MEDIA_LOOKS becomes another state in here. */
void media_note(struct media *media, enum pump_side from, struct span bytes, uint64_t now_us);

/* The receiver does not take what came from this side, so it is stored; or it has taken all of that. */
void media_note_wait(struct media *media, enum pump_side from, bool is_waiting, uint64_t now_us);

/* The tunnel has ended. A gap that is open then is none where the end was in order: the call was over. */
void media_note_end(struct media *media, struct pump_end end, uint64_t now_us);

/* Of both directions. The longest gap is UINT64_MAX where no two packets came one behind the other. */
uint64_t media_packet_count(const struct media *media);
uint64_t media_stall_count(const struct media *media);
uint64_t media_longest_gap_ms(const struct media *media);

/* Append all of it as an object, for the access log: the names are a contract. */
void media_add_json(const struct media *media, struct buf *out);

#endif
