/* SPDX-License-Identifier: Apache-2.0 */
/* Connect to the first address of several that answers: Happy Eyeballs (RFC 8305 section 5), one
 * attempt after the other with a delay, the first that stands wins. The caller has checked every address. */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "base/address.h"
#include "net/stream.h"

enum { DIAL_ADDRESSES_MAX = 16 };

struct dial_result {
	enum err err;            /* ERR_NONE, or why the last attempt failed */
	struct stream *stream;   /* connected and watched; the receiver's: sets owner and on_ready, stream_close(), free() */
	struct address address;  /* that was dialled */
};

/* Runs once, never before dial_start() returned. */
typedef void dial_done(void *context, const struct dial_result *result);

struct dial;

/* Start. The stream lies at the begin of a zeroed block of `stream_bytes`, so that it can be part of
 * something larger without moving: what is watched stays where it is. Time limits are the caller's (dial_cancel). errors: ERR_MEMORY, and whatever a first and only attempt says. */
MUST_USE enum err dial_start(struct loop *loop, const struct address *to, size_t count,
                             const struct address *source, uint64_t attempt_delay_ms,
                             size_t stream_bytes,
                             dial_done *done, void *context, struct dial **out);
void dial_cancel(struct dial *dial);

#endif
