/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of user files, read and written. */
#include <stdlib.h>
#include <string.h>

#include "auth/backend/crypt_hash.h"
#include "auth/backend/users_private.h"
#include "auth/fold.h"
#include "auth/scheme/digest_proof.h"
#include "conf/conf.h"

enum { LINE_MAX_BYTES = 65536 };

struct loader {
	struct users *users;
	struct problems *problems;
	const char *path;
	unsigned line;
	bool is_out_of_memory;
};

/* Of which program a line is, as its shape says. */
enum shape { SHAPE_OURS, SHAPE_HTPASSWD, SHAPE_HTDIGEST };

static void wrong(struct loader *loader, const char *format, ...) PRINTF_LIKE(2, 3);
static void wrong(struct loader *loader, const char *format, ...)
{
	va_list args;
	struct buf text;

	buf_init(&text, 1000);
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	problem_add(loader->problems, PROBLEM_ERROR, loader->path, loader->line, 1, "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

/* A copy that lives as long as the users do. */
static bool keep(struct loader *loader, struct span text, struct span *out)
{
	struct span copy = arena_copy(&loader->users->arena, text);

	if (copy.at)
		*out = copy;
	else
		loader->is_out_of_memory = true;
	return copy.at != NULL;
}

/* ---- texts ---- */

static int hex_of(uint8_t byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte = span_lower(byte);
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

bool users_read_hex(struct span text, uint8_t *out, size_t len)
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
			if (text.len < 3 || !users_read_hex(span_of(text.at + 1, 2), &byte, 1))
				return false;
			text = span_skip(text, 2);
		}
		buf_add_byte(out, byte);
		text = span_skip(text, 1);
	}
	return buf_is_whole(out);
}

/* Control characters (ASCII's and Unicode's), and bytes that are no character. */
static bool is_printable(uint32_t character)
{
	return character != UINT32_MAX && character >= 0x20 && (character < 0x7f || character >= 0xa0);
}

static void encode(struct span text, struct buf *out)
{
	while (text.len) {
		struct span rest = text;
		uint32_t character = fold_next(&rest);
		size_t len = text.len - rest.len;

		if (is_printable(character) && character > ' ' && (len > 1 || span_find(SPAN(":%,#"), text.at[0]) == 4))
			buf_add(out, span_first(text, len));
		else
			for (size_t i = 0; i < len; i++)
				buf_printf(out, "%%%02X", text.at[i]);
		text = rest;
	}
}

bool users_is_name(struct span name)
{
	if (name.len == 0 || name.len > USERS_NAME_MAX_BYTES)
		return false;
	while (name.len) {
		uint32_t character = fold_next(&name);

		if (!is_printable(character) || character == ':')
			return false;
	}
	return true;
}

/* ---- shapes ---- */

static const char *const keys[] = {"crypt", "sha256", "md5", "nt", "realm", "groups"};
enum { KEY_CRYPT, KEY_SHA256, KEY_MD5, KEY_NT, KEY_REALM, KEY_GROUPS, KEY_COUNT };

/* The last part of a line of htdigest is nothing but digits, which no field of ours is: a realm may well look like one.
 * A key that is nearly one of ours is misspelt; anything else with "=" in it may be a password in clear. */
static enum shape shape_of(struct span rest)
{
	size_t equals = span_find(rest, '='), last = span_find_last(rest, ':');
	uint8_t ha1[16];

	if (last < rest.len && users_read_hex(span_skip(rest, last + 1), ha1, sizeof(ha1)))
		return SHAPE_HTDIGEST;
	return equals < span_find(rest, ':') && equals < rest.len && conf_nearest(span_first(rest, equals), keys, KEY_COUNT)
	               ? SHAPE_OURS
	               : SHAPE_HTPASSWD;
}

bool users_line_name(struct span line, struct span realm, struct buf *out, bool *is_other_realm)
{
	struct span name = span_first(line, span_find(line, ':')), rest = span_skip(line, name.len + 1);
	enum shape shape = shape_of(rest);

	*is_other_realm = false;
	if (line.len == 0 || line.at[0] == '#' || name.len == line.len)
		return false;
	if (shape == SHAPE_HTDIGEST)
		*is_other_realm = !span_equal(span_first(rest, span_find_last(rest, ':')), realm);
	if (shape == SHAPE_OURS)
		return decode(name, out);
	buf_add(out, name);
	return buf_is_whole(out);
}

/* ---- fields of ours ---- */

static bool take_groups(struct loader *loader, struct span value, struct users_entry *entry)
{
	struct span group;
	struct buf groups;
	bool well = true;

	buf_init(&groups, 2 * value.len + 2);
	while (well && value.len && span_split(&value, ',', &group)) {
		struct buf name;

		buf_init(&name, USERS_NAME_MAX_BYTES);
		well = decode(group, &name) && users_is_name(buf_span(&name));
		buf_add(&groups, buf_span(&name));
		buf_add_byte(&groups, 0);
		buf_fini(&name);
		if (!well)
			wrong(loader, "groups: \"%.*s\" is no name of a group: 1 to %d bytes of UTF-8 without control characters and "
			      "colons, the special ones as %%XX", SPAN_ARG(span_first(group, 60)), USERS_NAME_MAX_BYTES);
	}
	well = well && keep(loader, buf_span(&groups), &entry->groups);
	buf_fini(&groups);
	return well;
}

static bool take_crypt(struct loader *loader, struct span hash, struct users_entry *entry)
{
	const char *why = crypt_hash_check(hash);

	if (why)
		wrong(loader, "the hash of %.*s is not taken: %s; set the password again with sallyport user add",
		      SPAN_ARG(entry->name), why);
	return why == NULL && keep(loader, hash, &entry->crypt);
}

static bool take_ha1(struct loader *loader, enum digest_algorithm algorithm, struct span value,
                     struct users_entry *entry)
{
	if (!users_read_hex(value, entry->ha1[algorithm], digest_bytes(algorithm))) {
		wrong(loader, "%s= of %.*s has not %zu hexadecimal digits", algorithm == DIGEST_SHA256 ? "sha256" : "md5",
		      SPAN_ARG(entry->name), 2 * digest_bytes(algorithm));
		return false;
	}
	entry->has_ha1[algorithm] = true;
	return true;
}

static bool take_realm(struct loader *loader, struct span value, const struct users_entry *entry, bool *is_ours)
{
	struct buf realm;
	bool well;

	buf_init(&realm, LINE_MAX_BYTES);
	well = decode(value, &realm);
	*is_ours = well && span_equal(buf_span(&realm), loader->users->realm);
	buf_fini(&realm);
	if (!well)
		wrong(loader, "realm= of %.*s has a %% without two hexadecimal digits", SPAN_ARG(entry->name));
	return well;
}

static bool take_field(struct loader *loader, size_t key, struct span value, struct users_entry *entry, bool *is_ours)
{
	switch (key) {
	case KEY_CRYPT:
		return take_crypt(loader, value, entry);
	case KEY_SHA256:
		return take_ha1(loader, DIGEST_SHA256, value, entry);
	case KEY_MD5:
		return take_ha1(loader, DIGEST_MD5, value, entry);
	case KEY_NT:
		entry->has_nt = users_read_hex(value, entry->nt, sizeof(entry->nt));
		if (!entry->has_nt)
			wrong(loader, "nt= of %.*s has not 32 hexadecimal digits", SPAN_ARG(entry->name));
		return entry->has_nt;
	case KEY_REALM:
		return take_realm(loader, value, entry, is_ours);
	default:
		return take_groups(loader, value, entry);
	}
}

/* Which key is it; KEY_COUNT: none, which is said. What has no "=" is not quoted: it may be a password. */
static size_t find_key(struct loader *loader, struct span field, struct span *name)
{
	const char *near;
	size_t key = 0;

	*name = span_first(field, span_find(field, '='));
	if (name->len == field.len) {
		wrong(loader, "a field has no \"=\"; the fields are crypt=, sha256=, md5=, nt=, realm=, groups=");
		return KEY_COUNT;
	}
	while (key < KEY_COUNT && !span_equal(*name, span_from(keys[key])))
		key++;
	near = key == KEY_COUNT ? conf_nearest(*name, keys, KEY_COUNT) : NULL;
	if (key == KEY_COUNT)
		wrong(loader, "\"%.*s\" is no field%s%s%s; the fields are crypt=, sha256=, md5=, nt=, realm=, groups=",
		      SPAN_ARG(span_first(*name, 40)), near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	return key;
}

/* key=value:key=value.. */
static bool take_fields(struct loader *loader, struct span rest, struct users_entry *entry)
{
	unsigned seen = 0;
	bool is_ours = true;
	struct span field, name;

	while (span_split(&rest, ':', &field)) {
		size_t key;

		if (field.len == 0)
			continue;
		key = find_key(loader, field, &name);
		if (key == KEY_COUNT)
			return false;
		if (seen >> key & 1) {
			wrong(loader, "%s= stands there twice", keys[key]);
			return false;
		}
		seen |= 1u << key;
		if (!take_field(loader, key, span_skip(field, name.len + 1), entry, &is_ours))
			return false;
	}
	if (!is_ours && (entry->has_ha1[DIGEST_MD5] || entry->has_ha1[DIGEST_SHA256])) {
		entry->has_ha1[DIGEST_MD5] = entry->has_ha1[DIGEST_SHA256] = false;
		entry->other_realm = true;
	}
	return true;
}

/* ---- lines ---- */

/* Several realms may stand in one file: those of another one are of no use, and are counted. */
static bool take_htdigest(struct loader *loader, struct span rest, struct users_entry *entry)
{
	size_t colon = span_find_last(rest, ':');

	if (!span_equal(span_first(rest, colon), loader->users->realm)) {
		entry->other_realm = true;
		return true;
	}
	return take_ha1(loader, DIGEST_MD5, span_skip(rest, colon + 1), entry);
}

static bool take_htpasswd(struct loader *loader, struct span rest, struct users_entry *entry)
{
	if (span_find(rest, ':') == rest.len)
		return take_crypt(loader, rest, entry);
	wrong(loader, "the line of %.*s has too many parts, or the last one has not 32 hexadecimal digits: htpasswd writes "
	      "NAME:HASH, htdigest NAME:REALM:DIGITS", SPAN_ARG(entry->name));
	return false;
}

/* Entries hold what is as good as a password: they leave no copy behind. */
static bool make_room(struct users *users)
{
	size_t room = users->room ? 2 * users->room : 64;
	struct users_entry *entries = calloc(room, sizeof(*entries));
	struct users_place *places = entries ? realloc(users->places, room * sizeof(*places)) : NULL;

	if (places)
		users->places = places;
	if (places == NULL || entries == NULL) {
		free(entries);
		return false;
	}
	if (users->entries) {
		memcpy(entries, users->entries, users->count * sizeof(*entries));
		explicit_bzero(users->entries, users->room * sizeof(*entries));
		free(users->entries);
	}
	users->entries = entries;
	users->room = room;
	return true;
}

static void add_entry(struct loader *loader, const struct users_entry *entry)
{
	struct users *users = loader->users;

	if (users->count == users->room && !make_room(users)) {
		loader->is_out_of_memory = true;
		return;
	}
	users->entries[users->count] = *entry;
	users->places[users->count++] = (struct users_place){loader->path, loader->line};
}

static bool take_name(struct loader *loader, struct span text, bool is_encoded, struct users_entry *entry)
{
	struct buf name;
	bool well;

	buf_init(&name, USERS_NAME_MAX_BYTES);
	if (!is_encoded)
		buf_add(&name, text);
	well = (is_encoded ? decode(text, &name) : buf_is_whole(&name)) && users_is_name(buf_span(&name));
	if (!well)
		wrong(loader, "this is no name of a user: a name has 1 to %d bytes of UTF-8, no colon and no control characters",
		      USERS_NAME_MAX_BYTES);
	well = well && keep(loader, buf_span(&name), &entry->name);
	buf_fini(&name);
	return well;
}

static void take_line(struct loader *loader, struct span line)
{
	size_t colon = span_find(line, ':');
	struct span rest = span_skip(line, colon + 1);
	struct users_entry entry = {.crypt = SPAN(""), .groups = SPAN("")};
	enum shape shape = shape_of(rest);

	if (colon == line.len) {
		wrong(loader, "there is no colon: a line is NAME:.., as sallyport user, htpasswd or htdigest write it");
		return;
	}
	if (take_name(loader, span_first(line, colon), shape == SHAPE_OURS, &entry) &&
	    (shape == SHAPE_OURS       ? take_fields(loader, rest, &entry)
	     : shape == SHAPE_HTDIGEST ? take_htdigest(loader, rest, &entry)
	                               : take_htpasswd(loader, rest, &entry)))
		add_entry(loader, &entry);
	explicit_bzero(&entry, sizeof(entry));
}

enum err users_parse(struct users *users, const struct users_source *source, struct problems *problems)
{
	struct loader loader = {.users = users, .problems = problems, .path = source->path};
	struct span text = source->text, line;

	while (!loader.is_out_of_memory && span_split(&text, '\n', &line)) {
		loader.line++;
		if (line.len && line.at[line.len - 1] == '\r')
			line.len--;
		if (line.len > LINE_MAX_BYTES)
			wrong(&loader, "the line is longer than %d bytes", LINE_MAX_BYTES);
		else if (span_trim(line).len && line.at[0] != '#')
			take_line(&loader, line);
	}
	return loader.is_out_of_memory ? ERR_MEMORY : ERR_NONE;
}

/* ---- writing ---- */

static void add_hex(const char *key, const uint8_t *bytes, size_t len, struct buf *out)
{
	buf_printf(out, ":%s=", key);
	for (size_t i = 0; i < len; i++)
		buf_printf(out, "%02x", bytes[i]);
}

void users_format(const struct users_entry *entry, struct span realm, struct buf *out)
{
	struct span rest = entry->groups, group;
	bool is_first = true;

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
		buf_add_string(out, is_first ? ":groups=" : ",");
		encode(group, out);
		is_first = false;
	}
}
