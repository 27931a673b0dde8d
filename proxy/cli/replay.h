/* SPDX-License-Identifier: Apache-2.0 */
/* An access log decided by two policies: for `replay`, and for `list` that asks what an edit would do. */
#ifndef CLI_REPLAY_H
#define CLI_REPLAY_H

#include "cli/replay_report.h"

/* Read the logs and print the report. The result is an exit status: EXIT_FINDING if something changes, EXIT_WELL,
 * EXIT_USAGE if nothing could be read or a file broke off (said on standard error). `listener`: where requests
 * came in of which the log does not say it. */
int replay_run(struct replay_side before, struct replay_side after, const char *const *logs, size_t count,
               struct span listener, bool json);

#endif
