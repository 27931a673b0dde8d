/* SPDX-License-Identifier: Apache-2.0 */
#include "way.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

enum {
	CLIENTS = 16, /* addresses 127.0.0.2 and up: a port space each */
	ORIGINS = 16, /* addresses 127.0.1.1 and up, in the same way */
	OPEN_SECONDS = 20,
};

uint64_t way_now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void ask(int fd, const struct way *way, uint32_t number)
{
	char text[1024];
	size_t len = (size_t)snprintf(
	    text, sizeof(text), "CONNECT 127.0.1.%u:%u HTTP/1.1\r\nHost: 127.0.1.%u:%u\r\n\r\n",
	    1 + number % ORIGINS, way->port, 1 + number % ORIGINS, way->port);

	if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
		bench_die("cannot ask the proxy: %s", strerror(errno));
	/* Byte by byte: what follows the head belongs to the tunnel. */
	for (len = 0; len < 4 || memcmp(text + len - 4, "\r\n\r\n", 4) != 0; len++)
		if (len == sizeof(text) || recv(fd, text + len, 1, 0) != 1)
			bench_die("tunnel %u: no answer to CONNECT", number);
	if (strncmp(text, "HTTP/1.", 7) != 0 || strncmp(text + 8, " 200", 4) != 0)
		bench_die("the proxy answered \"%.*s\"", (int)strcspn(text, "\r\n"), text);
}

int way_open(const struct way *way, uint32_t number, int receive_bytes)
{
	struct sockaddr_in own = {.sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(0x7f000002 + number % CLIENTS)};
	struct timeval longest = {.tv_sec = OPEN_SECONDS};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int yes = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof(longest)) < 0 ||
	    (receive_bytes &&
	     setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes)) < 0) ||
	    bind(fd, (const struct sockaddr *)&own, sizeof(own)) < 0)
		bench_die("socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&way->proxy, sizeof(way->proxy)) < 0)
		bench_die("cannot connect to the proxy: %s", strerror(errno));
	if (!way->is_plain)
		ask(fd, way, number);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		bench_die("socket: %s", strerror(errno));
	return fd;
}

double way_number(const char *text, double min, double max)
{
	char *after;
	double number = strtod(text, &after);

	if (after == text || *after || !(number >= min && number <= max))
		bench_die("\"%s\" is no number from %g to %g", text, min, max);
	return number;
}

bool way_option(struct way *way, int option, const char *value, const char *help)
{
	switch (option) {
	case 'x':
		if (!bench_address(value, '\0', &way->proxy))
			bench_die("\"%s\" is no ADDRESS:PORT", value);
		return true;
	case 'p':
		way->port = (unsigned)way_number(value, 1, 65535);
		return true;
	case 'P':
		way->is_plain = true;
		return true;
	case 'h':
		fputs(help, stdout);
		exit(0);
	case '?':
		bench_die("see --help");
	default:
		return false;
	}
}

const char *way_mode(const struct way *way, int count, char **args)
{
	if (optind + 1 != count ||
	    (strcmp(args[optind], "origin") != 0 && (way->port == 0 || way->proxy.sin_port == 0)))
		bench_die("a mode, --proxy and --port are needed; see --help");
	return args[optind];
}
