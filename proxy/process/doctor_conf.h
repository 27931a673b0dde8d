/* SPDX-License-Identifier: Apache-2.0 */
/* The options of sallyport doctor: where media would go. Types here, rows in doctor_conf.c. No role reads them. */
#ifndef PROCESS_DOCTOR_CONF_H
#define PROCESS_DOCTOR_CONF_H

#include "conf/conf.h"
#include "http/target.h"

enum { DOCTOR_PORTS_MAX = 16, DOCTOR_TARGETS_MAX = 32 };

struct doctor_ports {
	uint16_t at[DOCTOR_PORTS_MAX];
	size_t count;
};

/* How STUN lies in a TCP stream. */
enum doctor_framing { DOCTOR_FRAMING_RFC4571, DOCTOR_FRAMING_STUN };

/* one of doctor.targets: */
struct doctor_target {
	const char *host;
	const char *name;              /* "": the host */
	struct doctor_ports udp, tcp;  /* in the order in which an app tries them */
	int framing;                   /* enum doctor_framing */
	const char *https, *wss;       /* URLs; "": of the host; "none" */
};

/* doctor: */
struct doctor_conf {
	struct conf_groups targets;    /* of struct doctor_target */
	const char *proxy;             /* HOST:PORT; "": the first listener */
	uint64_t timeout_ms;           /* of one probe */
};

extern const struct conf_option doctor_options[];

/* Read "https://host[:port][/path]", where `scheme` is "https". False: it is anything else. */
MUST_USE bool doctor_conf_url(struct span text, const char *scheme, struct arena *arena, struct http_host *host,
                              struct span *path);

#endif
