/* SPDX-License-Identifier: Apache-2.0 */
/* The parent from the inside. Private to parent.c, children.c, loading.c and control.c. */
#ifndef PROCESS_PARENT_PRIVATE_H
#define PROCESS_PARENT_PRIVATE_H

#include <sys/types.h>

#include "net/loop.h"
#include "policy/policy.h"
#include "process/auth_files.h"
#include "process/ca_files.h"
#include "process/counters.h"
#include "process/ipc.h"
#include "process/listeners.h"
#include "process/places.h"
#include "base/secret.h"
#include "process/settings.h"
#include "web/board.h"

struct parent;

/* A role that runs, or that will be started again. */
struct child {
	struct parent *parent;
	enum role role;
	unsigned number;
	pid_t pid;                  /* 0: does not run */
	struct loop_io channel;
	struct loop_timer restart;
	uint64_t started_ms;
	unsigned failures;          /* in a row */
	unsigned restart_count;
	bool was_killed;            /* by us */
	bool is_unwanted;           /* not to be started again */
	bool is_ready;              /* what it was sent first is in force */
	uint64_t generation;        /* that it said is in force */
};

/* Memory of one worker that outlives it. */
struct region {
	int page_fd, page_readonly_fd, ring_fd;
	struct place_page *page;
	int pages_fd;               /* the public role's end of what this worker hands over; -1: none yet */
};

/* One generation: configuration, policy, listeners; what workers are sent. */
struct loaded {
	uint64_t number;
	struct arena arena;
	struct settings settings;
	struct span text;
	struct conf_texts servers;  /* without "system" */
	struct listeners listeners;
	struct listeners web;       /* public, admin */
	struct auth_files auth_files;
	struct ca_files ca_files;
	struct secret token;
	bool made_token;            /* it was not there */
	int text_fd, image_fd, access_fd, event_fd, secrets_fd, ages_fd;
	int trust_fd;               /* image of tls/trust.h; -1: nothing is opened */
	size_t trust_bytes;
	struct counters counters;
	size_t image_bytes;
	void *image;                /* mapped */
	struct policy *policy;      /* opened for reading */
	struct policy_stats stats;
	uint64_t loaded_ms;         /* wall clock */
};

enum parent_state { PARENT_STARTING, PARENT_RUNNING, PARENT_DRAINING, PARENT_STOPPING };

struct loading;
struct control;

struct parent {
	enum parent_state state;
	const char *path;           /* of sallyport.yaml, absolute */
	struct loop *loop;
	struct loop_io signals;
	struct loop_timer deadline; /* of draining and stopping */
	struct loop_timer watch;    /* over what workers share */
	struct loaded *current;
	struct loading *loading;    /* under way, or NULL */
	bool must_reload;           /* SIGHUP came meanwhile */
	uint64_t refused_ms;        /* wall clock of the last load, if it was refused; else 0 */
	size_t refused_errors;
	struct control *control;
	struct ipc_start identity;  /* user, keys and sizes: the same for all roles */
	int bell;
	size_t worker_count;
	struct region regions[SETTINGS_WORKERS_MAX];
	struct child workers[SETTINGS_WORKERS_MAX], logger, compiler, public, admin, verifier, pam, signer;
	int nonces_fd;              /* the table of nonces */
	int rates_fd;               /* the table of rate limits */
	uint8_t nonce_key[32];
	struct ticket_seed ticket_seed; /* of the epoch before the one that runs */
	int replay_fd;              /* the replay cache of Kerberos */
	int64_t winbind_group, shadow_group; /* -1: there is none */
	struct buf crl;             /* of this CA; empty: none yet */
	uint8_t crl_ca_id[32];
	int pam_fd;                 /* the verifier's way to pam; -1: none */
	struct board *board;        /* for admin */
	int board_fd, board_readonly_fd;
	uint64_t reloads_total, refused_total, last_refused_ms;
	uint64_t started_ms;        /* wall clock */
	uint64_t counting_since_ms; /* wall clock: hits of entries */
	uint64_t hits_kept_ms;      /* wall clock: when they were written last */
	uint64_t next_message_id;
	int exit_status;
	struct ipc_message message; /* the one that is being read */
};

/* ---- parent.c ---- */

/* All workers have the current generation, or a role became ready: look what that means. */
void parent_on_ready(struct parent *parent, struct child *child);

/* A role has ended. */
void parent_on_death(struct parent *parent, struct child *child);

/* Whom the other roles become, from the first settings. errors: ERR_CONFIG with problems. */
MUST_USE enum err parent_find_identity(struct parent *parent, const struct settings *settings,
                                       struct problems *problems);

/* As SIGTERM and SIGINT do. */
void parent_drain(struct parent *parent);
void parent_stop(struct parent *parent, int exit_status);

/* ---- children.c ---- */

/* Regions that workers share. errors: ERR_SYSTEM, ERR_MEMORY. */
MUST_USE enum err children_make_regions(struct parent *parent);

/* Start a role and send it what it begins with. A failure counts as its death. */
void children_start(struct child *child);

/* Send; a role that does not take it is ended. `type` is one that the parent sends. */
void children_send(struct child *child, enum ipc_type type, uint64_t id, struct span payload,
                   const int *fds, size_t fd_count);

/* Send the current generation, listeners and all. */
void children_send_generation(struct child *worker, bool cut);
void children_send_logs(struct child *logger);

/* Two ends, with room for many messages; both are the caller's. */
MUST_USE bool children_make_pair(int ends[2], bool blocks);

/* Give this role and a worker, where both run, a channel between them. */
void children_connect(struct child *server, unsigned worker);

/* Those that have died: wait for them, clear what they left, start them again after a while. */
void children_reap(struct parent *parent);

/* Kill and forget restarts. */
void children_kill(struct child *child);

/* A role that has said all that it had to say: it ends by itself and nobody waits for it. */
void children_forget(struct child *child);

/* Kill those that run without the current generation; they are started again. */
void children_kill_outdated(struct parent *parent);

/* Does every worker that runs have the current generation? */
bool children_are_current(const struct parent *parent);

/* ---- loading.c ---- */

enum { PROBLEM_TEXT_MAX = 65536 };

struct loading_result {
	enum err err;
	const struct problems *problems;
	size_t cut_count;
	uint64_t generation;
};
/* Runs once, not before loading_start() returned. */
typedef void loading_done(void *context, const struct loading_result *result);

/* Load everything anew: ERR_LIMIT if a load is under way. With `cut`, sessions that the new policy denies end.
 * `done` may be NULL. */
enum err loading_start(struct parent *parent, bool cut, loading_done *done, void *context);

/* The compile role spoke, or ended. */
void loading_on_message(struct parent *parent);
void loading_on_compiler_death(struct parent *parent);

/* A worker has acknowledged, or died: is everybody current? */
void loading_on_worker(struct parent *parent, size_t cut_count);

void loading_free(struct loading *loading);

/* Whoever waited for its end no longer does. */
void loading_forget(struct parent *parent, const void *context);

/* Into the event log. */
void loading_log_problems(const struct problems *problems);

void loaded_free(struct loaded *loaded, const struct loaded *next);

/* Open the log files of `loaded` anew. errors: ERR_CONFIG with problems. */
MUST_USE enum err loaded_open_logs(struct loaded *loaded, const char *path,
                                   struct problems *problems);

/* ---- control.c ---- */

MUST_USE enum err control_open(struct parent *parent, const char *path, struct problems *problems);
void control_close(struct parent *parent);

/* A worker sent a page of sessions. */
void control_on_sessions(struct parent *parent, const struct child *worker);

/* A worker said which sessions the new policy ended. */
void control_on_cuts(struct parent *parent, const struct child *worker);

/* A worker has ended: nobody waits for its sessions any more. */
void control_on_death(struct parent *parent, const struct child *worker);

#endif
