/* SPDX-License-Identifier: Apache-2.0 */
#include "http/target.h"

enum { NAME_MAX_BYTES = 253, LABEL_MAX_BYTES = 63, PORT_MAX_BYTES = 5 };

static bool is_name_byte(uint8_t byte)
{
	return (byte >= '0' && byte <= '9') || (span_lower(byte) >= 'a' && span_lower(byte) <= 'z') ||
	       byte == '-' || byte == '_' || byte == '.';
}

/* "1", "0x7f", "017": some readers take a name that ends so for an IPv4 address (WHATWG URL,
 * "ends in a number"). It is none, so nobody shall read it as one. */
static bool is_numeric(struct span label)
{
	bool hex = label.len >= 2 && label.at[0] == '0' && span_lower(label.at[1]) == 'x';

	for (size_t i = hex ? 2 : 0; i < label.len; i++) {
		uint8_t byte = span_lower(label.at[i]);

		if (!(byte >= '0' && byte <= '9') && !(hex && byte >= 'a' && byte <= 'f'))
			return false;
	}
	return true;
}

static bool is_name(struct span name)
{
	struct span rest = name, label = SPAN("");

	if (name.len == 0 || name.len > NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!is_name_byte(name.at[i]))
			return false;
	while (span_split(&rest, '.', &label))
		if (label.len == 0 || label.len > LABEL_MAX_BYTES)
			return false;
	return !is_numeric(label);
}

static enum err take_address(const struct address *address, struct arena *arena,
                             struct http_host *out)
{
	struct buf text;

	buf_init(&text, 64);
	address_format(address, &text);
	out->name = arena_copy(arena, buf_span(&text));
	buf_fini(&text);
	out->address = *address;
	out->address.port = out->port;
	return out->name.at ? ERR_NONE : ERR_SESSION_MEMORY;
}

static enum err take_name(struct span name, struct arena *arena, struct http_host *out)
{
	uint8_t *copy;

	if (name.len && name.at[name.len - 1] == '.')
		name.len--;
	if (!is_name(name))
		return ERR_REQUEST_AUTHORITY;
	copy = arena_alloc(arena, name.len);
	if (copy == NULL)
		return ERR_SESSION_MEMORY;
	for (size_t i = 0; i < name.len; i++)
		copy[i] = span_lower(name.at[i]);
	out->name = span_of(copy, name.len);
	return ERR_NONE;
}

/* Split host and port; brackets, if any, are taken off and noted. */
static bool split(struct span text, struct span *host, struct span *port, bool *brackets)
{
	size_t end;

	*brackets = text.len && text.at[0] == '[';
	*port = (struct span){NULL, 0};
	if (*brackets) {
		end = span_find(text, ']');
		if (end == text.len)
			return false;
		*host = span_of(text.at + 1, end - 1);
		text = span_skip(text, end + 1);
		if (text.len && text.at[0] != ':')
			return false;
		if (text.len)
			*port = span_skip(text, 1);
		return true;
	}
	end = span_find(text, ':');
	*host = span_first(text, end);
	if (end < text.len)
		*port = span_skip(text, end + 1);
	return true;
}

enum err http_host_parse(struct span text, uint16_t default_port, struct arena *arena,
                         struct http_host *out)
{
	struct span host, port;
	struct address address;
	uint64_t number = default_port;
	bool brackets;

	*out = (struct http_host){.name = SPAN("")};
	if (!split(text, &host, &port, &brackets))
		return ERR_REQUEST_AUTHORITY;
	/* Zeros in front could go on for a whole head, and a tunnel keeps its target. */
	if (port.at && (port.len > PORT_MAX_BYTES || !span_to_uint(port, 65535, &number)))
		return ERR_REQUEST_AUTHORITY;
	if (number == 0)
		return ERR_REQUEST_AUTHORITY;
	out->port = (uint16_t)number;
	if (address_parse(host, &address)) {
		if (brackets != (address.family == AF_INET6))
			return ERR_REQUEST_AUTHORITY;
		return take_address(&address, arena, out);
	}
	return brackets ? ERR_REQUEST_AUTHORITY : take_name(host, arena, out);
}

static enum err parse_absolute(struct span method, struct span target, size_t colon,
                               struct arena *arena, struct http_target *out)
{
	struct span rest = span_skip(target, colon + 3), authority;
	size_t end = 0;
	enum err err;

	out->form = HTTP_TARGET_ABSOLUTE;
	out->scheme = span_first(target, colon);
	while (end < rest.len && rest.at[end] != '/' && rest.at[end] != '?')
		end++;
	authority = span_first(rest, end);
	if (!span_equal_nocase(out->scheme, SPAN("http")))
		return ERR_REQUEST_SCHEME;
	out->scheme = SPAN("http");
	err = http_host_parse(authority, 80, arena, &out->host);
	if (err)
		return err;
	out->path = span_skip(rest, end);
	if (out->path.len == 0)
		out->path = span_equal(method, SPAN("OPTIONS")) ? SPAN("*") : SPAN("/");
	if (out->path.at[0] == '?') {
		char *path = arena_printf(arena, "/%.*s", SPAN_ARG(out->path));

		if (path == NULL)
			return ERR_SESSION_MEMORY;
		out->path = span_from(path);
	}
	return ERR_NONE;
}

static bool is_visible_ascii(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] <= 0x20 || text.at[i] >= 0x7f)
			return false;
	return true;
}

enum err http_target_parse(struct span method, struct span target, struct arena *arena,
                           struct http_target *out)
{
	size_t colon = span_find_span(target, SPAN("://"));

	*out = (struct http_target){.scheme = SPAN(""), .path = SPAN("")};
	if (span_equal(method, SPAN("CONNECT"))) {
		out->form = HTTP_TARGET_AUTHORITY;
		return http_host_parse(target, 0, arena, &out->host);
	}
	if (!is_visible_ascii(target) || span_find(target, '#') < target.len)
		return ERR_REQUEST_TARGET;
	if (span_equal(target, SPAN("*"))) {
		out->form = HTTP_TARGET_ASTERISK;
		return span_equal(method, SPAN("OPTIONS")) ? ERR_NONE : ERR_REQUEST_TARGET;
	}
	if (target.len && target.at[0] == '/') {
		out->form = HTTP_TARGET_ORIGIN;
		out->path = target;
		return ERR_NONE;
	}
	if (colon == target.len)
		return ERR_REQUEST_TARGET;
	return parse_absolute(method, target, colon, arena, out);
}
