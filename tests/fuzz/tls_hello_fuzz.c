/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a client says first, to our parser and to a server of OpenSSL. What we call a ClientHello is one for it,
 * with the same SNI, ALPN, versions, ciphers and extensions; what it takes is none that we would call something else. And
 * bytes that come in parts get the answer that they get as a whole.
 * Input that begins with 0xff is no hello but what one is made of: the size of records, then numbers, lengths and contents of
 * extensions, so that mutations reach what is in them. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "tls/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXTENSION_ALPN = 16, EXTENSION_VERSIONS = 43, NAME_MAX_BYTES = 255 };

/* What OpenSSL saw. */
static struct oracle {
	bool called, parsed;   /* the callback for the hello; and that for SNI, which comes when all extensions are well */
	bool is_v2, has_name;
	char name[NAME_MAX_BYTES + 1];
	unsigned legacy_version;
	struct buf alpn, versions, ciphers;
	size_t extensions;
} oracle;

static void record(SSL *ssl, unsigned type, struct buf *out)
{
	const uint8_t *content;
	size_t len;

	buf_reset(out);
	if (SSL_client_hello_get0_ext(ssl, type, &content, &len))
		buf_add(out, span_of(content, len));
}

static int on_hello(SSL *ssl, int *alert, void *context)
{
	const uint8_t *ciphers;
	int *present = NULL;
	size_t len;

	(void)alert, (void)context;
	oracle.called = true;
	oracle.is_v2 = SSL_client_hello_isv2(ssl);
	oracle.legacy_version = SSL_client_hello_get0_legacy_version(ssl);
	record(ssl, EXTENSION_ALPN, &oracle.alpn);
	record(ssl, EXTENSION_VERSIONS, &oracle.versions);
	len = SSL_client_hello_get0_ciphers(ssl, &ciphers);
	buf_reset(&oracle.ciphers);
	buf_add(&oracle.ciphers, span_of(ciphers, len));
	/* Known ones only: it has no others. */
	if (SSL_client_hello_get1_extensions_present(ssl, &present, &oracle.extensions))
		OPENSSL_free(present);
	return SSL_CLIENT_HELLO_SUCCESS;
}

static int on_name(SSL *ssl, int *alert, void *context)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	size_t len = name ? strlen(name) : 0;

	(void)context;
	ASSERT(len <= NAME_MAX_BYTES);
	oracle.parsed = true;
	oracle.has_name = len > 0;
	memcpy(oracle.name, name ? name : "", len);
	oracle.name[len] = 0;
	*alert = SSL_AD_ACCESS_DENIED;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *server(void)
{
	static SSL_CTX *context;

	if (context)
		return context;
	context = SSL_CTX_new(TLS_server_method());
	ASSERT(context && SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0"));
	SSL_CTX_set_client_hello_cb(context, on_hello, NULL);
	SSL_CTX_set_tlsext_servername_callback(context, on_name);
	buf_init(&oracle.alpn, 1 << 16);
	buf_init(&oracle.versions, 1 << 16);
	buf_init(&oracle.ciphers, 1 << 16);
	return context;
}

/* The server reads all of it; does it want more then? */
static bool ask(struct span bytes)
{
	SSL *ssl = SSL_new(server());
	BIO *in = BIO_new_mem_buf(bytes.at, (int)bytes.len), *out = BIO_new(BIO_s_mem());
	bool wants_more;

	ASSERT(ssl && in && out);
	oracle.called = oracle.parsed = oracle.is_v2 = false;
	BIO_set_mem_eof_return(in, -1);
	SSL_set_bio(ssl, in, out);
	wants_more = SSL_get_error(ssl, SSL_accept(ssl)) == SSL_ERROR_WANT_READ;
	SSL_free(ssl);
	ERR_clear_error();
	return wants_more;
}

/* The name that policy sees is the one that OpenSSL would act on; an IP address is none. */
static void compare_name(const struct hello *hello)
{
	struct span theirs = oracle.has_name ? span_from(oracle.name) : SPAN("");

	if (span_ends_with(theirs, SPAN(".")))
		theirs.len--;
	if (!span_is_empty(hello->sni))
		ASSERT(span_equal_nocase(hello->sni, theirs));
	else
		ASSERT(span_is_empty(theirs) || span_find(theirs, ':') < theirs.len || strspn(oracle.name, "0123456789.") == strlen(oracle.name));
}

static void compare_versions(const struct hello *hello)
{
	struct cursor cursor = cursor_over(span_skip(buf_span(&oracle.versions), 1));
	uint16_t best = 0;
	size_t count = 0;

	ASSERT(hello->legacy_version == oracle.legacy_version);
	while (cursor.rest.len) {
		uint16_t version = cursor_u16(&cursor);

		if ((version & 0x0f0f) == 0x0a0a && version >> 8 == (version & 0xff))
			continue;
		ASSERT(count >= HELLO_LIST_MAX || hello->versions.at[count] == version);
		best = version > best ? version : best;
		count++;
	}
	ASSERT(hello->versions.total == count);
	ASSERT(hello->best_version == (buf_len(&oracle.versions) ? best : hello->legacy_version));
}

static void compare(const struct hello *hello)
{
	char ja4[HELLO_JA4_BYTES];

	ASSERT(oracle.called && !oracle.is_v2);
	ASSERT(span_equal(hello->cipher_bytes, buf_span(&oracle.ciphers)));
	ASSERT(span_equal(hello->alpn, span_skip(buf_span(&oracle.alpn), 2)));
	compare_versions(hello);
	if (oracle.parsed)
		compare_name(hello);
	ASSERT(hello->extensions.total <= hello->extension_bytes.len / 4);
	hello_ja4(hello, ja4);
	ASSERT(strlen(ja4) == HELLO_JA4_BYTES - 1);
}

/* In parts whose sizes the bytes themselves choose, each call in memory of its own. */
static void read_in_parts(struct span bytes, const struct hello *whole, enum hello_state want)
{
	struct hello hello = {.class = HELLO_TLS};
	enum hello_state state = HELLO_MORE;
	size_t len = 0;
	unsigned step = 1;

	while (len < bytes.len) {
		uint8_t *copy;

		step = step * 1103515245 + bytes.at[len] + 12345;
		len += bytes.len < 300 ? 1 : 1 + (step >> 16) % (bytes.len / 50);
		len = len < bytes.len ? len : bytes.len;
		copy = malloc(len);
		ASSERT(copy);
		memcpy(copy, bytes.at, len);
		state = hello_read(&hello, span_of(copy, len));
		if (state == HELLO_WHOLE)
			ASSERT(span_equal(hello.message, whole->message) && span_equal(hello.sni, whole->sni));
		free(copy);
		if (state != HELLO_MORE)
			break;
		ASSERT(len < HELLO_RAW_MAX_BYTES);
		ASSERT(hello.is_tls || len < HELLO_CLASSIFY_MAX_BYTES);
	}
	ASSERT(state == want && hello.class == whole->class);
	ASSERT(state != HELLO_REFUSED || hello.problem == whole->problem);
	hello_fini(&hello);
}

static void add_u16(struct buf *out, size_t value)
{
	buf_add_byte(out, (uint8_t)(value >> 8));
	buf_add_byte(out, (uint8_t)value);
}

static void add_sized(struct buf *out, struct span content)
{
	add_u16(out, content.len);
	buf_add(out, content);
}

/* Extensions by a byte of number (0xff: two more bytes of it), a byte of length, and that many bytes. */
static void make_extensions(struct cursor *from, struct buf *out)
{
	static const uint16_t numbers[] = {0, 43, 13, 10, 51, 16, 41, 42, 45, 50, 5, 11, 23, 35, 0xfe0d, 0xff01, 14, 21, 1, 0x0a0a};

	while (from->rest.len && !from->overrun) {
		uint8_t which = cursor_u8(from);

		add_u16(out, which < COUNT_OF(numbers) ? numbers[which] : cursor_u16(from));
		add_sized(out, cursor_take(from, cursor_u8(from)));
	}
}

static void make_records(struct span message, size_t size, struct buf *out)
{
	while (message.len) {
		buf_add(out, SPAN("\x16\x03\x01"));
		add_sized(out, span_first(message, size));
		message = span_skip(message, size);
	}
}

/* A hello around the extensions that are described in `from`. */
static void make_hello(struct cursor from, struct buf *out)
{
	size_t record = 1 + (size_t)cursor_u8(&from) * 16;
	struct buf extensions, body, message;

	buf_init(&extensions, 1 << 16);
	buf_init(&body, 1 << 17);
	buf_init(&message, 1 << 17);
	make_extensions(&from, &extensions);
	buf_add(&body, SPAN("\x03\x03" "0123456789abcdef0123456789abcdef" "\0" "\0\6\x13\1\xc0\x2b\x0a\x0a" "\1\0"));
	add_sized(&body, span_first(buf_span(&extensions), 0xffff));
	buf_add_byte(&message, 1);
	buf_add_byte(&message, (uint8_t)(buf_len(&body) >> 16));
	add_sized(&message, span_first(buf_span(&body), 0xffff));
	make_records(buf_span(&message), record, out);
	buf_fini(&extensions);
	buf_fini(&body);
	buf_fini(&message);
}

/* Where we are stricter than OpenSSL: names that are none, and very many records. */
static bool is_strictness(const char *problem)
{
	static const char *const reasons[] = {
		"an empty label in server_name", "a label of server_name is too long", "a byte in server_name that is in no name",
		"server_name is too long", "the ClientHello is in too many records"};

	for (size_t i = 0; i < COUNT_OF(reasons); i++)
		if (strcmp(problem, reasons[i]) == 0)
			return true;
	return false;
}

/* Whether it is a call never changes when more bytes come, and is known in time. */
static void check_call(struct span bytes)
{
	enum hello_call before = HELLO_CALL_OPEN;
	enum hello_class class, class_before = HELLO_TLS;

	for (size_t len = 1; len <= bytes.len && len <= HELLO_CLASSIFY_MAX_BYTES + 8; len++) {
		enum hello_call now = hello_call_of(span_first(bytes, len), &class);

		ASSERT(before == HELLO_CALL_OPEN || (now == before && class == class_before));
		ASSERT(now != HELLO_CALL_OPEN || len < HELLO_CLASSIFY_MAX_BYTES);
		before = now;
		class_before = class;
	}
}

static void check_hello(struct span bytes)
{
	struct hello hello = {.class = HELLO_TLS};
	enum hello_state state;
	bool wants_more;

	check_call(bytes);
	wants_more = ask(bytes);
	state = hello_read(&hello, bytes);
	ASSERT(state != HELLO_REFUSED || hello.problem);
	if (state == HELLO_WHOLE)
		compare(&hello);
	if (oracle.parsed && !oracle.is_v2)
		ASSERT(state == HELLO_WHOLE || (state == HELLO_REFUSED && is_strictness(hello.problem)));
	/* While the one waits, so does the other; but that a broken head is known before its record is there. */
	if (wants_more && !oracle.called)
		ASSERT(state != HELLO_WHOLE);
	if (state == HELLO_MORE && hello.is_tls)
		ASSERT(wants_more);
	ASSERT(hello_read(&hello, bytes) == state);
	read_in_parts(bytes, &hello, state);
	hello_fini(&hello);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf made;

	if (size > 1 << 18)
		return 0;
	if (size == 0 || data[0] != 0xff) {
		check_hello(span_of(data, size));
		return 0;
	}
	buf_init(&made, 1 << 20);
	make_hello(cursor_over(span_of(data + 1, size - 1)), &made);
	ASSERT(buf_is_whole(&made));
	check_hello(buf_span(&made));
	buf_fini(&made);
	return 0;
}
