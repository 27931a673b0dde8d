/* SPDX-License-Identifier: Apache-2.0 */
/* The options of this folder: DNS, destinations, listeners. Types here, rows in net_conf.c. */
#ifndef NET_NET_CONF_H
#define NET_NET_CONF_H

#include "conf/conf.h"

/* dns: */
struct dns_conf {
	struct conf_texts servers;   /* "system", "192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]:53" */
	struct conf_text_map hosts;  /* name -> address; checked before DNS; names in lower case */
	uint64_t timeout_ms;         /* of one try */
	uint64_t tries_count;
	uint64_t cache_count;        /* names, per worker */
	uint64_t max_ttl_ms;         /* longer TTLs are cut to this */
	uint64_t max_negative_ttl_ms;
	uint64_t attempt_delay_ms;   /* RFC 8305 connection attempt delay */
	uint64_t resolution_delay_ms;
};

/* destinations: */
enum destination_class { /* bits of destinations_conf.deny */
	DESTINATION_PRIVATE = 1, DESTINATION_LOOPBACK = 2, DESTINATION_LINK_LOCAL = 4,
	DESTINATION_MULTICAST = 8, DESTINATION_METADATA = 16,
};
struct destinations_conf {
	unsigned deny;                 /* bits of enum destination_class */
	struct conf_networks permit;   /* CIDR[:port] that are allowed all the same */
};

/* one of listen: */
struct listen_conf {
	const char *name;
	struct address address;        /* family AF_UNIX: see path */
	const char *path;              /* of a UNIX socket, else "" */
	uint64_t mode;                 /* permissions of a UNIX socket */
	struct conf_networks proxy_protocol; /* from these, and only these, a PROXY header is expected */
	const char *advertise;
	uint64_t backlog;
};

extern const struct conf_option dns_options[];
extern const struct conf_option destinations_options[];
extern const struct conf_option listen_options[];

#endif
