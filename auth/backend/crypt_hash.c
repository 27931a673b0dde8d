/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/crypt_hash.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { HASH_MAX_BYTES = CRYPT_OUTPUT_SIZE - 1, PASSWORD_MAX_BYTES = CRYPT_MAX_PASSPHRASE_SIZE - 1, APR1_ROUNDS = 1000, APR1_SALT_MAX_BYTES = 8 };

static bool is_crypt64(uint8_t byte)
{
	return (byte >= '.' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

/* How a kind of hash begins, and how long it is behind its last '$'. */
static const struct {
	const char *prefix;
	size_t digits;
} kinds[] = {
	{"$apr1$", 22}, {"$1$", 22}, {"$2a$", 53}, {"$2b$", 53}, {"$2y$", 53}, {"$5$", 43}, {"$6$", 86}, {"$7$", 43}, {"$y$", 43},
	{"$gy$", 43},
};

/* Of a kind that is known, whole? What is cut off would be of no password. */
static const char *check_kind(struct span hash, struct span prefix, size_t digits)
{
	size_t dollar = span_find_last(hash, '$');
	struct span rest = span_skip(hash, dollar + 1);

	if (dollar < prefix.len || rest.len != digits)
		return "it is cut off, or something stands behind it";
	for (size_t i = 0; i < hash.len; i++)
		if (hash.at[i] <= ' ' || hash.at[i] >= 0x7f || (i > dollar && !is_crypt64(hash.at[i])))
			return "there are characters in it that no hash has";
	return NULL;
}

static const char *check_braces(struct span hash)
{
	if (span_starts_with(hash, SPAN("{SHA}")))
		return "{SHA} has no salt: one table finds all its passwords";
	if (span_starts_with(hash, SPAN("{SSHA")))
		return "{SSHA} is one round of a fast hash: its passwords are guessed by the thousand million";
	return "this kind of hash is not known";
}

const char *crypt_hash_check(struct span hash)
{
	size_t same = 0;

	if (hash.len == 0)
		return "it is empty";
	if (hash.len > HASH_MAX_BYTES)
		return "it is longer than any hash is";
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		if (span_starts_with(hash, span_from(kinds[i].prefix)))
			return check_kind(hash, span_from(kinds[i].prefix), kinds[i].digits);
	if (hash.at[0] == '{')
		return check_braces(hash);
	if (span_starts_with(hash, SPAN("$2x$")))
		return "$2x$ is of a bcrypt that made the same hash of several passwords";
	if (hash.at[0] == '$')
		return "this kind of hash is not known";
	if (hash.at[0] == '!' || hash.at[0] == '*')
		return "it is locked: remove the user instead";
	while (same < hash.len && is_crypt64(hash.at[same]))
		same++;
	return hash.len == 13 && same == 13 ? NULL : "it is no hash: passwords in clear are not taken";
}

/* ---- $apr1$: MD5 a thousand times, as Apache does it ---- */

struct md5 {
	EVP_MD *type; /* fetched once: it is looked up anew at each use else */
	EVP_MD_CTX *context;
	bool well;
};

static void begin(struct md5 *md5)
{
	md5->well = md5->well && EVP_DigestInit_ex(md5->context, md5->type, NULL) == 1;
}

static void add(struct md5 *md5, struct span bytes)
{
	md5->well = md5->well && EVP_DigestUpdate(md5->context, bytes.at, bytes.len) == 1;
}

static void end(struct md5 *md5, uint8_t out[static 16])
{
	md5->well = md5->well && EVP_DigestFinal_ex(md5->context, out, NULL) == 1;
}

static void apr1_digest(struct md5 *md5, struct span password, struct span salt, uint8_t out[static 16])
{
	begin(md5);
	add(md5, password);
	add(md5, salt);
	add(md5, password);
	end(md5, out);
	begin(md5);
	add(md5, password);
	add(md5, SPAN("$apr1$"));
	add(md5, salt);
	for (size_t left = password.len; left; left -= left < 16 ? left : 16)
		add(md5, span_of(out, left < 16 ? left : 16));
	for (size_t bits = password.len; bits; bits >>= 1)
		add(md5, bits & 1 ? span_of("", 1) : span_first(password, 1));
	end(md5, out);
	for (unsigned i = 0; i < APR1_ROUNDS; i++) {
		begin(md5);
		add(md5, i & 1 ? password : span_of(out, 16));
		if (i % 3)
			add(md5, salt);
		if (i % 7)
			add(md5, password);
		add(md5, i & 1 ? span_of(out, 16) : password);
		end(md5, out);
	}
}

static void apr1_encode(const uint8_t digest[static 16], char out[static 22])
{
	static const char digits[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	static const uint8_t order[6][3] = {{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}, {11, 11, 11}};
	size_t at = 0;

	for (size_t i = 0; i < 6; i++) {
		uint32_t group = i < 5 ? (uint32_t)digest[order[i][0]] << 16 | (uint32_t)digest[order[i][1]] << 8 |
		                                 digest[order[i][2]]
		                       : digest[11];

		for (int j = 0; j < (i < 5 ? 4 : 2); j++, group >>= 6)
			out[at++] = digits[group & 63];
	}
}

static bool verify_apr1(struct span hash, struct span password)
{
	struct span salt = span_skip(hash, SPAN("$apr1$").len), encoded;
	struct md5 md5 = {EVP_MD_fetch(NULL, "MD5", NULL), EVP_MD_CTX_new(), false};
	uint8_t digest[16] = {0};
	char expected[22];
	size_t end_of_salt = span_find(salt, '$');
	bool same;

	encoded = span_skip(salt, end_of_salt + 1);
	salt = span_first(salt, end_of_salt < APR1_SALT_MAX_BYTES ? end_of_salt : APR1_SALT_MAX_BYTES);
	md5.well = md5.type && md5.context;
	apr1_digest(&md5, password, salt, digest);
	EVP_MD_CTX_free(md5.context);
	EVP_MD_free(md5.type);
	apr1_encode(digest, expected);
	same = md5.well && encoded.len == sizeof(expected) && CRYPTO_memcmp(expected, encoded.at, sizeof(expected)) == 0;
	explicit_bzero(digest, sizeof(digest));
	explicit_bzero(expected, sizeof(expected));
	return same;
}

/* ---- crypt(3) ---- */

static bool is_password(struct span password)
{
	return password.len > 0 && password.len <= PASSWORD_MAX_BYTES && span_find(password, 0) == password.len;
}

/* What crypt(3) makes of a password (is_password()) with the settings of a hash. */
static bool run_crypt(struct span password, const char *setting, char out[static CRYPT_OUTPUT_SIZE])
{
	struct crypt_data *data = calloc(1, sizeof(*data));
	char text[PASSWORD_MAX_BYTES + 1];
	const char *made;
	bool well;

	memcpy(text, password.at, password.len);
	text[password.len] = 0;
	made = data ? crypt_r(text, setting, data) : NULL;
	well = made && made[0] != '*' && strlen(made) < CRYPT_OUTPUT_SIZE;

	if (well)
		memcpy(out, made, strlen(made) + 1);
	explicit_bzero(text, sizeof(text));
	if (data)
		explicit_bzero(data, sizeof(*data));
	free(data);
	return well;
}

bool crypt_hash_verify(struct span hash, struct span password)
{
	char setting[CRYPT_OUTPUT_SIZE], made[CRYPT_OUTPUT_SIZE];
	bool same;

	if (crypt_hash_check(hash) || !is_password(password))
		return false;
	if (span_starts_with(hash, SPAN("$apr1$")))
		return verify_apr1(hash, password);
	memcpy(setting, hash.at, hash.len);
	setting[hash.len] = 0;
	same = run_crypt(password, setting, made) && strlen(made) == hash.len && CRYPTO_memcmp(made, hash.at, hash.len) == 0;
	explicit_bzero(made, sizeof(made));
	return same;
}

bool crypt_hash_make(struct span password, struct buf *out)
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE], made[CRYPT_OUTPUT_SIZE];

	if (!is_password(password) || crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)) == NULL ||
	    !run_crypt(password, setting, made))
		return false;
	buf_add_string(out, made);
	explicit_bzero(made, sizeof(made));
	return true;
}
