/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for opened hosts, and the list of those that were revoked (none). All that does not depend on the host is
 * encoded once: a certificate then costs little more than its signature. One thread per mint. */
#ifndef TLS_MINT_H
#define TLS_MINT_H

#include "tls/ca.h"

enum { MINT_MAX_BYTES = 65536, MINT_CRL_DAYS = 7 };

struct mint_conf {
	struct span organization; /* O of certificates; may be empty */
	struct span crl_url;      /* where the revocation list is; empty: they do not say */
	uint64_t leaf_ms;         /* how long they are valid */
};

struct mint;

/* For this CA and this key of the certificates. borrows: ca. `conf` is copied. errors: ERR_MEMORY (or OpenSSL cannot). */
MUST_USE enum err mint_new(const struct ca *ca, EVP_PKEY *leaf_key, const struct mint_conf *conf, struct mint **out);
void mint_free(struct mint *mint);

/* Is this a host as questions have it: a name in lower case without trailing dot, or an address in its canonical text? */
bool mint_is_host(struct span host, struct address *address);

/* Append a certificate for the host, DER; `now` in seconds. errors: ERR_SIGNER_REFUSED (with `why`, for people),
 * ERR_SYSTEM (OpenSSL cannot). */
MUST_USE enum err mint_leaf(struct mint *mint, struct span host, int64_t now, struct buf *out, struct buf *why);

/* The same whatever name constraints say: to try a CA. */
MUST_USE enum err mint_leaf_unchecked(struct mint *mint, struct span host, int64_t now, struct buf *out);

/* Append an empty revocation list of the CA, DER, with the time as its number. errors: ERR_SYSTEM. */
MUST_USE enum err mint_crl(const struct ca *ca, int64_t now, struct buf *out);

#endif
