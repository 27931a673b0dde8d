/* SPDX-License-Identifier: Apache-2.0 */
/* The files of the inspection CA: read and looked at by the parent (it may be the only one who can) and by commands, and
 * handed to the signer as sealed copies. */
#ifndef PROCESS_CA_FILES_H
#define PROCESS_CA_FILES_H

#include "tls/ca.h"
#include "tls/tls_conf.h"

struct ca_files {
	int certificate_fd, key_fd;      /* -1: there is no CA */
	size_t certificate_bytes, key_bytes;
	struct ca *ca;                   /* without its key */
};

/* Nothing in it; may be closed. */
void ca_files_init(struct ca_files *files);
void ca_files_close(struct ca_files *files);

/* Read what the configuration names, and say what is wrong or doubtful with it. `seals`: make the sealed copies.
 * errors: ERR_CONFIG (with problems), ERR_SYSTEM, ERR_MEMORY; *files is empty then. */
MUST_USE enum err ca_files_read(const struct ca_conf *conf, bool seals, struct problems *problems, struct ca_files *files);

/* The same for these two paths. */
MUST_USE enum err ca_files_read_at(const char *certificate, const char *key, bool seals, struct problems *problems,
                                   struct ca_files *files);

#endif
