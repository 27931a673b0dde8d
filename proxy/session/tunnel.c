/* SPDX-License-Identifier: Apache-2.0 */
/* TUNNEL: opaque bytes both ways. The exchange is let go at its begin: what runs on is small. */
#include "session/inspect.h"
#include "session/media_tunnel.h"

#include <stdlib.h>
#include <string.h>

static void on_pump_end(struct pump *pump, struct pump_end end)
{
	struct tunnel *tunnel = CONTAINER_OF(pump, struct tunnel, pump);
	struct session *session = tunnel->session;
	struct metrics *metrics = session->env->metrics;

	loop_timer_clear(session->env->loop, &tunnel->running);
	if (tunnel->err == ERR_NONE && end.how == PUMP_TIMEOUT)
		tunnel->err = ERR_IDLE_TIMEOUT;
	if (tunnel->err == ERR_NONE && end.how == PUMP_HALF_CLOSE_TIMEOUT)
		tunnel->err = ERR_HALF_CLOSE_TIMEOUT;
	if (tunnel->err == ERR_NONE && end.how == PUMP_DEAD)
		tunnel->err = ERR_PATH_DEAD;
	if (tunnel->err)
		metrics->errors[tunnel->err]++;
	metrics->tunnels--;
	metrics->bytes_up_total += pump->bytes[PUMP_CLIENT];
	metrics->bytes_down_total += pump->bytes[PUMP_ORIGIN];
	media_tunnel_end(tunnel, end);
	access_log_tunnel(session, false, &end);
	session_go(session, SESSION_END);
	session_run(session);
}

static void on_running_due(struct loop_timer *timer)
{
	struct tunnel *tunnel = CONTAINER_OF(timer, struct tunnel, running);
	struct session *session = tunnel->session;

	access_log_tunnel(session, true, NULL);
	loop_timer_set(session->env->loop, timer, session_conf_of(session)->access.running_ms);
}

/* host:port of a CONNECT, the URL of an Upgrade. */
static struct span target_of(struct exchange *exchange)
{
	return exchange->is_connect ? exchange->head.target : exchange->facts.url;
}

static struct tunnel *new_tunnel(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct span method = exchange->head.method, host = exchange->facts.host;
	struct span target = target_of(exchange), other = exchange->facts.inner_host;
	struct tunnel *tunnel;

	target = span_first(target, UINT16_MAX);
	method = span_first(method, UINT8_MAX);
	ASSERT(host.len <= UINT8_MAX && other.len <= UINT8_MAX); /* names and addresses are shorter */
	tunnel = calloc(1, sizeof(*tunnel) + method.len + host.len + target.len + other.len);
	if (tunnel == NULL)
		return NULL;
	memcpy(tunnel->answers, exchange->decision.answers, sizeof(tunnel->answers));
	tunnel->session = session;
	tunnel->timing = exchange->timing;
	tunnel->origin = exchange->origin;
	tunnel->identity = exchange->identity ? identity_ref(exchange->identity) : NULL;
	tunnel->started_ms = exchange->started_ms;
	tunnel->port = exchange->facts.port;
	tunnel->status = (uint16_t)exchange->status;
	tunnel->is_upgrade = !exchange->is_connect;
	tunnel->method_len = (uint8_t)method.len;
	tunnel->host_len = (uint8_t)host.len;
	tunnel->target_len = (uint16_t)target.len;
	tunnel->other_len = (uint8_t)other.len;
	memcpy(tunnel->text, method.at, method.len);
	memcpy(tunnel->text + method.len, host.at, host.len);
	memcpy(tunnel->text + method.len + host.len, target.at, target.len);
	memcpy(tunnel->text + method.len + host.len + target.len, other.at, other.len);
	return tunnel;
}

/* What is known of the ClientHello where it was read before the tunnel began. */
static void note_hello(struct session *session, struct tunnel *tunnel)
{
	const struct inspect *inspect = session->inspect;

	if (inspect == NULL || inspect->sni.len == 0)
		return;
	if (span_equal(inspect->sni, inspect->authority.name))
		tunnel->is_sni_host = true;
	else
		tunnel_note_sni(tunnel, inspect->sni);
}

void tunnel_note_sni(struct tunnel *tunnel, struct span sni)
{
	free(tunnel->sni);
	tunnel->sni = strndup((const char *)sni.at, sni.len);
}

void tunnel_take_answers(struct tunnel *tunnel, const struct policy_decision *decision)
{
	memcpy(tunnel->answers, decision->answers, sizeof(tunnel->answers));
}

static void free_tunnel(struct tunnel *tunnel)
{
	media_tunnel_free(tunnel);
	if (tunnel->hello)
		hello_fini(tunnel->hello);
	free(tunnel->hello);
	free(tunnel->sni);
	identity_unref(tunnel->identity);
	free(tunnel);
}

void tunnel_forget(struct session *session)
{
	if (session->tunnel)
		free_tunnel(session->tunnel);
	session->tunnel = NULL;
}

/* What policy says of it; auto is normal until its first bytes have said more. */
static void set_class(struct session *session, struct tunnel *tunnel)
{
	static const enum loop_class classes[] = {[CLASS_NORMAL] = LOOP_NORMAL, [CLASS_MEDIA] = LOOP_MEDIA,
	                                          [CLASS_BULK] = LOOP_BULK, [CLASS_AUTO] = LOOP_NORMAL};
	enum loop_class class = classes[tunnel->answers[POLICY_CLASS].answer];

	tunnel->pump.is_class_fixed = class != LOOP_NORMAL;
	pump_set_class(&tunnel->pump, class, &session_conf_of(session)->classes);
}

enum step tunnel_start(struct session *session, const struct span first[2], bool looks)
{
	const struct session_conf *conf = session_conf_of(session);
	const size_t read_bytes[] = {first[0].len, first[1].len};
	struct tunnel *tunnel = new_tunnel(session);
	enum err err;

	if (tunnel == NULL)
		return session_fail(session, ERR_CLIENT_RESET, "");
	tunnel->limits = (struct pump_limits){conf->timeouts.tunnel_idle_ms,
	                                      conf->timeouts.half_close_ms,
	                                      conf->limits.buffer_bytes,
	                                      conf->classes.bulk.above_bytes,
	                                      conf->classes.media.most_bytes};
	tunnel->pump.limits = &tunnel->limits;
	tunnel->pump.pipes = session->env->pipes;
	tunnel->pump.on_end = on_pump_end;
	tunnel->pump.on_stop = tunnel_on_stop;
	tunnel->pump.look = looks ? tunnel_look : NULL;
	note_hello(session, tunnel);
	tunnel->running.on_due = on_running_due;
	session->tunnel = tunnel;
	session_go(session, SESSION_TUNNEL);
	tunnel->waited_before_ms = rates_waited_ms(session);
	err = rates_start(session, tunnel->answers, tunnel->identity, read_bytes) ? ERR_NONE : ERR_MEMORY;
	if (err == ERR_NONE)
		err = pump_start(&tunnel->pump, session->env->loop, &session->client, session->origin, first);
	if (err) {
		tunnel_forget(session);
		return session_fail(session, ERR_CLIENT_RESET, "");
	}
	set_class(session, tunnel);
	media_tunnel_start(tunnel, looks ? SPAN("") : first[PUMP_CLIENT]); /* looked at: the pump shows them */
	session->env->metrics->tunnels++;
	session->env->metrics->tunnels_total++;
	exchange_free(session);
	authenticate_forget(session);
	buf_fini(&session->in);
	if (session->inspect && !session->inspect->is_open)
		inspect_free(session);
	if (conf->access.running_ms)
		loop_timer_set(session->env->loop, &tunnel->running, conf->access.running_ms);
	return STEP_WAIT;
}

/* The exchange that the tunnel was made of, once more. */
static enum err make_exchange(struct session *session)
{
	struct tunnel *tunnel = session->tunnel;
	struct exchange *exchange = exchange_new(session);
	const char *at = tunnel->text;

	if (exchange == NULL)
		return ERR_MEMORY;
	exchange->is_parsed = exchange->is_connect = true;
	exchange->head.is_request = true;
	exchange->head.method = arena_copy(&exchange->arena, span_of(at, tunnel->method_len));
	exchange->target.form = HTTP_TARGET_AUTHORITY;
	exchange->target.host.name = arena_copy(&exchange->arena, span_of(at + tunnel->method_len, tunnel->host_len));
	exchange->target.host.port = tunnel->port;
	exchange->head.target = arena_copy(&exchange->arena, span_of(at + tunnel->method_len + tunnel->host_len, tunnel->target_len));
	if (address_parse(exchange->target.host.name, &exchange->target.host.address))
		exchange->target.host.address.port = tunnel->port;
	exchange->identity = tunnel->identity ? identity_ref(tunnel->identity) : NULL;
	exchange->started_ms = tunnel->started_ms;
	exchange->timing = tunnel->timing;
	exchange->origin = tunnel->origin;
	exchange->addresses[0] = tunnel->origin;
	exchange->address_count = 1;
	exchange->status = tunnel->status;
	session->exchange_count--;
	return exchange->head.target.at && request_fill_facts(session) ? ERR_NONE : ERR_MEMORY;
}

enum step inspect_instead_of_tunnel(struct session *session)
{
	struct tunnel *tunnel = session->tunnel;
	struct exchange *exchange;
	uint8_t *held;
	size_t held_len;

	if (!pump_release(&tunnel->pump, &held, &held_len) || make_exchange(session)) {
		tunnel->err = ERR_MEMORY;
		tunnel_stop(session, ERR_MEMORY);
		return STEP_WAIT;
	}
	loop_timer_clear(session->env->loop, &tunnel->running);
	session->env->metrics->tunnels--;
	session_take_back(session);
	exchange = session->exchange;
	exchange->facts.known |= FACT_ADDRESS;
	exchange->facts.address = tunnel->origin;
	tunnel_forget(session);
	if (inspect_new(session)) {
		free(held);
		return session_go(session, SESSION_END);
	}
	inspect_start(session);
	buf_add(&session->in, span_of(held, held_len));
	free(held);
	if (!buf_is_whole(&session->in))
		return session_fail(session, ERR_HELLO_REFUSED, "more than a ClientHello can have");
	session->client.ready |= LOOP_READABLE;
	return STEP_NEXT;
}

/* The pump serves both streams; a session in this state has nothing to do. */
enum step step_tunnel(struct session *session)
{
	(void)session;
	return STEP_WAIT;
}

void tunnel_stop(struct session *session, enum err err)
{
	session->tunnel->err = err;
	pump_stop(&session->tunnel->pump);
}
