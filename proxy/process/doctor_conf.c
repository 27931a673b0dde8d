/* SPDX-License-Identifier: Apache-2.0 */
#include "process/doctor_conf.h"

#include <string.h>

static bool read_ports(const struct yaml_node *node, struct doctor_ports *out)
{
	uint64_t port;

	*out = (struct doctor_ports){.count = 0};
	for (const struct yaml_node *n = node->kind == YAML_SEQUENCE ? node->first : node; n; n = n->next) {
		if (n->kind == YAML_NULL)
			break;
		if (n->kind != YAML_SCALAR || !span_to_uint(n->text, 65535, &port) || port == 0 ||
		    out->count == DOCTOR_PORTS_MAX)
			return false;
		out->at[out->count++] = (uint16_t)port;
		if (node->kind != YAML_SEQUENCE)
			break;
	}
	return true;
}

static void parse_ports(struct conf_loading *loading, const struct yaml_node *node, struct doctor_ports *out,
                        const char *key)
{
	if (!read_ports(node, out))
		conf_problem(loading, PROBLEM_ERROR, node, "%s: write ports from 1 to 65535, at most %d, such as [5004, 33434]", key,
		             DOCTOR_PORTS_MAX);
}

static void parse_udp(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	if (node)
		parse_ports(loading, node, at, "udp");
	else
		*(struct doctor_ports *)at = (struct doctor_ports){{5004}, 1};
}

static void parse_tcp(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	if (node)
		parse_ports(loading, node, at, "tcp");
	else
		*(struct doctor_ports *)at = (struct doctor_ports){{5004, 33434}, 2};
}

static void check_host(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	struct span text = span_from(*(const char *const *)at);
	struct http_host host;

	if (span_find(text, ':') < text.len && text.at[0] != '[')
		conf_problem(loading, PROBLEM_ERROR, node,
		             "host: write a name or an address without a port, an IPv6 one as [2001:db8::1]; ports are in udp and tcp");
	else if (http_host_parse(text, 443, conf_arena(loading), &host))
		conf_problem(loading, PROBLEM_ERROR, node, "host: \"%.*s\" is no host name and no address", SPAN_ARG(text));
}

bool doctor_conf_url(struct span text, const char *scheme, struct arena *arena, struct http_host *host, struct span *path)
{
	struct span prefix = span_from(scheme), rest;
	size_t end;

	if (!span_equal_nocase(span_first(text, prefix.len), prefix) ||
	    !span_starts_with(span_skip(text, prefix.len), SPAN("://")))
		return false;
	rest = span_skip(text, prefix.len + 3);
	end = span_find(rest, '/');
	*path = end < rest.len ? span_skip(rest, end) : SPAN("/");
	for (size_t i = 0; i < path->len; i++)
		if (path->at[i] <= ' ' || path->at[i] >= 0x7f || path->at[i] == '#')
			return false;
	return http_host_parse(span_first(rest, end), 443, arena, host) == ERR_NONE;
}

static void check_url(struct conf_loading *loading, const struct yaml_node *node, const void *at, const char *scheme)
{
	const char *text = *(const char *const *)at;
	struct http_host host;
	struct span path;

	if (text[0] && strcmp(text, "none") != 0 &&
	    !doctor_conf_url(span_from(text), scheme, conf_arena(loading), &host, &path))
		conf_problem(loading, PROBLEM_ERROR, node, "\"%s\" is no URL such as %s://HOST/PATH, and not none", text, scheme);
}

static void check_https(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	check_url(loading, node, at, "https");
}

static void check_wss(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	check_url(loading, node, at, "wss");
}

static void check_proxy(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const char *text = *(const char *const *)at;
	struct http_host host;

	if (text[0] && http_host_parse(span_from(text), 0, conf_arena(loading), &host))
		conf_problem(loading, PROBLEM_ERROR, node, "proxy: \"%s\" is no HOST:PORT such as proxy.example.com:3128", text);
}

static const struct conf_choice framing_choices[] = {
	{"rfc4571", DOCTOR_FRAMING_RFC4571}, {"stun", DOCTOR_FRAMING_STUN}, {NULL, 0}};

static const struct conf_option target_options[] = {
	{.name = "host", .type = CONF_TEXT, .offset = CONF_AT(struct doctor_target, host), .min = 1, .max = 255,
	 .preset = NULL, .reload = CONF_LIVE, .check = check_host,
	 .manual = "What answers STUN there: a media node of the service that people use, or a STUN server outside of the firewall."},
	{.name = "name", .type = CONF_TEXT, .offset = CONF_AT(struct doctor_target, name), .max = 64, .preset = "",
	 .reload = CONF_LIVE, .manual = "What it is called in the answer, and by --target; empty is the host."},
	{.name = "udp", .type = CONF_PARSED, .offset = CONF_AT(struct doctor_target, udp), .preset = "[5004]",
	 .reload = CONF_LIVE, .parse = parse_udp, .type_text = "list of ports",
	 .manual = "Ports for STUN over UDP, the preferred one first; [] for none."},
	{.name = "tcp", .type = CONF_PARSED, .offset = CONF_AT(struct doctor_target, tcp), .preset = "[5004, 33434]",
	 .reload = CONF_LIVE, .parse = parse_tcp, .type_text = "list of ports",
	 .manual = "Ports for STUN over TCP, directly and through the proxy."},
	{.name = "framing", .type = CONF_CHOICE, .offset = CONF_AT(struct doctor_target, framing),
	 .choices = framing_choices, .preset = "rfc4571", .reload = CONF_LIVE,
	 .manual = "How STUN lies in TCP: with a length before each message, as media over TCP has it (RFC 4571), or by itself, as STUN servers such as coturn speak it (RFC 8489)."},
	{.name = "https", .type = CONF_TEXT, .offset = CONF_AT(struct doctor_target, https), .max = 1024, .preset = "",
	 .reload = CONF_LIVE, .check = check_https, .manual = "What is asked over HTTPS: empty is https://HOST/, none is nothing."},
	{.name = "wss", .type = CONF_TEXT, .offset = CONF_AT(struct doctor_target, wss), .max = 1024, .preset = "none",
	 .reload = CONF_LIVE, .check = check_wss, .manual = "What is asked for a WebSocket: a wss:// URL; empty is wss://HOST/, none is nothing."},
	CONF_END};

static void check_targets(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct conf_groups *targets = at;

	if (targets->count > DOCTOR_TARGETS_MAX)
		conf_problem(loading, PROBLEM_ERROR, node, "targets: %d are the most that are asked at once", DOCTOR_TARGETS_MAX);
}

const struct conf_option doctor_options[] = {
	{.name = "targets", .type = CONF_GROUPS, .offset = CONF_AT(struct doctor_conf, targets), .group = target_options,
	 .item_bytes = sizeof(struct doctor_target), .preset = "", .reload = CONF_LIVE, .check = check_targets,
	 .manual = "Where media would go. There is no default: which hosts answer STUN is known to who runs the service."},
	{.name = "proxy", .type = CONF_TEXT, .offset = CONF_AT(struct doctor_conf, proxy), .max = 300, .preset = "",
	 .reload = CONF_LIVE, .check = check_proxy,
	 .manual = "HOST:PORT of the proxy that is gone through; empty is the first listener, as it advertises itself."},
	{.name = "timeout", .type = CONF_TIME_MS, .offset = CONF_AT(struct doctor_conf, timeout_ms), .min = 100,
	 .max = 60000, .preset = "3s", .reload = CONF_LIVE, .manual = "For each probe, and before them for names."},
	CONF_END};
