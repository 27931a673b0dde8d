/* SPDX-License-Identifier: Apache-2.0 */
/* NTLM as an acceptor (MS-NLMP): messages are read by their offsets, never by their flags, because every client lays
 * them out in its own way. NTLMv2, and v1 where an administrator allows it. No I/O but ntlm_init(); safe to use in
 * threads. */
#ifndef AUTH_NTLM_H
#define AUTH_NTLM_H

#include "auth/ask.h"

enum { NTLM_HASH_BYTES = 16, NTLM_CHALLENGE_BYTES = 8, NTLM_MIC_BYTES = 16 };

/* MD4 and RC4 come from OpenSSL's legacy provider, a file: before a sandbox closes, and before threads start. Later
 * calls need nothing of the system. Whoever verifies or is a client calls it; messages alone need none of it.
 * False: *why says what is missing. */
MUST_USE bool ntlm_init(const char **why);

enum ntlm_type { NTLM_NONE, NTLM_NEGOTIATE, NTLM_CHALLENGE, NTLM_AUTHENTICATE };

/* Which message is it? NONE: it is none. */
enum ntlm_type ntlm_type(struct span token);

/* ---- messages ---- */

/* Names that the second message tells, UTF-8. */
struct ntlm_names {
	struct span netbios_domain, netbios_computer, dns_domain, dns_computer;
};

struct ntlm_negotiate {
	uint32_t flags;
};

/* A first message. False: *why is a constant text. */
MUST_USE bool ntlm_parse_negotiate(struct span token, struct ntlm_negotiate *out, const char **why);

/* Append the second message. DNS names may be empty. Look at buf_is_whole(). units: `filetime` is 100 ns since 1601. */
void ntlm_write_challenge(const struct ntlm_negotiate *negotiate, const uint8_t challenge[static NTLM_CHALLENGE_BYTES],
                          const struct ntlm_names *names, uint64_t filetime, struct buf *out);

/* Who the third message says it is, as UTF-8: appended. False: *why. */
MUST_USE bool ntlm_who(struct span authenticate, struct buf *domain, struct buf *user, struct buf *workstation,
                       const char **why);

/* ---- proofs ---- */

/* The NT hash of a password (MS-NLMP 3.3.1 NTOWFv1). False: OpenSSL failed. */
MUST_USE bool ntlm_hash(struct span password, uint8_t out[static NTLM_HASH_BYTES]);

/* Everything about the three messages that needs no password: form, user, times, names, whether a MIC is there that
 * has to be, what is too old to be taken. *is_v1: the response is not NTLMv2. False: *why. units: `skew_ms` is how far
 * a client's clock may be off. */
MUST_USE bool ntlm_check_form(const struct ask *ask, uint64_t skew_ms, bool *is_v1, const char **why);

/* The whole of a question against an NT hash; VALID or INVALID, answer->mechanism, answer->token (our mechListMIC,
 * where SPNEGO wants one). answer->user is left to the caller. */
enum ask_verdict ntlm_verify_local(const struct ask *ask, const uint8_t hash[static NTLM_HASH_BYTES], uint64_t skew_ms,
                                   struct answer *answer);

/* The same after somebody else has checked the response, with the session base key that he gave (winbind). Call
 * ntlm_check_form() before. */
enum ask_verdict ntlm_verify_known_key(const struct ask *ask, bool is_v1,
                                       const uint8_t session_base_key[static NTLM_HASH_BYTES], struct answer *answer);

/* The two responses of a third message, and the challenge that they answer, for whoever asks an authority. With the
 * NTLM2 session response that is not the one of our second message, and `lm` is empty: it held the client's part of it. */
struct ntlm_responses {
	struct span lm, nt;
	uint8_t challenge[NTLM_CHALLENGE_BYTES];
};
MUST_USE bool ntlm_responses(const struct ask *ask, struct ntlm_responses *out, const char **why);

/* ---- the client, for sallyport auth test, sallyport doctor, and tests ---- */

struct ntlm_client {
	struct span user, domain, password, workstation, target; /* UTF-8; target: "HTTP/proxy" or empty */
	bool mic, v1;              /* v1: by libntlm */
	bool session;              /* with v1: the NTLM2 session response */
	uint64_t filetime;         /* where the second message has none */
};

void ntlm_client_negotiate(struct buf *out);

/* Append the third message. `session_key` gets the exported session key. False: the second is none, something is too
 * long, or OpenSSL failed. */
MUST_USE bool ntlm_client_authenticate(const struct ntlm_client *client, struct span negotiate, struct span challenge,
                                       struct buf *out, uint8_t session_key[static NTLM_HASH_BYTES]);

/* The MIC of SPNEGO's list (RFC 4178 section 5; MS-NLMP 3.4.4.2, message number 0), as client or as server. `flags` are
 * the third message's, with extended session security. False: without that, or OpenSSL failed. */
MUST_USE bool ntlm_list_mic(uint32_t flags, const uint8_t session_key[static NTLM_HASH_BYTES], bool is_client,
                            struct span mech_types, uint8_t out[static NTLM_MIC_BYTES]);

/* Flags of a third message; 0: it is none. */
uint32_t ntlm_flags(struct span authenticate);

#endif
