/* SPDX-License-Identifier: Apache-2.0 */
#include "process/parent.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/auth_children.h"
#include "process/hits_file.h"
#include "process/parent_private.h"
#include "process/ring.h"
#include "process/shared.h"
#include "process/signer_children.h"
#include "process/web_children.h"

enum { WATCH_MS = 2000, KEEP_HITS_MS = 600000, STOP_MAX_MS = 5000, FILES_BESIDE_SESSIONS = 200, FILES_PER_SESSION = 2 };

/* ---- events of the parent itself go to the logger, while there is one ---- */

static void write_event(void *context, enum log_level level, struct span line)
{
	struct parent *parent = context;
	struct child *logger = &parent->logger;
	uint32_t number = (uint32_t)level;
	struct buf payload;

	buf_init(&payload, 4096);
	if (logger->pid == 0 || !logger->is_ready) {
		clock_add_rfc3339(&payload, clock_wall_ms());
		buf_printf(&payload, " parent: %.*s\n", SPAN_ARG(line));
		if (write(STDERR_FILENO, buf_span(&payload).at, buf_len(&payload)) < 0)
			errno = 0;
	} else {
		buf_add(&payload, span_of(&number, sizeof(number)));
		buf_add(&payload, span_first(line, 4000));
		/* Not children_send(): an event about the logger must not end it. */
		if (ipc_send(logger->channel.fd, IPC_EVENT, 0, buf_span(&payload), NULL, 0))
			errno = 0;
	}
	buf_fini(&payload);
}

/* ---- the end ---- */

static void tell_workers(struct parent *parent, enum ipc_type type)
{
	for (size_t i = 0; i < parent->worker_count; i++) {
		loop_timer_clear(parent->loop, &parent->workers[i].restart);
		children_send(&parent->workers[i], type, 0, SPAN(""), NULL, 0);
	}
}

static bool any_worker(const struct parent *parent)
{
	for (size_t i = 0; i < parent->worker_count; i++)
		if (parent->workers[i].pid)
			return true;
	return false;
}

/* Workers first, then who tells of them, then the logger, which has their last lines; then this. */
static void end_if_alone(struct parent *parent)
{
	if (parent->state < PARENT_DRAINING || any_worker(parent))
		return;
	if (auth_children_stop(parent) || signer_children_stop(parent) || web_children_stop(parent))
		return; /* here again when the last of them has ended */
	if (parent->logger.pid == 0) {
		loop_stop(parent->loop);
		return;
	}
	if (parent->state == PARENT_DRAINING) {
		parent->state = PARENT_STOPPING;
		loop_timer_set(parent->loop, &parent->deadline, STOP_MAX_MS);
	}
	log_event(EV_STOP, "pid=%d", (int)getpid());
	loop_timer_clear(parent->loop, &parent->logger.restart);
	children_send(&parent->logger, IPC_STOP, 0, SPAN(""), NULL, 0);
	parent->logger.is_ready = false;
}

void parent_stop(struct parent *parent, int exit_status)
{
	if (parent->exit_status == 0)
		parent->exit_status = exit_status;
	if (parent->state == PARENT_STOPPING)
		return;
	parent->state = PARENT_STOPPING;
	web_children_publish(parent);
	loop_timer_clear(parent->loop, &parent->watch);
	sd_notify(0, "STOPPING=1");
	tell_workers(parent, IPC_STOP);
	loop_timer_set(parent->loop, &parent->deadline, STOP_MAX_MS);
	end_if_alone(parent);
}

void parent_drain(struct parent *parent)
{
	uint64_t wait_ms = parent->current->settings.session.timeouts.drain_ms;

	if (parent->state >= PARENT_DRAINING)
		return;
	if (wait_ms == 0) {
		parent_stop(parent, 0);
		return;
	}
	parent->state = PARENT_DRAINING;
	web_children_publish(parent);
	loop_timer_clear(parent->loop, &parent->watch);
	log_event(EV_DRAIN, "longest_ms=%llu", (unsigned long long)wait_ms);
	sd_notifyf(0, "STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC=%llu",
	           (unsigned long long)(wait_ms + 2 * STOP_MAX_MS) * 1000);
	tell_workers(parent, IPC_DRAIN);
	listeners_close(&parent->current->listeners, NULL);
	loop_timer_set(parent->loop, &parent->deadline, wait_ms);
	end_if_alone(parent);
}

static void on_deadline(struct loop_timer *timer)
{
	struct parent *parent = CONTAINER_OF(timer, struct parent, deadline);

	if (parent->state == PARENT_DRAINING) {
		parent_stop(parent, 0);
		return;
	}
	for (size_t i = 0; i < parent->worker_count; i++)
		children_kill(&parent->workers[i]);
	if (!any_worker(parent)) {
		children_kill(&parent->public);
		children_kill(&parent->admin);
		children_kill(&parent->verifier);
		children_kill(&parent->pam);
		children_kill(&parent->signer);
		children_kill(&parent->logger);
	}
	loop_timer_set(parent->loop, timer, STOP_MAX_MS);
}

/* ---- hits of entries are kept over restarts ---- */

static void restore_hits(struct parent *parent)
{
	struct loaded *loaded = parent->current;
	const char *path = loaded->settings.hits;
	enum err err;

	parent->counting_since_ms = parent->hits_kept_ms = clock_wall_ms();
	if (path[0] == 0)
		return;
	errno = 0;
	err = hits_file_read(path, loaded->policy, &loaded->counters, &parent->counting_since_ms);
	if (err)
		log_event(EV_HITS, "path=%s what=%s", path, err == ERR_SYSTEM ? strerror(errno) : err_text(err));
}

static void keep_hits(struct parent *parent)
{
	const struct loaded *loaded = parent->current;
	const char *path = loaded->settings.hits;

	parent->hits_kept_ms = clock_wall_ms();
	errno = 0;
	if (path[0] && hits_file_write(path, loaded->policy, &loaded->counters, parent->counting_since_ms))
		log_event(EV_HITS, "path=%s what=%s", path, strerror(errno));
}

/* ---- roles ---- */

static void announce(struct parent *parent)
{
	struct buf text;

	buf_init(&text, 1 << 20);
	listeners_format(&parent->current->listeners, &text);
	if (parent->current->web.count)
		buf_add_byte(&text, ' ');
	listeners_format(&parent->current->web, &text);
	printf("ready %.*s\n", SPAN_ARG(buf_span(&text)));
	fflush(stdout);
	log_event(EV_READY, "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
	sd_notifyf(0, "READY=1\nSTATUS=Ready\nMAINPID=%d", (int)getpid());
}

static bool is_ready(const struct child *child)
{
	return child->is_ready;
}

void parent_on_ready(struct parent *parent, struct child *child)
{
	(void)child;
	web_children_publish(parent);
	if (parent->state != PARENT_STARTING || !parent->logger.is_ready ||
	    !web_children_are(parent, is_ready) || !auth_children_are(parent, is_ready) ||
	    !signer_children_are(parent, is_ready))
		return;
	for (size_t i = 0; i < parent->worker_count; i++)
		if (!parent->workers[i].is_ready)
			return;
	parent->state = PARENT_RUNNING;
	web_children_publish(parent);
	web_children_tell_token(parent);
	announce(parent);
}

void parent_on_death(struct parent *parent, struct child *child)
{
	web_children_publish(parent);
	if (child->role == ROLE_COMPILE)
		loading_on_compiler_death(parent);
	if (child->role == ROLE_PUBLIC || child->role == ROLE_ADMIN || child->role == ROLE_VERIFIER ||
	    child->role == ROLE_SIGNER)
		loading_on_worker(parent, 0);
	if (child->role == ROLE_WORKER) {
		control_on_death(parent, child);
		loading_on_worker(parent, 0);
	}
	if (parent->state == PARENT_STARTING && roles_row(child->role)->is_kept) {
		fprintf(stderr, "sallyport: the %s cannot run; see the lines above\n",
		        roles_row(child->role)->name);
		parent_stop(parent, 1);
	}
	end_if_alone(parent);
}

static void on_watch(struct loop_timer *timer)
{
	struct parent *parent = CONTAINER_OF(timer, struct parent, watch);

	if (parent->state >= PARENT_DRAINING)
		return;
	listeners_heal(&parent->current->listeners);
	listeners_heal(&parent->current->web);
	auth_children_watch(parent);
	if (clock_wall_ms() - parent->hits_kept_ms >= KEEP_HITS_MS)
		keep_hits(parent);
	loop_timer_set(parent->loop, timer, WATCH_MS);
}

static void start_roles(struct parent *parent)
{
	log_event(EV_START, "version=%s pid=%d workers=%zu configuration=%s", SALLYPORT_VERSION,
	          (int)getpid(), parent->worker_count, parent->path);
	parent->watch.on_due = on_watch;
	loop_timer_set(parent->loop, &parent->watch, WATCH_MS);
	children_start(&parent->logger);
	for (size_t i = 0; i < parent->worker_count; i++)
		children_start(&parent->workers[i]);
	web_children_update(parent);
	auth_children_update(parent);
	signer_children_update(parent);
}

/* ---- signals ---- */

static void reopen_logs(struct parent *parent)
{
	struct problems problems;

	problems_init(&problems);
	if (loaded_open_logs(parent->current, parent->path, &problems))
		for (const struct problem *problem = problems.first; problem; problem = problem->next)
			log_event(EV_LOG_FAILED, "%s", problem->text);
	else
		log_event(EV_LOG_REOPENED, "%s", "");
	children_send_logs(&parent->logger);
	problems_fini(&problems);
}

static void reload(struct parent *parent)
{
	if (parent->state == PARENT_RUNNING && loading_start(parent, false, NULL, NULL) == ERR_LIMIT)
		parent->must_reload = true;
}

static void on_signal(struct parent *parent, int number)
{
	switch (number) {
	case SIGCHLD:
		children_reap(parent);
		break;
	case SIGHUP:
		reload(parent);
		break;
	case SIGUSR1:
		if (parent->state == PARENT_RUNNING || parent->state == PARENT_DRAINING)
			reopen_logs(parent);
		break;
	case SIGUSR2:
		log_event(EV_SYSTEM, "what=%s", "SIGUSR2: this version cannot upgrade in place; restart it");
		break;
	case SIGTERM:
		/* Asked twice: it is meant at once. */
		if (parent->state == PARENT_RUNNING)
			parent_drain(parent);
		else
			parent_stop(parent, 0);
		break;
	default:
		parent_stop(parent, 0);
	}
}

static void on_signals(struct loop_io *io, unsigned events)
{
	struct parent *parent = CONTAINER_OF(io, struct parent, signals);
	struct signalfd_siginfo signal;

	(void)events;
	while (read(io->fd, &signal, sizeof(signal)) == (ssize_t)sizeof(signal))
		on_signal(parent, (int)signal.ssi_signo);
}

static enum err watch_signals(struct parent *parent)
{
	static const int numbers[] = {SIGCHLD, SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		sigaddset(&set, numbers[i]);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return ERR_SYSTEM;
	parent->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	parent->signals.on_ready = on_signals;
	return parent->signals.fd < 0 ? ERR_SYSTEM : loop_watch(parent->loop, &parent->signals);
}

/* ---- the beginning ---- */

static enum err find_group(const char *name, struct problems *problems, const char *file, gid_t *out)
{
	const struct group *group = getgrnam(name);

	if (group == NULL) {
		problem_add(problems, PROBLEM_ERROR, file, 0, 0, "group: there is no group %s", name);
		return ERR_CONFIG;
	}
	*out = group->gr_gid;
	return ERR_NONE;
}

/* Whom the other roles become: only root can choose. */
enum err parent_find_identity(struct parent *parent, const struct settings *settings,
                              struct problems *problems)
{
	const char *name = settings->user[0]         ? settings->user
	                   : getpwnam("sallyport") ? "sallyport"
	                                             : "nobody";
	const struct passwd *user = getpwnam(name);
	gid_t gid;

	if (geteuid() != 0)
		return ERR_NONE;
	if (user == NULL) {
		problem_add(problems, PROBLEM_ERROR, parent->path, 0, 0, "user: there is no user %s",
		            name);
		return ERR_CONFIG;
	}
	gid = user->pw_gid;
	parent->identity.switches_user = 1;
	parent->identity.uid = user->pw_uid;
	if (settings->group[0] && find_group(settings->group, problems, parent->path, &gid))
		return ERR_CONFIG;
	parent->identity.gid = gid;
	return ERR_NONE;
}

/* As many descriptors as may be had: each session takes two. */
static void raise_files(struct parent *parent, struct problems *problems)
{
	uint64_t want = parent->current->settings.session.limits.sessions * FILES_PER_SESSION /
	                        parent->worker_count + FILES_BESIDE_SESSIONS;
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < want)
		problem_add_code(problems, PROBLEM_FEW_FILES, (struct problem_place){parent->path, 0, 0}, NULL,
		            "limits.sessions: a worker may open %llu files and needs %llu for its share; "
		            "raise LimitNOFILE (ulimit -n), or lower it",
		            (unsigned long long)files.rlim_max, (unsigned long long)want);
}

static size_t count_workers(const struct settings *settings)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (settings->workers)
		return (size_t)settings->workers;
	return cores < 1 ? 1 : cores > SETTINGS_WORKERS_MAX ? SETTINGS_WORKERS_MAX : (size_t)cores;
}

static void print_problems(const struct problems *problems)
{
	struct buf text;

	buf_init(&text, 1 << 20);
	problems_format(problems, &text);
	fprintf(stderr, "%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

static enum err set_up(struct parent *parent, struct problems *problems)
{
	enum err err;

	parent->worker_count = count_workers(&parent->current->settings);
	raise_files(parent, problems);
	err = control_open(parent, parent->current->settings.control, problems);
	if (err)
		return err;
	for (size_t i = 0; i < parent->worker_count; i++)
		parent->workers[i] = (struct child){.parent = parent,
		                                    .role = ROLE_WORKER,
		                                    .number = (unsigned)i,
		                                    .channel = {.fd = -1}};
	err = auth_children_make_regions(parent, problems);
	return err ? err : children_make_regions(parent);
}

static void on_first_load(void *context, const struct loading_result *result)
{
	struct parent *parent = context;
	struct problems problems;
	enum err err = result->err;

	problems_init(&problems);
	if (err == ERR_NONE)
		err = set_up(parent, &problems);
	print_problems(result->problems);
	print_problems(&problems);
	if (err) {
		fprintf(stderr, "sallyport: not started: %s\n",
		        err == ERR_CONFIG ? err_text(err) : "see the lines above");
		/* A broken configuration stays broken; an address may be free later. */
		parent->exit_status = err == ERR_CONFIG ? 2 : 1;
		loop_stop(parent->loop);
	} else {
		restore_hits(parent);
		start_roles(parent);
	}
	problems_fini(&problems);
}

static void tear_down(struct parent *parent)
{
	control_close(parent);
	for (size_t i = 0; i < parent->worker_count; i++) {
		struct region *region = &parent->regions[i];

		shared_unmap(region->page, places_page_bytes(parent->identity.slot_count));
		close(region->page_fd);
		close(region->page_readonly_fd);
		close(region->ring_fd);
		if (region->pages_fd >= 0)
			close(region->pages_fd);
	}
	shared_unmap(parent->board, sizeof(*parent->board));
	loading_free(parent->loading);
	loaded_free(parent->current, NULL);
	buf_fini(&parent->crl);
	loop_close(parent->loop, &parent->signals);
	loop_free(parent->loop);
}

int parent_run(const char *path)
{
	static struct parent parent = {.state = PARENT_STARTING};
	char *absolute = realpath(path, NULL);
	enum err err;

	if (absolute == NULL) {
		fprintf(stderr, "%s: error: cannot read it: %s\n", path, strerror(errno));
		return 2;
	}
	parent.path = absolute;
	parent.started_ms = clock_wall_ms();
	parent.bell = -1;
	parent.deadline.on_due = on_deadline;
	parent.logger = (struct child){.parent = &parent, .role = ROLE_LOGGER, .channel = {.fd = -1}};
	parent.public = (struct child){.parent = &parent, .role = ROLE_PUBLIC, .channel = {.fd = -1}, .is_unwanted = true};
	parent.admin = (struct child){.parent = &parent, .role = ROLE_ADMIN, .channel = {.fd = -1}, .is_unwanted = true};
	parent.verifier = (struct child){.parent = &parent, .role = ROLE_VERIFIER, .channel = {.fd = -1}, .is_unwanted = true};
	parent.pam = (struct child){.parent = &parent, .role = ROLE_PAM, .channel = {.fd = -1}, .is_unwanted = true};
	parent.signer = (struct child){.parent = &parent, .role = ROLE_SIGNER, .channel = {.fd = -1}, .is_unwanted = true};
	buf_init(&parent.crl, IPC_BYTES_MAX / 2);
	parent.pam_fd = parent.nonces_fd = parent.rates_fd = parent.replay_fd = -1;
	parent.winbind_group = parent.shadow_group = -1;
	parent.compiler = (struct child){.parent = &parent, .role = ROLE_COMPILE, .channel = {.fd = -1}};
	err = loop_new(&parent.loop);
	if (err == ERR_NONE)
		err = watch_signals(&parent);
	log_set_sink(write_event, &parent);
	if (err == ERR_NONE)
		err = loading_start(&parent, false, on_first_load, &parent);
	if (err) {
		fprintf(stderr, "sallyport: not started: %s: %s\n", err_text(err), strerror(errno));
		return 1;
	}
	loop_run(parent.loop);
	if (parent.counting_since_ms)
		keep_hits(&parent);
	log_set_sink(NULL, NULL);
	tear_down(&parent);
	free(absolute);
	return parent.exit_status;
}
