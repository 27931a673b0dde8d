/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stun.h"

#include <string.h>

#include "base/cursor.h"

#define MAGIC_COOKIE UINT32_C(0x2112a442)
#define FINGERPRINT_XOR UINT32_C(0x5354554e)

enum {
	ATTRIBUTE_MAPPED_ADDRESS = 0x0001,
	ATTRIBUTE_ERROR_CODE = 0x0009,
	ATTRIBUTE_XOR_MAPPED_ADDRESS = 0x0020,
	ATTRIBUTE_FINGERPRINT = 0x8028,
	FINGERPRINT_BYTES = 8, /* with its head */
	FAMILY_IPV4 = 1,
	FAMILY_IPV6 = 2,
};

static const uint8_t cookie[] = {0x21, 0x12, 0xa4, 0x42};

enum stun_shape stun_header_shape(struct span bytes, size_t *message_bytes)
{
	size_t have = bytes.len < 8 ? bytes.len : 8;

	if (have > 0 && bytes.at[0] & 0xc0)
		return STUN_SHAPE_OTHER;
	if (have > 3 && bytes.at[3] & 3)
		return STUN_SHAPE_OTHER;
	if (have > 4 && memcmp(bytes.at + 4, cookie, have - 4) != 0)
		return STUN_SHAPE_OTHER;
	if (bytes.len < STUN_HEADER_BYTES)
		return STUN_SHAPE_SHORT;
	*message_bytes = STUN_HEADER_BYTES + ((size_t)bytes.at[2] << 8 | bytes.at[3]);
	return STUN_SHAPE_WHOLE;
}

/* CRC-32 of ITU V.42, as FINGERPRINT has it. */
static uint32_t crc32_of(struct span bytes)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < bytes.len; i++) {
		crc ^= bytes.at[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return ~crc;
}

/* `mask`: cookie and id, which an XOR-MAPPED-ADDRESS is hidden with from what rewrites addresses in packets; or NULL. */
static void read_address(struct cursor value, const uint8_t *mask, struct address *out)
{
	struct address address = {.family = 0};
	struct span bytes;
	uint8_t family;

	cursor_u8(&value);
	family = cursor_u8(&value);
	address.port = cursor_u16(&value);
	bytes = cursor_take(&value, family == FAMILY_IPV6 ? 16 : 4);
	if (value.overrun || (family != FAMILY_IPV4 && family != FAMILY_IPV6))
		return;
	address.family = family == FAMILY_IPV6 ? AF_INET6 : AF_INET;
	if (mask)
		address.port ^= (uint16_t)(MAGIC_COOKIE >> 16);
	for (size_t i = 0; i < bytes.len; i++)
		address.bytes[i] = bytes.at[i] ^ (mask ? mask[i] : 0);
	*out = address;
}

static void read_error(struct cursor value, struct stun_message *out)
{
	unsigned class, number;

	cursor_u16(&value);
	class = cursor_u8(&value) & 7;
	number = cursor_u8(&value);
	if (!value.overrun && class >= 3 && class <= 6 && number < 100)
		out->error_code = (uint16_t)(class * 100 + number);
}

/* RFC 8489 section 14.7: it is the last one, over all that stands before it. */
static bool is_fingerprint(struct span message, struct cursor value, struct span rest)
{
	uint32_t told = cursor_u32(&value);

	return !value.overrun && value.rest.len == 0 && rest.len == 0 &&
	       told == (crc32_of(span_first(message, message.len - FINGERPRINT_BYTES)) ^ FINGERPRINT_XOR);
}

/* Where an attribute is there twice, the first counts; the one that is masked comes before the one that is not. */
static bool read_attribute(struct span message, struct cursor *cursor, struct stun_message *out)
{
	uint16_t type = cursor_u16(cursor), len = cursor_u16(cursor);
	struct cursor value = cursor_sub(cursor, len);
	struct address plain = {.family = 0};

	cursor_take(cursor, (4 - len % 4u) % 4u);
	if (cursor->overrun)
		return false;
	if (type == ATTRIBUTE_XOR_MAPPED_ADDRESS)
		read_address(value, message.at + 4, &out->mapped);
	else if (type == ATTRIBUTE_MAPPED_ADDRESS)
		read_address(value, NULL, &plain);
	else if (type == ATTRIBUTE_ERROR_CODE && out->error_code == 0)
		read_error(value, out);
	else if (type == ATTRIBUTE_FINGERPRINT)
		return is_fingerprint(message, value, cursor->rest);
	if (out->mapped.family == 0)
		out->mapped = plain;
	return true;
}

bool stun_parse(struct span bytes, struct stun_message *out)
{
	struct stun_message message = {.type = 0};
	struct cursor cursor = cursor_over(bytes);
	size_t message_bytes;

	if (stun_header_shape(bytes, &message_bytes) != STUN_SHAPE_WHOLE || message_bytes != bytes.len)
		return false;
	message.type = cursor_u16(&cursor);
	cursor_take(&cursor, 6);
	memcpy(message.id, cursor_take(&cursor, STUN_ID_BYTES).at, STUN_ID_BYTES);
	while (cursor.rest.len)
		if (!read_attribute(bytes, &cursor, &message))
			return false;
	*out = message;
	return true;
}

static void write_u32(uint8_t *out, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(value >> (24 - 8 * i));
}

void stun_format_binding(const uint8_t id[static STUN_ID_BYTES], uint8_t out[static STUN_REQUEST_BYTES])
{
	write_u32(out, (uint32_t)STUN_BINDING_REQUEST << 16 | FINGERPRINT_BYTES);
	write_u32(out + 4, MAGIC_COOKIE);
	memcpy(out + 8, id, STUN_ID_BYTES);
	write_u32(out + 20, (uint32_t)ATTRIBUTE_FINGERPRINT << 16 | 4);
	write_u32(out + 24, crc32_of(span_of(out, STUN_HEADER_BYTES)) ^ FINGERPRINT_XOR);
}
