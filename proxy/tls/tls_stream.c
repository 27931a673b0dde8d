/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL reads from, and writes to, buffers that all streams of a worker share, so that one system call brings or takes many
 * records; what the socket does not take, or the caller does not want yet, is stored with the stream. */
#include "tls/tls_stream.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

enum {
	SHARED_BYTES = 128 << 10,   /* two scratch buffers' worth, in records */
	RECORD_BYTES = 16 << 10,
	RECORD_SPACE = (16 << 10) + 512,
	REST_MAX_BYTES = 512 << 10, /* answers to KeyUpdates and such, that the other side does not read */
	BARREN_MAX_BYTES = 64 << 10, /* that bring no data: KeyUpdates, tickets, warnings */
};

struct tls {
	SSL *ssl;
	struct stream *stream;
	struct buf unread;      /* came, and OpenSSL has not asked for it yet */
	struct buf unsent;      /* OpenSSL has written it, and the socket did not take it */
	enum stream_state wire; /* STREAM_OK, or what the socket says from now on to whoever reads */
	enum stream_state out;  /* STREAM_OK, or why nothing can be sent; what came before is read all the same */
	struct tls_failure failure;
	size_t barren_bytes;    /* that came since the last data */
	size_t held;            /* of what was written last: in `unsent`, and not said to be taken yet */
	bool is_up;             /* the handshake is done */
	bool has_failed;
};

/* One thread, and nothing stays in them between two calls. */
static struct {
	uint8_t in[SHARED_BYTES], out[SHARED_BYTES];
	size_t in_at, in_len, out_len;
} shared;

static struct tls *tls_of(const struct stream *stream)
{
	return stream->tls;
}

/* ---- between OpenSSL and the socket ---- */

static bool receive(struct tls *tls)
{
	size_t got = 0;

	if (tls->wire != STREAM_OK)
		return false;
	tls->wire = stream_plain_ops.read(tls->stream, shared.in, SHARED_BYTES / 2, &got);
	shared.in_at = 0;
	shared.in_len = got;
	tls->failure.got_bytes += got;
	return tls->wire == STREAM_OK;
}

/* One that sends nothing but these would have all the time there is: SSL_read() does not come back before there is data, or
 * nothing more to be read. */
static bool is_barren(struct tls *tls)
{
	if (!tls->is_up || tls->barren_bytes <= BARREN_MAX_BYTES)
		return false;
	tls->has_failed = true;
	tls->failure.text = "too much that is no data";
	return true;
}

static int bio_read(BIO *bio, char *at, size_t len, size_t *got)
{
	struct tls *tls = BIO_get_data(bio);
	struct span from = buf_span(&tls->unread);

	BIO_clear_retry_flags(bio);
	*got = 0;
	if (is_barren(tls))
		return 0;
	if (from.len == 0) {
		if (shared.in_at == shared.in_len && !receive(tls)) {
			if (tls->wire == STREAM_AGAIN)
				BIO_set_retry_read(bio);
			return 0;
		}
		from = span_of(shared.in + shared.in_at, shared.in_len - shared.in_at);
		from = span_first(from, len);
		shared.in_at += from.len;
	} else {
		from = span_first(from, len);
	}
	memcpy(at, from.at, from.len);
	if (buf_len(&tls->unread)) {
		buf_consume(&tls->unread, from.len);
		if (buf_len(&tls->unread) == 0)
			buf_fini(&tls->unread);
	}
	tls->barren_bytes += from.len;
	*got = from.len;
	return 1;
}

/* False: nothing can be sent any more. */
static bool send_some(struct tls *tls, struct span bytes, size_t *taken)
{
	enum stream_state state = stream_plain_ops.write(tls->stream, bytes, taken);

	if (state == STREAM_OK || state == STREAM_AGAIN)
		return true;
	tls->out = state;
	buf_fini(&tls->unsent);
	return false;
}

/* All that OpenSSL has written goes out, or is stored. */
static void flush(struct tls *tls)
{
	struct span bytes = span_of(shared.out, shared.out_len);
	size_t taken = 0;

	shared.out_len = 0;
	if (tls->out != STREAM_OK)
		return;
	while (buf_len(&tls->unsent)) {
		if (!send_some(tls, buf_span(&tls->unsent), &taken))
			return;
		if (taken == 0)
			break;
		buf_consume(&tls->unsent, taken);
	}
	if (buf_len(&tls->unsent) == 0) {
		buf_fini(&tls->unsent);
		while (bytes.len) {
			if (!send_some(tls, bytes, &taken))
				return;
			if (taken == 0)
				break;
			bytes = span_skip(bytes, taken);
		}
	}
	buf_add(&tls->unsent, bytes);
}

static bool is_wire_broken(const struct tls *tls)
{
	return tls->out != STREAM_OK || (tls->wire != STREAM_OK && tls->wire != STREAM_AGAIN && tls->wire != STREAM_END);
}

static int bio_write(BIO *bio, const char *at, size_t len, size_t *taken)
{
	struct tls *tls = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	*taken = 0;
	if (shared.out_len + len > SHARED_BYTES)
		flush(tls);
	if (!buf_is_whole(&tls->unsent) || is_wire_broken(tls))
		return 0;
	if (len > SHARED_BYTES)
		len = SHARED_BYTES;
	memcpy(shared.out + shared.out_len, at, len);
	shared.out_len += len;
	*taken = len;
	return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method(void)
{
	static BIO_METHOD *method;

	if (method == NULL) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
		if (method == NULL || !BIO_meth_set_read_ex(method, bio_read) || !BIO_meth_set_write_ex(method, bio_write) ||
		    !BIO_meth_set_ctrl(method, bio_control))
			method = NULL;
	}
	return method;
}

/* OpenSSL passes over warnings. */
static void on_info(const SSL *ssl, int where, int alert)
{
	struct tls *tls;

	if (where != SSL_CB_READ_ALERT || alert >> 8 != SSL3_AL_WARNING)
		return;
	tls = BIO_get_data(SSL_get_rbio(ssl));
	if (tls->failure.warning != SSL_AD_USER_CANCELLED)
		tls->failure.warning = alert & 0xff;
}

/* ---- one call of OpenSSL ---- */

static void begin(struct tls *tls)
{
	ERR_clear_error();
	shared.in_at = shared.in_len = 0;
	if (tls->wire == STREAM_AGAIN)
		tls->wire = STREAM_OK;
}

/* What came and was not asked for is stored, what was written goes out. */
static void end(struct tls *tls)
{
	if (shared.in_at < shared.in_len)
		buf_add(&tls->unread, span_of(shared.in + shared.in_at, shared.in_len - shared.in_at));
	shared.in_at = shared.in_len = 0;
	if (shared.out_len || buf_len(&tls->unsent))
		flush(tls);
}

static void note_failure(struct tls *tls, int ssl_error)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;
	int reason = ERR_GET_REASON(code);

	bool is_alert = ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET;

	/* The first cause counts; but a write fails before the alert is read that says why. */
	if (tls->has_failed && (!is_alert || tls->failure.alert >= 0))
		return;
	tls->has_failed = true;
	tls->failure.text = text ? text : "";
	tls->failure.alert = is_alert ? reason - SSL_AD_REASON_OFFSET : -1;
	tls->failure.is_closed = tls->wire == STREAM_END || tls->wire == STREAM_RESET || tls->out != STREAM_OK ||
	                         ssl_error == SSL_ERROR_SYSCALL;
	ERR_clear_error();
}

/* What a connection that fails is. */
static enum stream_state failed_state(const struct tls *tls)
{
	return tls->wire == STREAM_BROKEN || tls->out == STREAM_BROKEN ? STREAM_BROKEN : STREAM_RESET;
}

/* Of a read or write that moved nothing. */
static enum stream_state state_of(struct tls *tls, int result)
{
	int error = SSL_get_error(tls->ssl, result);

	switch (error) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return STREAM_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return STREAM_END;
	default:
		note_failure(tls, error);
		/* An end without close_notify is no end in order: something may be missing. */
		return failed_state(tls);
	}
}

static bool has_more(const struct tls *tls)
{
	return SSL_has_pending(tls->ssl) || buf_len(&tls->unread) || tls->wire == STREAM_OK;
}

static enum stream_state tls_read(struct stream *stream, void *at, size_t len, size_t *got)
{
	struct tls *tls = tls_of(stream);
	enum stream_state state = STREAM_OK;
	size_t count;
	int result = 1;

	begin(tls);
	while (*got < len && result == 1) {
		/* Beyond one turn of the socket, only what is there already. */
		if (*got && shared.in_at == shared.in_len && buf_len(&tls->unread) == 0 && !SSL_pending(tls->ssl) &&
		    len - *got < RECORD_BYTES)
			break;
		result = SSL_read_ex(tls->ssl, (uint8_t *)at + *got, len - *got, &count);
		if (result != 1)
			break;
		*got += count;
		tls->barren_bytes = 0;
	}
	if (result != 1)
		state = state_of(tls, result);
	end(tls);
	if (*got == 0)
		return state;
	/* The end, or a failure, is told by the next read. */
	if (state == STREAM_AGAIN && !has_more(tls) && !(stream->ready & (LOOP_PEER_CLOSED | LOOP_BROKEN)))
		stream->ready &= ~(unsigned)LOOP_READABLE;
	return STREAM_OK;
}

/* Is there room for one more record? */
static bool has_space(struct tls *tls)
{
	if (shared.out_len + RECORD_SPACE > SHARED_BYTES)
		flush(tls);
	return shared.out_len + RECORD_SPACE <= SHARED_BYTES && buf_len(&tls->unsent) == 0 && !is_wire_broken(tls);
}

static enum stream_state tls_write(struct stream *stream, struct span bytes, size_t *taken)
{
	struct tls *tls = tls_of(stream);
	enum stream_state state = STREAM_OK;
	size_t count;
	int result = 1;

	begin(tls);
	if (buf_len(&tls->unsent))
		flush(tls);
	if (buf_len(&tls->unsent)) {
		end(tls);
		return STREAM_AGAIN;
	}
	*taken = tls->held < bytes.len ? tls->held : bytes.len;
	tls->held = 0;
	/* Until the socket is full, and not before: else no edge would tell when to go on. */
	while (*taken < bytes.len && result == 1 && has_space(tls)) {
		struct span piece = span_first(span_skip(bytes, *taken), RECORD_BYTES);

		result = SSL_write_ex(tls->ssl, piece.at, piece.len, &count);
		if (result == 1)
			*taken += count;
	}
	if (result != 1)
		state = state_of(tls, result);
	end(tls);
	if (is_wire_broken(tls))
		return failed_state(tls);
	/* Whoever writes must not take for sent what closing would lose: the last byte is asked for once more. */
	if (buf_len(&tls->unsent) && *taken) {
		tls->held = 1;
		--*taken;
	}
	if (*taken == 0 && state == STREAM_OK)
		state = STREAM_AGAIN;
	return *taken ? STREAM_OK : state;
}

static enum stream_state tls_shutdown(struct stream *stream)
{
	struct tls *tls = tls_of(stream);

	begin(tls);
	if (tls->is_up && !(SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN))
		SSL_shutdown(tls->ssl);
	ERR_clear_error();
	end(tls);
	/* Where something is left to send, closing sends the FIN behind it, or nothing more can be said. */
	return buf_len(&tls->unsent) ? STREAM_OK : stream_plain_ops.shutdown(stream);
}

static void let_go(struct stream *stream)
{
	struct tls *tls = tls_of(stream);

	stream->tls = NULL;
	stream->ops = &stream_plain_ops;
	/* Else the session would be forgotten, as after a truncation. */
	SSL_set_quiet_shutdown(tls->ssl, 1);
	SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(tls->ssl);
	buf_fini(&tls->unread);
	buf_fini(&tls->unsent);
	free(tls);
	ERR_clear_error();
}

static void tls_close(struct stream *stream, bool reset)
{
	struct tls *tls = tls_of(stream);

	if (!reset && tls->is_up && !tls->has_failed) {
		begin(tls);
		if (!(SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN))
			SSL_shutdown(tls->ssl);
		end(tls);
	}
	let_go(stream);
	stream_plain_ops.close(stream, reset);
}

static const struct stream_ops tls_ops = {"tls", tls_read, tls_write, tls_shutdown, tls_close};

enum err tls_stream_start(struct stream *stream, SSL *ssl, struct span first)
{
	struct tls *tls = calloc(1, sizeof(*tls));
	BIO *bio = bio_method() ? BIO_new(bio_method()) : NULL;

	if (tls == NULL || bio == NULL) {
		BIO_free(bio);
		free(tls);
		SSL_free(ssl);
		return ERR_MEMORY;
	}
	tls->ssl = ssl;
	tls->stream = stream;
	tls->wire = tls->out = STREAM_OK;
	tls->failure.alert = tls->failure.warning = -1;
	tls->failure.got_bytes = first.len;
	buf_init(&tls->unread, first.len + SHARED_BYTES);
	buf_init(&tls->unsent, REST_MAX_BYTES);
	buf_add(&tls->unread, first);
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_info_callback(ssl, on_info);
	stream->tls = tls;
	stream->ops = &tls_ops;
	stream->ready |= LOOP_READABLE;
	if (!buf_is_whole(&tls->unread)) {
		let_go(stream);
		return ERR_MEMORY;
	}
	return ERR_NONE;
}

enum tls_step tls_stream_handshake(struct stream *stream)
{
	struct tls *tls = tls_of(stream);
	int result, error;

	begin(tls);
	result = SSL_do_handshake(tls->ssl);
	error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
	if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
		note_failure(tls, error);
	end(tls);
	if (error == SSL_ERROR_NONE && buf_len(&tls->unsent) == 0) {
		tls->is_up = true;
		tls->barren_bytes = 0;
		/* What came behind the handshake has no edge of its own. */
		stream->ready |= LOOP_READABLE;
		return TLS_DONE;
	}
	if (error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
		if (!(stream->ready & (LOOP_PEER_CLOSED | LOOP_BROKEN)))
			stream->ready &= ~(unsigned)LOOP_READABLE;
		return TLS_WAIT;
	}
	return TLS_FAILED;
}

SSL *tls_stream_ssl(const struct stream *stream)
{
	return stream->tls ? tls_of(stream)->ssl : NULL;
}

struct tls_failure tls_stream_failure(const struct stream *stream)
{
	struct tls_failure failure = tls_of(stream)->failure;

	if (failure.text == NULL)
		failure.text = "";
	return failure;
}

bool tls_stream_has_ended(struct stream *stream)
{
	struct tls *tls = tls_of(stream);
	enum stream_state state = STREAM_OK;
	size_t count;
	uint8_t byte;
	int result;

	if (tls == NULL) {
		/* A plain one is asked by whoever reads next. */
		return stream->ready & (LOOP_PEER_CLOSED | LOOP_BROKEN);
	}
	begin(tls);
	result = SSL_peek_ex(tls->ssl, &byte, 1, &count);
	if (result != 1)
		state = state_of(tls, result);
	end(tls);
	if (state == STREAM_AGAIN && !(stream->ready & (LOOP_PEER_CLOSED | LOOP_BROKEN)))
		stream->ready &= ~(unsigned)LOOP_READABLE;
	return state != STREAM_AGAIN || tls->out != STREAM_OK;
}

void tls_stream_abandon(struct stream *stream)
{
	if (stream->tls)
		let_go(stream);
}
