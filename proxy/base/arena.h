/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is freed as a whole, with a maximum: what one session, exchange or configuration may
 * use. Holds nothing until the first allocation. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/span.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used_bytes, max_bytes; /* used counts whole blocks */
};

void arena_init(struct arena *arena, size_t max_bytes);

/* Free all of it; usable again, with the same maximum. */
void arena_fini(struct arena *arena);

/* `size` zeroed bytes, aligned for any type; NULL when the maximum would be exceeded. */
void *arena_alloc(struct arena *arena, size_t size);

/* A copy of `bytes`, NUL-terminated behind its length; {NULL, 0} when it does not fit. */
struct span arena_copy(struct arena *arena, struct span bytes);

/* The same as a C string; NULL when it does not fit. */
char *arena_string(struct arena *arena, struct span bytes);

/* printf into the arena; NULL when it does not fit. */
char *arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
