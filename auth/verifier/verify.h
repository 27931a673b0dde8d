/* SPDX-License-Identifier: Apache-2.0 */
/* The verifier's desk: takes questions of workers, has the right backends answer them, and hands the answers out. One
 * thread calls this; pools do the work. No sockets here: proxy/process/verifier.c has them. */
#ifndef AUTH_VERIFY_H
#define AUTH_VERIFY_H

#include "auth/verifier/pool.h"

struct verify;

/* Where a question came from; the answer goes there. */
struct verify_place {
	unsigned channel;          /* number of the worker */
	uint64_t serial;           /* of the connection to it: an answer for an earlier one is dropped */
	uint64_t id;               /* of the question, there */
};

/* An answer is ready; borrowed until return. Runs inside verify_take() or verify_run(). */
typedef void verify_reply(void *context, const struct verify_place *place, const struct answer *answer);

MUST_USE enum err verify_new(verify_reply *reply, void *context, struct verify **out); /* errors: ERR_MEMORY, ERR_SYSTEM */

/* Only where no thread is stuck: waits for what is under way. */
void verify_free(struct verify *verify);

/* From now on with this configuration; backends that it needs are started. owns: the reference to `env`.
 * errors: ERR_MEMORY, ERR_SYSTEM. */
MUST_USE enum err verify_use(struct verify *verify, struct pool_env *env);

/* A question, as bytes. False: it is none (its worker is not what it should be). */
MUST_USE bool verify_take(struct verify *verify, const struct verify_place *place, struct span bytes, uint64_t now_ms);

/* Readable when verify_run() has something to do. */
int verify_fd(const struct verify *verify);
void verify_run(struct verify *verify, uint64_t now_ms);

/* The name of a backend all of whose threads hang: VERIFY_LOST_MS longer than they may wait; NULL: there is none. */
const char *verify_find_lost(struct verify *verify, uint64_t now_ms);

/* Longest wait for a verification, in all: in the queue and in the backend. What libraries may overrun their time-outs by. */
enum { VERIFY_WAIT_MS = 10000, VERIFY_LOST_MS = 60000 };

#endif
