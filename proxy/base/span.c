/* SPDX-License-Identifier: Apache-2.0 */
#include "base/span.h"

#include <string.h>

struct span span_from(const char *string)
{
	return string ? span_of(string, strlen(string)) : SPAN("");
}

bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool span_equal_nocase(struct span a, struct span b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (span_lower(a.at[i]) != span_lower(b.at[i]))
			return false;
	return true;
}

bool span_starts_with(struct span s, struct span prefix)
{
	return s.len >= prefix.len && span_equal(span_first(s, prefix.len), prefix);
}

bool span_ends_with(struct span s, struct span suffix)
{
	return s.len >= suffix.len && span_equal(span_skip(s, s.len - suffix.len), suffix);
}

struct span span_skip(struct span s, size_t count)
{
	if (count > s.len)
		count = s.len;
	return count ? (struct span){s.at + count, s.len - count} : s;
}

struct span span_first(struct span s, size_t count)
{
	return (struct span){s.at, count < s.len ? count : s.len};
}

static bool is_blank(uint8_t byte)
{
	return byte == ' ' || byte == '\t';
}

struct span span_trim(struct span s)
{
	while (s.len && is_blank(s.at[0]))
		s = span_skip(s, 1);
	while (s.len && is_blank(s.at[s.len - 1]))
		s.len--;
	return s;
}

size_t span_find(struct span s, uint8_t byte)
{
	const uint8_t *found = s.len ? memchr(s.at, byte, s.len) : NULL;

	return found ? (size_t)(found - s.at) : s.len;
}

size_t span_find_last(struct span s, uint8_t byte)
{
	const uint8_t *found = s.len ? memrchr(s.at, byte, s.len) : NULL;

	return found ? (size_t)(found - s.at) : s.len;
}

size_t span_find_span(struct span s, struct span needle)
{
	const uint8_t *found = s.len ? memmem(s.at, s.len, needle.at, needle.len) : NULL;

	return found ? (size_t)(found - s.at) : s.len;
}

bool span_split(struct span *rest, uint8_t separator, struct span *piece)
{
	size_t len;

	if (rest->at == NULL)
		return false;
	len = span_find(*rest, separator);
	*piece = span_first(*rest, len);
	if (len == rest->len)
		*rest = (struct span){NULL, 0};
	else
		*rest = span_skip(*rest, len + 1);
	return true;
}

bool span_to_uint(struct span s, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint64_t digit = (uint64_t)s.at[i] - '0';

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
		if (value > max)
			return false;
	}
	*out = value;
	return true;
}

int span_compare(struct span a, struct span b)
{
	size_t shorter = a.len < b.len ? a.len : b.len;
	int order = shorter ? memcmp(a.at, b.at, shorter) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}
