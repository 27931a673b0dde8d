/* SPDX-License-Identifier: Apache-2.0 */
/* The linter: what is valid and yet not what its author can have meant. It looks at what was read, in the order of the
 * files and before the image is built; of single words nothing is said here, but where they are read. What is claimed to
 * be without effect is so for certain: deleting it changes no decision. Private to this folder. */
#ifndef POLICY_LINT_H
#define POLICY_LINT_H

#include "policy/compile/compile.h"

/* Bits for all lists, those of patterns in rules too. */
enum { LINT_LIST_BYTES = LISTS_MAX * 2 / 8 + 8 };

/* A list, by what uses it. */
struct lint_list {
	uint32_t first, entry_count; /* of its entries: they stand one behind the other */
	bool in_to, in_sni;
	bool in_resolved;      /* in the `to` of a rule with resolved: true */
	bool loosens, bypasses; /* bypasses: or exempts */
	bool has_ports, has_regex, has_networks;
	uint8_t *stands_in;    /* bits by list: its entries can stand for those of this one; NULL: only this list */
	uint8_t *overrules;    /* those of them that answer otherwise */
};

struct lint_slot {
	uint32_t tag, first; /* first: entry + 1; 0: free */
};

struct lint {
	struct compile *compile;
	const struct build *build;
	const struct image_rule *rules;
	size_t rule_count;
	const struct build_entry *entries;
	size_t entry_count, list_count;
	struct lint_list *lists; /* from 1 */
	/* Keys of names and networks: the first entry + 1 of each, and from there those with the same key, in order. */
	struct lint_slot *slots;
	uint32_t *next;
	size_t slot_count;
	uint64_t key, label_counts, prefixes[2][3];
	uint32_t *globs;
	size_t glob_count;
	bool *is_dead;   /* by rule: others answer all that it answers */
	bool is_full;    /* entries are looked at one by one */
	uint64_t budget; /* comparisons of rules that are left; without it nothing more is claimed */
};

/* Warn of all there is to warn of; there were no errors. lint.c */
void lint_run(struct compile *compile);

/* Entries of a file whose read= is long ago. */
struct lint_age {
	uint16_t file;
	unsigned number;    /* line of the oldest */
	size_t count;
	uint64_t oldest_ms;
	const char *source; /* of the oldest, in the arena of compile */
};

/* Append the manual of what the linter knows from elsewhere. lint_wide.c */
void lint_reference(struct buf *out);

/* Note when the entries of a file were last read in their source. lint_age.c */
void lint_note_read(struct compile *compile, uint16_t file, unsigned number, const struct pattern_line *line);
void lint_ages(const struct lint *lint);

/* ---- saying it; lint.c ---- */

struct problem_place lint_rule_place(const struct lint *lint, const struct image_rule *rule);
struct problem_place lint_entry_place(const struct lint *lint, const struct build_entry *entry);
struct span lint_text(const struct lint *lint, struct image_range range);
struct span lint_list_name(const struct lint *lint, uint16_t list);

/* Where `other` is, as it is said beside `at`: "line 3", or "lists/a.list:3". Valid until the next call. */
const char *lint_where(const struct lint *lint, struct problem_place at, struct problem_place other);

#define LINT_RULE(lint, code, rule, related, format, ...) \
	problem_add_code((lint)->compile->problems, PROBLEM_##code, lint_rule_place(lint, rule), related, \
	                 "rule \"%.*s\": " format, SPAN_ARG(lint_text(lint, (rule)->name)), __VA_ARGS__)
#define LINT_ENTRY(lint, code, entry, related, format, ...) \
	problem_add_code((lint)->compile->problems, PROBLEM_##code, lint_entry_place(lint, entry), related, \
	                 "%.*s " format, SPAN_ARG(build_entry_text((lint)->build, entry)), __VA_ARGS__)

/* Tell whoever waits how far it is: passes over all entries, and what is done of this one. */
enum lint_pass { LINT_PASS_COVERED, LINT_PASS_WIDE, LINT_PASS_AMBIGUOUS, LINT_PASS_PLAIN, LINT_PASS_COUNT };
void lint_progress(const struct lint *lint, enum lint_pass pass, size_t done);

/* ---- what includes what; lint_includes.c ---- */

enum { LINT_TO = 1, LINT_PORTS = 2 }; /* what is left out of a comparison */

/* Does rule `a`, where it comes first, answer the question wherever `b` would? */
bool lint_includes(struct lint *lint, const struct image_rule *a, const struct image_rule *b,
                   enum policy_question question, unsigned but);

/* Are all ports of the first among those of the second? */
bool lint_ports_are_in(const struct lint *lint, struct image_range ports, struct image_range wider);

/* The ports at which a rule's answer holds without ports=; NULL: all. */
const struct image_range *lint_answer_ports(const struct lint *lint, const struct image_rule *rule,
                                            enum policy_question question);

static inline struct image_range lint_entry_ports(const struct build_entry *entry)
{
	return (struct image_range){entry->ports >> 8, entry->ports & 0xff};
}

/* Answers that hold where a condition can never be known. */
bool lint_is_strict(enum policy_question question, unsigned answer);

/* ---- entries by key; lint_index.c ---- */

/* Without `is_full` nothing is found. */
MUST_USE bool lint_index_init(struct lint *lint);
void lint_index_fini(struct lint *lint);

/* What of an entry's matches must be matched, and who may do it. */
struct lint_search {
	const struct build_entry *entry;
	bool (*takes)(struct lint *lint, const struct lint_search *search, const struct build_entry *other);
	const struct image_rule *rule, *other_rule; /* for `takes` */
	enum policy_question question;
	uint8_t *lists;                             /* bits by list */
};

/* The first entry that matches all names or addresses which `search->entry` matches, and that is taken; the nearest
 * first, those with the same key in the order of the files. NULL: there is none. */
const struct build_entry *lint_find_wider(struct lint *lint, const struct lint_search *search);

/* The first entry with this key, in any list; NULL. Others follow. */
const struct build_entry *lint_find_key(const struct lint *lint, struct span key);
const struct build_entry *lint_next_of_key(const struct lint *lint, const struct build_entry *entry);

/* The name in an entry: behind its "*." or "."; of a glob the labels at its end that have no star. */
struct span lint_entry_key(const struct lint *lint, const struct build_entry *entry);

static inline bool lint_has_list(const uint8_t *bits, uint16_t list)
{
	return bits && (bits[list / 8] >> list % 8 & 1);
}

static inline void lint_set_list(uint8_t *bits, uint16_t list)
{
	bits[list / 8] = (uint8_t)(bits[list / 8] | 1u << list % 8);
}

/* ---- the parts ---- */

void lint_rules(struct lint *lint);        /* lint_rules.c: shadowed, duplicate */
void lint_clashes(struct lint *lint);      /* lint_clashes.c: rules that contradict each other */
void lint_covered(struct lint *lint);      /* lint_covered.c: duplicate and covered entries */
void lint_wide(const struct lint *lint);   /* lint_wide.c: public suffixes, CDNs, what never matches */
void lint_names(struct lint *lint);        /* lint_names.c: IDNA, look-alikes */

#endif
