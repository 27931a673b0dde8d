/* SPDX-License-Identifier: Apache-2.0 */
/* Starting roles, talking to them, and what happens when they end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/rate_table.h"
#include "process/auth_children.h"
#include "process/generation.h"
#include "process/parent_private.h"
#include "process/ring.h"
#include "process/shared.h"
#include "process/signer_children.h"
#include "process/web_children.h"

enum { MESSAGES_PER_TURN = 64, BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 30000, WELL_MS = 60000, CHANNEL_BYTES = 4 << 20 };

/* ---- regions ---- */

static enum err make_region(struct region *region, size_t page_bytes)
{
	enum err err = shared_new("sallyport-page", page_bytes, &region->page_fd);

	if (err == ERR_NONE)
		err = shared_readonly(region->page_fd, &region->page_readonly_fd);
	if (err == ERR_NONE)
		err = shared_new("sallyport-ring", sizeof(struct ring), &region->ring_fd);
	if (err)
		return err;
	region->pages_fd = -1;
	region->page = shared_map(region->page_fd, page_bytes, true);
	return region->page ? ERR_NONE : ERR_SYSTEM;
}

enum err children_make_regions(struct parent *parent)
{
	size_t slots = places_slots_for(parent->current->settings.session.limits.sessions);
	enum err err = ERR_NONE;

	parent->identity.worker_count = (uint32_t)parent->worker_count;
	parent->identity.slot_count = slots;
	parent->identity.client_key = hash_key_random();
	parent->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (parent->bell < 0)
		return ERR_SYSTEM;
	for (size_t i = 0; i < parent->worker_count && err == ERR_NONE; i++)
		err = make_region(&parent->regions[i], places_page_bytes(slots));
	if (err == ERR_NONE)
		err = shared_new("sallyport-rates", rate_table_bytes(slots), &parent->rates_fd);
	if (err == ERR_NONE)
		err = web_children_make_board(parent);
	return err;
}

/* ---- messages ---- */

void children_kill(struct child *child)
{
	loop_timer_clear(child->parent->loop, &child->restart);
	if (child->pid)
		kill(child->pid, SIGKILL);
	child->was_killed = true;
}

void children_forget(struct child *child)
{
	loop_close(child->parent->loop, &child->channel);
	child->pid = 0;
}

void children_send(struct child *child, enum ipc_type type, uint64_t id, struct span payload,
                   const int *fds, size_t fd_count)
{
	if (child->pid == 0 || child->channel.fd < 0)
		return;
	if (ipc_send(child->channel.fd, type, id, payload, fds, fd_count) == ERR_NONE)
		return;
	if (errno == EPIPE || errno == ECONNRESET)
		return; /* it has ended: SIGCHLD follows */
	log_event(EV_ROLE_MESSAGE, "role=%s number=%u what=%s errno=%d", roles_row(child->role)->name,
	          child->number, ipc_type_name(type), errno);
	children_kill(child);
}

bool children_make_pair(int ends[2], bool blocks)
{
	int bytes = CHANNEL_BYTES;

	if (ipc_pair(ends))
		return false;
	for (int i = 0; i < 2; i++) {
		/* Many ask at once in the morning. Only root may go beyond the system's limit. */
		if (setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0 &&
		    setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0)
			errno = 0;
		if (!blocks && fcntl(ends[i], F_SETFL, O_NONBLOCK) < 0)
			errno = 0;
	}
	return true;
}

void children_connect(struct child *server, unsigned worker)
{
	struct child *other = &server->parent->workers[worker];
	struct ipc_channel head = {.worker = worker, .role = (uint32_t)server->role};
	int ends[2];

	if (server->pid == 0 || other->pid == 0)
		return;
	if (!children_make_pair(ends, false)) {
		log_event(EV_SYSTEM, "what=channel errno=%d", errno);
		return;
	}
	children_send(server, IPC_CHANNEL, 0, span_of(&head, sizeof(head)), &ends[0], 1);
	children_send(other, IPC_CHANNEL, 0, span_of(&head, sizeof(head)), &ends[1], 1);
	close(ends[0]);
	close(ends[1]);
}

static void add_addresses(struct buf *payload, const struct address *addresses, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_add(payload, span_of(&addresses[i], sizeof(addresses[i])));
}

void children_send_generation(struct child *worker, bool cut)
{
	const struct parent *parent = worker->parent;
	const struct loaded *loaded = parent->current;
	static struct address own[GENERATION_OWN_MAX];
	size_t listen_count = listeners_own(&loaded->listeners, own, GENERATION_OWN_MAX);
	size_t own_count = listen_count + listeners_own(&loaded->web, own + listen_count,
	                                                GENERATION_OWN_MAX - listen_count);
	int fds[IPC_FDS_MAX] = {loaded->text_fd, loaded->image_fd, loaded->counters.rules_fd,
	                        loaded->counters.entries_fd,
	                        loaded->trust_fd >= 0 ? loaded->trust_fd : loaded->text_fd};
	struct generation_head head = {
		.number = loaded->number,
		.text_bytes = loaded->text.len,
		.image_bytes = loaded->image_bytes,
		.rule_cells = loaded->counters.rule_cells,
		.entry_cells = loaded->counters.entry_cells,
		.trust_bytes = loaded->trust_bytes,
		.listener_count = (uint32_t)loaded->listeners.count,
		.own_count = (uint32_t)own_count,
		.path_bytes = (uint32_t)strlen(parent->path),
		.cut = cut,
	};
	struct buf servers, payload;

	buf_init(&servers, 8192);
	buf_init(&payload, IPC_BYTES_MAX);
	for (size_t i = 0; i < loaded->servers.count; i++)
		buf_printf(&servers, "%s\n", loaded->servers.at[i]);
	head.servers_bytes = (uint32_t)buf_len(&servers);
	buf_add(&payload, span_of(&head, sizeof(head)));
	add_addresses(&payload, loaded->listeners.addresses, loaded->listeners.count);
	add_addresses(&payload, own, own_count);
	buf_add(&payload, span_from(parent->path));
	buf_add(&payload, buf_span(&servers));
	memcpy(fds + GENERATION_FDS, loaded->listeners.fds, loaded->listeners.count * sizeof(*fds));
	if (buf_is_whole(&payload) && buf_is_whole(&servers))
		children_send(worker, IPC_GENERATION, loaded->number, buf_span(&payload), fds,
		              GENERATION_FDS + loaded->listeners.count);
	else
		log_event(EV_SYSTEM, "what=generation errno=%d", ENOMEM);
	buf_fini(&servers);
	buf_fini(&payload);
}

void children_send_logs(struct child *logger)
{
	const struct loaded *loaded = logger->parent->current;
	struct ipc_logs logs = {(uint32_t)loaded->settings.session.access.target,
	                        (uint32_t)loaded->settings.events.target, loaded->secrets_fd >= 0, 0};
	int fds[3];
	size_t count = 0;

	if (loaded->access_fd >= 0)
		fds[count++] = loaded->access_fd;
	if (loaded->event_fd >= 0)
		fds[count++] = loaded->event_fd;
	if (loaded->secrets_fd >= 0)
		fds[count++] = loaded->secrets_fd;
	children_send(logger, IPC_LOGS, loaded->number, span_of(&logs, sizeof(logs)), fds, count);
}

/* The descriptors of a worker; the result is how many. */
static size_t worker_fds(struct child *child, int fds[static IPC_FDS_MAX])
{
	const struct parent *parent = child->parent;
	struct region *region = &child->parent->regions[child->number];
	size_t count = 0;

	fds[count++] = region->page_fd;
	fds[count++] = region->ring_fd;
	fds[count++] = parent->bell;
	if (web_children_make_pages(region, &fds[count++]))
		return 0;
	fds[count++] = parent->nonces_fd;
	fds[count++] = parent->rates_fd;
	for (size_t i = 0; i < parent->worker_count; i++)
		fds[count++] = parent->regions[i].page_readonly_fd;
	return count;
}

static size_t other_fds(const struct child *child, int fds[static IPC_FDS_MAX])
{
	const struct parent *parent = child->parent;
	size_t count = 0;

	if (child->role == ROLE_LOGGER)
		fds[count++] = parent->bell;
	else if (child->role == ROLE_ADMIN)
		fds[count++] = parent->board_readonly_fd;
	else if (child->role == ROLE_VERIFIER)
		fds[count++] = parent->replay_fd;
	if (child->role != ROLE_LOGGER && child->role != ROLE_ADMIN)
		return count;
	for (size_t i = 0; i < parent->worker_count; i++)
		fds[count++] = child->role == ROLE_LOGGER ? parent->regions[i].ring_fd
		                                          : parent->regions[i].page_readonly_fd;
	return count;
}

/* What it begins with, behind IPC_START. */
static void send_first(struct child *child)
{
	struct parent *parent = child->parent;

	if (child->role == ROLE_WORKER) {
		children_send_generation(child, false);
		web_children_send_pages(parent, child->number);
		auth_children_connect(parent, child->number);
		signer_children_connect(parent, child->number);
	} else if (child->role == ROLE_LOGGER) {
		children_send_logs(child);
	} else if (child->role == ROLE_PUBLIC || child->role == ROLE_ADMIN) {
		web_children_send(child);
	} else if (child->role == ROLE_VERIFIER || child->role == ROLE_PAM) {
		auth_children_send(child);
	} else if (child->role == ROLE_SIGNER) {
		signer_children_send(child);
	}
	if (child->role == ROLE_PUBLIC)
		signer_children_send_ca(child);
	for (unsigned i = 0; child->role == ROLE_PUBLIC && i < parent->worker_count; i++)
		web_children_send_pages(parent, i);
}

/* Workers get the keys for tickets of now and of the epoch before, and none that are older. */
static const struct ticket_seed *advance_seed(struct parent *parent)
{
	struct ticket_seed *seed = &parent->ticket_seed;
	uint64_t epoch = clock_wall_ms() / parent->current->settings.inspection.ticket_ms - 1;

	if (seed->epoch == 0) {
		secret_random(seed->secret, sizeof(seed->secret));
		seed->epoch = epoch;
	}
	ticket_seed_advance(seed, epoch);
	return seed;
}

static void send_start(struct child *child)
{
	const struct parent *parent = child->parent;
	bool is_worker = child->role == ROLE_WORKER;
	struct ipc_start start;
	int fds[IPC_FDS_MAX];
	size_t count = is_worker ? worker_fds(child, fds) : other_fds(child, fds);

	if (is_worker && count == 0) {
		log_event(EV_SYSTEM, "what=pages errno=%d", errno);
		children_kill(child);
		return;
	}
	start = parent->identity;
	if (is_worker)
		memcpy(start.nonce_key, parent->nonce_key, sizeof(start.nonce_key));
	if (is_worker)
		start.ticket_seed = *advance_seed(child->parent);
	auth_children_grant(child, &start);
	children_send(child, IPC_START, 0, span_of(&start, sizeof(start)), fds, count);
	explicit_bzero(&start, sizeof(start));
	if (is_worker)
		close(fds[3]);
	send_first(child);
}

static void on_message(struct child *child)
{
	struct parent *parent = child->parent;
	struct ipc_ready ready;

	switch ((unsigned)parent->message.type) {
	case IPC_READY:
		memcpy(&ready, parent->message.payload.at, sizeof(ready));
		child->is_ready = true;
		child->generation = ready.generation;
		parent_on_ready(parent, child);
		if (child->role != ROLE_LOGGER)
			loading_on_worker(parent, ready.cut_count);
		break;
	case IPC_SESSIONS_PAGE:
		control_on_sessions(parent, child);
		break;
	case IPC_CRL:
		signer_children_take_crl(parent);
		break;
	case IPC_CUT_PAGE:
		control_on_cuts(parent, child);
		break;
	default:
		loading_on_message(parent);
	}
}

static void on_channel(struct loop_io *io, unsigned events)
{
	struct child *child = CONTAINER_OF(io, struct child, channel);
	struct parent *parent = child->parent;
	enum ipc_got got = IPC_EMPTY;
	unsigned count = 0;

	while (io->fd >= 0 &&
	       (got = ipc_receive(io->fd, roles_row(child->role)->sends, &parent->message)) ==
	               IPC_GOT) {
		on_message(child);
		ipc_drop(&parent->message);
		/* One that never stops must not have the parent for itself. */
		if (++count == MESSAGES_PER_TURN && io->fd >= 0) {
			loop_again(parent->loop, io, events);
			return;
		}
	}
	if (got == IPC_INVALID) {
		log_event(EV_ROLE_MESSAGE, "role=%s number=%u what=invalid",
		          roles_row(child->role)->name, child->number);
		children_kill(child);
	}
	/* A closed channel is a role that has ended: SIGCHLD says how. */
}

/* ---- start and end ---- */

NORETURN static void become_child(const struct child *child, int end)
{
	char self[] = "/proc/self/exe", name[] = "sallyport", door[] = "--role", role[16], number[16];
	char *args[] = {name, door, role, number, NULL};
	sigset_t none;
	int nothing;

	snprintf(role, sizeof(role), "%s", roles_row(child->role)->name);
	snprintf(number, sizeof(number), "%u", child->number);
	/* Ctrl-C and the end of a session are the parent's to hear: it tells the others. */
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* No role reads or prints; a terminal in its hands would be one more way out. */
	nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0)
		_exit(127);
	if (end == ROLE_CHANNEL_FD ? fcntl(end, F_SETFD, 0) >= 0 : dup2(end, ROLE_CHANNEL_FD) >= 0)
		execv(self, args);
	_exit(127);
}

static void retry_later(struct child *child)
{
	unsigned shift = child->failures < 9 ? child->failures : 9;
	uint64_t wait_ms = (uint64_t)BACKOFF_FIRST_MS << shift;

	child->failures++;
	loop_timer_set(child->parent->loop, &child->restart,
	               wait_ms < BACKOFF_MAX_MS ? wait_ms : BACKOFF_MAX_MS);
}

static void on_restart(struct loop_timer *timer)
{
	struct child *child = CONTAINER_OF(timer, struct child, restart);

	child->restart_count++;
	children_start(child);
}

static enum err spawn(struct child *child)
{
	int ends[2];
	enum err err = ipc_pair(ends);

	if (err)
		return err;
	child->pid = fork();
	if (child->pid == 0)
		become_child(child, ends[1]);
	close(ends[1]);
	if (child->pid < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) {
		child->pid = child->pid < 0 ? 0 : child->pid;
		close(ends[0]);
		return ERR_SYSTEM;
	}
	child->channel = (struct loop_io){.fd = ends[0], .on_ready = on_channel};
	return loop_watch(child->parent->loop, &child->channel);
}

void children_start(struct child *child)
{
	enum err err;

	child->is_ready = child->was_killed = false;
	child->generation = 0;
	child->restart.on_due = on_restart;
	child->started_ms = clock_monotonic_ms();
	err = spawn(child);
	if (err) {
		log_event(EV_SYSTEM, "what=start role=%s errno=%d", roles_row(child->role)->name,
		          errno);
		if (child->pid == 0)
			retry_later(child);
		else
			children_kill(child);
		return;
	}
	log_event(EV_ROLE_STARTED, "role=%s number=%u pid=%d", roles_row(child->role)->name,
	          child->number, (int)child->pid);
	send_start(child);
	web_children_publish(child->parent);
}

static struct child *find_child(struct parent *parent, pid_t pid)
{
	if (parent->logger.pid == pid)
		return &parent->logger;
	if (parent->compiler.pid == pid)
		return &parent->compiler;
	if (parent->public.pid == pid)
		return &parent->public;
	if (parent->admin.pid == pid)
		return &parent->admin;
	if (parent->verifier.pid == pid)
		return &parent->verifier;
	if (parent->signer.pid == pid)
		return &parent->signer;
	if (parent->pam.pid == pid)
		return &parent->pam;
	for (size_t i = 0; i < parent->worker_count; i++)
		if (parent->workers[i].pid == pid)
			return &parent->workers[i];
	return NULL;
}

static void on_death(struct child *child, int status)
{
	struct parent *parent = child->parent;
	bool is_needed = roles_row(child->role)->is_for_workers;
	bool is_expected = (parent->state >= PARENT_DRAINING && !is_needed) || child->is_unwanted ||
	                   !roles_row(child->role)->is_kept;

	/* What it said before it died still counts. */
	on_channel(&child->channel, 0);
	loop_close(parent->loop, &child->channel);
	child->pid = 0;
	if (child->role == ROLE_WORKER)
		places_clear(parent->regions[child->number].page, parent->identity.slot_count);
	if (!is_expected || (WIFSIGNALED(status) && !child->was_killed))
		log_event(EV_ROLE_DIED, "role=%s number=%u %s=%d", roles_row(child->role)->name,
		          child->number, WIFSIGNALED(status) ? "signal" : "exit",
		          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (clock_monotonic_ms() - child->started_ms > WELL_MS)
		child->failures = 0;
	if (!is_expected && (parent->state == PARENT_RUNNING || (is_needed && parent->state == PARENT_DRAINING)))
		retry_later(child);
	parent_on_death(parent, child);
}

void children_reap(struct parent *parent)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child *child = find_child(parent, pid);

		if (child)
			on_death(child, status);
	}
}

/* One that does not run gets what is current when it starts. */
static bool is_current(const struct child *child)
{
	return child->pid == 0 || child->generation == child->parent->current->number;
}

bool children_are_current(const struct parent *parent)
{
	for (size_t i = 0; i < parent->worker_count; i++)
		if (!is_current(&parent->workers[i]))
			return false;
	return web_children_are(parent, is_current) && auth_children_are(parent, is_current) &&
	       signer_children_are(parent, is_current);
}

void children_kill_outdated(struct parent *parent)
{
	for (size_t i = 0; i < parent->worker_count; i++)
		if (!is_current(&parent->workers[i]))
			children_kill(&parent->workers[i]);
	if (!is_current(&parent->public))
		children_kill(&parent->public);
	if (!is_current(&parent->admin))
		children_kill(&parent->admin);
	if (!is_current(&parent->verifier))
		children_kill(&parent->verifier);
	if (!is_current(&parent->signer))
		children_kill(&parent->signer);
}
