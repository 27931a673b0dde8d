/* SPDX-License-Identifier: Apache-2.0 */
/* list: entries of the policy's lists, shown and edited where people keep them. */
#include "cli/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/conf.h"
#include "conf/yaml.h"

enum { ARENA_MAX_BYTES = 64 << 20, CONFIG_MAX_BYTES = 4 << 20, LIST_MAX_BYTES = 1 << 30, LIST_NAMES_SHOWN_MAX = 20 };

/* ---- finding the list ---- */

static void note_other(struct list *list, const char *name)
{
	for (size_t i = 0; i < list->other_count; i++)
		if (strcmp(list->others[i], name) == 0)
			return;
	if (list->other_count < LIST_NAMES_MAX)
		list->others[list->other_count] = arena_string(&list->arena, span_from(name));
	if (list->other_count < LIST_NAMES_MAX && list->others[list->other_count])
		list->other_count++;
}

static void on_list(void *context, const char *name, const char *path, struct span shown)
{
	struct list *list = context;
	struct list_place place;

	if (name == NULL || strcmp(name, list->name) != 0) {
		if (name)
			note_other(list, name);
		return;
	}
	place = (struct list_place){arena_string(&list->arena, span_from(path)), arena_string(&list->arena, shown)};
	if (place.path && place.shown && list->file_count < LIST_FILES_MAX)
		list->files[list->file_count++] = place;
}

static int complain_unknown(struct list *list)
{
	const char *names[LIST_NAMES_MAX], *nearest;
	struct buf known;
	int status;

	for (size_t i = 0; i < list->other_count; i++)
		names[i] = list->others[i];
	nearest = conf_nearest(span_from(list->name), names, list->other_count);
	if (list->err)
		command_print_problems(&list->problems);
	buf_init(&known, 10000);
	if (nearest)
		buf_printf(&known, "; did you mean %s?", nearest);
	for (size_t i = 0; nearest == NULL && i < list->other_count && i < LIST_NAMES_SHOWN_MAX; i++)
		buf_printf(&known, "%s%s", i ? ", " : "; it has ", names[i]);
	if (nearest == NULL && list->other_count > LIST_NAMES_SHOWN_MAX)
		buf_add_string(&known, ", ...");
	status = command_complain("list: the policy %s has no list \"%s\"%.*s", list->settings.policy, list->name,
	                          SPAN_ARG(buf_span(&known)));
	buf_fini(&known);
	return status;
}

/* The policy as it is. It may be broken: then its lists can be shown and mended all the same. */
static int find_list(struct list *list)
{
	const struct policy_compile_options options = {.on_list = on_list, .context = list};
	void *image = NULL;
	size_t image_bytes;

	list->err = policy_compile_with(list->settings.policy, &options, &list->problems, &image, &image_bytes);
	free(image);
	return list->file_count ? EXIT_WELL : complain_unknown(list);
}

static int load_settings(struct list *list, const char *config)
{
	char *absolute = realpath(config, NULL);
	struct span text;
	enum err err = yaml_read_file(absolute ? absolute : config, CONFIG_MAX_BYTES, &list->arena, &list->problems,
	                              &text);

	if (err == ERR_NONE)
		err = settings_load(text, absolute, &list->arena, &list->problems, &list->settings);
	free(absolute);
	if (err)
		command_print_problems(&list->problems);
	return err ? EXIT_USAGE : EXIT_WELL;
}

const struct list_place *list_choose_file(const struct list *list)
{
	const char *wanted = list->line->options[OPTION_file];

	for (size_t i = 0; wanted && i < list->file_count; i++) {
		struct span shown = span_from(list->files[i].shown);
		size_t slash = span_find_last(shown, '/');

		if (strcmp(wanted, list->files[i].path) == 0 || span_equal(span_from(wanted), shown) ||
		    (slash < shown.len && span_equal(span_from(wanted), span_skip(shown, slash + 1))))
			return &list->files[i];
	}
	if (wanted == NULL && list->file_count > 1)
		fprintf(stderr, "sallyport: note: %s has %zu files; this is about %s (--file chooses)\n", list->name,
		        list->file_count, list->files[0].shown);
	if (wanted == NULL)
		return &list->files[0];
	command_complain("list: %s has no file %s; its first is %s", list->name, wanted, list->files[0].shown);
	return NULL;
}

/* ---- entries ---- */

static enum err each_of_file(const struct list_place *file, list_take *take, void *context)
{
	struct problems problems;
	struct arena arena;
	struct span text;
	enum err err;

	arena_init(&arena, (size_t)LIST_MAX_BYTES + 4096);
	problems_init(&problems);
	err = yaml_read_file(file->path, LIST_MAX_BYTES, &arena, &problems, &text);
	if (err == ERR_NONE) {
		struct list_walk walk = list_walk_over(text);

		while (list_walk_next(&walk)) {
			struct list_item item = {.file = file, .number = walk.number, .text = walk.line};
			const char *why;
			size_t at;

			if (list_line_parse(walk.line, &item.line, &why, &at) && !item.line.is_empty)
				take(context, &item);
		}
	} else {
		command_print_problems(&problems);
	}
	problems_fini(&problems);
	arena_fini(&arena);
	return err;
}

enum err list_each(const struct list *list, list_take *take, void *context)
{
	for (size_t i = 0; i < list->file_count; i++) {
		enum err err = each_of_file(&list->files[i], take, context);

		if (err)
			return err;
	}
	return ERR_NONE;
}

bool list_is_expired(const struct list_item *item, uint64_t now_ms)
{
	return item->line.expires_ms && item->line.expires_ms <= now_ms;
}

void list_format_date(uint64_t wall_ms, char text[static LIST_DATE_BYTES])
{
	/* "2026-12-31" is the end of that day, which is the first moment of the next. */
	bool is_day = wall_ms % 86400000 == 0;
	time_t seconds = (time_t)(wall_ms / 1000) - is_day;
	struct tm tm;

	if (gmtime_r(&seconds, &tm) == NULL ||
	    strftime(text, LIST_DATE_BYTES, is_day ? "%Y-%m-%d" : "%Y-%m-%dT%H:%MZ", &tm) == 0)
		snprintf(text, LIST_DATE_BYTES, "?");
}

/* ---- the command ---- */

#define BIT(option) (UINT64_C(1) << OPTION_##option)
#define EDIT_OPTIONS (BIT(reason) | BIT(ticket) | BIT(file) | BIT(dry_run) | BIT(replay) | BIT(reload))

static const struct action {
	const char *name;
	bool needs_entry, may_have_entry;
	uint64_t options; /* beside --config and --json */
	int (*run)(struct list *list);
	int (*run_alone)(const struct command_line *line); /* instead: the list may be left out */
} actions[] = {
	{"show", false, false, 0, list_show, NULL},
	{"add", true, true, EDIT_OPTIONS | BIT(owner) | BIT(expires) | BIT(ports) | BIT(force), list_add, NULL},
	{"remove", true, true, EDIT_OPTIONS, list_remove, NULL},
	{"stale", false, false, BIT(days), list_stale, NULL},
	{"blame", false, true, 0, list_blame, NULL},
	{"suggest", false, false, BIT(log), NULL, list_suggest},
};

/* What is given in vain was meant otherwise. */
static bool check_options(const struct command_line *line, const struct action *action)
{
	uint64_t allowed = action->options | BIT(config) | BIT(json) | BIT(help);
	bool is_rehearsal = line->options[OPTION_dry_run] || line->options[OPTION_replay];

	for (int i = 0; i < OPTION_COUNT; i++) {
		if (line->options[i] == NULL || (allowed >> i & 1))
			continue;
		command_complain("list %s does not take --%s", action->name, command_option_name((enum command_option)i));
		return false;
	}
	if (line->options[OPTION_reload] && is_rehearsal)
		command_complain("list %s: --reload puts in force what --dry-run and --replay do not write", action->name);
	return !(line->options[OPTION_reload] && is_rehearsal);
}

static const struct action *find_action(const struct command_line *line)
{
	const char *names[COUNT_OF(actions)], *given = line->argument, *nearest;

	for (size_t i = 0; i < COUNT_OF(actions); i++) {
		names[i] = actions[i].name;
		if (given && strcmp(given, names[i]) == 0)
			return &actions[i];
	}
	nearest = given ? conf_nearest(span_from(given), names, COUNT_OF(names)) : NULL;
	if (nearest)
		command_complain("list: what is \"%s\"; did you mean %s?", given, nearest);
	else
		command_complain("list: what shall be done? show, add, remove, stale or blame, then the name of a list; or suggest");
	return NULL;
}

static bool check_arguments(const struct command_line *line, const struct action *action)
{
	size_t count = line->argument_count;

	if (count < 2 && action->run)
		command_complain("list %s: which list? sallyport list %s LIST%s", action->name, action->name,
		                 action->needs_entry ? " ENTRY" : "");
	else if (count < 3 && action->needs_entry)
		command_complain("list %s: which entry? sallyport list %s %s ENTRY", action->name, action->name,
		                 line->arguments[1]);
	else if (count > (action->may_have_entry ? 3u : 2u))
		command_complain("list %s: what is \"%s\"?", action->name,
		                 line->arguments[action->may_have_entry ? 3 : 2]);
	else
		return true;
	return false;
}

int list_command(const struct command_line *line)
{
	const struct action *action = find_action(line);
	struct list list = {.line = line};
	const char *config;
	int status;

	if (action == NULL || !check_options(line, action) || !check_arguments(line, action))
		return EXIT_USAGE;
	if (action->run_alone)
		return action->run_alone(line);
	config = command_config(line);
	if (config == NULL)
		return EXIT_USAGE;
	list.name = line->arguments[1];
	list.entry = line->argument_count > 2 ? line->arguments[2] : NULL;
	arena_init(&list.arena, ARENA_MAX_BYTES);
	problems_init(&list.problems);
	status = load_settings(&list, config);
	if (status == EXIT_WELL)
		status = find_list(&list);
	if (status == EXIT_WELL && list.err)
		fprintf(stderr, "sallyport: note: the policy is not valid as it is, and lines that are wrong are not shown; "
		                "sallyport check says which\n");
	if (status == EXIT_WELL)
		status = action->run(&list);
	problems_fini(&list.problems);
	arena_fini(&list.arena);
	return status;
}
