/* SPDX-License-Identifier: Apache-2.0 */
/* Connect to the first address of several that answers: Happy Eyeballs (RFC 8305 section 5), one
 * attempt after the other with a delay, the first that stands wins. The caller has checked every address. */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "base/address.h"
#include "net/loop.h"

enum { DIAL_ADDRESSES_MAX = 16 };

struct dial_result {
	enum err err;            /* ERR_NONE, or why the last attempt failed */
	struct loop_io *io;      /* connected and watched: loop_take() it, or it is closed when done has run */
	struct address address;  /* that was dialled */
};

/* Runs once, never before dial_start() returned. */
typedef void dial_done(void *context, const struct dial_result *result);

struct dial;

/* Start. Time limits are the caller's (dial_cancel). errors: ERR_MEMORY, and whatever a first and only attempt says. */
MUST_USE enum err dial_start(struct loop *loop, const struct address *to, size_t count,
                             const struct address *source, uint64_t attempt_delay_ms,
                             dial_done *done, void *context, struct dial **out);
void dial_cancel(struct dial *dial);

#endif
