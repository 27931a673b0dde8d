/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as chunks: read whole and in pieces they are the same; and what was read is written and
 * read again. The first byte says how the pieces are cut. */
#include "http/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
	enum err err;
	bool done;
	size_t used;
	struct buf content, trailers;
};

static void read_in_steps(struct span text, size_t step, struct reading *reading)
{
	struct http_body body;

	*reading = (struct reading){.err = ERR_NONE};
	buf_init(&reading->content, 1 << 20);
	buf_init(&reading->trailers, 1 << 20);
	http_body_init(&body, HTTP_CHUNKED, 0);
	while (text.len && !body.done && !reading->err) {
		struct span piece = span_first(text, step), content;
		size_t before = piece.len;

		reading->err = http_body_read(&body, &piece, &content);
		buf_add(&reading->content, content);
		reading->used += before - piece.len;
		text = span_skip(text, before - piece.len);
	}
	reading->done = body.done;
	buf_add(&reading->trailers, buf_span(&body.trailers));
	http_body_fini(&body);
}

static void fini(struct reading *reading)
{
	buf_fini(&reading->content);
	buf_fini(&reading->trailers);
}

static void check_same(const struct reading *a, const struct reading *b)
{
	ASSERT(a->err == b->err && a->done == b->done);
	ASSERT(a->err || a->used == b->used);
	ASSERT(span_equal(buf_span(&a->content), buf_span(&b->content)));
	ASSERT(a->err || span_equal(buf_span(&a->trailers), buf_span(&b->trailers)));
}

static void check_round_trip(const struct reading *reading)
{
	struct reading again;
	struct buf out;

	buf_init(&out, 1 << 21);
	http_body_write_before(HTTP_CHUNKED, buf_len(&reading->content), &out);
	buf_add(&out, buf_span(&reading->content));
	http_body_write_after(HTTP_CHUNKED, buf_len(&reading->content), &out);
	http_body_write_end(HTTP_CHUNKED, buf_span(&reading->trailers), &out);
	read_in_steps(buf_span(&out), SIZE_MAX, &again);
	ASSERT(again.err == ERR_NONE && again.done && again.used == buf_len(&out));
	ASSERT(span_equal(buf_span(&again.content), buf_span(&reading->content)));
	ASSERT(span_equal(buf_span(&again.trailers), buf_span(&reading->trailers)));
	fini(&again);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading whole, pieces;

	if (size == 0)
		return 0;
	read_in_steps(span_of(data + 1, size - 1), SIZE_MAX, &whole);
	read_in_steps(span_of(data + 1, size - 1), data[0] % 7u + 1, &pieces);
	check_same(&whole, &pieces);
	if (whole.done)
		check_round_trip(&whole);
	fini(&whole);
	fini(&pieces);
	return 0;
}
