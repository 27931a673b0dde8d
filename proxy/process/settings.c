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

/* Later issues' options: what changes nothing is accepted, anything else refused with the reason. */
static void check_schemes(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	if (((const struct conf_texts *)at)->count)
		conf_problem(loading, PROBLEM_ERROR, node,
		             "schemes: this version cannot ask clients who they are yet; write schemes: []");
}

static const struct conf_option authentication_options[] = {
	{.name = "schemes", .type = CONF_TEXTS, .offset = CONF_AT(struct settings, schemes),
	 .preset = "[]", .reload = CONF_LIVE, .check = check_schemes,
	 .manual = "How clients are asked who they are. This version cannot ask: leave it empty."},
	CONF_END};

static void parse_not_yet(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	(void)at;
	if (node && node->kind != YAML_NULL && !(node->kind == YAML_MAPPING && node->count == 0))
		conf_problem(loading, PROBLEM_ERROR, node,
		             "%.*s: this version does not have it yet; remove these lines",
		             SPAN_ARG(node->key));
}

#define NOT_YET(key, text) \
	{.name = key, .type = CONF_PARSED, .offset = CONF_AT(struct settings, schemes), .preset = "", \
	 .reload = CONF_LIVE, .parse = parse_not_yet, .type_text = "not in this version", .manual = text}

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
	{.name = "forwarding", .type = CONF_GROUP,
	 .offset = CONF_AT(struct settings, session.forwarding), .group = forwarding_options,
	 .manual = "What origins of http:// requests are told."},
	{.name = "log", .type = CONF_GROUP, .offset = 0, .group = log_options, .manual = "Logs."},
	{.name = "authentication", .type = CONF_GROUP, .offset = 0, .group = authentication_options,
	 .manual = "Who is asking."},
	NOT_YET("inspection", "Opening TLS."),
	NOT_YET("public", "PAC file and CA certificate for clients."),
	NOT_YET("admin", "Pages, API and metrics for people."),
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
