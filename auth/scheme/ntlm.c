/* SPDX-License-Identifier: Apache-2.0 */
/* NTLM's messages. */
#include "auth/scheme/ntlm.h"

#include <string.h>

#include "auth/fold.h"
#include "auth/scheme/ntlm_private.h"

enum { NEGOTIATE_MIN_BYTES = 16, CHALLENGE_MIN_BYTES = 48, AUTHENTICATE_MIN_BYTES = 64, VERSION_BYTES = 8 };

static const uint8_t signature[8] = "NTLMSSP";

/* ---- little-endian ---- */

uint16_t ntlm_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

uint32_t ntlm_u32(const uint8_t *at)
{
	return ntlm_u16(at) | (uint32_t)ntlm_u16(at + 2) << 16;
}

uint64_t ntlm_u64(const uint8_t *at)
{
	return ntlm_u32(at) | (uint64_t)ntlm_u32(at + 4) << 32;
}

void ntlm_add_u16(struct buf *out, uint16_t number)
{
	buf_add_byte(out, (uint8_t)number);
	buf_add_byte(out, (uint8_t)(number >> 8));
}

void ntlm_add_u32(struct buf *out, uint32_t number)
{
	ntlm_add_u16(out, (uint16_t)number);
	ntlm_add_u16(out, (uint16_t)(number >> 16));
}

void ntlm_add_u64(struct buf *out, uint64_t number)
{
	ntlm_add_u32(out, (uint32_t)number);
	ntlm_add_u32(out, (uint32_t)(number >> 32));
}

/* ---- texts ---- */

static bool is_control(uint32_t character)
{
	return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

static bool add_utf16(struct span wire, struct buf *out)
{
	if (wire.len % 2)
		return false;
	for (size_t i = 0; i < wire.len; i += 2) {
		uint32_t unit = ntlm_u16(wire.at + i);

		if (unit >= 0xd800 && unit < 0xdc00 && i + 4 <= wire.len) {
			uint32_t low = ntlm_u16(wire.at + i + 2);

			if (low < 0xdc00 || low >= 0xe000)
				return false;
			unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
			i += 2;
		} else if (unit >= 0xd800 && unit < 0xe000) {
			return false;
		}
		if (is_control(unit))
			return false;
		fold_add(unit, out);
	}
	return true;
}

bool ntlm_add_text(struct span wire, uint32_t flags, struct buf *out)
{
	if (flags & FLAG_UNICODE)
		return add_utf16(wire, out);
	/* Which code page it is, nobody says: Latin-1 is what Western clients mean. */
	for (size_t i = 0; i < wire.len; i++) {
		if (is_control(wire.at[i]))
			return false;
		fold_add(wire.at[i], out);
	}
	return true;
}

void ntlm_add_utf16(struct span text, struct buf *out)
{
	while (text.len) {
		uint32_t character = fold_next(&text);

		if (character == UINT32_MAX)
			character = 0xfffd;
		if (character >= 0x10000) {
			ntlm_add_u16(out, (uint16_t)(0xd800 + ((character - 0x10000) >> 10)));
			ntlm_add_u16(out, (uint16_t)(0xdc00 + ((character - 0x10000) & 0x3ff)));
		} else {
			ntlm_add_u16(out, (uint16_t)character);
		}
	}
}

/* ---- reading ---- */

enum ntlm_type ntlm_type(struct span token)
{
	uint32_t type;

	if (token.len < AT_TYPE + 4 || memcmp(token.at, signature, sizeof(signature)) != 0)
		return NTLM_NONE;
	type = ntlm_u32(token.at + AT_TYPE);
	return type >= 1 && type <= 3 ? (enum ntlm_type)type : NTLM_NONE;
}

/* A field of 8 bytes at `at`: length, room, offset. False: it points outside. */
static bool read_field(struct span token, size_t at, struct span *out)
{
	size_t len = ntlm_u16(token.at + at), offset = ntlm_u32(token.at + at + 4);

	*out = SPAN("");
	if (len == 0)
		return true; /* the offset may be anything then */
	if (offset > token.len || len > token.len - offset)
		return false;
	*out = span_of(token.at + offset, len);
	return true;
}

bool ntlm_parse_negotiate(struct span token, struct ntlm_negotiate *out, const char **why)
{
	if (token.len > ASK_NTLM_MAX_BYTES)
		*why = "the first message of NTLM is too long";
	else if (ntlm_type(token) != NTLM_NEGOTIATE || token.len < NEGOTIATE_MIN_BYTES)
		*why = "this is no first message of NTLM";
	else {
		/* Its domain and workstation say nothing that is of use. */
		out->flags = ntlm_u32(token.at + 12);
		return true;
	}
	return false;
}

bool ntlm_parse_challenge(struct span token, struct ntlm_challenge *out)
{
	if (ntlm_type(token) != NTLM_CHALLENGE || token.len < CHALLENGE_MIN_BYTES || token.len > ASK_NTLM_MAX_BYTES)
		return false;
	out->flags = ntlm_u32(token.at + 20);
	memcpy(out->challenge, token.at + 24, sizeof(out->challenge));
	return read_field(token, 40, &out->target_info);
}

bool ntlm_parse_authenticate(struct span token, struct ntlm_authenticate *out, const char **why)
{
	*why = "the third message of NTLM has a field that points outside";
	if (token.len > ASK_NTLM_MAX_BYTES) {
		*why = "the third message of NTLM is too long";
		return false;
	}
	if (ntlm_type(token) != NTLM_AUTHENTICATE || token.len < AUTHENTICATE_MIN_BYTES) {
		*why = "this is no third message of NTLM";
		return false;
	}
	out->flags = ntlm_u32(token.at + 60);
	return read_field(token, 12, &out->lm) && read_field(token, 20, &out->nt) && read_field(token, 28, &out->domain) &&
	       read_field(token, 36, &out->user) && read_field(token, 44, &out->workstation) &&
	       read_field(token, 52, &out->session_key);
}

uint32_t ntlm_flags(struct span authenticate)
{
	struct ntlm_authenticate parsed;
	const char *why;

	return ntlm_parse_authenticate(authenticate, &parsed, &why) ? parsed.flags : 0;
}

bool ntlm_who(struct span authenticate, struct buf *domain, struct buf *user, struct buf *workstation,
              const char **why)
{
	struct ntlm_authenticate parsed;

	if (!ntlm_parse_authenticate(authenticate, &parsed, why))
		return false;
	*why = "a name in the third message of NTLM is no text";
	return ntlm_add_text(parsed.domain, parsed.flags, domain) && ntlm_add_text(parsed.user, parsed.flags, user) &&
	       ntlm_add_text(parsed.workstation, parsed.flags, workstation) && buf_is_whole(domain) &&
	       buf_is_whole(user) && buf_is_whole(workstation);
}

bool ntlm_parse_avs(struct span list, struct ntlm_avs *out)
{
	*out = (struct ntlm_avs){0};
	while (list.len >= 4) {
		uint16_t id = ntlm_u16(list.at), len = ntlm_u16(list.at + 2);

		list = span_skip(list, 4);
		if (id == AV_END)
			return len == 0;
		if (len > list.len || (id == AV_FLAGS && len != 4) || (id == AV_TIMESTAMP && len != 8))
			return false;
		if (id < AV_COUNT) {
			if (out->values[id].at)
				return false;
			out->values[id] = span_first(list, len);
		}
		list = span_skip(list, len);
	}
	return false;
}

bool ntlm_is_v1(const struct ntlm_authenticate *authenticate)
{
	return authenticate->nt.len == V1_BYTES;
}

bool ntlm_is_session(const struct ntlm_authenticate *authenticate)
{
	static const uint8_t zeros[V1_BYTES - NTLM_CHALLENGE_BYTES];

	/* By what is there, too: a client may repeat our flag and know nothing of it. */
	return ntlm_is_v1(authenticate) && (authenticate->flags & FLAG_EXTENDED) && authenticate->lm.len == V1_BYTES &&
	       memcmp(authenticate->lm.at + NTLM_CHALLENGE_BYTES, zeros, sizeof(zeros)) == 0;
}

bool ntlm_has_mic(const struct ntlm_authenticate *authenticate)
{
	struct ntlm_avs avs;

	return !ntlm_is_v1(authenticate) &&
	       ntlm_parse_avs(span_skip(authenticate->nt, PROOF_BYTES + BLOB_HEAD_BYTES), &avs) &&
	       avs.values[AV_FLAGS].at && (ntlm_u32(avs.values[AV_FLAGS].at) & AV_FLAG_MIC);
}

/* ---- the second message ---- */

static void add_av(struct buf *out, enum ntlm_av id, struct span text)
{
	struct buf wire;

	buf_init(&wire, 2048);
	ntlm_add_utf16(text, &wire);
	ntlm_add_u16(out, (uint16_t)id);
	ntlm_add_u16(out, (uint16_t)buf_len(&wire));
	buf_add(out, buf_span(&wire));
	out->overflow |= wire.overflow;
	buf_fini(&wire);
}

/* What all clients took; an empty MsvAvFlags is what Windows 10 does not. */
static void add_target_info(const struct ntlm_names *names, uint64_t filetime, struct buf *out)
{
	add_av(out, AV_NB_DOMAIN, names->netbios_domain);
	add_av(out, AV_NB_COMPUTER, names->netbios_computer);
	if (names->dns_domain.len)
		add_av(out, AV_DNS_DOMAIN, names->dns_domain);
	if (names->dns_computer.len)
		add_av(out, AV_DNS_COMPUTER, names->dns_computer);
	ntlm_add_u16(out, AV_TIMESTAMP);
	ntlm_add_u16(out, 8);
	ntlm_add_u64(out, filetime);
	ntlm_add_u32(out, AV_END);
}

static void add_field(struct buf *out, size_t len, size_t offset)
{
	ntlm_add_u16(out, (uint16_t)len);
	ntlm_add_u16(out, (uint16_t)len);
	ntlm_add_u32(out, (uint32_t)offset);
}

void ntlm_write_challenge(const struct ntlm_negotiate *negotiate, const uint8_t challenge[static NTLM_CHALLENGE_BYTES],
                          const struct ntlm_names *names, uint64_t filetime, struct buf *out)
{
	static const uint8_t version[VERSION_BYTES] = {6, 1, 0xb1, 0x1d, 0, 0, 0, 15}; /* NTLMSSP_REVISION_W2K3 */
	const uint32_t mirrored = FLAG_EXTENDED | FLAG_SIGN | FLAG_SEAL | FLAG_128 | FLAG_KEY_EXCHANGE | FLAG_56;
	uint32_t flags = FLAG_UNICODE | FLAG_REQUEST_TARGET | FLAG_NTLM | FLAG_ALWAYS_SIGN | FLAG_TARGET_DOMAIN |
	                 FLAG_TARGET_INFO | FLAG_VERSION | (negotiate->flags & mirrored);
	const size_t head_bytes = 56;
	struct buf target, info;

	buf_init(&target, 2048);
	buf_init(&info, 4096);
	ntlm_add_utf16(names->netbios_domain, &target);
	add_target_info(names, filetime, &info);
	buf_add(out, span_of(signature, sizeof(signature)));
	ntlm_add_u32(out, NTLM_CHALLENGE);
	add_field(out, buf_len(&target), head_bytes);
	ntlm_add_u32(out, flags);
	buf_add(out, span_of(challenge, NTLM_CHALLENGE_BYTES));
	ntlm_add_u64(out, 0);
	add_field(out, buf_len(&info), head_bytes + buf_len(&target));
	buf_add(out, span_of(version, sizeof(version)));
	buf_add(out, buf_span(&target));
	buf_add(out, buf_span(&info));
	out->overflow |= target.overflow || info.overflow;
	buf_fini(&target);
	buf_fini(&info);
}
