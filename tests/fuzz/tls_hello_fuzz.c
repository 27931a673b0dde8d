/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a client says first, to our parser and to a server of OpenSSL. What we call a ClientHello is one for it,
 * with the same SNI, ALPN, versions, ciphers and extensions; what it takes is none that we would call something else. And
 * bytes that come in parts get the answer that they get as a whole. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hello hello = {.class = HELLO_TLS};
	struct span bytes = span_of(data, size);
	enum hello_state state;
	bool wants_more;

	if (size > 1 << 18)
		return 0;
	wants_more = ask(bytes);
	state = hello_read(&hello, bytes);
	ASSERT(state != HELLO_REFUSED || hello.problem);
	if (state == HELLO_WHOLE)
		compare(&hello);
	if (oracle.parsed && !oracle.is_v2)
		ASSERT(state == HELLO_WHOLE || state == HELLO_REFUSED);
	/* While the one waits, so does the other; but that a broken head is known before its record is there. */
	if (wants_more && !oracle.called)
		ASSERT(state != HELLO_WHOLE);
	if (state == HELLO_MORE && hello.is_tls)
		ASSERT(wants_more);
	ASSERT(hello_read(&hello, bytes) == state);
	read_in_parts(bytes, &hello, state);
	hello_fini(&hello);
	return 0;
}
