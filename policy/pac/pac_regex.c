/* SPDX-License-Identifier: Apache-2.0 */
/* From PCRE2's syntax to that of ES3, where both mean the same for names of hosts (ASCII, one line). */
#include "policy/pac/pac_text.h"

#include <string.h>

enum { DEPTH_MAX = 100 };

/* What repeats without end, for pac_regex_is_slow(): of what can be repeated, of one alternative, and of a group. */
struct piece {
	bool is_there;
	bool repeats;  /* is some text, repeated without end */
	bool is_empty; /* can match the empty text */
};

struct group {
	struct piece last, whole;      /* not yet counted; alternatives before this one */
	size_t repeating, needed;      /* pieces that repeat; that cannot be empty */
	bool is_needed_repeating;      /* the only needed one does */
	bool asserts;                  /* \b and the like: what is beside it matters */
};

struct converting {
	struct span in;
	size_t at;
	struct buf *out;
	const char *why;
	bool can_repeat;           /* what was written last may have a quantifier */
	bool is_look[DEPTH_MAX];   /* by depth: the group is a lookahead */
	size_t depth;
	struct group groups[DEPTH_MAX + 1]; /* by depth, beginning with the whole */
	bool is_slow;
};

static bool refuse(struct converting *c, const char *why)
{
	c->why = why;
	return false;
}

/* ---- what repeats ---- */

static struct group *group_of(struct converting *c)
{
	return &c->groups[c->depth];
}

static void count_last(struct group *group)
{
	struct piece last = group->last;

	group->last = (struct piece){.is_there = false};
	if (!last.is_there)
		return;
	group->repeating += last.repeats;
	group->is_needed_repeating = last.is_empty ? group->is_needed_repeating : last.repeats;
	group->needed += !last.is_empty;
}

static void note_piece(struct converting *c, bool repeats, bool is_empty)
{
	count_last(group_of(c));
	group_of(c)->last = (struct piece){.is_there = true, .repeats = repeats, .is_empty = is_empty};
}

static void note_assertion(struct converting *c)
{
	count_last(group_of(c));
	group_of(c)->asserts = true;
}

/* (x+), (x+y*), (a|x+): one piece repeats, and nothing else must be there. */
static void end_alternative(struct converting *c)
{
	struct group *group = group_of(c);
	struct piece whole = group->whole;

	count_last(group);
	whole.repeats |= !group->asserts && group->repeating > 0 &&
	                 (group->needed == 0 || (group->needed == 1 && group->is_needed_repeating));
	whole.is_empty |= !group->asserts && group->needed == 0;
	*group = (struct group){.whole = whole};
}

static void note_quantifier(struct converting *c, bool is_endless, bool may_be_none)
{
	struct piece *last = &group_of(c)->last;

	c->is_slow |= is_endless && last->repeats;
	last->repeats |= is_endless;
	last->is_empty |= may_be_none;
}

static uint8_t peek(const struct converting *c, size_t ahead)
{
	return c->at + ahead < c->in.len ? c->in.at[c->at + ahead] : 0;
}

static bool is_digit(uint8_t byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_word(uint8_t byte)
{
	return is_digit(byte) || byte == '_' || (span_lower(byte) >= 'a' && span_lower(byte) <= 'z');
}

static void put_literal(struct buf *out, uint8_t byte)
{
	if (byte < 0x20 || byte >= 0x7f || byte == '<' || byte == '>')
		buf_printf(out, "\\x%02x", byte);
	else if (is_word(byte) || strchr(" !\"#%&',:;=@`~", byte))
		buf_add_byte(out, byte);
	else
		buf_printf(out, "\\%c", byte);
}

static int hex_of(uint8_t byte)
{
	byte = span_lower(byte);
	return is_digit(byte) ? byte - '0' : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Behind a backslash: a literal, or (*out == 0) a class such as \d, whose letter is *letter. */
static bool take_escape(struct converting *c, uint8_t *literal, uint8_t *letter)
{
	uint8_t byte = peek(c, 0);

	*literal = *letter = 0;
	if (byte == 0 || byte >= 0x80)
		return refuse(c, "a backslash with nothing behind it");
	c->at++;
	if (byte == 'x') {
		int high = hex_of(peek(c, 0)), low = hex_of(peek(c, 1));

		if (high < 0 || low < 0 || high * 16 + low == 0 || high >= 8)
			return refuse(c, "\\x wants two hexadecimal digits, 01 to 7f");
		*literal = (uint8_t)(high * 16 + low);
		c->at += 2;
		return true;
	}
	if (strchr("dDwWsS", byte)) {
		*letter = byte;
		return true;
	}
	if (is_word(byte) && byte != '_')
		return refuse(c, "this escape is PCRE2's alone; of those with a letter or digit only \\d \\w \\s, "
		                 "\\b and \\xHH can be in a PAC file");
	*literal = byte;
	return true;
}

/* ---- classes ---- */

/* One member of a class: a byte, or (0) a letter such as d. */
static bool take_member(struct converting *c, uint8_t *literal, uint8_t *letter)
{
	uint8_t byte = peek(c, 0);

	*letter = 0;
	if (byte == '[' && peek(c, 1) && strchr(":.=", peek(c, 1)))
		return refuse(c, "[: :] is PCRE2's alone; write the range, such as a-z");
	c->at++;
	if (byte == '\\')
		return take_escape(c, literal, letter);
	*literal = byte;
	return byte >= 0x20 && byte < 0x80 ? true : refuse(c, "only ASCII can be in a PAC file");
}

static bool take_members(struct converting *c)
{
	for (bool first = true; first || peek(c, 0) != ']'; first = false) {
		uint8_t from, to, letter, second;

		if (c->at >= c->in.len)
			return refuse(c, "the class is not closed");
		if (!take_member(c, &from, &letter))
			return false;
		if (letter)
			buf_printf(c->out, "\\%c", letter);
		else
			put_literal(c->out, from);
		if (peek(c, 0) != '-' || peek(c, 1) == ']')
			continue;
		c->at++;
		if (!take_member(c, &to, &second))
			return false;
		if (letter || second)
			return refuse(c, "a range between classes; write \\- if the dash is meant");
		buf_add_byte(c->out, '-');
		put_literal(c->out, to);
	}
	c->at++;
	return true;
}

static bool take_class(struct converting *c)
{
	buf_add_byte(c->out, '[');
	if (peek(c, 0) == '^') {
		c->at++;
		buf_add_byte(c->out, '^');
	}
	if (!take_members(c))
		return false;
	buf_add_byte(c->out, ']');
	note_piece(c, false, false);
	c->can_repeat = true;
	return true;
}

/* ---- groups and quantifiers ---- */

static bool open_group(struct converting *c)
{
	const char *shape = "(?:";
	bool is_look = false;

	if (peek(c, 0) == '*')
		return refuse(c, "(*...) is PCRE2's alone");
	if (peek(c, 0) == '?') {
		uint8_t kind = peek(c, 1);

		is_look = kind == '=' || kind == '!';
		if (kind == 'i' && peek(c, 2) == ')')
			return refuse(c, "names are matched in any case already; leave (?i) out");
		if (kind != ':' && !is_look)
			return refuse(c, "of the groups with (? only (?: (?= and (?! can be in a PAC file");
		shape = kind == '=' ? "(?=" : kind == '!' ? "(?!" : shape;
		c->at += 2;
	}
	if (c->depth == DEPTH_MAX)
		return refuse(c, "groups are too deep");
	c->is_look[c->depth++] = is_look;
	c->groups[c->depth] = (struct group){.asserts = false};
	buf_add_string(c->out, shape);
	c->can_repeat = false;
	return true;
}

static bool close_group(struct converting *c)
{
	struct piece whole;

	if (c->depth == 0)
		return refuse(c, "a group is closed that was not opened");
	end_alternative(c);
	whole = group_of(c)->whole;
	c->can_repeat = !c->is_look[--c->depth];
	if (c->can_repeat)
		note_piece(c, whole.repeats, whole.is_empty);
	else
		note_assertion(c);
	buf_add_byte(c->out, ')');
	return true;
}

/* Digits, if any, from the place `*ahead`. */
static bool has_number(const struct converting *c, size_t *ahead)
{
	size_t began = *ahead;

	while (is_digit(peek(c, *ahead)))
		++*ahead;
	return *ahead > began;
}

/* Behind "{": the length of "3}", "3,}" or "3,7}"; 0 if it is none. */
static size_t braces_len(const struct converting *c)
{
	size_t ahead = 0;

	if (!has_number(c, &ahead))
		return 0;
	if (peek(c, ahead) == ',') {
		ahead++;
		has_number(c, &ahead);
	}
	return peek(c, ahead) == '}' ? ahead + 1 : 0;
}

static bool take_quantifier(struct converting *c, uint8_t byte)
{
	size_t len = byte == '{' ? braces_len(c) : 0;

	if (byte == '{' && len == 0)
		return refuse(c, "this brace is no {n}, {n,} or {n,m}; write \\{ if it is meant as such");
	if (!c->can_repeat)
		return refuse(c, "there is nothing that could be repeated");
	buf_add_byte(c->out, byte);
	buf_add(c->out, span_of(c->in.at + c->at, len));
	note_quantifier(c, byte == '*' || byte == '+' || (len > 2 && c->in.at[c->at + len - 2] == ','),
	                byte == '*' || byte == '?' || (len && c->in.at[c->at] == '0'));
	c->at += len;
	if (peek(c, 0) == '+')
		return refuse(c, "possessive quantifiers are PCRE2's alone");
	if (peek(c, 0) == '?') {
		c->at++;
		buf_add_byte(c->out, '?');
	}
	c->can_repeat = false;
	return true;
}

static bool take_backslash(struct converting *c)
{
	uint8_t literal, letter, byte = peek(c, 0);

	if (byte == 'b' || byte == 'B') {
		c->at++;
		buf_printf(c->out, "\\%c", byte);
		note_assertion(c);
		c->can_repeat = false;
		return true;
	}
	if (!take_escape(c, &literal, &letter))
		return false;
	if (letter)
		buf_printf(c->out, "\\%c", letter);
	else
		put_literal(c->out, literal);
	note_piece(c, false, false);
	c->can_repeat = true;
	return true;
}

static bool take_one(struct converting *c)
{
	uint8_t byte = peek(c, 0);

	c->at++;
	switch (byte) {
	case '\\':
		return take_backslash(c);
	case '[':
		return take_class(c);
	case '(':
		return open_group(c);
	case ')':
		return close_group(c);
	case '*':
	case '+':
	case '?':
	case '{':
		return take_quantifier(c, byte);
	case '^':
	case '$':
	case '|':
	case '.':
		buf_add_byte(c->out, byte);
		c->can_repeat = byte == '.';
		if (byte == '.')
			note_piece(c, false, false);
		else if (byte == '|')
			end_alternative(c);
		else
			note_assertion(c);
		return true;
	default:
		if (byte < 0x20 || byte >= 0x7f)
			return refuse(c, "only ASCII can be in a PAC file");
		put_literal(c->out, byte);
		note_piece(c, false, false);
		c->can_repeat = true;
		return true;
	}
}

static bool convert(struct span regex, struct buf *out, const char **why, size_t *at, bool *is_slow)
{
	struct converting c = {.in = regex, .out = out};

	buf_add_byte(out, '/');
	while (c.at < regex.len) {
		size_t began = c.at;

		if (!take_one(&c)) {
			*why = c.why;
			*at = began;
			return false;
		}
	}
	buf_add(out, SPAN("/i"));
	*why = "a group is not closed";
	*at = regex.len;
	*is_slow = c.is_slow;
	return c.depth == 0;
}

bool pac_regex_write(struct span regex, struct buf *out, const char **why, size_t *at)
{
	bool ignored;

	return convert(regex, out, why, at, &ignored);
}

bool pac_regex_is_slow(struct span regex)
{
	struct buf ignored;
	const char *why;
	bool is_slow = false;
	size_t at;

	buf_init(&ignored, 16 * regex.len + 64);
	if (!convert(regex, &ignored, &why, &at, &is_slow))
		is_slow = false;
	buf_fini(&ignored);
	return is_slow;
}

void pac_glob_write(struct span glob, struct buf *out)
{
	size_t above = 0;

	for (; span_starts_with(glob, SPAN("*.")); above++)
		glob = span_skip(glob, 2);
	buf_add_string(out, "/^");
	if (above)
		buf_printf(out, "(?:[^.]+\\.){%zu,}", above);
	for (size_t i = 0; i < glob.len; i++) {
		if (glob.at[i] != '*')
			put_literal(out, glob.at[i]);
		else if (i == 0 || glob.at[i - 1] != '*') /* two mean what one does */
			buf_add_string(out, "[^.]*");
	}
	buf_add_string(out, "$/i");
}

bool pac_can_write(struct span pattern, const char **why, size_t *at)
{
	struct buf ignored;
	bool can;

	if (pattern.len < 2 || pattern.at[0] != '/')
		return true;
	buf_init(&ignored, 16 * pattern.len + 64);
	can = pac_regex_write(span_of(pattern.at + 1, pattern.len - 2), &ignored, why, at);
	buf_fini(&ignored);
	return can;
}
