/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/list_lines.h"

#include <stdlib.h>

#include "conf/conf.h"

enum { FILE_MAX_BYTES = 1 << 30 };

struct list_file {
	struct list_file *next;
	struct arena arena;
	struct span name, text;
	size_t *starts; /* of each line */
	size_t count;
};

void list_lines_init(struct list_lines *lines, const char *policy)
{
	*lines = (struct list_lines){.policy = policy};
}

void list_lines_fini(struct list_lines *lines)
{
	struct list_file *file = lines->files;

	while (file) {
		struct list_file *next = file->next;

		arena_fini(&file->arena);
		free(file->starts);
		free(file);
		file = next;
	}
	lines->files = NULL;
}

/* Note where lines begin. False: no memory. */
static bool find_starts(struct list_file *file)
{
	size_t count = 1;

	for (size_t i = 0; i < file->text.len; i++)
		count += file->text.at[i] == '\n';
	file->starts = calloc(count, sizeof(*file->starts));
	if (file->starts == NULL)
		return false;
	file->count = 1;
	for (size_t i = 0; i < file->text.len; i++)
		if (file->text.at[i] == '\n')
			file->starts[file->count++] = i + 1;
	return true;
}

/* What cannot be read is a file without lines: who asks is told so for each of them. */
static void read_text(const struct list_lines *lines, struct list_file *file)
{
	struct span folder = span_from(lines->policy);
	size_t slash = span_find_last(folder, '/');
	bool is_relative = slash < folder.len && file->name.len && file->name.at[0] != '/';
	struct problems problems;
	const char *path;

	path = arena_printf(&file->arena, "%.*s%.*s", is_relative ? (int)slash + 1 : 0, lines->policy,
	                    SPAN_ARG(file->name));
	problems_init(&problems);
	if (path && yaml_read_file(path, FILE_MAX_BYTES, &file->arena, &problems, &file->text) == ERR_NONE) {
		if (span_starts_with(file->text, SPAN("\xef\xbb\xbf")))
			file->text = span_skip(file->text, 3);
		if (!find_starts(file))
			file->count = 0;
	}
	problems_fini(&problems);
}

static struct list_file *find_file(struct list_lines *lines, struct span name)
{
	struct list_file *file;

	for (file = lines->files; file; file = file->next)
		if (span_equal(file->name, name))
			return file;
	file = calloc(1, sizeof(*file));
	if (file == NULL)
		return NULL;
	arena_init(&file->arena, FILE_MAX_BYTES + 65536);
	file->name = arena_copy(&file->arena, name);
	file->next = lines->files;
	lines->files = file;
	read_text(lines, file);
	return file;
}

bool list_lines_read(void *context, struct span name, unsigned line, struct span *text)
{
	const struct list_file *file = find_file(context, name);

	if (file == NULL || line == 0 || line > file->count)
		return false;
	*text = span_skip(file->text, file->starts[line - 1]);
	*text = span_first(*text, span_find(*text, '\n'));
	if (text->len && text->at[text->len - 1] == '\r')
		text->len--;
	return true;
}
