/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks, in milliseconds. Code on a worker's loop takes time from loop_now_ms() instead. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#include "base/buf.h"

/* Since some point in the past; never goes back. */
uint64_t clock_monotonic_ms(void);
uint64_t clock_monotonic_us(void);

/* Since 1970-01-01 UTC. */
uint64_t clock_wall_ms(void);

/* Append as RFC 3339 in UTC with milliseconds: 2026-11-23T08:13:59.123Z. */
void clock_add_rfc3339(struct buf *buf, uint64_t wall_ms);

#endif
