/* SPDX-License-Identifier: Apache-2.0 */
#include "process/web_children.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "process/generation.h"
#include "process/shared.h"

enum { BACKLOG = 256, PROXIES_MAX_BYTES = IPC_BYTES_MAX - 1024, ADMIN_MAX_BYTES = 8192, PATH_MAX_BYTES = 4096 };

/* ---- what belongs to a generation ---- */

enum err web_children_open(struct loaded *next, const struct loaded *before, const char *file,
                           struct problems *problems)
{
	const struct settings *settings = &next->settings;
	struct listen_conf *conf = arena_alloc(&next->arena, 2 * sizeof(*conf));
	struct conf_groups groups = {conf, 0};

	if (conf == NULL)
		return ERR_MEMORY;
	if (settings->public.address.family)
		conf[groups.count++] = (struct listen_conf){.name = "public", .address = settings->public.address};
	if (settings->admin.address.family)
		conf[groups.count++] = (struct listen_conf){.name = "admin", .address = settings->admin.address};
	for (size_t i = 0; i < groups.count; i++) {
		conf[i].path = conf[i].advertise = "";
		conf[i].backlog = BACKLOG;
	}
	return groups.count ? listeners_open(&groups, before ? &before->web : NULL, file, problems, &next->web)
	                    : ERR_NONE;
}

/* When each file of the policy was changed, by its place in the image. */
enum err web_children_note_ages(struct loaded *next, const struct policy *policy)
{
	size_t count = policy_file_count(policy);
	uint64_t *changed_ms = calloc(count, sizeof(*changed_ms));
	struct span folder = span_from(next->settings.policy);
	enum err err;

	if (changed_ms == NULL)
		return ERR_MEMORY;
	folder = span_first(folder, span_find_last(folder, '/') + 1);
	for (size_t i = 0; i < count; i++) {
		struct span name = policy_file_name(policy, i);
		bool is_absolute = name.len && name.at[0] == '/';
		char path[PATH_MAX_BYTES];
		struct stat stat_of;

		snprintf(path, sizeof(path), "%.*s%.*s", SPAN_ARG(is_absolute ? SPAN("") : folder), SPAN_ARG(name));
		if (stat(path, &stat_of) == 0 && stat_of.st_mtim.tv_sec > 0)
			changed_ms[i] = (uint64_t)stat_of.st_mtim.tv_sec * 1000;
	}
	err = shared_sealed("sallyport-ages", span_of(changed_ms, count * sizeof(*changed_ms)), &next->ages_fd);
	free(changed_ms);
	return err;
}

void web_children_tell_token(const struct parent *parent)
{
	if (parent->current->made_token)
		log_event(EV_TOKEN_MADE, "path=%s", parent->current->settings.admin.token);
}

static int socket_of(const struct loaded *loaded, const char *name)
{
	for (size_t i = 0; i < loaded->web.count; i++)
		if (strcmp(loaded->web.conf[i].name, name) == 0)
			return loaded->web.fds[i];
	return -1;
}

/* ---- what they are sent ---- */

static int compare_texts(const void *left, const void *right)
{
	const char *const *a = left, *const *b = right;

	return strcmp(*a, *b);
}

static void add_listener(struct loaded *loaded, size_t at, const char **texts, size_t *count)
{
	const struct listen_conf *conf = &loaded->listeners.conf[at];
	struct span proxy = SPAN("");
	struct buf text;

	buf_init(&text, 512);
	if (strcmp(conf->advertise, "none") == 0) {
		buf_fini(&text);
		return;
	}
	if (conf->advertise[0])
		proxy = web_conf_proxy(span_from(conf->advertise), &loaded->arena);
	else if (conf->address.family != AF_UNIX) {
		address_format_with_port(&loaded->listeners.addresses[at], &text);
		proxy = arena_copy(&loaded->arena, buf_span(&text));
	}
	if (proxy.len)
		texts[(*count)++] = (const char *)proxy.at;
	buf_fini(&text);
}

/* Every node names the same ones, in the same order, whichever it is that is asked. */
static void write_proxies(struct loaded *loaded, struct buf *out)
{
	const struct conf_texts *others = &loaded->settings.public.proxies;
	const char **texts = calloc(loaded->listeners.count + others->count + 1, sizeof(*texts));
	size_t count = 0;

	if (texts == NULL)
		return;
	for (size_t i = 0; i < loaded->listeners.count; i++)
		add_listener(loaded, i, texts, &count);
	for (size_t i = 0; i < others->count; i++)
		texts[count++] = others->at[i];
	qsort(texts, count, sizeof(*texts), compare_texts);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || strcmp(texts[i], texts[i - 1]) != 0)
			buf_printf(out, "%s\n", texts[i]);
	free(texts);
}

static void send_public(struct child *child)
{
	struct loaded *loaded = child->parent->current;
	struct ipc_public head = {.generation = loaded->number,
	                          .image_bytes = loaded->image_bytes,
	                          .cache_ms = loaded->settings.public.cache_ms};
	int fds[2] = {loaded->image_fd, socket_of(loaded, "public")};
	struct buf payload;

	buf_init(&payload, PROXIES_MAX_BYTES);
	buf_add(&payload, span_of(&head, sizeof(head)));
	write_proxies(loaded, &payload);
	if (buf_is_whole(&payload))
		children_send(child, IPC_PUBLIC, loaded->number, buf_span(&payload), fds, COUNT_OF(fds));
	else
		log_event(EV_SYSTEM, "what=public errno=%d", ENOMEM);
	buf_fini(&payload);
}

static void send_admin(struct child *child)
{
	const struct loaded *loaded = child->parent->current;
	struct ipc_admin head = {.generation = loaded->number,
	                         .image_bytes = loaded->image_bytes,
	                         .counters_bytes = counters_bytes(loaded->counters.rule_cells),
	                         .rule_hit_count = loaded->counters.rule_cells,
	                         .token_bytes = loaded->token.len};
	int fds[4] = {loaded->image_fd, -1, loaded->ages_fd, socket_of(loaded, "admin")};
	const struct conf_texts *names = &loaded->settings.admin.names;
	struct buf payload;

	if (shared_readonly(loaded->counters.rules_fd, &fds[1])) {
		log_event(EV_SYSTEM, "what=admin errno=%d", errno);
		return;
	}
	buf_init(&payload, ADMIN_MAX_BYTES);
	buf_add(&payload, span_of(&head, sizeof(head)));
	buf_add(&payload, span_of(loaded->token.at, loaded->token.len));
	for (size_t i = 0; i < names->count; i++)
		buf_printf(&payload, "%s\n", names->at[i]);
	if (buf_is_whole(&payload))
		children_send(child, IPC_ADMIN, loaded->number, buf_span(&payload), fds, COUNT_OF(fds));
	else
		log_event(EV_SYSTEM, "what=admin errno=%d", ENOMEM);
	if (payload.at)
		explicit_bzero(payload.at, payload.capacity);
	buf_fini(&payload);
	close(fds[1]);
}

void web_children_send(struct child *child)
{
	if (child->role == ROLE_PUBLIC)
		send_public(child);
	else
		send_admin(child);
}

void web_children_send_pages(struct parent *parent, unsigned worker)
{
	struct ipc_pages pages = {.worker = worker};
	int fd = parent->regions[worker].pages_fd;

	if (fd >= 0)
		children_send(&parent->public, IPC_PAGES, 0, span_of(&pages, sizeof(pages)), &fd, 1);
}

enum err web_children_make_pages(struct region *region, int *worker_end)
{
	int ends[2];

	if (ipc_pair(ends))
		return ERR_SYSTEM;
	if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 || fcntl(ends[1], F_SETFL, O_NONBLOCK) < 0) {
		close(ends[0]);
		close(ends[1]);
		return ERR_SYSTEM;
	}
	if (region->pages_fd >= 0)
		close(region->pages_fd);
	region->pages_fd = ends[0];
	*worker_end = ends[1];
	return ERR_NONE;
}

/* ---- running or not ---- */

static struct child *child_at(struct parent *parent, size_t at)
{
	return at ? &parent->admin : &parent->public;
}

static void update(struct child *child, bool is_wanted)
{
	child->is_unwanted = !is_wanted;
	loop_timer_clear(child->parent->loop, &child->restart);
	if (is_wanted && child->pid)
		web_children_send(child);
	else if (is_wanted)
		children_start(child);
	else if (child->pid)
		children_send(child, IPC_STOP, 0, SPAN(""), NULL, 0);
}

void web_children_update(struct parent *parent)
{
	const struct settings *settings = &parent->current->settings;

	update(&parent->public, settings->public.address.family != 0);
	update(&parent->admin, settings->admin.address.family != 0);
}

bool web_children_are(const struct parent *parent, bool (*is)(const struct child *child))
{
	const struct child *both[] = {&parent->public, &parent->admin};

	for (size_t i = 0; i < COUNT_OF(both); i++)
		if (!both[i]->is_unwanted && !is(both[i]))
			return false;
	return true;
}

bool web_children_stop(struct parent *parent)
{
	bool any = false;

	for (size_t i = 0; i < 2; i++) {
		struct child *child = child_at(parent, i);

		child->is_unwanted = true;
		loop_timer_clear(parent->loop, &child->restart);
		children_send(child, IPC_STOP, 0, SPAN(""), NULL, 0);
		any |= child->pid != 0;
	}
	return any;
}

/* ---- the board ---- */

_Static_assert((int)PARENT_STARTING == (int)BOARD_STARTING && (int)PARENT_RUNNING == (int)BOARD_RUNNING &&
                       (int)PARENT_DRAINING == (int)BOARD_DRAINING && (int)PARENT_STOPPING == (int)BOARD_STOPPING,
               "board.h has the states of the parent");
_Static_assert((int)ROLE_COUNT - (int)ROLE_WORKER <= (int)BOARD_ROLES_MAX, "board.h has too few roles");

enum err web_children_make_board(struct parent *parent)
{
	enum err err = shared_new("sallyport-board", sizeof(struct board), &parent->board_fd);

	if (err == ERR_NONE)
		err = shared_readonly(parent->board_fd, &parent->board_readonly_fd);
	if (err == ERR_NONE)
		parent->board = shared_map(parent->board_fd, sizeof(struct board), true);
	if (parent->board == NULL)
		return ERR_SYSTEM;
	for (enum role role = ROLE_WORKER; role < ROLE_COUNT; role++) {
		struct board_role *row = &parent->board->roles[role - ROLE_WORKER];

		snprintf(row->name, sizeof(row->name), "%s", roles_row(role)->name);
	}
	return ERR_NONE;
}

static void add_child(struct board_role sums[static ROLE_COUNT], const struct child *child)
{
	sums[child->role].restarts += child->restart_count;
	sums[child->role].running += child->pid != 0;
}

void web_children_publish(struct parent *parent)
{
	struct board *board = parent->board;
	struct board_role sums[ROLE_COUNT] = {{.restarts = 0}};
	uint64_t ready = 0;

	if (board == NULL || parent->current == NULL)
		return;
	for (size_t i = 0; i < parent->worker_count; i++) {
		add_child(sums, &parent->workers[i]);
		ready += parent->workers[i].pid && parent->workers[i].is_ready;
	}
	add_child(sums, &parent->logger);
	add_child(sums, &parent->compiler);
	add_child(sums, &parent->public);
	add_child(sums, &parent->admin);
	add_child(sums, &parent->verifier);
	add_child(sums, &parent->signer);
	add_child(sums, &parent->pam);
	for (enum role role = ROLE_WORKER; role < ROLE_COUNT; role++) {
		board->roles[role - ROLE_WORKER].restarts = sums[role].restarts;
		board->roles[role - ROLE_WORKER].running = sums[role].running;
	}
	board->workers_wanted = parent->worker_count;
	board->workers_ready = ready;
	board->generation = parent->current->number;
	board->started_ms = parent->started_ms;
	board->loaded_ms = parent->current->loaded_ms;
	board->refused_ms = parent->last_refused_ms;
	board->reloads_total = parent->reloads_total;
	board->refused_total = parent->refused_total;
	board->state = (uint64_t)parent->state; /* last: ready means that all else is there */
}
