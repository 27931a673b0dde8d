/* SPDX-License-Identifier: Apache-2.0 */
/* What the units of NTLM share: bytes from hexadecimal text, and whole talks of our client with our acceptor. */
#ifndef TESTS_NTLM_RIG_H
#define TESTS_NTLM_RIG_H

#include "auth/scheme/ntlm.h"
#include "auth/scheme/ntlm_private.h"

enum { RIG_SKEW_MS = 300000, RIG_MAX_BYTES = 1 << 16 };
#define RIG_TIME UINT64_C(134000000000000000)

static inline unsigned rig_digit(char digit)
{
	return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)((digit | 0x20) - 'a' + 10);
}

/* Hexadecimal text, with spaces or without, in place of what was in the buffer. */
static inline struct span rig_bytes(const char *text, struct buf *out)
{
	buf_fini(out);
	buf_init(out, RIG_MAX_BYTES);
	for (; *text; text++) {
		if (*text == ' ')
			continue;
		buf_add_byte(out, (uint8_t)(rig_digit(text[0]) << 4 | rig_digit(text[1])));
		text++;
	}
	return buf_span(out);
}

/* The three messages of one talk, each in a buffer of its own that may be changed. */
struct rig_talk {
	struct buf negotiate, challenge, authenticate;
	uint8_t key[16];
};

static const struct ntlm_names rig_names = {{(const uint8_t *)"LAB", 3}, {(const uint8_t *)"PROXY", 5},
                                            {(const uint8_t *)"lab.test", 8}, {(const uint8_t *)"proxy.lab.test", 14}};
static const uint8_t rig_challenge[NTLM_CHALLENGE_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};

static inline void rig_init(struct rig_talk *talk)
{
	buf_init(&talk->negotiate, RIG_MAX_BYTES);
	buf_init(&talk->challenge, RIG_MAX_BYTES);
	buf_init(&talk->authenticate, RIG_MAX_BYTES);
}

static inline void rig_fini(struct rig_talk *talk)
{
	buf_fini(&talk->negotiate);
	buf_fini(&talk->challenge);
	buf_fini(&talk->authenticate);
}

/* The first two; `without` are flags that the client has not. */
static inline bool rig_begin(struct rig_talk *talk, uint32_t without)
{
	struct ntlm_negotiate negotiate;
	const char *why;

	rig_init(talk);
	ntlm_client_negotiate(&talk->negotiate);
	for (unsigned i = 0; i < 4; i++)
		talk->negotiate.at[12 + i] &= (uint8_t)~(without >> (8 * i));
	if (!ntlm_parse_negotiate(buf_span(&talk->negotiate), &negotiate, &why))
		return false;
	ntlm_write_challenge(&negotiate, rig_challenge, &rig_names, RIG_TIME, &talk->challenge);
	return buf_is_whole(&talk->challenge);
}

static inline bool rig_end(struct rig_talk *talk, const struct ntlm_client *client)
{
	return ntlm_client_authenticate(client, buf_span(&talk->negotiate), buf_span(&talk->challenge),
	                                &talk->authenticate, talk->key);
}

static inline struct ask rig_ask(const struct rig_talk *talk)
{
	return (struct ask){.kind = ASK_NTLM, .negotiate = buf_span(&talk->negotiate),
	                    .challenge = buf_span(&talk->challenge), .authenticate = buf_span(&talk->authenticate)};
}

#endif
