/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with something that a person wrote (configuration, policy, list), with its place.
 * Loading collects all problems instead of stopping at the first. Of one code in one file only some are kept; all are
 * counted. */
#ifndef BASE_PROBLEM_H
#define BASE_PROBLEM_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/problem_codes.h"

enum problem_level { PROBLEM_ERROR, PROBLEM_WARNING };

#define PROBLEM_CODE_ENUM(name, level, code, meaning, action) PROBLEM_##name,
enum problem_code { PROBLEM_CODES(PROBLEM_CODE_ENUM) PROBLEM_CODE_COUNT };
#undef PROBLEM_CODE_ENUM

struct problem_row {
	const char *code, *meaning, *action;
	enum problem_level level;
};
const struct problem_row *problem_row(enum problem_code code);

/* "error", "warning" */
const char *problem_level_name(enum problem_level level);

struct problem_place {
	const char *file;      /* "" where there is none */
	unsigned line, column; /* from 1; 0 where there is none */
};

/* How often a code was met in one file, beyond what is kept. */
struct problem_group {
	struct problem_group *next;
	enum problem_code code;
	const char *file;
	size_t kept, more;
};

struct problem {
	struct problem *next;
	struct problem_group *group;
	enum problem_code code;
	enum problem_level level;
	unsigned line, column; /* from 1; 0 where there is none */
	const char *file;      /* "" where there is none */
	const char *text;      /* what is wrong, and what would be right */
	struct problem_place related; /* where the other place is; file "" if there is none */
};

struct problems {
	struct arena arena;
	struct problem *first, **end;
	struct problem_group *groups;          /* the last used first */
	size_t kept, group_count, lost;        /* lost: counted in no group */
	size_t error_count, warning_count;     /* all */
};

void problems_init(struct problems *problems);
void problems_fini(struct problems *problems);

/* Add one; text as by printf. `related`: the other place, or NULL. */
void problem_add_code(struct problems *problems, enum problem_code code, struct problem_place at,
                      const struct problem_place *related, const char *format, ...) PRINTF_LIKE(5, 6);

/* The same of no special kind: PROBLEM_CONFIGURATION or PROBLEM_DOUBTFUL. */
void problem_add(struct problems *problems, enum problem_level level, const char *file,
                 unsigned line, unsigned column, const char *format, ...) PRINTF_LIKE(6, 7);

/* In the order of reading: files as they were met, in each by line and column. What is at one place stays as it was added. */
void problems_sort(struct problems *problems);

/* Count problems that somebody else has left out. */
void problems_add_more(struct problems *problems, enum problem_code code, const char *file, size_t more);

/* Append all as lines: "file:line:column: error: text [code]\n". */
void problems_format(const struct problems *problems, struct buf *out);

/* Append all as a JSON array of {"level", "code", "file", "line", "column", "text"}; "related": {"file", "line"} where
 * two places meet; "more": how many are not shown. */
void problems_format_json(const struct problems *problems, struct buf *out);

/* Append the manual of all codes. */
void problems_reference(struct buf *out);

#endif
