/* SPDX-License-Identifier: Apache-2.0 */
/* READ_HELLO, and the same look at the first bytes of a tunnel: policy once more, now that the client has said whom it wants
 * to talk to inside. Nothing that it said has gone on by then. */
#include "session/inspect.h"

#include <stdlib.h>

enum {
	FIRST_BYTE_TLS = 0x16,
	FIRST_BYTE_EMPTY = 0x14, /* an empty change of ciphers, which OpenSSL passes over */
	UNDECIDED_MS = 1000,
};

/* ---- what the bytes are ---- */

static bool may_be_tls(struct span bytes)
{
	return bytes.len && (bytes.at[0] == FIRST_BYTE_TLS || bytes.at[0] == FIRST_BYTE_EMPTY);
}

/* The SNI is a name of the session from now on; or it is known that there is none. */
static void add_hello_fact(struct policy_facts *facts, struct span sni)
{
	facts->sni = sni;
	if (sni.len)
		facts->known |= FACT_HELLO;
	else
		facts->absent |= FACT_HELLO;
}

/* Questions that were open before are answered now; the others keep their counts. */
static void count_new_hits(struct session *session, const struct policy_decision *decision, unsigned open_before)
{
	struct policy_decision news = *decision;

	news.open |= ~open_before;
	request_count_hits(session, &news);
}

/* ---- a session that may be opened ---- */

enum err inspect_new(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct inspect *inspect = calloc(1, sizeof(*inspect));

	if (inspect == NULL)
		return ERR_MEMORY;
	arena_init(&inspect->arena, session_conf_of(session)->limits.session_bytes);
	inspect->authority = exchange->target.host;
	inspect->authority.name = arena_copy(&inspect->arena, exchange->target.host.name);
	inspect->detail = "";
	if (inspect->authority.name.at == NULL) {
		arena_fini(&inspect->arena);
		free(inspect);
		return ERR_MEMORY;
	}
	inspect->identity = exchange->identity ? identity_ref(exchange->identity) : NULL;
	session->inspect = inspect;
	return ERR_NONE;
}

void inspect_cancel(struct session *session)
{
	struct inspect *inspect = session->inspect;

	if (inspect == NULL)
		return;
	leaves_cancel(inspect->leaf_query);
	aia_cancel(inspect->aia);
	inspect->leaf_query = NULL;
	inspect->aia = NULL;
}

void inspect_free(struct session *session)
{
	struct inspect *inspect = session->inspect;

	if (inspect == NULL)
		return;
	inspect_cancel(session);
	leaf_unref(inspect->leaf);
	hello_fini(&inspect->hello);
	identity_unref(inspect->identity);
	arena_fini(&inspect->arena);
	free(inspect);
	session->inspect = NULL;
}

/* A client that sends nothing but ClientHello after ClientHello must not fill more than one. */
enum step inspect_start(struct session *session)
{
	if (session->in.max_bytes < HELLO_RAW_MAX_BYTES)
		session->in.max_bytes = HELLO_RAW_MAX_BYTES;
	session->inspect->origin = session->exchange->origin;
	return session_go(session, SESSION_READ_HELLO);
}

/* No page can be sent to who does not speak HTTP: the log has the reason, and TLS an alert. */
static enum step refuse_bytes(struct session *session, enum err err, const char *detail, uint8_t alert)
{
	const uint8_t record[] = {0x15, 0x03, 0x03, 0, 2, 2, alert};
	struct exchange *exchange = session->exchange;
	size_t taken;

	session->env->metrics->errors[err]++;
	exchange->err = err;
	exchange->detail = detail;
	if (alert && stream_write(&session->client, span_of(record, sizeof(record)), &taken) > STREAM_AGAIN)
		return session_go(session, SESSION_END);
	access_log_exchange(session);
	origin_close(session, false);
	exchange_free(session);
	return session_go(session, SESSION_LINGER);
}

enum { ALERT_NONE = 0, ALERT_ACCESS_DENIED = 49, ALERT_DECODE_ERROR = 50 };

void inspect_note_denial(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct inspect *inspect = session->inspect;
	const struct policy_decision *decision = &exchange->decision;
	struct buf text;

	buf_init(&text, 1024);
	policy_say_refusal(session->generation->policy, &exchange->facts, POLICY_ACCESS, &decision->answers[POLICY_ACCESS], &text);
	inspect->detail = arena_string(&inspect->arena, buf_span(&text));
	buf_fini(&text);
	if (inspect->detail == NULL)
		inspect->detail = "";
	session->env->metrics->denied_total++;
	exchange->denied_by = inspect->denied_by = POLICY_ACCESS;
	exchange->err = inspect->err = ERR_POLICY_DENIED;
	exchange->detail = inspect->detail;
	inspect->decision = *decision;
}

/* Policy denies it: said inside TLS, where the page can be read; else by an alert. */
static enum step deny_hello(struct session *session)
{
	const struct inspect *inspect = session->inspect;
	const struct policy_decision *decision = &session->exchange->decision;

	inspect_note_denial(session);
	if (inspect->class == HELLO_TLS && decision->answers[POLICY_TLS].answer == TLS_INSPECT &&
	    !(decision->open >> POLICY_TLS & 1)) {
		origin_close(session, false);
		return session_go(session, SESSION_MINT);
	}
	return refuse_bytes(session, ERR_POLICY_DENIED, inspect->detail,
	                    inspect->class == HELLO_TLS ? ALERT_ACCESS_DENIED : ALERT_NONE);
}

static enum step start_tunnel(struct session *session)
{
	struct span first[2] = {[PUMP_CLIENT] = buf_span(&session->in), [PUMP_ORIGIN] = buf_span(&session->exchange->to_client)};

	/* Who has not said anything yet may still say another name. */
	return tunnel_start(session, first, buf_len(&session->in) == 0);
}

/* Neither TLS nor, inside, HTTP. */
static enum step decide_opaque(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const struct policy_decision *decision = &exchange->decision;

	exchange->denied_by = POLICY_OPAQUE;
	if (!(decision->open >> POLICY_OPAQUE & 1) && decision->answers[POLICY_OPAQUE].answer == OPAQUE_TUNNEL)
		return start_tunnel(session);
	return refuse_bytes(session, ERR_OPAQUE_DENIED,
	                    arena_printf(&exchange->arena, "what the client sent is %s; question opaque says deny",
	                                 hello_class_name(session->inspect->class)),
	                    session->inspect->class == HELLO_SSLV2 ? ALERT_ACCESS_DENIED : ALERT_NONE);
}

bool inspect_decide_unseen(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct policy_decision *decision = &exchange->decision;
	unsigned open_before = decision->open;

	if (decision->need & (FACT_REQUEST | FACT_RESPONSE)) {
		exchange->facts.absent |= (unsigned)FACT_REQUEST | FACT_RESPONSE;
		policy_decide(session->generation->policy, &exchange->facts, decision);
		count_new_hits(session, decision, open_before);
	}
	return (decision->open >> POLICY_ACCESS & 1) || decision->answers[POLICY_ACCESS].answer != ACCESS_DENY;
}

/* HTTP in the clear: served as HTTP, with the authority's origin. */
static enum step serve_plain(struct session *session)
{
	session->inspect->is_plain = session->inspect->is_open = true;
	session->inspect->opened_by = session->exchange->decision.answers[POLICY_TLS];
	access_log_exchange(session);
	exchange_free(session);
	session->scanned = 0;
	return session_go(session, SESSION_READ_HEAD);
}

static enum step on_hello(struct session *session)
{
	struct exchange *exchange = session->exchange;
	struct inspect *inspect = session->inspect;
	struct policy_decision *decision = &exchange->decision;
	unsigned open_before = decision->open;

	inspect->sni = arena_copy(&inspect->arena, inspect->hello.sni);
	if (inspect->sni.at == NULL)
		return session_fail(session, ERR_CLIENT_RESET, "");
	add_hello_fact(&exchange->facts, inspect->sni);
	policy_decide(session->generation->policy, &exchange->facts, decision);
	exchange->is_decided = true;
	if ((decision->need & (FACT_REQUEST | FACT_RESPONSE)) &&
	    ((inspect->class != HELLO_TLS && inspect->class != HELLO_HTTP) ||
	     (!(decision->open >> POLICY_TLS & 1) && decision->answers[POLICY_TLS].answer == TLS_BYPASS))) {
		exchange->facts.absent |= (unsigned)FACT_REQUEST | FACT_RESPONSE; /* nobody will see it */
		policy_decide(session->generation->policy, &exchange->facts, decision);
	}
	count_new_hits(session, decision, open_before);
	if (!(decision->open >> POLICY_ACCESS & 1) && decision->answers[POLICY_ACCESS].answer == ACCESS_DENY)
		return deny_hello(session);
	if (!(decision->open >> POLICY_TLS & 1) && decision->answers[POLICY_TLS].answer == TLS_BYPASS)
		return start_tunnel(session);
	if (!inspect_is_possible(session))
		return refuse_bytes(session, ERR_INSPECT_UNAVAILABLE, "inspection.ca", ALERT_ACCESS_DENIED);
	if (inspect->class == HELLO_HTTP)
		return serve_plain(session);
	if (inspect->class != HELLO_TLS)
		return decide_opaque(session);
	return inspect_open(session);
}

/* Who speaks first where the client has said nothing. */
static enum step on_silence(struct session *session)
{
	struct stream *origin = session->origin;

	if (!stream_is_open(origin))
		return STEP_WAIT;
	if (origin->ready & (LOOP_BROKEN | LOOP_PEER_CLOSED))
		return session_fail(session, ERR_ORIGIN_CLOSED, "");
	if (!(origin->ready & LOOP_READABLE))
		return STEP_WAIT;
	session->inspect->class = HELLO_SERVER_FIRST;
	return on_hello(session);
}

/* What is left of the 200, long where it has a token of Negotiate. */
static bool flush_reply(struct session *session)
{
	struct buf *reply = &session->exchange->to_client;
	enum stream_state state = STREAM_OK;
	size_t taken;

	while (buf_len(reply) && state == STREAM_OK) {
		state = stream_write(&session->client, buf_span(reply), &taken);
		buf_consume(reply, taken);
	}
	return state == STREAM_OK || state == STREAM_AGAIN;
}

enum step step_read_hello(struct session *session)
{
	struct inspect *inspect = session->inspect;

	if (!flush_reply(session))
		return session_fail(session, ERR_CLIENT_RESET, "");
	for (;;) {
		struct span bytes = buf_span(&session->in);
		enum hello_state said = bytes.len ? hello_read(&inspect->hello, bytes) : HELLO_MORE;
		enum stream_state state;

		inspect->class = inspect->hello.class;
		if (said == HELLO_REFUSED)
			return refuse_bytes(session, ERR_HELLO_REFUSED, inspect->hello.problem, ALERT_DECODE_ERROR);
		if (said != HELLO_MORE)
			return on_hello(session);
		state = request_read_more(session);
		if (state == STREAM_AGAIN && bytes.len && !may_be_tls(bytes))
			session_timeout(session, UNDECIDED_MS); /* whoever has said so little may wait for an answer */
		if (state == STREAM_AGAIN)
			return bytes.len ? STEP_WAIT : on_silence(session);
		if (state != STREAM_OK)
			return session_fail(session, state == STREAM_END ? ERR_CLIENT_CLOSED : ERR_CLIENT_RESET, "");
	}
}

/* It is not opened, whatever the ClientHello will say: only other questions wait for it. */
static bool is_bypassed(const struct session *session)
{
	const struct policy_decision *decision = &session->exchange->decision;

	return !(decision->open >> POLICY_TLS & 1) && decision->answers[POLICY_TLS].answer == TLS_BYPASS;
}

void read_hello_on_due(struct session *session)
{
	struct span bytes = buf_span(&session->in);

	if (bytes.len && !may_be_tls(bytes)) {
		session->inspect->class = HELLO_UNKNOWN;
		on_hello(session);
		return;
	}
	session->inspect->class = HELLO_SILENT;
	if (bytes.len == 0 && is_bypassed(session)) {
		on_hello(session);
		return;
	}
	session_fail(session, ERR_HELLO_TIMEOUT, bytes.len ? "the ClientHello is not complete" : "neither side has said anything");
}

/* ---- a tunnel that has begun ---- */

static enum pump_look stop_tunnel(struct tunnel *tunnel, enum err err)
{
	tunnel->err = err;
	return PUMP_LOOK_STOP;
}

/* Another name than was asked for: both are decided, and the strictest answer holds. */
static enum pump_look decide_tunnel(struct tunnel *tunnel, struct span sni)
{
	struct session *session = tunnel->session;
	struct policy_facts facts = tunnel_facts(session);
	struct policy_decision decision;

	facts.wall_ms = loop_wall_ms(session->env->loop);
	add_hello_fact(&facts, sni);
	policy_decide(session->generation->policy, &facts, &decision);
	count_new_hits(session, &decision, 0);
	if (decision.answers[POLICY_ACCESS].answer == ACCESS_DENY || decision.answers[POLICY_TLS].answer == TLS_INSPECT)
		tunnel_take_answers(tunnel, &decision);
	if (decision.answers[POLICY_ACCESS].answer == ACCESS_DENY) {
		session->env->metrics->denied_total++;
		return stop_tunnel(tunnel, ERR_POLICY_DENIED);
	}
	if (decision.answers[POLICY_TLS].answer == TLS_INSPECT)
		return stop_tunnel(tunnel, inspect_is_possible(session) ? ERR_NONE : ERR_INSPECT_UNAVAILABLE);
	return PUMP_LOOK_GO;
}

static enum pump_look on_tunnel_hello(struct tunnel *tunnel, struct hello *hello, enum hello_state said)
{
	struct span host = span_of(tunnel->text + tunnel->method_len, tunnel->host_len);

	session_timeout(tunnel->session, 0);
	if (said == HELLO_REFUSED)
		return stop_tunnel(tunnel, ERR_HELLO_REFUSED);
	tunnel->is_sni_host = said == HELLO_WHOLE && hello->sni.len && span_equal(hello->sni, host);
	if (said == HELLO_OTHER || hello->sni.len == 0 || tunnel->is_sni_host)
		return PUMP_LOOK_GO; /* nothing new to decide on */
	tunnel_note_sni(tunnel, hello->sni);
	return decide_tunnel(tunnel, hello->sni);
}

enum pump_look tunnel_look(struct pump *pump, struct span bytes, bool is_end)
{
	struct tunnel *tunnel = CONTAINER_OF(pump, struct tunnel, pump);
	struct hello fresh = {.class = HELLO_TLS}, *hello = tunnel->hello ? tunnel->hello : &fresh;
	/* Only what may become a ClientHello is held. */
	bool is_tls = may_be_tls(bytes);
	enum hello_state said = is_tls ? hello_read(hello, bytes) : bytes.len ? HELLO_OTHER : HELLO_MORE;
	enum pump_look result = PUMP_LOOK_MORE;

	if (said != HELLO_MORE)
		result = on_tunnel_hello(tunnel, hello, said);
	else if (is_end) { /* no handshake comes of it: it goes on as it came */
		session_timeout(tunnel->session, 0);
		result = PUMP_LOOK_GO;
	}
	if (result == PUMP_LOOK_MORE && tunnel->hello == NULL) {
		tunnel->hello = malloc(sizeof(fresh));
		if (tunnel->hello == NULL) {
			hello_fini(&fresh);
			return stop_tunnel(tunnel, ERR_MEMORY);
		}
		*tunnel->hello = fresh;
		session_timeout(tunnel->session, session_conf_of(tunnel->session)->timeouts.hello_ms);
	} else if (result != PUMP_LOOK_MORE) {
		hello_fini(hello);
		free(tunnel->hello);
		tunnel->hello = NULL;
	}
	return result;
}

/* An alert is all that can be said to a client whose tunnel stands. */
static void stop_with_alert(struct session *session, uint8_t alert)
{
	const uint8_t record[] = {0x15, 0x03, 0x03, 0, 2, 2, alert};
	struct tunnel *tunnel = session->tunnel;
	size_t taken;

	if (tunnel->pump.bytes[PUMP_ORIGIN] == 0)
		(void)stream_write(&session->client, span_of(record, sizeof(record)), &taken);
	tunnel_stop(session, tunnel->err);
}

void tunnel_on_stop(struct pump *pump)
{
	struct tunnel *tunnel = CONTAINER_OF(pump, struct tunnel, pump);
	struct session *session = tunnel->session;
	bool is_refused = tunnel->err != ERR_NONE;

	if (is_refused || tunnel->pump.bytes[PUMP_ORIGIN]) {
		/* Where the origin has spoken first, this is no TLS that could be opened. */
		if (!is_refused)
			tunnel->err = ERR_OPAQUE_DENIED;
		stop_with_alert(session, tunnel->err == ERR_HELLO_REFUSED ? ALERT_DECODE_ERROR : ALERT_ACCESS_DENIED);
		return;
	}
	inspect_instead_of_tunnel(session);
	session_run(session);
}
