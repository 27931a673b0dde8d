/* SPDX-License-Identifier: Apache-2.0 */
/* check: what loading does, without a running proxy. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/files.h"

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
