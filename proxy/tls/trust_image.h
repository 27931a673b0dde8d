/* SPDX-License-Identifier: Apache-2.0 */
/* The image of roots, intermediates and revocations: no pointers, sorted by what is looked for, so that a worker finds a root
 * without parsing the others. Made by trust_build.c; every read here stays inside, whatever the image holds. */
#ifndef TLS_TRUST_IMAGE_H
#define TLS_TRUST_IMAGE_H

#include <openssl/x509.h>

#include "base/compiler.h"
#include "base/span.h"

#define TRUST_IMAGE_MAGIC "SPTRUST"

enum { TRUST_IMAGE_VERSION = 1, TRUST_DIGEST_BYTES = 32 };

enum trust_kind { TRUST_KIND_ROOT = 1, TRUST_KIND_INTERMEDIATE = 2 };

struct trust_section {
	uint64_t at, count;
};

struct trust_header {
	uint8_t magic[8];
	uint32_t version, reserved;
	uint64_t bytes;                /* all of the image */
	struct trust_section issuers;  /* of struct trust_issuer, by name_hash */
	struct trust_section serials;  /* of digests: certificates that CRLs name, trust_serial_digest() */
	struct trust_section digests;  /* of digests: SHA-256 of revoked certificates */
	struct trust_section own;      /* bytes: our own CA's certificate */
};

struct trust_issuer {
	uint32_t name_hash;            /* trust_name_hash() of its subject */
	uint32_t length;               /* of its DER */
	uint64_t at;
	uint32_t kind;                 /* enum trust_kind */
	uint32_t exception;            /* number of the one that it counts for, from 1; 0: for all */
};

/* An image whose head is well. */
struct trust_image {
	struct span bytes;
	struct trust_header header;
};

/* Is it one? Sections lie inside; what they hold is looked at when it is read. */
MUST_USE bool trust_image_open(struct trust_image *image, const void *at, size_t bytes);

/* The issuer at a place, and its DER; false where there is none or it does not lie inside. */
MUST_USE bool trust_image_issuer(const struct trust_image *image, size_t at, struct trust_issuer *out, struct span *der);

/* The place of the first issuer with this name hash or a greater one. */
size_t trust_image_find(const struct trust_image *image, uint32_t name_hash);

bool trust_image_has_serial(const struct trust_image *image, const uint8_t digest[static TRUST_DIGEST_BYTES]);
bool trust_image_has_digest(const struct trust_image *image, const uint8_t digest[static TRUST_DIGEST_BYTES]);
struct span trust_image_own(const struct trust_image *image);

/* Of the canonical form of a name: two that X509_NAME_cmp() finds equal have one. */
uint32_t trust_name_hash(const X509_NAME *name);

/* Of an issuer's name, by its trust_name_hash(), and a serial number. */
void trust_serial_digest(uint32_t issuer_hash, const ASN1_INTEGER *serial, uint8_t out[static TRUST_DIGEST_BYTES]);

/* SHA-256 of the DER of a certificate; of its public key with its algorithm. False on no memory. */
MUST_USE bool trust_digest(X509 *certificate, uint8_t out[static TRUST_DIGEST_BYTES]);
MUST_USE bool trust_key_digest(X509 *certificate, uint8_t out[static TRUST_DIGEST_BYTES]);

#endif
