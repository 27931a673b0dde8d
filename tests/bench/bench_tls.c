/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_tls.h"

#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <sys/socket.h>

#include "bench.h"

static void must(bool is_done, const char *what)
{
	char why[256];

	ERR_error_string_n(ERR_get_error(), why, sizeof(why));
	if (!is_done)
		bench_die("%s: %s", what, why);
}

SSL_CTX *bench_tls_context(const SSL_METHOD *method)
{
	SSL_CTX *context = SSL_CTX_new(method);

	must(context && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
	         SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1 &&
	         SSL_CTX_set1_groups_list(context, "X25519") == 1 &&
	         SSL_CTX_set1_sigalgs_list(context, "ECDSA+SHA256") == 1,
	     "TLS");
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                              SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(context, 1);
	return context;
}

void bench_tls_identity(SSL_CTX *context, const char *folder, const char *name, unsigned tickets)
{
	char certificate[512], key[512];

	snprintf(certificate, sizeof(certificate), "%s/%s.pem", folder, name);
	snprintf(key, sizeof(key), "%s/%s.key", folder, name);
	must(SSL_CTX_use_certificate_chain_file(context, certificate) == 1, certificate);
	must(SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1, key);
	SSL_CTX_set_num_tickets(context, tickets);
}

void bench_tls_trust(SSL_CTX *context, const char *folder, const char *name)
{
	char root[512];

	snprintf(root, sizeof(root), "%s/%s.pem", folder, name);
	must(SSL_CTX_load_verify_file(context, root) == 1, root);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
}

void bench_tls_keep(SSL_CTX *context, int (*keep)(SSL *ssl, SSL_SESSION *session))
{
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(context, keep);
}

static SSL *make(SSL_CTX *context, int fd)
{
	SSL *ssl = SSL_new(context);
	int yes = 1;

	must(ssl && SSL_set_fd(ssl, fd) == 1, "TLS");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	return ssl;
}

SSL *bench_tls_client(SSL_CTX *context, int fd, SSL_SESSION *session)
{
	SSL *ssl = make(context, fd);

	must(SSL_set_tlsext_host_name(ssl, BENCH_HOST) == 1 && SSL_set1_host(ssl, BENCH_HOST) == 1, BENCH_HOST);
	if (session)
		must(SSL_set_session(ssl, session) == 1, "a session");
	SSL_set_connect_state(ssl);
	return ssl;
}

SSL *bench_tls_server(SSL_CTX *context, int fd)
{
	SSL *ssl = make(context, fd);

	SSL_set_accept_state(ssl);
	return ssl;
}

bool bench_tls_waits(const SSL *ssl, int code)
{
	int error = SSL_get_error(ssl, code);

	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

void bench_tls_end(SSL *ssl)
{
	if (ssl && SSL_is_init_finished(ssl))
		SSL_shutdown(ssl);
	SSL_free(ssl);
	ERR_clear_error();
}
