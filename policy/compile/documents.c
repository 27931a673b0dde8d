/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a policy is made of: policy.yaml, what it includes, and lists. All of them are read before the first rule, so
 * that a rule may name a list of any file. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "policy/compile/compile.h"

enum { POLICY_MAX_BYTES = 4 << 20, INCLUDED_MAX = 1000, DEPTH_MAX = 8 };

/* ---- one file ---- */

enum err compile_read_file(struct compile *compile, const char *path, size_t max, struct arena *arena,
                           struct span *out)
{
	const char *instead = compile->options->instead_path;
	enum err err = ERR_NONE;

	if (instead && strcmp(instead, path) == 0)
		*out = compile->options->instead_text;
	else
		err = yaml_read_file(path, max, arena, compile->problems, out);
	if (err == ERR_NONE)
		build_note_content(&compile->build, *out);
	return err;
}

static uint32_t count_lines(struct span text)
{
	uint32_t count = 1;

	for (size_t at; (at = span_find(text, '\n')) < text.len; count++)
		text = span_skip(text, at + 1);
	return count;
}

uint16_t compile_add_file(struct compile *compile, const char *path, struct span shown, struct span text)
{
	struct image_file file = {build_text(&compile->build, shown), compile->build.line_count};

	if (compile->build.files.count >= UINT16_MAX) {
		compile->build.failed = true;
		return 0;
	}
	compile->build.line_count += count_lines(text);
	build_add(&compile->build, &compile->paths, &path, 1, sizeof(path));
	return (uint16_t)build_add(&compile->build, &compile->build.files, &file, 1, sizeof(file));
}

const char *compile_file_path(const struct compile *compile, uint16_t file)
{
	const char *const *paths = (const void *)compile->paths.at;

	return file < compile->paths.count ? paths[file] : compile->path;
}

/* The folder of a path, with its slash; empty: none is said. */
static struct span folder_of(const char *path)
{
	struct span text = span_from(path);
	size_t slash = span_find_last(text, '/');

	return slash < text.len ? span_first(text, slash + 1) : SPAN("");
}

const char *compile_path(struct compile *compile, struct span path)
{
	if (path.len && path.at[0] == '/')
		return arena_string(&compile->arena, path);
	return arena_printf(&compile->arena, "%.*s%.*s", SPAN_ARG(folder_of(compile->path)), SPAN_ARG(path));
}

struct span compile_shown(struct compile *compile, struct span path)
{
	struct span folder = folder_of(compile->shown);

	if (folder.len == 0 || (path.len && path.at[0] == '/'))
		return path;
	return span_from(arena_printf(&compile->arena, "%.*s%.*s", SPAN_ARG(folder), SPAN_ARG(path)));
}

void compile_enter(struct compile *compile, const struct document *document)
{
	compile->path = document->path;
	compile->shown = document->shown;
	compile->file = document->file;
}

/* ---- include: ---- */

static void read_includes(struct compile *compile, const struct document *from);

static struct document *add_document(struct compile *compile, const char *path, const char *shown,
                                     const struct yaml_node *include, const struct document *from)
{
	struct document *document = arena_alloc(&compile->arena, sizeof(*document));
	struct span text;

	if (document == NULL || path == NULL || shown == NULL) {
		compile->build.failed = true;
		return NULL;
	}
	*document = (struct document){.path = path, .shown = shown, .include = include, .from = from};
	if (compile_read_file(compile, path, POLICY_MAX_BYTES, &compile->arena, &text))
		return NULL;
	document->file = compile_add_file(compile, path, span_from(shown), text);
	if (yaml_parse(text, path, &compile->arena, compile->problems, &document->root))
		return NULL;
	*compile->documents_end = document;
	compile->documents_end = &document->next;
	compile->document_count++;
	return document;
}

/* Does the file include itself, by way of others or not? By what it is, since it can be named in many ways. */
static bool is_recursive(const char *path, const struct document *from)
{
	struct stat file, other;

	if (stat(path, &file) < 0)
		return false; /* said when it is read */
	for (; from; from = from->from)
		if (stat(from->path, &other) == 0 && other.st_dev == file.st_dev && other.st_ino == file.st_ino)
			return true;
	return false;
}

static void include_file(struct compile *compile, const char *path, const char *shown,
                         const struct yaml_node *node, const struct document *from)
{
	struct document *document;
	unsigned depth = 0;

	for (const struct document *above = from; above; above = above->from)
		depth++;
	if (path == NULL || shown == NULL)
		compile->build.failed = true;
	else if (is_recursive(path, from))
		WRONG(compile, node, "include: %s includes itself; each file can be read once on the way down", path);
	else if (depth > DEPTH_MAX)
		WRONG(compile, node, "include: more than %d files deep", DEPTH_MAX);
	else if (compile->document_count > INCLUDED_MAX)
		WRONG(compile, node, "include: more than %d files", INCLUDED_MAX);
	else if ((document = add_document(compile, path, shown, node, from)) != NULL)
		read_includes(compile, document);
	compile_enter(compile, from); /* what is said next stands there again */
}

/* Those of people: no hidden files, and nothing that an editor or a package manager has left. */
static int is_policy_file(const struct dirent *entry)
{
	struct span name = span_from(entry->d_name);

	return name.len && name.at[0] != '.' &&
	       (span_ends_with(name, SPAN(".yaml")) || span_ends_with(name, SPAN(".yml")));
}

/* By the bytes of their names, in every locale: 10-vendors.yaml is before 20-site.yaml. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void include_folder(struct compile *compile, const char *path, struct span shown,
                           const struct yaml_node *node, const struct document *from)
{
	struct dirent **names = NULL;
	int count = scandir(path, &names, is_policy_file, compare_names);
	const char *slash = shown.len && shown.at[shown.len - 1] == '/' ? "" : "/"; /* as it was written */

	if (count < 0)
		WRONG(compile, node, "include: the folder %s cannot be read", path);
	for (int i = 0; i < count; i++) {
		include_file(compile, arena_printf(&compile->arena, "%s%s%s", path, slash, names[i]->d_name),
		             arena_printf(&compile->arena, "%.*s%s%s", SPAN_ARG(shown), slash, names[i]->d_name),
		             node, from);
		free(names[i]);
	}
	free(names);
}

static void read_include(struct compile *compile, const struct yaml_node *node, const struct document *from)
{
	struct span shown = compile_shown(compile, node->text);
	const char *path;
	struct stat file;

	if (!compile_is_text(compile, node))
		return;
	path = compile_path(compile, node->text);
	if (path == NULL || shown.at == NULL)
		compile->build.failed = true;
	else if (stat(path, &file) < 0)
		WRONG(compile, node, "include: there is no file or folder %s", path);
	else if (S_ISDIR(file.st_mode))
		include_folder(compile, path, shown, node, from);
	else
		include_file(compile, path, arena_string(&compile->arena, shown), node, from);
}

static void read_include_nodes(struct compile *compile, const struct yaml_node *node, const struct document *from)
{
	for (const struct yaml_node *n = node ? compile_first(node) : NULL; n; n = compile_next(node, n))
		read_include(compile, n, from);
}

/* In the order in which they stand: those among the rules, then those of the file. */
static void read_includes(struct compile *compile, const struct document *from)
{
	const struct yaml_node *rules = yaml_find(from->root, "rules");

	compile_enter(compile, from);
	if (rules && rules->kind == YAML_SEQUENCE)
		for (const struct yaml_node *rule = rules->first; rule; rule = rule->next)
			read_include_nodes(compile, yaml_find(rule, "include"), from);
	read_include_nodes(compile, yaml_find(from->root, "include"), from);
}

enum err compile_read_documents(struct compile *compile, const char *path)
{
	size_t errors = compile->problems->error_count;
	struct span shown = span_from(path), folder = folder_of(path);
	struct document *first;

	/* As people name it: the file, not the way to it. */
	shown = span_skip(shown, folder.len);
	compile->documents_end = &compile->documents;
	first = add_document(compile, path, arena_string(&compile->arena, shown), NULL, NULL);
	if (first)
		read_includes(compile, first);
	if (compile->build.failed)
		return ERR_MEMORY;
	return first && compile->problems->error_count == errors ? ERR_NONE : ERR_CONFIG;
}
