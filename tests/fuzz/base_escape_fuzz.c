/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes through the three escapers: the result is safe for its place, and says the same. */
#include "base/buf.h"
#include "base/compiler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int hex(uint8_t byte)
{
	byte = span_lower(byte);
	return byte >= '0' && byte <= '9' ? byte - '0' : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Undo %XX. */
static void unpercent(struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] == '%' && i + 2 < text.len && hex(text.at[i + 1]) >= 0 && hex(text.at[i + 2]) >= 0) {
			buf_add_byte(out, (uint8_t)(hex(text.at[i + 1]) << 4 | hex(text.at[i + 2])));
			i += 2;
		} else {
			buf_add_byte(out, text.at[i]);
		}
	}
}

static void check_percent(struct span in)
{
	struct buf out, back, want;

	buf_init(&out, 1 << 24);
	buf_init(&back, 1 << 24);
	buf_init(&want, 1 << 24);
	buf_add_percent(&out, in);
	for (size_t i = 0; i < buf_len(&out); i++)
		ASSERT(buf_span(&out).at[i] > 0x20 && buf_span(&out).at[i] < 0x7f &&
		       buf_span(&out).at[i] != '"' && buf_span(&out).at[i] != '\\');
	unpercent(buf_span(&out), &back);
	unpercent(in, &want);
	ASSERT(span_equal(buf_span(&back), buf_span(&want)));
	buf_fini(&out);
	buf_fini(&back);
	buf_fini(&want);
}

/* One escape behind a backslash; how many bytes it had. */
static size_t unjson_escape(struct span text, struct buf *out)
{
	ASSERT(text.len >= 1);
	if (text.at[0] != 'u') {
		ASSERT(text.at[0] == '"' || text.at[0] == '\\');
		buf_add_byte(out, text.at[0]);
		return 1;
	}
	ASSERT(text.len >= 5 && text.at[1] == '0' && text.at[2] == '0' && hex(text.at[3]) >= 0 && hex(text.at[4]) >= 0);
	buf_add_byte(out, (uint8_t)(hex(text.at[3]) << 4 | hex(text.at[4])));
	return 5;
}

/* Every byte of the input comes back: what is no UTF-8 was written as \u00XX for the byte XX. */
static void check_json(struct span in)
{
	struct buf out, back;
	struct span text;

	buf_init(&out, 1 << 24);
	buf_init(&back, 1 << 24);
	buf_add_json(&out, in);
	text = buf_span(&out);
	ASSERT(text.len >= 2 && text.at[0] == '"' && text.at[text.len - 1] == '"');
	text = span_of(text.at + 1, text.len - 2);
	while (text.len) {
		ASSERT(text.at[0] >= 0x20 && text.at[0] != 0x7f && text.at[0] != '"');
		if (text.at[0] == '\\') {
			text = span_skip(text, 1);
			text = span_skip(text, unjson_escape(text, &back));
		} else {
			buf_add_byte(&back, text.at[0]);
			text = span_skip(text, 1);
		}
	}
	ASSERT(span_equal(buf_span(&back), in));
	buf_fini(&out);
	buf_fini(&back);
}

static size_t unhtml_entity(struct span text, struct buf *out)
{
	static const struct {
		const char *entity;
		uint8_t byte;
	} rows[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#39;", '\''}};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (!span_starts_with(text, span_from(rows[i].entity)))
			continue;
		buf_add_byte(out, rows[i].byte);
		return span_from(rows[i].entity).len;
	}
	ASSERT(false); /* an entity of ours */
	return 1;
}

static void check_html(struct span in)
{
	struct buf out, back, want;
	struct span text;

	buf_init(&out, 1 << 24);
	buf_init(&back, 1 << 24);
	buf_init(&want, 1 << 24);
	buf_add_html(&out, in);
	for (text = buf_span(&out); text.len;) {
		ASSERT(text.at[0] != '<' && text.at[0] != '>' && text.at[0] != '"' && text.at[0] != '\'');
		if (text.at[0] == '&') {
			text = span_skip(text, unhtml_entity(text, &back));
		} else {
			buf_add_byte(&back, text.at[0]);
			text = span_skip(text, 1);
		}
	}
	for (size_t i = 0; i < in.len; i++)
		if (in.at[i] >= 0x20 && in.at[i] != 0x7f)
			buf_add_byte(&want, in.at[i]);
	ASSERT(span_equal(buf_span(&back), buf_span(&want)));
	buf_fini(&out);
	buf_fini(&back);
	buf_fini(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_percent(span_of(data, size));
	check_json(span_of(data, size));
	check_html(span_of(data, size));
	return 0;
}
