/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net_conf.h"

#include <string.h>

static void check_servers(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct conf_texts *servers = at;

	for (size_t i = 0; i < servers->count; i++) {
		struct span text = span_from(servers->at[i]);
		struct address address;

		if (!span_equal(text, SPAN("system")) && !address_parse(text, &address) &&
		    !address_parse_with_port(text, &address))
			conf_problem(loading, PROBLEM_ERROR, node,
			             "servers: \"%s\" is neither \"system\" nor an address", servers->at[i]);
	}
}

/* A name is asked for as it is; a pattern would never be found. */
static void check_host_names(struct conf_loading *loading, const struct yaml_node *node)
{
	for (const struct yaml_node *n = node ? node->first : NULL; n; n = n->next) {
		const struct yaml_node key = {.line = n->key_line, .column = n->key_column};

		if (span_find(n->key, '*') < n->key.len || span_find(n->key, '/') < n->key.len ||
		    span_starts_with(n->key, SPAN(".")))
			conf_problem(loading, PROBLEM_ERROR, &key,
			             "hosts: \"%.*s\" is a pattern; write each name that is meant", SPAN_ARG(n->key));
	}
}

static void check_hosts(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct conf_text_map *hosts = at;

	check_host_names(loading, node);
	for (size_t i = 0; i < hosts->count; i++) {
		struct span name = span_from(hosts->at[i].name);
		struct address address;

		if (!address_parse(span_from(hosts->at[i].text), &address))
			conf_problem(loading, PROBLEM_ERROR, node, "hosts: \"%s\" of %s is no address",
			             hosts->at[i].text, hosts->at[i].name);
		for (size_t j = 0; j < name.len; j++)
			if (name.at[j] != span_lower(name.at[j]) || name.at[j] >= 0x80) {
				conf_problem(loading, PROBLEM_ERROR, node,
				             "hosts: write %s in lower case ASCII", hosts->at[i].name);
				break;
			}
	}
}

const struct conf_option dns_options[] = {
	{.name = "servers", .type = CONF_TEXTS, .offset = CONF_AT(struct dns_conf, servers),
	 .preset = "[system]", .reload = CONF_LIVE, .check = check_servers,
	 .manual = "Name servers that are asked: \"system\" (those of /etc/resolv.conf) or addresses, with :port where it is not 53."},
	{.name = "hosts", .type = CONF_TEXT_MAP, .offset = CONF_AT(struct dns_conf, hosts),
	 .preset = "", .reload = CONF_LIVE, .check = check_hosts,
	 .manual = "Names whose address is fixed here; no name server is asked for them."},
	{.name = "timeout", .type = CONF_TIME_MS, .offset = CONF_AT(struct dns_conf, timeout_ms),
	 .min = 50, .max = 60000, .preset = "2s", .reload = CONF_RESTART,
	 .manual = "How long one try waits for an answer."},
	{.name = "tries", .type = CONF_COUNT, .offset = CONF_AT(struct dns_conf, tries_count), .min = 1,
	 .max = 10, .preset = "3", .reload = CONF_RESTART,
	 .manual = "How often each server is asked before it counts as failed."},
	{.name = "cache", .type = CONF_COUNT, .offset = CONF_AT(struct dns_conf, cache_count),
	 .min = 16, .max = 10000000, .preset = "20000", .reload = CONF_RESTART,
	 .manual = "Names that each worker remembers; the longest unused go first."},
	{.name = "max_ttl", .type = CONF_TIME_MS, .offset = CONF_AT(struct dns_conf, max_ttl_ms),
	 .min = 0, .max = 604800000, .preset = "1d", .reload = CONF_LIVE,
	 .manual = "Answers with a longer time to live are asked again after this."},
	{.name = "max_negative_ttl", .type = CONF_TIME_MS,
	 .offset = CONF_AT(struct dns_conf, max_negative_ttl_ms), .min = 0, .max = 86400000,
	 .preset = "5m", .reload = CONF_LIVE,
	 .manual = "The same for answers that a name does not exist."},
	{.name = "attempt_delay", .type = CONF_TIME_MS,
	 .offset = CONF_AT(struct dns_conf, attempt_delay_ms), .min = 10, .max = 2000,
	 .preset = "250ms", .reload = CONF_LIVE,
	 .manual = "After this the next address of a host is tried beside the first (RFC 8305)."},
	{.name = "resolution_delay", .type = CONF_TIME_MS,
	 .offset = CONF_AT(struct dns_conf, resolution_delay_ms), .min = 10, .max = 2000,
	 .preset = "50ms", .reload = CONF_LIVE,
	 .manual = "How long the addresses of one family wait for those of the other (RFC 8305)."},
	CONF_END};

static const struct {
	const char *name;
	enum destination_class class;
} classes[] = {
	{"private", DESTINATION_PRIVATE},
	{"loopback", DESTINATION_LOOPBACK},
	{"link-local", DESTINATION_LINK_LOCAL},
	{"multicast", DESTINATION_MULTICAST},
	{"metadata", DESTINATION_METADATA},
};

static void parse_class(struct conf_loading *loading, const struct yaml_node *node, unsigned *deny)
{
	for (size_t i = 0; i < COUNT_OF(classes); i++) {
		if (span_equal(node->text, span_from(classes[i].name))) {
			*deny |= (unsigned)classes[i].class;
			return;
		}
	}
	conf_problem(loading, PROBLEM_ERROR, node,
	             "deny: \"%.*s\" is not known; it can be private, loopback, link-local, multicast, "
	             "metadata", SPAN_ARG(node->text));
}

static void parse_deny(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	unsigned *deny = at;

	*deny = 0;
	if (node == NULL) {
		for (size_t i = 0; i < COUNT_OF(classes); i++)
			*deny |= (unsigned)classes[i].class;
	} else if (node->kind == YAML_SEQUENCE) {
		for (const struct yaml_node *n = node->first; n; n = n->next)
			parse_class(loading, n, deny);
	} else {
		conf_problem(loading, PROBLEM_ERROR, node, "deny: expected a list such as [private, loopback]");
	}
}

const struct conf_option destinations_options[] = {
	{.name = "deny", .type = CONF_PARSED, .offset = CONF_AT(struct destinations_conf, deny),
	 .preset = "[private, loopback, link-local, multicast, metadata]", .reload = CONF_LIVE,
	 .parse = parse_deny, .type_text = "list of private, loopback, link-local, multicast, metadata",
	 .manual = "Kinds of addresses that are never dialled, whatever name led to them. Our own listeners never are, either."},
	{.name = "permit", .type = CONF_NETWORKS, .offset = CONF_AT(struct destinations_conf, permit),
	 .preset = "", .reload = CONF_LIVE,
	 .manual = "Exceptions from deny: networks, with :port or :first-last where only those ports are meant."},
	CONF_END};

static void parse_listen_address(struct conf_loading *loading, const struct yaml_node *node,
                                 void *at)
{
	struct listen_conf *listen =
		(void *)((uint8_t *)at - offsetof(struct listen_conf, address));

	listen->path = "";
	if (node == NULL) {
		conf_problem(loading, PROBLEM_ERROR, NULL,
		             "listen: an address is missing, such as 127.0.0.1:3128");
	} else if (span_starts_with(node->text, SPAN("unix:"))) {
		listen->address = (struct address){.family = AF_UNIX};
		listen->path = conf_path(loading, span_skip(node->text, sizeof("unix:") - 1));
		if (listen->path == NULL)
			listen->path = "";
	} else if (!address_parse_with_port(node->text, &listen->address)) {
		conf_problem(loading, PROBLEM_ERROR, node,
		             "address: \"%.*s\" is not ADDRESS:PORT; write 127.0.0.1:3128, [::1]:3128, "
		             "0.0.0.0:3128 for every IPv4 address, or unix:PATH", SPAN_ARG(node->text));
	}
}

static void parse_mode(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct span text = node ? node->text : SPAN("0660");
	uint64_t mode = 0;
	bool is_octal = text.len > 0;

	for (size_t i = 0; i < text.len && is_octal; i++) {
		uint8_t digit = (uint8_t)(text.at[i] - '0');

		mode = mode * 8 + digit;
		is_octal = digit <= 7 && mode <= 0777;
	}
	if (is_octal)
		*(uint64_t *)at = mode;
	else
		conf_problem(loading, PROBLEM_ERROR, node, "mode: write permissions as 0660");
}

const struct conf_option listen_options[] = {
	{.name = "name", .type = CONF_TEXT, .offset = CONF_AT(struct listen_conf, name), .min = 1,
	 .max = 64, .preset = NULL, .reload = CONF_LIVE,
	 .manual = "What policy (listener:) and logs call it."},
	{.name = "address", .type = CONF_PARSED, .offset = CONF_AT(struct listen_conf, address),
	 .preset = NULL, .reload = CONF_LIVE, .parse = parse_listen_address,
	 .type_text = "ADDRESS:PORT, or unix:PATH",
	 .manual = "Where clients connect to. Port 0 takes a free one, which is printed."},
	{.name = "mode", .type = CONF_PARSED, .offset = CONF_AT(struct listen_conf, mode),
	 .preset = "0660", .reload = CONF_RESTART, .parse = parse_mode, .type_text = "permissions",
	 .manual = "Permissions of a UNIX socket."},
	{.name = "proxy_protocol", .type = CONF_NETWORKS,
	 .offset = CONF_AT(struct listen_conf, proxy_protocol), .preset = "", .reload = CONF_LIVE,
	 .manual = "Networks of load balancers that put a PROXY protocol header (version 1 or 2) first. From them it must be there; from others it is refused."},
	{.name = "advertise", .type = CONF_TEXT, .offset = CONF_AT(struct listen_conf, advertise),
	 .max = 300, .preset = "", .reload = CONF_LIVE,
	 .manual = "host:port by which clients reach this listener, for the PAC file (public); without it the address is named. \"none\": the PAC file does not name it. A listener on a UNIX socket is only named if it is said here."},
	{.name = "backlog", .type = CONF_COUNT, .offset = CONF_AT(struct listen_conf, backlog), .min = 1,
	 .max = 65535, .preset = "4096", .reload = CONF_RESTART,
	 .manual = "Connections that the kernel holds until a worker takes them."},
	CONF_END};
