/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/keyed_hash.h"

#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"

enum { KEY_BYTES = 32, MAC_BYTES = 32 };

struct keyed_hash {
	EVP_MAC_CTX *context; /* keyed: each use begins where the key is in already */
};

enum err keyed_hash_new(struct keyed_hash **out)
{
	struct keyed_hash *hash = calloc(1, sizeof(*hash));
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0), OSSL_PARAM_construct_end()};
	uint8_t key[KEY_BYTES];
	bool well;

	secret_random(key, sizeof(key));
	if (hash && mac)
		hash->context = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac);
	well = hash && hash->context && EVP_MAC_init(hash->context, key, sizeof(key), params) == 1;
	explicit_bzero(key, sizeof(key));
	if (!well) {
		keyed_hash_free(hash);
		return hash ? ERR_SYSTEM : ERR_MEMORY;
	}
	*out = hash;
	return ERR_NONE;
}

void keyed_hash_free(struct keyed_hash *hash)
{
	if (hash)
		EVP_MAC_CTX_free(hash->context);
	free(hash);
}

bool keyed_hash_make(struct keyed_hash *hash, const struct span *texts, size_t count,
                     uint8_t out[static KEYED_HASH_BYTES])
{
	uint8_t mac[MAC_BYTES];
	size_t len = 0;
	bool well = EVP_MAC_init(hash->context, NULL, 0, NULL) == 1;

	for (size_t i = 0; i < count && well; i++) {
		uint64_t text_bytes = texts[i].len;

		well = EVP_MAC_update(hash->context, (const uint8_t *)&text_bytes, sizeof(text_bytes)) == 1 &&
		       EVP_MAC_update(hash->context, texts[i].at, texts[i].len) == 1;
	}
	well = well && EVP_MAC_final(hash->context, mac, &len, sizeof(mac)) == 1 && len == sizeof(mac);
	if (well)
		memcpy(out, mac, KEYED_HASH_BYTES);
	return well;
}
