/* SPDX-License-Identifier: Apache-2.0 */
/* The whole of sallyport.yaml as one struct: composed of what each folder declares. Loaded by the
 * parent and by the command line from the file, by workers from the text that the parent sends. */
#ifndef PROCESS_SETTINGS_H
#define PROCESS_SETTINGS_H

#include "auth/auth_conf.h"
#include "net/net_conf.h"
#include "process/doctor_conf.h"
#include "session/session_conf.h"
#include "tls/tls_conf.h"
#include "web/web_conf.h"

enum { SETTINGS_WORKERS_MAX = 64 };

/* log.events: */
struct events_conf {
	const char *path; /* a file; "" with another target */
	int target;       /* enum log_target; default stderr */
	int level;        /* enum log_level */
};

struct settings {
	struct conf_groups listen;     /* of struct listen_conf */
	uint64_t workers;              /* 0: auto, one per core */
	const char *policy;            /* path of policy.yaml */
	const char *control;           /* path of the control socket */
	const char *hits;              /* path of the file that keeps hits of entries; "": none does */
	const char *user, *group;      /* what roles become when started as root; default "sallyport", else "nobody" */
	struct dns_conf dns;
	struct destinations_conf destinations;
	struct session_conf session;   /* limits, timeouts, forwarding, log.access */
	struct events_conf events;     /* log.events */
	struct public_conf public;     /* address family 0: off */
	struct admin_conf admin;       /* the same */
	struct auth_conf auth;
	struct inspection_conf inspection;
	struct doctor_conf doctor;     /* of a command, no role reads it */
};

extern const struct conf_option settings_options[];

/* Load from text. The snapshot lives in `arena`. errors as conf_load(). */
MUST_USE enum err settings_load(struct span text, const char *file, struct arena *arena,
                                struct problems *problems, struct settings *out);

/* Where the configuration is when -c is not given: ./sallyport.yaml, then
 * /etc/sallyport/sallyport.yaml. NULL if neither is there. */
const char *settings_default_path(void);

#endif
