/* SPDX-License-Identifier: Apache-2.0 */
/* A client of Kerberos, for sallyport auth test: gets a ticket with a password. For commands: blocks as the library does. */
#ifndef AUTH_KERBEROS_CLIENT_H
#define AUTH_KERBEROS_CLIENT_H

#include "base/buf.h"

/* Append the first principal of a keytab file: "HTTP/proxy.example.com@EXAMPLE.COM". False: *why has the library's text. */
MUST_USE bool kerberos_client_service(const char *keytab, struct buf *service, struct buf *why);

/* Append a token of GSSAPI for this service, as this user. False: *why. */
MUST_USE bool kerberos_client_token(struct span user, struct span password, struct span service, struct buf *token,
                                    struct buf *why);

#endif
