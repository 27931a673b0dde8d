/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/pattern.h"

#include <idn2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NAME_MAX_BYTES = 253, LABEL_MAX_BYTES = 63 };

static bool fail(const char **why, size_t *at, const char *text, size_t offset)
{
	*why = text;
	*at = offset;
	return false;
}

/* ---- names ---- */

bool policy_name_to_ascii(struct span name, char *out, size_t max, size_t *len)
{
	char *utf8, *ascii = NULL;
	bool plain = true, ok;

	for (size_t i = 0; i < name.len; i++)
		plain = plain && name.at[i] < 0x80;
	if (plain) {
		if (name.len >= max)
			return false;
		for (size_t i = 0; i < name.len; i++)
			out[i] = (char)span_lower(name.at[i]);
		*len = name.len;
		return true;
	}
	utf8 = strndup((const char *)name.at, name.len);
	ok = utf8 && idn2_to_ascii_8z(utf8, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT) == IDN2_OK &&
	     strlen(ascii) < max;
	if (ok) {
		*len = strlen(ascii);
		memcpy(out, ascii, *len);
	}
	idn2_free(ascii);
	free(utf8);
	return ok;
}

static bool is_label_byte(uint8_t byte, bool glob)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
	       byte == '_' || (glob && byte == '*');
}

/* Check labels of a canonical name; numeric last labels are no names (they would look like addresses). */
static const char *check_name(struct span name, bool glob)
{
	struct span rest = name, label = SPAN("");
	bool numeric = true;

	if (name.len == 0 || name.len > NAME_MAX_BYTES)
		return "a name has 1 to 253 bytes";
	while (span_split(&rest, '.', &label)) {
		if (label.len == 0)
			return "there is an empty label (two dots, or a dot at the start)";
		if (label.len > LABEL_MAX_BYTES)
			return "a label has at most 63 bytes";
		for (size_t i = 0; i < label.len; i++)
			if (!is_label_byte(label.at[i], glob))
				return "a name has only letters, digits, '-', '_' and dots";
	}
	for (size_t i = 0; i < label.len; i++)
		numeric = numeric && label.at[i] >= '0' && label.at[i] <= '9';
	return numeric ? "this is neither an address nor a name (its last label is a number)" : NULL;
}

static bool put_text(struct pattern *out, const char *prefix, struct span name, const char **why,
                     size_t *at)
{
	size_t skip = strlen(prefix), len;

	memcpy(out->text, prefix, skip);
	if (name.len && name.at[name.len - 1] == '.')
		name.len--;
	if (!policy_name_to_ascii(name, out->text + skip, sizeof(out->text) - skip, &len))
		return fail(why, at, "this is not a name that IDNA 2008 allows", skip);
	out->text_len = skip + len;
	*why = check_name(span_of(out->text + skip, len), out->kind == PATTERN_GLOB);
	*at = skip;
	return *why == NULL;
}

static bool parse_regex(struct span text, struct pattern *out, const char **why, size_t *at)
{
	if (text.len < 3 || text.at[text.len - 1] != '/')
		return fail(why, at, "a regular expression is written /.../; a file is named under lists:", 0);
	if (text.len >= sizeof(out->text))
		return fail(why, at, "the regular expression is too long", 0);
	out->kind = PATTERN_REGEX;
	memcpy(out->text, text.at, text.len);
	out->text_len = text.len;
	return true;
}

bool pattern_network_parse(struct span text, struct network *out)
{
	struct address plain;

	if (!network_parse(text, false, out))
		return false;
	/* Addresses are compared unmapped (RFC 4291 section 2.5.5.2): as it is, it would match none. Its
	 * prefix is 96 at least, as the bits behind it are zero. */
	plain = address_unmapped(&out->base);
	if (plain.family != out->base.family)
		*out = (struct network){.base = plain, .prefix_len = (uint8_t)(out->prefix_len - 96)};
	return true;
}

static bool parse_network(struct span text, struct pattern *out, const char **why, size_t *at)
{
	struct buf canonical;
	struct span shown;

	if (!pattern_network_parse(text, &out->network))
		return fail(why, at, "this looks like an address or a network, and is none (bits behind the "
		                     "prefix must be zero)", 0);
	out->kind = PATTERN_NETWORK;
	buf_init(&canonical, 64);
	address_format(&out->network.base, &canonical);
	if (out->network.prefix_len != (out->network.base.family == AF_INET ? 32 : 128))
		buf_printf(&canonical, "/%u", out->network.prefix_len);
	shown = buf_span(&canonical);
	memcpy(out->text, shown.at, shown.len);
	out->text_len = shown.len;
	buf_fini(&canonical);
	return true;
}

static bool looks_like_network(struct span text)
{
	bool v4 = text.len > 0;

	for (size_t i = 0; i < text.len; i++)
		v4 = v4 && ((text.at[i] >= '0' && text.at[i] <= '9') || text.at[i] == '.' ||
		            text.at[i] == '/');
	return v4 || span_find(text, ':') < text.len || (text.len && text.at[0] == '[');
}

/* "a.com:8443", "10.0.0.1:443", "[::1]:443": digits behind the only colon, or behind a bracket. */
static bool has_port(struct span text)
{
	size_t first = span_find(text, ':'), last = span_find_last(text, ':');
	uint64_t port;

	if (last == text.len || (first != last && (last == 0 || text.at[last - 1] != ']')))
		return false;
	return span_to_uint(span_skip(text, last + 1), UINT64_MAX, &port);
}

/* What people write who have another syntax in mind. NULL: nothing of that. */
static const char *why_other_syntax(struct span text)
{
	if (span_find_span(text, SPAN("://")) < text.len)
		return "a pattern is a name, without http:// and without a path; write example.com, or .example.com "
		       "with all below it";
	if (has_port(text))
		return "a pattern has no port; in a list write ports=443 behind it, in a rule port: 443";
	if (span_find(text, '/') < text.len && !looks_like_network(text))
		return "a pattern is a name without a path; the file of a list is named under lists:, and a rule "
		       "has the name that it is given there";
	return NULL;
}

bool pattern_parse(struct span text, struct pattern *out, const char **why, size_t *at)
{
	struct span rest = span_starts_with(text, SPAN("*.")) ? span_skip(text, 2) : text;

	*at = 0;
	if (text.len == 0)
		return fail(why, at, "the pattern is empty", 0);
	if (text.at[0] == '/')
		return parse_regex(text, out, why, at);
	if (why_other_syntax(text))
		return fail(why, at, why_other_syntax(text), 0);
	if (looks_like_network(text))
		return parse_network(text, out, why, at);
	if (span_find(rest, '*') < rest.len) {
		out->kind = PATTERN_GLOB;
		if (span_equal(text, SPAN("*")))
			return fail(why, at, "\"*\" alone would be everything: leave the condition out", 0);
		return put_text(out, "", text, why, at);
	}
	if (rest.len < text.len) {
		out->kind = PATTERN_BELOW;
		return put_text(out, "*.", rest, why, at);
	}
	if (text.at[0] == '.') {
		out->kind = PATTERN_SUFFIX;
		return put_text(out, ".", span_skip(text, 1), why, at);
	}
	out->kind = PATTERN_EXACT;
	return put_text(out, "", text, why, at);
}

/* ---- fields ---- */

bool pattern_ports_parse(struct span text, struct image_ports *out, size_t max, size_t *count)
{
	struct span piece;

	*count = 0;
	while (span_split(&text, ',', &piece)) {
		size_t dash = span_find(piece, '-');
		uint64_t first, last;

		if (*count == max || !span_to_uint(span_first(piece, dash), 65535, &first) || first == 0)
			return false;
		last = first;
		if (dash < piece.len && !span_to_uint(span_skip(piece, dash + 1), 65535, &last))
			return false;
		if (last < first)
			return false;
		out[(*count)++] = (struct image_ports){(uint16_t)first, (uint16_t)last};
	}
	return *count > 0;
}

bool pattern_date_parse(struct span text, uint64_t *out_ms)
{
	static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ"};
	char string[32];

	if (text.len >= sizeof(string))
		return false;
	memcpy(string, text.at, text.len);
	string[text.len] = 0;
	for (size_t i = 0; i < COUNT_OF(forms); i++) {
		struct tm tm = {0}, back;
		const char *end = strptime(string, forms[i], &tm);
		time_t seconds;

		if (end == NULL || *end)
			continue;
		back = tm;
		seconds = timegm(&tm);
		if (seconds <= 0 || back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon)
			return false; /* 2026-02-30 */
		/* A date alone means: to the end of that day. */
		*out_ms = ((uint64_t)seconds + (i == 0 ? 86400 : 0)) * 1000;
		return true;
	}
	return false;
}

static bool take_field(struct span key, struct span value, struct pattern_line *out,
                       const char **why)
{
	uint64_t date;

	if (span_equal(key, SPAN("owner")))
		out->owner = value;
	else if (span_equal(key, SPAN("ticket")))
		out->ticket = value;
	else if (span_equal(key, SPAN("reason")))
		out->reason = value;
	else if (span_equal(key, SPAN("added"))) {
		out->added = value;
		*why = "added= must be a date such as 2026-12-31";
		return pattern_date_parse(value, &date);
	} else if (span_equal(key, SPAN("source"))) {
		out->source = value;
		*why = "source= must say where this was read: an address, or a title in quotes";
		return value.len > 0;
	} else if (span_equal(key, SPAN("read"))) {
		*why = "read= must be the date when it was read there, such as 2026-12-31";
		return pattern_date_parse(value, &out->read_ms);
	} else if (span_equal(key, SPAN("expires"))) {
		*why = "expires= must be a date such as 2026-12-31 or 2026-12-31T18:00:00Z";
		return pattern_date_parse(value, &out->expires_ms);
	} else if (span_equal(key, SPAN("ports"))) {
		*why = "ports= must be ports such as 443,5004,8000-8100 (at most 16)";
		return pattern_ports_parse(value, out->ports, PATTERN_PORTS_MAX, &out->port_count);
	} else {
		*why = "unknown field; known are owner= ticket= reason= added= expires= ports= source= read=";
		return false;
	}
	return true;
}

static size_t skip_blanks(struct span line, size_t at)
{
	while (at < line.len && (line.at[at] == ' ' || line.at[at] == '\t'))
		at++;
	return at;
}

/* The end of a word; a regex is one word up to its last slash before a blank. */
static size_t word_end(struct span line, size_t at)
{
	while (at < line.len && line.at[at] != ' ' && line.at[at] != '\t')
		at++;
	return at;
}

/* Parse key=value or key="value with blanks" at *at. */
static bool parse_field(struct span line, size_t *at, struct pattern_line *out, const char **why)
{
	struct span rest = span_skip(line, *at), key, value;
	size_t equal = span_find(rest, '='), end = word_end(rest, 0);

	*why = "expected key=value, or # before free text";
	if (equal >= end)
		return false;
	key = span_first(rest, equal);
	value = span_skip(rest, equal + 1);
	if (value.len && value.at[0] == '"') {
		value = span_skip(value, 1);
		end = span_find(value, '"');
		*why = "the quotes are not closed";
		if (end == value.len)
			return false;
		value = span_first(value, end);
		end = equal + 2 + end + 1;
	} else {
		value = span_first(value, end - equal - 1);
	}
	if (!take_field(key, value, out, why))
		return false;
	*at += end;
	return true;
}

size_t pattern_find_control(struct span text, bool may_have_tabs)
{
	for (size_t i = 0; i < text.len; i++) {
		bool is_c1 = text.at[i] == 0xc2 && i + 1 < text.len && text.at[i + 1] >= 0x80 && text.at[i + 1] < 0xa0;

		if (is_c1 || text.at[i] == 0x7f || (text.at[i] < 0x20 && !(may_have_tabs && text.at[i] == '\t')))
			return i;
	}
	return text.len;
}

bool pattern_line_parse(struct span line, struct pattern_line *out, const char **why, size_t *at)
{
	size_t end, inside;

	memset(out, 0, offsetof(struct pattern_line, pattern));
	out->port_count = 0;
	out->expires_ms = out->read_ms = 0;
	out->owner = out->ticket = out->reason = out->added = out->source = SPAN("");
	if (line.len && line.at[line.len - 1] == '\r')
		line.len--;
	*at = skip_blanks(line, 0);
	inside = pattern_find_control(line, true);
	if (inside < line.len)
		return fail(why, at, "a control character is in the line; is this a text file?", inside);
	if (*at == line.len || line.at[*at] == '#') {
		out->is_empty = true;
		return true;
	}
	out->is_empty = false;
	end = word_end(line, *at);
	if (!pattern_parse(span_of(line.at + *at, end - *at), &out->pattern, why, &inside)) {
		*at += inside;
		return false;
	}
	for (*at = skip_blanks(line, end); *at < line.len && line.at[*at] != '#';
	     *at = skip_blanks(line, *at))
		if (!parse_field(line, at, out, why))
			return false;
	return true;
}

/* ---- globs ---- */

/* One label against one label of the glob: greedy, going back to the last star. */
static bool label_matches(struct span glob, struct span label)
{
	size_t g = 0, l = 0, star = SIZE_MAX, mark = 0;

	while (l < label.len) {
		if (g < glob.len && glob.at[g] == '*') {
			star = g++;
			mark = l;
		} else if (g < glob.len && glob.at[g] == label.at[l]) {
			g++;
			l++;
		} else if (star != SIZE_MAX) {
			g = star + 1;
			l = ++mark;
		} else {
			return false;
		}
	}
	while (g < glob.len && glob.at[g] == '*')
		g++;
	return g == glob.len;
}

static size_t count_labels(struct span name)
{
	size_t count = 0;
	struct span label;

	while (span_split(&name, '.', &label))
		count++;
	return count;
}

bool pattern_glob_matches(struct span glob, struct span name)
{
	struct span glob_label, label;
	size_t above = 0, labels;

	/* From the right: most names differ there, at the first look. */
	if (glob.len && name.len && glob.at[glob.len - 1] != '*' &&
	    glob.at[glob.len - 1] != name.at[name.len - 1])
		return false;
	/* "*." in front means: at any depth, as in every other pattern; each of several means one label at
	 * least. What is behind them has its place at the end, so there is nothing to try. */
	for (; span_starts_with(glob, SPAN("*.")); above++)
		glob = span_skip(glob, 2);
	labels = count_labels(glob);
	for (size_t there = above ? count_labels(name) : labels; there > labels; there--)
		if (span_split(&name, '.', &label) && above)
			above--;
	if (above)
		return false;
	while (span_split(&glob, '.', &glob_label)) {
		if (!span_split(&name, '.', &label) || !label_matches(glob_label, label))
			return false;
	}
	return name.at == NULL;
}
