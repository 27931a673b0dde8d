/* SPDX-License-Identifier: Apache-2.0 */
/* What the admin role serves: /healthz, /readyz and /metrics. It reads, and can change nothing. */
#ifndef WEB_ADMIN_PAGES_H
#define WEB_ADMIN_PAGES_H

#include "web/prometheus.h"
#include "web/web_server.h"

struct admin_pages {
	struct prometheus_source source;
	struct secret token; /* empty: nobody gets /metrics */
};

/* A web_answer whose context is struct admin_pages. */
web_answer admin_pages_answer;

#endif
