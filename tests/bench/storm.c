/* SPDX-License-Identifier: Apache-2.0 */
/* A storm: very many clients connect in the same instant; and what those see meanwhile whose tunnels
 * stood before. `bench_storm --help` says more. */
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
#include <unistd.h>

enum {
	ECHO_BYTES = 64,
	TEXT_BYTES = 1024,
	EVENTS = 256,
	ADDRESSES = 16, /* 127.0.0.2 and up, 127.0.1.1 and up: a port space each */
	PROBES_MAX = 10000000,
};

/* How it went for a client of the storm; before it is settled, how far it is. */
enum outcome { WAITING, CONNECTED, OPENED, DONE, REFUSED, RESET, CLOSED, STRANGE, OUTCOMES };

static const char *const outcome_names[] = {"waiting", "connected", "opened", "done",
					    "refused", "reset",     "closed", "strange"};

enum kind { KIND_ECHO, KIND_HOLD, KIND_SILENT };

struct client {
	int fd;
	enum outcome outcome;
	bool is_open;       /* as a probe: its tunnel stands */
	uint64_t since_ns;  /* of the connect(), or of a probe's question; 0: none */
	uint64_t took_ns;   /* until the outcome */
	uint32_t host;
	uint32_t text_len;
	char text[TEXT_BYTES];
};

static struct {
	struct sockaddr_in proxy;
	uint32_t port, count, seconds, pause_us;
	enum kind kind;
	bool is_plain;
} conf = {.count = 1000, .seconds = 10, .pause_us = 1000};

static int epoll;
static struct client *clients;
static uint32_t settled, lost;
static double *probe_us;
static size_t probes;
static char echo_text[ECHO_BYTES];

static void connect_one(struct client *client, uint32_t number)
{
	struct sockaddr_in own = {.sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(0x7f000002 + number % ADDRESSES)};
	int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (const struct sockaddr *)&own, sizeof(own)) < 0)
		bench_die("socket: %s", strerror(errno));
	client->fd = fd;
	client->host = 1 + number % ADDRESSES;
	client->since_ns = ticks_clock_ns();
	if (connect(fd, (const struct sockaddr *)&conf.proxy, sizeof(conf.proxy)) < 0 &&
	    errno != EINPROGRESS)
		bench_die("cannot connect to the proxy: %s", strerror(errno));
}

static bool ask(struct client *client)
{
	char text[160];
	int len = snprintf(text, sizeof(text),
			   "CONNECT 127.0.1.%u:%u HTTP/1.1\r\nHost: 127.0.1.%u:%u\r\n\r\n",
			   client->host, conf.port, client->host, conf.port);

	return bench_send(client->fd, text, (size_t)len);
}

/* Adds what is there; 0 at the end, -1 with errno. */
static ssize_t gather(struct client *client)
{
	ssize_t got = recv(client->fd, client->text + client->text_len,
			   sizeof(client->text) - 1 - client->text_len, 0);

	if (got > 0) {
		client->text_len += (uint32_t)got;
		client->text[client->text_len] = '\0';
	}
	return got;
}

/* ---- the storm ---- */

static void settle(struct client *client, enum outcome outcome, bool is_over)
{
	client->outcome = outcome;
	client->took_ns = ticks_clock_ns() - client->since_ns;
	settled++;
	if (is_over) {
		close(client->fd);
		client->fd = -1;
	}
}

static void say_echo(struct client *client)
{
	client->outcome = OPENED;
	client->text_len = 0;
	if (!bench_send(client->fd, echo_text, sizeof(echo_text)))
		settle(client, RESET, true);
}

static void on_connected(struct client *client)
{
	client->outcome = CONNECTED;
	if (conf.kind == KIND_SILENT)
		settle(client, CONNECTED, false);
	else if (conf.is_plain)
		say_echo(client);
	else if (!ask(client))
		settle(client, RESET, true);
}

static void take_reply(struct client *client)
{
	if (strstr(client->text, "\r\n\r\n") == NULL)
		return;
	if (strncmp(client->text + 8, " 503", 4) == 0)
		settle(client, REFUSED, true);
	else if (strncmp(client->text + 8, " 200", 4) != 0)
		settle(client, STRANGE, true);
	else
		say_echo(client);
}

static void take_echo(struct client *client)
{
	if (memcmp(client->text, echo_text, sizeof(echo_text)) != 0)
		settle(client, STRANGE, true);
	else
		settle(client, conf.kind == KIND_HOLD ? OPENED : DONE, conf.kind != KIND_HOLD);
}

static bool is_settled(const struct client *client)
{
	return client->fd < 0 || client->took_ns;
}

static void take(struct client *client)
{
	while (!is_settled(client)) {
		ssize_t got = gather(client);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0)
			settle(client, got < 0 ? RESET : CLOSED, true);
		else if (client->outcome == CONNECTED)
			take_reply(client);
		else if (client->text_len >= sizeof(echo_text))
			take_echo(client);
	}
}

static void on_event(struct client *client, uint32_t events)
{
	if (is_settled(client))
		return; /* what comes to one that stays is counted by none */
	if (client->outcome == WAITING && (events & EPOLLERR))
		settle(client, RESET, true);
	else if (client->outcome == WAITING && (events & EPOLLOUT))
		on_connected(client);
	if (client->outcome != WAITING)
		take(client);
}

static void print_outcome(enum outcome outcome)
{
	double *us = calloc(conf.count, sizeof(*us));
	size_t count = 0;

	if (us == NULL)
		bench_die("out of memory");
	for (uint32_t i = 0; i < conf.count; i++)
		if ((clients[i].took_ns ? clients[i].outcome : WAITING) == outcome)
			us[count++] = (double)clients[i].took_ns / 1e3;
	if (count) {
		printf(", ");
		ticks_print(outcome_names[outcome], us, count);
	}
	free(us);
}

static void storm(void)
{
	struct epoll_event events[EVENTS];
	uint64_t began = ticks_clock_ns(), took;
	char line[16];

	/* Nobody looks at an answer before all have knocked. */
	for (uint32_t i = 0; i < conf.count; i++)
		connect_one(&clients[i], i);
	took = ticks_clock_ns() - began;
	for (uint32_t i = 0; i < conf.count; i++)
		bench_watch(epoll, clients[i].fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &clients[i]);
	while (settled < conf.count && ticks_clock_ns() - began < (uint64_t)conf.seconds * 1000000000) {
		int ready = epoll_wait(epoll, events, EVENTS, 100);

		for (int i = 0; i < ready; i++)
			on_event(events[i].data.ptr, events[i].events);
	}
	printf("{\"count\": %" PRIu32 ", \"knocked_ms\": %.3f, \"seconds\": %.3f", conf.count,
	       (double)took / 1e6, (double)(ticks_clock_ns() - began) / 1e9);
	for (enum outcome outcome = WAITING; outcome < OUTCOMES; outcome++)
		print_outcome(outcome);
	printf("}\n");
	fflush(stdout);
	if (conf.kind != KIND_ECHO && fgets(line, sizeof(line), stdin) == NULL)
		line[0] = '\0'; /* told to leave, in either way */
}

/* ---- probes ---- */

static void lose(struct client *client)
{
	close(client->fd);
	client->fd = -1;
	lost++;
}

static void probe(struct client *client)
{
	client->since_ns = ticks_clock_ns();
	client->text_len = 0;
	if (!bench_send(client->fd, echo_text, sizeof(echo_text)))
		lose(client);
}

static void take_probe(struct client *client)
{
	ssize_t got = gather(client);

	if (got <= 0) {
		if (got == 0 || errno != EAGAIN)
			lose(client);
		return;
	}
	if (!client->is_open) {
		if (strstr(client->text, "\r\n\r\n") == NULL)
			return;
		if (strncmp(client->text + 8, " 200", 4) != 0)
			bench_die("the proxy answered \"%.*s\"", (int)strcspn(client->text, "\r\n"), client->text);
		client->is_open = true;
		client->since_ns = 0;
	} else if (client->text_len >= sizeof(echo_text)) {
		if (client->since_ns && probes < PROBES_MAX)
			probe_us[probes++] = (double)(ticks_clock_ns() - client->since_ns) / 1e3;
		client->since_ns = 0;
	}
}

static uint32_t count_open(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < conf.count; i++)
		count += clients[i].fd >= 0 && clients[i].is_open;
	return count;
}

/* The next tunnel that waits for nothing asks. */
static void on_tick(void)
{
	static uint32_t next;
	struct client *client = &clients[next++ % conf.count];

	if (client->fd >= 0 && client->since_ns == 0)
		probe(client);
}

static void report_probes(void)
{
	uint32_t unanswered = 0;

	for (uint32_t i = 0; i < conf.count; i++)
		unanswered += clients[i].fd >= 0 && clients[i].since_ns != 0;
	printf("{\"tunnels\": %" PRIu32 ", \"lost\": %" PRIu32 ", \"unanswered\": %" PRIu32, conf.count,
	       lost, unanswered);
	if (probes) {
		printf(", ");
		ticks_print("round_trip", probe_us, probes);
	}
	printf("}\n");
	fflush(stdout);
	probes = 0;
}

static int make_timer(void)
{
	struct itimerspec each = {.it_interval.tv_nsec = conf.pause_us * 1000,
				  .it_value.tv_nsec = conf.pause_us * 1000};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0 || timerfd_settime(fd, 0, &each, NULL) < 0)
		bench_die("timer: %s", strerror(errno));
	bench_watch(epoll, fd, EPOLLIN, &epoll);
	return fd;
}

/* Opens the tunnels one by one, with patience. */
static void open_tunnels(void)
{
	for (uint32_t i = 0; i < conf.count; i++) {
		connect_one(&clients[i], i);
		bench_watch(epoll, clients[i].fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &clients[i]);
	}
}

static void on_probe_event(struct client *client, uint32_t events)
{
	if (client->fd < 0)
		return;
	if (client->outcome == WAITING && (events & EPOLLOUT)) {
		client->outcome = CONNECTED;
		client->is_open = conf.is_plain;
		if (conf.is_plain)
			client->since_ns = 0;
		else if (!ask(client))
			lose(client);
	}
	if (client->fd >= 0 && (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR)))
		take_probe(client);
}

/* Until its stdin ends; on a line, says what was seen since the last one. */
static void run_probes(void)
{
	struct epoll_event events[EVENTS];
	bool is_ready = false;
	uint64_t missed;
	char line[16];
	int timer = make_timer();

	open_tunnels();
	bench_watch(epoll, STDIN_FILENO, EPOLLIN, NULL);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			if (events[i].data.ptr == NULL) {
				if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
					return;
				report_probes();
			} else if (events[i].data.ptr == &epoll) {
				if (read(timer, &missed, sizeof(missed)) > 0 && is_ready)
					on_tick();
			} else {
				on_probe_event(events[i].data.ptr, events[i].events);
			}
		}
		if (!is_ready && count_open() + lost == conf.count) {
			is_ready = true;
			printf("ready %" PRIu32 "\n", count_open());
			fflush(stdout);
		}
	}
}

static const char help[] =
    "usage: bench_storm echo|hold|silent|probe --proxy ADDRESS:PORT --port PORT [options]\n"
    "\n"
    "  echo     --count clients connect at once; CONNECT, 64 bytes there and back, close\n"
    "  hold     the same, but those whose tunnel stands stay until a line comes on stdin\n"
    "  silent   they connect, say nothing, and stay until a line comes on stdin\n"
    "           Each prints one line of JSON: how many ended how, and after how many us (connect() to\n"
    "           the end, or to the head of a reply), as soon as all did or --seconds have passed\n"
    "  probe    --count standing tunnels, one of which asks each --pause-us; \"ready COUNT\", then on\n"
    "           each line of stdin what the round trips were since the last one\n"
    "\n"
    "  --port PORT     of the origin's echo service (bench_origin)\n"
    "  --plain         no CONNECT: the proxy leads to the origin by itself\n";

static uint32_t parse_count(const char *text, uint32_t max)
{
	char *after;
	unsigned long number = strtoul(text, &after, 10);

	if (after == text || *after || number == 0 || number > max)
		bench_die("\"%s\" is no number from 1 to %" PRIu32, text, max);
	return (uint32_t)number;
}

static bool parse_command(int count, char **args)
{
	static const struct option options[] = {{"proxy", required_argument, NULL, 'x'},
						{"port", required_argument, NULL, 'p'},
						{"count", required_argument, NULL, 'n'},
						{"seconds", required_argument, NULL, 's'},
						{"pause-us", required_argument, NULL, 'u'},
						{"plain", no_argument, NULL, 'P'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	static const char *const kinds[] = {"echo", "hold", "silent"};
	int option;

	while ((option = getopt_long(count, args, "h", options, NULL)) >= 0) {
		if (option == 'x' && !bench_address(optarg, '\0', &conf.proxy))
			bench_die("\"%s\" is no ADDRESS:PORT", optarg);
		else if (option == 'p')
			conf.port = parse_count(optarg, 65535);
		else if (option == 'n')
			conf.count = parse_count(optarg, 1000000);
		else if (option == 's')
			conf.seconds = parse_count(optarg, 600);
		else if (option == 'u')
			conf.pause_us = parse_count(optarg, 900000);
		else if (option == 'P')
			conf.is_plain = true;
		else if (option == 'h')
			fputs(help, stdout), exit(0);
		else if (option == '?')
			exit(2);
	}
	if (optind + 1 != count || conf.proxy.sin_port == 0 || conf.port == 0)
		bench_die("see bench_storm --help");
	for (size_t i = 0; i < BENCH_COUNT(kinds); i++) {
		if (strcmp(args[optind], kinds[i]) == 0) {
			conf.kind = (enum kind)i;
			return false;
		}
	}
	if (strcmp(args[optind], "probe") != 0)
		bench_die("see bench_storm --help");
	return true;
}

int main(int count, char **args)
{
	const struct sched_param first = {.sched_priority = 10};
	size_t files = bench_prepare();
	bool is_probe = parse_command(count, args);

	if (conf.count + 10 > files)
		bench_die("only %zu open files are allowed", files);
	clients = calloc(conf.count, sizeof(*clients));
	probe_us = is_probe ? calloc(PROBES_MAX, sizeof(*probe_us)) : NULL;
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (clients == NULL || (is_probe && probe_us == NULL) || epoll < 0)
		bench_die("out of memory");
	for (size_t i = 0; i < sizeof(echo_text); i++)
		echo_text[i] = (char)('!' + i);
	if (!is_probe)
		storm();
	else if (sched_setscheduler(0, SCHED_FIFO, &first) < 0) /* not to be late itself */
		fprintf(stderr, "bench_storm: runs without priority: %s\n", strerror(errno));
	if (is_probe)
		run_probes();
	return 0;
}
