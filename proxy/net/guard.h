/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses may be dialled (DESIGN 5, destinations). Pure: no I/O. */
#ifndef NET_GUARD_H
#define NET_GUARD_H

#include "base/reason.h"
#include "net/net_conf.h"

/* May this address (with port) be dialled? Looks through v4-mapped, NAT64 (64:ff9b::/96 and
 * 64:ff9b:1::/48), 6to4 and Teredo addresses; `own` are our own listening addresses, which are always
 * denied (a wildcard listener stands for every local address: pass the expanded list).
 * If not, *why is a short text such as "loopback", and guard_reason() has its code. */
bool guard_allows(const struct destinations_conf *conf, const struct address *own, size_t own_count,
                  const struct address *to, const char **why);

/* Is no address of the network ever dialled? *why as above. */
bool guard_denies_network(const struct destinations_conf *conf, const struct network *network, const char **why);
enum reason guard_reason(const char *why);

#endif
