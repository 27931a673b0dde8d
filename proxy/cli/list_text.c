/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/list_text.h"

#include <string.h>

/* ---- lines ---- */

struct list_walk list_walk_over(struct span text)
{
	bool has_mark = span_starts_with(text, SPAN("\xef\xbb\xbf"));

	return (struct list_walk){.rest = span_skip(text, has_mark ? 3 : 0), .at = has_mark ? 3 : 0, .line = SPAN("")};
}

bool list_walk_next(struct list_walk *walk)
{
	size_t end = span_find(walk->rest, '\n');

	walk->at += walk->whole;
	walk->whole = 0;
	if (walk->rest.len == 0)
		return false;
	walk->line = span_first(walk->rest, end);
	walk->whole = end < walk->rest.len ? end + 1 : end;
	walk->rest = span_skip(walk->rest, walk->whole);
	if (walk->line.len && walk->line.at[walk->line.len - 1] == '\r')
		walk->line.len--;
	walk->number++;
	return true;
}

/* ---- a new line ---- */

static bool fail(const char **why, const char *text)
{
	*why = text;
	return false;
}

static bool is_ascii(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] >= 0x80)
			return false;
	return true;
}

/* Blanks and # would end the word; other characters that steer something have no place in a list. */
static bool check_value(struct span value, bool may_have_blanks, const char **why)
{
	if (value.len == 0)
		return fail(why, "it is empty; leave it out");
	for (size_t i = 0; i < value.len; i++) {
		if (value.at[i] < 0x20 || value.at[i] == 0x7f)
			return fail(why, "it has a control character, such as the end of a line");
		if (value.at[i] == '"')
			return fail(why, "a list has no way to write a quotation mark; use '");
		if (value.at[i] == ' ' && !may_have_blanks)
			return fail(why, "there is a blank in it");
	}
	return true;
}

/* The pattern as it shall stand in the file. */
static bool add_pattern(struct span pattern, struct buf *out, const char **why)
{
	struct list_line parsed;
	size_t at;

	if (!check_value(pattern, false, why))
		return false;
	if (!list_line_parse(pattern, &parsed, why, &at))
		return false;
	if (parsed.is_empty)
		return fail(why, "a pattern does not begin with #");
	buf_add(out, is_ascii(pattern) ? pattern : list_line_pattern(&parsed));
	return true;
}

static bool add_field(const char *key, const char *text, struct buf *out, const char **why, const char **about)
{
	struct span value = span_from(text);
	bool has_quotes = strcmp(key, "reason") == 0 || span_find(value, ' ') < value.len ||
	                  span_find(value, '#') < value.len;

	if (text == NULL)
		return true;
	*about = key;
	if (!check_value(value, true, why))
		return false;
	buf_printf(out, " %s=%s%s%s", key, has_quotes ? "\"" : "", text, has_quotes ? "\"" : "");
	return true;
}

bool list_text_format(const struct list_fields *fields, struct buf *out, const char **why, const char **about)
{
	const struct {
		const char *key, *value;
	} rows[] = {{"owner", fields->owner},     {"ticket", fields->ticket},   {"reason", fields->reason},
	            {"added", fields->added},     {"expires", fields->expires}, {"ports", fields->ports}};
	size_t start = buf_len(out), at;
	struct list_line parsed;

	*about = "";
	if (!add_pattern(span_from(fields->pattern), out, why))
		return false;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		size_t before = buf_len(out) - start;

		if (!add_field(rows[i].key, rows[i].value, out, why, about))
			return false;
		/* What is wrong with a date or a port is said of that field. */
		if (buf_len(out) - start > before &&
		    !list_line_parse(span_skip(buf_span(out), start), &parsed, why, &at))
			return false;
	}
	*about = "";
	if (!is_ascii(span_from(fields->pattern)))
		buf_printf(out, " # %s", fields->pattern);
	return buf_is_whole(out) || fail(why, "it is too long");
}

/* ---- edits ---- */

static struct span line_end_of(struct span text)
{
	size_t end = span_find(text, '\n');

	return end < text.len && end > 0 && text.at[end - 1] == '\r' ? SPAN("\r\n") : SPAN("\n");
}

void list_text_add(struct span text, struct span line, struct buf *out)
{
	buf_add(out, text);
	if (text.len && text.at[text.len - 1] != '\n' && !span_equal(text, SPAN("\xef\xbb\xbf")))
		buf_add(out, line_end_of(text));
	buf_add(out, line);
	buf_add(out, line_end_of(text));
}

size_t list_text_remove(struct span text, struct span pattern, struct buf *out)
{
	struct list_walk walk = list_walk_over(text);
	struct list_line parsed;
	size_t count = 0, kept = 0, at;
	const char *why;

	while (list_walk_next(&walk)) {
		if (!list_line_parse(walk.line, &parsed, &why, &at) || parsed.is_empty ||
		    !span_equal(list_line_pattern(&parsed), pattern))
			continue;
		buf_add(out, span_of(text.at + kept, walk.at - kept));
		kept = walk.at + walk.whole;
		count++;
	}
	buf_add(out, span_skip(text, kept));
	return count;
}
