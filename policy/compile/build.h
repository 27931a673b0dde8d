/* SPDX-License-Identifier: Apache-2.0 */
/* Collects rules, lists and entries, and writes the image. Private to this folder. */
#ifndef POLICY_BUILD_H
#define POLICY_BUILD_H

#include "policy/pattern.h"

/* An entry as it was read. */
struct build_entry {
	uint32_t text_at;       /* in entry_texts */
	uint16_t text_len;      /* canonical pattern */
	uint8_t kind, prefix_len;
	uint16_t list, file;    /* list from 1 */
	uint32_t line;
	uint32_t ports;         /* index into ports << 8 | count; 0: none */
	uint32_t expires_min;   /* minutes since 1970; 0: never */
};

struct build_section {
	uint8_t *at;
	size_t count, capacity;
};

struct build {
	bool failed; /* out of memory */
	/* Of struct image_...; entries: struct build_entry in the order of the files; entry_texts: bytes. regexes: the entry
	 * of each expression, NONE if it is of a url; regex_texts: how it is written. */
	struct build_section strings, files, lists, entries, entry_texts, regexes, regex_texts, rules, list_refs, ports,
		networks, texts, urls, times, zones, edits;
	const struct policy *previous; /* whose entries keep their index; or NULL */
	uint32_t line_count;           /* of all files so far: where the next one's positions begin */
	struct image_range default_ports;
	uint8_t defaults[POLICY_QUESTION_COUNT];
	uint32_t defaults_line, policy_file;
	unsigned answered; /* bits 1 << question: defaults says it */
	uint64_t content_hash; /* of the files read so far */
	void **codes; /* pcre2_code *, by index of `regexes` */
	size_t code_count, code_capacity;
};

void build_init(struct build *build);
void build_fini(struct build *build);

/* Append `count` elements of `size` bytes; the index of the first. */
uint32_t build_add(struct build *build, struct build_section *section, const void *elements,
                   size_t count, size_t size);

/* Note a whole file that the policy is made of. The generation is the hash of what people wrote: nothing that
 * it says can be left out, and no layout or padding of ours gets in. */
void build_note_content(struct build *build, struct span text);

/* Append text; its range. */
struct image_range build_text(struct build *build, struct span text);

/* Compile a regular expression and remember it for `entry` (NONE: of a url). The index of the code; NONE and
 * *why (borrowed from a static buffer) and *at if it is not valid. */
uint32_t build_regex(struct build *build, struct span text, uint32_t entry, const char **why,
                     size_t *at);

/* Is a valid regular expression anchored at both ends, in every alternative? */
bool build_regex_is_anchored(struct span text);

/* Append an entry. *why if its regular expression is not valid. */
MUST_USE bool build_entry(struct build *build, const struct pattern_line *line, uint16_t list,
                          uint16_t file, uint32_t number, const char **why, size_t *at);

static inline struct span build_entry_text(const struct build *build, const struct build_entry *entry)
{
	return span_of(build->entry_texts.at + entry->text_at, entry->text_len);
}

/* Key and manual of a condition of rules, while there is one at that place; how many there are. compile.c */
size_t compile_condition(size_t at, const char **key, const char **manual);

/* Write the image. owns: *image is the caller's (free). errors: ERR_MEMORY. */
MUST_USE enum err build_image(struct build *build, void **image, size_t *image_bytes);

#endif
