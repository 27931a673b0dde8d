/* SPDX-License-Identifier: Apache-2.0 */
/* Walks over one JSON text member by member, without building a tree: a tree of every line (jansson: 11 us for one of
 * 800 bytes) would make replay three times slower than it may be. Strict (RFC 8259), bounded in depth, copies only
 * strings that hold escapes. Text is taken as it comes: whether bytes above 0x7f are UTF-8 is not checked. */
#ifndef CLI_JSON_SCAN_H
#define CLI_JSON_SCAN_H

#include "base/arena.h"

enum { JSON_SCAN_DEPTH_MAX = 16 };

struct json_scan {
	const uint8_t *at, *end;
	struct arena *arena; /* of strings with escapes */
	const char *why;     /* what is wrong, when something returned false; NULL: nothing */
};

struct json_scan json_scan_over(struct span text, struct arena *arena);

/* Open the object or array that comes next. False if something else comes. */
MUST_USE bool json_scan_open(struct json_scan *scan, uint8_t bracket);

/* The key of the next member of an object. False at its end (which is passed over), and if it is damaged (`why`).
 * `first` is true before the first member, and becomes false. */
MUST_USE bool json_scan_member(struct json_scan *scan, bool *first, struct span *key);

/* Is there another element of an array? As above. */
MUST_USE bool json_scan_element(struct json_scan *scan, bool *first);

/* Values: the string that comes next, with its escapes resolved; a number that is a whole one up to `max`; anything. */
MUST_USE bool json_scan_string(struct json_scan *scan, struct span *out);
MUST_USE bool json_scan_uint(struct json_scan *scan, uint64_t max, uint64_t *out);
MUST_USE bool json_scan_skip(struct json_scan *scan);

/* Nothing but blanks is left. */
MUST_USE bool json_scan_at_end(struct json_scan *scan);

#endif
