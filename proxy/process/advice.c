/* SPDX-License-Identifier: Apache-2.0 */
#include "process/advice.h"

enum { LISTENERS_NAMED_MAX = 256 };

static bool is_loopback(const struct listen_conf *listen)
{
	const struct address *address = &listen->address;

	if (address->family == AF_INET)
		return address->bytes[0] == 127;
	if (address->family != AF_INET6)
		return true; /* a UNIX socket */
	for (size_t i = 0; i < 15; i++)
		if (address->bytes[i])
			return false;
	return address->bytes[15] == 1;
}

/* An open proxy is found and used by strangers within hours. */
static void advise_open(const struct settings *settings, const char *file,
                        struct problems *problems)
{
	const struct listen_conf *listen = settings->listen.at;

	for (size_t i = 0; i < settings->listen.count; i++) {
		if (is_loopback(&listen[i]))
			continue;
		problem_add(problems, PROBLEM_WARNING, file, 0, 0,
		            "listen %s: clients of the network can use it without saying who they are; "
		            "let rules with \"from:\" or a firewall keep strangers out",
		            listen[i].name);
	}
}

static bool is_listener(const struct settings *settings, struct span name)
{
	const struct listen_conf *listen = settings->listen.at;

	for (size_t i = 0; i < settings->listen.count; i++)
		if (span_equal(name, span_from(listen[i].name)))
			return true;
	return false;
}

static const char *nearest_listener(const struct settings *settings, struct span name)
{
	const struct listen_conf *listen = settings->listen.at;
	const char *names[LISTENERS_NAMED_MAX];
	size_t count = 0;

	for (; count < settings->listen.count && count < COUNT_OF(names); count++)
		names[count] = listen[count].name;
	return conf_nearest(name, names, count);
}

/* A rule for a listener that is not there never holds, whatever it was to deny. */
static void advise_listeners(const struct settings *settings, const struct policy *policy, size_t rules,
                             struct problems *problems)
{
	struct policy_spot spot;
	struct span name;

	for (uint32_t rule = 0; rule < rules; rule++) {
		for (uint32_t i = 0; policy_rule_listener(policy, rule, i, &name, &spot); i++) {
			const char *nearest;

			if (is_listener(settings, name))
				continue;
			nearest = nearest_listener(settings, name);
			problem_add(problems, PROBLEM_WARNING, settings->policy, spot.line, spot.column,
			            "listener: this never holds, as sallyport.yaml has no listener \"%.*s\"%s%s%s",
			            SPAN_ARG(name), nearest ? "; did you mean " : "", nearest ? nearest : "",
			            nearest ? "?" : "");
		}
	}
}

enum err advice_add(const struct settings *settings, const struct policy *policy, const char *file,
                    struct problems *problems)
{
	size_t errors = problems->error_count;
	struct policy_stats stats;

	policy_stats(policy, &stats);
	if (stats.wants_inspect)
		problem_add(problems, PROBLEM_WARNING, settings->policy, stats.inspect_at.line,
		            stats.inspect_at.column,
		            "a rule or defaults answers \"tls: inspect\" (defaults does where it says nothing of "
		            "tls), and this version cannot inspect: such sessions are refused with 501, not "
		            "tunnelled; write \"tls: bypass\"");
	if (stats.wants_auth)
		problem_add(problems, PROBLEM_ERROR, settings->policy, stats.auth_at.line,
		            stats.auth_at.column,
		            "a rule or defaults answers \"auth: required\", and no scheme is offered "
		            "(authentication.schemes); write \"auth: exempt\"");
	advise_listeners(settings, policy, stats.rules, problems);
	if (stats.allows_anybody)
		advise_open(settings, file, problems);
	return problems->error_count > errors ? ERR_CONFIG : ERR_NONE;
}
