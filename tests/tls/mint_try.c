/* SPDX-License-Identifier: Apache-2.0 */
/* Signs as the signer does, for tests: mint_try CA.pem CA.key HOST [RSA] > server.pem (certificate, chain, key). */
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tls/mint.h"

static bool read_file(const char *path, struct buf *out)
{
	FILE *file = fopen(path, "rb");
	uint8_t bytes[4096];
	size_t got;

	buf_init(out, CA_FILE_MAX_BYTES);
	while (file && (got = fread(bytes, 1, sizeof(bytes), file)) > 0)
		buf_add(out, span_of(bytes, got));
	if (file)
		fclose(file);
	return file != NULL;
}

static bool print(struct mint *mint, const struct ca *ca, EVP_PKEY *key, const char *host)
{
	struct buf der, why;
	const uint8_t *at;
	X509 *leaf = NULL;
	bool well;

	buf_init(&der, MINT_MAX_BYTES);
	buf_init(&why, 4096);
	well = mint_leaf(mint, span_from(host), (int64_t)time(NULL), &der, &why) == ERR_NONE;
	if (well) {
		at = buf_span(&der).at;
		leaf = d2i_X509(NULL, &at, (long)buf_len(&der));
		well = leaf && PEM_write_X509(stdout, leaf) == 1;
	} else {
		fprintf(stderr, "refused: %.*s\n", SPAN_ARG(buf_span(&why)));
	}
	for (int i = 0; well && i < sk_X509_num(ca->chain); i++)
		well = PEM_write_X509(stdout, sk_X509_value(ca->chain, i)) == 1;
	well = well && PEM_write_PrivateKey(stdout, key, NULL, NULL, 0, NULL, NULL) == 1;
	X509_free(leaf);
	buf_fini(&der);
	buf_fini(&why);
	return well;
}

int main(int count, char **args)
{
	const struct mint_conf conf = {SPAN("Test TLS inspection"), SPAN("http://127.0.0.1:9/ca.crl"), UINT64_C(30) * 86400000};
	struct problems problems;
	struct buf certificate, key_text;
	struct ca *ca = NULL;
	struct mint *mint = NULL;
	EVP_PKEY *key;
	bool well;

	if (count < 4 || !read_file(args[1], &certificate) || !read_file(args[2], &key_text))
		return 2;
	problems_init(&problems);
	key = count > 4 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	well = ca_open(&(struct ca_source){args[1], args[2], buf_span(&certificate), buf_span(&key_text)}, (int64_t)time(NULL),
	               &problems, &ca) == ERR_NONE &&
	       mint_new(ca, key, &conf, &mint) == ERR_NONE && print(mint, ca, key, args[3]);
	mint_free(mint);
	ca_free(ca);
	EVP_PKEY_free(key);
	problems_fini(&problems);
	buf_fini(&certificate);
	buf_fini(&key_text);
	return well ? 0 : 1;
}
