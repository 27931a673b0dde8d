/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/verdict.h"

#include "net/guard.h"
#include "process/listeners.h"

enum { OWN_MAX = 256 };

/* Our own listeners as they are configured, wildcards expanded. */
static size_t get_own(const struct settings *settings, struct address own[static OWN_MAX])
{
	struct address addresses[OWN_MAX];
	struct listeners listeners = {.conf = settings->listen.at, .addresses = addresses};

	for (; listeners.count < settings->listen.count && listeners.count < OWN_MAX; listeners.count++)
		addresses[listeners.count] = listeners.conf[listeners.count].address;
	return listeners_own(&listeners, own, OWN_MAX);
}

/* Why the address would not be dialled; NULL if it would, or is not known. */
static const char *why_guarded(const struct verdict_request *request)
{
	struct address own[OWN_MAX], to = request->facts.address;
	size_t own_count = get_own(request->settings, own);
	const char *why = NULL;

	to.port = request->facts.port;
	if (!(request->facts.known & FACT_ADDRESS) ||
	    guard_allows(&request->settings->destinations, own, own_count, &to, &why))
		return NULL;
	return why;
}

static bool is_answered(const struct policy_decision *decision, enum policy_question question,
                        unsigned answer)
{
	return !(decision->open >> question & 1) && decision->answers[question].answer == answer;
}

static bool is_connect(const struct verdict_request *request)
{
	return span_equal(request->facts.method, SPAN("CONNECT"));
}

/* In the order in which a session finds out. */
static enum err get_err(const struct verdict_request *request, const struct policy_decision *decision)
{
	if (request->is_https_url && !is_connect(request))
		return ERR_REQUEST_SCHEME;
	if (is_answered(decision, POLICY_ACCESS, ACCESS_DENY))
		return ERR_POLICY_DENIED;
	if (is_answered(decision, POLICY_AUTH, AUTH_REQUIRED))
		return ERR_AUTH_UNAVAILABLE;
	if (is_connect(request) && is_answered(decision, POLICY_TLS, TLS_INSPECT))
		return ERR_INSPECT_UNAVAILABLE;
	if (why_guarded(request))
		return ERR_DESTINATION_DENIED;
	return ERR_NONE;
}

/* Which questions must be answered before something goes through. */
static bool is_open(const struct verdict_request *request, const struct policy_decision *decision)
{
	unsigned asked = 1u << POLICY_ACCESS | 1u << POLICY_AUTH |
	                 (is_connect(request) ? 1u << POLICY_TLS : 0);

	return decision->open & asked;
}

static void add_text(const struct verdict_request *request, const struct policy_decision *decision,
                     struct buf *out)
{
	enum err err = get_err(request, decision);
	const char *why = why_guarded(request);
	bool is_ours = why && span_equal(span_from(why), SPAN("the proxy itself"));

	if (is_connect(request) && is_answered(decision, POLICY_TLS, TLS_INSPECT))
		buf_printf(out, "  %-19srefused with %d: this version cannot inspect\n", "inspection",
		           err_status(ERR_INSPECT_UNAVAILABLE));
	if (why)
		buf_printf(out, "  %-19s%-9s%s%s\n", "destination", "refused", why,
		           is_ours ? "" : " (destinations.deny); destinations.permit makes exceptions");
	else if (request->facts.known & FACT_ADDRESS)
		buf_printf(out, "  %-19s%s\n", "destination", "allowed");
	if (err)
		buf_printf(out, "=> refused: %s (%d)\n", err_text(err), err_status(err));
	else if (is_open(request, decision))
		buf_add_string(out, "=> open: see what it depends on\n");
	else
		buf_printf(out, "=> %s\n", is_connect(request) ? "tunnelled" : "forwarded");
}

static void add_json(const struct verdict_request *request, const struct policy_decision *decision,
                     struct buf *out)
{
	enum err err = get_err(request, decision);
	const char *why = why_guarded(request);

	if (request->facts.known & FACT_ADDRESS)
		buf_printf(out, ",\"destination\":{\"answer\":\"%s\"", why ? "refused" : "allowed");
	if (why) {
		buf_add_string(out, ",\"why\":");
		buf_add_json(out, span_from(why));
	}
	if (request->facts.known & FACT_ADDRESS)
		buf_add_byte(out, '}');
	buf_printf(out, ",\"verdict\":\"%s\"",
	           err                          ? "refused"
	           : is_open(request, decision) ? "open"
	           : is_connect(request)        ? "tunnelled"
	                                        : "forwarded");
	if (err == ERR_NONE)
		return;
	buf_printf(out, ",\"status\":%d,\"error\":\"%s\",\"reason\":", err_status(err), err_name(err));
	buf_add_json(out, span_from(err_text(err)));
}

void verdict_add(const struct verdict_request *request, bool json, struct buf *out)
{
	struct policy_decision decision;

	policy_decide(request->policy, &request->facts, &decision);
	if (json)
		add_json(request, &decision, out);
	else
		add_text(request, &decision, out);
}
