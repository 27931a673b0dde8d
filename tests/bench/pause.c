/* SPDX-License-Identifier: Apache-2.0 */
/* What a client sees while something happens in the proxy: many tunnels, a few of which say something each millisecond, and
 * now and then a new one. Prints one JSON object: the longest round trip in each window of time, and what was lost. */
#include "bench.h"
#include "ticks.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
	TUNNELS_MAX = 2000,
	ONCE_MAX = 4096,
	PROBES_PER_MS = 4,
	NEW_EVERY_MS = 10,
	WINDOW_MS = 10,
	WINDOWS_MAX = 600 * 1000 / WINDOW_MS,
	EVENTS = 64,
};

struct tunnel {
	int fd;
	bool is_open, is_waiting, is_once;
	uint64_t sent_ns, longest_ns;
	size_t len;
	char text[512];
};

static struct {
	struct sockaddr_in proxy;
	uint32_t port, count, seconds;
} conf = {.count = 300, .seconds = 10};

static int epoll;
static struct tunnel tunnels[TUNNELS_MAX + ONCE_MAX];
static uint32_t windows_us[WINDOWS_MAX], lost, probes, begun, ended, refused;
static uint64_t began_ns;

static void start(struct tunnel *tunnel, bool is_once)
{
	char text[128];
	int len, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* On loopback this does not wait for the proxy. */
	if (fd < 0 || connect(fd, (const struct sockaddr *)&conf.proxy, sizeof(conf.proxy)) < 0)
		bench_die("cannot connect to the proxy: %s", strerror(errno));
	*tunnel = (struct tunnel){.fd = fd, .is_once = is_once, .sent_ns = ticks_clock_ns(), .is_waiting = true};
	len = snprintf(text, sizeof(text), "CONNECT 127.0.1.1:%u HTTP/1.1\r\nHost: 127.0.1.1:%u\r\n\r\n", conf.port,
	               conf.port);
	if (!bench_send(fd, text, (size_t)len))
		bench_die("cannot send a request: %s", strerror(errno));
	bench_watch(epoll, fd, EPOLLIN, tunnel);
}

static void stop(struct tunnel *tunnel, bool is_lost)
{
	close(tunnel->fd);
	tunnel->fd = -1;
	lost += is_lost && !tunnel->is_once;
	refused += is_lost && tunnel->is_once;
	ended += tunnel->is_once;
}

static void probe(struct tunnel *tunnel)
{
	tunnel->sent_ns = ticks_clock_ns();
	tunnel->is_waiting = true;
	tunnel->len = 0;
	probes++;
	if (!bench_send(tunnel->fd, &tunnel->sent_ns, sizeof(tunnel->sent_ns)))
		stop(tunnel, true);
}

/* The time from the question to the answer belongs to both their windows and all in between. */
static void note(struct tunnel *tunnel)
{
	uint64_t now_ns = ticks_clock_ns(), took_ns = now_ns - tunnel->sent_ns;
	uint64_t first = (tunnel->sent_ns - began_ns) / 1000000 / WINDOW_MS;
	uint64_t last = (now_ns - began_ns) / 1000000 / WINDOW_MS;

	tunnel->is_waiting = false;
	if (took_ns > tunnel->longest_ns)
		tunnel->longest_ns = took_ns;
	for (; began_ns && tunnel->sent_ns >= began_ns && first <= last && first < WINDOWS_MAX; first++)
		if (took_ns / 1000 > windows_us[first])
			windows_us[first] = (uint32_t)(took_ns / 1000);
}

static void take_echo(struct tunnel *tunnel)
{
	if (tunnel->len < sizeof(tunnel->sent_ns))
		return;
	if (tunnel->len > sizeof(tunnel->sent_ns) || memcmp(tunnel->text, &tunnel->sent_ns, tunnel->len) != 0)
		bench_die("the echo is another");
	note(tunnel);
	if (tunnel->is_once)
		stop(tunnel, false);
}

static void take(struct tunnel *tunnel)
{
	ssize_t got = recv(tunnel->fd, tunnel->text + tunnel->len, sizeof(tunnel->text) - 1 - tunnel->len,
	                   MSG_DONTWAIT);

	if (got <= 0) {
		if (got == 0 || errno != EAGAIN)
			stop(tunnel, true);
		return;
	}
	tunnel->len += (size_t)got;
	tunnel->text[tunnel->len] = '\0';
	if (tunnel->is_open) {
		take_echo(tunnel);
	} else if (strstr(tunnel->text, "\r\n\r\n")) {
		if (strncmp(tunnel->text + 8, " 200", 4) != 0)
			bench_die("the proxy answered \"%.*s\"", (int)strcspn(tunnel->text, "\r\n"), tunnel->text);
		tunnel->is_open = true;
		note(tunnel);
		if (tunnel->is_once)
			probe(tunnel);
	}
}

/* Each millisecond: the next few tunnels, and sometimes a new one. */
static void on_tick(uint64_t tick)
{
	static uint32_t next;

	for (int i = 0; i < PROBES_PER_MS; i++) {
		struct tunnel *tunnel = &tunnels[next++ % conf.count];

		if (tunnel->fd >= 0 && tunnel->is_open && !tunnel->is_waiting)
			probe(tunnel);
	}
	if (tick % NEW_EVERY_MS == 0 && begun - ended < ONCE_MAX / 2)
		start(&tunnels[conf.count + begun++ % ONCE_MAX], true);
}

static bool is_all_open(void)
{
	for (uint32_t i = 0; i < conf.count; i++)
		if (!tunnels[i].is_open)
			return false;
	return true;
}

static int make_timer(void)
{
	struct itimerspec each = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0 || timerfd_settime(fd, 0, &each, NULL) < 0)
		bench_die("timer: %s", strerror(errno));
	bench_watch(epoll, fd, EPOLLIN, NULL);
	return fd;
}

static void run(void)
{
	int timer = make_timer();
	uint64_t tick = 0, missed;

	while (began_ns == 0 || ticks_clock_ns() - began_ns < (uint64_t)conf.seconds * 1000000000) {
		struct epoll_event events[EVENTS];
		int ready = epoll_wait(epoll, events, EVENTS, 1000);

		for (int i = 0; i < ready; i++) {
			struct tunnel *tunnel = events[i].data.ptr;

			if (tunnel && tunnel->fd >= 0)
				take(tunnel);
			else if (tunnel == NULL && read(timer, &missed, sizeof(missed)) > 0 && began_ns)
				on_tick(tick++);
		}
		if (began_ns == 0 && is_all_open()) {
			began_ns = ticks_clock_ns();
			printf("ready\n");
			fflush(stdout);
		}
	}
}

static void report(void)
{
	uint64_t count = (uint64_t)conf.seconds * 1000 / WINDOW_MS;
	double *longest = calloc(conf.count, sizeof(*longest));

	if (longest == NULL)
		bench_die("out of memory");
	for (uint32_t i = 0; i < conf.count; i++) {
		longest[i] = (double)tunnels[i].longest_ns / 1e6;
		lost += tunnels[i].fd >= 0 && tunnels[i].is_waiting && ticks_clock_ns() - tunnels[i].sent_ns > 1000000000;
	}
	printf("{\"tunnels\": %" PRIu32 ", \"lost\": %" PRIu32 ", \"probes\": %" PRIu32 ", \"new\": %" PRIu32
	       ", \"refused\": %" PRIu32 ", \"began_ms\": %.3f, \"window_ms\": %d, ",
	       conf.count, lost, probes, begun, refused, (double)began_ns / 1e6, WINDOW_MS);
	ticks_print("longest_ms", longest, conf.count);
	printf(", \"windows_us\": [");
	for (uint64_t i = 0; i < count; i++)
		printf("%s%" PRIu32, i ? ", " : "", windows_us[i]);
	printf("]}\n");
	free(longest);
}

static uint32_t parse_count(const char *text, uint32_t max)
{
	char *after;
	unsigned long number = strtoul(text, &after, 10);

	if (after == text || *after || number == 0 || number > max)
		bench_die("\"%s\" is no number from 1 to %" PRIu32, text, max);
	return (uint32_t)number;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"proxy", required_argument, NULL, 'p'},
	                                        {"port", required_argument, NULL, 'o'},
	                                        {"count", required_argument, NULL, 'c'},
	                                        {"seconds", required_argument, NULL, 's'},
	                                        {NULL, 0, NULL, 0}};
	const struct sched_param first = {.sched_priority = 10};
	bool has_proxy = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'p')
			has_proxy = bench_address(optarg, '\0', &conf.proxy);
		else if (option == 'o')
			conf.port = parse_count(optarg, 65535);
		else if (option == 'c')
			conf.count = parse_count(optarg, TUNNELS_MAX);
		else if (option == 's')
			conf.seconds = parse_count(optarg, 600);
		else
			return 2;
	}
	if (argc != optind || !has_proxy || !conf.port)
		bench_die("usage: bench_pause --proxy ADDRESS:PORT --port PORT [--count TUNNELS] [--seconds N]");
	bench_prepare();
	/* Not to be late itself; without the right to it, what the machine does beside is seen, too. */
	if (sched_setscheduler(0, SCHED_FIFO, &first) < 0)
		fprintf(stderr, "bench_pause: runs without priority: %s\n", strerror(errno));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		bench_die("epoll: %s", strerror(errno));
	for (uint32_t i = 0; i < conf.count; i++)
		start(&tunnels[i], false);
	run();
	report();
	return 0;
}
