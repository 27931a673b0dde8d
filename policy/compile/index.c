/* SPDX-License-Identifier: Apache-2.0 */
/* From what was read to the image: entries get their index, names and networks their buckets, the rest becomes scans. */
#include "policy/compile/index.h"

#include <stdlib.h>
#include <string.h>

#include "base/secret.h"

/* ---- keys ---- */

uint64_t image_hash(uint64_t key, struct span name)
{
	uint64_t hash = key;
	size_t end = name.len;

	for (size_t i = name.len; i > 0; i--) {
		if (i > 1 && name.at[i - 2] != '.')
			continue;
		hash = image_hash_label(hash, span_of(name.at + i - 1, end - (i - 1)));
		end = i - 2;
	}
	return hash;
}

struct span image_network_key(const struct address *address, uint8_t prefix_len,
                              uint8_t key[static NETWORK_KEY_BYTES])
{
	size_t bytes = address->family == AF_INET ? 4 : 16;

	memset(key, 0, NETWORK_KEY_BYTES);
	key[0] = address->family == AF_INET ? 0x04 : 0x06; /* no name begins so */
	key[1] = prefix_len;
	memcpy(key + 2, address->bytes, prefix_len / 8);
	if (prefix_len % 8)
		key[2 + prefix_len / 8] =
			address->bytes[prefix_len / 8] & (uint8_t)(0xff00 >> (prefix_len % 8));
	return span_of(key, 2 + bytes);
}

static const struct build_entry *entry_at(const struct build *build, size_t at)
{
	return (const struct build_entry *)(const void *)build->entries.at + at;
}

bool index_is_scan(const struct build_entry *entry)
{
	return entry->kind > PATTERN_NETWORK || entry->text_len > RECORD_TEXT_MAX;
}

struct span index_key(const struct build *build, const struct build_entry *entry,
                      uint8_t room[static NETWORK_KEY_BYTES])
{
	struct span text = build_entry_text(build, entry);
	struct network network = {0};

	if (entry->kind != PATTERN_NETWORK)
		return span_skip(text, image_key_skip(entry->kind));
	ASSERT(network_parse(text, false, &network));
	return image_network_key(&network.base, network.prefix_len, room);
}

/* ---- order ---- */

struct sorted {
	uint64_t hash;
	uint32_t entry; /* in the build */
};

static int compare_sorted(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->entry < y->entry ? -1 : x->entry > y->entry;
}

static void note_labels(struct image_header *header, struct span key)
{
	unsigned count = 1;

	for (size_t i = 0; i < key.len; i++)
		count += key.at[i] == '.';
	header->label_counts |= UINT64_C(1) << (count < 63 ? count : 63);
}

static void note_prefix(struct image_header *header, struct span key)
{
	uint8_t len = key.at[1];

	if (key.at[0] == 0x04)
		header->prefixes4 |= UINT64_C(1) << len;
	else
		header->prefixes6[len / 64] |= UINT64_C(1) << len % 64;
}

/* Entries that go into buckets, by hash; within one key in the order of the files. */
static struct sorted *sort_entries(const struct build *build, struct image_header *header, size_t *count)
{
	struct sorted *order = calloc(build->entries.count + 1, sizeof(*order));

	*count = 0;
	for (size_t i = 0; order && i < build->entries.count; i++) {
		const struct build_entry *entry = entry_at(build, i);
		uint8_t room[NETWORK_KEY_BYTES];
		struct span key;

		if (index_is_scan(entry))
			continue;
		key = index_key(build, entry, room);
		order[(*count)++] = (struct sorted){image_hash(header->key, key), (uint32_t)i};
		if (entry->kind == PATTERN_NETWORK)
			note_prefix(header, key);
		else
			note_labels(header, key);
	}
	if (order)
		qsort(order, *count, sizeof(*order), compare_sorted);
	return order;
}

/* ---- buckets ---- */

static bool has_more(const struct build_entry *entry)
{
	return entry->ports || entry->expires_min;
}

static size_t record_bytes(const struct build_entry *entry)
{
	size_t key = 0;

	if (entry->kind == PATTERN_NETWORK)
		key = NETWORK_KEY_BYTES; /* at most */
	return RECORD_HEAD_BYTES + key + entry->text_len + (has_more(entry) ? RECORD_MORE_BYTES : 0u);
}

/* The same in every respect, so that the one behind can never be the one that matches. Only neighbours are looked at;
 * what they are for is that a list full of one line does not make one long chain. */
static bool is_again(const struct build *build, const struct build_entry *entry,
                     const struct build_entry *before)
{
	return entry->list == before->list && entry->kind == before->kind &&
	       entry->ports == before->ports && entry->expires_min == before->expires_min &&
	       span_equal(build_entry_text(build, entry), build_entry_text(build, before));
}

struct filling {
	struct index *index;
	struct image_bucket *bucket; /* the current one */
	size_t at, used;             /* its place, bytes in it */
	bool failed;
};

static bool open_bucket(struct filling *filling, size_t at)
{
	struct index *index = filling->index;

	while (at >= index->bucket_count) { /* behind the last home */
		size_t count = index->bucket_count + 16;
		struct image_bucket *grown = realloc(index->buckets, count * sizeof(*grown));

		if (grown == NULL)
			return false;
		memset(grown + index->bucket_count, 0, 16 * sizeof(*grown));
		index->buckets = grown;
		index->bucket_count = count;
	}
	filling->bucket = &index->buckets[at];
	filling->at = at;
	filling->used = 0;
	return true;
}

static uint32_t put_record(struct filling *filling, const struct build *build,
                           const struct build_entry *entry, uint32_t number)
{
	uint8_t *at = filling->bucket->room + filling->used, room[NETWORK_KEY_BYTES];
	struct span text = build_entry_text(build, entry);
	struct span key = entry->kind == PATTERN_NETWORK ? index_key(build, entry, room) : SPAN("");
	struct image_record_head head = {number, entry->list, entry->kind, (uint8_t)(key.len + text.len)};
	struct image_record_more more = {entry->ports, entry->expires_min};
	size_t offset = filling->at * BUCKET_BYTES + offsetof(struct image_bucket, room) + filling->used;

	if (has_more(entry))
		head.kind |= RECORD_HAS_MORE;
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	if (key.len)
		memcpy(at, key.at, key.len);
	memcpy(at + key.len, text.at, text.len);
	if (has_more(entry))
		memcpy(at + key.len + text.len, &more, sizeof(more));
	filling->bucket->count++;
	filling->used += image_record_bytes(&head);
	return (uint32_t)offset;
}

/* Records come in the order of their homes, so the current bucket never lies before the home of the next. */
static bool place(struct filling *filling, const struct build *build, const struct sorted *sorted,
                  uint64_t home_count)
{
	const struct build_entry *entry = entry_at(build, sorted->entry);
	size_t home = image_home(sorted->hash, home_count);
	uint32_t number = filling->index->numbers[sorted->entry];
	uint16_t bit = image_hash_bit(sorted->hash);

	if (home > filling->at && !open_bucket(filling, home))
		return false;
	if (filling->used + record_bytes(entry) > BUCKET_ROOM || filling->bucket->count == UINT8_MAX) {
		if (!open_bucket(filling, filling->at + 1))
			return false;
	}
	/* From the last to the first: where the bit is set it is set in all before that matter, since what set it has its home
	 * no later than this one. */
	for (size_t i = filling->at; i-- > home && !(filling->index->buckets[i].goes_on & bit);)
		filling->index->buckets[i].goes_on |= bit;
	filling->index->entries[number].at = put_record(filling, build, entry, number);
	return true;
}

/* What a record takes of a bucket where all are as long as it is: three of 42 bytes do not fit into 124. */
static size_t share_bytes(const struct build_entry *entry)
{
	size_t bytes = record_bytes(entry);

	return BUCKET_ROOM / (BUCKET_ROOM / bytes);
}

static enum err fill_buckets(const struct build *build, struct image_header *header, struct index *index,
                             const struct sorted *order, size_t count)
{
	struct filling filling = {.index = index};
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += share_bytes(entry_at(build, order[i].entry));
	/* Three quarters full: fewer pages for all, and seldom a second bucket for one. */
	header->home_count = total * 4 / (BUCKET_ROOM * 3) + 1;
	index->bucket_count = (size_t)header->home_count;
	if (index->bucket_count * BUCKET_BYTES >= IMAGE_SCAN / 2)
		return ERR_LIMIT;
	index->buckets = calloc(index->bucket_count, sizeof(*index->buckets));
	if (index->buckets == NULL || !open_bucket(&filling, 0))
		return ERR_MEMORY;
	for (size_t i = 0; i < count; i++) {
		if (i && order[i].hash == order[i - 1].hash &&
		    is_again(build, entry_at(build, order[i].entry), entry_at(build, order[i - 1].entry)))
			continue;
		if (!place(&filling, build, &order[i], header->home_count))
			return ERR_MEMORY;
	}
	return ERR_NONE;
}

/* ---- the image ---- */

struct source {
	const void *at;
	size_t count, size;
	struct image_section *section;
};

enum { SECTION_ALIGN = 64 };

static size_t aligned(size_t bytes)
{
	return (bytes + SECTION_ALIGN - 1) / SECTION_ALIGN * SECTION_ALIGN;
}

static enum err write_sections(struct image_header *header, const struct source *sources,
                               size_t count, void **image, size_t *image_bytes)
{
	size_t total = aligned(sizeof(*header));
	uint8_t *at;

	for (size_t i = 0; i < count; i++) {
		sources[i].section->at = total;
		sources[i].section->count = sources[i].count;
		total += aligned(sources[i].count * sources[i].size);
	}
	at = aligned_alloc(SECTION_ALIGN, total);
	if (at == NULL)
		return ERR_MEMORY;
	header->total_bytes = total;
	memset(at, 0, aligned(sizeof(*header)));
	memcpy(at, header, sizeof(*header));
	for (size_t i = 0; i < count; i++) {
		size_t bytes = sources[i].count * sources[i].size;
		uint8_t *to = at + sources[i].section->at;

		if (bytes)
			memcpy(to, sources[i].at, bytes);
		memset(to + bytes, 0, aligned(bytes) - bytes);
	}
	*image = at;
	*image_bytes = total;
	return ERR_NONE;
}

static enum err write_image(struct build *build, struct index *index, struct image_header *header,
                            void **image, size_t *image_bytes)
{
	const struct source sources[] = {
		{build->strings.at, build->strings.count, 1, &header->strings},
		{build->files.at, build->files.count, sizeof(struct image_file), &header->files},
		{build->lists.at, build->lists.count, sizeof(struct image_list), &header->lists},
		{index->entries, index->entry_count, sizeof(struct image_entry), &header->entries},
		{index->buckets, index->bucket_count, sizeof(struct image_bucket), &header->buckets},
		{index->scans.at, index->scans.count, sizeof(struct image_scan), &header->scans},
		{index->grams, index->grams ? GRAM_COUNT + 1 : 0, sizeof(uint32_t), &header->grams},
		{index->literals.at, index->literals.count, sizeof(struct image_literal), &header->literals},
		{index->always.at, index->always.count, sizeof(uint32_t), &header->always},
		{build->regex_texts.at, build->regex_texts.count, sizeof(struct image_range), &header->regexes},
		{build->rules.at, build->rules.count, sizeof(struct image_rule), &header->rules},
		{build->list_refs.at, build->list_refs.count, sizeof(uint16_t), &header->list_refs},
		{build->ports.at, build->ports.count, sizeof(struct image_ports), &header->ports},
		{build->networks.at, build->networks.count, sizeof(struct network), &header->networks},
		{build->texts.at, build->texts.count, sizeof(struct image_range), &header->texts},
		{build->urls.at, build->urls.count, sizeof(struct image_url), &header->urls},
		{build->times.at, build->times.count, sizeof(struct image_time), &header->times},
		{build->zones.at, build->zones.count, sizeof(struct image_zone_change), &header->zones},
		{build->edits.at, build->edits.count, sizeof(struct image_edit), &header->edits},
	};

	return write_sections(header, sources, COUNT_OF(sources), image, image_bytes);
}

static void index_fini(struct index *index)
{
	free(index->numbers);
	free(index->entries);
	free(index->buckets);
	free(index->grams);
	free(index->scans.at);
	free(index->literals.at);
	free(index->always.at);
}

static void note_positions(const struct build *build, struct index *index)
{
	const struct image_file *files = (const void *)build->files.at;

	for (size_t i = 0; i < build->entries.count; i++) {
		const struct build_entry *entry = entry_at(build, i);

		index->entries[index->numbers[i]].position = files[entry->file].first + entry->line;
	}
}

static enum err make_index(struct build *build, struct image_header *header, struct index *index)
{
	enum err err = index_number(build, index);
	struct sorted *order;
	size_t count;

	if (err)
		return err;
	note_positions(build, index);
	order = sort_entries(build, header, &count);
	err = order ? fill_buckets(build, header, index, order, count) : ERR_MEMORY;
	free(order);
	if (err == ERR_NONE)
		err = index_scans(build, index);
	return err;
}

enum err build_image(struct build *build, void **image, size_t *image_bytes)
{
	struct index index = {.entry_count = 0};
	struct image_header header = {
		.magic = IMAGE_MAGIC,
		.default_ports = build->default_ports,
		.defaults_line = build->defaults_line,
		.policy_file = build->policy_file,
		.generation_hash = build->content_hash,
		.live_count = build->entries.count,
	};
	enum err err;

	memcpy(header.defaults, build->defaults, sizeof(header.defaults));
	secret_random(&header.key, sizeof(header.key));
	err = make_index(build, &header, &index);
	if (err == ERR_NONE)
		err = build->failed ? ERR_MEMORY : write_image(build, &index, &header, image, image_bytes);
	index_fini(&index);
	return err;
}
