/* SPDX-License-Identifier: Apache-2.0 */
#include "session/pins.h"

#include "base/log.h"
#include "session/inspect.h"

enum { ALERT_USER_CANCELED = 90, TEXT_MAX_BYTES = 4096 };

/* ---- who and what ---- */

static struct span host_of(const struct inspect *inspect)
{
	return inspect->sni.len ? inspect->sni : inspect->authority.name;
}

static struct pins_key key_of(const struct session *session)
{
	const struct inspect *inspect = session->inspect;

	return (struct pins_key){.client = session->client_address,
	                         .user = inspect->identity ? inspect->identity->user : SPAN(""),
	                         .host = host_of(inspect),
	                         .port = inspect->authority.port};
}

/* ---- events ---- */

static void add_who(const struct session *session, struct buf *out)
{
	const struct inspect *inspect = session->inspect;

	buf_add_string(out, "client=");
	address_format(&session->client_address, out);
	if (inspect->ja4[0])
		buf_printf(out, " ja4=%s", inspect->ja4);
	if (inspect->identity) {
		buf_add_string(out, " user=");
		buf_add_percent(out, inspect->identity->user);
	}
}

static void add_evidence(const struct pins_evidence *evidence, struct buf *out)
{
	buf_add_string(out, "evidence=\"");
	pins_score_say(evidence, out);
	buf_add_byte(out, '"');
	if (pins_score_is_clock_wrong(evidence))
		buf_add_string(out, " hint=\"our certificate is valid: the client's clock may be wrong\"");
	buf_add_byte(out, ' ');
}

/* Policy asks about each name of a session: where there are two, both have to be on a list. */
static void tell_pin(const struct session *session, const struct pins_evidence *evidence)
{
	const struct inspect *inspect = session->inspect;
	struct span host = host_of(inspect);
	struct buf text;

	buf_init(&text, TEXT_MAX_BYTES);
	buf_printf(&text, "host=%.*s port=%u entry=\"%.*s", SPAN_ARG(host), inspect->authority.port, SPAN_ARG(host));
	if (inspect->authority.port != 443)
		buf_printf(&text, " ports=%u", inspect->authority.port);
	buf_add_string(&text, "\" ");
	if (!span_equal(host, inspect->authority.name))
		buf_printf(&text, "authority=%.*s ", SPAN_ARG(inspect->authority.name));
	add_evidence(evidence, &text);
	add_who(session, &text);
	log_event(EV_PIN_SUSPECTED, "%.*s", SPAN_ARG(buf_span(&text)));
	session->env->metrics->pins_suspected_total++;
	buf_fini(&text);
}

/* Where clients find the certificate of the CA. */
static void add_ca(const struct session_generation *generation, struct buf *out)
{
	const struct http_host *url = &generation->pages_url;
	bool brackets = url->address.family == AF_INET6;

	if (!generation->has_pages || url->name.len == 0)
		return;
	buf_printf(out, "ca=http://%s%.*s%s", brackets ? "[" : "", SPAN_ARG(url->name), brackets ? "]" : "");
	if (url->port != 80)
		buf_printf(out, ":%u", url->port);
	buf_add_string(out, "/ca ");
}

static void tell_untrusting(const struct session *session, const struct pins_told *told)
{
	struct buf text;

	buf_init(&text, TEXT_MAX_BYTES);
	buf_printf(&text, "hosts=%u last=%.*s ", told->hosts, SPAN_ARG(host_of(session->inspect)));
	add_evidence(&told->evidence, &text);
	add_ca(session->generation, &text);
	add_who(session, &text);
	log_event(EV_CA_NOT_TRUSTED, "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

/* ---- what happened ---- */

static void note(struct session *session, enum pins_sign sign)
{
	struct metrics *metrics = session->env->metrics;
	const struct pins_key key = key_of(session);
	struct pins_told told;
	enum pins_news news;

	session->inspect->sign = sign;
	if (pins_score_is_strong(sign))
		metrics->pin_failures_strong_total++;
	else
		metrics->pin_failures_weak_total++;
	news = pins_table_fail(session->env->pins, &key, sign, loop_now_ms(session->env->loop), &told);
	if (news == PINS_NEWS_PIN)
		tell_pin(session, &told.evidence);
	else if (news == PINS_NEWS_CA)
		tell_untrusting(session, &told);
}

static bool is_leaf_valid(const struct session *session)
{
	time_t now = (time_t)(loop_wall_ms(session->env->loop) / 1000);
	const struct leaf *leaf = session->inspect->leaf;

	return leaf && X509_cmp_time(X509_get0_notBefore(leaf->certificate), &now) < 0 &&
	       X509_cmp_time(X509_get0_notAfter(leaf->certificate), &now) > 0;
}

/* Of TLS 1.3 a client that was asked for another key share has seen no certificate yet. */
static bool was_certificate_shown(const SSL *ssl)
{
	return SSL_version(ssl) < TLS1_3_VERSION || SSL_get_finished(ssl, NULL, 0) > 0;
}

/* For how long the session is in its state: since our certificate was sent, or the handshake was done. */
static uint64_t since_ms(const struct session *session)
{
	return (uint32_t)loop_now_ms(session->env->loop) - session->state_since_ms;
}

void pins_note_failure(struct session *session, int alert)
{
	struct tls_failure failure = tls_stream_failure(&session->client);
	enum pins_sign sign = pins_score_of_alert(alert);

	if (!was_certificate_shown(tls_stream_ssl(&session->client)) || failure.warning == ALERT_USER_CANCELED)
		return;
	if (alert < 0 && failure.is_closed)
		sign = pins_score_of_close(false, since_ms(session));
	if (sign == PINS_SIGN_CERTIFICATE_EXPIRED && !is_leaf_valid(session))
		return;
	if (sign != PINS_SIGN_NONE)
		note(session, sign);
}

/* Some clients look at the certificate when they have finished the handshake, and send their alert behind it. */
void pins_note_silence(struct session *session)
{
	const struct inspect *inspect = session->inspect;
	struct tls_failure failure;
	enum pins_sign sign;

	if (inspect == NULL || !inspect->is_open || inspect->is_plain || inspect->has_spoken)
		return;
	failure = tls_stream_failure(&session->client);
	sign = failure.alert >= 0 ? pins_score_of_alert(failure.alert) : pins_score_of_close(true, since_ms(session));
	if (sign == PINS_SIGN_NONE || sign == PINS_SIGN_UNUSED || failure.warning == ALERT_USER_CANCELED)
		return;
	if (sign != PINS_SIGN_CERTIFICATE_EXPIRED || is_leaf_valid(session))
		note(session, sign);
}

void pins_note_success(struct session *session)
{
	struct inspect *inspect = session->inspect;
	struct pins_key key;

	if (inspect == NULL || !inspect->is_open || inspect->is_plain || inspect->has_spoken)
		return;
	inspect->has_spoken = true;
	inspect_log_connect(session);
	key = key_of(session);
	pins_table_succeed(session->env->pins, &key, loop_now_ms(session->env->loop));
}
