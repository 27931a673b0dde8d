/* SPDX-License-Identifier: Apache-2.0 */
#include "http/body.h"

#include "http/head.h"

enum { SIZE_DIGITS_MAX = 16, TRAILER_LINE_MAX = 4096 };

/* States of the chunk reader (RFC 9112 section 7.1), in the order of a chunk's bytes. */
enum {
	CHUNK_SIZE,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	TRAILER_START,
	TRAILER_LINE,
	TRAILER_LF,
	TRAILER_END_LF,
};

void http_body_init(struct http_body *body, enum http_framing framing, uint64_t body_bytes)
{
	*body = (struct http_body){.framing = framing,
	                           .left_bytes = framing == HTTP_LENGTH ? body_bytes : 0};
	body->done = framing == HTTP_NO_BODY || (framing == HTTP_LENGTH && body_bytes == 0);
	buf_init(&body->trailers, HTTP_TRAILERS_MAX_BYTES);
}

void http_body_fini(struct http_body *body)
{
	buf_fini(&body->trailers);
}

static int hex_digit(uint8_t byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte = span_lower(byte);
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static bool read_size(struct http_body *body, uint8_t byte)
{
	int digit = hex_digit(byte);

	if (digit >= 0) {
		body->left_bytes = body->left_bytes << 4 | (uint64_t)digit;
		return ++body->line_bytes <= SIZE_DIGITS_MAX;
	}
	body->state = CHUNK_SIZE_LF;
	return byte == '\r' && body->line_bytes > 0;
}

static struct span last_trailer(const struct http_body *body)
{
	struct span all = buf_span(&body->trailers);

	return span_skip(all, all.len - body->trailer_bytes);
}

/* A trailer may not frame, route or authenticate (RFC 9110 section 6.5.1): such a one is dropped. */
static bool is_allowed_trailer(struct span name)
{
	static const char *const refused[] = {
		"transfer-encoding", "content-length", "host", "connection", "keep-alive", "upgrade", "te",
		"trailer", "proxy-connection", "proxy-authenticate", "proxy-authorization", "authorization",
		"content-encoding", "content-type", "content-range", "cache-control", "expect",
		"max-forwards", "set-cookie", "cookie", "via", "forwarded",
	};

	for (size_t i = 0; i < COUNT_OF(refused); i++)
		if (span_equal_nocase(name, span_from(refused[i])))
			return false;
	return true;
}

static bool end_trailer(struct http_body *body)
{
	struct span line = last_trailer(body);
	size_t colon = span_find(line, ':');

	if (colon == line.len || !http_is_token(span_first(line, colon)) || http_has_control(line))
		return false;
	if (is_allowed_trailer(span_first(line, colon)))
		buf_add(&body->trailers, SPAN("\r\n"));
	else
		body->trailers.end -= line.len;
	body->trailer_bytes = 0;
	return buf_is_whole(&body->trailers);
}

static bool read_trailer(struct http_body *body, uint8_t byte)
{
	if (byte == '\r') {
		body->state = TRAILER_LF;
		return true;
	}
	buf_add_byte(&body->trailers, byte);
	return byte != '\n' && ++body->trailer_bytes <= TRAILER_LINE_MAX &&
	       buf_is_whole(&body->trailers);
}

/* One byte of what is not content. False: it does not belong there. */
static bool read_control(struct http_body *body, uint8_t byte)
{
	switch (body->state) {
	case CHUNK_SIZE:
		return read_size(body, byte);
	case CHUNK_SIZE_LF:
		body->line_bytes = 0;
		body->state = body->left_bytes ? CHUNK_DATA : TRAILER_START;
		return byte == '\n';
	case CHUNK_DATA_CR:
		body->state = CHUNK_DATA_LF;
		return byte == '\r';
	case CHUNK_DATA_LF:
		body->state = CHUNK_SIZE;
		return byte == '\n';
	case TRAILER_START:
		if (byte == '\r') {
			body->state = TRAILER_END_LF;
			return true;
		}
		body->state = TRAILER_LINE;
		/* A line that begins with white space would be folded: no field name begins so. */
		return byte != ' ' && byte != '\t' && read_trailer(body, byte);
	case TRAILER_LINE:
		return read_trailer(body, byte);
	case TRAILER_LF:
		body->state = TRAILER_START;
		return byte == '\n' && end_trailer(body);
	case TRAILER_END_LF:
		body->done = true;
		return byte == '\n';
	default:
		return false;
	}
}

static void take_content(struct http_body *body, struct span *in, struct span *content)
{
	*content = body->left_bytes < in->len ? span_first(*in, (size_t)body->left_bytes) : *in;
	*in = span_skip(*in, content->len);
	body->left_bytes -= content->len;
}

static enum err read_chunked(struct http_body *body, struct span *in, struct span *content)
{
	while (in->len && !body->done) {
		uint8_t byte;

		if (body->state == CHUNK_DATA) {
			take_content(body, in, content);
			if (body->left_bytes == 0)
				body->state = CHUNK_DATA_CR;
			return ERR_NONE;
		}
		byte = in->at[0];
		*in = span_skip(*in, 1);
		if (!read_control(body, byte))
			return ERR_REQUEST_FRAMING;
	}
	return ERR_NONE;
}

enum err http_body_read(struct http_body *body, struct span *in, struct span *content)
{
	*content = SPAN("");
	if (body->done)
		return ERR_NONE;
	switch (body->framing) {
	case HTTP_LENGTH:
		take_content(body, in, content);
		body->done = body->left_bytes == 0;
		return ERR_NONE;
	case HTTP_CHUNKED:
		return read_chunked(body, in, content);
	case HTTP_UNTIL_CLOSE:
	case HTTP_TUNNEL:
		*content = *in;
		*in = span_skip(*in, in->len);
		return ERR_NONE;
	case HTTP_NO_BODY:
		break;
	}
	return ERR_NONE;
}

bool http_body_ends_here(const struct http_body *body)
{
	return body->done || body->framing == HTTP_UNTIL_CLOSE || body->framing == HTTP_TUNNEL;
}

void http_body_write_before(enum http_framing framing, size_t len, struct buf *out)
{
	if (framing == HTTP_CHUNKED && len)
		buf_printf(out, "%zx\r\n", len);
}

void http_body_write_after(enum http_framing framing, size_t len, struct buf *out)
{
	if (framing == HTTP_CHUNKED && len)
		buf_add(out, SPAN("\r\n"));
}

void http_body_write_end(enum http_framing framing, struct span trailers, struct buf *out)
{
	if (framing != HTTP_CHUNKED)
		return;
	buf_add(out, SPAN("0\r\n"));
	buf_add(out, trailers);
	buf_add(out, SPAN("\r\n"));
}
