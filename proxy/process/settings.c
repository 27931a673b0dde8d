/* SPDX-License-Identifier: Apache-2.0 */
#include "process/settings.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"

static const struct conf_choice level_choices[] = {
	{"error", LOG_LEVEL_ERROR}, {"warning", LOG_LEVEL_WARNING}, {"notice", LOG_LEVEL_NOTICE},
	{"info", LOG_LEVEL_INFO},   {"debug", LOG_LEVEL_DEBUG},     {NULL, 0}};

static void parse_events_path(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct events_conf *events = (void *)((uint8_t *)at - offsetof(struct events_conf, path));

	events->path = "";
	events->target = LOG_TO_STDERR;
	if (node == NULL || span_equal(node->text, SPAN("stderr")))
		return;
	if (span_equal(node->text, SPAN("syslog"))) {
		events->target = LOG_TO_SYSLOG;
	} else if (span_equal(node->text, SPAN("journald"))) {
		events->target = LOG_TO_JOURNALD;
	} else {
		events->target = LOG_TO_FILE;
		events->path = conf_path(loading, node->text);
		if (events->path == NULL)
			events->path = "";
	}
}

static const struct conf_option events_options[] = {
	{.name = "path", .type = CONF_PARSED, .offset = CONF_AT(struct events_conf, path),
	 .preset = "stderr", .reload = CONF_LIVE, .parse = parse_events_path,
	 .type_text = "file, or stderr, syslog, journald",
	 .manual = "Where it is told what happens to the proxy itself: starts, reloads, faults."},
	{.name = "level", .type = CONF_CHOICE, .offset = CONF_AT(struct events_conf, level),
	 .choices = level_choices, .preset = "info", .reload = CONF_LIVE,
	 .manual = "The least grave events that are written."},
	CONF_END};

static const struct conf_option log_options[] = {
	{.name = "access", .type = CONF_GROUP, .offset = CONF_AT(struct settings, session.access),
	 .group = access_options, .manual = "The access log."},
	{.name = "events", .type = CONF_GROUP, .offset = CONF_AT(struct settings, events),
	 .group = events_options, .manual = "The event log."},
	CONF_END};

static void check_listen(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct conf_groups *groups = at;
	const struct listen_conf *listen = groups->at;

	if (groups->count == 0)
		conf_problem(loading, PROBLEM_ERROR, node,
		             "listen: at least one is needed, such as {name: office, address: 127.0.0.1:3128}");
	for (size_t i = 0; i < groups->count; i++) {
		for (size_t j = 0; j < i; j++) {
			bool same = listen[i].address.port && listen[i].address.port == listen[j].address.port &&
			            address_equal(&listen[i].address, &listen[j].address);

			same |= listen[i].path[0] && strcmp(listen[i].path, listen[j].path) == 0;
			if (same || strcmp(listen[i].name, listen[j].name) == 0)
				conf_problem(loading, PROBLEM_ERROR, node,
				             "listen: %s and %s have the same %s", listen[j].name,
				             listen[i].name, same ? "address" : "name");
		}
	}
}

static bool is_wildcard(const struct address *address)
{
	static const uint8_t zeros[sizeof(address->bytes)];

	return memcmp(address->bytes, zeros, sizeof(zeros)) == 0;
}

/* Could not both be bound? */
static bool is_clash(const struct address *a, const struct address *b)
{
	return a->port && a->port == b->port && a->family == b->family &&
	       (address_equal(a, b) || is_wildcard(a) || is_wildcard(b));
}

static void check_clash(struct conf_loading *loading, const struct yaml_node *node, const char *name,
                        const struct address *address, const struct conf_groups *groups)
{
	const struct listen_conf *listen = groups->at;

	for (size_t i = 0; i < groups->count; i++)
		if (listen[i].address.family != AF_UNIX && is_clash(address, &listen[i].address))
			conf_problem(loading, PROBLEM_ERROR, node,
			             "%s: the listener %s has this address; choose another port", name,
			             listen[i].name);
}

/* How clients reach it must be said where its address does not. */
static void check_advertise(struct conf_loading *loading, const struct yaml_node *node,
                            const struct settings *settings)
{
	const struct listen_conf *listen = settings->listen.at;
	size_t named_count = settings->public.proxies.count;

	for (size_t i = 0; i < settings->listen.count; i++) {
		bool is_unix = listen[i].address.family == AF_UNIX;
		bool is_said = listen[i].advertise[0];

		if (is_said && strcmp(listen[i].advertise, "none") != 0 &&
		    web_conf_proxy(span_from(listen[i].advertise), conf_arena(loading)).len == 0)
			conf_problem(loading, PROBLEM_ERROR, node,
			             "advertise: \"%s\" of listener %s is no HOST:PORT; write proxy.example.com:3128, "
			             "[2001:db8::1]:3128, or none", listen[i].advertise, listen[i].name);
		else if (!is_said && !is_unix && is_wildcard(&listen[i].address))
			conf_problem(loading, PROBLEM_ERROR, node,
			             "public: the PAC file cannot name listener %s, which listens on every address; add "
			             "\"advertise: proxy.example.com:%u\" to it, as clients reach it, or \"advertise: none\"",
			             listen[i].name, listen[i].address.port);
		named_count += is_said ? strcmp(listen[i].advertise, "none") != 0 : !is_unix;
	}
	if (named_count == 0)
		conf_problem(loading, PROBLEM_ERROR, node,
		             "public: the PAC file would name no proxy; give a listener \"advertise: HOST:PORT\"");
}

static void check_public(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct public_conf *public = at;
	const struct settings *settings =
		(const void *)((const uint8_t *)at - offsetof(struct settings, public));

	if (public->address.family == 0) {
		if (public->url.name.len || public->proxies.count)
			conf_problem(loading, PROBLEM_ERROR, node,
			             "public: without an address there is no PAC file; write address: 127.0.0.1:8080, or "
			             "remove these lines");
		return;
	}
	check_clash(loading, node, "public", &public->address, &settings->listen);
	check_advertise(loading, node, settings);
}

static bool is_loopback(const struct address *address)
{
	static const struct address v6 = {.family = AF_INET6, .bytes = {[15] = 1}};

	return address->family == AF_INET ? address->bytes[0] == 127 : address_equal(address, &v6);
}

static void check_admin(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct admin_conf *admin = at;
	const struct settings *settings =
		(const void *)((const uint8_t *)at - offsetof(struct settings, admin));

	if (admin->address.family == 0)
		return;
	check_clash(loading, node, "admin", &admin->address, &settings->listen);
	if (settings->public.address.family && is_clash(&admin->address, &settings->public.address))
		conf_problem(loading, PROBLEM_ERROR, node, "admin: public has this address; choose another port");
	if (!is_loopback(&admin->address))
		conf_problem_code(loading, PROBLEM_OPEN_TOKEN, node,
		                  "admin: the token for /metrics goes over the network in clear there; listen on 127.0.0.1, or "
		                  "where only those who watch can listen in");
}

static void parse_workers(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	uint64_t *workers = at;

	*workers = 0;
	if (node == NULL || span_equal(node->text, SPAN("auto")))
		return;
	if (!span_to_uint(node->text, SETTINGS_WORKERS_MAX, workers) || *workers == 0)
		conf_problem(loading, PROBLEM_ERROR, node, "workers: write auto or a number from 1 to %d",
		             SETTINGS_WORKERS_MAX);
}

const struct conf_option settings_options[] = {
	{.name = "listen", .type = CONF_GROUPS, .offset = CONF_AT(struct settings, listen),
	 .group = listen_options, .item_bytes = sizeof(struct listen_conf), .preset = NULL,
	 .reload = CONF_LIVE, .check = check_listen, .manual = "Where clients connect to; several."},
	{.name = "workers", .type = CONF_PARSED, .offset = CONF_AT(struct settings, workers),
	 .preset = "auto", .reload = CONF_RESTART, .parse = parse_workers,
	 .type_text = "auto, or a number",
	 .manual = "Processes that serve clients; auto is one per core."},
	{.name = "policy", .type = CONF_PATH, .offset = CONF_AT(struct settings, policy), .min = 1,
	 .preset = NULL, .reload = CONF_LIVE, .manual = "The file with the rules."},
	{.name = "control", .type = CONF_PATH, .offset = CONF_AT(struct settings, control), .min = 1,
	 .preset = "run/sallyport.sock", .reload = CONF_RESTART,
	 .manual = "Socket for sallyport status, reload and drain; its folder is made if it is missing. Only root and the user that runs the proxy may use it."},
	{.name = "hits", .type = CONF_PATH, .offset = CONF_AT(struct settings, hits),
	 .preset = "run/hits", .reload = CONF_RESTART,
	 .manual = "File that keeps over restarts how often each entry of a list was hit, for sallyport list; written every ten minutes and at the end. Empty: it is not kept."},
	{.name = "user", .type = CONF_TEXT, .offset = CONF_AT(struct settings, user), .max = 64,
	 .preset = "", .reload = CONF_RESTART,
	 .manual = "Whom workers and logger become when the proxy is started as root: empty is \"sallyport\" if there is such a user, else \"nobody\"."},
	{.name = "group", .type = CONF_TEXT, .offset = CONF_AT(struct settings, group), .max = 64,
	 .preset = "", .reload = CONF_RESTART, .manual = "The group in the same way; empty is the user's own."},
	{.name = "dns", .type = CONF_GROUP, .offset = CONF_AT(struct settings, dns),
	 .group = dns_options, .manual = "Names of origins."},
	{.name = "destinations", .type = CONF_GROUP, .offset = CONF_AT(struct settings, destinations),
	 .group = destinations_options,
	 .manual = "Addresses that may be dialled. Checked on the address itself, after the name was resolved."},
	{.name = "limits", .type = CONF_GROUP, .offset = CONF_AT(struct settings, session.limits),
	 .group = limits_options, .manual = "What sessions may use."},
	{.name = "timeouts", .type = CONF_GROUP, .offset = CONF_AT(struct settings, session.timeouts),
	 .group = timeouts_options, .manual = "How long things may take."},
	{.name = "classes", .type = CONF_GROUP, .offset = CONF_AT(struct settings, session.classes), .group = classes_options,
	 .manual = "How tunnels of each class are served. Which class one has says the policy (question class)."},
	{.name = "forwarding", .type = CONF_GROUP,
	 .offset = CONF_AT(struct settings, session.forwarding), .group = forwarding_options,
	 .manual = "What origins of http:// requests are told."},
	{.name = "log", .type = CONF_GROUP, .offset = 0, .group = log_options, .manual = "Logs."},
	{.name = "authentication", .type = CONF_GROUP, .offset = CONF_AT(struct settings, auth), .group = auth_options,
	 .check = auth_conf_check, .manual = "Who is asking. Policy says who must say so (question auth)."},
	{.name = "inspection", .type = CONF_GROUP, .offset = CONF_AT(struct settings, inspection),
	 .group = inspection_options, .check = inspection_check,
	 .manual = "Opening TLS. Which hosts are opened says the policy (question tls)."},
	{.name = "public", .type = CONF_GROUP, .offset = CONF_AT(struct settings, public),
	 .group = public_options, .check = check_public,
	 .manual = "The PAC file, for clients: what they ask the proxy for, and what they fetch themselves (question pac of the policy)."},
	{.name = "admin", .type = CONF_GROUP, .offset = CONF_AT(struct settings, admin),
	 .group = admin_options, .check = check_admin, .manual = "Health and metrics, for who watches the proxy."},
	{.name = "doctor", .type = CONF_GROUP, .offset = CONF_AT(struct settings, doctor), .group = doctor_options,
	 .manual = "What sallyport doctor tries. The proxy itself needs none of it."},
	CONF_END};

enum err settings_load(struct span text, const char *file, struct arena *arena,
                       struct problems *problems, struct settings *out)
{
	return conf_load(text, file, settings_options, arena, problems, out, sizeof(*out));
}

const char *settings_default_path(void)
{
	static const char *const paths[] = {"sallyport.yaml", "/etc/sallyport/sallyport.yaml"};

	for (size_t i = 0; i < COUNT_OF(paths); i++)
		if (access(paths[i], R_OK) == 0)
			return paths[i];
	return NULL;
}
