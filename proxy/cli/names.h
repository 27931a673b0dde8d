/* SPDX-License-Identifier: Apache-2.0 */
/* Texts kept once, with a number each, up to a stated number of them: hosts and users in the millions. */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

#include "base/arena.h"
#include "base/hash.h"

enum { NAMES_MAX = 1 << 21, NAMES_MAX_BYTES = 1 << 28 };
#define NAMES_NONE UINT32_MAX

struct names {
	struct arena texts;
	struct span *at; /* by number */
	uint32_t *slots; /* number + 1; 0: free */
	size_t count, slot_count;
	struct hash_key key;
};

void names_init(struct names *names);
void names_fini(struct names *names);

/* The number of a text, new or known. NAMES_NONE: there is no room for another one. */
uint32_t names_number(struct names *names, struct span text);

#endif
