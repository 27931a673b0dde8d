/* SPDX-License-Identifier: Apache-2.0 */
#include "session/media_frames.h"

#include "net/stun.h"

enum {
	LENGTH_BYTES = 2,     /* before each frame of RFC 4571 */
	CHANNEL_BYTES = 4,    /* head of ChannelData; its length is without, and it is padded to whole words */
	DTLS_BYTES = 13,      /* head of a record */
	RTP_BYTES = 12,
	RTCP_BYTES = 8,
	ZRTP_BYTES = 12,
};

/* What a head says. */
enum said { SAID_NO, SAID_MORE, SAID_YES };

static unsigned pair(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

/* *len: of the message. */
static enum said check_stun(const uint8_t *message, size_t have, size_t *len)
{
	enum stun_shape shape = stun_header_shape(span_of(message, have), len);

	return shape == STUN_SHAPE_OTHER ? SAID_NO : shape == STUN_SHAPE_SHORT ? SAID_MORE : SAID_YES;
}

/* The content of a frame, by its first byte (RFC 7983). */
static enum said check_content(const uint8_t *at, size_t have, size_t len)
{
	size_t message_len = 0;

	if (have == 0)
		return SAID_MORE;
	if (at[0] <= 3) {
		enum said said = check_stun(at, have, &message_len);

		return len < STUN_HEADER_BYTES || (said == SAID_YES && message_len != len) ? SAID_NO : said;
	}
	if (at[0] >= 16 && at[0] <= 19)
		return len < ZRTP_BYTES ? SAID_NO : SAID_YES;
	if (at[0] >= 20 && at[0] <= 63) {
		if (len < DTLS_BYTES || (have > 1 && at[1] != 0xfe))
			return SAID_NO;
		return have > 1 ? SAID_YES : SAID_MORE;
	}
	if (at[0] < 128 || at[0] > 191)
		return SAID_NO;
	if (have < 2)
		return SAID_MORE;
	return len < (at[1] >= 192 && at[1] <= 223 ? RTCP_BYTES : RTP_BYTES) ? SAID_NO : SAID_YES;
}

/* *len: of the whole frame. A length of zero is a frame without a packet. */
static enum said check_rfc4571(const uint8_t *head, size_t have, size_t *len)
{
	size_t content;

	if (have < LENGTH_BYTES)
		return SAID_MORE;
	content = pair(head);
	*len = LENGTH_BYTES + content;
	if (content == 0)
		return SAID_YES;
	return *len > MEDIA_FRAMES_MAX_BYTES ? SAID_NO : check_content(head + LENGTH_BYTES, have - LENGTH_BYTES, content);
}

/* *len: of the whole message. */
static enum said check_turn(const uint8_t *head, size_t have, size_t *len)
{
	enum said said;

	if (have == 0 || head[0] < 0x40 || head[0] > 0x4f) {
		said = check_stun(head, have, len);
		return said == SAID_YES && *len > MEDIA_FRAMES_MAX_BYTES ? SAID_NO : said;
	}
	if (have < CHANNEL_BYTES)
		return SAID_MORE;
	*len = CHANNEL_BYTES + (pair(head + 2) + 3u) / 4 * 4;
	return *len > MEDIA_FRAMES_MAX_BYTES ? SAID_NO : SAID_YES;
}

/* The first head. What a message of STUN begins with could be a length, so both are asked; a beginning without a packet says nothing. */
static enum said open_framing(struct media_frames *frames, size_t *len)
{
	size_t turn_len = 0, framed_len = 0;
	enum said turn = check_turn(frames->head, frames->head_len, &turn_len);
	enum said framed = check_rfc4571(frames->head, frames->head_len, &framed_len);

	if (turn == SAID_YES && frames->head[0] > 0x3f) /* nobody begins with ChannelData */
		turn = SAID_NO;
	if (framed_len == LENGTH_BYTES)
		framed = SAID_NO;
	if (turn == SAID_YES) {
		frames->framing = MEDIA_FRAMING_TURN;
		*len = turn_len;
		return SAID_YES;
	}
	if (turn == SAID_NO && framed == SAID_YES) {
		frames->framing = MEDIA_FRAMING_RFC4571;
		*len = framed_len;
	}
	return turn == SAID_MORE ? SAID_MORE : framed;
}

static enum said check_head(struct media_frames *frames, size_t *len)
{
	if (frames->framing == MEDIA_FRAMING_OPEN)
		return open_framing(frames, len);
	if (frames->framing == MEDIA_FRAMING_TURN)
		return check_turn(frames->head, frames->head_len, len);
	return check_rfc4571(frames->head, frames->head_len, len);
}

/* Take bytes into the head until it says something; false at the end of the bytes. */
static bool read_head(struct media_frames *frames, struct span *bytes)
{
	while (bytes->len && frames->framing != MEDIA_FRAMING_NONE) {
		size_t len = 0;
		enum said said = SAID_NO;

		if (frames->head_len < MEDIA_FRAMES_HEAD_BYTES) {
			frames->head[frames->head_len++] = bytes->at[0];
			*bytes = span_skip(*bytes, 1);
			said = check_head(frames, &len);
		}
		if (said == SAID_MORE)
			continue;
		if (said == SAID_NO || len < frames->head_len) {
			frames->framing = MEDIA_FRAMING_NONE;
			break;
		}
		frames->rest = (uint32_t)(len - frames->head_len);
		frames->is_media = len > LENGTH_BYTES;
		frames->frames++;
		return true;
	}
	return false;
}

void media_frames_skip(struct media_frames *frames, uint32_t bytes)
{
	*frames = (struct media_frames){.rest = bytes};
}

/* Of the frame under way; 1 where a packet is complete now. */
static size_t read_rest(struct media_frames *frames, struct span *bytes)
{
	size_t count = bytes->len < frames->rest ? bytes->len : frames->rest;

	*bytes = span_skip(*bytes, count);
	frames->rest -= (uint32_t)count;
	if (frames->rest)
		return 0;
	frames->head_len = 0;
	return frames->is_media;
}

size_t media_frames_read(struct media_frames *frames, struct span bytes)
{
	size_t packets = 0;

	if (bytes.len == 0)
		return 0;
	if (frames->rest)
		packets += read_rest(frames, &bytes);
	while (read_head(frames, &bytes))
		packets += read_rest(frames, &bytes);
	return packets == 0 && frames->framing == MEDIA_FRAMING_NONE ? 1 : packets;
}

const char *media_frames_name(const struct media_frames *frames)
{
	static const char *const names[] = {"", "rfc4571", "turn", "none"};

	return names[frames->framing <= MEDIA_FRAMING_NONE ? frames->framing : MEDIA_FRAMING_NONE];
}
