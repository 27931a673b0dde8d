/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges of GSSAPI that need one more token of the client. They wait in one table of the process, since the next token
 * may come to another thread: at most a thousand, the oldest is dropped for a new one, and none waits for more than a
 * minute in all. */
#ifndef AUTH_GSS_CONTEXTS_H
#define AUTH_GSS_CONTEXTS_H

#include <gssapi/gssapi.h>

#include "base/span.h"

enum { GSS_CONTEXTS_MAX = 1024, GSS_CONTEXTS_LIFE_MS = 60000 };

struct gss_partial {
	gss_ctx_id_t context;
	uint64_t began_ms;         /* monotonic: of the first token */
};

/* Keep it until its next token comes; the result is its random number, never 0. owns: the table takes the context. */
uint64_t gss_contexts_put(struct gss_partial partial, uint64_t now_ms);

/* Take it out: its owner is the caller then, and its number is void. False: there is none, or its time is over. */
MUST_USE bool gss_contexts_take(uint64_t id, uint64_t now_ms, struct gss_partial *partial);

/* Drop all. */
void gss_contexts_fini(void);

#endif
