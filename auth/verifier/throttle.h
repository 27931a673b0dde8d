/* SPDX-License-Identifier: Apache-2.0 */
/* Guessing costs time: failures are counted per client, and per user from one client, and forgotten one after the other.
 * Nobody can lock out others: a user's count belongs to one address, and who was verified from an address lately is let
 * through there whatever else fails. A fixed table; strangers can make it forget, which costs them as many attempts. */
#ifndef AUTH_THROTTLE_H
#define AUTH_THROTTLE_H

#include "auth/auth_conf.h"

struct throttle;

MUST_USE enum err throttle_new(struct throttle **out); /* errors: ERR_MEMORY */
void throttle_free(struct throttle *throttle);

/* One attempt. */
struct throttle_try {
	struct address client;
	struct span user;          /* as the client wrote it; empty: not known */
	struct span password;      /* of Basic, else empty: one that was right lately may always be tried again */
	uint64_t now_ms;           /* monotonic */
};

/* May it be tried now? False: there were too many failures. */
bool throttle_allows(struct throttle *throttle, const struct failures_conf *conf, const struct throttle_try *one);

/* It was tried: count a failure, or remember the success. */
void throttle_note(struct throttle *throttle, const struct failures_conf *conf, const struct throttle_try *one,
                   bool valid);

#endif
