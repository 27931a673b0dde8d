/* SPDX-License-Identifier: Apache-2.0 */
/* check: what loading does, without a running proxy. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "auth/backend/clock_check.h"
#include "cli/files.h"
#include "process/auth_files.h"
#include "process/ca_advice.h"
#include "process/ca_files.h"
#include "process/token.h"
#include "tls/trust.h"

/* ---- how far it is: on a terminal, and only where it takes a while ---- */

enum { QUIET_MS = 300, BETWEEN_MS = 100, BAR_WIDTH = 30 };

struct bar {
	bool is_shown, was_shown;
	uint64_t start_ms, next_ms;
};

static void draw(struct bar *bar, const char *what, uint64_t done, uint64_t total)
{
	uint64_t now_ms = clock_monotonic_ms();
	int width = total ? (int)(done * BAR_WIDTH / total) : 0;

	if (!bar->is_shown || now_ms < bar->start_ms + QUIET_MS || now_ms < bar->next_ms || done > total)
		return;
	bar->next_ms = now_ms + BETWEEN_MS;
	bar->was_shown = true;
	fprintf(stderr, "\r%-9s [%.*s%*s] %3d %%", what, width, "##############################", BAR_WIDTH - width, "",
	        total ? (int)(done * 100 / total) : 0);
	fflush(stderr);
}

static void on_read(void *context, uint64_t done, uint64_t total)
{
	draw(context, "reading", done, total);
}

static void on_looked_at(void *context, uint64_t done, uint64_t total)
{
	draw(context, "checking", done, total);
}

static void wipe(const struct bar *bar)
{
	if (bar->was_shown)
		fputs("\r\033[K", stderr);
}

/* ---- what was found ---- */

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

/* One that is not there is made at the start. */
static bool is_token_well(struct loaded_files *files, const char *path)
{
	const struct admin_conf *admin = &files->settings.admin;
	struct secret token = {.at = NULL};
	bool made, is_well = admin->address.family == 0 ||
	                     token_load(admin->token, false, path, &files->problems, &token, &made) == ERR_NONE;

	secret_fini(&token);
	return is_well;
}

/* Keytab, user files, password for LDAP; and whether clocks agree. */
static bool is_auth_well(struct loaded_files *files, const char *path)
{
	struct auth_files found;

	if (auth_files_read(&files->settings.auth, path, &files->problems, &found))
		return false;
	auth_files_close(&found);
	auth_clock_check(&files->settings.auth, path, &files->problems);
	return true;
}

/* Roots, intermediates and revocations for origins that are opened. */
static bool is_trust_well(struct loaded_files *files, const char *path)
{
	const struct inspection_conf *conf = &files->settings.inspection;
	void *image = NULL;
	size_t bytes;
	bool is_well = !inspection_is_on(conf) || trust_build(conf, path, &files->problems, &image, &bytes) == ERR_NONE;

	free(image);
	return is_well;
}

/* The CA as it will be used; and hosts that it may not sign for, though the policy inspects them. */
static bool is_ca_well(struct loaded_files *files)
{
	struct ca_files found;

	if (ca_files_read(&files->settings.inspection.ca, false, &files->problems, &found))
		return false;
	ca_advice_add(found.ca, &files->settings, files->policy, &files->problems);
	ca_files_close(&found);
	return true;
}

int check_command(const struct command_line *line)
{
	const char *path = command_config(line);
	struct bar bar = {.is_shown = isatty(STDERR_FILENO), .start_ms = clock_monotonic_ms()};
	const struct policy_compile_options options = {.progress = on_read, .lint_progress = on_looked_at,
	                                               .context = &bar, .lint_entries_max = SIZE_MAX};
	struct loaded_files files;
	bool is_ok;
	int status;

	if (path == NULL)
		return EXIT_USAGE;
	is_ok = files_load_with(&files, path, &options) == ERR_NONE && is_token_well(&files, path) &&
	        is_auth_well(&files, path) && is_trust_well(&files, path) && is_ca_well(&files);
	wipe(&bar);
	problems_sort(&files.problems);
	status = !is_ok ? EXIT_USAGE : files.problems.warning_count ? EXIT_FINDING : EXIT_WELL;
	if (line->options[OPTION_json])
		print_check_json(&files, is_ok);
	else
		print_check(&files, path, is_ok);
	files_fini(&files);
	return status;
}
