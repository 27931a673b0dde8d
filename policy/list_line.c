/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "policy/list_line.h"

#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "policy/pattern.h"

static void format_ports(const struct pattern_line *from, struct list_line *out)
{
	size_t len = 0;

	for (size_t i = 0; i < from->port_count; i++) {
		const struct image_ports *ports = &from->ports[i];
		int more = ports->first == ports->last
		                   ? snprintf(out->ports + len, sizeof(out->ports) - len, "%s%u", i ? "," : "", ports->first)
		                   : snprintf(out->ports + len, sizeof(out->ports) - len, "%s%u-%u", i ? "," : "",
		                              ports->first, ports->last);

		len += (size_t)more;
	}
}

/* Free text: behind a # that begins a word, outside of quotes. */
static struct span note_of(struct span line)
{
	bool is_quoted = false;
	size_t at = 0;

	while (at < line.len && (line.at[at] == ' ' || line.at[at] == '\t'))
		at++;
	while (at < line.len && line.at[at] != ' ' && line.at[at] != '\t')
		at++;
	for (; at < line.len; at++) {
		if (line.at[at] == '"')
			is_quoted = !is_quoted;
		else if (line.at[at] == '#' && !is_quoted && (line.at[at - 1] == ' ' || line.at[at - 1] == '\t'))
			return span_trim(span_skip(line, at + 1));
	}
	return SPAN("");
}

bool list_line_parse(struct span line, struct list_line *out, const char **why, size_t *at)
{
	struct pattern_line parsed;

	*out = (struct list_line){.is_empty = true};
	if (line.len && line.at[line.len - 1] == '\r')
		line.len--;
	if (!pattern_line_parse(line, &parsed, why, at))
		return false;
	if (parsed.is_empty)
		return true;
	out->is_empty = false;
	memcpy(out->text, parsed.pattern.text, parsed.pattern.text_len);
	out->text_len = parsed.pattern.text_len;
	out->owner = parsed.owner;
	out->ticket = parsed.ticket;
	out->reason = parsed.reason;
	out->added = parsed.added;
	out->expires_ms = parsed.expires_ms;
	out->note = note_of(line);
	format_ports(&parsed, out);
	return true;
}

bool list_line_date(struct span text, uint64_t *wall_ms)
{
	return pattern_date_parse(text, wall_ms);
}

/* ---- covering ---- */

/* Is the name that one, or below it? */
static bool is_at_or_below(struct span name, struct span top, bool may_be_it)
{
	if (span_equal(name, top))
		return may_be_it;
	return name.len > top.len && span_ends_with(name, top) && name.at[name.len - top.len - 1] == '.';
}

/* What all that a glob matches ends with: the labels behind the last that has a star. */
static struct span tail_of_glob(struct span glob)
{
	size_t star = span_find_last(glob, '*');
	struct span rest = span_skip(glob, star);

	return span_skip(rest, span_find(rest, '.') + 1);
}

static bool regex_matches(struct span regex, struct span name)
{
	PCRE2_SIZE at;
	int error, got = PCRE2_ERROR_NOMATCH;
	pcre2_code *code = policy_regex_compile(regex, &error, &at);
	pcre2_match_data *data = code ? pcre2_match_data_create_from_pattern(code, NULL) : NULL;
	pcre2_match_context *context = data ? pcre2_match_context_create(NULL) : NULL;

	if (context) {
		pcre2_set_match_limit(context, 100000);
		got = pcre2_match(code, name.at, name.len, 0, 0, data, context);
	}
	pcre2_match_context_free(context);
	pcre2_match_data_free(data);
	pcre2_code_free(code);
	return got >= 0;
}

static bool network_covers(const struct network *wide, const struct network *narrow)
{
	struct network plain = *wide;

	plain.port_first = plain.port_last = 0;
	return wide->base.family == narrow->base.family && wide->prefix_len <= narrow->prefix_len &&
	       network_has(&plain, &narrow->base);
}

/* `top` and all below it, or only what is below. */
static bool tree_covers(const struct pattern *wide, const struct pattern *narrow)
{
	struct span top = span_of(wide->text, wide->text_len), name = span_of(narrow->text, narrow->text_len);
	bool has_top = wide->kind == PATTERN_SUFFIX;

	top = span_skip(top, image_key_skip((uint8_t)wide->kind));
	name = span_skip(name, image_key_skip((uint8_t)narrow->kind));
	if (narrow->kind == PATTERN_EXACT || narrow->kind == PATTERN_SUFFIX)
		return is_at_or_below(name, top, has_top);
	if (narrow->kind == PATTERN_BELOW)
		return is_at_or_below(name, top, true);
	if (narrow->kind == PATTERN_GLOB && tail_of_glob(name).len)
		return is_at_or_below(tail_of_glob(name), top, true);
	return false;
}

bool list_line_covers(struct span wide_text, struct span narrow_text)
{
	struct pattern wide, narrow;
	const char *why;
	size_t at;

	if (span_equal(wide_text, narrow_text))
		return true;
	if (!pattern_parse(wide_text, &wide, &why, &at) || !pattern_parse(narrow_text, &narrow, &why, &at))
		return false;
	switch (wide.kind) {
	case PATTERN_NETWORK:
		return narrow.kind == PATTERN_NETWORK && network_covers(&wide.network, &narrow.network);
	case PATTERN_BELOW:
	case PATTERN_SUFFIX:
		return tree_covers(&wide, &narrow);
	case PATTERN_GLOB:
		return narrow.kind == PATTERN_EXACT && pattern_glob_matches(wide_text, narrow_text);
	case PATTERN_REGEX:
		return narrow.kind == PATTERN_EXACT && regex_matches(pattern_regex(wide_text), narrow_text);
	case PATTERN_EXACT:
		break;
	}
	return false;
}
