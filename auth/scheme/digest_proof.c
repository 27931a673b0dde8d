/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/scheme/digest_proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <string.h>

enum { PARTS_MAX = 8, HEX_MAX_BYTES = 2 * DIGEST_MAX_BYTES };

size_t digest_bytes(enum digest_algorithm algorithm)
{
	return algorithm == DIGEST_SHA256 ? 32 : 16;
}

/* Kept: three hashes a request. */
static _Thread_local EVP_MD_CTX *context;

void digest_end_thread(void)
{
	EVP_MD_CTX_free(context);
	context = NULL;
}

/* Fetched once for all threads: what EVP_md5() gives is looked up anew at each use. NULL: OpenSSL failed. */
static const EVP_MD *type_of(enum digest_algorithm algorithm)
{
	static EVP_MD *_Atomic types[DIGEST_ALGORITHM_COUNT];
	EVP_MD *type = atomic_load(&types[algorithm]), *first = NULL;

	if (type)
		return type;
	type = EVP_MD_fetch(NULL, algorithm == DIGEST_SHA256 ? "SHA256" : "MD5", NULL);
	if (type && !atomic_compare_exchange_strong(&types[algorithm], &first, type)) {
		EVP_MD_free(type);
		type = first;
	}
	return type;
}

/* H of the parts with colons between them. */
static bool hash(enum digest_algorithm algorithm, const struct span *parts, size_t count,
                 uint8_t out[static DIGEST_MAX_BYTES])
{
	const EVP_MD *type = type_of(algorithm);
	unsigned len = 0;
	bool well;

	if (context == NULL)
		context = EVP_MD_CTX_new();
	well = context && type && EVP_DigestInit_ex2(context, type, NULL) == 1;
	for (size_t i = 0; i < count && well; i++)
		well = (i == 0 || EVP_DigestUpdate(context, ":", 1) == 1) &&
		       EVP_DigestUpdate(context, parts[i].at, parts[i].len) == 1;
	well = well && EVP_DigestFinal_ex(context, out, &len) == 1 && len == digest_bytes(algorithm);
	return well;
}

static struct span to_hex(const uint8_t *bytes, size_t len, char out[static HEX_MAX_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	return span_of(out, 2 * len);
}

bool digest_ha1(enum digest_algorithm algorithm, struct span user, struct span realm, struct span password,
                uint8_t out[static DIGEST_MAX_BYTES])
{
	struct span parts[] = {user, realm, password};

	return hash(algorithm, parts, COUNT_OF(parts), out);
}

bool digest_userhash(enum digest_algorithm algorithm, struct span user, struct span realm,
                     uint8_t out[static DIGEST_MAX_BYTES])
{
	struct span parts[] = {user, realm};

	return hash(algorithm, parts, COUNT_OF(parts), out);
}

bool digest_proof(enum digest_algorithm algorithm, bool is_session, const uint8_t *ha1, struct span nonce,
                  struct span nc, struct span cnonce, struct span method, struct span uri,
                  uint8_t out[static DIGEST_MAX_BYTES])
{
	size_t len = digest_bytes(algorithm);
	char hex1[HEX_MAX_BYTES], hex2[HEX_MAX_BYTES];
	uint8_t a1[DIGEST_MAX_BYTES], a2[DIGEST_MAX_BYTES];
	struct span parts1[] = {to_hex(ha1, len, hex1), nonce, cnonce}, parts2[] = {method, uri};
	struct span h1 = parts1[0], h2, parts[6];
	bool well = true;

	if (is_session) {
		well = hash(algorithm, parts1, COUNT_OF(parts1), a1);
		h1 = to_hex(a1, len, hex1);
	}
	well = well && hash(algorithm, parts2, COUNT_OF(parts2), a2);
	h2 = to_hex(a2, len, hex2);
	parts[0] = h1;
	parts[1] = nonce;
	parts[2] = nc;
	parts[3] = cnonce;
	parts[4] = SPAN("auth");
	parts[5] = h2;
	well = well && hash(algorithm, parts, COUNT_OF(parts), out);
	explicit_bzero(hex1, sizeof(hex1));
	explicit_bzero(a1, sizeof(a1));
	return well;
}

bool digest_is_proved(const struct ask *ask, const uint8_t *ha1)
{
	uint8_t expected[DIGEST_MAX_BYTES];

	return digest_proof(ask->algorithm, ask->is_session, ha1, ask->nonce, ask->nc, ask->cnonce, ask->method, ask->uri,
	                    expected) &&
	       CRYPTO_memcmp(expected, ask->response, digest_bytes(ask->algorithm)) == 0;
}
