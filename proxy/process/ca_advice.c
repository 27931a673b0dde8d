/* SPDX-License-Identifier: Apache-2.0 */
#include "process/ca_advice.h"

#include <string.h>

#include "base/clock.h"

enum { NAME_MAX_BYTES = 253, HTTPS = 443 };

struct advice {
	const struct settings *settings;
	const struct policy *policy;
	struct problems *problems;
	size_t permitted;
	struct buf permits;
};

/* Would a session to this host be opened? */
static bool is_inspected(const struct advice *advice, struct span host, const struct address *address)
{
	const struct listen_conf *listen = advice->settings->listen.at;
	struct policy_facts facts = {.host = host,
	                             .port = HTTPS,
	                             .from = {.family = AF_INET, .bytes = {127, 0, 0, 1}},
	                             .method = SPAN("CONNECT"),
	                             .absent = FACT_USER | FACT_ADDRESS | FACT_HELLO | FACT_REQUEST,
	                             .wall_ms = clock_wall_ms()};
	struct policy_decision decision;

	facts.listener = advice->settings->listen.count ? span_from(listen[0].name) : SPAN("");
	if (address)
		facts.host_address = *address;
	policy_decide(advice->policy, &facts, &decision);
	return decision.answers[POLICY_ACCESS].answer == ACCESS_ALLOW && decision.answers[POLICY_TLS].answer == TLS_INSPECT;
}

static void warn(const struct advice *advice, struct span what, const char *rule)
{
	problem_add_code(advice->problems, PROBLEM_CONSTRAINED_CA,
	                 (struct problem_place){advice->settings->inspection.ca.certificate, 0, 0}, NULL,
	                 "its name constraints exclude %.*s, and the policy inspects there: such sessions end with an error, as no "
	                 "certificate may be signed; write a rule: {when: {to: \"%s\"}, then: {tls: bypass}}, or access: deny",
	                 SPAN_ARG(what), rule);
}

static void look_at_zone(const struct advice *advice, struct span zone)
{
	struct span bare = span_starts_with(zone, SPAN(".")) ? span_skip(zone, 1) : zone;
	char below[NAME_MAX_BYTES + 16], rule[NAME_MAX_BYTES + 2];

	if (bare.len == 0 || bare.len > NAME_MAX_BYTES - 8)
		return;
	snprintf(below, sizeof(below), "a-host.%.*s", SPAN_ARG(bare));
	snprintf(rule, sizeof(rule), ".%.*s", SPAN_ARG(bare));
	if (is_inspected(advice, bare, NULL) || is_inspected(advice, span_from(below), NULL))
		warn(advice, zone, rule);
}

static void on_constraint(void *context, bool excluded, struct span text, const struct address *base)
{
	struct advice *advice = context;
	char rule[64];
	struct buf host;

	if (!excluded) {
		if (advice->permitted++)
			buf_add_string(&advice->permits, ", ");
		buf_add(&advice->permits, text);
		return;
	}
	if (base->family == 0) {
		if (span_find(text, ':') == text.len && span_find(text, ' ') == text.len) /* no e-mail, no directory */
			look_at_zone(advice, text);
		return;
	}
	snprintf(rule, sizeof(rule), "%.*s", SPAN_ARG(text));
	buf_init(&host, 64);
	address_format(base, &host);
	if (is_inspected(advice, buf_span(&host), base))
		warn(advice, text, rule);
	buf_fini(&host);
}

void ca_advice_add(const struct ca *ca, const struct settings *settings, const struct policy *policy,
                   struct problems *problems)
{
	struct advice advice = {settings, policy, problems, 0, {.at = NULL}};

	if (ca == NULL || policy == NULL)
		return;
	buf_init(&advice.permits, 1024);
	ca_each_constraint(ca, on_constraint, &advice);
	if (advice.permitted)
		problem_add_code(problems, PROBLEM_CONSTRAINED_CA,
		                 (struct problem_place){settings->inspection.ca.certificate, 0, 0}, NULL,
		                 "its name constraints permit only %.*s: sessions to all other hosts that the policy inspects end with an "
		                 "error; let the policy bypass or deny them", SPAN_ARG(buf_span(&advice.permits)));
	buf_fini(&advice.permits);
}
