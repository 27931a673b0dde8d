/* SPDX-License-Identifier: Apache-2.0 */
/* Writes heads: what goes on to an origin or back to a client, and replies of our own. */
#ifndef HTTP_MESSAGE_H
#define HTTP_MESSAGE_H

#include "base/buf.h"
#include "http/head.h"
#include "http/target.h"

/* A field of this name stands for all that came, or none does. */
struct http_edit {
	bool is_set;
	struct span name, value;
};

enum { HTTP_EDITS_MAX = 32 };

struct http_forward {
	const char *via;          /* our pseudonym: "Via: 1.1 sallyport" is appended */
	struct span forwarded;    /* a whole Forwarded element, or empty */
	bool keep_alive;          /* what we want of the connection that this goes to */
	enum http_framing framing;/* of the body as we will send it */
	bool to_http10;           /* the receiver is an HTTP/1.0 client: answer as HTTP/1.1, but no chunks (RFC 9112 2.3) */
	struct span fields;       /* of a response: further header lines, each with CRLF */
	uint16_t default_port;    /* of requests: not written in Host; 0: 80 */
	bool without_via;         /* inside TLS that was opened: origins would take the client for a proxy's */
	uint64_t max_forwards;    /* UINT64_MAX: leave; else write this instead of what came */
	const struct http_edit *edits; /* none of a field that the writer makes, but Forwarded */
	size_t edit_count;
};

/* Append the request head for the origin: origin form (`target` has the path), Host first and made from the
 * target (RFC 9112 section 3.2.2), hop-by-hop fields dropped (Upgrade kept as Connection: upgrade when head->upgrade),
 * framing as given, Via added. */
void http_write_request(const struct http_head *head, const struct http_target *target,
                        const struct http_forward *forward, struct buf *out);

/* Append the response head for the client, in the same way. */
void http_write_response(const struct http_head *head, const struct http_forward *forward,
                         struct buf *out);

/* Is our own pseudonym among the Via fields (a loop)? */
bool http_via_has(const struct http_head *head, const char *via);

/* A reply of our own. Everything in it that came from outside is escaped by the writer. */
struct http_reply {
	int status;
	enum err err;              /* its token and text; ERR_NONE for a page that is no error */
	const char *proxy_name;    /* first parameter of Proxy-Status */
	const char *id;            /* session id, on the page, so that support finds the log line */
	const char *detail;        /* which check, or ""; may hold text from outside */
	const char *why;           /* code of the reason (base/reason.h), or "" */
	struct span authority;     /* host:port that was asked for, or empty */
	struct span address;       /* that the host led to and that is refused, or empty */
	struct span rule;          /* that decided: `rule "no bad hosts" (policy.yaml:3)`, or empty */
	struct span entry;         /* because of which: "*.bad.test (bad.list:1, list bad)", or empty */
	struct span fields;        /* further header lines, each with CRLF */
	struct span title, text;   /* of a page that is no error */
	bool html;                 /* by Accept: http_wants_html() */
	bool keep_alive;
	bool head_only;            /* answer to HEAD */
};

/* Append the whole reply: status line, Date, Content-Type, Content-Length, Cache-Control: no-store, Connection and
 * Proxy-Connection, Proxy-Status ("name; error=token; details=\"...\""), body. */
void http_write_reply(const struct http_reply *reply, uint64_t wall_ms, struct buf *out);

/* Would a person read it: does Accept prefer text/html over text/plain? */
bool http_wants_html(const struct http_head *head);

/* "Not Found" for 404; "" if unknown. */
const char *http_reason(int status);

#endif
