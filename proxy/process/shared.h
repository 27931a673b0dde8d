/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that several roles map: memfds whose size is fixed by seals, so that nobody can be made to
 * fault by a hostile holder of the descriptor. */
#ifndef PROCESS_SHARED_H
#define PROCESS_SHARED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

/* A zeroed region of this size that can be written by whoever has the descriptor. errors: ERR_SYSTEM. */
MUST_USE enum err shared_new(const char *name, size_t bytes, int *out);

/* A region with this content that nobody can change any more. errors: ERR_SYSTEM. */
MUST_USE enum err shared_sealed(const char *name, struct span content, int *out);

/* Another descriptor of the region that cannot be mapped writable. For the parent: opens a file.
 * errors: ERR_SYSTEM. */
MUST_USE enum err shared_readonly(int fd, int *out);

/* Map it, after a look that it has this size, and seals that keep it so; sealed against changes
 * altogether unless `is_writable`. NULL if not. */
void *shared_map(int fd, size_t bytes, bool is_writable);

/* The same for reading what another role writes. */
const void *shared_map_changing(int fd, size_t bytes);

void shared_unmap(const void *at, size_t bytes);

/* The same for counters. */
void shared_unmap_cells(_Atomic uint32_t *cells, size_t count);

#endif
