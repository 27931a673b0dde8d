/* SPDX-License-Identifier: Apache-2.0 */
/* What the roles public and admin have in common: a channel to the parent, a listening socket, servers, and a poll()
 * over all of them. One thread; nothing in it waits for a client. */
#ifndef PROCESS_WEB_ROLE_H
#define PROCESS_WEB_ROLE_H

#include "process/ipc.h"
#include "web/web_server.h"

enum { WEB_ROLE_SERVERS_MAX = 2, WEB_ROLE_EXTRAS_MAX = 64 };

struct web_role {
	int channel;
	int listening;                /* -1: none; its clients go to servers[0] */
	struct web_server *servers[WEB_ROLE_SERVERS_MAX];
	size_t server_count;
	int extras[WEB_ROLE_EXTRAS_MAX]; /* -1: none; read while servers[1] has room */
	uint64_t pause_until_ms;      /* no descriptor is left */
	struct ipc_message message;   /* of the parent */
	/* The parent's message, but STOP. An error ends the role. */
	enum err (*on_message)(struct web_role *role);
	/* An extra can be read. */
	void (*on_extra)(struct web_role *role, size_t at);
};

/* Receive IPC_START and enter the first step of the sandbox. The message is still there, to be dropped. errors: as ipc_expect(). */
MUST_USE enum err web_role_start(struct web_role *role, enum role self, struct ipc_start *start);

/* Serve until told to stop, or until the parent has gone. The result is the exit status. */
int web_role_serve(struct web_role *role);

/* Tell the parent that this generation is in force. errors: ERR_LIMIT, ERR_SYSTEM. */
MUST_USE enum err web_role_acknowledge(struct web_role *role, uint64_t generation);

/* Listen here from now on. owns: fd. */
void web_role_listen(struct web_role *role, int fd);

#endif
