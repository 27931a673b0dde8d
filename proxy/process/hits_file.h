/* SPDX-License-Identifier: Apache-2.0 */
/* Hits of entries over a restart: a file of lines "CELL LIST PATTERN PORTS", written by the parent now and then and at its end, and
 * read when it starts. An entry is known again by its list, its pattern and its ports; what is not there any more is left out. */
#ifndef PROCESS_HITS_FILE_H
#define PROCESS_HITS_FILE_H

#include "base/err.h"
#include "process/counters.h"

/* Write the counters of the policy's entries; since when they count goes in front. The file is replaced at once or not at all.
 * errors: ERR_SYSTEM (errno), ERR_MEMORY. */
MUST_USE enum err hits_file_write(const char *path, const struct policy *policy, const struct counters *counters,
                                  uint64_t since_ms);

/* Read them. *since_ms stays as it is if there is no file yet. errors: ERR_SYSTEM (errno), ERR_CONFIG (it is no such file),
 * ERR_MEMORY; counters are then as they were, or some of them set. */
MUST_USE enum err hits_file_read(const char *path, const struct policy *policy, struct counters *counters,
                                 uint64_t *since_ms);

/* The parser of it: `text` is the whole file. errors: ERR_CONFIG, ERR_MEMORY. */
MUST_USE enum err hits_file_parse(struct span text, const struct policy *policy, struct counters *counters,
                                  uint64_t *since_ms);

#endif
