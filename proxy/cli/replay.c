/* SPDX-License-Identifier: Apache-2.0 */
/* replay: what a proposed policy would have changed (DESIGN 4). Both policies decide every line anew by the code
 * that the proxy decides with; what the log says was decided does not count. */
#include "cli/replay.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/files.h"
#include "cli/log_lines.h"
#include "cli/replay_line.h"

enum { LINE_MEMORY_BYTES = 8 << 20 };

static void note_unreadable(struct replay_report *report, const char *path, uint64_t number, const char *why)
{
	if (report->unreadable < REPLAY_SHOWN_UNREADABLE)
		report->unreadable_first[report->unreadable] = (struct replay_unreadable){path, number, why};
	report->unreadable++;
}

static void take_line(struct replay_report *report, struct span line, struct span listener,
                      const char *path, uint64_t number)
{
	struct replay_request request;
	const char *why = "";
	struct arena arena;

	arena_init(&arena, LINE_MEMORY_BYTES);
	report->lines++;
	switch (replay_line_read(line, listener, &arena, &request, &why)) {
	case REPLAY_REQUEST: replay_report_add(report, &request.facts, request.logged_access); break;
	case REPLAY_BLANK: report->blank++; break;
	case REPLAY_RUNNING: report->running++; break;
	case REPLAY_ASKED: report->asked++; break;
	case REPLAY_NO_HOST: report->without_host++; break;
	case REPLAY_UNREADABLE: note_unreadable(report, path, number, why); break;
	}
	arena_fini(&arena);
}

static enum err take_log(struct replay_report *report, const char *path, struct span listener)
{
	struct log_lines *lines;
	struct span line;
	enum err err = log_lines_open(path, REPLAY_LINE_MAX_BYTES, &lines);
	bool is_cut;

	if (err == ERR_MEMORY)
		command_complain("%s: out of memory", path);
	if (err)
		return err;
	while (log_lines_next(lines, &line, &is_cut)) {
		if (is_cut) {
			report->lines++;
			note_unreadable(report, path, log_lines_number(lines), "the line is longer than 1 MiB");
		} else {
			take_line(report, line, listener, path, log_lines_number(lines));
		}
	}
	err = log_lines_err(lines);
	log_lines_close(lines);
	return err;
}

static void complain_of_all(const struct replay_report *report)
{
	const struct replay_unreadable *first = &report->unreadable_first[0];

	command_complain("replay: no line could be read; the first: %s:%llu: %s", first->file,
	                 (unsigned long long)first->line, first->why);
}

int replay_run(struct replay_side before, struct replay_side after, const char *const *logs, size_t count,
               struct span listener, bool json)
{
	struct replay_report report;
	int status = EXIT_WELL;

	replay_report_init(&report, before, after);
	for (size_t i = 0; i < count && status == EXIT_WELL; i++)
		if (take_log(&report, logs[i], listener))
			status = EXIT_USAGE;
	if (status == EXIT_WELL && report.unreadable && report.unreadable + report.blank == report.lines) {
		complain_of_all(&report);
		status = EXIT_USAGE;
	}
	if (status == EXIT_WELL) {
		status = report.changed ? EXIT_FINDING : EXIT_WELL;
		(json ? replay_report_print_json : replay_report_print)(&report);
	}
	replay_report_fini(&report);
	return status;
}

/* ---- the command ---- */

/* The proposed policy. NULL, and said so, if it is broken. */
static struct policy *load_proposed(const char *path, void **image)
{
	struct policy *policy = NULL;
	struct problems problems;
	size_t image_bytes;
	enum err err;

	problems_init(&problems);
	err = policy_compile(path, &problems, image, &image_bytes);
	if (err == ERR_NONE)
		err = policy_open(*image, image_bytes, &policy);
	if (problems.error_count)
		command_print_problems(&problems);
	else if (err)
		command_complain("%s: %s", path, err_text(err));
	problems_fini(&problems);
	return policy;
}

/* Where a line says no listener: the one that is asked for, else the first, as for explain. */
static bool find_listener(const struct command_line *line, const struct settings *settings, struct span *out)
{
	const struct listen_conf *listen = settings->listen.at;
	const char *name = line->options[OPTION_listener];

	*out = span_from(name ? name : settings->listen.count ? listen[0].name : "");
	for (size_t i = 0; name && i < settings->listen.count; i++)
		if (span_equal(*out, span_from(listen[i].name)))
			return true;
	if (name)
		command_complain("replay: there is no listener \"%s\" in the configuration", name);
	return name == NULL;
}

static int replay(const struct command_line *line, struct loaded_files *files)
{
	const char *with = line->options[OPTION_with];
	struct replay_side before = {files->policy, files->settings.policy}, after = {NULL, with};
	void *image = NULL;
	struct policy *proposed;
	struct span listener;
	int status = EXIT_USAGE;

	if (!find_listener(line, &files->settings, &listener))
		return EXIT_USAGE;
	proposed = load_proposed(with, &image);
	after.policy = proposed;
	if (proposed)
		status = replay_run(before, after, line->arguments, line->argument_count, listener,
		                    line->options[OPTION_json] != NULL);
	policy_close(proposed);
	free(image);
	return status;
}

int replay_command(const struct command_line *line)
{
	const char *path = command_config(line);
	struct loaded_files files;
	int status = EXIT_USAGE;

	if (path == NULL)
		return EXIT_USAGE;
	if (line->options[OPTION_with] == NULL)
		return command_complain("replay: which policy? sallyport replay --with POLICY ACCESS_LOG");
	if (line->argument_count == 0)
		return command_complain("replay: which log? sallyport replay --with POLICY ACCESS_LOG "
		                        "(- is standard input)");
	if (files_load(&files, path) == ERR_NONE)
		status = replay(line, &files);
	else
		command_print_problems(&files.problems);
	files_fini(&files);
	return status;
}
