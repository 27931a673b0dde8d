/* SPDX-License-Identifier: Apache-2.0 */
/* Heads as they go on, and replies of our own: whole texts are compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/message.h"

static struct arena arena;

static int open_arena(void **state)
{
	(void)state;
	arena_init(&arena, 1 << 16);
	return 0;
}

static int close_arena(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static void assert_text(const char *row, struct buf *out, const char *want)
{
	if (!span_equal(buf_span(out), span_from(want)))
		fail_msg("%s:\n%.*s---- want:\n%s", row, SPAN_ARG(buf_span(out)), want);
	buf_fini(out);
}

static struct http_head parse_request(const char *text)
{
	struct http_head head;
	const char *detail;

	assert_int_equal(http_head_parse_request(span_from(text), &arena, &head, &detail), ERR_NONE);
	return head;
}

struct request_row {
	const char *name, *text;
	struct http_forward forward;
	const char *want;
};

static void check_request(const struct request_row *row)
{
	struct http_head head = parse_request(row->text);
	struct http_target target;
	struct buf out;

	assert_int_equal(http_target_parse(head.method, head.target, &arena, &target), ERR_NONE);
	buf_init(&out, 100000);
	http_write_request(&head, &target, &row->forward, &out);
	assert_text(row->name, &out, row->want);
}

#define FORWARD(framing_) \
	{.via = "sp", .forwarded = {(const uint8_t *)"", 0}, .keep_alive = true, .framing = framing_, \
	 .max_forwards = UINT64_MAX}

/* One that is set, in place of three; one that is removed; one that is empty; one that the writer makes. */
static const struct http_edit edits[] = {
	{true, {(const uint8_t *)"X-Set", sizeof("X-Set") - 1}, {(const uint8_t *)"new", sizeof("new") - 1}},
	{false, {(const uint8_t *)"x-gone", sizeof("x-gone") - 1}, {(const uint8_t *)"", sizeof("") - 1}},
	{true, {(const uint8_t *)"X-Empty", sizeof("X-Empty") - 1}, {(const uint8_t *)"", sizeof("") - 1}},
	{true, {(const uint8_t *)"Forwarded", sizeof("Forwarded") - 1}, {(const uint8_t *)"by=rule", sizeof("by=rule") - 1}},
};

#define EDITED(framing_) \
	{.via = "sp", .forwarded = {(const uint8_t *)"for=x", sizeof("for=x") - 1}, .keep_alive = true, .framing = framing_, .max_forwards = UINT64_MAX, \
	 .edits = edits, .edit_count = COUNT_OF(edits)}

static void requests_go_on_in_origin_form(void **state)
{
	static const struct request_row rows[] = {
		{"plain", "GET http://A.example/x?y HTTP/1.1\r\nHost: other.example\r\nX: y\r\n\r\n",
		 FORWARD(HTTP_NO_BODY),
		 "GET /x?y HTTP/1.1\r\nHost: a.example\r\nX: y\r\nVia: 1.1 sp\r\n\r\n"},
		{"port", "GET http://a.example:8080/ HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
		 FORWARD(HTTP_NO_BODY),
		 "GET / HTTP/1.1\r\nHost: a.example:8080\r\nVia: 1.1 sp\r\n\r\n"},
		{"IPv6", "GET http://[2001:DB8::1]:81/ HTTP/1.1\r\nHost: x\r\n\r\n", FORWARD(HTTP_NO_BODY),
		 "GET / HTTP/1.1\r\nHost: [2001:db8::1]:81\r\nVia: 1.1 sp\r\n\r\n"},
		{"from 1.0 without Host", "GET http://a.example/ HTTP/1.0\r\n\r\n", FORWARD(HTTP_NO_BODY),
		 "GET / HTTP/1.1\r\nHost: a.example\r\nVia: 1.0 sp\r\n\r\n"},
		{"hop-by-hop",
		 "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: x-one, keep-alive\r\n"
		 "Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nX-One: 1\r\nX-Two: 2\r\nTE: gzip\r\n"
		 "Proxy-Authorization: Basic YTpi\r\nUpgrade: websocket\r\nTrailer: X\r\n"
		 "HTTP2-Settings: AAMAAABk\r\n\r\n",
		 FORWARD(HTTP_NO_BODY),
		 "GET / HTTP/1.1\r\nHost: a.example\r\nX-Two: 2\r\nVia: 1.1 sp\r\n\r\n"},
		{"what Connection cannot take away",
		 "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: host, cookie, authorization\r\n"
		 "Cookie: a\r\nAuthorization: b\r\n\r\n",
		 FORWARD(HTTP_NO_BODY),
		 "GET / HTTP/1.1\r\nHost: a.example\r\nCookie: a\r\nAuthorization: b\r\nVia: 1.1 sp\r\n\r\n"},
		{"te trailers", "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTE: gzip, trailers\r\nConnection: te\r\n\r\n",
		 FORWARD(HTTP_NO_BODY),
		 "GET / HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 sp\r\nTE: trailers\r\nConnection: TE\r\n\r\n"},
		{"upgrade",
		 "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Key: k\r\n\r\n",
		 FORWARD(HTTP_NO_BODY),
		 "GET / HTTP/1.1\r\nHost: a.example\r\nSec-WebSocket-Key: k\r\nVia: 1.1 sp\r\n"
		 "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"},
		{"length", "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0012\r\n\r\n",
		 FORWARD(HTTP_LENGTH),
		 "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 12\r\nVia: 1.1 sp\r\n\r\n"},
		{"chunked", "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n",
		 FORWARD(HTTP_CHUNKED),
		 "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nVia: 1.1 sp\r\n\r\n"},
		{"Via is added to", "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nVia: 1.0 fred\r\n\r\n",
		 FORWARD(HTTP_NO_BODY),
		 "GET / HTTP/1.1\r\nHost: a.example\r\nVia: 1.0 fred\r\nVia: 1.1 sp\r\n\r\n"},
		{"Max-Forwards stays", "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 7\r\n\r\n",
		 FORWARD(HTTP_NO_BODY),
		 "GET / HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 7\r\nVia: 1.1 sp\r\n\r\n"},
		{"edits",
		 "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nx-set: 1\r\nX-Gone: 2\r\nX-SET: 3\r\nX-Kept: 4\r\n"
		 "Connection: X-Set\r\nX-Set: 5\r\nX-Gone: 6\r\nForwarded: for=y\r\nContent-Length: 3\r\n\r\n",
		 EDITED(HTTP_LENGTH),
		 "POST / HTTP/1.1\r\nHost: a.example\r\nX-Kept: 4\r\nX-Set: new\r\nX-Empty: \r\nForwarded: by=rule\r\n"
		 "Content-Length: 3\r\nVia: 1.1 sp\r\n\r\n"},
		{"Max-Forwards is written", "TRACE http://a.example/ HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 7\r\n\r\n",
		 {.via = "sp", .forwarded = {(const uint8_t *)"for=x", 5}, .framing = HTTP_NO_BODY, .max_forwards = 6},
		 "TRACE / HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 6\r\nVia: 1.1 sp\r\nForwarded: for=x\r\n"
		 "Connection: close\r\n\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		check_request(&rows[i]);
}

struct response_row {
	const char *name, *text, *method;
	struct http_forward forward;
	const char *want;
};

static void check_response(const struct response_row *row)
{
	struct http_head head;
	const char *detail;
	struct buf out;

	assert_int_equal(http_head_parse_response(span_from(row->text), span_from(row->method), &arena,
	                                          &head, &detail), ERR_NONE);
	buf_init(&out, 100000);
	http_write_response(&head, &row->forward, &out);
	assert_text(row->name, &out, row->want);
}

static void responses_go_on(void **state)
{
	static const struct response_row rows[] = {
		{"edits", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Gone: 1\r\nx-set: 2\r\nX-Set: 3\r\nX-Gone-Not: 4\r\n\r\n",
		 "GET", EDITED(HTTP_CHUNKED),
		 "HTTP/1.1 200 OK\r\nX-Gone-Not: 4\r\nX-Set: new\r\nX-Empty: \r\nForwarded: by=rule\r\n"
		 "Transfer-Encoding: chunked\r\nVia: 1.1 sp\r\n\r\n"},
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\nConnection: x\r\n\r\n", "GET",
		 FORWARD(HTTP_LENGTH),
		 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 sp\r\n\r\n"},
		{"until close becomes chunks", "HTTP/1.0 200 OK\r\nX: y\r\n\r\n", "GET", FORWARD(HTTP_CHUNKED),
		 "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\nVia: 1.0 sp\r\n\r\n"},
		{"chunks for 1.0", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET",
		 {.via = "sp", .framing = HTTP_UNTIL_CLOSE, .to_http10 = true, .max_forwards = UINT64_MAX},
		 "HTTP/1.1 200 OK\r\nVia: 1.1 sp\r\nConnection: close\r\n\r\n"},
		{"kept for 1.0", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET",
		 {.via = "sp", .framing = HTTP_LENGTH, .keep_alive = true, .to_http10 = true, .max_forwards = UINT64_MAX},
		 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 sp\r\nConnection: keep-alive\r\n"
		 "Proxy-Connection: keep-alive\r\n\r\n"},
		{"authentication of the next proxy",
		 "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
		 "GET", FORWARD(HTTP_LENGTH),
		 "HTTP/1.1 407 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\nVia: 1.1 sp\r\n\r\n"},
		{"HEAD keeps its length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD",
		 FORWARD(HTTP_NO_BODY),
		 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 sp\r\n\r\n"},
		{"304 keeps its length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET",
		 FORWARD(HTTP_NO_BODY),
		 "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nVia: 1.1 sp\r\n\r\n"},
		{"100", "HTTP/1.1 100 Continue\r\n\r\n", "POST", FORWARD(HTTP_NO_BODY),
		 "HTTP/1.1 100 Continue\r\nVia: 1.1 sp\r\n\r\n"},
		{"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "GET",
		 FORWARD(HTTP_NO_BODY),
		 "HTTP/1.1 101 Switching Protocols\r\nVia: 1.1 sp\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		check_response(&rows[i]);
}

/* RFC 9110 section 8.6: no Content-Length in 1xx and 204. A reader that believes it would wait for bytes. */
static void no_length_where_no_content_can_be(void **state)
{
	static const struct response_row rows[] = {
		{"204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "GET", FORWARD(HTTP_NO_BODY),
		 "HTTP/1.1 204 No Content\r\nVia: 1.1 sp\r\n\r\n"},
		{"103", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", "GET", FORWARD(HTTP_NO_BODY),
		 "HTTP/1.1 103 Early Hints\r\nVia: 1.1 sp\r\n\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		check_response(&rows[i]);
}

static void our_own_name_in_via_is_a_loop(void **state)
{
	static const struct {
		const char *value;
		bool loop;
	} rows[] = {
		{"1.1 sallyport", true},
		{"1.0 fred, 1.1 Sallyport (comment)", true},
		{"HTTP/1.1 sallyport", true},
		{"1.1 fred,1.1 sallyport", true},
		{"1.1\tsallyport", true},
		{"1.1 sallyport2", false},
		{"1.1 fred (sallyport)", false},
		{"sallyport", false},
		{"", false},
		{",,", false},
	};
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char text[200];
		struct http_head head;

		snprintf(text, sizeof(text), "GET http://a/ HTTP/1.1\r\nHost: a\r\nVia: x y\r\nVia: %s\r\n\r\n",
		         rows[i].value);
		head = parse_request(text);
		if (http_via_has(&head, "sallyport") == rows[i].loop)
			continue;
		print_message("wrong: \"%s\"\n", rows[i].value);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void html_is_for_those_who_prefer_it(void **state)
{
	static const struct {
		const char *accept;
		bool html;
	} rows[] = {
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
		{"text/html", true},
		{"text/html;q=0.5, text/plain", false},
		{"text/plain, text/html", true},
		{"text/html;q=0", false},
		{"text/html;level=1;q=0.1", true},
		{"*/*", false},
		{"application/json", false},
		{"", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char text[200];
		struct http_head head;

		snprintf(text, sizeof(text), "GET http://a/ HTTP/1.1\r\nHost: a\r\nAccept: %s\r\n\r\n",
		         rows[i].accept);
		head = parse_request(text);
		if (http_wants_html(&head) != rows[i].html)
			fail_msg("\"%s\"", rows[i].accept);
	}
}

static struct http_reply hostile_reply(bool html)
{
	return (struct http_reply){
		.status = 403,
		.err = ERR_POLICY_DENIED,
		.proxy_name = "sp",
		.id = "0-1.1",
		.detail = "a\"b\\c\r\nSet-Cookie: x",
		.authority = SPAN("<script>alert(1)</script>"),
		.why = "rule",
		.rule = SPAN("rule \"one\"\r\nX: y <b>"),
		.entry = SPAN("x.example (lists/x.list:12)"),
		.fields = SPAN("X-More: 1\r\n"),
		.title = SPAN(""),
		.text = SPAN(""),
		.html = html,
	};
}

static void replies_escape_what_came_from_outside(void **state)
{
	(void)state;
	for (int html = 0; html < 2; html++) {
		struct http_reply reply = hostile_reply(html);
		struct buf out;
		char *text;

		buf_init(&out, 100000);
		http_write_reply(&reply, UINT64_C(1795421639123), &out);
		text = buf_to_string(&out);
		buf_fini(&out);
		assert_non_null(strstr(text, "HTTP/1.1 403 Forbidden\r\nDate: Mon, 23 Nov 2026 08:13:59 GMT\r\n"));
		assert_non_null(strstr(text, "Proxy-Status: sp; error=http_request_denied; details=\"policy_denied: "
		                             "a\\\"b\\\\c??Set-Cookie: x; decided by rule \\\"one\\\"??X: y <b>; "
		                             "because of x.example (lists/x.list:12); why rule; id 0-1.1\"\r\n"));
		assert_null(strstr(text, "\r\nSet-Cookie"));
		assert_null(strstr(text, "\r\nX: y"));
		assert_non_null(strstr(text, "\r\nX-More: 1\r\n"));
		assert_non_null(strstr(text, "\r\nConnection: close\r\nProxy-Connection: close\r\n\r\n"));
		if (html)
			assert_null(strstr(text, "<script>"));
		free(text);
	}
}

/* Content-Length is that of the body, also where none is sent. */
static void replies_have_their_length(void **state)
{
	(void)state;
	for (int head_only = 0; head_only < 2; head_only++) {
		struct http_reply reply = hostile_reply(false);
		struct http_head head;
		const char *detail;
		struct buf out;
		size_t scanned = 0, head_bytes;

		reply.head_only = head_only;
		buf_init(&out, 100000);
		http_write_reply(&reply, 0, &out);
		head_bytes = http_head_find(buf_span(&out), &scanned);
		assert_int_equal(http_head_parse_response(span_first(buf_span(&out), head_bytes), SPAN("GET"),
		                                          &arena, &head, &detail), ERR_NONE);
		assert_int_equal(head.framing, HTTP_LENGTH);
		assert_true(head.body_bytes > 0);
		assert_int_equal(buf_len(&out) - head_bytes, head_only ? 0 : head.body_bytes);
		buf_fini(&out);
	}
}

static void advice_can_help(void **state)
{
	static const struct {
		enum err err;
		const char *advice;
	} rows[] = {
		{ERR_DNS_NOT_FOUND, "<p>Check the spelling"},
		{ERR_DNS_FAILED, "<p>Try again"},
		{ERR_ORIGIN_REFUSED, "<p>Try again"},
		{ERR_POLICY_DENIED, "<p>If you need this destination"},
		{ERR_AUTH_UNAVAILABLE, "<p>Try again"},
		{ERR_AUTH_REFUSED, "<p>Log on"},
		{ERR_AUTH_THROTTLED, "<p>Wait a minute"},
		{ERR_ROUTE_SOURCE, "<p>The configuration of the proxy"},
		{ERR_REQUEST_LOOP, "<p>The configuration of the proxy"},
		{ERR_REQUEST_SCHEME, "<p>The program"},
		{ERR_REQUEST_SYNTAX, "<p>The program"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct http_reply reply = hostile_reply(true);
		struct buf out;
		char *text;

		reply.err = rows[i].err;
		reply.status = err_status(reply.err);
		buf_init(&out, 100000);
		http_write_reply(&reply, 0, &out);
		text = buf_to_string(&out);
		buf_fini(&out);
		if (strstr(text, rows[i].advice) == NULL)
			fail_msg("%s: %s", err_name(rows[i].err), text);
		free(text);
	}
}

/* Every error that has a status gives a whole reply. */
static void every_error_has_a_page(void **state)
{
	(void)state;
	for (int err = 1; err < ERR_COUNT; err++) {
		struct http_reply reply = hostile_reply(true);
		struct buf out;

		if (err_status((enum err)err) == 0)
			continue;
		reply.err = (enum err)err;
		reply.status = err_status((enum err)err);
		if (http_reason(reply.status)[0] == 0 || err_token((enum err)err) == NULL)
			fail_msg("%s", err_name((enum err)err));
		buf_init(&out, 100000);
		http_write_reply(&reply, 0, &out);
		assert_true(buf_is_whole(&out));
		buf_fini(&out);
	}
}

int main(void)
{
#define ONE(name) cmocka_unit_test_setup_teardown(name, open_arena, close_arena)
	const struct CMUnitTest tests[] = {
		ONE(requests_go_on_in_origin_form),
		ONE(responses_go_on),
		ONE(no_length_where_no_content_can_be),
		ONE(our_own_name_in_via_is_a_loop),
		ONE(html_is_for_those_who_prefer_it),
		ONE(replies_escape_what_came_from_outside),
		ONE(replies_have_their_length),
		ONE(advice_can_help),
		ONE(every_error_has_a_page),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
