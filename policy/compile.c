/* SPDX-License-Identifier: Apache-2.0 */
/* policy.yaml and its lists, read and checked as a whole: every problem with its place, or an image. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/conf.h"
#include "policy/build.h"

enum {
	POLICY_MAX_BYTES = 4 << 20,
	LIST_MAX_BYTES = 1 << 30,
	LINE_MAX_BYTES = 65536,
	EXPIRES_SOON_DAYS = 14,
};

struct compile {
	const char *path; /* of the policy file */
	struct arena arena;
	struct problems *problems;
	struct build build;
	const char **list_names; /* by list - 1; NULL for inline patterns */
	bool *list_used;
	size_t list_count, list_capacity;
	uint64_t now_ms;
};

#define WRONG(compile, node, ...) \
	problem_add((compile)->problems, PROBLEM_ERROR, (compile)->path, (node)->line, \
	            (node)->column, __VA_ARGS__)
#define WARN(compile, node, ...) \
	problem_add((compile)->problems, PROBLEM_WARNING, (compile)->path, (node)->line, \
	            (node)->column, __VA_ARGS__)

/* ---- lists ---- */

static uint16_t add_list(struct compile *compile, const char *name, unsigned line)
{
	struct image_list list = {.line = line};

	if (compile->list_count == compile->list_capacity) {
		size_t capacity = compile->list_capacity ? compile->list_capacity * 2 : 16;
		const char **names = realloc(compile->list_names, capacity * sizeof(*names));
		bool *used = names ? realloc(compile->list_used, capacity * sizeof(*used)) : NULL;

		if (names)
			compile->list_names = names;
		if (used)
			compile->list_used = used;
		if (names == NULL || used == NULL || capacity > LISTS_MAX * 2) {
			compile->build.failed = true;
			return 1;
		}
		compile->list_capacity = capacity;
	}
	list.name = build_text(&compile->build, span_from(name ? name : ""));
	build_add(&compile->build, &compile->build.lists, &list, 1, sizeof(list));
	compile->list_names[compile->list_count] = name;
	compile->list_used[compile->list_count++] = name == NULL;
	return (uint16_t)compile->list_count;
}

static uint16_t add_file(struct compile *compile, struct span shown)
{
	struct image_range name = build_text(&compile->build, shown);

	return (uint16_t)build_add(&compile->build, &compile->build.files, &name, 1, sizeof(name));
}

static void note_network(struct compile *compile, uint16_t list)
{
	struct image_list *lists = (void *)compile->build.lists.at;

	if (!compile->build.failed)
		lists[list - 1].has_networks = true;
}

static void warn_of_expiry(struct compile *compile, const char *path, unsigned number,
                           const struct pattern_line *line)
{
	uint64_t soon_ms = compile->now_ms + (uint64_t)EXPIRES_SOON_DAYS * 86400000;

	if (line->expires_ms == 0 || line->expires_ms > soon_ms)
		return;
	problem_add(compile->problems, PROBLEM_WARNING, path, number, 1,
	            line->expires_ms <= compile->now_ms
	                    ? "%.*s has expired and matches nothing; remove it or set a new expires="
	                    : "%.*s expires within 14 days",
	            (int)line->pattern.text_len, line->pattern.text);
}

static void read_line(struct compile *compile, const char *path, uint16_t list, uint16_t file,
                      unsigned number, struct span text)
{
	struct pattern_line line;
	const char *why = "";
	size_t at = 0;

	if (text.len > LINE_MAX_BYTES) {
		problem_add(compile->problems, PROBLEM_ERROR, path, number, 1,
		            "the line is longer than %d bytes", LINE_MAX_BYTES);
		return;
	}
	if (!pattern_line_parse(text, &line, &why, &at)) {
		problem_add(compile->problems, PROBLEM_ERROR, path, number, (unsigned)at + 1, "%s", why);
		return;
	}
	if (line.is_empty)
		return;
	if (!build_entry(&compile->build, &line, list, file, number, &why, &at))
		problem_add(compile->problems, PROBLEM_ERROR, path, number, (unsigned)at + 2,
		            "the regular expression is not valid: %s", why);
	if (line.pattern.kind == PATTERN_NETWORK)
		note_network(compile, list);
	warn_of_expiry(compile, path, number, &line);
}

/* A path as it is written in the policy file, from that file's folder. */
static const char *resolve_path(struct compile *compile, struct span path)
{
	struct span folder = span_from(compile->path);
	size_t slash = span_find_last(folder, '/');

	if ((path.len && path.at[0] == '/') || slash == folder.len)
		return arena_string(&compile->arena, path);
	return arena_printf(&compile->arena, "%.*s/%.*s", SPAN_ARG(span_first(folder, slash)),
	                    SPAN_ARG(path));
}

static void read_list_file(struct compile *compile, uint16_t list, const struct yaml_node *node)
{
	struct problems *problems = compile->problems;
	struct arena arena;
	const char *path;
	struct span text, line;
	unsigned number = 0;
	uint16_t file;

	if (node->kind != YAML_SCALAR || node->text.len == 0) {
		WRONG(compile, node, "a list is the path of a file, or several in [ ]");
		return;
	}
	path = resolve_path(compile, node->text);
	if (path == NULL || compile->build.files.count >= UINT16_MAX) {
		compile->build.failed = true;
		return;
	}
	arena_init(&arena, LIST_MAX_BYTES + 4096);
	if (yaml_read_file(path, LIST_MAX_BYTES, &arena, problems, &text) == ERR_NONE) {
		build_note_content(&compile->build, text);
		if (span_starts_with(text, SPAN("\xef\xbb\xbf")))
			text = span_skip(text, 3);
		file = add_file(compile, node->text);
		while (text.len && span_split(&text, '\n', &line))
			read_line(compile, path, list, file, ++number, line);
		if (compile->build.entries.count > ENTRIES_MAX)
			compile->build.failed = true;
	}
	arena_fini(&arena);
}

static void read_lists(struct compile *compile, const struct yaml_node *lists)
{
	if (lists == NULL || lists->kind == YAML_NULL)
		return;
	if (lists->kind != YAML_MAPPING) {
		WRONG(compile, lists, "lists: expected lines of \"name: path\"");
		return;
	}
	for (const struct yaml_node *node = lists->first; node; node = node->next) {
		uint16_t list = add_list(compile, arena_string(&compile->arena, node->key),
		                         node->key_line);

		if (node->kind != YAML_SEQUENCE)
			read_list_file(compile, list, node);
		else
			for (const struct yaml_node *n = node->first; n; n = n->next)
				read_list_file(compile, list, n);
	}
}

/* ---- conditions ---- */

static const struct yaml_node *first_of(const struct yaml_node *node)
{
	return node->kind == YAML_SEQUENCE ? node->first : node;
}

static const struct yaml_node *next_of(const struct yaml_node *list, const struct yaml_node *node)
{
	return list->kind == YAML_SEQUENCE ? node->next : NULL;
}

static bool is_text(struct compile *compile, const struct yaml_node *node)
{
	if (node->kind == YAML_SCALAR && node->text.len)
		return true;
	WRONG(compile, node, "%.*s: expected a text, or a list of them", SPAN_ARG(node->key));
	return false;
}

static uint16_t find_list(struct compile *compile, struct span name)
{
	for (size_t i = 0; i < compile->list_count; i++)
		if (compile->list_names[i] && span_equal(name, span_from(compile->list_names[i])))
			return (uint16_t)(i + 1);
	return 0;
}

/* An inline pattern is a list of one entry, whose place is the policy file. */
static uint16_t add_inline(struct compile *compile, const struct yaml_node *node)
{
	struct pattern_line line = {.is_empty = false};
	const char *why = "", *nearest;
	const char *names[256];
	size_t at = 0, count = 0;
	uint16_t list;

	if (!pattern_parse(node->text, &line.pattern, &why, &at)) {
		WRONG(compile, node, "\"%.*s\" is no list, and no pattern either: %s",
		      SPAN_ARG(node->text), why);
		return 0;
	}
	for (size_t i = 0; i < compile->list_count && count < COUNT_OF(names); i++)
		if (compile->list_names[i])
			names[count++] = compile->list_names[i];
	nearest = conf_nearest(node->text, names, count);
	if (line.pattern.kind == PATTERN_EXACT && span_find(node->text, '.') == node->text.len) {
		/* One bare word is more often a misspelt list than a host. */
		WRONG(compile, node,
		      "there is no list \"%.*s\"%s%s%s (a host without a dot is written as \"%.*s.\")",
		      SPAN_ARG(node->text), nearest ? "; did you mean " : "", nearest ? nearest : "",
		      nearest ? "?" : "", SPAN_ARG(node->text));
		return 0;
	}
	list = add_list(compile, NULL, node->line);
	if (!build_entry(&compile->build, &line, list, 0, node->line, &why, &at)) {
		WRONG(compile, node, "the regular expression is not valid: %s", why);
		return 0;
	}
	if (line.pattern.kind == PATTERN_NETWORK)
		note_network(compile, list);
	return list;
}

static struct image_range read_list_refs(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.list_refs.count, 0};

	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n)) {
		uint16_t list;

		if (!is_text(compile, n))
			continue;
		list = find_list(compile, n->text);
		if (list)
			compile->list_used[list - 1] = true;
		else
			list = add_inline(compile, n);
		if (list == 0)
			continue;
		build_add(&compile->build, &compile->build.list_refs, &list, 1, sizeof(list));
		range.count++;
	}
	return range;
}

static struct image_range read_ports(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.ports.count, 0};

	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n)) {
		struct image_ports ports[PATTERN_PORTS_MAX];
		size_t count;

		if (!is_text(compile, n))
			continue;
		if (!pattern_ports_parse(n->text, ports, COUNT_OF(ports), &count)) {
			WRONG(compile, n, "\"%.*s\" is no port; write 443 or 33434-33598",
			      SPAN_ARG(n->text));
			continue;
		}
		build_add(&compile->build, &compile->build.ports, ports, count, sizeof(ports[0]));
		range.count += (uint32_t)count;
	}
	return range;
}

static struct image_range read_networks(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.networks.count, 0};

	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n)) {
		struct network network = {0};

		if (!is_text(compile, n))
			continue;
		if (!pattern_network_parse(n->text, &network)) {
			WRONG(compile, n, "\"%.*s\" is no network; write 10.20.0.0/16 or fd00::/8 (bits "
			                  "behind the prefix zero)", SPAN_ARG(n->text));
			continue;
		}
		build_add(&compile->build, &compile->build.networks, &network, 1, sizeof(network));
		range.count++;
	}
	return range;
}

static struct image_range read_texts(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.texts.count, 0};

	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n)) {
		struct image_range text;

		if (!is_text(compile, n))
			continue;
		text = build_text(&compile->build, n->text);
		build_add(&compile->build, &compile->build.texts, &text, 1, sizeof(text));
		range.count++;
	}
	return range;
}

/* RFC 9110, RFC 5789 and WebDAV (RFC 3253, 3648, 3744, 4791, 4918, 5323, 5842). Others pass, too. */
static const char *const methods[] = {
	"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "ACL", "BASELINE-CONTROL",
	"BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR",
	"MKCOL", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPFIND", "PROPPATCH", "QUERY", "REBIND", "REPORT",
	"SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "VERSION-CONTROL",
};

static void doubt_method(struct compile *compile, const struct yaml_node *node)
{
	const char *nearest = NULL;

	for (size_t i = 0; i < COUNT_OF(methods) && nearest == NULL; i++) {
		if (span_equal(node->text, span_from(methods[i])))
			return;
		if (span_equal_nocase(node->text, span_from(methods[i])))
			nearest = methods[i];
	}
	if (nearest) {
		WARN(compile, node, "method: \"%.*s\" is another method than %s, and matches no request: write it in capitals",
		     SPAN_ARG(node->text), nearest);
		return;
	}
	nearest = conf_nearest(node->text, methods, COUNT_OF(methods));
	WARN(compile, node, "method: \"%.*s\" is no method that is known%s%s%s", SPAN_ARG(node->text),
	     nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

static struct image_range read_methods(struct compile *compile, const struct yaml_node *node)
{
	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n))
		if (n->kind == YAML_SCALAR && n->text.len)
			doubt_method(compile, n);
	return read_texts(compile, node);
}

static struct image_range read_urls(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.urls.count, 0};

	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n)) {
		struct image_url url = {.regex = NONE};
		struct span text = n->text;
		const char *why;
		size_t at;

		if (!is_text(compile, n))
			continue;
		if (text.len > 2 && text.at[0] == '/' && text.at[text.len - 1] == '/') {
			text = span_of(text.at + 1, text.len - 2);
			url.regex = build_regex(&compile->build, text, NONE, &why, &at);
			if (url.regex == NONE)
				WRONG(compile, n, "the regular expression is not valid at %zu: %s", at + 1, why);
		} else {
			url.text = build_text(&compile->build, text);
		}
		build_add(&compile->build, &compile->build.urls, &url, 1, sizeof(url));
		range.count++;
	}
	return range;
}

/* ---- time: "mon-fri 08:00-18:00 +01:00" ---- */

static bool parse_day(struct span text, uint32_t *out)
{
	static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

	for (uint32_t i = 0; i < COUNT_OF(names); i++) {
		if (span_equal_nocase(text, span_from(names[i]))) {
			*out = i;
			return true;
		}
	}
	return false;
}

static bool parse_days(struct span text, uint32_t *out)
{
	struct span piece;
	uint32_t days = 0;

	while (span_split(&text, ',', &piece)) {
		size_t dash = span_find(piece, '-');
		uint32_t first, last;

		if (!parse_day(span_first(piece, dash), &first))
			return false;
		last = first;
		if (dash < piece.len && !parse_day(span_skip(piece, dash + 1), &last))
			return false;
		for (uint32_t day = first;; day = (day + 1) % 7) {
			days |= 1u << day;
			if (day == last)
				break;
		}
	}
	*out = days;
	return true;
}

static bool parse_clock(struct span text, uint32_t *out)
{
	uint64_t hours, minutes;

	if (text.len != 5 || text.at[2] != ':' || !span_to_uint(span_first(text, 2), 24, &hours) ||
	    !span_to_uint(span_skip(text, 3), 59, &minutes) || (hours == 24 && minutes))
		return false;
	*out = (uint32_t)(hours * 60 + minutes);
	return true;
}

static bool parse_zone(struct span text, int32_t *out)
{
	uint32_t minutes;

	if (span_equal(text, SPAN("UTC")) || span_equal(text, SPAN("Z"))) {
		*out = 0;
		return true;
	}
	if (text.len != 6 || (text.at[0] != '+' && text.at[0] != '-') ||
	    !parse_clock(span_skip(text, 1), &minutes) || minutes > 14 * 60)
		return false;
	*out = text.at[0] == '-' ? -(int32_t)minutes : (int32_t)minutes;
	return true;
}

static bool parse_time(struct span text, struct image_time *out)
{
	enum { DAYS = 1, ZONE = 2, HOURS = 4 };
	unsigned seen = 0;
	struct span word;

	*out = (struct image_time){.days = 0x7f, .until_min = 1440};
	while (span_split(&text, ' ', &word)) {
		size_t dash = span_find(word, '-');
		unsigned part = HOURS;

		if (word.len == 0)
			continue;
		if (parse_days(word, &out->days))
			part = DAYS;
		else if (parse_zone(word, &out->zone_min))
			part = ZONE;
		else if (!parse_clock(span_first(word, dash), &out->from_min) ||
		         !parse_clock(span_skip(word, dash + 1), &out->until_min))
			return false;
		if (seen & part)
			return false; /* the second would take the place of the first */
		seen |= part;
	}
	return out->from_min != out->until_min;
}

static struct image_range read_times(struct compile *compile, const struct yaml_node *node)
{
	struct image_range range = {(uint32_t)compile->build.times.count, 0};

	for (const struct yaml_node *n = first_of(node); n; n = next_of(node, n)) {
		struct image_time time = {0};

		if (!is_text(compile, n))
			continue;
		if (!parse_time(n->text, &time)) {
			WRONG(compile, n, "\"%.*s\" is no time; write \"mon-fri 08:00-18:00 +01:00\" (each "
			                  "part once or not at all; the zone as an offset, UTC without one), or a list of such", SPAN_ARG(n->text));
			continue;
		}
		build_add(&compile->build, &compile->build.times, &time, 1, sizeof(time));
		range.count++;
	}
	return range;
}

/* ---- rules ---- */

/* One row per condition: how it is read, where its range lies in the rule. */
static const struct condition {
	const char *key;
	struct image_range (*read)(struct compile *compile, const struct yaml_node *node);
	size_t offset;
	bool for_auth, for_route; /* may decide these questions */
	const char *manual;
} conditions[] = {
	{"to", read_list_refs, offsetof(struct image_rule, to), true, true,
	 "names of lists, or patterns: the host that is asked for"},
	{"port", read_ports, offsetof(struct image_rule, port), true, true,
	 "ports and ranges, 443 or 33434-33598; without it, answers that allow hold for defaults.ports"},
	{"from", read_networks, offsetof(struct image_rule, from), true, true,
	 "addresses and networks of clients"},
	{"user", read_texts, offsetof(struct image_rule, user), false, true,
	 "who the client says it is; nobody is asked in this version: it holds for everyone where the rule denies and for no one where it allows"},
	{"group", read_texts, offsetof(struct image_rule, group), false, true, "a group of the user; as user"},
	{"sni", read_list_refs, offsetof(struct image_rule, sni), false, false,
	 "as to, for the name in the ClientHello; not read in this version: as user"},
	{"method", read_methods, offsetof(struct image_rule, method), true, true, "CONNECT, GET, ..."},
	{"url", read_urls, offsetof(struct image_rule, url), false, false,
	 "beginnings, or expressions /.../, of the URL of an http:// request; that of a CONNECT is never known, and there it is as with user"},
	{"time", read_times, offsetof(struct image_rule, time), true, true,
	 "\"mon-fri 08:00-18:00 +01:00\": days, hours, zone, each once or not at all; the zone is an offset (or UTC, Z): names, and with them summer time, are not known"},
	{"listener", read_texts, offsetof(struct image_rule, listener), true, true,
	 "names of listeners of sallyport.yaml"},
};

size_t compile_condition(size_t at, const char **key, const char **manual)
{
	if (at < COUNT_OF(conditions)) {
		*key = conditions[at].key;
		*manual = conditions[at].manual;
	}
	return COUNT_OF(conditions);
}

static void complain_unknown(struct compile *compile, const struct yaml_node *node,
                             const char *const *names, size_t count)
{
	const char *nearest = conf_nearest(node->key, names, count);
	struct buf all;

	buf_init(&all, 400);
	for (size_t i = 0; i < count; i++)
		buf_printf(&all, "%s%s", i ? ", " : "", names[i]);
	problem_add(compile->problems, PROBLEM_ERROR, compile->path, node->key_line,
	            node->key_column, "unknown key \"%.*s\"; %s%s%sknown are %.*s",
	            SPAN_ARG(node->key), nearest ? "did you mean " : "", nearest ? nearest : "",
	            nearest ? "? " : "", SPAN_ARG(buf_span(&all)));
	buf_fini(&all);
}

static bool read_flag(struct compile *compile, const struct yaml_node *node)
{
	if (span_equal(node->text, SPAN("true")))
		return true;
	if (!span_equal(node->text, SPAN("false")))
		WRONG(compile, node, "%.*s is neither true nor false", SPAN_ARG(node->text));
	return false;
}

static void read_when(struct compile *compile, const struct yaml_node *when,
                      struct image_rule *rule)
{
	const char *names[COUNT_OF(conditions) + 1] = {"resolved"};

	if (when == NULL || when->kind == YAML_NULL)
		return;
	if (when->kind != YAML_MAPPING) {
		WRONG(compile, when, "when: expected conditions, such as {to: LIST}");
		return;
	}
	for (size_t i = 0; i < COUNT_OF(conditions); i++)
		names[i + 1] = conditions[i].key;
	for (const struct yaml_node *node = when->first; node; node = node->next) {
		size_t i = 0;

		while (i < COUNT_OF(conditions) &&
		       !span_equal(node->key, span_from(conditions[i].key)))
			i++;
		if (i < COUNT_OF(conditions)) {
			struct image_range *range = (void *)((uint8_t *)rule + conditions[i].offset);
			size_t errors = compile->problems->error_count;

			*range = conditions[i].read(compile, node);
			if (range->count == 0 && compile->problems->error_count == errors)
				WRONG(compile, node, "%s: is empty; leave it out if it is not meant",
				      conditions[i].key);
		} else if (span_equal(node->key, SPAN("resolved"))) {
			rule->resolved = read_flag(compile, node);
		} else {
			complain_unknown(compile, node, names, COUNT_OF(names));
		}
	}
}

static void read_route(struct compile *compile, const struct yaml_node *node, uint8_t *answer,
                       struct address *source)
{
	const struct yaml_node *text = yaml_find(node, "source");

	if (node->kind == YAML_SCALAR && span_equal(node->text, SPAN("direct"))) {
		*answer = ROUTE_DIRECT;
	} else if (yaml_find(node, "parent")) {
		WRONG(compile, node, "route: this version has no parent proxies yet; write direct or "
		                     "{source: ADDRESS}");
	} else if (text == NULL || text->kind != YAML_SCALAR || node->count != 1) {
		WRONG(compile, node, "route: write direct or {source: ADDRESS}");
	} else if (!address_parse(text->text, source)) {
		WRONG(compile, text, "route: \"%.*s\" is no address of this host", SPAN_ARG(text->text));
	} else {
		*answer = ROUTE_SOURCE;
	}
}

static void read_answer(struct compile *compile, const struct yaml_node *node,
                        enum policy_question question, uint8_t *answer)
{
	struct buf all;

	buf_init(&all, 200);
	for (unsigned i = 0; policy_answer_name(question, i); i++) {
		const char *name = policy_answer_name(question, i);

		if (node->kind == YAML_SCALAR && span_equal(node->text, span_from(name))) {
			*answer = (uint8_t)i;
			buf_fini(&all);
			return;
		}
		buf_printf(&all, "%s%s", i ? ", " : "", name);
	}
	WRONG(compile, node, "%s: \"%.*s\" is no answer; it can be %.*s",
	      policy_question_name(question), SPAN_ARG(node->text), SPAN_ARG(buf_span(&all)));
	buf_fini(&all);
}

static void read_default_ports(struct compile *compile, const struct yaml_node *node)
{
	size_t errors = compile->problems->error_count;

	compile->build.default_ports = read_ports(compile, node);
	if (compile->build.default_ports.count == 0 && compile->problems->error_count == errors)
		WRONG(compile, node, "ports: is empty; write the ports at which allow, bypass and exempt may "
		                     "hold, such as [80, 443], or leave it out: it is these two then");
}

/* Read answers; `ports` only belongs to defaults. */
static void read_then(struct compile *compile, const struct yaml_node *then, uint8_t *answers,
                      struct address *source, bool is_defaults)
{
	const char *names[POLICY_QUESTION_COUNT + 1];

	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		names[q] = policy_question_name((enum policy_question)q);
	names[POLICY_QUESTION_COUNT] = "ports";
	for (const struct yaml_node *node = then->first; node; node = node->next) {
		int q = 0;

		while (q < POLICY_QUESTION_COUNT && !span_equal(node->key, span_from(names[q])))
			q++;
		if (q == POLICY_ROUTE)
			read_route(compile, node, &answers[q], source);
		else if (q < POLICY_QUESTION_COUNT)
			read_answer(compile, node, (enum policy_question)q, &answers[q]);
		else if (is_defaults && span_equal(node->key, SPAN("ports")))
			read_default_ports(compile, node);
		else
			complain_unknown(compile, node, names,
			                 COUNT_OF(names) - (is_defaults ? 0 : 1));
	}
}

/* auth is decided before a user, a name inside TLS or a request is known; route before dialling. */
static void check_questions(struct compile *compile, const struct yaml_node *node,
                            const struct image_rule *rule)
{
	for (size_t i = 0; i < COUNT_OF(conditions); i++) {
		const struct image_range *range =
			(const void *)((const uint8_t *)rule + conditions[i].offset);

		if (range->count == 0)
			continue;
		if (rule->answers[POLICY_AUTH] != NO_ANSWER && !conditions[i].for_auth)
			WRONG(compile, node, "a rule that answers auth cannot ask for %s: it may use from, "
			                     "listener, to, port, method and time", conditions[i].key);
		if (rule->answers[POLICY_ROUTE] != NO_ANSWER && !conditions[i].for_route)
			WRONG(compile, node, "a rule that answers route cannot ask for %s: it is decided "
			                     "before dialling", conditions[i].key);
	}
	if (rule->resolved && rule->answers[POLICY_AUTH] != NO_ANSWER)
		WRONG(compile, node, "a rule that answers auth cannot say resolved: true");
	if (rule->resolved && rule->to.count == 0)
		WRONG(compile, node, "resolved: true needs to:");
}

static bool rule_loosens(const struct image_rule *rule)
{
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (rule->answers[q] != NO_ANSWER &&
		    policy_is_loosening((enum policy_question)q, rule->answers[q]))
			return true;
	return false;
}

static struct span build_span(const struct compile *compile, struct image_range range)
{
	return span_of(compile->build.strings.at + range.at, range.count);
}

static void note_lists(const struct build *build, struct image_range lists, bool *noted)
{
	const uint16_t *refs = (const void *)build->list_refs.at;

	for (uint32_t i = 0; i < lists.count; i++)
		noted[refs[lists.at + i]] = true;
}

/* Lists that loosen must not hold a regular expression that a longer name could slip through. */
static void check_regexes(struct compile *compile)
{
	const struct build *build = &compile->build;
	const struct image_rule *rules = (const void *)build->rules.at;
	const struct image_entry *entries = (const void *)build->entries.at;
	const uint32_t *regexes = (const void *)build->regexes.at;
	const struct image_range *files = (const void *)build->files.at;
	bool *loosens = calloc(compile->list_count + 1, sizeof(*loosens));

	if (loosens == NULL) {
		compile->build.failed = true;
		return;
	}
	for (size_t i = 0; i < build->rules.count; i++) {
		if (!rule_loosens(&rules[i]))
			continue;
		note_lists(build, rules[i].to, loosens);
		note_lists(build, rules[i].sni, loosens);
	}
	for (size_t i = 0; i < build->regexes.count; i++) {
		const struct image_entry *entry;
		struct span text, file;

		if (regexes[i] == NONE)
			continue;
		entry = &entries[regexes[i]];
		text = build_span(compile, (struct image_range){entry->text_at, entry->text_len});
		file = build_span(compile, files[entry->file]);
		if (loosens[entry->list] && !build_regex_is_anchored(pattern_regex(text))) {
			char *path = entry->file ? arena_string(&compile->arena, file) : NULL;

			problem_add(compile->problems, PROBLEM_ERROR, path ? path : compile->path,
			            entry->line, 1,
			            "%.*s is used to loosen, so it must be anchored at both ends: /^...$/ "
			            "(alternatives in parentheses: /^(a|b)$/)",
			            SPAN_ARG(text));
		}
	}
	free(loosens);
}

/* Only with sallyport.yaml can it be told whether there is such a listener. */
static void note_listener(const struct yaml_node *node, struct image_rule *rule)
{
	if (node == NULL)
		return;
	rule->listener_line = node->line;
	rule->listener_column = node->column;
}

static void read_rule(struct compile *compile, const struct yaml_node *node)
{
	static const char *const names[] = {"name", "when", "then"};
	const struct yaml_node *name = yaml_find(node, "name"), *then = yaml_find(node, "then");
	struct image_rule rule = {.line = node->line, .column = node->column};

	memset(rule.answers, NO_ANSWER, sizeof(rule.answers));
	if (node->kind != YAML_MAPPING) {
		WRONG(compile, node, "a rule is {name: ..., when: {...}, then: {...}}");
		return;
	}
	for (const struct yaml_node *n = node->first; n; n = n->next)
		if (!span_equal(n->key, span_from("name")) && !span_equal(n->key, span_from("when")) &&
		    !span_equal(n->key, span_from("then")))
			complain_unknown(compile, n, names, COUNT_OF(names));
	if (name == NULL || name->kind != YAML_SCALAR || name->text.len == 0 || name->text.len > 200)
		WRONG(compile, node, "the rule needs a name of 1 to 200 bytes: it is what logs and pages say");
	else
		rule.name = build_text(&compile->build, name->text);
	read_when(compile, yaml_find(node, "when"), &rule);
	note_listener(yaml_find(yaml_find(node, "when"), "listener"), &rule);
	if (then == NULL || then->kind != YAML_MAPPING || then->count == 0)
		WRONG(compile, node, "the rule needs then: with at least one answer");
	else
		read_then(compile, then, rule.answers, &rule.route_source, false);
	check_questions(compile, node, &rule);
	build_add(&compile->build, &compile->build.rules, &rule, 1, sizeof(rule));
}

static void read_rules(struct compile *compile, const struct yaml_node *rules)
{
	if (rules == NULL || rules->kind == YAML_NULL)
		return;
	if (rules->kind != YAML_SEQUENCE) {
		WRONG(compile, rules, "rules: expected a list (lines that begin with \"- \")");
		return;
	}
	if (rules->count > RULES_MAX)
		WRONG(compile, rules, "more than %d rules", RULES_MAX);
	for (const struct yaml_node *node = rules->first; node; node = node->next)
		read_rule(compile, node);
}

/* What defaults leaves open is the safe answer, but auth: nobody is asked unless policy says so. */
static void read_defaults(struct compile *compile, const struct yaml_node *defaults)
{
	static const struct image_ports web[] = {{80, 80}, {443, 443}};
	uint8_t *answers = compile->build.defaults;
	struct address source = {0};

	if (defaults && defaults->kind == YAML_MAPPING) {
		compile->build.defaults_line = defaults->key_line;
		read_then(compile, defaults, answers, &source, true);
		if (answers[POLICY_ROUTE] == ROUTE_SOURCE)
			WRONG(compile, defaults, "defaults: route can only be direct; a source address needs a rule");
	} else if (defaults && defaults->kind != YAML_NULL) {
		WRONG(compile, defaults, "defaults: expected answers, such as {access: allow}");
	}
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		compile->build.answered |= answers[q] == NO_ANSWER ? 0 : 1u << q;
	if (answers[POLICY_AUTH] == NO_ANSWER)
		answers[POLICY_AUTH] = AUTH_EXEMPT;
	if (answers[POLICY_ACCESS] == NO_ANSWER)
		problem_add(compile->problems, PROBLEM_WARNING, compile->path,
		            compile->build.defaults_line, compile->build.defaults_line ? 1 : 0,
		            "defaults: access is not said: what no rule allows is denied; write access: deny or access: allow");
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (answers[q] == NO_ANSWER)
			answers[q] = 0;
	if (compile->build.default_ports.count == 0)
		compile->build.default_ports = (struct image_range){
			build_add(&compile->build, &compile->build.ports, web, 2, sizeof(web[0])), 2};
}

static void check_lists(struct compile *compile)
{
	const struct image_list *lists = (const void *)compile->build.lists.at;

	for (size_t i = 0; i < compile->list_count; i++)
		if (!compile->list_used[i])
			problem_add(compile->problems, PROBLEM_WARNING, compile->path, lists[i].line, 1,
			            "no rule uses the list %s", compile->list_names[i]);
}

static void read_policy(struct compile *compile, const struct yaml_node *root)
{
	static const char *const names[] = {"lists", "rules", "defaults"};
	size_t errors = compile->problems->error_count;

	if (root->kind != YAML_MAPPING) {
		WRONG(compile, root, "a policy has lists:, rules: and defaults:");
		return;
	}
	for (const struct yaml_node *node = root->first; node; node = node->next) {
		size_t i = 0;

		while (i < COUNT_OF(names) && !span_equal(node->key, span_from(names[i])))
			i++;
		if (i == COUNT_OF(names))
			complain_unknown(compile, node, names, COUNT_OF(names));
	}
	read_defaults(compile, yaml_find(root, "defaults"));
	read_lists(compile, yaml_find(root, "lists"));
	read_rules(compile, yaml_find(root, "rules"));
	check_lists(compile);
	check_regexes(compile);
	if (compile->problems->error_count == errors && !compile->build.failed)
		doubts_add(&compile->build, compile->path, compile->problems);
}

enum err policy_compile(const char *path, struct problems *problems, void **image,
                        size_t *image_bytes)
{
	struct compile compile = {.path = path, .problems = problems};
	size_t errors = problems->error_count;
	struct yaml_node *root;
	struct span text;
	enum err err;

	compile.now_ms = (uint64_t)time(NULL) * 1000;
	arena_init(&compile.arena, POLICY_MAX_BYTES * 4);
	build_init(&compile.build);
	err = yaml_read_file(path, POLICY_MAX_BYTES, &compile.arena, problems, &text);
	if (err == ERR_NONE)
		err = yaml_parse(text, path, &compile.arena, problems, &root);
	if (err == ERR_NONE) {
		struct span shown = span_from(path);

		build_note_content(&compile.build, text);
		/* As people name it: the file, not the way to it. */
		add_file(&compile, span_skip(shown, span_find_last(shown, '/') == shown.len
		                                            ? 0 : span_find_last(shown, '/') + 1));
		read_policy(&compile, root);
		err = problems->error_count > errors ? ERR_CONFIG
		      : compile.build.failed         ? ERR_MEMORY
		                                     : build_image(&compile.build, image, image_bytes);
	}
	if (err == ERR_SYSTEM || err == ERR_LIMIT)
		err = ERR_CONFIG;
	build_fini(&compile.build);
	arena_fini(&compile.arena);
	free(compile.list_names);
	free(compile.list_used);
	return err;
}
