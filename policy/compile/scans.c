/* SPDX-License-Identifier: Apache-2.0 */
/* Globs, regular expressions and very long names: each name would have to be held against all of them. But most can only match
 * where some literal is in the name; three bytes of it, the rarest, lead to the scan. */
#include <stdlib.h>
#include <string.h>

#include "policy/compile/index.h"

/* ---- order: long names first, the longest before others, since the most specific is quoted; then as in the files ---- */

struct order {
	uint32_t entry; /* in the build */
	uint16_t len;
	uint8_t kind;
};

static unsigned rank_of(const struct order *order)
{
	return order->kind <= PATTERN_SUFFIX ? 0 : order->kind == PATTERN_GLOB ? 1 : 2;
}

static int compare_order(const void *a, const void *b)
{
	const struct order *x = a, *y = b;

	if (rank_of(x) != rank_of(y))
		return rank_of(x) < rank_of(y) ? -1 : 1;
	if (rank_of(x) == 0 && x->len != y->len)
		return x->len > y->len ? -1 : 1;
	return x->entry < y->entry ? -1 : x->entry > y->entry;
}

static struct order *sort_scans(const struct build *build, size_t *count)
{
	const struct build_entry *entries = (const void *)build->entries.at;
	struct order *order;

	*count = 0;
	for (size_t i = 0; i < build->entries.count; i++)
		*count += index_is_scan(&entries[i]);
	order = calloc(*count + 1, sizeof(*order));
	for (size_t i = 0, n = 0; order && i < build->entries.count; i++)
		if (index_is_scan(&entries[i]))
			order[n++] = (struct order){
				(uint32_t)i, (uint16_t)(entries[i].text_len - image_key_skip(entries[i].kind)),
				entries[i].kind};
	if (order)
		qsort(order, *count, sizeof(*order), compare_order);
	return order;
}

/* ---- literals ---- */

static void get_literals(const struct build *build, const struct build_entry *entry,
                         const struct literals_choice *choice, struct literals *out)
{
	struct span text = build_entry_text(build, entry);

	out->count = 0;
	if (entry->kind == PATTERN_REGEX) {
		literals_of_regex(pattern_regex(text), choice, out);
	} else if (entry->kind == PATTERN_GLOB) {
		literals_of_glob(text, choice, out);
	} else {
		out->count = 1;
		text = span_first(span_skip(text, image_key_skip(entry->kind)), LITERAL_BYTES_MAX);
		out->at[0].len = (uint8_t)text.len;
		memcpy(out->at[0].text, text.at, text.len);
	}
}

static uint32_t rarest_gram(const struct literal *literal, const uint32_t *counts)
{
	uint32_t best = literals_gram(literal, 0);

	for (size_t at = 1; at + GRAM_BYTES <= literal->len; at++) {
		uint32_t gram = literals_gram(literal, at);

		if (counts[gram] < counts[best])
			best = gram;
	}
	return best;
}

struct found {
	uint32_t gram;
	struct image_literal literal;
};

static int compare_found(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->gram != y->gram)
		return x->gram < y->gram ? -1 : 1;
	return x->literal.scan < y->literal.scan ? -1 : x->literal.scan > y->literal.scan;
}

/* Those of all scans, with their grams: counted first, since what is rare is known only then. */
static void collect_literals(struct build *build, struct index *index, const struct order *order, size_t count,
                             struct build_section *found, uint32_t *counts)
{
	const struct build_entry *entries = (const void *)build->entries.at;
	const struct literals_choice first = {.counting = counts}, second = {.counts = counts};
	struct literals literals;

	for (size_t i = 0; i < count; i++)
		get_literals(build, &entries[order[i].entry], &first, &literals);
	for (uint32_t i = 0; i < count; i++) {
		get_literals(build, &entries[order[i].entry], &second, &literals);
		if (literals.count == 0)
			build_add(build, &index->always, &i, 1, sizeof(i));
		for (size_t j = 0; j < literals.count; j++) {
			const struct literal *literal = &literals.at[j];
			struct found one = {rarest_gram(literal, counts),
			                    {build_text(build, span_of(literal->text, literal->len)), i}};

			build_add(build, found, &one, 1, sizeof(one));
		}
	}
}

static enum err index_literals(struct build *build, struct index *index, const struct order *order, size_t count)
{
	struct build_section found = {.at = NULL};
	uint32_t *counts = calloc(GRAM_COUNT + 1, sizeof(*counts));
	const struct found *all;
	uint32_t gram = 0;

	if (counts == NULL)
		return ERR_MEMORY;
	collect_literals(build, index, order, count, &found, counts);
	all = (const void *)found.at;
	if (found.count)
		qsort(found.at, found.count, sizeof(*all), compare_found);
	for (uint32_t i = 0; i < found.count; i++) {
		while (gram <= all[i].gram)
			counts[gram++] = i;
		build_add(build, &index->literals, &all[i].literal, 1, sizeof(all[i].literal));
	}
	while (gram <= GRAM_COUNT)
		counts[gram++] = (uint32_t)found.count;
	index->grams = counts;
	free(found.at);
	return build->failed ? ERR_MEMORY : ERR_NONE;
}

/* ---- scans ---- */

/* By entry of the build: its expression. */
static uint32_t *find_codes(const struct build *build)
{
	const uint32_t *regexes = (const void *)build->regexes.at;
	uint32_t *codes = malloc((build->entries.count + 1) * sizeof(*codes));

	if (codes == NULL)
		return NULL;
	memset(codes, 0xff, build->entries.count * sizeof(*codes)); /* NONE */
	for (uint32_t i = 0; i < build->regexes.count; i++)
		if (regexes[i] != NONE)
			codes[regexes[i]] = i;
	return codes;
}

static void add_scan(struct build *build, struct index *index, const struct order *order, uint32_t code)
{
	const struct build_entry *entry = (const struct build_entry *)(void *)build->entries.at + order->entry;
	uint32_t number = index->numbers[order->entry];
	struct image_scan scan = {
		.text = build_text(build, build_entry_text(build, entry)),
		.entry = number,
		.code = code,
		.more = {entry->ports, entry->expires_min},
		.list = entry->list,
		.kind = entry->kind,
	};

	index->entries[number].at = IMAGE_SCAN | build_add(build, &index->scans, &scan, 1, sizeof(scan));
}

enum err index_scans(struct build *build, struct index *index)
{
	size_t count;
	struct order *order = sort_scans(build, &count);
	uint32_t *codes = find_codes(build);
	enum err err = order && codes ? ERR_NONE : ERR_MEMORY;

	for (size_t i = 0; i < count && err == ERR_NONE; i++)
		add_scan(build, index, &order[i], codes[order[i].entry]);
	if (count && err == ERR_NONE)
		err = build->failed ? ERR_MEMORY : index_literals(build, index, order, count);
	free(order);
	free(codes);
	return err;
}
