/* SPDX-License-Identifier: Apache-2.0 */
/* The name in a ClientHello, as policy and leaves have it. Stricter than OpenSSL, which only refuses NUL and 256 bytes. */
#ifndef TLS_HELLO_NAME_H
#define TLS_HELLO_NAME_H

#include "base/span.h"

enum { HELLO_NAME_MAX_BYTES = 253 };

/* Write `raw` in lower case and without a dot at its end to `room`; *name is over that. Empty: none, or an IP address, which
 * RFC 6066 section 3 forbids and everybody takes for none.
 * errors: what is wrong with it, a constant; *name is then empty. */
MUST_USE const char *hello_name(struct span raw, uint8_t room[static HELLO_NAME_MAX_BYTES], struct span *name);

#endif
