/* SPDX-License-Identifier: Apache-2.0 */
#include "process/advice.h"

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

enum err advice_add(const struct settings *settings, const struct policy_stats *stats,
                    const char *file, struct problems *problems)
{
	size_t errors = problems->error_count;

	if (stats->wants_inspect)
		problem_add(problems, PROBLEM_WARNING, settings->policy, 0, 0,
		            "a rule or defaults answers \"tls: inspect\", and this version cannot inspect: "
		            "such sessions are refused with 501, not tunnelled; write \"tls: bypass\"");
	if (stats->wants_auth)
		problem_add(problems, PROBLEM_ERROR, settings->policy, 0, 0,
		            "a rule or defaults answers \"auth: required\", and no scheme is offered "
		            "(authentication.schemes); write \"auth: exempt\"");
	advise_open(settings, file, problems);
	return problems->error_count > errors ? ERR_CONFIG : ERR_NONE;
}
