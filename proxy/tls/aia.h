/* SPDX-License-Identifier: Apache-2.0 */
/* Fetch a certificate that an origin forgot to send: http, port 80, one GET, no redirects, bounded in bytes and time, every
 * address past the guard. The URL comes from a stranger. */
#ifndef TLS_AIA_H
#define TLS_AIA_H

#include "net/guard.h"
#include "net/loop.h"
#include "net/resolve.h"

struct aia_env {
	struct loop *loop;
	struct resolver *resolver;
	const struct destinations_conf *destinations;
	const struct address *own;
	size_t own_count;
	/* Is this host allowed by policy? Called before anything is asked, with the address of a literal or NULL; then once more
	 * with each address that the name has. */
	bool (*is_allowed)(void *context, struct span host, const struct address *address, uint16_t port);
	void *context;
	uint16_t dial_port;           /* of tests, which cannot listen at port 80; 0: 80 */
};

/* `der` is empty if nothing came; `why` then says so in a few words. Runs once, never before aia_fetch() returned. */
typedef void aia_done(void *context, struct span der, const char *why);

struct aia_fetch;

/* Begin. What `env` points to outlives the fetch. A URL that is not fetched from is told to done(), too.
 * errors: ERR_MEMORY (done is not called). */
MUST_USE enum err aia_fetch(const struct aia_env *env, const char *url, aia_done *done, void *context, struct aia_fetch **out);
/* Until done has run; NULL is allowed. */
void aia_cancel(struct aia_fetch *fetch);

#endif
