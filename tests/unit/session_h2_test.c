/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 inside an inspected session: real peers on both sides of it, over socketpairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "h2_peer.h"
#include "session_h2_rig.h"

enum { TURNS_MAX = 200000 };

static const char policy_text[] =
	"rules:\n"
	"- {name: bad, when: {to: denied.example, port: 1-65535}, then: {access: deny}}\n"
	"- {name: other, when: {to: other.example, port: 1-65535}, then: {access: allow}}\n"
	"- {name: bad path, when: {url: 'https://origin.example/denied'}, then: {access: deny}}\n"
	"- {name: no programs, when: {to: origin.example, content-type: application/x-msdownload}, then: {access: deny}}\n"
	"- {name: tenants, when: {to: origin.example}, then: {request-headers: {set: {X-Tenant: ours}, remove: [Cookie]},"
	" response-headers: {set: {Server: proxy}, remove: [X-Powered-By]}}}\n"
	"- {name: origin, when: {to: origin.example, port: 1-65535}, then: {access: allow}}\n"
	"defaults: {access: deny, tls: inspect, auth: exempt}\n";

static struct session_rig rig;
static struct h2_peer client, origin;
static struct session *session;

static void write_errors(void *context, enum log_level level, struct span line)
{
	(void)context;
	if (level == LOG_LEVEL_ERROR)
		print_error("%.*s\n", SPAN_ARG(line));
}

/* ---- the set-up ---- */

static const char *const plain_ok[] = {":status", "200", "content-type", "text/plain", NULL};

static void answer_hello(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	(void)peer;
	stream->text = SPAN("hello");
	h2_peer_respond(stream, plain_ok, true);
}

static void answer_nothing(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	(void)peer, (void)stream;
}

static void start_session(void)
{
	int client_fd, origin_fd;

	session = session_h2_rig_start(&rig, &client_fd, &origin_fd);
	h2_peer_init(&client, client_fd, false, false);
	h2_peer_init(&origin, origin_fd, true, false);
}

static int open_rig(void **state)
{
	(void)state;
	log_set_sink(write_errors, NULL);
	session_rig_init(&rig, policy_text);
	start_session();
	origin.on_request = answer_hello;
	return 0;
}

static int close_rig(void **state)
{
	(void)state;
	h2_peer_fini(&client);
	h2_peer_fini(&origin);
	for (int i = 0; i < 20 && !list_is_empty(&rig.env.sessions); i++)
		loop_turn(rig.loop, 0);
	loop_turn(rig.loop, 0);
	session_rig_check_idle(&rig);
	session_rig_fini(&rig);
	return 0;
}

static void default_settings(void)
{
	h2_peer_settings(&client, NULL, 0);
	h2_peer_settings(&origin, NULL, 0);
}

static void turn(void)
{
	h2_peer_send(&client);
	h2_peer_send(&origin);
	loop_turn(rig.loop, 0);
	h2_peer_receive(&client);
	h2_peer_receive(&origin);
}

static void turns(int count)
{
	while (count--)
		turn();
}

#define UNTIL(condition) \
	do { \
		int left = TURNS_MAX; \
		while (!(condition) && --left) \
			turn(); \
		if (!left) \
			fail_msg("never: %s", #condition); \
	} while (0)

static const char *const get[] = {":method", "GET", ":scheme", "https", ":authority", "origin.example", ":path", "/a?b",
                                  "user-agent", "test", NULL};
static const char *const post[] = {":method", "POST", ":scheme", "https", ":authority", "origin.example", ":path",
                                   "/p", NULL};

static void assert_has(const struct buf *text, const char *what)
{
	if (span_find_span(buf_span(text), span_from(what)) == buf_len(text))
		fail_msg("no %s in:\n%.*s", what, SPAN_ARG(buf_span(text)));
}

static void assert_lacks(const struct buf *text, const char *what)
{
	if (span_find_span(buf_span(text), span_from(what)) < buf_len(text))
		fail_msg("%s is in:\n%.*s", what, SPAN_ARG(buf_span(text)));
}

static void assert_body(const struct h2_peer_stream *stream, const char *what)
{
	if (!span_equal(buf_span(&stream->body), span_from(what)))
		fail_msg("body: %.*s", SPAN_ARG(buf_span(&stream->body)));
}

/* ---- tests ---- */

static void test_get(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	stream = h2_peer_request(&client, get, false);
	UNTIL(stream->closed);
	assert_int_equal(stream->code, NGHTTP2_NO_ERROR);
	assert_body(stream, "hello");
	assert_has(&stream->head, ":status: 200\ncontent-type: text/plain\nserver: proxy\n");
	assert_has(&origin.streams[0].head, ":method: GET\n:scheme: https\n:authority: origin.example\n:path: /a?b\n"
	                                    "user-agent: test\nx-tenant: ours\n");
	assert_lacks(&origin.streams[0].head, "host:");
	assert_has(&rig.log, "\"method\":\"GET\",\"target\":\"https://origin.example/a\",\"host\":\"origin.example\",\"port\":443");
	assert_has(&rig.log, "\"status\":200,\"content_type\":\"text/plain\",\"bytes_up\":0,\"bytes_down\":5");
}

static void test_post(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	stream = h2_peer_request(&client, post, true);
	stream->to_send = 300000;
	UNTIL(stream->closed && origin.streams[0].closed);
	assert_int_equal(origin.streams[0].body_bytes, 300000);
	assert_body(stream, "hello");
	assert_has(&rig.log, "\"bytes_up\":300000,\"bytes_down\":5");
}


/* The first bytes of the client came with its last message of TLS. */
static void test_bytes_read_before(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	stream = h2_peer_request(&client, get, false);
	client.is_mute = true;
	for (const uint8_t *at;;) {
		ssize_t len = nghttp2_session_mem_send(client.ng, &at);

		if (len <= 0)
			break;
		buf_add(&session->in, span_of(at, (size_t)len));
	}
	session_run(session);
	assert_int_equal(buf_len(&session->in), 0);
	UNTIL(stream->ended);
	assert_body(stream, "hello");
}

/* Nobody does anything, and nobody turns around. */
static void assert_quiet(void)
{
	uint64_t began_ms = clock_monotonic_ms();

	turns(10);
	loop_turn(rig.loop, 0);
	began_ms = clock_monotonic_ms();
	loop_turn(rig.loop, 30);
	assert_true(clock_monotonic_ms() - began_ms >= 20);
}

/* ---- decided alone ---- */

static const char *const denied[] = {":method", "GET", ":scheme", "https", ":authority", "denied.example", ":path", "/",
                                     "accept", "text/html", NULL};

static void test_denied_stream(void **state)
{
	struct h2_peer_stream *stream, *other;

	(void)state;
	default_settings();
	stream = h2_peer_request(&client, denied, false);
	other = h2_peer_request(&client, get, false);
	UNTIL(stream->closed && other->closed);
	assert_has(&stream->head, ":status: 403\n");
	assert_has(&stream->head, "content-type: text/html");
	assert_has(&stream->head, "proxy-status: sallyport; error=http_request_denied");
	assert_lacks(&stream->head, "connection");
	assert_lacks(&stream->head, "via");
	assert_has(&stream->body, "<html");
	assert_int_equal(stream->code, NGHTTP2_NO_ERROR);
	assert_has(&other->head, ":status: 200\n");
	assert_int_equal(origin.count, 1);
	assert_has(&rig.log, "\"host\":\"denied.example\"");
	assert_has(&rig.log, "\"error\":\"policy_denied\"");
}

static void test_denied_by_url(void **state)
{
	static const char *const head[] = {":method", "HEAD", ":scheme", "https", ":authority", "origin.example:443",
	                                   ":path", "/denied", NULL};
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	stream = h2_peer_request(&client, head, false);
	UNTIL(stream->closed);
	assert_has(&stream->head, ":status: 403\n");
	assert_int_equal(stream->body_bytes, 0);
	assert_int_equal(origin.count, 0);
}

/* The page comes at once, and the client is told to send no more. */
static void test_denied_upload(void **state)
{
	static const char *const upload[] = {":method", "POST", ":scheme", "https", ":authority", "denied.example",
	                                     ":path", "/", NULL};
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	stream = h2_peer_request(&client, upload, true);
	stream->to_send = 10;
	stream->holds = true;
	UNTIL(stream->closed);
	assert_has(&stream->head, ":status: 403\n");
	assert_true(stream->ended);
	assert_int_equal(stream->code, NGHTTP2_NO_ERROR);
	assert_int_equal(origin.count, 0);
}

static void test_bad_requests(void **state)
{
	static const struct {
		const char *fields[14];
		const char *status, *error;
	} rows[] = {
		{{":method", "GET", ":scheme", "https", ":authority", "origin.example", ":path", "/", "host",
		  "other.example", NULL}, ":status: 400\n", "request_host"},
		{{":method", "GET", ":scheme", "https", ":authority", "user@origin.example", ":path", "/", NULL},
		 ":status: 400\n", "request_authority"},
		{{":method", "GET", ":scheme", "http", ":authority", "origin.example", ":path", "/", NULL},
		 ":status: 501\n", "request_scheme"},
		{{":method", "GET", ":scheme", "https", ":authority", "origin.example", ":path", "/#x", NULL},
		 ":status: 400\n", "request_target"},
		{{":method", "CONNECT", ":authority", "origin.example:443", NULL}, ":status: 501\n", "request_method"},
		{{":method", "GET", ":scheme", "https", ":authority", "other.example", ":path", "/", NULL},
		 ":status: 403\n", "inner_host"},
	};

	(void)state;
	default_settings();
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct h2_peer_stream *stream = h2_peer_request(&client, rows[i].fields, false);
		char error[64];

		UNTIL(stream->closed);
		assert_has(&stream->head, rows[i].status);
		snprintf(error, sizeof(error), "\"error\":\"%s\"", rows[i].error);
		assert_has(&rig.log, error);
	}
	assert_has(&rig.log, "\"method\":\"CONNECT\",\"target\":\"origin.example:443\"");
	assert_int_equal(origin.count, 0);
}

static void test_malformed_request(void **state)
{
	static const char *const wrong[] = {":method", "GET", ":scheme", "https", ":authority", "origin.example", ":path",
	                                    "/", "connection", "close", NULL};
	static const char *const control[] = {":method", "GET", ":scheme", "https", ":authority", "origin.example",
	                                      ":path", "/", "x-a", "a\rb", NULL};
	struct h2_peer_stream *first, *second, *third;

	(void)state;
	default_settings();
	first = h2_peer_request(&client, wrong, false);
	second = h2_peer_request(&client, control, false);
	third = h2_peer_request(&client, get, false);
	UNTIL(first->closed && second->closed && third->closed);
	assert_int_equal(first->code, NGHTTP2_PROTOCOL_ERROR);
	assert_int_not_equal(second->code, NGHTTP2_NO_ERROR);
	assert_int_equal(third->code, NGHTTP2_NO_ERROR);
	assert_int_equal(origin.count, 1);
}

/* Host alone is as good as :authority. */
static void test_host_without_authority(void **state)
{
	static const char *const fields[] = {":method", "GET", ":scheme", "https", ":path", "/", "host",
	                                     "Origin.Example", NULL};
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	stream = h2_peer_request(&client, fields, false);
	UNTIL(stream->closed);
	assert_has(&stream->head, ":status: 200\n");
	assert_has(&origin.streams[0].head, ":authority: Origin.Example\n");
}

static char long_value[60000];

static void test_large_head(void **state)
{
	const char *const fields[] = {":method", "GET", ":scheme", "https", ":authority", "origin.example", ":path", "/",
	                              "x-long", long_value, NULL};
	struct h2_peer_stream *stream, *other;

	(void)state;
	default_settings();
	memset(long_value, 'x', 9000);
	long_value[9000] = '\0';
	stream = h2_peer_request(&client, fields, false);
	other = h2_peer_request(&client, get, false);
	UNTIL(stream->closed && other->closed);
	assert_has(&stream->head, ":status: 431\n");
	assert_has(&other->head, ":status: 200\n");
	assert_int_equal(origin.count, 1);
}

static void test_head_without_end(void **state)
{
	const char *const fields[] = {":method", "GET", ":scheme", "https", ":authority", "origin.example", ":path", "/",
	                              "x-long", long_value, NULL};

	(void)state;
	default_settings();
	memset(long_value, 'x', 50000);
	long_value[50000] = '\0';
	h2_peer_request(&client, fields, false);
	UNTIL(client.eof);
	assert_true(client.has_goaway);
	assert_int_equal(client.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(origin.count, 0);
	assert_has(&rig.log, "\"error\":\"request_size\"");
}

/* ---- messages ---- */

static void answer_with_interim(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	static const char *const early[] = {":status", "103", "link", "</a.css>; rel=preload", NULL};
	static const char *const go_on[] = {":status", "100", NULL};

	(void)peer;
	h2_peer_interim(stream, go_on);
	h2_peer_interim(stream, early);
	stream->text = SPAN("done");
	stream->sends_trailers = true;
	h2_peer_respond(stream, plain_ok, true);
}

static void test_interim_and_trailers(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_with_interim;
	stream = h2_peer_request(&client, post, true);
	stream->text = SPAN("abc");
	stream->sends_trailers = true;
	UNTIL(stream->closed && origin.streams[0].closed);
	assert_has(&stream->interim, ":status: 100\n");
	assert_has(&stream->interim, ":status: 103\nlink: </a.css>; rel=preload\n");
	assert_body(stream, "done");
	assert_has(&stream->trailers, "x-trailer: the end\n");
	assert_body(&origin.streams[0], "abc");
	assert_has(&origin.streams[0].trailers, "x-trailer: the end\n");
	assert_lacks(&stream->trailers, "via");
}

/* Trailers over the limit cut their stream, whichever side sends them, and no other. */
static void test_large_trailers(void **state)
{
	struct h2_peer_stream *up, *down;
	nghttp2_nv trailer;

	(void)state;
	default_settings();
	memset(long_value, 'x', 9000);
	long_value[9000] = '\0';
	trailer = h2_peer_nv("x-long", long_value);
	origin.on_request = answer_nothing;
	up = h2_peer_request(&client, post, true);
	up->holds = true;
	down = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 2);
	nghttp2_submit_trailer(client.ng, up->id, &trailer, 1);
	UNTIL(up->closed && origin.streams[0].closed);
	assert_has(&up->head, ":status: 431\n");
	assert_int_equal(origin.streams[0].code, NGHTTP2_CANCEL);
	origin.streams[1].text = SPAN("abc");
	origin.streams[1].holds = true;
	h2_peer_respond(&origin.streams[1], plain_ok, true);
	UNTIL(buf_len(&down->body) == 3);
	nghttp2_submit_trailer(origin.ng, origin.streams[1].id, &trailer, 1);
	UNTIL(down->closed);
	assert_int_equal(down->code, NGHTTP2_INTERNAL_ERROR);
	assert_has(&rig.log, "\"error\":\"response_size\"");
}

/* The client's window is shut until the test opens it. */
static struct h2_peer_stream *begin_held_response(void)
{
	const nghttp2_settings_entry shut[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}};
	struct h2_peer_stream *down;

	h2_peer_settings(&client, shut, 1);
	h2_peer_settings(&origin, NULL, 0);
	origin.on_request = answer_nothing;
	turns(10);
	down = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	origin.streams[0].text = SPAN("content");
	origin.streams[0].holds = true;
	h2_peer_respond(&origin.streams[0], plain_ok, true);
	UNTIL(down->head_done && origin.streams[0].sent == 7);
	return down;
}

/* The content before them is delivered. */
static void test_large_trailers_behind_content(void **state)
{
	nghttp2_nv trailer;
	struct h2_peer_stream *down;

	(void)state;
	memset(long_value, 'x', 9000);
	long_value[9000] = '\0';
	trailer = h2_peer_nv("x-long", long_value);
	down = begin_held_response();
	nghttp2_submit_trailer(origin.ng, origin.streams[0].id, &trailer, 1);
	UNTIL(origin.streams[0].closed);
	turns(10);
	assert_false(down->closed);
	nghttp2_submit_window_update(client.ng, NGHTTP2_FLAG_NONE, down->id, 1000);
	UNTIL(down->closed);
	assert_body(down, "content");
	assert_false(down->ended);
	assert_int_equal(down->code, NGHTTP2_INTERNAL_ERROR);
	assert_has(&rig.log, "\"error\":\"response_size\"");
}

/* What nobody takes is not kept for as long as the client likes. */
static void test_cut_response_that_is_not_taken(void **state)
{
	struct h2_peer_stream *down;
	uint64_t began_ms;

	(void)state;
	rig.conf.timeouts.half_close_ms = 50;
	down = begin_held_response();
	nghttp2_submit_rst_stream(origin.ng, NGHTTP2_FLAG_NONE, origin.streams[0].id, NGHTTP2_NO_ERROR);
	UNTIL(origin.streams[0].closed);
	began_ms = clock_monotonic_ms();
	while (!down->closed && clock_monotonic_ms() - began_ms < 30000) {
		loop_turn(rig.loop, 10);
		turn();
	}
	assert_true(down->closed);
	assert_int_equal(down->code, NGHTTP2_INTERNAL_ERROR);
	assert_false(down->ended);
	assert_has(&rig.log, "\"error\":\"response_incomplete\"");
	assert_has(&rig.log, "\"ended_by\":\"origin\",\"how\":\"rst\"");
}

static void answer_empty(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	static const char *const not_modified[] = {":status", "304", "content-length", "500", NULL};
	static const char *const no_content[] = {":status", "204", NULL};
	static const char *const head_ok[] = {":status", "200", "content-length", "1000000", NULL};
	bool is_head = span_find_span(buf_span(&stream->head), SPAN(":method: HEAD")) < buf_len(&stream->head);

	(void)peer;
	h2_peer_respond(stream, is_head ? head_ok : stream->id == 3 ? not_modified : no_content, false);
}

static void test_no_content(void **state)
{
	static const char *const head[] = {":method", "HEAD", ":scheme", "https", ":authority", "origin.example", ":path",
	                                   "/", NULL};
	struct h2_peer_stream *streams[3];

	(void)state;
	default_settings();
	origin.on_request = answer_empty;
	streams[0] = h2_peer_request(&client, head, false);
	streams[1] = h2_peer_request(&client, get, false);
	streams[2] = h2_peer_request(&client, get, false);
	UNTIL(streams[0]->closed && streams[1]->closed && streams[2]->closed);
	assert_has(&streams[0]->head, ":status: 200\ncontent-length: 1000000\n");
	assert_has(&streams[1]->head, ":status: 304\ncontent-length: 500\n");
	assert_has(&streams[2]->head, ":status: 204\n");
	for (int i = 0; i < 3; i++)
		assert_int_equal(streams[i]->code, NGHTTP2_NO_ERROR);
}

static void test_fields_pass(void **state)
{
	static const char *const fields[] = {
		":method", "GET", ":scheme", "https", ":authority", "origin.example", ":path", "/", "te", "trailers",
		"x-crumb", "a=b", "x-crumb", "c=d", "!authorization", "Bearer secret", "!x-token", "hidden",
		"proxy-authorization", "Basic x", "via", "1.1 other", NULL};
	struct h2_peer_stream *stream;
	const struct buf *head = &origin.streams[0].head;

	(void)state;
	default_settings();
	stream = h2_peer_request(&client, fields, false);
	UNTIL(stream->closed);
	assert_has(head, "te: trailers\n");
	assert_has(head, "x-crumb: a=b\nx-crumb: c=d\n");
	assert_has(head, "authorization: Bearer secret (never indexed)\n");
	assert_has(head, "x-token: hidden (never indexed)\n");
	assert_lacks(head, "proxy-authorization");
	assert_has(head, "via: 1.1 other\n");
	assert_lacks(head, "sallyport");
}

/* What policy says of fields, and of the type of the content. */
static void answer_edited(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	static const char *const fields[] = {":status", "200", "server", "theirs", "x-powered-by", "y", "x-kept", "z",
	                                     "content-type", "text/html", NULL};

	(void)peer;
	h2_peer_respond(stream, fields, false);
}

static void test_edited_fields(void **state)
{
	static const char *const fields[] = {":method", "GET", ":scheme", "https", ":authority", "origin.example", ":path",
	                                     "/", "cookie", "a=b", "x-tenant", "theirs", "x-kept", "y", NULL};
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_edited;
	stream = h2_peer_request(&client, fields, false);
	UNTIL(stream->closed);
	assert_has(&origin.streams[0].head, "x-kept: y\nx-tenant: ours\n");
	assert_lacks(&origin.streams[0].head, "cookie");
	assert_lacks(&origin.streams[0].head, "theirs");
	assert_has(&stream->head, ":status: 200\nx-kept: z\ncontent-type: text/html\nserver: proxy\n");
	assert_lacks(&stream->head, "x-powered-by");
}

static void answer_program(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	static const char *const fields[] = {":status", "200", "content-type", "application/x-msdownload", NULL};

	(void)peer;
	stream->to_send = 100000;
	h2_peer_respond(stream, fields, true);
}

static void test_denied_content(void **state)
{
	struct h2_peer_stream *stream, *other;

	(void)state;
	default_settings();
	origin.on_request = answer_program;
	stream = h2_peer_request(&client, get, false);
	UNTIL(stream->closed && origin.streams[0].closed);
	assert_has(&stream->head, ":status: 403\n");
	assert_lacks(&stream->head, "msdownload");
	assert_int_equal(origin.streams[0].code, NGHTTP2_CANCEL);
	assert_has(&rig.log, "\"error\":\"policy_denied\"");
	origin.on_request = answer_hello;
	other = h2_peer_request(&client, get, false);
	UNTIL(other->closed);
	assert_body(other, "hello");
}

static void answer_echo(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	(void)peer;
	stream->echoes = true;
	h2_peer_respond(stream, plain_ok, true);
}

/* gRPC: the response flows while the request is open. */
static void test_both_ways_at_once(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_echo;
	stream = h2_peer_request(&client, post, true);
	stream->holds = true;
	for (unsigned i = 1; i <= 20; i++) {
		stream->to_send = i * 1000;
		h2_peer_resume(stream);
		UNTIL(stream->body_bytes == i * 1000);
		assert_false(stream->closed);
		assert_has(&stream->head, ":status: 200\n");
	}
	stream->holds = false;
	h2_peer_resume(stream);
	UNTIL(stream->closed);
	assert_int_equal(stream->code, NGHTTP2_NO_ERROR);
}

static void answer_early(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	static const char *const enough[] = {":status", "413", NULL};

	h2_peer_respond(stream, enough, false);
	h2_peer_send(peer);
	nghttp2_submit_rst_stream(peer->ng, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
}

static void test_early_response(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = NULL;
	stream = h2_peer_request(&client, post, true);
	stream->to_send = 20000;
	stream->holds = true;
	UNTIL(origin.count == 1 && origin.streams[0].body_bytes == 20000);
	answer_early(&origin, &origin.streams[0]);
	UNTIL(stream->closed);
	assert_has(&stream->head, ":status: 413\n");
	assert_true(stream->ended);
	assert_int_equal(stream->code, NGHTTP2_NO_ERROR);
	assert_lacks(&rig.log, "\"error\"");
}

/* ---- RFC 8441 ---- */

static const char *const websocket[] = {":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority",
                                        "origin.example", ":path", "/chat", "sec-websocket-version", "13", NULL};

static void test_websocket(void **state)
{
	const nghttp2_settings_entry extended[] = {{NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}};
	struct h2_peer_stream *stream;

	(void)state;
	h2_peer_settings(&client, NULL, 0);
	h2_peer_settings(&origin, extended, 1);
	origin.on_request = answer_echo;
	UNTIL(nghttp2_session_get_remote_settings(client.ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1);
	stream = h2_peer_request(&client, websocket, true);
	stream->to_send = 5000;
	stream->holds = true;
	UNTIL(stream->body_bytes == 5000);
	assert_has(&origin.streams[0].head, ":method: CONNECT\n:protocol: websocket\n:scheme: https\n"
	                                    ":authority: origin.example\n:path: /chat\n");
	stream->holds = false;
	stream->to_send = 1000000;
	stream->keeps_body = false;
	buf_reset(&stream->body);
	h2_peer_resume(stream);
	UNTIL(stream->closed);
	assert_int_equal(stream->body_bytes, 1000000);
	assert_has(&rig.log, "\"method\":\"CONNECT\",\"target\":\"https://origin.example/chat\",\"host\":\"origin.example\"");
}

static void test_websocket_is_not_offered(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	UNTIL(client.has_settings && origin.has_settings);
	turns(10);
	assert_int_equal(nghttp2_session_get_remote_settings(client.ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL), 0);
	stream = h2_peer_request(&client, websocket, true);
	UNTIL(stream->closed || client.eof);
	assert_int_equal(origin.count, 0);
}

/* ---- settings ---- */

static void test_settings(void **state)
{
	const nghttp2_settings_entry few[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 7}};

	(void)state;
	h2_peer_settings(&client, NULL, 0);
	h2_peer_settings(&origin, few, 1);
	UNTIL(nghttp2_session_get_remote_settings(client.ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) == 7);
	assert_int_equal(nghttp2_session_get_remote_settings(client.ng, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE), 8192);
	assert_int_equal(nghttp2_session_get_remote_settings(client.ng, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE), 8192);
	assert_int_equal(nghttp2_session_get_remote_settings(origin.ng, NGHTTP2_SETTINGS_ENABLE_PUSH), 0);
	assert_int_equal(nghttp2_session_get_remote_settings(origin.ng, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE), 32768);
}

static size_t open_streams(const struct h2_peer *peer)
{
	size_t count = 0;

	for (size_t i = 0; i < peer->count; i++)
		count += !peer->streams[i].closed;
	return count;
}

static void test_origin_takes_few(void **state)
{
	const nghttp2_settings_entry few[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2}};
	struct h2_peer_stream *streams[10];

	(void)state;
	origin.on_request = answer_nothing;
	h2_peer_settings(&client, NULL, 0);
	h2_peer_settings(&origin, few, 1);
	turns(10);
	for (int i = 0; i < 10; i++)
		streams[i] = h2_peer_request(&client, get, false);
	for (size_t answered = 0; answered < 10; answered++) {
		UNTIL(origin.count > answered);
		assert_true(open_streams(&origin) <= 2);
		answer_hello(&origin, &origin.streams[answered]);
	}
	for (int i = 0; i < 10; i++) {
		UNTIL(streams[i]->closed);
		assert_int_equal(streams[i]->code, NGHTTP2_NO_ERROR);
		assert_body(streams[i], "hello");
	}
}

/* What the origin may not take yet waits: before it has said how much that is, it is 100. */
static void test_streams_wait(void **state)
{
	enum { COUNT = 110 };
	struct h2_peer_stream *streams[COUNT];

	(void)state;
	default_settings();
	origin.is_mute = true;
	turns(10);
	for (int i = 0; i < COUNT; i++)
		streams[i] = h2_peer_request(&client, get, false);
	origin.on_request = answer_nothing;
	turns(20);
	assert_int_equal(session->h2->stream_count, COUNT);
	assert_int_equal(origin.count, 100);
	origin.is_mute = false;
	UNTIL(origin.count == COUNT);
	for (size_t i = 0; i < COUNT; i++)
		answer_hello(&origin, &origin.streams[i]);
	for (int i = 0; i < COUNT; i++)
		UNTIL(streams[i]->closed && streams[i]->code == NGHTTP2_NO_ERROR);
}

/* ---- resets ---- */

static const uint32_t codes[] = {
	NGHTTP2_PROTOCOL_ERROR, NGHTTP2_INTERNAL_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_CANCEL, NGHTTP2_CONNECT_ERROR,
	NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_INADEQUATE_SECURITY, NGHTTP2_HTTP_1_1_REQUIRED};

static void test_origin_resets_at_once(void **state)
{
	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		struct h2_peer_stream *stream = h2_peer_request(&client, get, false);

		UNTIL(origin.count == i + 1);
		nghttp2_submit_rst_stream(origin.ng, NGHTTP2_FLAG_NONE, origin.streams[i].id, codes[i]);
		UNTIL(stream->closed);
		assert_int_equal(stream->code, codes[i]);
		assert_int_equal(buf_len(&stream->head), 0);
	}
	assert_has(&rig.log, "\"error\":\"origin_reset\",\"reason\":\"HTTP_1_1_REQUIRED\"");
}

static void test_origin_resets_in_the_middle(void **state)
{
	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		struct h2_peer_stream *stream = h2_peer_request(&client, get, false);

		UNTIL(origin.count == i + 1);
		origin.streams[i].to_send = 50000;
		origin.streams[i].cut_when_sent = true;
		origin.streams[i].cut_code = codes[i];
		stream->keeps_body = false;
		h2_peer_respond(&origin.streams[i], plain_ok, true);
		UNTIL(stream->closed);
		assert_int_equal(stream->code, codes[i]);
		assert_int_equal(stream->body_bytes, 50000); /* what was sent before it arrives */
		assert_false(stream->ended);
	}
	assert_has(&rig.log, "\"error\":\"response_incomplete\",\"reason\":\"PROTOCOL_ERROR\","
	                     "\"ended_by\":\"origin\"");
}

/* NO_ERROR in the middle of a response is not passed on: it would look whole. */
static void test_origin_stops_without_error(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	stream = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	origin.streams[0].to_send = 1000;
	origin.streams[0].cut_when_sent = true;
	h2_peer_respond(&origin.streams[0], plain_ok, true);
	UNTIL(stream->closed);
	assert_int_equal(stream->code, NGHTTP2_INTERNAL_ERROR);
	assert_false(stream->ended);
}

static void test_client_resets(void **state)
{
	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		struct h2_peer_stream *stream = h2_peer_request(&client, post, true);

		stream->to_send = 1000;
		stream->holds = true;
		UNTIL(origin.count == i + 1 && origin.streams[i].body_bytes == 1000);
		nghttp2_submit_rst_stream(client.ng, NGHTTP2_FLAG_NONE, stream->id, codes[i]);
		UNTIL(origin.streams[i].closed);
		assert_int_equal(origin.streams[i].code, codes[i]);
	}
	assert_has(&rig.log, "\"error\":\"client_reset\",\"reason\":\"CANCEL\",\"ended_by\":\"client\"");
	assert_int_equal(session->h2->stream_count, 0);
}

static void test_malformed_responses(void **state)
{
	static const char *const hop[] = {":status", "200", "connection", "close", NULL};
	static const char *const two_lengths[] = {":status", "200", "content-length", "5", "content-length", "6", NULL};
	static const char *const *const rows[] = {hop, two_lengths};

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct h2_peer_stream *stream = h2_peer_request(&client, get, false);

		UNTIL(origin.count == i + 1);
		h2_peer_respond(&origin.streams[i], rows[i], false);
		UNTIL(stream->closed && origin.streams[i].closed);
		assert_has(&stream->head, ":status: 502\n");
		assert_has(&stream->head, "proxy-status: sallyport; error=http_protocol_error");
	}
}

static void test_response_shorter_than_said(void **state)
{
	static const char *const six[] = {":status", "200", "content-length", "6", NULL};
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	stream = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	origin.streams[0].text = SPAN("short");
	h2_peer_respond(&origin.streams[0], six, true);
	UNTIL(stream->closed);
	assert_int_not_equal(stream->code, NGHTTP2_NO_ERROR);
	assert_false(stream->ended);
	assert_has(&rig.log, "\"error\":\"response_incomplete\"");
}

static void test_response_with_large_head(void **state)
{
	const char *const fields[] = {":status", "200", "x-long", long_value, NULL};
	struct h2_peer_stream *stream, *other;

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	memset(long_value, 'x', 9000);
	long_value[9000] = '\0';
	stream = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	h2_peer_respond(&origin.streams[0], fields, true);
	UNTIL(stream->closed);
	assert_has(&stream->head, ":status: 502\n");
	assert_has(&rig.log, "\"error\":\"response_size\"");
	origin.on_request = answer_hello;
	other = h2_peer_request(&client, get, false);
	UNTIL(other->closed);
	assert_body(other, "hello");
}

/* ---- GOAWAY, and ends of connections ---- */

static void test_origin_goaway(void **state)
{
	struct h2_peer_stream *streams[4];

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	streams[0] = h2_peer_request(&client, get, false);
	streams[1] = h2_peer_request(&client, denied, false); /* so that the numbers of both sides differ */
	streams[2] = h2_peer_request(&client, get, false);
	streams[3] = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 3 && streams[1]->closed);
	nghttp2_submit_goaway(origin.ng, NGHTTP2_FLAG_NONE, origin.streams[1].id, NGHTTP2_NO_ERROR, NULL, 0);
	UNTIL(client.has_goaway && streams[3]->closed);
	assert_int_equal(client.goaway_last, streams[2]->id);
	assert_int_equal(client.goaway_code, NGHTTP2_NO_ERROR);
	assert_int_equal(streams[3]->code, NGHTTP2_REFUSED_STREAM);
	assert_false(streams[0]->closed || streams[2]->closed);
	answer_hello(&origin, &origin.streams[0]);
	answer_hello(&origin, &origin.streams[1]);
	UNTIL(streams[0]->closed && streams[2]->closed);
	assert_body(streams[0], "hello");
	assert_body(streams[2], "hello");
	UNTIL(client.eof && origin.eof);
}

/* First that it will go, then how far it went. */
static void test_origin_goaway_twice(void **state)
{
	struct h2_peer_stream *first;

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	first = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	nghttp2_submit_shutdown_notice(origin.ng);
	UNTIL(client.has_goaway);
	assert_int_equal(client.goaway_last, first->id);
	nghttp2_submit_goaway(origin.ng, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
	UNTIL(first->closed);
	assert_int_equal(first->code, NGHTTP2_REFUSED_STREAM);
	UNTIL(client.eof);
	assert_int_equal(client.goaway_last, 0);
}

static void test_client_goaway(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	stream = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	nghttp2_submit_goaway(client.ng, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
	turns(20);
	answer_hello(&origin, &origin.streams[0]);
	UNTIL(stream->closed && client.eof && origin.eof);
	assert_body(stream, "hello");
}

static void test_origin_closes(void **state)
{
	const nghttp2_settings_entry few[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 4}};
	struct h2_peer_stream *whole, *half, *none, *page;

	(void)state;
	h2_peer_settings(&client, NULL, 0);
	h2_peer_settings(&origin, few, 1);
	origin.on_request = answer_nothing;
	turns(10);
	whole = h2_peer_request(&client, get, false);
	half = h2_peer_request(&client, get, false);
	none = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 3);
	page = h2_peer_request(&client, denied, false);
	UNTIL(page->closed);
	answer_hello(&origin, &origin.streams[0]);
	origin.streams[1].text = SPAN("abc");
	origin.streams[1].holds = true;
	h2_peer_respond(&origin.streams[1], plain_ok, true);
	UNTIL(whole->closed && buf_len(&half->body) == 3);
	h2_peer_close(&origin);
	UNTIL(half->closed && none->closed && client.eof);
	assert_body(whole, "hello");
	assert_int_equal(half->code, NGHTTP2_INTERNAL_ERROR);
	assert_has(&none->head, ":status: 502\n");
	assert_has(&none->head, "error=connection_terminated");
	assert_true(client.has_goaway);
	assert_has(&rig.log, "\"error\":\"origin_closed\"");
	assert_has(&rig.log, "\"error\":\"response_incomplete\"");
}

static void test_origin_closes_on_waiting(void **state)
{
	struct h2_peer_stream *first, *waiting = NULL;

	(void)state;
	default_settings();
	origin.is_mute = true;
	origin.on_request = answer_nothing;
	turns(10);
	first = h2_peer_request(&client, get, false);
	for (int i = 0; i < 100; i++)
		waiting = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 100);
	h2_peer_close(&origin);
	UNTIL(first->closed && waiting->closed);
	assert_has(&first->head, ":status: 502\n");
	assert_int_equal(waiting->code, NGHTTP2_REFUSED_STREAM);
}

static void test_client_closes(void **state)
{
	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	h2_peer_close(&client);
	UNTIL(origin.eof);
	assert_has(&rig.log, "\"error\":\"client_closed\",\"ended_by\":\"client\"");
}

static void test_drain(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	stream = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	session_drain(&rig.env);
	UNTIL(client.has_goaway);
	assert_int_equal(client.goaway_last, stream->id);
	answer_hello(&origin, &origin.streams[0]);
	UNTIL(stream->closed && client.eof);
	assert_body(stream, "hello");
}

static void test_stop(void **state)
{
	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	session_stop_all(&rig.env);
	assert_has(&rig.log, "\"error\":\"stopped\"");
}

static void test_no_http2(void **state)
{
	(void)state;
	assert_int_equal(send(client.fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
	UNTIL(list_is_empty(&rig.env.sessions));
}

/* ---- floods ---- */

static void test_rapid_reset(void **state)
{
	struct h2_peer_stream *stream;
	size_t count = 0;

	(void)state;
	default_settings();
	turns(10);
	for (; count < 1000 && !client.has_goaway; count++) {
		stream = h2_peer_request(&client, get, false);
		h2_peer_send(&client);
		nghttp2_submit_rst_stream(client.ng, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_CANCEL);
		if (count % 10 == 0)
			turn();
	}
	UNTIL(client.eof);
	assert_true(client.has_goaway);
	assert_int_equal(client.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_true(count < 1000);
}

static void test_ping_flood(void **state)
{
	(void)state;
	default_settings();
	for (int i = 0; i < 2000 && !client.has_goaway; i++) {
		for (int j = 0; j < 10; j++)
			nghttp2_submit_ping(client.ng, NGHTTP2_FLAG_NONE, NULL);
		turn();
	}
	UNTIL(client.eof);
	assert_int_equal(client.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_true(client.pings > 1000);
}

/* Acknowledgements that are not read are not made. */
static void test_ping_flood_without_reading(void **state)
{
	(void)state;
	default_settings();
	turns(10);
	client.is_paused = true;
	for (int i = 0; i < 2000; i++) {
		for (int j = 0; j < 10; j++)
			nghttp2_submit_ping(client.ng, NGHTTP2_FLAG_NONE, NULL);
		turn();
		if (list_is_empty(&rig.env.sessions))
			break;
		assert_true(nghttp2_session_get_outbound_queue_size(session->h2->leg[H2_CLIENT].ng) < 10000);
	}
	client.is_paused = false;
	UNTIL(client.eof);
}

/* ---- flow control ---- */

static uint64_t held_bytes(void)
{
	uint64_t held = 0;

	if (session->h2 == NULL)
		return 0;
	LIST_EACH(&session->h2->streams, link)
	{
		const struct h2_stream *stream = LIST_ENTRY(link, struct h2_stream, link);

		held += buf_len(&stream->way[H2_CLIENT].data) + buf_len(&stream->way[H2_ORIGIN].data);
	}
	for (int side = 0; side < H2_SIDES; side++)
		held += buf_len(&session->h2->leg[side].out);
	return held;
}

static void answer_much(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	(void)peer;
	stream->to_send = 1000000;
	stream->keeps_body = false;
	h2_peer_respond(stream, plain_ok, true);
}

enum { CONNECTION_WINDOW = 8192 * 4 * 16 };

static void answer_some(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	(void)peer;
	stream->to_send = 200000;
	h2_peer_respond(stream, plain_ok, true);
}

static void test_slow_reader(void **state)
{
	enum { COUNT = 100 };
	struct h2_peer_stream *streams[COUNT];
	uint64_t most = 0, sent = 0;

	(void)state;
	default_settings();
	origin.on_request = answer_some;
	turns(10);
	for (int i = 0; i < COUNT; i++) {
		streams[i] = h2_peer_request(&client, get, false);
		streams[i]->keeps_body = false;
	}
	client.is_paused = true;
	for (int i = 0; i < 1000; i++) {
		uint64_t held;

		turn();
		held = held_bytes();
		most = held > most ? held : most;
	}
	for (size_t i = 0; i < origin.count; i++)
		sent += origin.streams[i].sent;
	assert_quiet();
	/* What the client's socket holds, what it was credited with, and the window of the origin's connection. */
	assert_true(most <= CONNECTION_WINDOW + 2 * (H2_OUT_BYTES + 32768));
	assert_true(sent <= CONNECTION_WINDOW + 65535+ 1000000);
	client.is_paused = false;
	for (int i = 0; i < COUNT; i++) {
		UNTIL(streams[i]->closed);
		assert_int_equal(streams[i]->body_bytes, 200000);
		assert_int_equal(streams[i]->code, NGHTTP2_NO_ERROR);
	}
}

/* One stream that nobody reads does not stop the others. */
static void test_one_stuck_stream(void **state)
{
	const nghttp2_settings_entry small[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}};
	struct h2_peer_stream *stuck, *other;

	(void)state;
	h2_peer_settings(&client, small, 1);
	h2_peer_settings(&origin, NULL, 0);
	origin.on_request = answer_much;
	stuck = h2_peer_request(&client, get, false);
	stuck->keeps_body = false;
	turns(50);
	other = h2_peer_request(&client, get, false);
	other->keeps_body = false;
	turns(50);
	nghttp2_submit_window_update(client.ng, NGHTTP2_FLAG_NONE, other->id, 2000000);
	UNTIL(other->closed);
	assert_int_equal(stuck->body_bytes, 0);
	nghttp2_submit_window_update(client.ng, NGHTTP2_FLAG_NONE, stuck->id, 2000000);
	UNTIL(stuck->closed);
	assert_int_equal(stuck->body_bytes, 1000000);
}

static void answer_much_at_end(struct h2_peer *peer, struct h2_peer_stream *stream)
{
	answer_much(peer, stream);
}

static void test_tiny_windows(void **state)
{
	const nghttp2_settings_entry tiny[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1000}};
	struct h2_peer_stream *stream;

	(void)state;
	h2_peer_settings(&client, tiny, 1);
	h2_peer_settings(&origin, tiny, 1);
	origin.on_request = answer_much_at_end;
	turns(10);
	stream = h2_peer_request(&client, post, true);
	stream->to_send = 1000000;
	stream->keeps_body = false;
	UNTIL(stream->closed && origin.streams[0].closed);
	assert_int_equal(stream->body_bytes, 1000000);
	assert_int_equal(origin.streams[0].body_bytes, 1000000);
}

static void test_hundred_streams(void **state)
{
	enum { COUNT = 100 };
	struct h2_peer_stream *streams[COUNT];

	(void)state;
	default_settings();
	origin.on_request = answer_echo;
	turns(10);
	for (int i = 0; i < COUNT; i++) {
		streams[i] = h2_peer_request(&client, post, true);
		streams[i]->to_send = 20000u + (unsigned)i;
		streams[i]->keeps_body = false;
	}
	for (int i = 0; i < COUNT; i++) {
		UNTIL(streams[i]->closed);
		assert_int_equal(streams[i]->body_bytes, 20000 + i);
	}
	assert_int_equal(session->h2->stream_count, 0);
	assert_int_equal(held_bytes(), 0);
}

static size_t kept_bytes(void)
{
	size_t kept = 0;

	for (int side = 0; side < H2_SIDES; side++) {
		kept += session->h2->leg[side].out.capacity;
		LIST_EACH(&session->h2->streams, link)
			kept += LIST_ENTRY(link, struct h2_stream, link)->way[side].data.capacity;
	}
	return kept;
}

/* A stream that is open and says nothing costs no buffers. */
static void test_idle_stream_keeps_no_buffer(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_echo;
	stream = h2_peer_request(&client, post, true);
	stream->to_send = 100000;
	stream->holds = true;
	UNTIL(stream->body_bytes == 100000);
	turns(5);
	while (kept_bytes())
		loop_turn(rig.loop, 50);
	stream->holds = false;
	stream->to_send = 200000;
	h2_peer_resume(stream);
	UNTIL(stream->closed && stream->body_bytes == 200000);
}

/* ---- policies that change ---- */

static const char denying_text[] =
	"rules:\n"
	"- {name: now bad, when: {url: 'https://origin.example/p'}, then: {access: deny}}\n"
	"- {name: origin, when: {to: origin.example, port: 1-65535}, then: {access: allow}}\n"
	"defaults: {access: deny, tls: inspect, auth: exempt}\n";

static void test_cut(void **state)
{
	struct h2_peer_stream *kept, *cut;
	struct session_cuts cuts = {0};
	struct session_generation next = rig.generation;
	struct policy_rig policy;

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	kept = h2_peer_request(&client, get, false);
	cut = h2_peer_request(&client, post, true);
	cut->holds = true;
	UNTIL(origin.count == 2);
	policy_rig_make(&policy, denying_text, NULL, NULL);
	next.policy = policy.policy;
	next.number = 8;
	next.references = 1;
	rig.env.current = &next;
	buf_init(&cuts.lines, 65536);
	session_cut_begin(&rig.env);
	while (session_cut_some(&rig.env, 100, &cuts))
		;
	assert_int_equal(cuts.count, 1);
	assert_has(&cuts.lines, "\"rule\":\"now bad\"");
	UNTIL(cut->closed && origin.streams[1].closed);
	assert_int_equal(cut->code, NGHTTP2_CANCEL);
	assert_has(&rig.log, "\"error\":\"cut\"");
	/* It is logged under the policy that it began with. */
	answer_hello(&origin, &origin.streams[0]);
	UNTIL(kept->closed);
	assert_has(&rig.log, "\"rule\":\"origin\",\"rule_line\":7");
	assert_lacks(&rig.log, "\"policy\":8");
	cut = h2_peer_request(&client, post, false);
	UNTIL(cut->closed);
	assert_has(&cut->head, ":status: 403\n");
	assert_has(&rig.log, "\"policy\":8");
	h2_peer_close(&client);
	UNTIL(list_is_empty(&rig.env.sessions));
	loop_turn(rig.loop, 0);
	assert_int_equal(next.references, 1);
	rig.env.current = &rig.generation;
	policy_rig_fini(&policy);
	buf_fini(&cuts.lines);
}

/* ---- time ---- */

/* A head that comes in drops holds up all streams. */
static void test_head_in_drops(void **state)
{
	uint8_t headers[] = {0, 0, 3, NGHTTP2_HEADERS, 0, 0, 0, 0, 1, 0x82, 0x87, 0x84};

	(void)state;
	default_settings();
	rig.conf.timeouts.head_ms = 50;
	turns(10);
	assert_int_equal(send(client.fd, headers, sizeof(headers), 0), sizeof(headers));
	while (!client.eof) {
		loop_turn(rig.loop, 10);
		turn();
	}
	assert_int_equal(client.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_has(&rig.log, "\"error\":\"request_timeout\"");
}

static void test_response_timeout(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	rig.conf.timeouts.response_ms = 50;
	stream = h2_peer_request(&client, get, false);
	while (!stream->closed) {
		loop_turn(rig.loop, 10);
		turn();
	}
	assert_has(&stream->head, ":status: 504\n");
	UNTIL(origin.streams[0].closed);
	assert_int_equal(origin.streams[0].code, NGHTTP2_CANCEL);
	assert_has(&rig.log, "\"error\":\"response_timeout\"");
}

static void test_idle_in_response(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	origin.on_request = answer_nothing;
	rig.conf.timeouts.exchange_idle_ms = 50;
	stream = h2_peer_request(&client, get, false);
	UNTIL(origin.count == 1);
	origin.streams[0].text = SPAN("abc");
	origin.streams[0].holds = true;
	h2_peer_respond(&origin.streams[0], plain_ok, true);
	while (!stream->closed) {
		loop_turn(rig.loop, 10);
		turn();
	}
	assert_int_equal(stream->code, NGHTTP2_INTERNAL_ERROR);
	assert_has(&rig.log, "\"error\":\"idle_timeout\"");
}

static void test_idle_connection(void **state)
{
	struct h2_peer_stream *stream;

	(void)state;
	default_settings();
	rig.conf.timeouts.keep_alive_ms = 50;
	stream = h2_peer_request(&client, get, false);
	UNTIL(stream->closed);
	buf_reset(&rig.log);
	while (!client.eof) {
		loop_turn(rig.loop, 10);
		turn();
	}
	assert_true(client.has_goaway);
	assert_int_equal(client.goaway_last, stream->id);
	assert_int_equal(buf_len(&rig.log), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_get),
		TEST(test_post),
		TEST(test_bytes_read_before),
		TEST(test_denied_stream),
		TEST(test_denied_by_url),
		TEST(test_denied_upload),
		TEST(test_bad_requests),
		TEST(test_malformed_request),
		TEST(test_host_without_authority),
		TEST(test_large_head),
		TEST(test_head_without_end),
		TEST(test_interim_and_trailers),
		TEST(test_large_trailers),
		TEST(test_large_trailers_behind_content),
		TEST(test_cut_response_that_is_not_taken),
		TEST(test_no_content),
		TEST(test_fields_pass),
		TEST(test_edited_fields),
		TEST(test_denied_content),
		TEST(test_both_ways_at_once),
		TEST(test_early_response),
		TEST(test_websocket),
		TEST(test_websocket_is_not_offered),
		TEST(test_settings),
		TEST(test_origin_takes_few),
		TEST(test_streams_wait),
		TEST(test_origin_resets_at_once),
		TEST(test_origin_resets_in_the_middle),
		TEST(test_origin_stops_without_error),
		TEST(test_client_resets),
		TEST(test_malformed_responses),
		TEST(test_response_shorter_than_said),
		TEST(test_response_with_large_head),
		TEST(test_origin_goaway),
		TEST(test_origin_goaway_twice),
		TEST(test_client_goaway),
		TEST(test_origin_closes),
		TEST(test_origin_closes_on_waiting),
		TEST(test_client_closes),
		TEST(test_drain),
		TEST(test_stop),
		TEST(test_no_http2),
		TEST(test_rapid_reset),
		TEST(test_ping_flood),
		TEST(test_ping_flood_without_reading),
		TEST(test_slow_reader),
		TEST(test_one_stuck_stream),
		TEST(test_tiny_windows),
		TEST(test_hundred_streams),
		TEST(test_idle_stream_keeps_no_buffer),
		TEST(test_cut),
		TEST(test_head_in_drops),
		TEST(test_response_timeout),
		TEST(test_idle_in_response),
		TEST(test_idle_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
