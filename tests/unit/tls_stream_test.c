/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a socket pair speak TLS, each as a session does: a server for a client, a client for an origin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls/tls_contexts.h"
#include "tls/tls_stream.h"

enum { WALL_MS = 1790000000, BIG = 3 << 20, TURNS = 4000 };
#define NOW_MS (UINT64_C(1000) * WALL_MS)

static const struct inspection_conf conf = {.ticket_ms = 28800000, .session_count = 100};
static const struct tls_scope scope_a = {{1}}, scope_b = {{2}};

struct pair {
	struct loop *loop;
	struct stream server, client;
	struct tls_contexts *at_server, *at_client;
	struct leaf leaf;
	uint64_t server_ms; /* so much later it is at the server */
};

static void on_ready(struct stream *stream, unsigned events)
{
	(void)stream;
	(void)events;
}

static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *certificate = X509_new();

	assert_non_null(certificate);
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_set_pubkey(certificate, key);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	return certificate;
}

static struct tls_contexts *make_contexts(void)
{
	struct ticket_seed seed = {.epoch = NOW_MS / conf.ticket_ms - 1, .secret = {3}};
	struct tls_contexts *contexts;

	assert_int_equal(tls_contexts_new(&conf, &seed, NOW_MS, &contexts), ERR_NONE);
	return contexts;
}

static void open_streams(struct pair *pair, int buffer_bytes)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	for (int i = 0; i < 2 && buffer_bytes; i++)
		assert_int_equal(setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes)), 0);
	assert_int_equal(stream_open_plain(&pair->server, pair->loop, ends[0], on_ready), ERR_NONE);
	assert_int_equal(stream_open_plain(&pair->client, pair->loop, ends[1], on_ready), ERR_NONE);
}

static int set_up(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	assert_int_equal(loop_new(&pair->loop), ERR_NONE);
	pair->at_server = make_contexts();
	pair->at_client = make_contexts();
	pair->leaf = (struct leaf){.references = 1, .key = EVP_EC_gen("P-256")};
	pair->leaf.certificate = make_certificate(pair->leaf.key);
	*state = pair;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *pair = *state;

	stream_close(&pair->server, true);
	stream_close(&pair->client, true);
	tls_contexts_free(pair->at_server);
	tls_contexts_free(pair->at_client);
	X509_free(pair->leaf.certificate);
	EVP_PKEY_free(pair->leaf.key);
	loop_free(pair->loop);
	free(pair);
	return 0;
}

static void close_streams(struct pair *pair)
{
	stream_close(&pair->client, false);
	stream_close(&pair->server, false);
	loop_turn(pair->loop, 0);
}

/* With `alpn`, what the server answers; the client offers h2 and http/1.1. */
static void shake_hands(struct pair *pair, const struct tls_scope *at_server, const struct tls_scope *at_client, const char *alpn)
{
	enum tls_step server = TLS_WAIT, client = TLS_WAIT;
	struct span chosen = span_from(alpn);

	assert_int_equal(tls_stream_start(&pair->server, tls_for_client(pair->at_server, &pair->leaf, at_server, &chosen, NOW_MS + pair->server_ms), SPAN("")),
	                 ERR_NONE);
	assert_int_equal(tls_stream_start(&pair->client,
	                                  tls_for_origin(pair->at_client, SPAN("a.example"), SPAN("\x02h2\x08http/1.1"), NULL, at_client, NOW_MS),
	                                  SPAN("")),
	                 ERR_NONE);
	for (int i = 0; i < 20 && (server != TLS_DONE || client != TLS_DONE); i++) {
		client = client == TLS_DONE ? client : tls_stream_handshake(&pair->client);
		server = server == TLS_DONE ? server : tls_stream_handshake(&pair->server);
		assert_int_not_equal(client, TLS_FAILED);
		assert_int_not_equal(server, TLS_FAILED);
		loop_turn(pair->loop, 0);
	}
	assert_int_equal(server, TLS_DONE);
	assert_int_equal(client, TLS_DONE);
}

/* Read until there is nothing; the state that ended it. */
static enum stream_state drain(struct stream *stream, struct buf *out)
{
	uint8_t bytes[40000];
	enum stream_state state;
	size_t got;

	while ((state = stream_read(stream, bytes, sizeof(bytes), &got)) == STREAM_OK)
		buf_add(out, span_of(bytes, got));
	return state;
}

static void bytes_pass_both_ways(void **state)
{
	struct pair *pair = *state;
	struct buf got;
	size_t taken;

	open_streams(pair, 0);
	shake_hands(pair, &scope_a, &scope_a, "h2");
	assert_true(span_equal(span_from("TLSv1.3"), span_from(SSL_get_version(tls_stream_ssl(&pair->client)))));
	buf_init(&got, 1000);
	assert_int_equal(stream_write(&pair->client, SPAN("there"), &taken), STREAM_OK);
	assert_int_equal(taken, 5);
	loop_turn(pair->loop, 100);
	assert_int_equal(drain(&pair->server, &got), STREAM_AGAIN);
	assert_true(span_equal(buf_span(&got), SPAN("there")));
	buf_reset(&got);
	assert_int_equal(stream_write(&pair->server, SPAN("and back"), &taken), STREAM_OK);
	loop_turn(pair->loop, 100);
	assert_int_equal(drain(&pair->client, &got), STREAM_AGAIN);
	assert_true(span_equal(buf_span(&got), SPAN("and back")));
	buf_fini(&got);
}

/* Much more than the sockets hold, to one that reads seldom: nothing is lost, nothing comes twice. */
static void a_slow_reader_gets_all(void **state)
{
	struct pair *pair = *state;
	uint8_t *sent = malloc(BIG);
	size_t at = 0, taken;
	struct buf got;

	for (size_t i = 0; i < BIG; i++)
		sent[i] = (uint8_t)(i * 2654435761u >> 13);
	open_streams(pair, 4096);
	shake_hands(pair, &scope_a, &scope_a, "");
	buf_init(&got, BIG);
	for (int turn = 0; turn < TURNS && buf_len(&got) < BIG; turn++) {
		while (at < BIG) {
			struct span piece = span_first(span_of(sent + at, BIG - at), 1 + (size_t)turn * 977 % 65536);

			if (stream_write(&pair->server, piece, &taken) != STREAM_OK)
				break;
			at += taken;
		}
		if (turn % 3 == 0)
			assert_int_equal(drain(&pair->client, &got), STREAM_AGAIN);
		loop_turn(pair->loop, 0);
	}
	assert_int_equal(buf_len(&got), BIG);
	assert_memory_equal(buf_span(&got).at, sent, BIG);
	buf_fini(&got);
	free(sent);
}

static void an_end_in_order_is_told_from_a_cut(void **state)
{
	struct pair *pair = *state;
	struct buf got;
	size_t taken;

	for (int is_cut = 0; is_cut < 2; is_cut++) {
		open_streams(pair, 0);
		shake_hands(pair, &scope_a, &scope_a, "");
		buf_init(&got, 1000);
		assert_int_equal(stream_write(&pair->server, SPAN("the last words"), &taken), STREAM_OK);
		if (is_cut)
			shutdown(pair->server.io.fd, SHUT_WR);
		else
			stream_close(&pair->server, false);
		loop_turn(pair->loop, 100);
		assert_int_equal(drain(&pair->client, &got), is_cut ? STREAM_RESET : STREAM_END);
		assert_true(span_equal(buf_span(&got), SPAN("the last words")));
		assert_int_equal(drain(&pair->client, &got), is_cut ? STREAM_RESET : STREAM_END);
		buf_fini(&got);
		close_streams(pair);
	}
}

/* What was read before TLS began is the begin of it. */
static void a_prefix_comes_first(void **state)
{
	struct pair *pair = *state;
	enum tls_step server = TLS_WAIT, client = TLS_WAIT;
	struct span none = SPAN("");
	uint8_t hello[4096];
	size_t len;

	open_streams(pair, 0);
	assert_int_equal(tls_stream_start(&pair->client, tls_for_origin(pair->at_client, SPAN("a.example"), none, NULL, &scope_a, NOW_MS), none),
	                 ERR_NONE);
	assert_int_equal(tls_stream_handshake(&pair->client), TLS_WAIT);
	loop_turn(pair->loop, 100);
	assert_int_equal(stream_read(&pair->server, hello, sizeof(hello), &len), STREAM_OK);
	assert_int_equal(tls_stream_start(&pair->server, tls_for_client(pair->at_server, &pair->leaf, &scope_a, &none, NOW_MS), span_of(hello, len)),
	                 ERR_NONE);
	for (int i = 0; i < 20 && (server != TLS_DONE || client != TLS_DONE); i++) {
		server = server == TLS_DONE ? server : tls_stream_handshake(&pair->server);
		client = client == TLS_DONE ? client : tls_stream_handshake(&pair->client);
		loop_turn(pair->loop, 0);
	}
	assert_int_equal(server, TLS_DONE);
	assert_int_equal(client, TLS_DONE);
}

static void an_alert_is_named(void **state)
{
	static const uint8_t alert[] = {0x15, 3, 3, 0, 2, 2, 48};
	struct pair *pair = *state;
	struct span none = SPAN("");

	open_streams(pair, 0);
	assert_int_equal(tls_stream_start(&pair->client, tls_for_origin(pair->at_client, SPAN("a.example"), none, NULL, &scope_a, NOW_MS), none),
	                 ERR_NONE);
	assert_int_equal(tls_stream_handshake(&pair->client), TLS_WAIT);
	assert_int_equal(send(pair->server.io.fd, alert, sizeof(alert), 0), sizeof(alert));
	loop_turn(pair->loop, 100);
	assert_int_equal(tls_stream_handshake(&pair->client), TLS_FAILED);
	assert_int_equal(tls_stream_failure(&pair->client).alert, 48);
	assert_false(tls_stream_failure(&pair->client).is_closed);
	/* And of one that says nothing. */
	close_streams(pair);
	open_streams(pair, 0);
	assert_int_equal(tls_stream_start(&pair->client, tls_for_origin(pair->at_client, SPAN("a.example"), none, NULL, &scope_a, NOW_MS), none),
	                 ERR_NONE);
	assert_int_equal(tls_stream_handshake(&pair->client), TLS_WAIT);
	stream_close(&pair->server, false);
	loop_turn(pair->loop, 100);
	assert_int_equal(tls_stream_handshake(&pair->client), TLS_FAILED);
	assert_int_equal(tls_stream_failure(&pair->client).alert, -1);
	assert_true(tls_stream_failure(&pair->client).is_closed);
}

/* One conversation that leaves a ticket; was it resumed? */
static bool talk(struct pair *pair, const struct tls_scope *at_server, const struct tls_scope *at_client, bool keeps)
{
	struct buf got;
	size_t taken;
	bool resumed;

	open_streams(pair, 0);
	shake_hands(pair, at_server, at_client, "http/1.1");
	resumed = SSL_session_reused(tls_stream_ssl(&pair->client)) && SSL_session_reused(tls_stream_ssl(&pair->server));
	tls_keep_sessions(tls_stream_ssl(&pair->client), keeps ? NOW_MS + 1000 : 0);
	buf_init(&got, 1000);
	assert_int_equal(stream_write(&pair->server, SPAN("hello"), &taken), STREAM_OK);
	loop_turn(pair->loop, 100);
	drain(&pair->client, &got);
	buf_fini(&got);
	close_streams(pair);
	return resumed;
}

static void sessions_are_resumed_in_their_scope(void **state)
{
	struct pair *pair = *state;

	assert_false(talk(pair, &scope_a, &scope_a, true));
	assert_true(talk(pair, &scope_a, &scope_a, true));
	assert_false(talk(pair, &scope_a, &scope_b, true));  /* nothing is kept for b */
	assert_false(talk(pair, &scope_b, &scope_a, true));  /* a ticket of a is none of b */
	tls_contexts_use(pair->at_client, &conf);            /* all are forgotten */
	assert_false(talk(pair, &scope_a, &scope_a, false)); /* and one that was not verified is not kept */
	assert_false(talk(pair, &scope_a, &scope_a, true));
	assert_true(talk(pair, &scope_a, &scope_a, true));
}

/* Another worker, that began an epoch later, knows the key of before; two epochs later nobody does. */
static void keys_for_tickets_follow_each_other(void **state)
{
	struct pair *pair = *state;
	uint64_t epoch = NOW_MS / conf.ticket_ms;
	struct ticket_seed early = {.epoch = epoch - 1, .secret = {3}}, late = early;

	for (uint64_t later = 0; later < 3; later++) {
		struct ticket_seed seed = {.epoch = epoch - 1, .secret = {3}};

		tls_contexts_use(pair->at_client, &conf);
		tls_contexts_free(pair->at_server);
		pair->at_server = make_contexts();
		assert_false(talk(pair, &scope_a, &scope_a, true));
		ticket_seed_advance(&seed, epoch + later - 1);
		tls_contexts_free(pair->at_server);
		assert_int_equal(tls_contexts_new(&conf, &seed, NOW_MS + later * conf.ticket_ms, &pair->at_server), ERR_NONE);
		pair->server_ms = later * conf.ticket_ms;
		assert_int_equal(talk(pair, &scope_a, &scope_a, true), later < 2);
		pair->server_ms = 0;
	}
	ticket_seed_advance(&early, epoch + 5);
	ticket_seed_advance(&late, epoch + 2);
	ticket_seed_advance(&late, epoch + 5);
	assert_memory_equal(&early, &late, sizeof(early));
}

int main(void)
{
#define ONE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		ONE(bytes_pass_both_ways),           ONE(a_slow_reader_gets_all),
		ONE(an_end_in_order_is_told_from_a_cut), ONE(a_prefix_comes_first),
		ONE(an_alert_is_named),              ONE(sessions_are_resumed_in_their_scope),
		ONE(keys_for_tickets_follow_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
