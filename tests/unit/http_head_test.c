/* SPDX-License-Identifier: Apache-2.0 */
/* Heads that are taken, and heads that are refused with the reason that the reply and the log say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "http/head.h"

#define GET "GET http://a.example/ HTTP/1.1\r\n"
#define HOST "Host: a.example\r\n"
#define END "\r\n"

/* Heads may hold NUL bytes, so rows are spans. */
#define ROW(name, text, ...) {name, {(const uint8_t *)(text), sizeof(text) - 1}, __VA_ARGS__}
#define REFUSED(name, text) {name, {(const uint8_t *)(text), sizeof(text) - 1}}

static struct arena arena;

static int free_arena(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static enum err parse_request(struct span bytes, struct http_head *head)
{
	const char *detail = NULL;
	enum err err;

	arena_fini(&arena);
	arena_init(&arena, 1 << 16);
	err = http_head_parse_request(bytes, &arena, head, &detail);
	assert_non_null(detail);
	if (err == ERR_NONE)
		assert_string_equal(detail, "");
	return err;
}

static enum err parse_response(struct span bytes, const char *method, struct http_head *head)
{
	const char *detail = NULL;

	arena_fini(&arena);
	arena_init(&arena, 1 << 16);
	return http_head_parse_response(bytes, span_from(method), &arena, head, &detail);
}

static void requests_are_read_strictly(void **state)
{
	static const struct {
		const char *name;
		struct span text;
		enum err err;
		enum http_framing framing;
	} rows[] = {
		ROW("plain", GET HOST END, ERR_NONE, HTTP_NO_BODY),
		ROW("one leading empty line", END GET HOST END, ERR_NONE, HTTP_NO_BODY),
		ROW("two leading empty lines", END END GET HOST END, ERR_NONE, HTTP_NO_BODY),
		ROW("three leading empty lines", END END END GET HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("connect", "CONNECT a.example:443 HTTP/1.1\r\n" HOST END, ERR_NONE, HTTP_NO_BODY),
		ROW("1.0 without Host", "GET / HTTP/1.0\r\n" END, ERR_NONE, HTTP_NO_BODY),
		ROW("length", GET HOST "Content-Length: 5\r\n" END, ERR_NONE, HTTP_LENGTH),
		ROW("length 0", GET HOST "Content-Length: 0\r\n" END, ERR_NONE, HTTP_NO_BODY),
		ROW("chunked", GET HOST "Transfer-Encoding: chunked\r\n" END, ERR_NONE, HTTP_CHUNKED),
		ROW("chunked in capitals", GET HOST "transfer-encoding: CHUNKED\r\n" END, ERR_NONE, HTTP_CHUNKED),
		ROW("empty value", GET HOST "X:\r\n" END, ERR_NONE, HTTP_NO_BODY),
		ROW("Latin-1 value", GET HOST "X: \xe4\xff\r\n" END, ERR_NONE, HTTP_NO_BODY),
		ROW("tab around a value", GET HOST "X:\t a \t\r\n" END, ERR_NONE, HTTP_NO_BODY),
		ROW("expectation", GET HOST "Expect: 100-Continue\r\n" END, ERR_NONE, HTTP_NO_BODY),

		ROW("no Host", GET END, ERR_REQUEST_HOST, HTTP_NO_BODY),
		ROW("two Hosts", GET HOST HOST END, ERR_REQUEST_HOST, HTTP_NO_BODY),
		ROW("two Hosts in 1.0", "GET / HTTP/1.0\r\n" HOST HOST END, ERR_REQUEST_HOST, HTTP_NO_BODY),
		ROW("obs-fold", GET HOST "X: a\r\n b\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("obs-fold with a tab", GET HOST "X: a\r\n\tb\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("obs-fold first", GET " X: a\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("0.9", "GET /\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("0.9 named", "GET / HTTP/0.9\r\n" END, ERR_REQUEST_VERSION, HTTP_NO_BODY),
		ROW("1.2", "GET / HTTP/1.2\r\n" HOST END, ERR_REQUEST_VERSION, HTTP_NO_BODY),
		ROW("2.0", "GET / HTTP/2.0\r\n" HOST END, ERR_REQUEST_VERSION, HTTP_NO_BODY),
		ROW("2 preface", "PRI * HTTP/2.0\r\n" END, ERR_REQUEST_VERSION, HTTP_NO_BODY),
		ROW("version of one digit", "GET / HTTP/1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("version of three digits", "GET / HTTP/1.10\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("version in small letters", "GET / http/1.1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("another protocol", "GET / ICY/1.1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("two spaces", "GET  / HTTP/1.1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("space behind the version", "GET / HTTP/1.1 \r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("space in front", " GET / HTTP/1.1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("tab as separator", "GET\t/\tHTTP/1.1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("space in the target", "GET /a b HTTP/1.1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("no target", "GET  HTTP/1.1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("NUL in the target", "GET /\0a HTTP/1.1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("method is no token", "G(T / HTTP/1.1\r\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("unknown method", "FROB / HTTP/1.1\r\n" HOST END, ERR_REQUEST_METHOD, HTTP_NO_BODY),
		ROW("method in small letters", "get / HTTP/1.1\r\n" HOST END, ERR_REQUEST_METHOD, HTTP_NO_BODY),
		ROW("connect with a length", "CONNECT a:443 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n" END, ERR_REQUEST_CONNECT_BODY, HTTP_NO_BODY),
		ROW("connect with length 0", "CONNECT a:443 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n" END, ERR_NONE, HTTP_NO_BODY),
		ROW("connect with chunks", "CONNECT a:443 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n" END, ERR_REQUEST_CONNECT_BODY, HTTP_NO_BODY),
		ROW("bare CR in a value", GET HOST "X: a\rb\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("bare CR before a field", GET HOST "\rX: a\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("bare LF behind a field", GET HOST "X: a\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("bare LF behind the request line", "GET / HTTP/1.1\n" HOST END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("bare LF at the end", GET "Host: a\r\n\n", ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("two CR", GET "Host: a\r\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("space before the colon", GET HOST "X : a\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("tab before the colon", GET HOST "Content-Length\t: 5\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("no colon", GET HOST "X\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("no name", GET HOST ": a\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("name is no token", GET HOST "X(y): a\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("name is not ASCII", GET HOST "X\xe4: a\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("NUL in a name", GET HOST "X\0y: a\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("NUL in a value", GET HOST "X: a\0b\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("control in a value", GET HOST "X: a\x01\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("DEL in a value", GET HOST "X: a\x7f\r\n" END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("another expectation", GET HOST "Expect: 200-ok\r\n" END, ERR_REQUEST_EXPECTATION, HTTP_NO_BODY),
		ROW("something behind the head", GET HOST END "GET", ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("no end", GET HOST, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("nothing", "", ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("only empty lines", END END END, ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
		ROW("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", ERR_REQUEST_SYNTAX, HTTP_NO_BODY),
	};
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct http_head head;
		enum err err = parse_request(rows[i].text, &head);

		if (err == rows[i].err && (err || head.framing == rows[i].framing))
			continue;
		print_message("%s: %s, framing %d\n", rows[i].name, err ? err_name(err) : "taken",
		              (int)head.framing);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void a_request_in_pieces(void **state)
{
	struct span text = SPAN("POST http://A.example:8080/x?y HTTP/1.1\r\nhOsT: a.example:8080\r\n"
	                        "Connection: Upgrade, x-one\r\nUpgrade: websocket\r\nX-One:  1 \r\n"
	                        "Expect: 100-continue\r\nContent-Length: 12\r\n\r\n");
	struct http_head head;

	(void)state;
	assert_int_equal(parse_request(text, &head), ERR_NONE);
	assert_true(head.is_request);
	assert_int_equal(head.minor, 1);
	assert_true(span_equal(head.method, SPAN("POST")));
	assert_true(span_equal(head.target, SPAN("http://A.example:8080/x?y")));
	assert_int_equal(head.field_count, 6);
	assert_true(span_equal(http_find(&head, "x-one")->value, SPAN("1")));
	assert_null(http_find(&head, "x-two"));
	assert_int_equal(head.body_bytes, 12);
	assert_true(head.keep_alive);
	assert_true(head.upgrade);
	assert_true(head.expect_continue);
	assert_int_equal(head.head_bytes, text.len);
	assert_true(http_has_token(&head, "connection", SPAN("UPGRADE")));
	assert_false(http_has_token(&head, "connection", SPAN("close")));
}

static void connections_are_kept_as_asked(void **state)
{
	static const struct {
		const char *name, *text;
		bool keep, upgrade;
	} rows[] = {
		{"1.1", GET HOST END, true, false},
		{"1.1 close", GET HOST "Connection: close\r\n" END, false, false},
		{"1.1 x, Close", GET HOST "Connection: x, Close\r\n" END, false, false},
		{"1.1 two fields", GET HOST "Connection: x\r\nConnection: close\r\n" END, false, false},
		{"1.1 proxy close", GET HOST "Proxy-Connection: close\r\n" END, false, false},
		{"1.1 both", GET HOST "Connection: x\r\nProxy-Connection: close\r\n" END, true, false},
		{"1.0", "GET / HTTP/1.0\r\n" END, false, false},
		{"1.0 keep", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n" END, true, false},
		{"1.0 proxy keep", "GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n" END, true, false},
		{"upgrade without connection", GET HOST "Upgrade: websocket\r\n" END, true, false},
		{"connection without upgrade", GET HOST "Connection: upgrade\r\n" END, true, false},
		{"upgrade in 1.0", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" END, false, false},
		{"upgrade", GET HOST "Connection: upgrade\r\nUpgrade: WebSocket\r\n" END, true, true},
		{"upgrade to something else", GET HOST "Connection: upgrade\r\nUpgrade: TLS/1.2\r\n" END, true, false},
		{"upgrade to one of two", GET HOST "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n" END, true, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct http_head head;

		assert_int_equal(parse_request(span_from(rows[i].text), &head), ERR_NONE);
		if (head.keep_alive != rows[i].keep || head.upgrade != rows[i].upgrade)
			fail_msg("%s", rows[i].name);
	}
}

static void fields_are_counted(void **state)
{
	struct http_head head;
	struct buf text;

	(void)state;
	buf_init(&text, 100000);
	buf_add(&text, SPAN(GET HOST));
	for (int i = 0; i < 199; i++)
		buf_printf(&text, "X-%d: %d\r\n", i, i);
	buf_add(&text, SPAN(END));
	assert_int_equal(parse_request(buf_span(&text), &head), ERR_NONE);
	assert_int_equal(head.field_count, 200);
	assert_true(span_equal(head.fields[199].name, SPAN("X-198")));
	buf_reset(&text);
	buf_add(&text, SPAN(GET HOST));
	for (int i = 0; i < 300; i++)
		buf_printf(&text, "X-%d: %d\r\n", i, i);
	buf_add(&text, SPAN(END));
	assert_int_equal(parse_request(buf_span(&text), &head), ERR_REQUEST_SIZE);
	buf_fini(&text);
}

static void memory_is_bounded(void **state)
{
	const char *detail;
	struct http_head head;

	(void)state;
	arena_init(&arena, 64);
	assert_int_equal(http_head_parse_request(SPAN(GET HOST END), &arena, &head, &detail),
	                 ERR_SESSION_MEMORY);
}

static void hop_by_hop_fields_are_known(void **state)
{
	static const struct {
		const char *name;
		bool hop;
	} rows[] = {
		{"Connection", true}, {"keep-alive", true}, {"TE", true}, {"Trailer", true},
		{"transfer-encoding", true}, {"Upgrade", true}, {"Proxy-Authorization", true},
		{"Proxy-Authenticate", true}, {"Proxy-Connection", true}, {"X-One", true},
		{"x-two", true}, {"X-Three", false}, {"Host", false}, {"Content-Length", false},
		{"Authorization", false}, {"Via", false}, {"Cache-Control", false},
	};
	struct http_head head;

	(void)state;
	assert_int_equal(parse_request(SPAN(GET HOST "Connection: x-one, host, content-length, authorization\r\n"
	                                    "Connection: X-TWO, cache-control, via\r\n" END), &head), ERR_NONE);
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (http_is_hop_by_hop(&head, span_from(rows[i].name)) != rows[i].hop)
			fail_msg("%s", rows[i].name);
}

static void responses_are_read_strictly(void **state)
{
	static const struct {
		const char *name;
		struct span text;
		const char *method;
		enum err err;
		enum http_framing framing;
	} rows[] = {
		ROW("until close", "HTTP/1.1 200 OK\r\n\r\n", "GET", ERR_NONE, HTTP_UNTIL_CLOSE),
		ROW("no reason", "HTTP/1.1 200 \r\n\r\n", "GET", ERR_NONE, HTTP_UNTIL_CLOSE),
		ROW("no space behind the status", "HTTP/1.1 200\r\n\r\n", "GET", ERR_NONE, HTTP_UNTIL_CLOSE),
		ROW("length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", ERR_NONE, HTTP_LENGTH),
		ROW("length 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", ERR_NONE, HTTP_LENGTH),
		ROW("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", ERR_NONE, HTTP_CHUNKED),
		ROW("to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", ERR_NONE, HTTP_NO_BODY),
		ROW("204", "HTTP/1.1 204 No Content\r\n\r\n", "GET", ERR_NONE, HTTP_NO_BODY),
		ROW("304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", ERR_NONE, HTTP_NO_BODY),
		ROW("100", "HTTP/1.1 100 Continue\r\n\r\n", "POST", ERR_NONE, HTTP_NO_BODY),
		ROW("101", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "GET", ERR_NONE, HTTP_TUNNEL),
		ROW("200 to CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "CONNECT", ERR_NONE, HTTP_TUNNEL),
		ROW("403 to CONNECT", "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n", "CONNECT", ERR_NONE, HTTP_LENGTH),
		ROW("1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", ERR_NONE, HTTP_LENGTH),
		ROW("2.0", "HTTP/2.0 200 OK\r\n\r\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("status below 100", "HTTP/1.1 099 OK\r\n\r\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("status of 600", "HTTP/1.1 600 OK\r\n\r\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("bare LF", "HTTP/1.1 200 OK\nX: a\n\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("not HTTP", "ICY 200 OK\r\n\r\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("SSH", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
		ROW("nothing", "", "GET", ERR_RESPONSE_SYNTAX, HTTP_NO_BODY),
	};
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct http_head head;
		enum err err = parse_response(rows[i].text, rows[i].method, &head);

		if (err == rows[i].err && (err || head.framing == rows[i].framing))
			continue;
		print_message("%s: %s, framing %d\n", rows[i].name, err ? err_name(err) : "taken",
		              (int)head.framing);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

/* Named rows of heads that must all be refused with one error. */
struct refused_row {
	const char *name;
	struct span text;
};

static void check_refused(const struct refused_row *rows, size_t count, bool is_request, enum err want)
{
	size_t wrong = 0;

	for (size_t i = 0; i < count; i++) {
		struct http_head head;
		enum err err = is_request ? parse_request(rows[i].text, &head)
		                          : parse_response(rows[i].text, "GET", &head);

		if (err == want)
			continue;
		print_message("%s: %s\n", rows[i].name, err ? err_name(err) : "taken");
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void ambiguous_requests_are_called_so(void **state)
{
	static const struct refused_row rows[] = {
		REFUSED("both lengths", GET HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" END),
		REFUSED("both, other order", GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n" END),
		REFUSED("two lengths", GET HOST "Content-Length: 3\r\nContent-Length: 3\r\n" END),
		REFUSED("two lengths in one", GET HOST "Content-Length: 3, 3\r\n" END),
		REFUSED("length with a sign", GET HOST "Content-Length: +3\r\n" END),
		REFUSED("length below zero", GET HOST "Content-Length: -3\r\n" END),
		REFUSED("length in hex", GET HOST "Content-Length: 0x3\r\n" END),
		REFUSED("empty length", GET HOST "Content-Length:\r\n" END),
		REFUSED("length over 2^63", GET HOST "Content-Length: 9223372036854775808\r\n" END),
		REFUSED("length over 2^64", GET HOST "Content-Length: 18446744073709551617\r\n" END),
		REFUSED("TE in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END),
		REFUSED("TE is gzip, chunked", GET HOST "Transfer-Encoding: gzip, chunked\r\n" END),
		REFUSED("TE is chunked, identity", GET HOST "Transfer-Encoding: chunked, identity\r\n" END),
		REFUSED("TE is identity", GET HOST "Transfer-Encoding: identity\r\n" END),
		REFUSED("TE is xchunked", GET HOST "Transfer-Encoding: xchunked\r\n" END),
		REFUSED("two TE", GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END),
	};

	(void)state;
	check_refused(rows, COUNT_OF(rows), true, ERR_REQUEST_FRAMING);
}

static void ambiguous_responses_are_called_so(void **state)
{
	static const struct refused_row rows[] = {
		REFUSED("both lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
		REFUSED("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
		REFUSED("bad length", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n"),
		REFUSED("TE in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
		REFUSED("TE is gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
	};

	(void)state;
	check_refused(rows, COUNT_OF(rows), false, ERR_RESPONSE_FRAMING);
}

/* RFC 9112 section 4: tab, space, visible characters and obs-text. */
static void reasons_hold_no_control_characters(void **state)
{
	static const struct refused_row rows[] = {
		REFUSED("CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n"),
		REFUSED("control in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n"),
		REFUSED("NUL in the reason", "HTTP/1.1 200 O\0K\r\n\r\n"),
	};

	(void)state;
	check_refused(rows, COUNT_OF(rows), false, ERR_RESPONSE_SYNTAX);
}

/* The end of a head is found wherever the bytes are cut. */
static void heads_are_found_in_any_pieces(void **state)
{
	static const struct {
		const char *text;
		size_t head;
	} rows[] = {
		{GET HOST END "body", sizeof(GET HOST END) - 1},
		{END END GET HOST END END, sizeof(END END GET HOST END) - 1},
		{"GET / HTTP/1.1\n\nrest", sizeof("GET / HTTP/1.1\n\n") - 1},
		{GET HOST, 0},
		{"", 0},
		{END END END END, 6},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct span text = span_from(rows[i].text);
		size_t scanned = 0, found = 0;

		for (size_t len = 0; len <= text.len && found == 0; len++)
			found = http_head_find(span_first(text, len), &scanned);
		if (found != rows[i].head)
			fail_msg("row %zu in drips: %zu", i, found);
		scanned = 0;
		assert_int_equal(http_head_find(text, &scanned), rows[i].head);
	}
}

/* A first line is judged when it has ended, as it would be in a complete head. */
static void a_start_is_judged_early(void **state)
{
	static const struct {
		const char *text;
		enum err err;
	} rows[] = {
		{"", ERR_NONE},
		{"GET /", ERR_NONE},
		{END, ERR_NONE},
		{END END "GET / HT", ERR_NONE},
		{"GET / HTTP/1.1\r\n", ERR_NONE},
		{END "GET / HTTP/1.0\r\nHost", ERR_NONE},
		{"GET /\r\n", ERR_REQUEST_SYNTAX},
		{"\n", ERR_REQUEST_SYNTAX},
		{END "x\n", ERR_REQUEST_SYNTAX},
		{END END END, ERR_REQUEST_SYNTAX},
		{"GET / HTTP/2.0\r\nHo", ERR_REQUEST_VERSION},
	};
	const char *detail;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (http_head_check_start(span_from(rows[i].text), &detail) != rows[i].err)
			fail_msg("row %zu", i);
}

int main(void)
{
#define ONE(name) cmocka_unit_test_teardown(name, free_arena)
	const struct CMUnitTest tests[] = {
		ONE(requests_are_read_strictly),
		ONE(a_request_in_pieces),
		ONE(connections_are_kept_as_asked),
		ONE(fields_are_counted),
		ONE(memory_is_bounded),
		ONE(hop_by_hop_fields_are_known),
		ONE(responses_are_read_strictly),
		ONE(ambiguous_requests_are_called_so),
		ONE(ambiguous_responses_are_called_so),
		ONE(reasons_hold_no_control_characters),
		ONE(heads_are_found_in_any_pieces),
		ONE(a_start_is_judged_early),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
