/* SPDX-License-Identifier: Apache-2.0 */
/* ClientHellos: OpenSSL's own, those of browsers, and broken ones; whole, cut anywhere and in records of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "tls_hellos.h"

enum { ROOM_BYTES = 1 << 20 };

static struct buf bytes, extensions, message;

static int empty(void **state)
{
	(void)state;
	buf_fini(&bytes);
	buf_fini(&extensions);
	buf_fini(&message);
	buf_init(&bytes, ROOM_BYTES);
	buf_init(&extensions, ROOM_BYTES);
	buf_init(&message, ROOM_BYTES);
	return 0;
}

static struct span alpn_name(const struct hello *hello, size_t index)
{
	struct span rest = hello->alpn, name = SPAN("");

	for (size_t i = 0; i <= index; i++)
		assert_true(hello_alpn_next(&rest, &name));
	return name;
}

/* The same answer wherever it is cut in two, and byte after byte. */
static void check_cuts(struct span all, enum hello_state want, const char *problem)
{
	struct hello slow = {.class = HELLO_TLS};

	for (size_t cut = 1; cut < all.len; cut++) {
		struct hello hello = {.class = HELLO_TLS};
		enum hello_state early = hello_read(&hello, span_first(all, cut));

		if (hello_read(&slow, span_first(all, cut)) != early || (early != HELLO_MORE && early != want))
			fail_msg("cut at %zu of %zu", cut, all.len);
		if (hello_read(&hello, all) != want || hello.problem != problem)
			fail_msg("cut at %zu of %zu: another answer", cut, all.len);
		hello_fini(&hello);
	}
	assert_int_equal(hello_read(&slow, all), want);
	hello_fini(&slow);
}

static void read_whole(struct hello *hello, struct span all)
{
	enum hello_state state = hello_read(hello, all);

	if (state != HELLO_WHOLE)
		fail_msg("state %d, %s", (int)state, hello->problem ? hello->problem : "no problem");
	check_cuts(all, HELLO_WHOLE, NULL);
}

static void only_tls_1_2(SSL *ssl)
{
	assert_true(SSL_set_max_proto_version(ssl, TLS1_2_VERSION));
	assert_true(SSL_set_cipher_list(ssl, "ECDHE-RSA-AES128-GCM-SHA256"));
}

static void offer_h2(SSL *ssl)
{
	assert_int_equal(SSL_set_alpn_protos(ssl, (const uint8_t *)"\2h2\10http/1.1", 12), 0);
	assert_true(SSL_set_tlsext_status_type(ssl, TLSEXT_STATUSTYPE_ocsp));
}

/* A ticket of 9 kB. */
static void resume(SSL *ssl)
{
	static uint8_t ticket[9000];

	assert_true(SSL_set_max_proto_version(ssl, TLS1_2_VERSION));
	assert_true(SSL_set_session_ticket_ext(ssl, ticket, sizeof(ticket)));
}

static void openssl_tls_1_3(void **unused)
{
	struct hello hello = {.class = HELLO_TLS};

	(void)unused;
	hello_of_openssl(&bytes, "WWW.Example.com", offer_h2);
	read_whole(&hello, buf_span(&bytes));
	assert_int_equal(hello.class, HELLO_TLS);
	assert_true(span_equal(hello.sni, SPAN("www.example.com")) && hello.has_sni_extension);
	assert_true(span_equal(alpn_name(&hello, 0), SPAN("h2")) && span_equal(alpn_name(&hello, 1), SPAN("http/1.1")));
	assert_int_equal(hello.legacy_version, 0x0303);
	assert_int_equal(hello.best_version, 0x0304);
	assert_true(hello.offers_tls_1_3 && hello.takes_ecdsa && hello.has_status_request);
	assert_false(hello.has_ech || hello.has_early_data || hello.has_psk || hello.has_signatures_cert);
	assert_int_equal(hello.ciphers.at[0], 0x1302);
	assert_int_equal(hello.groups.at[0], 29);
	assert_int_equal(hello.key_shares.total, 1);
	assert_int_equal(hello.message.len, buf_len(&bytes) - 5);
	hello_fini(&hello);
}

static void openssl_tls_1_2(void **unused)
{
	struct hello hello = {.class = HELLO_TLS};

	(void)unused;
	hello_of_openssl(&bytes, NULL, only_tls_1_2);
	read_whole(&hello, buf_span(&bytes));
	assert_true(span_is_empty(hello.sni) && !hello.has_sni_extension && span_is_empty(hello.alpn));
	assert_int_equal(hello.best_version, 0x0303);
	assert_false(hello.offers_tls_1_3 || hello.takes_ecdsa);
	hello_fini(&hello);
}

static void openssl_long_ticket(void **unused)
{
	struct hello hello = {.class = HELLO_TLS};

	(void)unused;
	hello_of_openssl(&bytes, "a.test", resume);
	assert_true(buf_len(&bytes) > 9000);
	assert_int_equal(hello_read(&hello, buf_span(&bytes)), HELLO_WHOLE);
	assert_true(span_equal(hello.sni, SPAN("a.test")) && hello.takes_ecdsa);
	hello_fini(&hello);
}

/* Records of each size, down to one byte; the first byte of the second record may be anything. */
static void records_of_any_size(void **unused)
{
	(void)unused;
	hello_of_openssl(&bytes, "a.test", NULL);
	for (size_t size = 1; size < buf_len(&bytes); size++) {
		struct hello hello = {.class = HELLO_TLS};

		buf_reset(&message);
		add_records(&message, span_skip(buf_span(&bytes), 5), size);
		if (hello_read(&hello, buf_span(&message)) != HELLO_WHOLE || !span_equal(hello.sni, SPAN("a.test")))
			fail_msg("records of %zu", size);
		hello_fini(&hello);
		if (size % 50 == 1)
			check_cuts(buf_span(&message), HELLO_WHOLE, NULL);
	}
}

/* As Chrome's: GREASE in ciphers, groups, shares, versions and extensions, GREASE ECH, X25519MLKEM768 of 1,216 bytes. */
static void like_chrome(void **unused)
{
	static const uint8_t padding[1216] = {1};
	struct hello hello = {.class = HELLO_TLS};
	struct buf shares;

	(void)unused;
	add_extension(&extensions, 0x1a1a, SPAN(""));
	add_name(&extensions, SPAN("www.example.com"));
	add_extension(&extensions, 43, SPAN("\x06\x6a\x6a\x03\x04\x03\x03"));
	add_extension(&extensions, 10, SPAN("\0\x0a\x4a\x4a\x11\xec\0\x1d\0\x17\0\x18"));
	add_extension(&extensions, 13, SPAN("\0\x10\4\3\x08\4\4\1\5\3\x08\5\5\1\x08\6\6\1"));
	add_extension(&extensions, 16, SPAN("\0\x0f\2\x0a\x0a\2h2\x08http/1.1"));
	add_extension(&extensions, 0xfe0d, span_of(padding, 186));
	buf_init(&shares, 2000);
	add_u16(&shares, 5 + 4 + 1216 + 4 + 32);
	buf_add(&shares, SPAN("\x4a\x4a\0\1\0\x11\xec"));
	add_u16(&shares, 1216);
	buf_add(&shares, span_of(padding, 1216));
	buf_add(&shares, SPAN("\0\x1d\0\x20" "0123456789abcdef0123456789abcdef"));
	add_extension(&extensions, 51, buf_span(&shares));
	buf_fini(&shares);
	add_extension(&extensions, 35, SPAN(""));
	add_extension(&extensions, 5, SPAN("\1\0\0\0\0"));
	add_extension(&extensions, 0x3a3a, SPAN("\0"));
	make_message(&message, SPAN("\x2a\x2a\x13\1\x13\2\x13\3\xc0\x2b\xc0\x2f"), buf_span(&extensions));
	add_records(&bytes, buf_span(&message), HELLO_RECORD_MAX_BYTES);
	assert_true(buf_len(&bytes) > 1600);
	read_whole(&hello, buf_span(&bytes));
	assert_true(span_equal(hello.sni, SPAN("www.example.com")));
	assert_true(hello.has_ech && hello.takes_ecdsa && hello.has_status_request);
	assert_int_equal(hello.best_version, 0x0304);
	assert_int_equal(hello.versions.total, 2);
	assert_int_equal(hello.ciphers.total, 5);
	assert_int_equal(hello.extensions.total, 9);
	assert_int_equal(hello.groups.total, 4);
	assert_int_equal(hello.key_shares.total, 2);
	assert_int_equal(hello.key_shares.at[0], 0x11ec);
	assert_true(span_equal(alpn_name(&hello, 1), SPAN("h2")));
	hello_fini(&hello);
}

/* As Firefox's: signature algorithms of delegated credentials, record_size_limit, compress_certificate, early data and PSK. */
static void like_firefox(void **unused)
{
	struct hello hello = {.class = HELLO_TLS};

	(void)unused;
	add_name(&extensions, SPAN("a.test."));
	add_extension(&extensions, 23, SPAN(""));
	add_extension(&extensions, 0xff01, SPAN("\0"));
	add_extension(&extensions, 10, SPAN("\0\6\0\x1d\0\x17\1\0"));
	add_extension(&extensions, 34, SPAN("\0\x08\4\3\5\3\6\3\2\3"));
	add_extension(&extensions, 51, SPAN("\0\x24\0\x1d\0\x20" "0123456789abcdef0123456789abcdef"));
	add_extension(&extensions, 43, SPAN("\4\3\4\3\3"));
	add_extension(&extensions, 13, SPAN("\0\6\4\3\5\3\x08\4"));
	add_extension(&extensions, 28, SPAN("\x40\1"));
	add_extension(&extensions, 45, SPAN("\1\1"));
	add_extension(&extensions, 42, SPAN(""));
	add_extension(&extensions, 41, SPAN("\0\x0a\0\4abcd\0\0\0\0\0\x21\x20" "0123456789abcdef0123456789abcdef"));
	make_message(&message, SPAN("\x13\1\x13\3\x13\2\xc0\x2b"), buf_span(&extensions));
	add_records(&bytes, buf_span(&message), 100);
	read_whole(&hello, buf_span(&bytes));
	assert_true(span_equal(hello.sni, SPAN("a.test")) && hello.has_early_data && hello.has_psk && !hello.has_ech);
	assert_int_equal(hello.extensions.total, 12);
	hello_fini(&hello);
}

/* X25519 alone does not do: OpenSSL wants the curve of the key below TLS 1.3. */
static void who_takes_ecdsa(void **unused)
{
#define ECDSA_ROW(versions, ciphers, signatures, groups, certificate, takes) \
	{SPAN_ROW(versions), SPAN_ROW(ciphers), SPAN_ROW(signatures), SPAN_ROW(groups), SPAN_ROW(certificate), takes}
#define SPAN_ROW(text) {(const uint8_t *)(text), sizeof(text) - 1}
	static const struct {
		struct span versions, ciphers, signatures, groups, certificate;
		bool takes;
	} rows[] = {
		ECDSA_ROW("\2\3\4", "\x13\1", "\0\2\4\3", "\0\2\0\x1d", "", true),
		ECDSA_ROW("\2\3\4", "\x13\1", "\0\2\x08\4", "\0\2\0\x1d", "", false),
		ECDSA_ROW("\2\3\4", "\x13\1", "\0\2\4\3", "\0\2\0\x1d", "\0\2\x08\4", false),
		ECDSA_ROW("\2\3\4", "\x13\1", "\0\2\4\3", "\0\2\0\x1d", "\0\2\4\3", true),
		ECDSA_ROW("", "\xc0\x2b", "\0\2\4\3", "\0\2\0\x17", "", true),
		ECDSA_ROW("", "\xc0\x2b", "\0\2\4\3", "", "", true),
		ECDSA_ROW("", "\xc0\x2b", "\0\2\4\3", "\0\2\0\x1d", "", false),
		ECDSA_ROW("", "\xc0\x2f", "\0\2\4\3", "\0\2\0\x17", "", false),
		ECDSA_ROW("", "\xc0\x2b", "", "\0\2\0\x17", "", false),
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct hello hello = {.class = HELLO_TLS};

		empty(NULL);
		if (rows[i].versions.len)
			add_extension(&extensions, 43, rows[i].versions);
		if (rows[i].signatures.len)
			add_extension(&extensions, 13, rows[i].signatures);
		if (rows[i].groups.len)
			add_extension(&extensions, 10, rows[i].groups);
		if (rows[i].certificate.len)
			add_extension(&extensions, 50, rows[i].certificate);
		make_message(&message, rows[i].ciphers, buf_span(&extensions));
		add_records(&bytes, buf_span(&message), HELLO_RECORD_MAX_BYTES);
		assert_int_equal(hello_read(&hello, buf_span(&bytes)), HELLO_WHOLE);
		if (hello.takes_ecdsa != rows[i].takes)
			fail_msg("row %zu", i);
		hello_fini(&hello);
	}
}

static bool low;
static const char *sigalgs, *groups, *ciphers;

/* OpenSSL's macros cast const away. */
static bool set_list(SSL *ssl, int command, const char *list)
{
	union {
		const char *from;
		void *to;
	} cast = {.from = list};

	return SSL_ctrl(ssl, command, 0, cast.to) == 1;
}

static void configure_rows(SSL *ssl)
{
	assert_true(SSL_set_max_proto_version(ssl, low ? TLS1_2_VERSION : TLS1_3_VERSION));
	assert_true(set_list(ssl, SSL_CTRL_SET_SIGALGS_LIST, sigalgs) && set_list(ssl, SSL_CTRL_SET_GROUPS_LIST, groups));
	assert_true(SSL_set_cipher_list(ssl, ciphers));
}

/* Is a server that has nothing but a P-256 key content with this hello, so that it answers and waits? */
static bool p256_server_answers(struct span said)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *leaf = X509_new();
	bool answers;
	SSL *ssl;

	SSL_CTX_set_security_level(context, 2);
	assert_true(key && X509_set_version(leaf, 2) && X509_set_pubkey(leaf, key) && X509_gmtime_adj(X509_getm_notBefore(leaf), 0) &&
	            X509_gmtime_adj(X509_getm_notAfter(leaf), 3600) && X509_sign(leaf, key, EVP_sha256()));
	assert_true(SSL_CTX_use_certificate(context, leaf) && SSL_CTX_use_PrivateKey(context, key));
	ssl = SSL_new(context);
	SSL_set_bio(ssl, BIO_new_mem_buf(said.at, (int)said.len), BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
	answers = SSL_get_error(ssl, SSL_accept(ssl)) == SSL_ERROR_WANT_READ;
	SSL_free(ssl);
	X509_free(leaf);
	EVP_PKEY_free(key);
	SSL_CTX_free(context);
	ERR_clear_error();
	return answers;
}

static void openssl_agrees_on_ecdsa(void **unused)
{
	static const struct {
		bool low;
		const char *sigalgs, *groups, *ciphers;
		bool takes;
	} rows[] = {
		{false, "ECDSA+SHA256:RSA-PSS+SHA256", "X25519", "ALL", true},
		{false, "RSA-PSS+SHA256", "X25519:P-256", "ALL", false},
		{true, "ECDSA+SHA256", "X25519:P-256", "ECDHE-ECDSA-AES128-GCM-SHA256", true},
		{true, "ECDSA+SHA256", "P-256", "ECDHE-ECDSA-CHACHA20-POLY1305", true},
		{true, "ECDSA+SHA256", "P-256", "ECDHE-ECDSA-AES256-SHA", true},
		{true, "ECDSA+SHA256", "X25519", "ECDHE-ECDSA-AES128-GCM-SHA256", false},
		{true, "ECDSA+SHA256:RSA+SHA256", "P-256", "ECDHE-RSA-AES128-GCM-SHA256", false},
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct hello hello = {.class = HELLO_TLS};

		empty(NULL);
		low = rows[i].low, sigalgs = rows[i].sigalgs, groups = rows[i].groups, ciphers = rows[i].ciphers;
		hello_of_openssl(&bytes, "a.test", configure_rows);
		if (hello_read(&hello, buf_span(&bytes)) != HELLO_WHOLE)
			fail_msg("row %zu: %s", i, hello.problem);
		if (hello.takes_ecdsa != rows[i].takes || p256_server_answers(buf_span(&bytes)) != rows[i].takes)
			fail_msg("row %zu: we say %d", i, hello.takes_ecdsa);
		hello_fini(&hello);
	}
}

static void longest_message(void **unused)
{
	/* A session id, ciphers, and compressions of their longest: more than that no ClientHello can be. */
	struct hello hello = {.class = HELLO_TLS};

	(void)unused;
	buf_add(&message, SPAN("\1\2\1\x44\3\3" "0123456789abcdef0123456789abcdef\x20" "0123456789abcdef0123456789abcdef\xff\xfe"));
	memset(buf_reserve(&message, 65534), 0x13, 65534);
	buf_advance(&message, 65534);
	buf_add_byte(&message, 0xff);
	memset(buf_reserve(&message, 255), 0, 255);
	buf_advance(&message, 255);
	add_u16(&message, 65535);
	add_extension(&extensions, 0x5555, span_of(buf_span(&message).at, 65531));
	buf_add(&message, buf_span(&extensions));
	assert_int_equal(buf_len(&message), 4 + 0x020144);
	assert_int_equal(buf_len(&message), HELLO_MESSAGE_MAX_BYTES);
	add_records(&bytes, buf_span(&message), 300);
	assert_int_equal(hello_read(&hello, buf_span(&bytes)), HELLO_WHOLE);
	assert_int_equal(hello.ciphers.total, 32767);
	assert_int_equal(hello.ciphers.count, HELLO_LIST_MAX);
	hello_fini(&hello);
	message.at[3] = 0x45;
	buf_reset(&bytes);
	add_records(&bytes, buf_span(&message), 300);
	assert_int_equal(hello_read(&hello, buf_span(&bytes)), HELLO_REFUSED);
	assert_string_equal(hello.problem, "the ClientHello is too long");
	hello_fini(&hello);
	message.at[3] = 0x44;
	buf_reset(&bytes);
	add_records(&bytes, buf_span(&message), 255);
	assert_int_equal(hello_read(&hello, buf_span(&bytes)), HELLO_REFUSED);
	assert_string_equal(hello.problem, "the ClientHello is in too many records");
	hello_fini(&hello);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(openssl_tls_1_3, empty, empty),
		cmocka_unit_test_setup_teardown(openssl_tls_1_2, empty, empty),
		cmocka_unit_test_setup_teardown(openssl_long_ticket, empty, empty),
		cmocka_unit_test_setup_teardown(records_of_any_size, empty, empty),
		cmocka_unit_test_setup_teardown(like_chrome, empty, empty),
		cmocka_unit_test_setup_teardown(like_firefox, empty, empty),
		cmocka_unit_test_setup_teardown(who_takes_ecdsa, empty, empty),
		cmocka_unit_test_setup_teardown(openssl_agrees_on_ecdsa, empty, empty),
		cmocka_unit_test_setup_teardown(longest_message, empty, empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
