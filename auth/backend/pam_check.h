/* SPDX-License-Identifier: Apache-2.0 */
/* One question to PAM, in this process. */
#ifndef AUTH_PAM_CHECK_H
#define AUTH_PAM_CHECK_H

#include "auth/ask.h"

/* Is it this user's password, and may the account be used? `folder` "": the system's. blocks: as long as the stack takes.
 * VALID, INVALID, UNKNOWN_USER, UNAVAILABLE; answer->why, answer->user. */
enum ask_verdict pam_check(const char *service, const char *folder, struct span user, struct span password,
                           struct answer *answer);

#endif
