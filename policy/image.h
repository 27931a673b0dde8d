/* SPDX-License-Identifier: Apache-2.0 */
/* The compiled policy as it lies in memory: one block, offsets only, no pointers. Written by
 * build.c, opened by open.c, read by decide.c and explain.c. Private to this folder. */
#ifndef POLICY_IMAGE_H
#define POLICY_IMAGE_H

#include "policy/policy.h"

#define IMAGE_MAGIC UINT64_C(0x5941504c4c415332) /* changes with the layout */

enum {
	LISTS_MAX = 4096,
	RULES_MAX = 65535,
	ENTRIES_MAX = 1 << 26,
	NO_ANSWER = 0xff,
};

#define NONE UINT32_MAX

/* A run of elements in a section. */
struct image_range {
	uint32_t at, count;
};

enum pattern_kind {
	PATTERN_EXACT,   /* idbroker.webex.com */
	PATTERN_BELOW,   /* *.wbx2.com */
	PATTERN_SUFFIX,  /* .example.com */
	PATTERN_NETWORK, /* 170.72.0.0/16 */
	PATTERN_GLOB,    /* *mcs*.webex.com */
	PATTERN_REGEX,   /* /^cdn\d+\.example\.net$/ */
};

/* 24 bytes; a million of them lie in memory. Sorted so that those with the same key are neighbours. */
struct image_entry {
	uint32_t text_at;
	uint16_t text_len;      /* canonical pattern; the key is behind its "*." or "." */
	uint8_t kind, prefix_len;
	uint16_t list, file;    /* list from 1 */
	uint32_t line;
	uint32_t ports;         /* index into ports << 8 | count; 0: none */
	uint32_t expires_min;   /* minutes since 1970; 0: never */
};

struct image_slot {
	uint32_t tag, entry; /* entry + 1; 0: free */
};

struct image_ports {
	uint16_t first, last;
};

struct image_list {
	struct image_range name;
	uint32_t line; /* in the policy file; of an inline pattern, too */
	uint32_t has_networks;
};

struct image_time {
	uint32_t days;                /* bit 0: Monday */
	uint32_t from_min, until_min; /* of the day; until may be less: over midnight */
	int32_t zone_min;             /* east of UTC */
};

struct image_url {
	struct image_range text; /* a prefix, or empty and `regex` */
	uint32_t regex;          /* index of the code; NONE */
};

/* Conditions that are absent have count 0. */
struct image_rule {
	struct image_range name;
	uint32_t file, line, column;
	uint32_t listener_line, listener_column;
	uint32_t resolved;
	struct image_range to, sni;                 /* lists: uint16_t in `list_refs` */
	struct image_range port;                    /* struct image_ports */
	struct image_range from;                    /* struct network */
	struct image_range user, group, method, listener; /* struct image_range of text, in `texts` */
	struct image_range url, time;
	struct address route_source;
	uint8_t answers[POLICY_QUESTION_COUNT];     /* NO_ANSWER */
};

/* X(section, element type) */
#define IMAGE_SECTIONS(X) \
	X(strings, uint8_t) \
	X(files, struct image_range) \
	X(lists, struct image_list) \
	X(entries, struct image_entry) \
	X(slots, struct image_slot) \
	X(globs, uint32_t) \
	X(regexes, uint32_t) /* entry of the code with this index; NONE: of a url */ \
	X(codes, uint8_t)    /* pcre2_serialize_encode() of all */ \
	X(rules, struct image_rule) \
	X(list_refs, uint16_t) \
	X(ports, struct image_ports) \
	X(networks, struct network) \
	X(texts, struct image_range) \
	X(urls, struct image_url) \
	X(times, struct image_time)

struct image_section {
	uint64_t at;    /* bytes from the start of the image */
	uint64_t count; /* elements */
};

struct image_header {
	uint64_t magic, total_bytes;
	uint64_t key;             /* of the hash of names */
	uint64_t generation_hash;
	uint64_t codes_hash;      /* a damaged code must not reach PCRE2 */
	uint64_t prefixes4;       /* bit n: there is a network /n */
	uint64_t prefixes6[3];
	struct image_range default_ports;
	uint32_t defaults_line, policy_file;
	uint8_t defaults[POLICY_QUESTION_COUNT];
#define IMAGE_SECTION(name, type) struct image_section name;
	IMAGE_SECTIONS(IMAGE_SECTION)
#undef IMAGE_SECTION
};

/* Sections of an image, as pointers: while it is built, and when it is open. */
struct image {
#define IMAGE_POINTER(name, type) const type *name; size_t name##_count;
	IMAGE_SECTIONS(IMAGE_POINTER)
#undef IMAGE_POINTER
};

/* Best hits of one list for one name: [0] an entry without ports=, [1] one whose ports= has the port; and
 * an entry of which it cannot be told, since its regular expression gave up. */
struct policy_hits {
	uint32_t stamp;
	uint32_t entry[2], unsure;
};

struct policy_regex; /* PCRE2's things; open.c */

struct policy {
	const struct image_header *header;
	struct image image;
	struct policy_regex *regex;
	/* Scratch of the one thread that decides: hits by list, valid where the stamp is the current one. */
	struct policy_hits *hits;
	uint32_t *stamp;
	bool is_for_reading;
};

static inline struct span image_text(const struct policy *policy, struct image_range range)
{
	return span_of(policy->image.strings + range.at, range.count);
}

static inline struct span image_entry_text(const struct policy *policy,
                                           const struct image_entry *entry)
{
	return span_of(policy->image.strings + entry->text_at, entry->text_len);
}

/* How many bytes of a pattern's text stand before its key. */
static inline size_t image_key_skip(uint8_t kind)
{
	return kind == PATTERN_BELOW ? 2 : kind == PATTERN_SUFFIX ? 1 : 0;
}

/* The hash of a name grows from its last byte to its first, so that one pass gives that of every
 * suffix. */
static inline uint64_t image_hash_byte(uint64_t hash, uint8_t byte)
{
	return (hash ^ byte) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline uint64_t image_hash_end(uint64_t hash)
{
	hash ^= hash >> 32;
	hash *= UINT64_C(0xd6e8feb86659fd93);
	return hash ^ hash >> 29;
}

uint64_t image_hash(uint64_t key, struct span name);

/* The text of a network's key: family, prefix length, bytes. */
enum { NETWORK_KEY_BYTES = 18 };
struct span image_network_key(const struct address *address, uint8_t prefix_len,
                              uint8_t key[static NETWORK_KEY_BYTES]);

/* Does the code with this index match? It gives up at its limits of steps, heap and stack. */
enum policy_match { MATCH_NO, MATCH_YES, MATCH_GAVE_UP };
enum policy_match policy_regex_match(const struct policy *policy, uint32_t code, struct span text);

/* Is an answer one that loosens: allow, bypass, exempt? */
bool policy_is_loosening(enum policy_question question, unsigned answer);

#endif
