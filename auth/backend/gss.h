/* SPDX-License-Identifier: Apache-2.0 */
/* What Kerberos needs once for the process, beside backend_gss of backend.h. */
#ifndef AUTH_GSS_H
#define AUTH_GSS_H

#include "base/span.h"

/* Before the first question, before there are threads, and before the sandbox closes: the library reads its files.
 * `replay_cache` is the path of a file, which is made when it is missed: all processes that share it refuse what one of
 * them has seen. "": one of the process's user in /var/tmp. Mechanisms of other packages are not loaded.
 * False: there is no Kerberos in this library, or the path is too long; *why, a constant. */
MUST_USE bool gss_backend_init(const char *replay_cache, const char **why);

/* Drop what is remembered: exchanges that have not ended, names of SIDs. */
void gss_backend_fini(void);

#endif
