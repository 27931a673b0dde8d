/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648 section 4), and its alphabet for URLs without padding (section 5). Strict: no white space, padding
 * where it belongs, no bits that are lost. Not in constant time: what is decoded came over the wire like this. */
#ifndef AUTH_BASE64_H
#define AUTH_BASE64_H

#include "base/buf.h"

/* Append `bytes` in base64. */
void base64_encode(struct span bytes, struct buf *out);

/* Append what `text` stands for. False: it is no base64, or does not fit; *out then has the content it had. Whoever
 * decodes secrets wipes `out` up to its capacity. */
MUST_USE bool base64_decode(struct span text, struct buf *out);

/* The same into an array of `size` bytes. */
MUST_USE bool base64_decode_into(struct span text, uint8_t *out, size_t size, size_t *len);

/* Characters that `bytes` become in the alphabet for URLs. */
#define BASE64_URL_LEN(bytes) (((bytes) * 4 + 2) / 3)

/* `bytes` in the alphabet for URLs, without padding, into an array of BASE64_URL_LEN(bytes.len). */
void base64_url_encode(struct span bytes, uint8_t *out);

/* Decode text that stands for exactly `len` bytes. False: it is anything else; *out is then undefined. */
MUST_USE bool base64_url_decode(struct span text, uint8_t *out, size_t len);

#endif
