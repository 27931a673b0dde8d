/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: backend_ldap, and groups of users who proved elsewhere who they are. */
#ifndef AUTH_LDAP_H
#define AUTH_LDAP_H

#include "auth/backend/backend.h"

/* Append the groups of this user (as a backend names it) to answer->groups; none where the directory does not know the user.
 * False: the directory does not answer, and *answer says so. `thread` is what backend_ldap.open() gave. blocks: up to the
 * time-outs of `env`. */
MUST_USE bool ldap_groups_of(void *thread, const struct backend_env *env, struct span user, struct answer *answer);

#endif
