/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as two user files. Whoever is taken has a name that is one, is found by it in every way, and is written as a
 * line of ours that is read as the same; no more is refused than is said. */
#include <string.h>

#include "auth/backend/crypt_hash.h"
#include "auth/backend/users.h"
#include "auth/scheme/digest_proof.h"

#define REALM SPAN("Corporate egress")

enum { MAX_BYTES = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_found(const struct users *users, const struct users_entry *entry)
{
	const struct users_entry *folded = users_find_folded(users, entry->name);

	ASSERT(users_find(users, entry->name) == entry && folded == entry);
	for (unsigned i = 0; i < DIGEST_ALGORITHM_COUNT; i++) {
		uint8_t hash[DIGEST_MAX_BYTES];
		struct buf digits;

		buf_init(&digits, 2 * DIGEST_MAX_BYTES);
		ASSERT(digest_userhash((enum digest_algorithm)i, entry->name, REALM, hash));
		for (size_t k = 0; k < digest_bytes((enum digest_algorithm)i); k++)
			buf_printf(&digits, "%02X", hash[k]);
		ASSERT(users_find_hashed(users, (enum digest_algorithm)i, buf_span(&digits)) == entry);
		buf_fini(&digits);
	}
}

static void check_written(const struct users_entry *entry)
{
	const struct users_entry *again;
	struct problems problems;
	struct users *users;
	struct buf line, name;
	bool is_other_realm;

	/* What has no verifier and no group has no field, which is no line. */
	if (entry->crypt.len == 0 && !entry->has_nt && !entry->has_ha1[DIGEST_MD5] && !entry->has_ha1[DIGEST_SHA256] &&
	    entry->groups.len == 0)
		return;
	buf_init(&line, 4 * MAX_BYTES);
	buf_init(&name, 1000);
	problems_init(&problems);
	users_format(entry, REALM, &line);
	ASSERT(buf_is_whole(&line) && span_find(buf_span(&line), '\n') == buf_len(&line));
	ASSERT(users_line_name(buf_span(&line), REALM, &name, &is_other_realm) && !is_other_realm);
	ASSERT(span_equal(buf_span(&name), entry->name));
	/* With three times as many bytes it may be too long; nothing else is wrong with it. */
	if (users_load(&(struct users_source){"users", buf_span(&line)}, 1, REALM, &problems, &users) == ERR_NONE) {
		again = users_find(users, entry->name);
		ASSERT(again && span_equal(again->crypt, entry->crypt) && span_equal(again->groups, entry->groups));
		ASSERT(again->has_nt == entry->has_nt && memcmp(again->nt, entry->nt, sizeof(entry->nt)) == 0);
		for (unsigned i = 0; i < DIGEST_ALGORITHM_COUNT; i++)
			ASSERT(again->has_ha1[i] == entry->has_ha1[i] &&
			       (!entry->has_ha1[i] || memcmp(again->ha1[i], entry->ha1[i], sizeof(entry->ha1[i])) == 0));
		users_free(users);
	} else {
		ASSERT(buf_len(&line) > MAX_BYTES);
	}
	problems_fini(&problems);
	buf_fini(&line);
	buf_fini(&name);
}

/* By the names that the lines themselves have. */
static void check_lines(const struct users *users, struct span text)
{
	struct span line;

	while (span_split(&text, '\n', &line)) {
		struct buf name;
		bool is_other_realm;

		if (line.len && line.at[line.len - 1] == '\r')
			line.len--;
		buf_init(&name, MAX_BYTES);
		if (users_line_name(line, REALM, &name, &is_other_realm))
			ASSERT(users_is_name(buf_span(&name)) && users_find(users, buf_span(&name)));
		else
			ASSERT(span_trim(line).len == 0 || line.at[0] == '#');
		buf_fini(&name);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of(data, size < MAX_BYTES ? size : MAX_BYTES);
	size_t half = span_find(text, 0);
	struct users_source sources[] = {{"users", span_first(text, half)}, {"more", span_skip(text, half + 1)}};
	const struct users_entry *entry;
	struct problems problems;
	struct users *users;
	enum err err;

	problems_init(&problems);
	err = users_load(sources, 2, REALM, &problems, &users);
	ASSERT((err == ERR_NONE) == (users != NULL) && (err == ERR_CONFIG) == (problems.error_count > 0));
	for (size_t i = 0; users && (entry = users_at(users, i)) != NULL; i++) {
		ASSERT(users_is_name(entry->name) && (entry->crypt.len == 0 || crypt_hash_check(entry->crypt) == NULL));
		check_found(users, entry);
		check_written(entry);
	}
	if (users) {
		check_lines(users, sources[0].text);
		check_lines(users, sources[1].text);
	}
	users_free(users);
	problems_fini(&problems);
	return 0;
}
