/* SPDX-License-Identifier: Apache-2.0 */
/* STUN Binding (RFC 8489) over UDP, asked again as section 6.2.1 has it, and over TCP. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "cli/doctor.h"

enum { RTO_MS = 500, DATAGRAM_BYTES = 2048, FRAME_MAX_BYTES = 2048, DATAGRAMS_PER_TURN = 16 };

/* Is it the answer to our request? An error is one, too: it has gone there and come back. */
static bool take(struct doctor_probe *probe, struct span bytes, const char *more)
{
	struct stun_message message;

	if (!stun_parse(bytes, &message) ||
	    (message.type != STUN_BINDING_SUCCESS && message.type != STUN_BINDING_ERROR) ||
	    memcmp(message.id, probe->id, STUN_ID_BYTES) != 0) {
		probe->strange_count++;
		return false;
	}
	doctor_probe_answered(probe);
	probe->mapped = message.mapped;
	if (message.type == STUN_BINDING_ERROR)
		doctor_probe_end(probe, DOCTOR_RESULT_OPEN, "STUN answers with the error %u%s", message.error_code, more);
	else
		doctor_probe_end(probe, DOCTOR_RESULT_OPEN, "STUN answers%s", more);
	return true;
}

/* ---- UDP ---- */

static void udp_failed(struct doctor_probe *probe, int error_number)
{
	if (error_number == ECONNREFUSED)
		doctor_probe_end(probe, DOCTOR_RESULT_REFUSED, "nothing listens there, or a firewall rejects it (ICMP)");
	else
		doctor_probe_end(probe, DOCTOR_RESULT_UNREACHABLE, "%s", doctor_probe_error(error_number));
}

static void send_udp(struct doctor_probe *probe)
{
	uint8_t request[STUN_REQUEST_BYTES];

	stun_format_binding(probe->id, request);
	probe->asked_us = clock_monotonic_us();
	probe->sent_count++;
	if (send(probe->udp.fd, request, sizeof(request), MSG_NOSIGNAL) < 0 && errno != EAGAIN && errno != EINTR)
		udp_failed(probe, errno);
}

static void on_resend(struct loop_timer *timer)
{
	struct doctor_probe *probe = CONTAINER_OF(timer, struct doctor_probe, resend);
	uint64_t rto_ms = probe->doctor->timeout_ms / 6 < RTO_MS ? probe->doctor->timeout_ms / 6 : RTO_MS;

	send_udp(probe);
	if (probe->phase != DOCTOR_DONE)
		loop_timer_set(probe->doctor->loop, timer, rto_ms << (probe->sent_count < 8 ? probe->sent_count - 1 : 7));
}

static void on_udp(struct loop_io *io, unsigned events)
{
	struct doctor_probe *probe = CONTAINER_OF(io, struct doctor_probe, udp);
	uint8_t datagram[DATAGRAM_BYTES];

	(void)events;
	for (int i = 0; probe->phase != DOCTOR_DONE; i++) {
		ssize_t got;

		if (i == DATAGRAMS_PER_TURN) { /* who floods us does not hold up the deadline, nor Ctrl-C */
			loop_again(probe->doctor->loop, io, 0);
			return;
		}
		got = recv(io->fd, datagram, sizeof(datagram), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (got < 0)
			udp_failed(probe, errno);
		else
			take(probe, span_of(datagram, (size_t)got), probe->sent_count > 1 ? ", not to the first request" : "");
	}
}

/* Connected, so that the kernel drops what others send, and tells of ICMP. */
void doctor_stun_start_udp(struct doctor_probe *probe)
{
	struct sockaddr_storage to;
	socklen_t len = address_to_sockaddr(&probe->address, &to);
	int fd = socket(probe->address.family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	doctor_probe_ask(probe, DOCTOR_ASKING);
	secret_random(probe->id, sizeof(probe->id));
	probe->udp = (struct loop_io){.fd = fd, .on_ready = on_udp};
	probe->resend.on_due = on_resend;
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, len) < 0) {
		udp_failed(probe, errno);
	} else if (loop_watch(probe->doctor->loop, &probe->udp)) {
		close(fd);
		probe->udp.fd = -1;
		doctor_probe_end(probe, DOCTOR_RESULT_UNREACHABLE, "too many sockets at once");
	} else {
		on_resend(&probe->resend);
	}
}

/* ---- TCP ---- */

void doctor_stun_ask_tcp(struct doctor_probe *probe)
{
	uint8_t request[STUN_REQUEST_BYTES];

	secret_random(probe->id, sizeof(probe->id));
	stun_format_binding(probe->id, request);
	if (probe->target->framing == DOCTOR_FRAMING_RFC4571) {
		buf_add_byte(&probe->out, 0);
		buf_add_byte(&probe->out, STUN_REQUEST_BYTES);
	}
	buf_add(&probe->out, span_of(request, sizeof(request)));
	doctor_probe_ask(probe, DOCTOR_ASKING);
}

/* A message, or a frame with its length (RFC 4571 section 2). False: more must come, or it is neither. */
static bool cut(struct doctor_probe *probe, struct span *message, size_t *used)
{
	struct span bytes = buf_span(&probe->in);
	struct cursor cursor = cursor_over(bytes);
	size_t len;

	if (probe->target->framing == DOCTOR_FRAMING_RFC4571) {
		len = cursor_u16(&cursor);
		*message = cursor_take(&cursor, len);
		*used = len + 2;
		return !cursor.overrun;
	}
	if (stun_header_shape(bytes, &len) != STUN_SHAPE_WHOLE || len > bytes.len)
		return false;
	*message = span_first(bytes, len);
	*used = len;
	return true;
}

/* Can what is there never become an answer? */
static bool is_hopeless(const struct doctor_probe *probe, const char **why)
{
	struct span bytes = buf_span(&probe->in);
	size_t len = 0;
	enum stun_shape shape = stun_header_shape(bytes, &len);

	*why = "what it sends is no STUN";
	if (probe->target->framing == DOCTOR_FRAMING_STUN) {
		if (bytes.len > 2 && stun_header_shape(span_skip(bytes, 2), &len) == STUN_SHAPE_WHOLE && shape == STUN_SHAPE_OTHER)
			*why = "it answers with the framing of RFC 4571 (framing: rfc4571)";
		return shape == STUN_SHAPE_OTHER || (shape == STUN_SHAPE_WHOLE && len > FRAME_MAX_BYTES);
	}
	if (shape == STUN_SHAPE_WHOLE && len == bytes.len)
		*why = "it answers without the framing of RFC 4571 (framing: stun)";
	return bytes.len >= 2 && (((size_t)bytes.at[0] << 8 | bytes.at[1]) > FRAME_MAX_BYTES ||
	                          (shape == STUN_SHAPE_WHOLE && len == bytes.len));
}

void doctor_stun_read_tcp(struct doctor_probe *probe)
{
	struct span message;
	const char *why;
	size_t used;

	while (probe->phase != DOCTOR_DONE && cut(probe, &message, &used)) {
		if (take(probe, message, ""))
			return;
		buf_consume(&probe->in, used);
	}
	if (probe->phase != DOCTOR_DONE && buf_len(&probe->in) && is_hopeless(probe, &why))
		doctor_probe_end(probe, DOCTOR_RESULT_NO_STUN, "connects, does not speak STUN: %s", why);
}
