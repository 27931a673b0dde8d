/* SPDX-License-Identifier: Apache-2.0 */
#include "session/session_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "net/socket.h"
#include "session/h2/h2.h"
#include "session/inspect.h"
#include "session/media_tunnel.h"

enum { STEPS_PER_TURN = 100 };

#define TO(state) (1u << SESSION_##state)
#define CARRYING (TO(TUNNEL) | TO(RELAY) | TO(SERVE_H2)) /* content, which has rate limits */

struct state_row {
	const char *name;
	enum step (*run)(struct session *session);
	size_t timeout;  /* offset into struct timeouts_conf, or NO_TIMEOUT */
	enum err on_due; /* what its timeout means */
	unsigned may_go;
};

#define NO_TIMEOUT SIZE_MAX
#define TIMEOUT(member) offsetof(struct timeouts_conf, member)

static enum step step_end(struct session *session);

/* One row per state: its function, its timeout and what that means, its legal successors. Every
 * state may go to END. */
static const struct state_row states[SESSION_STATE_COUNT] = {
	[SESSION_READ_PROXY] = {"read_proxy", step_read_proxy, TIMEOUT(head_ms), ERR_PROXY_PROTOCOL,
	                        TO(READ_HEAD) | TO(REFUSE)},
	[SESSION_READ_HEAD] = {"read_head", step_read_head, TIMEOUT(keep_alive_ms), ERR_REQUEST_TIMEOUT,
	                       TO(DECIDE) | TO(REFUSE) | TO(LINGER)},
	[SESSION_DECIDE] = {"decide", step_decide, NO_TIMEOUT, ERR_INTERNAL,
	                    TO(AUTHENTICATE) | TO(RESOLVE) | TO(DIAL) | TO(RELAY) | TO(REFUSE)},
	[SESSION_AUTHENTICATE] = {"authenticate", step_authenticate, TIMEOUT(auth_ms), ERR_AUTH_TIMEOUT,
	                          TO(DECIDE) | TO(REFUSE)},
	[SESSION_RESOLVE] = {"resolve", step_resolve, TIMEOUT(dns_ms), ERR_DNS_TIMEOUT,
	                     TO(DIAL) | TO(REFUSE)},
	[SESSION_DIAL] = {"dial", step_dial, TIMEOUT(connect_ms), ERR_ORIGIN_CONNECT_TIMEOUT,
	                  TO(READ_HELLO) | TO(TUNNEL) | TO(RELAY) | TO(REFUSE)},
	[SESSION_READ_HELLO] = {"read_hello", step_read_hello, TIMEOUT(hello_ms), ERR_HELLO_TIMEOUT,
	                        TO(TUNNEL) | TO(TLS_ORIGIN) | TO(MINT) | TO(READ_HEAD) | TO(LINGER)},
	[SESSION_TLS_ORIGIN] = {"tls_origin", step_tls_origin, TIMEOUT(tls_ms), ERR_ORIGIN_TLS_TIMEOUT,
	                        TO(MINT) | TO(DIAL) | TO(TUNNEL)},
	[SESSION_MINT] = {"mint", step_mint, TIMEOUT(tls_ms), ERR_SIGNER_UNAVAILABLE, TO(TLS_CLIENT)},
	[SESSION_TLS_CLIENT] = {"tls_client", step_tls_client, TIMEOUT(tls_ms), ERR_CLIENT_TLS_TIMEOUT,
	                        TO(READ_HEAD) | TO(SNIFF) | TO(SERVE_H2)},
	[SESSION_SNIFF] = {"sniff", step_sniff, TIMEOUT(keep_alive_ms), ERR_NONE, TO(READ_HEAD) | TO(TUNNEL)},
	[SESSION_TUNNEL] = {"tunnel", step_tunnel, NO_TIMEOUT, ERR_HELLO_TIMEOUT, TO(READ_HELLO)},
	[SESSION_RELAY] = {"relay", step_relay, TIMEOUT(response_ms), ERR_RESPONSE_TIMEOUT,
	                   TO(READ_HEAD) | TO(RESOLVE) | TO(DIAL) | TO(TUNNEL) | TO(REFUSE) | TO(LINGER)},
	[SESSION_SERVE_H2] = {"serve_h2", step_serve_h2, TIMEOUT(keep_alive_ms), ERR_IDLE_TIMEOUT, TO(LINGER)},
	[SESSION_REFUSE] = {"refuse", step_refuse, TIMEOUT(reply_ms), ERR_CLIENT_TIMEOUT,
	                    TO(READ_HEAD) | TO(DRAIN) | TO(LINGER)},
	[SESSION_DRAIN] = {"drain", step_drain, TIMEOUT(reply_ms), ERR_NONE, TO(READ_HEAD) | TO(LINGER)},
	[SESSION_LINGER] = {"linger", step_linger, TIMEOUT(reply_ms), ERR_NONE, 0},
	[SESSION_END] = {"end", step_end, NO_TIMEOUT, ERR_NONE, 0},
};

const struct session_conf *session_conf_of(const struct session *session)
{
	return session->generation->conf;
}

struct session_generation *session_generation_ref(struct session_generation *generation)
{
	generation->references++;
	return generation;
}

void session_generation_unref(struct session_generation *generation)
{
	if (generation && --generation->references == 0)
		generation->free(generation);
}

/* In every line of the access log: printf would be most of its cost. */
static char *put_number(char *at, uint64_t number)
{
	char digits[20];
	size_t count = 0;

	do {
		digits[count++] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	while (count)
		*at++ = digits[--count];
	return at;
}

const char *session_id_text(const struct session *session, char text[static 48])
{
	char *at = put_number(text, session->env->worker);

	*at++ = '-';
	at = put_number(at, session->id);
	*at++ = '.';
	*put_number(at, session->exchange_count) = '\0';
	return text;
}

void session_set_class(struct session *session, enum loop_class class)
{
	struct stream *const streams[] = {&session->client, session->origin};

	for (int i = 0; i < 2; i++)
		if (streams[i] && stream_is_open(streams[i]) && loop_set_class(session->env->loop, &streams[i]->io, class))
			log_event(EV_SYSTEM, "class: errno=%d", errno); /* only media needs the kernel */
}

uint32_t session_since_ms(const struct session *session)
{
	const struct timing *timing = &session->exchange->timing;
	const uint32_t parts[] = {timing->auth_ms, timing->dns_ms, timing->connect_ms, timing->tls_origin_ms, timing->tls_client_ms};
	uint32_t sum = 0, all = (uint32_t)(loop_now_ms(session->env->loop) - session->exchange->started_ms);

	for (size_t i = 0; i < COUNT_OF(parts); i++)
		sum += parts[i] == ABSENT_MS ? 0 : parts[i];
	return all > sum ? all - sum : 0;
}

/* ---- the machine ---- */

void session_timeout(struct session *session, uint64_t after_ms)
{
	loop_timer_set(session->env->loop, &session->timer, after_ms);
}

bool session_is_taken(struct session *session)
{
	uint32_t now = socket_acknowledged(session->client.io.fd);
	bool is_taken;

	if (session->origin && stream_is_open(session->origin))
		now += socket_acknowledged(session->origin->io.fd);
	is_taken = now != session->acknowledged;
	session->acknowledged = now;
	return is_taken;
}

static uint64_t timeout_of(const struct session *session, enum session_state state)
{
	const struct timeouts_conf *timeouts = &session_conf_of(session)->timeouts;
	size_t at = states[state].timeout;

	/* A head that came behind another has begun already. */
	if (state == SESSION_READ_HEAD && buf_len(&session->in))
		at = TIMEOUT(head_ms);
	return at == NO_TIMEOUT ? 0
	                        : *(const uint64_t *)(const void *)((const uint8_t *)timeouts + at);
}

_Static_assert((int)SESSION_STATE_COUNT <= (int)METRICS_STATES_MAX, "metrics.h has too few states");

const char *session_state_name(unsigned state)
{
	return state < SESSION_STATE_COUNT ? states[state].name : NULL;
}

/* How long it was in the state that it leaves. */
static void note_time(struct session *session)
{
	uint32_t now_ms = (uint32_t)loop_now_ms(session->env->loop);

	metrics_note_time(&session->env->metrics->states[session->state], now_ms - session->state_since_ms);
	session->state_since_ms = now_ms;
}

enum step session_go(struct session *session, enum session_state next)
{
	const struct state_row *from = &states[session->state], *to = &states[next];

	ASSERT(next == SESSION_END || (from->may_go >> next & 1));
	if (log_level() >= LOG_LEVEL_DEBUG)
		log_event(EV_TRACE, "session=%u-%llu %s -> %s", session->env->worker,
		          (unsigned long long)session->id, from->name, to->name);
	note_time(session);
	if (session->rates && !(CARRYING >> next & 1))
		rates_stop(session);
	if (session->client.io.class == LOOP_NEW && (CARRYING >> next & 1))
		session_set_class(session, LOOP_NORMAL);
	session->state = (uint8_t)next;
	session_timeout(session, timeout_of(session, next));
	return STEP_NEXT;
}

void session_run(struct session *session)
{
	if (session->is_running)
		return;
	session->is_running = true;
	for (int steps = 1; states[session->state].run(session) == STEP_NEXT; steps++) {
		/* A client with a thousand requests in one segment lets others have their turn. */
		if (steps >= STEPS_PER_TURN && session->state == SESSION_READ_HEAD) {
			loop_again(session->env->loop, &session->client.io, 0);
			break;
		}
	}
	session->is_running = false;
}

enum step session_fail(struct session *session, enum err err, const char *detail)
{
	struct exchange *exchange = session->exchange;

	session->env->metrics->errors[err]++;
	if (exchange && exchange->err == ERR_NONE) {
		exchange->err = err;
		exchange->detail = detail ? detail : "";
	}
	/* Behind a 200 to a CONNECT there is no place for a page, but inside. */
	if (err_status(err) == 0 || (exchange && (exchange->has_response || (exchange->is_connect && exchange->status))))
		return session_go(session, SESSION_END);
	return session_go(session, SESSION_REFUSE);
}

static void on_due(struct loop_timer *timer)
{
	struct session *session = CONTAINER_OF(timer, struct session, timer);
	enum err err = states[session->state].on_due;

	if (session->state == SESSION_SERVE_H2) {
		h2_on_due(session);
		return;
	}
	if (session->state == SESSION_RELAY) {
		relay_on_due(session);
		session_run(session);
		return;
	}
	if (session->state == SESSION_TUNNEL) {
		tunnel_stop(session, err);
		return;
	}
	if (session->state == SESSION_LINGER && linger_goes_on(session))
		return;
	if (session->state == SESSION_TLS_ORIGIN || session->state == SESSION_READ_HELLO) {
		if (session->state == SESSION_READ_HELLO)
			read_hello_on_due(session);
		else
			inspect_on_origin_due(session);
		session_run(session);
		return;
	}
	if (session->state == SESSION_READ_HEAD && session->exchange == NULL &&
	    buf_len(&session->in) == 0)
		err = ERR_NONE; /* idle between requests: closed without a word */
	if (err && session->exchange == NULL && exchange_new(session) == NULL)
		err = ERR_NONE;
	if (err)
		session_fail(session, err, "");
	else
		session_go(session, SESSION_END);
	session_run(session);
}

/* ---- exchanges ---- */

struct exchange *exchange_new(struct session *session)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	const struct limits_conf *limits;
	size_t buffer_bytes;

	if (exchange == NULL)
		return NULL;
	/* Each exchange sees one generation from its begin to its end. */
	session_generation_unref(session->generation);
	session->generation = session_generation_ref(session->env->current);
	limits = &session_conf_of(session)->limits;
	if (session->in.max_bytes < limits->head_bytes + 4)
		session->in.max_bytes = limits->head_bytes + 4;
	arena_init(&exchange->arena, limits->session_bytes + limits->head_bytes);
	arena_init(&exchange->response_arena, limits->session_bytes + limits->head_bytes);
	/* A head with what policy adds, what one read may add to a buffer that has room, and trailers. */
	buffer_bytes = limits->head_bytes * 2 + limits->buffer_bytes * 2 + HTTP_TRAILERS_MAX_BYTES +
	               POLICY_HEADER_EDITS_MAX_BYTES;
	buf_init(&exchange->to_origin, buffer_bytes);
	buf_init(&exchange->to_client, buffer_bytes);
	buf_init(&exchange->from_origin, limits->head_bytes + 4);
	exchange->started_ms = loop_now_ms(session->env->loop);
	exchange->timing = (struct timing){ABSENT_MS, ABSENT_MS, ABSENT_MS, ABSENT_MS, ABSENT_MS, ABSENT_MS};
	exchange->detail = "";
	exchange->tried = AUTH_SCHEME_COUNT;
	exchange->waited_before_ms = rates_waited_ms(session);
	session->exchange = exchange;
	session->exchange_count++;
	session->env->metrics->exchanges++;
	return exchange;
}

void exchange_free(struct session *session)
{
	struct exchange *exchange = session->exchange;

	if (exchange == NULL)
		return;
	if (exchange->is_asking)
		dialog_cancel(session->dialog);
	identity_unref(exchange->identity);
	resolve_cancel(exchange->query);
	dial_cancel(exchange->dial);
	http_body_fini(&exchange->up);
	http_body_fini(&exchange->down);
	buf_fini(&exchange->to_origin);
	buf_fini(&exchange->to_client);
	buf_fini(&exchange->from_origin);
	arena_fini(&exchange->arena);
	arena_fini(&exchange->response_arena);
	free(exchange);
	session->exchange = NULL;
	session->env->metrics->exchanges--;
}

/* ---- beginning and end ---- */

static void on_client_ready(struct stream *stream, unsigned events)
{
	struct session *session = CONTAINER_OF(stream, struct session, client);

	if ((events & LOOP_BROKEN) &&
	    (session->state == SESSION_AUTHENTICATE || session->state == SESSION_RESOLVE ||
	     session->state == SESSION_DIAL))
		session_fail(session, ERR_CLIENT_RESET, "");
	session_run(session);
}

void session_take_back(struct session *session)
{
	session->client.on_ready = on_client_ready;
	session->client.owner = NULL;
	session->origin->on_ready = on_origin_ready;
	session->origin->owner = session;
}

static void free_session(struct loop_task *task)
{
	struct session *session = CONTAINER_OF(task, struct session, end_task);

	tunnel_forget(session);
	inspect_free(session);
	rates_free(session);
	origin_free(session);
	buf_fini(&session->in);
	session_generation_unref(session->generation);
	free(session);
}

/* A refused client may stay for a while, so that it can read why. Only some may at a time, or those that never go would
 * take the descriptors that others have a right to. */
static void note_refused(struct session *session)
{
	struct session_env *env = session->env;
	struct session *oldest = env->refused[env->refused_at];

	env->refused[env->refused_at] = session;
	env->refused_at = (env->refused_at + 1) % SESSION_REFUSED_MAX;
	if (oldest) {
		session_go(oldest, SESSION_END);
		session_run(oldest);
	}
}

static void forget_refused(struct session *session)
{
	for (size_t i = 0; i < SESSION_REFUSED_MAX; i++)
		if (session->env->refused[i] == session)
			session->env->refused[i] = NULL;
}

/* Behind a PROXY header there is a client that is not known yet: it is counted under no address. */
static enum err session_enter(struct session *session, const struct address *client)
{
	enum err err = session->env->enter(session->env->context, client);

	session->entered = err ? NOT_ENTERED : client->family ? ENTERED : ENTERED_UNNAMED;
	if (err)
		note_refused(session);
	return err;
}

static void session_leave(struct session *session)
{
	const struct address unnamed = {.family = 0};

	if (session->entered != NOT_ENTERED)
		session->env->leave(session->env->context, session->entered == ENTERED
		                                                   ? &session->client_address
		                                                   : &unnamed);
	session->entered = NOT_ENTERED;
}

enum err session_is_for(struct session *session, const struct address *client)
{
	session_leave(session);
	session->client_address = *client;
	return session_enter(session, client);
}

static enum step step_end(struct session *session)
{
	struct session_env *env = session->env;
	bool reset = session->exchange && session->exchange->err && session->exchange->has_response;

	if (!list_is_linked(&session->link))
		return STEP_WAIT;
	h2_free(session);
	/* An answer may come in this very turn, and there is no exchange any more. */
	inspect_cancel(session);
	inspect_log_connect(session);
	access_log_exchange(session);
	loop_timer_clear(env->loop, &session->timer);
	/* A response that was cut off must not look complete. */
	stream_close(&session->client, reset);
	origin_close(session, reset);
	exchange_free(session);
	authenticate_forget(session);
	if (session->entered == NOT_ENTERED)
		forget_refused(session);
	session_leave(session);
	env->metrics->sessions--;
	session->listener->references--;
	if (env->cut_next == &session->link)
		env->cut_next = session->link.next;
	list_remove(&session->link);
	loop_defer(env->loop, &session->end_task);
	return STEP_WAIT;
}

static bool expects_proxy_header(const struct session_listener *listener,
                                 const struct address *peer)
{
	for (size_t i = 0; i < listener->proxy_protocol.count; i++)
		if (network_has(&listener->proxy_protocol.at[i], peer))
			return true;
	return false;
}

/* Over a limit: told at once, without a look at the request. */
static void refuse_at_once(struct session *session, enum err err)
{
	if (exchange_new(session))
		session_fail(session, err, "");
	else
		session_go(session, SESSION_END);
	session_run(session);
}

void session_start(struct session_env *env, struct session_listener *listener, int fd,
                   const struct address *peer)
{
	struct session *session = calloc(1, sizeof(*session));
	const struct address unnamed = {.family = 0};
	bool is_proxied;
	enum err err;

	if (session == NULL || stream_open_plain(&session->client, env->loop, fd, on_client_ready)) {
		free(session);
		close(fd);
		return;
	}
	session->env = env;
	session->generation = session_generation_ref(env->current);
	session->listener = listener;
	listener->references++;
	session->id = ++env->next_id;
	session->client_address = *peer;
	session->timer.on_due = on_due;
	session->end_task.run = free_session;
	session_set_class(session, LOOP_NEW); /* until it carries something: session_go() */
	buf_init(&session->in, session_conf_of(session)->limits.head_bytes + 4);
	list_add_last(&env->sessions, &session->link);
	env->metrics->sessions++;
	env->metrics->sessions_total++;
	is_proxied = expects_proxy_header(listener, peer);
	session->state = is_proxied ? SESSION_READ_PROXY : SESSION_READ_HEAD;
	session->state_since_ms = (uint32_t)loop_now_ms(env->loop);
	session_timeout(session, session_conf_of(session)->timeouts.keep_alive_ms);
	err = session_enter(session, is_proxied ? &unnamed : peer);
	if (err)
		refuse_at_once(session, err);
}

/* ---- all sessions ---- */

void session_drain(struct session_env *env)
{
	env->draining = true;
	LIST_EACH(&env->sessions, link)
	{
		struct session *session = LIST_ENTRY(link, struct session, link);

		if (session->state == SESSION_READ_HEAD && session->exchange == NULL &&
		    buf_len(&session->in) == 0) {
			session_go(session, SESSION_END);
			session_run(session);
		} else if (session->state == SESSION_SERVE_H2) {
			session_run(session); /* it looks at env->draining */
		}
	}
}

void session_stop_all(struct session_env *env)
{
	LIST_EACH(&env->sessions, link)
	{
		struct session *session = LIST_ENTRY(link, struct session, link);

		if (session->state == SESSION_TUNNEL) {
			tunnel_stop(session, ERR_STOPPED);
			continue;
		}
		h2_note_end(session, ERR_STOPPED);
		if (session->exchange && session->exchange->err == ERR_NONE)
			session->exchange->err = ERR_STOPPED;
		session_go(session, SESSION_END);
		session_run(session);
	}
}

static void describe(const struct session *session, struct buf *out)
{
	uint64_t now_ms = loop_now_ms(session->env->loop);
	const struct exchange *exchange = session->exchange;
	const struct tunnel *tunnel = session->tunnel;
	const struct identity *identity = tunnel     ? tunnel->identity
	                                  : exchange ? exchange->identity
	                                             : session->identity;
	char id[48];

	buf_printf(out, "{\"id\":\"%s\",\"state\":\"%s\",\"client\":\"", session_id_text(session, id),
	           states[session->state].name);
	address_format_with_port(&session->client_address, out);
	buf_add_string(out, "\",\"listener\":");
	buf_add_json(out, span_from(session->listener->name));
	if (identity) {
		buf_add_string(out, ",\"user\":");
		buf_add_json(out, identity->user);
		buf_printf(out, ",\"scheme\":\"%s\"", auth_scheme_name(identity->scheme));
	}
	if (tunnel) {
		buf_add_string(out, ",\"target\":");
		buf_add_json(out, span_of(tunnel->text + tunnel->method_len + tunnel->host_len,
		                          tunnel->target_len));
		buf_printf(out, ",\"class\":\"%s\",\"bytes_up\":%llu,\"bytes_down\":%llu,\"age_ms\":%llu", media_tunnel_class(tunnel),
		           (unsigned long long)tunnel->pump.bytes[PUMP_CLIENT],
		           (unsigned long long)tunnel->pump.bytes[PUMP_ORIGIN],
		           (unsigned long long)(now_ms - tunnel->started_ms));
	} else if (exchange && exchange->is_parsed) {
		buf_add_string(out, ",\"host\":");
		buf_add_json(out, exchange->facts.host);
		buf_printf(out, ",\"age_ms\":%llu",
		           (unsigned long long)(now_ms - exchange->started_ms));
	} else if (session->h2) {
		buf_printf(out, ",\"streams\":%zu", h2_stream_count(session));
	}
	if (rates_slowest(session, true))
		buf_printf(out, ",\"rate\":\"%s\"", rates_slowest(session, true));
	buf_add_string(out, "}\n");
}

bool session_list(struct session_env *env, uint64_t after_id, size_t count, struct buf *out,
                  uint64_t *last_id)
{
	LIST_EACH(&env->sessions, link)
	{
		const struct session *session = LIST_ENTRY(link, struct session, link);

		if (session->id <= after_id)
			continue;
		if (count-- == 0)
			return true;
		describe(session, out);
		*last_id = session->id;
	}
	return false;
}
