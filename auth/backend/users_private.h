/* SPDX-License-Identifier: Apache-2.0 */
/* What the parser of user files and their index share. */
#ifndef AUTH_USERS_PRIVATE_H
#define AUTH_USERS_PRIVATE_H

#include "auth/backend/users.h"
#include "base/arena.h"
#include "base/hash.h"

enum { USERS_NAME_MAX_BYTES = 256, USERS_INDEXES = 4 };

struct users_place {
	const char *path;
	unsigned line;
};

struct users {
	struct arena arena;
	struct hash_key key;
	struct span realm;
	struct users_entry *entries;
	struct users_place *places; /* while it is loaded */
	size_t count, room;
	size_t bucket_count;        /* a power of two */
	struct span usual_crypt;
	uint32_t *buckets[USERS_INDEXES]; /* index of an entry + 1; open addressing */
};

/* Append what the file has to entries and places. errors: ERR_MEMORY; what is wrong with the text goes to `problems`. */
MUST_USE enum err users_parse(struct users *users, const struct users_source *source, struct problems *problems);

/* 2 * len hexadecimal digits of either case. */
MUST_USE bool users_read_hex(struct span text, uint8_t *out, size_t len);

#endif
