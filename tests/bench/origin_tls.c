/* SPDX-License-Identifier: Apache-2.0 */
/* The origin behind inspection: answers GET /N with N bytes, keep-alive, over TLS, in one thread. Two services, each on a
 * port of its own: one gives no tickets, so that each handshake is a full one; the other gives one. What the handshake of
 * this connection was says a header field: "Handshake: full", "resumed", or "kept" from the second request on.
 * usage: origin_tls FOLDER: with origin.pem and origin.key. Prints "ready tls PORT tickets PORT". */
#include "bench_tls.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench.h"

enum { CHUNK_BYTES = 16 * 1024, HEAD_MAX = 2048, EVENTS = 64 };

struct service {
	const char *name;
	unsigned tickets;
	SSL_CTX *context;
	int listening;
};

static struct service services[] = {{"tls", 0, NULL, -1}, {"tickets", 1, NULL, -1}};

struct connection {
	SSL *ssl;
	int fd;
	bool has_answered;
	uint64_t bytes; /* still to send, head and body */
	size_t len;     /* of what is in `head` */
	char head[HEAD_MAX + 1];
};

static uint8_t chunk[CHUNK_BYTES];

/* Sends as much as the socket takes, at first the head; false: it broke. */
static bool answer(struct connection *connection)
{
	while (connection->bytes) {
		size_t len = connection->bytes < CHUNK_BYTES ? connection->bytes : CHUNK_BYTES;
		int code;

		memset(chunk, 'x', HEAD_MAX);
		memcpy(chunk, connection->head, connection->len);
		code = SSL_write(connection->ssl, chunk, (int)len);
		if (code <= 0)
			return bench_tls_waits(connection->ssl, code);
		connection->bytes -= (uint64_t)code;
		connection->len = 0;
	}
	return true;
}

/* What was asked for becomes what is answered; the head is complete. */
static bool begin_answer(struct connection *connection)
{
	const char *handshake = connection->has_answered ? "kept"
	                        : SSL_session_reused(connection->ssl) ? "resumed"
	                                                              : "full";
	uint64_t bytes;

	if (strncmp(connection->head, "GET /", 5) != 0)
		return false;
	bytes = strtoull(connection->head + 5, NULL, 10);
	connection->len = (size_t)snprintf(connection->head, sizeof(connection->head),
	                                   "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
	                                   "Content-Type: text/plain\r\nCache-Control: no-store\r\nHandshake: %s\r\n"
	                                   "Content-Length: %llu\r\n\r\n",
	                                   handshake, (unsigned long long)bytes);
	connection->bytes = connection->len + bytes;
	connection->has_answered = true;
	return true;
}

/* Goes on as far as it can; false: it is over. */
static bool serve(struct connection *connection)
{
	for (;;) {
		int got;

		if (!answer(connection))
			return false;
		if (connection->bytes)
			return true;
		got = SSL_read(connection->ssl, connection->head + connection->len, (int)(HEAD_MAX - connection->len));
		if (got <= 0)
			return bench_tls_waits(connection->ssl, got);
		connection->len += (size_t)got;
		connection->head[connection->len] = '\0';
		if (strstr(connection->head, "\r\n\r\n") ? !begin_answer(connection) : connection->len == HEAD_MAX)
			return false;
	}
}

static void end(struct connection *connection)
{
	bench_tls_end(connection->ssl);
	close(connection->fd);
	free(connection);
}

static void accept_all(int epoll, const struct service *service)
{
	int fd;

	while ((fd = bench_accept(service->listening)) >= 0) {
		struct connection *connection = calloc(1, sizeof(*connection));

		if (connection == NULL)
			bench_die("out of memory");
		connection->fd = fd;
		connection->ssl = bench_tls_server(service->context, fd);
		bench_watch(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, connection);
	}
}

/* Which service a context of epoll listens for; NULL: it is a connection. */
static const struct service *find_listening(const void *context)
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

	if (count != 2)
		bench_die("usage: origin_tls FOLDER");
	bench_prepare();
	printf("ready");
	for (size_t i = 0; i < BENCH_COUNT(services); i++) {
		uint16_t port;

		services[i].context = bench_tls_context(TLS_server_method());
		bench_tls_identity(services[i].context, args[1], "origin", services[i].tickets);
		services[i].listening = bench_listen(INADDR_ANY, "lo", &port);
		bench_watch(epoll, services[i].listening, EPOLLIN, &services[i]);
		printf(" %s %u", services[i].name, port);
	}
	printf("\n");
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			const struct service *service = find_listening(events[i].data.ptr);

			if (service)
				accept_all(epoll, service);
			else if (!serve(events[i].data.ptr))
				end(events[i].data.ptr);
		}
	}
}
