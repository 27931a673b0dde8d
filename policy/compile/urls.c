/* SPDX-License-Identifier: Apache-2.0 */
/* url: the beginning of a URL, or a regular expression. A beginning is compared byte by byte with what a request is written as
 * and with how origins read it, so one that is spelled in another way would never match, and nobody would see it. */
#include <stdlib.h>

#include "policy/compile/compile.h"
#include "policy/url.h"

enum { URL_MAX_BYTES = 8192, PORT_MAX = 65535 };

/* The parts of "http://HOST:PORT/PATH". */
struct url_parts {
	struct span scheme, host, port, path; /* scheme: with ://; path: with its slash */
};

static struct url_parts split(struct span text)
{
	struct url_parts parts = {.scheme = span_first(text, span_find_span(text, SPAN("://")) + 3)};
	struct span rest = span_skip(text, parts.scheme.len), authority = span_first(rest, span_find(rest, '/'));
	size_t end = authority.len && authority.at[0] == '[' ? span_find(authority, ']') : 0;

	end += span_find(span_skip(authority, end), ':');
	parts.path = span_skip(rest, authority.len);
	parts.path = span_first(parts.path, span_find(parts.path, '#'));
	parts.host = span_first(authority, end);
	parts.port = span_skip(authority, end);
	return parts;
}

static void add_lower(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		buf_add_byte(out, span_lower(text.at[i]));
}

/* As a request's host is known: A-labels, no dot behind them, addresses in their short form. */
static bool add_host(struct span host, struct buf *out)
{
	bool brackets = host.len > 2 && host.at[0] == '[' && host.at[host.len - 1] == ']';
	struct pattern pattern;
	struct address address;
	const char *why;
	size_t at;

	if (address_parse(brackets ? span_of(host.at + 1, host.len - 2) : host, &address)) {
		if (brackets)
			buf_add_byte(out, '[');
		address_format(&address, out);
		if (brackets)
			buf_add_byte(out, ']');
		return true;
	}
	if (!pattern_parse(host, &pattern, &why, &at) || pattern.kind != PATTERN_EXACT)
		return false;
	buf_add(out, span_of(pattern.text, pattern.text_len));
	return true;
}

/* The URL as it comes; false: no host, or no port. */
static bool add_url(struct span text, struct buf *out)
{
	struct url_parts parts = split(text);
	struct span plain;
	uint64_t port = 0;
	uint8_t *copy;
	struct buf whole;
	bool ok;

	buf_init(&whole, URL_MAX_BYTES);
	add_lower(&whole, parts.scheme);
	ok = add_host(parts.host, &whole) &&
	     (parts.port.len < 2 || (span_to_uint(span_skip(parts.port, 1), PORT_MAX, &port) && port));
	if (port && port != (parts.scheme.len == 7 ? 80 : 443))
		buf_printf(&whole, ":%u", (unsigned)port);
	buf_add(&whole, parts.path);
	ok = ok && buf_is_whole(&whole) && url_make_plain(buf_span(&whole), &copy, &plain);
	if (ok) {
		buf_add(out, plain);
		free(copy);
	}
	buf_fini(&whole);
	return ok && buf_is_whole(out);
}

static bool has_strange_bytes(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] <= ' ' || text.at[i] >= 0x7f)
			return true;
	return false;
}

static bool is_scheme(struct span text)
{
	return span_equal_nocase(text, SPAN("http://")) || span_equal_nocase(text, SPAN("https://"));
}

static void check_spelling(struct compile *compile, const struct yaml_node *node)
{
	struct span text = node->text;
	struct buf url;

	buf_init(&url, URL_MAX_BYTES);
	if (!add_url(text, &url))
		WRONG(compile, node, "url: %.*s matches nothing: expected http://HOST/ or http://HOST:PORT/, without a user",
		      SPAN_ARG(text));
	else if (!span_equal(buf_span(&url), text))
		WRONG(compile, node, "url: %.*s matches nothing: URLs come as %.*s (a host in lower case, no needless port, no "
		      "dots or %%41 in the path)", SPAN_ARG(text), SPAN_ARG(buf_span(&url)));
	buf_fini(&url);
}

static void check_beginning(struct compile *compile, const struct yaml_node *node)
{
	struct span text = node->text, scheme = span_first(text, span_find_span(text, SPAN("://")) + 3);
	struct span path = split(text).path;

	if (span_equal(text, SPAN("http://")) || span_equal(text, SPAN("https://")))
		return;
	if (!is_scheme(scheme))
		WRONG(compile, node, "url: %.*s is no beginning of a URL; expected http://HOST/, https://HOST/, or /REGEX/",
		      SPAN_ARG(text));
	else if (has_strange_bytes(path))
		WRONG(compile, node, "url: %.*s matches nothing: in the path of a URL such characters come as %%XX",
		      SPAN_ARG(text));
	else if (path.len == 0)
		WRONG(compile, node, "url: %.*s begins URLs of other hosts, too: %.*s.example/; end the host with /",
		      SPAN_ARG(text), SPAN_ARG(text));
	else
		check_spelling(compile, node);
}

struct image_range compile_urls(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.urls.count, 0};

	for (const struct yaml_node *n = compile_first(node); n; n = compile_next(node, n)) {
		struct image_url url = {.regex = NONE};
		struct span text = n->text;
		const char *why;
		size_t at;

		if (!compile_is_text(compile, n))
			continue;
		if (text.len > 2 && text.at[0] == '/' && text.at[text.len - 1] == '/') {
			text = span_of(text.at + 1, text.len - 2);
			url.regex = build_regex(&compile->build, text, NONE, &why, &at);
			if (url.regex == NONE)
				WRONG(compile, n, "the regular expression is not valid at %zu: %s", at + 1, why);
		} else {
			check_beginning(compile, n);
			url.text = build_text(&compile->build, text);
		}
		build_add(&compile->build, &compile->build.urls, &url, 1, sizeof(url));
		range.count++;
	}
	return range;
}
