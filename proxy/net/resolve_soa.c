/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resolve_soa.h"

#include "base/cursor.h"

enum { TYPE_SOA = 6, HEADER_BYTES = 12 };

/* Skip a name: labels up to the root, or up to the first pointer (RFC 1035 section 4.1.4). */
static void skip_name(struct cursor *cursor)
{
	for (;;) {
		uint8_t len = cursor_u8(cursor);

		if ((len & 0xc0) == 0xc0) {
			cursor_take(cursor, 1);
			return;
		}
		if (len == 0 || len > 63)
			return;
		cursor_take(cursor, len);
	}
}

static uint32_t read_soa(struct cursor rdata, uint32_t ttl)
{
	uint32_t minimum;

	skip_name(&rdata);
	skip_name(&rdata);
	cursor_take(&rdata, 16); /* SERIAL, REFRESH, RETRY, EXPIRE */
	minimum = cursor_u32(&rdata);
	if (rdata.overrun)
		return 0;
	return ttl < minimum ? ttl : minimum;
}

uint32_t resolve_soa_parse(struct span message)
{
	struct cursor cursor = cursor_over(message);
	unsigned questions, records;

	cursor_take(&cursor, 4);
	questions = cursor_u16(&cursor);
	records = cursor_u16(&cursor);
	records += cursor_u16(&cursor);
	cursor_take(&cursor, 2);
	for (; questions && !cursor.overrun; questions--) {
		skip_name(&cursor);
		cursor_take(&cursor, 4);
	}
	for (; records && !cursor.overrun; records--) {
		struct cursor rdata;
		uint32_t ttl;
		uint16_t type;

		skip_name(&cursor);
		type = cursor_u16(&cursor);
		cursor_take(&cursor, 2);
		ttl = cursor_u32(&cursor);
		rdata = cursor_sub(&cursor, cursor_u16(&cursor));
		if (type == TYPE_SOA)
			return read_soa(rdata, ttl);
	}
	return 0;
}
