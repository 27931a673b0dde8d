/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that do not like our certificate: what is counted as evidence, and of what. Private to this folder. */
#ifndef SESSION_PINS_H
#define SESSION_PINS_H

struct session;

/* The client broke off the handshake after it saw our certificate; with this alert, -1: with none. */
void pins_note_failure(struct session *session, int alert);

/* The handshake was finished, and then the client went without a byte. */
void pins_note_silence(struct session *session);

/* It sent something: it trusts us, for this host. */
void pins_note_success(struct session *session);

#endif
