/* SPDX-License-Identifier: Apache-2.0 */
/* The compiled policy as it lies in memory: one block, offsets only, no pointers. Written by
 * build.c, opened by open.c, read by decide.c and explain.c. Private to this folder. */
#ifndef POLICY_IMAGE_H
#define POLICY_IMAGE_H

#include <string.h>

#include "policy/policy.h"

#define IMAGE_MAGIC UINT64_C(0x5941504c4c415336) /* changes with the layout */

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

/* What people ask of an entry: where it stands. 8 bytes; the rest lies in its record. An entry's index is the index of
 * its counter and stays its own over reloads, so there are holes. */
struct image_entry {
	uint32_t at;       /* of its record: bytes in `buckets`, or IMAGE_SCAN | index in `scans`; NONE: a hole */
	uint32_t position; /* lines of all files before its own, and its own line */
};
#define IMAGE_SCAN UINT32_C(0x80000000)

/* Names and networks are found by the hash of their key. A bucket is two cache lines, fetched together, and holds whole
 * records one behind the other: a look-up reads one place in memory. Records that find no room are in the next buckets. */
enum { BUCKET_BYTES = 128, BUCKET_ROOM = BUCKET_BYTES - 4, RECORD_HEAD_BYTES = 8, RECORD_MORE_BYTES = 8 };
struct image_bucket {
	uint16_t goes_on;  /* image_hash_bit() of all that belong here, or before, and are in a bucket behind */
	uint8_t count;     /* of records */
	uint8_t reserved;
	uint8_t room[BUCKET_ROOM];
};

/* A record: head, then `len` bytes of text, then, if it has more, ports and expiry. Not aligned. The text of a name is its
 * pattern; of a network it is its key (image_network_key()) and behind it its pattern. */
struct image_record_head {
	uint32_t entry;
	uint16_t list;     /* from 1 */
	uint8_t kind;      /* enum pattern_kind, RECORD_HAS_MORE */
	uint8_t len;
};
struct image_record_more {
	uint32_t ports;       /* index into `ports` << 8 | count; 0: none */
	uint32_t expires_min; /* minutes since 1970; 0: never */
};
enum { RECORD_KIND_MASK = 7, RECORD_HAS_MORE = 8, RECORD_TEXT_MAX = 100 };

/* Globs and regular expressions, and names that are longer than a record: what a literal in the name leads to. */
struct image_scan {
	struct image_range text;
	uint32_t entry, code; /* code: of a regular expression; NONE */
	struct image_record_more more;
	uint16_t list;
	uint8_t kind, reserved;
};

/* Text that is in every name that the scan matches (or one of several such texts). `grams` leads here from three of its
 * bytes, so that a name is compared with few of them. */
struct image_literal {
	struct image_range text;
	uint32_t scan;
};

struct image_ports {
	uint16_t first, last;
};

struct image_list {
	struct image_range name;
	uint32_t line; /* in the policy file; of an inline pattern, too */
	uint16_t file, has_networks;
};

struct image_file {
	struct image_range name;
	uint32_t first; /* position of its line 0 */
};

/* From this moment on the zone is so far east of UTC. */
struct image_zone_change {
	int64_t from_min; /* since 1970 */
	int32_t zone_min;
	uint32_t reserved;
};

struct image_time {
	uint32_t days;                /* bit 0: Monday */
	uint32_t from_min, until_min; /* of the day; until may be less: over midnight */
	int32_t zone_min;             /* east of UTC */
	struct image_range zone;      /* changes of a zone with a name; zone_min is what was before them */
};

struct image_url {
	struct image_range text; /* a prefix, or empty and `regex` */
	uint32_t regex;          /* index of the code; NONE */
};

/* One field that is set or removed (enum policy_headers). */
struct image_edit {
	struct image_range name, value;
	uint32_t is_set, reserved;
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
	struct image_range content_type;            /* texts; CONTENT_TYPE_NONE */
	struct image_range request_headers, response_headers; /* struct image_edit */
	struct address route_source;
	uint32_t rate_each;                         /* enum policy_each */
	uint64_t rate_bytes;                        /* per second; of RATE_LIMIT */
	uint8_t answers[POLICY_QUESTION_COUNT];     /* NO_ANSWER */
};

/* X(section, element type) */
#define IMAGE_SECTIONS(X) \
	X(strings, uint8_t) \
	X(files, struct image_file) \
	X(lists, struct image_list) \
	X(entries, struct image_entry) \
	X(buckets, struct image_bucket) \
	X(scans, struct image_scan) \
	X(grams, uint32_t)             /* first of `literals`, by gram, and one behind; empty: no scans */ \
	X(literals, struct image_literal) \
	X(always, uint32_t)            /* scans without a literal */ \
	X(regexes, struct image_range) /* expressions as they are written, without slashes; compiled where they are needed */ \
	X(rules, struct image_rule) \
	X(list_refs, uint16_t) \
	X(ports, struct image_ports) \
	X(networks, struct network) \
	X(texts, struct image_range) \
	X(urls, struct image_url) \
	X(times, struct image_time) \
	X(zones, struct image_zone_change) \
	X(edits, struct image_edit)

struct image_section {
	uint64_t at;    /* bytes from the start of the image */
	uint64_t count; /* elements */
};

struct image_header {
	uint64_t magic, total_bytes;
	uint64_t key;             /* of the hash of names */
	uint64_t generation_hash;
	uint64_t label_counts;    /* bit n: there is a key with n labels; bit 63: with 63 or more */
	uint64_t prefixes4;       /* bit n: there is a network /n */
	uint64_t prefixes6[3];
	uint64_t home_count;      /* buckets to which a hash can lead; those behind take what finds no room */
	uint64_t live_count;      /* entries that are no holes */
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
	struct policy_verdict *verdicts; /* VERDICT_COUNT of them, where there are scans; look_up.c */
	uint32_t *scan_stamps;           /* by scan: seen in this look-up */
	enum policy_open_mode mode;
};

static inline struct span image_text(const struct policy *policy, struct image_range range)
{
	return span_of(policy->image.strings + range.at, range.count);
}

/* How many bytes of a pattern's text stand before its key. */
static inline size_t image_key_skip(uint8_t kind)
{
	return kind == PATTERN_BELOW ? 2 : kind == PATTERN_SUFFIX ? 1 : 0;
}

/* Both halves of the product of what comes in and what nobody knows. */
static inline uint64_t image_hash_mix(uint64_t hash, uint64_t word)
{
	__extension__ typedef unsigned __int128 wide;
	wide product = (wide)(hash ^ UINT64_C(0x9e3779b97f4a7c15)) * (word ^ hash >> 32 ^ UINT64_C(0xd6e8feb86659fd93));

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The hash of a name grows label by label, from its last to its first, so that one pass gives that of every suffix. */
static inline uint64_t image_hash_label(uint64_t hash, struct span label)
{
	const uint8_t *at = label.at;
	size_t len = label.len;
	uint64_t word;
	uint32_t first, last;

	for (; len > 8; len -= 8, at += 8) {
		memcpy(&word, at, 8);
		hash = image_hash_mix(hash, word);
	}
	if (len >= 4) { /* what overlaps does no harm: the length is hashed, too */
		memcpy(&first, at, 4);
		memcpy(&last, at + len - 4, 4);
		word = (uint64_t)first << 32 | last;
	} else {
		word = len ? (uint64_t)at[0] << 16 | (uint64_t)at[len / 2] << 8 | at[len - 1] : 0;
	}
	return image_hash_mix(hash, word ^ (uint64_t)label.len << 56);
}

uint64_t image_hash(uint64_t key, struct span name);

/* Where a hash leads: the order of hashes is that of buckets. */
static inline size_t image_home(uint64_t hash, uint64_t home_count)
{
	return (size_t)((hash >> 32) * home_count >> 32);
}

static inline uint16_t image_hash_bit(uint64_t hash)
{
	return (uint16_t)(1u << (hash & 15));
}

/* Bytes of a whole record. */
static inline size_t image_record_bytes(const struct image_record_head *head)
{
	return RECORD_HEAD_BYTES + head->len + (head->kind & RECORD_HAS_MORE ? RECORD_MORE_BYTES : 0u);
}

/* The key in a record's text. */
static inline struct span image_record_key(uint8_t kind, struct span text)
{
	if (kind == PATTERN_NETWORK)
		return span_first(text, text.len && text.at[0] == 0x04 ? 6 : 18);
	return span_skip(text, image_key_skip(kind));
}

/* Three bytes of a name as a number below GRAM_COUNT; caseless, and bytes that no name has are one. */
enum { GRAM_BYTES = 3, GRAM_CLASSES = 40, GRAM_COUNT = GRAM_CLASSES * GRAM_CLASSES * GRAM_CLASSES };
static inline uint32_t image_gram_class(uint8_t byte)
{
	if (byte >= 'a' && byte <= 'z')
		return 1u + byte - 'a';
	if (byte >= '0' && byte <= '9')
		return 27u + byte - '0';
	return byte == '.' ? 37 : byte == '-' ? 38 : byte == '_' ? 39 : 0;
}

/* The text of a network's key: family, prefix length, bytes. */
enum { NETWORK_KEY_BYTES = 18 };
struct span image_network_key(const struct address *address, uint8_t prefix_len,
                              uint8_t key[static NETWORK_KEY_BYTES]);

/* Does the expression with this index match? It gives up at its limits of steps, heap and stack. */
enum policy_match { MATCH_NO, MATCH_YES, MATCH_GAVE_UP };
enum policy_match policy_regex_match(const struct policy *policy, uint32_t code, struct span text);

/* Compile an expression as policy reads it (pcre2_code *, pcre2_code_free()); NULL, PCRE2's error and its place if it is not
 * valid. open.c */
void *policy_regex_compile(struct span text, int *error, size_t *at);

/* What a rule says of a response without a media type. */
#define CONTENT_TYPE_NONE "none"

/* Is the media type one of these? headers.c */
bool policy_content_type_matches(const struct policy *policy, struct image_range patterns, struct span type);

/* Can this be written in content-type: of a rule? */
bool policy_is_content_type(struct span pattern);

/* Why a field of this name, or one with this value, is not for rules to write or drop; NULL: it is. */
const char *policy_header_name_wrong(struct span name);
const char *policy_header_value_wrong(struct span value);

/* The edits of a rule. */
static inline struct image_range image_edits(const struct image_rule *rule, enum policy_question question)
{
	return question == POLICY_REQUEST_HEADERS ? rule->request_headers : rule->response_headers;
}

/* Is every index and range of the image inside of it? check_image.c */
bool image_is_sound(const struct policy *policy);

/* What is needed of an entry to match: its list, kind, text (of a network with its key in front). False: a hole. */
struct image_record {
	struct span text;
	struct image_record_more more;
	uint32_t entry;
	uint16_t list;
	uint8_t kind;
	uint8_t bytes; /* of the whole record in its bucket */
};
bool image_record_of(const struct policy *policy, uint32_t entry, struct image_record *out);

/* Read the record at this place of `buckets`. */
static inline struct image_record image_record_read(const uint8_t *at)
{
	struct image_record record = {.more = {0, 0}};
	struct image_record_head head;

	memcpy(&head, at, sizeof(head));
	record.entry = head.entry;
	record.list = head.list;
	record.kind = head.kind & RECORD_KIND_MASK;
	record.bytes = (uint8_t)image_record_bytes(&head);
	record.text = span_of(at + RECORD_HEAD_BYTES, head.len);
	if (head.kind & RECORD_HAS_MORE)
		memcpy(&record.more, at + RECORD_HEAD_BYTES + head.len, sizeof(record.more));
	return record;
}

/* Is an answer one that loosens: allow, bypass, exempt? */
bool policy_is_loosening(enum policy_question question, unsigned answer);

#endif
