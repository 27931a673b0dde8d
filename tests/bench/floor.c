/* SPDX-License-Identifier: Apache-2.0 */
/* The floor of the bench: the shortest relay that can be written, to know what the kernel alone
 * costs. One thread, epoll, splice. No policy, no log, no names, no timeouts; a request head must
 * arrive in one piece; HTTP is not read but for the first line. Two kinds of request:
 *   CONNECT 127.0.1.1:443 HTTP/1.1       200, then bytes both ways with half-close
 *   GET http://127.0.1.1:80/ HTTP/1.1    in origin form over one connection to the origin that the
 *                                        client keeps; requests one after the other, no bodies
 * Prints "ready floor 127.0.0.1:PORT" and serves until it is killed.
 *
 * An idle tunnel is its struct and nothing else: bytes pass through one scratch buffer, what is not
 * taken at once waits in a pooled pipe, and a direction that filled the scratch buffer is spliced.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SCRATCH_BYTES = 64 * 1024,
	PIPE_BYTES = 256 * 1024,
	POOL_COUNT = 64,
	EVENTS = 64,
};

struct pipe {
	int in, out;
	size_t bytes;
};

/* One end of a tunnel, and the direction that its bytes take. */
struct side {
	int fd;
	bool is_origin;
	bool is_readable, is_writable; /* until EAGAIN */
	bool is_ended;                 /* its FIN was read */
	bool is_hung_up;               /* its FIN is in the socket, or more */
	bool is_streaming;             /* so much comes that splicing pays */
	struct pipe *pipe;             /* NULL: nothing of it waits */
};

enum tunnel_state { TUNNEL_HEAD, TUNNEL_DIAL, TUNNEL_OPEN };

struct tunnel {
	struct side client, origin;
	enum tunnel_state state;
	bool is_http, is_over;
	struct sockaddr_in address; /* http: whom the origin connection leads to */
	union {
		char *request;       /* http, in DIAL: what waits for the connection */
		struct tunnel *next; /* over: freed when the turn of the loop ends */
	};
};

static int epoll;
static uint8_t scratch[SCRATCH_BYTES + 1];
static struct pipe *pool[POOL_COUNT];
static size_t pool_count;
static struct tunnel *over;

static struct pipe *take_pipe(void)
{
	struct pipe *pipe;
	int fds[2];

	if (pool_count)
		return pool[--pool_count];
	pipe = malloc(sizeof(*pipe));
	if (pipe == NULL || pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
		bench_die("no pipe: %s", strerror(errno));
	fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* smaller does as well */
	*pipe = (struct pipe){.in = fds[1], .out = fds[0]};
	return pipe;
}

/* Gives the pipe of a side back; one that still holds bytes is of no use to others. */
static void give_pipe(struct side *side)
{
	struct pipe *pipe = side->pipe;

	side->pipe = NULL;
	if (pipe == NULL)
		return;
	if (pipe->bytes == 0 && pool_count < POOL_COUNT) {
		pool[pool_count++] = pipe;
		return;
	}
	close(pipe->in);
	close(pipe->out);
	free(pipe);
}

static void end_tunnel(struct tunnel *tunnel)
{
	if (tunnel->is_over)
		return;
	give_pipe(&tunnel->client);
	give_pipe(&tunnel->origin);
	close(tunnel->client.fd);
	if (tunnel->origin.fd >= 0)
		close(tunnel->origin.fd);
	if (tunnel->is_http && tunnel->state == TUNNEL_DIAL)
		free(tunnel->request);
	tunnel->is_over = true;
	tunnel->next = over;
	over = tunnel;
}

/* ---- bytes ---- */

/* Moves what waits in the pipe on; false with errno when something still waits. */
static bool empty_pipe(struct side *from, struct side *to)
{
	while (from->pipe && from->pipe->bytes) {
		ssize_t moved = splice(from->pipe->out, NULL, to->fd, NULL, from->pipe->bytes,
				       SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

		if (moved < 0) {
			to->is_writable = false;
			return false;
		}
		from->pipe->bytes -= (size_t)moved;
	}
	return true;
}

/* Bytes read into the pipe, or through the scratch buffer; 0 at the end, -1 with errno. */
static ssize_t move_some(struct side *from, struct side *to)
{
	ssize_t got, sent;

	if (from->is_streaming) {
		if (from->pipe == NULL)
			from->pipe = take_pipe();
		got = splice(from->fd, NULL, from->pipe->in, NULL, PIPE_BYTES,
			     SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (got > 0)
			from->pipe->bytes = (size_t)got;
		return got;
	}
	got = recv(from->fd, scratch, SCRATCH_BYTES, 0);
	if (got <= 0)
		return got;
	sent = send(to->fd, scratch, (size_t)got, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		return -1;
	if (sent < got) {
		size_t rest = (size_t)(got - (sent < 0 ? 0 : sent));

		to->is_writable = false;
		from->pipe = take_pipe();
		if (write(from->pipe->in, scratch + got - rest, rest) != (ssize_t)rest)
			bench_die("a pipe takes less than %d bytes", SCRATCH_BYTES);
		from->pipe->bytes = rest;
	}
	/* A short read has drained the socket: no read only to be told so. */
	if (got < SCRATCH_BYTES && !from->is_hung_up)
		from->is_readable = false;
	from->is_streaming = got == SCRATCH_BYTES;
	return got;
}

/* Moves bytes of one direction until its source is empty or its sink full; false: it broke. */
static bool flow(struct side *from, struct side *to)
{
	size_t moved_bytes = 0;

	for (;;) {
		ssize_t got;

		if (from->pipe && !to->is_writable)
			return true;
		if (!empty_pipe(from, to))
			return errno == EAGAIN;
		if (from->is_ended || !from->is_readable)
			break;
		got = move_some(from, to);
		if (got < 0 && errno != EAGAIN)
			return false;
		if (got < 0) {
			from->is_readable = false;
			from->is_streaming = moved_bytes >= SCRATCH_BYTES;
		}
		from->is_ended = got == 0;
		moved_bytes += got > 0 ? (size_t)got : 0;
	}
	give_pipe(from);
	return true;
}

static void relay(struct tunnel *tunnel, struct side *from, struct side *to)
{
	bool was_ended = from->is_ended;

	if (!flow(from, to))
		end_tunnel(tunnel);
	else if (from->is_ended && to->is_ended)
		end_tunnel(tunnel);
	else if (from->is_ended && !was_ended)
		shutdown(to->fd, SHUT_WR);
}

/* ---- requests ---- */

static void dial(struct tunnel *tunnel)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		bench_die("socket: %s", strerror(errno));
	tunnel->origin.fd = fd;
	tunnel->state = TUNNEL_DIAL;
	if (connect(fd, (const struct sockaddr *)&tunnel->address, sizeof(tunnel->address)) < 0 &&
	    errno != EINPROGRESS)
		end_tunnel(tunnel);
	else
		bench_watch(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &tunnel->origin);
}

/* The next request of a client that sends absolute forms; scratch holds it. */
static void forward_get(struct tunnel *tunnel)
{
	static const char method[] = "GET ";
	char *host = (char *)scratch + strlen("GET http://");
	char *path = strchr(host, '/');
	struct sockaddr_in address;

	if (strncmp((char *)scratch, "GET http://", strlen("GET http://")) != 0 || path == NULL ||
	    !bench_address(host, '/', &address) ||
	    (tunnel->is_http && memcmp(&address, &tunnel->address, sizeof(address)) != 0)) {
		end_tunnel(tunnel); /* another origin: not for a floor */
		return;
	}
	path -= strlen(method);
	memcpy(path, method, strlen(method));
	tunnel->is_http = true;
	tunnel->address = address;
	if (tunnel->state == TUNNEL_OPEN) {
		if (!bench_send(tunnel->origin.fd, path, strlen(path)))
			end_tunnel(tunnel);
		return;
	}
	tunnel->request = strdup(path);
	dial(tunnel);
}

/* Bytes of a client that are a request head. */
static void read_head(struct tunnel *tunnel)
{
	struct side *client = &tunnel->client;
	ssize_t got = recv(client->fd, scratch, SCRATCH_BYTES, 0);

	if (got < 0 && errno == EAGAIN) {
		client->is_readable = false;
		return;
	}
	if (got <= 4 || memcmp(scratch + got - 4, "\r\n\r\n", 4) != 0) {
		end_tunnel(tunnel);
		return;
	}
	if (!client->is_hung_up)
		client->is_readable = false;
	scratch[got] = '\0';
	if (tunnel->is_http || strncmp((char *)scratch, "CONNECT ", 8) != 0)
		forward_get(tunnel);
	else if (bench_address((char *)scratch + 8, ' ', &tunnel->address))
		dial(tunnel);
	else
		end_tunnel(tunnel);
}

/* The connection to the origin stands, or failed. */
static void on_dialled(struct tunnel *tunnel, uint32_t events)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\n\r\n";
	bool is_sent = false;

	if ((events & EPOLLERR) == 0) {
		is_sent = tunnel->is_http ? bench_send(tunnel->origin.fd, tunnel->request,
						       strlen(tunnel->request))
					  : bench_send(tunnel->client.fd, ok, sizeof(ok) - 1);
	}
	if (!is_sent) {
		end_tunnel(tunnel);
		return;
	}
	if (tunnel->is_http)
		free(tunnel->request);
	tunnel->state = TUNNEL_OPEN;
}

/* Whatever can move, moves. */
static void go_on(struct tunnel *tunnel)
{
	struct side *client = &tunnel->client, *origin = &tunnel->origin;

	if (client->is_readable && tunnel->is_http)
		read_head(tunnel);
	else if (client->is_readable || client->pipe)
		relay(tunnel, client, origin);
	if (!tunnel->is_over && (origin->is_readable || origin->pipe))
		relay(tunnel, origin, client);
}

static void on_event(struct side *side, uint32_t events)
{
	size_t at =
	    side->is_origin ? offsetof(struct tunnel, origin) : offsetof(struct tunnel, client);
	struct tunnel *tunnel = (struct tunnel *)(void *)((char *)side - at);

	if (tunnel->is_over)
		return;
	side->is_readable |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	side->is_hung_up |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	side->is_writable |= (events & EPOLLOUT) != 0;
	if (tunnel->state == TUNNEL_OPEN && (events & EPOLLERR))
		end_tunnel(tunnel);
	else if (tunnel->state == TUNNEL_DIAL && side->is_origin &&
		 (events & (EPOLLOUT | EPOLLERR)))
		on_dialled(tunnel, events);
	else if (tunnel->state == TUNNEL_HEAD && side->is_readable)
		read_head(tunnel);
	if (tunnel->state == TUNNEL_OPEN && !tunnel->is_over)
		go_on(tunnel);
}

static void accept_all(int listening)
{
	int fd;

	while ((fd = bench_accept(listening)) >= 0) {
		struct tunnel *tunnel = calloc(1, sizeof(*tunnel));

		if (tunnel == NULL)
			bench_die("out of memory");
		tunnel->client.fd = fd;
		tunnel->origin = (struct side){.fd = -1, .is_origin = true};
		bench_watch(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &tunnel->client);
	}
}

static void free_over(void)
{
	while (over) {
		struct tunnel *tunnel = over;

		over = tunnel->next;
		free(tunnel);
	}
}

int main(int count, char **args)
{
	struct epoll_event events[EVENTS];
	uint16_t port;
	int listening;

	if (count != 1) {
		fprintf(stderr, "usage: %s\n", args[0]);
		return 2;
	}
	bench_prepare();
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
