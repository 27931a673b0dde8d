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

enum { CLASS_DSCP_MAX = 63, CLASS_DSCP_NONE = 64 /* the kernel's own */ };

/* classes: what tunnels of each class get. DSCP: RFC 2474; names of RFC 2597, 3246, 8622. */
struct media_conf {
	uint64_t dscp;
	uint64_t unsent_bytes;    /* TCP_NOTSENT_LOWAT */
	uint64_t buffer_bytes;    /* SO_SNDBUF, SO_RCVBUF */
	uint64_t dead_after_ms;   /* a path on which nothing is acknowledged for so long is dead */
	uint64_t stall_ms;        /* a longer gap between two reads counts as a stall */
	uint64_t most_bytes;      /* per second: what moves more is no call; 0: whatever */
	uint64_t per_client_count; /* tunnels that are media by their shape; 0: any */
};
struct normal_conf {
	uint64_t dscp;
};
struct bulk_conf {
	uint64_t dscp;
	uint64_t above_bytes;     /* per second: what moves more is bulk; 0: never */
	uint64_t slice_bytes;     /* moved at once while media lives */
};
struct classes_conf {
	struct media_conf media;
	struct normal_conf normal;
	struct bulk_conf bulk;
};

extern const struct conf_option classes_options[];
extern const struct conf_option dns_options[];
extern const struct conf_option destinations_options[];
extern const struct conf_option listen_options[];

#endif
