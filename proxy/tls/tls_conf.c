/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/tls_conf.h"

#include <openssl/ssl.h>
#include <string.h>

#include "http/target.h"

enum { DIGEST_HEX = 64, DAY_MS = 86400000 };

/* Files of a list: each as CONF_PATH has it; "system" stays. */
static void parse_paths(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct conf_texts *out = at;
	size_t count = node ? node->kind == YAML_SEQUENCE ? node->count : 1 : 0;
	const char **paths = arena_alloc(conf_arena(loading), (count + 1) * sizeof(*paths));
	const struct yaml_node *item = node && node->kind == YAML_SEQUENCE ? node->first : node;

	*out = (struct conf_texts){paths, 0};
	if (paths == NULL)
		return;
	for (; item && out->count < count; item = node->kind == YAML_SEQUENCE ? item->next : NULL) {
		bool is_system = item->kind == YAML_SCALAR && span_equal(item->text, SPAN("system"));

		if (item->kind != YAML_SCALAR || item->text.len == 0) {
			conf_problem(loading, PROBLEM_ERROR, item, "%.*s: write a path, or a list of paths", SPAN_ARG(node->key));
			return;
		}
		paths[out->count] = is_system ? "system" : conf_path(loading, item->text);
		if (paths[out->count] == NULL)
			return;
		out->count++;
	}
}

static void parse_trust(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	static const char *const system_only[] = {"system"};

	parse_paths(loading, node, at);
	if (node == NULL)
		*(struct conf_texts *)at = (struct conf_texts){system_only, 1};
}

static void check_pins(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct conf_texts *pins = at;

	for (size_t i = 0; i < pins->count; i++) {
		struct span text = span_from(pins->at[i]);
		bool is_pin = span_starts_with(text, SPAN("sha256:")) && text.len == 7 + DIGEST_HEX;

		for (size_t j = 7; is_pin && j < text.len; j++)
			is_pin = memchr("0123456789abcdef", span_lower(text.at[j]), 16) != NULL;
		if (!is_pin)
			conf_problem(loading, PROBLEM_ERROR, node,
			             "pins: \"%s\" is no digest; write sha256: and the 64 hex digits of "
			             "openssl x509 -noout -fingerprint -sha256, without colons", pins->at[i]);
	}
}

/* A name or an address; "*." and "." before a name. */
static const char *pattern_fault(struct conf_loading *loading, struct span text)
{
	bool is_wide = span_starts_with(text, SPAN("*.")) || span_starts_with(text, SPAN("."));
	struct http_host host;
	struct address address;

	if (text.len > 2 && text.at[0] == '[' && text.at[text.len - 1] == ']')
		text = span_of(text.at + 1, text.len - 2);
	if (address_parse(text, &address))
		return NULL;
	text = span_skip(text, !is_wide ? 0 : text.at[0] == '*' ? 2 : 1);
	if (span_find(text, '*') < text.len)
		return "a * stands for whole labels, at the begin: *.example.com";
	if (span_find(text, '/') < text.len)
		return "networks and URLs are no hosts; name each host";
	if (span_find(text, ':') < text.len)
		return "an exception holds for all ports; leave the port away";
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] >= 0x80)
			return "write its A-labels (xn--...)";
	if (http_host_parse(text, 443, conf_arena(loading), &host) || (is_wide && host.address.family))
		return "it is no host name";
	return NULL;
}

static void check_to(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct conf_texts *to = at;

	if (to->count == 0)
		conf_problem(loading, PROBLEM_ERROR, node, "to: there is no host; write name, *.name, .name or address");
	for (size_t i = 0; i < to->count; i++) {
		const char *fault = pattern_fault(loading, span_from(to->at[i]));

		if (fault)
			conf_problem(loading, PROBLEM_ERROR, node, "to: \"%s\": %s; write name, *.name, .name or address", to->at[i], fault);
	}
}

static const struct conf_choice version_choices[] = {
	{"TLS1.0", TLS1_VERSION}, {"TLS1.1", TLS1_1_VERSION}, {"TLS1.2", TLS1_2_VERSION}, {"TLS1.3", TLS1_3_VERSION}, {NULL, 0}};

static const struct conf_option ca_options[] = {
	{.name = "certificate", .type = CONF_PATH, .offset = CONF_AT(struct ca_conf, certificate), .preset = "",
	 .reload = CONF_LIVE,
	 .manual = "PEM file of the CA that signs for opened hosts (sallyport ca init makes one), then of what stands between it and the root that clients trust. Empty: nothing can be opened."},
	{.name = "key", .type = CONF_PATH, .offset = CONF_AT(struct ca_conf, key), .preset = "", .reload = CONF_LIVE,
	 .manual = "PEM file of its private key, readable by nobody else."},
	{.name = "organization", .type = CONF_TEXT, .offset = CONF_AT(struct ca_conf, organization), .max = 64,
	 .preset = "Sallyport TLS inspection", .reload = CONF_LIVE,
	 .manual = "Organization in the certificates that clients see, so that people find out who opens their sessions."},
	CONF_END};

static const struct conf_option exception_options[] = {
	{.name = "to", .type = CONF_TEXTS, .offset = CONF_AT(struct exception_conf, to), .preset = NULL, .reload = CONF_LIVE,
	 .check = check_to,
	 .manual = "Hosts: name, *.name (below it), .name (both), or address."},
	{.name = "least_version", .type = CONF_CHOICE, .offset = CONF_AT(struct exception_conf, least_version),
	 .choices = version_choices, .preset = "TLS1.2", .reload = CONF_LIVE,
	 .manual = "The oldest version of TLS that is spoken with them."},
	{.name = "legacy", .type = CONF_BOOL, .offset = CONF_AT(struct exception_conf, legacy), .preset = "false",
	 .reload = CONF_LIVE,
	 .manual = "Speak with them also with old ciphers, small keys, SHA-1, and without safe renegotiation."},
	{.name = "trust", .type = CONF_PARSED, .offset = CONF_AT(struct exception_conf, trust), .preset = "",
	 .reload = CONF_LIVE, .parse = parse_paths, .type_text = "list of paths",
	 .manual = "PEM files of further roots for them alone: a private CA."},
	{.name = "pins", .type = CONF_TEXTS, .offset = CONF_AT(struct exception_conf, pins), .preset = "",
	 .reload = CONF_LIVE, .check = check_pins,
	 .manual = "\"sha256:HEX\" of their certificate: it is good, whoever issued it, for whatever name and time, and no other is."},
	CONF_END};

const struct conf_option inspection_options[] = {
	{.name = "ca", .type = CONF_GROUP, .offset = CONF_AT(struct inspection_conf, ca), .group = ca_options,
	 .manual = "Who signs the certificates that clients of opened hosts see."},
	{.name = "trust", .type = CONF_PARSED, .offset = CONF_AT(struct inspection_conf, trust), .preset = "system",
	 .reload = CONF_LIVE, .parse = parse_trust, .type_text = "list of \"system\" and paths",
	 .manual = "Roots that certificates of origins are verified against: \"system\" (ca-certificates), and PEM files."},
	{.name = "intermediates", .type = CONF_PARSED, .offset = CONF_AT(struct inspection_conf, intermediates), .preset = "",
	 .reload = CONF_LIVE, .parse = parse_paths, .type_text = "list of paths",
	 .manual = "PEM files of certificates between roots and origins, for origins that forget to send them."},
	{.name = "revocations", .type = CONF_PARSED, .offset = CONF_AT(struct inspection_conf, revocations), .preset = "",
	 .reload = CONF_LIVE, .parse = parse_paths, .type_text = "list of paths",
	 .manual = "Files of revoked certificates: CRLs (PEM), and lines \"sha256:HEX\" of a certificate."},
	{.name = "exceptions", .type = CONF_GROUPS, .offset = CONF_AT(struct inspection_conf, exceptions),
	 .group = exception_options, .item_bytes = sizeof(struct exception_conf), .preset = "", .reload = CONF_LIVE,
	 .manual = "Origins that would be refused otherwise, and in what; the first that matches counts."},
	{.name = "aia", .type = CONF_BOOL, .offset = CONF_AT(struct inspection_conf, aia), .preset = "true", .reload = CONF_LIVE,
	 .manual = "Fetch certificates that an origin forgot to send from where its certificate says (http, port 80, under the guard of destinations)."},
	{.name = "leaf_validity", .type = CONF_TIME_MS, .offset = CONF_AT(struct inspection_conf, leaf_ms), .min = DAY_MS,
	 .max = UINT64_C(90) * DAY_MS, .preset = "30d", .reload = CONF_LIVE,
	 .manual = "How long a certificate that clients see is valid; never longer than the CA."},
	{.name = "leaves", .type = CONF_COUNT, .offset = CONF_AT(struct inspection_conf, leaf_count), .min = 16, .max = 1000000,
	 .preset = "20000", .reload = CONF_LIVE,
	 .manual = "Certificates that are remembered for all workers; the longest unused go first."},
	{.name = "ticket_key_time", .type = CONF_TIME_MS, .offset = CONF_AT(struct inspection_conf, ticket_ms), .min = 60000,
	 .max = UINT64_C(7) * DAY_MS, .preset = "8h", .reload = CONF_RESTART,
	 .manual = "A key for session tickets is used so long; tickets can be used for as long again."},
	{.name = "sessions", .type = CONF_COUNT, .offset = CONF_AT(struct inspection_conf, session_count), .min = 0, .max = 1000000,
	 .preset = "4000", .reload = CONF_LIVE,
	 .manual = "TLS sessions of origins that each worker remembers, so that the next handshake is short."},
	{.name = "secrets", .type = CONF_PATH, .offset = CONF_AT(struct inspection_conf, secrets), .preset = "",
	 .reload = CONF_LIVE,
	 .manual = "File for the secrets of all TLS sessions, for a packet analyser (SSLKEYLOGFILE format). Whoever reads it reads everything. Empty: never."},
	CONF_END};

bool inspection_is_on(const struct inspection_conf *conf)
{
	return conf->ca.certificate[0] != '\0';
}

void inspection_check(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const struct inspection_conf *conf = at;

	if ((conf->ca.certificate[0] == '\0') != (conf->ca.key[0] == '\0'))
		conf_problem(loading, PROBLEM_ERROR, node, "inspection: ca needs both certificate and key, or none of them");
}
