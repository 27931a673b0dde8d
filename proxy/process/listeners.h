/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's listening sockets: one per address for all workers, kept over reloads. */
#ifndef PROCESS_LISTENERS_H
#define PROCESS_LISTENERS_H

#include "base/problem.h"
#include "net/net_conf.h"

struct listeners {
	const struct listen_conf *conf; /* borrowed: as many as there are */
	size_t count;
	int *fds;
	struct address *addresses; /* where they really listen: port 0 was replaced */
};

/* Bind all of `conf`; sockets whose address is among `old` (may be NULL) are taken from there as
 * duplicates. Problems name `file`.
 * borrows: conf. errors: ERR_SYSTEM (an address cannot be had), ERR_MEMORY. */
MUST_USE enum err listeners_open(const struct conf_groups *conf, const struct listeners *old,
                                 const char *file, struct problems *problems,
                                 struct listeners *out);

/* Connections that are accepted from now on have kernel buffers of this size (net/socket.h). */
void listeners_set_buffers(const struct listeners *listeners, uint64_t bytes);

/* Close them; files of UNIX sockets that `next` (may be NULL) does not have are removed. */
void listeners_close(struct listeners *listeners, const struct listeners *next);

/* Workers hold the same sockets: put back what one of them did to a socket that all accept from. Says so in the
 * event log. */
void listeners_heal(const struct listeners *listeners);

/* Every address at which a client could reach us, wildcards expanded: at most `max`. blocks: no. */
size_t listeners_own(const struct listeners *listeners, struct address *out, size_t max);

/* Append "name=127.0.0.1:3128 name=unix:/path". */
void listeners_format(const struct listeners *listeners, struct buf *out);

#endif
