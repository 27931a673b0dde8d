/* SPDX-License-Identifier: Apache-2.0 */
#include "process/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/pipes.h"
#include "process/acceptor.h"
#include "process/generation.h"
#include "process/ipc.h"
#include "process/ring.h"
#include "process/sandbox.h"
#include "process/shared.h"
#include "tls/leaves.h"

enum {
	TICK_MS = 1000,
	DRAIN_TICK_MS = 50,
	SWEEP_MS = 1,
	CUT_PER_TURN = 500,
	TELL_MS = 60000,
	PIPES_OF_ALL_BYTES = 60 << 20, /* the kernel grants a user 64 MiB (facts of performance) */
	IDS_PER_MS = 16,
	PAGE_MAX_BYTES = IPC_BYTES_MAX - 1024,
	CUTS_MAX_BYTES = 1 << 19,
	SEND_AGAIN_MS = 10,
	ANSWERS_PER_TURN = 64,
	LEAVES = 2000,
	SWEEP_AUTH_MS = 30000,
};

#define IDS_SINCE_MS UINT64_C(1767225600000) /* 2026-01-01 */

struct worker {
	struct loop *loop;
	struct loop_io channel;
	struct loop_timer tick;
	struct session_env env;
	struct places places;
	const struct metrics *metrics[PLACES_WORKERS_MAX]; /* of all workers */
	struct acceptor *acceptor;
	struct ring *ring;
	int bell;
	int pages; /* to the public role */
	struct loop_io verifier, signer; /* fd -1: it does not run */
	struct auth_env auth_env;
	struct rate_table rate_table;
	struct meters meters;
	struct ticket_seed ticket_seed;
	struct ipc_message answer;     /* of the verifier, of the signer */
	struct generation *generation; /* the one in force; this holds one reference */
	struct generation *next;       /* on its way into reach; its message is in `message` */
	struct list unused;            /* generations that nobody has any more, and that go piece by piece */
	struct loop_timer sweep;
	size_t worker_count;
	bool is_draining;
	/* sessions that a new policy denies are ended some at a time; then the parent is told which, and that the
	 * generation is in force */
	bool is_switching;
	struct session_cuts cuts;
	struct loop_timer send_again;
	uint64_t surprises_seen, auth_swept_ms, limit_told_ms, dropped_told_ms, dropped_told, shared_told_ms;
	struct ipc_message message;
};

/* ---- what sessions are lent ---- */

static void write_access(void *context, struct span line)
{
	struct worker *worker = context;

	if (!ring_write(worker->ring, worker->bell, RING_ACCESS, line))
		worker->env.metrics->access_dropped_total++;
}

/* For a packet analyser, where the configuration says so. */
static void write_secrets(void *context, struct span line)
{
	struct worker *worker = context;

	ring_write(worker->ring, worker->bell, RING_SECRETS, line);
}

static void use_tls(struct worker *worker, const struct inspection_conf *conf)
{
	tls_contexts_use(worker->env.tls, conf);
	tls_contexts_set_secrets(worker->env.tls, conf->secrets[0] ? write_secrets : NULL, worker);
}

static void write_event(void *context, enum log_level level, struct span line)
{
	struct worker *worker = context;

	ring_write(worker->ring, worker->bell, RING_EVENT + (uint32_t)level, line);
}

/* What goes on and on is told once a minute. */
static bool is_time_to_tell(const struct worker *worker, uint64_t *told_ms)
{
	uint64_t now_ms = loop_now_ms(worker->loop);

	if (*told_ms && now_ms - *told_ms < TELL_MS)
		return false;
	*told_ms = now_ms;
	return true;
}

static void tell_dropped(struct worker *worker)
{
	uint64_t dropped = worker->env.metrics->access_dropped_total;

	if (dropped <= worker->dropped_told || !ring_is_half_empty(worker->ring) ||
	    !is_time_to_tell(worker, &worker->dropped_told_ms))
		return;
	log_event(EV_LOG_DROPPED, "lines=%llu", (unsigned long long)(dropped - worker->dropped_told));
	worker->dropped_told = dropped;
}

static void tell_shared(struct worker *worker)
{
	uint64_t *count = &worker->rate_table.shared_count;

	if (*count == 0)
		return;
	worker->env.metrics->rate_shared_total += *count;
	*count = 0;
	if (is_time_to_tell(worker, &worker->shared_told_ms))
		log_event(EV_RATES_SHARED, "worker=%u", worker->env.worker);
}

static enum err enter(void *context, const struct address *client)
{
	struct worker *worker = context;
	const struct limits_conf *limits = &worker->env.current->conf->limits;
	enum err err = places_enter(&worker->places, client, limits->sessions,
	                            limits->sessions_per_client);

	if (err && is_time_to_tell(worker, &worker->limit_told_ms))
		log_event(EV_LIMIT_REACHED, "%s",
		          err == ERR_LIMIT_CLIENT ? "limits.sessions_per_client" : "limits.sessions");
	return err;
}

static void leave(void *context, const struct address *client)
{
	struct worker *worker = context;

	places_leave(&worker->places, client);
	if (worker->acceptor)
		acceptor_resume(worker->acceptor);
}

static bool enter_media(void *context, const struct address *client)
{
	struct worker *worker = context;

	return places_enter_media(&worker->places, client, worker->env.current->conf->classes.media.per_client_count);
}

static void leave_media(void *context, const struct address *client)
{
	struct worker *worker = context;

	places_leave_media(&worker->places, client);
}

/* The public role takes no address from anybody but us. */
static int open_pages(void *context, const struct address *client)
{
	struct worker *worker = context;
	int ends[2];
	enum err err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	err = ipc_send(worker->pages, IPC_CLIENT, 0, span_of(client, sizeof(*client)), &ends[1], 1);
	close(ends[1]);
	if (err == ERR_NONE)
		return ends[0];
	close(ends[0]);
	return -1;
}

static void on_tick(struct loop_timer *timer)
{
	struct worker *worker = CONTAINER_OF(timer, struct worker, tick);
	struct metrics *metrics = worker->env.metrics;

	metrics->loop_turns_total = loop_turns_count(worker->loop);
	metrics->longest_turn_us = loop_longest_turn_us(worker->loop);
	metrics->surprises_total += log_surprise_count() - worker->surprises_seen;
	worker->surprises_seen = log_surprise_count();
	tell_dropped(worker);
	tell_shared(worker);
	if (loop_now_ms(worker->loop) - worker->auth_swept_ms > SWEEP_AUTH_MS) {
		worker->auth_swept_ms = loop_now_ms(worker->loop);
		auth_sweep(worker->env.auth);
	}
	if (worker->is_draining && list_is_empty(&worker->env.sessions))
		loop_stop(worker->loop);
	loop_timer_set(worker->loop, timer, worker->is_draining ? DRAIN_TICK_MS : TICK_MS);
}

/* ---- the verifier ---- */

static enum err send_ask(void *context, uint64_t id, struct span ask)
{
	struct worker *worker = context;

	return worker->verifier.fd < 0 ? ERR_SYSTEM : ipc_send(worker->verifier.fd, IPC_VERIFY, id, ask, NULL, 0);
}

static void lose_verifier(struct worker *worker)
{
	if (worker->verifier.fd < 0)
		return;
	loop_close(worker->loop, &worker->verifier);
	auth_lose_verifier(worker->env.auth);
}

static bool take_answer(struct worker *worker)
{
	struct ipc_message *answer = &worker->answer;

	return answer->type == IPC_NAMES ? auth_take_names(worker->env.auth, answer->payload)
	                                 : auth_take_answer(worker->env.auth, answer->id, answer->payload);
}

static void on_verifier(struct loop_io *io, unsigned events)
{
	const uint32_t sends = UINT32_C(1) << IPC_VERIFIED | UINT32_C(1) << IPC_NAMES;
	struct worker *worker = CONTAINER_OF(io, struct worker, verifier);
	enum ipc_got got = IPC_EMPTY;
	bool is_valid = true;

	for (int i = 0; i < ANSWERS_PER_TURN && is_valid; i++) {
		got = ipc_receive(io->fd, sends, &worker->answer);
		if (got == IPC_EMPTY)
			return;
		if (got != IPC_GOT)
			break;
		is_valid = take_answer(worker);
		explicit_bzero(worker->answer.bytes, worker->answer.payload.len);
		ipc_drop(&worker->answer);
	}
	if (got == IPC_GOT && is_valid) {
		loop_again(worker->loop, io, events);
		return;
	}
	if (got != IPC_CLOSED)
		log_event(EV_ROLE_MESSAGE, "role=verifier what=answer");
	lose_verifier(worker);
}

/* ---- the signer ---- */

static enum err send_question(void *context, uint64_t id, struct span question)
{
	struct worker *worker = context;

	return worker->signer.fd < 0 ? ERR_SYSTEM : ipc_send(worker->signer.fd, IPC_MINT, id, question, NULL, 0);
}

static void lose_signer(struct worker *worker)
{
	if (worker->signer.fd < 0)
		return;
	loop_close(worker->loop, &worker->signer);
	leaves_lose_signer(worker->env.leaves);
}

static bool take_leaf(struct worker *worker)
{
	struct ipc_message *answer = &worker->answer;
	bool is_valid;

	if (answer->type == IPC_LEAF)
		return leaves_take_answer(worker->env.leaves, answer->id, answer->payload);
	is_valid = leaves_take_key(worker->env.leaves, answer->payload);
	explicit_bzero(answer->bytes, sizeof(struct ipc_header) + answer->payload.len);
	return is_valid;
}

static void on_signer(struct loop_io *io, unsigned events)
{
	const uint32_t sends = UINT32_C(1) << IPC_LEAF | UINT32_C(1) << IPC_LEAF_KEY;
	struct worker *worker = CONTAINER_OF(io, struct worker, signer);
	enum ipc_got got = IPC_EMPTY;
	bool is_valid = true;

	for (int i = 0; i < ANSWERS_PER_TURN && is_valid; i++) {
		got = ipc_receive(io->fd, sends, &worker->answer);
		if (got == IPC_EMPTY)
			return;
		if (got != IPC_GOT)
			break;
		is_valid = take_leaf(worker);
		ipc_drop(&worker->answer);
	}
	if (got == IPC_GOT && is_valid) {
		loop_again(worker->loop, io, events);
		return;
	}
	if (got != IPC_CLOSED)
		log_event(EV_ROLE_MESSAGE, "role=signer what=answer");
	lose_signer(worker);
}

/* A new one, or a new way to it. */
static enum err take_channel(struct worker *worker)
{
	struct ipc_channel head;
	struct loop_io *io;

	memcpy(&head, worker->message.payload.at, sizeof(head));
	if (head.role != ROLE_VERIFIER && head.role != ROLE_SIGNER)
		return ERR_MESSAGE;
	if (head.role == ROLE_SIGNER)
		lose_signer(worker);
	else
		lose_verifier(worker);
	io = head.role == ROLE_SIGNER ? &worker->signer : &worker->verifier;
	*io = (struct loop_io){.fd = ipc_take_fd(&worker->message, 0),
	                       .on_ready = head.role == ROLE_SIGNER ? on_signer : on_verifier};
	return loop_watch(worker->loop, io);
}

/* ---- generations ---- */

/* Unmapping a large policy takes as long as mapping it: a slice at a time. */
static void on_sweep(struct loop_timer *timer)
{
	struct worker *worker = CONTAINER_OF(timer, struct worker, sweep);
	struct generation *generation;

	if (list_is_empty(&worker->unused))
		return;
	generation = CONTAINER_OF(worker->unused.next, struct generation, link);
	list_remove(&generation->link);
	if (generation_free_some(generation))
		list_add_last(&worker->unused, &generation->link);
	if (!list_is_empty(&worker->unused))
		loop_timer_set(worker->loop, timer, SWEEP_MS);
}

static void on_unused(void *context, struct generation *generation)
{
	struct worker *worker = context;

	list_add_last(&worker->unused, &generation->link);
	if (worker->loop)
		loop_timer_set(worker->loop, &worker->sweep, SWEEP_MS);
}

/* In force at once, also for sessions that run. */
static void use_rates(struct worker *worker, const struct limits_conf *limits)
{
	worker->meters.rates[METER_CLIENT] = limits->rate_per_client;
	worker->meters.rates[METER_USER] = limits->rate_per_user;
	worker->meters.burst_ms = limits->rate_burst_ms;
}

static void switch_to(struct worker *worker, struct generation *next)
{
	struct generation *previous = worker->generation;

	worker->generation = next;
	worker->env.current = &next->session;
	loop_set_slice(worker->loop, next->session.conf->classes.bulk.slice_bytes);
	use_rates(worker, &next->session.conf->limits);
	worker->env.own = next->own;
	worker->env.own_count = next->own_count;
	if (worker->env.auth)
		auth_use(worker->env.auth, next->session.auth);
	if (worker->env.tls)
		use_tls(worker, &next->settings.inspection);
	log_set_level((enum log_level)next->settings.events.level);
	if (previous)
		session_generation_unref(&previous->session);
}

static enum err use_listeners(struct worker *worker, const struct generation_parts *parts)
{
	struct address addresses[GENERATION_LISTENERS_MAX];
	int fds[GENERATION_LISTENERS_MAX];
	size_t count = parts->head.listener_count;

	if (count != worker->generation->settings.listen.count ||
	    worker->message.fd_count != GENERATION_FDS + count)
		return ERR_MESSAGE;
	for (size_t i = 0; i < count; i++) {
		addresses[i] = generation_address(parts->listeners, i);
		fds[i] = ipc_take_fd(&worker->message, GENERATION_FDS + i);
	}
	return acceptor_use(worker->acceptor, &worker->generation->settings.listen, addresses, fds);
}

/* The id of a generation's message is its number. */
static enum err acknowledge(struct worker *worker)
{
	uint64_t number = worker->generation->session.number;
	struct ipc_ready ready = {number, worker->cuts.count};

	return ipc_send(worker->channel.fd, IPC_READY, number, span_of(&ready, sizeof(ready)), NULL,
	                0);
}

/* Whole lines, as many as there is room for in a message. */
static enum err send_cuts(struct worker *worker)
{
	struct buf *lines = &worker->cuts.lines;

	while (buf_len(lines)) {
		struct span page = span_first(buf_span(lines), PAGE_MAX_BYTES);
		enum err err;

		page = span_first(page, span_find_last(page, '\n') + 1);
		err = ipc_send(worker->channel.fd, IPC_CUT_PAGE, worker->generation->session.number, page,
		               NULL, 0);
		if (err)
			return err;
		buf_consume(lines, page.len);
	}
	return ERR_NONE;
}

static void end_switch(struct worker *worker)
{
	worker->is_switching = false;
	loop_timer_clear(worker->loop, &worker->send_again);
	buf_fini(&worker->cuts.lines);
}

static void begin_switch(struct worker *worker, bool cuts)
{
	end_switch(worker);
	worker->is_switching = true;
	worker->cuts = (struct session_cuts){.count = 0};
	buf_init(&worker->cuts.lines, CUTS_MAX_BYTES);
	if (cuts)
		session_cut_begin(&worker->env);
}

/* The next step of it. A parent that is slow is asked again later: what serves is not ended for that. */
static enum err switch_on(struct worker *worker)
{
	struct session_cuts *cuts = &worker->cuts;
	enum err err;

	if (worker->env.cut_next) {
		if (session_cut_some(&worker->env, CUT_PER_TURN, cuts)) {
			loop_again(worker->loop, &worker->channel, 0);
			return ERR_NONE;
		}
		if (cuts->count > cuts->told)
			log_event(EV_CUT, "more=%zu", cuts->count - cuts->told);
	}
	err = send_cuts(worker);
	if (err == ERR_NONE)
		err = acknowledge(worker);
	if (err == ERR_LIMIT) {
		loop_timer_set(worker->loop, &worker->send_again, SEND_AGAIN_MS);
		return ERR_NONE;
	}
	end_switch(worker);
	return err;
}

/* In reach: switch over to it. */
static enum err use_next(struct worker *worker)
{
	struct generation *next = worker->next;
	struct generation_parts parts;
	enum err err;

	worker->next = NULL;
	if (!generation_parse(worker->message.payload, &parts))
		return ERR_MESSAGE;
	err = resolver_set_conf(worker->env.resolver, next->session.dns);
	switch_to(worker, next);
	if (err == ERR_NONE && !worker->is_draining)
		err = use_listeners(worker, &parts);
	begin_switch(worker, parts.head.cut);
	return err ? err : switch_on(worker);
}

/* A slice per turn; no other message is taken meanwhile. */
static enum err populate_some(struct worker *worker)
{
	if (!generation_populate_some(worker->next))
		return use_next(worker);
	loop_again(worker->loop, &worker->channel, 0);
	return ERR_NONE;
}

static enum err take_generation(struct worker *worker)
{
	struct generation_parts parts;
	enum err err;

	if (!generation_parse(worker->message.payload, &parts))
		return ERR_MESSAGE;
	err = generation_open(&worker->message, &parts, on_unused, worker, &worker->next);
	return err ? err : populate_some(worker);
}

/* ---- the parent's messages ---- */

static enum err send_sessions(struct worker *worker)
{
	struct ipc_sessions ask;
	struct ipc_sessions_page page = {0, 1, 0};
	struct buf lines, payload;
	enum err err = ERR_MEMORY;

	memcpy(&ask, worker->message.payload.at, sizeof(ask));
	buf_init(&lines, PAGE_MAX_BYTES);
	buf_init(&payload, IPC_BYTES_MAX);
	page.last_id = ask.after_id;
	page.is_last = !session_list(&worker->env, ask.after_id, ask.count, &lines, &page.last_id);
	buf_add(&payload, span_of(&page, sizeof(page)));
	/* Names are bounded, so a page that does not fit does not come up; if it did, it would be left out. */
	if (buf_is_whole(&lines))
		buf_add(&payload, buf_span(&lines));
	if (buf_is_whole(&payload))
		err = ipc_send(worker->channel.fd, IPC_SESSIONS_PAGE, worker->message.id,
		               buf_span(&payload), NULL, 0);
	buf_fini(&lines);
	buf_fini(&payload);
	return err;
}

static void drain(struct worker *worker)
{
	worker->is_draining = true;
	acceptor_stop(worker->acceptor);
	session_drain(&worker->env);
	loop_timer_set(worker->loop, &worker->tick, DRAIN_TICK_MS);
}

static void stop(struct worker *worker)
{
	worker->is_draining = true;
	acceptor_stop(worker->acceptor);
	session_stop_all(&worker->env);
	loop_stop(worker->loop);
}

static enum err on_message(struct worker *worker)
{
	switch ((unsigned)worker->message.type) {
	case IPC_GENERATION:
		return take_generation(worker);
	case IPC_SESSIONS:
		return send_sessions(worker);
	case IPC_CHANNEL:
		return take_channel(worker);
	case IPC_DRAIN:
		drain(worker);
		return ERR_NONE;
	case IPC_STOP:
		stop(worker);
		return ERR_NONE;
	default:
		return ERR_MESSAGE;
	}
}

/* A worker that is not what the parent thinks it is must not go on serving. */
static void end_if(struct worker *worker, enum err err)
{
	if (err == ERR_NONE)
		return;
	log_event(EV_ROLE_MESSAGE, "role=parent type=%s error=%s",
	          ipc_type_name(worker->message.type), err_name(err));
	exit(1);
}

static void on_channel(struct loop_io *io, unsigned events)
{
	struct worker *worker = CONTAINER_OF(io, struct worker, channel);
	enum ipc_got got;

	(void)events;
	if (worker->is_switching)
		end_if(worker, switch_on(worker));
	if (worker->next) {
		end_if(worker, populate_some(worker));
		if (worker->next)
			return;
		ipc_drop(&worker->message);
	}
	while ((got = ipc_receive(io->fd, roles_row(ROLE_PARENT)->sends, &worker->message)) ==
	       IPC_GOT) {
		end_if(worker, on_message(worker));
		if (worker->next)
			return;
		ipc_drop(&worker->message);
	}
	if (got != IPC_EMPTY)
		stop(worker); /* the parent has gone */
}

static void on_send_again(struct loop_timer *timer)
{
	struct worker *worker = CONTAINER_OF(timer, struct worker, send_again);

	end_if(worker, switch_on(worker));
}

/* ---- beginning and end ---- */

/* Descriptors of IPC_START before the pages. */
enum { WORKER_FDS = 6 };

static bool map_nonces(int fd, size_t slots, struct digest_table *table)
{
	void *at = shared_map(fd, digest_table_bytes(slots), true);

	if (at)
		digest_table_init(table, at, slots);
	return at != NULL;
}

static bool map_rates(int fd, size_t slots, struct rate_table *table)
{
	void *at = shared_map(fd, rate_table_bytes(slots), true);

	if (at)
		rate_table_init(table, at, slots);
	return at != NULL;
}

static enum err map_regions(struct worker *worker, const struct ipc_start *start, unsigned number)
{
	struct ipc_message *message = &worker->message;
	size_t page_bytes = places_page_bytes((size_t)start->slot_count);

	if (start->worker_count > PLACES_WORKERS_MAX || number >= start->worker_count ||
	    message->fd_count != WORKER_FDS + (size_t)start->worker_count || start->slot_count == 0 ||
	    (start->slot_count & (start->slot_count - 1)))
		return ERR_MESSAGE;
	worker->worker_count = start->worker_count;
	worker->places.slot_count = (size_t)start->slot_count;
	worker->places.key = start->client_key;
	worker->places.count = start->worker_count;
	worker->places.own = shared_map(message->fds[0], page_bytes, true);
	worker->ring = shared_map(message->fds[1], sizeof(struct ring), true);
	worker->bell = ipc_take_fd(message, 2);
	worker->pages = ipc_take_fd(message, 3);
	if (!map_nonces(message->fds[4], (size_t)start->nonce_slots, &worker->auth_env.table) ||
	    !map_rates(message->fds[5], worker->places.slot_count, &worker->rate_table))
		return ERR_SYSTEM;
	worker->meters.key = start->client_key;
	memcpy(worker->auth_env.keys.current, start->nonce_key, sizeof(start->nonce_key));
	worker->ticket_seed = start->ticket_seed;
	for (size_t i = 0; i < worker->places.count; i++) {
		worker->places.pages[i] = i == number
		                                  ? worker->places.own
		                                  : shared_map_changing(message->fds[WORKER_FDS + i], page_bytes);
		if (worker->places.pages[i] == NULL)
			return ERR_SYSTEM;
	}
	return worker->places.own && worker->ring ? ERR_NONE : ERR_SYSTEM;
}

static enum err take_start(struct worker *worker, unsigned number)
{
	struct ipc_start start;
	enum err err = ipc_expect(worker->channel.fd, roles_row(ROLE_PARENT)->sends, IPC_START,
	                          &worker->message);

	if (err)
		return err;
	memcpy(&start, worker->message.payload.at, sizeof(start));
	err = sandbox_drop(ROLE_WORKER, &start);
	if (err == ERR_NONE)
		err = map_regions(worker, &start, number);
	explicit_bzero(&start, sizeof(start));
	explicit_bzero(worker->message.bytes, worker->message.payload.len);
	ipc_drop(&worker->message);
	return err;
}

static enum err make_env(struct worker *worker, unsigned number)
{
	const struct leaves_env leaves_env = {worker->loop, send_question, worker,
	                                      &worker->places.own->metrics.leaves_signed_total};
	struct session_env *env = &worker->env;
	enum err err;

	env->loop = worker->meters.loop = worker->loop;
	env->meters = &worker->meters;
	env->metrics = &worker->places.own->metrics;
	for (size_t i = 0; i < worker->places.count; i++)
		worker->metrics[i] = &worker->places.pages[i]->metrics;
	env->workers = worker->metrics;
	env->worker_count = worker->places.count;
	worker->dropped_told = env->metrics->access_dropped_total; /* of those before this one */
	worker->meters.table = &worker->rate_table;
	worker->meters.waits_total = &env->metrics->rate_waits_total;
	worker->meters.waited_ms_total = &env->metrics->rate_waited_ms_total;
	env->worker = number;
	env->context = worker;
	env->write_access = write_access;
	env->enter = enter;
	env->enter_media = enter_media;
	env->leave_media = leave_media;
	env->leave = leave;
	env->open_pages = open_pages;
	list_init(&env->sessions);
	/* Ids stay unique in the logs when a worker is started again. */
	env->next_id = (clock_wall_ms() - IDS_SINCE_MS) * IDS_PER_MS;
	worker->auth_env.context = worker;
	worker->auth_env.send = send_ask;
	worker->auth_env.metrics = &env->metrics->auth;
	err = auth_new(&worker->auth_env, &env->auth);
	explicit_bzero(&worker->auth_env.keys, sizeof(worker->auth_env.keys));
	if (err)
		return err;
	auth_use(env->auth, worker->generation->session.auth);
	err = tls_contexts_new(&worker->generation->settings.inspection, &worker->ticket_seed, clock_wall_ms(), &env->tls);
	explicit_bzero(&worker->ticket_seed, sizeof(worker->ticket_seed));
	if (err)
		return err;
	use_tls(worker, &worker->generation->settings.inspection);
	err = leaves_new(&leaves_env, LEAVES, &env->leaves);
	if (err)
		return err;
	err = resolver_new(worker->loop, worker->generation->session.dns, &env->resolver);
	if (err == ERR_NONE)
		err = pipes_new(PIPES_OF_ALL_BYTES / worker->worker_count, &env->pipes);
	if (err == ERR_NONE)
		err = session_env_init(env);
	if (err == ERR_NONE)
		err = acceptor_new(env, &worker->places, worker->bell, &worker->acceptor);
	return err;
}

/* The first generation is needed to make what the sandbox must not see made. */
static enum err take_first_generation(struct worker *worker, unsigned number)
{
	struct generation_parts parts;
	struct generation *first;
	enum err err = ipc_expect(worker->channel.fd, roles_row(ROLE_PARENT)->sends, IPC_GENERATION,
	                          &worker->message);

	if (err)
		return err;
	if (!generation_parse(worker->message.payload, &parts))
		return ERR_MESSAGE;
	err = generation_open(&worker->message, &parts, on_unused, worker, &first);
	if (err)
		return err;
	switch_to(worker, first);
	err = make_env(worker, number);
	if (err == ERR_NONE)
		err = sandbox_close(ROLE_WORKER);
	if (err == ERR_NONE)
		err = use_listeners(worker, &parts);
	if (err == ERR_NONE)
		err = acknowledge(worker);
	ipc_drop(&worker->message);
	return err;
}

static enum err set_up(struct worker *worker, unsigned number)
{
	enum err err = take_start(worker, number);

	if (err)
		return err;
	log_set_sink(write_event, worker);
	err = loop_new(&worker->loop);
	if (err == ERR_NONE)
		err = take_first_generation(worker, number);
	if (err)
		return err;
	worker->channel.on_ready = on_channel;
	worker->tick.on_due = on_tick;
	worker->send_again.on_due = on_send_again;
	loop_timer_set(worker->loop, &worker->tick, TICK_MS);
	atomic_store(&worker->places.own->is_accepting, 1);
	if (fcntl(worker->channel.fd, F_SETFL, O_NONBLOCK) < 0)
		return ERR_SYSTEM;
	return loop_watch(worker->loop, &worker->channel);
}

static void tear_down(struct worker *worker)
{
	atomic_store(&worker->places.own->is_accepting, 0);
	end_switch(worker);
	acceptor_free(worker->acceptor);
	worker->acceptor = NULL;
	session_env_fini(&worker->env);
	if (worker->verifier.fd >= 0)
		loop_close(worker->loop, &worker->verifier);
	if (worker->signer.fd >= 0)
		loop_close(worker->loop, &worker->signer);
	leaves_free(worker->env.leaves);
	auth_free(worker->env.auth);
	tls_contexts_free(worker->env.tls);
	resolver_free(worker->env.resolver);
	pipes_free(worker->env.pipes);
	session_generation_unref(&worker->generation->session);
	if (worker->next) { /* it was on its way */
		session_generation_unref(&worker->next->session);
		ipc_drop(&worker->message);
	}
	loop_timer_clear(worker->loop, &worker->tick);
	loop_timer_clear(worker->loop, &worker->sweep);
	while (!list_is_empty(&worker->unused)) {
		struct generation *generation = CONTAINER_OF(worker->unused.next, struct generation, link);

		list_remove(&generation->link);
		while (generation_free_some(generation))
			;
	}
	loop_free(worker->loop);
}

int worker_main(int channel, unsigned number)
{
	static struct worker worker;
	enum err err;

	/* Writing to a socket that was closed is an error to handle, not an end. */
	signal(SIGPIPE, SIG_IGN);
	worker.channel.fd = channel;
	worker.verifier.fd = worker.signer.fd = -1;
	worker.sweep.on_due = on_sweep;
	list_init(&worker.unused);
	err = set_up(&worker, number);
	if (err) {
		log_event(EV_SYSTEM, "role=worker number=%u what=start error=%s errno=%d", number,
		          err_name(err), errno);
		return 1;
	}
	loop_run(worker.loop);
	tear_down(&worker);
	return 0;
}
