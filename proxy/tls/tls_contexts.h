/* SPDX-License-Identifier: Apache-2.0 */
/* What all TLS sessions of a worker share: one SSL_CTX per direction, keys for session tickets, sessions of origins. The rules of
 * both legs stand here: TLS 1.2 and 1.3, no renegotiation, no compression, no early data. */
#ifndef TLS_TLS_CONTEXTS_H
#define TLS_TLS_CONTEXTS_H

#include <openssl/ssl.h>

#include "base/err.h"
#include "tls/leaves.h"
#include "tls/tls_conf.h"

enum { TICKET_SEED_BYTES = 32 };

/* Keys for tickets follow from each other: who has one finds those that come later, and no earlier one. All workers
 * have the same, and none has to be told when the next begins. */
struct ticket_seed {
	uint64_t epoch;               /* wall clock / ticket_ms */
	uint8_t secret[TICKET_SEED_BYTES];
};
/* Of this epoch, from one of an earlier epoch; the earlier one is wiped. */
void ticket_seed_advance(struct ticket_seed *seed, uint64_t epoch);

struct tls_contexts;

/* Everything that OpenSSL would load later is loaded here, before the sandbox closes. `seed` is copied. */
MUST_USE enum err tls_contexts_new(const struct inspection_conf *conf, const struct ticket_seed *seed, uint64_t wall_ms,
                                   struct tls_contexts **out);
void tls_contexts_free(struct tls_contexts *contexts);

/* Other limits from now on; sessions of origins are forgotten, because what was trusted may not be any more. */
void tls_contexts_use(struct tls_contexts *contexts, const struct inspection_conf *conf);

/* Lines of secrets go here (SSLKEYLOGFILE format), NULL: nowhere. */
void tls_contexts_set_secrets(struct tls_contexts *contexts, void (*write)(void *context, struct span line), void *context);

/* What tickets and origins' sessions are good for: nothing else than the same again. */
struct tls_scope {
	uint8_t bytes[32];
};

/* For SHA-256 over parts, each with its length before it. */
struct tls_scope tls_scope_of(const struct span *parts, size_t count);

/* A server for a client. `alpn` is what it is answered (one name, borrowed until the handshake is done), empty: nothing. NULL: no memory. */
SSL *tls_for_client(struct tls_contexts *contexts, struct leaf *leaf, const struct tls_scope *scope, const struct span *alpn,
                    uint64_t wall_ms);

/* A client for an origin. `sni` is empty for an address; `alpn` is a list as on the wire; a session that is kept for the scope is
 * resumed. `exception` may be NULL. After the handshake, tls_keep_sessions() lets its sessions be kept. NULL: no memory. */
SSL *tls_for_origin(struct tls_contexts *contexts, struct span sni, struct span alpn, const struct exception_conf *exception,
                    const struct tls_scope *scope, uint64_t wall_ms);

/* The origin was verified: its sessions may be used again until then. */
void tls_keep_sessions(SSL *ssl, uint64_t until_ms);

/* A session that was resumed was verified when it was made; that holds until then. */
uint64_t tls_session_until(const SSL *ssl);

/* Did the origin ask for a certificate of the client? It got none. */
bool tls_was_asked_for_certificate(const SSL *ssl);

#endif
