/* SPDX-License-Identifier: Apache-2.0 */
/* What floor_tls, load_tls and origin_tls share: one kind of TLS, so that whatever stands between them has the same work
 * to do: TLS 1.3, X25519, AES-128-GCM, P-256. Certificates and keys are PEM files of one folder, named NAME.pem and NAME.key. */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* The one host: clients CONNECT to it, its certificate names it. Whoever resolves it says 127.0.1.1. */
#define BENCH_HOST "origin.bench.test"
enum { BENCH_HOST_ADDRESS = 0x7f000101 };

/* Never NULL. Without tickets and caches, until somebody says otherwise. */
SSL_CTX *bench_tls_context(const SSL_METHOD *method);

/* A server's certificate and key. `tickets`: how many it gives after each handshake. */
void bench_tls_identity(SSL_CTX *context, const char *folder, const char *name, unsigned tickets);

/* A client verifies chain and host against this root. */
void bench_tls_trust(SSL_CTX *context, const char *folder, const char *name);

/* Each session that a ticket makes possible goes to `keep`, which owns it if it returns 1. */
void bench_tls_keep(SSL_CTX *context, int (*keep)(SSL *ssl, SSL_SESSION *session));

/* A client of BENCH_HOST, or a server, on a connected socket, before its handshake. */
SSL *bench_tls_client(SSL_CTX *context, int fd, SSL_SESSION *session);
SSL *bench_tls_server(SSL_CTX *context, int fd);

/* What a call on `ssl` that returned `code` means: true if it only has to wait. */
bool bench_tls_waits(const SSL *ssl, int code);

/* Says close_notify where a handshake was; frees. */
void bench_tls_end(SSL *ssl);

#endif
