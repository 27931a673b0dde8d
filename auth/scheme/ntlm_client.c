/* SPDX-License-Identifier: Apache-2.0 */
/* NTLM as a client: for sallyport auth test, sallyport doctor, and tests. */
#include <ntlm.h>
#include <string.h>

#include "auth/scheme/ntlm_private.h"
#include "base/secret.h"

static const uint8_t signature[8] = "NTLMSSP";

enum { HEAD_BYTES = 88, CLIENT_FLAGS = FLAG_UNICODE | FLAG_REQUEST_TARGET | FLAG_SIGN | FLAG_NTLM | FLAG_ALWAYS_SIGN |
                                       FLAG_EXTENDED | FLAG_128 | FLAG_KEY_EXCHANGE };

void ntlm_client_negotiate(struct buf *out)
{
	buf_add(out, span_of(signature, sizeof(signature)));
	ntlm_add_u32(out, NTLM_NEGOTIATE);
	ntlm_add_u32(out, CLIENT_FLAGS);
	ntlm_add_u64(out, 0);
	ntlm_add_u64(out, 0);
}

/* The pairs of the second message, with what the client says for itself. */
static void add_pairs(const struct ntlm_client *client, struct span target_info, struct buf *out)
{
	struct buf name;

	if (target_info.len >= 4)
		buf_add(out, span_first(target_info, target_info.len - 4));
	if (client->mic) {
		ntlm_add_u16(out, AV_FLAGS);
		ntlm_add_u16(out, 4);
		ntlm_add_u32(out, AV_FLAG_MIC);
	}
	if (client->target.len) {
		buf_init(&name, 2048);
		ntlm_add_utf16(client->target, &name);
		ntlm_add_u16(out, AV_TARGET_NAME);
		ntlm_add_u16(out, (uint16_t)buf_len(&name));
		buf_add(out, buf_span(&name));
		buf_fini(&name);
	}
	ntlm_add_u32(out, AV_END);
}

/* The NTLMv2 response, and its session base key. */
static bool respond_v2(const struct ntlm_client *client, const struct ntlm_challenge *challenge, struct buf *out,
                       uint8_t base_key[static 16])
{
	uint8_t hash[16], key[16], proof[16], nonce[8];
	uint64_t filetime = client->filetime;
	struct span parts[2];
	struct ntlm_avs avs;
	struct buf blob;
	bool well;

	if (!ntlm_parse_avs(challenge->target_info, &avs))
		return false;
	if (avs.values[AV_TIMESTAMP].at && filetime == 0)
		filetime = ntlm_u64(avs.values[AV_TIMESTAMP].at);
	secret_random(nonce, sizeof(nonce));
	buf_init(&blob, ASK_NTLM_MAX_BYTES);
	ntlm_add_u64(&blob, 0x101);
	ntlm_add_u64(&blob, filetime);
	buf_add(&blob, span_of(nonce, sizeof(nonce)));
	ntlm_add_u32(&blob, 0);
	add_pairs(client, challenge->target_info, &blob);
	ntlm_add_u32(&blob, 0);
	parts[0] = span_of(challenge->challenge, sizeof(challenge->challenge));
	parts[1] = buf_span(&blob);
	well = buf_is_whole(&blob) && ntlm_hash(client->password, hash) &&
	       ntlm_response_key(hash, client->user, CAPITALS_WINDOWS, client->domain, key) &&
	       ntlm_hmac_md5(key, parts, 2, proof);
	parts[0] = span_of(proof, sizeof(proof));
	well = well && ntlm_hmac_md5(key, parts, 1, base_key);
	buf_add(out, span_of(proof, sizeof(proof)));
	buf_add(out, buf_span(&blob));
	buf_fini(&blob);
	explicit_bzero(hash, sizeof(hash));
	explicit_bzero(key, sizeof(key));
	return well;
}

/* By libntlm, from the password. `lm` gets what goes before the response. */
static bool respond_v1(const struct ntlm_client *client, const struct ntlm_challenge *challenge,
                       uint8_t lm[static V1_BYTES], struct buf *out, uint8_t base_key[static 16])
{
	struct ntlm_authenticate own = {.lm = span_of(lm, V1_BYTES)};
	uint8_t nonce[NTLM_CHALLENGE_BYTES], response[V1_BYTES], hash[16];
	char password[256];
	bool well = client->password.len < sizeof(password);

	memcpy(nonce, challenge->challenge, sizeof(nonce));
	if (client->session) {
		secret_random(lm, NTLM_CHALLENGE_BYTES);
		well = well && ntlm_session_challenge(challenge, &own, nonce);
	}
	if (!well)
		return false;
	memcpy(password, client->password.at, client->password.len);
	password[client->password.len] = 0;
	ntlm_smb_nt_encrypt(password, nonce, response);
	explicit_bzero(password, sizeof(password));
	buf_add(out, span_of(response, sizeof(response)));
	well = ntlm_hash(client->password, hash) && ntlm_md4(span_of(hash, 16), base_key);
	explicit_bzero(hash, sizeof(hash));
	return well;
}

static void add_field(struct buf *head, struct span part, struct buf *payload)
{
	ntlm_add_u16(head, (uint16_t)part.len);
	ntlm_add_u16(head, (uint16_t)part.len);
	ntlm_add_u32(head, (uint32_t)(HEAD_BYTES + buf_len(payload)));
	buf_add(payload, part);
}

static void add_name(struct buf *head, struct span text, struct buf *payload)
{
	struct buf wire;

	buf_init(&wire, 4096);
	ntlm_add_utf16(text, &wire);
	add_field(head, buf_span(&wire), payload);
	payload->overflow |= wire.overflow;
	buf_fini(&wire);
}

static bool finish(const struct ntlm_client *client, struct span negotiate, struct span challenge, struct buf *head,
                   struct buf *payload, const uint8_t key[static 16], struct buf *out)
{
	uint8_t mic[16] = {0};
	struct span parts[5] = {negotiate, challenge, buf_span(head), span_of(mic, sizeof(mic)), buf_span(payload)};
	uint8_t made[16];

	if (client->mic && !ntlm_hmac_md5(key, parts, COUNT_OF(parts), made))
		return false;
	buf_add(out, buf_span(head));
	buf_add(out, client->mic ? span_of(made, sizeof(made)) : span_of(mic, sizeof(mic)));
	buf_add(out, buf_span(payload));
	return true;
}

/* A key of our own, sealed with what both sides know; or that itself. */
static bool make_session_key(const struct ntlm_authenticate *own, const struct ntlm_challenge *challenge,
                             const uint8_t base_key[static 16], uint8_t session_key[static 16], struct buf *sealed)
{
	struct ntlm_authenticate plain = *own;
	uint8_t key[16], bytes[16];
	const char *why;
	bool well;

	plain.flags &= ~(uint32_t)FLAG_KEY_EXCHANGE;
	if (!(own->flags & FLAG_KEY_EXCHANGE))
		return ntlm_export_key(&plain, challenge, base_key, session_key, &why);
	secret_random(session_key, 16);
	well = ntlm_export_key(&plain, challenge, base_key, key, &why) &&
	       ntlm_rc4(span_of(key, sizeof(key)), span_of(session_key, 16), bytes);
	explicit_bzero(key, sizeof(key));
	if (well)
		buf_add(sealed, span_of(bytes, sizeof(bytes)));
	return well;
}

static void add_head(const struct ntlm_client *client, const struct ntlm_authenticate *own, struct buf *head,
                     struct buf *payload)
{
	buf_add(head, span_of(signature, sizeof(signature)));
	ntlm_add_u32(head, NTLM_AUTHENTICATE);
	add_field(head, own->lm, payload);
	add_field(head, own->nt, payload);
	add_name(head, client->domain, payload);
	add_name(head, client->user, payload);
	add_name(head, client->workstation, payload);
	add_field(head, own->session_key, payload);
	ntlm_add_u32(head, own->flags);
	ntlm_add_u64(head, 0); /* version */
}

/* What is on only if the server has it on, too. */
static uint32_t agreed_flags(const struct ntlm_client *client, const struct ntlm_challenge *challenge)
{
	uint32_t flags = CLIENT_FLAGS;

	if (client->v1 && !client->session)
		flags &= ~(uint32_t)(FLAG_EXTENDED | FLAG_KEY_EXCHANGE);
	return flags & challenge->flags;
}

bool ntlm_client_authenticate(const struct ntlm_client *client, struct span negotiate, struct span challenge,
                              struct buf *out, uint8_t session_key[static NTLM_HASH_BYTES])
{
	struct buf head, payload, nt, sealed;
	struct ntlm_authenticate own;
	struct ntlm_challenge parsed;
	uint8_t lm[V1_BYTES] = {0}, base_key[16];
	bool well;

	if (!ntlm_parse_challenge(challenge, &parsed))
		return false;
	buf_init(&head, HEAD_BYTES);
	buf_init(&payload, ASK_NTLM_MAX_BYTES);
	buf_init(&nt, ASK_NTLM_MAX_BYTES);
	buf_init(&sealed, 16);
	well = client->v1 ? respond_v1(client, &parsed, lm, &nt, base_key) : respond_v2(client, &parsed, &nt, base_key);
	own = (struct ntlm_authenticate){.flags = agreed_flags(client, &parsed), .lm = span_of(lm, sizeof(lm)),
	                                 .nt = buf_span(&nt)};
	well = well && make_session_key(&own, &parsed, base_key, session_key, &sealed);
	own.session_key = buf_span(&sealed);
	add_head(client, &own, &head, &payload);
	well = well && buf_is_whole(&nt) && buf_is_whole(&head) && buf_is_whole(&payload) &&
	       finish(client, negotiate, challenge, &head, &payload, session_key, out);
	buf_fini(&head);
	buf_fini(&payload);
	buf_fini(&nt);
	buf_fini(&sealed);
	explicit_bzero(base_key, sizeof(base_key));
	return well;
}
