/* SPDX-License-Identifier: Apache-2.0 */
/* The file with the token that /metrics wants. */
#ifndef PROCESS_TOKEN_H
#define PROCESS_TOKEN_H

#include "base/err.h"
#include "base/problem.h"
#include "base/secret.h"

enum { TOKEN_MIN_BYTES = 16, TOKEN_MAX_BYTES = 512 };

/* Read it. If it is not there: make it when `makes` (*made is true then), else it is well and the token empty.
 * owns: out is the caller's, to be released with secret_fini(). blocks: on the disk; not for workers.
 * errors: ERR_CONFIG with a problem that names `file`, the configuration. */
MUST_USE enum err token_load(const char *path, bool makes, const char *file, struct problems *problems,
                             struct secret *out, bool *made);

/* The token in the content of such a file; false if it is none. */
MUST_USE bool token_parse(struct span content, struct span *token);

#endif
