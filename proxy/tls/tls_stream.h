/* SPDX-License-Identifier: Apache-2.0 */
/* TLS over a stream that was plain: from then on its operations read and write what is inside. Bytes that were read before TLS
 * began come first. What is written in one call goes out in as few packets as it fits in. */
#ifndef TLS_TLS_STREAM_H
#define TLS_TLS_STREAM_H

#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/stream.h"

enum tls_step {
	TLS_DONE,
	TLS_WAIT,   /* for on_ready */
	TLS_FAILED, /* see tls_stream_failure() */
};

struct tls_failure {
	int alert;              /* that the other side sent; -1: none */
	bool is_closed;         /* it closed or reset the connection */
	const char *text;       /* OpenSSL's reason, or "" */
	uint64_t got_bytes;     /* that had come from it */
};

/* owns: ssl, in every case; copies `first`. errors: ERR_MEMORY (the stream stays plain). */
MUST_USE enum err tls_stream_start(struct stream *stream, SSL *ssl, struct span first);

/* Go on with the handshake. After TLS_DONE bytes can be read and written. */
enum tls_step tls_stream_handshake(struct stream *stream);

/* Of a stream that is TLS; NULL of another. Borrowed until the stream is closed. */
SSL *tls_stream_ssl(const struct stream *stream);

/* Why the handshake, or a read or write after it, failed. */
struct tls_failure tls_stream_failure(const struct stream *stream);

/* Between two messages: has the other side ended it, or said what was not asked for? What is inside stays unread. */
bool tls_stream_has_ended(struct stream *stream);

/* Let go of TLS without a word to the other side: the stream is plain again, and open. */
void tls_stream_abandon(struct stream *stream);

#endif
