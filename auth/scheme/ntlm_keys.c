/* SPDX-License-Identifier: Apache-2.0 */
/* The keys that come out of a right response, and what is signed with them: MS-NLMP 3.2.5.1.2, 3.4. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "auth/scheme/ntlm_private.h"

static bool refuse(const char **why, const char *text)
{
	*why = text;
	return false;
}

/* MS-NLMP 3.4.5.1 KXKEY; LM keys are never negotiated. */
static bool exchange_key(const struct ntlm_authenticate *authenticate, const struct ntlm_challenge *challenge,
                         const uint8_t base_key[static 16], uint8_t out[static 16])
{
	struct span parts[] = {span_of(challenge->challenge, NTLM_CHALLENGE_BYTES),
	                       span_first(authenticate->lm, NTLM_CHALLENGE_BYTES)};

	if (ntlm_is_session(authenticate))
		return ntlm_hmac_md5(base_key, parts, COUNT_OF(parts), out);
	memcpy(out, base_key, 16);
	return true;
}

bool ntlm_export_key(const struct ntlm_authenticate *authenticate, const struct ntlm_challenge *challenge,
                     const uint8_t base_key[static 16], uint8_t out[static 16], const char **why)
{
	uint8_t key[16];
	bool well;

	if ((authenticate->flags & FLAG_KEY_EXCHANGE) && authenticate->session_key.len != 16)
		return refuse(why, "the session key has not 16 bytes");
	well = exchange_key(authenticate, challenge, base_key, key);
	if (well && (authenticate->flags & FLAG_KEY_EXCHANGE))
		well = ntlm_rc4(span_of(key, 16), authenticate->session_key, out);
	else
		memcpy(out, key, 16);
	explicit_bzero(key, sizeof(key));
	return well || refuse(why, "OpenSSL failed");
}

bool ntlm_check_mic(const struct ask *ask, const struct ntlm_authenticate *authenticate, const uint8_t key[static 16],
                    const char **why)
{
	static const uint8_t zeros[NTLM_MIC_BYTES];
	struct span third = ask->authenticate;
	struct span parts[] = {ask->negotiate, ask->challenge, span_first(third, AT_MIC),
	                       span_of(zeros, sizeof(zeros)), span_skip(third, MIC_END)};
	uint8_t expected[NTLM_MIC_BYTES];

	if (!ntlm_has_mic(authenticate))
		return !ask->require_mic || refuse(why, "there is no MIC (authentication.ntlm.require_mic)");
	if (third.len < MIC_END)
		return refuse(why, "there is no room for the MIC that is said to be there");
	return (ntlm_hmac_md5(key, parts, COUNT_OF(parts), expected) &&
	        CRYPTO_memcmp(expected, third.at + AT_MIC, NTLM_MIC_BYTES) == 0) ||
	       refuse(why, "the MIC is wrong");
}

/* The constants end with their NUL. */
bool ntlm_make_key(const uint8_t session_key[static 16], size_t key_bytes, bool is_client, const char *use,
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
	bool well = (flags & FLAG_EXTENDED) && ntlm_make_key(session_key, 16, is_client, "signing", sign_key) &&
	            ntlm_make_key(session_key, seal_bytes, is_client, "sealing", seal_key) &&
	            ntlm_hmac_md5(sign_key, parts, COUNT_OF(parts), mac);

	if (well) {
		memcpy(out, version, sizeof(version));
		memcpy(out + 4, mac, 8);
		memcpy(out + 12, sequence, sizeof(sequence));
	}
	if (well && (flags & FLAG_KEY_EXCHANGE))
		well = ntlm_rc4(span_of(seal_key, 16), span_of(mac, 8), out + 4);
	explicit_bzero(sign_key, sizeof(sign_key));
	explicit_bzero(seal_key, sizeof(seal_key));
	return well;
}

bool ntlm_check_list_mic(const struct ask *ask, uint32_t flags, const uint8_t key[static 16], struct answer *answer,
                         const char **why)
{
	uint8_t mic[NTLM_MIC_BYTES];

	if (ask->mech_list_mic.len == 0)
		return !ask->require_mech_list_mic ||
		       refuse(why, "the list of mechanisms has no MIC, and NTLM was not the client's first choice");
	if (ask->mech_types.len == 0)
		return refuse(why, "there is a MIC of a list of mechanisms, and no list");
	/* Without it a MIC is a sum that everybody can make fit: Windows and Samba do not use it here either. */
	if (!(flags & FLAG_EXTENDED))
		return refuse(why, "the MIC of the list of mechanisms is one without extended session security");
	if (!ntlm_list_mic(flags, key, true, ask->mech_types, mic) || ask->mech_list_mic.len != sizeof(mic) ||
	    CRYPTO_memcmp(mic, ask->mech_list_mic.at, sizeof(mic)) != 0)
		return refuse(why, "the MIC of the list of mechanisms is wrong");
	if (!ntlm_list_mic(flags, key, false, ask->mech_types, mic))
		return refuse(why, "OpenSSL failed");
	buf_reset(&answer->token);
	buf_add(&answer->token, span_of(mic, sizeof(mic)));
	return buf_is_whole(&answer->token) || refuse(why, "there is no memory for the MIC");
}
