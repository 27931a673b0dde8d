/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/conf.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 4096, NAMES_MAX = 64 };

struct conf_loading {
	const char *file;
	struct arena *arena;
	struct problems *problems;
};

struct arena *conf_arena(struct conf_loading *loading)
{
	return loading->arena;
}

void conf_problem(struct conf_loading *loading, enum problem_level level,
                  const struct yaml_node *node, const char *format, ...)
{
	char text[400];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problem_add(loading->problems, level, loading->file, node ? node->line : 0,
	            node ? node->column : 0, "%s", text);
}

void conf_problem_code(struct conf_loading *loading, enum problem_code code, const struct yaml_node *node,
                       const char *format, ...)
{
	struct problem_place at = {loading->file, node ? node->line : 0, node ? node->column : 0};
	char text[400];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problem_add_code(loading->problems, code, at, NULL, "%s", text);
}

#define WRONG(loading, node, ...) conf_problem(loading, PROBLEM_ERROR, node, __VA_ARGS__)

/* ---- "did you mean" ---- */

/* Levenshtein distance of two short texts; large if one is too long to be worth it. */
static size_t distance(struct span a, struct span b)
{
	size_t row[NAMES_MAX + 1];

	if (a.len > NAMES_MAX || b.len > NAMES_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= b.len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			size_t best = diagonal + (a.at[i - 1] != b.at[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[b.len];
}

const char *conf_nearest(struct span text, const char *const *names, size_t count)
{
	size_t best = text.len / 3 + 1;
	const char *nearest = NULL;

	for (size_t i = 0; i < count; i++) {
		size_t far = distance(text, span_from(names[i]));

		if (far <= best && (nearest == NULL || far < best)) {
			best = far;
			nearest = names[i];
		}
	}
	return nearest;
}

/* ---- units ---- */

struct conf_unit {
	const char *name;
	uint64_t factor;
};

static bool parse_with_unit(struct span text, const struct conf_unit *units, uint64_t *out)
{
	size_t digits = 0;
	uint64_t number;

	while (digits < text.len && text.at[digits] >= '0' && text.at[digits] <= '9')
		digits++;
	if (!span_to_uint(span_first(text, digits), UINT64_MAX, &number))
		return false;
	text = span_skip(text, digits);
	for (; units->name; units++) {
		if (!span_equal(text, span_from(units->name)))
			continue;
		if (number > UINT64_MAX / units->factor)
			return false;
		*out = number * units->factor;
		return true;
	}
	return false;
}

static const struct conf_unit time_units[] = {{"ms", 1},       {"s", 1000},       {"m", 60000},
                                              {"h", 3600000},  {"d", 86400000},   {NULL, 0}};
static const struct conf_unit size_units[] = {{"", 1},         {"K", 1 << 10},    {"M", 1 << 20},
                                              {"G", 1 << 30},  {NULL, 0}};
static const struct conf_unit count_units[] = {{"", 1}, {NULL, 0}};

bool conf_parse_time_ms(struct span text, uint64_t *out)
{
	if (span_equal(text, SPAN("0"))) {
		*out = 0;
		return true;
	}
	return parse_with_unit(text, time_units, out);
}

bool conf_parse_size_bytes(struct span text, uint64_t *out)
{
	return parse_with_unit(text, size_units, out);
}

static const struct {
	const char *name, *expects;
	const struct conf_unit *units;
} type_rows[] = {
	[CONF_BOOL] = {"boolean", "true or false", NULL},
	[CONF_COUNT] = {"number", "a whole number", count_units},
	[CONF_SIZE_BYTES] = {"size", "a size such as 64K, 16M or 1G", size_units},
	[CONF_TIME_MS] = {"time", "a time such as 250ms, 10s, 5m, 2h or 7d", time_units},
	[CONF_TEXT] = {"text", "a text", NULL},
	[CONF_PATH] = {"path", "a path", NULL},
	[CONF_CHOICE] = {"choice", "one of the names", NULL},
	[CONF_NETWORKS] = {"networks", "a network such as 10.0.0.0/8, or a list of them", NULL},
	[CONF_TEXTS] = {"texts", "a text, or a list of them", NULL},
	[CONF_TEXT_MAP] = {"mapping", "a mapping of names to texts", NULL},
	[CONF_GROUP] = {"group", "a mapping", NULL},
	[CONF_GROUPS] = {"list of groups", "a list of mappings", NULL},
	[CONF_PARSED] = {"value", "a value", NULL},
};

/* Append a number in the largest unit that has no rest. */
static void add_with_unit(const struct conf_unit *units, uint64_t value, struct buf *out)
{
	const struct conf_unit *best = units;

	for (const struct conf_unit *unit = units; unit->name; unit++)
		if (value && value % unit->factor == 0)
			best = unit;
	buf_add_uint(out, value / best->factor);
	buf_add_string(out, best->name);
}

static void add_range(const struct conf_option *option, struct buf *out)
{
	const struct conf_unit *units = type_rows[option->type].units;

	if (units == NULL || option->max == 0)
		return;
	add_with_unit(units, option->min, out);
	buf_add_string(out, " to ");
	add_with_unit(units, option->max, out);
}

/* ---- one value ---- */

/* A copy in the arena; NULL, where there was no room for it, becomes an error and "". */
static const char *check_copy(struct conf_loading *loading, const struct yaml_node *node,
                              const char *copy)
{
	if (copy == NULL)
		WRONG(loading, node, "the configuration is too large");
	return copy ? copy : "";
}

static const char *copy_text(struct conf_loading *loading, const struct yaml_node *node,
                             struct span text)
{
	return check_copy(loading, node, arena_string(loading->arena, text));
}

const char *conf_path(struct conf_loading *loading, struct span text)
{
	struct span folder = span_from(loading->file);

	if (text.len == 0 || text.at[0] == '/')
		return arena_string(loading->arena, text);
	folder = span_first(folder, span_find_last(folder, '/'));
	if (folder.len == strlen(loading->file))
		return arena_string(loading->arena, text);
	return arena_printf(loading->arena, "%.*s/%.*s", SPAN_ARG(folder), SPAN_ARG(text));
}

static void load_number(struct conf_loading *loading, const struct conf_option *option,
                        const struct yaml_node *node, uint64_t *out)
{
	struct buf range;

	if ((option->type == CONF_TIME_MS && span_equal(node->text, SPAN("0")))
	            ? (*out = 0, true)
	            : parse_with_unit(node->text, type_rows[option->type].units, out)) {
		if (option->max == 0 || (*out >= option->min && *out <= option->max))
			return;
		buf_init(&range, 100);
		add_range(option, &range);
		WRONG(loading, node, "%s: %.*s is out of range; it must be %.*s", option->name,
		      SPAN_ARG(node->text), SPAN_ARG(buf_span(&range)));
		buf_fini(&range);
		return;
	}
	WRONG(loading, node, "%s: \"%.*s\" is not %s", option->name, SPAN_ARG(node->text),
	      type_rows[option->type].expects);
}

static void load_bool(struct conf_loading *loading, const struct conf_option *option,
                      const struct yaml_node *node, bool *out)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};

	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (span_equal_nocase(node->text, span_from(words[i]))) {
			*out = i % 2;
			return;
		}
	}
	WRONG(loading, node, "%s: \"%.*s\" is neither true nor false", option->name,
	      SPAN_ARG(node->text));
}

static void load_choice(struct conf_loading *loading, const struct conf_option *option,
                        const struct yaml_node *node, int *out)
{
	const char *names[NAMES_MAX], *nearest;
	size_t count = 0;
	struct buf all;

	buf_init(&all, 400);
	for (const struct conf_choice *choice = option->choices; choice->name; choice++) {
		if (span_equal(node->text, span_from(choice->name))) {
			*out = choice->value;
			buf_fini(&all);
			return;
		}
		ASSERT(count < NAMES_MAX);
		names[count++] = choice->name;
		buf_printf(&all, "%s%s", count > 1 ? ", " : "", choice->name);
	}
	nearest = conf_nearest(node->text, names, count);
	WRONG(loading, node, "%s: \"%.*s\" is not known; %s%s%sit can be %.*s", option->name,
	      SPAN_ARG(node->text), nearest ? "did you mean " : "", nearest ? nearest : "",
	      nearest ? "? " : "", SPAN_ARG(buf_span(&all)));
	buf_fini(&all);
}

static void load_text(struct conf_loading *loading, const struct conf_option *option,
                      const struct yaml_node *node, const char **out)
{
	uint64_t max = option->max ? option->max : TEXT_MAX;

	*out = "";
	if (node->text.len < option->min || node->text.len > max)
		WRONG(loading, node, "%s: the text must have %zu to %zu bytes", option->name,
		      (size_t)option->min, (size_t)max);
	else if (option->type == CONF_PATH)
		*out = check_copy(loading, node, conf_path(loading, node->text));
	else
		*out = copy_text(loading, node, node->text);
}

/* ---- several values: a scalar is a list of one ---- */

static const struct yaml_node *first_of(const struct yaml_node *node)
{
	return node->kind == YAML_SEQUENCE ? node->first : node->kind == YAML_NULL ? NULL : node;
}

static size_t count_of(const struct yaml_node *node)
{
	return node->kind == YAML_SEQUENCE ? node->count : node->kind == YAML_NULL ? 0 : 1;
}

static const struct yaml_node *next_of(const struct yaml_node *list, const struct yaml_node *node)
{
	return list->kind == YAML_SEQUENCE ? node->next : NULL;
}

static void *alloc_items(struct conf_loading *loading, const struct yaml_node *node, size_t count,
                         size_t item_bytes)
{
	void *items = arena_alloc(loading->arena, count * item_bytes);

	if (items == NULL)
		WRONG(loading, node, "the configuration is too large");
	return items;
}

static bool is_scalar(struct conf_loading *loading, const struct conf_option *option,
                      const struct yaml_node *node)
{
	if (node->kind == YAML_SCALAR)
		return true;
	WRONG(loading, node, "%s: expected %s", option->name, type_rows[option->type].expects);
	return false;
}

static void load_networks(struct conf_loading *loading, const struct conf_option *option,
                          const struct yaml_node *node, struct conf_networks *out)
{
	size_t count = count_of(node);
	struct network *items = alloc_items(loading, node, count, sizeof(*items));

	if (items == NULL)
		return;
	*out = (struct conf_networks){items, 0};
	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n)) {
		if (!is_scalar(loading, option, n))
			continue;
		if (network_parse(n->text, true, &items[out->count]))
			out->count++;
		else
			WRONG(loading, n,
			      "%s: \"%.*s\" is not a network; write it as 10.0.0.0/8 or fd00::/8 (bits "
			      "behind the prefix zero), with :port or :first-last where that is meant",
			      option->name, SPAN_ARG(n->text));
	}
}

static void load_texts(struct conf_loading *loading, const struct conf_option *option,
                       const struct yaml_node *node, struct conf_texts *out)
{
	size_t count = count_of(node);
	const char **items = alloc_items(loading, node, count, sizeof(*items));

	if (items == NULL)
		return;
	*out = (struct conf_texts){items, 0};
	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n))
		if (is_scalar(loading, option, n))
			items[out->count++] = copy_text(loading, n, n->text);
}

static void load_text_map(struct conf_loading *loading, const struct conf_option *option,
                          const struct yaml_node *node, struct conf_text_map *out)
{
	struct conf_text_pair *items;

	if (node->kind == YAML_NULL)
		return;
	if (node->kind != YAML_MAPPING) {
		WRONG(loading, node, "%s: expected a mapping of names to texts", option->name);
		return;
	}
	items = alloc_items(loading, node, node->count, sizeof(*items));
	if (items == NULL)
		return;
	*out = (struct conf_text_map){items, 0};
	for (const struct yaml_node *n = node->first; n; n = n->next) {
		if (n->kind != YAML_SCALAR) {
			WRONG(loading, n, "%s: expected a text", option->name);
			continue;
		}
		items[out->count++] = (struct conf_text_pair){copy_text(loading, n, n->key),
		                                              copy_text(loading, n, n->text), n->line};
	}
}

/* ---- groups ---- */

static void load_group(struct conf_loading *loading, const struct conf_option *options,
                       const struct yaml_node *node, void *out);

static void load_groups(struct conf_loading *loading, const struct conf_option *option,
                        const struct yaml_node *node, struct conf_groups *out)
{
	uint8_t *items;

	if (node->kind == YAML_NULL)
		return;
	if (node->kind != YAML_SEQUENCE) {
		WRONG(loading, node, "%s: expected a list (lines that begin with \"- \")",
		      option->name);
		return;
	}
	items = alloc_items(loading, node, node->count, option->item_bytes);
	if (items == NULL)
		return;
	*out = (struct conf_groups){items, node->count};
	for (const struct yaml_node *n = node->first; n; n = n->next, items += option->item_bytes)
		load_group(loading, option->group, n, items);
}

static void load_value(struct conf_loading *loading, const struct conf_option *option,
                       const struct yaml_node *node, void *at)
{
	bool scalar = option->type <= CONF_PATH || option->type == CONF_CHOICE;

	/* "key:" with nothing behind it means the empty text, not a number. */
	if (scalar && !(option->type == CONF_TEXT || option->type == CONF_PATH) &&
	    !is_scalar(loading, option, node))
		return;
	if (scalar && node->kind != YAML_NULL && !is_scalar(loading, option, node))
		return;
	switch (option->type) {
	case CONF_BOOL:
		load_bool(loading, option, node, at);
		break;
	case CONF_COUNT:
	case CONF_SIZE_BYTES:
	case CONF_TIME_MS:
		load_number(loading, option, node, at);
		break;
	case CONF_TEXT:
	case CONF_PATH:
		load_text(loading, option, node, at);
		break;
	case CONF_CHOICE:
		load_choice(loading, option, node, at);
		break;
	case CONF_NETWORKS:
		load_networks(loading, option, node, at);
		break;
	case CONF_TEXTS:
		load_texts(loading, option, node, at);
		break;
	case CONF_TEXT_MAP:
		load_text_map(loading, option, node, at);
		break;
	case CONF_GROUP:
		load_group(loading, option->group, node, at);
		break;
	case CONF_GROUPS:
		load_groups(loading, option, node, at);
		break;
	case CONF_PARSED:
		option->parse(loading, node, at);
		break;
	}
}

/* A default is a text as one would write it, so that the manual and the loader cannot differ. */
static void load_default(struct conf_loading *loading, const struct conf_option *option,
                         const struct yaml_node *group, void *at)
{
	struct yaml_node node = {.kind = YAML_SCALAR, .text = span_from(option->preset)};
	struct yaml_node *parsed;

	if (option->type == CONF_PARSED) {
		option->parse(loading, NULL, at);
	} else if (option->type == CONF_GROUP) {
		node.kind = YAML_MAPPING;
		load_group(loading, option->group, &node, at);
	} else if (option->preset == NULL) {
		WRONG(loading, group, "%s is missing; expected %s", option->name,
		      type_rows[option->type].expects);
	} else if (option->type == CONF_TEXTS || option->type == CONF_NETWORKS ||
	           option->type == CONF_TEXT_MAP || option->type == CONF_GROUPS) {
		if (yaml_parse(span_from(option->preset), "default", loading->arena,
		               loading->problems, &parsed) == ERR_NONE &&
		    option->preset[0])
			load_value(loading, option, parsed, at);
	} else {
		load_value(loading, option, &node, at);
	}
}

static const struct conf_option *find_option(const struct conf_option *options, struct span key)
{
	for (; options->name; options++)
		if (span_equal(key, span_from(options->name)))
			return options;
	return NULL;
}

static void complain_unknown(struct conf_loading *loading, const struct conf_option *options,
                             const struct yaml_node *node)
{
	const char *names[NAMES_MAX], *nearest;
	size_t count = 0;

	for (; options->name && count < NAMES_MAX; options++)
		names[count++] = options->name;
	nearest = conf_nearest(node->key, names, count);
	problem_add_code(loading->problems, PROBLEM_UNKNOWN_KEY,
	                 (struct problem_place){loading->file, node->key_line, node->key_column}, NULL,
	                 "unknown key \"%.*s\"%s%s%s", SPAN_ARG(node->key),
	                 nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

static void load_group(struct conf_loading *loading, const struct conf_option *options,
                       const struct yaml_node *node, void *out)
{
	if (node->kind != YAML_MAPPING && node->kind != YAML_NULL) {
		WRONG(loading, node, "expected a mapping (lines of \"key: value\")");
		return;
	}
	for (const struct yaml_node *n = node->first; n; n = n->next)
		if (find_option(options, n->key) == NULL)
			complain_unknown(loading, options, n);
	for (const struct conf_option *option = options; option->name; option++) {
		const struct yaml_node *value = yaml_find(node, option->name);
		size_t errors = loading->problems->error_count;
		void *at = (uint8_t *)out + option->offset;

		if (value)
			load_value(loading, option, value, at);
		else
			load_default(loading, option, node, at);
		if (option->check && loading->problems->error_count == errors)
			option->check(loading, value, at);
	}
}

enum err conf_load(struct span text, const char *file, const struct conf_option *options,
                   struct arena *arena, struct problems *problems, void *out, size_t out_bytes)
{
	struct conf_loading loading = {file, arena, problems};
	size_t errors = problems->error_count;
	struct yaml_node *root;
	enum err err;

	memset(out, 0, out_bytes);
	err = yaml_parse(text, file, arena, problems, &root);
	if (err)
		return err;
	load_group(&loading, options, root, out);
	return problems->error_count > errors ? ERR_CONFIG : ERR_NONE;
}

/* ---- the manual ---- */

static const char *const reload_texts[] = {
	[CONF_LIVE] = "a reload changes it at once",
	[CONF_NEW_SESSIONS] = "a reload changes it for new sessions",
	[CONF_RESTART] = "only a restart changes it",
};

static void add_default(const struct conf_option *option, struct buf *out)
{
	if (option->preset == NULL && option->type != CONF_PARSED)
		buf_add_string(out, "; required");
	else if (option->preset && option->preset[0])
		buf_printf(out, "; default %s", option->preset);
	else if (option->preset)
		buf_add_string(out, "; default empty");
}

static void add_option(const struct conf_option *option, const char *prefix, struct buf *out)
{
	const char *type = option->type_text ? option->type_text : type_rows[option->type].name;

	buf_printf(out, "%s%s\n    %s", prefix, option->name, type);
	if (option->type == CONF_CHOICE)
		for (const struct conf_choice *c = option->choices; c->name; c++)
			buf_printf(out, "%s%s", c == option->choices ? ": " : ", ", c->name);
	if (type_rows[option->type].units && option->max) {
		buf_add_string(out, ", ");
		add_range(option, out);
	}
	add_default(option, out);
	buf_printf(out, "; %s\n    %s\n\n", reload_texts[option->reload], option->manual);
}

static void add_options(const struct conf_option *options, const char *prefix, struct buf *out)
{
	for (; options->name; options++) {
		char inner[200];

		if (options->group == NULL) {
			add_option(options, prefix, out);
			continue;
		}
		if (options->manual)
			buf_printf(out, "%s%s:\n    %s\n\n", prefix, options->name, options->manual);
		snprintf(inner, sizeof(inner), "%s%s%s.", prefix, options->name,
		         options->type == CONF_GROUPS ? "[]" : "");
		add_options(options->group, inner, out);
	}
}

void conf_reference(const struct conf_option *options, struct buf *out)
{
	add_options(options, "", out);
}
