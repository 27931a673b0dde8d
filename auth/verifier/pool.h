/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of one backend in the verifier, and the bounded queue before them. One authority that is slow or dead fills
 * its own queue and nobody else's. The owner's thread puts jobs in and takes results out; it never waits. */
#ifndef AUTH_POOL_H
#define AUTH_POOL_H

#include "auth/backend/backend.h"
#include "base/list.h"

struct pool;

/* A reference-counted backend_env, as the threads use it. */
struct pool_env {
	_Atomic unsigned references;
	struct backend_env backend;
	void (*free)(struct pool_env *env);
};
struct pool_env *pool_env_ref(struct pool_env *env);
void pool_env_unref(struct pool_env *env); /* NULL is allowed */

/* One question on its way. Embedded by the owner, who has it back when it is done. */
struct pool_job {
	struct list link;
	struct pool_env *env;      /* the job's own reference */
	struct ask ask;            /* borrows from what the owner keeps until then */
	struct answer answer;
	uint64_t due_ms;           /* monotonic: nobody waits for it after this */
};

/* Where threads put what they have done; shared by all pools of one owner. */
struct pool_done;
MUST_USE enum err pool_done_new(struct pool_done **out); /* errors: ERR_MEMORY, ERR_SYSTEM */
void pool_done_free(struct pool_done *done);
/* Readable while something is done. */
int pool_done_fd(const struct pool_done *done);
/* The next job that is done; NULL: there is none now. */
struct pool_job *pool_done_next(struct pool_done *done);

/* Start `threads` threads. errors: ERR_MEMORY, ERR_SYSTEM. */
MUST_USE enum err pool_new(const struct backend *backend, size_t threads, size_t queue_max, struct pool_done *done,
                           struct pool **out);

/* Have it verified: it comes out of pool_done_next(), with VERDICT_BUSY where its time was over before its turn.
 * errors: ERR_LIMIT: the queue is full; the job stays the caller's. */
MUST_USE enum err pool_put(struct pool *pool, struct pool_job *job);

/* Threads that have been in one call for longer than this; where all have, the backend's library hangs and nothing but a
 * new process helps. */
size_t pool_stuck_count(struct pool *pool, uint64_t now_ms, uint64_t longest_ms);
size_t pool_thread_count(const struct pool *pool);
size_t pool_waiting_count(struct pool *pool);

/* End the threads and free all; what still waited comes out as done, not verified. Only where no thread is stuck: it waits
 * for them. */
void pool_free(struct pool *pool);

#endif
