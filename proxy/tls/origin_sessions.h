/* SPDX-License-Identifier: Apache-2.0 */
/* TLS sessions of origins, to be resumed: a few per scope, the longest unused go first. */
#ifndef TLS_ORIGIN_SESSIONS_H
#define TLS_ORIGIN_SESSIONS_H

#include <openssl/ssl.h>

#include "base/err.h"
#include "tls/tls_contexts.h"

struct origin_sessions;

MUST_USE enum err origin_sessions_new(size_t max_count, struct origin_sessions **out);
void origin_sessions_free(struct origin_sessions *sessions);

/* Forget all; from now on at most so many. */
void origin_sessions_clear(struct origin_sessions *sessions, size_t max_count);

/* owns: session, in every case. */
void origin_sessions_put(struct origin_sessions *sessions, const struct tls_scope *scope, SSL_SESSION *session, uint64_t until_ms);

/* One of this scope, the caller's reference, and until when it is good; NULL: none. One of TLS 1.3 is used once (RFC 8446 appendix C.4). */
SSL_SESSION *origin_sessions_take(struct origin_sessions *sessions, const struct tls_scope *scope, uint64_t now_ms,
                                  uint64_t *until_ms);

#endif
