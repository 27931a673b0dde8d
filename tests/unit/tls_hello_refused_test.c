/* SPDX-License-Identifier: Apache-2.0 */
/* ClientHellos that are none: each with what is said of it, and what OpenSSL says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>

#include "tls_hellos.h"

#define SPAN_ROW(text) {(const uint8_t *)(text), sizeof(text) - 1}
#define VERSIONS "\0\x2b\0\3\2\3\4"
#define NAME "\0\0\0\x0b\0\x09\0\0\6a.test"
#define L16 "0123456789abcdef"
#define L64 L16 L16 L16 L16

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

static int on_name(SSL *ssl, int *alert, void *context)
{
	(void)ssl;
	*(bool *)context = true;
	*alert = SSL_AD_ACCESS_DENIED;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Does a server of OpenSSL like all of it, up to the extensions? */
static bool openssl_takes(struct span said)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	BIO *in = BIO_new_mem_buf(said.at, (int)said.len);
	bool taken = false;
	SSL *ssl;

	BIO_set_mem_eof_return(in, -1);
	assert_int_equal(SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0"), 1);
	SSL_CTX_set_tlsext_servername_callback(context, on_name);
	SSL_CTX_set_tlsext_servername_arg(context, &taken);
	ssl = SSL_new(context);
	SSL_set_bio(ssl, in, BIO_new(BIO_s_mem()));
	assert_int_equal(SSL_accept(ssl), -1);
	SSL_free(ssl);
	SSL_CTX_free(context);
	ERR_clear_error();
	return taken;
}

static void check(size_t row, struct span said, const char *problem, bool theirs)
{
	struct hello hello = {.class = HELLO_TLS};
	enum hello_state state = hello_read(&hello, said);

	if (state != (problem ? HELLO_REFUSED : HELLO_WHOLE) || hello.class != HELLO_TLS)
		fail_msg("row %zu: state %d", row, (int)state);
	if (problem && strcmp(hello.problem, problem) != 0)
		fail_msg("row %zu: \"%s\"", row, hello.problem);
	if (openssl_takes(said) != theirs)
		fail_msg("row %zu: OpenSSL thinks otherwise", row);
	hello_fini(&hello);
}

/* What is wrong with extensions; and does OpenSSL take them all the same? */
static const struct extension_row {
	const char *problem;
	struct span extensions;
	bool theirs;
} extension_rows[] = {
	{NULL, SPAN_ROW(VERSIONS NAME), true},
	{NULL, SPAN_ROW(VERSIONS "\x55\x55\0\0\x55\x55\0\0"), true}, /* unknown ones may come twice */
	{"an extension is there twice", SPAN_ROW(VERSIONS NAME NAME), false},
	{"an extension is there twice", SPAN_ROW(VERSIONS VERSIONS), false},
	{"an extension is there twice", SPAN_ROW(VERSIONS "\0\x15\0\0\0\x15\0\0"), false},
	{"an extension that may not be in a ClientHello of TLS", SPAN_ROW(VERSIONS "\0\x0e\0\5\0\2\0\1\0"), false},
	{"pre_shared_key is not the last extension", SPAN_ROW(VERSIONS "\0\x29\0\0" NAME), false},
	{"an extension is longer than the ClientHello", SPAN_ROW(VERSIONS "\0\0\0\x0c\0\x09\0\0\6a.test"), false},
	{"more than one server_name", SPAN_ROW(VERSIONS "\0\0\0\x14\0\x12\0\0\6a.test\0\0\6b.test"), false},
	{"server_name of another type than host_name", SPAN_ROW(VERSIONS "\0\0\0\x0b\0\x09\1\0\6a.test"), false},
	{"server_name is no list", SPAN_ROW(VERSIONS "\0\0\0\0"), false},
	{"server_name is no list", SPAN_ROW(VERSIONS "\0\0\0\2\0\0"), false},
	{"server_name is no list", SPAN_ROW(VERSIONS "\0\0\0\x0b\0\x08\0\0\6a.test"), false},
	{"server_name is longer than its list", SPAN_ROW(VERSIONS "\0\0\0\x0b\0\x09\0\0\7a.test"), false},
	{"more than one server_name", SPAN_ROW(VERSIONS "\0\0\0\x0b\0\x09\0\0\5a.test"), false},
	{NULL, SPAN_ROW(VERSIONS "\0\0\0\5\0\3\0\0\0"), true}, /* an empty name is none */
	{"the ALPN list is broken", SPAN_ROW(VERSIONS "\0\x10\0\0"), false},
	{"the ALPN list is broken", SPAN_ROW(VERSIONS "\0\x10\0\2\0\0"), false},
	{"the ALPN list is broken", SPAN_ROW(VERSIONS "\0\x10\0\6\0\4\2h2\0"), false},
	{"the ALPN list is broken", SPAN_ROW(VERSIONS "\0\x10\0\5\0\3\3h2"), false},
	{"the ALPN list is broken", SPAN_ROW(VERSIONS "\0\x10\0\5\0\4\2h2"), false},
	{"supported_versions is no list", SPAN_ROW("\0\x2b\0\1\0"), false},
	{"supported_versions is no list", SPAN_ROW("\0\x2b\0\4\3\3\4\3"), false},
	{"signature_algorithms is no list", SPAN_ROW(VERSIONS "\0\x0d\0\3\0\1\4"), false},
	{"signature_algorithms_cert is no list", SPAN_ROW(VERSIONS "\0\x32\0\2\0\0"), false},
	{"supported_groups is no list", SPAN_ROW(VERSIONS "\0\x0a\0\3\0\2\0"), false},
	{"a key share is broken", SPAN_ROW(VERSIONS "\0\x0a\0\4\0\2\0\x17\0\x33\0\6\0\4\x55\x55\0\0"), false},
	{NULL, SPAN_ROW("\0\x33\0\6\0\4\x55\x55\0\0"), true}, /* of no meaning in TLS 1.2 */
};

static void broken_extensions(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < COUNT_OF(extension_rows); i++) {
		empty(NULL);
		make_message(&message, SPAN("\x13\1\xc0\x2b\0\x2f"), extension_rows[i].extensions);
		add_records(&bytes, buf_span(&message), HELLO_RECORD_MAX_BYTES);
		check(i, buf_span(&bytes), extension_rows[i].problem, extension_rows[i].theirs);
	}
}

/* Names as they are sent, and as policy has them. */
static void names(void **unused)
{
	static const struct {
		struct span sent;
		const char *name, *problem;
		bool theirs;
	} rows[] = {
		{SPAN_ROW("A_b.TEST"), "a_b.test", NULL, true},
		{SPAN_ROW("xn--bcher-kva.example."), "xn--bcher-kva.example", NULL, true},
		{SPAN_ROW("localhost"), "localhost", NULL, true},
		{SPAN_ROW("127.0.0.1"), "", NULL, true},
		{SPAN_ROW("127.0.0.1."), "", NULL, true},
		{SPAN_ROW("::1"), "", NULL, true},
		{SPAN_ROW("2001:db8::1"), "", NULL, true},
		{SPAN_ROW("127.0.0.256"), "127.0.0.256", NULL, true},
		{SPAN_ROW("../../x"), "", "an empty label in server_name", true},
		{SPAN_ROW("a/b.test"), "", "a byte in server_name that is in no name", true},
		{SPAN_ROW("a b.test"), "", "a byte in server_name that is in no name", true},
		{SPAN_ROW("%00.test"), "", "a byte in server_name that is in no name", true},
		{SPAN_ROW("b\xc3\xbc.test"), "", "a byte in server_name that is in no name", true},
		{SPAN_ROW("*.test"), "", "a byte in server_name that is in no name", true},
		{SPAN_ROW("[::1]"), "", "a byte in server_name that is in no name", true},
		{SPAN_ROW("a.test\n"), "", "a byte in server_name that is in no name", true},
		{SPAN_ROW("good.test\0.evil.test"), "", "a NUL in server_name", false},
		{SPAN_ROW("a..test"), "", "an empty label in server_name", true},
		{SPAN_ROW(".a.test"), "", "an empty label in server_name", true},
		{SPAN_ROW("a.test.."), "", "an empty label in server_name", true},
		{SPAN_ROW("."), "", "an empty label in server_name", true},
		{SPAN_ROW(L64 ".test"), "", "a label of server_name is too long", true},
		{SPAN_ROW(L16 L16 L16 "." L16 L16 L16 "." L16 L16 L16 "." L16 L16 L16 "." L16 L16 L16 "." "12345678"),
		 L16 L16 L16 "." L16 L16 L16 "." L16 L16 L16 "." L16 L16 L16 "." L16 L16 L16 "." "12345678", NULL, true},
		{SPAN_ROW(L16 L16 L16 "." L16 L16 L16 "." L16 L16 L16 "." L16 L16 L16 "." L16 L16 L16 "." "123456789"), "",
		 "server_name is too long", true},
		{SPAN_ROW(L64 L64 L64 L64 "." L64), "", "server_name is too long", false},
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct hello hello = {.class = HELLO_TLS};

		empty(NULL);
		add_name(&extensions, rows[i].sent);
		make_message(&message, SPAN("\0\x2f"), buf_span(&extensions));
		add_records(&bytes, buf_span(&message), 50);
		check(i, buf_span(&bytes), rows[i].problem, rows[i].theirs);
		hello_read(&hello, buf_span(&bytes));
		if (!span_equal(hello.sni, span_from(rows[i].name)))
			fail_msg("row %zu: %.*s", i, SPAN_ARG(hello.sni));
		hello_fini(&hello);
	}
}

/* The message around them: a byte is put in another's place, or the message cut or made longer. */
static void broken_messages(void **unused)
{
	enum { SESSION_ID = 38, CIPHERS = 40, COMPRESSIONS = 45, EXTENSIONS = 48 };
	static const struct {
		size_t at;
		uint8_t byte;
		const char *problem;
	} rows[] = {
		{SESSION_ID, 33, "the ClientHello is cut off"},
		{CIPHERS, 0, "the list of ciphers is broken"},
		{CIPHERS, 3, "the ClientHello is cut off"},
		{CIPHERS, 200, "the ClientHello is cut off"},
		{COMPRESSIONS + 1, 1, "a ClientHello that demands compression"},
		{EXTENSIONS, 200, "the list of extensions does not end with the ClientHello"},
		{EXTENSIONS, 1, "the list of extensions does not end with the ClientHello"},
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		empty(NULL);
		make_message(&message, SPAN("\x13\1\0\x2f"), SPAN(VERSIONS NAME));
		assert_true(message.at[SESSION_ID] == 0 && message.at[CIPHERS] == 4 && message.at[COMPRESSIONS] == 1);
		assert_int_equal(message.at[EXTENSIONS], sizeof(VERSIONS NAME) - 1);
		message.at[rows[i].at] = rows[i].byte;
		add_records(&bytes, buf_span(&message), HELLO_RECORD_MAX_BYTES);
		check(i, buf_span(&bytes), rows[i].problem, false);
	}
	empty(NULL);
	make_message(&message, SPAN("\x13\1\0"), SPAN(VERSIONS NAME));
	add_records(&bytes, buf_span(&message), HELLO_RECORD_MAX_BYTES);
	check(COUNT_OF(rows), buf_span(&bytes), "the list of ciphers is broken", false);
	/* Each shorter one that says so of itself. */
	for (size_t len = 4; len < EXTENSIONS + sizeof(VERSIONS NAME); len++) {
		struct hello hello = {.class = HELLO_TLS};

		empty(NULL);
		make_message(&message, SPAN("\x13\1\0\x2f"), SPAN(VERSIONS NAME));
		message.at[3] = (uint8_t)(len - 4);
		add_records(&bytes, span_first(buf_span(&message), len), HELLO_RECORD_MAX_BYTES);
		/* Up to the extensions, which need not be there. */
		assert_int_equal(hello_read(&hello, buf_span(&bytes)), len == EXTENSIONS - 1 ? HELLO_WHOLE : HELLO_REFUSED);
		assert_int_equal(openssl_takes(buf_span(&bytes)), len == EXTENSIONS - 1);
		hello_fini(&hello);
	}
}

#define HANDSHAKE(text) "\x16\x03\x01" text
#define EMPTY_8 HANDSHAKE("\0\0") HANDSHAKE("\0\0") HANDSHAKE("\0\0") HANDSHAKE("\0\0") HANDSHAKE("\0\0") HANDSHAKE("\0\0") \
	HANDSHAKE("\0\0") HANDSHAKE("\0\0")

/* Records before, in the middle of, and after the message of a hello. */
static void records_that_disturb(void **unused)
{
	static const struct {
		struct span before, between, after;
		const char *problem;
		bool theirs;
	} rows[] = {
		{SPAN_ROW(""), SPAN_ROW(""), SPAN_ROW(""), NULL, true},
		{SPAN_ROW(EMPTY_8 EMPTY_8 EMPTY_8 EMPTY_8), SPAN_ROW(EMPTY_8), SPAN_ROW(""), NULL, true},
		{SPAN_ROW(EMPTY_8 EMPTY_8 EMPTY_8 EMPTY_8 HANDSHAKE("\0\0")), SPAN_ROW(""), SPAN_ROW(""), "too many empty records", false},
		{SPAN_ROW("\x14\3\3\0\0"), SPAN_ROW(""), SPAN_ROW(""), NULL, true},
		{SPAN_ROW("\x14\3\3\0\1\1"), SPAN_ROW(""), SPAN_ROW(""), "", false},
		{SPAN_ROW(HANDSHAKE("\0\0") "\x14\3\3\0\1\1"), SPAN_ROW(""), SPAN_ROW(""),
		 "a record of another type before the ClientHello is whole", false},
		{SPAN_ROW(""), SPAN_ROW("\x14\3\3\0\0"), SPAN_ROW(""),
		 "a record of another type before the ClientHello is whole", false},
		{SPAN_ROW("\x15\3\1\0\2\1\x5a"), SPAN_ROW(""), SPAN_ROW(""), "an alert in place of a ClientHello", false},
		{SPAN_ROW(""), SPAN_ROW("\x15\3\1\0\2\1\x5a"), SPAN_ROW(""), "an alert in place of a ClientHello", false},
		{SPAN_ROW(""), SPAN_ROW("\x17\3\3\0\1x"), SPAN_ROW(""),
		 "a record of another type before the ClientHello is whole", false},
		{SPAN_ROW(""), SPAN_ROW("\x16\2\1\0\1x"), SPAN_ROW(""), "a record of another protocol", false},
		{SPAN_ROW(""), SPAN_ROW("\x16\3\1\x40\1x"), SPAN_ROW(""), "a record is too long", false},
		{SPAN_ROW(HANDSHAKE("\0\0") HANDSHAKE("\0\4\2\0\0\0")), SPAN_ROW(""), SPAN_ROW(""),
		 "the first message is no ClientHello", false},
		{SPAN_ROW(""), SPAN_ROW(""), SPAN_ROW("\x14\3\3\0\1\1"), NULL, true},
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct hello hello = {.class = HELLO_TLS};

		empty(NULL);
		make_message(&message, SPAN("\x13\1\0\x2f"), SPAN(VERSIONS NAME));
		buf_add(&bytes, rows[i].before);
		add_records(&bytes, span_first(buf_span(&message), 40), 100);
		buf_add(&bytes, rows[i].between);
		add_records(&bytes, span_skip(buf_span(&message), 40), 100);
		buf_add(&bytes, rows[i].after);
		if (rows[i].problem == NULL || *rows[i].problem) {
			check(i, buf_span(&bytes), rows[i].problem, rows[i].theirs);
			continue;
		}
		assert_int_equal(hello_read(&hello, buf_span(&bytes)), HELLO_OTHER);
		assert_int_equal(hello.class, HELLO_UNKNOWN);
		assert_false(openssl_takes(buf_span(&bytes)));
		hello_fini(&hello);
	}
}

/* In the record of the hello itself: TLS 1.3 forbids it, 1.2 is silent. */
static void what_follows_in_the_record(void **unused)
{
	(void)unused;
	make_message(&message, SPAN("\x13\1\0\x2f"), SPAN(VERSIONS NAME));
	buf_add(&message, SPAN("\x10\0\0\0"));
	add_records(&bytes, buf_span(&message), HELLO_RECORD_MAX_BYTES);
	check(0, buf_span(&bytes), "something follows the ClientHello in its record", false);
	empty(NULL);
	make_message(&message, SPAN("\0\x2f"), SPAN(NAME));
	buf_add(&message, SPAN("\x10\0\0\0"));
	add_records(&bytes, buf_span(&message), HELLO_RECORD_MAX_BYTES);
	check(1, buf_span(&bytes), NULL, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(broken_extensions, empty, empty),
		cmocka_unit_test_setup_teardown(names, empty, empty),
		cmocka_unit_test_setup_teardown(broken_messages, empty, empty),
		cmocka_unit_test_setup_teardown(records_that_disturb, empty, empty),
		cmocka_unit_test_setup_teardown(what_follows_in_the_record, empty, empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
