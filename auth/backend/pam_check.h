/* SPDX-License-Identifier: Apache-2.0 */
/* One question to PAM, in this process. */
#ifndef AUTH_PAM_CHECK_H
#define AUTH_PAM_CHECK_H

#include "auth/ask.h"

/* What PAM's own modules take (PAM_MAX_RESP_SIZE). */
enum { PAM_TEXT_MAX_BYTES = 512 };

/* Is it this user's password, and may the account be used? `folder` "": the system's stacks; `client`: its address, for
 * modules that ask for it, or "". blocks: as long as the stack takes. VALID with answer->user, as PAM and the system call
 * the user; INVALID, UNKNOWN_USER, UNAVAILABLE with answer->why. */
enum ask_verdict pam_check(const char *service, const char *folder, struct span user, struct span password,
                           const char *client, struct answer *answer);

#endif
