/* SPDX-License-Identifier: Apache-2.0 */
/* A line of a list as it is written, for those who show and edit lists. Deciding does not come here. */
#ifndef POLICY_LIST_LINE_H
#define POLICY_LIST_LINE_H

#include "policy/policy.h"

enum { LIST_LINE_PATTERN_MAX = 1024, LIST_LINE_PORTS_MAX = 256 };

struct list_line {
	bool is_empty;                     /* blank or a comment */
	char text[LIST_LINE_PATTERN_MAX];  /* the pattern, canonical */
	size_t text_len;
	char ports[LIST_LINE_PORTS_MAX];   /* "443,5004-5010"; "": no ports= */
	struct span owner, ticket, reason, added, note; /* of the line; note: behind # */
	uint64_t expires_ms;               /* 0: never */
};

static inline struct span list_line_pattern(const struct list_line *line)
{
	return span_of(line->text, line->text_len);
}

/* Parse one line, without its end. On failure *why says what is wrong (borrowed until the next call), *at where. */
MUST_USE bool list_line_parse(struct span line, struct list_line *out, const char **why, size_t *at);

/* The moment of added= or expires=: "2026-12-31" is the end of that day. False if it is no date. */
MUST_USE bool list_line_date(struct span text, uint64_t *wall_ms);

/* Does everything that the pattern `narrow` matches also match `wide`? Both canonical. False where it cannot be told:
 * a regular expression covers names, and nothing else. Ports and expiry are not looked at. */
bool list_line_covers(struct span wide, struct span narrow);

#endif
