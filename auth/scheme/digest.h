/* SPDX-License-Identifier: Apache-2.0 */
/* Digest (RFC 7616) on the wire: challenges and nonces that a worker gives out, and what clients make of them. Which
 * realm, algorithm and nonce is right is for the caller to say; whether the response is right, for digest_proof(). */
#ifndef AUTH_DIGEST_H
#define AUTH_DIGEST_H

#include "auth/ask.h"
#include "auth/auth_conf.h"

/* ---- credentials ---- */

enum {
	DIGEST_CREDENTIALS_MAX_BYTES = 40000,
	DIGEST_URI_MAX_BYTES = 32768,
	DIGEST_USER_MAX_BYTES = 1024,
	DIGEST_REALM_MAX_BYTES = 1024,
	DIGEST_NONCE_MAX_BYTES = 256, /* and cnonce */
};

/* Borrows from the credentials until digest_answer_fini(). */
struct digest_answer {
	struct ask ask;            /* ASK_DIGEST, but for `client` and `method` */
	uint32_t count;            /* nc */
	struct span opaque;        /* empty: none */
	struct buf text;           /* of values that were not sent as they are meant */
};

/* Take apart what is behind "Digest". Parameters come in any order, with quotes or without, each once; unknown ones are
 * ignored. Names of users are UTF-8 without control characters. False: *why is a constant text that says what is wrong.
 * owns: *out is for digest_answer_fini() in any case. */
MUST_USE bool digest_parse(struct span credentials, struct digest_answer *out, const char **why);
void digest_answer_fini(struct digest_answer *answer);

/* Does `uri` mean the target of this request line? The same text; path and query of an absolute target, or another
 * writing of it (case of scheme and host, port 80, no path); of CONNECT another case, or "/" (a library for SSPI).
 * Percent escapes are not decoded: what differs there is different. */
bool digest_uri_matches(struct span uri, struct span method, struct span target);

/* ---- nonces ---- */

enum {
	DIGEST_KEY_BYTES = 32,
	DIGEST_NONCE_RANDOM_BYTES = 8,
	DIGEST_NONCE_LEN = 48,      /* characters */
	DIGEST_NONCE_AHEAD_MS = 60000, /* nodes that share a key may differ so much */
};

/* Nonces are signed with `current`, and good with either. */
struct digest_keys {
	uint8_t current[DIGEST_KEY_BYTES], previous[DIGEST_KEY_BYTES];
	bool has_previous;
};

/* A nonce of this moment that lives for `life_ms`: base64url of when, how long, random bytes, and the first 128 bits of
 * HMAC-SHA256 over these. Stateless: no table holds it before it is used. In both functions the first call of a thread
 * makes a context of OpenSSL; under a sandbox that closed before, HMAC must have been used once in the process.
 * False: OpenSSL failed. */
MUST_USE bool digest_nonce_make(const struct digest_keys *keys, uint64_t wall_ms, uint64_t life_ms,
                                const uint8_t random[static DIGEST_NONCE_RANDOM_BYTES],
                                uint8_t out[static DIGEST_NONCE_LEN]);

enum digest_nonce {
	DIGEST_NONCE_FOREIGN, /* not signed by us, or from the future */
	DIGEST_NONCE_STALE,   /* ours, and too old */
	DIGEST_NONCE_VALID,
};

/* `life_ms`: what is configured now; the shorter of both lives holds. *id and *expires_ms, of all but FOREIGN ones,
 * are what was signed: the same in every worker, also while a reload changes the life. */
enum digest_nonce digest_nonce_check(const struct digest_keys *keys, struct span nonce, uint64_t wall_ms,
                                     uint64_t life_ms, uint64_t *id, uint64_t *expires_ms);

/* ---- challenges ---- */

/* Append a header line for each algorithm of `conf`, in its order, all with one new nonce. */
void digest_write_challenges(const struct digest_conf *conf, struct span realm, const struct digest_keys *keys,
                             uint64_t wall_ms, bool stale, struct buf *out);

/* "SHA-256-sess" */
const char *digest_algorithm_name(enum digest_algorithm algorithm, bool is_session);

#endif
