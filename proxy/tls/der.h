/* SPDX-License-Identifier: Apache-2.0 */
/* DER (X.690) for what is written in large numbers: lengths and tags, around bytes that are there already. */
#ifndef TLS_DER_H
#define TLS_DER_H

#include "base/buf.h"

enum {
	DER_BOOLEAN = 0x01,
	DER_INTEGER = 0x02,
	DER_BIT_STRING = 0x03,
	DER_OCTET_STRING = 0x04,
	DER_UTF8_STRING = 0x0c,
	DER_UTC_TIME = 0x17,
	DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30,
	DER_SET = 0x31,
	DER_EXTENSIONS = 0xa3, /* [3] of a certificate */
	DER_DNS_NAME = 0x82,   /* [2] and [7] of a GeneralName */
	DER_IP_ADDRESS = 0x87,
};

/* Append tag, length and content. */
void der_add(struct buf *out, uint8_t tag, struct span content);

/* Append a time as certificates have it: two digits of the year before 2050 (RFC 5280 section 4.1.2.5). */
void der_add_time(struct buf *out, int64_t seconds);

/* The whole value at the front of *rest, which is skipped; empty where there is none. Strangers' bytes are OpenSSL's to read. */
struct span der_take(struct span *rest);

#endif
