/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/look_up.h"

#include <string.h>

#include "policy/pattern.h"

struct look_up {
	const struct policy *policy;
	uint16_t port;
	uint64_t wall_ms;
};

bool look_up_has_port(const struct policy *policy, struct image_range ports, uint16_t port)
{
	for (uint32_t i = 0; i < ports.count; i++) {
		const struct image_ports *range = &policy->image.ports[ports.at + i];

		if (port >= range->first && port <= range->last)
			return true;
	}
	return false;
}

/* Note that an entry matched, or that it may, if it is in force; the first that is noted for its list stays. */
static void note(const struct look_up *look, uint32_t index, bool is_sure)
{
	const struct policy *policy = look->policy;
	const struct image_entry *entry = &policy->image.entries[index];
	struct image_range ports = {entry->ports >> 8, entry->ports & 0xff};
	struct policy_hits *hits = &policy->hits[entry->list];
	int kind = ports.count > 0;

	if (entry->expires_min && look->wall_ms / 60000 >= entry->expires_min)
		return;
	if (kind && !look_up_has_port(policy, ports, look->port))
		return;
	if (hits->stamp != *policy->stamp) {
		hits->stamp = *policy->stamp;
		hits->entry[0] = hits->entry[1] = hits->unsure = NONE;
	}
	if (!is_sure && hits->unsure == NONE)
		hits->unsure = index;
	if (is_sure && hits->entry[kind] == NONE)
		hits->entry[kind] = index;
}

static void note_hit(const struct look_up *look, uint32_t index)
{
	note(look, index, true);
}

static bool key_is(const struct policy *policy, const struct image_entry *entry, struct span key,
                   const struct address *address, uint8_t prefix_len)
{
	struct span text = image_entry_text(policy, entry);
	struct network network;

	if (address == NULL)
		return entry->kind < PATTERN_NETWORK &&
		       span_equal(span_skip(text, image_key_skip(entry->kind)), key);
	return entry->kind == PATTERN_NETWORK && entry->prefix_len == prefix_len &&
	       network_parse(text, false, &network) && network.base.family == address->family &&
	       network_has(&network, address);
}

/* The first entry with this key; NONE. */
static uint32_t find_key(const struct policy *policy, uint64_t hash, struct span key,
                         const struct address *address, uint8_t prefix_len)
{
	size_t mask = policy->image.slots_count - 1;

	for (size_t at = hash & mask;; at = (at + 1) & mask) {
		const struct image_slot *slot = &policy->image.slots[at];

		if (slot->entry == 0)
			return NONE;
		if (slot->tag == (uint32_t)(hash >> 32) &&
		    key_is(policy, &policy->image.entries[slot->entry - 1], key, address, prefix_len))
			return slot->entry - 1;
	}
}

static void look_up_key(const struct look_up *look, uint64_t hash, struct span key, bool whole)
{
	const struct policy *policy = look->policy;
	uint32_t index = find_key(policy, hash, key, NULL, 0);

	for (; index < policy->image.entries_count; index++) {
		const struct image_entry *entry = &policy->image.entries[index];

		if (!key_is(policy, entry, key, NULL, 0))
			return;
		if (entry->kind == PATTERN_SUFFIX || (entry->kind == PATTERN_EXACT) == whole)
			note_hit(look, index);
	}
}

enum { LABELS_MAX = 128 };

static void look_up_name(const struct look_up *look, struct span name)
{
	const struct policy *policy = look->policy;
	uint64_t hashes[LABELS_MAX], hash = policy->header->key;
	uint16_t starts[LABELS_MAX];
	size_t count = 0;

	for (size_t i = name.len; i > 0; i--) {
		hash = image_hash_byte(hash, name.at[i - 1]);
		if ((i == 1 || name.at[i - 2] == '.') && count < LABELS_MAX) {
			hashes[count] = image_hash_end(hash);
			starts[count++] = (uint16_t)(i - 1);
			__builtin_prefetch(&policy->image.slots[hashes[count - 1] &
			                                        (policy->image.slots_count - 1)]);
		}
	}
	/* The most specific first: it is the one that is quoted. */
	while (count-- > 0)
		look_up_key(look, hashes[count], span_skip(name, starts[count]), starts[count] == 0);
	for (size_t i = 0; i < policy->image.globs_count; i++) {
		const struct image_entry *entry = &policy->image.entries[policy->image.globs[i]];

		if (pattern_glob_matches(image_entry_text(policy, entry), name))
			note_hit(look, policy->image.globs[i]);
	}
	for (uint32_t i = 0; i < policy->image.regexes_count; i++) {
		enum policy_match match = MATCH_NO;

		if (policy->image.regexes[i] != NONE)
			match = policy_regex_match(policy, i, name);
		if (match != MATCH_NO)
			note(look, policy->image.regexes[i], match == MATCH_YES);
	}
}

static void look_up_prefix(const struct look_up *look, const struct address *address,
                           uint8_t prefix_len)
{
	const struct policy *policy = look->policy;
	uint8_t room[NETWORK_KEY_BYTES];
	struct span key = image_network_key(address, prefix_len, room);
	uint64_t hash = image_hash(policy->header->key, key);
	uint32_t index = find_key(policy, hash, key, address, prefix_len);

	for (; index < policy->image.entries_count; index++) {
		if (!key_is(policy, &policy->image.entries[index], key, address, prefix_len))
			return;
		note_hit(look, index);
	}
}

static bool has_prefix(const struct image_header *header, uint16_t family, int len)
{
	if (family == AF_INET)
		return header->prefixes4 >> len & 1;
	return header->prefixes6[len / 64] >> len % 64 & 1;
}

static void look_up_address(const struct look_up *look, const struct address *address)
{
	struct address plain = address_unmapped(address);

	for (int len = plain.family == AF_INET ? 32 : 128; len >= 0; len--)
		if (has_prefix(look->policy->header, plain.family, len))
			look_up_prefix(look, &plain, (uint8_t)len);
}

static void begin_look_up(const struct policy *policy)
{
	if (++*policy->stamp)
		return;
	memset(policy->hits, 0, (policy->image.lists_count + 1) * sizeof(*policy->hits));
	*policy->stamp = 1;
}

void look_up(const struct policy *policy, const struct policy_facts *facts,
                    struct span text, const struct address *address)
{
	struct look_up look = {policy, facts->port, facts->wall_ms};

	begin_look_up(policy);
	if (address->family)
		look_up_address(&look, address);
	else if (text.len)
		look_up_name(&look, text);
}

/* Does one of the lists have a hit? The entry with ports= goes before the one without, as it says more. */
bool look_up_find(const struct policy *policy, struct image_range lists,
                     struct look_up_hit *hit)
{
	for (int kind = 1; kind >= 0; kind--) {
		for (uint32_t i = 0; i < lists.count; i++) {
			uint16_t list = policy->image.list_refs[lists.at + i];
			const struct policy_hits *hits = &policy->hits[list];

			if (hits->stamp != *policy->stamp || hits->entry[kind] == NONE)
				continue;
			hit->list = list;
			hit->entry = hits->entry[kind];
			hit->has_ports = kind;
			return true;
		}
	}
	return false;
}

/* The lists have no hit: did it remain open for one of them? Nobody shall make an expression give up and
 * so pass what it denies. */
bool look_up_find_unsure(const struct policy *policy, struct image_range lists,
                        struct look_up_hit *hit)
{
	for (uint32_t i = 0; i < lists.count; i++) {
		uint16_t list = policy->image.list_refs[lists.at + i];
		const struct policy_hits *hits = &policy->hits[list];

		if (hits->stamp != *policy->stamp || hits->unsure == NONE)
			continue;
		hit->list = list;
		hit->entry = hits->unsure;
		hit->has_ports = policy->image.entries[hits->unsure].ports & 0xff;
		return true;
	}
	return false;
}

bool look_up_has_networks(const struct policy *policy, struct image_range lists)
{
	for (uint32_t i = 0; i < lists.count; i++)
		if (policy->image.lists[policy->image.list_refs[lists.at + i] - 1].has_networks)
			return true;
	return false;
}
