/* SPDX-License-Identifier: Apache-2.0 */
/* EVP_DecodeBlock() of OpenSSL takes white space and wrong padding, so there is a table here. */
#include "auth/scheme/base64.h"

enum { NO_DIGIT = 0xff };

static const uint8_t plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const uint8_t for_urls[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static uint8_t digit_of(uint8_t byte, const uint8_t *alphabet)
{
	if (byte >= 'A' && byte <= 'Z')
		return (uint8_t)(byte - 'A');
	if (byte >= 'a' && byte <= 'z')
		return (uint8_t)(byte - 'a' + 26);
	if (byte >= '0' && byte <= '9')
		return (uint8_t)(byte - '0' + 52);
	if (byte == alphabet[62])
		return 62;
	return byte == alphabet[63] ? 63 : NO_DIGIT;
}

/* All of `bytes`, without padding; the result is the number of characters. */
static size_t encode(struct span bytes, const uint8_t *alphabet, uint8_t *out)
{
	uint32_t bits = 0;
	unsigned count = 0;
	size_t len = 0;

	for (size_t i = 0; i < bytes.len; i++) {
		bits = bits << 8 | bytes.at[i];
		for (count += 8; count >= 6; count -= 6)
			out[len++] = alphabet[bits >> (count - 6) & 63];
	}
	if (count)
		out[len++] = alphabet[bits << (6 - count) & 63];
	return len;
}

/* All of `text`, which has no padding, into text.len * 3 / 4 bytes. */
static bool decode(struct span text, const uint8_t *alphabet, uint8_t *out)
{
	uint32_t bits = 0;
	unsigned count = 0;
	size_t len = 0;

	if (text.len % 4 == 1)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t digit = digit_of(text.at[i], alphabet);

		if (digit == NO_DIGIT)
			return false;
		bits = bits << 6 | digit;
		count += 6;
		if (count >= 8) {
			count -= 8;
			out[len++] = (uint8_t)(bits >> count);
		}
	}
	/* Bits that stand for nothing: the same bytes would have a second text (RFC 4648 section 3.5). */
	return (bits & ((1u << count) - 1)) == 0;
}

/* Take the padding off. False: it is not what the length wants. */
static bool cut_padding(struct span *text)
{
	if (text->len % 4)
		return false;
	for (size_t i = 0; i < 2 && text->len && text->at[text->len - 1] == '='; i++)
		text->len--;
	return true;
}

void base64_encode(struct span bytes, struct buf *out)
{
	uint8_t *at;
	size_t len;

	if (bytes.len == 0)
		return;
	if (bytes.len > out->max_bytes) {
		out->overflow = true;
		return;
	}
	at = buf_reserve(out, (bytes.len + 2) / 3 * 4);
	if (at == NULL)
		return;
	len = encode(bytes, plain, at);
	while (len % 4)
		at[len++] = '=';
	buf_advance(out, len);
}

bool base64_decode(struct span text, struct buf *out)
{
	uint8_t *at;

	if (!cut_padding(&text))
		return false;
	if (text.len == 0)
		return true;
	at = buf_reserve(out, text.len / 4 * 3 + text.len % 4 * 3 / 4);
	if (at == NULL || !decode(text, plain, at))
		return false;
	buf_advance(out, text.len / 4 * 3 + text.len % 4 * 3 / 4);
	return true;
}

bool base64_decode_into(struct span text, uint8_t *out, size_t size, size_t *len)
{
	if (!cut_padding(&text))
		return false;
	*len = text.len / 4 * 3 + text.len % 4 * 3 / 4;
	return *len <= size && decode(text, plain, out);
}

void base64_url_encode(struct span bytes, uint8_t *out)
{
	encode(bytes, for_urls, out);
}

bool base64_url_decode(struct span text, uint8_t *out, size_t len)
{
	return text.len == BASE64_URL_LEN(len) && decode(text, for_urls, out);
}
