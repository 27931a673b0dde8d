/* SPDX-License-Identifier: Apache-2.0 */
/* One client connection from accept to close: a table of states, one step function each (DESIGN 6).
 * This header is what a worker needs: start sessions, stop them, list them.
 *
 * client: who asks. origin: the final server. session: one client connection. exchange: one
 * request and its response. tunnel: opaque bytes both ways. inspect, bypass: TLS opened, or not. */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include <stdatomic.h>

#include "auth/auth.h"
#include "http/target.h"
#include "net/guard.h"
#include "net/pump.h"
#include "net/resolve.h"
#include "policy/policy.h"
#include "session/asked_origins.h"
#include "session/metrics.h"
#include "session/pins_table.h"
#include "session/session_conf.h"
#include "tls/tls_contexts.h"
#include "tls/trust.h"

/* Configuration and policy that belong together. Exchanges hold a reference; a reload makes a new one. */
struct session_generation {
	unsigned references;
	uint64_t number;                        /* from 1, for the log */
	const struct session_conf *conf;
	const struct auth_conf *auth;
	const struct destinations_conf *destinations;
	const struct dns_conf *dns;
	const struct policy *policy;
	uint64_t policy_hash;                   /* of its files: the same policy has the same */
	const struct inspection_conf *inspection;
	struct trust *trust;                    /* NULL: nothing can be opened */
	bool asks_user;                         /* some rule wants to know who it is */
	/* Shared by all workers: for each rule, and behind them for defaults, one cell per question; and one for each entry. */
	_Atomic uint32_t *rule_hits, *entry_hits;
	size_t rule_cells, entry_cells;
	bool has_pages;                         /* the public role runs: env->open_pages() */
	struct http_host pages_url;             /* how clients name it; name.len 0: in no way */
	void (*free)(struct session_generation *generation); /* when the last reference is gone */
};

/* One more holder of it, and one less. NULL is allowed for the latter. */
struct session_generation *session_generation_ref(struct session_generation *generation);
void session_generation_unref(struct session_generation *generation);

/* A listening socket, as sessions see it. */
struct session_listener {
	const char *name;
	struct address address;
	struct conf_networks proxy_protocol;
	unsigned references;
};

enum { SESSION_REFUSED_MAX = 100 };

/* An event that may come often: when it was told last, and how often it came since. */
struct session_told {
	uint64_t at_ms, untold;
};

/* What a worker lends its sessions; outlives them all. */
struct session_env {
	struct loop *loop;
	struct resolver *resolver;
	struct auth *auth;
	struct leaves *leaves;                  /* NULL: nothing can be opened; the same of tls */
	struct tls_contexts *tls;
	struct pipes *pipes;
	struct meters *meters;                  /* NULL: nothing is limited */
	struct metrics *metrics;
	const struct metrics *const *workers;   /* of all workers, the one above included */
	size_t worker_count;                    /* 0: there are no others */
	struct session_generation *current;     /* what new exchanges use */
	const struct address *own;              /* our listening addresses, expanded: never dialled */
	size_t own_count;
	unsigned worker;                        /* number, part of session ids */
	bool draining;                          /* no new exchanges: replies say Connection: close */
	struct list sessions;                   /* of struct session, all that are open; init with list_init() */
	struct list *cut_next;                  /* where session_cut_some() goes on; NULL: nowhere */
	uint64_t next_id;
	void *context;                          /* for the functions below */
	/* Hand one finished line (with newline) to the logger; never blocks; drops and counts when full. */
	void (*write_access)(void *context, struct span line);
	/* Take and give back a place under limits.sessions and limits.sessions_per_client, over all workers.
	 * A client of family 0 is not known yet: it counts under the former alone.
	 * ERR_LIMIT_SESSIONS, ERR_LIMIT_CLIENT. */
	enum err (*enter)(void *context, const struct address *client);
	void (*leave)(void *context, const struct address *client);
	/* The same under classes.media.per_client, for one more tunnel that is media by its shape. False: it is one too many. */
	bool (*enter_media)(void *context, const struct address *client);
	void (*leave_media)(void *context, const struct address *client);
	/* A new stream socket to the public role, which takes who is at its end for this client; -1: there is none. */
	int (*open_pages)(void *context, const struct address *client);
	/* owned by session/; made by session_env_init(): */
	struct session_idle_origins *idle_origins;
	struct asked_origins *asked;
	struct session *refused[SESSION_REFUSED_MAX]; /* over a limit, and told so; a new one takes the place of the oldest */
	size_t refused_at;
	struct pins_table *pins;                /* clients that do not like our certificate */
	struct session_told demoted, too_many;  /* tunnels that were no media after all, and those beyond classes.media.per_client */
	struct buf line;                        /* the line of the access log that is being written */
};

/* Fill what session/ itself needs (after the worker filled the rest). */
MUST_USE enum err session_env_init(struct session_env *env);
void session_env_fini(struct session_env *env);

/* Serve a connection that was accepted. owns: fd, in every case. `peer` is its other end as accept() said. */
void session_start(struct session_env *env, struct session_listener *listener, int fd,
                   const struct address *peer);

/* What was cut. For each there is a line of JSON in `lines` (the caller's), as long as there is room, and an event. */
struct session_cuts {
	size_t count, told;
	struct buf lines;
};

enum { SESSION_CUT_LINE_MAX_BYTES = 8192 };

/* After env->current has changed: begin to look at all sessions, and look at `most` of them, fewer where some are
 * ended (so that no turn is long): those whose access the policy denies now are, and are added to *cuts. True while
 * there are more. */
void session_cut_begin(struct session_env *env);
bool session_cut_some(struct session_env *env, size_t most, struct session_cuts *cuts);

/* Of the state with this number, for metrics; NULL: there is none. */
const char *session_state_name(unsigned state);

/* Draining began: idle client connections are closed, others after their exchange. */
void session_drain(struct session_env *env);

/* End all sessions now, with their log lines. */
void session_stop_all(struct session_env *env);

/* One line of JSON for each open session after `after_id` (0: from the start), at most `count`; *last_id goes
 * into the next call. False at the end. For `status --sessions`: paged, so that no turn is long. */
bool session_list(struct session_env *env, uint64_t after_id, size_t count, struct buf *out,
                  uint64_t *last_id);

#endif
