/* SPDX-License-Identifier: Apache-2.0 */
/* Pooled pipes of one worker, for splice(2). The kernel grants a user 64 MiB of pipes in all
 * (fs.pipe-user-pages-soft); what comes beyond is a pipe of a page or two, worse than copying. So one budget
 * holds for all workers, and whoever gets none copies. */
#ifndef NET_PIPES_H
#define NET_PIPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/compiler.h"

struct pipes;

struct pipe {
	int ends[2];  /* of pipe2(); -1: none */
	uint8_t size; /* which of the pool's two */
	size_t bytes; /* in it now: for whoever has it */
};

#define PIPE_NONE ((struct pipe){.ends = {-1, -1}})

/* At most max_bytes of pipes: half of them in large ones, which are taken first. */
MUST_USE enum err pipes_new(size_t max_bytes, struct pipes **out);
void pipes_free(struct pipes *pipes);

/* False, and nothing taken, when there is none. pipes may be NULL: there is none. */
bool pipes_take(struct pipes *pipes, struct pipe *out);
/* One that still holds bytes is closed: bytes of a tunnel never reach another. Leaves PIPE_NONE. */
void pipes_give(struct pipes *pipes, struct pipe *pipe);

#endif
