/* SPDX-License-Identifier: Apache-2.0 */
/* The load of the bench: one thread, many connections through one proxy, everything that comes back
 * is checked. Prints one line of JSON; any error makes the exit status 1. `bench_load --help` says
 * what it does. */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	ECHO_BYTES = 64,
	ECHO_MAX = 4096,
	CHUNK_BYTES = 256 * 1024,
	EVENTS = 64,
	CLIENTS = 16, /* addresses 127.0.0.2 and up: a port space each */
	ORIGINS = 16, /* addresses 127.0.1.1 and up, in the same way */
	ERRORS_MAX = 100,
	STALL_MS = 20000,
};

enum mode { MODE_CONNECT, MODE_IDLE, MODE_BULK_UP, MODE_BULK_DOWN, MODE_GET, MODE_CHUNK };

static const char *const mode_names[] = {"connect", "idle", "bulk-up", "bulk-down", "get", "chunk"};

struct client;

/* Takes what came, or with 0 bytes the end of the stream. */
typedef void take(struct client *client, const char *bytes, size_t len);

struct client {
	take *take;
	int fd;
	uint32_t number; /* chooses the addresses */
	bool is_connected;
	bool is_hung_up; /* a FIN is in the socket, or more */
	bool was_held;   /* idle: told to go on */
	bool has_head;   /* of a GET */
	bool is_last;    /* the proxy wants the connection closed after this reply */
	bool is_over;
	uint64_t rest; /* bulk: bytes to come or to go; a reply's body: bytes to come */
	uint64_t since_ns;
	size_t text_len;
	char text[1024]; /* a head, a count: what has come of it */
};

static struct {
	enum mode mode;
	bool is_plain; /* no CONNECT: the proxy leads to the origin by itself */
	bool has_port;
	unsigned port; /* of the origin */
	uint32_t count, concurrency;
	uint64_t bytes; /* per stream */
	struct sockaddr_in proxy;
	const char *host; /* NULL: the addresses of the origin in turn */
} conf = {.count = 1000, .concurrency = 16, .bytes = 1 << 28};

static int epoll;
static uint32_t begun, done, live, holding, errors, reopened;
static uint64_t moved_bytes;
static char first_error[200];
static uint32_t *times_us; /* of each that is done */
static struct client **held;
static uint8_t chunk[CHUNK_BYTES];
static char echo_text[ECHO_MAX];
static size_t echo_len = ECHO_BYTES;

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* ---- the end of a client ---- */

static void end(struct client *client)
{
	close(client->fd);
	client->is_over = true;
	live--;
}

static void fail(struct client *client, const char *what, int code)
{
	if (errors++ == 0)
		snprintf(first_error, sizeof(first_error), "%s%s%s", what, code ? ": " : "",
			 code ? strerror(code) : "");
	end(client);
}

static void finish_one(struct client *client)
{
	times_us[done++] = (uint32_t)((now_ns() - client->since_ns) / 1000);
}

/* ---- what a client does, in the order of its life ---- */

static void say(struct client *client, const void *data, size_t len)
{
	if (!bench_send(client->fd, data, len))
		fail(client, "cannot send", errno);
}

static void take_end(struct client *client, const char *bytes, size_t len)
{
	(void)bytes;
	if (len) {
		fail(client, "more came than was sent", 0);
		return;
	}
	finish_one(client);
	end(client);
}

static void say_end(struct client *client)
{
	client->take = take_end;
	if (shutdown(client->fd, SHUT_WR) < 0)
		fail(client, "shutdown", errno);
}

static void take_held(struct client *client, const char *bytes, size_t len)
{
	(void)bytes;
	holding--;
	fail(client, len ? "bytes in an idle tunnel" : "an idle tunnel was closed", 0);
}

static void say_chunk(struct client *client);

static void take_echo(struct client *client, const char *bytes, size_t len)
{
	if (len == 0 || client->text_len + len > echo_len ||
	    memcmp(echo_text + client->text_len, bytes, len) != 0) {
		fail(client, len ? "the echo is another" : "closed before the echo", 0);
		return;
	}
	client->text_len += len;
	if (client->text_len < echo_len)
		return;
	if (conf.mode == MODE_IDLE && !client->was_held) {
		client->take = take_held;
		held[holding++] = client;
	} else if (conf.mode == MODE_CHUNK) {
		finish_one(client);
		say_chunk(client);
	} else {
		say_end(client);
	}
}

static void say_echo(struct client *client)
{
	client->take = take_echo;
	client->text_len = 0;
	say(client, echo_text, echo_len);
}

/* The next echo of a standing tunnel, if there is one left. */
static void say_chunk(struct client *client)
{
	if (begun >= conf.count) {
		end(client);
		return;
	}
	begun++;
	client->since_ns = now_ns();
	say_echo(client);
}

static void take_down(struct client *client, const char *bytes, size_t len)
{
	(void)bytes;
	moved_bytes += len;
	if (len > client->rest || (len == 0 && client->rest)) {
		fail(client, len ? "more came than was asked for" : "closed in a download", 0);
		return;
	}
	client->rest -= len;
	if (len == 0) {
		finish_one(client);
		end(client);
	}
}

static void take_total(struct client *client, const char *bytes, size_t len)
{
	if (client->text_len + len >= sizeof(client->text)) {
		fail(client, "the sink says too much", 0);
		return;
	}
	memcpy(client->text + client->text_len, bytes, len);
	client->text_len += len;
	client->text[client->text_len] = '\0';
	if (len)
		return;
	if (strtoull(client->text, NULL, 10) != conf.bytes) {
		fail(client, "the sink received another number of bytes", 0);
		return;
	}
	finish_one(client);
	end(client);
}

/* Sends as much of an upload as the socket takes. */
static void send_up(struct client *client)
{
	while (client->rest) {
		size_t len = client->rest < sizeof(chunk) ? client->rest : sizeof(chunk);
		ssize_t sent = send(client->fd, chunk, len, MSG_NOSIGNAL);

		if (sent < 0) {
			if (errno != EAGAIN)
				fail(client, "upload", errno);
			return;
		}
		client->rest -= (uint64_t)sent;
		moved_bytes += (uint64_t)sent;
		if (client->rest == 0 && shutdown(client->fd, SHUT_WR) < 0)
			fail(client, "shutdown", errno);
	}
}

/* The way to the origin stands. */
static void begin_work(struct client *client)
{
	char text[32];

	client->text_len = 0;
	client->rest = conf.bytes;
	if (conf.mode == MODE_CONNECT || conf.mode == MODE_IDLE) {
		say_echo(client);
	} else if (conf.mode == MODE_CHUNK) {
		say_chunk(client);
	} else if (conf.mode == MODE_BULK_UP) {
		client->take = take_total;
		send_up(client);
	} else {
		client->take = take_down;
		say(client, text,
		    (size_t)snprintf(text, sizeof(text), "%" PRIu64 "\n", conf.bytes));
	}
}

/* Adds to the head; the number of bytes that belong to it once it is complete, else 0. */
static size_t gather_head(struct client *client, const char *bytes, size_t len)
{
	size_t before = client->text_len;
	size_t room = sizeof(client->text) - 1 - before;
	size_t taken = len < room ? len : room;
	const char *blank;

	memcpy(client->text + before, bytes, taken);
	client->text[before + taken] = '\0';
	client->text_len += taken;
	blank = strstr(client->text, "\r\n\r\n");
	if (blank)
		return (size_t)(blank + 4 - client->text) - before;
	if (len == 0)
		fail(client, "closed before a reply", 0);
	else if (taken == room)
		fail(client, "a reply head above 1023 bytes", 0);
	return 0;
}

/* Status 200 is what the head must say. */
static bool check_status(struct client *client)
{
	char what[64];

	if (strncmp(client->text, "HTTP/1.", 7) == 0 && strncmp(client->text + 8, " 200", 4) == 0)
		return true;
	snprintf(what, sizeof(what), "the proxy answered \"%.*s\"",
		 (int)strcspn(client->text, "\r\n"), client->text);
	fail(client, what, 0);
	return false;
}

static void take_opened(struct client *client, const char *bytes, size_t len)
{
	size_t head_len = gather_head(client, bytes, len);

	if (head_len == 0 || !check_status(client))
		return;
	if (head_len < len)
		fail(client, "bytes behind the head of a 200 to CONNECT", 0);
	else
		begin_work(client);
}

static void take_reply(struct client *client, const char *bytes, size_t len);

/* The next GET of a connection, if there is one left. */
static void say_get(struct client *client)
{
	char text[256];
	int len;

	if (begun >= conf.count) {
		end(client);
		return;
	}
	begun++;
	client->take = take_reply;
	client->text_len = 0;
	client->has_head = false;
	client->since_ns = now_ns();
	len = snprintf(text, sizeof(text),
		       "GET http://127.0.1.%u:%u/1k HTTP/1.1\r\nHost: 127.0.1.%u:%u\r\n"
		       "User-Agent: bench\r\nAccept: */*\r\n\r\n",
		       1 + client->number % ORIGINS, conf.port, 1 + client->number % ORIGINS,
		       conf.port);
	say(client, text, (size_t)len);
}

static void take_reply(struct client *client, const char *bytes, size_t len)
{
	if (!client->has_head) {
		size_t head_len = gather_head(client, bytes, len);
		const char *length;

		if (head_len == 0 || !check_status(client))
			return;
		length = strcasestr(client->text, "\r\nContent-Length:");
		if (length == NULL) {
			fail(client, "a reply without Content-Length", 0);
			return;
		}
		client->rest = strtoull(length + strlen("\r\nContent-Length:"), NULL, 10);
		client->is_last = strcasestr(client->text, "\r\nConnection: close") != NULL;
		client->has_head = true;
		len -= head_len;
	} else if (len == 0) {
		fail(client, "closed inside a reply", 0);
		return;
	}
	if (len > client->rest) {
		fail(client, "a reply is longer than it says", 0);
		return;
	}
	client->rest -= len;
	moved_bytes += len;
	if (client->rest)
		return;
	finish_one(client);
	if (client->is_last) {
		reopened++;
		end(client);
	} else {
		say_get(client);
	}
}

/* The proxy has accepted. */
static void begin(struct client *client)
{
	char text[400], host[128];

	snprintf(host, sizeof(host), "127.0.1.%u", 1 + client->number % ORIGINS);
	client->is_connected = true;
	if (conf.mode == MODE_GET) {
		say_get(client);
	} else if (conf.is_plain) {
		begin_work(client);
	} else {
		client->take = take_opened;
		say(client, text,
		    (size_t)snprintf(text, sizeof(text),
				     "CONNECT %s:%u HTTP/1.1\r\nHost: %s:%u\r\n\r\n",
				     conf.host ? conf.host : host, conf.port,
				     conf.host ? conf.host : host, conf.port));
	}
}

/* ---- events ---- */

static void receive(struct client *client)
{
	while (!client->is_over) {
		bool is_dropped = client->take == take_down;
		ssize_t got =
		    is_dropped ? bench_drop(client->fd) : recv(client->fd, chunk, sizeof(chunk), 0);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got < 0)
			fail(client, "receive", errno);
		else
			client->take(client, (const char *)chunk, (size_t)got);
		if ((size_t)got < sizeof(chunk) && !client->is_hung_up && !is_dropped)
			return; /* drained; a FIN makes an event of its own */
	}
}

static void on_event(struct client *client, uint32_t events)
{
	int error = 0;
	socklen_t len = sizeof(error);

	client->is_hung_up |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	if (events & EPOLLERR) {
		getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		fail(client,
		     client->is_connected ? "connection broke" : "cannot connect to the proxy",
		     error);
		return;
	}
	if (!client->is_connected && (events & EPOLLOUT))
		begin(client);
	else if (!client->is_over && client->take == take_total && (events & EPOLLOUT))
		send_up(client);
	if (!client->is_over && client->is_connected && (events & (EPOLLIN | EPOLLRDHUP)))
		receive(client);
}

static void start(uint32_t number)
{
	struct sockaddr_in own = {.sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(0x7f000002 + number % CLIENTS)};
	struct client *client = calloc(1, sizeof(*client));
	int yes = 1;

	if (client == NULL)
		bench_die("out of memory");
	client->number = number;
	client->since_ns = now_ns();
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	live++;
	if (client->fd < 0 ||
	    setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)) < 0 ||
	    bind(client->fd, (const struct sockaddr *)&own, sizeof(own)) < 0)
		bench_die("socket: %s", strerror(errno));
	if (connect(client->fd, (const struct sockaddr *)&conf.proxy, sizeof(conf.proxy)) < 0 &&
	    errno != EINPROGRESS)
		bench_die("cannot connect to the proxy: %s", strerror(errno));
	bench_watch(epoll, client->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, client);
}

/* Keeps as many at work as were asked for. */
static void fill(void)
{
	static uint32_t started;
	bool is_shared = conf.mode == MODE_GET || conf.mode == MODE_CHUNK;

	while (errors < ERRORS_MAX && live - holding < conf.concurrency &&
	       (is_shared ? begun : started) < conf.count)
		start(started++);
}

/* Everybody is idle: says so, waits for a line on stdin, goes on with all. */
static void hold(void)
{
	uint32_t count = holding;
	char line[16];

	printf("ready %u\n", count);
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL)
		bench_die("nobody told us to go on");
	for (uint32_t i = 0; i < count; i++) {
		if (held[i]->is_over)
			continue;
		held[i]->was_held = true;
		held[i]->since_ns = now_ns();
		say_echo(held[i]);
	}
	holding = 0;
}

static void run(void)
{
	struct epoll_event events[EVENTS];

	for (fill(); live; fill()) {
		int ready;

		if (conf.mode == MODE_IDLE && holding && holding == live && done == 0)
			hold();
		ready = epoll_wait(epoll, events, EVENTS, STALL_MS);
		if (ready == 0) {
			errors += live;
			if (first_error[0] == '\0')
				snprintf(first_error, sizeof(first_error), "nothing moved for %d s",
					 STALL_MS / 1000);
			return;
		}
		for (int i = 0; i < ready; i++) {
			struct client *client = events[i].data.ptr;

			on_event(client, events[i].events);
			if (client->is_over && conf.mode != MODE_IDLE)
				free(client);
		}
	}
}

/* ---- the command ---- */

static const char help[] =
    "usage: bench_load MODE --proxy ADDRESS:PORT --port PORT [options]\n"
    "\n"
    "  connect     CONNECT, 64 bytes there and back, close; --count times\n"
    "  idle        --count tunnels, 64 bytes in each, then \"ready COUNT\" and idle until a line "
    "comes\n"
    "              on stdin; then 64 bytes again and close\n"
    "  bulk-up     --count tunnels at once, --bytes up each\n"
    "  bulk-down   the same, down\n"
    "  chunk       --count times 64 bytes there and back, in --concurrency standing tunnels\n"
    "  get         --count times GET http://127.0.1.x:PORT/1k, on --concurrency kept connections\n"
    "\n"
    "  --port PORT          of the origin: its echo, sink, source or http service (bench_origin)\n"
    "  --count N            1000\n"
    "  --concurrency N      16; how many at once (bulk: all)\n"
    "  --bytes N            268435456\n"
    "  --host NAME          CONNECT to it; else to addresses of the origin\n"
    "  --say FILE           its bytes (4096 at most) go there and back, not 64\n"
    "  --plain              no CONNECT: the proxy leads to the origin by itself\n";

static uint64_t parse_number(const char *text, uint64_t max)
{
	char *after;
	uint64_t number = strtoull(text, &after, 10);

	if (after == text || *after || number == 0 || number > max)
		bench_die("\"%s\" is no number from 1 to %" PRIu64, text, max);
	return number;
}

static void read_echo(const char *path)
{
	FILE *file = fopen(path, "rb");

	echo_len = file ? fread(echo_text, 1, sizeof(echo_text), file) : 0;
	if (echo_len == 0 || fgetc(file) != EOF)
		bench_die("%s must have 1 to %d bytes", path, ECHO_MAX);
	fclose(file);
}

static void parse_option(int option, const char *value)
{
	switch (option) {
	case 'x':
		if (!bench_address(value, '\0', &conf.proxy))
			bench_die("\"%s\" is no ADDRESS:PORT", value);
		break;
	case 'p':
		conf.port = (unsigned)parse_number(value, 65535);
		break;
	case 'n':
		conf.count = (uint32_t)parse_number(value, 100000000);
		break;
	case 'c':
		conf.concurrency = (uint32_t)parse_number(value, 1000000);
		break;
	case 'b':
		conf.bytes = parse_number(value, 1ULL << 50);
		break;
	case 'H':
		conf.host = value;
		break;
	case 's':
		read_echo(value);
		break;
	case 'P':
		conf.is_plain = true;
		break;
	case 'h':
		fputs(help, stdout);
		exit(0);
	default:
		bench_die("see bench_load --help");
	}
}

static void parse_command(int count, char **args)
{
	static const struct option options[] = {
	    {"proxy", required_argument, NULL, 'x'}, {"port", required_argument, NULL, 'p'},
	    {"count", required_argument, NULL, 'n'}, {"concurrency", required_argument, NULL, 'c'},
	    {"bytes", required_argument, NULL, 'b'}, {"plain", no_argument, NULL, 'P'},
	    {"host", required_argument, NULL, 'H'},  {"say", required_argument, NULL, 's'},
	    {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
	size_t mode = 0;
	int option;

	while ((option = getopt_long(count, args, "h", options, NULL)) >= 0)
		parse_option(option, optarg);
	while (optind < count && mode < BENCH_COUNT(mode_names) &&
	       strcmp(args[optind], mode_names[mode]) != 0)
		mode++;
	if (optind + 1 != count || mode == BENCH_COUNT(mode_names) || conf.proxy.sin_port == 0 ||
	    conf.port == 0)
		bench_die("a mode, --proxy and --port are needed; see bench_load --help");
	conf.mode = (enum mode)mode;
	if (conf.mode == MODE_BULK_UP || conf.mode == MODE_BULK_DOWN)
		conf.concurrency = conf.count;
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
	printf(
	    "{\"mode\": \"%s\", \"done\": %u, \"errors\": %u, \"reopened\": %u, \"bytes\": %" PRIu64
	    ", \"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u, \"first_error\": \"%s\"}\n",
	    mode_names[conf.mode], done, errors, reopened, moved_bytes, (double)took_ns / 1e9,
	    done ? times_us[done / 2] : 0, done ? times_us[(uint64_t)done * 99 / 100] : 0,
	    first_error);
}

int main(int count, char **args)
{
	size_t files = bench_prepare();
	uint64_t began;

	for (size_t i = 0; i < ECHO_BYTES; i++)
		echo_text[i] = (char)('!' + i);
	parse_command(count, args);
	if ((conf.mode == MODE_IDLE ? conf.count : conf.concurrency) + 10 > files)
		bench_die("only %zu open files are allowed: fewer connections, or raise ulimit -n",
			  files);
	times_us = calloc(conf.count, sizeof(*times_us));
	held = calloc(conf.count, sizeof(struct client *));
	if (times_us == NULL || held == NULL)
		bench_die("out of memory");
	epoll = epoll_create1(EPOLL_CLOEXEC);
	began = now_ns();
	run();
	report(now_ns() - began);
	return errors || done != conf.count ? 1 : 0;
}
