/* SPDX-License-Identifier: Apache-2.0 */
/* TUNNEL: opaque bytes both ways. The exchange is let go at its begin: what runs on is small. */
#include "session/session_private.h"

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
	if (tunnel->err)
		metrics->errors[tunnel->err]++;
	metrics->tunnels--;
	metrics->bytes_up_total += pump->bytes[PUMP_CLIENT];
	metrics->bytes_down_total += pump->bytes[PUMP_ORIGIN];
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
	struct span target = target_of(exchange);
	struct tunnel *tunnel;

	target = span_first(target, UINT16_MAX);
	method = span_first(method, UINT8_MAX);
	tunnel = calloc(1, sizeof(*tunnel) + method.len + host.len + target.len);
	if (tunnel == NULL)
		return NULL;
	memcpy(tunnel->answers, exchange->decision.answers, sizeof(tunnel->answers));
	tunnel->session = session;
	tunnel->timing = exchange->timing;
	tunnel->origin = exchange->origin;
	tunnel->started_ms = exchange->started_ms;
	tunnel->port = exchange->facts.port;
	tunnel->status = (uint16_t)exchange->status;
	tunnel->is_upgrade = !exchange->is_connect;
	tunnel->method_len = (uint8_t)method.len;
	tunnel->host_len = (uint8_t)host.len;
	tunnel->target_len = (uint16_t)target.len;
	memcpy(tunnel->text, method.at, method.len);
	memcpy(tunnel->text + method.len, host.at, host.len);
	memcpy(tunnel->text + method.len + host.len, target.at, target.len);
	return tunnel;
}

enum step tunnel_start(struct session *session, const struct span first[2])
{
	const struct session_conf *conf = session_conf_of(session);
	struct tunnel *tunnel = new_tunnel(session);
	enum err err;

	if (tunnel == NULL)
		return session_fail(session, ERR_CLIENT_RESET, "");
	tunnel->limits = (struct pump_limits){conf->timeouts.tunnel_idle_ms,
	                                      conf->timeouts.half_close_ms,
	                                      conf->limits.buffer_bytes};
	tunnel->pump.limits = &tunnel->limits;
	tunnel->pump.pipes = session->env->pipes;
	tunnel->pump.on_end = on_pump_end;
	tunnel->running.on_due = on_running_due;
	session->tunnel = tunnel;
	session_go(session, SESSION_TUNNEL);
	err = pump_start(&tunnel->pump, session->env->loop, &session->client, session->origin, first);
	if (err) {
		free(tunnel);
		session->tunnel = NULL;
		return session_fail(session, ERR_CLIENT_RESET, "");
	}
	session->env->metrics->tunnels++;
	session->env->metrics->tunnels_total++;
	exchange_free(session);
	buf_fini(&session->in);
	if (conf->access.running_ms)
		loop_timer_set(session->env->loop, &tunnel->running, conf->access.running_ms);
	return STEP_WAIT;
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

static struct span target_text(const struct tunnel *tunnel)
{
	return span_of(tunnel->text + tunnel->method_len + tunnel->host_len, tunnel->target_len);
}

static struct policy_facts facts_of(const struct session *session)
{
	const struct tunnel *tunnel = session->tunnel;
	const struct exchange *exchange = session->exchange;
	struct policy_facts facts;

	if (tunnel == NULL) {
		facts = exchange->facts;
		if (exchange->address_count && !(facts.known & FACT_ADDRESS)) {
			facts.known |= FACT_ADDRESS;
			facts.address = exchange->origin.family ? exchange->origin
			                                        : exchange->addresses[0];
		}
	} else {
		facts = (struct policy_facts){
			.from = session->client_address,
			.listener = span_from(session->listener->name),
			.host = span_of(tunnel->text + tunnel->method_len, tunnel->host_len),
			.port = tunnel->port,
			.known = FACT_ADDRESS,
			.absent = (unsigned)POLICY_NEVER_KNOWN | FACT_REQUEST,
			.address = tunnel->origin,
			.method = span_of(tunnel->text, tunnel->method_len),
			.sni = SPAN(""),
			.inner_host = SPAN(""),
			.url = SPAN(""),
			.user = SPAN(""),
		};
		if (address_parse(facts.host, &facts.host_address))
			facts.host_address.port = tunnel->port;
		if (tunnel->is_upgrade) {
			facts.known |= FACT_REQUEST;
			facts.absent &= ~(unsigned)FACT_REQUEST;
			facts.url = target_text(tunnel);
		}
	}
	facts.wall_ms = loop_wall_ms(session->env->loop);
	return facts;
}

bool tunnel_is_denied(struct session *session)
{
	struct policy_facts facts = facts_of(session);
	struct policy_decision decision;

	policy_decide(session->env->current->policy, &facts, &decision);
	return !(decision.open >> POLICY_ACCESS & 1) &&
	       decision.answers[POLICY_ACCESS].answer == ACCESS_DENY;
}
