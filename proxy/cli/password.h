/* SPDX-License-Identifier: Apache-2.0 */
/* A password from who sits there, or from standard input: never from the command line, which others can see. */
#ifndef CLI_PASSWORD_H
#define CLI_PASSWORD_H

#include "base/secret.h"

/* Ask on the terminal without echo (`twice`: and compare), or read the first line of standard input where that is no
 * terminal. False, and said why on standard error: it is empty, too long, has a NUL in it, or the two differ. owns: the
 * caller, secret_fini(). */
MUST_USE bool password_read(const char *user, bool twice, struct secret *out);

#endif
