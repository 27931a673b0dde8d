/* SPDX-License-Identifier: Apache-2.0 */
/* Is the third message of NTLM right? MS-NLMP 3.2.5.1.2, 3.3.1, 3.3.2. */
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

/* What our second message says, clients repeat. Where they do not, the answer was made for somebody else, or somebody
 * in between has changed our message: without the time in it, for one, clients leave out the MIC. */
static bool is_repeated(const struct ntlm_avs *ours, const struct ntlm_avs *theirs, enum ntlm_av id)
{
	return ours->values[id].at && theirs->values[id].at && span_equal(ours->values[id], theirs->values[id]);
}

static bool check_time(uint64_t filetime, uint64_t ours, uint64_t skew_ms, const char **why)
{
	uint64_t difference = filetime > ours ? filetime - ours : ours - filetime;

	if (filetime == 0)
		return refuse(why, "the answer has no time");
	return difference / FILETIME_PER_MS <= skew_ms ||
	       refuse(why, "the time in the answer is not ours (authentication.ntlm.skew)");
}

/* The blob of NTLMv2 (MS-NLMP 2.2.2.7). */
static bool check_blob(struct span blob, const struct ntlm_challenge *challenge, uint64_t skew_ms, const char **why)
{
	struct ntlm_avs ours, theirs;

	if (!ntlm_parse_avs(challenge->target_info, &ours) || !ours.values[AV_TIMESTAMP].at)
		return refuse(why, "the second message of NTLM is not one of ours");
	if (blob.len < BLOB_HEAD_BYTES + 4 || blob.at[0] != 1 || blob.at[1] != 1)
		return refuse(why, "the NTLMv2 response is too short, or of another version");
	if (!ntlm_parse_avs(span_skip(blob, BLOB_HEAD_BYTES), &theirs))
		return refuse(why, "the list in the NTLMv2 response is malformed");
	if (!is_repeated(&ours, &theirs, AV_NB_COMPUTER))
		return refuse(why, "the answer was made for another server: the computer's name is not ours");
	if (!is_repeated(&ours, &theirs, AV_NB_DOMAIN))
		return refuse(why, "the answer was made for another server: the domain's name is not ours");
	if (!is_repeated(&ours, &theirs, AV_TIMESTAMP))
		return refuse(why, "the answer was made for another second message: the time in its list is not ours");
	return check_time(ntlm_u64(blob.at + 8), ntlm_u64(ours.values[AV_TIMESTAMP].at), skew_ms, why);
}

static bool parse(const struct ask *ask, struct ntlm_challenge *challenge, struct ntlm_authenticate *authenticate,
                  const char **why)
{
	struct ntlm_negotiate negotiate;

	if (!ntlm_parse_negotiate(ask->negotiate, &negotiate, why))
		return false;
	if (!ntlm_parse_challenge(ask->challenge, challenge))
		return refuse(why, "the second message of NTLM is not one of ours");
	return ntlm_parse_authenticate(ask->authenticate, authenticate, why);
}

/* Somebody has to be there, and to have proved it. */
static bool check_user(const struct ntlm_authenticate *authenticate, const char **why)
{
	if ((authenticate->flags & FLAG_ANONYMOUS) || (authenticate->user.len == 0 && authenticate->nt.len == 0))
		return refuse(why, "the client is anonymous");
	if (authenticate->user.len == 0)
		return refuse(why, "the user's name is empty");
	if (authenticate->nt.len == 0)
		return refuse(why, authenticate->lm.len > 1 ? "the answer is LM alone, which is refused"
		                                            : "the answer has no response");
	return true;
}

bool ntlm_check_form(const struct ask *ask, uint64_t skew_ms, bool *is_v1, const char **why)
{
	struct ntlm_authenticate authenticate;
	struct ntlm_challenge challenge;

	*is_v1 = false;
	if (!parse(ask, &challenge, &authenticate, why) || !check_user(&authenticate, why))
		return false;
	if ((authenticate.flags & FLAG_KEY_EXCHANGE) && authenticate.session_key.len != NTLM_HASH_BYTES)
		return refuse(why, "the session key has not 16 bytes");
	*is_v1 = ntlm_is_v1(&authenticate);
	if (*is_v1 && !ask->allow_v1)
		return refuse(why, "the answer is NTLMv1, which is refused (authentication.ntlm.allow_v1)");
	if (!*is_v1 && authenticate.nt.len < PROOF_BYTES + BLOB_HEAD_BYTES)
		return refuse(why, "the NTLM response has a length that none has");
	if (!*is_v1 && !check_blob(span_skip(authenticate.nt, PROOF_BYTES), &challenge, skew_ms, why))
		return false;
	return !ask->require_mic || ntlm_has_mic(&authenticate) ||
	       refuse(why, "there is no MIC (authentication.ntlm.require_mic)");
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
	if (!ntlm_is_session(&authenticate))
		return true;
	out->lm = SPAN("");
	return ntlm_session_challenge(&challenge, &authenticate, out->challenge) || refuse(why, "OpenSSL failed");
}

/* ---- the proof ---- */

static bool is_proof(const uint8_t response_key[static 16], const struct ntlm_challenge *challenge, struct span nt,
                     uint8_t base_key[static 16])
{
	struct span parts[] = {span_of(challenge->challenge, sizeof(challenge->challenge)), span_skip(nt, PROOF_BYTES)};
	struct span proof = span_first(nt, PROOF_BYTES);
	uint8_t expected[PROOF_BYTES];
	bool well = proof.len == PROOF_BYTES && ntlm_hmac_md5(response_key, parts, COUNT_OF(parts), expected) &&
	            CRYPTO_memcmp(expected, proof.at, PROOF_BYTES) == 0 &&
	            ntlm_hmac_md5(response_key, &proof, 1, base_key);

	explicit_bzero(expected, sizeof(expected));
	return well;
}

/* Clients may leave the domain out of it, and do not agree about capital letters. */
static bool is_any_proof(const uint8_t hash[static 16], struct span user, struct span domain,
                         const struct ntlm_challenge *challenge, struct span nt, uint8_t base_key[static 16])
{
	uint8_t response_key[16];
	bool well = false;

	for (unsigned capitals = 0; capitals < CAPITALS_COUNT && !well; capitals++)
		well = (ntlm_response_key(hash, user, (enum ntlm_capitals)capitals, domain, response_key) &&
		        is_proof(response_key, challenge, nt, base_key)) ||
		       (ntlm_response_key(hash, user, (enum ntlm_capitals)capitals, SPAN(""), response_key) &&
		        is_proof(response_key, challenge, nt, base_key));
	explicit_bzero(response_key, sizeof(response_key));
	return well;
}

bool ntlm_check_v2(const uint8_t hash[static 16], const struct ntlm_authenticate *authenticate,
                   const struct ntlm_challenge *challenge, uint8_t base_key[static 16], const char **why)
{
	struct buf user, domain;
	bool well;

	buf_init(&user, NAME_MAX_BYTES);
	buf_init(&domain, NAME_MAX_BYTES);
	well = ntlm_add_text(authenticate->user, authenticate->flags, &user) &&
	       ntlm_add_text(authenticate->domain, authenticate->flags, &domain) && buf_is_whole(&user) &&
	       buf_is_whole(&domain);
	if (!well) {
		*why = "a name in the third message of NTLM is no text";
	} else if (!is_any_proof(hash, buf_span(&user), buf_span(&domain), challenge, authenticate->nt, base_key)) {
		well = false;
		*why = "the password is wrong";
	}
	buf_fini(&user);
	buf_fini(&domain);
	return well;
}

/* NTLMv1, with or without extended session security: MS-NLMP 3.3.1. */
bool ntlm_check_v1(const uint8_t hash[static 16], const struct ntlm_authenticate *authenticate,
                   const struct ntlm_challenge *challenge, uint8_t base_key[static 16], const char **why)
{
	uint8_t nonce[NTLM_CHALLENGE_BYTES], expected[V1_BYTES];
	bool well = true;

	memcpy(nonce, challenge->challenge, sizeof(nonce));
	if (ntlm_is_session(authenticate))
		well = ntlm_session_challenge(challenge, authenticate, nonce);
	well = well && ntlm_is_v1(authenticate) && ntlm_desl(hash, nonce, expected) &&
	       CRYPTO_memcmp(expected, authenticate->nt.at, V1_BYTES) == 0;
	explicit_bzero(expected, sizeof(expected));
	if (!well)
		return refuse(why, "the password is wrong");
	return ntlm_md4(span_of(hash, NTLM_HASH_BYTES), base_key) || refuse(why, "OpenSSL failed");
}

/* ---- all of it ---- */

static bool check_keys(const struct ask *ask, const uint8_t base_key[static 16], struct answer *answer,
                       const char **why)
{
	struct ntlm_authenticate authenticate;
	struct ntlm_challenge challenge;
	uint8_t key[16];
	bool well = parse(ask, &challenge, &authenticate, why) &&
	            ntlm_export_key(&authenticate, &challenge, base_key, key, why) &&
	            ntlm_check_mic(ask, &authenticate, key, why) &&
	            ntlm_check_list_mic(ask, authenticate.flags, key, answer, why);

	explicit_bzero(key, sizeof(key));
	return well;
}

enum ask_verdict ntlm_verify_known_key(const struct ask *ask, bool is_v1,
                                       const uint8_t session_base_key[static NTLM_HASH_BYTES], struct answer *answer)
{
	const char *why;

	if (!check_keys(ask, session_base_key, answer, &why))
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
	uint8_t base_key[16];
	bool is_v1;

	if (!ntlm_check_form(ask, skew_ms, &is_v1, &why) || !parse(ask, &challenge, &authenticate, &why) ||
	    !(is_v1 ? ntlm_check_v1 : ntlm_check_v2)(hash, &authenticate, &challenge, base_key, &why))
		return answer_say(answer, VERDICT_INVALID, "%s", why);
	verdict = ntlm_verify_known_key(ask, is_v1, base_key, answer);
	explicit_bzero(base_key, sizeof(base_key));
	return verdict;
}
