/* SPDX-License-Identifier: Apache-2.0 */
/* NTLM from the inside: what ntlm.c, ntlm_proof.c and ntlm_client.c share. */
#ifndef AUTH_NTLM_PRIVATE_H
#define AUTH_NTLM_PRIVATE_H

#include "auth/scheme/ntlm.h"

/* Flags of MS-NLMP 2.2.2.5. */
enum {
	FLAG_UNICODE = 0x1, FLAG_OEM = 0x2, FLAG_REQUEST_TARGET = 0x4, FLAG_SIGN = 0x10, FLAG_SEAL = 0x20,
	FLAG_NTLM = 0x200, FLAG_ANONYMOUS = 0x800, FLAG_ALWAYS_SIGN = 0x8000, FLAG_TARGET_DOMAIN = 0x10000,
	FLAG_EXTENDED = 0x80000, FLAG_TARGET_INFO = 0x800000, FLAG_VERSION = 0x2000000, FLAG_128 = 0x20000000,
	FLAG_KEY_EXCHANGE = 0x40000000,
};
#define FLAG_56 0x80000000u

/* AV_PAIRs of MS-NLMP 2.2.2.1. */
enum ntlm_av { AV_END, AV_NB_COMPUTER, AV_NB_DOMAIN, AV_DNS_COMPUTER, AV_DNS_DOMAIN, AV_DNS_TREE, AV_FLAGS, AV_TIMESTAMP,
               AV_SINGLE_HOST, AV_TARGET_NAME, AV_CHANNEL_BINDINGS, AV_COUNT };
enum { AV_FLAG_MIC = 2 };

/* A list of them; what is not there has no `at`. Kinds that nobody has heard of are left out. */
struct ntlm_avs {
	struct span values[AV_COUNT];
};

/* Where things are. */
enum { AT_TYPE = 8, AT_MIC = 72, MIC_END = 88, PROOF_BYTES = 16, BLOB_HEAD_BYTES = 28, V1_BYTES = 24 };

struct ntlm_challenge {
	uint32_t flags;
	uint8_t challenge[NTLM_CHALLENGE_BYTES];
	struct span target_info;
};

struct ntlm_authenticate {
	uint32_t flags;
	struct span lm, nt, domain, user, workstation, session_key; /* texts as on the wire */
};

/* Little-endian numbers. */
uint16_t ntlm_u16(const uint8_t *at);
uint32_t ntlm_u32(const uint8_t *at);
uint64_t ntlm_u64(const uint8_t *at);
void ntlm_add_u16(struct buf *out, uint16_t number);
void ntlm_add_u32(struct buf *out, uint32_t number);
void ntlm_add_u64(struct buf *out, uint64_t number);

MUST_USE bool ntlm_parse_challenge(struct span token, struct ntlm_challenge *out);
MUST_USE bool ntlm_parse_authenticate(struct span token, struct ntlm_authenticate *out, const char **why);

/* False: the list does not end within `list`, has a kind twice, or flags or a time of another length than theirs. */
MUST_USE bool ntlm_parse_avs(struct span list, struct ntlm_avs *out);

/* NTLMv1, or the NTLM2 session response, which is of the same length? The latter: its first field has the client's
 * challenge and zeros (MS-NLMP 3.3.1). */
bool ntlm_is_v1(const struct ntlm_authenticate *authenticate);
bool ntlm_is_session(const struct ntlm_authenticate *authenticate);

/* Does the client say that its third message has a MIC? */
bool ntlm_has_mic(const struct ntlm_authenticate *authenticate);

/* Texts of a third message as UTF-8, appended; false for half characters and control characters. */
MUST_USE bool ntlm_add_text(struct span wire, uint32_t flags, struct buf *out);
/* UTF-8 as UTF-16LE, appended; bytes that are none become U+FFFD. */
void ntlm_add_utf16(struct span text, struct buf *out);

/* ---- cryptography; false: OpenSSL failed ---- */
bool ntlm_md4(struct span bytes, uint8_t out[static 16]);
bool ntlm_hmac_md5(const uint8_t key[static 16], const struct span *parts, size_t count, uint8_t out[static 16]);
bool ntlm_md5(const struct span *parts, size_t count, uint8_t out[static 16]);
bool ntlm_rc4(struct span key, struct span bytes, uint8_t *out);
/* Three single DES over one block with the 16 bytes of a hash, padded with zeros (MS-NLMP 3.3.1 DESL). */
bool ntlm_desl(const uint8_t hash[static 16], const uint8_t block[static 8], uint8_t out[static V1_BYTES]);

/* How clients make capital letters of a user's name: as Windows has it, one for one; or as Unicode has it. */
enum ntlm_capitals { CAPITALS_WINDOWS, CAPITALS_UNICODE, CAPITALS_COUNT };

/* NTOWFv2: of user and domain as on the wire (UTF-8 here). */
bool ntlm_response_key(const uint8_t hash[static 16], struct span user, enum ntlm_capitals capitals, struct span domain,
                       uint8_t out[static 16]);

/* The challenge that a session response answers: 8 bytes of MD5 of both sides' (MS-NLMP 3.3.1). */
bool ntlm_session_challenge(const struct ntlm_challenge *challenge, const struct ntlm_authenticate *authenticate,
                            uint8_t out[static NTLM_CHALLENGE_BYTES]);

/* ---- proof and keys; false with *why ---- */

/* Is the response right? `base_key` gets the session base key. */
bool ntlm_check_v1(const uint8_t hash[static 16], const struct ntlm_authenticate *authenticate,
                   const struct ntlm_challenge *challenge, uint8_t base_key[static 16], const char **why);
bool ntlm_check_v2(const uint8_t hash[static 16], const struct ntlm_authenticate *authenticate,
                   const struct ntlm_challenge *challenge, uint8_t base_key[static 16], const char **why);

/* From the session base key to the exported session key: MS-NLMP 3.4.5.1, 3.2.5.1.2. */
bool ntlm_export_key(const struct ntlm_authenticate *authenticate, const struct ntlm_challenge *challenge,
                     const uint8_t base_key[static 16], uint8_t out[static 16], const char **why);

/* MS-NLMP 3.4.5.2, 3.4.5.3: the key of one side for `use`, "signing" or "sealing". */
bool ntlm_make_key(const uint8_t session_key[static 16], size_t key_bytes, bool is_client, const char *use,
                   uint8_t out[static 16]);

/* The MIC over the three messages, where there is one. */
bool ntlm_check_mic(const struct ask *ask, const struct ntlm_authenticate *authenticate, const uint8_t key[static 16],
                    const char **why);
/* The one of SPNEGO's list, where there is one; ours then goes to answer->token. */
bool ntlm_check_list_mic(const struct ask *ask, uint32_t flags, const uint8_t key[static 16], struct answer *answer,
                         const char **why);

#endif
