/* SPDX-License-Identifier: Apache-2.0 */
/* Request targets and hosts (RFC 9112 section 3.2, RFC 3986): who is meant, in one canonical form. */
#ifndef HTTP_TARGET_H
#define HTTP_TARGET_H

#include "base/address.h"
#include "base/arena.h"
#include "base/err.h"

struct http_host {
	struct span name;       /* lower case, no trailing dot, no brackets; of an IP literal its canonical text */
	struct address address; /* of an IP literal (with the port); else family 0 */
	uint16_t port;
};

enum http_target_form { HTTP_TARGET_ORIGIN, HTTP_TARGET_ABSOLUTE, HTTP_TARGET_AUTHORITY, HTTP_TARGET_ASTERISK };

struct http_target {
	enum http_target_form form;
	struct http_host host;   /* absolute and authority form */
	struct span scheme;      /* absolute form: lower case */
	struct span path;        /* origin and absolute form: with its query, "/" if empty ("*" for OPTIONS without path) */
};

/* Parse "host:port", "[v6]:port"; with default_port > 0 the port may be missing. Refused (ERR_REQUEST_AUTHORITY):
 * user information, non-ASCII, empty labels, labels over 63 or names over 253 bytes, characters other than
 * letters, digits, '-', '_', '.', port 0 or over 65535, and a name whose last label is numeric (or 0x...) and that
 * is no IP literal. One trailing dot is dropped. Names are copied in lower case into `arena`. */
MUST_USE enum err http_host_parse(struct span text, uint16_t default_port, struct arena *arena,
                                  struct http_host *out);

/* Parse the target of a request. CONNECT wants authority form with a port; OPTIONS may have "*".
 * errors: ERR_REQUEST_TARGET, ERR_REQUEST_AUTHORITY, ERR_REQUEST_SCHEME (absolute form with another scheme than http),
 * ERR_SESSION_MEMORY. */
MUST_USE enum err http_target_parse(struct span method, struct span target, struct arena *arena,
                                    struct http_target *out);

#endif
