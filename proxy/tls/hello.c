/* SPDX-License-Identifier: Apache-2.0 */
/* Records: OpenSSL's framing (ssl3_get_record, ssl3_read_bytes, tls_get_message_header), which differs from RFC 8446 5.1:
 * up to 32 empty records in a row are passed over, also between the parts of a message. What it does not take before a
 * ClientHello are alerts, and a change of ciphers that is not empty. */
#include "tls/hello.h"

#include "base/cursor.h"
#include "tls/hello_private.h"

enum {
	RECORD_CHANGE_CIPHERS = 20,
	RECORD_ALERT = 21,
	RECORD_HANDSHAKE = 22,
	RECORD_HEAD_BYTES = 5,
	MESSAGE_CLIENT_HELLO = 1,
	MESSAGE_HEAD_BYTES = 4,
	EMPTY_RECORDS_MAX = 32,
};

static enum hello_state refuse(struct hello *hello, const char *problem)
{
	hello->problem = problem;
	return HELLO_REFUSED;
}

/* Keep the part of a message that goes on in another record. */
static enum hello_state keep(struct hello *hello, struct span part)
{
	if (hello->assembled.max_bytes == 0)
		buf_init(&hello->assembled, HELLO_MESSAGE_MAX_BYTES + HELLO_RECORD_MAX_BYTES);
	buf_add(&hello->assembled, part);
	return buf_is_whole(&hello->assembled) ? HELLO_MORE : refuse(hello, "no memory for the ClientHello");
}

/* `have` is all of the handshake so far, up to the end of a record. */
static enum hello_state take_message(struct hello *hello, struct span have)
{
	struct cursor cursor = cursor_over(have);
	uint8_t type = cursor_u8(&cursor);
	size_t body = cursor_u24(&cursor);

	if (type != MESSAGE_CLIENT_HELLO)
		return refuse(hello, "the first message is no ClientHello");
	if (cursor.overrun)
		return HELLO_MORE;
	if (body > HELLO_MESSAGE_MAX_BYTES - MESSAGE_HEAD_BYTES)
		return refuse(hello, "the ClientHello is too long");
	if (cursor.rest.len < body)
		return HELLO_MORE;
	hello->message = span_first(have, MESSAGE_HEAD_BYTES + body);
	hello->problem = hello_parse(hello);
	if (hello->problem)
		return HELLO_REFUSED;
	/* RFC 8446 5.1: keys may change here. Below TLS 1.3 OpenSSL reads on. */
	if (cursor.rest.len > body && hello->offers_tls_1_3)
		return refuse(hello, "something follows the ClientHello in its record");
	return HELLO_WHOLE;
}

static enum hello_state take_handshake(struct hello *hello, struct span part)
{
	enum hello_state state;

	if (part.len == 0)
		return ++hello->empty_records > EMPTY_RECORDS_MAX ? refuse(hello, "too many empty records") : HELLO_MORE;
	hello->empty_records = 0;
	if (buf_len(&hello->assembled) == 0) {
		state = take_message(hello, part); /* usually whole, and never copied */
		return state == HELLO_MORE ? keep(hello, part) : state;
	}
	state = keep(hello, part);
	return state == HELLO_MORE ? take_message(hello, buf_span(&hello->assembled)) : state;
}

static const char *check_record_head(const struct hello *hello, uint8_t type, uint16_t version, size_t len)
{
	bool is_empty = type == RECORD_CHANGE_CIPHERS && len == 0 && buf_len(&hello->assembled) < MESSAGE_HEAD_BYTES;

	if (version >> 8 != 3)
		return "a record of another protocol";
	if (type == RECORD_ALERT)
		return "an alert in place of a ClientHello";
	if (type != RECORD_HANDSHAKE && !is_empty)
		return "a record of another type before the ClientHello is whole";
	if (len > HELLO_RECORD_MAX_BYTES)
		return "a record is too long";
	return NULL;
}

/* The next record, if it is there. */
static enum hello_state take_record(struct hello *hello, struct span bytes, bool *taken)
{
	struct cursor cursor = cursor_over(span_skip(bytes, hello->scanned));
	uint8_t type = cursor_u8(&cursor);
	uint16_t version = cursor_u16(&cursor);
	size_t len = cursor_u16(&cursor);
	struct span payload;
	const char *problem;

	if (cursor.overrun)
		return HELLO_MORE;
	problem = check_record_head(hello, type, version, len);
	if (problem)
		return refuse(hello, problem);
	if (hello->records == HELLO_RECORDS_MAX)
		return refuse(hello, "the ClientHello is in too many records");
	payload = cursor_take(&cursor, len);
	if (cursor.overrun)
		return HELLO_MORE;
	*taken = true;
	hello->records++;
	hello->scanned += RECORD_HEAD_BYTES + len;
	return take_handshake(hello, payload);
}

enum hello_state hello_read(struct hello *hello, struct span bytes)
{
	bool taken = true;

	if (hello->state == HELLO_MORE && !hello->is_tls) {
		if (!hello_classify(bytes, &hello->class))
			return HELLO_MORE;
		hello->is_tls = hello->class == HELLO_TLS;
		if (!hello->is_tls)
			hello->state = HELLO_OTHER;
	}
	while (hello->state == HELLO_MORE && taken) {
		taken = false;
		hello->state = take_record(hello, bytes, &taken);
	}
	return hello->state;
}

void hello_fini(struct hello *hello)
{
	buf_fini(&hello->assembled);
	*hello = (struct hello){0};
}

bool hello_alpn_next(struct span *rest, struct span *name)
{
	struct cursor cursor = cursor_over(*rest);

	*name = cursor_take(&cursor, cursor_u8(&cursor));
	*rest = cursor.rest;
	return !cursor.overrun && name->len;
}
