/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: backend_ldap, and groups of users who proved elsewhere who they are. */
#ifndef AUTH_LDAP_H
#define AUTH_LDAP_H

#include "auth/backend/backend.h"

/* A question waits for so many ldap.timeout in all. */
enum { LDAP_STEPS_MAX = 4 };

/* What the library loads and looks up once: before threads, and before the sandbox closes. Its own configuration (ldap.conf,
 * LDAPTLS_*) and plugins of SASL are left out: ours says everything, and binds are simple ones. False: *why, a constant. */
MUST_USE bool ldap_backend_init(const char **why);

/* Set answer->groups to the groups of this user, as another backend names it; none where the directory has no such user, or
 * the name is of another domain than the directory's. False: they cannot be known now, and *answer is UNAVAILABLE and says
 * why. `thread` is what backend_ldap.open() gave. blocks: four times ldap.timeout. */
MUST_USE bool ldap_groups_of(void *thread, const struct backend_env *env, struct span user, struct answer *answer);

#endif
