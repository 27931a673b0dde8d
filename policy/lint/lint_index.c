/* SPDX-License-Identifier: Apache-2.0 */
/* Entries by their key, so that what is wider than an entry is found with a look at each suffix of its name. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "policy/compile/index.h"
#include "policy/lint/lint.h"

enum { GLOBS_TRIED_MAX = 64, SAME_KEY_MAX = 256, LABELS_COUNTED_MAX = 63 };

static bool has_key(const struct build_entry *entry)
{
	return entry->kind <= PATTERN_NETWORK;
}

static struct span slot_key(const struct lint *lint, uint32_t slot, uint8_t room[static NETWORK_KEY_BYTES])
{
	return index_key(lint->build, &lint->entries[lint->slots[slot].first - 1], room);
}

/* The slot of a key, or the free one where it would be. */
static size_t find_slot(const struct lint *lint, uint64_t hash, struct span key)
{
	uint8_t room[NETWORK_KEY_BYTES];
	size_t at = hash & (lint->slot_count - 1);

	while (lint->slots[at].first && (lint->slots[at].tag != (uint32_t)(hash >> 32) ||
	                                 !span_equal(slot_key(lint, (uint32_t)at, room), key)))
		at = (at + 1) & (lint->slot_count - 1);
	return at;
}

static unsigned count_labels(struct span name)
{
	unsigned count = 1;

	for (size_t i = 0; i < name.len; i++)
		count += name.at[i] == '.';
	return count < LABELS_COUNTED_MAX ? count : LABELS_COUNTED_MAX;
}

static void add_entry(struct lint *lint, uint32_t index)
{
	const struct build_entry *entry = &lint->entries[index];
	uint8_t room[NETWORK_KEY_BYTES];
	struct span key;
	uint64_t hash;
	size_t at;

	if (entry->kind == PATTERN_GLOB)
		lint->globs[lint->glob_count++] = index;
	if (!has_key(entry))
		return;
	key = index_key(lint->build, entry, room);
	if (entry->kind == PATTERN_NETWORK)
		lint->prefixes[key.at[0] == 0x06][entry->prefix_len / 64] |= UINT64_C(1) << entry->prefix_len % 64;
	else
		lint->label_counts |= UINT64_C(1) << count_labels(key);
	hash = image_hash(lint->key, key);
	at = find_slot(lint, hash, key);
	lint->next[index] = lint->slots[at].first;
	lint->slots[at] = (struct lint_slot){(uint32_t)(hash >> 32), index + 1};
}

bool lint_index_init(struct lint *lint)
{
	lint->key = hash_key_random().words[0];
	lint->slot_count = 16;
	while (lint->is_full && lint->slot_count < lint->entry_count * 2)
		lint->slot_count *= 2;
	lint->slots = calloc(lint->slot_count, sizeof(*lint->slots));
	lint->next = calloc(lint->entry_count + 1, sizeof(*lint->next));
	lint->globs = calloc(lint->entry_count + 1, sizeof(*lint->globs));
	if (lint->slots == NULL || lint->next == NULL || lint->globs == NULL)
		return false;
	/* From the last to the first: each is put before those with its key. */
	for (size_t i = lint->is_full ? lint->entry_count : 0; i > 0; i--)
		add_entry(lint, (uint32_t)i - 1);
	return true;
}

void lint_index_fini(struct lint *lint)
{
	free(lint->slots);
	free(lint->next);
	free(lint->globs);
}

const struct build_entry *lint_find_key(const struct lint *lint, struct span key)
{
	uint32_t first = lint->slots[find_slot(lint, image_hash(lint->key, key), key)].first;

	return first ? &lint->entries[first - 1] : NULL;
}

const struct build_entry *lint_next_of_key(const struct lint *lint, const struct build_entry *entry)
{
	uint32_t next = lint->next[entry - lint->entries];

	return next ? &lint->entries[next - 1] : NULL;
}

struct span lint_entry_key(const struct lint *lint, const struct build_entry *entry)
{
	struct span text = build_entry_text(lint->build, entry);
	size_t star;

	if (entry->kind != PATTERN_GLOB)
		return span_skip(text, image_key_skip(entry->kind));
	star = span_find_last(text, '*');
	text = span_skip(text, star);
	return span_skip(text, span_find(text, '.') + 1);
}

/* ---- what is wider ---- */

/* Does `other`, whose key is a suffix of the name in `entry`, match all that `entry` matches? `whole`: the keys are the
 * same. */
static bool is_wider(const struct build_entry *entry, const struct build_entry *other, bool whole)
{
	if (!whole) /* a glob has labels before those at its end */
		return other->kind == PATTERN_BELOW || other->kind == PATTERN_SUFFIX;
	if (entry->kind == PATTERN_GLOB)
		return other->kind == PATTERN_BELOW || other->kind == PATTERN_SUFFIX;
	return other->kind == entry->kind || other->kind == PATTERN_SUFFIX;
}

static const struct build_entry *take_of_key(struct lint *lint, const struct lint_search *search, uint64_t hash,
                                             struct span key, bool whole)
{
	uint32_t at = lint->slots[find_slot(lint, hash, key)].first;

	for (unsigned tried = 0; at && tried < SAME_KEY_MAX; tried++) {
		const struct build_entry *other = &lint->entries[at - 1];

		if (other != search->entry && other->kind != PATTERN_NETWORK && is_wider(search->entry, other, whole) &&
		    search->takes(lint, search, other))
			return other;
		at = lint->next[at - 1];
	}
	return NULL;
}

static const struct build_entry *find_by_name(struct lint *lint, const struct lint_search *search)
{
	enum { SUFFIXES_MAX = 128 };
	struct span key = lint_entry_key(lint, search->entry);
	uint64_t hashes[SUFFIXES_MAX], hash = lint->key;
	uint16_t starts[SUFFIXES_MAX];
	size_t count = 0, end = key.len;
	unsigned labels = 0;

	for (size_t i = key.len; i > 0; i--) {
		if (i > 1 && key.at[i - 2] != '.')
			continue;
		hash = image_hash_label(hash, span_of(key.at + i - 1, end - (i - 1)));
		end = i - 2;
		labels += labels < LABELS_COUNTED_MAX;
		if (!(lint->label_counts >> labels & 1) || count == SUFFIXES_MAX)
			continue;
		hashes[count] = hash;
		starts[count++] = (uint16_t)(i - 1);
	}
	while (count-- > 0) {
		const struct build_entry *other = take_of_key(lint, search, hashes[count], span_skip(key, starts[count]),
		                                              starts[count] == 0);

		if (other)
			return other;
	}
	return NULL;
}

static const struct build_entry *find_by_network(struct lint *lint, const struct lint_search *search)
{
	struct span text = build_entry_text(lint->build, search->entry);
	struct network network;

	if (!network_parse(text, false, &network))
		return NULL;
	for (int len = network.prefix_len; len >= 0; len--) {
		uint8_t room[NETWORK_KEY_BYTES];
		struct span key;
		uint32_t at;

		if (!(lint->prefixes[network.base.family == AF_INET6][len / 64] >> len % 64 & 1))
			continue;
		key = image_network_key(&network.base, (uint8_t)len, room);
		at = lint->slots[find_slot(lint, image_hash(lint->key, key), key)].first;
		for (unsigned tried = 0; at && tried < SAME_KEY_MAX; tried++) {
			const struct build_entry *other = &lint->entries[at - 1];

			if (other != search->entry && search->takes(lint, search, other))
				return other;
			at = lint->next[at - 1];
		}
	}
	return NULL;
}

/* A glob covers a name that it matches, and itself. */
static const struct build_entry *find_by_glob(struct lint *lint, const struct lint_search *search)
{
	struct span text = build_entry_text(lint->build, search->entry);

	if (search->entry->kind != PATTERN_EXACT && search->entry->kind != PATTERN_GLOB)
		return NULL;
	for (size_t i = lint->glob_count; i > 0 && lint->glob_count <= GLOBS_TRIED_MAX; i--) {
		const struct build_entry *other = &lint->entries[lint->globs[i - 1]];
		struct span glob = build_entry_text(lint->build, other);

		if (other != search->entry &&
		    (search->entry->kind == PATTERN_GLOB ? span_equal(glob, text) : pattern_glob_matches(glob, text)) &&
		    search->takes(lint, search, other))
			return other;
	}
	return NULL;
}

const struct build_entry *lint_find_wider(struct lint *lint, const struct lint_search *search)
{
	const struct build_entry *other = NULL;

	if (search->entry->kind == PATTERN_NETWORK)
		return find_by_network(lint, search);
	if (search->entry->kind == PATTERN_REGEX)
		return NULL;
	other = find_by_name(lint, search);
	return other ? other : find_by_glob(lint, search);
}
