/* SPDX-License-Identifier: Apache-2.0 */
/* User files in memory: who is in them, with which verifiers. Three kinds of lines, each known by its own shape:
 *   alice:crypt=$y$..:sha256=HEX:md5=HEX:nt=HEX:realm=Corporate egress:groups=staff,it     (sallyport user)
 *   alice:$apr1$..  $2y$..  $5$..  $6$..  $y$..  or DES                                    (htpasswd)
 *   alice:realm:HEX                                                                        (htdigest)
 * In ours, ':', '%', ',' and what is not printable stand as %XX in names and values. Immutable once loaded. */
#ifndef AUTH_USERS_H
#define AUTH_USERS_H

#include "auth/ask.h"
#include "base/err.h"
#include "base/problem.h"

/* One file, read by the caller. */
struct users_source {
	const char *path;          /* for problems */
	struct span text;
};

/* A user; borrowed from `users`. */
struct users_entry {
	struct span name, crypt, groups; /* groups: each ended by a NUL */
	uint8_t ha1[DIGEST_ALGORITHM_COUNT][DIGEST_MAX_BYTES];
	uint8_t nt[16];
	bool has_ha1[DIGEST_ALGORITHM_COUNT], has_nt;
	bool other_realm;          /* HA1s of another realm alone */
};

struct users;

/* Read them. errors: ERR_CONFIG (each problem with its line), ERR_MEMORY. */
MUST_USE enum err users_load(const struct users_source *sources, size_t count, struct span realm,
                             struct problems *problems, struct users **out);
void users_free(struct users *users); /* wipes; NULL is allowed */

/* By name; without case, as Windows does it (the same in every letter first, then the first in the files); by the hash of the name (RFC 7616 section 3.4.4), as hexadecimal digits.
 * NULL: there is none. */
const struct users_entry *users_find(const struct users *users, struct span name);
const struct users_entry *users_find_folded(const struct users *users, struct span name);
const struct users_entry *users_find_hashed(const struct users *users, enum digest_algorithm algorithm,
                                            struct span digits);

struct users_stats {
	size_t count, crypt, ha1[DIGEST_ALGORITHM_COUNT], nt, other_realm;
};
void users_stats(const struct users *users, struct users_stats *out);
/* A hash of a password, of the kind that most have who have one; empty: nobody has. */
struct span users_usual_crypt(const struct users *users);
/* In the order of the files. */
const struct users_entry *users_at(const struct users *users, size_t at);

/* The fields of one line of ours, for who writes it; empty or without: left out. Without a newline. */
void users_format(const struct users_entry *entry, struct span realm, struct buf *out);

/* 1 to 256 bytes of UTF-8 without control characters and colons. Groups are named in the same way. */
bool users_is_name(struct span name);

/* Append the name in a line (without its end) of any kind. False: there is none (a comment, an empty line). It may be of
 * htdigest and of another realm than ours, of no use here. */
MUST_USE bool users_line_name(struct span line, struct span realm, struct buf *out, bool *is_other_realm);

#endif
