/* SPDX-License-Identifier: Apache-2.0 */
/* A list as text that people keep by hand: its lines one by one, and edits that leave every other byte as it is. */
#ifndef CLI_LIST_TEXT_H
#define CLI_LIST_TEXT_H

#include "base/buf.h"
#include "policy/list_line.h"

/* Walks over the lines of a text. */
struct list_walk {
	struct span rest, line; /* line: the current one, without its end */
	size_t at, whole;       /* where it begins in the text, and its length with its end */
	unsigned number;        /* from 1 */
};

/* A byte order mark in front is passed over. */
struct list_walk list_walk_over(struct span text);
MUST_USE bool list_walk_next(struct list_walk *walk);

/* What a new line says; NULL where nothing is. */
struct list_fields {
	const char *pattern, *owner, *ticket, *reason, *added, *expires, *ports;
};

/* Append `PATTERN owner=.. ticket=.. reason=".." added=.. expires=.. ports=..`, without a line's end; a name that is not
 * ASCII as A-labels, and as it was written behind #. False, and *why (borrowed) and the field (or "") that it is about. */
MUST_USE bool list_text_format(const struct list_fields *fields, struct buf *out, const char **why, const char **about);

/* Append `text` with one more line at its end, in the line ends of its first line. */
void list_text_add(struct span text, struct span line, struct buf *out);

/* Append `text` without the lines that have this pattern (canonical); how many they were. */
size_t list_text_remove(struct span text, struct span pattern, struct buf *out);

#endif
