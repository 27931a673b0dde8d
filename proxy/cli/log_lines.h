/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a log file, plain or compressed with gzip (as logrotate leaves them), or of standard input ("-"). On a
 * terminal it says on standard error how far it is. */
#ifndef CLI_LOG_LINES_H
#define CLI_LOG_LINES_H

#include "base/err.h"
#include "base/span.h"

struct log_lines;

/* Open a file. errors: ERR_SYSTEM, ERR_MEMORY; what it was is said on standard error. */
MUST_USE enum err log_lines_open(const char *path, size_t line_max_bytes, struct log_lines **out);
void log_lines_close(struct log_lines *lines);

/* The next line without its end, borrowed until the next call. A line longer than the maximum is
 * passed over: empty, and *is_cut.
 * False at the end of the file; then log_lines_err() says whether all was read. */
MUST_USE bool log_lines_next(struct log_lines *lines, struct span *line, bool *is_cut);

/* From 1: the line that was read last. */
uint64_t log_lines_number(const struct log_lines *lines);

/* ERR_SYSTEM if the file could not be read to its end; said on standard error. */
enum err log_lines_err(const struct log_lines *lines);

#endif
