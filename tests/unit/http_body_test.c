/* SPDX-License-Identifier: Apache-2.0 */
/* Content in and out of its framings. Every row is read whole, byte by byte, and cut at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/body.h"

/* What came out of one reading. */
struct reading {
	enum err err;
	bool done;
	size_t used;
	struct buf content, trailers;
};

static void feed(struct http_body *body, struct span piece, struct reading *reading)
{
	struct span content;

	while (piece.len && !body->done && reading->err == ERR_NONE) {
		size_t before = piece.len;

		reading->err = http_body_read(body, &piece, &content);
		buf_add(&reading->content, content);
		reading->used += before - piece.len;
	}
}

/* Read `text` in pieces that are cut at `first` and then every `step` bytes. */
static void read_pieces(struct span text, enum http_framing framing, uint64_t len, size_t first,
                        size_t step, struct reading *reading)
{
	struct http_body body;
	struct span piece = span_first(text, first);

	*reading = (struct reading){.err = ERR_NONE};
	buf_init(&reading->content, 100000);
	buf_init(&reading->trailers, 100000);
	http_body_init(&body, framing, len);
	while (piece.len || text.len) {
		text = span_skip(text, piece.len);
		feed(&body, piece, reading);
		piece = span_first(text, step);
	}
	reading->done = body.done;
	buf_add(&reading->trailers, buf_span(&body.trailers));
	http_body_fini(&body);
}

static void free_reading(struct reading *reading)
{
	buf_fini(&reading->content);
	buf_fini(&reading->trailers);
}

struct chunked_row {
	const char *name, *text;
	bool ok, done;
	const char *content, *trailers;
	size_t rest; /* bytes behind the end */
};

static bool is_as_wanted(const struct chunked_row *row, const struct reading *reading)
{
	if ((reading->err == ERR_NONE) != row->ok || (reading->err && reading->err != ERR_REQUEST_FRAMING))
		return false;
	return !row->ok ||
	       (reading->done == row->done && reading->used == strlen(row->text) - row->rest &&
	        span_equal(buf_span(&reading->content), span_from(row->content)) &&
	        span_equal(buf_span(&reading->trailers), span_from(row->trailers)));
}

static void check_row(const struct chunked_row *row)
{
	struct span text = span_from(row->text);
	struct reading reading;

	for (size_t first = 0; first <= text.len; first++) {
		for (int drip = 0; drip < 2; drip++) {
			bool ok;

			read_pieces(text, HTTP_CHUNKED, 0, first, drip ? 1 : text.len + 1, &reading);
			ok = is_as_wanted(row, &reading);
			if (!ok)
				print_message("content \"%.*s\", trailers \"%.*s\", done %d\n",
				              SPAN_ARG(buf_span(&reading.content)),
				              SPAN_ARG(buf_span(&reading.trailers)), reading.done);
			free_reading(&reading);
			if (!ok)
				fail_msg("%s, cut at %zu: %s", row->name, first,
				         reading.err ? err_name(reading.err) : "taken");
		}
	}
}

static void chunks_are_read_strictly(void **state)
{
	static const struct chunked_row rows[] = {
		{"empty", "0\r\n\r\n", true, true, "", "", 0},
		{"one", "5\r\nhello\r\n0\r\n\r\n", true, true, "hello", "", 0},
		{"two", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", true, true, "abc", "", 0},
		{"hex", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", true, true, "01234567890123456789", "", 0},
		{"leading zeros", "0003\r\nabc\r\n000\r\n\r\n", true, true, "abc", "", 0},
		{"CRLF is content", "4\r\n\r\n\r\n\r\n0\r\n\r\n", true, true, "\r\n\r\n", "", 0},
		{"next request behind", "1\r\na\r\n0\r\n\r\nGET /", true, true, "a", "", 5},
		{"trailers", "0\r\nA: b\r\nC:d\r\n\r\n", true, true, "", "A: b\r\nC:d\r\n", 0},
		{"refused trailers are dropped", "0\r\nContent-Length: 5\r\nX: y\r\ntransfer-encoding: chunked\r\nHost: a\r\n\r\n", true, true, "", "X: y\r\n", 0},
		{"unfinished size", "5", true, false, "", "", 0},
		{"unfinished content", "5\r\nhe", true, false, "he", "", 0},
		{"unfinished end", "0\r\n", true, false, "", "", 0},
		{"no digits", "\r\nabc", false, false, "", "", 0},
		{"extension", "5;a=b\r\nhello\r\n0\r\n\r\n", false, false, "", "", 0},
		{"space behind the size", "5 \r\nhello\r\n0\r\n\r\n", false, false, "", "", 0},
		{"space before the size", " 5\r\nhello\r\n0\r\n\r\n", false, false, "", "", 0},
		{"sign", "+5\r\nhello\r\n0\r\n\r\n", false, false, "", "", 0},
		{"0x", "0x5\r\nhello\r\n0\r\n\r\n", false, false, "", "", 0},
		{"no hex", "g\r\n", false, false, "", "", 0},
		{"LF behind the size", "5\nhello\r\n0\r\n\r\n", false, false, "", "", 0},
		{"CR CR behind the size", "5\r\rhello\r\n0\r\n\r\n", false, false, "", "", 0},
		{"too much content", "5\r\nhelloo\r\n0\r\n\r\n", false, false, "", "", 0},
		{"LF behind the content", "5\r\nhello\n0\r\n\r\n", false, false, "", "", 0},
		{"CR without LF behind the content", "5\r\nhello\rx0\r\n\r\n", false, false, "", "", 0},
		{"LF as the end", "0\r\n\n", false, false, "", "", 0},
		{"CR without LF as the end", "0\r\n\rx", false, false, "", "", 0},
		{"seventeen digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", false, false, "", "", 0},
		{"trailer without a colon", "0\r\nabc\r\n\r\n", false, false, "", "", 0},
		{"trailer without a name", "0\r\n: b\r\n\r\n", false, false, "", "", 0},
		{"trailer folded", "0\r\nA: b\r\n c\r\n\r\n", false, false, "", "", 0},
		{"trailer with space before the colon", "0\r\nA : b\r\n\r\n", false, false, "", "", 0},
		{"trailer with LF", "0\r\nA: b\n\r\n", false, false, "", "", 0},
		{"trailer with CR inside", "0\r\nA: b\rc\r\n\r\n", false, false, "", "", 0},
		{"trailer with a control byte", "0\r\nA: b\x01\r\n\r\n", false, false, "", "", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		check_row(&rows[i]);
}

/* "Trailers as fields": their names are tokens, as in a head. */
static void trailer_names_are_tokens(void **state)
{
	static const struct chunked_row row = {"no token", "0\r\nA(b,c): d\r\n\r\n", false, false, "", "", 0};

	(void)state;
	check_row(&row);
}

/* http/body.h: "at most 16" digits. */
static void sizes_have_sixteen_digits_at_most(void **state)
{
	static const struct chunked_row row = {"sixteen digits", "0000000000000005\r\nhello\r\n0\r\n\r\n",
	                                       true, true, "hello", "", 0};

	(void)state;
	check_row(&row);
}

static void trailers_are_bounded(void **state)
{
	struct reading reading;
	struct buf text;

	(void)state;
	buf_init(&text, 100000);
	buf_add(&text, SPAN("0\r\n"));
	for (int i = 0; i < 2000; i++)
		buf_printf(&text, "X-%d: something\r\n", i);
	buf_add(&text, SPAN("\r\n"));
	read_pieces(buf_span(&text), HTTP_CHUNKED, 0, 1000, 1000, &reading);
	assert_int_equal(reading.err, ERR_REQUEST_FRAMING);
	assert_true(buf_len(&reading.trailers) <= 16384);
	free_reading(&reading);
	buf_reset(&text);
	buf_add(&text, SPAN("0\r\nX: "));
	for (int i = 0; i < 5000; i++)
		buf_add_byte(&text, 'a');
	read_pieces(buf_span(&text), HTTP_CHUNKED, 0, 1000, 1000, &reading);
	assert_int_equal(reading.err, ERR_REQUEST_FRAMING);
	free_reading(&reading);
	buf_fini(&text);
}

static void lengths_and_ends(void **state)
{
	static const struct {
		const char *name;
		enum http_framing framing;
		uint64_t len;
		const char *text, *content;
		bool done, ends_here;
	} rows[] = {
		{"length", HTTP_LENGTH, 5, "helloGET", "hello", true, true},
		{"length, unfinished", HTTP_LENGTH, 5, "hel", "hel", false, false},
		{"length 0", HTTP_LENGTH, 0, "GET", "", true, true},
		{"none", HTTP_NO_BODY, 0, "GET", "", true, true},
		{"until close", HTTP_UNTIL_CLOSE, 0, "hello", "hello", false, true},
		{"tunnel", HTTP_TUNNEL, 0, "hello", "hello", false, true},
		{"chunked, unfinished", HTTP_CHUNKED, 0, "5\r\nhello\r\n", "hello", false, false},
		{"chunked", HTTP_CHUNKED, 0, "5\r\nhello\r\n0\r\n\r\n", "hello", true, true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct span text = span_from(rows[i].text), content;
		struct http_body body;
		struct buf all;

		buf_init(&all, 1000);
		http_body_init(&body, rows[i].framing, rows[i].len);
		while (text.len && !body.done) {
			assert_int_equal(http_body_read(&body, &text, &content), ERR_NONE);
			buf_add(&all, content);
		}
		if (!span_equal(buf_span(&all), span_from(rows[i].content)) ||
		    body.done != rows[i].done || http_body_ends_here(&body) != rows[i].ends_here)
			fail_msg("%s: \"%.*s\"", rows[i].name, SPAN_ARG(buf_span(&all)));
		buf_fini(&all);
		http_body_fini(&body);
	}
}

static void content_is_put_into_a_framing(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 1000);
	http_body_write_before(HTTP_CHUNKED, 26, &out);
	buf_add(&out, SPAN("abcdefghijklmnopqrstuvwxyz"));
	http_body_write_after(HTTP_CHUNKED, 26, &out);
	http_body_write_before(HTTP_CHUNKED, 0, &out); /* would be the end */
	http_body_write_after(HTTP_CHUNKED, 0, &out);
	http_body_write_end(HTTP_CHUNKED, SPAN("A: b\r\n"), &out);
	assert_true(span_equal(buf_span(&out),
	                       SPAN("1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nA: b\r\n\r\n")));
	buf_reset(&out);
	http_body_write_before(HTTP_LENGTH, 26, &out);
	http_body_write_after(HTTP_UNTIL_CLOSE, 26, &out);
	http_body_write_end(HTTP_LENGTH, SPAN("A: b\r\n"), &out);
	assert_int_equal(buf_len(&out), 0);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks_are_read_strictly),
		cmocka_unit_test(trailer_names_are_tokens),
		cmocka_unit_test(sizes_have_sixteen_digits_at_most),
		cmocka_unit_test(trailers_are_bounded),
		cmocka_unit_test(lengths_and_ends),
		cmocka_unit_test(content_is_put_into_a_framing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
