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

#include "base/log.h"
#include "h2_peer.h"
#include "session/h2/h2.h"
#include "session_rig.h"

enum { TURNS_MAX = 200000 };

static const char policy_text[] =
	"rules:\n"
	"- {name: bad, when: {to: denied.example, port: 1-65535}, then: {access: deny}}\n"
	"- {name: bad path, when: {url: 'https://origin.example/denied'}, then: {access: deny}}\n"
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

static int make_pair(int kept_bytes)
{
	static int ends[2];

	if (kept_bytes < 0)
		return ends[1];
	ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	return ends[0];
}

static void start_session(void)
{
	struct stream *stream = calloc(1, origin_bytes);
	int fd = session_rig_connect(&rig);

	h2_peer_init(&client, fd, false, false);
	session = LIST_ENTRY(rig.env.sessions.previous, struct session, link);
	h2_peer_init(&origin, make_pair(0), true, false);
	ASSERT(stream_open_plain(stream, rig.loop, make_pair(-1), on_origin_ready) == ERR_NONE);
	origin_use(session, stream);
	session->state = SESSION_DIAL; /* as if the origin had just been reached */
	h2_start(session);
	session_run(session);
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

UNUSED static void turns(int count)
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
	assert_has(&stream->head, ":status: 200\ncontent-type: text/plain\nvia: 2 sallyport\n");
	assert_has(&origin.streams[0].head, ":method: GET\n:scheme: https\n:authority: origin.example\n:path: /a?b\n"
	                                    "user-agent: test\nvia: 2 sallyport\n");
	assert_lacks(&origin.streams[0].head, "host:");
	assert_has(&rig.log, "\"method\":\"GET\",\"target\":\"/a\",\"host\":\"origin.example\",\"port\":443");
	assert_has(&rig.log, "\"status\":200,\"bytes_up\":0,\"bytes_down\":5");
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_get),
		TEST(test_post),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
