/* SPDX-License-Identifier: Apache-2.0 */
/* What NTLM's second message calls us: with winbind the names of the machine that has joined the domain (any other, and the
 * domain refuses passwords that are right), else the configuration's or the host's. Asking winbindd may take long, so a
 * thread of its own does it, and goes on asking until there is an answer. */
#ifndef AUTH_NTLM_NAMES_H
#define AUTH_NTLM_NAMES_H

#include "auth/auth_conf.h"
#include "auth/scheme/ntlm.h"

struct ntlm_namer;

/* `host` is the host's name. errors: ERR_MEMORY, ERR_SYSTEM. */
MUST_USE enum err ntlm_namer_new(struct span host, struct ntlm_namer **out);
void ntlm_namer_free(struct ntlm_namer *namer); /* waits for the thread */

/* From now on as this says. */
void ntlm_namer_use(struct ntlm_namer *namer, const struct ntlm_conf *conf);

/* Readable when there is something new. */
int ntlm_namer_fd(const struct ntlm_namer *namer);

/* Append the message of auth_write_names() that holds now. */
void ntlm_namer_write(struct ntlm_namer *namer, struct buf *out);

#endif
