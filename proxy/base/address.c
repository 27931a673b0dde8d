/* SPDX-License-Identifier: Apache-2.0 */
#include "base/address.h"

#include <arpa/inet.h>
#include <string.h>

enum { IPV6_TEXT_MAX = 45 };

static bool parse_ipv4(struct span text, struct address *out)
{
	struct span rest = text, part;
	size_t count = 0;

	while (span_split(&rest, '.', &part)) {
		uint64_t value;

		if (count == 4 || !span_to_uint(part, 255, &value))
			return false;
		if (part.len > 1 && part.at[0] == '0')
			return false;
		out->bytes[count++] = (uint8_t)value;
	}
	out->family = AF_INET;
	return count == 4;
}

bool address_parse(struct span text, struct address *out)
{
	struct address parsed = {0};
	char string[IPV6_TEXT_MAX + 1];

	if (span_find(text, ':') == text.len) {
		if (!parse_ipv4(text, &parsed))
			return false;
	} else {
		if (text.len > IPV6_TEXT_MAX || memchr(text.at, 0, text.len))
			return false;
		memcpy(string, text.at, text.len);
		string[text.len] = 0;
		if (inet_pton(AF_INET6, string, parsed.bytes) != 1)
			return false;
		parsed.family = AF_INET6;
	}
	*out = parsed;
	return true;
}

/* Split "host:port" or "[host]:port" at its last colon. */
static bool split_port(struct span text, struct span *host, struct span *port)
{
	size_t colon = span_find_last(text, ':');

	if (colon == text.len)
		return false;
	*host = span_first(text, colon);
	*port = span_skip(text, colon + 1);
	return true;
}

static bool strip_brackets(struct span *text)
{
	if (text->len < 2 || text->at[0] != '[' || text->at[text->len - 1] != ']')
		return false;
	*text = span_of(text->at + 1, text->len - 2);
	return true;
}

bool address_parse_with_port(struct span text, struct address *out)
{
	struct address parsed;
	struct span host, port;
	uint64_t number;
	bool brackets;

	if (!split_port(text, &host, &port) || !span_to_uint(port, 65535, &number))
		return false;
	brackets = strip_brackets(&host);
	if (!address_parse(host, &parsed) || brackets != (parsed.family == AF_INET6))
		return false;
	parsed.port = (uint16_t)number;
	*out = parsed;
	return true;
}

/* inet_ntop() formats through stdio: too slow for two of them in every line of the access log. */
static void format_ipv4(const struct address *address, struct buf *out)
{
	for (size_t i = 0; i < 4; i++) {
		if (i)
			buf_add_byte(out, '.');
		buf_add_uint(out, address->bytes[i]);
	}
}

void address_format(const struct address *address, struct buf *out)
{
	char text[INET6_ADDRSTRLEN];

	if (address->family == AF_UNIX)
		buf_add(out, SPAN("unix"));
	else if (address->family == AF_INET)
		format_ipv4(address, out);
	else if (address->family &&
	         inet_ntop(address->family, address->bytes, text, sizeof(text)))
		buf_add_string(out, text);
	else
		buf_add_byte(out, '-');
}

void address_format_with_port(const struct address *address, struct buf *out)
{
	if (address->family == AF_INET6)
		buf_add_byte(out, '[');
	address_format(address, out);
	if (address->family == AF_INET6)
		buf_add_byte(out, ']');
	if (address->family == AF_INET || address->family == AF_INET6) {
		buf_add_byte(out, ':');
		buf_add_uint(out, address->port);
	}
}

void address_from_sockaddr(const struct sockaddr *from, struct address *out)
{
	*out = (struct address){.family = from->sa_family};
	if (from->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)from;

		memcpy(out->bytes, &in->sin_addr, 4);
		out->port = ntohs(in->sin_port);
	} else if (from->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)from;

		memcpy(out->bytes, &in6->sin6_addr, 16);
		out->port = ntohs(in6->sin6_port);
		out->scope = in6->sin6_scope_id;
	}
}

socklen_t address_to_sockaddr(const struct address *address, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof(*out));
	if (address->family == AF_INET) {
		struct sockaddr_in *in = (void *)out;

		in->sin_family = AF_INET;
		in->sin_port = htons(address->port);
		memcpy(&in->sin_addr, address->bytes, 4);
		return sizeof(*in);
	}
	if (address->family == AF_INET6) {
		struct sockaddr_in6 *in6 = (void *)out;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(address->port);
		in6->sin6_scope_id = address->scope;
		memcpy(&in6->sin6_addr, address->bytes, 16);
		return sizeof(*in6);
	}
	return 0;
}

bool address_equal(const struct address *a, const struct address *b)
{
	return a->family == b->family &&
	       memcmp(a->bytes, b->bytes, a->family == AF_INET ? 4 : 16) == 0;
}

struct address address_unmapped(const struct address *address)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	struct address out = *address;

	if (address->family != AF_INET6 || memcmp(address->bytes, mapped, sizeof(mapped)) != 0)
		return out;
	out = (struct address){.family = AF_INET, .port = address->port};
	memcpy(out.bytes, address->bytes + 12, 4);
	return out;
}

static bool prefix_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

/* Parse "443" or "8000-8100". */
static bool parse_ports(struct span text, struct network *out)
{
	size_t dash = span_find(text, '-');
	uint64_t first, last;

	if (!span_to_uint(span_first(text, dash), 65535, &first) || first == 0)
		return false;
	last = first;
	if (dash < text.len && !span_to_uint(span_skip(text, dash + 1), 65535, &last))
		return false;
	out->port_first = (uint16_t)first;
	out->port_last = (uint16_t)last;
	return first <= last;
}

/* Cut ":ports" off the end, where a colon can only mean that: behind a bracket, or in IPv4. */
static bool cut_ports(struct span *text, struct network *out)
{
	size_t bracket = span_find_last(*text, ']');
	size_t from = bracket < text->len ? bracket : 0;
	struct span tail = span_skip(*text, from);
	size_t colon = span_find(tail, ':');

	if (colon == tail.len || (from == 0 && span_find_last(tail, ':') != colon))
		return true;
	if (!parse_ports(span_skip(tail, colon + 1), out))
		return false;
	*text = span_first(*text, from + colon);
	return true;
}

bool network_parse(struct span text, bool ports, struct network *out)
{
	struct network parsed = {0};
	uint8_t zeros[16] = {0};
	size_t slash;
	uint64_t len;
	struct span host;
	unsigned bits;

	if (ports && !cut_ports(&text, &parsed))
		return false;
	slash = span_find(text, '/');
	host = span_first(text, slash);
	strip_brackets(&host);
	if (!address_parse(host, &parsed.base))
		return false;
	bits = parsed.base.family == AF_INET ? 32 : 128;
	len = bits;
	if (slash < text.len && !span_to_uint(span_skip(text, slash + 1), bits, &len))
		return false;
	parsed.prefix_len = (uint8_t)len;
	memcpy(zeros, parsed.base.bytes, (size_t)(len / 8));
	if (len % 8)
		zeros[len / 8] = parsed.base.bytes[len / 8] & (uint8_t)(0xff00 >> (len % 8));
	if (memcmp(zeros, parsed.base.bytes, sizeof(zeros)) != 0)
		return false;
	*out = parsed;
	return true;
}

bool network_has(const struct network *network, const struct address *address)
{
	struct address plain = address_unmapped(address);

	if (network->port_last &&
	    (address->port < network->port_first || address->port > network->port_last))
		return false;
	if (plain.family != network->base.family) {
		plain = *address;
		if (plain.family != network->base.family)
			return false;
	}
	return prefix_equal(plain.bytes, network->base.bytes, network->prefix_len);
}
