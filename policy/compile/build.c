/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "policy/compile/build.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

void build_init(struct build *build)
{
	*build = (struct build){.failed = false};
	memset(build->defaults, NO_ANSWER, sizeof(build->defaults));
}

void build_fini(struct build *build)
{
	struct build_section *sections[] = {
		&build->strings, &build->files,     &build->lists, &build->entries,  &build->entry_texts,
		&build->regexes, &build->regex_texts, &build->rules,     &build->list_refs, &build->ports, &build->networks,
		&build->texts,   &build->urls,      &build->times, &build->zones,     &build->edits};

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
	pcre2_code *code = policy_regex_compile(text, &error, at);
	struct image_range kept;

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
	kept = build_text(build, text);
	build_add(build, &build->regex_texts, &kept, 1, sizeof(kept));
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
	code = policy_regex_compile(buf_span(&inside), &error, &at);
	pcre2_code_free(code);
	buf_fini(&inside);
	return code != NULL;
}

/* As a rule a list says the same ports again and again: the last ones are looked at. 24 bits for where they are. */
static uint32_t add_ports(struct build *build, const struct pattern_line *line)
{
	enum { LOOK_BACK = 16, AT_MAX = 1 << 24 };
	const struct image_ports *ports = (const void *)build->ports.at;
	size_t count = line->port_count, end = build->ports.count, at;

	for (size_t back = 0; back < LOOK_BACK && end >= count + back; back++) {
		at = end - count - back;
		if (memcmp(ports + at, line->ports, count * sizeof(*ports)) == 0)
			return (uint32_t)at << 8 | (uint32_t)count;
	}
	at = build_add(build, &build->ports, line->ports, count, sizeof(*ports));
	if (at >= AT_MAX)
		build->failed = true;
	return (uint32_t)at << 8 | (uint32_t)count;
}

bool build_entry(struct build *build, const struct pattern_line *line, uint16_t list,
                 uint16_t file, uint32_t number, const char **why, size_t *at)
{
	const struct pattern *pattern = &line->pattern;
	struct build_entry entry = {
		.text_at = build_add(build, &build->entry_texts, pattern->text, pattern->text_len, 1),
		.text_len = (uint16_t)pattern->text_len,
		.kind = (uint8_t)pattern->kind,
		.list = list,
		.file = file,
		.line = number,
		.expires_min = (uint32_t)(line->expires_ms / 60000),
	};
	uint32_t index = (uint32_t)build->entries.count;

	if (pattern->kind == PATTERN_NETWORK)
		entry.prefix_len = pattern->network.prefix_len;
	if (line->expires_ms && entry.expires_min == 0)
		entry.expires_min = 1; /* 0 would be never */
	if (line->port_count)
		entry.ports = add_ports(build, line);
	if (pattern->kind == PATTERN_REGEX &&
	    build_regex(build, pattern_regex(span_of(pattern->text, pattern->text_len)), index, why,
	                at) == NONE)
		return false;
	build_add(build, &build->entries, &entry, 1, sizeof(entry));
	return true;
}
