/* SPDX-License-Identifier: Apache-2.0 */
/* One probe: connect, through the proxy where it goes so, then speak. Each has one deadline, and what it waited for
 * then says what is wrong. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/doctor.h"
#include "net/socket.h"

enum { IN_MAX_BYTES = 65536, OUT_MAX_BYTES = 128 << 10, TLS_LATER = 12 };

static void connect_now(struct doctor_probe *probe);

void doctor_probe_fini(struct doctor_probe *probe)
{
	loop_timer_clear(probe->doctor->loop, &probe->timer);
	loop_timer_clear(probe->doctor->loop, &probe->resend);
	if (loop_is_deferred(&probe->redial))
		loop_undefer(&probe->redial);
	stream_close(&probe->stream, false);
	if (probe->udp.fd >= 0)
		loop_close(probe->doctor->loop, &probe->udp);
	if (probe->out.at)
		explicit_bzero(probe->out.at, probe->out.capacity);
	buf_fini(&probe->out);
	buf_fini(&probe->in);
	http_body_fini(&probe->body);
	doctor_login_talk_fini(probe);
}

void doctor_probe_end(struct doctor_probe *probe, enum doctor_result result, const char *format, ...)
{
	struct doctor *doctor = probe->doctor;
	struct buf text;
	va_list args;

	if (probe->phase == DOCTOR_DONE)
		return;
	probe->phase = DOCTOR_DONE;
	probe->result = result;
	buf_init(&text, sizeof(probe->text) - 1);
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	/* What others sent may be in it. */
	for (size_t i = 0; i < buf_len(&text); i++) {
		uint8_t byte = buf_span(&text).at[i];

		probe->text[i] = (char)(byte < ' ' || byte >= 0x7f ? '?' : byte);
	}
	buf_fini(&text);
	doctor_probe_fini(probe);
	doctor_login_leave(probe);
	doctor->tried_count++;
	if (++doctor->done_count == doctor->probe_count)
		loop_stop(doctor->loop);
}

/* ---- deadline ---- */

static void on_due(struct loop_timer *timer)
{
	struct doctor_probe *probe = CONTAINER_OF(timer, struct doctor_probe, timer);
	double seconds = (double)probe->doctor->timeout_ms / 1000;

	switch (probe->phase) {
	case DOCTOR_WAITING:
	case DOCTOR_DONE:
		break;
	case DOCTOR_CONNECTING:
		doctor_probe_end(probe, probe->is_proxied ? DOCTOR_RESULT_NO_PROXY : DOCTOR_RESULT_SILENT,
		                 probe->is_proxied ? "it does not answer in %.3g s" : "nothing comes back in %.3g s", seconds);
		break;
	case DOCTOR_HELD:
		doctor_login_due(probe);
		break;
	case DOCTOR_DRAINING:
	case DOCTOR_ASKING_PROXY:
		doctor_probe_end(probe, DOCTOR_RESULT_SILENT, "the proxy does not answer CONNECT in %.3g s", seconds);
		break;
	case DOCTOR_SHAKING:
		doctor_probe_end(probe, DOCTOR_RESULT_NO_TLS, "connects, and does not answer the ClientHello in %.3g s", seconds);
		break;
	case DOCTOR_ASKING:
		if (probe->way == DOCTOR_UDP)
			doctor_probe_end(probe, probe->strange_count ? DOCTOR_RESULT_NO_STUN : DOCTOR_RESULT_SILENT,
			                 probe->strange_count ? "%u requests in %.3g s, and %u answers that are none to them"
			                                      : "%u requests in %.3g s",
			                 probe->sent_count, seconds, probe->strange_count);
		else if (probe->way == DOCTOR_TCP)
			doctor_probe_end(probe, DOCTOR_RESULT_NO_STUN, "connects, does not speak STUN: %s in %.3g s",
			                 probe->strange_count ? "no answer to the request" : "silent", seconds);
		else
			doctor_probe_end(probe, probe->way == DOCTOR_WSS ? DOCTOR_RESULT_NO_UPGRADE : DOCTOR_RESULT_NO_HTTP,
			                 "TLS stands, and the request is not answered in %.3g s", seconds);
		break;
	}
}

/* ---- bytes ---- */

/* The connection ended, where an answer was waited for. */
static void on_closed(struct doctor_probe *probe, const char *how)
{
	switch (probe->phase) {
	case DOCTOR_DRAINING:
	case DOCTOR_ASKING_PROXY:
		if (probe->talk.leg)
			doctor_probe_end(probe, DOCTOR_RESULT_NO_PROXY, "it %s in the midst of the login (%s)", how,
			                 doctor_login_label(probe->talk.scheme));
		else
			doctor_probe_end(probe, DOCTOR_RESULT_NO_PROXY, "it %s on CONNECT; is it a proxy?", how);
		break;
	case DOCTOR_ASKING:
		if (probe->way == DOCTOR_TCP)
			doctor_probe_end(probe, DOCTOR_RESULT_NO_STUN, "connects, does not speak STUN: %s", how);
		else
			doctor_probe_end(probe, probe->way == DOCTOR_WSS ? DOCTOR_RESULT_NO_UPGRADE : DOCTOR_RESULT_NO_HTTP,
			                 "TLS stands, and the request is not answered: %s", how);
		break;
	case DOCTOR_WAITING:
	case DOCTOR_CONNECTING:
	case DOCTOR_HELD:
	case DOCTOR_SHAKING:
	case DOCTOR_DONE:
		doctor_probe_end(probe, DOCTOR_RESULT_CLOSED, "%s", how);
		break;
	}
}

void doctor_probe_ask(struct doctor_probe *probe, enum doctor_phase phase)
{
	probe->phase = phase;
	probe->asked_us = clock_monotonic_us();
	probe->scanned = 0;
}

void doctor_probe_answered(struct doctor_probe *probe)
{
	uint64_t now_us = clock_monotonic_us();

	probe->rtt_us = now_us > probe->asked_us ? now_us - probe->asked_us : 1;
}

static void write_out(struct doctor_probe *probe)
{
	enum stream_state state = STREAM_OK;

	while (state == STREAM_OK && buf_len(&probe->out)) {
		size_t taken = 0;

		state = stream_write(&probe->stream, buf_span(&probe->out), &taken);
		buf_consume(&probe->out, taken);
	}
	/* Reading says what became of it. */
}

/* False: nothing more comes. */
static bool read_in(struct doctor_probe *probe, const char **how)
{
	for (;;) {
		uint8_t *room = buf_reserve(&probe->in, 4096);
		enum stream_state state;
		size_t got = 0;

		if (room == NULL) {
			*how = "sends more than an answer";
			return false;
		}
		state = stream_read(&probe->stream, room, 4096, &got);
		buf_advance(&probe->in, got);
		if (state == STREAM_OK)
			continue;
		*how = state == STREAM_END ? "closes the connection" : "resets the connection";
		return state == STREAM_AGAIN;
	}
}

/* ---- from step to step ---- */

static void speak(struct doctor_probe *probe)
{
	if (probe->way == DOCTOR_TCP) {
		doctor_stun_ask_tcp(probe);
	} else {
		doctor_probe_ask(probe, DOCTOR_SHAKING);
		doctor_tls_start(probe);
	}
}

static void on_connected(struct doctor_probe *probe)
{
	uint64_t now_us = clock_monotonic_us();

	probe->connect_us = now_us > probe->began_us ? now_us - probe->began_us : 1;
	if (probe->is_proxied) {
		struct sockaddr_storage own;
		socklen_t len = sizeof(own);

		if (getsockname(probe->stream.io.fd, (struct sockaddr *)&own, &len) == 0)
			address_from_sockaddr((const struct sockaddr *)&own, &probe->doctor->from);
		doctor_http_ask_proxy(probe);
	} else {
		speak(probe);
	}
}

/* One step: what follows it is looked at in the next round. */
static void read_answer(struct doctor_probe *probe)
{
	enum doctor_phase phase = probe->phase;

	if (phase == DOCTOR_ASKING_PROXY && doctor_http_read_proxy(probe))
		speak(probe);
	else if (phase == DOCTOR_DRAINING)
		doctor_http_drain(probe);
	else if (phase == DOCTOR_ASKING && probe->way == DOCTOR_TCP)
		doctor_stun_read_tcp(probe);
	else if (phase == DOCTOR_ASKING)
		doctor_http_read(probe);
}

/* It has no connection that matters: it is over, waits for a login, or connects anew at the end of the turn. */
static bool is_away(const struct doctor_probe *probe)
{
	return probe->phase == DOCTOR_DONE || probe->phase == DOCTOR_HELD || loop_is_deferred(&probe->redial);
}

/* Until it waits for something. */
static void go_on(struct doctor_probe *probe)
{
	enum doctor_phase before;
	const char *how = "";
	bool is_alive = true;

	do {
		if (probe->phase == DOCTOR_SHAKING) {
			if (!doctor_tls_shake(probe))
				return;
			doctor_http_ask(probe);
		}
		before = probe->phase;
		write_out(probe);
		is_alive = read_in(probe, &how);
		read_answer(probe);
	} while (probe->phase != before && !is_away(probe));
	if (!is_alive && !is_away(probe))
		on_closed(probe, how);
}

const char *doctor_probe_error(int error_number)
{
	switch (error_number) {
	case EPERM:
		return "a firewall of this machine itself forbids it";
	case EACCES:
		return "a firewall on the way says that it forbids it (ICMP)";
	case EHOSTUNREACH:
		return "there is no way to it, or a firewall says so (ICMP)";
	case ENETUNREACH:
		return "there is no route to it from here";
	default:
		return strerror(error_number);
	}
}

/* The address of its number in the family that is meant; of the proxy the next one, whatever it is. */
static bool choose_address(struct doctor_probe *probe)
{
	const struct resolve_answer *answer = &probe->name->answer;
	size_t number = 0;

	while (answer->err == ERR_NONE && probe->address_count < answer->count) {
		probe->address = answer->at[probe->address_count++];
		probe->address.port = probe->is_proxied ? probe->doctor->proxy.port : probe->host.port;
		if (probe->is_proxied || (probe->address.family == probe->family && number++ == probe->number))
			return true;
	}
	probe->address.family = 0;
	return false;
}

/* The name has not so many addresses. */
static void leave_out(struct doctor_probe *probe)
{
	probe->phase = DOCTOR_DONE;
	doctor_probe_fini(probe);
	if (++probe->doctor->done_count == probe->doctor->probe_count)
		loop_stop(probe->doctor->loop);
}

static void connect_failed(struct doctor_probe *probe, int error_number)
{
	const char *text = doctor_probe_error(error_number);

	if (probe->is_proxied && choose_address(probe))
		loop_defer(probe->doctor->loop, &probe->redial);
	else if (probe->is_proxied)
		doctor_probe_end(probe, DOCTOR_RESULT_NO_PROXY, "%s%s",
		                 error_number == ECONNREFUSED ? "nothing listens there; does it run?" : "it cannot be reached: ",
		                 error_number == ECONNREFUSED ? "" : text);
	else if (error_number == ECONNREFUSED)
		doctor_probe_end(probe, DOCTOR_RESULT_REFUSED, "nothing listens there, or a firewall rejects it");
	else
		doctor_probe_end(probe, DOCTOR_RESULT_UNREACHABLE, "%s", text);
}

static void on_ready(struct stream *stream, unsigned events)
{
	struct doctor_probe *probe = CONTAINER_OF(stream, struct doctor_probe, stream);

	if (is_away(probe))
		return;
	if (probe->phase == DOCTOR_CONNECTING) {
		int error_number = 0;
		socklen_t len = sizeof(error_number);

		if (!(events & (LOOP_WRITABLE | LOOP_BROKEN)))
			return;
		if (getsockopt(stream->io.fd, SOL_SOCKET, SO_ERROR, &error_number, &len) < 0)
			error_number = errno;
		if (error_number) {
			connect_failed(probe, error_number);
			return;
		}
		on_connected(probe);
	}
	go_on(probe);
}

static void on_redial(struct loop_task *task)
{
	struct doctor_probe *probe = CONTAINER_OF(task, struct doctor_probe, redial);

	stream_close(&probe->stream, false);
	buf_reset(&probe->in);
	buf_reset(&probe->out);
	connect_now(probe);
}

static void connect_now(struct doctor_probe *probe)
{
	int fd = -1;

	probe->phase = DOCTOR_CONNECTING;
	probe->began_us = clock_monotonic_us();
	errno = 0;
	if (socket_connect(&probe->address, NULL, &fd)) {
		connect_failed(probe, errno);
		return;
	}
	probe->stream = (struct stream){.io = {.fd = -1}};
	if (stream_open_plain(&probe->stream, probe->doctor->loop, fd, on_ready)) {
		close(fd);
		doctor_probe_end(probe, DOCTOR_RESULT_UNREACHABLE, "too many connections at once");
	}
}

/* ---- begin ---- */

static const char *dns_text(enum err err)
{
	switch ((int)err) {
	case ERR_DNS_NOT_FOUND:
		return "there is no such name";
	case ERR_DNS_FAILED:
		return "the name servers cannot answer";
	case ERR_DNS_TIMEOUT:
		return "the name servers do not answer";
	default:
		return err_text(err);
	}
}

/* TLS takes time of ours, which round trips would be told longer by: those of STUN are to be over. */
static void on_turn(struct loop_timer *timer)
{
	connect_now(CONTAINER_OF(timer, struct doctor_probe, resend));
}

void doctor_probe_start(struct doctor_probe *probe)
{
	const struct resolve_answer *answer = &probe->name->answer;

	buf_init(&probe->in, IN_MAX_BYTES);
	buf_init(&probe->out, OUT_MAX_BYTES);
	probe->timer.on_due = on_due;
	probe->redial.run = on_redial;
	if (!choose_address(probe) && probe->number) {
		leave_out(probe);
		return;
	}
	if (probe->number)
		probe->doctor->try_count++;
	if (probe->address.family == 0) {
		doctor_probe_end(probe, probe->is_proxied ? DOCTOR_RESULT_NO_PROXY : DOCTOR_RESULT_NO_ADDRESS, "%s%.*s: %s",
		                 probe->is_proxied ? "the proxy's name " : "", SPAN_ARG(probe->name->host),
		                 answer->err ? dns_text(answer->err)
		                             : probe->family == AF_INET6 ? "has no IPv6 address" : "has no IPv4 address");
		return;
	}
	loop_timer_set(probe->doctor->loop, &probe->timer, probe->doctor->timeout_ms);
	probe->resend.on_due = on_turn;
	probe->phase = DOCTOR_CONNECTING;
	if (probe->way == DOCTOR_UDP)
		doctor_stun_start_udp(probe);
	else if (probe->way == DOCTOR_TCP)
		connect_now(probe);
	else
		loop_timer_set(probe->doctor->loop, &probe->resend, probe->doctor->timeout_ms / TLS_LATER);
}
