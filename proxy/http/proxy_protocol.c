/* SPDX-License-Identifier: Apache-2.0 */
#include "http/proxy_protocol.h"

#include <string.h>

#include "base/cursor.h"

enum { V1_MAX_BYTES = 107, V2_HEADER_BYTES = 16, V2_LOCAL = 0x20, V2_PROXY = 0x21 };

static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                         0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static bool parse_end(struct span host, struct span port, uint16_t family, struct address *out)
{
	uint64_t number;

	if (!address_parse(host, out) || out->family != family ||
	    !span_to_uint(port, 65535, &number))
		return false;
	out->port = (uint16_t)number;
	return true;
}

/* "PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n" */
static enum err parse_v1(struct span bytes, size_t *used, bool *local, struct address *client,
                         struct address *listener)
{
	struct span line = span_first(bytes, V1_MAX_BYTES), piece[6], rest;
	size_t newline = span_find(line, '\n'), count = 0;
	uint16_t family;

	if (newline == line.len)
		return line.len < V1_MAX_BYTES ? ERR_NONE : ERR_PROXY_PROTOCOL;
	if (newline == 0 || line.at[newline - 1] != '\r')
		return ERR_PROXY_PROTOCOL;
	rest = span_first(line, newline - 1);
	while (count < COUNT_OF(piece) && span_split(&rest, ' ', &piece[count]))
		count++;
	if (count < 2 || !span_equal(piece[0], SPAN("PROXY")))
		return ERR_PROXY_PROTOCOL;
	*local = span_equal(piece[1], SPAN("UNKNOWN"));
	*used = newline + 1;
	if (*local)
		return ERR_NONE;
	family = span_equal(piece[1], SPAN("TCP4")) ? AF_INET
	         : span_equal(piece[1], SPAN("TCP6")) ? AF_INET6
	                                              : 0;
	if (family == 0 || count != 6 || rest.at || !parse_end(piece[2], piece[4], family, client) ||
	    !parse_end(piece[3], piece[5], family, listener)) {
		*used = 0;
		return ERR_PROXY_PROTOCOL;
	}
	return ERR_NONE;
}

static void take_v2_address(struct cursor *cursor, uint16_t family, struct address *out)
{
	struct span bytes = cursor_take(cursor, family == AF_INET ? 4 : 16);

	*out = (struct address){.family = family};
	if (bytes.len)
		memcpy(out->bytes, bytes.at, bytes.len);
}

static enum err parse_v2(struct span bytes, size_t *used, bool *local, struct address *client,
                         struct address *listener)
{
	struct cursor cursor = cursor_over(span_skip(bytes, sizeof(v2_signature))), block;
	uint8_t command = cursor_u8(&cursor), protocol = cursor_u8(&cursor);
	uint16_t len = cursor_u16(&cursor);

	if (bytes.len > sizeof(v2_signature) && command != V2_LOCAL && command != V2_PROXY)
		return ERR_PROXY_PROTOCOL;
	if (cursor.overrun)
		return ERR_NONE;
	if (len > PROXY_PROTOCOL_MAX_BYTES - V2_HEADER_BYTES)
		return ERR_PROXY_PROTOCOL;
	if (cursor.rest.len < len)
		return ERR_NONE;
	block = cursor_sub(&cursor, len);
	*local = command == V2_LOCAL || (protocol != 0x11 && protocol != 0x21);
	if (!*local) {
		uint16_t family = protocol == 0x11 ? AF_INET : AF_INET6;

		take_v2_address(&block, family, client);
		take_v2_address(&block, family, listener);
		client->port = cursor_u16(&block);
		listener->port = cursor_u16(&block);
		if (block.overrun)
			return ERR_PROXY_PROTOCOL;
	}
	*used = V2_HEADER_BYTES + len;
	return ERR_NONE;
}

enum err proxy_protocol_parse(struct span bytes, size_t *used, bool *local, struct address *client,
                              struct address *listener)
{
	struct span v1 = SPAN("PROXY "), v2 = span_of(v2_signature, sizeof(v2_signature));

	*used = 0;
	*local = true;
	*client = *listener = (struct address){0};
	if (span_starts_with(bytes, v2))
		return parse_v2(bytes, used, local, client, listener);
	if (span_starts_with(bytes, v1))
		return parse_v1(bytes, used, local, client, listener);
	if (span_starts_with(v1, bytes) || span_starts_with(v2, bytes))
		return ERR_NONE;
	return ERR_PROXY_PROTOCOL;
}
