/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/leaf_message.h"

enum { CA_ID_BYTES = 32, TEXT_MAX_BYTES = 4096 };

static void add_number(struct buf *out, uint64_t value, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
		buf_add_byte(out, (uint8_t)(value >> (8 * i)));
}

void leaf_answer_write(const struct leaf_answer *answer, struct buf *out)
{
	buf_add_byte(out, (uint8_t)answer->verdict);
	buf_add_byte(out, (uint8_t)answer->kind);
	add_number(out, answer->key_number, 8);
	buf_add(out, answer->verdict == LEAF_SIGNED ? answer->body : span_first(answer->body, TEXT_MAX_BYTES));
}

bool leaf_answer_parse(struct span message, struct leaf_answer *out)
{
	struct cursor cursor = cursor_over(message);
	unsigned verdict = cursor_u8(&cursor), kind = cursor_u8(&cursor);

	*out = (struct leaf_answer){.key_number = cursor_u64(&cursor)};
	if (cursor.overrun || verdict >= LEAF_VERDICT_COUNT || kind >= LEAF_KIND_COUNT)
		return false;
	out->verdict = (enum leaf_verdict)verdict;
	out->kind = (enum leaf_kind)kind;
	out->body = cursor.rest;
	return out->verdict == LEAF_SIGNED ? out->body.len > 0 : out->body.len <= TEXT_MAX_BYTES;
}

void leaf_key_write(const struct leaf_key_message *message, struct buf *out)
{
	buf_add_byte(out, (uint8_t)message->kind);
	buf_add_byte(out, (uint8_t)message->chain_count);
	add_number(out, message->number, 8);
	buf_add(out, message->ca_id);
	add_number(out, message->key.len, 3);
	buf_add(out, message->key);
	for (size_t i = 0; i < message->chain_count; i++) {
		add_number(out, message->chain[i].len, 3);
		buf_add(out, message->chain[i]);
	}
}

bool leaf_key_parse(struct span message, struct leaf_key_message *out)
{
	struct cursor cursor = cursor_over(message);
	unsigned kind = cursor_u8(&cursor);

	*out = (struct leaf_key_message){.chain_count = cursor_u8(&cursor)};
	if (kind >= LEAF_KIND_COUNT || out->chain_count > LEAF_CHAIN_MAX)
		return false;
	out->kind = (enum leaf_kind)kind;
	out->number = cursor_u64(&cursor);
	out->ca_id = cursor_take(&cursor, CA_ID_BYTES);
	out->key = cursor_take(&cursor, cursor_u24(&cursor));
	for (size_t i = 0; i < out->chain_count; i++)
		out->chain[i] = cursor_take(&cursor, cursor_u24(&cursor));
	return !cursor.overrun && cursor.rest.len == 0 && out->key.len > 0;
}
