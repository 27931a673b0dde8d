/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/der.h"

#include <stdio.h>
#include <time.h>

static void add_head(struct buf *out, uint8_t tag, size_t len)
{
	int bytes = 0;

	buf_add_byte(out, tag);
	if (len < 0x80) {
		buf_add_byte(out, (uint8_t)len);
		return;
	}
	for (size_t rest = len; rest; rest >>= 8)
		bytes++;
	buf_add_byte(out, (uint8_t)(0x80 | bytes));
	for (int i = bytes - 1; i >= 0; i--)
		buf_add_byte(out, (uint8_t)(len >> (8 * i)));
}

void der_add(struct buf *out, uint8_t tag, struct span content)
{
	add_head(out, tag, content.len);
	buf_add(out, content);
}

void der_add_time(struct buf *out, int64_t seconds)
{
	time_t time = (time_t)seconds;
	char text[32];
	struct tm parts;
	size_t len;

	if (gmtime_r(&time, &parts) == NULL)
		parts = (struct tm){.tm_year = 70, .tm_mday = 1};
	len = strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", &parts);
	if (parts.tm_year >= 50 && parts.tm_year < 150)
		der_add(out, DER_UTC_TIME, span_of(text + 2, len - 2));
	else
		der_add(out, DER_GENERALIZED_TIME, span_of(text, len));
}

struct span der_take(struct span *rest)
{
	struct span whole;
	size_t len, head = 2;

	if (rest->len < 2)
		return SPAN("");
	len = rest->at[1];
	if (len & 0x80) {
		size_t bytes = len & 0x7f;

		if (bytes == 0 || bytes > 4 || rest->len < 2 + bytes)
			return SPAN("");
		len = 0;
		for (size_t i = 0; i < bytes; i++)
			len = len << 8 | rest->at[2 + i];
		head += bytes;
	}
	if (len > rest->len - head)
		return SPAN("");
	whole = span_first(*rest, head + len);
	*rest = span_skip(*rest, head + len);
	return whole;
}
