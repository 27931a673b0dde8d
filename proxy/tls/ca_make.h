/* SPDX-License-Identifier: Apache-2.0 */
/* Make a CA, or a request for one that another CA shall sign. For the command line. */
#ifndef TLS_CA_MAKE_H
#define TLS_CA_MAKE_H

#include "tls/ca.h"

enum { CA_EXCLUDES_MAX = 64 };

struct ca_wish {
	struct span name, organization; /* CN, O */
	unsigned days;
	bool is_request;                /* a request (PKCS#10), nothing signed */
	struct span excludes[CA_EXCLUDES_MAX]; /* DNS zones ("corp.example", ".corp.example") and networks ("10.0.0.0/8") */
	size_t exclude_count;
};

/* Is it a zone or a network that can be excluded? *is_network says which. */
bool ca_is_exclude(struct span text, bool *is_network);

/* Would addresses slip out: are there zones, and no networks? Then the CA excludes all addresses. */
bool ca_excludes_addresses(const struct ca_wish *wish);

/* Append PEM. `key` is secret: wipe it. errors: ERR_CONFIG (an exclude is none), ERR_SYSTEM (OpenSSL cannot). */
MUST_USE enum err ca_make(const struct ca_wish *wish, int64_t now, struct buf *certificate, struct buf *key);

#endif
