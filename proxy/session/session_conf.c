/* SPDX-License-Identifier: Apache-2.0 */
#include "session/session_conf.h"

#define LIMIT(key, type_, member, low, high, preset_, text) \
	{.name = key, .type = type_, .offset = CONF_AT(struct limits_conf, member), .min = low, \
	 .max = high, .preset = preset_, .reload = CONF_NEW_SESSIONS, .manual = text}

enum { RATE_LEAST_BYTES = 1024, RATE_DOUBTFUL_BYTES = 16384, KERNEL_BUFFER_LEAST_BYTES = 16384 };

static void check_rate(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const uint64_t *bytes = at;

	if (*bytes && *bytes < RATE_LEAST_BYTES)
		conf_problem(loading, PROBLEM_ERROR, node, "%.*s: less than 1K per second is too little to work with; 0 is no limit",
		             SPAN_ARG(node->key));
	else if (*bytes && *bytes < RATE_DOUBTFUL_BYTES)
		conf_problem_code(loading, PROBLEM_DOUBTFUL, node, "%.*s: %.*s are bytes per second; with so little a page takes minutes",
		                  SPAN_ARG(node->key), SPAN_ARG(node->text));
}

static void check_kernel_buffer(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	const uint64_t *bytes = at;

	if (*bytes && *bytes < KERNEL_BUFFER_LEAST_BYTES)
		conf_problem(loading, PROBLEM_ERROR, node, "%.*s: less than 16K is too little to work with; 0 leaves it to the system",
		             SPAN_ARG(node->key));
}

const struct conf_option limits_options[] = {
	LIMIT("sessions", CONF_COUNT, sessions, 1, 10000000, "50000",
	      "Client connections in all workers together; more are answered with 503."),
	LIMIT("sessions_per_client", CONF_COUNT, sessions_per_client, 0, 10000000, "0",
	      "Client connections of one address (of IPv6: one /64); 0 is no limit. Set it below sessions so that one client cannot use them all up."),
	{.name = "rate_per_client", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct limits_conf, rate_per_client),
	 .min = 0, .max = 1ull << 40, .preset = "0", .reload = CONF_LIVE, .check = check_rate,
	 .manual = "Bytes per second that clients of one address (of IPv6: one /64) send, and as many that they get, in all workers together, such as 10M; 0 is no limit. What is more waits, and senders slow down; nothing is dropped. Class media is not limited, nor counted. Policy can limit by rule, too (question rate); of several limits the strictest holds. A first limit holds for sessions from then on. Clients of a UNIX socket have no address."},
	{.name = "rate_per_user", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct limits_conf, rate_per_user),
	 .min = 0, .max = 1ull << 40, .preset = "0", .reload = CONF_LIVE, .check = check_rate,
	 .manual = "The same for all sessions of one user, wherever they come from, where clients say who they are."},
	{.name = "rate_burst", .type = CONF_TIME_MS, .offset = CONF_AT(struct limits_conf, rate_burst_ms),
	 .min = 100, .max = 60000, .preset = "1s", .reload = CONF_LIVE,
	 .manual = "Who was below a rate limit may be above it afterwards, by what it is for so long (at least 64K)."},
	LIMIT("head", CONF_SIZE_BYTES, head_bytes, 4096, 1048576, "128K",
	      "Largest request or response head. A token of Kerberos has up to 64K, which base64 makes 86K."),
	LIMIT("session_memory", CONF_SIZE_BYTES, session_bytes, 16384, 16777216, "256K",
	      "Memory that one session may use beside the bytes that it carries."),
	LIMIT("buffer", CONF_SIZE_BYTES, buffer_bytes, 4096, 1048576, "64K",
	      "Bytes that are stored per direction of a session when the receiver is slow."),
	{.name = "kernel_buffer", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct limits_conf, kernel_buffer_bytes),
	 .min = 0, .max = 67108864, .preset = "0", .reload = CONF_NEW_SESSIONS, .check = check_kernel_buffer,
	 .manual = "Bytes that the kernel stores for each connection and direction (SO_SNDBUF, SO_RCVBUF); with what it needs itself it takes twice as much, and a path carries no more than this in each round trip. More than net.core.wmem_max and rmem_max is cut to these. 0: as the system does it, up to net.ipv4.tcp_wmem and tcp_rmem, and net.ipv4.tcp_mem for all connections of the host. Media has classes.media.buffer."},
	LIMIT("drain", CONF_SIZE_BYTES, drain_bytes, 0, 16777216, "256K",
	      "Bytes of a request body that nobody wants which are read all the same, so that the connection can be used again."),
	LIMIT("origin_idle", CONF_COUNT, origin_idle_count, 0, 100000, "256",
	      "Idle connections to origins that each worker keeps for further requests."),
	CONF_END};

#define TIMEOUT(key, member, low, high, preset_, text) \
	{.name = key, .type = CONF_TIME_MS, .offset = CONF_AT(struct timeouts_conf, member), .min = low, \
	 .max = high, .preset = preset_, .reload = CONF_NEW_SESSIONS, .manual = text}

const struct conf_option timeouts_options[] = {
	TIMEOUT("head", head_ms, 100, 600000, "10s",
	        "For a complete request head, from its first byte; then 408."),
	TIMEOUT("keep_alive", keep_alive_ms, 100, 3600000, "60s",
	        "A client connection that sends no request is closed after this."),
	TIMEOUT("auth", auth_ms, 100, 120000, "15s",
	        "For the verification of who is asking; then 503."),
	TIMEOUT("dns", dns_ms, 100, 120000, "10s", "For the addresses of a host; then 504."),
	TIMEOUT("connect", connect_ms, 100, 300000, "15s",
	        "For a connection to the origin, all addresses together; then 504."),
	TIMEOUT("hello", hello_ms, 100, 300000, "10s",
	        "For the client's ClientHello, from its first byte; where the session may be opened, from the 200 to its CONNECT."),
	TIMEOUT("tls", tls_ms, 100, 300000, "15s",
	        "For each TLS handshake of an opened session."),
	TIMEOUT("response", response_ms, 100, 3600000, "120s",
	        "For the head of a response after the request was sent; then 504."),
	TIMEOUT("exchange_idle", exchange_idle_ms, 100, 3600000, "120s",
	        "Inside a request or response, when nothing moves."),
	TIMEOUT("tunnel_idle", tunnel_idle_ms, 100, 604800000, "1h",
	        "A tunnel in which nothing moves is ended after this."),
	TIMEOUT("half_close", half_close_ms, 100, 86400000, "2m",
	        "When one side of a tunnel has closed and the other is silent; and when nothing is taken of what came before a reset, or a cut."),
	TIMEOUT("reply", reply_ms, 100, 60000, "10s",
	        "For a client to take an answer of the proxy itself."),
	TIMEOUT("origin_keep_alive", origin_keep_alive_ms, 100, 600000, "30s",
	        "How long an idle connection to an origin is kept."),
	TIMEOUT("drain", drain_ms, 0, 86400000, "30s",
	        "On SIGTERM, sessions may end by themselves for so long."),
	CONF_END};

static const struct conf_choice forwarded_choices[] = {
	{"off", FORWARDED_OFF}, {"on", FORWARDED_ON}, {NULL, 0}};

static void check_via(struct conf_loading *loading, const struct yaml_node *node, const void *at)
{
	struct span via = span_from(*(const char *const *)at);

	for (size_t i = 0; i < via.len; i++) {
		uint8_t byte = span_lower(via.at[i]);

		if (!(byte >= 'a' && byte <= 'z') && !(byte >= '0' && byte <= '9') && byte != '-' &&
		    byte != '.' && byte != '_') {
			conf_problem(loading, PROBLEM_ERROR, node,
			             "via: only letters, digits, '-', '_' and dots");
			return;
		}
	}
}

const struct conf_option forwarding_options[] = {
	{.name = "via", .type = CONF_TEXT, .offset = CONF_AT(struct forwarding_conf, via), .min = 1,
	 .max = 100, .preset = "sallyport", .reload = CONF_LIVE, .check = check_via,
	 .manual = "What this proxy calls itself in Via and Proxy-Status. Proxies in a row need different names, since a request that has passed this one is refused."},
	{.name = "forwarded", .type = CONF_CHOICE,
	 .offset = CONF_AT(struct forwarding_conf, forwarded), .choices = forwarded_choices,
	 .preset = "off", .reload = CONF_LIVE,
	 .manual = "Tell origins of http:// requests the client's address (RFC 7239)."},
	CONF_END};

static void parse_target_path(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	static const struct {
		const char *name;
		enum log_target target;
	} words[] = {{"stderr", LOG_TO_STDERR},
	             {"syslog", LOG_TO_SYSLOG},
	             {"journald", LOG_TO_JOURNALD},
	             {"none", LOG_TO_NONE}};
	struct access_conf *access = (void *)((uint8_t *)at - offsetof(struct access_conf, path));

	access->path = "";
	access->target = LOG_TO_NONE;
	if (node == NULL)
		return;
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (span_equal(node->text, span_from(words[i].name))) {
			access->target = (int)words[i].target;
			return;
		}
	}
	if (node->text.len == 0) {
		conf_problem(loading, PROBLEM_ERROR, node,
		             "path: write a file, or stderr, syslog, journald, none");
		return;
	}
	access->target = LOG_TO_FILE;
	access->path = conf_path(loading, node->text);
	if (access->path == NULL)
		access->path = "";
}

bool session_conf_template_next(struct span *rest, struct span *text, struct span *key,
                                enum access_field *field)
{
#define FIELD_KEY(name, key) key,
	static const char *const keys[ACCESS_FIELD_COUNT] = {ACCESS_FIELDS(FIELD_KEY)};
#undef FIELD_KEY
	bool has_end;
	int at = 0;

	if (rest->len == 0)
		return false;
	*text = span_first(*rest, span_find_span(*rest, SPAN("%{")));
	*rest = span_skip(*rest, text->len);
	*field = ACCESS_FIELD_COUNT;
	*key = (struct span){NULL, 0};
	if (rest->len == 0)
		return true;
	*key = span_skip(span_first(*rest, span_find(*rest, '}')), 2);
	*rest = span_skip(*rest, key->len + 2);
	has_end = rest->len > 0;
	*rest = span_skip(*rest, 1);
	while (at < ACCESS_FIELD_COUNT && !(has_end && span_equal(*key, span_from(keys[at]))))
		at++;
	*field = (enum access_field)at;
	return true;
}

#define FIELD_TEXT(name, key) " " key
#define FIELDS_TEXT ACCESS_FIELDS(FIELD_TEXT)

/* A field that is not known would be a dash in every line. */
static void check_template(struct conf_loading *loading, const struct yaml_node *node)
{
	struct span rest = node->text, text, key;
	enum access_field field;

	while (session_conf_template_next(&rest, &text, &key, &field))
		if (field == ACCESS_FIELD_COUNT && key.at)
			conf_problem(loading, PROBLEM_ERROR, node,
			             "format: there is no %%{%.*s}; the fields are" FIELDS_TEXT,
			             SPAN_ARG(span_first(key, 40)));
}

static void parse_format(struct conf_loading *loading, const struct yaml_node *node, void *at)
{
	struct access_conf *access = (void *)((uint8_t *)at - offsetof(struct access_conf, format));

	access->template = "";
	access->format = ACCESS_JSON;
	if (node == NULL || span_equal(node->text, SPAN("json")))
		return;
	if (span_equal(node->text, SPAN("squid"))) {
		access->format = ACCESS_SQUID;
		return;
	}
	if (span_find_span(node->text, SPAN("%{")) == node->text.len) {
		conf_problem(loading, PROBLEM_ERROR, node,
		             "format: write json, squid, or a template such as \"%%{ts} %%{client} %%{target}\"");
		return;
	}
	check_template(loading, node);
	access->format = ACCESS_TEMPLATE;
	access->template = arena_string(conf_arena(loading), node->text);
	if (access->template == NULL)
		access->template = "";
}

const struct conf_option access_options[] = {
	{.name = "path", .type = CONF_PARSED, .offset = CONF_AT(struct access_conf, path),
	 .preset = "none", .reload = CONF_LIVE, .parse = parse_target_path,
	 .type_text = "file, or stderr, syslog, journald, none",
	 .manual = "Where one line per finished request or tunnel goes."},
	{.name = "format", .type = CONF_PARSED, .offset = CONF_AT(struct access_conf, format),
	 .preset = "json", .reload = CONF_LIVE, .parse = parse_format,
	 .type_text = "json, squid, or a template",
	 .manual = "One JSON object per line, Squid's native format, or a text with %{field} for each of these fields:" FIELDS_TEXT ". What is not known is a dash; access, rule and place are of that question's answer."},
	{.name = "running", .type = CONF_TIME_MS, .offset = CONF_AT(struct access_conf, running_ms),
	 .min = 0, .max = 86400000, .preset = "0", .reload = CONF_NEW_SESSIONS,
	 .manual = "Write a line for long tunnels every so often while they run; 0 writes none."},
	{.name = "query", .type = CONF_BOOL, .offset = CONF_AT(struct access_conf, query),
	 .preset = "false", .reload = CONF_LIVE,
	 .manual = "Write the query of URLs. They may hold secrets of people."},
	CONF_END};
