/* SPDX-License-Identifier: Apache-2.0 */
#include "process/advice.h"

#include "base/clock.h"
#include "net/guard.h"
#include "policy/pac/pac.h"

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
		problem_add_code(problems, PROBLEM_OPEN_PROXY, (struct problem_place){file, 0, 0}, NULL,
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
			problem_add_code(problems, PROBLEM_UNKNOWN_LISTENER,
			            (struct problem_place){settings->policy, spot.line, spot.column}, NULL,
			            "listener: this never holds, as sallyport.yaml has no listener \"%.*s\"%s%s%s",
			            SPAN_ARG(name), nearest ? "; did you mean " : "", nearest ? nearest : "",
			            nearest ? "?" : "");
		}
	}
}

static void advise_pac_for_nobody(const struct settings *settings, const struct policy *policy, size_t rules,
                                  struct problems *problems)
{
	unsigned answer, line, ignored;

	for (uint32_t rule = 0; rule < rules; rule++) {
		if (!policy_rule_answers(policy, rule, POLICY_PAC, &answer))
			continue;
		if (!span_equal(policy_rule_file(policy, rule, &line), policy_rule_file(policy, POLICY_NO_RULE, &ignored)))
			line = 0; /* in a file that is included */
		problem_add_code(problems, PROBLEM_NO_EFFECT, (struct problem_place){settings->policy, line, 0}, NULL,
		            "pac: nobody asks for this answer, as sallyport.yaml has no public: address for a PAC file");
		return;
	}
}

/* Only known with both: the settings say that there is a PAC file, the policy what is in it. */
static void advise_pac(const struct settings *settings, const struct policy *policy, size_t rules,
                       struct problems *problems)
{
	struct buf why;

	if (settings->public.address.family == 0) {
		advise_pac_for_nobody(settings, policy, rules, problems);
		return;
	}
	buf_init(&why, 4096);
	if (!policy_pac_fits(policy, clock_wall_ms(), PAC_MAX_BYTES, &why))
		problem_add_code(problems, PROBLEM_BAD_PAC, (struct problem_place){settings->policy, 0, 0}, NULL,
		            "the PAC file would have more than %d KiB, and browsers stop near 1 MiB: %.*s; answer pac by "
		            "fewer and wider patterns (.example.com)", PAC_MAX_BYTES / 1024, SPAN_ARG(buf_span(&why)));
	buf_fini(&why);
}

struct advice {
	const struct settings *settings;
	struct problems *problems;
};

/* A list's network that destinations.deny has as a whole: no answer of policy leads there. */
static void advise_network(void *context, const struct network *network, const struct policy_entry *entry)
{
	const struct advice *advice = context;
	struct span policy = span_from(advice->settings->policy);
	struct buf path;
	const char *why;

	if (!guard_denies_network(&advice->settings->destinations, network, &why))
		return;
	buf_init(&path, 8192);
	if (!span_starts_with(entry->file, SPAN("/")))
		buf_add(&path, span_first(policy, span_find_last(policy, '/') + 1));
	buf_add(&path, entry->file);
	buf_add_byte(&path, 0);
	if (buf_is_whole(&path))
		problem_add_code(advice->problems, PROBLEM_PRIVATE_NETWORK,
		                 (struct problem_place){(const char *)buf_span(&path).at, entry->line, 1}, NULL,
		                 "%.*s is %s, and never dialled: destinations.deny has it; name it in destinations.permit if it is "
		                 "meant", SPAN_ARG(entry->text), why);
	buf_fini(&path);
}

/* Is something of this address range offered Basic at a listener that is heard on the network? */
static void advise_basic(const struct settings *settings, const char *file, struct problems *problems)
{
	const struct listen_conf *listen = settings->listen.at;

	if (!auth_conf_uses(&settings->auth, AUTH_BASIC))
		return;
	for (size_t i = 0; i < settings->listen.count; i++)
		if (!is_loopback(&listen[i]))
			problem_add_code(problems, PROBLEM_BASIC_IN_CLEAR, (struct problem_place){file, 0, 0}, NULL,
			                 "listen %s: with Basic, passwords of clients go over the network in clear; offer digest, "
			                 "ntlm or negotiate alone, or basic by authentication.networks where nobody listens in",
			                 listen[i].name);
}

static void advise_listener_names(const struct settings *settings, const char *file, struct problems *problems)
{
	const struct auth_network_conf *networks = settings->auth.networks.at;

	for (size_t i = 0; i < settings->auth.networks.count; i++)
		for (size_t j = 0; j < networks[i].listeners.count; j++)
			if (!is_listener(settings, span_from(networks[i].listeners.at[j])))
				problem_add_code(problems, PROBLEM_UNKNOWN_LISTENER, (struct problem_place){file, 0, 0}, NULL,
				                 "authentication.networks: there is no listener \"%s\"", networks[i].listeners.at[j]);
}

static void advise_auth(const struct settings *settings, const char *file, struct problems *problems)
{
	const struct auth_conf *auth = &settings->auth;
	const struct auth_network_conf *networks = auth->networks.at;
	bool is_v1 = auth->ntlm.allow_v1;

	advise_basic(settings, file, problems);
	advise_listener_names(settings, file, problems);
	if (auth_conf_uses_ntlm(auth, NTLM_BACKEND_USERS) || auth_conf_uses_ntlm(auth, NTLM_BACKEND_WINBIND)) {
		for (size_t i = 0; i < auth->networks.count; i++)
			is_v1 |= networks[i].allow_v1 == AUTH_SWITCH_ON;
		if (is_v1)
			problem_add_code(problems, PROBLEM_WEAK_SCHEME, (struct problem_place){file, 0, 0}, NULL,
			                 "%s: one answer of NTLMv1 is enough to find the password",
			                 auth->ntlm.allow_v1 ? "authentication.ntlm.allow_v1" : "authentication.networks: allow_v1");
	}
}

static void advise_rates(const struct settings *settings, const struct policy_stats *stats, const char *file,
                         struct problems *problems)
{
	if (settings->session.limits.rate_per_user && !stats->wants_auth)
		problem_add_code(problems, PROBLEM_NO_EFFECT, (struct problem_place){file, 0, 0}, NULL,
		                 "limits.rate_per_user: no rule and no default answers \"auth: required\", so nobody says who they are");
}

enum err advice_add(const struct settings *settings, const struct policy *policy, const char *file,
                    struct problems *problems)
{
	size_t errors = problems->error_count;
	struct policy_stats stats;

	policy_stats(policy, &stats);
	if (stats.wants_inspect && !inspection_is_on(&settings->inspection))
		problem_add_code(problems, PROBLEM_NO_INSPECTION,
		            (struct problem_place){settings->policy, stats.inspect_at.line, stats.inspect_at.column}, NULL,
		            "a rule or defaults answers \"tls: inspect\" (defaults does where it says nothing of "
		            "tls), and there is no CA for it (inspection.ca): such sessions are refused with 501, "
		            "not tunnelled; sallyport ca init makes one, or write \"tls: bypass\"");
	if (inspection_is_on(&settings->inspection) && settings->inspection.secrets[0])
		problem_add_code(problems, PROBLEM_SECRETS, (struct problem_place){file, 0, 0}, NULL,
		                 "inspection.secrets: whoever reads %s can read all that opened sessions carry; take the option away "
		                 "when the analysis is done", settings->inspection.secrets);
	advise_auth(settings, file, problems);
	if (stats.wants_auth && !auth_conf_is_on(&settings->auth))
		problem_add_code(problems, PROBLEM_NO_SCHEME,
		            (struct problem_place){settings->policy, stats.auth_at.line, stats.auth_at.column}, NULL,
		            "a rule or defaults answers \"auth: required\", and no scheme is offered "
		            "(authentication.schemes); write \"auth: exempt\"");
	advise_rates(settings, &stats, file, problems);
	advise_pac(settings, policy, stats.rules, problems);
	advise_listeners(settings, policy, stats.rules, problems);
	policy_each_network(policy, advise_network, &(struct advice){settings, problems});
	if (stats.allows_anybody && !(stats.asks_everybody && auth_conf_is_on(&settings->auth)))
		advise_open(settings, file, problems);
	return problems->error_count > errors ? ERR_CONFIG : ERR_NONE;
}
