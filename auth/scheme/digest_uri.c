/* SPDX-License-Identifier: Apache-2.0 */
/* The parameter `uri` against the request line (RFC 7616 section 3.4.6). Clients sign what they think they ask for:
 * curl, Chromium, Firefox and wget2 the path, Java the absolute URI; of CONNECT all the authority, but for a library
 * of SSPI. */
#include "auth/scheme/digest.h"

struct parts {
	struct span scheme, authority, path; /* path: with its query; may be empty or begin with '?' */
};

static bool split(struct span uri, struct parts *out)
{
	size_t colon = span_find_span(uri, SPAN("://")), end = 0;
	struct span rest;

	if (colon == 0 || colon == uri.len)
		return false;
	for (size_t i = 0; i < colon; i++)
		if (span_lower(uri.at[i]) < 'a' || span_lower(uri.at[i]) > 'z')
			return false;
	rest = span_skip(uri, colon + 3);
	while (end < rest.len && rest.at[end] != '/' && rest.at[end] != '?' && rest.at[end] != '#')
		end++;
	out->scheme = span_first(uri, colon);
	out->authority = span_first(rest, end);
	out->path = span_skip(rest, end);
	return true;
}

/* Is it the same path and query, where an empty path is "/"? */
static bool path_equals(struct span a, struct span b)
{
	if (a.len && a.at[0] == '/' && (b.len == 0 || b.at[0] == '?'))
		a = span_skip(a, 1);
	else if (b.len && b.at[0] == '/' && (a.len == 0 || a.at[0] == '?'))
		b = span_skip(b, 1);
	return span_equal(a, b);
}

/* Without the port of http. */
static struct span cut_port(struct span authority)
{
	if (span_ends_with(authority, SPAN(":80")))
		authority.len -= 3;
	else if (span_ends_with(authority, SPAN(":")))
		authority.len--;
	return authority;
}

static bool authority_equals(struct parts *a, struct parts *b)
{
	if (span_equal_nocase(a->authority, b->authority))
		return true;
	return span_equal_nocase(a->scheme, SPAN("http")) &&
	       span_equal_nocase(cut_port(a->authority), cut_port(b->authority));
}

bool digest_uri_matches(struct span uri, struct span method, struct span target)
{
	struct parts wanted, given;

	if (uri.len == 0)
		return false;
	if (span_equal(uri, target))
		return true;
	if (span_equal(method, SPAN("CONNECT")))
		return span_equal(uri, SPAN("/")) || span_equal_nocase(uri, target);
	if (!split(target, &wanted))
		return false;
	if (split(uri, &given))
		return span_equal_nocase(given.scheme, wanted.scheme) && authority_equals(&given, &wanted) &&
		       path_equals(given.path, wanted.path);
	if (wanted.path.len == 0 && span_equal(method, SPAN("OPTIONS")) && span_equal(uri, SPAN("*")))
		return true;
	return uri.at[0] == '/' && path_equals(uri, wanted.path);
}
