/* SPDX-License-Identifier: Apache-2.0 */
/* What the admin role serves: /healthz, /readyz, /metrics and /calls. It reads, and can change nothing. */
#ifndef WEB_ADMIN_PAGES_H
#define WEB_ADMIN_PAGES_H

#include "web/prometheus.h"
#include "web/web_server.h"

struct admin_pages {
	struct prometheus_source source;
	struct secret token; /* empty: nobody gets /metrics and /calls */
	struct span names;   /* by which it may be asked, one per line; borrowed */
};

/* A web_answer whose context is struct admin_pages. */
web_answer admin_pages_answer;

/* May it be asked as this Host? An IP address, localhost, and names (one per line) may be. An empty one, too: browsers
 * always say who they ask, and what checks health by HTTP/1.0 may not. */
MUST_USE bool admin_pages_is_host(struct span names, struct span host);

#endif
