/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *buf, size_t max_bytes)
{
	*buf = (struct buf){.max_bytes = max_bytes};
}

void buf_fini(struct buf *buf)
{
	free(buf->at);
	buf_init(buf, buf->max_bytes);
}

void buf_reset(struct buf *buf)
{
	buf->start = buf->end = 0;
	buf->overflow = false;
}

static bool grow(struct buf *buf, size_t need)
{
	size_t capacity = buf->capacity ? buf->capacity : 256;
	uint8_t *at;

	while (capacity < need)
		capacity *= 2;
	if (capacity > buf->max_bytes && need <= buf->max_bytes)
		capacity = buf->max_bytes;
	at = realloc(buf->at, capacity);
	if (at == NULL)
		return false;
	buf->at = at;
	buf->capacity = capacity;
	return true;
}

uint8_t *buf_reserve(struct buf *buf, size_t want)
{
	size_t len = buf_len(buf);

	if (want > buf->max_bytes || len > buf->max_bytes - want) {
		buf->overflow = true;
		return NULL;
	}
	if (buf->start && buf->capacity - buf->end < want) {
		memmove(buf->at, buf->at + buf->start, len);
		buf->start = 0;
		buf->end = len;
	}
	if (buf->capacity - buf->end < want && !grow(buf, buf->end + want)) {
		buf->overflow = true;
		return NULL;
	}
	return buf->at + buf->end;
}

void buf_advance(struct buf *buf, size_t count)
{
	ASSERT(count <= buf->capacity - buf->end);
	buf->end += count;
}

void buf_consume(struct buf *buf, size_t count)
{
	if (count >= buf_len(buf))
		buf->start = buf->end = 0;
	else
		buf->start += count;
}

void buf_add(struct buf *buf, struct span bytes)
{
	uint8_t *at;

	if (bytes.len == 0)
		return;
	at = buf_reserve(buf, bytes.len);
	if (at == NULL)
		return;
	memcpy(at, bytes.at, bytes.len);
	buf->end += bytes.len;
}

void buf_add_byte(struct buf *buf, uint8_t byte)
{
	if (buf->end < buf->capacity && buf_len(buf) < buf->max_bytes)
		buf->at[buf->end++] = byte;
	else
		buf_add(buf, span_of(&byte, 1));
}

void buf_add_string(struct buf *buf, const char *string)
{
	buf_add(buf, span_from(string));
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
	char text[512];
	va_list again;
	int len;

	va_copy(again, args);
	len = vsnprintf(text, sizeof(text), format, args);
	if (len >= 0 && (size_t)len < sizeof(text)) {
		buf_add(buf, span_of(text, (size_t)len));
	} else if (len >= 0) {
		uint8_t *at = buf_reserve(buf, (size_t)len + 1);

		if (at) {
			vsnprintf((char *)at, (size_t)len + 1, format, again);
			buf->end += (size_t)len;
		}
	}
	va_end(again);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vprintf(buf, format, args);
	va_end(args);
}

void buf_add_uint(struct buf *buf, uint64_t value)
{
	uint8_t digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (uint8_t)('0' + value % 10);
		value /= 10;
	} while (value);
	buf_add(buf, span_of(digits + at, sizeof(digits) - at));
}

/* Length of the valid UTF-8 sequence at the start of `s` (RFC 3629 section 4); 0 if it is none. */
static size_t utf8_len(struct span s)
{
	uint8_t lead = s.at[0], low = 0x80, high = 0xbf;
	size_t len;

	if (lead < 0x80)
		return 1;
	if (lead >= 0xc2 && lead <= 0xdf)
		len = 2;
	else if (lead >= 0xe0 && lead <= 0xef)
		len = 3;
	else if (lead >= 0xf0 && lead <= 0xf4)
		len = 4;
	else
		return 0;
	if (lead == 0xe0)
		low = 0xa0;
	else if (lead == 0xed)
		high = 0x9f;
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f;
	if (s.len < len || s.at[1] < low || s.at[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (s.at[i] < 0x80 || s.at[i] > 0xbf)
			return 0;
	return len;
}

static bool is_plain_json(uint8_t byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

void buf_add_json(struct buf *buf, struct span text)
{
	buf_add_byte(buf, '"');
	while (text.len) {
		size_t plain = 0, len;

		while (plain < text.len && is_plain_json(text.at[plain]))
			plain++;
		buf_add(buf, span_first(text, plain));
		text = span_skip(text, plain);
		if (text.len == 0)
			break;
		len = utf8_len(text);
		if (len > 1) {
			buf_add(buf, span_first(text, len));
		} else if (text.at[0] == '"' || text.at[0] == '\\') {
			buf_add_byte(buf, '\\');
			buf_add_byte(buf, text.at[0]);
		} else {
			buf_printf(buf, "\\u%04x", text.at[0]);
		}
		text = span_skip(text, len ? len : 1);
	}
	buf_add_byte(buf, '"');
}

void buf_add_html(struct buf *buf, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];

		if (byte == '&')
			buf_add(buf, SPAN("&amp;"));
		else if (byte == '<')
			buf_add(buf, SPAN("&lt;"));
		else if (byte == '>')
			buf_add(buf, SPAN("&gt;"));
		else if (byte == '"')
			buf_add(buf, SPAN("&quot;"));
		else if (byte == '\'')
			buf_add(buf, SPAN("&#39;"));
		else if (byte >= 0x20 && byte != 0x7f)
			buf_add_byte(buf, byte);
	}
}

void buf_add_percent(struct buf *buf, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];

		if (byte > 0x20 && byte < 0x7f && byte != '"' && byte != '\\')
			buf_add_byte(buf, byte);
		else
			buf_printf(buf, "%%%02X", byte);
	}
}

char *buf_to_string(const struct buf *buf)
{
	struct span content = buf_span(buf);

	char *string = malloc(content.len + 1);

	if (string) {
		memcpy(string, content.at, content.len);
		string[content.len] = 0;
	}
	return string;
}
