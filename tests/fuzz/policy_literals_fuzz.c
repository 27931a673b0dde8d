/* SPDX-License-Identifier: Apache-2.0 */
/* Literals of patterns: the first line is a regular expression (behind a slash) or a glob, the rest is a name, and choices by which
 * names are made of the pattern. Whatever PCRE2 (or the glob matcher) matches must have one of the literals in it, if there are any. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "policy/compile/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NAME_MAX_BYTES = 253, NAMES = 12, DEPTH_MAX = 20, REGEX_MAX_BYTES = 400, STEPS_MAX = 10000 };

/* ---- names that the pattern may match: who decides is the matcher ---- */

struct making {
	struct span pattern, choices;
	size_t at, choice;
	unsigned depth;
	char name[NAME_MAX_BYTES];
	size_t len;
};

static unsigned pick(struct making *making, unsigned below)
{
	size_t at = making->choice++;
	unsigned byte = making->choices.len ? making->choices.at[at % making->choices.len] : 0;

	return (unsigned)(byte * 31 + at / (making->choices.len + 1) * 17) % below;
}

/* As names are: lower case, and of no other bytes. */
static void put(struct making *making, uint8_t byte)
{
	static const char bytes[] = "abcdefghijklmnopqrstuvwxyz0123456789.-_";

	byte = span_lower(byte);
	if (byte == 0 || strchr(bytes, byte) == NULL)
		byte = (uint8_t)bytes[byte % (sizeof(bytes) - 1)];
	if (making->len < NAME_MAX_BYTES)
		making->name[making->len++] = (char)byte;
}

static bool is_end(const struct making *making)
{
	return making->at >= making->pattern.len;
}

static uint8_t next(struct making *making)
{
	return is_end(making) ? 0 : making->pattern.at[making->at++];
}

static void make_alternatives(struct making *making, bool is_put);

/* One member of a class, its first byte as a rule. */
static void make_class(struct making *making, bool is_put)
{
	size_t start = making->at, end;

	if (!is_end(making) && making->pattern.at[making->at] == '^')
		making->at++;
	next(making);
	while (!is_end(making) && next(making) != ']')
		;
	end = making->at;
	if (is_put && end > start)
		put(making, making->pattern.at[start + pick(making, (unsigned)(end - start))]);
}

static void make_atom(struct making *making, bool is_put)
{
	uint8_t byte = next(making);

	if (byte == '(' && making->depth < DEPTH_MAX) {
		while (!is_end(making) && strchr("?:", making->pattern.at[making->at]))
			making->at++;
		making->depth++;
		make_alternatives(making, is_put);
		making->depth--;
		next(making);
	} else if (byte == '[') {
		make_class(making, is_put);
	} else if (byte == '\\') {
		byte = next(making);
		if (is_put && strchr("bBAzZGKQE", byte) == NULL)
			put(making, pick(making, 2) || byte < 'A' ? byte : '7');
	} else if (is_put && byte != '^' && byte != '$') {
		put(making, byte);
	}
}

/* How often the atom that is behind us is there. */
static unsigned make_quantifier(struct making *making)
{
	uint8_t byte = is_end(making) ? 0 : making->pattern.at[making->at];
	unsigned count = 1;

	if (byte == '{') {
		while (!is_end(making) && next(making) != '}')
			;
		count = pick(making, 4);
	} else if (byte && strchr("?*+", byte)) {
		making->at++;
		count = byte == '?' ? pick(making, 2) : byte == '*' ? pick(making, 3) : 1 + pick(making, 2);
	}
	if (count != 1 && !is_end(making) && strchr("?+", making->pattern.at[making->at]))
		making->at++;
	return count;
}

static void make_sequence(struct making *making, bool is_put)
{
	while (!is_end(making) && strchr("|)", making->pattern.at[making->at]) == NULL) {
		size_t start = making->at, len = making->len, end;
		unsigned count;

		make_atom(making, is_put);
		count = make_quantifier(making);
		end = making->at;
		if (count == 0)
			making->len = len;
		while (is_put && making->len < NAME_MAX_BYTES && count-- > 1) {
			making->at = start;
			make_atom(making, true);
		}
		making->at = end;
	}
}

static void make_alternatives(struct making *making, bool is_put)
{
	bool is_taken = false;

	for (;;) {
		bool is_this = is_put && !is_taken && pick(making, 2) == 0;
		size_t start = making->at;

		make_sequence(making, is_this);
		if (is_end(making) || making->pattern.at[making->at] != '|') {
			if (is_put && !is_taken && !is_this) { /* the last, if it was none before */
				making->at = start;
				make_sequence(making, true);
			}
			return;
		}
		is_taken |= is_this;
		making->at++;
	}
}

/* ---- is one of them in it ---- */

static void expect_literal(const struct literals *literals, struct span pattern, struct span name)
{
	for (size_t i = 0; i < literals->count; i++)
		if (span_find_span(name, span_of(literals->at[i].text, literals->at[i].len)) < name.len)
			return;
	if (literals->count == 0)
		return;
	fprintf(stderr, "%.*s matches %.*s, which has none of:\n", SPAN_ARG(pattern), SPAN_ARG(name));
	for (size_t i = 0; i < literals->count; i++)
		fprintf(stderr, "  %.*s\n", (int)literals->at[i].len, (const char *)literals->at[i].text);
	ASSERT(literals->count == 0); /* a literal that is not needed would hide an entry */
}

static void check_lengths(const struct literals *literals)
{
	ASSERT(literals->count <= LITERALS_MAX);
	for (size_t i = 0; i < literals->count; i++)
		ASSERT(literals->at[i].len >= GRAM_BYTES && literals->at[i].len <= LITERAL_BYTES_MAX);
}

/* The name as it stands in the input first, then those that are made. */
static struct span make_name(struct making *making, struct span pattern, struct span choices, unsigned index)
{
	*making = (struct making){.pattern = pattern, .choices = choices, .choice = index};
	if (index)
		make_alternatives(making, true);
	else
		for (size_t i = 0; i < choices.len; i++)
			put(making, choices.at[i]);
	return span_of(making->name, making->len);
}

static void try_regex(struct span regex, struct span choices, const struct literals_choice *by)
{
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	pcre2_match_context *context = pcre2_match_context_create(NULL);
	struct literals literals;
	struct making making;
	int error;
	size_t at;
	pcre2_code *code = pcre2_compile(regex.at, regex.len, PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);

	pcre2_set_match_limit(context, STEPS_MAX);
	literals_of_regex(regex, by, &literals);
	check_lengths(&literals);
	for (unsigned i = 0; code && i < NAMES; i++) {
		struct span name = make_name(&making, regex, choices, i);

		if (pcre2_match(code, name.at, name.len, 0, PCRE2_NO_UTF_CHECK, data, context) >= 0)
			expect_literal(&literals, regex, name);
	}
	pcre2_code_free(code);
	pcre2_match_data_free(data);
	pcre2_match_context_free(context);
}

static void try_glob(struct span text, struct span choices, const struct literals_choice *by)
{
	struct literals literals;
	struct pattern pattern;
	struct making making;
	const char *why;
	size_t at;

	if (!pattern_parse(text, &pattern, &why, &at) || pattern.kind != PATTERN_GLOB)
		return;
	text = span_of(pattern.text, pattern.text_len);
	literals_of_glob(text, by, &literals);
	check_lengths(&literals);
	for (unsigned i = 0; i < NAMES; i++) {
		struct span name;

		if (i == 0) {
			name = make_name(&making, text, choices, 0);
		} else { /* stars become some bytes, or none */
			making = (struct making){.choices = choices, .choice = i};
			for (size_t j = 0; j < text.len; j++)
				for (unsigned n = text.at[j] == '*' ? pick(&making, 4) : 1; n > 0; n--)
					put(&making, text.at[j] == '*' ? (uint8_t)"ab.c"[pick(&making, 4)] : text.at[j]);
			name = span_of(making.name, making.len);
		}
		if (pattern_glob_matches(text, name))
			expect_literal(&literals, text, name);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint32_t counts[GRAM_COUNT];
	const struct literals_choice by[] = {{.counting = counts}, {.counts = counts}};
	struct span text = span_of(data, size), pattern, choices;
	size_t end = span_find(text, '\n');

	pattern = span_first(text, end);
	choices = end < size ? span_skip(text, end + 1) : SPAN("");
	if (pattern.len == 0 || pattern.len > REGEX_MAX_BYTES)
		return 0;
	/* The longest, then the rarest among what the inputs before had: whatever is chosen must be sound. */
	for (size_t i = 0; i < COUNT_OF(by); i++) {
		if (pattern.at[0] == '/')
			try_regex(span_skip(pattern, 1), choices, &by[i]);
		else
			try_glob(pattern, choices, &by[i]);
	}
	return 0;
}
