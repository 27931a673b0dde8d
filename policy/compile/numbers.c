/* SPDX-License-Identifier: Apache-2.0 */
/* Which index an entry gets. It is the index of its counter, too: an entry that was there before the reload keeps it, whatever
 * line it stands in now. The same entry is: the same pattern in the same list, with the same ports. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "policy/compile/index.h"

/* So many are looked at for one entry. Nobody has more of one pattern, unless by mistake: those get new numbers, and loading
 * them does not take ever longer. */
enum { LOOK_MAX = 1000 };

struct numbering {
	const struct build *build;
	const struct policy *previous;
	uint16_t *lists;   /* by list of the build: that of the previous policy with its name; 0: none */
	bool *is_taken;    /* by number of the previous policy */
	uint32_t *scans;   /* of the previous policy, by hash of their text: index + 1 */
	size_t scan_slots;
};

static struct span list_name(const struct build *build, uint16_t list)
{
	const struct image_list *lists = (const void *)build->lists.at;

	return span_of(build->strings.at + lists[list - 1].name.at, lists[list - 1].name.count);
}

/* ---- what there was ---- */

static uint64_t text_hash(struct span text)
{
	static const struct hash_key fixed = {{5, 6}};

	return hash_bytes(&fixed, text);
}

static bool map_lists(struct numbering *numbering)
{
	size_t count = numbering->build->lists.count, old_count = numbering->previous->image.lists_count;

	numbering->lists = calloc(count + 1, sizeof(*numbering->lists));
	for (size_t i = 1; numbering->lists && i <= count; i++) {
		struct span name = list_name(numbering->build, (uint16_t)i);

		for (size_t j = 1; name.len && j <= old_count; j++)
			if (span_equal(name, policy_list_name(numbering->previous, (uint16_t)j)))
				numbering->lists[i] = (uint16_t)j;
	}
	return numbering->lists != NULL;
}

static bool map_scans(struct numbering *numbering)
{
	const struct policy *previous = numbering->previous;

	numbering->scan_slots = 16;
	while (numbering->scan_slots < previous->image.scans_count * 2)
		numbering->scan_slots *= 2;
	numbering->scans = calloc(numbering->scan_slots, sizeof(*numbering->scans));
	for (size_t i = 0; numbering->scans && i < previous->image.scans_count; i++) {
		size_t at = text_hash(image_text(previous, previous->image.scans[i].text)), end = at + LOOK_MAX;

		while (at != end && numbering->scans[at & (numbering->scan_slots - 1)])
			at++;
		if (at != end)
			numbering->scans[at & (numbering->scan_slots - 1)] = (uint32_t)i + 1;
	}
	return numbering->scans != NULL;
}

/* ---- is it the same ---- */

static bool has_same_ports(const struct numbering *numbering, uint32_t ports, uint32_t old_ports)
{
	const struct image_ports *these = (const void *)numbering->build->ports.at;
	const struct image_ports *those = numbering->previous->image.ports;
	size_t count = ports & 0xff;

	return count == (old_ports & 0xff) &&
	       (count == 0 || memcmp(these + (ports >> 8), those + (old_ports >> 8), count * sizeof(*these)) == 0);
}

/* A pattern that stands in a rule is in a list without a name. */
static bool has_same_list(const struct numbering *numbering, uint16_t list, uint16_t old_list)
{
	if (list_name(numbering->build, list).len)
		return numbering->lists[list] == old_list;
	return policy_list_name(numbering->previous, old_list).len == 0;
}

static bool is_same(const struct numbering *numbering, const struct build_entry *entry, uint32_t old)
{
	struct image_record record;

	return !numbering->is_taken[old] && image_record_of(numbering->previous, old, &record) &&
	       record.kind == entry->kind && has_same_list(numbering, entry->list, record.list) &&
	       has_same_ports(numbering, entry->ports, record.more.ports);
}

static uint32_t find_scan(const struct numbering *numbering, const struct build_entry *entry)
{
	struct span text = build_entry_text(numbering->build, entry);
	size_t first = text_hash(text);

	for (size_t at = first; at != first + LOOK_MAX; at++) {
		uint32_t scan = numbering->scans[at & (numbering->scan_slots - 1)];
		const struct image_scan *old;

		if (scan == 0)
			return NONE;
		old = &numbering->previous->image.scans[scan - 1];
		if (span_equal(image_text(numbering->previous, old->text), text) &&
		    is_same(numbering, entry, old->entry))
			return old->entry;
	}
	return NONE;
}

static uint32_t find_record(const struct numbering *numbering, const struct build_entry *entry)
{
	const struct policy *previous = numbering->previous;
	uint8_t room[NETWORK_KEY_BYTES];
	struct span key = index_key(numbering->build, entry, room);
	uint64_t hash = image_hash(previous->header->key, key);
	size_t at = image_home(hash, previous->header->home_count);

	for (size_t seen = 0;; at++) {
		const struct image_bucket *bucket = &previous->image.buckets[at];
		const uint8_t *place = bucket->room;

		for (unsigned i = 0; i < bucket->count; i++) {
			struct image_record record = image_record_read(place);

			if (span_equal(image_record_key(record.kind, record.text), key)) {
				if (is_same(numbering, entry, record.entry))
					return record.entry;
				seen++;
			}
			place += record.bytes;
		}
		if (seen > LOOK_MAX || !(bucket->goes_on & image_hash_bit(hash)))
			return NONE;
	}
}

/* ---- numbers ---- */

static void keep_numbers(struct numbering *numbering, struct index *index)
{
	const struct build_entry *entries = (const void *)numbering->build->entries.at;

	for (size_t i = 0; i < numbering->build->entries.count; i++) {
		uint32_t old = index_is_scan(&entries[i]) ? find_scan(numbering, &entries[i])
		                                          : find_record(numbering, &entries[i]);

		index->numbers[i] = old;
		if (old != NONE)
			numbering->is_taken[old] = true;
	}
}

/* New entries take what was a hole before, whose counter is zero; only then come numbers that nobody had. */
static void give_numbers(const struct numbering *numbering, struct index *index)
{
	size_t old_count = numbering->previous ? numbering->previous->image.entries_count : 0, next = 0;

	for (size_t i = 0; i < numbering->build->entries.count; i++) {
		if (index->numbers[i] == NONE) {
			while (next < old_count && numbering->previous->image.entries[next].at != NONE)
				next++;
			index->numbers[i] = (uint32_t)next++;
		}
		if (index->numbers[i] >= index->entry_count)
			index->entry_count = index->numbers[i] + 1;
	}
}

static bool number_all(struct numbering *numbering, struct index *index)
{
	size_t count = numbering->build->entries.count;

	index->numbers = malloc((count + 1) * sizeof(*index->numbers));
	if (index->numbers == NULL)
		return false;
	memset(index->numbers, 0xff, count * sizeof(*index->numbers)); /* NONE */
	if (numbering->previous) {
		numbering->is_taken = calloc(numbering->previous->image.entries_count + 1, sizeof(bool));
		if (numbering->is_taken == NULL || !map_lists(numbering) || !map_scans(numbering))
			return false;
		keep_numbers(numbering, index);
	}
	give_numbers(numbering, index);
	index->entries = malloc((index->entry_count + 1) * sizeof(*index->entries));
	if (index->entries == NULL)
		return false;
	memset(index->entries, 0xff, index->entry_count * sizeof(*index->entries)); /* holes */
	return true;
}

enum err index_number(const struct build *build, struct index *index)
{
	struct numbering numbering = {.build = build, .previous = build->previous};
	bool ok = number_all(&numbering, index);

	free(numbering.lists);
	free(numbering.is_taken);
	free(numbering.scans);
	return ok ? ERR_NONE : ERR_MEMORY;
}
