/* SPDX-License-Identifier: Apache-2.0 */
/* The old algorithms of NTLM, from OpenSSL: MD4 and RC4 are in its legacy provider, which lives in a context of its own
 * here, so that nothing else of the program can use them. */
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <string.h>

#include "auth/fold.h"
#include "auth/scheme/ntlm_private.h"

/* Made once, before threads; then only read. */
static struct {
	OSSL_LIB_CTX *context;
	EVP_MD *md4, *md5;
	EVP_CIPHER *rc4, *des;
	EVP_MAC *hmac;
} algorithms;

/* Each of them once: they have to be right, and what OpenSSL reads at their first use (openssl.cnf) it has read then,
 * while there is no sandbox yet. The example of MS-NLMP 4.2.2. */
static bool work(void)
{
	static const uint8_t block[8] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef},
	                     response[V1_BYTES] = {0x67, 0xc4, 0x30, 0x11, 0xf3, 0x02, 0x98, 0xa2, 0xad, 0x35, 0xec, 0xe6,
	                                           0x4f, 0x16, 0x33, 0x1c, 0x44, 0xbd, 0xbe, 0xd9, 0x27, 0x84, 0x1f, 0x94};
	uint8_t hash[16], out[V1_BYTES];
	struct span part = span_of(block, sizeof(block));

	return ntlm_hash(SPAN("Password"), hash) && ntlm_desl(hash, block, out) &&
	       memcmp(out, response, sizeof(response)) == 0 && ntlm_md5(&part, 1, out) &&
	       ntlm_hmac_md5(hash, &part, 1, out) && ntlm_rc4(span_of(hash, sizeof(hash)), part, out);
}

bool ntlm_init(const char **why)
{
	static bool done;

	if (done)
		return true;
	fold_init();
	if (algorithms.context == NULL)
		algorithms.context = OSSL_LIB_CTX_new();
	if (algorithms.context == NULL || OSSL_PROVIDER_load(algorithms.context, "default") == NULL ||
	    OSSL_PROVIDER_load(algorithms.context, "legacy") == NULL) {
		*why = "OpenSSL's legacy provider (legacy.so, of the package libssl3) cannot be loaded: there is no MD4, "
		       "and so no NTLM";
		return false;
	}
	algorithms.md5 = EVP_MD_fetch(algorithms.context, "MD5", NULL);
	algorithms.rc4 = EVP_CIPHER_fetch(algorithms.context, "RC4", NULL);
	algorithms.des = EVP_CIPHER_fetch(algorithms.context, "DES-EDE3-ECB", NULL);
	algorithms.hmac = EVP_MAC_fetch(algorithms.context, "HMAC", NULL);
	algorithms.md4 = EVP_MD_fetch(algorithms.context, "MD4", NULL);
	done = algorithms.md5 && algorithms.rc4 && algorithms.des && algorithms.hmac && algorithms.md4 && work();
	if (!done)
		*why = "OpenSSL has not all of MD4, MD5, RC4, DES and HMAC";
	return done;
}

static bool digest(const EVP_MD *md, const struct span *parts, size_t count, uint8_t out[static 16])
{
	EVP_MD_CTX *context = md ? EVP_MD_CTX_new() : NULL;
	bool well = context && EVP_DigestInit_ex2(context, md, NULL) == 1;
	unsigned len = 0;

	for (size_t i = 0; i < count && well; i++)
		well = EVP_DigestUpdate(context, parts[i].at, parts[i].len) == 1;
	well = well && EVP_DigestFinal_ex(context, out, &len) == 1 && len == 16;
	EVP_MD_CTX_free(context);
	return well;
}

bool ntlm_md4(struct span bytes, uint8_t out[static 16])
{
	return digest(algorithms.md4, &bytes, 1, out);
}

bool ntlm_md5(const struct span *parts, size_t count, uint8_t out[static 16])
{
	return digest(algorithms.md5, parts, count, out);
}

bool ntlm_hmac_md5(const uint8_t key[static 16], const struct span *parts, size_t count, uint8_t out[static 16])
{
	char name[] = "MD5";
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", name, 0), OSSL_PARAM_construct_end()};
	EVP_MAC_CTX *context = algorithms.hmac ? EVP_MAC_CTX_new(algorithms.hmac) : NULL;
	bool well = context && EVP_MAC_init(context, key, 16, params) == 1;
	size_t len = 0;

	for (size_t i = 0; i < count && well; i++)
		well = EVP_MAC_update(context, parts[i].at, parts[i].len) == 1;
	well = well && EVP_MAC_final(context, out, &len, 16) == 1 && len == 16;
	EVP_MAC_CTX_free(context);
	return well;
}

static bool encrypt(const EVP_CIPHER *cipher, struct span key, struct span bytes, uint8_t *out)
{
	EVP_CIPHER_CTX *context = cipher ? EVP_CIPHER_CTX_new() : NULL;
	bool well = context && EVP_EncryptInit_ex2(context, cipher, NULL, NULL, NULL) == 1 &&
	            (EVP_CIPHER_CTX_get_key_length(context) == (int)key.len ||
	             EVP_CIPHER_CTX_set_key_length(context, (int)key.len) == 1) &&
	            EVP_EncryptInit_ex2(context, NULL, key.at, NULL, NULL) == 1;
	int len = 0;

	if (well)
		EVP_CIPHER_CTX_set_padding(context, 0);
	well = well && EVP_EncryptUpdate(context, out, &len, bytes.at, (int)bytes.len) == 1 && len == (int)bytes.len;
	EVP_CIPHER_CTX_free(context);
	return well;
}

bool ntlm_rc4(struct span key, struct span bytes, uint8_t *out)
{
	return encrypt(algorithms.rc4, key, bytes, out);
}

/* Seven bytes become a DES key of eight, whose parity bits nobody looks at; three times the same key is single DES. */
static bool des(const uint8_t seven[static 7], const uint8_t block[static 8], uint8_t out[static 8])
{
	uint8_t key[24];
	bool well;

	for (int i = 0; i < 8; i++) {
		unsigned high = i ? (unsigned)seven[i - 1] << (8 - i) : 0, low = i < 7 ? (unsigned)seven[i] >> i : 0;

		key[i] = (uint8_t)((high | low) & 0xfe);
	}
	memcpy(key + 8, key, 8);
	memcpy(key + 16, key, 8);
	well = encrypt(algorithms.des, span_of(key, sizeof(key)), span_of(block, 8), out);
	explicit_bzero(key, sizeof(key));
	return well;
}

bool ntlm_desl(const uint8_t hash[static 16], const uint8_t block[static 8], uint8_t out[static V1_BYTES])
{
	uint8_t padded[21] = {0};
	bool well;

	memcpy(padded, hash, 16);
	well = des(padded, block, out) && des(padded + 7, block, out + 8) && des(padded + 14, block, out + 16);
	explicit_bzero(padded, sizeof(padded));
	return well;
}

bool ntlm_hash(struct span password, uint8_t out[static NTLM_HASH_BYTES])
{
	struct buf wire;
	bool well;

	/* All of it at once: a buffer that grows leaves its old bytes behind. No character of UTF-8 is shorter than half of
	 * what it becomes. */
	buf_init(&wire, 2 * password.len + 1);
	well = buf_reserve(&wire, wire.max_bytes) != NULL;
	if (well)
		ntlm_add_utf16(password, &wire);
	well = well && buf_is_whole(&wire) && ntlm_md4(buf_span(&wire), out);
	if (wire.at)
		explicit_bzero(wire.at, wire.capacity);
	buf_fini(&wire);
	return well;
}

/* Windows changes units of 16 bits, one for one, by a table that has no capitals for these; Java, ICU and others go by
 * Unicode, which has. */
static bool is_kept_by_windows(uint32_t character)
{
	return character == 0xb5 || character == 0x131 || character == 0x17f || (character >= 0x10d0 && character < 0x1100) ||
	       character >= 0x10000;
}

static void add_capitals(struct span text, enum ntlm_capitals capitals, struct buf *out)
{
	while (text.len) {
		struct span rest = text, one;
		uint32_t character = fold_next(&rest);

		one = span_first(text, text.len - rest.len);
		text = rest;
		if (capitals == CAPITALS_WINDOWS && is_kept_by_windows(character))
			buf_add(out, one);
		else if (capitals == CAPITALS_UNICODE && character == 0xdf)
			buf_add(out, SPAN("SS"));
		else
			fold_upper(one, out);
	}
}

bool ntlm_response_key(const uint8_t hash[static 16], struct span user, enum ntlm_capitals capitals, struct span domain,
                       uint8_t out[static 16])
{
	struct buf upper, wire;
	struct span part;
	bool well;

	buf_init(&upper, 4 * ASK_NTLM_MAX_BYTES);
	buf_init(&wire, 8 * ASK_NTLM_MAX_BYTES);
	add_capitals(user, capitals, &upper);
	ntlm_add_utf16(buf_span(&upper), &wire);
	ntlm_add_utf16(domain, &wire);
	part = buf_span(&wire);
	well = buf_is_whole(&upper) && buf_is_whole(&wire) && ntlm_hmac_md5(hash, &part, 1, out);
	buf_fini(&upper);
	buf_fini(&wire);
	return well;
}

bool ntlm_session_challenge(const struct ntlm_challenge *challenge, const struct ntlm_authenticate *authenticate,
                            uint8_t out[static NTLM_CHALLENGE_BYTES])
{
	struct span parts[] = {span_of(challenge->challenge, NTLM_CHALLENGE_BYTES),
	                       span_first(authenticate->lm, NTLM_CHALLENGE_BYTES)};
	uint8_t both[16];

	if (!ntlm_md5(parts, COUNT_OF(parts), both))
		return false;
	memcpy(out, both, NTLM_CHALLENGE_BYTES);
	return true;
}
