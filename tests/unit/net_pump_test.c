/* SPDX-License-Identifier: Apache-2.0 */
/* Tunnels over real TCP pairs of loopback: bytes, ends, and a receiver that is slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/net_conf.h"
#include "net/pipes.h"
#include "net/pump.h"
#include "net/socket.h"

/* A tunnel that spins ends the whole program after HANG_S: tests in which one did come last. */
enum { WAIT_MS = 20000, HANG_S = 40, BUFFER_BYTES = 65536 };

/* A tunnel between two streams; the test holds the far end of each. */
static struct rig {
	struct loop *loop;
	struct pipes *pipes;
	struct pump_limits limits;
	struct stream streams[2];
	struct pump pump;
	int ends[2];
	unsigned end_count;
	struct pump_end end;
} rig;

static void tcp_pair(int out[static 2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(listener, (const struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	out[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(out[0], (const struct sockaddr *)&address, len), 0);
	out[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(out[1] >= 0);
	close(listener);
}

static void on_end(struct pump *pump, struct pump_end end)
{
	(void)pump;
	rig.end_count++;
	rig.end = end;
}

static void on_early(struct stream *stream, unsigned events)
{
	(void)stream;
	(void)events;
}

static void set_nonblocking(int fd)
{
	struct timeval soon = {0, 1000};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon)), 0);
}

static int open_rig(void **state)
{
	(void)state;
	alarm(HANG_S);
	rig = (struct rig){.limits = {3600000, 3600000, BUFFER_BYTES}};
	assert_int_equal(loop_new(&rig.loop), ERR_NONE);
	assert_int_equal(pipes_new(2 << 20, &rig.pipes), ERR_NONE);
	for (int side = 0; side < 2; side++) {
		int pair[2];

		tcp_pair(pair);
		rig.ends[side] = pair[0];
		set_nonblocking(pair[0]);
		assert_int_equal(stream_open_plain(&rig.streams[side], rig.loop, pair[1], on_early), ERR_NONE);
	}
	return 0;
}

static int close_rig(void **state)
{
	(void)state;
	if (rig.end_count == 0 && rig.pump.sides[0])
		pump_stop(&rig.pump);
	for (int side = 0; side < 2; side++) {
		stream_close(&rig.streams[side], false);
		if (rig.ends[side] >= 0)
			close(rig.ends[side]);
	}
	pipes_free(rig.pipes);
	loop_free(rig.loop);
	return 0;
}

static void set_receive_buffer(enum pump_side side, int bytes)
{
	assert_int_equal(setsockopt(rig.ends[side], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
}

static void start(const char *first_up, const char *first_down)
{
	const struct span first[2] = {span_from(first_up), span_from(first_down)};

	rig.pump = (struct pump){.limits = &rig.limits, .pipes = rig.pipes, .on_end = on_end};
	assert_int_equal(pump_start(&rig.pump, rig.loop, &rig.streams[PUMP_CLIENT],
	                            &rig.streams[PUMP_ORIGIN], first), ERR_NONE);
	assert_int_equal(rig.end_count, 0);
}

static void send_text(enum pump_side side, const char *text)
{
	assert_int_equal(send(rig.ends[side], text, strlen(text), 0), (ssize_t)strlen(text));
}

/* Serve the tunnel until so many bytes, or the end (0 from recv), came out on this side. */
static ssize_t serve_and_receive(enum pump_side side, void *at, size_t want)
{
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
	size_t have = 0;

	while (have < want && clock_monotonic_ms() < until_ms) {
		ssize_t got;

		loop_turn(rig.loop, 1);
		got = recv(rig.ends[side], (uint8_t *)at + have, want - have, 0);
		if (got == 0)
			break;
		if (got < 0 && errno != EAGAIN)
			return -errno;
		have += got > 0 ? (size_t)got : 0;
	}
	return (ssize_t)have;
}

static void expect_text(enum pump_side side, const char *text)
{
	char got[100] = "";
	ssize_t len = serve_and_receive(side, got, strlen(text));

	if (len != (ssize_t)strlen(text) || memcmp(got, text, strlen(text)) != 0)
		fail_msg("%zd bytes \"%s\", want \"%s\"", len, got, text);
}

static void expect_fin(enum pump_side side)
{
	char byte;

	assert_int_equal(serve_and_receive(side, &byte, 1), 0);
}

static void expect_reset(enum pump_side side)
{
	char byte;

	assert_int_equal(serve_and_receive(side, &byte, 1), -ECONNRESET);
}

static void expect_end(enum pump_side side, enum pump_how how)
{
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;

	while (rig.end_count == 0 && clock_monotonic_ms() < until_ms)
		loop_turn(rig.loop, 10);
	assert_int_equal(rig.end_count, 1);
	assert_int_equal(rig.end.how, how);
	assert_int_equal(rig.end.ended_by, side);
	assert_false(stream_is_open(&rig.streams[0]));
	assert_false(stream_is_open(&rig.streams[1]));
	loop_turn(rig.loop, 0);
	assert_int_equal(rig.end_count, 1);
}

static void reset_end(enum pump_side side)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	assert_int_equal(setsockopt(rig.ends[side], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	close(rig.ends[side]);
	rig.ends[side] = -1;
}

/* ---- bytes and ends ---- */

static void bytes_go_both_ways(void **state)
{
	(void)state;
	start("", "");
	send_text(PUMP_CLIENT, "hello");
	expect_text(PUMP_ORIGIN, "hello");
	send_text(PUMP_ORIGIN, "good day");
	expect_text(PUMP_CLIENT, "good day");
	send_text(PUMP_CLIENT, "again");
	expect_text(PUMP_ORIGIN, "again");
	assert_int_equal(rig.pump.bytes[PUMP_CLIENT], 10);
	assert_int_equal(rig.pump.bytes[PUMP_ORIGIN], 8);
}

static void first_bytes_go_first(void **state)
{
	(void)state;
	send_text(PUMP_CLIENT, " and more");
	send_text(PUMP_ORIGIN, " body");
	start("first", "head");
	expect_text(PUMP_ORIGIN, "first and more");
	expect_text(PUMP_CLIENT, "head body");
}

static void what_waits_before_the_start_is_served(void **state)
{
	(void)state;
	send_text(PUMP_CLIENT, "early");
	shutdown(rig.ends[PUMP_CLIENT], SHUT_WR);
	for (int i = 0; i < 5; i++)
		loop_turn(rig.loop, 1);
	start("", "");
	expect_text(PUMP_ORIGIN, "early");
	expect_fin(PUMP_ORIGIN);
}

static void an_answer_after_fin_arrives(void **state)
{
	(void)state;
	start("", "");
	send_text(PUMP_CLIENT, "question");
	shutdown(rig.ends[PUMP_CLIENT], SHUT_WR);
	expect_text(PUMP_ORIGIN, "question");
	expect_fin(PUMP_ORIGIN);
	assert_int_equal(rig.end_count, 0);
	send_text(PUMP_ORIGIN, "answer");
	shutdown(rig.ends[PUMP_ORIGIN], SHUT_WR);
	expect_text(PUMP_CLIENT, "answer");
	expect_fin(PUMP_CLIENT);
	expect_end(PUMP_CLIENT, PUMP_FIN);
}

static void the_origin_may_close_first(void **state)
{
	(void)state;
	start("", "");
	send_text(PUMP_ORIGIN, "bye");
	shutdown(rig.ends[PUMP_ORIGIN], SHUT_WR);
	expect_text(PUMP_CLIENT, "bye");
	expect_fin(PUMP_CLIENT);
	shutdown(rig.ends[PUMP_CLIENT], SHUT_WR);
	expect_fin(PUMP_ORIGIN);
	expect_end(PUMP_ORIGIN, PUMP_FIN);
}

static void a_reset_goes_on_as_a_reset(void **state)
{
	(void)state;
	start("", "");
	send_text(PUMP_CLIENT, "x");
	expect_text(PUMP_ORIGIN, "x");
	reset_end(PUMP_CLIENT);
	expect_reset(PUMP_ORIGIN);
	expect_end(PUMP_CLIENT, PUMP_RST);
}

static void a_reset_of_the_origin_goes_on_too(void **state)
{
	(void)state;
	start("", "");
	send_text(PUMP_ORIGIN, "x");
	expect_text(PUMP_CLIENT, "x");
	reset_end(PUMP_ORIGIN);
	expect_reset(PUMP_CLIENT);
	expect_end(PUMP_ORIGIN, PUMP_RST);
}

static void a_reset_after_a_fin_is_named(void **state)
{
	(void)state;
	start("", "");
	shutdown(rig.ends[PUMP_CLIENT], SHUT_WR);
	expect_fin(PUMP_ORIGIN);
	reset_end(PUMP_ORIGIN);
	expect_end(PUMP_ORIGIN, PUMP_RST);
}

/* ---- time ---- */

static void an_idle_tunnel_ends(void **state)
{
	(void)state;
	rig.limits.idle_ms = 30;
	start("", "");
	expect_end(PUMP_CLIENT, PUMP_TIMEOUT);
	expect_fin(PUMP_CLIENT);
	expect_fin(PUMP_ORIGIN);
}

static void a_half_closed_tunnel_ends_sooner(void **state)
{
	(void)state;
	rig.limits.half_close_ms = 30;
	start("", "");
	shutdown(rig.ends[PUMP_ORIGIN], SHUT_WR);
	expect_end(PUMP_ORIGIN, PUMP_HALF_CLOSE_TIMEOUT);
}

/* Nothing is asked of the kernel at an end that may be over at once, and none is waited for twice as long. */
static void what_is_acknowledged_is_asked_at_half_time(void **state)
{
	(void)state;
	rig.limits.half_close_ms = 100000;
	start("", "some");
	expect_text(PUMP_CLIENT, "some");
	shutdown(rig.ends[PUMP_ORIGIN], SHUT_WR);
	expect_fin(PUMP_CLIENT);
	assert_int_equal(rig.pump.acknowledged, 0);
	assert_true(rig.pump.timer.due_ms <= loop_now_ms(rig.loop) + 50001);
	rig.pump.timer.on_due(&rig.pump.timer);
	assert_int_not_equal(rig.pump.acknowledged, 0);
	assert_true(rig.pump.timer.due_ms <= rig.pump.last_moved_ms + 100000);
}

static void stopping_ends_it_at_once(void **state)
{
	(void)state;
	start("", "");
	pump_stop(&rig.pump);
	assert_int_equal(rig.end_count, 1);
	assert_int_equal(rig.end.how, PUMP_STOPPED);
	expect_fin(PUMP_CLIENT);
}

/* What the kernel still holds for it will never be sent: nobody waits for that. */
static void a_receiver_that_resets_with_bytes_on_their_way_ends_it(void **state)
{
	enum { MUCH = 400000 };
	static const uint8_t zeros[MUCH];
	uint64_t sent = 0;

	(void)state;
	set_receive_buffer(PUMP_CLIENT, 4096);
	start("", "");
	for (int i = 0; i < 2000 && (sent < MUCH || rig.pump.bytes[PUMP_ORIGIN] < sent); i++) {
		ssize_t count = send(rig.ends[PUMP_ORIGIN], zeros, MUCH - sent, MSG_DONTWAIT);

		sent += count > 0 ? (uint64_t)count : 0;
		loop_turn(rig.loop, 1);
	}
	assert_int_equal(rig.pump.bytes[PUMP_ORIGIN], MUCH);
	reset_end(PUMP_ORIGIN);
	for (int i = 0; i < 10; i++)
		loop_turn(rig.loop, 10);
	assert_int_equal(rig.end_count, 0); /* it may still read */
	reset_end(PUMP_CLIENT);
	for (int i = 0; i < 100 && rig.end_count == 0; i++)
		loop_turn(rig.loop, 10);
	assert_int_equal(rig.end_count, 1);
}

/* ---- looking at first bytes ---- */

static unsigned stop_count;

static enum pump_look look_for_mark(struct pump *pump, struct span bytes, bool is_end)
{
	(void)pump;
	return span_find(bytes, '!') < bytes.len || is_end ? PUMP_LOOK_STOP : PUMP_LOOK_MORE;
}

static void on_stop(struct pump *pump)
{
	stop_count++;
	pump_stop(pump);
}

/* The client's reset shows when the origin's bytes are written, before its own event: what it had sent is looked at then. */
static void a_look_that_stops_is_told_whoever_was_served(void **state)
{
	(void)state;
	stop_count = 0;
	start("", "");
	rig.pump.look = look_for_mark;
	rig.pump.on_stop = on_stop;
	send_text(PUMP_CLIENT, "half");
	for (int i = 0; i < 10; i++)
		loop_turn(rig.loop, 1);
	send_text(PUMP_ORIGIN, "I speak first");
	send_text(PUMP_CLIENT, "!");
	reset_end(PUMP_CLIENT);
	for (int i = 0; i < 50 && rig.end_count == 0; i++)
		loop_turn(rig.loop, 10);
	assert_int_equal(stop_count, 1);
	assert_int_equal(rig.end_count, 1);
}

/* ---- streams ---- */

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* One direction of a stream that the test sends and checks. */
struct flow {
	enum pump_side from;
	uint64_t total, sent, received;
	bool ended;
};

static uint64_t send_some(struct flow *flow)
{
	uint8_t bytes[65536];
	uint64_t left = flow->total - flow->sent, before = flow->sent;
	size_t len = left < sizeof(bytes) ? (size_t)left : sizeof(bytes);
	ssize_t count;

	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_at(flow->sent + i);
	if (len == 0)
		return 0;
	count = send(rig.ends[flow->from], bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (count > 0)
		flow->sent += (uint64_t)count;
	if (flow->sent == flow->total)
		shutdown(rig.ends[flow->from], SHUT_WR);
	return flow->sent - before;
}

static void receive_some(struct flow *flow)
{
	uint8_t bytes[65536];
	ssize_t count = recv(rig.ends[!flow->from], bytes, sizeof(bytes), MSG_DONTWAIT);

	if (count == 0)
		flow->ended = true;
	for (ssize_t i = 0; i < count; i++)
		if (bytes[i] != byte_at(flow->received + (uint64_t)i))
			fail_msg("wrong byte at %llu", (unsigned long long)(flow->received + (uint64_t)i));
	if (count > 0)
		flow->received += (uint64_t)count;
}

static void run_flows(struct flow flows[static 2])
{
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;

	while (!(flows[0].ended && flows[1].ended) && clock_monotonic_ms() < until_ms) {
		for (int i = 0; i < 2; i++) {
			send_some(&flows[i]);
			receive_some(&flows[i]);
		}
		loop_turn(rig.loop, 0);
	}
	for (int i = 0; i < 2; i++)
		assert_true(flows[i].ended && flows[i].received == flows[i].total);
	expect_end(rig.end.ended_by, PUMP_FIN);
	assert_int_equal(rig.pump.bytes[PUMP_CLIENT], flows[0].total);
	assert_int_equal(rig.pump.bytes[PUMP_ORIGIN], flows[1].total);
}

static void large_streams_keep_every_byte(void **state)
{
	struct flow flows[2] = {{.from = PUMP_CLIENT, .total = 24000001}, {.from = PUMP_ORIGIN, .total = 17000003}};

	(void)state;
	start("", "");
	run_flows(flows);
}

/* A stream that waits for its sender holds no pipe: the others have them all. */
static void streams_give_their_pipes_back(void **state)
{
	struct flow flows[2] = {{.from = PUMP_CLIENT, .total = 24000001}, {.from = PUMP_ORIGIN, .total = 3}};
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
	struct pipe taken[6];

	(void)state;
	start("", "");
	while (flows[0].received < 20000000 && clock_monotonic_ms() < until_ms) {
		send_some(&flows[0]);
		receive_some(&flows[0]);
		loop_turn(rig.loop, 0);
	}
	while (flows[0].received < flows[0].sent && clock_monotonic_ms() < until_ms) {
		receive_some(&flows[0]);
		loop_turn(rig.loop, 0);
	}
	assert_int_equal(flows[0].received, flows[0].sent);
	for (size_t i = 0; i < 6; i++)
		assert_true(pipes_take(rig.pipes, &taken[i]));
	for (size_t i = 0; i < 6; i++)
		pipes_give(rig.pipes, &taken[i]);
	run_flows(flows);
}

static void large_streams_without_pipes(void **state)
{
	struct flow flows[2] = {{.from = PUMP_CLIENT, .total = 8000001}, {.from = PUMP_ORIGIN, .total = 8000003}};

	(void)state;
	pipes_free(rig.pipes);
	rig.pipes = NULL;
	start("", "");
	run_flows(flows);
}

static void small_buffers_keep_every_byte(void **state)
{
	struct flow flows[2] = {{.from = PUMP_CLIENT, .total = 300001}, {.from = PUMP_ORIGIN, .total = 200003}};

	(void)state;
	rig.limits.buffer_bytes = 97;
	pipes_free(rig.pipes);
	rig.pipes = NULL;
	start("", "");
	run_flows(flows);
}

/* Send until nothing goes any more for a while; the bytes that went. */
static uint64_t send_until_full(struct flow *flow)
{
	for (int quiet = 0; quiet < 50 && flow->sent < flow->total;) {
		quiet = send_some(flow) ? 0 : quiet + 1;
		loop_turn(rig.loop, quiet ? 1 : 0);
	}
	return flow->sent;
}

/* Nobody reads at the origin: the client is made to wait, and nothing is lost or stored without bound. */
static void a_slow_receiver_slows_the_sender(void **state)
{
	struct flow flows[2] = {{.from = PUMP_CLIENT, .total = 100000000}, {.from = PUMP_ORIGIN, .total = 0}};
	uint64_t taken, until_ms = clock_monotonic_ms() + WAIT_MS;

	(void)state;
	pipes_free(rig.pipes);
	rig.pipes = NULL;
	start("", "");
	taken = send_until_full(&flows[0]);
	assert_true(taken < flows[0].total);
	/* The other direction is not held up. */
	send_text(PUMP_ORIGIN, "busy");
	expect_text(PUMP_CLIENT, "busy");
	flows[0].total = taken;
	shutdown(rig.ends[PUMP_CLIENT], SHUT_WR);
	while (!flows[0].ended && clock_monotonic_ms() < until_ms) {
		receive_some(&flows[0]);
		loop_turn(rig.loop, 0);
	}
	assert_int_equal(flows[0].received, taken);
}

/* What was received of a side before its reset is delivered first; then the other side is reset. */
static void bytes_before_a_reset_are_delivered(void **state)
{
	struct flow flow = {.from = PUMP_CLIENT, .total = 1 << 30};
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS, delivered;

	(void)state;
	start("", "");
	while (flow.sent < 200000 && clock_monotonic_ms() < until_ms) {
		send_some(&flow);
		loop_turn(rig.loop, 0);
	}
	delivered = rig.pump.bytes[PUMP_CLIENT];
	reset_end(PUMP_CLIENT);
	until_ms = clock_monotonic_ms() + 5000;
	while (flow.received < delivered && clock_monotonic_ms() < until_ms) {
		loop_turn(rig.loop, 1);
		receive_some(&flow);
	}
	assert_int_equal(flow.received, delivered);
	expect_end(PUMP_CLIENT, PUMP_RST);
}

/* A sender that resets behind bytes which nobody takes: that it did is seen, and what it sent is not kept for ever. */
static void a_reset_behind_a_full_receiver_is_seen(void **state)
{
	struct flow flow = {.from = PUMP_CLIENT, .total = 100000000};
	int small = 1 << 16;

	(void)state;
	rig.limits.half_close_ms = 300;
	set_receive_buffer(PUMP_ORIGIN, small);
	setsockopt(rig.streams[PUMP_ORIGIN].io.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(rig.streams[PUMP_CLIENT].io.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	start("", "");
	assert_true(send_until_full(&flow) < flow.total);
	reset_end(PUMP_CLIENT);
	expect_end(PUMP_CLIENT, PUMP_RST);
}

/* Half-closed, and then reset: the reset goes on although the FIN has gone before. */
static void a_reset_behind_its_own_fin_goes_on(void **state)
{
	(void)state;
	rig.limits.half_close_ms = 5000;
	start("", "");
	shutdown(rig.ends[PUMP_CLIENT], SHUT_WR);
	expect_fin(PUMP_ORIGIN);
	reset_end(PUMP_CLIENT);
	expect_end(PUMP_CLIENT, PUMP_RST);
}

/* The end of the source is seen by the very turn that moved enough to take a pipe. */
static void a_fin_right_behind_a_stream_ends_it(void **state)
{
	struct flow flow = {.from = PUMP_CLIENT, .total = 400000};
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
	int large = 1 << 20;

	(void)state;
	for (int side = 0; side < 2; side++) {
		setsockopt(rig.ends[side], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
		setsockopt(rig.ends[side], SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
		setsockopt(rig.streams[side].io.fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
		setsockopt(rig.streams[side].io.fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	}
	while (flow.sent < flow.total && clock_monotonic_ms() < until_ms)
		send_some(&flow);
	start("", "");
	while (!flow.ended && clock_monotonic_ms() < until_ms) {
		loop_turn(rig.loop, 1);
		receive_some(&flow);
	}
	assert_int_equal(flow.received, flow.total);
}

/* All of it is there before the first read, which ends at the mark. */
static void urgent_bytes_come_in_their_place(void **state)
{
	int on = 1;

	(void)state;
	assert_int_equal(setsockopt(rig.streams[PUMP_CLIENT].io.fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)), 0);
	send_text(PUMP_CLIENT, "before");
	assert_int_equal(send(rig.ends[PUMP_CLIENT], "!", 1, MSG_OOB), 1);
	send_text(PUMP_CLIENT, "behind");
	start("", "");
	expect_text(PUMP_ORIGIN, "before!behind");
}

/* splice() stops in front of the mark, and says that there is nothing more. */
static void urgent_bytes_stop_no_stream(void **state)
{
	static uint8_t sent[400000], got[sizeof(sent) + 13];
	int large = 1 << 20, on = 1;

	(void)state;
	assert_int_equal(setsockopt(rig.streams[PUMP_CLIENT].io.fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)), 0);
	setsockopt(rig.ends[PUMP_CLIENT], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	setsockopt(rig.streams[PUMP_CLIENT].io.fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	memset(sent, 'a', sizeof(sent));
	assert_int_equal(send(rig.ends[PUMP_CLIENT], sent, sizeof(sent), 0), sizeof(sent));
	assert_int_equal(send(rig.ends[PUMP_CLIENT], "before!", 7, MSG_OOB), 7);
	send_text(PUMP_CLIENT, "behind");
	start("", "");
	assert_int_equal(serve_and_receive(PUMP_ORIGIN, got, sizeof(got)), sizeof(got));
	assert_memory_equal(got, sent, sizeof(sent));
	assert_memory_equal(got + sizeof(sent), "before!behind", 13);
}

/* ---- classes ---- */

static const struct classes_conf classes = {
	.media = {.dscp = 46, .unsent_bytes = 16384, .buffer_bytes = 65536, .dead_after_ms = 12000},
	.normal = {.dscp = CLASS_DSCP_NONE},
	.bulk = {.dscp = 1},
};

static int option_of(enum pump_side side, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(rig.streams[side].io.fd, level, name, &value, &len), 0);
	return value;
}

static void media_has_short_queues_on_both_legs(void **state)
{
	(void)state;
	start("", "");
	pump_set_class(&rig.pump, LOOP_MEDIA, &classes);
	for (int side = 0; side < 2; side++) {
		assert_int_equal(option_of(side, IPPROTO_TCP, TCP_NODELAY), 1);
		assert_int_equal(option_of(side, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 16384);
		assert_int_equal(option_of(side, SOL_SOCKET, SO_SNDBUF), 2 * 65536);
		assert_int_equal(option_of(side, SOL_SOCKET, SO_RCVBUF), 2 * 65536);
		assert_int_equal(option_of(side, SOL_SOCKET, SO_KEEPALIVE), 1);
		assert_int_equal(option_of(side, IPPROTO_TCP, TCP_KEEPIDLE), 6);
		assert_int_equal(option_of(side, IPPROTO_TCP, TCP_USER_TIMEOUT), 12000);
		assert_int_equal(option_of(side, IPPROTO_IP, IP_TOS), 46 << 2);
		assert_int_equal(option_of(side, SOL_SOCKET, SO_PRIORITY), 6);
	}
	send_text(PUMP_CLIENT, "packet");
	expect_text(PUMP_ORIGIN, "packet");
	send_text(PUMP_ORIGIN, "answer");
	expect_text(PUMP_CLIENT, "answer");
	shutdown(rig.ends[PUMP_CLIENT], SHUT_WR);
	expect_fin(PUMP_ORIGIN);
	close(rig.ends[PUMP_ORIGIN]);
	rig.ends[PUMP_ORIGIN] = -1;
	expect_fin(PUMP_CLIENT);
	expect_end(PUMP_CLIENT, PUMP_FIN);
}

/* Its queues grow again, up to where all others' do; where there is a bound for these, up to that. */
static void what_was_media_is_as_others_are(void **state)
{
	(void)state;
	start("", "");
	pump_set_class(&rig.pump, LOOP_MEDIA, &classes);
	for (int side = 0; side < 2; side++) {
		int fd = rig.streams[side].io.fd;

		assert_int_not_equal(option_of(side, SOL_SOCKET, SO_BUF_LOCK), 0);
		socket_end_media(fd, &classes, 0);
		assert_int_equal(option_of(side, SOL_SOCKET, SO_BUF_LOCK), 0);
		assert_int_not_equal(option_of(side, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 16384);
		assert_int_equal(option_of(side, IPPROTO_TCP, TCP_KEEPIDLE), 60);
		assert_int_equal(option_of(side, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
		assert_int_equal(option_of(side, IPPROTO_IP, IP_TOS), 0);
		assert_int_equal(option_of(side, SOL_SOCKET, SO_PRIORITY), 0);
		socket_end_media(fd, &classes, 32768);
		assert_int_equal(option_of(side, SOL_SOCKET, SO_SNDBUF), 2 * 32768);
		assert_int_equal(option_of(side, SOL_SOCKET, SO_RCVBUF), 2 * 32768);
	}
}

/* What a receiver does not take is not taken from the sender either: little is stored. */
static void congestion_of_media_is_felt_by_the_sender(void **state)
{
	static uint8_t bytes[65536];
	size_t sent = 0;
	int idle = 0;

	(void)state;
	set_receive_buffer(PUMP_ORIGIN, 4096);
	start("", "");
	pump_set_class(&rig.pump, LOOP_MEDIA, &classes);
	while (idle < 50) {
		ssize_t count = send(rig.ends[PUMP_CLIENT], bytes, sizeof(bytes), 0);

		sent += count > 0 ? (size_t)count : 0;
		idle = count > 0 ? 0 : idle + 1;
		loop_turn(rig.loop, 1);
		assert_true(sent < (size_t)64 << 20);
	}
	/* Beside what the sender's own kernel holds (some MB): received here, stored, unsent, and what the other end took. */
	assert_true(rig.pump.bytes[PUMP_CLIENT] <= 16384 + 65536 + 65536);
}

static unsigned class_changes;

static void on_class(struct pump *pump)
{
	(void)pump;
	class_changes++;
}

/* Move so many bytes from the origin to the client. */
static void move_down(size_t want)
{
	static uint8_t bytes[65536];

	while (want) {
		size_t part = want < sizeof(bytes) ? want : sizeof(bytes);

		assert_int_equal(send(rig.ends[PUMP_ORIGIN], bytes, part, 0), (ssize_t)part);
		assert_int_equal(serve_and_receive(PUMP_CLIENT, bytes, part), (ssize_t)part);
		want -= part;
	}
}

static void a_tunnel_becomes_bulk_by_what_it_moves(void **state)
{
	uint64_t until_ms;

	(void)state;
	class_changes = 0;
	rig.limits.bulk_bytes = 1 << 20;
	start("", "");
	rig.pump.on_class = on_class;
	move_down(1 << 18);
	assert_int_equal(rig.pump.class, LOOP_NORMAL);
	rig.limits.bulk_bytes = 1 << 18; /* lower: a slow machine may need a second for more */
	move_down(1 << 20);
	assert_int_equal(rig.pump.class, LOOP_BULK);
	assert_int_equal(rig.streams[0].io.class, LOOP_BULK);
	assert_int_equal(rig.streams[1].io.class, LOOP_BULK);
	assert_int_equal(class_changes, 1);
	/* A second that is quiet makes it normal again, when something moves. */
	until_ms = clock_monotonic_ms() + 2100;
	while (clock_monotonic_ms() < until_ms)
		loop_turn(rig.loop, 100);
	for (int i = 0; i < 2; i++) {
		send_text(PUMP_CLIENT, "x");
		expect_text(PUMP_ORIGIN, "x");
		until_ms = clock_monotonic_ms() + 1100;
		while (i == 0 && clock_monotonic_ms() < until_ms)
			loop_turn(rig.loop, 100);
	}
	assert_int_equal(rig.pump.class, LOOP_NORMAL);
	assert_int_equal(class_changes, 2);
}

static void media_by_shape_that_moves_too_much_is_none(void **state)
{
	(void)state;
	class_changes = 0;
	rig.limits.bulk_bytes = 0;
	rig.limits.media_most_bytes = 1 << 18;
	start("", "");
	rig.pump.on_class = on_class;
	pump_set_class(&rig.pump, LOOP_MEDIA, &classes);
	move_down(1 << 16);
	assert_int_equal(rig.pump.class, LOOP_MEDIA);
	move_down(1 << 20);
	assert_int_equal(rig.pump.class, LOOP_BULK);
	assert_int_equal(class_changes, 1);
	send_text(PUMP_CLIENT, "and on");
	expect_text(PUMP_ORIGIN, "and on");
}

static void media_by_rule_stays_it(void **state)
{
	(void)state;
	rig.limits.bulk_bytes = rig.limits.media_most_bytes = 1 << 16;
	start("", "");
	rig.pump.is_class_fixed = true;
	pump_set_class(&rig.pump, LOOP_MEDIA, &classes);
	move_down(1 << 20);
	assert_int_equal(rig.pump.class, LOOP_MEDIA);
}

static size_t seen[2];

static void on_see(struct pump *pump, enum pump_side from, struct span bytes)
{
	(void)pump;
	seen[from] += bytes.len;
}

static void only_media_is_seen(void **state)
{
	(void)state;
	seen[0] = seen[1] = 0;
	start("", "");
	rig.pump.see = on_see;
	send_text(PUMP_CLIENT, "normal");
	expect_text(PUMP_ORIGIN, "normal");
	assert_int_equal(seen[0] + seen[1], 0);
	pump_set_class(&rig.pump, LOOP_MEDIA, &classes);
	send_text(PUMP_CLIENT, "packet");
	expect_text(PUMP_ORIGIN, "packet");
	move_down(100000);
	assert_int_equal(seen[PUMP_CLIENT], 6);
	assert_int_equal(seen[PUMP_ORIGIN], 100000);
}

/* Speaks behind the tunnel's events of class media, and before what was queued of class normal. */
struct late {
	struct loop_io io;
	int peer;
	void (*speak)(void);
};

static void on_late(struct loop_io *io, unsigned events)
{
	struct late *late = CONTAINER_OF(io, struct late, io);

	(void)events;
	if (late->speak)
		late->speak();
	late->speak = NULL;
}

static void open_late(struct late *late, void (*speak)(void))
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	*late = (struct late){.io = {.fd = pair[0], .on_ready = on_late}, .peer = pair[1], .speak = speak};
	assert_int_equal(loop_watch(rig.loop, &late->io), ERR_NONE);
	assert_int_equal(loop_set_class(rig.loop, &late->io, LOOP_MEDIA), ERR_NONE);
}

static void close_late(struct late *late)
{
	assert_null(late->speak);
	loop_close(rig.loop, &late->io);
	close(late->peer);
}

static void end_both(void)
{
	for (int side = 0; side < 2; side++)
		assert_int_equal(shutdown(rig.ends[side], SHUT_WR), 0);
}

/* It is queued as normal, with bytes that came with the CONNECT, then becomes media: its own events could be served in its midst. */
static void media_that_was_queued_before_ends_once(void **state)
{
	struct late late;

	(void)state;
	start("first", "");
	pump_set_class(&rig.pump, LOOP_MEDIA, &classes);
	open_late(&late, end_both);
	for (int i = 0; i < 50 && rig.end_count == 0; i++)
		loop_turn(rig.loop, 10);
	assert_int_equal(rig.end_count, 1);
	close_late(&late);
}

static void say_mark(void)
{
	send_text(PUMP_CLIENT, "!");
}

static void on_stop_let_go(struct pump *pump)
{
	uint8_t *held;
	size_t held_len;

	stop_count++;
	assert_true(pump_release(pump, &held, &held_len));
	assert_int_equal(held_len, 5);
	assert_memory_equal(held, "half!", 5);
	free(held);
	free(pump);
	for (int side = 0; side < 2; side++)
		rig.streams[side].on_ready = on_early;
}

static void media_that_was_queued_before_may_be_let_go(void **state)
{
	const struct span first[2] = {SPAN("half"), SPAN("")};
	struct pump *pump = malloc(sizeof(*pump));
	struct late late;

	(void)state;
	assert_non_null(pump);
	*pump = (struct pump){.limits = &rig.limits, .on_end = on_end, .look = look_for_mark, .on_stop = on_stop_let_go};
	assert_int_equal(pump_start(pump, rig.loop, &rig.streams[PUMP_CLIENT], &rig.streams[PUMP_ORIGIN], first), ERR_NONE);
	pump_set_class(pump, LOOP_MEDIA, &classes);
	stop_count = 0;
	open_late(&late, say_mark);
	for (int i = 0; i < 50 && stop_count == 0; i++)
		loop_turn(rig.loop, 10);
	assert_int_equal(stop_count, 1);
	for (int side = 0; side < 2; side++)
		assert_int_equal(rig.streams[side].io.class, LOOP_NORMAL);
	close_late(&late);
}

int main(void)
{
#define ONE(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)
	const struct CMUnitTest tests[] = {
		ONE(bytes_go_both_ways),
		ONE(first_bytes_go_first),
		ONE(what_waits_before_the_start_is_served),
		ONE(an_answer_after_fin_arrives),
		ONE(the_origin_may_close_first),
		ONE(a_reset_goes_on_as_a_reset),
		ONE(a_reset_of_the_origin_goes_on_too),
		ONE(a_reset_after_a_fin_is_named),
		ONE(an_idle_tunnel_ends),
		ONE(a_half_closed_tunnel_ends_sooner),
		ONE(what_is_acknowledged_is_asked_at_half_time),
		ONE(stopping_ends_it_at_once),
		ONE(a_look_that_stops_is_told_whoever_was_served),
		ONE(a_receiver_that_resets_with_bytes_on_their_way_ends_it),
		ONE(media_has_short_queues_on_both_legs),
		ONE(what_was_media_is_as_others_are),
		ONE(congestion_of_media_is_felt_by_the_sender),
		ONE(a_tunnel_becomes_bulk_by_what_it_moves),
		ONE(media_by_shape_that_moves_too_much_is_none),
		ONE(media_by_rule_stays_it),
		ONE(only_media_is_seen),
		ONE(media_that_was_queued_before_ends_once),
		ONE(media_that_was_queued_before_may_be_let_go),
		ONE(streams_give_their_pipes_back),
		ONE(large_streams_without_pipes),
		ONE(small_buffers_keep_every_byte),
		ONE(a_slow_receiver_slows_the_sender),
		ONE(bytes_before_a_reset_are_delivered),
		ONE(a_reset_behind_a_full_receiver_is_seen),
		ONE(a_reset_behind_its_own_fin_goes_on),
		ONE(large_streams_keep_every_byte),
		ONE(a_fin_right_behind_a_stream_ends_it),
		ONE(urgent_bytes_come_in_their_place),
		ONE(urgent_bytes_stop_no_stream),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
