/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/look_up.h"

#include <stdlib.h>

#include "policy/pattern.h"

enum {
	LABELS_MAX = 128,
	CANDIDATES_MAX = 256,
	GRAMS_SEEN = 512,      /* power of two */
	GIVE_UPS_MAX = 4,      /* expressions that may reach their limits for one name; those behind them are not tried */
	VERDICT_COUNT = 1024,  /* power of two */
	VERDICT_NAME_MAX = 100,
	VERDICT_MATCHES_MAX = 8,
};

#define VERDICT_UNSURE UINT32_C(0x80000000)

/* What the scans said of a name, so that what is asked for again and again costs one comparison. It belongs to one policy, and
 * so to one generation. Ports and times are not in it: they are looked at each time. */
struct policy_verdict {
	uint8_t len, match_count;
	uint8_t name[VERDICT_NAME_MAX];
	uint32_t matches[VERDICT_MATCHES_MAX]; /* scans, in their order; VERDICT_UNSURE */
};

struct looking {
	const struct policy *policy;
	struct span name;
	uint16_t port;
	uint64_t wall_ms;
	bool did_suffixes;
	look_up_seen *seen; /* NULL: nobody looks on */
	void *context;
};

/* ---- hits ---- */

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
static void note(const struct looking *looking, const struct image_record *record, bool is_sure)
{
	const struct policy *policy = looking->policy;
	struct image_range ports = {record->more.ports >> 8, record->more.ports & 0xff};
	struct policy_hits *hits = &policy->hits[record->list];
	int kind = ports.count > 0;

	if (looking->seen)
		looking->seen(looking->context, record->entry, is_sure);
	if (record->more.expires_min && looking->wall_ms / 60000 >= record->more.expires_min)
		return;
	if (kind && !look_up_has_port(policy, ports, looking->port))
		return;
	if (hits->stamp != *policy->stamp) {
		hits->stamp = *policy->stamp;
		hits->entry[0] = hits->entry[1] = hits->unsure = NONE;
	}
	if (!is_sure && hits->unsure == NONE)
		hits->unsure = record->entry;
	if (is_sure && hits->entry[kind] == NONE)
		hits->entry[kind] = record->entry;
}

/* ---- names and networks: one place in memory for each key ---- */

/* `whole`: the key is the name itself, and not what is above it. */
static bool is_of_kind(uint8_t kind, bool whole)
{
	return kind == PATTERN_SUFFIX || kind == PATTERN_NETWORK || (kind == PATTERN_EXACT) == whole;
}

/* How many bytes a record's text has beside the key: in front of a name, behind a network. One that is shorter than the key
 * has none, and is not compared with it. */
static size_t bytes_beside(uint8_t kind, size_t len, size_t key_len)
{
	return kind == PATTERN_NETWORK && len > key_len ? len - key_len : image_key_skip(kind);
}

static void look_up_bucket(const struct looking *looking, const struct image_bucket *bucket, struct span key,
                           bool whole)
{
	const uint8_t *at = bucket->room;

	for (unsigned i = 0; i < bucket->count; i++) {
		struct image_record_head head;
		uint8_t kind;
		size_t beside;

		memcpy(&head, at, sizeof(head));
		kind = head.kind & RECORD_KIND_MASK;
		beside = bytes_beside(kind, head.len, key.len);
		/* The first byte of a network's key is none of a name's. */
		if (head.len >= key.len && head.len - beside == key.len &&
		    memcmp(at + RECORD_HEAD_BYTES + (kind == PATTERN_NETWORK ? 0 : beside), key.at, key.len) == 0 &&
		    is_of_kind(kind, whole)) {
			struct image_record record = image_record_read(at);

			note(looking, &record, true);
		}
		at += image_record_bytes(&head);
	}
}

static void look_up_key(const struct looking *looking, uint64_t hash, struct span key, bool whole)
{
	const struct policy *policy = looking->policy;
	const struct image_bucket *bucket =
		&policy->image.buckets[image_home(hash, policy->header->home_count)];

	do
		look_up_bucket(looking, bucket, key, whole);
	while (bucket++->goes_on & image_hash_bit(hash));
}

static void prefetch(const struct policy *policy, uint64_t hash)
{
	const struct image_bucket *bucket =
		&policy->image.buckets[image_home(hash, policy->header->home_count)];

	__builtin_prefetch(bucket);
	__builtin_prefetch((const uint8_t *)bucket + BUCKET_BYTES / 2);
	__builtin_prefetch(bucket + 1); /* what found no room stands in front there */
}

/* All suffixes are hashed in one pass, and their buckets are on their way before the first is read. */
static void look_up_suffixes(struct looking *looking)
{
	const struct policy *policy = looking->policy;
	struct span name = looking->name;
	uint64_t hashes[LABELS_MAX], hash = policy->header->key, counts = policy->header->label_counts;
	uint16_t starts[LABELS_MAX];
	size_t count = 0;
	unsigned labels = 0;

	looking->did_suffixes = true;
	for (size_t i = name.len, end = name.len; i > 0; i--) {
		if (i > 1 && name.at[i - 2] != '.')
			continue;
		hash = image_hash_label(hash, span_of(name.at + i - 1, end - (i - 1)));
		end = i - 2;
		labels += labels < 63;
		if (!(counts >> labels & 1) || count == LABELS_MAX)
			continue;
		hashes[count] = hash;
		starts[count] = (uint16_t)(i - 1);
		prefetch(policy, hashes[count++]);
	}
	/* The most specific first: it is the one that is quoted. */
	while (count-- > 0)
		look_up_key(looking, hashes[count], span_skip(name, starts[count]), starts[count] == 0);
}

static bool has_prefix(const struct image_header *header, uint16_t family, int len)
{
	if (family == AF_INET)
		return header->prefixes4 >> len & 1;
	return header->prefixes6[len / 64] >> len % 64 & 1;
}

static void look_up_address(const struct looking *looking, const struct address *address)
{
	const struct policy *policy = looking->policy;
	struct address plain = address_unmapped(address);

	for (int len = plain.family == AF_INET ? 32 : 128; len >= 0; len--) {
		uint8_t room[NETWORK_KEY_BYTES];
		struct span key;

		if (!has_prefix(policy->header, plain.family, len))
			continue;
		key = image_network_key(&plain, (uint8_t)len, room);
		look_up_key(looking, image_hash(policy->header->key, key), key, true);
	}
}

/* ---- scans ---- */

struct candidates {
	uint32_t at[CANDIDATES_MAX];
	size_t count;
	bool is_all; /* too many: all scans that have the stamp are */
};

/* What leads to literals in a name, so that what comes again in it is not followed again: nobody shall make a name of the
 * three bytes that lead to the most. */
struct grams_seen {
	size_t count;
	uint16_t at[GRAMS_SEEN]; /* gram + 1; by hash */
};
_Static_assert(GRAM_COUNT < UINT16_MAX, "a gram and one fit");

static bool is_again(struct grams_seen *seen, uint32_t gram)
{
	uint16_t key = (uint16_t)(gram + 1);
	size_t at = key * 40503u;

	for (at = at >> 4 & (GRAMS_SEEN - 1); seen->at[at]; at = (at + 1) & (GRAMS_SEEN - 1))
		if (seen->at[at] == key)
			return true;
	if (seen->count == GRAMS_SEEN / 2)
		return false; /* no name is so long */
	seen->at[at] = key;
	seen->count++;
	return false;
}

/* Few they are, as a rule, and they come nearly in order. */
static void add_candidate(const struct policy *policy, struct candidates *candidates, uint32_t scan)
{
	size_t at = candidates->count;

	if (policy->scan_stamps[scan] == *policy->stamp)
		return;
	policy->scan_stamps[scan] = *policy->stamp;
	if (at == CANDIDATES_MAX || candidates->is_all) {
		candidates->is_all = true;
		return;
	}
	for (; at && candidates->at[at - 1] > scan; at--)
		candidates->at[at] = candidates->at[at - 1];
	candidates->at[at] = scan;
	candidates->count++;
}

static void follow_gram(const struct policy *policy, uint32_t gram, struct span name, struct candidates *candidates)
{
	const struct image *image = &policy->image;

	for (uint32_t i = image->grams[gram]; i < image->grams[gram + 1]; i++) {
		const struct image_literal *literal = &image->literals[i];

		if (policy->scan_stamps[literal->scan] != *policy->stamp &&
		    span_find_span(name, image_text(policy, literal->text)) < name.len)
			add_candidate(policy, candidates, literal->scan);
	}
}

static void find_candidates(const struct policy *policy, struct span name, struct candidates *candidates)
{
	const struct image *image = &policy->image;
	struct grams_seen seen = {.count = 0};
	uint32_t gram = 0;

	for (size_t i = 0; i < image->always_count; i++)
		add_candidate(policy, candidates, image->always[i]);
	for (size_t i = 0; i < name.len; i++) {
		gram = (gram * GRAM_CLASSES + image_gram_class(name.at[i])) % GRAM_COUNT;
		if (i + 1 < GRAM_BYTES)
			continue;
		if (image->grams[gram] != image->grams[gram + 1] && !is_again(&seen, gram))
			follow_gram(policy, gram, name, candidates);
	}
}

static enum policy_match match_scan(const struct policy *policy, const struct image_scan *scan, struct span name,
                                    unsigned *give_ups)
{
	struct span text = image_text(policy, scan->text), key = span_skip(text, image_key_skip(scan->kind));
	enum policy_match match = MATCH_GAVE_UP;
	bool whole = name.len == key.len;

	if (scan->kind == PATTERN_GLOB)
		return pattern_glob_matches(text, name) ? MATCH_YES : MATCH_NO;
	if (scan->kind == PATTERN_REGEX) {
		if (*give_ups < GIVE_UPS_MAX)
			match = policy_regex_match(policy, scan->code, name);
		*give_ups += match == MATCH_GAVE_UP;
		return match;
	}
	if (name.len < key.len || !span_equal(span_skip(name, name.len - key.len), key) ||
	    (!whole && name.at[name.len - key.len - 1] != '.'))
		return MATCH_NO;
	return scan->kind == PATTERN_SUFFIX || (scan->kind == PATTERN_EXACT) == whole ? MATCH_YES : MATCH_NO;
}

/* Names that are longer than any in a bucket come first, as the most specific; then those in buckets, then the rest. */
static void note_scan(struct looking *looking, uint32_t index, bool is_sure)
{
	const struct image_scan *scan = &looking->policy->image.scans[index];
	struct image_record record = {.more = scan->more, .entry = scan->entry, .list = scan->list, .kind = scan->kind};

	if (!looking->did_suffixes && scan->kind > PATTERN_NETWORK)
		look_up_suffixes(looking);
	note(looking, &record, is_sure);
}

/* What the verdict has no room for is not kept. */
static bool add_match(struct policy_verdict *verdict, uint32_t match)
{
	if (verdict->match_count == VERDICT_MATCHES_MAX)
		return false;
	verdict->matches[verdict->match_count++] = match;
	return true;
}

static void try_scans(struct looking *looking, struct policy_verdict *verdict)
{
	const struct policy *policy = looking->policy;
	struct span name = looking->name;
	struct candidates candidates = {.count = 0};
	unsigned give_ups = 0;
	bool is_kept = name.len <= VERDICT_NAME_MAX;

	find_candidates(policy, name, &candidates);
	verdict->match_count = 0;
	for (size_t i = 0; i < (candidates.is_all ? policy->image.scans_count : candidates.count); i++) {
		uint32_t index = candidates.is_all ? (uint32_t)i : candidates.at[i];
		enum policy_match match;

		if (policy->scan_stamps[index] != *policy->stamp)
			continue;
		match = match_scan(policy, &policy->image.scans[index], name, &give_ups);
		if (match == MATCH_NO)
			continue;
		note_scan(looking, index, match == MATCH_YES);
		is_kept = is_kept && add_match(verdict, index | (match == MATCH_YES ? 0 : VERDICT_UNSURE));
	}
	verdict->len = 0; /* of no name */
	if (is_kept) {
		verdict->len = (uint8_t)name.len;
		memcpy(verdict->name, name.at, name.len);
	}
}

static void look_up_scans(struct looking *looking)
{
	const struct policy *policy = looking->policy;
	struct span name = looking->name;
	uint64_t hash = image_hash(policy->header->key, name);
	struct policy_verdict *verdict = &policy->verdicts[hash & (VERDICT_COUNT - 1)];

	if (verdict->len == 0 || !span_equal(span_of(verdict->name, verdict->len), name)) {
		try_scans(looking, verdict);
		return;
	}
	for (size_t i = 0; i < verdict->match_count; i++)
		note_scan(looking, verdict->matches[i] & ~VERDICT_UNSURE, !(verdict->matches[i] & VERDICT_UNSURE));
}

bool look_up_init(struct policy *policy)
{
	policy->hits = calloc(policy->image.lists_count + 1, sizeof(*policy->hits));
	policy->stamp = calloc(1, sizeof(*policy->stamp));
	if (policy->image.scans_count) {
		policy->verdicts = calloc(VERDICT_COUNT, sizeof(*policy->verdicts));
		policy->scan_stamps = calloc(policy->image.scans_count, sizeof(*policy->scan_stamps));
	}
	return policy->hits && policy->stamp &&
	       (policy->image.scans_count == 0 || (policy->verdicts && policy->scan_stamps));
}

void look_up_fini(struct policy *policy)
{
	free(policy->hits);
	free(policy->stamp);
	free(policy->verdicts);
	free(policy->scan_stamps);
}

/* ---- the whole ---- */

static void begin(const struct policy *policy)
{
	if (++*policy->stamp)
		return;
	memset(policy->hits, 0, (policy->image.lists_count + 1) * sizeof(*policy->hits));
	if (policy->image.scans_count)
		memset(policy->scan_stamps, 0, policy->image.scans_count * sizeof(*policy->scan_stamps));
	*policy->stamp = 1;
}

static void find_all(struct looking *looking, const struct address *address)
{
	begin(looking->policy);
	if (address->family) {
		look_up_address(looking, address);
	} else if (looking->name.len) {
		if (looking->policy->image.scans_count)
			look_up_scans(looking);
		if (!looking->did_suffixes)
			look_up_suffixes(looking);
	}
}

void look_up(const struct policy *policy, const struct policy_facts *facts, struct span text,
             const struct address *address)
{
	struct looking looking = {policy, text, facts->port, facts->wall_ms, false, NULL, NULL};

	find_all(&looking, address);
}

void look_up_and_tell(const struct policy *policy, const struct policy_facts *facts, struct span text,
                      const struct address *address, look_up_seen *seen, void *context)
{
	struct looking looking = {policy, text, facts->port, facts->wall_ms, false, seen, context};

	find_all(&looking, address);
}

/* ---- list by list ---- */

bool look_up_find(const struct policy *policy, struct image_range lists, struct look_up_hit *hit)
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

bool look_up_find_unsure(const struct policy *policy, struct image_range lists, struct look_up_hit *hit)
{
	struct image_record record;

	for (uint32_t i = 0; i < lists.count; i++) {
		uint16_t list = policy->image.list_refs[lists.at + i];
		const struct policy_hits *hits = &policy->hits[list];

		if (hits->stamp != *policy->stamp || hits->unsure == NONE ||
		    !image_record_of(policy, hits->unsure, &record))
			continue;
		hit->list = list;
		hit->entry = hits->unsure;
		hit->has_ports = (record.more.ports & 0xff) != 0;
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
