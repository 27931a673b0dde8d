/* SPDX-License-Identifier: Apache-2.0 */
/* JA4: the example of its specification, one that was seen in the wild, and a second implementation beside it for what a
 * client of OpenSSL says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>

#include "tls_hellos.h"

/* Of python3, hashlib.sha256(b"1301").hexdigest()[:12] and so on. */
#define ONE_CIPHER "0f2cb44170f4"
#define WITHOUT_SIGNATURES "bebfbbe173b2"
#define MANY "t12i999900_3f45c3888a95_0263800f951f"

static struct buf bytes, extensions, message;

static int empty(void **state)
{
	(void)state;
	buf_fini(&bytes);
	buf_fini(&extensions);
	buf_fini(&message);
	buf_init(&bytes, 1 << 20);
	buf_init(&extensions, 1 << 20);
	buf_init(&message, 1 << 20);
	return 0;
}

static void check(struct span said, const char *want)
{
	struct hello hello = {.class = HELLO_TLS};
	char ja4[HELLO_JA4_BYTES];

	assert_int_equal(hello_read(&hello, said), HELLO_WHOLE);
	hello_ja4(&hello, ja4);
	assert_string_equal(ja4, want);
	hello_fini(&hello);
}

static void check_parts(struct span ciphers, const char *want)
{
	make_message(&message, ciphers, buf_span(&extensions));
	add_records(&bytes, buf_span(&message), HELLO_RECORD_MAX_BYTES);
	check(buf_span(&bytes), want);
	empty(NULL);
}

/* Contents that pass, for the extensions that are read. */
static void add_content(uint16_t number)
{
	switch (number) {
	case 0:
		add_name(&extensions, SPAN("a.test"));
		break;
	case 10:
		add_extension(&extensions, number, SPAN("\0\4\0\x1d\0\x17"));
		break;
	case 13:
		add_extension(&extensions, number, SPAN("\0\x12\x0a\x0a\4\3\x08\4\4\1\5\3\x08\5\5\1\x08\6\6\1"));
		break;
	case 16:
		add_extension(&extensions, number, SPAN("\0\x0c\2h2\x08http/1.1"));
		break;
	case 43:
		add_extension(&extensions, number, SPAN("\6\x8a\x8a\3\4\3\3"));
		break;
	case 51:
		add_extension(&extensions, number, SPAN("\0\5\0\x1d\0\1x"));
		break;
	default:
		add_extension(&extensions, number, SPAN(""));
	}
}

/* Ciphers of Chrome, in its order, GREASE before them. */
#define CHROME_CIPHERS \
	"\x5a\x5a\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30\xcc\xa9\xcc\xa8\xc0\x13\xc0\x14\x00\x9c\x00\x9d\x00\x2f\x00\x35"

/* FoxIO-LLC/ja4, technical_details/JA4.md, "Example"; and Chrome 143 as a test page showed it. */
static void published(void **unused)
{
	static const uint16_t example[] = {0x1a1a, 0x001b, 0, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023,
	                                   0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0x3a3a};
	static const uint16_t chrome[] = {0x2d, 0x33, 0x10, 0xfe0d, 0x17, 0x44cd, 0, 0x0b, 0x0a, 0x2b, 0xff01, 0x23, 0x12, 5, 0x0d,
	                                  0x1b};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(example); i++)
		add_content(example[i]);
	check_parts(SPAN(CHROME_CIPHERS), "t13d1516h2_8daaf6152771_e5627efa2ab1");
	for (size_t i = 0; i < COUNT_OF(chrome); i++)
		add_content(chrome[i]);
	check_parts(SPAN(CHROME_CIPHERS), "t13d1516h2_8daaf6152771_d8a2da3f94cd");
}

/* No signature algorithms: no underscore. */
static void without_signatures(void **unused)
{
	static const uint16_t numbers[] = {5, 10, 11, 0x12, 0x15, 0x17, 0x1b, 0x23, 0x2b, 0x2d, 0x33, 0x4469, 0xff01};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		add_content(numbers[i]);
	/* python3: sha256(b"0005,000a,000b,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01") */
	check_parts(SPAN("\x13\x01"), "t13i011300_" ONE_CIPHER "_" WITHOUT_SIGNATURES);
}

static void parts_of_it(void **unused)
{
	static const struct {
		struct span alpn;
		const char *shown;
	} rows[] = {
#define ALPN(text, shown) {{(const uint8_t *)(text), sizeof(text) - 1}, shown}
		ALPN("\0\x09\x08http/1.1", "h1"), ALPN("\0\2\1x", "xx"), ALPN("\0\2\1\xab", "ab"), ALPN("\0\3\2\xab\xcd", "ad"),
		ALPN("\0\3\2" "0\xab", "3b"), ALPN("\0\5\4" "01\xab\xcd", "3d"), ALPN("\0\5\4" "0\xab\xcd" "1", "01"),
	};
	char want[HELLO_JA4_BYTES];

	(void)unused;
	/* Nothing but one cipher: no hash for extensions; and none for GREASE alone. */
	check_parts(SPAN("\x13\x01"), "t12i010000_" ONE_CIPHER "_000000000000");
	check_parts(SPAN("\x1a\x1a"), "t12i000000_000000000000_000000000000");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		add_extension(&extensions, 16, rows[i].alpn);
		snprintf(want, sizeof(want), "t12i0101%s_" ONE_CIPHER "_000000000000", rows[i].shown);
		check_parts(SPAN("\x13\x01"), want);
	}
}

/* More than 99, and more than are kept: 200 ciphers from 0x0100 down, 150 extensions. */
static void many(void **unused)
{
	struct buf ciphers;

	(void)unused;
	buf_init(&ciphers, 400);
	for (size_t i = 0; i < 200; i++)
		add_u16(&ciphers, 0x1000 - i);
	for (size_t i = 0; i < 150; i++)
		add_extension(&extensions, (uint16_t)(0x6000 - i), SPAN(""));
	check_parts(buf_span(&ciphers), MANY);
	buf_fini(&ciphers);
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Hexadecimal texts, sorted as texts, joined and hashed. */
static void hash_texts(char (*texts)[5], size_t count, const char *behind, char out[13])
{
	char all[2000] = "";
	uint8_t hash[EVP_MAX_MD_SIZE];
	size_t len = 0;

	qsort(texts, count, sizeof(*texts), compare_text);
	for (size_t i = 0; i < count; i++)
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i ? "," : "", texts[i]);
	len += (size_t)snprintf(all + len, sizeof(all) - len, "%s", behind);
	assert_true(EVP_Digest(all, len, hash, NULL, EVP_sha256(), NULL));
	for (size_t i = 0; i < 6; i++)
		snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

/* Another way to the same: OpenSSL's own view of the hello. */
static int on_hello(SSL *ssl, int *alert, void *context)
{
	char texts[100][5], first[13], second[13], behind[1000] = "_";
	const uint8_t *at;
	size_t len, count = 0, total = 0;

	(void)alert;
	len = SSL_client_hello_get0_ciphers(ssl, &at);
	for (size_t i = 0; i < len; i += 2)
		snprintf(texts[i / 2], 5, "%02x%02x", at[i], at[i + 1]);
	hash_texts(texts, len / 2, "", first);
	for (unsigned number = 0; number < 0x10000; number++) {
		if (!SSL_client_hello_get0_ext(ssl, number, &at, &len))
			continue;
		total++;
		if (number != 0 && number != 16)
			snprintf(texts[count++], 5, "%04x", number);
	}
	assert_true(SSL_client_hello_get0_ext(ssl, 13, &at, &len));
	for (size_t i = 2; i < len; i += 2)
		snprintf(behind + strlen(behind), 6, "%s%02x%02x", i > 2 ? "," : "", at[i], at[i + 1]);
	hash_texts(texts, count, behind, second);
	len = SSL_client_hello_get0_ciphers(ssl, &at) / 2;
	snprintf(context, HELLO_JA4_BYTES, "t%s%c%02zu%02zu%s_%s_%s", SSL_client_hello_get0_ext(ssl, 43, &at, &count) ? "13" : "12",
	         SSL_client_hello_get0_ext(ssl, 0, &at, &count) ? 'd' : 'i', len, total,
	         SSL_client_hello_get0_ext(ssl, 16, &at, &count) ? "h1" : "00", first, second);
	return SSL_CLIENT_HELLO_ERROR;
}

static void offer_http(SSL *ssl)
{
	assert_int_equal(SSL_set_alpn_protos(ssl, (const uint8_t *)"\10http/1.1", 9), 0);
}

static void only_tls_1_2(SSL *ssl)
{
	assert_true(SSL_set_max_proto_version(ssl, TLS1_2_VERSION));
}

static void check_openssl(const char *name, void (*configure)(SSL *ssl))
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	char want[HELLO_JA4_BYTES] = "";
	SSL *ssl;

	SSL_CTX_set_client_hello_cb(context, on_hello, want);
	hello_of_openssl(&bytes, name, configure);
	ssl = SSL_new(context);
	SSL_set_bio(ssl, BIO_new_mem_buf(bytes.at, (int)buf_len(&bytes)), BIO_new(BIO_s_mem()));
	assert_int_equal(SSL_accept(ssl), -1);
	SSL_free(ssl);
	SSL_CTX_free(context);
	check(buf_span(&bytes), want);
	empty(NULL);
}

static void as_openssl_has_it(void **unused)
{
	(void)unused;
	check_openssl("a.test", offer_http);
	check_openssl(NULL, only_tls_1_2);
	check_openssl("a.test", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(published, empty, empty),
		cmocka_unit_test_setup_teardown(without_signatures, empty, empty),
		cmocka_unit_test_setup_teardown(parts_of_it, empty, empty),
		cmocka_unit_test_setup_teardown(many, empty, empty),
		cmocka_unit_test_setup_teardown(as_openssl_has_it, empty, empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
