/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of Digest (RFC 7616), for commands and tests: one challenge in, one answer out. */
#ifndef AUTH_DIGEST_CLIENT_H
#define AUTH_DIGEST_CLIENT_H

#include "base/buf.h"

/* What is asked for, and by whom. */
struct digest_client {
	struct span user, password; /* UTF-8 */
	struct span method, uri;
	struct span cnonce;         /* empty: a new one */
	uint32_t count;             /* of this nonce, from 1 */
	bool wants_userhash;        /* RFC 7616 section 3.4.4 */
};

/* Append what belongs behind "Proxy-Authorization: " to the answer of a challenge, of which `challenge` is the value:
 * "Digest realm=..". False: *why is a constant text that says what is wrong with it. */
MUST_USE bool digest_client_answer(struct span challenge, const struct digest_client *client, struct buf *out,
                                   const char **why);

#endif
