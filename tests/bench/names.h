/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of any length and the names that clients ask for, the same on each run and for each proxy: entry N is made of the
 * number N. Names are like those of real lists: 2 to 4 labels, 8 to 40 bytes, common top-level domains, many of them
 * below a few hosts that serve everybody. */
#ifndef NAMES_H
#define NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NAMES_MAX = 128, NAMES_COUNT_MAX = 1 << 21 };

enum names_kind { NAMES_SUFFIXES, NAMES_REGEXES, NAMES_GLOBS };

/* What is asked for: what the entry matches (a suffix: its own name), a name below that, or what no entry matches. */
enum names_ask { NAMES_HIT, NAMES_BELOW, NAMES_MISS };

bool names_kind(const char *text, enum names_kind *out);
bool names_ask(const char *text, enum names_ask *out);

/* Entry `index` of a list: a suffix without its dot in front, an expression without its slashes, a glob. */
size_t names_entry(enum names_kind kind, uint32_t index, char out[static NAMES_MAX]);

/* The name that asks for entry `index`, or misses all. `salt`: another name for the same entry. */
size_t names_asked(enum names_kind kind, enum names_ask ask, uint32_t index, uint32_t salt,
                   char out[static NAMES_MAX]);

/* Numbers that look like random ones; the same each time. */
uint64_t names_random(uint64_t *state);

/* A permutation of 0 .. count - 1; `order` has that many. */
void names_shuffle(uint32_t *order, uint32_t count, uint64_t seed);

#endif
