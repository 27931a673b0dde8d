/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a wire format from a span. The first read beyond the end sets `overrun`, which sticks;
 * later reads give zeros, so a parser checks once, at its end. Integers are big-endian. */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include "base/span.h"

struct cursor {
	struct span rest;
	bool overrun;
};

static inline struct cursor cursor_over(struct span bytes)
{
	return (struct cursor){bytes, false};
}

/* The next `count` bytes; the empty span after an overrun. */
struct span cursor_take(struct cursor *cursor, size_t count);
uint8_t cursor_u8(struct cursor *cursor);
uint16_t cursor_u16(struct cursor *cursor);
uint32_t cursor_u24(struct cursor *cursor);
uint32_t cursor_u32(struct cursor *cursor);
uint64_t cursor_u64(struct cursor *cursor);

/* A cursor over the next `count` bytes, which are skipped here. */
struct cursor cursor_sub(struct cursor *cursor, size_t count);

#endif
