/* SPDX-License-Identifier: Apache-2.0 */
#include "base/problem.h"

#include <stdio.h>
#include <string.h>

enum {
	KEPT_MAX = 1000,
	ERRORS_OF_GROUP_MAX = 100, /* of one code in one file */
	WARNINGS_OF_GROUP_MAX = 20,
	GROUPS_MAX = 4000,
	ARENA_MAX_BYTES = 4 << 20,
	TEXT_MAX = 1000,
};

static const char *const level_names[] = {"error", "warning"};

static const struct problem_row problem_rows[] = {
#define PROBLEM_ROW(name, level, code, meaning, action) {code, meaning, action, PROBLEM_##level},
	PROBLEM_CODES(PROBLEM_ROW)
#undef PROBLEM_ROW
};

const struct problem_row *problem_row(enum problem_code code)
{
	return &problem_rows[code < PROBLEM_CODE_COUNT ? code : PROBLEM_CONFIGURATION];
}

const char *problem_level_name(enum problem_level level)
{
	return level_names[level];
}

void problems_init(struct problems *problems)
{
	*problems = (struct problems){0};
	arena_init(&problems->arena, ARENA_MAX_BYTES);
	problems->end = &problems->first;
}

void problems_fini(struct problems *problems)
{
	arena_fini(&problems->arena);
	problems_init(problems);
}

/* The group of a code in a file, moved to the front: files come one behind the other. NULL: there is no room. */
static struct problem_group *get_group(struct problems *problems, enum problem_code code, const char *file)
{
	struct problem_group **at = &problems->groups, *group;

	while (*at && ((*at)->code != code || strcmp((*at)->file, file) != 0))
		at = &(*at)->next;
	group = *at;
	if (group) {
		*at = group->next;
	} else {
		group = problems->group_count < GROUPS_MAX ? arena_alloc(&problems->arena, sizeof(*group)) : NULL;
		if (group == NULL)
			return NULL;
		*group = (struct problem_group){.code = code, .file = arena_string(&problems->arena, span_from(file))};
		if (group->file == NULL)
			return NULL;
		problems->group_count++;
	}
	group->next = problems->groups;
	problems->groups = group;
	return group;
}

static void count(struct problems *problems, enum problem_code code, size_t number)
{
	if (problem_row(code)->level == PROBLEM_ERROR)
		problems->error_count += number;
	else
		problems->warning_count += number;
}

static bool keep(struct problems *problems, struct problem_group *group, struct problem_place at,
                 const struct problem_place *related, const char *text)
{
	enum problem_level level = problem_row(group->code)->level;
	struct problem *problem;

	if (problems->kept == KEPT_MAX ||
	    group->kept == (level == PROBLEM_ERROR ? ERRORS_OF_GROUP_MAX : WARNINGS_OF_GROUP_MAX))
		return false;
	problem = arena_alloc(&problems->arena, sizeof(*problem));
	if (problem == NULL)
		return false;
	*problem = (struct problem){.group = group, .code = group->code, .level = level, .line = at.line,
	                            .column = at.column, .file = group->file, .related = {.file = ""}};
	problem->text = arena_string(&problems->arena, span_from(text));
	if (related) {
		problem->related = *related;
		problem->related.file = arena_string(&problems->arena, span_from(related->file));
	}
	if (problem->text == NULL || problem->related.file == NULL)
		return false;
	*problems->end = problem;
	problems->end = &problem->next;
	problems->kept++;
	group->kept++;
	return true;
}

PRINTF_LIKE(5, 0)
static void add(struct problems *problems, enum problem_code code, struct problem_place at,
                const struct problem_place *related, const char *format, va_list args)
{
	struct problem_group *group = get_group(problems, code, at.file);
	char text[TEXT_MAX];

	count(problems, code, 1);
	if (group == NULL) {
		problems->lost++;
		return;
	}
	if (group->more == 0) {
		vsnprintf(text, sizeof(text), format, args);
		if (keep(problems, group, at, related, text))
			return;
	}
	group->more++;
}

void problem_add_code(struct problems *problems, enum problem_code code, struct problem_place at,
                      const struct problem_place *related, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(problems, code, at, related, format, args);
	va_end(args);
}

void problem_add(struct problems *problems, enum problem_level level, const char *file,
                 unsigned line, unsigned column, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add(problems, level == PROBLEM_ERROR ? PROBLEM_CONFIGURATION : PROBLEM_DOUBTFUL,
	    (struct problem_place){file, line, column}, NULL, format, args);
	va_end(args);
}

void problems_add_more(struct problems *problems, enum problem_code code, const char *file, size_t more)
{
	struct problem_group *group = get_group(problems, code, file);

	count(problems, code, more);
	if (group)
		group->more += more;
	else
		problems->lost += more;
}

static bool is_behind(const struct problem *a, const struct problem *b)
{
	return a->line != b->line ? a->line > b->line : a->column > b->column;
}

/* Behind all of its file that are not behind it; at the end, if its file is new. At most KEPT_MAX: a list will do. */
static void insert(struct problem **first, struct problem *problem)
{
	struct problem **at = first;

	while (*at && strcmp((*at)->file, problem->file) != 0)
		at = &(*at)->next;
	while (*at && strcmp((*at)->file, problem->file) == 0 && !is_behind(*at, problem))
		at = &(*at)->next;
	problem->next = *at;
	*at = problem;
}

void problems_sort(struct problems *problems)
{
	struct problem *problem = problems->first;

	problems->first = NULL;
	while (problem) {
		struct problem *next = problem->next;

		insert(&problems->first, problem);
		problem = next;
	}
	problems->end = &problems->first;
	while (*problems->end)
		problems->end = &(*problems->end)->next;
}

/* ---- for people and programs ---- */

void problems_format(const struct problems *problems, struct buf *out)
{
	for (const struct problem *p = problems->first; p; p = p->next) {
		if (p->file[0])
			buf_printf(out, "%s:", p->file);
		if (p->line)
			buf_printf(out, "%u:%u:", p->line, p->column);
		buf_printf(out, "%s%s: %s [%s]\n", p->file[0] ? " " : "", level_names[p->level], p->text,
		           problem_row(p->code)->code);
	}
	for (const struct problem_group *group = problems->groups; group; group = group->next)
		if (group->more)
			buf_printf(out, "%s%s%s: and %zu more [%s]\n", group->file, group->file[0] ? ": " : "",
			           level_names[problem_row(group->code)->level], group->more,
			           problem_row(group->code)->code);
	if (problems->lost)
		buf_printf(out, "and %zu more\n", problems->lost);
}

static void begin_json(enum problem_code code, const char *file, struct buf *out)
{
	buf_printf(out, "%s{\"level\":\"%s\",\"code\":\"%s\",\"file\":", span_ends_with(buf_span(out), SPAN("[")) ? "" : ",",
	           level_names[problem_row(code)->level], problem_row(code)->code);
	buf_add_json(out, span_from(file));
}

void problems_format_json(const struct problems *problems, struct buf *out)
{
	buf_add_byte(out, '[');
	for (const struct problem *p = problems->first; p; p = p->next) {
		begin_json(p->code, p->file, out);
		buf_printf(out, ",\"line\":%u,\"column\":%u,\"text\":", p->line, p->column);
		buf_add_json(out, span_from(p->text));
		if (p->related.file[0]) {
			buf_add_string(out, ",\"related\":{\"file\":");
			buf_add_json(out, span_from(p->related.file));
			buf_printf(out, ",\"line\":%u}", p->related.line);
		}
		buf_add_byte(out, '}');
	}
	for (const struct problem_group *group = problems->groups; group; group = group->next) {
		if (group->more == 0)
			continue;
		begin_json(group->code, group->file, out);
		buf_printf(out, ",\"line\":0,\"column\":0,\"text\":\"and %zu more\",\"more\":%zu}", group->more,
		           group->more);
	}
	buf_add_byte(out, ']');
}

void problems_reference(struct buf *out)
{
	for (size_t i = 0; i < COUNT_OF(problem_rows); i++)
		buf_printf(out, "  %s\n      %s: %s; what to do: %s\n", problem_rows[i].code,
		           level_names[problem_rows[i].level], problem_rows[i].meaning, problem_rows[i].action);
}
