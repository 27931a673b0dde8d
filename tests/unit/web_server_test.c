/* SPDX-License-Identifier: Apache-2.0 */
/* The server under libmicrohttpd's: methods, limits, and that nobody stays for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "web/web_server.h"

enum { PATIENCE_MS = 20000, TURN_MS = 50 };

static struct web_server *server;
static struct address asked_by;

static void answer(void *context, const struct web_request *request, struct web_reply *out)
{
	(void)context;
	asked_by = request->client;
	web_reply_with(out, span_equal(request->path, SPAN("/there")) ? 200 : 404, "text\n");
}

static void start(unsigned connections, unsigned per_client, unsigned idle_s, unsigned life_s)
{
	const struct web_limits limits = {connections, per_client, idle_s, life_s};

	assert_int_equal(web_server_new(&limits, answer, NULL, &server), ERR_NONE);
}

static int stop(void **state)
{
	(void)state;
	web_server_free(server);
	server = NULL;
	return 0;
}

/* One turn of the loop that a role has. */
static void turn(void)
{
	struct pollfd fd = {web_server_fd(server), POLLIN, 0};
	int wait_ms = web_server_wait_ms(server);

	poll(&fd, 1, wait_ms >= 0 && wait_ms < TURN_MS ? wait_ms : TURN_MS);
	web_server_run(server);
}

static int connect_from(const char *client)
{
	struct address address = {.family = AF_UNIX};
	int ends[2];

	assert_true(client == NULL || address_parse(span_from(client), &address));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	web_server_take(server, ends[1], &address);
	return ends[0];
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* What comes until the end, or until `enough` is in it; false if it does not end in time. */
static bool hear(int fd, const char *enough, char *out, size_t max)
{
	uint64_t limit_ms = clock_monotonic_ms() + PATIENCE_MS;
	size_t len = 0;

	out[0] = '\0';
	while (clock_monotonic_ms() < limit_ms && len + 1 < max) {
		ssize_t got = recv(fd, out + len, max - 1 - len, 0);

		if (got == 0)
			return true;
		if (got > 0) {
			len += (size_t)got;
			out[len] = '\0';
			if (enough && strstr(out, enough))
				return true;
		} else {
			turn();
		}
	}
	return false;
}

static void get_and_head_alone(void **state)
{
	static const char *const rows[][2] = {
		{"GET /there HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK"},
		{"HEAD /there HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK"},
		{"GET /%74here HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 Not Found"},
		{"POST /there HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 405 Method Not Allowed"},
		{"get /there HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
		{"GET /there HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 Bad Request"},
	};
	char text[4096];

	(void)state;
	start(8, 0, 10, 60);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int fd = connect_from("192.0.2.7");

		say(fd, rows[i][0]);
		assert_true(hear(fd, NULL, text, sizeof(text)));
		if (strstr(text, rows[i][1]) != text)
			fail_msg("%s: %s", rows[i][0], text);
		close(fd);
	}
}

static void the_client_is_who_was_handed_over(void **state)
{
	static const char request[] = "GET /there HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n\r\n";
	static const char *const clients[] = {"192.0.2.7", "2001:db8::7", NULL};
	struct address address;
	char text[4096];

	(void)state;
	start(8, 1, 10, 60);
	for (size_t i = 0; i < COUNT_OF(clients); i++) {
		int fd = connect_from(clients[i]);

		say(fd, request);
		assert_true(hear(fd, NULL, text, sizeof(text)));
		close(fd);
		if (clients[i] == NULL) {
			assert_int_equal(asked_by.family, AF_UNIX);
			continue;
		}
		assert_true(address_parse(span_from(clients[i]), &address));
		assert_true(address_equal(&asked_by, &address));
	}
}

static void one_client_has_its_limit(void **state)
{
	int fds[4];
	char text[4096];

	(void)state;
	start(8, 3, 10, 60);
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		fds[i] = connect_from("192.0.2.7");
	assert_true(hear(fds[3], NULL, text, sizeof(text)));
	assert_string_equal(text, "");
	close(fds[3]);
	fds[3] = connect_from("192.0.2.8");
	for (size_t i = 0; i < COUNT_OF(fds); i++) {
		say(fds[i], "GET /there HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
		assert_true(hear(fds[i], NULL, text, sizeof(text)));
		assert_non_null(strstr(text, "200 OK"));
		close(fds[i]);
	}
}

static void all_together_have_theirs(void **state)
{
	int fds[3];
	char text[4096];

	(void)state;
	start(2, 0, 10, 60);
	assert_true(web_server_has_room(server));
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		fds[i] = connect_from("192.0.2.7");
	assert_false(web_server_has_room(server));
	assert_true(hear(fds[2], NULL, text, sizeof(text)));
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		close(fds[i]);
	for (int i = 0; i < 200 && !web_server_has_room(server); i++)
		turn();
	assert_true(web_server_has_room(server));
}

/* A byte now and then keeps nobody connected. */
static void nobody_stays(void **state)
{
	uint64_t limit_ms = clock_monotonic_ms() + PATIENCE_MS;
	int slow = connect_from("192.0.2.7");
	char text[4096];
	ssize_t got = -1;
	int sent = 0;

	(void)state;
	say(slow, "GET /there HTTP/1.1\r\nX: ");
	while (got != 0 && clock_monotonic_ms() < limit_ms) {
		if (send(slow, "x", 1, MSG_NOSIGNAL) < 0)
			break; /* it was ended */
		sent++;
		turn();
		poll(NULL, 0, TURN_MS);
		got = recv(slow, text, sizeof(text), 0);
	}
	assert_true(clock_monotonic_ms() < limit_ms);
	assert_in_range(sent, 1, 1000); /* it was the time, not the size of a head */
	close(slow);
}

static int start_short(void **state)
{
	(void)state;
	start(8, 0, 60, 1);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(get_and_head_alone, stop),
		cmocka_unit_test_teardown(the_client_is_who_was_handed_over, stop),
		cmocka_unit_test_teardown(one_client_has_its_limit, stop),
		cmocka_unit_test_teardown(all_together_have_theirs, stop),
		cmocka_unit_test_setup_teardown(nobody_stays, start_short, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
