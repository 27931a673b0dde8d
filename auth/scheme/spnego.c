/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/scheme/spnego.h"

#include "auth/scheme/ntlm.h"
#include "base/cursor.h"

/* Tags that occur (X.690). */
enum { TAG_OCTETS = 0x04, TAG_OID = 0x06, TAG_ENUMERATED = 0x0a, TAG_SEQUENCE = 0x30, TAG_APPLICATION = 0x60,
       TAG_0 = 0xa0, TAG_1, TAG_2, TAG_3, TAG_4 };

static const uint8_t oid_spnego[] = {0x2b, 6, 1, 5, 5, 2};
static const uint8_t oid_krb5[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2};
static const uint8_t oid_ms_krb5[] = {0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 1, 2, 2};
static const uint8_t oid_ntlm[] = {0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 10};
static const uint8_t oid_negoex[] = {0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 30};

#define OID(name) span_of(oid_##name, sizeof(oid_##name))

/* ---- reading: definite lengths alone ---- */

static size_t read_len(struct cursor *cursor)
{
	uint8_t first = cursor_u8(cursor);

	if (first < 0x80)
		return first;
	if (first == 0x81)
		return cursor_u8(cursor);
	if (first == 0x82)
		return cursor_u16(cursor);
	if (first == 0x83)
		return cursor_u24(cursor);
	cursor->overrun = true;
	return 0;
}

/* The content of the next element, which has to have this tag; overrun where it has not. */
static struct cursor enter(struct cursor *cursor, uint8_t tag)
{
	if (cursor_u8(cursor) != tag)
		cursor->overrun = true;
	return cursor_sub(cursor, read_len(cursor));
}

/* The same where it may be left out: false then, and nothing is taken. */
static bool enter_if(struct cursor *cursor, uint8_t tag, struct cursor *content)
{
	if (cursor->rest.len == 0 || cursor->rest.at[0] != tag)
		return false;
	*content = enter(cursor, tag);
	return true;
}

static struct span read_octets(struct cursor *outer)
{
	struct cursor content = enter(outer, TAG_OCTETS);

	if (content.overrun || outer->rest.len)
		outer->overrun = true;
	return content.rest;
}

static enum spnego_mech mech_of(struct span oid)
{
	if (span_equal(oid, OID(krb5)) || span_equal(oid, OID(ms_krb5)))
		return SPNEGO_KRB5;
	return span_equal(oid, OID(ntlm)) ? SPNEGO_NTLM : span_equal(oid, OID(negoex)) ? SPNEGO_NEGOEX : SPNEGO_OTHER;
}

static bool read_mechs(struct cursor *list, struct spnego_init *out)
{
	struct cursor mechs;
	size_t count = 0;

	out->mech_types = list->rest;
	mechs = enter(list, TAG_SEQUENCE);
	if (list->overrun || list->rest.len)
		return false;
	for (; mechs.rest.len && !mechs.overrun; count++) {
		struct cursor oid = enter(&mechs, TAG_OID);
		enum spnego_mech mech = mech_of(oid.rest);

		if (count == 0)
			out->first = mech;
		out->has_krb5 |= mech == SPNEGO_KRB5;
		out->has_ntlm |= mech == SPNEGO_NTLM;
	}
	return !mechs.overrun && count && count <= SPNEGO_MECHS_MAX;
}

/* An octet string in [number], which may be left out. False: it is malformed. */
static bool read_part(struct cursor *body, uint8_t number, struct span *out)
{
	struct cursor part;

	if (!enter_if(body, number, &part))
		return true;
	*out = read_octets(&part);
	return !part.overrun;
}

/* A MIC in [3]; or in [3] Microsoft's negHints (MS-SPNG 2.2.1), which are of no use, and the MIC in [4]. */
static bool read_init_mic(struct cursor *body, struct span *out)
{
	struct cursor hints, part;

	hints = *body;
	if (!enter_if(&hints, TAG_3, &part) || part.rest.len == 0 || part.rest.at[0] != TAG_SEQUENCE)
		return read_part(body, TAG_3, out);
	*body = hints;
	return read_part(body, TAG_4, out);
}

bool spnego_parse_init(struct span token, struct spnego_init *out, const char **why)
{
	struct cursor all = cursor_over(token), frame, oid, choice, body, part;

	*out = (struct spnego_init){.token = SPAN(""), .mech_list_mic = SPAN("")};
	*why = "the first token of SPNEGO is malformed";
	frame = enter(&all, TAG_APPLICATION);
	oid = enter(&frame, TAG_OID);
	choice = enter(&frame, TAG_0);
	body = enter(&choice, TAG_SEQUENCE);
	part = enter(&body, TAG_0);
	if (all.overrun || frame.overrun || choice.overrun || body.overrun || !span_equal(oid.rest, OID(spnego)) ||
	    all.rest.len || frame.rest.len || choice.rest.len || !read_mechs(&part, out))
		return false;
	enter_if(&body, TAG_1, &part); /* flags: of no meaning here */
	return read_part(&body, TAG_2, &out->token) && read_init_mic(&body, &out->mech_list_mic) && !body.overrun &&
	       body.rest.len == 0;
}

static bool read_state(struct cursor *body, struct spnego_response *out)
{
	struct cursor part, number;
	uint8_t state;

	if (!enter_if(body, TAG_0, &part))
		return true;
	number = enter(&part, TAG_ENUMERATED);
	state = cursor_u8(&number);
	out->has_state = true;
	out->state = (enum spnego_state)state;
	return !number.overrun && number.rest.len == 0 && part.rest.len == 0 && state <= SPNEGO_REQUEST_MIC;
}

static bool read_mech(struct cursor *body, struct spnego_response *out)
{
	struct cursor part, oid;

	if (!enter_if(body, TAG_1, &part))
		return true;
	oid = enter(&part, TAG_OID);
	out->mech = mech_of(oid.rest);
	return !oid.overrun && part.rest.len == 0;
}

bool spnego_parse_response(struct span token, struct spnego_response *out, const char **why)
{
	struct cursor all = cursor_over(token), choice, body;

	*out = (struct spnego_response){.token = SPAN(""), .mech_list_mic = SPAN("")};
	*why = "a token of SPNEGO is malformed";
	choice = enter(&all, TAG_1);
	body = enter(&choice, TAG_SEQUENCE);
	if (all.overrun || choice.overrun || all.rest.len || choice.rest.len)
		return false;
	return read_state(&body, out) && read_mech(&body, out) && read_part(&body, TAG_2, &out->token) &&
	       read_part(&body, TAG_3, &out->mech_list_mic) && !body.overrun && body.rest.len == 0;
}

enum spnego_kind spnego_kind(struct span token)
{
	struct cursor all = cursor_over(token), frame, oid;

	if (ntlm_type(token) != NTLM_NONE)
		return SPNEGO_KIND_RAW_NTLM;
	if (token.len && token.at[0] == TAG_1)
		return SPNEGO_KIND_RESPONSE;
	frame = enter(&all, TAG_APPLICATION);
	oid = enter(&frame, TAG_OID);
	if (all.overrun || frame.overrun)
		return SPNEGO_KIND_INVALID;
	return span_equal(oid.rest, OID(spnego))      ? SPNEGO_KIND_INIT
	       : mech_of(oid.rest) == SPNEGO_KRB5 ? SPNEGO_KIND_RAW_KRB5
	                                              : SPNEGO_KIND_INVALID;
}

/* ---- writing, from the inside ---- */

static void add_element(struct buf *out, uint8_t tag, struct span content)
{
	if (content.len > UINT16_MAX) {
		out->overflow = true;
		return;
	}
	buf_add_byte(out, tag);
	if (content.len >= 0x100) {
		buf_add_byte(out, 0x82);
		buf_add_byte(out, (uint8_t)(content.len >> 8));
	} else if (content.len >= 0x80) {
		buf_add_byte(out, 0x81);
	}
	buf_add_byte(out, (uint8_t)content.len);
	buf_add(out, content);
}

/* [number] of an element */
static void add_part(struct buf *out, uint8_t number, uint8_t tag, struct span content)
{
	struct buf inner;

	buf_init(&inner, content.len + 8);
	add_element(&inner, tag, content);
	add_element(out, number, buf_span(&inner));
	out->overflow |= inner.overflow;
	buf_fini(&inner);
}

static struct span oid_of(enum spnego_mech mech)
{
	return mech == SPNEGO_NTLM ? OID(ntlm) : mech == SPNEGO_NEGOEX ? OID(negoex) : OID(krb5);
}

void spnego_write_response(const struct spnego_reply *reply, struct buf *out)
{
	uint8_t state = (uint8_t)reply->state;
	struct buf body;

	buf_init(&body, reply->token.len + reply->mech_list_mic.len + 128);
	add_part(&body, TAG_0, TAG_ENUMERATED, span_of(&state, 1));
	if (reply->mech != SPNEGO_OTHER)
		add_part(&body, TAG_1, TAG_OID, oid_of(reply->mech));
	if (reply->token.len)
		add_part(&body, TAG_2, TAG_OCTETS, reply->token);
	if (reply->mech_list_mic.len)
		add_part(&body, TAG_3, TAG_OCTETS, reply->mech_list_mic);
	add_part(out, TAG_1, TAG_SEQUENCE, buf_span(&body));
	out->overflow |= body.overflow;
	buf_fini(&body);
}

void spnego_write_mech_types(const enum spnego_mech *mechs, size_t count, struct buf *out)
{
	struct buf oids;

	buf_init(&oids, 1024);
	for (size_t i = 0; i < count; i++)
		add_element(&oids, TAG_OID, oid_of(mechs[i]));
	add_element(out, TAG_SEQUENCE, buf_span(&oids));
	out->overflow |= oids.overflow;
	buf_fini(&oids);
}

void spnego_write_init(const enum spnego_mech *mechs, size_t count, struct span token, struct buf *out)
{
	struct buf body, types, frame;

	buf_init(&body, token.len + 2048);
	buf_init(&types, 1024);
	buf_init(&frame, token.len + 2048);
	spnego_write_mech_types(mechs, count, &types);
	add_element(&body, TAG_0, buf_span(&types));
	if (token.len)
		add_part(&body, TAG_2, TAG_OCTETS, token);
	add_element(&frame, TAG_OID, OID(spnego));
	add_part(&frame, TAG_0, TAG_SEQUENCE, buf_span(&body));
	add_element(out, TAG_APPLICATION, buf_span(&frame));
	out->overflow |= body.overflow || types.overflow || frame.overflow;
	buf_fini(&body);
	buf_fini(&types);
	buf_fini(&frame);
}
