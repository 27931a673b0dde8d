/* SPDX-License-Identifier: Apache-2.0 */
#include "base/problem.h"

#include <stdio.h>

enum { KEPT_MAX = 1000, ARENA_MAX_BYTES = 1 << 20, TEXT_MAX = 400 };

static const char *const level_names[] = {"error", "warning"};

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

void problem_add(struct problems *problems, enum problem_level level, const char *file,
                 unsigned line, unsigned column, const char *format, ...)
{
	size_t count = problems->error_count + problems->warning_count;
	char text[TEXT_MAX];
	struct problem *problem;
	va_list args;

	if (level == PROBLEM_ERROR)
		problems->error_count++;
	else
		problems->warning_count++;
	if (count >= KEPT_MAX)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problem = arena_alloc(&problems->arena, sizeof(*problem));
	if (problem == NULL)
		return;
	*problem = (struct problem){NULL, level, line, column, NULL, NULL};
	problem->file = arena_string(&problems->arena, span_from(file));
	problem->text = arena_string(&problems->arena, span_from(text));
	if (problem->file == NULL || problem->text == NULL)
		return;
	*problems->end = problem;
	problems->end = &problem->next;
}

void problems_format(const struct problems *problems, struct buf *out)
{
	size_t kept = 0;

	for (const struct problem *p = problems->first; p; p = p->next, kept++) {
		if (p->file[0])
			buf_printf(out, "%s:", p->file);
		if (p->line)
			buf_printf(out, "%u:%u:", p->line, p->column);
		buf_printf(out, "%s%s: %s\n", p->file[0] ? " " : "", level_names[p->level], p->text);
	}
	if (kept < problems->error_count + problems->warning_count)
		buf_printf(out, "and %zu more\n",
		           problems->error_count + problems->warning_count - kept);
}

void problems_format_json(const struct problems *problems, struct buf *out)
{
	buf_add_byte(out, '[');
	for (const struct problem *p = problems->first; p; p = p->next) {
		buf_printf(out, "%s{\"level\":\"%s\",\"file\":", p == problems->first ? "" : ",",
		           level_names[p->level]);
		buf_add_json(out, span_from(p->file));
		buf_printf(out, ",\"line\":%u,\"column\":%u,\"text\":", p->line, p->column);
		buf_add_json(out, span_from(p->text));
		buf_add_byte(out, '}');
	}
	buf_add_byte(out, ']');
}
