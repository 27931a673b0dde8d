/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "policy/build.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/secret.h"

enum { REGEX_OPTIONS = PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C };

void build_init(struct build *build)
{
	*build = (struct build){.failed = false};
	memset(build->defaults, NO_ANSWER, sizeof(build->defaults));
}

void build_fini(struct build *build)
{
	struct build_section *sections[] = {
		&build->strings,   &build->files, &build->lists,    &build->entries, &build->globs,
		&build->regexes,   &build->rules, &build->list_refs, &build->ports,  &build->networks,
		&build->texts,     &build->urls,  &build->times};

	for (size_t i = 0; i < COUNT_OF(sections); i++)
		free(sections[i]->at);
	for (size_t i = 0; i < build->code_count; i++)
		pcre2_code_free(build->codes[i]);
	free(build->codes);
}

uint32_t build_add(struct build *build, struct build_section *section, const void *elements,
                   size_t count, size_t size)
{
	uint32_t first = (uint32_t)section->count;

	if (section->count + count > section->capacity) {
		size_t capacity = section->capacity ? section->capacity * 2 : 64;
		uint8_t *grown;

		while (capacity < section->count + count)
			capacity *= 2;
		grown = capacity < UINT32_MAX ? realloc(section->at, capacity * size) : NULL;
		if (grown == NULL) {
			build->failed = true;
			return 0;
		}
		section->at = grown;
		section->capacity = capacity;
	}
	if (count)
		memcpy(section->at + section->count * size, elements, count * size);
	section->count += count;
	return first;
}

void build_note_content(struct build *build, struct span text)
{
	static const struct hash_key fixed = {{0x73616c6c79706f72, 0x74}};
	const uint64_t parts[] = {build->content_hash, hash_bytes(&fixed, text)};

	build->content_hash = hash_bytes(&fixed, span_of(parts, sizeof(parts)));
}

struct image_range build_text(struct build *build, struct span text)
{
	return (struct image_range){build_add(build, &build->strings, text.at, text.len, 1),
	                            (uint32_t)text.len};
}

uint32_t build_regex(struct build *build, struct span text, uint32_t entry, const char **why,
                     size_t *at)
{
	static char message[200];
	int error;
	pcre2_code *code = pcre2_compile(text.at, text.len, REGEX_OPTIONS, &error, at, NULL);

	if (code == NULL) {
		pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof(message));
		*why = message;
		return NONE;
	}
	if (build->code_count == build->code_capacity) {
		size_t capacity = build->code_capacity ? build->code_capacity * 2 : 16;
		void **grown = realloc(build->codes, capacity * sizeof(*grown));

		if (grown == NULL) {
			pcre2_code_free(code);
			build->failed = true;
			*why = "out of memory";
			return NONE;
		}
		build->codes = grown;
		build->code_capacity = capacity;
	}
	build->codes[build->code_count++] = code;
	return build_add(build, &build->regexes, &entry, 1, sizeof(entry));
}

/* PCRE2 itself says whether the first ^ and the last $ hold for all between them: a DEFINE group has one
 * branch, and its parenthesis is not found in an open quotation or comment, or behind a backslash. */
bool build_regex_is_anchored(struct span text)
{
	struct buf inside;
	pcre2_code *code;
	PCRE2_SIZE at;
	int error;

	if (text.len < 2 || text.at[0] != '^' || text.at[text.len - 1] != '$')
		return false;
	buf_init(&inside, text.len + 16);
	buf_add(&inside, SPAN("(?(DEFINE)"));
	buf_add(&inside, span_of(text.at + 1, text.len - 2));
	buf_add_byte(&inside, ')');
	code = pcre2_compile(buf_span(&inside).at, buf_len(&inside), REGEX_OPTIONS, &error, &at, NULL);
	pcre2_code_free(code);
	buf_fini(&inside);
	return code != NULL;
}

bool build_entry(struct build *build, const struct pattern_line *line, uint16_t list,
                 uint16_t file, uint32_t number, const char **why, size_t *at)
{
	const struct pattern *pattern = &line->pattern;
	struct image_range text = build_text(build, span_of(pattern->text, pattern->text_len));
	struct image_entry entry = {
		.text_at = text.at,
		.text_len = (uint16_t)text.count,
		.kind = (uint8_t)pattern->kind,
		.list = list,
		.file = file,
		.line = number,
		.expires_min = (uint32_t)(line->expires_ms / 60000),
	};
	uint32_t index = (uint32_t)build->entries.count;

	if (pattern->kind == PATTERN_NETWORK)
		entry.prefix_len = pattern->network.prefix_len;
	if (line->port_count)
		entry.ports = build_add(build, &build->ports, line->ports, line->port_count,
		                        sizeof(line->ports[0])) << 8 | (uint32_t)line->port_count;
	if (pattern->kind == PATTERN_REGEX &&
	    build_regex(build, pattern_regex(span_of(pattern->text, pattern->text_len)), index, why,
	                at) == NONE)
		return false;
	build_add(build, &build->entries, &entry, 1, sizeof(entry));
	return true;
}

/* ---- the image ---- */

uint64_t image_hash(uint64_t key, struct span name)
{
	uint64_t hash = key;

	for (size_t i = name.len; i > 0; i--)
		hash = image_hash_byte(hash, name.at[i - 1]);
	return image_hash_end(hash);
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

static struct span text_of(const struct build *build, const struct image_entry *entry)
{
	return span_of(build->strings.at + entry->text_at, entry->text_len);
}

static bool is_indexed(const struct image_entry *entry)
{
	return entry->kind <= PATTERN_NETWORK;
}

/* What the index knows an indexed entry by. */
static struct span key_of(const struct build *build, const struct image_entry *entry,
                          uint8_t room[static NETWORK_KEY_BYTES])
{
	struct span text = text_of(build, entry);
	struct network network = {0};

	if (entry->kind != PATTERN_NETWORK)
		return span_skip(text, image_key_skip(entry->kind));
	ASSERT(network_parse(text, false, &network));
	return image_network_key(&network.base, network.prefix_len, room);
}

struct sorted {
	uint64_t hash; /* indexed entries by hash, the rest behind them */
	uint32_t index;
};

static int compare_sorted(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Put entries with the same key side by side, in the order of the files within one key (a hash that
 * two keys share is settled when an entry is read: neighbours are compared by text). */
static enum err sort_entries(struct build *build, uint64_t key)
{
	size_t count = build->entries.count;
	const struct image_entry *old = (const void *)build->entries.at;
	struct sorted *order = calloc(count ? count : 1, sizeof(*order));
	struct image_entry *sorted = calloc(count ? count : 1, sizeof(*sorted));
	uint32_t *place = calloc(count ? count : 1, sizeof(*place));
	uint32_t *regexes = (void *)build->regexes.at;
	bool ok = order && sorted && place;

	for (size_t i = 0; ok && i < count; i++) {
		uint8_t room[NETWORK_KEY_BYTES];

		order[i].index = (uint32_t)i;
		order[i].hash = is_indexed(&old[i]) ? image_hash(key, key_of(build, &old[i], room)) >> 1
		                                    : UINT64_MAX;
	}
	if (ok) {
		qsort(order, count, sizeof(*order), compare_sorted);
		for (size_t i = 0; i < count; i++) {
			sorted[i] = old[order[i].index];
			place[order[i].index] = (uint32_t)i;
		}
		for (size_t i = 0; i < build->regexes.count; i++)
			if (regexes[i] != NONE)
				regexes[i] = place[regexes[i]];
		free(build->entries.at);
		build->entries.at = (void *)sorted;
		sorted = NULL;
	}
	free(order);
	free(sorted);
	free(place);
	return ok ? ERR_NONE : ERR_MEMORY;
}

static void collect_globs(struct build *build)
{
	const struct image_entry *entries = (const void *)build->entries.at;

	for (uint32_t i = 0; i < build->entries.count; i++)
		if (entries[i].kind == PATTERN_GLOB)
			build_add(build, &build->globs, &i, 1, sizeof(i));
}

static size_t slot_count_for(size_t entries)
{
	size_t count = 16;

	while (count < entries * 3 / 2)
		count *= 2;
	return count;
}

static void fill_slots(struct build *build, uint64_t key, struct image_slot *slots, size_t count)
{
	const struct image_entry *entries = (const void *)build->entries.at;
	struct span last = {NULL, 0};
	uint8_t rooms[2][NETWORK_KEY_BYTES];
	int room = 0;

	for (uint32_t i = 0; i < build->entries.count; i++) {
		struct span name;
		uint64_t hash;
		size_t at;

		if (!is_indexed(&entries[i]))
			break;
		name = key_of(build, &entries[i], rooms[room]);
		if (last.at && span_equal(name, last))
			continue;
		last = name;
		room = !room; /* `last` may lie in this one */
		hash = image_hash(key, name);
		for (at = hash & (count - 1); slots[at].entry; at = (at + 1) & (count - 1))
			;
		slots[at] = (struct image_slot){(uint32_t)(hash >> 32), i + 1};
	}
}

static void note_prefixes(const struct build *build, struct image_header *header)
{
	const struct image_entry *entries = (const void *)build->entries.at;

	for (size_t i = 0; i < build->entries.count; i++) {
		struct span text = text_of(build, &entries[i]);
		uint8_t len = entries[i].prefix_len;

		if (entries[i].kind != PATTERN_NETWORK)
			continue;
		if (span_find(text, ':') == text.len)
			header->prefixes4 |= UINT64_C(1) << len;
		else
			header->prefixes6[len / 64] |= UINT64_C(1) << len % 64;
	}
}

static enum err encode_codes(const struct build *build, uint8_t **out, size_t *out_bytes)
{
	*out = NULL;
	*out_bytes = 0;
	if (build->code_count == 0)
		return ERR_NONE;
	if (pcre2_serialize_encode((const pcre2_code **)(void *)build->codes,
	                           (int32_t)build->code_count, out, out_bytes, NULL) < 0)
		return ERR_MEMORY;
	return ERR_NONE;
}

struct source {
	const void *at;
	size_t count, size;
	struct image_section *section;
};

static enum err write_sections(struct image_header *header, const struct source *sources,
                               size_t count, void **image, size_t *image_bytes)
{
	size_t total = (sizeof(*header) + 7) / 8 * 8;
	uint8_t *at;

	for (size_t i = 0; i < count; i++) {
		sources[i].section->at = total;
		sources[i].section->count = sources[i].count;
		total += (sources[i].count * sources[i].size + 7) / 8 * 8;
	}
	at = calloc(1, total);
	if (at == NULL)
		return ERR_MEMORY;
	header->total_bytes = total;
	for (size_t i = 0; i < count; i++)
		if (sources[i].count)
			memcpy(at + sources[i].section->at, sources[i].at,
			       sources[i].count * sources[i].size);
	memcpy(at, header, sizeof(*header));
	*image = at;
	*image_bytes = total;
	return ERR_NONE;
}

static enum err write_image(struct build *build, struct image_header *header,
                            const struct image_slot *slots, size_t slot_count,
                            const uint8_t *codes, size_t code_bytes, void **image,
                            size_t *image_bytes)
{
	const struct source sources[] = {
		{build->strings.at, build->strings.count, 1, &header->strings},
		{build->files.at, build->files.count, sizeof(struct image_range), &header->files},
		{build->lists.at, build->lists.count, sizeof(struct image_list), &header->lists},
		{build->entries.at, build->entries.count, sizeof(struct image_entry), &header->entries},
		{slots, slot_count, sizeof(*slots), &header->slots},
		{build->globs.at, build->globs.count, sizeof(uint32_t), &header->globs},
		{build->regexes.at, build->regexes.count, sizeof(uint32_t), &header->regexes},
		{codes, code_bytes, 1, &header->codes},
		{build->rules.at, build->rules.count, sizeof(struct image_rule), &header->rules},
		{build->list_refs.at, build->list_refs.count, sizeof(uint16_t), &header->list_refs},
		{build->ports.at, build->ports.count, sizeof(struct image_ports), &header->ports},
		{build->networks.at, build->networks.count, sizeof(struct network), &header->networks},
		{build->texts.at, build->texts.count, sizeof(struct image_range), &header->texts},
		{build->urls.at, build->urls.count, sizeof(struct image_url), &header->urls},
		{build->times.at, build->times.count, sizeof(struct image_time), &header->times},
	};

	return write_sections(header, sources, COUNT_OF(sources), image, image_bytes);
}

enum err build_image(struct build *build, void **image, size_t *image_bytes)
{
	static const struct hash_key fixed = {{1, 2}};
	struct image_header header = {
		.magic = IMAGE_MAGIC,
		.default_ports = build->default_ports,
		.defaults_line = build->defaults_line,
		.policy_file = build->policy_file,
		.generation_hash = build->content_hash,
	};
	size_t slot_count = slot_count_for(build->entries.count), code_bytes;
	struct image_slot *slots;
	uint8_t *codes;
	enum err err;

	memcpy(header.defaults, build->defaults, sizeof(header.defaults));
	secret_random(&header.key, sizeof(header.key));
	err = sort_entries(build, header.key);
	if (err)
		return err;
	collect_globs(build);
	note_prefixes(build, &header);
	slots = calloc(slot_count, sizeof(*slots));
	if (slots == NULL || build->failed || encode_codes(build, &codes, &code_bytes)) {
		free(slots);
		return ERR_MEMORY;
	}
	fill_slots(build, header.key, slots, slot_count);
	header.codes_hash = hash_bytes(&fixed, span_of(codes ? codes : (const uint8_t *)"", code_bytes));
	err = write_image(build, &header, slots, slot_count, codes, code_bytes, image, image_bytes);
	pcre2_serialize_free(codes);
	free(slots);
	return err;
}
