/* SPDX-License-Identifier: Apache-2.0 */
/* Pushes of the bench: many idle tunnels, into which the origin sends a message each, all at once,
 * as a chat server does. `bench_push --help`. */
#include "bench.h"
#include "way.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MESSAGE_BYTES = 100,
	EVENTS = 256,
	LETTER = 'n',
};

/* Who it is for, and when it was sent; what alignment adds behind it is not sent. */
struct message {
	uint32_t number, push;
	uint64_t first_ns, own_ns; /* the first of this push, and this one */
	uint8_t rest[MESSAGE_BYTES - 24];
};

/* One end of a tunnel. */
struct end {
	int fd;
	uint32_t number; /* a letter is its first byte, lest it looks like TLS to somebody */
	bool is_known;   /* origin: has said its number; client: has got it back */
	size_t len;
	uint8_t bytes[MESSAGE_BYTES];
};

static struct {
	struct way way;
	uint32_t count;
} conf = {.count = 9000};

static int epoll;
static struct end **ends;
static uint32_t known, push;

static void fill(struct message *message, uint32_t number, uint64_t first_ns, uint64_t own_ns)
{
	*message = (struct message){
	    .number = number, .push = push, .first_ns = first_ns, .own_ns = own_ns};
	memset(message->rest, (int)(number + push), sizeof(message->rest));
}

static bool is_number(uint32_t number)
{
	return (number & 0xff) == LETTER;
}

static uint32_t index_of(uint32_t number)
{
	return number >> 8;
}

/* ---- the origin ---- */

static void accept_one(int listening)
{
	struct end *end = calloc(1, sizeof(*end));

	if (end == NULL)
		bench_die("out of memory");
	end->fd = bench_accept(listening);
	if (end->fd >= 0)
		bench_watch(epoll, end->fd, EPOLLIN, end);
	else
		free(end);
}

/* A client says its number and gets it back. When one ends, all do. */
static void hear(struct end *end)
{
	ssize_t got = recv(end->fd, end->bytes, sizeof(end->number), 0);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		if (end->is_known)
			ends[index_of(end->number)] = NULL;
		known -= end->is_known;
		close(end->fd);
		free(end);
		return;
	}
	if (got != sizeof(end->number) || end->is_known)
		bench_die("a client says too much or too little");
	memcpy(&end->number, end->bytes, sizeof(end->number));
	if (!is_number(end->number))
		bench_die("a client has no number");
	if (index_of(end->number) >= conf.count)
		bench_die("more clients than %u", conf.count);
	if (ends[index_of(
		end->number)]) { /* of clients that are gone, which the proxy has yet to tell */
		ends[index_of(end->number)]->is_known = false;
		known--;
	}
	ends[index_of(end->number)] = end;
	end->is_known = true;
	known++;
	if (!bench_send(end->fd, &end->number, sizeof(end->number)))
		bench_die("cannot answer: %s", strerror(errno));
}

/* On each line of stdin; it ends with it. */
static void push_to_all(void)
{
	uint64_t first_ns = way_now_ns();
	char line[16];

	if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
		exit(0);
	push++;
	for (uint32_t i = 0; i < conf.count; i++) {
		struct message message;

		if (ends[i] == NULL)
			continue;
		fill(&message, ends[i]->number, first_ns, way_now_ns());
		if (!bench_send(ends[i]->fd, &message, MESSAGE_BYTES))
			bench_die("cannot push: %s", strerror(errno));
	}
	printf("%u\n", known);
	fflush(stdout);
}

static void run_origin(void)
{
	struct epoll_event events[EVENTS];
	uint16_t port;
	int listening = bench_listen(INADDR_ANY, "lo", &port);

	bench_watch(epoll, listening, EPOLLIN, NULL);
	bench_watch(epoll, STDIN_FILENO, EPOLLIN, &push);
	printf("ready push %u\n", port);
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			if (events[i].data.ptr == &push)
				push_to_all();
			else if (events[i].data.ptr)
				hear(events[i].data.ptr);
			else
				accept_one(listening);
		}
	}
}

/* ---- the clients ---- */

static uint32_t arrived;
static uint32_t *waits_us, *trips_us; /* since the first of a push was sent, and since its own */

static int compare(const void *a, const void *b)
{
	uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;

	return (first > second) - (first < second);
}

/* Everybody has the message of this push. */
static void report(void)
{
	qsort(waits_us, arrived, sizeof(*waits_us), compare);
	qsort(trips_us, arrived, sizeof(*trips_us), compare);
	printf("{\"push\": %u, \"done\": %u, \"p50_us\": %u, \"p99_us\": %u, \"last_us\": %u, "
	       "\"trip_p50_us\": %u, \"trip_p99_us\": %u}\n",
	       push, arrived, waits_us[arrived / 2], waits_us[(uint64_t)arrived * 99 / 100],
	       waits_us[arrived - 1], trips_us[arrived / 2],
	       trips_us[(uint64_t)arrived * 99 / 100]);
	fflush(stdout);
	arrived = 0;
	push++;
}

static void take_number(const struct end *end)
{
	if (memcmp(end->bytes, &end->number, sizeof(end->number)) != 0)
		bench_die("tunnel %u leads to another client", index_of(end->number));
	if (++known == conf.count) {
		puts("ready");
		fflush(stdout);
	}
}

static void take_message(const struct end *end)
{
	struct message message, wanted;
	uint64_t now = way_now_ns();

	memcpy(&message, end->bytes, MESSAGE_BYTES);
	if (push == 0)
		push = message.push; /* there were others before us */
	fill(&wanted, end->number, message.first_ns, message.own_ns);
	if (memcmp(&message, &wanted, MESSAGE_BYTES) != 0)
		bench_die("tunnel %u: the message of push %u is another", index_of(end->number),
			  push);
	waits_us[arrived] = (uint32_t)((now - message.first_ns) / 1000);
	trips_us[arrived++] = (uint32_t)((now - message.own_ns) / 1000);
	if (arrived == conf.count)
		report();
}

static void receive(struct end *end)
{
	size_t wanted = end->is_known ? MESSAGE_BYTES : sizeof(end->number);
	ssize_t got = recv(end->fd, end->bytes + end->len, wanted - end->len, 0);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0)
		bench_die("tunnel %u has ended", index_of(end->number));
	end->len += (size_t)got;
	if (end->len < wanted)
		return;
	end->len = 0;
	if (end->is_known)
		take_message(end);
	else
		take_number(end);
	end->is_known = true;
}

static void run_clients(void)
{
	struct epoll_event events[EVENTS];

	waits_us = calloc(conf.count, sizeof(*waits_us));
	trips_us = calloc(conf.count, sizeof(*trips_us));
	if (waits_us == NULL || trips_us == NULL)
		bench_die("out of memory");
	for (uint32_t i = 0; i < conf.count; i++) {
		struct end *end = calloc(1, sizeof(*end));

		if (end == NULL)
			bench_die("out of memory");
		end->number = i << 8 | LETTER;
		end->fd = way_open(&conf.way, i, 0);
		if (!bench_send(end->fd, &end->number, sizeof(end->number)))
			bench_die("cannot say a number: %s", strerror(errno));
		bench_watch(epoll, end->fd, EPOLLIN, end);
	}
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++)
			receive(events[i].data.ptr);
	}
}

/* ---- the command ---- */

static const char help[] =
    "usage: bench_push origin [--count N]\n"
    "       bench_push clients --proxy ADDRESS:PORT --port PORT [options]\n"
    "\n"
    "  origin   prints \"ready push PORT\"; sends a message of 100 bytes into each tunnel for "
    "each\n"
    "           line on stdin, and says how many there were\n"
    "  clients  open their tunnels, say \"ready\", and print a line of JSON for each push that "
    "has\n"
    "           reached them all\n"
    "\n"
    "  --port PORT       of the origin\n"
    "  --count N         9000 tunnels\n"
    "  --plain           no CONNECT: the proxy leads to the origin by itself\n";

int main(int count, char **args)
{
	static const struct option options[] = {
	    WAY_OPTIONS, {"count", required_argument, NULL, 'n'}, {NULL, 0, NULL, 0}};
	size_t files = bench_prepare();
	const char *mode;
	int option;

	while ((option = getopt_long(count, args, "h", options, NULL)) >= 0)
		if (!way_option(&conf.way, option, optarg, help))
			conf.count = (uint32_t)way_number(optarg, 1, 1000000);
	mode = way_mode(&conf.way, count, args);
	if (conf.count + 10 > files)
		bench_die("only %zu open files are allowed: fewer tunnels, or raise ulimit -n",
			  files);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	ends = calloc(conf.count, sizeof(struct end *));
	if (ends == NULL)
		bench_die("out of memory");
	if (strcmp(mode, "origin") == 0)
		run_origin();
	if (strcmp(mode, "clients") == 0)
		run_clients();
	bench_die("\"%s\" is no mode; see bench_push --help", mode);
}
