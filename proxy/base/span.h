/* SPDX-License-Identifier: Apache-2.0 */
/* Borrowed bytes: a pointer and a length, no terminator, no ownership. Text inside the program
 * travels as spans; NUL-terminated strings exist only at system and library calls. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct span {
	const uint8_t *at;
	size_t len;
};

/* A span over a string literal, without its terminator. */
#define SPAN(literal) ((struct span){(const uint8_t *)("" literal), sizeof(literal) - 1})

/* For printf: "%.*s" with SPAN_ARG(s). */
#define SPAN_ARG(s) (int)(s).len, (const char *)(s).at

/* A span over `len` bytes at `at`. */
static inline struct span span_of(const void *at, size_t len)
{
	return (struct span){(const uint8_t *)at, len};
}

/* A span over a NUL-terminated string; NULL gives the empty span. */
struct span span_from(const char *string);

/* Is it of no length? */
static inline bool span_is_empty(struct span s)
{
	return s.len == 0;
}

/* Are both the same bytes? */
bool span_equal(struct span a, struct span b);

/* Are both the same, with ASCII letters of either case alike? */
bool span_equal_nocase(struct span a, struct span b);

/* Does `s` begin with `prefix`? */
bool span_starts_with(struct span s, struct span prefix);

/* Does `s` end with `suffix`? */
bool span_ends_with(struct span s, struct span suffix);

/* `s` without its first `count` bytes; empty if it has no more. */
struct span span_skip(struct span s, size_t count);

/* The first `count` bytes of `s`, or all of it. */
struct span span_first(struct span s, size_t count);

/* `s` without spaces and tabs at both ends. */
struct span span_trim(struct span s);

/* Index of the first `byte`; s.len if there is none. */
size_t span_find(struct span s, uint8_t byte);

/* Index of the last `byte`; s.len if there is none. */
size_t span_find_last(struct span s, uint8_t byte);

/* Index of the first occurrence of `needle`; s.len if there is none. */
size_t span_find_span(struct span s, struct span needle);

/* Cut the next piece off `rest`, up to `separator` (which is dropped) or its end.
 * False when `rest` is used up; "a,b," gives "a", "b" and "". */
bool span_split(struct span *rest, uint8_t separator, struct span *piece);

/* Parse a decimal number that fills the whole span: digits only, no sign, at most `max`.
 * False if it is anything else; *out is then untouched. */
MUST_USE bool span_to_uint(struct span s, uint64_t max, uint64_t *out);

/* Order as memcmp() has it, a shorter one first where it is a prefix. */
int span_compare(struct span a, struct span b);

/* ASCII lower case of one byte. */
static inline uint8_t span_lower(uint8_t byte)
{
	return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte + 32) : byte;
}

#endif
