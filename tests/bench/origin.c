/* SPDX-License-Identifier: Apache-2.0 */
/* The origin of the bench: four services on loopback, in one thread, each on a port of its own.
 *   echo    what comes goes back
 *   sink    reads until FIN, answers with the number of bytes and a line feed
 *   source  reads one line with a number, sends as many bytes and FIN
 *   http    answers each request (without a body) with 1024 bytes, keep-alive
 * Prints "ready echo PORT sink PORT source PORT http PORT" and serves until it is killed. It
 * listens on all of 127/8, so that clients can spread their connections over many addresses. */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CHUNK_BYTES = 256 * 1024,
	REPLY_BYTES = 1024,
	EVENTS = 64,
};

struct connection;

/* Goes on with a connection as far as it can; false: it is over. */
typedef bool serve(struct connection *connection);

struct service {
	const char *name;
	serve *serve;
	int listening;
	uint16_t port;
};

/* What epoll gives back; a listening socket has no connection. */
struct connection {
	struct service *service;
	int fd;
	bool is_answering; /* source: the line was read */
	uint8_t matched;   /* http: bytes of the end of a head seen so far */
	uint64_t bytes;    /* sink: received; source: still to send */
};

static uint8_t chunk[CHUNK_BYTES];
static char http_reply[512 + REPLY_BYTES];
static size_t http_reply_len;

/* Bytes received, 0 at the end of the stream or when it broke, -1 when there are none now. */
static ssize_t receive(struct connection *connection, size_t max)
{
	ssize_t got = recv(connection->fd, chunk, max, 0);

	return got < 0 && errno != EAGAIN ? 0 : got;
}

static bool serve_echo(struct connection *connection)
{
	ssize_t got;

	while ((got = receive(connection, sizeof(chunk))) > 0) {
		if (!bench_send(connection->fd, chunk, (size_t)got))
			return false; /* the bench echoes little: a full socket is a fault */
	}
	return got < 0;
}

static bool serve_sink(struct connection *connection)
{
	char answer[32];
	ssize_t got;
	int len;

	while ((got = bench_drop(connection->fd)) > 0)
		connection->bytes += (uint64_t)got;
	if (got < 0)
		return errno == EAGAIN;
	len = snprintf(answer, sizeof(answer), "%llu\n", (unsigned long long)connection->bytes);
	bench_send(connection->fd, answer, (size_t)len);
	return false;
}

static bool serve_source(struct connection *connection)
{
	while (!connection->is_answering) {
		ssize_t got = receive(connection, 1);

		if (got <= 0)
			return got < 0;
		if (chunk[0] == '\n')
			connection->is_answering = true;
		else if (chunk[0] >= '0' && chunk[0] <= '9')
			connection->bytes = connection->bytes * 10 + (uint64_t)(chunk[0] - '0');
		else
			return false;
	}
	while (connection->bytes) {
		size_t len = connection->bytes < sizeof(chunk) ? connection->bytes : sizeof(chunk);
		ssize_t sent = send(connection->fd, chunk, len, MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EAGAIN;
		connection->bytes -= (uint64_t)sent;
	}
	return false;
}

static bool serve_http(struct connection *connection)
{
	static const char end[] = "\r\n\r\n";
	ssize_t got;

	while ((got = receive(connection, sizeof(chunk))) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (chunk[i] != (uint8_t)end[connection->matched])
				connection->matched = chunk[i] == '\r';
			else if (++connection->matched == 4) {
				connection->matched = 0;
				if (!bench_send(connection->fd, http_reply, http_reply_len))
					return false;
			}
		}
	}
	return got < 0;
}

static struct service services[] = {
    {"echo", serve_echo, -1, 0},
    {"sink", serve_sink, -1, 0},
    {"source", serve_source, -1, 0},
    {"http", serve_http, -1, 0},
};

static void make_http_reply(void)
{
	int len = snprintf(http_reply, sizeof(http_reply),
			   "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
			   "Content-Type: text/plain\r\nCache-Control: no-store\r\n"
			   "Content-Length: %d\r\n\r\n",
			   REPLY_BYTES);

	memset(http_reply + len, 'x', REPLY_BYTES);
	http_reply_len = (size_t)len + REPLY_BYTES;
}

static void accept_all(int epoll, struct service *service)
{
	int fd;

	while ((fd = bench_accept(service->listening)) >= 0) {
		struct connection *connection = calloc(1, sizeof(*connection));

		if (connection == NULL)
			bench_die("out of memory");
		*connection = (struct connection){.service = service, .fd = fd};
		bench_watch(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, connection);
	}
}

/* Which service a context of epoll listens for; NULL: it is a connection. */
static struct service *find_listening(void *context)
{
	for (size_t i = 0; i < BENCH_COUNT(services); i++)
		if (context == &services[i])
			return &services[i];
	return NULL;
}

int main(int count, char **args)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[EVENTS];

	if (count != 1) {
		fprintf(stderr, "usage: %s\n", args[0]);
		return 2;
	}
	bench_prepare();
	make_http_reply();
	printf("ready");
	for (size_t i = 0; i < BENCH_COUNT(services); i++) {
		services[i].listening = bench_listen(INADDR_ANY, "lo", &services[i].port);
		bench_watch(epoll, services[i].listening, EPOLLIN, &services[i]);
		printf(" %s %u", services[i].name, services[i].port);
	}
	printf("\n");
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			struct service *service = find_listening(events[i].data.ptr);
			struct connection *connection = events[i].data.ptr;

			if (service) {
				accept_all(epoll, service);
			} else if (!connection->service->serve(connection)) {
				close(connection->fd);
				free(connection);
			}
		}
	}
}
