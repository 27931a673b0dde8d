/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 inside an inspected session (state SERVE_H2): one connection to the client, one to the origin, streams mapped
 * one to one, each with an exchange of its own that is decided and logged alone. What one side has not taken is not
 * credited to the other (no automatic window updates), so that memory is bounded by the windows.
 * While a session is in this state, session->exchange is NULL but inside calls that are about one stream. */
#ifndef SESSION_H2_H
#define SESSION_H2_H

#include "session/session_private.h"

/* Serve HTTP/2 on session->client and session->origin: both stand, ALPN said h2 on both, and nothing was said on them
 * yet but what lies in session->in. The session goes to SERVE_H2, or to END (no memory). */
enum step h2_start(struct session *session);

/* Nothing moved for the time of the state: the connection ends, and with it the streams that are open. */
void h2_on_due(struct session *session);

/* What the lines of the streams say that end with the session; the first cause stands. */
void h2_note_end(struct session *session, enum err err);

/* Ask of each stream that was decided whether it is to be cut (session->exchange is its exchange then), and cut those.
 * Were there any? */
bool h2_cut(struct session *session, bool (*is_cut)(struct session *session, void *context), void *context);

/* How many streams are open. */
size_t h2_stream_count(const struct session *session);

/* End all streams, with their lines, and free session->h2. Nothing is sent. NULL is allowed. */
void h2_free(struct session *session);

#endif
