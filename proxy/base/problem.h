/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with something that a person wrote (configuration, policy, list), with its place.
 * Loading collects all problems instead of stopping at the first. */
#ifndef BASE_PROBLEM_H
#define BASE_PROBLEM_H

#include "base/arena.h"
#include "base/buf.h"

enum problem_level { PROBLEM_ERROR, PROBLEM_WARNING };

struct problem {
	struct problem *next;
	enum problem_level level;
	unsigned line, column; /* from 1; 0 where there is none */
	const char *file;      /* "" where there is none */
	const char *text;      /* what is wrong, and what would be right */
};

struct problems {
	struct arena arena;
	struct problem *first, **end;
	size_t error_count, warning_count; /* all, also those beyond the maximum that is kept */
};

void problems_init(struct problems *problems);
void problems_fini(struct problems *problems);

/* Add one; text as by printf. At most 1000 are kept, the rest is only counted. */
void problem_add(struct problems *problems, enum problem_level level, const char *file,
                 unsigned line, unsigned column, const char *format, ...) PRINTF_LIKE(6, 7);

/* Append all as lines: "file:line:column: error: text\n". */
void problems_format(const struct problems *problems, struct buf *out);

/* Append all as a JSON array of {"level", "file", "line", "column", "text"}. */
void problems_format_json(const struct problems *problems, struct buf *out);

#endif
