/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/verifier/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

enum { STACK_BYTES = 512 << 10 };

struct pool_done {
	pthread_mutex_t lock;
	struct list jobs;
	int bell;
};

struct pool_thread {
	struct pool *pool;
	pthread_t id;
	_Atomic uint64_t busy_since_ms; /* 0: it waits */
};

struct pool {
	const struct backend *backend;
	struct pool_done *done;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list waiting;
	size_t waiting_count, queue_max, thread_count;
	bool ends;
	struct pool_thread threads[];
};

struct pool_env *pool_env_ref(struct pool_env *env)
{
	atomic_fetch_add(&env->references, 1);
	return env;
}

void pool_env_unref(struct pool_env *env)
{
	if (env && atomic_fetch_sub(&env->references, 1) == 1)
		env->free(env);
}

/* ---- what is done ---- */

enum err pool_done_new(struct pool_done **out)
{
	struct pool_done *done = calloc(1, sizeof(*done));

	if (done == NULL)
		return ERR_MEMORY;
	done->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (done->bell < 0) {
		free(done);
		return ERR_SYSTEM;
	}
	pthread_mutex_init(&done->lock, NULL);
	list_init(&done->jobs);
	*out = done;
	return ERR_NONE;
}

void pool_done_free(struct pool_done *done)
{
	if (done == NULL)
		return;
	close(done->bell);
	pthread_mutex_destroy(&done->lock);
	free(done);
}

int pool_done_fd(const struct pool_done *done)
{
	return done->bell;
}

static void put_done(struct pool_done *done, struct pool_job *job)
{
	uint64_t one = 1;

	pthread_mutex_lock(&done->lock);
	list_add_last(&done->jobs, &job->link);
	pthread_mutex_unlock(&done->lock);
	/* It only fails where the bell has rung 2^64 times and nobody came. */
	ASSERT(write(done->bell, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

struct pool_job *pool_done_next(struct pool_done *done)
{
	struct list *link;
	uint64_t rings;

	pthread_mutex_lock(&done->lock);
	link = list_first(&done->jobs);
	if (link)
		list_remove(link);
	else if (read(done->bell, &rings, sizeof(rings)) < 0)
		rings = 0; /* it had not rung */
	pthread_mutex_unlock(&done->lock);
	return link ? LIST_ENTRY(link, struct pool_job, link) : NULL;
}

/* ---- threads ---- */

static struct pool_job *take(struct pool *pool)
{
	struct list *link;

	pthread_mutex_lock(&pool->lock);
	while (!pool->ends && list_is_empty(&pool->waiting))
		pthread_cond_wait(&pool->more, &pool->lock);
	link = pool->ends ? NULL : list_first(&pool->waiting);
	if (link) {
		list_remove(link);
		pool->waiting_count--;
	}
	pthread_mutex_unlock(&pool->lock);
	return link ? LIST_ENTRY(link, struct pool_job, link) : NULL;
}

static void verify(struct pool *pool, void *own, struct pool_job *job)
{
	if (clock_monotonic_ms() >= job->due_ms)
		answer_say(&job->answer, VERDICT_BUSY, "%s: more is asked than it answers: the time was over before its turn",
		           pool->backend->name);
	else
		pool->backend->verify(own, &job->env->backend, &job->ask, &job->answer);
}

static void *run(void *context)
{
	struct pool_thread *thread = context;
	struct pool *pool = thread->pool;
	void *own = pool->backend->open ? pool->backend->open() : NULL;
	struct pool_job *job;

	while ((job = take(pool)) != NULL) {
		atomic_store(&thread->busy_since_ms, clock_monotonic_ms());
		verify(pool, own, job);
		atomic_store(&thread->busy_since_ms, 0);
		put_done(pool->done, job);
	}
	if (pool->backend->close)
		pool->backend->close(own);
	return NULL;
}

enum err pool_new(const struct backend *backend, size_t threads, size_t queue_max, struct pool_done *done,
                  struct pool **out)
{
	struct pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(*pool->threads));
	pthread_attr_t attributes;

	if (pool == NULL)
		return ERR_MEMORY;
	pool->backend = backend;
	pool->done = done;
	pool->queue_max = queue_max;
	list_init(&pool->waiting);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->more, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (; pool->thread_count < threads; pool->thread_count++) {
		struct pool_thread *thread = &pool->threads[pool->thread_count];

		thread->pool = pool;
		if (pthread_create(&thread->id, &attributes, run, thread))
			break;
	}
	pthread_attr_destroy(&attributes);
	if (pool->thread_count == threads) {
		*out = pool;
		return ERR_NONE;
	}
	pool_free(pool);
	return ERR_SYSTEM;
}

enum err pool_put(struct pool *pool, struct pool_job *job)
{
	bool is_full;

	pthread_mutex_lock(&pool->lock);
	is_full = pool->waiting_count >= pool->queue_max;
	if (!is_full) {
		list_add_last(&pool->waiting, &job->link);
		pool->waiting_count++;
		pthread_cond_signal(&pool->more);
	}
	pthread_mutex_unlock(&pool->lock);
	return is_full ? ERR_LIMIT : ERR_NONE;
}

size_t pool_stuck_count(struct pool *pool, uint64_t now_ms, uint64_t longest_ms)
{
	size_t count = 0;

	for (size_t i = 0; i < pool->thread_count; i++) {
		uint64_t since_ms = atomic_load(&pool->threads[i].busy_since_ms);

		count += since_ms && now_ms > since_ms && now_ms - since_ms > longest_ms;
	}
	return count;
}

size_t pool_thread_count(const struct pool *pool)
{
	return pool->thread_count;
}

size_t pool_waiting_count(struct pool *pool)
{
	size_t count;

	pthread_mutex_lock(&pool->lock);
	count = pool->waiting_count;
	pthread_mutex_unlock(&pool->lock);
	return count;
}

void pool_free(struct pool *pool)
{
	struct list *link;

	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->ends = true;
	pthread_cond_broadcast(&pool->more);
	pthread_mutex_unlock(&pool->lock);
	for (size_t i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i].id, NULL);
	while ((link = list_first(&pool->waiting)) != NULL) {
		list_remove(link);
		put_done(pool->done, LIST_ENTRY(link, struct pool_job, link));
	}
	pthread_cond_destroy(&pool->more);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
