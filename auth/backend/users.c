/* SPDX-License-Identifier: Apache-2.0 */
/* Users by their names. */
#include <stdlib.h>
#include <string.h>

#include "auth/backend/users_private.h"
#include "auth/fold.h"
#include "auth/scheme/digest_proof.h"

enum { ARENA_MAX_BYTES = 512 << 20, FOLDED_MAX_BYTES = 4 * USERS_NAME_MAX_BYTES };
enum { BY_NAME, BY_FOLDED, BY_HASH /* + enum digest_algorithm */ };

/* ---- the index ---- */

static bool is_of(const struct users_entry *entry, unsigned index, struct span key)
{
	struct buf folded;
	bool same;

	if (index == BY_NAME)
		return span_equal(entry->name, key);
	buf_init(&folded, FOLDED_MAX_BYTES);
	fold_lower(entry->name, &folded);
	same = span_equal(buf_span(&folded), key);
	buf_fini(&folded);
	return same;
}

static uint32_t *find_bucket(const struct users *users, unsigned index, struct span key)
{
	size_t mask = users->bucket_count - 1, i = (size_t)hash_bytes(&users->key, key) & mask;

	while (users->buckets[index][i] && !is_of(&users->entries[users->buckets[index][i] - 1], index, key))
		i = (i + 1) & mask;
	return &users->buckets[index][i];
}

/* The first of those whose names differ in case alone is found. */
static uint32_t *find_folded_bucket(const struct users *users, struct span name)
{
	struct buf folded;
	uint32_t *bucket;

	buf_init(&folded, FOLDED_MAX_BYTES);
	fold_lower(name, &folded);
	bucket = find_bucket(users, BY_FOLDED, buf_span(&folded));
	buf_fini(&folded);
	return bucket;
}

static bool make_buckets(struct users *users)
{
	users->bucket_count = 16;
	while (users->bucket_count < 2 * users->count)
		users->bucket_count *= 2;
	for (size_t i = 0; i < USERS_INDEXES; i++) {
		users->buckets[i] = calloc(users->bucket_count, sizeof(**users->buckets));
		if (users->buckets[i] == NULL)
			return false;
	}
	return true;
}

/* Hashed names are found by their first bytes, which are evenly spread: the whole is compared. */
static void add_hashed(struct users *users, size_t at)
{
	size_t mask = users->bucket_count - 1;

	for (unsigned algorithm = 0; algorithm < DIGEST_ALGORITHM_COUNT; algorithm++) {
		uint32_t *buckets = users->buckets[BY_HASH + algorithm], word;
		uint8_t hash[DIGEST_MAX_BYTES];
		size_t i;

		if (!digest_userhash((enum digest_algorithm)algorithm, users->entries[at].name, users->realm, hash))
			continue;
		memcpy(&word, hash, sizeof(word));
		for (i = word & mask; buckets[i]; i = (i + 1) & mask)
			;
		buckets[i] = (uint32_t)(at + 1);
	}
}

/* One person may have a line in a file of htdigest, and one in another of htpasswd: they are put together, where they do
 * not say the same thing twice. */
static bool merge(struct users_entry *into, const struct users_entry *from)
{
	if ((into->crypt.len && from->crypt.len) || (into->has_nt && from->has_nt) ||
	    (into->groups.len && from->groups.len))
		return false;
	for (size_t i = 0; i < DIGEST_ALGORITHM_COUNT; i++)
		if (into->has_ha1[i] && from->has_ha1[i])
			return false;
	for (size_t i = 0; i < DIGEST_ALGORITHM_COUNT; i++) {
		if (!from->has_ha1[i])
			continue;
		memcpy(into->ha1[i], from->ha1[i], sizeof(into->ha1[i]));
		into->has_ha1[i] = true;
	}
	if (from->crypt.len)
		into->crypt = from->crypt;
	if (from->has_nt) {
		memcpy(into->nt, from->nt, sizeof(into->nt));
		into->has_nt = true;
	}
	if (from->groups.len)
		into->groups = from->groups;
	into->other_realm |= from->other_realm;
	return true;
}

/* By name, and what belongs to one person put together. */
static void index_all(struct users *users, struct problems *problems)
{
	size_t kept = 0;

	for (size_t i = 0; i < users->count; i++) {
		uint32_t *bucket = find_bucket(users, BY_NAME, users->entries[i].name);
		const struct users_place *here = &users->places[i], *first = *bucket ? &users->places[*bucket - 1] : NULL;

		if (first && merge(&users->entries[*bucket - 1], &users->entries[i]))
			continue;
		if (first) {
			problem_add(problems, PROBLEM_ERROR, here->path, here->line, 1,
			            "%.*s is there already (%s:%u); remove one of the two", SPAN_ARG(users->entries[i].name),
			            first->path, first->line);
			continue;
		}
		users->entries[kept] = users->entries[i];
		users->places[kept] = users->places[i];
		*bucket = (uint32_t)++kept;
	}
	users->count = kept;
	for (size_t i = 0; i < kept; i++) {
		uint32_t *bucket = find_folded_bucket(users, users->entries[i].name);

		if (*bucket == 0)
			*bucket = (uint32_t)(i + 1);
		add_hashed(users, i);
	}
}

/* Kinds are told by three characters: "$y$", "$ap", "$2y". All of one kind is what there is nearly always; that more than
 * half are of it is enough (Boyer and Moore's vote). */
static void find_usual_crypt(struct users *users)
{
	size_t votes = 0;

	for (size_t i = 0; i < users->count; i++) {
		struct span crypt = users->entries[i].crypt;

		if (crypt.len == 0)
			continue;
		if (votes == 0)
			users->usual_crypt = crypt;
		votes = votes && !span_equal(span_first(crypt, 3), span_first(users->usual_crypt, 3)) ? votes - 1 : votes + 1;
	}
}

struct span users_usual_crypt(const struct users *users)
{
	return users->usual_crypt;
}

enum err users_load(const struct users_source *sources, size_t count, struct span realm,
                    struct problems *problems, struct users **out)
{
	struct users *users = calloc(1, sizeof(*users));
	size_t errors = problems->error_count;
	enum err err = ERR_NONE;

	*out = NULL;
	if (users == NULL)
		return ERR_MEMORY;
	fold_init();
	arena_init(&users->arena, ARENA_MAX_BYTES);
	users->realm = arena_copy(&users->arena, realm);
	users->key = hash_key_random();
	if (users->realm.at == NULL)
		err = ERR_MEMORY;
	for (size_t i = 0; i < count && err == ERR_NONE; i++)
		err = users_parse(users, &sources[i], problems);
	if (err == ERR_NONE && !make_buckets(users))
		err = ERR_MEMORY;
	if (err == ERR_NONE) {
		index_all(users, problems);
		find_usual_crypt(users);
	}
	if (err == ERR_NONE && problems->error_count > errors)
		err = ERR_CONFIG;
	if (err == ERR_MEMORY)
		problem_add(problems, PROBLEM_ERROR, count ? sources[0].path : "", 0, 0,
		            "there is not enough memory for all users: at most %d MiB are used for their names and hashes",
		            ARENA_MAX_BYTES >> 20);
	free(users->places);
	users->places = NULL;
	if (err) {
		users_free(users);
		return err;
	}
	*out = users;
	return ERR_NONE;
}

void users_free(struct users *users)
{
	if (users == NULL)
		return;
	if (users->entries)
		explicit_bzero(users->entries, users->room * sizeof(*users->entries));
	for (size_t i = 0; i < USERS_INDEXES; i++)
		free(users->buckets[i]);
	free(users->entries);
	free(users->places);
	arena_fini(&users->arena);
	free(users);
}

/* ---- questions ---- */

static const struct users_entry *entry_of(const struct users *users, uint32_t bucket)
{
	return bucket ? &users->entries[bucket - 1] : NULL;
}

const struct users_entry *users_find(const struct users *users, struct span name)
{
	return name.len > USERS_NAME_MAX_BYTES ? NULL : entry_of(users, *find_bucket(users, BY_NAME, name));
}

const struct users_entry *users_find_folded(const struct users *users, struct span name)
{
	const struct users_entry *entry = users_find(users, name);

	/* In other letters it may be longer than in the file, but never so much. */
	if (entry || name.len > FOLDED_MAX_BYTES)
		return entry;
	return entry_of(users, *find_folded_bucket(users, name));
}

const struct users_entry *users_find_hashed(const struct users *users, enum digest_algorithm algorithm,
                                            struct span digits)
{
	const uint32_t *buckets = users->buckets[BY_HASH + (unsigned)algorithm];
	uint8_t wanted[DIGEST_MAX_BYTES], hash[DIGEST_MAX_BYTES];
	size_t len = digest_bytes(algorithm), mask = users->bucket_count - 1;
	uint32_t word;

	if (!users_read_hex(digits, wanted, len))
		return NULL;
	memcpy(&word, wanted, sizeof(word));
	for (size_t i = word & mask; buckets[i]; i = (i + 1) & mask) {
		const struct users_entry *entry = &users->entries[buckets[i] - 1];

		if (digest_userhash(algorithm, entry->name, users->realm, hash) && memcmp(hash, wanted, len) == 0)
			return entry;
	}
	return NULL;
}

void users_stats(const struct users *users, struct users_stats *out)
{
	*out = (struct users_stats){.count = users->count};
	for (size_t i = 0; i < users->count; i++) {
		const struct users_entry *entry = &users->entries[i];

		out->crypt += entry->crypt.len > 0;
		out->nt += entry->has_nt;
		out->other_realm += entry->other_realm && !entry->has_ha1[DIGEST_MD5] && !entry->has_ha1[DIGEST_SHA256];
		for (size_t j = 0; j < DIGEST_ALGORITHM_COUNT; j++)
			out->ha1[j] += entry->has_ha1[j];
	}
}

const struct users_entry *users_at(const struct users *users, size_t at)
{
	return at < users->count ? &users->entries[at] : NULL;
}
