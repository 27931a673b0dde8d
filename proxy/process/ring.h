/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines from one worker to the logger: one writer, one reader, no lock, and no system call per
 * line: the reader looks by itself while lines come, and asks for the bell only before it sleeps. The
 * reader trusts nothing in it: the writer may be hostile. A line that does not fit is dropped. */
#ifndef PROCESS_RING_H
#define PROCESS_RING_H

#include <stdatomic.h>

#include "base/span.h"

enum {
	RING_DATA_BYTES = 1 << 20, /* a power of two */
	RING_LINE_MAX_BYTES = 1 << 16,
};

enum ring_kind { RING_ACCESS = 1, RING_EVENT /* + enum log_level */, RING_SECRETS = 32 };

struct ring {
	_Alignas(64) _Atomic uint64_t head; /* bytes ever written; the writer's */
	_Atomic uint64_t dropped_count;     /* the writer's */
	_Alignas(64) _Atomic uint64_t tail; /* bytes ever read; the reader's */
	_Atomic uint32_t wants_bell;        /* set by the reader before it sleeps */
	_Alignas(64) uint8_t data[RING_DATA_BYTES];
};

/* Append a line; `bell` is an eventfd that wakes a sleeping reader. False if it was dropped. */
bool ring_write(struct ring *ring, int bell, uint32_t kind, struct span line);

/* For the writer: has the reader come after it, so that a line about lost lines is not lost itself? */
bool ring_is_half_empty(const struct ring *ring);

/* Take the next line, copied to `out` (RING_LINE_MAX_BYTES). False if there is none; what is not a
 * valid record empties the ring and sets *broken. */
bool ring_read(struct ring *ring, uint8_t *out, size_t *len, uint32_t *kind, bool *broken);

/* Before sleeping: ask for the bell. False if lines came meanwhile: do not sleep. */
bool ring_may_sleep(struct ring *ring);

#endif
