/* SPDX-License-Identifier: Apache-2.0 */
#include "web/web_conf.h"

enum { PROXIES_MAX = 64, NAMES_MAX = 16 };

struct span web_conf_proxy(struct span text, struct arena *arena)
{
	struct http_host host;
	bool brackets;

	if (http_host_parse(text, 0, arena, &host))
		return SPAN("");
	brackets = host.address.family == AF_INET6;
	return span_from(arena_printf(arena, "%s%.*s%s:%u", brackets ? "[" : "", SPAN_ARG(host.name),
	                              brackets ? "]" : "", host.port));
}

static void parse_address(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct address *address = at;

	*address = (struct address){.family = 0};
	if (node && node->kind != YAML_NULL && !address_parse_with_port(node->text, address))
		conf_problem(loading, PROBLEM_ERROR, node,
		             "address: \"%.*s\" is not ADDRESS:PORT; write 127.0.0.1:8080, [::1]:8080, or 0.0.0.0:8080 "
		             "for every IPv4 address", SPAN_ARG(node->text));
}

/* Only a host and a port: what stands behind them is asked for. */
static void parse_url(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct http_host *host = at;
	struct span rest;

	*host = (struct http_host){.name = SPAN("")};
	if (node == NULL || node->kind == YAML_NULL || (node->kind == YAML_SCALAR && node->text.len == 0))
		return;
	rest = span_skip(node->text, sizeof("http://") - 1);
	if (rest.len && rest.at[rest.len - 1] == '/')
		rest.len--;
	if (!span_starts_with(node->text, SPAN("http://")) ||
	    http_host_parse(rest, 80, conf_arena(loading), host)) {
		*host = (struct http_host){.name = SPAN("")};
		conf_problem(loading, PROBLEM_ERROR, node,
		             "url: \"%.*s\" is no http://HOST:PORT; write http://proxy.example.com:8080, as clients would "
		             "reach public.address", SPAN_ARG(node->text));
	}
}

static void parse_proxies(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct conf_texts *proxies = at;
	bool is_list = node && node->kind == YAML_SEQUENCE;
	const struct yaml_node *first = is_list ? node->first : node;
	const char **items = arena_alloc(conf_arena(loading), PROXIES_MAX * sizeof(*items));

	*proxies = (struct conf_texts){items, 0};
	if (node == NULL || node->kind == YAML_NULL)
		return;
	for (const struct yaml_node *n = first; n && items; n = is_list ? n->next : NULL) {
		struct span proxy = n->kind == YAML_SCALAR ? web_conf_proxy(n->text, conf_arena(loading)) : SPAN("");

		if (proxies->count == PROXIES_MAX)
			conf_problem(loading, PROBLEM_ERROR, n, "proxies: more than %d", PROXIES_MAX);
		if (proxies->count == PROXIES_MAX)
			return;
		if (proxy.len)
			items[proxies->count++] = (const char *)proxy.at;
		else
			conf_problem(loading, PROBLEM_ERROR, n,
			             "proxies: \"%.*s\" is no HOST:PORT; write proxy2.example.com:3128 or [2001:db8::1]:3128",
			             SPAN_ARG(n->text));
	}
}

static void parse_names(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct conf_texts *names = at;
	bool is_list = node && node->kind == YAML_SEQUENCE;
	const struct yaml_node *first = is_list ? node->first : node;
	const char **items = arena_alloc(conf_arena(loading), NAMES_MAX * sizeof(*items));

	*names = (struct conf_texts){items, 0};
	if (node == NULL || node->kind == YAML_NULL)
		return;
	for (const struct yaml_node *n = first; n && items; n = is_list ? n->next : NULL) {
		struct http_host host = {.name = SPAN("")};
		bool is_name = n->kind == YAML_SCALAR && span_find(n->text, ':') == n->text.len &&
		               http_host_parse(n->text, 80, conf_arena(loading), &host) == ERR_NONE &&
		               host.address.family == 0;
		const char *name = is_name ? arena_string(conf_arena(loading), host.name) : NULL;

		if (names->count == NAMES_MAX) {
			conf_problem(loading, PROBLEM_ERROR, n, "names: more than %d", NAMES_MAX);
			return;
		}
		if (name)
			items[names->count++] = name;
		else
			conf_problem(loading, PROBLEM_ERROR, n,
			             "names: \"%.*s\" is no name of a host; write proxy.example.com, without a port (IP "
			             "addresses are answered in any case)", SPAN_ARG(n->text));
	}
}

const struct conf_option public_options[] = {
	{.name = "address", .type = CONF_PARSED, .offset = CONF_AT(struct public_conf, address), .preset = "",
	 .reload = CONF_LIVE, .parse = parse_address, .type_text = "ADDRESS:PORT",
	 .manual = "Where clients fetch /proxy.pac and /wpad.dat (the same file), without authentication: GET and HEAD. Empty: there is no PAC file. At most 512 connections, 64 of one address; 10 s without a byte end one, and 120 s in any case. The file is also served on the ports of listen, to requests in origin form (GET /proxy.pac), by the public role all the same: 504 if it does not answer in 10 s, 503 if it takes no more."},
	{.name = "url", .type = CONF_PARSED, .offset = CONF_AT(struct public_conf, url), .preset = "",
	 .reload = CONF_LIVE, .parse = parse_url, .type_text = "http://HOST:PORT",
	 .manual = "How clients name this address. Requests for this URL that come to the proxy (a browser that has a proxy set asks it for everything) are answered in the same way, without authentication and whatever policy says."},
	{.name = "proxies", .type = CONF_PARSED, .offset = CONF_AT(struct public_conf, proxies), .preset = "[]",
	 .reload = CONF_LIVE, .parse = parse_proxies, .type_text = "list of HOST:PORT",
	 .manual = "Other proxies that the PAC file names beside our own listeners (listen, advertise): the other nodes, each with the same policy. Every client gets all of them to fail over, and begins with one that its address decides, the same on every node; there is no DIRECT behind them."},
	{.name = "cache", .type = CONF_TIME_MS, .offset = CONF_AT(struct public_conf, cache_ms), .min = 0,
	 .max = 86400000, .preset = "5m", .reload = CONF_LIVE,
	 .manual = "How long clients may use the PAC file before they ask again (Cache-Control: max-age)."},
	CONF_END};

const struct conf_option admin_options[] = {
	{.name = "address", .type = CONF_PARSED, .offset = CONF_AT(struct admin_conf, address), .preset = "",
	 .reload = CONF_LIVE, .parse = parse_address, .type_text = "ADDRESS:PORT",
	 .manual = "Where the proxy says how it is: /healthz (200 while it lives), /readyz (503 while it starts or drains, or a worker is missing), both open to everybody; /metrics in the text format of Prometheus and /calls (how many calls have this proxy as their last resort, from which networks, and what would help), for who has the token. Empty: there is none. At most 64 connections, 16 of one address; 15 s without a byte end one, and 120 s in any case."},
	{.name = "token", .type = CONF_PATH, .offset = CONF_AT(struct admin_conf, token), .min = 1,
	 .preset = "run/admin.token", .reload = CONF_LIVE,
	 .manual = "File with the token that /metrics and /calls want (Authorization: Bearer TOKEN): one line of 16 to 512 visible characters. If it is not there, it is made, with 256 random bits. Others than its owner and group must not be able to read it, nor others than its owner to write it."},
	{.name = "names", .type = CONF_PARSED, .offset = CONF_AT(struct admin_conf, names), .preset = "[]",
	 .reload = CONF_LIVE, .parse = parse_names, .type_text = "list of names of hosts",
	 .manual = "Names by which this address is asked, such as proxy.example.com (in a target of Prometheus). Requests whose Host is an IP address, localhost or one of these are answered, others get 421: so a page in a browser nearby cannot ask under a name of its own that it has let point here (DNS rebinding). There are no CORS fields for pages of other origins either."},
	CONF_END};
