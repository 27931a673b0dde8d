/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates fetched from a real HTTP server of loopback, one that is hostile at times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tls/aia.h"

enum { WAIT_MS = 20000, HANG_S = 60, DER_MAX = 70000 };

enum manner { ANSWERS, DRIPS, NEVER_ENDS, IS_SILENT, RESETS };

static struct rig {
	struct loop *loop;
	struct resolver *resolver;
	struct dns_conf dns;
	struct destinations_conf destinations;
	struct network permitted;
	struct conf_text_pair hosts[3];
	struct aia_env env;
	pid_t server;
	int requests;              /* what the server was asked, a pipe */
	bool denies;
	unsigned allowed_count, done_count;
	uint8_t der[DER_MAX];
	size_t der_bytes;
	char why[100];
} rig;

static bool is_allowed(void *context, struct span host, const struct address *address, uint16_t port)
{
	assert_ptr_equal(context, &rig);
	assert_int_equal(port, 80);
	assert_true(host.len > 0);
	rig.allowed_count += address != NULL;
	return !rig.denies;
}

static int set_up(void **state)
{
	(void)state;
	alarm(HANG_S);
	rig = (struct rig){.requests = -1};
	rig.hosts[0] = (struct conf_text_pair){"pki.example", "127.0.0.1", 1};
	rig.hosts[1] = (struct conf_text_pair){"inside.example", "10.1.2.3", 2};
	rig.hosts[2] = (struct conf_text_pair){"other.example", "127.0.0.2", 3};
	rig.dns = (struct dns_conf){.hosts = {rig.hosts, 3}, .timeout_ms = 500, .tries_count = 1, .cache_count = 10, .max_ttl_ms = 1000};
	assert_int_equal(loop_new(&rig.loop), ERR_NONE);
	assert_int_equal(resolver_new(rig.loop, &rig.dns, &rig.resolver), ERR_NONE);
	assert_true(network_parse(SPAN("127.0.0.1/32"), false, &rig.permitted));
	rig.destinations.deny = DESTINATION_PRIVATE | DESTINATION_LOOPBACK;
	rig.destinations.permit = (struct conf_networks){&rig.permitted, 1};
	rig.env = (struct aia_env){.loop = rig.loop, .resolver = rig.resolver, .destinations = &rig.destinations,
	                           .is_allowed = is_allowed, .context = &rig, .dial_port = 1};
	return 0;
}

static void stop_server(void)
{
	int status;

	if (rig.server == 0)
		return;
	kill(rig.server, SIGKILL);
	waitpid(rig.server, &status, 0);
	close(rig.requests);
	rig.server = 0;
}

static int tear_down(void **state)
{
	(void)state;
	stop_server();
	resolver_free(rig.resolver);
	loop_free(rig.loop);
	return 0;
}

/* ---- the server, a process ---- */

static void say(int client, const void *bytes, size_t len)
{
	if (send(client, bytes, len, MSG_NOSIGNAL) < 0)
		_exit(0);
}

static void answer(int client, enum manner manner, struct span text)
{
	struct linger at_once = {1, 0};

	if (manner == IS_SILENT)
		for (;;)
			pause();
	for (size_t i = 0; manner == DRIPS && i < text.len; i++) {
		say(client, text.at + i, 1);
		usleep(200);
	}
	if (manner != DRIPS)
		say(client, text.at, text.len);
	while (manner == NEVER_ENDS)
		say(client, "4\r\nabcd\r\n", 9);
	if (manner == RESETS)
		setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(client);
}

static void serve(int listener, int requests, enum manner manner, struct span text)
{
	for (;;) {
		int client = accept(listener, NULL, NULL);
		char request[2000];
		size_t len = 0;

		while (len < sizeof(request) - 1 && (len < 4 || memcmp(request + len - 4, "\r\n\r\n", 4) != 0)) {
			ssize_t got = read(client, request + len, 1);

			if (got <= 0)
				_exit(0);
			len += (size_t)got;
		}
		if (write(requests, request, len) < 0)
			_exit(1);
		answer(client, manner, text);
	}
}

static void start_server(enum manner manner, struct span text)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), ends[2];

	assert_int_equal(bind(listener, (const struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 5), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(pipe(ends), 0);
	rig.server = fork();
	assert_true(rig.server >= 0);
	if (rig.server == 0)
		serve(listener, ends[1], manner, text);
	close(listener);
	close(ends[1]);
	rig.requests = ends[0];
	rig.env.dial_port = ntohs(address.sin_port);
}

/* ---- fetching ---- */

static void on_done(void *context, struct span der, const char *why)
{
	assert_ptr_equal(context, &rig);
	assert_true(der.len <= sizeof(rig.der));
	assert_int_equal(der.len == 0, why[0] != '\0');
	rig.done_count++;
	rig.der_bytes = der.len;
	if (der.len)
		memcpy(rig.der, der.at, der.len);
	snprintf(rig.why, sizeof(rig.why), "%s", why);
}

static const char *fetch(const char *url)
{
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
	struct aia_fetch *fetch;

	rig.done_count = 0;
	assert_int_equal(aia_fetch(&rig.env, url, on_done, &rig, &fetch), ERR_NONE);
	assert_int_equal(rig.done_count, 0);
	while (rig.done_count == 0 && clock_monotonic_ms() < until_ms)
		loop_turn(rig.loop, 50);
	assert_int_equal(rig.done_count, 1);
	return rig.why;
}

static void assert_came(const char *text)
{
	assert_string_equal(rig.why, "");
	assert_int_equal(rig.der_bytes, strlen(text));
	assert_memory_equal(rig.der, text, strlen(text));
}

static void asks_once(void **state)
{
	char request[2000] = "";

	(void)state;
	start_server(ANSWERS, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\ncertificateand more"));
	fetch("http://pki.example/a/b.cer?c=d");
	assert_came("certificate");
	assert_int_equal(rig.allowed_count, 1);
	assert_true(read(rig.requests, request, sizeof(request) - 1) > 0);
	assert_string_equal(request, "GET /a/b.cer?c=d HTTP/1.1\r\nHost: pki.example\r\nAccept: application/pkix-cert, application/pkcs7-mime\r\n"
	                             "User-Agent: sallyport\r\nConnection: close\r\n\r\n");
	fetch("http://127.0.0.1");
	assert_came("certificate");
}

static void framings(void **state)
{
	static const char *const texts[] = {
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ncertif\r\n5\r\nicate\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\ncertificate",
		"HTTP/1.1 200 OK\r\nContent-Type: application/pkix-cert\r\n\r\ncertificate",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		for (enum manner manner = ANSWERS; manner <= DRIPS; manner++) {
			start_server(manner, span_from(texts[i]));
			fetch("http://pki.example/a");
			assert_came("certificate");
			stop_server();
		}
}

static void bad_answers(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"HTTP/1.1 302 Found\r\nLocation: http://other.example/\r\nContent-Length: 3\r\n\r\nabc", "redirect"},
		{"HTTP/1.1 301 Moved\r\nLocation: http://pki.example/\r\nContent-Length: 0\r\n\r\n", "redirect"},
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc", "not 200"},
		{"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc", "not 200"},
		{"HTTP/1.1 204 No Content\r\n\r\n", "not 200"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "empty"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\nabc", "too large"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc", "malformed"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "early"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc", "early"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc", "malformed"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", "malformed"},
		{"HTTP/1.1 200 OK\r\nX: \x01\r\n\r\nabc", "malformed"},
		{"HTTP/1.1 200", "early"},
		{"SSH-2.0-OpenSSH\r\n\r\n", "malformed"},
		{"", "early"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		start_server(ANSWERS, span_from(rows[i].text));
		if (strstr(fetch("http://pki.example/a"), rows[i].why) == NULL)
			fail_msg("%s: %s", rows[i].text, rig.why);
		stop_server();
	}
}

static void endless_answers(void **state)
{
	static char head[40000] = "HTTP/1.1 200 OK\r\nX: ";

	(void)state;
	start_server(NEVER_ENDS, SPAN("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
	assert_string_equal(fetch("http://pki.example/a"), "the answer is too large");
	stop_server();
	start_server(NEVER_ENDS, SPAN("HTTP/1.1 200 OK\r\n\r\n"));
	assert_string_equal(fetch("http://pki.example/a"), "the answer is too large");
	stop_server();
	memset(head + strlen(head), 'x', sizeof(head) - strlen(head));
	start_server(ANSWERS, span_of(head, sizeof(head)));
	assert_string_equal(fetch("http://pki.example/a"), "the head of the answer is too large");
	stop_server();
	start_server(IS_SILENT, SPAN(""));
	assert_string_equal(fetch("http://pki.example/a"), "it takes too long");
	stop_server();
	start_server(RESETS, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"));
	fetch("http://pki.example/a");
	assert_int_equal(rig.der_bytes, 0);
}

/* As much as there may be. */
static void largest(void **state)
{
	static char text[66000];
	int len = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n");

	(void)state;
	memset(text + len, 'x', 65536);
	start_server(ANSWERS, span_of(text, (size_t)len + 65536));
	fetch("http://pki.example/a");
	assert_string_equal(rig.why, "");
	assert_int_equal(rig.der_bytes, 65536);
}

static void refused_urls(void **state)
{
	static const char *const urls[] = {
		"https://pki.example/a", "ldap://pki.example/a", "ftp://pki.example/", "pki.example/a", "http:/pki.example", "", "http://",
		"http://user@pki.example/a", "http://user:secret@pki.example/", "http://pki.example:8080/a", "http://pki.example:443/",
		"http://pki.example/a b", "http://pki.example/a\r\nX: y", "http://pki.example/a#b", "http://pki.example:0/",
		"http://pki..example/", "http://0x7f.1/", "http://2130706433/", "http://[::1/", "/a", "file:///etc/passwd",
	};

	(void)state;
	start_server(ANSWERS, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"));
	for (size_t i = 0; i < COUNT_OF(urls); i++) {
		fetch(urls[i]);
		if (strstr(rig.why, "URL") == NULL)
			fail_msg("%s: %s", urls[i], rig.why);
	}
	assert_int_equal(rig.allowed_count, 0);
	assert_string_equal(fetch("http://pki.example:80/a"), "");
}

static void refused_addresses(void **state)
{
	static const char *const urls[] = {"http://inside.example/", "http://other.example/", "http://127.0.0.2/", "http://10.0.0.1/",
	                                   "http://[::1]/", "http://[::ffff:127.0.0.2]/"};

	(void)state;
	start_server(ANSWERS, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"));
	for (size_t i = 0; i < COUNT_OF(urls); i++)
		assert_string_equal(fetch(urls[i]), "none of its addresses is allowed");
	rig.denies = true;
	assert_string_equal(fetch("http://pki.example/"), "policy does not allow its host");
	rig.denies = false;
	assert_string_equal(fetch("http://pki.example/"), "");
	/* Our own listener is never dialled, permitted or not. */
	struct address own = {.family = AF_INET, .bytes = {127, 0, 0, 1}, .port = rig.env.dial_port};
	rig.env.own = &own;
	rig.env.own_count = 1;
	assert_string_equal(fetch("http://pki.example/"), "none of its addresses is allowed");
}

static void nobody_there(void **state)
{
	(void)state;
	start_server(ANSWERS, SPAN(""));
	stop_server();
	assert_string_equal(fetch("http://pki.example/"), "it cannot be connected to");
	assert_string_equal(fetch("http://missing.example/"), "its name has no address");
}

/* At each stage: asking for the name, connecting, waiting, reading; and when it is over, but not told yet. */
static void cancelled(void **state)
{
	struct aia_fetch *fetches[2];

	(void)state;
	start_server(DRIPS, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"));
	for (unsigned turns = 0; turns < 12; turns++) {
		assert_int_equal(aia_fetch(&rig.env, "http://pki.example/", on_done, &rig, &fetches[0]), ERR_NONE);
		assert_int_equal(aia_fetch(&rig.env, "gopher://pki.example/", on_done, &rig, &fetches[1]), ERR_NONE);
		aia_cancel(fetches[1]);
		rig.done_count = 0;
		for (unsigned i = 0; i < turns && rig.done_count == 0; i++)
			loop_turn(rig.loop, 1);
		if (rig.done_count == 0) {
			aia_cancel(fetches[0]);
			loop_turn(rig.loop, 1);
			loop_turn(rig.loop, 1);
			assert_int_equal(rig.done_count, 0);
		}
		rig.done_count = 0;
	}
	aia_cancel(NULL);
	loop_turn(rig.loop, 1);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(asks_once), ROW(framings), ROW(bad_answers), ROW(endless_answers), ROW(largest), ROW(refused_urls), ROW(refused_addresses),
		ROW(nobody_there), ROW(cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
