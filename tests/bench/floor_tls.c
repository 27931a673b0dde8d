/* SPDX-License-Identifier: Apache-2.0 */
/* The floor of inspection: the shortest relay that opens TLS, to know what OpenSSL and the kernel alone cost. One thread,
 * epoll, an SSL object for each leg, one ready-made leaf for the one host. The origin is verified, chain and host. No policy,
 * no log, no names (it dials 127.0.1.1), no timeouts, no minting; nothing of HTTP is read but the port in the CONNECT:
 *   CONNECT HOST:443 HTTP/1.1     200, TLS to the origin, then TLS to the client, then bytes both ways until one side ends
 * Where the origin gives tickets, its sessions are resumed. usage: floor_tls FOLDER: with root.pem, leaf.pem, leaf.key.
 * Prints "ready floor 127.0.0.1:PORT" and serves until it is killed. */
#include "bench_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

enum { SCRATCH_BYTES = 16 * 1024, HEAD_MAX = 2048, EVENTS = 64, REMEMBERED_MAX = 64 };

struct session;

struct leg {
	struct session *session;
	SSL *ssl;
	int fd;
	bool is_readable; /* until OpenSSL has read all */
	uint8_t *rest;    /* what the socket did not take */
	size_t rest_len;
};

enum state { STATE_HEAD, STATE_DIAL, STATE_OPEN };

struct session {
	struct leg client, origin;
	enum state state;
	bool is_over;
	struct session *next; /* over: freed when the turn of the loop ends */
};

static int epoll;
static SSL_CTX *to_clients, *to_origins;
static SSL_SESSION *remembered[REMEMBERED_MAX]; /* of the origin; OpenSSL uses each once */
static size_t remembered_count;
static uint8_t scratch[SCRATCH_BYTES];
static struct session *over;

static int remember(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	if (remembered_count == REMEMBERED_MAX)
		return 0;
	remembered[remembered_count++] = session;
	return 1;
}

static void end_leg(struct leg *leg)
{
	bench_tls_end(leg->ssl);
	free(leg->rest);
	if (leg->fd >= 0)
		close(leg->fd);
}

static void end_session(struct session *session)
{
	end_leg(&session->origin);
	end_leg(&session->client);
	session->is_over = true;
	session->next = over;
	over = session;
}

/* ---- bytes ---- */

/* False if the leg broke. */
static bool say(struct leg *to, const uint8_t *bytes, size_t len)
{
	int code = SSL_write(to->ssl, bytes, (int)len);

	if (code > 0) /* 16 KiB fit into a record, which goes whole */
		return true;
	if (!bench_tls_waits(to->ssl, code))
		return false;
	to->rest = malloc(len);
	if (to->rest == NULL)
		bench_die("out of memory");
	memcpy(to->rest, bytes, len);
	to->rest_len = len;
	return true;
}

/* False if the leg broke; with a rest left, it waits. */
static bool say_rest(struct leg *to)
{
	int code = SSL_write(to->ssl, to->rest, (int)to->rest_len);

	if (code <= 0)
		return bench_tls_waits(to->ssl, code);
	free(to->rest);
	to->rest = NULL;
	return true;
}

/* Moves what there is of one direction; false: it ended or broke. */
static bool relay(struct leg *from, struct leg *to)
{
	if (to->rest && !say_rest(to))
		return false;
	while (from->is_readable && to->rest == NULL) {
		int got = SSL_read(from->ssl, scratch, sizeof(scratch));

		from->is_readable = got > 0;
		if (got > 0 ? !say(to, scratch, (size_t)got) : !bench_tls_waits(from->ssl, got))
			return false;
	}
	return true;
}

/* False if it failed; whether it is over says SSL_is_init_finished(). */
static bool shake(struct leg *leg)
{
	int code;

	if (SSL_is_init_finished(leg->ssl))
		return true;
	code = SSL_do_handshake(leg->ssl);
	leg->is_readable = code == 1; /* OpenSSL has read ahead: there may be no further event */
	return code == 1 || bench_tls_waits(leg->ssl, code);
}

/* Whatever can move, moves; false: the session is over. */
static bool go_on(struct session *session)
{
	struct leg *client = &session->client, *origin = &session->origin;

	if (!shake(origin))
		return false;
	if (!SSL_is_init_finished(origin->ssl))
		return true;
	if (!shake(client))
		return false;
	if (!SSL_is_init_finished(client->ssl))
		return true;
	return relay(client, origin) && relay(origin, client);
}

/* ---- requests ---- */

static bool dial(struct session *session, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(BENCH_HOST_ADDRESS),
	                              .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		bench_die("socket: %s", strerror(errno));
	session->origin.fd = fd;
	session->state = STATE_DIAL;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 && errno != EINPROGRESS)
		return false;
	bench_watch(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &session->origin);
	return true;
}

/* The head comes in one piece. */
static bool read_head(struct session *session)
{
	char head[HEAD_MAX + 1];
	ssize_t got = recv(session->client.fd, head, HEAD_MAX, 0);
	char *colon;

	if (got < 0 && errno == EAGAIN)
		return true;
	if (got <= 0)
		return false;
	head[got] = '\0';
	colon = strchr(head, ':');
	return strncmp(head, "CONNECT ", 8) == 0 && colon && dial(session, colon + 1);
}

/* The connection to the origin stands. */
static bool open_legs(struct session *session)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\n\r\n";
	SSL_SESSION *resumed = remembered_count ? remembered[--remembered_count] : NULL;

	session->client.ssl = bench_tls_server(to_clients, session->client.fd);
	session->origin.ssl = bench_tls_client(to_origins, session->origin.fd, resumed);
	SSL_SESSION_free(resumed);
	session->state = STATE_OPEN;
	return bench_send(session->client.fd, ok, sizeof(ok) - 1);
}

static void on_event(struct leg *leg, uint32_t events)
{
	struct session *session = leg->session;
	bool goes_on = (events & EPOLLERR) == 0;

	if (session->is_over)
		return;
	if (goes_on && session->state == STATE_HEAD)
		goes_on = read_head(session);
	else if (goes_on && session->state == STATE_DIAL && leg == &session->origin)
		goes_on = open_legs(session);
	if (goes_on && session->state == STATE_OPEN) {
		leg->is_readable |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0;
		goes_on = go_on(session);
	}
	if (!goes_on)
		end_session(session);
}

static void accept_all(int listening)
{
	int fd;

	while ((fd = bench_accept(listening)) >= 0) {
		struct session *session = calloc(1, sizeof(*session));

		if (session == NULL)
			bench_die("out of memory");
		session->client = (struct leg){.session = session, .fd = fd};
		session->origin = (struct leg){.session = session, .fd = -1};
		bench_watch(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &session->client);
	}
}

static void free_over(void)
{
	while (over) {
		struct session *session = over;

		over = session->next;
		free(session);
	}
}

int main(int count, char **args)
{
	struct epoll_event events[EVENTS];
	uint16_t port;
	int listening;

	if (count != 2)
		bench_die("usage: floor_tls FOLDER");
	bench_prepare();
	to_clients = bench_tls_context(TLS_server_method());
	to_origins = bench_tls_context(TLS_client_method());
	bench_tls_identity(to_clients, args[1], "leaf", 1);
	bench_tls_trust(to_origins, args[1], "root");
	bench_tls_keep(to_origins, remember);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	listening = bench_listen(INADDR_LOOPBACK, NULL, &port);
	bench_watch(epoll, listening, EPOLLIN, NULL);
	printf("ready floor 127.0.0.1:%u\n", port);
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			if (events[i].data.ptr)
				on_event(events[i].data.ptr, events[i].events);
			else
				accept_all(listening);
		}
		free_over();
	}
}
