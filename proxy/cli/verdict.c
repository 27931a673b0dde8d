/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/verdict.h"

#include "net/guard.h"
#include "process/listeners.h"

enum { TEXT_MAX_BYTES = 4096 };

void verdict_proxy_init(struct verdict_proxy *proxy, const struct settings *settings, const struct policy *policy)
{
	struct address addresses[VERDICT_OWN_MAX];
	struct listeners listeners = {.conf = settings->listen.at, .addresses = addresses};

	for (; listeners.count < settings->listen.count && listeners.count < VERDICT_OWN_MAX; listeners.count++)
		addresses[listeners.count] = listeners.conf[listeners.count].address;
	*proxy = (struct verdict_proxy){.settings = settings, .policy = policy};
	proxy->own_count = listeners_own(&listeners, proxy->own, VERDICT_OWN_MAX);
}

/* ---- as a session goes on ---- */

static bool is_answered(const struct policy_decision *decision, enum policy_question question,
                        unsigned answer)
{
	return !(decision->open >> question & 1) && decision->answers[question].answer == answer;
}

static bool refuse(struct verdict *verdict, enum policy_question question, enum err err)
{
	verdict->err = err;
	verdict->question = question;
	verdict->is_by_policy = true;
	verdict->why = (enum reason)verdict->decision.answers[question].reason;
	return false;
}

/* Nobody is offered a scheme where policy wants one: that is a refusal for good. */
static enum err asked_or_not(const struct verdict_proxy *proxy, const struct policy_facts *facts)
{
	const struct auth_network_conf *network;

	return auth_conf_offer(&proxy->settings->auth, &facts->from, facts->listener, &network)->count
	               ? ERR_AUTH_REQUIRED
	               : ERR_AUTH_NOT_OFFERED;
}

/* request_decide() of a session: false if it is refused. */
static bool decide(const struct verdict_proxy *proxy, struct verdict *verdict)
{
	const struct policy_decision *decision = &verdict->decision;
	struct policy_facts *facts = &verdict->facts;
	bool is_known = facts->known & FACT_USER;

	policy_decide(proxy->policy, facts, &verdict->decision);
	if (!is_known && is_answered(decision, POLICY_AUTH, AUTH_EXEMPT)) {
		facts->absent |= FACT_USER; /* nobody asks */
		policy_decide(proxy->policy, facts, &verdict->decision);
	}
	if (is_answered(decision, POLICY_ACCESS, ACCESS_DENY))
		return refuse(verdict, POLICY_ACCESS, ERR_POLICY_DENIED);
	if (is_answered(decision, POLICY_AUTH, AUTH_REQUIRED) && !is_known)
		return refuse(verdict, POLICY_AUTH, asked_or_not(proxy, facts));
	if (verdict->is_connect && is_answered(decision, POLICY_TLS, TLS_BYPASS) && (decision->need & (FACT_REQUEST | FACT_RESPONSE))) {
		facts->absent |= (unsigned)FACT_REQUEST | FACT_RESPONSE; /* nobody will see it */
		policy_decide(proxy->policy, facts, &verdict->decision);
	}
	verdict->is_opened = verdict->is_connect && is_answered(decision, POLICY_TLS, TLS_INSPECT);
	if (verdict->is_opened && !inspection_is_on(&proxy->settings->inspection))
		return refuse(verdict, POLICY_TLS, ERR_INSPECT_UNAVAILABLE);
	return true;
}

/* Why the address would not be dialled; NULL if it would. */
static const char *why_guarded(const struct verdict_proxy *proxy, struct address to, uint16_t port)
{
	const char *why = NULL;

	to.port = port;
	return guard_allows(&proxy->settings->destinations, proxy->own, proxy->own_count, &to, &why) ? NULL : why;
}

/* A name is decided without its address first; that is looked up if nothing refuses it, then the guard looks at it, and
 * only where a rule waits for it policy does, too. */
static void go_on(const struct verdict_proxy *proxy, const struct verdict_request *request, struct verdict *out)
{
	if (out->facts.host_address.family == 0)
		out->facts.known &= ~(unsigned)FACT_ADDRESS;
	if (!decide(proxy, out) || !out->has_address)
		return;
	if (out->guard_why) {
		out->err = ERR_DESTINATION_DENIED;
		out->why = guard_reason(out->guard_why);
	} else if (out->decision.need & FACT_ADDRESS) {
		out->facts.known |= request->facts.known & FACT_ADDRESS;
		decide(proxy, out);
	}
}

void verdict_make(const struct verdict_proxy *proxy, const struct verdict_request *request, struct verdict *out)
{
	const struct policy_facts *facts = &request->facts;
	unsigned asked;

	*out = (struct verdict){.facts = *facts, .is_connect = span_equal(facts->method, SPAN("CONNECT"))};
	out->has_address = facts->known & FACT_ADDRESS;
	if (out->has_address)
		out->guard_why = why_guarded(proxy, facts->address, facts->port);
	go_on(proxy, request, out);
	if (request->is_https_url && !out->is_connect) {
		out->err = ERR_REQUEST_SCHEME;
		out->is_by_policy = false;
		out->why = REASON_NONE;
	}
	asked = 1u << POLICY_ACCESS | 1u << POLICY_AUTH | (out->is_connect ? 1u << POLICY_TLS : 0);
	out->is_open = out->err == ERR_NONE && (out->decision.open & asked);
}

/* ---- in words ---- */

const char *verdict_name(const struct verdict *verdict)
{
	return verdict->err          ? "refused"
	       : verdict->is_open    ? "open"
	       : verdict->is_opened  ? "inspected"
	       : verdict->is_connect ? "tunnelled"
	                             : "forwarded";
}

/* The detail that the page and the log have of it. */
static void add_reason(const struct verdict_proxy *proxy, const struct verdict *verdict, struct buf *out)
{
	if (verdict->is_by_policy)
		policy_say_refusal(proxy->policy, &verdict->facts, verdict->question,
		                   &verdict->decision.answers[verdict->question], out);
	else if (verdict->err == ERR_DESTINATION_DENIED)
		buf_add_string(out, verdict->guard_why);
	else if (verdict->err == ERR_REQUEST_SCHEME)
		buf_add_string(out, "only http:// can be asked for so; https:// goes through CONNECT");
}

void verdict_add_text(const struct verdict_proxy *proxy, const struct verdict *verdict, struct buf *first,
                      struct buf *more)
{
	bool is_ours = verdict->guard_why && guard_reason(verdict->guard_why) == REASON_OWN_ADDRESS;
	struct buf reason;

	buf_init(&reason, TEXT_MAX_BYTES);
	add_reason(proxy, verdict, &reason);
	if (verdict->err)
		buf_printf(first, "=> refused: %s (%d)%s%.*s", err_text(verdict->err), err_status(verdict->err),
		           buf_len(&reason) ? ": " : "", SPAN_ARG(buf_span(&reason)));
	else
		buf_printf(first, "=> %s", verdict->is_open ? "open: see what it depends on" : verdict_name(verdict));
	buf_fini(&reason);
	if (verdict->why)
		buf_printf(first, " [%s]", reason_name(verdict->why));
	buf_add_byte(first, '\n');
	if (verdict->err == ERR_INSPECT_UNAVAILABLE)
		buf_printf(more, "  %-19srefused with %d: there is no CA for it; write inspection.ca, and run sallyport ca init\n", "inspection",
		           err_status(verdict->err));
	if (verdict->err == ERR_AUTH_REQUIRED)
		buf_printf(more, "  %-19sfirst; --user NAME and --group NAME say what becomes of it then\n", "asked who it is");
	if (verdict->err == ERR_NONE && verdict->is_connect && !(verdict->decision.open >> POLICY_CLASS & 1) &&
	    verdict->decision.answers[POLICY_CLASS].answer == CLASS_AUTO)
		buf_printf(more, "  %-19smedia if its first bytes are those of a call, else normal; bulk while it moves much\n", "served as");
	if (verdict->guard_why)
		buf_printf(more, "  %-19s%-9s%s%s\n", "destination", "refused", verdict->guard_why,
		           is_ours ? "" : " (destinations.deny); destinations.permit makes exceptions");
	else if (verdict->has_address)
		buf_printf(more, "  %-19s%s\n", "destination", "allowed");
}

static void add_destination_json(const struct verdict *verdict, struct buf *out)
{
	if (!verdict->has_address)
		return;
	buf_printf(out, ",\"destination\":{\"answer\":\"%s\"", verdict->guard_why ? "refused" : "allowed");
	if (verdict->guard_why) {
		buf_printf(out, ",\"why\":\"%s\",\"reason\":", reason_name(guard_reason(verdict->guard_why)));
		buf_add_json(out, span_from(verdict->guard_why));
	}
	buf_add_byte(out, '}');
}

static void add_quote_json(const struct verdict_proxy *proxy, const struct verdict *verdict, struct buf *out)
{
	const struct policy_answer *answer = &verdict->decision.answers[verdict->question];
	struct buf text;

	if (!verdict->is_by_policy)
		return;
	buf_init(&text, TEXT_MAX_BYTES);
	buf_printf(out, ",\"question\":\"%s\",\"decided_by\":", policy_question_name(verdict->question));
	policy_say_rule(proxy->policy, answer, &text);
	buf_add_json(out, buf_span(&text));
	buf_reset(&text);
	if (policy_say_entry(proxy->policy, answer, &text)) {
		buf_add_string(out, ",\"because_of\":");
		buf_add_json(out, buf_span(&text));
	}
	buf_fini(&text);
}

void verdict_add_json(const struct verdict_proxy *proxy, const struct verdict *verdict, struct buf *out)
{
	struct buf reason;

	buf_printf(out, ",\"verdict\":\"%s\"", verdict_name(verdict));
	if (verdict->err) {
		buf_printf(out, ",\"status\":%d,\"error\":\"%s\",\"text\":", err_status(verdict->err),
		           err_name(verdict->err));
		buf_add_json(out, span_from(err_text(verdict->err)));
		if (verdict->why)
			buf_printf(out, ",\"why\":\"%s\"", reason_name(verdict->why));
		buf_init(&reason, TEXT_MAX_BYTES);
		add_reason(proxy, verdict, &reason);
		if (buf_len(&reason)) {
			buf_add_string(out, ",\"reason\":");
			buf_add_json(out, buf_span(&reason));
		}
		buf_fini(&reason);
		add_quote_json(proxy, verdict, out);
	}
	add_destination_json(verdict, out);
}
