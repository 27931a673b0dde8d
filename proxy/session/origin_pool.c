/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to origins: made for a session, kept for the next request. One that says anything while
 * it waits, or closes, is dropped. A kept connection stays in the loop's set: only its owner changes. */
#include "session/session_private.h"

#include "net/socket.h"

#include <stdlib.h>
#include <string.h>

enum {
	LINE_MAX_BYTES = 65536,
	FRESH_MS = 1000, /* origins wait longer than this before they close */
};

/* What is known of one that was kept at least once. */
struct kept {
	struct list link; /* in the list of those that wait, or unlinked */
	struct loop_timer timer;
	struct loop_task free_task;
	struct origin *origin;
	struct session_env *env;
	uint64_t since_ms;      /* it waits since then */
	struct address address; /* that was dialled */
	struct address source;
	uint16_t port;
	uint16_t host_len;
	char host[];
};

/* Small, because every tunnel has one. */
struct origin {
	struct stream stream; /* its owner: the session, or this while it waits */
	struct kept *kept;    /* NULL: never kept */
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
	memset(env->refused, 0, sizeof(env->refused));
	env->refused_at = 0;
	buf_init(&env->line, LINE_MAX_BYTES);
	env->idle_origins = idle;
	return asked_origins_new(&env->asked) || pins_table_new(&env->pins) ? ERR_MEMORY : ERR_NONE;
}

/* ---- of one session ---- */

static struct origin *origin_of(struct stream *stream)
{
	return CONTAINER_OF(stream, struct origin, stream);
}

const size_t origin_bytes = sizeof(struct origin);

void origin_use(struct session *session, struct stream *stream)
{
	origin_free(session);
	stream->owner = session;
	stream->on_ready = on_origin_ready;
	session->origin = stream;
	session_set_class(session, session->client.io.class);
}

void origin_close(struct session *session, bool reset)
{
	if (session->origin)
		stream_close(session->origin, reset);
}

void origin_free(struct session *session)
{
	struct origin *origin;

	if (session->origin == NULL)
		return;
	origin = origin_of(session->origin);
	stream_close(&origin->stream, false);
	free(origin->kept);
	free(origin);
	session->origin = NULL;
}

/* ---- those that wait ---- */

static void run_free(struct loop_task *task)
{
	struct kept *kept = CONTAINER_OF(task, struct kept, free_task);

	free(kept->origin);
	free(kept);
}

static void unlink_kept(struct kept *kept)
{
	list_remove(&kept->link);
	kept->env->idle_origins->count--;
	kept->env->metrics->origin_idle--;
	loop_timer_clear(kept->env->loop, &kept->timer);
}

static void drop(struct kept *kept)
{
	stream_close(&kept->origin->stream, false);
	unlink_kept(kept);
	loop_defer(kept->env->loop, &kept->free_task);
}

void session_env_fini(struct session_env *env)
{
	struct list *link;

	while ((link = list_first(&env->idle_origins->list)) != NULL) {
		struct kept *kept = LIST_ENTRY(link, struct kept, link);

		stream_close(&kept->origin->stream, false);
		unlink_kept(kept);
		run_free(&kept->free_task);
	}
	free(env->idle_origins);
	asked_origins_free(env->asked);
	pins_table_free(env->pins);
	buf_fini(&env->line);
}

static void on_idle_ready(struct stream *stream, unsigned events)
{
	if (events & ~(unsigned)LOOP_WRITABLE)
		drop(stream->owner);
}

static void on_idle_due(struct loop_timer *timer)
{
	drop(CONTAINER_OF(timer, struct kept, timer));
}

static struct address source_of(const struct session *session)
{
	const struct policy_decision *decision = &session->exchange->decision;

	if (decision->answers[POLICY_ROUTE].answer == ROUTE_SOURCE)
		return decision->route_source;
	return (struct address){0};
}

/* Only a connection to one of the addresses that were checked for this very request. One that has waited may be
 * closed at the very moment in which it is used: it is not for requests that cannot be sent again. */
static bool is_usable(const struct kept *kept, const struct exchange *exchange,
                      const struct address *source, uint64_t now_ms)
{
	if (now_ms - kept->since_ms > FRESH_MS && !relay_is_repeatable(exchange))
		return false;
	if (kept->port != exchange->target.host.port ||
	    !span_equal(span_of(kept->host, kept->host_len), exchange->target.host.name) ||
	    !address_equal(&kept->source, source))
		return false;
	for (size_t i = 0; i < exchange->address_count; i++)
		if (address_equal(&kept->address, &exchange->addresses[i]))
			return true;
	return false;
}

bool origin_pool_take(struct session *session)
{
	struct session_idle_origins *idle_origins = session->env->idle_origins;
	struct address source = source_of(session);

	/* From the end: the one that was used last is the most likely to live. */
	for (struct list *link = idle_origins->list.previous; link != &idle_origins->list;
	     link = link->previous) {
		struct kept *kept = LIST_ENTRY(link, struct kept, link);

		if (!is_usable(kept, session->exchange, &source, loop_now_ms(session->env->loop)))
			continue;
		/* What came since the last look would be taken for the next response. */
		if (!socket_is_quiet(kept->origin->stream.io.fd))
			continue;
		unlink_kept(kept);
		origin_free(session);
		session->origin = &kept->origin->stream;
		session->origin->owner = session;
		session->origin->on_ready = on_origin_ready;
		session->exchange->origin = kept->address;
		return true;
	}
	return false;
}

static struct kept *new_kept(struct session *session, struct origin *origin)
{
	struct span host = session->exchange->target.host.name;
	struct kept *kept = calloc(1, sizeof(*kept) + host.len);

	if (kept == NULL)
		return NULL;
	list_init(&kept->link);
	kept->origin = origin;
	kept->env = session->env;
	kept->timer.on_due = on_idle_due;
	kept->free_task.run = run_free;
	kept->address = session->exchange->origin;
	kept->source = source_of(session);
	kept->port = session->exchange->target.host.port;
	kept->host_len = (uint16_t)host.len;
	memcpy(kept->host, host.at, host.len);
	origin->kept = kept;
	return kept;
}

void origin_pool_give(struct session *session)
{
	struct session_env *env = session->env;
	const struct session_conf *conf = session_conf_of(session);
	struct origin *origin = origin_of(session->origin);
	struct kept *kept;

	if (conf->limits.origin_idle_count == 0 || env->draining ||
	    (session->origin->ready & ~(unsigned)LOOP_WRITABLE)) {
		origin_close(session, false);
		return;
	}
	if (env->idle_origins->count >= conf->limits.origin_idle_count)
		drop(LIST_ENTRY(env->idle_origins->list.next, struct kept, link));
	/* What was taken from here leads to where it led. */
	kept = origin->kept ? origin->kept : new_kept(session, origin);
	if (kept == NULL) {
		origin_close(session, false);
		return;
	}
	session->origin = NULL;
	kept->since_ms = loop_now_ms(env->loop);
	origin->stream.owner = kept;
	origin->stream.on_ready = on_idle_ready;
	list_add_last(&env->idle_origins->list, &kept->link);
	env->idle_origins->count++;
	env->metrics->origin_idle++;
	loop_timer_set(env->loop, &kept->timer, conf->timeouts.origin_keep_alive_ms);
}
