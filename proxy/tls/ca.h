/* SPDX-License-Identifier: Apache-2.0 */
/* The CA that signs for opened hosts: read from PEM, and looked at as strict clients will. What they would refuse is a
 * problem here, before any of them meets it. Immutable once it is open. */
#ifndef TLS_CA_H
#define TLS_CA_H

#include <openssl/x509v3.h>

#include "base/address.h"
#include "base/err.h"
#include "base/problem.h"
#include "base/secret.h"

enum { CA_FILE_MAX_BYTES = 1 << 20, CA_CHAIN_MAX = 10 };

struct ca {
	X509 *certificate;
	EVP_PKEY *key;             /* NULL: it was not given */
	STACK_OF(X509) *all;       /* of the file: the CA, then those above it */
	STACK_OF(X509) *chain;     /* what is sent behind a leaf: this and those between it and the root, without the root */
	X509 *trusted;             /* what clients are to trust: the root, if the file has it, else the CA itself */
	uint8_t id[32];            /* SHA-256 of the certificate */
	bool is_constrained;       /* it, or one above it, has name constraints */
	bool signs_crls;
	int64_t not_before, not_after; /* seconds since 1970; of all of the file together */
};

struct ca_source {
	const char *certificate_path, *key_path; /* for messages */
	struct span certificate;                 /* PEM: the CA, then those above it */
	struct span key;                         /* PEM; at NULL: only look at the certificate */
};

/* Open it, and add to `problems` what strict clients would refuse (errors) and what is doubtful (warnings).
 * errors: ERR_CONFIG with problems, ERR_MEMORY. */
MUST_USE enum err ca_open(const struct ca_source *source, int64_t now, struct problems *problems, struct ca **out);
void ca_free(struct ca *ca);

/* Do its name constraints keep it from signing this certificate (its names count, its signature does not)? Then `why`
 * says so, for people. */
bool ca_excludes(const struct ca *ca, X509 *certificate, struct buf *why);

/* Each subtree of its name constraints, as text: "corp.example", "10.0.0.0/8". `base`: of an address, the lowest. */
typedef void ca_constraint(void *context, bool excluded, struct span text, const struct address *base);
void ca_each_constraint(const struct ca *ca, ca_constraint *each, void *context);

/* Append "CN=..., O=..." of a name; lower-case hex. */
void ca_add_name(const X509_NAME *name, struct buf *out);
void ca_add_hex(struct span bytes, struct buf *out);

/* Seconds since 1970. */
int64_t ca_time(const ASN1_TIME *time);

/* SHA-256 over its DER. */
void ca_digest(const X509 *certificate, uint8_t out[static 32]);

#endif
