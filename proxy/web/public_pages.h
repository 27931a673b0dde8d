/* SPDX-License-Identifier: Apache-2.0 */
/* What the public role serves: the PAC file, made for the class of the client that asks, and kept for a while. */
#ifndef WEB_PUBLIC_PAGES_H
#define WEB_PUBLIC_PAGES_H

#include "policy/pac/pac.h"
#include "web/web_server.h"

struct public_pages;

MUST_USE enum err public_pages_new(struct public_pages **out);
void public_pages_free(struct public_pages *pages);

struct public_source {
	const struct policy *policy; /* borrowed until the next one */
	struct span proxies;         /* host:port, one per line; copied */
	uint64_t cache_ms;
};

/* Use these from now on; what was made before is forgotten. errors: ERR_MEMORY. */
MUST_USE enum err public_pages_use(struct public_pages *pages, const struct public_source *source);

/* The CA's certificate that clients are to trust, and its revocation list, DER; empty where there is none.
 * errors: ERR_MEMORY. */
MUST_USE enum err public_pages_use_ca(struct public_pages *pages, struct span certificate, struct span crl);

/* A web_answer whose context is struct public_pages. */
web_answer public_pages_answer;

/* Append "PROXY b; PROXY c; PROXY a": all of `proxies` (one per line), beginning with the one that the client's
 * address decides. For tests. */
void public_pages_proxies(struct span proxies, const struct address *client, struct buf *out);

#endif
