/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: backend_ldap, and groups of users who proved elsewhere who they are. */
#ifndef AUTH_LDAP_H
#define AUTH_LDAP_H

#include "auth/backend/backend.h"

/* Set answer->groups to the groups of this user (as another backend names it), whatever ldap.groups says of passwords; none
 * with LDAP_GROUPS_NONE. VALID; UNKNOWN_USER: the directory has no such user, or the name is of another domain than the
 * directory's; INVALID, UNAVAILABLE: its groups cannot be known now, and answer->why says why. answer->verdict and
 * answer->user stay. `thread` is what backend_ldap.open() gave. blocks: four times ldap.timeout. */
enum ask_verdict ldap_groups_of(void *thread, const struct backend_env *env, struct span user, struct answer *answer);

#endif
