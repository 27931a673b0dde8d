/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of hello.h have in common. Not for others. */
#ifndef TLS_HELLO_PRIVATE_H
#define TLS_HELLO_PRIVATE_H

#include "tls/hello.h"

/* What are these bytes? False while that is open, which it is for no more than HELLO_CLASSIFY_MAX_BYTES. HELLO_TLS:
 * they begin as TLS does; whether a ClientHello comes of it is another question. */
MUST_USE bool hello_classify(struct span bytes, enum hello_class *class);

/* Read hello->message. NULL, or what is wrong with it. */
MUST_USE const char *hello_parse(struct hello *hello);

/* RFC 8701: values that mean nothing, so that nobody stumbles over new ones. */
static inline bool hello_is_grease(uint16_t value)
{
	return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

#endif
