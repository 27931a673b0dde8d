/* SPDX-License-Identifier: Apache-2.0 */
/* How long a name's absence may be remembered (RFC 2308 section 5): the only thing that is read
 * from a DNS message without c-ares, which does not tell it. */
#ifndef NET_RESOLVE_SOA_H
#define NET_RESOLVE_SOA_H

#include "base/span.h"

/* Seconds: the smaller of the SOA record's TTL and its MINIMUM field; 0 if the message holds none
 * or cannot be read. */
uint32_t resolve_soa_parse(struct span message);

#endif
