/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns and lines of lists as text (DESIGN 5). Private to this folder. */
#ifndef POLICY_PATTERN_H
#define POLICY_PATTERN_H

#include "policy/image.h"

enum { PATTERN_TEXT_MAX = 1024, PATTERN_PORTS_MAX = 16 };

struct pattern {
	enum pattern_kind kind;
	char text[PATTERN_TEXT_MAX]; /* canonical: lower case A-labels, no trailing dot; a regex with its slashes */
	size_t text_len;
	struct network network;
};

/* The regular expression between the slashes of a pattern's text. */
static inline struct span pattern_regex(struct span text)
{
	return span_of(text.at + 1, text.len - 2);
}

/* One line of a list. */
struct pattern_line {
	bool is_empty; /* blank or a comment */
	struct pattern pattern;
	struct image_ports ports[PATTERN_PORTS_MAX];
	size_t port_count;
	uint64_t expires_ms; /* 0: never */
	uint64_t read_ms;    /* when somebody last read it in `source`, to the end of that day; 0: not said */
	struct span owner, ticket, reason, added;
	struct span source;  /* where it was read: an address, or the title of a document */
};

/* Index of the first character that steers a terminal (U+0000 to U+001F, U+007F to U+009F), or text.len. */
size_t pattern_find_control(struct span text, bool may_have_tabs);

/* Parse one pattern. On failure *why says what is wrong, *at where (offset). */
MUST_USE bool pattern_parse(struct span text, struct pattern *out, const char **why, size_t *at);

/* Parse one line: pattern, key=value fields, # free text. */
MUST_USE bool pattern_line_parse(struct span line, struct pattern_line *out, const char **why,
                                 size_t *at);

/* Parse "10.0.0.0/8", "[fd00::]/8"; a mapped one (::ffff:10.0.0.0/104) is the IPv4 network. */
MUST_USE bool pattern_network_parse(struct span text, struct network *out);

/* Parse "443,5004,8000-8100". */
MUST_USE bool pattern_ports_parse(struct span text, struct image_ports *out, size_t max,
                                  size_t *count);

/* Parse "2026-12-31" (the end of that day) or "2026-12-31T18:00:00Z". */
MUST_USE bool pattern_date_parse(struct span text, uint64_t *out_ms);

/* Does a glob (`*` matches inside one label) match the name? */
bool pattern_glob_matches(struct span glob, struct span name);

#endif
