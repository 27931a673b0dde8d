/* SPDX-License-Identifier: Apache-2.0 */
/* The CA for clients: its certificate as PEM and DER, its revocation list, and a page that says how to trust it. */
#ifndef WEB_CA_PAGES_H
#define WEB_CA_PAGES_H

#include "web/web_server.h"

/* Zeroed: there is no CA. */
struct ca_pages {
	struct web_page *help, *pem, *der, *crl;
};

/* Use these from now on, DER; empty where there is none. errors: ERR_MEMORY. */
MUST_USE enum err ca_pages_use(struct ca_pages *pages, struct span certificate, struct span crl);
void ca_pages_fini(struct ca_pages *pages);

/* False: the path is none of these. */
bool ca_pages_answer(const struct ca_pages *pages, struct span path, struct web_reply *out);

#endif
