/* SPDX-License-Identifier: Apache-2.0 */
/* STUN messages (RFC 8489): the shape of a header, Binding requests, and answers to them. Not the transactions:
 * who asks keeps the id, asks again where packets get lost, and drops what has another id. */
#ifndef NET_STUN_H
#define NET_STUN_H

#include "base/address.h"

enum { STUN_HEADER_BYTES = 20, STUN_ID_BYTES = 12, STUN_REQUEST_BYTES = 28 };

/* Of the types, those that are read here. */
enum stun_type { STUN_BINDING_REQUEST = 0x0001, STUN_BINDING_SUCCESS = 0x0101, STUN_BINDING_ERROR = 0x0111 };

enum stun_shape {
	STUN_SHAPE_OTHER, /* no STUN message begins so */
	STUN_SHAPE_SHORT, /* one could, more bytes will tell */
	STUN_SHAPE_WHOLE, /* the header of one */
};

/* Do the bytes begin with a header: two zero bits, a length of whole words, the magic cookie?
 * *message_bytes is what header and attributes take; set where it is WHOLE. */
enum stun_shape stun_header_shape(struct span bytes, size_t *message_bytes);

struct stun_message {
	uint16_t type;
	uint8_t id[STUN_ID_BYTES];
	uint16_t error_code;   /* 300 to 699; 0: none */
	struct address mapped; /* (XOR-)MAPPED-ADDRESS: as the asked one saw us; family 0: none */
};

/* Read one message that fills the whole span. False if it is none, if an attribute does not fit, or if its
 * FINGERPRINT is wrong. Attributes that are not named above are stepped over. */
MUST_USE bool stun_parse(struct span bytes, struct stun_message *out);

/* Write a Binding request with a FINGERPRINT. */
void stun_format_binding(const uint8_t id[static STUN_ID_BYTES], uint8_t out[static STUN_REQUEST_BYTES]);

#endif
