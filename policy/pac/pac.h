/* SPDX-License-Identifier: Apache-2.0 */
/* The PAC file that tells clients what to ask the proxy for, and what to fetch themselves: made from the question
 * pac. It is for one class of clients: a rule's `from` is decided here, by the address that asks, since what
 * myIpAddress() says in a browser cannot be relied on. Pure, like deciding: no I/O, no clock. */
#ifndef POLICY_PAC_H
#define POLICY_PAC_H

#include "policy/policy.h"

/* Browsers stop near 1 MiB. */
enum { PAC_MAX_BYTES = 900 * 1024 };

/* Append the begin of the file: what clients use where the answer is proxy, such as
 * "PROXY a.example.com:3128; PROXY b.example.com:3128". It is apart since it differs within a class. */
void policy_pac_begin(struct span proxies, struct buf *out);

/* Append the rest, for a client. `from` NULL: as if every rule were for it, which is the largest there can be. The
 * same policy gives the same bytes. errors: ERR_LIMIT (more than out->max_bytes), ERR_MEMORY. */
MUST_USE enum err policy_pac_write(const struct policy *policy, const struct address *from, uint64_t wall_ms,
                                   struct buf *out);

/* Clients with the same number get the same file; where there are no classes, all do. */
uint64_t policy_pac_class(const struct policy *policy, const struct address *from);
bool policy_pac_has_classes(const struct policy *policy);

/* Does the largest file have at most so many bytes? If not, append which lists make it large. */
bool policy_pac_fits(const struct policy *policy, uint64_t wall_ms, size_t max_bytes, struct buf *why);

#endif
