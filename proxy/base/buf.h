/* SPDX-License-Identifier: Apache-2.0 */
/* A growing run of bytes with a stated maximum and a sticky overflow: writers append without
 * looking, and whoever uses the result asks buf_is_whole() once. Also the one place where text is
 * formatted and escaped (JSON, HTML). Bytes are consumed from the front. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>

#include "base/span.h"

struct buf {
	uint8_t *at;
	size_t start, end, capacity; /* content is at[start..end) */
	size_t max_bytes;            /* content never exceeds this */
	bool overflow;               /* sticky: something did not fit; bytes were left out */
};

/* An empty buffer that holds nothing until something is added. */
void buf_init(struct buf *buf, size_t max_bytes);

/* Release the memory; the buffer is empty and usable afterwards, with the same maximum. */
void buf_fini(struct buf *buf);

/* Empty it, keep its memory, forget an overflow. */
void buf_reset(struct buf *buf);

/* The content; borrowed until the next change. */
static inline struct span buf_span(const struct buf *buf)
{
	return buf->at ? span_of(buf->at + buf->start, buf->end - buf->start) : SPAN("");
}

static inline size_t buf_len(const struct buf *buf)
{
	return buf->end - buf->start;
}

/* Did everything fit so far? */
static inline bool buf_is_whole(const struct buf *buf)
{
	return !buf->overflow;
}

/* Room for `want` more bytes at the end; NULL (and overflow) if that exceeds the maximum.
 * Follow with buf_advance() for what was written. */
uint8_t *buf_reserve(struct buf *buf, size_t want);
void buf_advance(struct buf *buf, size_t count);

/* Drop `count` bytes from the front (at most all). Memory is kept; see buf_fini(). */
void buf_consume(struct buf *buf, size_t count);

void buf_add(struct buf *buf, struct span bytes);
void buf_add_byte(struct buf *buf, uint8_t byte);
void buf_add_string(struct buf *buf, const char *string);
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *buf, const char *format, va_list args) PRINTF_LIKE(2, 0);

/* A decimal number, faster than printf. */
void buf_add_uint(struct buf *buf, uint64_t value);

/* A JSON string with its quotes: control characters, quotes, backslash and bytes that are not
 * UTF-8 are escaped (the latter as \u00XX), so that a line of log stays one line. */
void buf_add_json(struct buf *buf, struct span text);

/* Text for HTML: & < > " ' as entities, control characters dropped. */
void buf_add_html(struct buf *buf, struct span text);

/* Text for one field of a line-based log: space, control, quote, backslash and non-ASCII bytes as
 * %XX, so that it holds no separator. */
void buf_add_percent(struct buf *buf, struct span text);

/* A NUL-terminated copy of the content on the heap (owned by the caller); NULL on no memory. */
char *buf_to_string(const struct buf *buf);

#endif
