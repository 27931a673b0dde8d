/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/url.h"

#include <stdlib.h>
#include <string.h>

/* What stands in `at` up to `len`; the path begins at `root`, with a slash. */
struct plain {
	uint8_t *at;
	size_t root, len;
};

static int hex_digit(uint8_t byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte = span_lower(byte);
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Cut a byte off; %41 is 'A', but what would end a path or a segment stays as it is written. */
static uint8_t take_byte(struct span *rest)
{
	uint8_t byte = rest->at[0];
	int high = rest->len > 2 && byte == '%' ? hex_digit(rest->at[1]) : -1;
	int low = high >= 0 ? hex_digit(rest->at[2]) : -1;
	int decoded = low >= 0 ? high << 4 | low : 0;

	if (decoded <= 0x20 || decoded >= 0x7f || strchr("%/?#", decoded)) {
		*rest = span_skip(*rest, 1);
		return byte;
	}
	*rest = span_skip(*rest, 3);
	return (uint8_t)decoded;
}

static uint8_t upper(uint8_t byte)
{
	return byte >= 'a' && byte <= 'z' ? (uint8_t)(byte - 32) : byte;
}

static struct span path_of(const struct plain *out)
{
	return span_of(out->at + out->root, out->len - out->root);
}

/* "." goes, and ".." takes along what is before it (RFC 3986 section 5.2.4). */
static void end_segment(struct plain *out)
{
	struct span path = path_of(out);
	size_t slash = span_find_last(path, '/');
	struct span last = span_skip(path, slash + 1);

	if (span_equal(last, SPAN("."))) {
		out->len--;
	} else if (span_equal(last, SPAN(".."))) {
		path = span_first(path, slash);
		out->len = out->root + 1;
		if (path.len)
			out->len += span_find_last(path, '/');
	}
}

static void add_path(struct plain *out, struct span rest)
{
	while (rest.len && rest.at[0] != '?') {
		uint8_t byte = take_byte(&rest);

		if (byte == '/' && out->len > out->root)
			end_segment(out);
		if (byte != '/' || out->len == out->root || out->at[out->len - 1] != '/')
			out->at[out->len++] = byte;
	}
	if (out->len > out->root)
		end_segment(out);
	while (rest.len)
		out->at[out->len++] = take_byte(&rest);
}

/* What stays encoded can be written in two ways: %2f and %2F. */
static void raise_hex(struct span text, uint8_t *at)
{
	for (size_t i = 0; i + 2 < text.len; i++) {
		if (text.at[i] != '%' || hex_digit(text.at[i + 1]) < 0 || hex_digit(text.at[i + 2]) < 0)
			continue;
		at[i + 1] = upper(text.at[i + 1]);
		at[i + 2] = upper(text.at[i + 2]);
		i += 2;
	}
}

bool url_make_plain(struct span url, uint8_t **copy, struct span *out)
{
	size_t start = span_find_span(url, SPAN("://"));
	struct plain plain = {.root = start + 3};

	*copy = NULL;
	*out = url;
	if (start == url.len)
		return true;
	plain.root += span_find(span_skip(url, plain.root), '/');
	plain.at = malloc(url.len);
	if (plain.at == NULL)
		return false;
	plain.len = plain.root;
	memcpy(plain.at, url.at, plain.root);
	add_path(&plain, span_skip(url, plain.root));
	raise_hex(path_of(&plain), plain.at + plain.root);
	*copy = plain.at;
	*out = span_of(plain.at, plain.len);
	return true;
}
