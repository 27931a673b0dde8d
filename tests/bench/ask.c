/* SPDX-License-Identifier: Apache-2.0 */
/* Asks a proxy for names of a list, over kept connections, and wants each to be denied: what is left when the cost with a list
 * of one entry is taken off is what looking up costs. Prints one line of JSON as bench_load does. */
#include "bench.h"
#include "names.h"
#include "ticks.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 8, REPLY_MAX = 64 * 1024, WAIT_SECONDS = 20 };

static struct {
	struct sockaddr_in proxy;
	enum names_kind kind;
	enum names_ask ask;
	uint32_t list_count, count, first;
} conf = {.count = 1000};

static int sockets[CONNECTIONS];
static uint64_t since_ns[CONNECTIONS];
static double *times;
static uint32_t reopened;

static void open_one(int at)
{
	struct timeval wait = {.tv_sec = WAIT_SECONDS};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    connect(fd, (const struct sockaddr *)&conf.proxy, sizeof(conf.proxy)) < 0)
		bench_die("cannot connect to the proxy: %s", strerror(errno));
	sockets[at] = fd;
}

static void ask(int at, uint32_t number)
{
	/* Spread over the list, and no entry twice before all were asked for. What misses is the same for every list. */
	uint32_t among = conf.ask == NAMES_MISS ? NAMES_COUNT_MAX / 2 : conf.list_count;
	uint32_t index = (uint32_t)((uint64_t)number * 7368787 % among);
	char name[NAMES_MAX], text[2 * NAMES_MAX + 64];
	int len;

	names_asked(conf.kind, conf.ask, index, number, name);
	len = snprintf(text, sizeof(text), "GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n", name, name);
	since_ns[at] = ticks_clock_ns();
	if (send(sockets[at], text, (size_t)len, MSG_NOSIGNAL) != len)
		bench_die("send: %s", strerror(errno));
}

/* A whole reply; true if the connection stays open. */
static bool receive(int at)
{
	static char text[REPLY_MAX];
	const char *blank = NULL, *length = NULL;
	size_t len = 0, whole = 0;

	while (whole == 0 || len < whole) {
		ssize_t got = recv(sockets[at], text + len, sizeof(text) - 1 - len, 0);

		if (got <= 0)
			bench_die("no whole reply: %s", got ? strerror(errno) : "closed");
		len += (size_t)got;
		text[len] = '\0';
		if (blank || (blank = strstr(text, "\r\n\r\n")) == NULL)
			continue;
		length = strcasestr(text, "\r\nContent-Length:");
		if (strncmp(text, "HTTP/1.", 7) != 0 || strncmp(text + 8, " 403", 4) != 0 || length == NULL)
			bench_die("the proxy answered \"%.*s\"", (int)strcspn(text, "\r\n"), text);
		whole = (size_t)(blank + 4 - text) + strtoull(length + 17, NULL, 10);
		if (whole >= sizeof(text))
			bench_die("a reply of %zu bytes", whole);
	}
	return strcasestr(text, "\r\nConnection: close") == NULL;
}

static void run(void)
{
	uint32_t begun = 0, done = 0;
	uint64_t began_ns = ticks_clock_ns();

	for (int i = 0; i < CONNECTIONS; i++)
		open_one(i);
	while (done < conf.count) {
		int busy = 0;

		for (; busy < CONNECTIONS && begun < conf.count; busy++)
			ask(busy, conf.first + begun++);
		for (int i = 0; i < busy; i++) {
			bool stays = receive(i);

			times[done++] = (double)(ticks_clock_ns() - since_ns[i]) / 1e3;
			if (stays)
				continue;
			close(sockets[i]);
			open_one(i);
			reopened++;
		}
	}
	ticks_summary(times, done);
	printf("{\"done\": %" PRIu32 ", \"errors\": 0, \"first_error\": \"\", \"reopened\": %" PRIu32
	       ", \"seconds\": %.3f, \"p50_us\": %.0f, \"p99_us\": %.0f}\n",
	       done, reopened, (double)(ticks_clock_ns() - began_ns) / 1e9, times[done / 2], times[done / 100 * 99]);
}

static uint32_t parse_count(const char *text)
{
	char *after;
	unsigned long number = strtoul(text, &after, 10);

	if (after == text || *after || number == 0 || number > UINT32_MAX)
		bench_die("\"%s\" is no number from 1 on", text);
	return (uint32_t)number;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"proxy", required_argument, NULL, 'p'},
	                                        {"count", required_argument, NULL, 'c'},
	                                        {"first", required_argument, NULL, 'f'},
	                                        {NULL, 0, NULL, 0}};
	bool has_proxy = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'p')
			has_proxy = bench_address(optarg, '\0', &conf.proxy);
		else if (option == 'c')
			conf.count = parse_count(optarg);
		else if (option == 'f')
			conf.first = parse_count(optarg);
		else
			return 2;
	}
	if (argc - optind != 3 || !has_proxy || !names_kind(argv[optind], &conf.kind) ||
	    !names_ask(argv[optind + 1], &conf.ask))
		bench_die("usage: bench_ask suffixes|regexes|globs hit|below|miss ENTRIES --proxy ADDRESS:PORT --count N"
		          " [--first NUMBER]");
	conf.list_count = parse_count(argv[optind + 2]);
	bench_prepare();
	times = calloc(conf.count, sizeof(*times));
	if (times == NULL)
		bench_die("out of memory");
	run();
	return 0;
}
