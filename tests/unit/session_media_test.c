/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted of a call, and the networks that calls come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/media.h"
#include "session/media_networks.h"

#define RTP(number) "\x00\x10\x80\x60\x00" number "\x00\x00\x00\x01SSRCdata"
#define STUN "\x00\x01\x00\x00\x21\x12\xa4\x42" "0123456789ab"
#define FRAMED_STUN "\x00\x14" STUN

static const char ssltcp[] =
	"\x80\x46\x01\x03\x01\x00\x2d\x00\x00\x00\x10\x01\x00\x80\x03\x00\x80\x07\x00\xc0\x06\x00\x40\x02\x00\x80\x04\x00\x80\x00\x00\x04\x00"
	"\xfe\xff\x00\x00\x0a\x00\xfe\xfe\x00\x00\x09\x00\x00\x64\x00\x00\x62\x00\x00\x03\x00\x00\x06\x1f\x17\x0c\xa6\x2f\x00\x78\xfc\x46\x55"
	"\x2e\xb1\x83\x39\xf1\xea";

/* ---- frames ---- */

static void packets_are_counted_by_their_frames(void **unused)
{
	static const struct {
		size_t packets;
		enum media_framing framing;
		struct span bytes;
	} rows[] = {
#define ROW(packets, framing, text) {packets, MEDIA_FRAMING_##framing, {(const uint8_t *)(text), sizeof(text) - 1}}
		ROW(2, RFC4571, RTP("\1") RTP("\2")),
		ROW(1, RFC4571, RTP("\1") "\x00\x10\x80\x60\x00"),
		ROW(2, RFC4571, RTP("\1") "\0\0" RTP("\2")), /* a frame without a packet */
		ROW(2, RFC4571, FRAMED_STUN RTP("\1")),
		ROW(1, RFC4571, "\x00\x0d\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\0"),
		ROW(1, RFC4571, "\x00\x08\x81\xc9\x00\x01\x00\x00\x00\x01"),
		ROW(3, TURN, STUN "\x40\x00\x00\x01x\0\0\0\x40\x01\x00\x04" "four"),
		ROW(0, OPEN, "\x00\x10\x80"),
		ROW(1, NONE, "\x16\x03\x01\x00\x10\x01"),
		ROW(0, OPEN, "\0\0\0\0"),
		ROW(1, NONE, "\0\0\0\0\0"),
		ROW(1, NONE, "\x40\x00\x00\x04" "four"),
		ROW(2, NONE, RTP("\1") RTP("\2") "\xff\xff\xff\xff"),
		ROW(1, NONE, RTP("\1") "\x00\x07\x81\xc9\x00\x01\x00\x00\x00"), /* shorter than any RTCP */
		ROW(1, NONE, RTP("\1") "\x00\x14\x00\x01\x00\x04\x21\x12\xa4\x42" "0123456789ab"), /* STUN of another length than its frame */
		ROW(1, NONE, STUN "\x50\x00\x00\x01"),
#undef ROW
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct media_frames frames = {0};
		size_t packets = media_frames_read(&frames, rows[i].bytes);

		if (packets != rows[i].packets || frames.framing != rows[i].framing)
			fail_msg("row %zu: %zu packets, framing \"%s\"", i, packets, media_frames_name(&frames));
	}
}

/* ---- figures ---- */

static struct media media;
static uint64_t now_us;

static void begin(bool looks)
{
	now_us = 1000000;
	media_init(&media, 40, looks);
}

static void comes(enum pump_side from, uint64_t after_ms, struct span bytes)
{
	now_us += after_ms * 1000;
	media_note(&media, from, bytes, now_us);
}

static void gaps_are_of_one_direction(void **unused)
{
	const struct media_flow *up = &media.flows[PUMP_CLIENT], *down = &media.flows[PUMP_ORIGIN];

	(void)unused;
	begin(false);
	comes(PUMP_CLIENT, 0, SPAN(RTP("\1")));
	assert_false(up->has_gap);
	comes(PUMP_CLIENT, 20, SPAN(RTP("\2")));
	comes(PUMP_ORIGIN, 100, SPAN(RTP("\1"))); /* the first one: no gap */
	comes(PUMP_CLIENT, 0, SPAN(RTP("\3") RTP("\4")));
	comes(PUMP_ORIGIN, 40, SPAN(RTP("\2"))); /* just no stall */
	comes(PUMP_ORIGIN, 41, SPAN(RTP("\3")));
	comes(PUMP_CLIENT, 4918, SPAN(RTP("\5"))); /* 4999 ms after the one before */
	comes(PUMP_CLIENT, 5000, SPAN(RTP("\6"))); /* a pause */
	comes(PUMP_CLIENT, 1, SPAN(RTP("\7")));
	assert_int_equal(up->packets, 7);
	assert_int_equal(up->stalls, 2);
	assert_int_equal(up->pauses, 1);
	assert_int_equal(up->longest_gap_us, 4999000);
	assert_int_equal(down->packets, 3);
	assert_int_equal(down->stalls, 1);
	assert_int_equal(down->longest_gap_us, 41000);
}

/* When a call is over its packets end before its tunnel does; when its path breaks, they are missed. */
static void a_gap_that_is_open_at_the_end(void **state)
{
	static const struct {
		enum pump_how how;
		uint64_t up_ms, down_ms; /* since the last packet */
		unsigned up_stalls, down_stalls;
	} rows[] = {
		{PUMP_FIN, 300, 300, 0, 0},
		{PUMP_STOPPED, 300, 300, 0, 0},
		{PUMP_TIMEOUT, 4000, 4000, 0, 0},
		{PUMP_RST, 300, 20, 1, 0},
		{PUMP_RST, 5000, 300, 0, 1}, /* up was a pause */
		{PUMP_DEAD, 10000, 300, 1, 0}, /* of the client's side */
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct media_flow *up = &media.flows[PUMP_CLIENT], *down = &media.flows[PUMP_ORIGIN];

		begin(false);
		media_note(&media, PUMP_CLIENT, SPAN(RTP("\1")), 20000000 - rows[i].up_ms * 1000);
		media_note(&media, PUMP_ORIGIN, SPAN(RTP("\1")), 20000000 - rows[i].down_ms * 1000);
		media_note_end(&media, (struct pump_end){PUMP_CLIENT, rows[i].how}, 20000000);
		if (up->stalls != rows[i].up_stalls || down->stalls != rows[i].down_stalls)
			fail_msg("row %zu: %u stalls up, %u down", i, up->stalls, down->stalls);
	}
	assert_int_equal(media_longest_gap_ms(&media), 10000);
}

/* A packet has come when all of it has. */
static void half_a_packet_is_none(void **unused)
{
	(void)unused;
	begin(false);
	comes(PUMP_CLIENT, 0, SPAN(RTP("\1")));
	comes(PUMP_CLIENT, 30, SPAN("\x00\x10\x80\x60\x00"));
	comes(PUMP_CLIENT, 30, SPAN("\2\x00\x00\x00\x01SSRCdata"));
	assert_int_equal(media.flows[PUMP_CLIENT].packets, 2);
	assert_int_equal(media.flows[PUMP_CLIENT].stalls, 1);
	assert_int_equal(media.flows[PUMP_CLIENT].longest_gap_us, 60000);
}

static void waits_are_timed(void **unused)
{
	const struct media_flow *up = &media.flows[PUMP_CLIENT];

	(void)unused;
	begin(false);
	media_note_wait(&media, PUMP_CLIENT, false, now_us); /* what was there before the call */
	assert_int_equal(up->waits, 0);
	media_note_wait(&media, PUMP_CLIENT, true, now_us);
	media_note_wait(&media, PUMP_CLIENT, false, now_us + 70000);
	media_note_wait(&media, PUMP_CLIENT, true, now_us + 80000);
	media_note_wait(&media, PUMP_CLIENT, false, now_us + 90000);
	assert_int_equal(up->waits, 2);
	assert_int_equal(up->waited_us, 80000);
	assert_int_equal(up->longest_wait_us, 70000);
	assert_int_equal(media.flows[PUMP_ORIGIN].waits, 0);
}

/* ---- is it a call? ---- */

static void one_frame_of_rtp_is_no_call_yet(void **unused)
{
	(void)unused;
	begin(true);
	comes(PUMP_CLIENT, 0, SPAN(RTP("\1")));
	assert_int_equal(media.state, MEDIA_LOOKS);
	comes(PUMP_ORIGIN, 5, SPAN("whatever"));
	comes(PUMP_CLIENT, 5, SPAN("\x00\x10\x80\x60"));
	assert_int_equal(media.state, MEDIA_RUNS);
	assert_int_equal(media.shape, HELLO_RTP);
	begin(true);
	comes(PUMP_CLIENT, 0, SPAN(RTP("\1") "\x12\x34\x56\x78"));
	assert_int_equal(media.state, MEDIA_OTHER);
}

static void nobody_is_looked_at_for_ever(void **unused)
{
	static const uint8_t frame[] = {0x05, 0xdc, 0x80, 0x60};
	static uint8_t long_frame[1502];

	(void)unused;
	begin(true);
	memcpy(long_frame, frame, sizeof(frame));
	comes(PUMP_CLIENT, 0, span_of(long_frame, sizeof(long_frame)));
	assert_int_equal(media.state, MEDIA_LOOKS);
	media.flows[PUMP_CLIENT].frames.rest = MEDIA_FRAMES_MAX_BYTES; /* as if the frame did not end */
	comes(PUMP_CLIENT, 0, span_of(long_frame, sizeof(long_frame)));
	comes(PUMP_CLIENT, 0, span_of(long_frame, sizeof(long_frame)));
	assert_int_equal(media.state, MEDIA_OTHER);
}

static void who_is_called_does_not_speak_first(void **unused)
{
	(void)unused;
	begin(true);
	comes(PUMP_ORIGIN, 0, SPAN(FRAMED_STUN));
	assert_int_equal(media.state, MEDIA_OTHER);
	comes(PUMP_CLIENT, 0, SPAN(FRAMED_STUN));
	assert_int_equal(media.state, MEDIA_OTHER);
}

static void ssltcp_is_stepped_over(void **unused)
{
	static const uint8_t answer[HELLO_SSLTCP_ORIGIN_BYTES] = {0x16, 0x03, 0x01};

	(void)unused;
	begin(true);
	comes(PUMP_CLIENT, 0, span_of(ssltcp, 5));
	assert_int_equal(media.state, MEDIA_LOOKS);
	comes(PUMP_CLIENT, 0, span_of(ssltcp + 5, sizeof(ssltcp) - 6));
	assert_int_equal(media.state, MEDIA_RUNS);
	assert_int_equal(media.shape, HELLO_SSLTCP);
	comes(PUMP_ORIGIN, 0, span_of(answer, sizeof(answer)));
	comes(PUMP_CLIENT, 0, SPAN(FRAMED_STUN RTP("\1")));
	comes(PUMP_ORIGIN, 0, SPAN(STUN));
	assert_int_equal(media.flows[PUMP_CLIENT].packets, 2);
	assert_int_equal(media.flows[PUMP_CLIENT].frames.framing, MEDIA_FRAMING_RFC4571);
	assert_int_equal(media.flows[PUMP_ORIGIN].packets, 1);
	assert_int_equal(media.flows[PUMP_ORIGIN].frames.framing, MEDIA_FRAMING_TURN);
}

/* ---- networks ---- */

static struct metrics workers[2];

static unsigned enter(size_t worker, const char *text)
{
	struct address address = {0};

	assert_true(text[0] == 0 || address_parse(span_from(text), &address));
	return media_networks_enter(&workers[worker], &address);
}

static void assert_said(const char *want)
{
	const struct metrics *const all[] = {&workers[0], &workers[1]};
	struct media_networks_sum sum;
	struct buf text;

	buf_init(&text, 4096);
	media_networks_sum(all, 2, &sum);
	media_networks_say(&sum, &text);
	if (!span_equal(buf_span(&text), span_from(want)))
		fail_msg("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

#define REMEDY ": open UDP 5004 to their media networks (sallyport doctor tells which way is open)"

static void it_is_told_how_many_and_from_where(void **unused)
{
	unsigned one, two, three;

	(void)unused;
	memset(workers, 0, sizeof(workers));
	assert_said("");
	one = enter(0, "10.21.7.9");
	assert_said("1 call goes through this proxy as its last resort, from 10.21.7.0/24 (1)" REMEDY);
	two = enter(0, "10.20.0.1");
	three = enter(1, "::ffff:10.20.0.200");
	assert_said("3 calls go through this proxy as their last resort, from 10.20.0.0/24 (2) and 10.21.7.0/24 (1)" REMEDY);
	media_networks_leave(&workers[0], one);
	media_networks_leave(&workers[0], two);
	media_networks_leave(&workers[1], three);
	assert_int_equal(workers[0].media_tunnels, 0);
	assert_int_equal(workers[0].media_tunnels_total, 2);
	one = enter(1, "2001:db8:1:2:3::4");
	two = enter(1, "");
	assert_said("2 calls go through this proxy as their last resort, from 2001:db8:1:2::/64 (1) and elsewhere (1)" REMEDY);
	media_networks_clear(&workers[1]);
	assert_int_equal(workers[1].media_tunnels, 0);
	assert_said("no call goes through this proxy now; 5 did since it was started, from 10.20.0.0/24 (2), 10.21.7.0/24 (1), "
	            "2001:db8:1:2::/64 (1) and elsewhere (1)" REMEDY);
}

static void what_has_no_row_is_counted_with_the_others(void **unused)
{
	const struct metrics *const all[] = {&workers[0], &workers[1]};
	struct media_networks_sum sum;
	char text[32];

	(void)unused;
	memset(workers, 0, sizeof(workers));
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "10.0.%d.1", i);
		assert_int_equal(enter(0, text), i < METRICS_NETWORKS_MAX ? i : MEDIA_NETWORKS_OTHERS);
		snprintf(text, sizeof(text), "10.1.%d.1", i);
		enter(1, text);
	}
	media_networks_sum(all, 2, &sum);
	assert_int_equal(sum.count, MEDIA_NETWORKS_SUM_MAX);
	assert_int_equal(sum.tunnels, 200);
	assert_int_equal(sum.others.tunnels, 200 - MEDIA_NETWORKS_SUM_MAX);
}

/* Who has no call makes room for who has, the longest unused first; counts of others go up alone, and nothing is lost. */
static void rows_without_a_call_are_given_away(void **unused)
{
	const struct metrics *const all[] = {&workers[0], &workers[1]};
	struct media_networks_sum sum;
	unsigned rows[METRICS_NETWORKS_MAX];
	char text[32];

	(void)unused;
	memset(workers, 0, sizeof(workers));
	for (unsigned i = 0; i < METRICS_NETWORKS_MAX; i++) {
		snprintf(text, sizeof(text), "10.0.%u.1", i);
		rows[i] = enter(0, text);
	}
	media_networks_leave(&workers[0], rows[7]);
	media_networks_leave(&workers[0], enter(0, "10.0.9.1"));
	media_networks_leave(&workers[0], rows[9]);
	media_networks_leave(&workers[0], enter(0, "10.0.7.1"));
	assert_int_equal(enter(0, "10.0.7.2"), rows[7]);
	assert_int_equal(enter(0, "10.1.0.1"), rows[9]);
	assert_int_equal(workers[0].media_others.tunnels_total, 2);
	assert_int_equal(workers[0].media_networks[rows[9]].tunnels_total, 1);
	assert_int_equal(enter(0, "10.0.9.1"), MEDIA_NETWORKS_OTHERS);
	media_networks_sum(all, 2, &sum);
	assert_int_equal(sum.tunnels, METRICS_NETWORKS_MAX + 1);
	assert_int_equal(sum.tunnels_total, workers[0].media_tunnels_total);
	workers[0].media_networks[3].version |= 1; /* the worker is killed while the row becomes another's */
	media_networks_sum(all, 2, &sum);
	assert_int_equal(sum.count, METRICS_NETWORKS_MAX - 1);
	media_networks_clear(&workers[0]);
	assert_int_equal(enter(0, "10.2.0.1"), 3);
	media_networks_sum(all, 2, &sum);
	assert_int_equal(sum.count, METRICS_NETWORKS_MAX);
	assert_int_equal(sum.tunnels, 1);
}

/* Of more networks than a sum has room for, those with calls have rows. */
static void a_sum_names_those_with_calls_first(void **unused)
{
	enum { WORKERS = 3 };
	static struct metrics three[WORKERS];
	const struct metrics *const all[] = {&three[0], &three[1], &three[2]};
	struct media_networks_sum sum;
	struct address address;
	char text[32];

	(void)unused;
	memset(three, 0, sizeof(three));
	for (unsigned i = 0; i < WORKERS * METRICS_NETWORKS_MAX; i++) {
		unsigned worker = i / METRICS_NETWORKS_MAX, row;

		snprintf(text, sizeof(text), "10.%u.%u.1", worker, i);
		assert_true(address_parse(span_from(text), &address));
		row = media_networks_enter(&three[worker], &address);
		if (worker < WORKERS - 1)
			media_networks_leave(&three[worker], row);
	}
	media_networks_sum(all, WORKERS, &sum);
	assert_int_equal(sum.count, MEDIA_NETWORKS_SUM_MAX);
	for (size_t i = 0; i < METRICS_NETWORKS_MAX; i++)
		assert_int_equal(sum.rows[i].tunnels, 1);
	assert_int_equal(sum.others.tunnels, 0);
	assert_int_equal(sum.tunnels_total, WORKERS * METRICS_NETWORKS_MAX);
}

/* A worker may have written anything into its page. */
static void readers_take_whatever_is_there(void **unused)
{
	const struct metrics *const all[] = {&workers[0], &workers[1]};
	struct media_networks_sum sum;
	char text[MEDIA_NETWORKS_TEXT_BYTES];
	struct buf said;

	(void)unused;
	memset(workers, 0xff, sizeof(workers));
	for (uint64_t i = 0; i < METRICS_NETWORKS_MAX; i++)
		workers[0].media_networks[i] = (struct metrics_network){i % 3 * 2 + 2, i << 60 | i, UINT64_MAX, UINT64_MAX, 0, i * 2};
	media_networks_sum(all, 2, &sum);
	assert_int_equal(sum.count, 21);
	buf_init(&said, 4096);
	media_networks_say(&sum, &said);
	assert_true(buf_is_whole(&said));
	for (size_t i = 0; i < sum.count; i++)
		assert_true(strlen(media_networks_name(&sum.rows[i], text)) < sizeof(text));
	buf_fini(&said);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_are_counted_by_their_frames),
		cmocka_unit_test(gaps_are_of_one_direction),
		cmocka_unit_test(a_gap_that_is_open_at_the_end),
		cmocka_unit_test(half_a_packet_is_none),
		cmocka_unit_test(waits_are_timed),
		cmocka_unit_test(one_frame_of_rtp_is_no_call_yet),
		cmocka_unit_test(nobody_is_looked_at_for_ever),
		cmocka_unit_test(who_is_called_does_not_speak_first),
		cmocka_unit_test(ssltcp_is_stepped_over),
		cmocka_unit_test(it_is_told_how_many_and_from_where),
		cmocka_unit_test(what_has_no_row_is_counted_with_the_others),
		cmocka_unit_test(rows_without_a_call_are_given_away),
		cmocka_unit_test(a_sum_names_those_with_calls_first),
		cmocka_unit_test(readers_take_whatever_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
