/* SPDX-License-Identifier: Apache-2.0 */
/* Message content on its way: taken out of one framing and put into another. */
#ifndef HTTP_BODY_H
#define HTTP_BODY_H

#include "base/buf.h"
#include "http/head.h"

enum { HTTP_TRAILERS_MAX_BYTES = 16384 };

/* Reads content in one framing. Embedded; no allocation but trailers. */
struct http_body {
	enum http_framing framing;
	uint64_t left_bytes;     /* of the length, or of the chunk */
	uint8_t state;           /* of the chunk parser */
	uint8_t line_bytes;      /* of the chunk-size line so far */
	uint16_t trailer_bytes;  /* of the trailer line so far */
	bool done;
	struct buf trailers;     /* "Name: value\r\n" lines that may be forwarded */
};

void http_body_init(struct http_body *body, enum http_framing framing, uint64_t body_bytes);
void http_body_fini(struct http_body *body);

/* Take content from the front of *in. Each call gives the next run of content (borrowed from *in) or
 * none, and advances *in; call until *in is empty or body->done. Strict: chunk-size lines with nothing but
 * hex digits (at most 16) and CRLF; extensions, bare CR or LF, white space are errors; trailers as fields.
 * errors: ERR_REQUEST_FRAMING (the caller maps it for responses). */
MUST_USE enum err http_body_read(struct http_body *body, struct span *in, struct span *content);

/* The sender closed: is the content complete? */
bool http_body_ends_here(const struct http_body *body);

/* Append what goes before (chunk size) and after content of `len` bytes in the given framing: nothing, or
 * "hex\r\n" and "\r\n". */
void http_body_write_before(enum http_framing framing, size_t len, struct buf *out);
void http_body_write_after(enum http_framing framing, size_t len, struct buf *out);
/* Append the end: nothing, or "0\r\n" trailers "\r\n". */
void http_body_write_end(enum http_framing framing, struct span trailers, struct buf *out);

#endif
