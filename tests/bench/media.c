/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the bench: RTP-like packets in RFC 4571 frames at a steady pace, an origin that echoes
 * them. Each is a process of its own and goes ahead of all else on its core, so that what is late
 * is late in the proxy. `bench_media --help`. */
#include "bench.h"
#include "way.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	LENGTH_BYTES = 2,       /* of a frame: RFC 4571 */
	HEADER_BYTES = 12 + 12, /* RTP, and ours: when it was sent, its whole number */
	PACKET_MAX = 1400,
	EVENTS = 64,
	PRIORITY = 10,
	LATE_US = 20000,
	LAST_SECONDS = 5, /* what has not come by then is lost */
};

struct stream {
	int fd;
	uint32_t number;
	uint64_t phase_ns; /* when in each interval it sends */
	uint32_t sent, received;
	int64_t transit_ns; /* of the packet before */
	double jitter_ns;   /* RFC 3550, 6.4.1 */
	size_t len;
	uint8_t bytes[2 * (LENGTH_BYTES + PACKET_MAX)]; /* what has come of frames */
};

static struct {
	struct way way;
	uint32_t streams, rate, size; /* packets a second; bytes of a packet without its length */
	double warm, seconds;
} conf = {.streams = 50, .rate = 50, .size = 200, .warm = 0.5, .seconds = 5};

static struct stream *streams;
static uint32_t warm, measured,
    whole; /* packets of each stream: before, in, with the measurement */
static uint64_t interval_ns;
static uint32_t *trips_us10, *delays_us10; /* of what is measured, in tenths of a microsecond */
static size_t trips, delays;
static double jitter_max_ns;
static uint64_t received_whole;
static int epoll;

/* Ahead of all that has no such priority, and never waiting for a page. */
static void come_first(void)
{
	struct sched_param param = {.sched_priority = PRIORITY};

	if (sched_setscheduler(0, SCHED_FIFO, &param) < 0)
		bench_die(
		    "real-time priority is refused (%s): become root, or raise ulimit -r to %d",
		    strerror(errno), PRIORITY);
	mlockall(MCL_CURRENT | MCL_FUTURE); /* better, not needed */
}

/* ---- the origin ---- */

static bool echo(int fd)
{
	static uint8_t bytes[64 * 1024];
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);

	if (got < 0)
		return errno == EAGAIN;
	return got > 0 && bench_send(fd, bytes, (size_t)got);
}

/* Packets never wait for one another here: what is late is to be late in the proxy. */
static void accept_one(int listening)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	int yes = 1;

	if (stream == NULL)
		bench_die("out of memory");
	stream->fd = bench_accept(listening);
	if (stream->fd < 0) {
		free(stream);
		return;
	}
	if (setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0)
		bench_die("TCP_NODELAY: %s", strerror(errno));
	bench_watch(epoll, stream->fd, EPOLLIN, stream);
}

static void run_origin(void)
{
	struct epoll_event events[EVENTS];
	uint16_t port;
	int listening = bench_listen(INADDR_ANY, "lo", &port);

	come_first();
	bench_watch(epoll, listening, EPOLLIN, NULL);
	printf("ready media %u\n", port);
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			struct stream *stream = events[i].data.ptr;

			if (stream == NULL) {
				accept_one(listening);
			} else if (!echo(stream->fd)) {
				close(stream->fd);
				free(stream);
			}
		}
	}
}

/* ---- the streams ---- */

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
	while (bytes--) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | *at++;
	return value;
}

/* The frame of a packet; but for the time it can be told before. */
static void make_frame(uint8_t *frame, const struct stream *stream, uint32_t number, uint64_t ns)
{
	uint8_t *rtp = frame + LENGTH_BYTES;

	put(frame, conf.size, LENGTH_BYTES);
	put(rtp, 0x8000, 2); /* version 2, payload type 0 */
	put(rtp + 2, number, 2);
	put(rtp + 4, (uint64_t)number * 8000 / conf.rate, 4);
	put(rtp + 8, stream->number, 4);
	put(rtp + 12, ns, 8);
	put(rtp + 20, number, 4);
	for (uint32_t i = HEADER_BYTES; i < conf.size; i++)
		rtp[i] = (uint8_t)(i * 7 + number);
}

static bool is_measured(uint32_t number)
{
	return number >= warm && number - warm < measured;
}

static uint32_t us10(uint64_t ns)
{
	return ns / 100 < UINT32_MAX ? (uint32_t)(ns / 100) : UINT32_MAX;
}

static void send_packet(struct stream *stream, uint64_t due_ns)
{
	uint8_t frame[LENGTH_BYTES + PACKET_MAX];
	uint64_t now = way_now_ns();

	make_frame(frame, stream, stream->sent, now);
	if (!bench_send(stream->fd, frame, LENGTH_BYTES + conf.size))
		bench_die("stream %u cannot send packet %u: %s", stream->number, stream->sent,
			  strerror(errno));
	if (is_measured(stream->sent++))
		delays_us10[delays++] = us10(now - due_ns);
}

static void take_packet(struct stream *stream, const uint8_t *frame, uint64_t now)
{
	uint8_t wanted[LENGTH_BYTES + PACKET_MAX];
	uint64_t sent_ns = get(frame + LENGTH_BYTES + 12, 8);
	int64_t transit = (int64_t)(now - sent_ns);
	double change = (double)(transit - stream->transit_ns);

	make_frame(wanted, stream, stream->received, sent_ns);
	if (memcmp(frame, wanted, LENGTH_BYTES + conf.size) != 0)
		bench_die("stream %u: packet %u is lost, out of order or changed", stream->number,
			  stream->received);
	if (stream->received)
		stream->jitter_ns += ((change < 0 ? -change : change) - stream->jitter_ns) / 16;
	stream->transit_ns = transit;
	if (is_measured(stream->received)) {
		trips_us10[trips++] = us10((uint64_t)transit);
		if (stream->jitter_ns > jitter_max_ns)
			jitter_max_ns = stream->jitter_ns;
	}
	stream->received++;
	received_whole++;
}

static void receive(struct stream *stream)
{
	size_t frame_len = LENGTH_BYTES + conf.size, at = 0;
	ssize_t got =
	    recv(stream->fd, stream->bytes + stream->len, sizeof(stream->bytes) - stream->len, 0);
	uint64_t now = way_now_ns();

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0)
		bench_die("stream %u has ended after %u packets%s%s", stream->number,
			  stream->received, got ? ": " : "", got ? strerror(errno) : "");
	stream->len += (size_t)got;
	for (; stream->len - at >= frame_len; at += frame_len)
		take_packet(stream, stream->bytes + at, now);
	stream->len -= at;
	memmove(stream->bytes, stream->bytes + at, stream->len);
}

static void open_streams(void)
{
	uint64_t slot_ns;

	interval_ns = 1000000000 / conf.rate;
	slot_ns = interval_ns / conf.streams;
	warm = (uint32_t)(conf.warm * conf.rate);
	measured = (uint32_t)(conf.seconds * conf.rate);
	whole = warm + measured + conf.rate / 5;
	streams = calloc(conf.streams, sizeof(*streams));
	trips_us10 = calloc((size_t)conf.streams * measured, sizeof(*trips_us10));
	delays_us10 = calloc((size_t)conf.streams * measured, sizeof(*delays_us10));
	if (streams == NULL || trips_us10 == NULL || delays_us10 == NULL || measured == 0)
		bench_die("nothing to measure");
	srandom(1); /* the same on each run */
	for (uint32_t i = 0; i < conf.streams; i++) {
		streams[i].number = i;
		streams[i].phase_ns = i * slot_ns + (uint64_t)random() % slot_ns;
		streams[i].fd = way_open(&conf.way, i, 0);
		bench_watch(epoll, streams[i].fd, EPOLLIN, &streams[i]);
	}
}

/* Waits for packets until `until_ns` at the latest. */
static void wait_until(uint64_t until_ns)
{
	struct epoll_event events[EVENTS];
	uint64_t now = way_now_ns();
	uint64_t rest = until_ns > now ? until_ns - now : 0;
	struct timespec time = {.tv_sec = (time_t)(rest / 1000000000),
				.tv_nsec = (long)(rest % 1000000000)};
	int ready = epoll_pwait2(epoll, events, EVENTS, &time, NULL);

	for (int i = 0; i < ready; i++)
		receive(events[i].data.ptr);
}

static void say(const char *word)
{
	puts(word);
	fflush(stdout);
}

/* Streams take turns in the order of their phases, so that the next packet is always known. */
static void send_all(uint64_t begin_ns)
{
	uint64_t all = (uint64_t)whole * conf.streams;

	for (uint64_t next = 0; next < all;) {
		uint32_t number = (uint32_t)(next / conf.streams);
		struct stream *stream = &streams[next % conf.streams];
		uint64_t due_ns = begin_ns + number * interval_ns + stream->phase_ns;

		if (way_now_ns() < due_ns) {
			wait_until(due_ns);
			continue;
		}
		if (stream == streams && number == warm)
			say("measuring");
		if (stream == streams && number == warm + measured)
			say("measured");
		send_packet(stream, due_ns);
		next++;
	}
	for (uint64_t last = way_now_ns() + (uint64_t)LAST_SECONDS * 1000000000;
	     received_whole < all && way_now_ns() < last;)
		wait_until(last);
}

static int compare(const void *a, const void *b)
{
	uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;

	return (first > second) - (first < second);
}

static double quantile_us(const uint32_t *sorted, size_t count, double part)
{
	size_t at = (size_t)(part * (double)count);

	return count ? sorted[at < count ? at : count - 1] / 10.0 : 0;
}

static void report_streams(void)
{
	static const double parts[] = {0.001, 0.01,  0.05,  0.1,   0.2,    0.3,  0.4,
				       0.5,   0.6,   0.7,   0.8,   0.9,    0.95, 0.975,
				       0.99,  0.995, 0.998, 0.999, 0.9995, 1};
	uint64_t lost = (uint64_t)whole * conf.streams - received_whole;
	double jitter_ns = 0;
	size_t late = 0;

	qsort(trips_us10, trips, sizeof(*trips_us10), compare);
	qsort(delays_us10, delays, sizeof(*delays_us10), compare);
	for (size_t i = 0; i < trips; i++)
		late += trips_us10[i] > LATE_US * 10;
	for (uint32_t i = 0; i < conf.streams; i++)
		jitter_ns += streams[i].jitter_ns / conf.streams;
	printf("{\"mode\": \"streams\", \"done\": %zu, \"errors\": %" PRIu64
	       ", \"first_error\": \"%s\", \"p50_us\": %.1f, \"p99_us\": %.1f, "
	       "\"p999_us\": %.1f, \"max_us\": %.1f, \"jitter_us\": %.1f, \"jitter_max_us\": %.1f, "
	       "\"late\": %zu, \"late_sends_p99_us\": %.1f, \"late_sends_max_us\": %.1f, "
	       "\"quantiles\": [",
	       trips, lost, lost ? "packets have not come back" : "",
	       quantile_us(trips_us10, trips, 0.5), quantile_us(trips_us10, trips, 0.99),
	       quantile_us(trips_us10, trips, 0.999), quantile_us(trips_us10, trips, 1),
	       jitter_ns / 1000, jitter_max_ns / 1000, late, quantile_us(delays_us10, delays, 0.99),
	       quantile_us(delays_us10, delays, 1));
	for (size_t i = 0; i < BENCH_COUNT(parts); i++)
		printf("%s[%g, %.1f]", i ? ", " : "", parts[i],
		       quantile_us(trips_us10, trips, parts[i]));
	printf("]}\n");
	exit(lost ? 1 : 0);
}

static void run_streams(void)
{
	open_streams();
	come_first();
	send_all(way_now_ns() + interval_ns);
	report_streams();
}

/* ---- the command ---- */

static const char help[] =
    "usage: bench_media origin\n"
    "       bench_media streams --proxy ADDRESS:PORT --port PORT [options]\n"
    "\n"
    "  origin   echoes what comes; prints \"ready media PORT\"\n"
    "  streams  packets there and back at a steady pace; prints \"measuring\" and \"measured\"\n"
    "           around what counts, then a line of JSON. A packet that is lost, changed or out of\n"
    "           order is an error\n"
    "  Both have real-time priority.\n"
    "\n"
    "  --port PORT       of the origin\n"
    "  --streams N       50\n"
    "  --rate N          50 packets a second and stream\n"
    "  --size N          200 bytes a packet, without the two of its length\n"
    "  --warm SECONDS    0.5, before it counts\n"
    "  --seconds N       5, that count\n"
    "  --plain           no CONNECT: the proxy leads to the origin by itself\n";

static void parse_option(int option, const char *value)
{
	if (way_option(&conf.way, option, value, help))
		return;
	if (option == 'n')
		conf.streams = (uint32_t)way_number(value, 1, 10000);
	if (option == 'r')
		conf.rate = (uint32_t)way_number(value, 5, 10000);
	if (option == 's')
		conf.size = (uint32_t)way_number(value, HEADER_BYTES, PACKET_MAX);
	if (option == 'w')
		conf.warm = way_number(value, 0, 60);
	if (option == 't')
		conf.seconds = way_number(value, 0.1, 3600);
}

int main(int count, char **args)
{
	static const struct option options[] = {WAY_OPTIONS,
						{"streams", required_argument, NULL, 'n'},
						{"rate", required_argument, NULL, 'r'},
						{"size", required_argument, NULL, 's'},
						{"warm", required_argument, NULL, 'w'},
						{"seconds", required_argument, NULL, 't'},
						{NULL, 0, NULL, 0}};
	const char *mode;
	int option;

	bench_prepare();
	while ((option = getopt_long(count, args, "h", options, NULL)) >= 0)
		parse_option(option, optarg);
	mode = way_mode(&conf.way, count, args);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (strcmp(mode, "origin") == 0)
		run_origin();
	if (strcmp(mode, "streams") == 0)
		run_streams();
	bench_die("\"%s\" is no mode; see bench_media --help", mode);
}
