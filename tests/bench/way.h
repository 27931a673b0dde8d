/* SPDX-License-Identifier: Apache-2.0 */
/* Tunnels of the bench's generators that are opened one after the other, before anything is
 * measured. */
#ifndef WAY_H
#define WAY_H

#include <getopt.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/* How the origin is reached. */
struct way {
	struct sockaddr_in proxy;
	unsigned port; /* of the origin */
	bool is_plain; /* no CONNECT: the proxy leads to the origin by itself */
};

/* What every generator is told, in a table of getopt_long(). */
#define WAY_OPTIONS \
	{"proxy", required_argument, NULL, 'x'}, {"port", required_argument, NULL, 'p'}, \
	    {"plain", no_argument, NULL, 'P'}, \
	{ \
		"help", no_argument, NULL, 'h' \
	}

/* Takes one of them; false: it is another. Wrong ones, and --help, end the program. */
bool way_option(struct way *way, int option, const char *value, const char *help);

/* The mode of the command line: the one word beside the options. Ends the program when there is
 * none, or when another mode than `origin` does not know its way. */
const char *way_mode(const struct way *way, int count, char **args);

/* A number of the command line. */
double way_number(const char *text, double min, double max);

/* Opens a tunnel, and waits until it stands; `number` chooses the addresses of both ends, so that
 * no port space is used up. `receive_bytes`: SO_RCVBUF, or 0 for the kernel's. Returns a
 * non-blocking socket with TCP_NODELAY; ends the program when there is no tunnel. */
int way_open(const struct way *way, uint32_t number, int receive_bytes);

uint64_t way_now_ns(void);

#endif
