/* SPDX-License-Identifier: Apache-2.0 */
#include "process/web_role.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/sandbox.h"

enum { BATCH = 16, PAUSE_MS = 1000 };

/* Places in the set of poll(). */
enum { AT_CHANNEL, AT_LISTENING, AT_SERVERS, AT_EXTRAS = AT_SERVERS + WEB_ROLE_SERVERS_MAX,
       AT_COUNT = AT_EXTRAS + WEB_ROLE_EXTRAS_MAX };

enum err web_role_start(struct web_role *role, enum role self, struct ipc_start *start)
{
	enum err err = ipc_expect(role->channel, roles_row(ROLE_PARENT)->sends, IPC_START, &role->message);

	/* Writing to a socket that was closed is an error to handle, not an end. */
	signal(SIGPIPE, SIG_IGN);
	if (err)
		return err;
	memcpy(start, role->message.payload.at, sizeof(*start));
	return sandbox_drop(self, start);
}

enum err web_role_acknowledge(struct web_role *role, uint64_t generation)
{
	struct ipc_ready ready = {.generation = generation};

	return ipc_send(role->channel, IPC_READY, generation, span_of(&ready, sizeof(ready)), NULL, 0);
}

void web_role_listen(struct web_role *role, int fd)
{
	if (role->listening >= 0)
		close(role->listening);
	role->listening = fd;
}

static void accept_some(struct web_role *role)
{
	for (int i = 0; i < BATCH && web_server_has_room(role->servers[0]); i++) {
		struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
		socklen_t len = sizeof(storage);
		struct address client;
		int fd = accept4(role->listening, (struct sockaddr *)&storage, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				role->pause_until_ms = clock_monotonic_ms() + PAUSE_MS;
			return;
		}
		address_from_sockaddr((const struct sockaddr *)&storage, &client);
		web_server_take(role->servers[0], fd, &client);
	}
}

static void fill(struct web_role *role, struct pollfd fds[static AT_COUNT])
{
	bool accepts = web_server_has_room(role->servers[0]) && clock_monotonic_ms() >= role->pause_until_ms;
	bool takes = role->server_count > 1 && web_server_has_room(role->servers[1]);

	fds[AT_CHANNEL].fd = role->channel;
	fds[AT_LISTENING].fd = accepts ? role->listening : -1;
	for (size_t i = 0; i < WEB_ROLE_SERVERS_MAX; i++)
		fds[AT_SERVERS + i].fd = i < role->server_count ? web_server_fd(role->servers[i]) : -1;
	for (size_t i = 0; i < WEB_ROLE_EXTRAS_MAX; i++)
		fds[AT_EXTRAS + i].fd = takes ? role->extras[i] : -1;
	for (size_t i = 0; i < AT_COUNT; i++)
		fds[i].events = POLLIN;
}

static int wait_ms(struct web_role *role)
{
	int least = clock_monotonic_ms() < role->pause_until_ms ? PAUSE_MS : -1;

	for (size_t i = 0; i < role->server_count; i++) {
		int one = web_server_wait_ms(role->servers[i]);

		if (one >= 0 && (least < 0 || one < least))
			least = one;
	}
	return least;
}

/* False: nobody is left to serve, or something is wrong. */
static bool read_channel(struct web_role *role, int *status)
{
	enum ipc_got got = ipc_receive(role->channel, roles_row(ROLE_PARENT)->sends, &role->message);
	enum err err = ERR_NONE;

	if (got != IPC_GOT || role->message.type == IPC_STOP) {
		*status = got == IPC_INVALID;
		return false;
	}
	err = role->on_message(role);
	ipc_drop(&role->message);
	if (err)
		log_event(EV_ROLE_MESSAGE, "role=parent type=%s error=%s", ipc_type_name(role->message.type),
		          err_name(err));
	*status = err ? 1 : 0;
	return err == ERR_NONE;
}

int web_role_serve(struct web_role *role)
{
	struct pollfd fds[AT_COUNT];
	int status = 0;

	for (;;) {
		fill(role, fds);
		if (poll(fds, AT_COUNT, wait_ms(role)) < 0 && errno != EINTR)
			return 1;
		if (fds[AT_CHANNEL].revents && !read_channel(role, &status))
			return status;
		if (fds[AT_LISTENING].revents && role->listening >= 0)
			accept_some(role);
		for (size_t i = 0; i < WEB_ROLE_EXTRAS_MAX; i++)
			if (fds[AT_EXTRAS + i].revents && role->extras[i] >= 0)
				role->on_extra(role, i);
		for (size_t i = 0; i < role->server_count; i++)
			web_server_run(role->servers[i]);
	}
}
