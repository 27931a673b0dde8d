/* SPDX-License-Identifier: Apache-2.0 */
/* The hashes of Digest (RFC 7616 section 3.4). Safe to use in threads after the first call. */
#ifndef AUTH_DIGEST_PROOF_H
#define AUTH_DIGEST_PROOF_H

#include "auth/ask.h"

/* 16 for MD5, 32 for SHA-256. */
size_t digest_bytes(enum digest_algorithm algorithm);

/* H(user:realm:password). False: OpenSSL failed. */
MUST_USE bool digest_ha1(enum digest_algorithm algorithm, struct span user, struct span realm, struct span password,
                         uint8_t out[static DIGEST_MAX_BYTES]);

/* H(user:realm), for userhash (section 3.4.4). */
MUST_USE bool digest_userhash(enum digest_algorithm algorithm, struct span user, struct span realm,
                              uint8_t out[static DIGEST_MAX_BYTES]);

/* What the response has to be (qop=auth). */
MUST_USE bool digest_proof(enum digest_algorithm algorithm, bool is_session, const uint8_t *ha1, struct span nonce,
                           struct span nc, struct span cnonce, struct span method, struct span uri,
                           uint8_t out[static DIGEST_MAX_BYTES]);

/* A thread that has used any of these ends. */
void digest_end_thread(void);

/* Is ask->response what it has to be? In constant time. */
MUST_USE bool digest_is_proved(const struct ask *ask, const uint8_t *ha1);

#endif
