/* SPDX-License-Identifier: Apache-2.0 */
/* Which literals must be in a name for a pattern to match. Sound before all: what is not understood for certain has none, and
 * then every name is tried. Expressions are read as PCRE2 does with the options of build.c (caseless, no extended syntax). */
#include <string.h>

#include "policy/compile/index.h"

enum { DEPTH_MAX = 16 };

/* A concatenation on its way: the best that was found in it, and the run of literals that goes on. */
struct sequence {
	const struct literals_choice *choice;
	struct literals best;
	struct literal run;
};

struct reading {
	const struct literals_choice *choice;
	struct span rest;
	bool failed;     /* something that is not understood */
	unsigned depth;
};

/* ---- choosing ---- */

uint32_t literals_gram(const struct literal *literal, size_t at)
{
	uint32_t gram = 0;

	for (size_t i = 0; i < GRAM_BYTES; i++)
		gram = gram * GRAM_CLASSES + image_gram_class(literal->text[at + i]);
	return gram;
}

/* How many patterns its rarest gram leads to; without counts, shorter is costlier. */
static uint64_t cost_of_one(const struct literal *literal, const uint32_t *counts)
{
	uint64_t least = UINT32_MAX;

	if (counts == NULL)
		return LITERAL_BYTES_MAX + 1u - literal->len;
	for (size_t at = 0; at + GRAM_BYTES <= literal->len; at++)
		if (counts[literals_gram(literal, at)] < least)
			least = counts[literals_gram(literal, at)];
	return least;
}

/* None at all is the costliest: every name is tried. */
static uint64_t cost_of(const struct literals *literals, const struct literals_choice *choice)
{
	uint64_t cost = 0;

	for (size_t i = 0; i < literals->count; i++)
		cost += cost_of_one(&literals->at[i], choice->counts);
	return literals->count ? cost : UINT64_MAX;
}

static void consider(struct literals *best, const struct literals *other, const struct literals_choice *choice)
{
	if (other->count && cost_of(other, choice) < cost_of(best, choice))
		*best = *other;
}

static void consider_run(struct literals *best, const struct literal *run, const struct literals_choice *choice)
{
	if (run->len < GRAM_BYTES)
		return;
	for (size_t at = 0; choice->counting && at + GRAM_BYTES <= run->len; at++)
		choice->counting[literals_gram(run, at)]++;
	if (cost_of_one(run, choice->counts) >= cost_of(best, choice))
		return;
	best->count = 1;
	best->at[0] = *run;
}

static void end_run(struct sequence *sequence)
{
	consider_run(&sequence->best, &sequence->run, sequence->choice);
	sequence->run.len = 0;
}

static void add_byte(struct sequence *sequence, uint8_t byte)
{
	if (sequence->run.len == LITERAL_BYTES_MAX)
		end_run(sequence);
	sequence->run.text[sequence->run.len++] = span_lower(byte);
}

/* ---- reading ---- */

static bool has(const struct reading *reading, uint8_t byte)
{
	return reading->rest.len && reading->rest.at[0] == byte;
}

static uint8_t take(struct reading *reading)
{
	uint8_t byte = reading->rest.at[0];

	reading->rest = span_skip(reading->rest, 1);
	return byte;
}

/* A quantifier behind an atom. *least: how often at least; false: there is none. */
static bool take_quantifier(struct reading *reading, unsigned *least)
{
	size_t end = 1;

	*least = 0;
	if (has(reading, '*') || has(reading, '?') || has(reading, '+')) {
		*least = take(reading) == '+';
	} else if (has(reading, '{')) {
		while (end < reading->rest.len && (reading->rest.at[end] == ',' ||
		       (reading->rest.at[end] >= '0' && reading->rest.at[end] <= '9')))
			end++;
		/* Where it is no quantifier, a brace is itself: too fine to tell here. */
		if (end < 2 || end == reading->rest.len || reading->rest.at[end] != '}' || reading->rest.at[1] == ',') {
			reading->failed = true;
			return false;
		}
		reading->rest = span_skip(reading->rest, end + 1); /* {1,} counts as none, too: no harm */
	} else {
		return false;
	}
	if (has(reading, '?') || has(reading, '+'))
		take(reading); /* lazy, possessive */
	return true;
}

/* A literal byte, with what stands behind it. */
static void take_literal(struct reading *reading, struct sequence *sequence, uint8_t byte)
{
	unsigned least;

	if (!take_quantifier(reading, &least)) {
		add_byte(sequence, byte);
		return;
	}
	if (least)
		add_byte(sequence, byte);
	end_run(sequence);
}

/* Something that is no literal: what is before and behind it do not touch. */
static void take_gap(struct reading *reading, struct sequence *sequence)
{
	unsigned least;

	end_run(sequence);
	take_quantifier(reading, &least);
}

/* Behind a backslash: a sign stands for itself, a letter for one of these classes and assertions. */
static void take_escape(struct reading *reading, struct sequence *sequence)
{
	static const char classes[] = "dDwWsShHvVRNXbBAzZGK";
	uint8_t byte;

	if (reading->rest.len == 0) {
		reading->failed = true;
		return;
	}
	byte = take(reading);
	if (byte >= 0x80 || (byte >= '0' && byte <= '9') ||
	    (span_lower(byte) >= 'a' && span_lower(byte) <= 'z' && memchr(classes, byte, sizeof(classes) - 1) == NULL) ||
	    (byte == 'N' && has(reading, '{')))
		reading->failed = true;
	else if (span_lower(byte) >= 'a' && span_lower(byte) <= 'z')
		take_gap(reading, sequence);
	else
		take_literal(reading, sequence, byte);
}

/* [...]: to its end; one sign alone in it, as in [.], is that sign. */
static void take_class(struct reading *reading, struct sequence *sequence)
{
	struct span start = reading->rest;
	bool is_first = true;

	if (start.len > 1 && start.at[1] == ']' && strchr("^]\\[-:", start.at[0]) == NULL) {
		reading->rest = span_skip(start, 2);
		take_literal(reading, sequence, start.at[0]);
		return;
	}
	if (has(reading, '^'))
		take(reading);
	while (reading->rest.len && (is_first || reading->rest.at[0] != ']')) {
		uint8_t byte = take(reading);

		is_first = false;
		/* \c takes whatever is behind it, a bracket, too. */
		if (byte == '\\' && (reading->rest.len == 0 || has(reading, 'Q') || has(reading, 'E') || has(reading, 'c')))
			reading->failed = true;
		else if (byte == '\\')
			take(reading);
		else if (byte == '[' && (has(reading, ':') || has(reading, '.') || has(reading, '=')))
			reading->failed = true;
		if (reading->failed)
			return;
	}
	if (reading->rest.len == 0)
		reading->failed = true;
	else
		take(reading);
	if (!reading->failed)
		take_gap(reading, sequence);
}

static void read_alternatives(struct reading *reading, struct literals *out);

/* (...) and (?:...): what it must have, unless it may be left out. */
static void take_group(struct reading *reading, struct sequence *sequence)
{
	struct literals inside;
	unsigned least = 1;

	if (has(reading, '?')) {
		take(reading);
		if (!has(reading, ':')) {
			reading->failed = true;
			return;
		}
		take(reading);
	} else if (has(reading, '*')) {
		reading->failed = true;
		return;
	}
	end_run(sequence);
	if (++reading->depth > DEPTH_MAX) {
		reading->failed = true;
		return;
	}
	read_alternatives(reading, &inside);
	reading->depth--;
	if (reading->failed || !has(reading, ')')) {
		reading->failed = true;
		return;
	}
	take(reading);
	if (!take_quantifier(reading, &least) || least)
		consider(&sequence->best, &inside, reading->choice);
}

/* Up to `|`, `)` or the end. */
static void read_sequence(struct reading *reading, struct literals *out)
{
	struct sequence sequence = {.choice = reading->choice};

	while (!reading->failed && reading->rest.len && !has(reading, '|') && !has(reading, ')')) {
		uint8_t byte = take(reading);

		if (byte == '\\')
			take_escape(reading, &sequence);
		else if (byte == '[')
			take_class(reading, &sequence);
		else if (byte == '(')
			take_group(reading, &sequence);
		else if (byte == '.' || byte == '^' || byte == '$')
			take_gap(reading, &sequence);
		else if (byte == '{' || byte == '*' || byte == '+' || byte == '?' || byte >= 0x80)
			reading->failed = true;
		else
			take_literal(reading, &sequence, byte);
	}
	end_run(&sequence);
	*out = sequence.best;
}

/* All of them must have one; together they are the set. */
static void read_alternatives(struct reading *reading, struct literals *out)
{
	struct literals one;
	bool is_whole = true;

	out->count = 0;
	for (;;) {
		read_sequence(reading, &one);
		if (one.count == 0 || out->count + one.count > LITERALS_MAX)
			is_whole = false;
		for (size_t i = 0; is_whole && i < one.count; i++)
			out->at[out->count++] = one.at[i];
		if (reading->failed || !has(reading, '|'))
			break;
		take(reading);
	}
	if (!is_whole)
		out->count = 0;
}

void literals_of_regex(struct span text, const struct literals_choice *choice, struct literals *out)
{
	struct reading reading = {.choice = choice, .rest = text};

	read_alternatives(&reading, out);
	if (reading.failed || reading.rest.len)
		out->count = 0;
}

void literals_of_glob(struct span text, const struct literals_choice *choice, struct literals *out)
{
	struct sequence sequence = {.choice = choice};

	while (span_starts_with(text, SPAN("*.")))
		text = span_skip(text, 2);
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] == '*')
			end_run(&sequence);
		else
			add_byte(&sequence, text.at[i]);
	}
	end_run(&sequence);
	*out = sequence.best;
}
