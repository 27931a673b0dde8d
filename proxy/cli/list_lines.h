/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of lists, as they stand in their files now: what is written beside an entry does not lie in the compiled policy.
 * A file is read when its first line is asked for. Not here: what a line means (policy/pattern.h). */
#ifndef CLI_LIST_LINES_H
#define CLI_LIST_LINES_H

#include "base/span.h"

struct list_file;

struct list_lines {
	const char *policy;      /* path of the policy file: names of lists are seen from its folder */
	struct list_file *files; /* that were read, or could not be */
};

/* borrows: policy, until list_lines_fini(). */
void list_lines_init(struct list_lines *lines, const char *policy);
void list_lines_fini(struct list_lines *lines);

/* A line, counted from 1, without its end; borrowed until list_lines_fini(). `context` is a struct list_lines: a
 * read_line of policy_explain(). False: the file cannot be read, or is shorter. */
bool list_lines_read(void *context, struct span file, unsigned line, struct span *text);

#endif
