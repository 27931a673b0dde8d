/* SPDX-License-Identifier: Apache-2.0 */
#include "session/pins.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "session/inspect.h"

enum {
	PAIRS = 4096,
	CLIENTS = 4096,
	SUCCESSES = 16384,
	WAYS = 8, /* places that a hash may have */
	TOLD_AGAIN_MS = 3600 * 1000,
	ALERT_USER_CANCELED = 90,
	KEY_MAX_BYTES = 1024,
	EVIDENCE_MAX_BYTES = 512,
};

/* What each record begins with. */
struct place {
	uint64_t hash, used_ms; /* used_ms 0: free */
};

/* A client and a host that it had trouble with. */
struct pair {
	struct place place;
	uint64_t told_ms; /* 0: never */
	struct pins_evidence evidence;
};

struct client {
	struct place place;
	uint64_t told_ms;
	struct pins_client state;
};

/* Successes are many, and must not drive out what is rare: a table of their own, in which the latest wins. */
struct success {
	uint64_t hash, at_ms;
};

struct pins {
	struct hash_key key;
	struct pair pairs[PAIRS];
	struct client clients[CLIENTS];
	struct success successes[SUCCESSES];
};

enum err pins_new(struct pins **out)
{
	*out = calloc(1, sizeof(**out));
	if (*out == NULL)
		return ERR_MEMORY;
	(*out)->key = hash_key_random();
	return ERR_NONE;
}

void pins_free(struct pins *pins)
{
	free(pins);
}

/* ---- tables ---- */

/* The record of this hash, or the one of those in its place that was not used for longest. */
static struct place *look_for(void *table, size_t count, size_t record_bytes, uint64_t hash)
{
	uint8_t *first = (uint8_t *)table + hash % (count / WAYS) * WAYS * record_bytes;
	struct place *oldest = (struct place *)(void *)first;

	for (size_t i = 0; i < WAYS; i++) {
		struct place *place = (struct place *)(void *)(first + i * record_bytes);

		if (place->used_ms && place->hash == hash)
			return place;
		if (place->used_ms < oldest->used_ms)
			oldest = place;
	}
	return oldest;
}

static void *find(void *table, size_t count, size_t record_bytes, uint64_t hash, uint64_t now_ms)
{
	struct place *place = look_for(table, count, record_bytes, hash);

	if (place->used_ms == 0 || place->hash != hash) {
		memset(place, 0, record_bytes);
		place->hash = hash;
	}
	place->used_ms = now_ms;
	return place;
}

static struct success *success_of(struct pins *pins, uint64_t hash)
{
	return &pins->successes[hash % SUCCESSES];
}

/* ---- who and what ---- */

static struct span host_of(const struct inspect *inspect)
{
	return inspect->sni.len ? inspect->sni : inspect->authority.name;
}

static uint64_t hash_parts(const struct pins *pins, const struct span *parts, size_t count)
{
	uint8_t text[KEY_MAX_BYTES];
	size_t len = 0;

	for (size_t i = 0; i < count; i++) {
		struct span part = span_first(parts[i], KEY_MAX_BYTES / 4);

		memcpy(text + len, part.at, part.len);
		len += part.len;
	}
	return hash_bytes(&pins->key, span_of(text, len));
}

static uint64_t client_hash(const struct session *session)
{
	const struct identity *identity = session->inspect->identity;
	struct address address = address_unmapped(&session->client_address);
	const struct span parts[] = {span_of(&address.family, sizeof(address.family)),
	                             span_of(address.bytes, address.family == AF_INET6 ? 8 : 4),
	                             identity ? identity->user : SPAN("")};

	return hash_parts(session->env->pins, parts, COUNT_OF(parts));
}

/* What an event and a table are about. */
struct seen {
	struct pins *pins;
	uint64_t now_ms, host, pair;
	struct client *client;
};

static struct seen seen_in(const struct session *session)
{
	const struct inspect *inspect = session->inspect;
	struct seen seen = {.pins = session->env->pins, .now_ms = loop_now_ms(session->env->loop)};
	uint64_t client = client_hash(session);
	const struct span host[] = {host_of(inspect)};
	const struct span pair[] = {span_of(&client, sizeof(client)), span_of(&inspect->authority.port, sizeof(uint16_t)), host[0]};

	seen.host = hash_parts(seen.pins, host, COUNT_OF(host));
	seen.pair = hash_parts(seen.pins, pair, COUNT_OF(pair));
	seen.client = find(seen.pins->clients, CLIENTS, sizeof(struct client), client, seen.now_ms);
	return seen;
}

/* ---- events ---- */

/* True once an hour. */
static bool is_to_be_told(uint64_t *told_ms, uint64_t now_ms)
{
	if (*told_ms && now_ms - *told_ms < TOLD_AGAIN_MS)
		return false;
	*told_ms = now_ms;
	return true;
}

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

	buf_init(&text, EVIDENCE_MAX_BYTES * 4);
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

static void tell_untrusting(const struct session *session, const struct pins_client *client,
                            const struct pins_evidence *evidence)
{
	struct buf text;

	buf_init(&text, EVIDENCE_MAX_BYTES * 4);
	buf_printf(&text, "hosts=%u last=%.*s ", client->host_count, SPAN_ARG(host_of(session->inspect)));
	add_evidence(evidence, &text);
	add_ca(session->generation, &text);
	add_who(session, &text);
	log_event(EV_CA_NOT_TRUSTED, "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

/* ---- what happened ---- */

static void note(struct session *session, enum pins_sign sign)
{
	struct seen seen = seen_in(session);
	struct pair *pair = find(seen.pins->pairs, PAIRS, sizeof(struct pair), seen.pair, seen.now_ms);
	const struct success *success = success_of(seen.pins, seen.pair);
	bool is_strong = pins_score_is_strong(sign);
	enum pins_verdict verdict;

	session->inspect->sign = sign;
	if (is_strong)
		session->env->metrics->pin_failures_strong_total++;
	else
		session->env->metrics->pin_failures_weak_total++;
	if (!pins_score_add(&pair->evidence, sign, seen.now_ms))
		return;
	pins_score_note_failure(&seen.client->state, seen.host, is_strong);
	verdict = pins_score_judge(&pair->evidence, &seen.client->state, success->hash == seen.pair ? success->at_ms : 0, seen.now_ms);
	if (pins_score_is_untrusting(&seen.client->state)) {
		if (is_to_be_told(&seen.client->told_ms, seen.now_ms))
			tell_untrusting(session, &seen.client->state, &pair->evidence);
	} else if (verdict == PINS_SUSPECTED && is_to_be_told(&pair->told_ms, seen.now_ms)) {
		tell_pin(session, &pair->evidence);
	}
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
	struct seen seen;
	struct pair *pair;

	if (inspect == NULL || !inspect->is_open || inspect->is_plain || inspect->has_spoken)
		return;
	inspect->has_spoken = true;
	inspect_log_connect(session);
	seen = seen_in(session);
	pair = (struct pair *)(void *)look_for(seen.pins->pairs, PAIRS, sizeof(struct pair), seen.pair);
	if (pair->place.hash == seen.pair)
		pair->evidence = (struct pins_evidence){.last_ms = 0};
	*success_of(seen.pins, seen.pair) = (struct success){seen.pair, seen.now_ms};
	pins_score_note_success(&seen.client->state, seen.now_ms);
}
