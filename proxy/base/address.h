/* SPDX-License-Identifier: Apache-2.0 */
/* IP addresses and networks, as text and as sockaddr. Not names: those are in net/resolve.h. */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/buf.h"

/* An address of any family that we use, with its port (host byte order). family 0 is "none". */
struct address {
	uint8_t bytes[16]; /* network byte order; the first 4 for IPv4 */
	uint16_t family;   /* AF_INET, AF_INET6, AF_UNIX (no bytes) or 0 */
	uint16_t port;
	uint32_t scope;    /* IPv6 zone index of a link-local address, else 0 */
};

/* A network: an address whose bits after `prefix_len` are zero, and optionally a port range. */
struct network {
	struct address base; /* port unused */
	uint8_t prefix_len;
	uint16_t port_first, port_last; /* 0, 0 means every port */
};

/* Parse "192.0.2.1" (four decimal parts, no leading zeros, nothing else) or "2001:db8::1",
 * without brackets and zone. The port becomes 0. */
MUST_USE bool address_parse(struct span text, struct address *out);

/* Parse "192.0.2.1:3128" or "[2001:db8::1]:3128". */
MUST_USE bool address_parse_with_port(struct span text, struct address *out);

/* Append "192.0.2.1" or "2001:db8::1"; "unix" for AF_UNIX. */
void address_format(const struct address *address, struct buf *out);

/* Append "192.0.2.1:3128" or "[2001:db8::1]:3128". */
void address_format_with_port(const struct address *address, struct buf *out);

void address_from_sockaddr(const struct sockaddr *from, struct address *out);

/* Length of the sockaddr that was written; 0 for a family that is no IP. */
socklen_t address_to_sockaddr(const struct address *address, struct sockaddr_storage *out);

/* Same family and bytes? Ports are not compared. */
bool address_equal(const struct address *a, const struct address *b);

/* The IPv4 address inside a v4-mapped IPv6 one, in place of it; others stay. */
struct address address_unmapped(const struct address *address);

/* Parse "170.72.0.0/16", "192.0.2.1", "2402:2500::/34", "[2402:2500::]/34"; with `ports`, also
 * "10.0.0.0/8:443" and "[fd00::]/8:8000-8100". Bits behind the prefix must be zero. */
MUST_USE bool network_parse(struct span text, bool ports, struct network *out);

/* Is the address inside? v4-mapped addresses are compared as IPv4. The port range is checked too. */
bool network_has(const struct network *network, const struct address *address);

#endif
