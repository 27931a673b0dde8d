/* SPDX-License-Identifier: Apache-2.0 */
/* Files that authentication needs: the keytab, user files, the password for LDAP. The parent reads them (it may be the only
 * one who can), checks them, and hands sealed copies to the verifier; and it looks whether they have changed. */
#ifndef PROCESS_AUTH_FILES_H
#define PROCESS_AUTH_FILES_H

#include "auth/auth_conf.h"
#include "base/secret.h"

enum { AUTH_FILES_USERS_MAX = 64, AUTH_FILES_MAX = AUTH_FILES_USERS_MAX + 2 };

struct auth_files {
	int keytab_fd, ldap_fd;                /* -1: there is none, or it cannot be read */
	int users_fds[AUTH_FILES_USERS_MAX];   /* in the order of the configuration */
	size_t users_count;
	uint64_t stamp;                        /* of what was read: changes with the files */
};

/* Nothing in it; may be closed. */
void auth_files_init(struct auth_files *files);
void auth_files_close(struct auth_files *files);

/* Read what the configuration names, as far as a scheme needs it, and say what is wrong or doubtful with it: `file` is the
 * configuration's. errors: ERR_CONFIG (with problems), ERR_SYSTEM, ERR_MEMORY; *files is empty then. */
MUST_USE enum err auth_files_read(const struct auth_conf *conf, const char *file, struct problems *problems,
                                  struct auth_files *files);

/* What `stamp` would be now. */
uint64_t auth_files_stamp(const struct auth_conf *conf);

/* The secret that signs nonces, from the file that the configuration names. errors: ERR_CONFIG with problems. */
MUST_USE enum err auth_files_read_key(const struct digest_conf *conf, struct problems *problems, const char *file,
                                      uint8_t key[static 32]);

#endif
