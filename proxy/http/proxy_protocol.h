/* SPDX-License-Identifier: Apache-2.0 */
/* The PROXY protocol header, version 1 and 2, as HAProxy's specification has it. */
#ifndef HTTP_PROXY_PROTOCOL_H
#define HTTP_PROXY_PROTOCOL_H

#include "base/address.h"
#include "base/err.h"

enum { PROXY_PROTOCOL_MAX_BYTES = 536 };

/* Parse a header at the start of `bytes`. *used is its length; 0: not complete yet (and ERR_NONE).
 * *local: LOCAL or UNKNOWN, the connection's own address stands. errors: ERR_PROXY_PROTOCOL. */
MUST_USE enum err proxy_protocol_parse(struct span bytes, size_t *used, bool *local,
                                       struct address *client, struct address *listener);

#endif
