/* SPDX-License-Identifier: Apache-2.0 */
/* A session that is looked into: from the client's first bytes to the last request inside. Private to this folder.
 *
 * READ_HELLO  the client's first bytes: a ClientHello, or something else; policy once more
 * TLS_ORIGIN  TLS to the origin, and its certificate
 * MINT        a certificate of ours
 * TLS_CLIENT  TLS to the client
 * SNIFF       what was spoken inside, where the handshake does not say so */
#ifndef SESSION_INSPECT_H
#define SESSION_INSPECT_H

#include "session/pins.h"
#include "session/session_private.h"
#include "tls/aia.h"
#include "tls/hello.h"
#include "tls/tls_contexts.h"
#include "tls/tls_stream.h"

enum { ALPN_MAX_BYTES = 32 };

/* What the log says of TLS on one side. */
struct tls_leg {
	const char *version, *cipher;  /* constants; NULL: there was none */
	char alpn[ALPN_MAX_BYTES];
	bool resumed;
};

struct inspect {
	struct arena arena;        /* what spans here point into */
	struct hello hello;        /* until the client's handshake is done; then hello_fini() was called */
	enum hello_class class;
	struct http_host authority;
	struct span sni;           /* of the ClientHello; empty: none */
	char ja4[HELLO_JA4_BYTES];
	struct identity *identity; /* of the CONNECT: there is no 407 inside */
	struct policy_answer opened_by; /* the answer to tls */
	struct address origin;     /* that was dialled */
	struct tls_leg client_leg, origin_leg;
	struct span alpn;          /* that both legs have; empty: none */
	enum trust_fault fault;
	bool was_verified, is_open, is_plain, is_opaque;
	bool takes_ecdsa;
	/* what the first request is answered with: the origin is closed then */
	enum err err;
	const char *detail;
	enum policy_question denied_by;
	struct policy_decision decision; /* of the denial */
	/* under way */
	struct leaf *leaf;
	struct leaf_query *leaf_query;
	enum err leaf_err;
	const char *leaf_detail;
	struct aia_fetch *aia;
	const char *aia_url;
	unsigned aia_count;
	bool is_bypassed;          /* the origin wants the client's own certificate: dialled once more, for a tunnel */
	unsigned request_count;
};

/* Begin with a CONNECT whose origin stands, or will stand: session->inspect. errors: ERR_MEMORY. */
MUST_USE enum err inspect_new(struct session *session);
void inspect_free(struct session *session);

/* The client has been told 200: read what it says. */
enum step inspect_start(struct session *session);

/* The same where a tunnel was begun, which policy wants opened now that it knows the SNI: session->exchange is made of it. */
enum step inspect_instead_of_tunnel(struct session *session);

/* Decide on a request inside, in session->exchange: `head` and `target` are filled, and the target's host is what Host or
 * :authority says. Fills facts and decision. ERR_NONE: it may go on. Else err, detail and denied_by of the exchange are set, and
 * nothing of the session has changed. */
enum err inspect_decide(struct session *session);

/* Is there a CA, a signer and trust? */
bool inspect_is_possible(const struct session *session);

/* TLS to the origin begins: the ClientHello was read and policy wants it opened. */
enum step inspect_open(struct session *session);
void inspect_on_origin_due(struct session *session);

/* A request inside, over HTTP/1: false where it is refused (session_fail() was called). */
bool inspect_check_request(struct session *session);

/* Between requests: has the origin closed, or said something unasked? */
bool inspect_has_origin_gone(const struct session *session);

enum step step_read_hello(struct session *session);
void read_hello_on_due(struct session *session);
enum step step_tls_origin(struct session *session);
enum step step_mint(struct session *session);
enum step step_tls_client(struct session *session);
enum step step_sniff(struct session *session);

/* ---- looking at the first bytes of a tunnel, hello.c ---- */

/* What policy says now that the hello is there: `sni` may be empty. Decides for the tunnel; its answers are replaced. */
enum pump_look tunnel_look(struct pump *pump, struct span bytes, bool is_end);
void tunnel_on_stop(struct pump *pump);

#endif
