/* SPDX-License-Identifier: Apache-2.0 */
/* The user files that the configuration names, for the command that changes them. What is wrong is said on standard
 * error. */
#ifndef CLI_USER_FILE_H
#define CLI_USER_FILE_H

#include "auth/auth_conf.h"
#include "auth/backend/users.h"

enum { USER_FILE_MAX_BYTES = 256 << 20 };

/* Which one is meant: the one that is asked for (its path, or the last parts of it; NULL: none is), else the one that
 * `name` is in, else the first. NULL: the configuration has no such file, the name is in several, or (is_new) in another
 * one than was asked for: one password would be changed, and another left. */
const char *user_file_choose(const struct auth_conf *conf, const char *asked, struct span name, bool is_new);

/* Make an empty one with mode 0600 where there is none. */
MUST_USE bool user_file_make(const char *path);

/* Load all files as the proxy does, with `text` in place of what is in `changed` (NULL: as they are). One that is not
 * there is empty. owns: users_free(). */
MUST_USE bool user_file_load(const struct auth_conf *conf, const char *changed, struct span text, struct users **out);

/* Append the text with the lines of this user taken out, and `line` in place of the first of them, or at the end; empty:
 * nothing in their place. All else stays as it is, and so do lines of htdigest that are of another realm, if
 * `keep_realms`. */
void user_file_replace(struct span text, struct span realm, struct span name, struct span line, bool keep_realms,
                       struct buf *out);

#endif
