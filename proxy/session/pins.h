/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that do not like our certificate: what is counted as evidence, and of what (pins_score.h says by which rules). Nothing
 * is bypassed for it: an event proposes the narrowest entry, once an hour for a client and a host. Each worker sees its own connections; `list suggest` sees those of all.
 * Private to this folder. */
#ifndef SESSION_PINS_H
#define SESSION_PINS_H

#include "session/pins_score.h"

struct session;

/* The client broke off the handshake after it saw our certificate; with this alert, -1: with none. */
void pins_note_failure(struct session *session, int alert);

/* The handshake was finished, and then the client went. Without effect where a byte had come. */
void pins_note_silence(struct session *session);

/* It sent something: it trusts us, for this host. For whoever reads bytes inside; only the first call counts. The line of the
 * CONNECT is written now. */
void pins_note_success(struct session *session);

#endif
