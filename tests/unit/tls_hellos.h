/* SPDX-License-Identifier: Apache-2.0 */
/* ClientHellos to test with: made by OpenSSL in memory, and made of parts. */
#ifndef TLS_HELLOS_H
#define TLS_HELLOS_H

#include <openssl/ssl.h>

#include "tls/hello.h"

/* What a client of OpenSSL says first to a server that says nothing; `configure` may be NULL. */
static inline void hello_of_openssl(struct buf *out, const char *name, void (*configure)(SSL *ssl))
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	BIO *in = BIO_new(BIO_s_mem()), *from = BIO_new(BIO_s_mem());
	/* OpenSSL's macros cast const away. */
	union {
		const char *from;
		void *to;
	} cast = {.from = name};
	char *bytes;

	assert_true(context && ssl && in && from);
	SSL_set_bio(ssl, in, from);
	if (name)
		assert_int_equal(SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, cast.to), 1);
	if (configure)
		configure(ssl);
	assert_int_equal(SSL_connect(ssl), -1);
	buf_add(out, span_of(bytes, (size_t)BIO_get_mem_data(from, &bytes)));
	SSL_free(ssl);
	SSL_CTX_free(context);
}

static inline void add_u16(struct buf *out, size_t value)
{
	buf_add_byte(out, (uint8_t)(value >> 8));
	buf_add_byte(out, (uint8_t)value);
}

/* An extension, its content as it is. */
static inline void add_extension(struct buf *out, uint16_t number, struct span content)
{
	add_u16(out, number);
	add_u16(out, content.len);
	buf_add(out, content);
}

/* An extension that is a list of one name, whatever that is. */
static inline void add_name(struct buf *out, struct span name)
{
	add_u16(out, 0);
	add_u16(out, name.len + 5);
	add_u16(out, name.len + 3);
	buf_add_byte(out, 0);
	add_u16(out, name.len);
	buf_add(out, name);
}

/* `message` in records of at most `size` bytes. */
static inline void add_records(struct buf *out, struct span message, size_t size)
{
	for (; message.len; message = span_skip(message, size)) {
		struct span part = span_first(message, size);

		buf_add(out, SPAN("\x16\x03\x01"));
		add_u16(out, part.len);
		buf_add(out, part);
	}
}

/* The handshake message around ciphers and extensions. */
static inline void make_message(struct buf *out, struct span ciphers, struct span extensions)
{
	size_t body = 2 + 32 + 1 + 2 + ciphers.len + 2 + 2 + extensions.len;

	buf_add(out, SPAN("\1\0"));
	add_u16(out, body);
	buf_add(out, SPAN("\3\3" "0123456789abcdef0123456789abcdef" "\0"));
	add_u16(out, ciphers.len);
	buf_add(out, ciphers);
	buf_add(out, SPAN("\1\0"));
	add_u16(out, extensions.len);
	buf_add(out, extensions);
}

#endif
