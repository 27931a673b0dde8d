/* SPDX-License-Identifier: Apache-2.0 */
/* A session that serves HTTP/2, as if its handshakes were done; without TLS on the sockets. */
#ifndef TESTS_SESSION_H2_RIG_H
#define TESTS_SESSION_H2_RIG_H

#include "session/h2/h2_private.h"
#include "session/inspect.h"
#include "session_rig.h"

/* As after a CONNECT to origin.example:443 whose ClientHello says the same. */
static inline void session_h2_rig_inspect(struct session *session)
{
	struct exchange *exchange = exchange_new(session);

	ASSERT(exchange);
	exchange->target.host = (struct http_host){.name = SPAN("origin.example"), .port = 443};
	ASSERT(inspect_new(session) == ERR_NONE);
	session->inspect->sni = SPAN("origin.example");
	exchange_free(session);
}

/* The other ends of its two connections are the caller's. */
static inline struct session *session_h2_rig_start(struct session_rig *rig, int *client_fd, int *origin_fd)
{
	struct stream *stream = calloc(1, origin_bytes);
	struct session *session;
	int ends[2];

	ASSERT(stream && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	*client_fd = session_rig_connect(rig);
	*origin_fd = ends[0];
	session = LIST_ENTRY(rig->env.sessions.previous, struct session, link);
	ASSERT(stream_open_plain(stream, rig->loop, ends[1], on_origin_ready) == ERR_NONE);
	origin_use(session, stream);
	session_h2_rig_inspect(session);
	session->state = SESSION_TLS_CLIENT;
	h2_start(session);
	session_run(session);
	return session;
}

#endif
