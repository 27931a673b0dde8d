/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to origins that wait for the next request. One that says anything while it waits, or
 * closes, is dropped. */
#include "session/session_private.h"

#include <stdlib.h>
#include <string.h>

struct idle_origin {
	struct list link;
	struct stream stream;
	struct loop_timer timer;
	struct loop_task free_task;
	struct session_env *env;
	struct address address;  /* that was dialled */
	struct address source;
	uint16_t port;
	uint16_t host_len;
	char host[];
};

struct session_idle_origins {
	struct list list; /* longest idle first */
	size_t count;
};

enum err session_env_init(struct session_env *env)
{
	struct session_idle_origins *idle = calloc(1, sizeof(*idle));

	if (idle == NULL)
		return ERR_MEMORY;
	list_init(&idle->list);
	list_init(&env->sessions);
	env->idle_origins = idle;
	return ERR_NONE;
}

static void run_free(struct loop_task *task)
{
	free(CONTAINER_OF(task, struct idle_origin, free_task));
}

static void unlink_idle(struct idle_origin *idle)
{
	list_remove(&idle->link);
	idle->env->idle_origins->count--;
	idle->env->metrics->origin_idle--;
	loop_timer_clear(idle->env->loop, &idle->timer);
	loop_defer(idle->env->loop, &idle->free_task);
}

static void drop(struct idle_origin *idle)
{
	stream_close(&idle->stream, false);
	unlink_idle(idle);
}

void session_env_fini(struct session_env *env)
{
	struct list *link;

	while ((link = list_first(&env->idle_origins->list)) != NULL) {
		struct idle_origin *idle = LIST_ENTRY(link, struct idle_origin, link);

		stream_close(&idle->stream, false);
		list_remove(link);
		loop_timer_clear(env->loop, &idle->timer);
		free(idle);
	}
	free(env->idle_origins);
}

static void on_idle_ready(struct stream *stream, unsigned events)
{
	if (events & ~(unsigned)LOOP_WRITABLE)
		drop(CONTAINER_OF(stream, struct idle_origin, stream));
}

static void on_idle_due(struct loop_timer *timer)
{
	drop(CONTAINER_OF(timer, struct idle_origin, timer));
}

static struct address source_of(const struct session *session)
{
	const struct policy_decision *decision = &session->exchange->decision;

	if (decision->answers[POLICY_ROUTE].answer == ROUTE_SOURCE)
		return decision->route_source;
	return (struct address){0};
}

/* Only a connection to one of the addresses that were checked for this very request. */
static bool is_usable(const struct idle_origin *idle, const struct exchange *exchange,
                      const struct address *source)
{
	if (idle->port != exchange->target.host.port ||
	    !span_equal(span_of(idle->host, idle->host_len), exchange->target.host.name) ||
	    !address_equal(&idle->source, source))
		return false;
	for (size_t i = 0; i < exchange->address_count; i++)
		if (address_equal(&idle->address, &exchange->addresses[i]))
			return true;
	return false;
}

/* Move a stream to another owner: what it watches moves with it. */
static bool move_stream(struct stream *from, struct stream *to, struct session_env *env,
                        void (*on_ready)(struct stream *stream, unsigned events))
{
	int fd = from->io.fd;

	loop_unwatch(env->loop, &from->io);
	from->io.fd = -1;
	if (stream_open_plain(to, env->loop, fd, on_ready) == ERR_NONE)
		return true;
	from->io.fd = fd;
	stream_close(from, false);
	return false;
}

bool origin_pool_take(struct session *session)
{
	struct session_idle_origins *idle_origins = session->env->idle_origins;
	struct address source = source_of(session);

	/* From the end: the one that was used last is the most likely to live. */
	for (struct list *link = idle_origins->list.previous; link != &idle_origins->list;
	     link = link->previous) {
		struct idle_origin *idle = LIST_ENTRY(link, struct idle_origin, link);

		if (!is_usable(idle, session->exchange, &source))
			continue;
		session->exchange->origin = idle->address;
		if (!move_stream(&idle->stream, &session->origin, session->env, on_origin_ready)) {
			unlink_idle(idle);
			return false;
		}
		unlink_idle(idle);
		return true;
	}
	return false;
}

void origin_pool_give(struct session *session)
{
	struct session_env *env = session->env;
	const struct session_conf *conf = session_conf_of(session);
	struct span host = session->exchange->target.host.name;
	struct idle_origin *idle;

	if (conf->limits.origin_idle_count == 0 || env->draining ||
	    (session->origin.ready & ~(unsigned)LOOP_WRITABLE)) {
		stream_close(&session->origin, false);
		return;
	}
	if (env->idle_origins->count >= conf->limits.origin_idle_count)
		drop(LIST_ENTRY(env->idle_origins->list.next, struct idle_origin, link));
	idle = calloc(1, sizeof(*idle) + host.len);
	if (idle == NULL ||
	    !move_stream(&session->origin, &idle->stream, env, on_idle_ready)) {
		stream_close(&session->origin, false);
		free(idle);
		return;
	}
	idle->env = env;
	idle->timer.on_due = on_idle_due;
	idle->free_task.run = run_free;
	idle->address = session->exchange->origin;
	idle->source = source_of(session);
	idle->port = session->exchange->target.host.port;
	idle->host_len = (uint16_t)host.len;
	memcpy(idle->host, host.at, host.len);
	list_add_last(&env->idle_origins->list, &idle->link);
	env->idle_origins->count++;
	env->metrics->origin_idle++;
	loop_timer_set(env->loop, &idle->timer, conf->timeouts.origin_keep_alive_ms);
}
