/* SPDX-License-Identifier: Apache-2.0 */
/* What would become of a request, beyond what policy answers: as a session would have it (session/request.c,
 * session/connect.c), without a network. For explain. */
#ifndef CLI_VERDICT_H
#define CLI_VERDICT_H

#include "policy/policy.h"
#include "process/settings.h"

/* What explain asks about. */
struct verdict_request {
	const struct settings *settings;
	const struct policy *policy;
	struct policy_facts facts;
	bool is_https_url; /* --url with a scheme that only a CONNECT has */
};

/* Append the lines, or JSON members, that go behind those of policy_explain(). */
void verdict_add(const struct verdict_request *request, bool json, struct buf *out);

#endif
