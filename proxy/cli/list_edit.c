/* SPDX-License-Identifier: Apache-2.0 */
/* list add, list remove. A new entry goes to the end of its file: comments that group entries are people's own, and where
 * among them it belongs is not ours to guess; so a file is in the order in which its entries came. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/list.h"
#include "cli/list_file.h"
#include "cli/replay.h"

enum { LINE_MAX_BYTES = 32768 };

/* An edit on its way. */
struct edit {
	struct list *list;
	const char *action; /* "add", "remove" */
	const struct list_place *place;
	struct list_file file;
	struct buf text;       /* the whole new content */
	struct span line;      /* that is added, or the first that is removed */
	unsigned number;       /* its number */
	struct list_line parsed;
	size_t count;          /* lines */
	struct buf memory;     /* of `line` */
};

static bool has(const struct edit *edit, enum command_option option)
{
	return edit->list->line->options[option] != NULL;
}

static void edit_init(struct edit *edit, struct list *list, const char *action)
{
	*edit = (struct edit){.list = list, .action = action, .file = {.folder_fd = -1}};
	buf_init(&edit->memory, LINE_MAX_BYTES);
	buf_init(&edit->text, (size_t)LIST_FILE_MAX_BYTES + LINE_MAX_BYTES);
}

static void edit_fini(struct edit *edit)
{
	buf_fini(&edit->text);
	buf_fini(&edit->memory);
	list_file_close(&edit->file);
}

/* ---- would it hold? ---- */

/* The policy with the edit in it. NULL, with what is wrong, if it would be broken. */
static struct policy *compile_edited(const struct edit *edit, struct problems *problems, void **image)
{
	const struct policy_compile_options options = {.instead_path = edit->place->path,
	                                               .instead_text = buf_span(&edit->text)};
	struct policy *policy = NULL;
	size_t image_bytes;
	enum err err = policy_compile_with(edit->list->settings.policy, &options, problems, image, &image_bytes);

	if (err == ERR_NONE)
		err = policy_open(*image, image_bytes, &policy);
	if (err && problems->error_count == 0)
		command_complain("list %s: %s", edit->action, err_text(err));
	return policy;
}

/* Of all that is doubtful in a policy, what the new line has brought. */
static void print_doubts(const struct edit *edit, const struct problems *problems)
{
	for (const struct problem *problem = problems->first; problem; problem = problem->next)
		if (problem->line == edit->number && strcmp(problem->file, edit->place->path) == 0)
			fprintf(stderr, "%s:%u: note: %s\n", edit->place->shown, problem->line, problem->text);
}

static int refuse_broken(const struct edit *edit, const struct problems *problems)
{
	for (const struct problem *problem = problems->first; problem; problem = problem->next)
		if (problem->level == PROBLEM_ERROR)
			fprintf(stderr, "%s:%u:%u: error: %s\n", problem->file, problem->line, problem->column,
			        problem->text);
	return command_complain(edit->list->err ? "list %s: the policy is not valid as it is; mend it first, nothing is written"
	                                        : "list %s: refused: the policy would not be valid; nothing is written",
	                        edit->action);
}

/* What it would have changed: decided by the policy as it is, and as it would be. */
static int replay_edit(const struct edit *edit, const struct policy *edited)
{
	const char *log = edit->list->line->options[OPTION_replay];
	const struct settings *settings = &edit->list->settings;
	const struct listen_conf *listen = settings->listen.at;
	struct replay_side before = {NULL, settings->policy}, after = {edited, "the same with this edit"};
	struct policy *now = NULL;
	struct problems problems;
	void *image = NULL;
	size_t image_bytes;
	int status = EXIT_USAGE;

	problems_init(&problems);
	if (policy_compile(settings->policy, &problems, &image, &image_bytes) == ERR_NONE &&
	    policy_open(image, image_bytes, &now) == ERR_NONE) {
		before.policy = now;
		status = replay_run(before, after, &log, 1,
		                    span_from(settings->listen.count ? listen[0].name : ""),
		                    has(edit, OPTION_json));
	} else {
		command_print_problems(&problems);
	}
	policy_close(now);
	free(image);
	problems_fini(&problems);
	return status;
}

/* ---- who did it ---- */

/* Whoever became root by sudo is named as himself. */
static const char *user_name(struct arena *arena)
{
	const char *sudo = geteuid() == 0 ? getenv("SUDO_USER") : NULL;
	const struct passwd *user = getpwuid(getuid());

	if (sudo && sudo[0])
		return sudo;
	return user ? user->pw_name : arena_printf(arena, "%u", (unsigned)getuid());
}

static void add_member(struct buf *out, const char *key, struct span value)
{
	if (value.len == 0)
		return;
	buf_printf(out, ",\"%s\":", key);
	buf_add_json(out, value);
}

static struct span given(const struct edit *edit, enum command_option option)
{
	return span_from(edit->list->line->options[option]);
}

static enum err note_history(struct edit *edit)
{
	const char *who = user_name(&edit->list->arena);
	struct buf line;
	enum err err;

	buf_init(&line, LINE_MAX_BYTES * 2);
	buf_add_string(&line, "{\"when\":\"");
	clock_add_rfc3339(&line, clock_wall_ms());
	buf_add_byte(&line, '"');
	add_member(&line, "who", span_from(who));
	add_member(&line, "action", span_from(edit->action));
	add_member(&line, "list", span_from(edit->list->name));
	add_member(&line, "pattern", list_line_pattern(&edit->parsed));
	add_member(&line, "reason", given(edit, OPTION_reason));
	add_member(&line, "ticket", given(edit, OPTION_ticket));
	add_member(&line, "line", edit->line);
	buf_add_string(&line, "}\n");
	err = list_file_note(&edit->file, buf_span(&line));
	buf_fini(&line);
	return err;
}

/* ---- writing ---- */

static void print_done(const struct edit *edit, bool is_written)
{
	bool is_add = strcmp(edit->action, "add") == 0;

	if (has(edit, OPTION_json)) {
		struct buf text;

		buf_init(&text, LINE_MAX_BYTES * 2);
		buf_printf(&text, "{\"ok\":true,\"action\":\"%s\",\"written\":%s", edit->action,
		           is_written ? "true" : "false");
		add_member(&text, "list", span_from(edit->list->name));
		add_member(&text, "file", span_from(edit->place->path));
		add_member(&text, "pattern", list_line_pattern(&edit->parsed));
		add_member(&text, "text", edit->line);
		buf_printf(&text, ",\"line\":%u,\"lines\":%zu}\n", edit->number, edit->count);
		printf("%.*s", SPAN_ARG(buf_span(&text)));
		buf_fini(&text);
		return;
	}
	printf("%s %s:%u\n%c %.*s\n", !is_written ? (is_add ? "would be added to" : "would be removed from")
	                              : is_add    ? "added to"
	                                          : "removed from",
	       edit->place->shown, edit->number, is_add ? '+' : '-', SPAN_ARG(edit->line));
	if (edit->count > 1)
		printf("and %zu more lines with the same pattern\n", edit->count - 1);
	if (is_written && !has(edit, OPTION_reload))
		puts("next: sallyport reload puts it in force");
}

static int write_edit(struct edit *edit)
{
	if (list_file_write(&edit->file, buf_span(&edit->text)))
		return EXIT_USAGE;
	print_done(edit, true);
	fflush(stdout);
	if (note_history(edit))
		return command_complain("list %s: the list is changed, but its history does not say so", edit->action);
	return has(edit, OPTION_reload) ? reload_command(edit->list->line) : EXIT_WELL;
}

/* The edit stands in edit->text: is it good, and what is to be done with it? */
static int finish(struct edit *edit)
{
	struct problems problems;
	struct policy *policy;
	void *image = NULL;
	int status = EXIT_USAGE;

	if (!buf_is_whole(&edit->text))
		return command_complain("list %s: %s is too large", edit->action, edit->place->shown);
	problems_init(&problems);
	policy = compile_edited(edit, &problems, &image);
	if (policy == NULL) {
		status = refuse_broken(edit, &problems);
	} else if (has(edit, OPTION_replay)) {
		status = replay_edit(edit, policy);
	} else {
		if (strcmp(edit->action, "add") == 0)
			print_doubts(edit, &problems);
		if (has(edit, OPTION_dry_run))
			print_done(edit, false);
		status = has(edit, OPTION_dry_run) ? EXIT_WELL : write_edit(edit);
	}
	policy_close(policy);
	free(image);
	problems_fini(&problems);
	return status;
}

/* ---- add ---- */

/* What the list has to say about a pattern. */
struct search {
	const struct list_line *line;
	uint64_t now_ms;
	bool is_same, is_covered; /* by `file`, `number`, `text` */
	const char *file;
	unsigned number;
	char text[LIST_LINE_PATTERN_MAX];
	size_t covers; /* entries that the new one would make needless */
	const char *covers_file;
	unsigned covers_number;
};

static bool is_narrower_by_fields(const struct list_item *item, const struct list_line *line, uint64_t now_ms)
{
	uint64_t ends_ms = item->line.expires_ms;

	return list_is_expired(item, now_ms) ||
	       (item->line.ports[0] && strcmp(item->line.ports, line->ports) != 0) ||
	       (ends_ms && (line->expires_ms == 0 || ends_ms < line->expires_ms));
}

static void search_item(void *context, const struct list_item *item)
{
	struct search *search = context;
	struct span there = list_line_pattern(&item->line), wanted = list_line_pattern(search->line);
	bool is_same = span_equal(there, wanted);

	if (!is_same && list_line_covers(wanted, there)) {
		if (search->covers++ == 0) {
			search->covers_file = item->file->shown;
			search->covers_number = item->number;
		}
		return;
	}
	if (search->is_same ||
	    (!is_same && (is_narrower_by_fields(item, search->line, search->now_ms) || !list_line_covers(there, wanted))))
		return;
	search->is_same = is_same;
	search->is_covered = true;
	search->file = item->file->shown;
	search->number = item->number;
	memcpy(search->text, item->line.text, sizeof(search->text));
}

/* EXIT_WELL if it says something new, or --force wants it all the same; else what it is is said. */
static int look_for_it(const struct edit *edit)
{
	struct search search = {.line = &edit->parsed, .now_ms = clock_wall_ms()};

	if (list_each(edit->list, search_item, &search))
		return EXIT_USAGE;
	if (search.covers)
		fprintf(stderr, "sallyport: note: it covers %zu entr%s that %s there, such as %s:%u\n", search.covers,
		        search.covers == 1 ? "y" : "ies", search.covers == 1 ? "is" : "are", search.covers_file,
		        search.covers_number);
	if (!search.is_covered || has(edit, OPTION_force))
		return EXIT_WELL;
	command_complain(search.is_same ? "list add: %s is there already, in %s:%u; remove it first, or use --force"
	                                : "list add: %s is covered already, by %s:%u (%s); --force adds it all the same",
	                 edit->parsed.text, search.file, search.number, search.text);
	return EXIT_FINDING;
}

static bool make_line(struct edit *edit)
{
	const char *const *options = edit->list->line->options;
	struct list_fields fields = {edit->list->entry,       options[OPTION_owner],   options[OPTION_ticket],
	                             options[OPTION_reason],  NULL,                    options[OPTION_expires],
	                             options[OPTION_ports]};
	const char *why = "", *about = "";
	char today[LIST_DATE_BYTES];
	size_t at;

	list_format_date((clock_wall_ms() / 86400000 + 1) * 86400000, today);
	fields.added = today;
	if (!list_text_format(&fields, &edit->memory, &why, &about)) {
		if (about[0])
			command_complain("list add: --%s: %s", about, why);
		else
			command_complain("list add: \"%s\": %s", edit->list->entry, why);
		return false;
	}
	edit->line = buf_span(&edit->memory);
	if (!list_line_parse(edit->line, &edit->parsed, &why, &at))
		return command_complain("list add: %s", why) == EXIT_WELL;
	if (edit->parsed.expires_ms && edit->parsed.expires_ms <= clock_wall_ms())
		return command_complain("list add: --expires: %s has passed", fields.expires) == EXIT_WELL;
	if (strcmp(edit->list->entry, edit->parsed.text) != 0)
		fprintf(stderr, "sallyport: note: \"%s\" is %s\n", edit->list->entry, edit->parsed.text);
	return true;
}

static unsigned count_lines(struct span text)
{
	struct list_walk walk = list_walk_over(text);

	while (list_walk_next(&walk))
		;
	return walk.number;
}

static int add(struct edit *edit)
{
	int status = make_line(edit) ? look_for_it(edit) : EXIT_USAGE;

	if (status != EXIT_WELL)
		return status;
	list_text_add(edit->file.text, edit->line, &edit->text);
	edit->number = count_lines(edit->file.text) + 1;
	edit->count = 1;
	return finish(edit);
}

/* ---- remove ---- */

struct near {
	const struct edit *edit;
	size_t count;
};

static void print_near(void *context, const struct list_item *item)
{
	struct near *near = context;
	struct span there = list_line_pattern(&item->line), wanted = list_line_pattern(&near->edit->parsed);
	bool is_same = span_equal(there, wanted), covers = list_line_covers(there, wanted);

	if (near->count >= 10 || (!is_same && !covers && !list_line_covers(wanted, there)))
		return;
	near->count++;
	fprintf(stderr, "sallyport: note: %s:%u is %s%s\n", item->file->shown, item->number, item->line.text,
	        is_same  ? ""
	        : covers ? ", which covers it"
	                 : ", which it would cover");
}

/* The first line that goes, for those who look. */
static void find_first(struct edit *edit)
{
	struct list_walk walk = list_walk_over(edit->file.text);
	struct list_line parsed;
	const char *why;
	size_t at;

	while (list_walk_next(&walk))
		if (list_line_parse(walk.line, &parsed, &why, &at) && !parsed.is_empty &&
		    span_equal(list_line_pattern(&parsed), list_line_pattern(&edit->parsed))) {
			edit->line = walk.line;
			edit->number = walk.number;
			return;
		}
}

static int remove_entry(struct edit *edit)
{
	struct span entry = span_from(edit->list->entry);
	struct near near = {.edit = edit};
	const char *why = "";
	size_t at;

	if (!list_line_parse(entry, &edit->parsed, &why, &at) || edit->parsed.is_empty)
		return command_complain("list remove: \"%s\" is no pattern: %s", edit->list->entry, why);
	edit->count = list_text_remove(edit->file.text, list_line_pattern(&edit->parsed), &edit->text);
	if (edit->count) {
		find_first(edit);
		return finish(edit);
	}
	if (list_each(edit->list, print_near, &near))
		return EXIT_USAGE;
	command_complain("list remove: %s has no entry %s", edit->place->shown, edit->parsed.text);
	return EXIT_FINDING;
}

struct holder {
	struct span pattern;
	const struct list_place *place;
};

static void find_holder(void *context, const struct list_item *item)
{
	struct holder *holder = context;

	if (holder->place == NULL && span_equal(list_line_pattern(&item->line), holder->pattern))
		holder->place = item->file;
}

/* Where several files make a list, an entry is removed from the one that has it. */
static const struct list_place *choose_file(struct list *list, bool is_remove)
{
	struct holder holder = {.place = NULL};
	struct list_line parsed;
	const char *why;
	size_t at;

	if (!is_remove || list->line->options[OPTION_file] || list->file_count == 1 ||
	    !list_line_parse(span_from(list->entry), &parsed, &why, &at))
		return list_choose_file(list);
	holder.pattern = list_line_pattern(&parsed);
	if (list_each(list, find_holder, &holder))
		return NULL;
	return holder.place ? holder.place : list_choose_file(list);
}

static int run(struct list *list, const char *action, int (*work)(struct edit *edit))
{
	struct edit edit;
	int status = EXIT_USAGE;

	edit_init(&edit, list, action);
	edit.place = choose_file(list, work == remove_entry);
	if (edit.place && list_file_open(&edit.file, edit.place->path) == ERR_NONE)
		status = work(&edit);
	edit_fini(&edit);
	return status;
}

int list_add(struct list *list)
{
	return run(list, "add", add);
}

int list_remove(struct list *list)
{
	return run(list, "remove", remove_entry);
}
