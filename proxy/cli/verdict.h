/* SPDX-License-Identifier: Apache-2.0 */
/* What would become of a request, beyond what policy answers: as a session would have it (session/request.c,
 * session/connect.c), without a network. For explain. */
#ifndef CLI_VERDICT_H
#define CLI_VERDICT_H

#include "base/reason.h"
#include "policy/policy.h"
#include "process/settings.h"

enum { VERDICT_OWN_MAX = 256 };

/* What is the same for all requests. */
struct verdict_proxy {
	const struct settings *settings;
	const struct policy *policy;
	struct address own[VERDICT_OWN_MAX]; /* our own listeners, wildcards expanded */
	size_t own_count;
};

/* What explain asks about. */
struct verdict_request {
	struct policy_facts facts;
	bool is_https_url; /* --url with a scheme that only a CONNECT has */
};

struct verdict {
	struct policy_facts facts;       /* as far as the session would know them when it decides */
	struct policy_decision decision; /* on these */
	enum err err;                    /* ERR_NONE: it goes through, or that is open */
	enum policy_question question;   /* whose answer refuses it */
	bool is_by_policy;               /* it is that answer */
	bool is_open;                    /* something must be known first */
	bool is_connect;
	bool is_opened;                  /* TLS would be */
	enum reason why;                 /* REASON_NONE: the error says all */
	const char *guard_why;           /* why the address would not be dialled; NULL: it would, or is not known */
	bool has_address;
};

/* borrows: settings and policy. */
void verdict_proxy_init(struct verdict_proxy *proxy, const struct settings *settings, const struct policy *policy);

void verdict_make(const struct verdict_proxy *proxy, const struct verdict_request *request, struct verdict *out);

/* "inspected", "tunnelled", "forwarded", "refused", "open" */
const char *verdict_name(const struct verdict *verdict);

/* What stands before the answers, and behind them: lines. */
void verdict_add_text(const struct verdict_proxy *proxy, const struct verdict *verdict, struct buf *first,
                      struct buf *more);

/* Members of the JSON object: verdict, and of a refusal what the access log, the page and Proxy-Status have. */
void verdict_add_json(const struct verdict_proxy *proxy, const struct verdict *verdict, struct buf *out);

#endif
