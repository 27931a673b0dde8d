/* SPDX-License-Identifier: Apache-2.0 */
#include "session/inspect.h"

static enum err fail(struct exchange *exchange, enum err err, const char *detail)
{
	exchange->err = err;
	exchange->detail = detail;
	return err;
}

enum err inspect_decide(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const struct http_host *host = &exchange->target.host;
	const char *url = arena_printf(&exchange->arena, "https://%.*s%.*s", SPAN_ARG(host->name),
	                               SPAN_ARG(exchange->target.path));

	if (url == NULL)
		return fail(exchange, ERR_SESSION_MEMORY, "limits.session_memory");
	exchange->facts = (struct policy_facts){
		.from = session->client_address,
		.listener = span_from(session->listener->name),
		.host = host->name,
		.host_address = host->address,
		.port = host->port,
		.method = exchange->head.method,
		.sni = host->name,
		.url = span_from(url),
		.user = SPAN(""),
		.inner_host = SPAN(""),
		.wall_ms = loop_wall_ms(session->env->loop),
		.known = FACT_REQUEST,
		.absent = (unsigned)POLICY_NEVER_KNOWN | FACT_USER | FACT_ADDRESS,
	};
	policy_decide(session->generation->policy, &exchange->facts, &exchange->decision);
	exchange->is_decided = true;
	if (exchange->decision.answers[POLICY_ACCESS].answer == ACCESS_DENY) {
		exchange->denied_by = POLICY_ACCESS;
		return fail(exchange, ERR_POLICY_DENIED, "denied");
	}
	return ERR_NONE;
}
