/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

enum { DEPTH_MAX = 16, SCALAR_MAX_BYTES = 1 << 16 };

/* One run of the parser: libyaml gives events, we build the tree. */
struct reader {
	yaml_parser_t parser;
	const char *file;
	struct arena *arena;
	struct problems *problems;
	struct span text;
	size_t errors;
};

static void complain(struct reader *reader, yaml_mark_t mark, const char *text)
{
	reader->errors++;
	problem_add(reader->problems, PROBLEM_ERROR, reader->file, (unsigned)mark.line + 1,
	            (unsigned)mark.column + 1, "%s", text);
}

/* The byte that a mark shows; 0 at the end. Marks count characters. */
static uint8_t byte_at(const struct reader *reader, yaml_mark_t mark)
{
	struct span rest = reader->text, line = SPAN("");
	size_t at = 0;

	if (span_starts_with(rest, SPAN("\xef\xbb\xbf")))
		rest = span_skip(rest, 3);
	for (size_t i = 0; i <= mark.line; i++)
		if (!span_split(&rest, '\n', &line))
			return 0;
	for (size_t i = 0; i < mark.column && at < line.len; i++)
		for (at++; at < line.len && (line.at[at] & 0xc0) == 0x80; at++)
			;
	return at < line.len ? line.at[at] : 0;
}

/* What would be right, for what people run into most. */
static const char *hint(const struct reader *reader)
{
	struct span problem = span_from(reader->parser.problem), context = span_from(reader->parser.context);
	uint8_t byte = byte_at(reader, reader->parser.problem_mark);

	if (span_find_span(context, SPAN("alias")) < context.len ||
	    span_find_span(context, SPAN("anchor")) < context.len)
		return "; a text that begins with * or & is put in quotes: '*.example.com'";
	if (span_find_span(problem, SPAN("mapping values are not allowed")) < problem.len)
		return "; a text with a colon and a space is put in quotes, and keys of one mapping stand in one column";
	if (byte == '\t' || span_find_span(problem, SPAN("tab char")) < problem.len)
		return "; indent with spaces, not with tabs";
	if (span_find_span(problem, SPAN("cannot start any token")) < problem.len)
		return "; a text that begins so is put in quotes";
	return "";
}

static void complain_parser(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	yaml_mark_t mark = parser->problem_mark;

	reader->errors++;
	if (parser->error == YAML_READER_ERROR)
		problem_add(reader->problems, PROBLEM_ERROR, reader->file, 0, 0,
		            "%s at byte %zu; the file must be UTF-8 text", parser->problem,
		            parser->problem_offset);
	else
		problem_add(reader->problems, PROBLEM_ERROR, reader->file, (unsigned)mark.line + 1,
		            (unsigned)mark.column + 1, "this is not YAML: %s%s%s%s",
		            parser->context ? parser->context : "", parser->context ? ", " : "",
		            parser->problem ? parser->problem : "syntax error", hint(reader));
}

static struct yaml_node *new_node(struct reader *reader, enum yaml_kind kind,
                                  const yaml_event_t *event)
{
	struct yaml_node *node = arena_alloc(reader->arena, sizeof(*node));

	if (node == NULL) {
		complain(reader, event->start_mark, "too large");
		return NULL;
	}
	node->kind = kind;
	node->line = (unsigned)event->start_mark.line + 1;
	node->column = (unsigned)event->start_mark.column + 1;
	node->text = SPAN("");
	return node;
}

static bool is_null_text(struct span text)
{
	return text.len == 0 || span_equal(text, SPAN("~")) || span_equal(text, SPAN("null"));
}

static struct yaml_node *read_scalar(struct reader *reader, const yaml_event_t *event)
{
	struct yaml_node *node = new_node(reader, YAML_SCALAR, event);
	struct span text = span_of(event->data.scalar.value, event->data.scalar.length);

	if (node == NULL)
		return NULL;
	if (text.len > SCALAR_MAX_BYTES) {
		complain(reader, event->start_mark, "this text is too long");
		return NULL;
	}
	if (span_find(text, 0) < text.len)
		complain(reader, event->start_mark, "a text cannot hold NUL bytes");
	if (event->data.scalar.anchor || event->data.scalar.tag)
		complain(reader, event->start_mark, "anchors and tags are not supported here");
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	node->text = arena_copy(reader->arena, text);
	if (node->text.at == NULL) {
		complain(reader, event->start_mark, "too large");
		return NULL;
	}
	if (!node->quoted && is_null_text(text))
		node->kind = YAML_NULL;
	return node;
}

static struct yaml_node *read_node(struct reader *reader, const yaml_event_t *event,
                                   unsigned depth);

static bool next_event(struct reader *reader, yaml_event_t *event)
{
	if (yaml_parser_parse(&reader->parser, event))
		return true;
	complain_parser(reader);
	return false;
}

static void append(struct yaml_node *parent, struct yaml_node ***end, struct yaml_node *child)
{
	**end = child;
	*end = &child->next;
	parent->count++;
}

static bool read_sequence(struct reader *reader, struct yaml_node *parent, unsigned depth)
{
	struct yaml_node **end = &parent->first;

	for (;;) {
		yaml_event_t event;
		struct yaml_node *child;

		if (!next_event(reader, &event))
			return false;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return true;
		}
		child = read_node(reader, &event, depth);
		yaml_event_delete(&event);
		if (child == NULL)
			return false;
		append(parent, &end, child);
	}
}

static void check_key(struct reader *reader, const struct yaml_node *mapping,
                      const struct yaml_node *key, yaml_mark_t mark)
{
	if (key->kind != YAML_SCALAR) {
		complain(reader, mark, "a key must be a plain text");
		return;
	}
	for (const struct yaml_node *other = mapping->first; other; other = other->next) {
		if (!span_equal(other->key, key->text))
			continue;
		reader->errors++;
		problem_add(reader->problems, PROBLEM_ERROR, reader->file,
		            (unsigned)mark.line + 1, (unsigned)mark.column + 1,
		            "the key \"%.*s\" is already in line %u", SPAN_ARG(key->text),
		            other->key_line);
		return;
	}
}

static bool read_mapping(struct reader *reader, struct yaml_node *parent, unsigned depth)
{
	struct yaml_node **end = &parent->first;

	for (;;) {
		yaml_event_t event;
		struct yaml_node *key, *value;

		if (!next_event(reader, &event))
			return false;
		if (event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			return true;
		}
		key = read_node(reader, &event, depth);
		if (key)
			check_key(reader, parent, key, event.start_mark);
		yaml_event_delete(&event);
		if (key == NULL || !next_event(reader, &event))
			return false;
		value = read_node(reader, &event, depth);
		yaml_event_delete(&event);
		if (value == NULL)
			return false;
		value->key = key->text;
		value->key_line = key->line;
		value->key_column = key->column;
		append(parent, &end, value);
	}
}

/* The node that begins with `event`. NULL: the document cannot be read on. */
static struct yaml_node *read_node(struct reader *reader, const yaml_event_t *event,
                                   unsigned depth)
{
	bool is_sequence = event->type == YAML_SEQUENCE_START_EVENT;
	struct yaml_node *node;

	if (event->type == YAML_SCALAR_EVENT)
		return read_scalar(reader, event);
	if (!is_sequence && event->type != YAML_MAPPING_START_EVENT) {
		complain(reader, event->start_mark, "anchors and aliases are not supported here; a text that begins with * is put in quotes");
		return NULL;
	}
	if (depth == DEPTH_MAX) {
		complain(reader, event->start_mark, "nested too deeply");
		return NULL;
	}
	if (is_sequence ? event->data.sequence_start.anchor || event->data.sequence_start.tag
	                : event->data.mapping_start.anchor || event->data.mapping_start.tag)
		complain(reader, event->start_mark, "anchors and tags are not supported here");
	node = new_node(reader, is_sequence ? YAML_SEQUENCE : YAML_MAPPING, event);
	if (node == NULL)
		return NULL;
	if (is_sequence ? !read_sequence(reader, node, depth + 1)
	                : !read_mapping(reader, node, depth + 1))
		return NULL;
	return node;
}

static struct yaml_node *read_documents(struct reader *reader)
{
	struct yaml_node *root = NULL;
	size_t documents = 0;

	for (;;) {
		yaml_event_t event;
		yaml_event_type_t type;

		if (!next_event(reader, &event))
			return NULL;
		type = event.type;
		if (type == YAML_DOCUMENT_START_EVENT && ++documents == 2)
			complain(reader, event.start_mark, "only one document is allowed in a file");
		else if (type >= YAML_ALIAS_EVENT)
			root = documents == 1 ? read_node(reader, &event, 0) : root;
		yaml_event_delete(&event);
		if (type == YAML_STREAM_END_EVENT)
			return root;
		if (reader->errors && (documents > 1 || root == NULL))
			return NULL;
	}
}

enum err yaml_parse(struct span text, const char *file, struct arena *arena,
                    struct problems *problems, struct yaml_node **out)
{
	struct reader reader = {.file = file, .arena = arena, .problems = problems, .text = text};
	struct yaml_node *root;

	*out = NULL;
	if (!yaml_parser_initialize(&reader.parser))
		return ERR_MEMORY;
	yaml_parser_set_input_string(&reader.parser, text.at, text.len);
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	root = read_documents(&reader);
	yaml_parser_delete(&reader.parser);
	if (reader.errors)
		return ERR_CONFIG;
	if (root == NULL || root->kind == YAML_NULL) {
		root = arena_alloc(arena, sizeof(*root));
		if (root == NULL)
			return ERR_MEMORY;
		*root = (struct yaml_node){.kind = YAML_MAPPING, .line = 1, .column = 1};
	}
	*out = root;
	return ERR_NONE;
}

const struct yaml_node *yaml_find(const struct yaml_node *mapping, const char *key)
{
	if (mapping == NULL || mapping->kind != YAML_MAPPING)
		return NULL;
	for (const struct yaml_node *node = mapping->first; node; node = node->next)
		if (span_equal(node->key, span_from(key)))
			return node;
	return NULL;
}

static enum err read_all(int fd, size_t size, struct arena *arena, struct span *out)
{
	uint8_t *at = arena_alloc(arena, size + 1);
	size_t len = 0;

	if (at == NULL)
		return ERR_LIMIT;
	while (len < size) {
		ssize_t got = read(fd, at + len, size - len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return ERR_SYSTEM;
		if (got == 0)
			break;
		len += (size_t)got;
	}
	*out = span_of(at, len);
	return ERR_NONE;
}

enum err yaml_read_file(const char *path, size_t max_bytes, struct arena *arena,
                        struct problems *problems, struct span *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	enum err err = ERR_SYSTEM;
	struct stat stat;

	if (fd < 0 || fstat(fd, &stat) < 0)
		problem_add_code(problems, PROBLEM_NO_FILE, (struct problem_place){path, 0, 0}, NULL, "cannot be read: %s", strerror(errno));
	else if (!S_ISREG(stat.st_mode))
		problem_add(problems, PROBLEM_ERROR, path, 0, 0, "is not a regular file");
	else if ((uint64_t)stat.st_size > max_bytes) {
		problem_add(problems, PROBLEM_ERROR, path, 0, 0,
		            "is larger than %zu bytes, which is the most that is read", max_bytes);
		err = ERR_LIMIT;
	} else {
		err = read_all(fd, (size_t)stat.st_size, arena, out);
		if (err)
			problem_add(problems, PROBLEM_ERROR, path, 0, 0, "cannot be read: %s",
			            err == ERR_LIMIT ? "too large" : strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return err;
}
