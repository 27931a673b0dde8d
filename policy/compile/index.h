/* SPDX-License-Identifier: Apache-2.0 */
/* The index while it is made. Private to index.c, numbers.c and scans.c. */
#ifndef POLICY_INDEX_H
#define POLICY_INDEX_H

#include "policy/compile/build.h"

struct index {
	uint32_t *numbers;             /* by entry of the build: its index in the image */
	struct image_entry *entries;   /* of the image; at: NONE for holes */
	size_t entry_count;
	struct image_bucket *buckets;
	size_t bucket_count;
	struct build_section scans, literals, always;
	uint32_t *grams;               /* GRAM_COUNT + 1, or NULL: no literals */
};

/* Does it lie among the scans, and not in a bucket? */
bool index_is_scan(const struct build_entry *entry);

/* The key of an entry that lies in a bucket; that of a network is written to `room`. */
struct span index_key(const struct build *build, const struct build_entry *entry,
                      uint8_t room[static NETWORK_KEY_BYTES]);

/* Give each entry its number: the one that it has in build->previous, or a free one. numbers.c. errors: ERR_MEMORY. */
MUST_USE enum err index_number(const struct build *build, struct index *index);

/* Make scans of what is no name or network of common length, and the table that finds them. scans.c. errors: ERR_MEMORY. */
MUST_USE enum err index_scans(struct build *build, struct index *index);

/* A set of literals: every text that the pattern matches has one of them in it. */
enum { LITERALS_MAX = 64, LITERAL_BYTES_MAX = 64 };
struct literals {
	size_t count;
	struct literal {
		uint8_t len, text[LITERAL_BYTES_MAX]; /* lower case */
	} at[LITERALS_MAX];
};

/* By what one of several sets is chosen: the rarest, where it is known how often each gram is there, else the longest. */
struct literals_choice {
	const uint32_t *counts; /* by gram; NULL: the longest */
	uint32_t *counting;     /* counts the grams of all that could be chosen; NULL: it does not */
};

/* Three bytes of a literal, for `grams`. */
uint32_t literals_gram(const struct literal *literal, size_t at);

/* Those of a regular expression (without its slashes), or of a glob; none if they cannot be told, or are shorter than
 * GRAM_BYTES. literals.c */
void literals_of_regex(struct span text, const struct literals_choice *choice, struct literals *out);
void literals_of_glob(struct span text, const struct literals_choice *choice, struct literals *out);

#endif
