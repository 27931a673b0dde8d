/* SPDX-License-Identifier: Apache-2.0 */
/* Connections for libldap: its own wait for ever in a TLS handshake with a server that is silent (with GnuTLS, 2.5: they do so
 * busily, whatever the time-outs), open themselves anew as nobody when they were lost, and say "unknown error" to a
 * certificate. So TCP and TLS are ours (OpenSSL), never wait longer than they may, and libldap sits on top. */
#ifndef AUTH_LDAP_SOCKET_H
#define AUTH_LDAP_SOCKET_H

#include <ldap.h>
#include <openssl/types.h>

#include "auth/auth_conf.h"
#include "base/buf.h"

/* How servers' certificates are verified: with ca, or (empty) as the system does. NULL and *why: it cannot be set up.
 * Free with ldap_socket_free_tls(). */
SSL_CTX *ldap_socket_new_tls(const char *ca, struct buf *why);
void ldap_socket_free_tls(SSL_CTX *tls); /* NULL is allowed */

/* Connect to "ldaps://host:636" (with TLS, verified), "ldap://host" (without), "ldapi://%2Fpath" until due_ms. NULL and *why
 * where that fails. Close with ldap_unbind_ext_s(). blocks: until due_ms, and for names as long as the resolver takes. */
LDAP *ldap_socket_open(const char *server, SSL_CTX *tls, uint64_t due_ms, struct buf *why);

/* Begin TLS on a connection whose server has said yes to StartTLS. False and *why: it must not be used any more. */
MUST_USE bool ldap_socket_begin_tls(LDAP *ldap, SSL_CTX *tls, uint64_t due_ms, struct buf *why);

#endif
