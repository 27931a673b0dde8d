/* SPDX-License-Identifier: Apache-2.0 */
/* Basic (RFC 7617) on the wire: from the credentials to a user and a password. */
#ifndef AUTH_BASIC_H
#define AUTH_BASIC_H

#include "base/buf.h"

enum { BASIC_MAX_BYTES = 1024 }; /* of each, as UTF-8 */

/* Take apart what is behind "Basic": append the user and the password, both UTF-8, to empty buffers of BASIC_MAX_BYTES.
 * What is not UTF-8 is taken as Latin-1, which Java sends where it knows no charset. The user ends at the first ':'.
 * False: *why is a constant text that says what is wrong. The caller wipes `password`, either way. */
MUST_USE bool basic_parse(struct span credentials, struct buf *user, struct buf *password, const char **why);

#endif
