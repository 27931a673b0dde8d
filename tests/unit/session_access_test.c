/* SPDX-License-Identifier: Apache-2.0 */
/* Whole sessions against an origin on loopback, and the lines that they leave in the access log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "session_rig.h"

enum { WAIT_MS = 20000 };

static const char policy_text[] =
	"rules:\n"
	"- {name: url of IPv6, when: {url: 'http://[::1]:81/', method: GET}, then: {access: deny}}\n"
	"- {name: origin, when: {to: origin.example, port: 1-65535}, then: {access: allow, class: media}}\n"
	"- {name: literals, when: {to: [127.0.0.1, '::1'], port: 1-65535}, then: {access: allow}}\n"
	"defaults: {access: deny, tls: bypass, auth: exempt}\n";

static struct session_rig rig;
static struct buf answer;

static void write_errors(void *context, enum log_level level, struct span line)
{
	(void)context;
	if (level == LOG_LEVEL_ERROR)
		print_error("%.*s\n", SPAN_ARG(line));
}

static int open_rig(void **state)
{
	(void)state;
	log_set_sink(write_errors, NULL);
	session_rig_init(&rig, policy_text);
	buf_init(&answer, 1 << 20);
	return 0;
}

static int close_rig(void **state)
{
	(void)state;
	session_rig_fini(&rig);
	buf_fini(&answer);
	return 0;
}

/* Send a request ("PORT!" is the origin's port), close, and read all that comes until the session is over. */
static void talk(const char *request)
{
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
	struct span rest = span_from(request);
	int fd = session_rig_connect(&rig);
	uint8_t bytes[4096];
	struct buf text;
	ssize_t count;

	buf_init(&text, 100000);
	while (rest.len) {
		size_t at = span_find_span(rest, SPAN("PORT!"));

		buf_add(&text, span_first(rest, at));
		if (at < rest.len)
			buf_printf(&text, "%u", rig.origin_port);
		rest = span_skip(rest, at + 5);
	}
	buf_reset(&answer);
	assert_int_equal(send(fd, buf_span(&text).at, buf_len(&text), 0), buf_len(&text));
	shutdown(fd, SHUT_WR);
	while (!list_is_empty(&rig.env.sessions) && clock_monotonic_ms() < until_ms) {
		loop_turn(rig.loop, 10);
		while ((count = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
			buf_add(&answer, span_of(bytes, (size_t)count));
	}
	while ((count = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		buf_add(&answer, span_of(bytes, (size_t)count));
	close(fd);
	loop_turn(rig.loop, 0);
	buf_fini(&text);
	session_rig_check_idle(&rig);
}

static void assert_answer(const char *start)
{
	if (!span_starts_with(buf_span(&answer), span_from(start)))
		fail_msg("answer: %.*s", SPAN_ARG(buf_span(&answer)));
}

/* The only line of the log, as JSON. */
static json_t *line(void)
{
	struct span log = buf_span(&rig.log);
	json_t *root;

	if (log.len == 0 || span_find(log, '\n') != log.len - 1)
		fail_msg("log: %.*s", SPAN_ARG(log));
	root = json_loadb((const char *)log.at, log.len, JSON_REJECT_DUPLICATES, NULL);
	if (root == NULL)
		fail_msg("no JSON: %.*s", SPAN_ARG(log));
	return root;
}

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "absent";
}

static void assert_number(json_t *object, const char *key, long long want)
{
	assert_true(json_is_integer(json_object_get(object, key)));
	assert_int_equal(json_integer_value(json_object_get(object, key)), want);
}

static void an_exchange_leaves_a_line(void **state)
{
	json_t *root, *access;

	(void)state;
	rig.script = SPAN("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	talk("POST http://origin.example:PORT!/x?secret=1 HTTP/1.1\r\nHost: origin.example\r\nContent-Length: 3\r\n\r\nabc");
	assert_answer("HTTP/1.1 200 OK\r\n");
	root = line();
	assert_string_equal(text_of(root, "id"), "3-1.1");
	assert_string_equal(text_of(root, "listener"), "office");
	assert_string_equal(text_of(root, "client"), "192.0.2.10:4711");
	assert_string_equal(text_of(root, "method"), "POST");
	assert_non_null(strstr(text_of(root, "target"), "/x"));
	assert_null(strstr(text_of(root, "target"), "secret"));
	assert_string_equal(text_of(root, "host"), "origin.example");
	assert_number(root, "port", rig.origin_port);
	assert_string_equal(text_of(root, "class"), "media");
	assert_number(root, "status", 200);
	assert_number(root, "bytes_up", 3);
	assert_number(root, "bytes_down", 5);
	assert_number(root, "policy", 7);
	assert_string_equal(text_of(root, "error"), "absent");
	access = json_object_get(json_object_get(root, "decision"), "access");
	assert_string_equal(text_of(access, "answer"), "allow");
	assert_string_equal(text_of(access, "rule"), "origin");
	json_decref(root);
}

static void a_tunnel_leaves_a_line(void **state)
{
	json_t *root;

	(void)state;
	rig.script = SPAN("good day");
	rig.origin_closes = true;
	talk("CONNECT origin.example:PORT! HTTP/1.1\r\nHost: x\r\n\r\nhello");
	assert_answer("HTTP/1.1 200 Connection established\r\n\r\ngood day");
	assert_true(span_equal(buf_span(&rig.received), SPAN("hello")));
	root = line();
	assert_string_equal(text_of(root, "method"), "CONNECT");
	assert_number(root, "status", 200);
	assert_number(root, "bytes_up", 5);
	assert_number(root, "bytes_down", 8);
	assert_string_equal(text_of(root, "how"), "fin");
	json_decref(root);
}

static void a_denial_names_rule_and_error(void **state)
{
	json_t *root;

	(void)state;
	talk("CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_answer("HTTP/1.1 403 Forbidden\r\n");
	root = line();
	assert_number(root, "status", 403);
	assert_string_equal(text_of(root, "error"), "policy_denied");
	assert_string_equal(text_of(json_object_get(json_object_get(root, "decision"), "access"), "rule"), "defaults");
	assert_null(json_object_get(root, "origin"));
	json_decref(root);
}

static void a_guarded_address_is_refused(void **state)
{
	json_t *root;

	(void)state;
	talk("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_answer("HTTP/1.1 403 Forbidden\r\n");
	root = line();
	assert_string_equal(text_of(root, "error"), "destination_denied");
	json_decref(root);
}

static void malformed_requests_are_logged_too(void **state)
{
	json_t *root;

	(void)state;
	talk("GET / HTTP/1.1\r\n\r\n");
	assert_answer("HTTP/1.1 400 Bad Request\r\n");
	root = line();
	assert_string_equal(text_of(root, "error"), "request_host");
	assert_number(root, "status", 400);
	json_decref(root);
}

static void squid_lines(void **state)
{
	char pattern[200];
	struct span log, rest, field;
	size_t fields = 0;

	(void)state;
	rig.conf.access.format = ACCESS_SQUID;
	talk("CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n");
	log = buf_span(&rig.log);
	snprintf(pattern, sizeof(pattern), " 192.0.2.10 TCP_DENIED/403 ");
	if (span_find_span(log, span_from(pattern)) == log.len ||
	    !span_ends_with(log, SPAN(" CONNECT evil.example:443 - HIER_NONE/- -\n")))
		fail_msg("%.*s", SPAN_ARG(log));
	rest = span_first(log, log.len - 1);
	while (span_split(&rest, ' ', &field))
		fields += field.len > 0;
	assert_int_equal(fields, 10);
}

static void template_lines(void **state)
{
	(void)state;
	rig.conf.access.format = ACCESS_TEMPLATE;
	rig.conf.access.template = "%{client} \"%{method} %{target}\" %{status} %{error} %{rule} %{place} %{origin} %{user} %{class}|";
	talk("CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n");
	if (!span_equal(buf_span(&rig.log),
	                SPAN("192.0.2.10:4711 \"CONNECT evil.example:443\" 403 policy_denied defaults - - - normal|\n")))
		fail_msg("%.*s", SPAN_ARG(buf_span(&rig.log)));
}

/* What a client sends stays inside its field. */
static void hostile_targets_stay_in_their_field(void **state)
{
	(void)state;
	rig.conf.access.format = ACCESS_TEMPLATE;
	rig.conf.access.template = "%{target}|%{host}";
	talk("GET http://evil.example/\"x\\y HTTP/1.1\r\nHost: x\r\n\r\n");
	if (!span_equal(buf_span(&rig.log), SPAN("http://evil.example/%22x%5Cy|evil.example\n")))
		fail_msg("%.*s", SPAN_ARG(buf_span(&rig.log)));
}

/* A URL holds an IPv6 address in brackets (RFC 3986), also where policy looks at it. */
static void urls_of_ipv6_have_brackets(void **state)
{
	json_t *root;

	(void)state;
	talk("GET http://[::1]:81/ HTTP/1.1\r\nHost: x\r\n\r\n");
	root = line();
	assert_string_equal(text_of(root, "error"), "policy_denied");
	assert_string_equal(text_of(json_object_get(json_object_get(root, "decision"), "access"), "rule"), "url of IPv6");
	json_decref(root);
}

/* A URL that does not fit the session's memory must not slip through rules for URLs. */
static void a_url_that_does_not_fit_is_refused(void **state)
{
	struct buf request;

	(void)state;
	rig.conf.limits.session_bytes = 16384;
	rig.conf.limits.head_bytes = 65536;
	buf_init(&request, 100000);
	buf_add_string(&request, "GET http://[::1]:81/");
	for (int i = 0; i < 60000; i++)
		buf_add_byte(&request, 'x');
	buf_add_string(&request, " HTTP/1.1\r\nHost: x\r\n\r\n");
	buf_add_byte(&request, 0);
	talk((const char *)buf_span(&request).at);
	buf_fini(&request);
	assert_answer("HTTP/1.1 503");
}

static void a_listing_is_paged(void **state)
{
	int fds[5];
	uint64_t last = 0;
	size_t lines = 0;
	struct buf out;
	bool more;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		fds[i] = session_rig_connect(&rig);
	loop_turn(rig.loop, 0);
	buf_init(&out, 100000);
	do {
		buf_reset(&out);
		more = session_list(&rig.env, last, 2, &out, &last);
		for (size_t i = 0; i < buf_len(&out); i++)
			lines += buf_span(&out).at[i] == '\n';
		assert_true(lines <= COUNT_OF(fds));
	} while (more);
	assert_int_equal(lines, COUNT_OF(fds));
	buf_fini(&out);
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		close(fds[i]);
	for (int i = 0; i < 10; i++)
		loop_turn(rig.loop, 0);
	session_rig_check_idle(&rig);
	assert_int_equal(buf_len(&rig.log), 0); /* connect and close without a word is no request */
}

/* The class of its client behind `request` and an answer to it. */
static enum loop_class class_behind(const char *request)
{
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
	int fd = session_rig_connect(&rig);
	const struct session *session = LIST_ENTRY(list_first(&rig.env.sessions), struct session, link);
	enum loop_class class;
	char text[200];
	int len = snprintf(text, sizeof(text), "%s127.0.0.1:%u%s", request, rig.origin_port, " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");

	loop_turn(rig.loop, 0);
	assert_int_equal(session->client.io.class, LOOP_NEW);
	assert_int_equal(send(fd, text, (size_t)len, 0), len);
	while (recv(fd, text, sizeof(text), MSG_DONTWAIT) <= 0 && clock_monotonic_ms() < until_ms) {
		assert_false(list_is_empty(&rig.env.sessions));
		loop_turn(rig.loop, 10);
	}
	class = (enum loop_class)session->client.io.class;
	close(fd);
	while (!list_is_empty(&rig.env.sessions) && clock_monotonic_ms() < until_ms)
		loop_turn(rig.loop, 10);
	loop_turn(rig.loop, 0);
	session_rig_check_idle(&rig);
	return class;
}

/* A crowd at the door is served after those who stand (net/loop.h). */
static void a_session_is_new_until_it_carries(void **state)
{
	(void)state;
	rig.script = SPAN("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	assert_int_equal(class_behind("CONNECT "), LOOP_NORMAL);
	assert_int_equal(class_behind("GET http://"), LOOP_NORMAL);
	assert_int_equal(class_behind("CONNECT x"), LOOP_NEW); /* refused */
}

int main(void)
{
#define ONE(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest tests[] = {
		ONE(an_exchange_leaves_a_line),
		ONE(a_tunnel_leaves_a_line),
		ONE(a_denial_names_rule_and_error),
		ONE(a_guarded_address_is_refused),
		ONE(malformed_requests_are_logged_too),
		ONE(squid_lines),
		ONE(template_lines),
		ONE(hostile_targets_stay_in_their_field),
		ONE(urls_of_ipv6_have_brackets),
		ONE(a_url_that_does_not_fit_is_refused),
		ONE(a_listing_is_paged),
		ONE(a_session_is_new_until_it_carries),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
