/* SPDX-License-Identifier: Apache-2.0 */
/* Where packets begin in one direction of a call over TCP, as far as that can be seen: frames of RFC 4571 (a length, then RTP,
 * RTCP, STUN or DTLS: RFC 7983), or what TURN has over TCP (RFC 8656 section 12.5: STUN messages and ChannelData, one behind
 * the other). It counts, holds nothing back, and gives up for good at the first frame that is none. */
#ifndef SESSION_MEDIA_FRAMES_H
#define SESSION_MEDIA_FRAMES_H

#include "base/span.h"

enum media_framing { MEDIA_FRAMING_OPEN /* too little has come */, MEDIA_FRAMING_RFC4571, MEDIA_FRAMING_TURN, MEDIA_FRAMING_NONE };

enum {
	MEDIA_FRAMES_HEAD_BYTES = 24, /* with so many of a frame it is known whether it is one */
	MEDIA_FRAMES_MAX_BYTES = 9216, /* a longer one is none */
};

/* Zeroed is the beginning. */
struct media_frames {
	uint8_t framing;  /* enum media_framing */
	uint8_t head_len; /* bytes of the next frame that are in `head` */
	bool is_media;    /* the frame whose rest is on its way is no filler: it counts */
	uint32_t rest;    /* bytes that are to come of the frame under way */
	uint32_t frames;  /* heads that were seen and well; it may go round */
	uint8_t head[MEDIA_FRAMES_HEAD_BYTES];
};

/* Begin anew behind the next `bytes`, which are something else. */
void media_frames_skip(struct media_frames *frames, uint32_t bytes);

/* Bytes as they came. How many packets are complete with them; where no framing is seen, each read is one. */
size_t media_frames_read(struct media_frames *frames, struct span bytes);

/* "rfc4571", "turn", "none"; "": not known yet. */
const char *media_frames_name(const struct media_frames *frames);

#endif
