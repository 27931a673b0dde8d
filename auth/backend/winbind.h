/* SPDX-License-Identifier: Apache-2.0 */
/* The domain that this machine has joined, through Samba's winbindd: backend_winbind, and what the machine is called. */
#ifndef AUTH_WINBIND_H
#define AUTH_WINBIND_H

#include "base/buf.h"

/* Append NetBIOS names of domain and machine, then their DNS names (struct ntlm_names). False: *why is a constant text.
 * blocks: as winbindd does. */
MUST_USE bool winbind_names(struct buf names[static 4], const char **why);

#endif
