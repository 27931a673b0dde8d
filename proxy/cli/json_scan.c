/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/json_scan.h"

#include <string.h>

struct json_scan json_scan_over(struct span text, struct arena *arena)
{
	return (struct json_scan){.at = text.at, .end = text.at + text.len, .arena = arena};
}

static bool fail(struct json_scan *scan, const char *why)
{
	scan->why = why;
	return false;
}

static void skip_blanks(struct json_scan *scan)
{
	while (scan->at < scan->end &&
	       (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\r' || *scan->at == '\n'))
		scan->at++;
}

static bool take(struct json_scan *scan, uint8_t byte)
{
	skip_blanks(scan);
	if (scan->at == scan->end || *scan->at != byte)
		return false;
	scan->at++;
	return true;
}

bool json_scan_open(struct json_scan *scan, uint8_t bracket)
{
	return take(scan, bracket) ||
	       fail(scan, bracket == '{' ? "an object was expected" : "an array was expected");
}

bool json_scan_at_end(struct json_scan *scan)
{
	skip_blanks(scan);
	return scan->at == scan->end || fail(scan, "something stands behind the object");
}

bool json_scan_element(struct json_scan *scan, bool *first)
{
	bool was_first = *first;

	*first = false;
	if (take(scan, ']'))
		return false;
	return was_first || take(scan, ',') || fail(scan, "a comma or ] was expected");
}

bool json_scan_member(struct json_scan *scan, bool *first, struct span *key)
{
	bool was_first = *first;

	*first = false;
	if (take(scan, '}'))
		return false;
	if (!was_first && !take(scan, ','))
		return fail(scan, "a comma or } was expected");
	return json_scan_string(scan, key) && (take(scan, ':') || fail(scan, "a colon was expected"));
}

/* ---- strings ---- */

/* The bytes that stand for themselves: no quote, backslash or control character. Eight at a time: strings are most of
 * a line. */
static const uint8_t *plain_end(const uint8_t *at, const uint8_t *end)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;

	while (end - at >= 8) {
		uint64_t word, quote, slash;

		memcpy(&word, at, 8);
		quote = word ^ ones * '"';
		slash = word ^ ones * '\\';
		/* A borrow may name a byte too many, never one too few. */
		if ((((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * 0x20) & ~word)) & high)
			break;
		at += 8;
	}
	while (at < end && *at != '"' && *at != '\\' && *at >= 0x20)
		at++;
	return at;
}

static int hex_of(uint8_t byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte = span_lower(byte);
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The four digits behind \u. */
static bool take_hex(struct json_scan *scan, uint32_t *out)
{
	*out = 0;
	for (int i = 0; i < 4; i++) {
		int digit = scan->at < scan->end ? hex_of(*scan->at) : -1;

		if (digit < 0)
			return fail(scan, "\\u needs four hexadecimal digits");
		*out = *out << 4 | (uint32_t)digit;
		scan->at++;
	}
	return true;
}

static bool take_code_point(struct json_scan *scan, uint32_t *code)
{
	uint32_t low;

	if (!take_hex(scan, code))
		return false;
	if (*code < 0xd800 || *code > 0xdfff)
		return true;
	if (*code > 0xdbff || scan->end - scan->at < 2 || scan->at[0] != '\\' || scan->at[1] != 'u')
		return fail(scan, "half of a surrogate pair");
	scan->at += 2;
	if (!take_hex(scan, &low))
		return false;
	if (low < 0xdc00 || low > 0xdfff)
		return fail(scan, "half of a surrogate pair");
	*code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
	return true;
}

static uint8_t *put_utf8(uint8_t *to, uint32_t code)
{
	if (code < 0x80) {
		*to++ = (uint8_t)code;
	} else if (code < 0x800) {
		*to++ = (uint8_t)(0xc0 | code >> 6);
		*to++ = (uint8_t)(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		*to++ = (uint8_t)(0xe0 | code >> 12);
		*to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
		*to++ = (uint8_t)(0x80 | (code & 0x3f));
	} else {
		*to++ = (uint8_t)(0xf0 | code >> 18);
		*to++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
		*to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
		*to++ = (uint8_t)(0x80 | (code & 0x3f));
	}
	return to;
}

/* Behind a backslash. */
static bool take_escape(struct json_scan *scan, uint8_t **to)
{
	static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
	const char *found = scan->at < scan->end && *scan->at ? strchr(from, *scan->at) : NULL;
	uint32_t code;

	if (scan->at < scan->end && *scan->at == 'u') {
		scan->at++;
		if (!take_code_point(scan, &code))
			return false;
		*to = put_utf8(*to, code);
		return true;
	}
	if (found == NULL)
		return fail(scan, "no such escape in a string");
	scan->at++;
	*(*to)++ = (uint8_t)into[found - from];
	return true;
}

/* The end of a string with escapes, from its first backslash on. What is resolved is never longer than it was. */
static const uint8_t *string_end(const uint8_t *at, const uint8_t *end)
{
	while (at < end && *at != '"')
		at += *at == '\\' && end - at > 1 ? 2 : 1;
	return at;
}

static bool take_escaped(struct json_scan *scan, const uint8_t *start, struct span *out)
{
	const uint8_t *end = string_end(scan->at, scan->end);
	uint8_t *copy = arena_alloc(scan->arena, (size_t)(end - start) + 1), *to = copy;

	if (copy == NULL)
		return fail(scan, "the string is too long");
	scan->at = start;
	for (;;) {
		const uint8_t *plain = plain_end(scan->at, end);

		memcpy(to, scan->at, (size_t)(plain - scan->at));
		to += plain - scan->at;
		scan->at = plain;
		if (scan->at == end)
			break;
		if (*scan->at != '\\')
			return fail(scan, "a control character is in a string");
		scan->at++;
		if (!take_escape(scan, &to))
			return false;
	}
	*out = span_of(copy, (size_t)(to - copy));
	return take(scan, '"') || fail(scan, "a string does not end");
}

bool json_scan_string(struct json_scan *scan, struct span *out)
{
	const uint8_t *start;

	if (!take(scan, '"'))
		return fail(scan, "a string was expected");
	start = scan->at;
	scan->at = plain_end(start, scan->end);
	if (scan->at == scan->end)
		return fail(scan, "a string does not end");
	if (*scan->at == '\\')
		return take_escaped(scan, start, out);
	if (*scan->at != '"')
		return fail(scan, "a control character is in a string");
	*out = span_of(start, (size_t)(scan->at - start));
	scan->at++;
	return true;
}

/* ---- other values ---- */

static size_t take_digits(struct json_scan *scan)
{
	const uint8_t *start = scan->at;

	while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
		scan->at++;
	return (size_t)(scan->at - start);
}

static bool skip_number(struct json_scan *scan)
{
	bool has_zero;

	if (*scan->at == '-')
		scan->at++;
	has_zero = scan->at < scan->end && *scan->at == '0';
	if (take_digits(scan) != 1 && has_zero)
		return fail(scan, "a number begins with 0");
	if (scan->at[-1] == '-')
		return fail(scan, "no such value");
	if (scan->at < scan->end && *scan->at == '.') {
		scan->at++;
		if (take_digits(scan) == 0)
			return fail(scan, "a number ends with a point");
	}
	if (scan->at < scan->end && span_lower(*scan->at) == 'e') {
		scan->at++;
		if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
			scan->at++;
		if (take_digits(scan) == 0)
			return fail(scan, "a number ends in its exponent");
	}
	return true;
}

bool json_scan_uint(struct json_scan *scan, uint64_t max, uint64_t *out)
{
	const uint8_t *start;

	skip_blanks(scan);
	start = scan->at;
	if (take_digits(scan) && (*start != '0' || scan->at == start + 1) &&
	    span_to_uint(span_of(start, (size_t)(scan->at - start)), max, out))
		return true;
	return fail(scan, "a whole number was expected, within its range");
}

static bool skip_word(struct json_scan *scan)
{
	static const char *const words[] = {"true", "false", "null"};
	struct span rest = span_of(scan->at, (size_t)(scan->end - scan->at));

	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (!span_starts_with(rest, span_from(words[i])))
			continue;
		scan->at += strlen(words[i]);
		return true;
	}
	return fail(scan, "no such value");
}

/* A string whose text nobody wants. */
static bool skip_string(struct json_scan *scan)
{
	struct span ignored;
	const uint8_t *start = scan->at + 1, *end = plain_end(start, scan->end);

	if (end < scan->end && *end == '"') {
		scan->at = end + 1;
		return true;
	}
	return json_scan_string(scan, &ignored);
}

static bool skip_scalar(struct json_scan *scan)
{
	if (*scan->at == '"')
		return skip_string(scan);
	if (*scan->at == '-' || (*scan->at >= '0' && *scan->at <= '9'))
		return skip_number(scan);
	return skip_word(scan);
}

/* What comes behind a value inside of brackets: their end, or the next one's begin. */
static bool go_on(struct json_scan *scan, const uint8_t *closers, size_t *depth, bool *first)
{
	struct span key;

	while (*depth) {
		bool is_object = closers[*depth - 1] == '}';

		if (is_object ? json_scan_member(scan, first, &key) : json_scan_element(scan, first))
			return true;
		if (scan->why)
			return false;
		(*depth)--;
	}
	return true;
}

bool json_scan_skip(struct json_scan *scan)
{
	uint8_t closers[JSON_SCAN_DEPTH_MAX];
	size_t depth = 0;

	do {
		bool first = false;

		skip_blanks(scan);
		if (scan->at == scan->end)
			return fail(scan, "a value is missing");
		if (*scan->at == '{' || *scan->at == '[') {
			if (depth == JSON_SCAN_DEPTH_MAX)
				return fail(scan, "objects are nested too deeply");
			closers[depth++] = *scan->at++ == '{' ? '}' : ']';
			first = true;
		} else if (!skip_scalar(scan)) {
			return false;
		}
		if (!go_on(scan, closers, &depth, &first))
			return false;
	} while (depth);
	return true;
}
