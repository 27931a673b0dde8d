/* SPDX-License-Identifier: Apache-2.0 */
#include "web/web_server.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { MEMORY_OF_ONE_BYTES = 16384, TICK_MS = 1000 };

/* One connection, so that it can be ended in time. */
struct connection {
	int fd; /* -1: free */
	uint64_t since_ms;
};

struct web_server {
	struct MHD_Daemon *daemon;
	struct web_limits limits;
	web_answer *answer;
	void *context;
	size_t open_count;
	struct connection connections[]; /* limits.connections */
};

struct web_page {
	struct MHD_Response *response;
};

/* ---- pages ---- */

struct web_page *web_page_new(struct span content, const char *type)
{
	struct web_page *page = calloc(1, sizeof(*page));
	union {
		const void *from;
		void *to;
	} cast = {.from = content.at};

	if (page == NULL)
		return NULL;
	page->response = MHD_create_response_from_buffer(content.len, content.len ? cast.to : NULL,
	                                                 MHD_RESPMEM_MUST_COPY);
	if (page->response == NULL) {
		free(page);
		return NULL;
	}
	if (type)
		web_page_add(page, "Content-Type", type);
	web_page_add(page, "X-Content-Type-Options", "nosniff");
	return page;
}

void web_page_add(struct web_page *page, const char *name, const char *value)
{
	/* It refuses what is no field, and what finds no memory: then the page is served without. */
	(void)MHD_add_response_header(page->response, name, value);
}

void web_page_free(struct web_page *page)
{
	if (page == NULL)
		return;
	MHD_destroy_response(page->response);
	free(page);
}

void web_reply_with(struct web_reply *out, unsigned status, const char *text)
{
	*out = (struct web_reply){.status = status, .is_for_once = true};
	out->page = web_page_new(span_from(text), "text/plain; charset=utf-8");
	if (out->page)
		web_page_add(out->page, "Cache-Control", "no-store");
}

bool web_bearer_parse(struct span authorization, struct span *token)
{
	struct span rest = span_skip(authorization, sizeof("Bearer ") - 1);

	if (!span_equal_nocase(span_first(authorization, sizeof("Bearer ") - 1), SPAN("Bearer ")))
		return false;
	while (rest.len && rest.at[0] == ' ')
		rest = span_skip(rest, 1);
	for (size_t i = 0; i < rest.len; i++)
		if (rest.at[i] <= ' ' || rest.at[i] >= 0x7f)
			return false;
	*token = rest;
	return rest.len > 0;
}

/* ---- requests ---- */

static enum MHD_Result queue(struct MHD_Connection *connection, struct web_reply *reply)
{
	enum MHD_Result result = MHD_NO; /* ends the connection */

	if (reply->page)
		result = MHD_queue_response(connection, reply->status, reply->page->response);
	if (reply->is_for_once)
		web_page_free(reply->page);
	return result;
}

static struct span field_of(struct MHD_Connection *connection, const char *name)
{
	const char *value = NULL;
	size_t len = 0;

	if (MHD_lookup_connection_value_n(connection, MHD_HEADER_KIND, name, strlen(name), &value, &len) !=
	            MHD_YES ||
	    value == NULL)
		return SPAN("");
	return span_of(value, len);
}

static struct address client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct address address = {.family = AF_UNIX};

	if (info && info->client_addr && info->client_addr->sa_family != AF_UNIX)
		address_from_sockaddr(info->client_addr, &address);
	return address;
}

static enum MHD_Result refuse_method(struct MHD_Connection *connection)
{
	struct web_reply reply;

	web_reply_with(&reply, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are known here\n");
	if (reply.page) {
		web_page_add(reply.page, "Allow", "GET, HEAD");
		web_page_add(reply.page, "Connection", "close");
	}
	return queue(connection, &reply);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **state)
{
	static int begun;
	struct web_server *server = context;
	struct web_request request;
	struct web_reply reply = {.status = MHD_HTTP_INTERNAL_SERVER_ERROR};

	(void)version;
	(void)upload;
	if (*state == NULL) {
		*state = &begun;
		return strcmp(method, "GET") && strcmp(method, "HEAD") ? refuse_method(connection) : MHD_YES;
	}
	if (*upload_bytes) { /* content of a GET: nobody wants it */
		*upload_bytes = 0;
		return MHD_YES;
	}
	request = (struct web_request){
		.path = span_from(url),
		.client = client_of(connection),
		.host = field_of(connection, "Host"),
		.authorization = field_of(connection, "Authorization"),
		.if_none_match = field_of(connection, "If-None-Match"),
	};
	server->answer(server->context, &request, &reply);
	return queue(connection, &reply);
}

/* Paths are compared as they are written: no %2e, no second spelling. */
static size_t leave_escapes(void *context, struct MHD_Connection *connection, char *text)
{
	(void)context;
	(void)connection;
	return strlen(text);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode code)
{
	struct web_server *server = context;
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		struct connection *one = *slot;

		if (one == NULL)
			return;
		one->fd = -1;
		server->open_count--;
		return;
	}
	for (size_t i = 0; i < server->limits.connections; i++) {
		struct connection *one = &server->connections[i];

		if (one->fd >= 0)
			continue;
		one->fd = info->connect_fd;
		one->since_ms = clock_monotonic_ms();
		*slot = one;
		server->open_count++;
		return;
	}
}

/* Whoever sends a byte now and then would never be idle. */
static void end_old(struct web_server *server)
{
	uint64_t now_ms = clock_monotonic_ms();

	for (size_t i = 0; server->open_count && i < server->limits.connections; i++) {
		struct connection *one = &server->connections[i];

		if (one->fd < 0 || now_ms - one->since_ms < server->limits.life_s * UINT64_C(1000))
			continue;
		one->since_ms = now_ms;
		/* The library sees the end and closes; a socket that is ended already is no error here. */
		(void)shutdown(one->fd, SHUT_RDWR);
	}
}

/* ---- the server ---- */

enum err web_server_new(const struct web_limits *limits, web_answer *answer, void *context,
                        struct web_server **out)
{
	struct web_server *server =
		calloc(1, sizeof(*server) + limits->connections * sizeof(server->connections[0]));

	if (server == NULL)
		return ERR_MEMORY;
	server->limits = *limits;
	server->answer = answer;
	server->context = context;
	for (size_t i = 0; i < limits->connections; i++)
		server->connections[i].fd = -1;
	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, server,
		MHD_OPTION_CONNECTION_LIMIT, limits->connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		limits->connections_per_client, MHD_OPTION_CONNECTION_TIMEOUT, limits->idle_s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_OF_ONE_BYTES,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, leave_escapes, NULL,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
	if (server->daemon == NULL) {
		free(server);
		return ERR_SYSTEM;
	}
	*out = server;
	return ERR_NONE;
}

void web_server_free(struct web_server *server)
{
	if (server == NULL)
		return;
	MHD_stop_daemon(server->daemon);
	free(server);
}

bool web_server_has_room(const struct web_server *server)
{
	return server->open_count < server->limits.connections;
}

void web_server_take(struct web_server *server, int fd, const struct address *client)
{
	struct sockaddr_storage storage = {.ss_family = AF_UNIX};
	socklen_t len = address_to_sockaddr(client, &storage);

	if (len == 0) {
		storage.ss_family = AF_UNIX;
		len = sizeof(storage.ss_family);
	}
	/* Over a limit, or without memory: it has closed the socket. */
	(void)MHD_add_connection(server->daemon, fd, (const struct sockaddr *)&storage, len);
}

int web_server_fd(const struct web_server *server)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);

	return info ? info->epoll_fd : -1;
}

int web_server_wait_ms(struct web_server *server)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES && wait_ms < TICK_MS)
		return (int)wait_ms;
	return server->open_count ? TICK_MS : -1;
}

void web_server_run(struct web_server *server)
{
	end_old(server);
	/* It says no only of a daemon that is not run from outside. */
	(void)MHD_run(server->daemon);
}
