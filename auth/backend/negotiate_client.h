/* SPDX-License-Identifier: Apache-2.0 */
/* Negotiate as a client, with the tickets that the user has: SPNEGO with Kerberos inside, and nothing else. For commands:
 * blocks as the library does, while it asks DNS and the KDC. Each client is used by one thread at a time. */
#ifndef AUTH_NEGOTIATE_CLIENT_H
#define AUTH_NEGOTIATE_CLIENT_H

#include "base/buf.h"

struct negotiate_client;

/* Before there are threads: no mechanisms of other packages. False: there is no memory. */
MUST_USE bool negotiate_client_init(void);

/* NULL: no memory. */
struct negotiate_client *negotiate_client_new(void);
void negotiate_client_free(struct negotiate_client *client);

/* Append the next token for the service HTTP at `host`, behind the one that came (empty at first). False: *why has the
 * library's text, as one line. */
MUST_USE bool negotiate_client_step(struct negotiate_client *client, struct span host, struct span came, struct buf *token,
                                    struct buf *why);

/* Append whose tickets they are, after the first step: "alice@EXAMPLE.COM"; nothing where that is not known. */
void negotiate_client_user(const struct negotiate_client *client, struct buf *out);

#endif
