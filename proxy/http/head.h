/* SPDX-License-Identifier: Apache-2.0 */
/* A complete HTTP/1 message head, parsed strictly (RFC 9112, llhttp in strict mode, and on top what
 * even that tolerates). Spans point into the bytes that were parsed. */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include "base/arena.h"
#include "base/err.h"

struct http_field {
	struct span name, value; /* value without surrounding white space */
};

enum http_framing {
	HTTP_NO_BODY,       /* nothing follows */
	HTTP_LENGTH,        /* body_bytes follow */
	HTTP_CHUNKED,
	HTTP_UNTIL_CLOSE,   /* responses only */
	HTTP_TUNNEL,        /* 2xx to CONNECT, 101: opaque bytes follow */
};

struct http_head {
	bool is_request;
	uint8_t minor;             /* HTTP/1.minor: 0 or 1 */
	struct span method;        /* requests: as sent; methods are case-sensitive */
	int method_number;         /* llhttp's number */
	struct span target;        /* requests: as sent */
	int status;                /* responses */
	struct span reason;
	struct http_field *fields; /* in order; in the arena */
	size_t field_count;
	enum http_framing framing;
	uint64_t body_bytes;       /* HTTP_LENGTH */
	bool keep_alive;           /* by version, Connection, (requests:) Proxy-Connection */
	bool expect_continue;      /* requests */
	bool upgrade;              /* Connection: upgrade and an Upgrade field */
	size_t head_bytes;         /* with the empty line */
};

/* How many bytes the head at the start of `bytes` has, with its empty line; 0: not complete yet.
 * `scanned` remembers where to go on (start with 0), so that a drip costs linear time. Leading empty lines
 * (RFC 9112 section 2.2) count as part of the head, at most two. */
size_t http_head_find(struct span bytes, size_t *scanned);

/* Of a request head that is not complete yet: can its first line begin one? ERR_NONE, too, while it has no end. Who
 * sends no more than a line of HTTP/0.9 would wait otherwise. errors: as http_head_parse_request(). */
MUST_USE enum err http_head_check_start(struct span bytes, const char **detail);

/* Parse a complete request head. errors: ERR_REQUEST_SYNTAX, _FRAMING, _VERSION, _METHOD, _HOST,
 * _CONNECT_BODY, _EXPECTATION, ERR_SESSION_MEMORY. *detail is a constant text that says which check failed. */
MUST_USE enum err http_head_parse_request(struct span bytes, struct arena *arena,
                                          struct http_head *out, const char **detail);

/* Parse a complete response head to a request with `method`. errors: ERR_RESPONSE_SYNTAX,
 * ERR_RESPONSE_FRAMING, ERR_SESSION_MEMORY. */
MUST_USE enum err http_head_parse_response(struct span bytes, struct span method, struct arena *arena,
                                           struct http_head *out, const char **detail);

/* Is it a token (RFC 9110 section 5.6.2), as methods and field names are? */
bool http_is_token(struct span text);

/* Is there a control character in it that is no tab? Field values and reasons have none. */
bool http_has_control(struct span text);

/* The first field of this name; NULL if there is none. */
const struct http_field *http_find(const struct http_head *head, const char *name);

/* Is `token` among the comma-separated values of all fields `name`? Case does not matter. */
bool http_has_token(const struct http_head *head, const char *name, struct span token);

/* Is this field for this connection only: hop-by-hop by name (RFC 9110 section 7.6.1), or named in a
 * Connection field? Proxy-Authenticate and Proxy-Authorization too. */
bool http_is_hop_by_hop(const struct http_head *head, struct span name);

#endif
