/* SPDX-License-Identifier: Apache-2.0 */
/* check and explain: what loading does, without a running proxy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/command.h"
#include "http/target.h"
#include "policy/policy.h"
#include "process/advice.h"

enum { ARENA_MAX_BYTES = 64 << 20, CONFIG_MAX_BYTES = 4 << 20, EXPLAIN_MAX_BYTES = 1 << 20 };

/* Everything that one configuration names. */
struct loaded_files {
	struct arena arena;
	struct problems problems;
	struct settings settings;
	void *image;
	size_t image_bytes;
	struct policy *policy;
	struct policy_stats stats;
};

static void files_fini(struct loaded_files *files)
{
	policy_close(files->policy);
	free(files->image);
	problems_fini(&files->problems);
	arena_fini(&files->arena);
}

/* The policy is read even if the settings are wrong elsewhere: all errors at once. */
static enum err load_policy(struct loaded_files *files, const char *path)
{
	enum err err = policy_compile(path, &files->problems, &files->image, &files->image_bytes);

	if (err == ERR_NONE)
		err = policy_open(files->image, files->image_bytes, &files->policy);
	if (err == ERR_NONE)
		policy_stats(files->policy, &files->stats);
	return err;
}

static enum err files_load(struct loaded_files *files, const char *config)
{
	struct span text;
	enum err err, second = ERR_NONE;
	char *absolute = realpath(config, NULL);

	*files = (struct loaded_files){.policy = NULL};
	arena_init(&files->arena, ARENA_MAX_BYTES);
	problems_init(&files->problems);
	err = yaml_read_file(absolute ? absolute : config, CONFIG_MAX_BYTES, &files->arena,
	                     &files->problems, &text);
	if (err == ERR_NONE) {
		err = settings_load(text, absolute, &files->arena, &files->problems,
		                    &files->settings);
		if (files->settings.policy && files->settings.policy[0])
			second = load_policy(files, files->settings.policy);
		if (err == ERR_NONE)
			err = second;
		if (err == ERR_NONE)
			err = advice_add(&files->settings, files->policy, absolute, &files->problems);
	}
	free(absolute);
	return err;
}

static void print_check_json(const struct loaded_files *files, bool is_ok)
{
	struct buf text;

	buf_init(&text, 4 << 20);
	buf_printf(&text, "{\"ok\":%s,\"errors\":%zu,\"warnings\":%zu,", is_ok ? "true" : "false",
	           files->problems.error_count, files->problems.warning_count);
	if (is_ok)
		buf_printf(&text, "\"rules\":%zu,\"lists\":%zu,\"entries\":%zu,", files->stats.rules,
		           files->stats.lists, files->stats.entries);
	buf_add_string(&text, "\"problems\":");
	problems_format_json(&files->problems, &text);
	buf_add_string(&text, "}\n");
	printf("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

/* "1 error", "2 errors" */
static const char *ending(size_t count)
{
	return count == 1 ? "" : "s";
}

static void print_check(const struct loaded_files *files, const char *path, bool is_ok)
{
	const struct policy_stats *stats = &files->stats;
	size_t errors = files->problems.error_count, warnings = files->problems.warning_count;

	command_print_problems(&files->problems);
	if (is_ok)
		printf("%s is valid: %zu rule%s, %zu list%s, %zu entr%s, %zu warning%s\n", path,
		       stats->rules, ending(stats->rules), stats->lists, ending(stats->lists),
		       stats->entries, stats->entries == 1 ? "y" : "ies", warnings, ending(warnings));
	else
		printf("%s is not valid: %zu error%s, %zu warning%s\n", path, errors, ending(errors),
		       warnings, ending(warnings));
}

int check_command(const struct command_line *line)
{
	const char *path = command_config(line);
	struct loaded_files files;
	bool is_ok;
	int status;

	if (path == NULL)
		return EXIT_USAGE;
	is_ok = files_load(&files, path) == ERR_NONE;
	status = !is_ok ? EXIT_USAGE : files.problems.warning_count ? EXIT_FINDING : EXIT_WELL;
	if (line->options[OPTION_json])
		print_check_json(&files, is_ok);
	else
		print_check(&files, path, is_ok);
	files_fini(&files);
	return status;
}

/* ---- explain ---- */

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

static int set_host(const struct command_line *line, struct arena *arena,
                    struct policy_facts *facts)
{
	const char *url = line->options[OPTION_url];
	struct http_target target;
	struct http_host host;

	if (line->argument == NULL && url == NULL)
		return command_complain("explain: which host? sallyport explain HOST[:PORT]");
	if (line->argument) {
		if (http_host_parse(span_from(line->argument), 443, arena, &host))
			return command_complain("explain: \"%s\" is no host and port, such as "
			                        "api.wbx2.com or 192.0.2.1:443",
			                        line->argument);
	} else {
		if (http_target_parse(SPAN("GET"), span_from(url), arena, &target) ||
		    target.form != HTTP_TARGET_ABSOLUTE)
			return command_complain("explain: --url without HOST needs an http:// URL");
		host = target.host;
	}
	facts->host = host.name;
	facts->host_address = host.address;
	facts->port = host.port;
	return EXIT_WELL;
}

static int set_from(const struct command_line *line, const struct settings *settings,
                    struct policy_facts *facts)
{
	const char *from = line->options[OPTION_from] ? line->options[OPTION_from] : "127.0.0.1";
	const char *address = line->options[OPTION_address], *at = line->options[OPTION_at];
	const struct listen_conf *listen = settings->listen.at;

	if (!address_parse(span_from(from), &facts->from))
		return command_complain("explain: --from %s is no IP address", from);
	facts->listener = span_from(line->options[OPTION_listener] ? line->options[OPTION_listener]
	                                                           : listen[0].name);
	facts->wall_ms = clock_wall_ms();
	if (at && !parse_time(at, &facts->wall_ms))
		return command_complain("explain: --at %s is no time such as 2026-11-23T08:00:00Z", at);
	if (address && !address_parse(span_from(address), &facts->address))
		return command_complain("explain: --address %s is no IP address", address);
	facts->address.port = facts->port;
	facts->known |= address ? FACT_ADDRESS : 0;
	return EXIT_WELL;
}

/* In a plain request there is no ClientHello; nobody is asked who he is unless --user says so. */
static int set_request(const struct command_line *line, struct arena *arena,
                       struct policy_facts *facts, struct span groups[static COMMAND_GROUPS_MAX])
{
	const char *sni = line->options[OPTION_sni], *url = line->options[OPTION_url];
	const char *method = line->options[OPTION_method], *user = line->options[OPTION_user];
	struct http_host host;

	facts->method = span_from(method ? method : url ? "GET" : "CONNECT");
	if (sni && http_host_parse(span_from(sni), 443, arena, &host))
		return command_complain("explain: --sni %s is no host name", sni);
	if (sni) {
		facts->sni = host.name;
		facts->known |= FACT_HELLO;
	}
	if (url) {
		facts->url = span_from(url);
		facts->known |= FACT_REQUEST;
		facts->absent |= span_starts_with(facts->url, SPAN("http://")) ? FACT_HELLO : 0;
	}
	if (user || line->group_count) {
		facts->user = span_from(user);
		facts->known |= FACT_USER;
	} else {
		facts->absent |= FACT_USER;
	}
	for (size_t i = 0; i < line->group_count; i++)
		groups[i] = span_from(line->groups[i]);
	facts->groups = groups;
	facts->group_count = line->group_count;
	return EXIT_WELL;
}

static int explain(const struct command_line *line, struct loaded_files *files)
{
	struct span groups[COMMAND_GROUPS_MAX];
	struct policy_facts facts = {.port = 0};
	struct buf text;
	int status = set_host(line, &files->arena, &facts);

	if (status == EXIT_WELL)
		status = set_from(line, &files->settings, &facts);
	if (status == EXIT_WELL)
		status = set_request(line, &files->arena, &facts, groups);
	if (status != EXIT_WELL)
		return status;
	buf_init(&text, EXPLAIN_MAX_BYTES);
	policy_explain(files->policy, &facts, line->options[OPTION_json] != NULL, &text);
	printf("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
	return EXIT_WELL;
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
