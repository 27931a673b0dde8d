/* SPDX-License-Identifier: Apache-2.0 */
/* TLS_ORIGIN, MINT, TLS_CLIENT: the origin first, and fully verified; then a certificate of ours, and the client. */
#include "session/inspect.h"

#include <stdio.h>

#include "base/log.h"
#include "session/h2/h2.h"

enum { AIA_MAX = 2 };

bool inspect_is_possible(const struct session *session)
{
	return session->env->leaves && session->env->tls && session->generation->trust &&
	       inspection_is_on(session->generation->inspection);
}

/* ---- who is meant ---- */

static bool is_address(const struct inspect *inspect)
{
	return inspect->sni.len == 0 && inspect->authority.address.family != 0;
}

/* The name that the certificates are for, the origin's and ours. */
static struct span host_of(const struct inspect *inspect)
{
	return inspect->sni.len ? inspect->sni : inspect->authority.name;
}

static struct tls_scope origin_scope(const struct session *session, struct span alpn, unsigned exception)
{
	const struct inspect *inspect = session->inspect;
	uint64_t number = session->generation->number;
	const struct span parts[] = {inspect->authority.name, span_of(&inspect->authority.port, sizeof(inspect->authority.port)),
	                             inspect->sni, alpn, span_of(&exception, sizeof(exception)), span_of(&number, sizeof(number))};

	return tls_scope_of(parts, COUNT_OF(parts));
}

static struct tls_scope client_scope(const struct session *session)
{
	const struct inspect *inspect = session->inspect;
	uint64_t policy = session->generation->policy_hash;
	const struct span parts[] = {inspect->authority.name, span_of(&inspect->authority.port, sizeof(inspect->authority.port)),
	                             inspect->sni, span_of(inspect->leaf->ca_id, sizeof(inspect->leaf->ca_id)),
	                             span_of(&policy, sizeof(policy))};

	return tls_scope_of(parts, COUNT_OF(parts));
}

static void note_leg(const SSL *ssl, struct tls_leg *leg)
{
	const unsigned char *alpn;
	unsigned alpn_len;

	leg->version = SSL_get_version(ssl);
	leg->cipher = SSL_get_cipher_name(ssl);
	leg->resumed = SSL_session_reused(ssl);
	SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
	if (alpn_len >= sizeof(leg->alpn))
		alpn_len = sizeof(leg->alpn) - 1;
	for (unsigned i = 0; i < alpn_len; i++)
		leg->alpn[i] = (char)alpn[i];
	leg->alpn[alpn_len] = '\0';
}

/* ---- what goes wrong with the origin is told to the client, inside ---- */

static enum step tell_client(struct session *session, enum err err, const char *detail)
{
	struct inspect *inspect = session->inspect;

	if (session->origin && stream_is_open(session->origin))
		origin_close(session, false);
	inspect->err = err;
	inspect->detail = arena_printf(&inspect->arena, "%s", detail);
	if (inspect->detail == NULL)
		inspect->detail = "";
	session->env->metrics->errors[err]++;
	/* The cause, whatever becomes of the client's handshake. */
	session->exchange->err = err;
	session->exchange->detail = inspect->detail;
	return session_go(session, SESSION_MINT);
}

/* ---- TLS_ORIGIN ---- */

/* Of what the client offers, what can be looked into; in its order. */
static struct span offer_for_origin(struct session *session)
{
	struct inspect *inspect = session->inspect;
	struct span rest = inspect->hello.alpn, name;
	struct buf offer;
	struct span copy;

	buf_init(&offer, 64);
	while (hello_alpn_next(&rest, &name)) {
		if (!span_equal(name, SPAN("http/1.1")) && !span_equal(name, SPAN("h2")))
			continue;
		buf_add_byte(&offer, (uint8_t)name.len);
		buf_add(&offer, name);
	}
	copy = arena_copy(&inspect->arena, buf_is_whole(&offer) ? buf_span(&offer) : SPAN(""));
	buf_fini(&offer);
	return copy;
}

static void on_leaf(void *context, const struct leaf_result *result)
{
	struct session *session = context;
	struct inspect *inspect = session->inspect;

	inspect->leaf_query = NULL;
	inspect->leaf = result->leaf;
	inspect->leaf_err = result->err;
	if (result->err)
		inspect->leaf_detail = arena_printf(&inspect->arena, "%s", result->detail ? result->detail : "");
	session_run(session);
}

/* Asked for while the origin shakes hands: most of the time it is there when that is done. */
static void ask_for_leaf(struct session *session)
{
	struct inspect *inspect = session->inspect;
	enum leaf_kind kind = inspect->hello.takes_ecdsa ? LEAF_ECDSA : LEAF_RSA;

	if (inspect->leaf || inspect->leaf_query || inspect->leaf_err)
		return;
	inspect->leaf = leaves_now(session->env->leaves, host_of(inspect), kind);
	if (inspect->leaf == NULL)
		inspect->leaf_err = leaves_ask(session->env->leaves, host_of(inspect), kind, on_leaf, session, &inspect->leaf_query);
}

static enum step deny_inside(struct session *session)
{
	inspect_note_denial(session);
	origin_close(session, false);
	return session_go(session, SESSION_MINT);
}

/* The ClientHello as it came, to an origin that has seen nothing yet. */
static enum step tunnel_unseen(struct session *session)
{
	struct span first[2] = {[PUMP_CLIENT] = buf_span(&session->in), [PUMP_ORIGIN] = SPAN("")};

	return inspect_decide_unseen(session) ? tunnel_start(session, first, false) : deny_inside(session);
}

/* Its answers to this client may be other than HTTP: then what is inside is opaque. */
static enum step refuse_alpn(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const struct policy_decision *decision = &exchange->decision;

	exchange->denied_by = POLICY_OPAQUE;
	if (!(decision->open >> POLICY_OPAQUE & 1) && decision->answers[POLICY_OPAQUE].answer == OPAQUE_TUNNEL)
		return tunnel_unseen(session);
	return tell_client(session, ERR_OPAQUE_DENIED, "the client offers no protocol that can be inspected (ALPN)");
}

static struct span make_alpn_known(struct session *session)
{
	struct inspect *inspect = session->inspect;

	if (inspect->origin_leg.alpn[0] == '\0')
		return SPAN("");
	return span_equal(span_from(inspect->origin_leg.alpn), SPAN("h2")) ? SPAN("h2") : SPAN("http/1.1");
}

static enum policy_client_certificate answer_for_asking(const struct session *session)
{
	const struct policy_decision *decision = &session->exchange->decision;

	return decision->open >> POLICY_CLIENT_CERTIFICATE & 1
	               ? CLIENT_CERTIFICATE_IGNORE
	               : (enum policy_client_certificate)decision->answers[POLICY_CLIENT_CERTIFICATE].answer;
}

enum step inspect_open(struct session *session)
{
	struct inspect *inspect = session->inspect;
	unsigned number;
	const struct exception_conf *exception = trust_exception(session->generation->trust, host_of(inspect), &number);
	struct span alpn = offer_for_origin(session);
	struct tls_scope scope;
	SSL *ssl;

	inspect->opened_by = session->exchange->decision.answers[POLICY_TLS];
	hello_ja4(&inspect->hello, inspect->ja4);
	if (inspect->hello.alpn.len && alpn.len == 0)
		return refuse_alpn(session);
	if (asked_origins_has(session->env->asked, &inspect->authority, inspect->sni, loop_now_ms(session->env->loop)) &&
	    answer_for_asking(session) == CLIENT_CERTIFICATE_BYPASS)
		return tunnel_unseen(session);
	scope = origin_scope(session, alpn, number);
	ssl = tls_for_origin(session->env->tls, is_address(inspect) ? SPAN("") : host_of(inspect), alpn, exception, &scope,
	                     loop_wall_ms(session->env->loop));
	if (ssl == NULL || tls_stream_start(session->origin, ssl, SPAN("")))
		return session_fail(session, ERR_CLIENT_RESET, "");
	session_go(session, SESSION_TLS_ORIGIN);
	ask_for_leaf(session);
	return STEP_NEXT;
}

/* ---- an origin that asks for a certificate of the client ---- */

/* Once for as long as it is remembered. */
static void propose_bypass(struct session *session)
{
	struct inspect *inspect = session->inspect;
	uint64_t now_ms = loop_now_ms(session->env->loop);
	char ports[16] = "";

	inspect->was_asked = true;
	if (asked_origins_has(session->env->asked, &inspect->authority, inspect->sni, now_ms))
		return;
	asked_origins_add(session->env->asked, &inspect->authority, inspect->sni, now_ms);
	if (inspect->authority.port != 443)
		snprintf(ports, sizeof(ports), " ports=%u", inspect->authority.port);
	log_event(EV_CLIENT_CERTIFICATE, "host=%.*s port=%u entry=\"%.*s%s\"", SPAN_ARG(host_of(inspect)), inspect->authority.port,
	          SPAN_ARG(host_of(inspect)), ports);
}

/* Once more, for a tunnel: the ClientHello as it came, on a connection that has seen nothing yet. */
static enum step bypass_asking(struct session *session)
{
	struct inspect *inspect = session->inspect;

	propose_bypass(session);
	if (!inspect_decide_unseen(session))
		return deny_inside(session);
	inspect->is_bypassed = true;
	origin_close(session, true);
	return session_go(session, SESSION_DIAL);
}

/* ---- the origin's certificate ---- */

static enum step verify(struct session *session);

static void on_fetched(void *context, struct span der, const char *why)
{
	struct session *session = context;
	struct inspect *inspect = session->inspect;

	(void)why;
	inspect->aia = NULL;
	trust_add_issuer(session->generation->trust, inspect->aia_url, der, loop_wall_ms(session->env->loop));
	verify(session);
	session_run(session);
}

static bool may_fetch(void *context, struct span host, const struct address *address, uint16_t port)
{
	struct session *session = context;
	struct policy_facts facts = session->exchange->facts;
	struct policy_decision decision;

	facts.host = host;
	facts.host_address = address ? *address : (struct address){.family = 0};
	facts.port = port;
	facts.sni = facts.inner_host = facts.url = SPAN("");
	facts.method = SPAN("GET");
	facts.content_type = SPAN("");
	facts.known &= FACT_USER;
	if (address) {
		facts.known |= FACT_ADDRESS;
		facts.address = *address;
	}
	facts.absent |= (unsigned)FACT_HELLO | FACT_REQUEST | FACT_RESPONSE;
	policy_decide(session->generation->policy, &facts, &decision);
	return decision.open >> POLICY_ACCESS & 1 || decision.answers[POLICY_ACCESS].answer == ACCESS_ALLOW;
}

static bool fetch_issuer(struct session *session, const char *url)
{
	struct inspect *inspect = session->inspect;
	const struct aia_env env = {.loop = session->env->loop,
	                            .resolver = session->env->resolver,
	                            .destinations = session->generation->destinations,
	                            .own = session->env->own,
	                            .own_count = session->env->own_count,
	                            .is_allowed = may_fetch,
	                            .context = session};

	if (!session->generation->inspection->aia || inspect->aia_count++ >= AIA_MAX)
		return false;
	inspect->aia_url = arena_printf(&inspect->arena, "%s", url);
	return inspect->aia_url && aia_fetch(&env, inspect->aia_url, on_fetched, session, &inspect->aia) == ERR_NONE;
}

/* From now on the origin is who it says it is. */
static enum step on_verified(struct session *session, uint64_t until_ms)
{
	struct inspect *inspect = session->inspect;

	inspect->was_verified = true;
	if (until_ms)
		tls_keep_sessions(tls_stream_ssl(session->origin), until_ms);
	inspect->alpn = make_alpn_known(session);
	return session_go(session, SESSION_MINT);
}

static enum step verify(struct session *session)
{
	struct inspect *inspect = session->inspect;
	SSL *ssl = tls_stream_ssl(session->origin);
	struct trust_verdict verdict;
	unsigned char *ocsp;
	long ocsp_len = SSL_get_tlsext_status_ocsp_resp(ssl, &ocsp);
	const struct trust_question question = {
		.leaf = SSL_get0_peer_certificate(ssl),
		.chain = SSL_get_peer_cert_chain(ssl),
		.ocsp = ocsp_len > 0 ? span_of(ocsp, (size_t)ocsp_len) : SPAN(""),
		.host = host_of(inspect),
		.address = is_address(inspect) ? inspect->authority.address : (struct address){.family = 0},
		.wall_ms = loop_wall_ms(session->env->loop),
	};

	if (question.leaf == NULL)
		return tell_client(session, ERR_ORIGIN_CERTIFICATE, "the origin has shown no certificate");
	trust_verify(session->generation->trust, &question, &verdict);
	if (verdict.state == TRUST_NEEDS_ISSUER && fetch_issuer(session, verdict.url))
		return STEP_WAIT;
	inspect->fault = verdict.fault;
	if (verdict.state == TRUST_GOOD)
		return on_verified(session, verdict.until_ms);
	if (inspect->fault == TRUST_FAULT_NONE)
		inspect->fault = TRUST_FAULT_UNKNOWN_ISSUER;
	return tell_client(session, ERR_ORIGIN_CERTIFICATE, verdict.detail);
}

static enum step on_origin_up(struct session *session)
{
	struct inspect *inspect = session->inspect;
	SSL *ssl = tls_stream_ssl(session->origin);

	note_leg(ssl, &inspect->origin_leg);
	session->exchange->timing.tls_origin_ms = session_since_ms(session);
	if (tls_was_asked_for_certificate(ssl)) {
		enum policy_client_certificate answer = answer_for_asking(session);

		if (answer == CLIENT_CERTIFICATE_BYPASS)
			return bypass_asking(session);
		propose_bypass(session);
		if (answer == CLIENT_CERTIFICATE_DENY)
			return tell_client(session, ERR_CLIENT_CERTIFICATE, "question client-certificate says deny");
	}
	/* It was verified when the session was made, against the same trust. */
	return SSL_session_reused(ssl) ? on_verified(session, tls_session_until(ssl)) : verify(session);
}

static enum step on_origin_failed(struct session *session)
{
	struct tls_failure failure = tls_stream_failure(session->origin);
	bool was_asked = tls_was_asked_for_certificate(tls_stream_ssl(session->origin));
	char detail[256];

	if (was_asked && answer_for_asking(session) == CLIENT_CERTIFICATE_BYPASS)
		return bypass_asking(session);
	if (was_asked)
		propose_bypass(session);
	if (failure.alert >= 0)
		snprintf(detail, sizeof(detail), "%s (alert %d)%s", SSL_alert_desc_string_long(failure.alert), failure.alert,
		         was_asked ? "; it had asked for a certificate of the client" : "");
	else if (failure.is_closed)
		snprintf(detail, sizeof(detail), "the origin closed the connection in the handshake%s",
		         failure.got_bytes ? "" : ", without a byte");
	else
		snprintf(detail, sizeof(detail), "%s", failure.text);
	return tell_client(session, was_asked ? ERR_CLIENT_CERTIFICATE : failure.alert >= 0 ? ERR_ORIGIN_ALERT : ERR_ORIGIN_TLS, detail);
}

enum step step_tls_origin(struct session *session)
{
	if (session->client.ready & LOOP_BROKEN)
		return session_fail(session, ERR_CLIENT_RESET, "");
	if (session->inspect->aia)
		return STEP_WAIT;
	switch (tls_stream_handshake(session->origin)) {
	case TLS_DONE:
		return on_origin_up(session);
	case TLS_FAILED:
		return on_origin_failed(session);
	case TLS_WAIT:
	default:
		return STEP_WAIT;
	}
}

/* It took too long: said inside. */
void inspect_on_origin_due(struct session *session)
{
	aia_cancel(session->inspect->aia);
	session->inspect->aia = NULL;
	tell_client(session, ERR_ORIGIN_TLS_TIMEOUT, "timeouts.tls");
}

/* ---- MINT ---- */

/* What the client is answered where the origin has nothing to say any more: what a page can be shown in. */
static struct span alpn_for_page(const struct inspect *inspect)
{
	struct span rest = inspect->hello.alpn, name;
	bool has_h2 = false;

	while (hello_alpn_next(&rest, &name)) {
		if (span_equal(name, SPAN("http/1.1")))
			return SPAN("http/1.1");
		has_h2 |= span_equal(name, SPAN("h2"));
	}
	return has_h2 ? SPAN("h2") : SPAN("");
}

static enum step fail_without_leaf(struct session *session)
{
	struct inspect *inspect = session->inspect;

	return session_fail(session, inspect->leaf_err == ERR_SIGNER_REFUSED ? ERR_SIGNER_REFUSED : ERR_SIGNER_UNAVAILABLE,
	                    inspect->leaf_detail ? inspect->leaf_detail : "");
}

enum step step_mint(struct session *session)
{
	struct inspect *inspect = session->inspect;
	struct tls_scope scope;
	SSL *ssl;

	if (session->client.ready & LOOP_BROKEN)
		return session_fail(session, ERR_CLIENT_RESET, "");
	ask_for_leaf(session);
	if (inspect->leaf_err)
		return fail_without_leaf(session);
	if (inspect->leaf == NULL)
		return STEP_WAIT;
	if (inspect->err)
		inspect->alpn = alpn_for_page(inspect);
	scope = client_scope(session);
	ssl = tls_for_client(session->env->tls, inspect->leaf, &scope, &inspect->alpn, loop_wall_ms(session->env->loop));
	if (ssl == NULL || tls_stream_start(&session->client, ssl, buf_span(&session->in)))
		return session_fail(session, ERR_CLIENT_RESET, "");
	buf_fini(&session->in);
	session->in.max_bytes = session_conf_of(session)->limits.head_bytes + 4;
	return session_go(session, SESSION_TLS_CLIENT);
}

/* ---- TLS_CLIENT ---- */

/* Both parsers have to have seen the same: what policy was asked about is what is served. */
static bool is_same_name(const struct inspect *inspect, const SSL *ssl)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct span seen = span_from(name);
	struct address address;

	if (seen.len && seen.at[seen.len - 1] == '.')
		seen.len--;
	/* One of TLS 1.2 that was resumed has none: its ticket is of this scope, of which the name is a part. */
	if (seen.len == 0 && SSL_session_reused(ssl))
		return true;
	if (inspect->sni.len == 0)
		return seen.len == 0 || address_parse(seen, &address);
	return span_equal_nocase(seen, inspect->sni);
}

void inspect_log_connect(struct session *session)
{
	struct inspect *inspect = session->inspect;
	struct exchange *current = session->exchange;

	if (inspect == NULL || inspect->connect == NULL)
		return;
	if (!inspect->has_spoken && inspect->sign == PINS_SIGN_NONE)
		inspect->sign = PINS_SIGN_UNUSED;
	session->exchange = inspect->connect;
	inspect->connect = NULL;
	access_log_exchange(session);
	exchange_free(session);
	session->exchange = current;
	inspect->sign = PINS_SIGN_NONE; /* it is not said of what comes behind it */
}

static enum step on_client_up(struct session *session)
{
	struct inspect *inspect = session->inspect;
	struct exchange *exchange = session->exchange;
	SSL *ssl = tls_stream_ssl(&session->client);

	note_leg(ssl, &inspect->client_leg);
	exchange->timing.tls_client_ms = session_since_ms(session);
	if (!is_same_name(inspect, ssl))
		return session_fail(session, ERR_CLIENT_TLS, "the ClientHello was read in two ways");
	hello_fini(&inspect->hello);
	inspect->is_open = true;
	session->env->metrics->opened_total++;
	if (inspect->err) {
		exchange->err = inspect->err;
		exchange->detail = inspect->detail;
	}
	exchange->ended_ms = loop_now_ms(session->env->loop);
	inspect->connect = exchange;
	session->exchange = NULL;
	session->scanned = 0;
	if (span_equal(inspect->alpn, SPAN("h2")))
		return h2_start(session);
	return session_go(session, inspect->alpn.len || inspect->err ? SESSION_READ_HEAD : SESSION_SNIFF);
}

static enum step on_client_failed(struct session *session)
{
	struct tls_failure failure = tls_stream_failure(&session->client);
	const char *detail = failure.text;

	if (failure.alert >= 0)
		detail = arena_printf(&session->exchange->arena, "alert %s (%d)", SSL_alert_desc_string_long(failure.alert), failure.alert);
	else if (failure.is_closed)
		detail = "it closed the connection in the handshake";
	pins_note_failure(session, failure.alert);
	return session_fail(session, ERR_CLIENT_TLS, detail ? detail : "");
}

enum step step_tls_client(struct session *session)
{
	switch (tls_stream_handshake(&session->client)) {
	case TLS_DONE:
		return on_client_up(session);
	case TLS_FAILED:
		return on_client_failed(session);
	case TLS_WAIT:
	default:
		return STEP_WAIT;
	}
}
