/* SPDX-License-Identifier: Apache-2.0 */
/* Is this the origin that was asked for? Roots, intermediates and revocations in one image that the parent builds and seals,
 * and that workers map: nothing is parsed before it is needed. */
#ifndef TLS_TRUST_H
#define TLS_TRUST_H

#include <openssl/ssl.h>

#include "base/address.h"
#include "base/err.h"
#include "base/problem.h"
#include "tls/tls_conf.h"

/* Read all files that `conf` names and make the image. Our own CA, should it be among the roots, is left out with a warning.
 * owns: *image (free()). errors: ERR_CONFIG with problems, ERR_MEMORY. For the parent and the command line: reads files. */
MUST_USE enum err trust_build(const struct inspection_conf *conf, const char *file, struct problems *problems, void **image,
                              size_t *image_bytes);

struct trust;

/* Open an image. borrows: image and conf, until the last reference is gone. errors: ERR_CONFIG, ERR_MEMORY. */
MUST_USE enum err trust_open(const void *image, size_t image_bytes, const struct inspection_conf *conf, struct trust **out);
struct trust *trust_ref(struct trust *trust);
void trust_unref(struct trust *trust);

/* The exception that holds for a host (name or address in text) and its number from 1; NULL and 0: none. */
const struct exception_conf *trust_exception(const struct trust *trust, struct span host, unsigned *number);

/* What an origin showed, and for whom it is taken. */
struct trust_question {
	X509 *leaf;
	STACK_OF(X509) *chain;       /* as sent, with the leaf or without; may be NULL */
	struct span ocsp;            /* stapled OCSP response (DER), empty: none */
	struct span host;            /* name; of an address its text */
	struct address address;      /* of an address; else family 0 */
	uint64_t wall_ms;
};

enum trust_state {
	TRUST_GOOD,
	TRUST_BAD,          /* see why */
	TRUST_NEEDS_ISSUER, /* an issuer is missing, and the certificate says where it is: fetch it, add it, ask again */
};

/* X(name, token for logs and metrics, what is wrong) */
#define TRUST_FAULTS(X) \
	X(NONE, "", "") \
	X(EXPIRED, "expired", "it has expired") \
	X(NOT_YET, "not-yet-valid", "it is not valid yet") \
	X(UNKNOWN_ISSUER, "unknown-issuer", "nobody who is trusted here has issued it") \
	X(SELF_SIGNED, "self-signed", "it is signed by itself and not trusted here") \
	X(WRONG_HOST, "wrong-host", "it is for another host") \
	X(REVOKED, "revoked", "it has been revoked") \
	X(STAPLE, "bad-staple", "its OCSP response is missing where it must be, or not good") \
	X(WEAK, "weak", "its key or signature is too weak") \
	X(PURPOSE, "wrong-purpose", "it is not for servers, or its issuer may not issue") \
	X(CONSTRAINT, "constraint", "it breaks a constraint of its issuers") \
	X(PIN, "pin", "it is not the one that the configuration names") \
	X(OWN_CA, "own-ca", "this proxy's own CA has issued it") \
	X(TOO_LARGE, "too-large", "it, or its chain, is too large to be looked at") \
	X(OTHER, "not-valid", "it is not valid")
#define TRUST_FAULT_ENUM(name, token, text) TRUST_FAULT_##name,
enum trust_fault { TRUST_FAULTS(TRUST_FAULT_ENUM) TRUST_FAULT_COUNT };
#undef TRUST_FAULT_ENUM

struct trust_verdict {
	enum trust_state state;
	enum trust_fault fault;
	int depth;               /* of the certificate at fault: 0 the origin's own */
	char detail[400];        /* one line for people: "certificate of shop.example: expired on 2026-01-02 (issuer CN=R)" */
	char url[512];           /* TRUST_NEEDS_ISSUER */
	uint64_t until_ms;       /* TRUST_GOOD: wall clock, how long the verdict may be kept */
	unsigned exception;      /* number of the one that was used, 0: none */
	bool has_staple;
};

/* Verify. Pure but for caches: parsed roots, verdicts, fetched issuers. Time is bounded whatever is shown. */
void trust_verify(struct trust *trust, const struct trust_question *question, struct trust_verdict *out);

/* What was fetched from a URL (DER certificate or PKCS#7, empty: nothing came): remembered, good or not. */
void trust_add_issuer(struct trust *trust, const char *url, struct span der, uint64_t wall_ms);

/* Does the certificate (verified before) cover this name, too? Subject alternative names alone. */
bool trust_covers(X509 *certificate, struct span host, const struct address *address);

const char *trust_fault_token(enum trust_fault fault);
const char *trust_fault_text(enum trust_fault fault);

#endif
