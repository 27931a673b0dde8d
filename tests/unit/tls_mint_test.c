/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for opened hosts, field by field, as OpenSSL reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include "ca_rig.h"
#include "tls/mint.h"

enum { DAY_S = 86400, SERIALS = 5000 };

static struct ca_rig rig;
static EVP_PKEY *key;

static int set_up(void **state)
{
	(void)state;
	ca_rig_make(&rig, "", RIG_NOW - 100 * DAY_S);
	key = EVP_EC_gen("P-256");
	return key == NULL;
}

static int tear_down(void **state)
{
	(void)state;
	ca_rig_free(&rig);
	EVP_PKEY_free(key);
	return 0;
}

static struct mint *make(const struct ca *ca, EVP_PKEY *leaf_key, const char *url)
{
	struct mint_conf conf = {SPAN("Example TLS inspection"), span_from(url), UINT64_C(30) * DAY_S * 1000};
	struct mint *mint;

	assert_int_equal(mint_new(ca, leaf_key, &conf, &mint), ERR_NONE);
	return mint;
}

static X509 *leaf_of(struct mint *mint, const char *host, int64_t now)
{
	struct buf der, why;
	const uint8_t *at;
	X509 *leaf;

	buf_init(&der, MINT_MAX_BYTES);
	buf_init(&why, 4096);
	assert_int_equal(mint_leaf(mint, span_from(host), now, &der, &why), ERR_NONE);
	assert_int_equal(buf_len(&why), 0);
	at = buf_span(&der).at;
	leaf = d2i_X509(NULL, &at, (long)buf_len(&der));
	assert_non_null(leaf);
	/* All of it, and nothing behind it. */
	assert_ptr_equal(at, buf_span(&der).at + buf_len(&der));
	buf_fini(&der);
	buf_fini(&why);
	return leaf;
}

static const char *text_of(const X509_NAME *name)
{
	static char text[512];

	X509_NAME_oneline(name, text, sizeof(text));
	return text;
}

/* Its value as DER in hex, "!" in front where it is critical; "" where there is none. */
static const char *extension_of(X509 *leaf, int nid)
{
	static char text[512];
	int at = X509_get_ext_by_NID(leaf, nid, -1);
	X509_EXTENSION *extension;
	const ASN1_OCTET_STRING *value;

	text[0] = 0;
	if (at < 0)
		return text;
	extension = X509_get_ext(leaf, at);
	value = X509_EXTENSION_get_data(extension);
	snprintf(text, sizeof(text), "%s", X509_EXTENSION_get_critical(extension) ? "!" : "");
	for (int i = 0; i < ASN1_STRING_length(value); i++) {
		size_t len = strlen(text);

		snprintf(text + len, sizeof(text) - len, "%02x", ASN1_STRING_get0_data(value)[i]);
	}
	/* Each once. */
	assert_int_equal(X509_get_ext_by_NID(leaf, nid, at), -1);
	return text;
}

static bool is_for(X509 *leaf, const char *host)
{
	return X509_check_host(leaf, host, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

/* As clients with the CA among their roots; and the signature. */
static int verdict_of(const struct ca *ca, X509 *leaf, int64_t now)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	int verdict;

	assert_int_equal(X509_STORE_add_cert(store, ca->trusted), 1);
	assert_int_equal(X509_STORE_CTX_init(context, store, leaf, ca->chain), 1);
	param = X509_STORE_CTX_get0_param(context);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
	X509_VERIFY_PARAM_set_time(param, (time_t)now);
	X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER);
	verdict = X509_verify_cert(context) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context);
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
	return verdict;
}

/* ---- the profile ---- */

static void fields_of_a_name(void **state)
{
	struct mint *mint = make(rig.ca, key, "http://proxy.example.com:8080/ca.crl");
	X509 *leaf = leaf_of(mint, "www.example.com", RIG_NOW);
	const ASN1_OCTET_STRING *authority = X509_get0_authority_key_id(leaf);
	const ASN1_OCTET_STRING *own = X509_get0_subject_key_id(rig.ca->certificate);
	uint8_t *issuer = NULL, *subject = NULL;
	int issuer_len = i2d_X509_NAME(X509_get_issuer_name(leaf), &issuer);
	int subject_len = i2d_X509_NAME(X509_get_subject_name(rig.ca->certificate), &subject);

	(void)state;
	assert_int_equal(X509_get_version(leaf), X509_VERSION_3);
	assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(leaf)), 16);
	assert_int_equal(ASN1_STRING_type(X509_get0_serialNumber(leaf)), V_ASN1_INTEGER);
	assert_int_equal(issuer_len, subject_len);
	assert_memory_equal(issuer, subject, (size_t)issuer_len);
	assert_string_equal(text_of(X509_get_subject_name(leaf)), "/O=Example TLS inspection/CN=www.example.com");
	assert_int_equal(ca_time(X509_get0_notBefore(leaf)), RIG_NOW - 2 * DAY_S);
	assert_int_equal(ca_time(X509_get0_notAfter(leaf)), RIG_NOW + 30 * DAY_S);
	assert_int_equal(X509_get_signature_nid(leaf), NID_ecdsa_with_SHA256);
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(leaf), key), 1);
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(leaf), rig.ca->key), 0);
	assert_string_equal(extension_of(leaf, NID_key_usage), "!03020780");
	assert_string_equal(extension_of(leaf, NID_ext_key_usage), "300a06082b06010505070301");
	assert_string_equal(extension_of(leaf, NID_basic_constraints), "!3000");
	assert_string_equal(extension_of(leaf, NID_subject_alt_name), "3011820f7777772e6578616d706c652e636f6d");
	assert_non_null(authority);
	assert_int_equal(ASN1_OCTET_STRING_cmp(authority, own), 0);
	assert_null(X509_get0_authority_serial(leaf));
	assert_null(X509_get0_subject_key_id(leaf));
	assert_non_null(strstr(extension_of(leaf, NID_crl_distribution_points), "63612e63726c")); /* ca.crl */
	assert_int_equal(X509_get_ext_count(leaf), 6);
	assert_true(is_for(leaf, "www.example.com"));
	assert_false(is_for(leaf, "a.www.example.com"));
	assert_int_equal(verdict_of(rig.ca, leaf, RIG_NOW), X509_V_OK);
	OPENSSL_free(issuer);
	OPENSSL_free(subject);
	X509_free(leaf);
	mint_free(mint);
}

static void without_a_url_there_is_no_distribution_point(void **state)
{
	struct mint *mint = make(rig.ca, key, "");
	X509 *leaf = leaf_of(mint, "www.example.com", RIG_NOW);

	(void)state;
	assert_string_equal(extension_of(leaf, NID_crl_distribution_points), "");
	X509_free(leaf);
	mint_free(mint);
}

static void long_names_have_no_common_name(void **state)
{
	const char *of_64 = "abcdefghijklmnopqrstuvwxyz0123456789.abcdefghijklmnopqr.example.";
	const char *of_65 = "abcdefghijklmnopqrstuvwxyz0123456789.abcdefghijklmnopqr.example.x";
	char exactly[65];
	struct mint *mint = make(rig.ca, key, "");
	X509 *leaf;

	(void)state;
	snprintf(exactly, sizeof(exactly), "%.63sx", of_64);
	assert_int_equal(strlen(exactly), 64);
	assert_int_equal(strlen(of_65), 65);
	leaf = leaf_of(mint, exactly, RIG_NOW);
	assert_non_null(strstr(text_of(X509_get_subject_name(leaf)), "/CN=abc"));
	assert_int_not_equal(extension_of(leaf, NID_subject_alt_name)[0], '!');
	X509_free(leaf);
	leaf = leaf_of(mint, of_65, RIG_NOW);
	assert_string_equal(text_of(X509_get_subject_name(leaf)), "/O=Example TLS inspection");
	assert_int_equal(extension_of(leaf, NID_subject_alt_name)[0], '!');
	assert_true(is_for(leaf, of_65));
	assert_int_equal(verdict_of(rig.ca, leaf, RIG_NOW), X509_V_OK);
	X509_free(leaf);
	mint_free(mint);
}

static void addresses_are_addresses(void **state)
{
	struct mint *mint = make(rig.ca, key, "");
	X509 *leaf = leaf_of(mint, "192.0.2.7", RIG_NOW);

	(void)state;
	assert_string_equal(extension_of(leaf, NID_subject_alt_name), "30068704c0000207");
	assert_int_equal(X509_check_ip_asc(leaf, "192.0.2.7", 0), 1);
	assert_int_equal(verdict_of(rig.ca, leaf, RIG_NOW), X509_V_OK);
	X509_free(leaf);
	leaf = leaf_of(mint, "2001:db8::1", RIG_NOW);
	assert_int_equal(X509_check_ip_asc(leaf, "2001:db8::1", 0), 1);
	assert_int_equal(verdict_of(rig.ca, leaf, RIG_NOW), X509_V_OK);
	X509_free(leaf);
	mint_free(mint);
}

static void rsa_keys_also_encrypt(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048);
	struct mint *mint = make(rig.ca, rsa, "");
	X509 *leaf = leaf_of(mint, "www.example.com", RIG_NOW);

	(void)state;
	assert_string_equal(extension_of(leaf, NID_key_usage), "!030205a0");
	assert_int_equal(verdict_of(rig.ca, leaf, RIG_NOW), X509_V_OK);
	X509_free(leaf);
	mint_free(mint);
	EVP_PKEY_free(rsa);
}

static void validity_stays_in_that_of_the_ca(void **state)
{
	int64_t end = rig.ca->not_after, begin = rig.ca->not_before;
	struct mint *mint = make(rig.ca, key, "");
	X509 *leaf = leaf_of(mint, "www.example.com", end - DAY_S);
	struct buf der, why;

	(void)state;
	assert_int_equal(ca_time(X509_get0_notAfter(leaf)), end);
	X509_free(leaf);
	leaf = leaf_of(mint, "www.example.com", begin + 60);
	assert_int_equal(ca_time(X509_get0_notBefore(leaf)), begin);
	X509_free(leaf);
	buf_init(&der, MINT_MAX_BYTES);
	buf_init(&why, 4096);
	assert_int_equal(mint_leaf(mint, SPAN("www.example.com"), end, &der, &why), ERR_SIGNER_REFUSED);
	assert_true(span_equal(buf_span(&why), SPAN("the CA has expired")));
	buf_reset(&why);
	assert_int_equal(mint_leaf(mint, SPAN("www.example.com"), begin - 1, &der, &why), ERR_SIGNER_REFUSED);
	assert_true(span_equal(buf_span(&why), SPAN("the CA is not valid yet")));
	assert_int_equal(buf_len(&der), 0);
	buf_fini(&der);
	buf_fini(&why);
	mint_free(mint);
}

/* Two digits of the year end with 2049. */
static void times_after_2049(void **state)
{
	int64_t late = INT64_C(2556144000); /* 2051-01-01 */
	struct ca_rig other;
	struct mint *mint;
	X509 *leaf;

	(void)state;
	ca_rig_make(&other, "", late);
	mint = make(other.ca, key, "");
	leaf = leaf_of(mint, "www.example.com", late);
	assert_int_equal(X509_get0_notAfter(leaf)->type, V_ASN1_GENERALIZEDTIME);
	assert_int_equal(ca_time(X509_get0_notAfter(leaf)), late + 30 * DAY_S);
	assert_int_equal(verdict_of(other.ca, leaf, late), X509_V_OK);
	X509_free(leaf);
	mint_free(mint);
	ca_rig_free(&other);
}

/* ---- hosts ---- */

static void only_canonical_hosts(void **state)
{
	static const char *const good[] = {"a.example", "localhost", "a-b_c.example", "xn--bcher-kva.example", "192.0.2.1", "::1", "2001:db8::1"};
	static const char *const bad[] = {"", "A.example", "a.example.", "a..example", ".example", "a.example:443", "[::1]", "2001:DB8::1",
	                                  "2001:db8:0:0:0:0:0:1", "192.0.2.01", "1.2.3", "a b", "*.example", "a/b", "b\303\274cher.example", "a@b.example"};
	struct address address;
	char over[300];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		if (!mint_is_host(span_from(good[i]), &address))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (mint_is_host(span_from(bad[i]), &address))
			fail_msg("taken: %s", bad[i]);
	assert_false(mint_is_host(span_of("a\0b", 3), &address));
	memset(over, 'a', sizeof(over));
	for (size_t i = 50; i < sizeof(over); i += 50)
		over[i] = '.';
	assert_false(mint_is_host(span_of(over, 254), &address));
	assert_true(mint_is_host(span_of(over, 249), &address));
}

/* ---- serials ---- */

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

static void serials_differ(void **state)
{
	uint8_t (*serials)[16] = calloc(SERIALS, sizeof(*serials));
	struct mint *mint = make(rig.ca, key, "");
	clock_t began = clock();
	struct buf der, why;

	(void)state;
	assert_non_null(serials);
	buf_init(&der, MINT_MAX_BYTES);
	buf_init(&why, 4096);
	for (size_t i = 0; i < SERIALS; i++) {
		const uint8_t *at;
		X509 *leaf;

		buf_reset(&der);
		assert_int_equal(mint_leaf(mint, SPAN("www.example.com"), RIG_NOW, &der, &why), ERR_NONE);
		at = buf_span(&der).at;
		leaf = d2i_X509(NULL, &at, (long)buf_len(&der));
		assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(leaf)), 16);
		memcpy(serials[i], ASN1_STRING_get0_data(X509_get0_serialNumber(leaf)), 16);
		assert_int_equal(serials[i][0] & 0xc0, 0x40);
		X509_free(leaf);
	}
	print_message("%d certificates, made and read again: %.1f us each\n", SERIALS,
	              (double)(clock() - began) * 1e6 / CLOCKS_PER_SEC / SERIALS);
	qsort(serials, SERIALS, 16, compare);
	for (size_t i = 1; i < SERIALS; i++)
		assert_true(memcmp(serials[i - 1], serials[i], 16) != 0);
	buf_fini(&der);
	buf_fini(&why);
	mint_free(mint);
	free(serials);
}

static void how_fast(void **state)
{
	struct mint *mint = make(rig.ca, key, "http://proxy.example.com:8080/ca.crl");
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t signature[256], bytes[600] = {0};
	struct buf der, why;
	clock_t began;

	(void)state;
	buf_init(&der, MINT_MAX_BYTES);
	buf_init(&why, 4096);
	began = clock();
	for (size_t i = 0; i < SERIALS; i++) {
		buf_reset(&der);
		assert_int_equal(mint_leaf(mint, SPAN("www.example.com"), RIG_NOW, &der, &why), ERR_NONE);
	}
	print_message("mint_leaf: %.1f us, %zu bytes; ", (double)(clock() - began) * 1e6 / CLOCKS_PER_SEC / SERIALS, buf_len(&der));
	began = clock();
	for (size_t i = 0; i < SERIALS; i++) {
		size_t len = sizeof(signature);

		assert_int_equal(EVP_DigestSignInit_ex(context, NULL, "SHA256", NULL, NULL, rig.ca->key, NULL), 1);
		assert_int_equal(EVP_DigestSign(context, signature, &len, bytes, sizeof(bytes)), 1);
	}
	print_message("a signature alone: %.1f us\n", (double)(clock() - began) * 1e6 / CLOCKS_PER_SEC / SERIALS);
	EVP_MD_CTX_free(context);
	buf_fini(&der);
	buf_fini(&why);
	mint_free(mint);
}

/* ---- name constraints ---- */

static void refuses(struct mint *mint, const char *host, const char *text)
{
	struct buf der, why;

	buf_init(&der, MINT_MAX_BYTES);
	buf_init(&why, 4096);
	assert_int_equal(mint_leaf(mint, span_from(host), RIG_NOW, &der, &why), ERR_SIGNER_REFUSED);
	buf_add_byte(&why, 0);
	assert_string_equal((const char *)buf_span(&why).at, text);
	assert_int_equal(buf_len(&der), 0);
	buf_fini(&der);
	buf_fini(&why);
}

static void constraints_refuse(void **state)
{
	struct ca_rig other;
	struct mint *mint;
	X509 *leaf;

	(void)state;
	ca_rig_make(&other, "corp.example *.lab.example 10.0.0.0/8 fd00::/8", RIG_NOW);
	assert_true(other.ca->is_constrained);
	mint = make(other.ca, key, "");
	refuses(mint, "corp.example", "the CA's name constraints exclude corp.example");
	refuses(mint, "www.corp.example", "the CA's name constraints exclude corp.example");
	refuses(mint, "a.b.lab.example", "the CA's name constraints exclude lab.example");
	refuses(mint, "10.1.2.3", "the CA's name constraints exclude 10.0.0.0/8");
	refuses(mint, "fd00::1", "the CA's name constraints exclude fd00::/8");
	leaf = leaf_of(mint, "notcorp.example", RIG_NOW);
	assert_int_equal(verdict_of(other.ca, leaf, RIG_NOW), X509_V_OK);
	X509_free(leaf);
	X509_free(leaf_of(mint, "192.0.2.1", RIG_NOW));
	mint_free(mint);
	ca_rig_free(&other);
}

static void zones_alone_exclude_addresses_too(void **state)
{
	struct ca_rig other;
	struct mint *mint;

	(void)state;
	ca_rig_make(&other, "corp.example", RIG_NOW);
	mint = make(other.ca, key, "");
	refuses(mint, "192.0.2.1", "the CA's name constraints exclude 0.0.0.0/0");
	refuses(mint, "2001:db8::1", "the CA's name constraints exclude ::/0");
	X509_free(leaf_of(mint, "www.example.com", RIG_NOW));
	mint_free(mint);
	ca_rig_free(&other);
}

/* What is refused would not have verified: the refusal is not ours alone. */
static void clients_would_refuse_it_too(void **state)
{
	struct ca_rig other;
	struct mint *mint;
	struct buf der;
	const uint8_t *at;
	X509 *leaf;

	(void)state;
	ca_rig_make(&other, "corp.example 10.0.0.0/8", RIG_NOW);
	mint = make(other.ca, key, "");
	buf_init(&der, MINT_MAX_BYTES);
	assert_int_equal(mint_leaf_unchecked(mint, SPAN("a.corp.example"), RIG_NOW, &der), ERR_NONE);
	at = buf_span(&der).at;
	leaf = d2i_X509(NULL, &at, (long)buf_len(&der));
	assert_int_equal(verdict_of(other.ca, leaf, RIG_NOW), X509_V_ERR_EXCLUDED_VIOLATION);
	X509_free(leaf);
	buf_fini(&der);
	mint_free(mint);
	ca_rig_free(&other);
}

/* ---- the revocation list ---- */

static void crl_verifies(void **state)
{
	struct buf der;
	const uint8_t *at;
	X509_CRL *crl;
	ASN1_INTEGER *number;
	AUTHORITY_KEYID *authority;

	(void)state;
	buf_init(&der, MINT_MAX_BYTES);
	assert_int_equal(mint_crl(rig.ca, RIG_NOW, &der), ERR_NONE);
	at = buf_span(&der).at;
	crl = d2i_X509_CRL(NULL, &at, (long)buf_len(&der));
	assert_non_null(crl);
	assert_int_equal(X509_CRL_verify(crl, rig.ca->key), 1);
	assert_int_equal(X509_CRL_get_version(crl), X509_CRL_VERSION_2);
	assert_int_equal(ca_time(X509_CRL_get0_nextUpdate(crl)), RIG_NOW + 7 * DAY_S);
	assert_true(ca_time(X509_CRL_get0_lastUpdate(crl)) <= RIG_NOW);
	assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), -1);
	number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
	assert_int_equal(ASN1_INTEGER_get(number), RIG_NOW);
	authority = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL, NULL);
	assert_int_equal(ASN1_OCTET_STRING_cmp(authority->keyid, X509_get0_subject_key_id(rig.ca->certificate)), 0);
	ASN1_INTEGER_free(number);
	AUTHORITY_KEYID_free(authority);
	X509_CRL_free(crl);
	buf_fini(&der);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_of_a_name),
		cmocka_unit_test(without_a_url_there_is_no_distribution_point),
		cmocka_unit_test(long_names_have_no_common_name),
		cmocka_unit_test(addresses_are_addresses),
		cmocka_unit_test(rsa_keys_also_encrypt),
		cmocka_unit_test(validity_stays_in_that_of_the_ca),
		cmocka_unit_test(times_after_2049),
		cmocka_unit_test(only_canonical_hosts),
		cmocka_unit_test(serials_differ),
		cmocka_unit_test(how_fast),
		cmocka_unit_test(constraints_refuse),
		cmocka_unit_test(zones_alone_exclude_addresses_too),
		cmocka_unit_test(clients_would_refuse_it_too),
		cmocka_unit_test(crl_verifies),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
