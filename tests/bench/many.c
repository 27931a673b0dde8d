/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of very many tunnels, in as many processes as the limit of open files asks for. Told on
 * stdin what to do, it says on stdout when it was done; times are of CLOCK_MONOTONIC, so that the
 * ends can be compared. `bench_many --help` says more. */
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
	PUSH_MAX = 4096,
	FIRST_BYTES = 64, /* of each tunnel, there and back */
	EVENTS = 256,
	ADDRESSES = 16, /* 127.0.0.2 and up, 127.0.1.1 and up: a port space each */
};

enum state { STATE_CONNECTING, STATE_ASKED, STATE_OPEN, STATE_GONE };

struct end {
	int fd;
	uint32_t number;
	enum state state;
	size_t bytes; /* since the last command */
	uint64_t last_ns;
};

static struct {
	struct sockaddr_in proxy;
	uint32_t port, count, concurrency, first;
	bool is_plain;
} conf = {.count = 1000, .concurrency = 64};

static int epoll;
static struct end *ends;
static uint32_t used, open_count, begun, lost, complete;
static size_t expected; /* bytes in each tunnel; 0: none */
static char bytes[PUSH_MAX];
static char first_error[160];

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void lose(struct end *end, const char *why, int code)
{
	if (lost++ == 0)
		snprintf(first_error, sizeof(first_error), "%s%s%s", why, code ? ": " : "",
			 code ? strerror(code) : "");
	if (end->state == STATE_OPEN)
		open_count--;
	close(end->fd);
	end->fd = -1;
	end->state = STATE_GONE;
}

/* ---- clients ---- */

static void start(struct end *end, uint32_t number)
{
	struct sockaddr_in own = {.sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(0x7f000002 + number % ADDRESSES)};
	int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (const struct sockaddr *)&own, sizeof(own)) < 0 ||
	    (connect(fd, (const struct sockaddr *)&conf.proxy, sizeof(conf.proxy)) < 0 &&
	     errno != EINPROGRESS))
		bench_die("cannot connect to the proxy: %s", strerror(errno));
	*end = (struct end){.fd = fd, .number = number};
	bench_watch(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, end);
}

static void send_to(struct end *end, const char *text, size_t len)
{
	if (!bench_send(end->fd, text, len))
		lose(end, "cannot send", errno);
}

static void ask(struct end *end)
{
	char text[160];
	uint32_t host = 1 + end->number % ADDRESSES;
	int len;

	end->bytes = 0;
	end->state = conf.is_plain ? STATE_OPEN : STATE_ASKED;
	if (conf.is_plain) {
		open_count++;
		send_to(end, bytes, FIRST_BYTES);
		return;
	}
	len = snprintf(text, sizeof(text),
		       "CONNECT 127.0.1.%u:%u HTTP/1.1\r\nHost: 127.0.1.%u:%u\r\n\r\n", host,
		       conf.port, host, conf.port);
	send_to(end, text, (size_t)len);
}

/* What came before the tunnel stood: little, and in one piece. */
static void take_answer(struct end *end, const char *text, size_t len)
{
	if (len < 16 || strncmp(text + 8, " 200", 4) != 0 ||
	    memcmp(text + len - 4, "\r\n\r\n", 4) != 0) {
		lose(end, "no 200 to a CONNECT", 0);
		return;
	}
	end->state = STATE_OPEN;
	open_count++;
	send_to(end, bytes, FIRST_BYTES);
}

static void take_bytes(struct end *end, size_t len)
{
	bool was_complete = end->bytes >= expected;

	end->bytes += len;
	if (end->bytes > expected) {
		lose(end, "more came than was sent", 0);
	} else if (!was_complete && end->bytes == expected) {
		end->last_ns = now_ns();
		complete++;
	}
}

static void on_client(struct end *end, uint32_t events)
{
	static char text[64 * 1024];
	ssize_t got;

	if (events & EPOLLERR) {
		lose(end, "a connection broke", 0);
		return;
	}
	if (end->state == STATE_CONNECTING && (events & EPOLLOUT))
		ask(end);
	while (end->state == STATE_ASKED || end->state == STATE_OPEN) {
		got = recv(end->fd, text, sizeof(text), 0);
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0)
			lose(end, "a tunnel was closed", got < 0 ? errno : 0);
		else if (end->state == STATE_ASKED)
			take_answer(end, text, (size_t)got);
		else
			take_bytes(end, (size_t)got);
	}
}

/* ---- origin ---- */

static void accept_all(int listening)
{
	int fd;

	while ((fd = bench_accept(listening)) >= 0) {
		uint32_t at = used;

		for (uint32_t i = 0; at == conf.count && i < conf.count; i++)
			if (ends[i].state == STATE_GONE)
				at = i;
		if (at == conf.count)
			bench_die("more than %" PRIu32 " connections", conf.count);
		used += at == used;
		ends[at] = (struct end){.fd = fd, .state = STATE_OPEN};
		open_count++;
		bench_watch(epoll, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, &ends[at]);
	}
}

/* What comes goes back. */
static void on_origin(struct end *end)
{
	char text[PUSH_MAX];
	ssize_t got;

	while (end->state == STATE_OPEN) {
		got = recv(end->fd, text, sizeof(text), 0);
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0 || !bench_send(end->fd, text, (size_t)got)) {
			lose(end, "", 0);
			return;
		}
	}
}

/* ---- commands ---- */

static void push(size_t len)
{
	uint64_t began = now_ns();
	uint32_t sent = 0;

	for (uint32_t i = 0; i < used; i++)
		if (ends[i].state == STATE_OPEN)
			sent += bench_send(ends[i].fd, bytes, len);
	printf("pushed %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", sent, began, now_ns());
}

static void close_all(void)
{
	uint64_t began = now_ns();
	uint32_t closed = open_count;

	for (uint32_t i = 0; i < used; i++) {
		if (ends[i].fd >= 0)
			close(ends[i].fd);
		ends[i].fd = -1;
		ends[i].state = STATE_GONE;
	}
	open_count = 0;
	printf("closed %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", closed, began, now_ns());
}

static void expect(size_t len)
{
	for (uint32_t i = 0; i < used; i++)
		ends[i].bytes = 0;
	complete = 0;
	expected = len;
	printf("expecting %" PRIu32 "\n", open_count);
}

static void on_command(void)
{
	char line[64];
	ssize_t got = read(STDIN_FILENO, line, sizeof(line) - 1);
	size_t len = 0;

	if (got <= 0)
		exit(0);
	line[got] = '\0';
	if (strchr(line, ' '))
		len = strtoul(strchr(line, ' '), NULL, 10);
	if (len > PUSH_MAX)
		bench_die("more than %d bytes", PUSH_MAX);
	if (strncmp(line, "push ", 5) == 0)
		push(len);
	else if (strncmp(line, "expect ", 7) == 0)
		expect(len);
	else if (strncmp(line, "close", 5) == 0)
		close_all();
	else if (strncmp(line, "count", 5) == 0)
		printf("count %" PRIu32 " %" PRIu32 " %s\n", open_count, lost, first_error);
	else
		bench_die("\"%s\" is no command", line);
	fflush(stdout);
}

static int compare_times(const void *a, const void *b)
{
	uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;

	return (first > second) - (first < second);
}

/* All that was expected has come, or what has come will be all. */
static void report_received(void)
{
	uint64_t *times = calloc(complete + 1, sizeof(*times));
	uint32_t count = 0;

	if (times == NULL)
		bench_die("out of memory");
	for (uint32_t i = 0; i < used; i++)
		if (ends[i].state == STATE_OPEN && ends[i].bytes == expected)
			times[count++] = ends[i].last_ns;
	qsort(times, count, sizeof(*times), compare_times);
	printf("received %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", count, times[0],
	       times[count / 2], times[count ? count - 1 : 0]);
	fflush(stdout);
	free(times);
	expected = 0;
}

/* Keeps as many at work as were asked for, until all are open. */
static void fill(void)
{
	while (begun < conf.count && begun - complete - lost < conf.concurrency) {
		start(&ends[begun], conf.first + begun);
		used = ++begun;
	}
}

static void run(int listening)
{
	struct epoll_event events[EVENTS];
	bool is_ready = listening >= 0;

	if (listening < 0)
		expected = FIRST_BYTES;
	for (;;) {
		int ready;

		if (!is_ready)
			fill();
		if (!is_ready && complete + lost == conf.count) {
			is_ready = true;
			expected = 0;
			printf("ready %" PRIu32 " %" PRIu32 " %s\n", open_count, lost, first_error);
			fflush(stdout);
		}
		if (is_ready && expected && complete >= open_count)
			report_received();
		ready = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < ready; i++) {
			struct end *end = events[i].data.ptr;

			if (end == NULL)
				on_command();
			else if (end == ends + conf.count)
				accept_all(listening);
			else if (end->state != STATE_GONE && listening >= 0)
				on_origin(end);
			else if (end->state != STATE_GONE)
				on_client(end, events[i].events);
		}
	}
}

static const char help[] =
    "usage: bench_many clients --proxy ADDRESS:PORT --port PORT [options]\n"
    "       bench_many origin [--count N]\n"
    "\n"
    "clients open --count tunnels, 64 bytes there and back in each, then say \"ready OPEN LOST\".\n"
    "The origin says \"ready origin PORT\"; what comes to it goes back. Then lines on stdin:\n"
    "  expect BYTES   clients: \"expecting TUNNELS\", and when as much has come through each:\n"
    "                 \"received TUNNELS FIRST_NS MEDIAN_NS LAST_NS\"\n"
    "  push BYTES     origin: into each connection; \"pushed CONNECTIONS BEGAN_NS ENDED_NS\"\n"
    "  close          \"closed CONNECTIONS BEGAN_NS ENDED_NS\"\n"
    "  count          \"count OPEN LOST\"\n"
    "\n"
    "  --count N        1000; of the origin: as many as it takes at most\n"
    "  --concurrency N  64 are opened at once\n"
    "  --first N        the number of the first tunnel, which chooses its addresses\n"
    "  --plain          no CONNECT: the proxy leads to the origin by itself\n";

static uint32_t parse_count(const char *text, uint32_t max)
{
	char *after;
	unsigned long number = strtoul(text, &after, 10);

	if (after == text || *after || number > max)
		bench_die("\"%s\" is no number up to %" PRIu32, text, max);
	return (uint32_t)number;
}

static bool parse_command(int count, char **args)
{
	static const struct option options[] = {{"proxy", required_argument, NULL, 'x'},
						{"port", required_argument, NULL, 'p'},
						{"count", required_argument, NULL, 'n'},
						{"concurrency", required_argument, NULL, 'c'},
						{"first", required_argument, NULL, 'f'},
						{"plain", no_argument, NULL, 'P'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(count, args, "h", options, NULL)) >= 0) {
		if (option == 'x' && !bench_address(optarg, '\0', &conf.proxy))
			bench_die("\"%s\" is no ADDRESS:PORT", optarg);
		else if (option == 'p')
			conf.port = parse_count(optarg, 65535);
		else if (option == 'n')
			conf.count = parse_count(optarg, 1000000);
		else if (option == 'c')
			conf.concurrency = parse_count(optarg, 1000000);
		else if (option == 'f')
			conf.first = parse_count(optarg, 100000000);
		else if (option == 'P')
			conf.is_plain = true;
		else if (option == 'h')
			fputs(help, stdout), exit(0);
		else if (option == '?')
			exit(2);
	}
	if (optind + 1 == count && strcmp(args[optind], "origin") == 0)
		return true;
	if (optind + 1 != count || strcmp(args[optind], "clients") != 0 ||
	    conf.proxy.sin_port == 0 || conf.port == 0 || conf.concurrency == 0)
		bench_die("see bench_many --help");
	return false;
}

int main(int count, char **args)
{
	size_t files = bench_prepare();
	bool is_origin = parse_command(count, args);
	int listening = -1;
	uint16_t port;

	if (conf.count + 10 > files)
		bench_die("only %zu open files are allowed", files);
	ends = calloc(conf.count + 1, sizeof(*ends));
	if (ends == NULL)
		bench_die("out of memory");
	memset(bytes, 'm', sizeof(bytes));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	bench_watch(epoll, STDIN_FILENO, EPOLLIN, NULL);
	if (is_origin) {
		listening = bench_listen(INADDR_ANY, "lo", &port);
		bench_watch(epoll, listening, EPOLLIN, ends + conf.count);
		printf("ready origin %u\n", port);
		fflush(stdout);
	}
	run(listening);
}
