/* SPDX-License-Identifier: Apache-2.0 */
/* What a client says first: is it TLS, and what does its ClientHello ask for (RFC 8446 section 4.1.2, RFC 6066)? The bytes
 * are looked at, never changed: they go on as they came. Same framing, SNI, ALPN and versions as OpenSSL has. */
#ifndef TLS_HELLO_H
#define TLS_HELLO_H

#include "base/buf.h"
#include "base/span.h"

enum {
	HELLO_MESSAGE_MAX_BYTES = 4 + 131396, /* head, and OpenSSL's own limit (CLIENT_HELLO_MAX_LENGTH) */
	HELLO_RECORD_MAX_BYTES = 16384,
	HELLO_RECORDS_MAX = 512,
	/* With so many bytes hello_read() has an answer: heads, and what may follow in the last record. */
	HELLO_RAW_MAX_BYTES = HELLO_MESSAGE_MAX_BYTES + HELLO_RECORDS_MAX * 5 + HELLO_RECORD_MAX_BYTES,
	HELLO_CLASSIFY_MAX_BYTES = 64, /* with so many, that it is no TLS and what it is are known */
};

/* X(class, name for logs and pages) */
#define HELLO_CLASSES(X) \
	X(TLS, "tls") X(SSLV2, "sslv2") X(DTLS, "dtls") X(HTTP, "http") X(H2C, "h2c") X(SSH, "ssh") X(STUN, "stun") X(RTP, "rtp") \
	X(SSLTCP, "ssltcp") X(RDP, "rdp") X(BITTORRENT, "bittorrent") X(SOCKS, "socks") X(SERVER_FIRST, "server-first") X(SILENT, "silent") \
	X(UNKNOWN, "unknown")
#define HELLO_CLASS_ENUM(name, text) HELLO_##name,
enum hello_class { HELLO_CLASSES(HELLO_CLASS_ENUM) HELLO_CLASS_COUNT };
#undef HELLO_CLASS_ENUM

enum hello_state {
	HELLO_MORE,    /* nothing to be said yet: read on */
	HELLO_WHOLE,   /* class TLS: a complete ClientHello, all below is filled */
	HELLO_OTHER,   /* no TLS: see class */
	HELLO_REFUSED, /* class TLS, and no ClientHello that OpenSSL would take: see problem */
};

enum { HELLO_LIST_MAX = 128 }; /* of values that are remembered; more are counted */

struct hello_list {
	uint16_t at[HELLO_LIST_MAX];
	size_t count, total; /* kept; seen, GREASE left out of both */
};

/* Zeroed is the beginning; hello_fini() at the end. Spans lie in it, or in the bytes of the call that gave the answer: neither
 * may move while they are used. */
struct hello {
	enum hello_class class;
	const char *problem;      /* HELLO_REFUSED: what is wrong, a constant */
	struct span message;      /* HELLO_WHOLE: handshake message with its 4-byte head */
	uint16_t legacy_version;
	uint16_t best_version;    /* the highest of supported_versions (else legacy_version), GREASE ignored */
	struct span sni;          /* canonical: lower case, no trailing dot; empty: none (or an address, which is none) */
	bool has_sni_extension;
	struct span alpn;         /* as on the wire: length-prefixed names; empty: none */
	struct hello_list ciphers, extensions, versions, signatures, groups, key_shares;
	bool has_ech;             /* 0xfe0d is there: GREASE or real (RFC 9849) */
	bool has_early_data, has_psk, has_status_request, has_signatures_cert;
	bool offers_tls_1_3;
	bool takes_ecdsa;         /* a P-256 leaf can be shown: ecdsa_secp256r1_sha256, and a cipher for it below TLS 1.3 */
	/* owned by hello*.c: */
	enum hello_state state;
	bool is_tls;
	size_t scanned, records, empty_records; /* the last: one after the other */
	struct span cipher_bytes, extension_bytes, signature_bytes; /* all of them, as on the wire, for JA4 */
	struct buf assembled;     /* of messages in several records */
	uint8_t name[256];
};

/* Look at all bytes from the first on (each call has at least those of the call before). Cost over all calls is linear;
 * an answer other than HELLO_MORE is the same in all later calls. */
enum hello_state hello_read(struct hello *hello, struct span bytes);
void hello_fini(struct hello *hello);

const char *hello_class_name(enum hello_class class);

/* What the first bytes of a client say of a call: media over TCP, or what is said before it. */
enum hello_call {
	HELLO_CALL_NO,
	HELLO_CALL_OPEN,   /* more bytes will tell, HELLO_CLASSIFY_MAX_BYTES at most */
	HELLO_CALL_LIKELY, /* RTP or RTCP in a frame (RFC 4571): a weak sign, which the next frame has to confirm */
	HELLO_CALL_YES,    /* STUN as it is (as for TURN) or in a frame, DTLS in a frame, or what libwebrtc calls ssltcp */
};
enum hello_call hello_call_of(struct span bytes, enum hello_class *class);

/* ssltcp: both sides say something once that looks like a handshake of TLS and is always the same; what is behind it is as it
 * would be without. So many bytes does each of them say. */
enum { HELLO_SSLTCP_CLIENT_BYTES = 72, HELLO_SSLTCP_ORIGIN_BYTES = 79 };

/* JA4 of it (FoxIO, "t13d1516h2_8daaf6152771_e5627efa2ab1"), HELLO_WHOLE only. */
enum { HELLO_JA4_BYTES = 37 };
void hello_ja4(const struct hello *hello, char out[static HELLO_JA4_BYTES]);

/* The next name of an ALPN list; false at its end (or where it is broken). */
bool hello_alpn_next(struct span *rest, struct span *name);

#endif
