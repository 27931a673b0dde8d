/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/question.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http/target.h"

enum { QUESTION_MAX_BYTES = 1 << 20, COMPLAINT_MAX_BYTES = 4096 };

void question_init(struct question *question)
{
	*question = (struct question){.line = {.argument = NULL}};
	arena_init(&question->arena, QUESTION_MAX_BYTES);
	buf_init(&question->complaint, COMPLAINT_MAX_BYTES);
	buf_init(&question->note, COMPLAINT_MAX_BYTES);
}

void question_fini(struct question *question)
{
	arena_fini(&question->arena);
	buf_fini(&question->complaint);
	buf_fini(&question->note);
}

/* Say what is wrong; false. */
PRINTF_LIKE(2, 3) static bool complain(struct question *question, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vprintf(&question->complaint, format, args);
	va_end(args);
	return false;
}

/* RFC 3339, with Z or an offset; a fraction of a second may be there. */
static bool parse_time(const char *text, uint64_t *wall_ms)
{
	struct tm parts = {.tm_isdst = 0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
	unsigned ms = 0, digit_ms = 100;
	long offset_s = 0;
	time_t at;

	if (rest && *rest == '.') {
		for (rest++; *rest >= '0' && *rest <= '9'; rest++, digit_ms /= 10)
			ms += digit_ms * (unsigned)(*rest - '0');
	}
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
	*wall_ms = (uint64_t)at * 1000 + ms;
	return rest && *rest == '\0' && at > 0;
}

/* ---- host, port, URL ---- */

/* Host, port and the rest of what is asked about. */
struct target {
	struct http_host host;
	struct span path; /* of a URL */
	bool is_url, is_https;
};

/* The A-label of a host that is not ASCII, as lists have it. */
static bool make_ascii(struct question *question, struct span *authority)
{
	size_t colon = span_find_last(*authority, ':'), len;
	char name[256], *text;
	bool plain = true;

	for (size_t i = 0; i < authority->len; i++)
		plain = plain && authority->at[i] < 0x80;
	if (plain)
		return true;
	text = policy_name_to_ascii(span_first(*authority, colon), name, sizeof(name), &len)
	               ? arena_printf(&question->arena, "%.*s%.*s", (int)len, name,
	                              SPAN_ARG(span_skip(*authority, colon)))
	               : NULL;
	if (text == NULL)
		return complain(question, "\"%.*s\" is not a name that IDNA 2008 allows", SPAN_ARG(*authority));
	buf_printf(&question->note, "\"%.*s\" is asked for as %s", SPAN_ARG(*authority), text);
	*authority = span_from(text);
	return true;
}

/* What is behind the "://" of a URL: its authority; its path goes into *out. */
static struct span cut_url(struct question *question, struct span text, struct target *out)
{
	size_t end = 0;

	while (end < text.len && text.at[end] != '/' && text.at[end] != '?' && text.at[end] != '#')
		end++;
	if (end < text.len && text.at[end] == '/')
		out->path = span_skip(text, end);
	else if (end < text.len)
		out->path = span_from(arena_printf(&question->arena, "/%.*s", SPAN_ARG(span_skip(text, end))));
	out->path = span_first(out->path, span_find(out->path, '#'));
	return span_first(text, end);
}

/* "host", "host:port", "http://host:port/path", https, too. */
static bool parse_target(struct question *question, const char *given, uint16_t default_port, struct target *out)
{
	struct span text = span_from(given), authority = text;
	size_t colon = span_find_span(text, SPAN("://"));

	*out = (struct target){.path = SPAN("/"), .is_url = colon < text.len};
	out->is_https = span_equal_nocase(span_first(text, colon), SPAN("https"));
	if (out->is_url) {
		authority = cut_url(question, span_skip(text, colon + 3), out);
		default_port = out->is_https ? 443 : 80;
		if (!out->is_https && !span_equal_nocase(span_first(text, colon), SPAN("http")))
			return complain(question, "\"%s\" is neither an http:// nor an https:// URL", given);
	}
	if (!make_ascii(question, &authority))
		return false;
	if (http_host_parse(authority, default_port, &question->arena, &out->host))
		return complain(question, "\"%s\" is no host and port, such as api.wbx2.com, 192.0.2.1:443 or [2001:db8::1]:443", given);
	return true;
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
static bool set_host(struct question *question)
{
	const struct command_line *line = &question->line;
	struct policy_facts *facts = &question->request.facts;
	const char *text = line->options[OPTION_url];
	struct target host, url = {.is_url = false};

	if (line->argument == NULL && text == NULL)
		return complain(question, "which host? sallyport explain HOST[:PORT]");
	if (text && !parse_target(question, text, 80, &url))
		return false;
	if (text && !url.is_url)
		return complain(question, "--url %s is no http:// URL", text);
	host = url;
	if (line->argument && !parse_target(question, line->argument, text ? url.host.port : 443, &host))
		return false;
	if (text && (!span_equal(host.host.name, url.host.name) || host.host.port != url.host.port))
		return complain(question, "%s and --url %s are two different hosts or ports; leave one out",
		                line->argument, text);
	if (text == NULL && host.is_url && !host.is_https)
		url = host;
	question->request.is_https_url = url.is_https;
	if (url.is_url) {
		facts->url = format_url(&url, &question->arena);
		facts->known |= FACT_REQUEST;
	}
	facts->host = host.host.name;
	facts->host_address = host.host.address;
	facts->port = host.host.port;
	return true;
}

/* ---- the other facts ---- */

static bool set_listener(struct question *question, const struct settings *settings)
{
	const struct listen_conf *listen = settings->listen.at;
	const char *name = question->line.options[OPTION_listener];
	struct policy_facts *facts = &question->request.facts;

	facts->listener = span_from(name ? name : listen[0].name);
	for (size_t i = 0; i < settings->listen.count; i++)
		if (span_equal(facts->listener, span_from(listen[i].name)))
			return true;
	complain(question, "there is no listener \"%s\"; known are ", name);
	for (size_t i = 0; i < settings->listen.count; i++)
		complain(question, "%s%s", i ? ", " : "", listen[i].name);
	return false;
}

/* What would be dialled, where it can be told without a name server. */
static bool set_address(struct question *question, const struct settings *settings)
{
	const struct conf_text_map *hosts = &settings->dns.hosts;
	const char *given = question->line.options[OPTION_address];
	struct policy_facts *facts = &question->request.facts;

	if (given && !address_parse(span_from(given), &facts->address))
		return complain(question, "--address %s is no IP address", given);
	if (given == NULL)
		facts->address = facts->host_address;
	for (size_t i = 0; facts->address.family == 0 && i < hosts->count; i++)
		if (span_equal(facts->host, span_from(hosts->at[i].name)) &&
		    !address_parse(span_from(hosts->at[i].text), &facts->address))
			facts->address.family = 0;
	facts->address.port = facts->port;
	if (facts->address.family)
		facts->known |= FACT_ADDRESS;
	return true;
}

static bool set_from(struct question *question, uint64_t now_ms)
{
	const struct command_line *line = &question->line;
	const char *from = line->options[OPTION_from] ? line->options[OPTION_from] : "127.0.0.1";
	const char *at = line->options[OPTION_at];
	struct policy_facts *facts = &question->request.facts;

	if (!address_parse(span_from(from), &facts->from))
		return complain(question, "--from %s is no IP address", from);
	facts->wall_ms = now_ms;
	if (at && !parse_time(at, &facts->wall_ms))
		return complain(question, "--at %s is no time such as 2026-11-23T08:00:00Z", at);
	return true;
}

/* A name that is known beside the authority. */
static bool set_name(struct question *question, const char *given, const char *option, struct span *out)
{
	struct http_host host;

	*out = SPAN("");
	if (given == NULL)
		return true;
	if (http_host_parse(span_from(given), 443, &question->arena, &host))
		return complain(question, "--%s %s is no host name", option, given);
	*out = host.name;
	return true;
}

/* The Host field of a request counts where it names another host than the target (session/request.c). */
static bool set_names(struct question *question)
{
	const struct command_line *line = &question->line;
	struct policy_facts *facts = &question->request.facts;

	const char *sni = line->options[OPTION_sni];

	/* Empty: a session whose ClientHello has none, or that has no ClientHello. */
	if (!set_name(question, sni && sni[0] ? sni : NULL, "sni", &facts->sni) ||
	    !set_name(question, line->options[OPTION_inner_host], "inner-host", &facts->inner_host))
		return false;
	if (sni && sni[0])
		facts->known |= FACT_HELLO;
	if (span_equal(facts->inner_host, facts->host))
		facts->inner_host = SPAN("");
	return true;
}

/* Without it the response has not come. */
static bool set_response(struct question *question)
{
	const char *given = question->line.options[OPTION_content_type];
	struct policy_facts *facts = &question->request.facts;
	struct span rest = span_from(given);

	facts->content_type = SPAN("");
	if (given == NULL)
		return true;
	if (!span_equal(rest, SPAN("none")) && !policy_content_type_next(&rest, &facts->content_type))
		return complain(question, "--content-type %s is no media type such as video/mp4, and not none", given);
	facts->known |= FACT_RESPONSE;
	return true;
}

static void set_request(struct question *question)
{
	const struct command_line *line = &question->line;
	struct policy_facts *facts = &question->request.facts;
	const char *user = line->options[OPTION_user], *method = line->options[OPTION_method];

	facts->method = span_from(method ? method : facts->known & FACT_REQUEST ? "GET" : "CONNECT");
	if (user || line->group_count) {
		facts->user = span_from(user);
		facts->known |= FACT_USER;
	}
	for (size_t i = 0; i < line->group_count; i++)
		question->groups[i] = span_from(line->groups[i]);
	facts->groups = question->groups;
	facts->group_count = line->group_count;
	/* Of a CONNECT, the ClientHello may come to be known, and where sessions can be opened, what is asked inside. */
	facts->absent = span_equal(facts->method, SPAN("CONNECT")) ? 0 : FACT_HELLO;
	if (span_equal(facts->method, SPAN("CONNECT")) && !question->can_open)
		facts->absent |= (unsigned)FACT_REQUEST | FACT_RESPONSE;
	if (line->options[OPTION_sni] && line->options[OPTION_sni][0] == '\0')
		facts->absent |= FACT_HELLO;
	facts->absent &= ~facts->known;
}

bool question_make(struct question *question, const struct settings *settings, uint64_t now_ms)
{
	if (!set_host(question) || !set_listener(question, settings) || !set_address(question, settings) ||
	    !set_from(question, now_ms) || !set_names(question) || !set_response(question))
		return false;
	question->can_open = inspection_is_on(&settings->inspection);
	set_request(question);
	return true;
}
