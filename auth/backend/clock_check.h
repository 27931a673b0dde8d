/* SPDX-License-Identifier: Apache-2.0 */
/* Does this machine's clock agree with the authority's? Kerberos refuses tickets that are five minutes off. */
#ifndef AUTH_CLOCK_CHECK_H
#define AUTH_CLOCK_CHECK_H

#include "auth/auth_conf.h"

/* Ask the KDC of the keytab's services what time it is, and warn where it is more than a minute and a half from ours; nothing is
 * said where none answers. `file` is the configuration's. blocks: a few seconds at most. For commands. */
void auth_clock_check(const struct auth_conf *conf, const char *file, struct problems *problems);

#endif
