/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's listening sockets: takes clients in small batches, leaves them to other workers while
 * it has clearly more sessions than they, and answers shortly when descriptors run out. */
#ifndef PROCESS_ACCEPTOR_H
#define PROCESS_ACCEPTOR_H

#include "process/places.h"
#include "session/session.h"

struct acceptor;

/* borrows: env and places, until acceptor_free(). `spare_of` is any open descriptor: a duplicate of it
 * is kept in reserve. errors: ERR_MEMORY, ERR_SYSTEM. */
MUST_USE enum err acceptor_new(struct session_env *env, struct places *places, int spare_of,
                               struct acceptor **out);

/* Listen on these sockets from now on, in place of those before; `conf` (struct listen_conf) and
 * `addresses` (where they really listen) are copied.
 * owns: the sockets, in every case. errors: ERR_MEMORY, ERR_SYSTEM. */
MUST_USE enum err acceptor_use(struct acceptor *acceptor, const struct conf_groups *conf,
                               const struct address *addresses, const int *fds);

/* One that leaves clients to others takes some again if it has no more than they: after the end of a session. */
void acceptor_resume(struct acceptor *acceptor);

/* Take the clients that wait already, then close all listening sockets. */
void acceptor_stop(struct acceptor *acceptor);

void acceptor_free(struct acceptor *acceptor);

#endif
