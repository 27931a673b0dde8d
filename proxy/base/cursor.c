/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cursor.h"

struct span cursor_take(struct cursor *cursor, size_t count)
{
	struct span taken;

	if (cursor->overrun || count > cursor->rest.len) {
		cursor->overrun = true;
		return SPAN("");
	}
	taken = span_first(cursor->rest, count);
	cursor->rest = span_skip(cursor->rest, count);
	return taken;
}

static uint64_t take_int(struct cursor *cursor, size_t bytes)
{
	struct span taken = cursor_take(cursor, bytes);
	uint64_t value = 0;

	for (size_t i = 0; i < taken.len; i++)
		value = value << 8 | taken.at[i];
	return value;
}

uint8_t cursor_u8(struct cursor *cursor)
{
	return (uint8_t)take_int(cursor, 1);
}

uint16_t cursor_u16(struct cursor *cursor)
{
	return (uint16_t)take_int(cursor, 2);
}

uint32_t cursor_u24(struct cursor *cursor)
{
	return (uint32_t)take_int(cursor, 3);
}

uint32_t cursor_u32(struct cursor *cursor)
{
	return (uint32_t)take_int(cursor, 4);
}

uint64_t cursor_u64(struct cursor *cursor)
{
	return take_int(cursor, 8);
}

struct cursor cursor_sub(struct cursor *cursor, size_t count)
{
	struct span taken = cursor_take(cursor, count);

	return (struct cursor){taken, cursor->overrun};
}
