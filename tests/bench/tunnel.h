/* SPDX-License-Identifier: Apache-2.0 */
/* Tunnels of the bench's generators that are opened one after the other, before anything is
 * measured. */
#ifndef TUNNEL_H
#define TUNNEL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/* How the origin is reached. */
struct way {
	struct sockaddr_in proxy;
	unsigned port; /* of the origin */
	bool is_plain; /* no CONNECT: the proxy leads to the origin by itself */
};

/* Opens a tunnel, and waits until it stands; `number` chooses the addresses of both ends, so that
 * no port space is used up. `receive_bytes`: SO_RCVBUF, or 0 for the kernel's. Returns a
 * non-blocking socket with TCP_NODELAY; ends the program when there is no tunnel. */
int tunnel_open(const struct way *way, uint32_t number, int receive_bytes);

uint64_t tunnel_now_ns(void);

#endif
