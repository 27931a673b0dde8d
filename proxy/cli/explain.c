/* SPDX-License-Identifier: Apache-2.0 */
/* explain: one decision, in words. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/files.h"
#include "cli/verdict.h"
#include "http/target.h"

enum { EXPLAIN_MAX_BYTES = 1 << 20 };

/* RFC 3339, with Z or an offset. */
static bool parse_time(const char *text, uint64_t *wall_ms)
{
	struct tm parts = {.tm_isdst = 0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
	long offset_s = 0;
	time_t at;

	if (rest && (*rest == '+' || *rest == '-')) {
		struct tm offset = {.tm_isdst = 0};
		int sign = *rest == '-' ? -1 : 1;

		rest = strptime(rest + 1, "%H:%M", &offset);
		offset_s = sign * (offset.tm_hour * 3600L + offset.tm_min * 60L);
	} else if (rest && *rest == 'Z') {
		rest++;
	} else {
		return false;
	}
	at = timegm(&parts) - offset_s;
	*wall_ms = (uint64_t)at * 1000;
	return rest && *rest == '\0' && at > 0;
}

/* Host, port and the rest of what is asked about. */
struct target {
	struct http_host host;
	struct span path; /* of a URL */
	bool is_url, is_https;
};

/* The A-label of a host that is not ASCII, as lists have it. False, and said so, if there is none. */
static bool make_ascii(struct span *authority, struct arena *arena)
{
	size_t colon = span_find_last(*authority, ':'), len;
	char name[256], *text;
	bool plain = true;

	for (size_t i = 0; i < authority->len; i++)
		plain = plain && authority->at[i] < 0x80;
	if (plain)
		return true;
	text = policy_name_to_ascii(span_first(*authority, colon), name, sizeof(name), &len)
	               ? arena_printf(arena, "%.*s%.*s", (int)len, name, SPAN_ARG(span_skip(*authority, colon)))
	               : NULL;
	if (text == NULL) {
		command_complain("explain: \"%.*s\" is not a name that IDNA 2008 allows", SPAN_ARG(*authority));
		return false;
	}
	fprintf(stderr, "sallyport: note: \"%.*s\" is asked for as %s\n", SPAN_ARG(*authority), text);
	*authority = span_from(text);
	return true;
}

/* "host", "host:port", "http://host:port/path", https, too. */
static int parse_target(const char *given, uint16_t default_port, struct arena *arena, struct target *out)
{
	struct span text = span_from(given), authority = text;
	size_t colon = span_find_span(text, SPAN("://")), end = 0;

	*out = (struct target){.path = SPAN("/")};
	out->is_https = span_equal_nocase(span_first(text, colon), SPAN("https"));
	out->is_url = colon < text.len;
	if (out->is_url) {
		authority = span_skip(text, colon + 3);
		while (end < authority.len && authority.at[end] != '/' && authority.at[end] != '?' &&
		       authority.at[end] != '#')
			end++;
		if (end < authority.len && authority.at[end] == '/')
			out->path = span_skip(authority, end);
		else if (end < authority.len)
			out->path = span_from(arena_printf(arena, "/%.*s", SPAN_ARG(span_skip(authority, end))));
		out->path = span_first(out->path, span_find(out->path, '#'));
		authority = span_first(authority, end);
		default_port = out->is_https ? 443 : 80;
		if (!out->is_https && !span_equal_nocase(span_first(text, colon), SPAN("http")))
			return command_complain("explain: \"%s\" is neither an http:// nor an https:// URL", given);
	}
	if (!make_ascii(&authority, arena))
		return EXIT_USAGE;
	if (http_host_parse(authority, default_port, arena, &out->host))
		return command_complain("explain: \"%s\" is no host and port, such as "
		                        "api.wbx2.com or 192.0.2.1:443", given);
	return EXIT_WELL;
}

/* As a session has it (session/request.c): canonical, without the usual port. */
static struct span format_url(const struct target *target, struct arena *arena)
{
	const struct http_host *host = &target->host;
	bool brackets = host->address.family == AF_INET6;
	char port[8] = "";

	if (host->port != (target->is_https ? 443 : 80))
		snprintf(port, sizeof(port), ":%u", host->port);
	return span_from(arena_printf(arena, "http%s://%s%.*s%s%s%.*s", target->is_https ? "s" : "",
	                              brackets ? "[" : "", SPAN_ARG(host->name), brackets ? "]" : "", port,
	                              SPAN_ARG(target->path)));
}

/* HOST may be a URL: an http:// one is what a client would ask the proxy for; for https:// it asks with CONNECT. */
static int set_host(const struct command_line *line, struct arena *arena,
                    struct verdict_request *request)
{
	struct policy_facts *facts = &request->facts;
	const char *text = line->options[OPTION_url];
	struct target host, url = {.is_url = false};
	int status = EXIT_WELL;

	if (line->argument == NULL && text == NULL)
		return command_complain("explain: which host? sallyport explain HOST[:PORT]");
	if (text)
		status = parse_target(text, 80, arena, &url);
	if (status == EXIT_WELL && text && !url.is_url)
		return command_complain("explain: --url %s is no http:// URL", text);
	host = url;
	if (status == EXIT_WELL && line->argument)
		status = parse_target(line->argument, text ? url.host.port : 443, arena, &host);
	if (status != EXIT_WELL)
		return status;
	if (text && (!span_equal(host.host.name, url.host.name) || host.host.port != url.host.port))
		return command_complain("explain: %s and --url %s are two different hosts or ports; leave one out",
		                        line->argument, text);
	if (text == NULL && host.is_url && !host.is_https)
		url = host;
	request->is_https_url = url.is_https;
	if (url.is_url) {
		facts->url = format_url(&url, arena);
		facts->known |= FACT_REQUEST;
	}
	facts->host = host.host.name;
	facts->host_address = host.host.address;
	facts->port = host.host.port;
	return EXIT_WELL;
}

static int set_listener(const struct command_line *line, const struct settings *settings,
                        struct policy_facts *facts)
{
	const struct listen_conf *listen = settings->listen.at;
	const char *name = line->options[OPTION_listener];
	struct buf known;

	facts->listener = span_from(name ? name : listen[0].name);
	for (size_t i = 0; i < settings->listen.count; i++)
		if (span_equal(facts->listener, span_from(listen[i].name)))
			return EXIT_WELL;
	buf_init(&known, 4096);
	for (size_t i = 0; i < settings->listen.count; i++)
		buf_printf(&known, "%s%s", i ? ", " : "", listen[i].name);
	command_complain("explain: there is no listener \"%s\"; known are %.*s", name,
	                 SPAN_ARG(buf_span(&known)));
	buf_fini(&known);
	return EXIT_USAGE;
}

/* What would be dialled, where it can be told without a name server. */
static int set_address(const struct command_line *line, const struct settings *settings,
                       struct policy_facts *facts)
{
	const struct conf_text_map *hosts = &settings->dns.hosts;
	const char *given = line->options[OPTION_address];

	if (given && !address_parse(span_from(given), &facts->address))
		return command_complain("explain: --address %s is no IP address", given);
	if (given == NULL)
		facts->address = facts->host_address;
	for (size_t i = 0; facts->address.family == 0 && i < hosts->count; i++)
		if (span_equal(facts->host, span_from(hosts->at[i].name)) &&
		    !address_parse(span_from(hosts->at[i].text), &facts->address))
			facts->address.family = 0;
	facts->address.port = facts->port;
	if (facts->address.family)
		facts->known |= FACT_ADDRESS;
	return EXIT_WELL;
}

static int set_from(const struct command_line *line, const struct settings *settings,
                    struct policy_facts *facts)
{
	const char *from = line->options[OPTION_from] ? line->options[OPTION_from] : "127.0.0.1";
	const char *at = line->options[OPTION_at];
	int status = set_listener(line, settings, facts);

	if (status == EXIT_WELL)
		status = set_address(line, settings, facts);
	if (status != EXIT_WELL)
		return status;
	if (!address_parse(span_from(from), &facts->from))
		return command_complain("explain: --from %s is no IP address", from);
	facts->wall_ms = clock_wall_ms();
	if (at && !parse_time(at, &facts->wall_ms))
		return command_complain("explain: --at %s is no time such as 2026-11-23T08:00:00Z", at);
	return EXIT_WELL;
}

/* What is not given is as unknown as it is in a session. */
static int set_request(const struct command_line *line, struct arena *arena,
                       struct policy_facts *facts, struct span groups[static COMMAND_GROUPS_MAX])
{
	const char *sni = line->options[OPTION_sni], *user = line->options[OPTION_user];
	const char *method = line->options[OPTION_method];
	struct http_host host;

	facts->method = span_from(method ? method : facts->known & FACT_REQUEST ? "GET" : "CONNECT");
	if (sni && http_host_parse(span_from(sni), 443, arena, &host))
		return command_complain("explain: --sni %s is no host name", sni);
	if (sni) {
		facts->sni = host.name;
		facts->known |= FACT_HELLO;
	}
	if (user || line->group_count) {
		facts->user = span_from(user);
		facts->known |= FACT_USER;
	}
	for (size_t i = 0; i < line->group_count; i++)
		groups[i] = span_from(line->groups[i]);
	facts->groups = groups;
	facts->group_count = line->group_count;
	facts->absent = POLICY_NEVER_KNOWN;
	if (span_equal(facts->method, SPAN("CONNECT")))
		facts->absent |= FACT_REQUEST;
	facts->absent &= ~facts->known;
	return EXIT_WELL;
}

static int explain(const struct command_line *line, struct loaded_files *files)
{
	struct span groups[COMMAND_GROUPS_MAX];
	struct verdict_request request = {.settings = &files->settings, .policy = files->policy};
	bool json = line->options[OPTION_json] != NULL;
	struct policy_explain_options options = {.json = json, .verdict = SPAN("")};
	enum err err;
	struct buf text, verdict;
	int status = set_host(line, &files->arena, &request);

	if (status == EXIT_WELL)
		status = set_from(line, &files->settings, &request.facts);
	if (status == EXIT_WELL)
		status = set_request(line, &files->arena, &request.facts, groups);
	if (status != EXIT_WELL)
		return status;
	buf_init(&text, EXPLAIN_MAX_BYTES);
	buf_init(&verdict, EXPLAIN_MAX_BYTES);
	verdict_add(&request, json, &verdict);
	options.more = buf_span(&verdict);
	err = policy_explain(files->policy, &request.facts, &options, &text);
	if (err)
		command_complain("explain: %s", err_text(err));
	else
		printf("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&verdict);
	buf_fini(&text);
	return err ? EXIT_USAGE : EXIT_WELL;
}

int explain_command(const struct command_line *line)
{
	const char *path = command_config(line);
	struct loaded_files files;
	int status = EXIT_USAGE;

	if (path == NULL)
		return EXIT_USAGE;
	if (files_load(&files, path) == ERR_NONE)
		status = explain(line, &files);
	else
		command_print_problems(&files.problems);
	files_fini(&files);
	return status;
}
