/* SPDX-License-Identifier: Apache-2.0 */
/* The load of the rows on inspection: one thread, many clients that CONNECT, speak TLS with whoever answers, and GET. The
 * certificate is verified against the root given, chain and host; everything that comes back is checked. What must be there
 * before the measurement (sessions to resume, open connections) is made first: then it prints "ready", waits for a line on
 * stdin, works, and prints one line of JSON; any error makes the exit status 1. `bench_load_tls --help` says what it does. */
#include "bench_tls.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { CHUNK_BYTES = 16 * 1024, HEAD_MAX = 2048, EVENTS = 64, CLIENTS = 16, ERRORS_MAX = 100, STALL_MS = 20000, SMALL_BYTES = 1024 };

enum mode { MODE_FULL, MODE_RESUMED, MODE_BULK, MODE_IDLE };

static const char *const mode_names[] = {"full", "resumed", "bulk", "idle"};

enum state { STATE_DIAL, STATE_OPEN, STATE_SHAKE, STATE_REPLY, STATE_HELD, STATE_END };

struct client {
	enum state state;
	int fd;
	SSL *ssl;
	bool has_head, is_over;
	uint64_t rest; /* of the body */
	uint64_t since_ns;
	size_t len;
	char head[HEAD_MAX + 1];
};

static struct {
	enum mode mode;
	unsigned port; /* of the origin */
	uint32_t count, concurrency;
	uint64_t bytes;
	struct sockaddr_in proxy;
	const char *folder, *root;
} conf = {.count = 1000, .concurrency = 16, .bytes = SMALL_BYTES, .root = "ca"};

static int epoll;
static SSL_CTX *context;
static bool is_ready; /* what comes now counts */
static uint32_t started, live, done, errors;
static uint32_t resumed, origin_full, origin_resumed;
static uint64_t moved_bytes;
static char first_error[200];
static uint32_t *times_us;
static struct client **held;
static uint32_t held_count;
static SSL_SESSION **sessions; /* to resume, each once */
static uint32_t session_count;

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	if (session_count == conf.concurrency)
		return 0;
	sessions[session_count++] = session;
	return 1;
}

/* ---- the end of a client ---- */

static void end(struct client *client)
{
	SSL_free(client->ssl);
	ERR_clear_error();
	close(client->fd);
	client->is_over = true;
	live--;
}

static void fail(struct client *client, const char *what, const char *why)
{
	if (errors++ == 0)
		snprintf(first_error, sizeof(first_error), "%s%s%s", what, *why ? ": " : "", why);
	end(client);
}

/* As OpenSSL says it, or the system. */
static void fail_tls(struct client *client, const char *what)
{
	unsigned long error = ERR_get_error();
	const char *why = error ? ERR_reason_error_string(error) : errno ? strerror(errno) : "closed";
	long verified = SSL_get_verify_result(client->ssl);

	fail(client, what, verified != X509_V_OK ? X509_verify_cert_error_string(verified) : why ? why : "?");
}

/* ---- what a client does, in the order of its life ---- */

static void start(void)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + started % CLIENTS)};
	struct client *client = calloc(1, sizeof(*client));
	int yes = 1;

	if (client == NULL)
		bench_die("out of memory");
	started++;
	live++;
	client->since_ns = now_ns();
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0 || setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)) < 0 ||
	    bind(client->fd, (const struct sockaddr *)&own, sizeof(own)) < 0 ||
	    (connect(client->fd, (const struct sockaddr *)&conf.proxy, sizeof(conf.proxy)) < 0 && errno != EINPROGRESS))
		bench_die("cannot connect to the proxy: %s", strerror(errno));
	bench_watch(epoll, client->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, client);
}

static void say_connect(struct client *client)
{
	char text[200];
	int len = snprintf(text, sizeof(text), "CONNECT %s:%u HTTP/1.1\r\nHost: %s:%u\r\n\r\n", BENCH_HOST, conf.port, BENCH_HOST, conf.port);

	client->state = STATE_OPEN;
	if (!bench_send(client->fd, text, (size_t)len))
		fail(client, "cannot send", strerror(errno));
}

/* The proxy says nothing behind its 200 before the client speaks. */
static void take_opened(struct client *client)
{
	ssize_t got = recv(client->fd, client->head + client->len, HEAD_MAX - client->len, 0);
	SSL_SESSION *session = NULL;

	if (got < 0 && errno == EAGAIN)
		return;
	client->len += got > 0 ? (size_t)got : 0;
	client->head[client->len] = '\0';
	if (got <= 0 || (strstr(client->head, "\r\n\r\n") && strncmp(client->head + 8, " 200", 4) != 0)) {
		client->head[strcspn(client->head, "\r\n")] = '\0';
		fail(client, "the proxy answered", got > 0 ? client->head : "nothing");
	} else if (strstr(client->head, "\r\n\r\n")) {
		if (conf.mode == MODE_RESUMED && is_ready && session_count)
			session = sessions[--session_count];
		client->ssl = bench_tls_client(context, client->fd, session);
		SSL_SESSION_free(session);
		client->state = STATE_SHAKE;
	}
}

static void say_get(struct client *client, uint64_t bytes)
{
	char text[200];
	int len = snprintf(text, sizeof(text), "GET /%" PRIu64 " HTTP/1.1\r\nHost: %s:%u\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
	                   bytes, BENCH_HOST, conf.port);

	client->state = STATE_REPLY;
	client->has_head = false;
	client->len = 0;
	client->rest = bytes;
	if (SSL_write(client->ssl, text, len) != len)
		fail_tls(client, "cannot ask");
}

static void shake(struct client *client)
{
	int code = SSL_do_handshake(client->ssl);

	if (code == 1)
		say_get(client, is_ready ? conf.bytes : SMALL_BYTES);
	else if (!bench_tls_waits(client->ssl, code))
		fail_tls(client, "handshake");
}

/* Both sides close; the server's end is waited for, so that its work counts. */
static void say_end(struct client *client)
{
	client->state = STATE_END;
	SSL_shutdown(client->ssl);
	shutdown(client->fd, SHUT_WR);
}

static void take_end(struct client *client)
{
	static uint8_t dropped[CHUNK_BYTES];
	ssize_t got;

	while ((got = recv(client->fd, dropped, sizeof(dropped), 0)) > 0)
		;
	if (got < 0 && errno == EAGAIN)
		return;
	end(client);
}

static void finish(struct client *client)
{
	if (is_ready)
		times_us[done++] = (uint32_t)((now_ns() - client->since_ns) / 1000);
	if (!is_ready && (conf.mode == MODE_BULK || conf.mode == MODE_IDLE)) {
		client->state = STATE_HELD;
		held[held_count++] = client;
	} else {
		say_end(client);
	}
}

/* The reply's head; what is behind it counts as body. False: it failed. */
static bool take_head(struct client *client, const char *bytes, size_t *len)
{
	size_t before = client->len, taken = *len < HEAD_MAX - before ? *len : HEAD_MAX - before;
	const char *blank, *length;

	memcpy(client->head + before, bytes, taken);
	client->len += taken;
	client->head[client->len] = '\0';
	blank = strstr(client->head, "\r\n\r\n");
	if (blank == NULL) {
		*len = 0;
		return client->len < HEAD_MAX;
	}
	length = strcasestr(client->head, "\r\nContent-Length:");
	if (strncmp(client->head + 8, " 200", 4) != 0 || length == NULL || strtoull(length + 17, NULL, 10) != client->rest)
		return false;
	if (is_ready) {
		resumed += SSL_session_reused(client->ssl) != 0;
		origin_full += strcasestr(client->head, "\r\nHandshake: full") != NULL;
		origin_resumed += strcasestr(client->head, "\r\nHandshake: resumed") != NULL;
	}
	client->has_head = true;
	*len -= (size_t)(blank + 4 - client->head) - before;
	return true;
}

static void take_reply(struct client *client)
{
	static char chunk[CHUNK_BYTES];

	while (client->state == STATE_REPLY && !client->is_over) {
		int got = SSL_read(client->ssl, chunk, sizeof(chunk));
		size_t len = got > 0 ? (size_t)got : 0;

		if (got <= 0) {
			if (!bench_tls_waits(client->ssl, got))
				fail_tls(client, "no whole reply");
			return;
		}
		if ((!client->has_head && !take_head(client, chunk, &len)) || len > client->rest) {
			client->head[strcspn(client->head, "\r\n")] = '\0';
			fail(client, "another reply than expected", client->head);
			return;
		}
		client->rest -= len;
		moved_bytes += is_ready ? len : 0;
		if (client->has_head && client->rest == 0)
			finish(client);
	}
}

static void take_held(struct client *client)
{
	uint8_t byte;
	int got = SSL_read(client->ssl, &byte, 1);

	if (got > 0 || !bench_tls_waits(client->ssl, got)) {
		held_count--;
		fail(client, got > 0 ? "bytes in an idle session" : "an idle session was closed", "");
	}
}

static void on_event(struct client *client, uint32_t events)
{
	if ((events & EPOLLERR) && client->state != STATE_END) {
		fail(client, client->state == STATE_DIAL ? "cannot connect to the proxy" : "connection broke", "");
		return;
	}
	if (client->state == STATE_DIAL && (events & EPOLLOUT))
		say_connect(client);
	if (client->state == STATE_OPEN && !client->is_over)
		take_opened(client);
	if (client->state == STATE_SHAKE && !client->is_over)
		shake(client);
	if (client->state == STATE_REPLY && !client->is_over)
		take_reply(client);
	else if (client->state == STATE_HELD)
		take_held(client);
	if (client->state == STATE_END && !client->is_over)
		take_end(client);
}

/* ---- the work ---- */

/* Until `count` have been started and nobody moves any more. */
static void run(uint32_t count)
{
	struct epoll_event events[EVENTS];

	for (started = 0;;) {
		int ready;

		while (errors < ERRORS_MAX && started < count && live - held_count < conf.concurrency)
			start();
		if (live == held_count)
			return;
		ready = epoll_wait(epoll, events, EVENTS, STALL_MS);
		if (ready == 0 && errors++ == 0)
			snprintf(first_error, sizeof(first_error), "nothing moved for %d s", STALL_MS / 1000);
		if (ready == 0)
			return;
		for (int i = 0; i < ready; i++) {
			struct client *client = events[i].data.ptr;

			on_event(client, events[i].events);
			if (client->is_over && !held_count)
				free(client);
		}
	}
}

/* What must be there before the measurement. */
static void prepare(void)
{
	char line[16];

	if (conf.mode != MODE_FULL)
		run(conf.mode == MODE_RESUMED ? conf.concurrency : conf.count);
	printf("ready\n");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL)
		bench_die("nobody told us to go on");
	is_ready = true;
}

static void work(void)
{
	uint32_t count = held_count;

	held_count = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (held[i]->is_over)
			continue;
		held[i]->since_ns = now_ns();
		say_get(held[i], conf.bytes);
	}
	run(conf.mode == MODE_FULL || conf.mode == MODE_RESUMED ? conf.count : 0);
}

/* ---- the command ---- */

static const char help[] =
	"usage: bench_load_tls MODE --folder FOLDER --proxy ADDRESS:PORT --port PORT [options]\n"
	"\n"
	"  full      --count times CONNECT, full handshake, GET of 1 kB, close\n"
	"  resumed   the same, each with a ticket of a connection before\n"
	"  bulk      --count connections at once, GET of --bytes on each\n"
	"  idle      --count connections that idle until a line comes, then GET of 1 kB, close\n"
	"\n"
	"  --folder FOLDER      has the root of the certificates that clients see\n"
	"  --root NAME          ca; which one: NAME.pem\n"
	"  --port PORT          of the origin (bench_origin_tls)\n"
	"  --count N            1000\n"
	"  --concurrency N      16; how many move at once\n"
	"  --bytes N            1024\n";

static uint64_t parse_number(const char *text, uint64_t max)
{
	char *after;
	uint64_t number = strtoull(text, &after, 10);

	if (after == text || *after || number == 0 || number > max)
		bench_die("\"%s\" is no number from 1 to %" PRIu64, text, max);
	return number;
}

static void parse_option(int option, const char *value)
{
	if (option == 'x' && !bench_address(value, '\0', &conf.proxy))
		bench_die("\"%s\" is no ADDRESS:PORT", value);
	else if (option == 'p')
		conf.port = (unsigned)parse_number(value, 65535);
	else if (option == 'n')
		conf.count = (uint32_t)parse_number(value, 100000000);
	else if (option == 'c')
		conf.concurrency = (uint32_t)parse_number(value, 1000000);
	else if (option == 'b')
		conf.bytes = parse_number(value, UINT64_C(1) << 50);
	else if (option == 'f')
		conf.folder = value;
	else if (option == 'r')
		conf.root = value;
	else if (option == 'h' || option == '?')
		bench_die("%s", help);
}

static void parse_command(int count, char **args)
{
	static const struct option options[] = {{"proxy", required_argument, NULL, 'x'}, {"port", required_argument, NULL, 'p'},
	                                        {"count", required_argument, NULL, 'n'}, {"concurrency", required_argument, NULL, 'c'},
	                                        {"bytes", required_argument, NULL, 'b'}, {"folder", required_argument, NULL, 'f'},
	                                        {"root", required_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'},
	                                        {NULL, 0, NULL, 0}};
	size_t mode = 0;
	int option;

	while ((option = getopt_long(count, args, "h", options, NULL)) >= 0)
		parse_option(option, optarg);
	while (optind < count && mode < BENCH_COUNT(mode_names) && strcmp(args[optind], mode_names[mode]) != 0)
		mode++;
	if (optind + 1 != count || mode == BENCH_COUNT(mode_names) || conf.proxy.sin_port == 0 || conf.port == 0 || conf.folder == NULL)
		bench_die("%s", help);
	conf.mode = (enum mode)mode;
	if (conf.mode == MODE_IDLE)
		conf.bytes = SMALL_BYTES;
}

static int compare_times(const void *a, const void *b)
{
	uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;

	return (first > second) - (first < second);
}

static void report(uint64_t took_ns)
{
	qsort(times_us, done, sizeof(*times_us), compare_times);
	for (char *c = first_error; *c; c++)
		if (*c == '"' || *c == '\\' || *c < ' ')
			*c = '\'';
	printf("{\"mode\": \"%s\", \"done\": %u, \"errors\": %u, \"resumed\": %u, \"origin_full\": %u, \"origin_resumed\": %u, "
	       "\"bytes\": %" PRIu64 ", \"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u, \"first_error\": \"%s\"}\n",
	       mode_names[conf.mode], done, errors, resumed, origin_full, origin_resumed, moved_bytes, (double)took_ns / 1e9,
	       done ? times_us[done / 2] : 0, done ? times_us[(uint64_t)done * 99 / 100] : 0, first_error);
}

int main(int count, char **args)
{
	size_t files = bench_prepare();
	uint64_t began;

	parse_command(count, args);
	if ((conf.mode == MODE_IDLE || conf.mode == MODE_BULK ? conf.count : conf.concurrency) + 10 > files)
		bench_die("only %zu open files are allowed: fewer connections, or raise ulimit -n", files);
	times_us = calloc(conf.count, sizeof(*times_us));
	held = calloc(conf.count, sizeof(struct client *));
	sessions = calloc(conf.concurrency, sizeof(SSL_SESSION *));
	if (times_us == NULL || held == NULL || sessions == NULL)
		bench_die("out of memory");
	context = bench_tls_context(TLS_client_method());
	bench_tls_trust(context, conf.folder, conf.root);
	if (conf.mode == MODE_RESUMED)
		bench_tls_keep(context, keep_session);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	prepare();
	began = now_ns();
	work();
	report(now_ns() - began);
	return errors || done != conf.count ? 1 : 0;
}
