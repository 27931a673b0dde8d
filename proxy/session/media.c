/* SPDX-License-Identifier: Apache-2.0 */
#include "session/media.h"

#include <string.h>

void media_init(struct media *media, uint64_t stall_ms, bool looks)
{
	*media = (struct media){.stall_us = stall_ms * 1000, .state = looks ? MEDIA_LOOKS : MEDIA_RUNS, .shape = HELLO_TLS};
}

/* ---- is it a call? ---- */

/* RTP has no mark of its own: two frames of it, one behind the other, are one. */
static void confirm(struct media *media)
{
	const struct media_flow *flow = &media->flows[PUMP_CLIENT];

	if (flow->frames.framing == MEDIA_FRAMING_NONE || flow->frames.framing == MEDIA_FRAMING_TURN)
		media->state = MEDIA_OTHER;
	else if (flow->frames.frames >= 2)
		media->state = MEDIA_RUNS;
	else if (flow->bytes > MEDIA_LOOK_MAX_BYTES)
		media->state = MEDIA_OTHER;
}

/* Frames of both sides begin behind what each says for a handshake. */
static void skip_ssltcp(struct media *media, struct span bytes)
{
	struct media_flow *flow = &media->flows[PUMP_CLIENT];
	uint64_t before = flow->bytes - bytes.len;

	media_frames_skip(&media->flows[PUMP_ORIGIN].frames, HELLO_SSLTCP_ORIGIN_BYTES);
	media_frames_skip(&flow->frames, HELLO_SSLTCP_CLIENT_BYTES - (uint32_t)before);
	flow->packets = media_frames_read(&flow->frames, bytes);
}

static void look(struct media *media, enum pump_side from, struct span bytes)
{
	struct span more = span_first(bytes, sizeof(media->first) - media->first_len);
	enum hello_class class;
	enum hello_call call;

	if (from == PUMP_ORIGIN) {
		if (media->flows[PUMP_CLIENT].bytes == 0)
			media->state = MEDIA_OTHER; /* who is called waits until the caller has spoken */
		return;
	}
	memcpy(media->first + media->first_len, more.at, more.len);
	media->first_len += (uint8_t)more.len;
	call = hello_call_of(span_of(media->first, media->first_len), &class);
	if (call == HELLO_CALL_OPEN)
		return;
	media->shape = (uint8_t)class;
	if (call == HELLO_CALL_LIKELY) {
		confirm(media);
		return;
	}
	media->state = call == HELLO_CALL_YES ? MEDIA_RUNS : MEDIA_OTHER;
	if (class == HELLO_SSLTCP)
		skip_ssltcp(media, bytes);
}

/* ---- figures ---- */

static void count_gap(const struct media *media, struct media_flow *flow, uint64_t gap_us)
{
	flow->stalls += gap_us > media->stall_us;
	if (gap_us > flow->longest_gap_us)
		flow->longest_gap_us = gap_us;
	flow->has_gap = true;
}

static void note_gap(const struct media *media, struct media_flow *flow, uint64_t gap_us)
{
	uint64_t pause_us = media->stall_us < MEDIA_PAUSE_US ? MEDIA_PAUSE_US : 2 * media->stall_us;

	if (gap_us >= pause_us)
		flow->pauses++;
	else
		count_gap(media, flow, gap_us);
}

void media_note(struct media *media, enum pump_side from, struct span bytes, uint64_t now_us)
{
	struct media_flow *flow = &media->flows[from];
	size_t packets;

	if (bytes.len == 0 || (media->state != MEDIA_LOOKS && media->state != MEDIA_RUNS))
		return;
	flow->bytes += bytes.len;
	packets = media_frames_read(&flow->frames, bytes);
	flow->packets += packets;
	if (media->state == MEDIA_LOOKS)
		look(media, from, bytes);
	if (packets == 0)
		return;
	if (flow->last_us)
		note_gap(media, flow, now_us - flow->last_us);
	flow->last_us = now_us;
}

void media_note_wait(struct media *media, enum pump_side from, bool is_waiting, uint64_t now_us)
{
	struct media_flow *flow = &media->flows[from];
	uint64_t waited_us = now_us - flow->waits_since_us;

	if (flow->is_waiting == is_waiting)
		return;
	flow->is_waiting = is_waiting;
	if (is_waiting) {
		flow->waits_since_us = now_us;
		flow->waits++;
		return;
	}
	flow->waited_us += waited_us;
	if (waited_us > flow->longest_wait_us)
		flow->longest_wait_us = waited_us;
}

/* What came last from a side that is dead was no begin of a pause, however long ago it was. */
void media_note_end(struct media *media, struct pump_end end, uint64_t now_us)
{
	for (int side = 0; side < 2; side++) {
		struct media_flow *flow = &media->flows[side];

		if (media->state != MEDIA_RUNS || flow->last_us == 0)
			continue;
		if (end.how == PUMP_RST)
			note_gap(media, flow, now_us - flow->last_us);
		else if (end.how == PUMP_DEAD && (enum pump_side)side == end.ended_by)
			count_gap(media, flow, now_us - flow->last_us);
	}
}

/* ---- for the log ---- */

uint64_t media_packet_count(const struct media *media)
{
	return media->flows[0].packets + media->flows[1].packets;
}

uint64_t media_stall_count(const struct media *media)
{
	return (uint64_t)media->flows[0].stalls + media->flows[1].stalls;
}

uint64_t media_longest_gap_ms(const struct media *media)
{
	const struct media_flow *flows = media->flows;
	bool longer = flows[1].longest_gap_us > flows[0].longest_gap_us;

	return flows[0].has_gap || flows[1].has_gap ? flows[longer].longest_gap_us / 1000 : UINT64_MAX;
}

static void add_number(struct buf *out, const char *key, uint64_t value)
{
	buf_printf(out, ",\"%s\":%llu", key, (unsigned long long)value);
}

static void add_flow(struct buf *out, const char *key, const struct media_flow *flow)
{
	bool has_waited = flow->waits > flow->is_waiting;

	if (flow->bytes == 0)
		return;
	buf_printf(out, ",\"%s\":{\"packets\":%llu", key, (unsigned long long)flow->packets);
	if (flow->frames.framing != MEDIA_FRAMING_OPEN)
		buf_printf(out, ",\"framing\":\"%s\"", media_frames_name(&flow->frames));
	add_number(out, "stalls", flow->stalls);
	add_number(out, "pauses", flow->pauses);
	if (flow->has_gap)
		add_number(out, "longest_gap_ms", flow->longest_gap_us / 1000);
	add_number(out, "waits", flow->waits);
	if (has_waited) {
		add_number(out, "waited_ms", flow->waited_us / 1000);
		add_number(out, "longest_wait_ms", flow->longest_wait_us / 1000);
	}
	buf_add_byte(out, '}');
}

void media_add_json(const struct media *media, struct buf *out)
{
	buf_printf(out, "{\"packets\":%llu", (unsigned long long)media_packet_count(media));
	add_number(out, "stalls", media_stall_count(media));
	if (media_longest_gap_ms(media) != UINT64_MAX)
		add_number(out, "longest_gap_ms", media_longest_gap_ms(media));
	if (media->shape != HELLO_TLS)
		buf_printf(out, ",\"shape\":\"%s\"", hello_class_name((enum hello_class)media->shape));
	if (media->state == MEDIA_WAS)
		buf_add_string(out, ",\"demoted\":true");
	if (media->state == MEDIA_TOO_MANY)
		buf_add_string(out, ",\"too_many\":true");
	add_flow(out, "up", &media->flows[PUMP_CLIENT]);
	add_flow(out, "down", &media->flows[PUMP_ORIGIN]);
	buf_add_byte(out, '}');
}
