/* SPDX-License-Identifier: Apache-2.0 */
/* One line of an access log as the facts of a decision: our JSON (session/access.c) and Squid's native format, as
 * Squid writes it and as we do. Which of them it is, each line says itself. Not templates: they can be anything. */
#ifndef CLI_REPLAY_LINE_H
#define CLI_REPLAY_LINE_H

#include "policy/policy.h"

enum replay_kind {
	REPLAY_REQUEST,    /* there is something to decide */
	REPLAY_BLANK,
	REPLAY_RUNNING,    /* of a tunnel that another line ends */
	REPLAY_ASKED,      /* answered with 407: who asks comes again, with a name */
	REPLAY_NO_HOST,    /* a request that came to no host: malformed, or to the proxy itself */
	REPLAY_UNREADABLE,
};

enum { REPLAY_GROUPS_MAX = 256, REPLAY_LINE_MAX_BYTES = 1 << 20 };

/* What the line says of TLS that was opened. */
struct replay_tls {
	bool is_opened, asks_certificate; /* asks: the origin, for one of the client */
	struct span evidence, ja4;
};

struct replay_request {
	struct policy_facts facts;
	struct span groups[REPLAY_GROUPS_MAX]; /* facts.groups */
	int logged_access; /* enum policy_access as it was logged; -1: not known */
	struct replay_tls tls;
};

/* Read a line (without its end). What it does not say is absent, as in explain; but for the listener, which is `listener`
 * then. The address that was dialled is known or not, never absent.
 * borrows: facts point into `line`, `listener` and `arena`.
 * errors:  REPLAY_UNREADABLE with *why. */
enum replay_kind replay_line_read(struct span line, struct span listener, struct arena *arena,
                                  struct replay_request *out, const char **why);

#endif
