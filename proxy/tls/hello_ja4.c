/* SPDX-License-Identifier: Apache-2.0 */
/* JA4, technical_details/JA4.md of FoxIO: t13d1516h2_HASH-OF-CIPHERS_HASH-OF-EXTENSIONS-AND-ALGORITHMS. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "tls/hello_private.h"

enum {
	VALUES_MAX = 32768,   /* of 16 bits each, in a list of 65,535 bytes */
	HASHED_HEX_DIGITS = 12,
	COUNT_MAX = 99,
	SERVER_NAME = 0,
	ALPN = 16,
};

static const char digits[] = "0123456789abcdef";

static const char *version_text(uint16_t version)
{
	static const struct {
		uint16_t version;
		const char *text;
	} rows[] = {{0x0304, "13"}, {0x0303, "12"}, {0x0302, "11"}, {0x0301, "10"}, {0x0300, "s3"}, {0x0002, "s2"},
	            {0xfeff, "d1"}, {0xfefd, "d2"}, {0xfefc, "d3"}};

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].version == version)
			return rows[i].text;
	return "00";
}

static bool is_alphanumeric(uint8_t byte)
{
	return (byte >= '0' && byte <= '9') || (span_lower(byte) >= 'a' && span_lower(byte) <= 'z');
}

/* First and last character of the first name, or of its hexadecimal digits. */
static void add_alpn(struct buf *out, struct span list)
{
	struct span name;
	uint8_t first, last;

	if (!hello_alpn_next(&list, &name)) {
		buf_add_string(out, "00");
		return;
	}
	first = name.at[0];
	last = name.at[name.len - 1];
	if (!is_alphanumeric(first) || !is_alphanumeric(last)) {
		first = (uint8_t)digits[first >> 4];
		last = (uint8_t)digits[last & 15];
	}
	buf_add_byte(out, first);
	buf_add_byte(out, last);
}

/* Shell's sort: the lists are short, and of 32,768 values at the worst. */
static void sort(uint16_t *values, size_t count)
{
	for (size_t gap = count; gap > 1;) {
		gap = gap < 5 ? 1 : gap * 5 / 11;
		for (size_t i = gap; i < count; i++) {
			uint16_t value = values[i];
			size_t at = i;

			for (; at >= gap && values[at - gap] > value; at -= gap)
				values[at] = values[at - gap];
			values[at] = value;
		}
	}
}

/* A hash over text that comes in pieces. */
struct digest {
	EVP_MD_CTX *context;
	uint8_t text[1024];
	size_t len;
	bool is_empty;
};

static void digest_flush(struct digest *digest)
{
	if (digest->context)
		EVP_DigestUpdate(digest->context, digest->text, digest->len);
	digest->len = 0;
}

static void digest_add(struct digest *digest, const uint16_t *values, size_t count, char before_first)
{
	for (size_t i = 0; i < count; i++) {
		if (digest->len + 5 > sizeof(digest->text))
			digest_flush(digest);
		if (!digest->is_empty)
			digest->text[digest->len++] = (uint8_t)(i ? ',' : before_first);
		for (int shift = 12; shift >= 0; shift -= 4)
			digest->text[digest->len++] = (uint8_t)digits[values[i] >> shift & 15];
		digest->is_empty = false;
	}
}

static void digest_init(struct digest *digest)
{
	digest->context = EVP_MD_CTX_new();
	digest->len = 0;
	digest->is_empty = true;
	if (digest->context)
		EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL);
}

/* Twelve digits; zeros for a hash of nothing (or one that there is no memory for). */
static void digest_fini(struct digest *digest, struct buf *out)
{
	uint8_t hash[EVP_MAX_MD_SIZE] = {0};

	digest_flush(digest);
	if (digest->context && !digest->is_empty)
		EVP_DigestFinal_ex(digest->context, hash, NULL);
	EVP_MD_CTX_free(digest->context);
	for (size_t i = 0; i < HASHED_HEX_DIGITS; i++)
		buf_add_byte(out, (uint8_t)digits[i % 2 ? hash[i / 2] & 15 : hash[i / 2] >> 4]);
}

static size_t take_values(struct span bytes, uint16_t values[static VALUES_MAX])
{
	struct cursor cursor = cursor_over(bytes);
	size_t count = 0;

	while (cursor.rest.len >= 2) {
		uint16_t value = cursor_u16(&cursor);

		if (!hello_is_grease(value))
			values[count++] = value;
	}
	return count;
}

static size_t take_extensions(struct span bytes, uint16_t values[static VALUES_MAX])
{
	struct cursor cursor = cursor_over(bytes);
	size_t count = 0;

	while (cursor.rest.len >= 4 && !cursor.overrun) {
		uint16_t number = cursor_u16(&cursor);

		cursor_take(&cursor, cursor_u16(&cursor));
		if (!hello_is_grease(number) && number != SERVER_NAME && number != ALPN)
			values[count++] = number;
	}
	return count;
}

static size_t shown(const struct hello_list *list)
{
	return list->total < COUNT_MAX ? list->total : COUNT_MAX;
}

void hello_ja4(const struct hello *hello, char out[static HELLO_JA4_BYTES])
{
	uint16_t values[VALUES_MAX];
	struct digest digest;
	struct buf text;
	size_t count;

	buf_init(&text, HELLO_JA4_BYTES);
	buf_printf(&text, "t%s%c%02zu%02zu", version_text(hello->best_version), hello->has_sni_extension ? 'd' : 'i',
	           shown(&hello->ciphers), shown(&hello->extensions));
	add_alpn(&text, hello->alpn);
	buf_add_byte(&text, '_');
	digest_init(&digest);
	count = take_values(hello->cipher_bytes, values);
	sort(values, count);
	digest_add(&digest, values, count, 0);
	digest_fini(&digest, &text);
	buf_add_byte(&text, '_');
	digest_init(&digest);
	count = take_extensions(hello->extension_bytes, values);
	sort(values, count);
	digest_add(&digest, values, count, 0);
	count = take_values(hello->signature_bytes, values);
	digest_add(&digest, values, count, '_');
	digest_fini(&digest, &text);
	memset(out, 0, HELLO_JA4_BYTES);
	memcpy(out, buf_span(&text).at, buf_len(&text) < HELLO_JA4_BYTES ? buf_len(&text) : HELLO_JA4_BYTES - 1);
	buf_fini(&text);
}
