/* SPDX-License-Identifier: Apache-2.0 */
/* Is the third message of NTLM right? MS-NLMP 3.2.5.1.2, 3.3.1, 3.3.2, 3.4. */
#include <openssl/crypto.h>
#include <string.h>

#include "auth/scheme/ntlm_private.h"

enum { NAME_MAX_BYTES = 1024 };
#define FILETIME_PER_MS 10000u

static bool refuse(const char **why, const char *text)
{
	*why = text;
	return false;
}

/* ---- what needs no password ---- */

/* A pair of the client's list that repeats one of ours must be ours: else the answer was made for somebody else. */
static bool is_ours(struct span own, struct span theirs, enum ntlm_av id)
{
	struct span ours = SPAN(""), value;
	bool is_whole;

	if (!ntlm_find_av(theirs, id, &value, &is_whole))
		return true;
	return ntlm_find_av(own, id, &ours, &is_whole) && span_equal(ours, value);
}

static bool check_time(uint64_t filetime, const struct ntlm_challenge *challenge, uint64_t skew_ms, const char **why)
{
	struct span value;
	bool is_whole;
	uint64_t ours, difference;

	if (!ntlm_find_av(challenge->target_info, AV_TIMESTAMP, &value, &is_whole) || value.len != 8)
		return refuse(why, "our own second message has no time");
	ours = ntlm_u64(value.at);
	difference = filetime > ours ? filetime - ours : ours - filetime;
	return difference / FILETIME_PER_MS <= skew_ms ||
	       refuse(why, "the time in the answer is not ours (authentication.ntlm.skew)");
}

/* The blob of NTLMv2 (MS-NLMP 2.2.2.7). */
static bool check_blob(struct span blob, const struct ntlm_challenge *challenge, uint64_t skew_ms, const char **why)
{
	struct span pairs = span_skip(blob, BLOB_HEAD_BYTES), value;
	bool is_whole;

	if (blob.len < BLOB_HEAD_BYTES + 4 || blob.at[0] != 1 || blob.at[1] != 1)
		return refuse(why, "the NTLMv2 response is too short, or of another version");
	ntlm_find_av(pairs, AV_FLAGS, &value, &is_whole);
	if (!is_whole)
		return refuse(why, "the list in the NTLMv2 response is malformed");
	if (!is_ours(challenge->target_info, pairs, AV_NB_COMPUTER) || !is_ours(challenge->target_info, pairs, AV_NB_DOMAIN))
		return refuse(why, "the answer was made for another server: names differ from ours");
	return check_time(ntlm_u64(blob.at + 8), challenge, skew_ms, why);
}

static bool parse(const struct ask *ask, struct ntlm_challenge *challenge, struct ntlm_authenticate *authenticate,
                  const char **why)
{
	if (ntlm_type(ask->negotiate) != NTLM_NEGOTIATE || !ntlm_parse_challenge(ask->challenge, challenge))
		return refuse(why, "the first two messages of NTLM are none");
	return ntlm_parse_authenticate(ask->authenticate, authenticate, why);
}

static bool is_v1_response(const struct ntlm_authenticate *authenticate)
{
	return authenticate->nt.len == V1_BYTES;
}

bool ntlm_check_form(const struct ask *ask, uint64_t skew_ms, bool *is_v1, const char **why)
{
	struct ntlm_authenticate authenticate;
	struct ntlm_challenge challenge;

	*is_v1 = false;
	if (!parse(ask, &challenge, &authenticate, why))
		return false;
	if ((authenticate.flags & FLAG_ANONYMOUS) || authenticate.nt.len == 0)
		return refuse(why, authenticate.lm.len > 1 ? "the answer is LM alone, which is refused"
		                                           : "the client is anonymous");
	if (authenticate.user.len == 0)
		return refuse(why, "the user's name is empty");
	if ((authenticate.flags & FLAG_KEY_EXCHANGE) && authenticate.session_key.len != NTLM_HASH_BYTES)
		return refuse(why, "the session key has not 16 bytes");
	*is_v1 = is_v1_response(&authenticate);
	if (*is_v1)
		return ask->allow_v1 || refuse(why, "the answer is NTLMv1, which is refused (authentication.ntlm.allow_v1)");
	if (authenticate.nt.len < PROOF_BYTES + BLOB_HEAD_BYTES)
		return refuse(why, "the NTLM response has a length that none has");
	return check_blob(span_skip(authenticate.nt, PROOF_BYTES), &challenge, skew_ms, why);
}

bool ntlm_responses(const struct ask *ask, struct ntlm_responses *out, const char **why)
{
	struct ntlm_authenticate authenticate;
	struct ntlm_challenge challenge;

	if (!parse(ask, &challenge, &authenticate, why))
		return false;
	out->lm = authenticate.lm;
	out->nt = authenticate.nt;
	memcpy(out->challenge, challenge.challenge, sizeof(out->challenge));
	return true;
}

/* ---- the proof ---- */

static bool is_proof(const uint8_t hash[static 16], struct span user, struct span domain,
                     const struct ntlm_challenge *challenge, struct span nt, uint8_t key[static 16])
{
	struct span parts[] = {span_of(challenge->challenge, sizeof(challenge->challenge)), span_skip(nt, PROOF_BYTES)};
	struct span proof = span_first(nt, PROOF_BYTES);
	uint8_t response_key[16], expected[16];
	bool well = ntlm_response_key(hash, user, domain, response_key) &&
	            ntlm_hmac_md5(response_key, parts, COUNT_OF(parts), expected) &&
	            CRYPTO_memcmp(expected, proof.at, PROOF_BYTES) == 0 &&
	            ntlm_hmac_md5(response_key, &proof, 1, key);

	explicit_bzero(response_key, sizeof(response_key));
	return well;
}

/* NTLMv2; clients may leave the domain out of it. */
static bool check_v2(const uint8_t hash[static 16], const struct ntlm_authenticate *authenticate,
                     const struct ntlm_challenge *challenge, uint8_t key[static 16], const char **why)
{
	struct buf user, domain;
	bool well;

	buf_init(&user, NAME_MAX_BYTES);
	buf_init(&domain, NAME_MAX_BYTES);
	well = ntlm_add_text(authenticate->user, authenticate->flags, &user) &&
	       ntlm_add_text(authenticate->domain, authenticate->flags, &domain) && buf_is_whole(&user) &&
	       buf_is_whole(&domain);
	if (!well)
		*why = "a name in the third message of NTLM is no text";
	else if (!is_proof(hash, buf_span(&user), buf_span(&domain), challenge, authenticate->nt, key) &&
	         !is_proof(hash, buf_span(&user), SPAN(""), challenge, authenticate->nt, key)) {
		well = false;
		*why = "the password is wrong";
	}
	buf_fini(&user);
	buf_fini(&domain);
	return well;
}

/* NTLMv1, with or without extended session security: MS-NLMP 3.3.1. */
static bool check_v1(const uint8_t hash[static 16], const struct ntlm_authenticate *authenticate,
                     const struct ntlm_challenge *challenge, uint8_t key[static 16], const char **why)
{
	bool is_extended = (authenticate->flags & FLAG_EXTENDED) && authenticate->lm.len == V1_BYTES;
	struct span server = span_of(challenge->challenge, sizeof(challenge->challenge));
	struct span parts[] = {server, span_first(authenticate->lm, 8)};
	uint8_t nonce[16], expected[V1_BYTES], user_key[16];
	bool well = true;

	memcpy(nonce, challenge->challenge, 8);
	if (is_extended)
		well = ntlm_md5(parts, COUNT_OF(parts), nonce);
	well = well && ntlm_desl(hash, nonce, expected) &&
	       CRYPTO_memcmp(expected, authenticate->nt.at, V1_BYTES) == 0;
	if (!well)
		return refuse(why, "the password is wrong");
	well = ntlm_md4(span_of(hash, 16), user_key);
	if (well && is_extended)
		well = ntlm_hmac_md5(user_key, parts, COUNT_OF(parts), key);
	else
		memcpy(key, user_key, 16);
	explicit_bzero(user_key, sizeof(user_key));
	return well || refuse(why, "OpenSSL failed");
}

/* ---- keys and MICs ---- */

static bool export_key(const struct ntlm_authenticate *authenticate, const uint8_t base_key[static 16],
                       uint8_t out[static 16])
{
	if (!(authenticate->flags & FLAG_KEY_EXCHANGE)) {
		memcpy(out, base_key, 16);
		return true;
	}
	return authenticate->session_key.len == 16 &&
	       ntlm_rc4(span_of(base_key, 16), authenticate->session_key, out);
}

/* Does the client say that there is a MIC? */
static bool has_mic(const struct ntlm_authenticate *authenticate)
{
	struct span pairs = span_skip(authenticate->nt, PROOF_BYTES + BLOB_HEAD_BYTES), value;
	bool is_whole;

	return !is_v1_response(authenticate) && ntlm_find_av(pairs, AV_FLAGS, &value, &is_whole) && value.len == 4 &&
	       (ntlm_u32(value.at) & AV_FLAG_MIC);
}

static bool check_mic(const struct ask *ask, const struct ntlm_authenticate *authenticate,
                      const uint8_t key[static 16], const char **why)
{
	static const uint8_t zeros[NTLM_MIC_BYTES];
	struct span third = ask->authenticate;
	struct span parts[] = {ask->negotiate, ask->challenge, span_first(third, AT_MIC),
	                       span_of(zeros, sizeof(zeros)), span_skip(third, MIC_END)};
	uint8_t expected[16];

	if (!has_mic(authenticate))
		return !ask->require_mic || refuse(why, "there is no MIC (authentication.ntlm.require_mic)");
	if (third.len < MIC_END)
		return refuse(why, "there is no room for the MIC that is said to be there");
	return (ntlm_hmac_md5(key, parts, COUNT_OF(parts), expected) &&
	        CRYPTO_memcmp(expected, third.at + AT_MIC, NTLM_MIC_BYTES) == 0) ||
	       refuse(why, "the MIC is wrong");
}

/* MS-NLMP 3.4.5.2, 3.4.5.3; the constants end with their NUL. */
static bool make_key(const uint8_t session_key[static 16], size_t key_bytes, bool is_client, const char *use,
                     uint8_t out[static 16])
{
	char magic[80];
	int len = snprintf(magic, sizeof(magic), "session key to %s %s key magic constant",
	                   is_client ? "client-to-server" : "server-to-client", use);
	struct span parts[] = {span_of(session_key, key_bytes), span_of(magic, (size_t)len + 1)};

	return ntlm_md5(parts, COUNT_OF(parts), out);
}

bool ntlm_list_mic(uint32_t flags, const uint8_t session_key[static NTLM_HASH_BYTES], bool is_client,
                   struct span mech_types, uint8_t out[static NTLM_MIC_BYTES])
{
	static const uint8_t version[4] = {1}, sequence[4] = {0};
	struct span parts[] = {span_of(sequence, sizeof(sequence)), mech_types};
	size_t seal_bytes = flags & FLAG_128 ? 16 : flags & FLAG_56 ? 7 : 5;
	uint8_t sign_key[16], seal_key[16], mac[16];
	bool well = make_key(session_key, 16, is_client, "signing", sign_key) &&
	            make_key(session_key, seal_bytes, is_client, "sealing", seal_key) &&
	            ntlm_hmac_md5(sign_key, parts, COUNT_OF(parts), mac);

	memcpy(out, version, sizeof(version));
	memcpy(out + 4, mac, 8);
	memcpy(out + 12, sequence, sizeof(sequence));
	if (well && (flags & FLAG_KEY_EXCHANGE))
		well = ntlm_rc4(span_of(seal_key, 16), span_of(mac, 8), out + 4);
	explicit_bzero(sign_key, sizeof(sign_key));
	explicit_bzero(seal_key, sizeof(seal_key));
	return well;
}

static bool check_list_mic(const struct ask *ask, uint32_t flags, const uint8_t key[static 16], struct answer *answer,
                           const char **why)
{
	uint8_t mic[NTLM_MIC_BYTES];

	if (ask->mech_types.len == 0)
		return true;
	if (ask->mech_list_mic.len == 0)
		return !ask->require_mech_list_mic ||
		       refuse(why, "the list of mechanisms has no MIC, and NTLM was not the client's first choice");
	if (!ntlm_list_mic(flags, key, true, ask->mech_types, mic) || ask->mech_list_mic.len != sizeof(mic) ||
	    CRYPTO_memcmp(mic, ask->mech_list_mic.at, sizeof(mic)) != 0)
		return refuse(why, "the MIC of the list of mechanisms is wrong");
	if (!ntlm_list_mic(flags, key, false, ask->mech_types, mic))
		return refuse(why, "OpenSSL failed");
	buf_reset(&answer->token);
	buf_add(&answer->token, span_of(mic, sizeof(mic)));
	return true;
}

enum ask_verdict ntlm_verify_known_key(const struct ask *ask, bool is_v1,
                                       const uint8_t session_base_key[static NTLM_HASH_BYTES], struct answer *answer)
{
	struct ntlm_authenticate authenticate;
	const char *why = "OpenSSL failed";
	uint8_t key[16];
	bool well = ntlm_parse_authenticate(ask->authenticate, &authenticate, &why) &&
	            export_key(&authenticate, session_base_key, key) && check_mic(ask, &authenticate, key, &why) &&
	            check_list_mic(ask, authenticate.flags, key, answer, &why);

	explicit_bzero(key, sizeof(key));
	if (!well)
		return answer_say(answer, VERDICT_INVALID, "%s", why);
	answer->mechanism = is_v1 ? AUTH_MECHANISM_NTLM_V1 : AUTH_MECHANISM_NTLM;
	return answer->verdict = VERDICT_VALID;
}

enum ask_verdict ntlm_verify_local(const struct ask *ask, const uint8_t hash[static NTLM_HASH_BYTES], uint64_t skew_ms,
                                   struct answer *answer)
{
	struct ntlm_authenticate authenticate;
	struct ntlm_challenge challenge;
	enum ask_verdict verdict;
	const char *why;
	uint8_t key[16];
	bool is_v1;

	if (!ntlm_check_form(ask, skew_ms, &is_v1, &why) || !parse(ask, &challenge, &authenticate, &why) ||
	    !(is_v1 ? check_v1(hash, &authenticate, &challenge, key, &why)
	            : check_v2(hash, &authenticate, &challenge, key, &why)))
		return answer_say(answer, VERDICT_INVALID, "%s", why);
	verdict = ntlm_verify_known_key(ask, is_v1, key, answer);
	explicit_bzero(key, sizeof(key));
	return verdict;
}
