/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/users.h"

#include <stdlib.h>
#include <string.h>

#include "auth/backend/crypt_hash.h"
#include "auth/fold.h"
#include "auth/scheme/digest_proof.h"
#include "base/arena.h"
#include "base/hash.h"
#include "conf/conf.h"

enum { NAME_MAX_BYTES = 256, ARENA_MAX_BYTES = 512 << 20, LINE_MAX_BYTES = 65536, INDEXES = 4 };

struct place {
	const char *path;
	unsigned line;
};

struct users {
	struct arena arena;
	struct hash_key key;
	struct span realm;
	struct users_entry *entries;
	struct place *places;
	size_t count, room;
	size_t bucket_count;       /* a power of two */
	uint32_t *buckets[INDEXES]; /* index of an entry + 1; open addressing */
};
enum { BY_NAME, BY_FOLDED, BY_HASH /* + enum digest_algorithm */ };

struct loader {
	struct users *users;
	struct problems *problems;
	struct span realm;
	const char *path;
	unsigned line;
};

static void wrong(struct loader *loader, const char *format, ...) PRINTF_LIKE(2, 3);
static void wrong(struct loader *loader, const char *format, ...)
{
	va_list args;
	struct buf text;

	buf_init(&text, 400);
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	problem_add(loader->problems, PROBLEM_ERROR, loader->path, loader->line, 1, "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

/* ---- texts ---- */

static int hex_of(uint8_t byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte = span_lower(byte);
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static bool read_hex(struct span text, uint8_t *out, size_t len)
{
	if (text.len != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = hex_of(text.at[2 * i]), low = hex_of(text.at[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* %XX undone; false where it is none. */
static bool decode(struct span text, struct buf *out)
{
	while (text.len) {
		uint8_t byte = text.at[0];

		if (byte == '%') {
			if (text.len < 3 || !read_hex(span_of(text.at + 1, 2), &byte, 1))
				return false;
			text = span_skip(text, 2);
		}
		buf_add_byte(out, byte);
		text = span_skip(text, 1);
	}
	return buf_is_whole(out);
}

static void encode(struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];

		if (byte <= 0x20 || byte == 0x7f || byte == ':' || byte == '%' || byte == ',' || byte == '#')
			buf_printf(out, "%%%02X", byte);
		else
			buf_add_byte(out, byte);
	}
}

static bool is_name(struct span name)
{
	struct span rest = name;

	if (name.len == 0 || name.len > NAME_MAX_BYTES)
		return false;
	while (rest.len) {
		uint32_t character = fold_next(&rest);

		if (character == UINT32_MAX || character < 0x20 || character == 0x7f || character == ':')
			return false;
	}
	return true;
}

/* ---- lines ---- */

static const char *const keys[] = {"crypt", "sha256", "md5", "nt", "realm", "groups"};
enum { KEY_CRYPT, KEY_SHA256, KEY_MD5, KEY_NT, KEY_REALM, KEY_GROUPS, KEY_COUNT };

static bool take_groups(struct loader *loader, struct span value, struct users_entry *entry)
{
	struct span group;
	struct buf groups;

	buf_init(&groups, 2 * value.len + 2);
	while (value.len && span_split(&value, ',', &group)) {
		struct buf name;
		bool well;

		buf_init(&name, NAME_MAX_BYTES);
		well = decode(group, &name) && is_name(buf_span(&name));
		buf_add(&groups, buf_span(&name));
		buf_add_byte(&groups, 0);
		buf_fini(&name);
		if (!well) {
			wrong(loader, "groups: \"%.*s\" is no name", SPAN_ARG(span_first(group, 60)));
			buf_fini(&groups);
			return false;
		}
	}
	entry->groups = arena_copy(&loader->users->arena, buf_span(&groups));
	buf_fini(&groups);
	return entry->groups.at != NULL;
}

static bool take_crypt(struct loader *loader, struct span hash, struct users_entry *entry)
{
	const char *why = crypt_hash_check(hash);

	if (why)
		wrong(loader, "the hash of %.*s is not taken: %s; set the password again with sallyport user add",
		      SPAN_ARG(entry->name), why);
	else
		entry->crypt = arena_copy(&loader->users->arena, hash);
	return why == NULL && entry->crypt.at;
}

static bool take_ha1(struct loader *loader, enum digest_algorithm algorithm, struct span value,
                     struct users_entry *entry)
{
	if (!read_hex(value, entry->ha1[algorithm], digest_bytes(algorithm))) {
		wrong(loader, "%s= of %.*s has not %zu hexadecimal digits", algorithm == DIGEST_SHA256 ? "sha256" : "md5",
		      SPAN_ARG(entry->name), 2 * digest_bytes(algorithm));
		return false;
	}
	entry->has_ha1[algorithm] = true;
	return true;
}

static bool take_field(struct loader *loader, size_t key, struct span value, struct users_entry *entry, bool *ours)
{
	struct buf realm;
	bool well = true;

	switch (key) {
	case KEY_CRYPT:
		return take_crypt(loader, value, entry);
	case KEY_SHA256:
		return take_ha1(loader, DIGEST_SHA256, value, entry);
	case KEY_MD5:
		return take_ha1(loader, DIGEST_MD5, value, entry);
	case KEY_NT:
		entry->has_nt = read_hex(value, entry->nt, sizeof(entry->nt));
		if (!entry->has_nt)
			wrong(loader, "nt= of %.*s has not 32 hexadecimal digits", SPAN_ARG(entry->name));
		return entry->has_nt;
	case KEY_REALM:
		buf_init(&realm, LINE_MAX_BYTES);
		well = decode(value, &realm);
		*ours = well && span_equal(buf_span(&realm), loader->realm);
		buf_fini(&realm);
		if (!well)
			wrong(loader, "realm= of %.*s is malformed", SPAN_ARG(entry->name));
		return well;
	default:
		return take_groups(loader, value, entry);
	}
}

/* key=value:key=value.. */
static bool take_fields(struct loader *loader, struct span rest, struct users_entry *entry)
{
	unsigned seen = 0;
	bool ours = true;
	struct span field;

	while (span_split(&rest, ':', &field)) {
		struct span name = span_first(field, span_find(field, '='));
		const char *near = conf_nearest(name, keys, KEY_COUNT);
		size_t key = 0;

		if (field.len == 0)
			continue;
		while (key < KEY_COUNT && !span_equal(name, span_from(keys[key])))
			key++;
		if (key == KEY_COUNT || name.len == field.len) {
			wrong(loader, "\"%.*s\" is no field%s%s%s; the fields are crypt, sha256, md5, nt, realm, groups",
			      SPAN_ARG(span_first(name, 40)), near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
			return false;
		}
		if (seen >> key & 1) {
			wrong(loader, "%s= stands there twice", keys[key]);
			return false;
		}
		seen |= 1u << key;
		if (!take_field(loader, key, span_skip(field, name.len + 1), entry, &ours))
			return false;
	}
	if (!ours && (entry->has_ha1[DIGEST_MD5] || entry->has_ha1[DIGEST_SHA256])) {
		entry->has_ha1[DIGEST_MD5] = entry->has_ha1[DIGEST_SHA256] = false;
		entry->other_realm = true;
	}
	return true;
}

static bool is_ours(struct span rest)
{
	struct span name = span_first(rest, span_find(rest, '='));

	for (size_t i = 0; i < KEY_COUNT; i++)
		if (name.len < rest.len && span_equal(name, span_from(keys[i])))
			return true;
	return false;
}

static bool is_htdigest(struct span rest)
{
	size_t colon = span_find_last(rest, ':');
	uint8_t ha1[16];

	return colon < rest.len && read_hex(span_skip(rest, colon + 1), ha1, sizeof(ha1));
}

/* Several realms may stand in one file: those of another one are of no use, and are counted. */
static bool take_htdigest(struct loader *loader, struct span rest, struct users_entry *entry)
{
	size_t colon = span_find_last(rest, ':');

	if (!span_equal(span_first(rest, colon), loader->realm)) {
		entry->other_realm = true;
		return true;
	}
	return take_ha1(loader, DIGEST_MD5, span_skip(rest, colon + 1), entry);
}

void users_line_name(struct span line, struct buf *out)
{
	struct span name = span_first(line, span_find(line, ':'));

	if (line.len == 0 || line.at[0] == '#' || name.len == line.len)
		return;
	if (!is_ours(span_skip(line, name.len + 1)) || !decode(name, out)) {
		buf_reset(out);
		buf_add(out, name);
	}
}

/* ---- the index ---- */

static struct span key_of(const struct users_entry *entry, unsigned index, struct buf *scratch)
{
	buf_reset(scratch);
	if (index == BY_FOLDED)
		fold_lower(entry->name, scratch);
	else
		buf_add(scratch, entry->name);
	return buf_span(scratch);
}

static uint32_t *find_bucket(const struct users *users, unsigned index, struct span key)
{
	uint64_t hash = hash_bytes(&users->key, key);
	struct buf scratch;
	uint32_t *bucket;

	buf_init(&scratch, 4 * NAME_MAX_BYTES + 64);
	for (size_t i = (size_t)hash & (users->bucket_count - 1);; i = (i + 1) & (users->bucket_count - 1)) {
		bucket = &users->buckets[index][i];
		if (*bucket == 0 || span_equal(key_of(&users->entries[*bucket - 1], index, &scratch), key))
			break;
	}
	buf_fini(&scratch);
	return bucket;
}

static bool make_buckets(struct users *users)
{
	users->bucket_count = 16;
	while (users->bucket_count < 2 * users->count)
		users->bucket_count *= 2;
	for (size_t i = 0; i < INDEXES; i++) {
		users->buckets[i] = calloc(users->bucket_count, sizeof(**users->buckets));
		if (users->buckets[i] == NULL)
			return false;
	}
	return true;
}

/* Hashed names are found by their first bytes, which are evenly spread: the whole is compared. */
static void add_hashed(struct users *users, size_t at, struct span realm)
{
	for (unsigned algorithm = 0; algorithm < DIGEST_ALGORITHM_COUNT; algorithm++) {
		uint8_t hash[DIGEST_MAX_BYTES];
		uint32_t word;
		size_t i;

		if (!digest_userhash((enum digest_algorithm)algorithm, users->entries[at].name, realm, hash))
			continue;
		memcpy(&word, hash, sizeof(word));
		for (i = word & (users->bucket_count - 1); users->buckets[BY_HASH + algorithm][i];
		     i = (i + 1) & (users->bucket_count - 1))
			;
		users->buckets[BY_HASH + algorithm][i] = (uint32_t)(at + 1);
	}
}

/* One person may have a line in a file of htdigest, and one in another of htpasswd: they are put together, where they do
 * not say the same thing twice. */
static bool merge(struct users_entry *into, const struct users_entry *from)
{
	if (from->other_realm && !from->has_ha1[DIGEST_MD5] && !from->has_ha1[DIGEST_SHA256] && from->crypt.len == 0)
		return true;
	if ((into->crypt.len && from->crypt.len) || (into->has_nt && from->has_nt) ||
	    (into->groups.len && from->groups.len))
		return false;
	for (size_t i = 0; i < DIGEST_ALGORITHM_COUNT; i++) {
		if (into->has_ha1[i] && from->has_ha1[i])
			return false;
		if (from->has_ha1[i]) {
			memcpy(into->ha1[i], from->ha1[i], sizeof(into->ha1[i]));
			into->has_ha1[i] = true;
		}
	}
	if (from->crypt.len)
		into->crypt = from->crypt;
	if (from->has_nt) {
		memcpy(into->nt, from->nt, sizeof(into->nt));
		into->has_nt = true;
	}
	if (from->groups.len)
		into->groups = from->groups;
	return true;
}

static void add_entry(struct loader *loader, const struct users_entry *entry)
{
	struct users *users = loader->users;

	if (users->count == users->room) {
		size_t room = users->room ? 2 * users->room : 64;
		void *entries = realloc(users->entries, room * sizeof(*users->entries));
		void *places;

		if (entries)
			users->entries = entries;
		places = entries ? realloc(users->places, room * sizeof(*users->places)) : NULL;
		if (places == NULL) {
			wrong(loader, "out of memory");
			return;
		}
		users->places = places;
		users->room = room;
	}
	users->entries[users->count] = *entry;
	users->places[users->count++] = (struct place){loader->path, loader->line};
}

static void take_line(struct loader *loader, struct span line)
{
	size_t colon = span_find(line, ':');
	struct span rest = span_skip(line, colon + 1);
	struct users_entry entry = {.crypt = SPAN(""), .groups = SPAN("")};
	struct buf name;
	bool ours = is_ours(rest), well;

	if (colon == line.len) {
		wrong(loader, "there is no colon: a line is NAME:.., as sallyport user, htpasswd or htdigest write it");
		return;
	}
	buf_init(&name, NAME_MAX_BYTES + 1);
	if (!ours)
		buf_add(&name, span_first(line, colon));
	well = (!ours || decode(span_first(line, colon), &name)) && is_name(buf_span(&name));
	if (well)
		entry.name = arena_copy(&loader->users->arena, buf_span(&name));
	else
		wrong(loader, "this is no name of a user: it is empty, longer than %d bytes, or has control characters in it",
		      NAME_MAX_BYTES);
	buf_fini(&name);
	if (!well || entry.name.at == NULL)
		return;
	if (ours ? take_fields(loader, rest, &entry)
	         : is_htdigest(rest) ? take_htdigest(loader, rest, &entry) : take_crypt(loader, rest, &entry))
		add_entry(loader, &entry);
	explicit_bzero(&entry, sizeof(entry));
}

static void take_file(struct loader *loader, struct span text)
{
	struct span line;

	loader->line = 0;
	while (span_split(&text, '\n', &line)) {
		loader->line++;
		if (line.len && line.at[line.len - 1] == '\r')
			line.len--;
		if (line.len > LINE_MAX_BYTES)
			wrong(loader, "the line is longer than %d bytes", LINE_MAX_BYTES);
		else if (span_trim(line).len && line.at[0] != '#')
			take_line(loader, line);
	}
}

/* By name, and what belongs to one person put together. */
static void index_all(struct loader *loader)
{
	struct users *users = loader->users;
	size_t kept = 0;

	for (size_t i = 0; i < users->count; i++) {
		uint32_t *bucket = find_bucket(users, BY_NAME, users->entries[i].name);

		if (*bucket && merge(&users->entries[*bucket - 1], &users->entries[i]))
			continue;
		if (*bucket) {
			const struct place *first = &users->places[*bucket - 1];

			loader->path = users->places[i].path;
			loader->line = users->places[i].line;
			wrong(loader, "%.*s is there already (%s:%u); remove one of the two", SPAN_ARG(users->entries[i].name),
			      first->path, first->line);
			continue;
		}
		users->entries[kept] = users->entries[i];
		users->places[kept] = users->places[i];
		*bucket = (uint32_t)++kept;
	}
	users->count = kept;
	for (size_t i = 0; i < kept; i++) {
		struct buf folded;
		uint32_t *bucket;

		buf_init(&folded, 4 * NAME_MAX_BYTES + 64);
		fold_lower(users->entries[i].name, &folded);
		bucket = find_bucket(users, BY_FOLDED, buf_span(&folded));
		if (*bucket == 0)
			*bucket = (uint32_t)(i + 1);
		buf_fini(&folded);
		add_hashed(users, i, loader->realm);
	}
}

enum err users_load(const struct users_source *sources, size_t count, struct span realm,
                    struct problems *problems, struct users **out)
{
	struct users *users = calloc(1, sizeof(*users));
	struct loader loader = {.users = users, .problems = problems, .realm = realm};
	size_t errors = problems->error_count;

	*out = NULL;
	if (users == NULL)
		return ERR_MEMORY;
	fold_init();
	arena_init(&users->arena, ARENA_MAX_BYTES);
	users->realm = arena_copy(&users->arena, realm);
	users->key = hash_key_random();
	for (size_t i = 0; i < count; i++) {
		loader.path = sources[i].path;
		take_file(&loader, sources[i].text);
	}
	if (!make_buckets(users)) {
		users_free(users);
		return ERR_MEMORY;
	}
	index_all(&loader);
	if (problems->error_count > errors) {
		users_free(users);
		return ERR_CONFIG;
	}
	*out = users;
	return ERR_NONE;
}

void users_free(struct users *users)
{
	if (users == NULL)
		return;
	if (users->entries)
		explicit_bzero(users->entries, users->count * sizeof(*users->entries));
	for (size_t i = 0; i < INDEXES; i++)
		free(users->buckets[i]);
	free(users->entries);
	free(users->places);
	arena_fini(&users->arena);
	free(users);
}

/* ---- questions ---- */

const struct users_entry *users_find(const struct users *users, struct span name)
{
	uint32_t at = name.len > NAME_MAX_BYTES ? 0 : *find_bucket(users, BY_NAME, name);

	return at ? &users->entries[at - 1] : NULL;
}

const struct users_entry *users_find_folded(const struct users *users, struct span name)
{
	struct buf folded;
	uint32_t at;

	buf_init(&folded, 4 * NAME_MAX_BYTES + 64);
	fold_lower(span_first(name, NAME_MAX_BYTES + 1), &folded);
	at = *find_bucket(users, BY_FOLDED, buf_span(&folded));
	buf_fini(&folded);
	return at ? &users->entries[at - 1] : NULL;
}

const struct users_entry *users_find_hashed(const struct users *users, enum digest_algorithm algorithm,
                                            struct span digits)
{
	uint8_t wanted[DIGEST_MAX_BYTES], hash[DIGEST_MAX_BYTES];
	size_t len = digest_bytes(algorithm);
	uint32_t word, at;

	if (!read_hex(digits, wanted, len))
		return NULL;
	memcpy(&word, wanted, sizeof(word));
	for (size_t i = word & (users->bucket_count - 1); (at = users->buckets[BY_HASH + algorithm][i]) != 0;
	     i = (i + 1) & (users->bucket_count - 1))
		if (digest_userhash(algorithm, users->entries[at - 1].name, users->realm, hash) &&
		    memcmp(hash, wanted, len) == 0)
			return &users->entries[at - 1];
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

static void add_hex(const char *key, const uint8_t *bytes, size_t len, struct buf *out)
{
	buf_printf(out, ":%s=", key);
	for (size_t i = 0; i < len; i++)
		buf_printf(out, "%02x", bytes[i]);
}

void users_format(const struct users_entry *entry, struct span realm, struct buf *out)
{
	struct span rest = entry->groups, group;
	bool first = true;

	encode(entry->name, out);
	if (entry->crypt.len)
		buf_printf(out, ":crypt=%.*s", SPAN_ARG(entry->crypt));
	if (entry->has_ha1[DIGEST_SHA256])
		add_hex("sha256", entry->ha1[DIGEST_SHA256], 32, out);
	if (entry->has_ha1[DIGEST_MD5])
		add_hex("md5", entry->ha1[DIGEST_MD5], 16, out);
	if (entry->has_nt)
		add_hex("nt", entry->nt, sizeof(entry->nt), out);
	if (entry->has_ha1[DIGEST_SHA256] || entry->has_ha1[DIGEST_MD5]) {
		buf_add_string(out, ":realm=");
		encode(realm, out);
	}
	while (rest.len && span_split(&rest, 0, &group)) {
		if (group.len == 0)
			continue;
		buf_add_string(out, first ? ":groups=" : ",");
		encode(group, out);
		first = false;
	}
}
