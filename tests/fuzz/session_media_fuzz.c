/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes of both sides, in any parts, at any times: packets are the same however they are cut while a framing is seen, what
 * is no framing stays none, and no figure is more than there can be.
 * Byte 0: flags, then records of a byte (bit 0: the side; the rest: how long nothing came), a length and so many bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "session/media.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLAG_LOOKS = 1 };

/* Each part in memory of its own. */
static size_t read_copy(struct media_frames *frames, struct span bytes)
{
	uint8_t *copy = malloc(bytes.len ? bytes.len : 1);
	size_t packets;

	ASSERT(copy);
	memcpy(copy, bytes.at, bytes.len);
	packets = media_frames_read(frames, span_of(copy, bytes.len));
	free(copy);
	ASSERT(frames->head_len <= MEDIA_FRAMES_HEAD_BYTES && frames->rest <= MEDIA_FRAMES_MAX_BYTES);
	return packets;
}

/* All at once, and byte by byte: the same until there is no framing any more. */
static void check_frames(struct span bytes)
{
	struct media_frames whole = {0}, parts = {0};
	size_t in_whole = read_copy(&whole, bytes), in_parts = 0;

	for (size_t i = 0; i < bytes.len && parts.framing != MEDIA_FRAMING_NONE; i++)
		in_parts += read_copy(&parts, span_of(bytes.at + i, 1));
	ASSERT(whole.framing == parts.framing && whole.frames == parts.frames);
	if (whole.framing == MEDIA_FRAMING_NONE) {
		ASSERT(read_copy(&whole, SPAN("x")) == 1 && whole.framing == MEDIA_FRAMING_NONE);
		return;
	}
	ASSERT(in_whole == in_parts && in_whole <= whole.frames && in_whole * 4 <= bytes.len);
	ASSERT(whole.rest == parts.rest && whole.head_len == parts.head_len);
}

static void check_flow(const struct media_flow *flow, uint64_t began_us, uint64_t now_us)
{
	ASSERT(flow->packets <= flow->bytes);
	ASSERT(flow->longest_gap_us <= now_us - began_us && flow->waited_us <= now_us - began_us);
	ASSERT(flow->longest_wait_us <= flow->waited_us && flow->stalls + flow->pauses <= flow->packets);
	ASSERT(flow->has_gap || flow->longest_gap_us == 0);
}

static void check_media(struct cursor cursor, bool looks)
{
	const uint64_t began_us = 1000000;
	uint64_t now_us = began_us;
	struct media media;

	media_init(&media, 40, looks);
	while (cursor.rest.len && !cursor.overrun) {
		uint8_t how = cursor_u8(&cursor), state = media.state;
		struct span bytes = cursor_take(&cursor, cursor_u8(&cursor));

		now_us += (uint64_t)(how >> 2) * (how >> 2) * 2000;
		if (how & 2)
			media_note_wait(&media, (enum pump_side)(how & 1), how & 4, now_us);
		media_note(&media, (enum pump_side)(how & 1), bytes, now_us);
		ASSERT(state == MEDIA_LOOKS || media.state == state);
		ASSERT(media.first_len <= sizeof(media.first));
		ASSERT(media.state != MEDIA_LOOKS || media.flows[PUMP_CLIENT].bytes <= MEDIA_LOOK_MAX_BYTES + 255);
		for (int side = 0; side < 2; side++)
			check_flow(&media.flows[side], began_us, now_us);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);

	if (size == 0 || size > 1 << 16)
		return 0;
	check_frames(span_skip(in, 1));
	check_media(cursor_over(span_skip(in, 1)), data[0] & FLAG_LOOKS);
	return 0;
}
