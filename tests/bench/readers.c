/* SPDX-License-Identifier: Apache-2.0 */
/* Downloads of the bench that have no end: an origin that sends as fast as it is let, and readers
 * that take all they get, or little now and then. `bench_readers --help`. */
#include "bench.h"
#include "way.h"

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
	/* What is sent, again and again. No power of two: bytes that are lost or come twice are
	 * mostly a multiple of one, and are to be seen. */
	PATTERN_BYTES = 251 * 1024,
	CHUNK_BYTES = 256 * 1024,
	EVENTS = 64,
};

/* One end of a download. */
struct reader {
	int fd;
	uint64_t bytes; /* that it has sent, or read */
};

static struct {
	struct way way;
	uint32_t count, size, every_ms;
	int send_buffer; /* 0: the kernel's */
	double seconds;
} conf = {.count = 4, .size = 4096, .every_ms = 500, .seconds = 5};

static uint8_t pattern[PATTERN_BYTES + CHUNK_BYTES]; /* its beginning once more at its end */
static int epoll;
static uint64_t bytes;
static const char stdin_marker;

static void make_pattern(void)
{
	uint32_t state = 1;

	for (size_t i = 0; i < sizeof(pattern); i++) {
		state = state * 1103515245 + 12345;
		pattern[i] =
		    i < PATTERN_BYTES ? (uint8_t)(state >> 16) : pattern[i - PATTERN_BYTES];
	}
}

/* Each line on stdin is answered with the bytes so far; the program ends with stdin. */
static void answer(void)
{
	char line[16];

	if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
		exit(0);
	printf("%" PRIu64 "\n", bytes);
	fflush(stdout);
}

static void watch_stdin(void)
{
	bench_watch(epoll, STDIN_FILENO, EPOLLIN, (void *)(uintptr_t)&stdin_marker);
}

/* ---- the origin ---- */

static void accept_one(int listening)
{
	struct reader *reader = calloc(1, sizeof(*reader));

	if (reader == NULL)
		bench_die("out of memory");
	reader->fd = bench_accept(listening);
	if (conf.send_buffer && reader->fd >= 0 &&
	    setsockopt(reader->fd, SOL_SOCKET, SO_SNDBUF, &conf.send_buffer,
		       sizeof(conf.send_buffer)) < 0)
		bench_die("SO_SNDBUF: %s", strerror(errno));
	if (reader->fd >= 0)
		bench_watch(epoll, reader->fd, EPOLLOUT, reader);
	else
		free(reader);
}

static void send_some(struct reader *reader)
{
	ssize_t sent = send(reader->fd, pattern + reader->bytes % PATTERN_BYTES, CHUNK_BYTES,
			    MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0 && errno == EAGAIN)
		return;
	if (sent < 0) {
		close(reader->fd);
		free(reader);
		return;
	}
	reader->bytes += (uint64_t)sent;
	bytes += (uint64_t)sent;
}

static void run_origin(void)
{
	struct epoll_event events[EVENTS];
	uint16_t port;
	int listening = bench_listen(INADDR_ANY, "lo", &port);

	bench_watch(epoll, listening, EPOLLIN, NULL);
	watch_stdin();
	printf("ready endless %u\n", port);
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			if (events[i].data.ptr == &stdin_marker)
				answer();
			else if (events[i].data.ptr)
				send_some(events[i].data.ptr);
			else
				accept_one(listening);
		}
	}
}

/* ---- readers ---- */

static struct reader *open_all(int receive_bytes)
{
	struct reader *readers = calloc(conf.count, sizeof(*readers));

	if (readers == NULL)
		bench_die("out of memory");
	for (uint32_t i = 0; i < conf.count; i++)
		readers[i].fd = way_open(&conf.way, i, receive_bytes);
	puts("ready");
	fflush(stdout);
	return readers;
}

static void run_fast(void)
{
	struct epoll_event events[EVENTS];
	struct reader *readers = open_all(0);

	watch_stdin();
	for (uint32_t i = 0; i < conf.count; i++)
		bench_watch(epoll, readers[i].fd, EPOLLIN, &readers[i]);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			const struct reader *reader = events[i].data.ptr;
			ssize_t got;

			if (events[i].data.ptr == &stdin_marker) {
				answer();
				continue;
			}
			got = bench_drop(reader->fd);
			if (got == 0 || (got < 0 && errno != EAGAIN))
				bench_die("a download has ended");
			bytes += got > 0 ? (uint64_t)got : 0;
		}
	}
}

/* Reads a little; false: there was nothing. */
static bool read_some(struct reader *reader)
{
	static uint8_t some[CHUNK_BYTES];
	ssize_t got = recv(reader->fd, some, conf.size, 0);

	if (got < 0 && errno == EAGAIN)
		return false;
	if (got <= 0)
		bench_die("a download has ended after %" PRIu64 " bytes", reader->bytes);
	if (memcmp(some, pattern + reader->bytes % PATTERN_BYTES, (size_t)got) != 0)
		bench_die("bytes are lost or changed after %" PRIu64, reader->bytes);
	reader->bytes += (uint64_t)got;
	bytes += (uint64_t)got;
	return true;
}

static void run_slow(void)
{
	struct reader *readers = open_all(16 * 1024);
	uint64_t step_ns = (uint64_t)conf.every_ms * 1000000 / conf.count;
	uint64_t due_ns, end_ns, reads = 0, nothing = 0;
	char line[16];

	if (fgets(line, sizeof(line), stdin) == NULL)
		exit(0);
	due_ns = way_now_ns();
	end_ns = due_ns + (uint64_t)(conf.seconds * 1e9);
	for (; due_ns < end_ns; due_ns += step_ns, reads++) {
		struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000),
				       .tv_nsec = (long)(due_ns % 1000000000)};

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
		nothing += !read_some(&readers[reads % conf.count]);
	}
	printf("{\"mode\": \"slow\", \"reads\": %" PRIu64 ", \"nothing\": %" PRIu64
	       ", \"bytes\": %" PRIu64 "}\n",
	       reads, nothing, bytes);
}

/* ---- the command ---- */

static const char help[] =
    "usage: bench_readers origin [--send-buffer BYTES]\n"
    "       bench_readers fast|slow --proxy ADDRESS:PORT --port PORT [options]\n"
    "\n"
    "  origin   sends to whoever connects; prints \"ready endless PORT\"\n"
    "  fast     reads all that comes, without looking\n"
    "  slow     opens its tunnels with small receive buffers and reads nothing until a line comes "
    "on\n"
    "           stdin, then a little now and then, checks each byte, ends with a line of JSON\n"
    "  Readers print \"ready\" when all tunnels stand; the origin and the fast answer each line "
    "on\n"
    "  stdin with the bytes so far.\n"
    "\n"
    "  --port PORT       of the origin\n"
    "  --count N         4 tunnels\n"
    "  --size N          slow: 4096 bytes a read\n"
    "  --every MS        slow: 500, between two reads of a tunnel\n"
    "  --seconds N       slow: 5\n"
    "  --plain           no CONNECT: the proxy leads to the origin by itself\n";

static void parse_option(int option, const char *value)
{
	if (way_option(&conf.way, option, value, help))
		return;
	if (option == 'n')
		conf.count = (uint32_t)way_number(value, 1, 1000000);
	if (option == 'b')
		conf.send_buffer = (int)way_number(value, 4096, 1 << 30);
	if (option == 's')
		conf.size = (uint32_t)way_number(value, 1, CHUNK_BYTES);
	if (option == 'e')
		conf.every_ms = (uint32_t)way_number(value, 1, 60000);
	if (option == 't')
		conf.seconds = way_number(value, 0.1, 3600);
}

int main(int count, char **args)
{
	static const struct option options[] = {WAY_OPTIONS,
						{"count", required_argument, NULL, 'n'},
						{"send-buffer", required_argument, NULL, 'b'},
						{"size", required_argument, NULL, 's'},
						{"every", required_argument, NULL, 'e'},
						{"seconds", required_argument, NULL, 't'},
						{NULL, 0, NULL, 0}};
	const char *mode;
	int option;

	bench_prepare();
	make_pattern();
	while ((option = getopt_long(count, args, "h", options, NULL)) >= 0)
		parse_option(option, optarg);
	mode = way_mode(&conf.way, count, args);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (strcmp(mode, "origin") == 0)
		run_origin();
	if (strcmp(mode, "fast") == 0)
		run_fast();
	if (strcmp(mode, "slow") != 0)
		bench_die("\"%s\" is no mode; see bench_readers --help", mode);
	run_slow();
	return 0;
}
