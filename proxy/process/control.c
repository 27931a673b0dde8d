/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: one JSON object on a line asks, lines of JSON answer, the last of them has "ok". Only root
 * and the user of the parent are heard (SO_PEERCRED). */
#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/socket.h"
#include "process/folder.h"
#include "process/parent_private.h"
#include "process/status.h"

enum {
	CLIENTS_MAX = 16,
	ASK_MAX_BYTES = 4096,
	ANSWER_MAX_BYTES = 1 << 21,
	PROBLEMS_MAX_BYTES = 1 << 19,
	/* of all sessions that a reload ended, these are told; the access log has each */
	CUT_LINES_MAX = 1000,
	CUT_LINES_MAX_BYTES = 1 << 19,
	PATIENCE_MS = 180000,
	PAGE_COUNT = 64, /* sessions per message */
	HITS_BYTES = 1 << 18, /* of them at a time */
};

struct control_client {
	struct control *control;
	struct loop_io io;
	struct loop_timer timer;
	struct buf in, out;
	bool is_asked;     /* its question was read */
	bool is_answered;  /* `out` holds the end of the answer */
	/* `sessions`: where the listing stands */
	bool lists;
	size_t worker;
	uint64_t after_id, message_id;
	/* `reload` that cuts: what was told of it */
	bool cuts;
	size_t cut_lines, cut_lines_bytes;
	/* `hits`: of which list (the client's), and where it stands */
	char *counted_list;
	uint32_t next_entry;
};

struct control {
	struct parent *parent;
	struct loop_io io;
	char *path;
	struct control_client clients[CLIENTS_MAX];
};

static void list_on(struct control_client *client);
static void count_on(struct control_client *client);

/* ---- clients ---- */

static void hang_up(struct control_client *client)
{
	struct parent *parent = client->control->parent;

	loading_forget(parent, client);
	loop_timer_clear(parent->loop, &client->timer);
	loop_close(parent->loop, &client->io);
	buf_fini(&client->in);
	buf_fini(&client->out);
	free(client->counted_list);
	client->counted_list = NULL;
	client->lists = client->cuts = false;
}

static void write_out(struct control_client *client)
{
	while (buf_len(&client->out) || client->counted_list) {
		struct span rest;
		ssize_t sent;

		if (buf_len(&client->out) == 0)
			count_on(client);
		rest = buf_span(&client->out);
		sent = send(client->io.fd, rest.at, rest.len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0) {
			hang_up(client);
			return;
		}
		buf_consume(&client->out, (size_t)sent);
	}
	if (client->is_answered)
		hang_up(client);
	else if (client->lists)
		list_on(client);
}

static void add_json(struct control_client *client, json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	if (text) {
		buf_add_string(&client->out, text);
		buf_add_byte(&client->out, '\n');
	}
	free(text);
	json_decref(object);
}

/* Whatever a worker may have written, what goes on are lines that can be an object each, without control characters. */
static bool is_line_sound(struct span line)
{
	if (line.len < 2 || line.at[0] != '{' || line.at[line.len - 1] != '}')
		return false;
	for (size_t i = 0; i < line.len; i++)
		if (line.at[i] < 0x20)
			return false;
	return true;
}

/* Add the sound ones of a worker's lines, at most `most_lines` and `most_bytes`; the number that was added. */
static size_t add_lines(struct control_client *client, struct span lines, size_t most_lines,
                        size_t most_bytes)
{
	struct span line;
	size_t count = 0;

	while (lines.len && count < most_lines && span_split(&lines, '\n', &line)) {
		if (!is_line_sound(line))
			continue;
		if (line.len >= most_bytes)
			break;
		most_bytes -= line.len + 1;
		buf_add(&client->out, line);
		buf_add_byte(&client->out, '\n');
		count++;
	}
	return count;
}

/* The last line. owns: object. */
static void answer(struct control_client *client, json_t *object)
{
	add_json(client, object);
	client->is_answered = true;
	client->lists = client->cuts = false;
	write_out(client);
}

static void answer_error(struct control_client *client, const char *text)
{
	answer(client, json_pack("{s:b, s:s}", "ok", 0, "error", text));
}

/* ---- reload ---- */

static json_t *pack_problems(const struct problems *problems)
{
	struct buf text;
	json_t *array = NULL;

	buf_init(&text, PROBLEMS_MAX_BYTES);
	problems_format_json(problems, &text);
	if (buf_is_whole(&text))
		array = json_loadb((const char *)buf_span(&text).at, buf_len(&text), 0, NULL);
	buf_fini(&text);
	return array ? array : json_array();
}

static void on_loaded(void *context, const struct loading_result *result)
{
	struct control_client *client = context;
	size_t told = client->cut_lines;
	json_t *last = json_pack("{s:b, s:I, s:I, s:o}", "ok", result->err == ERR_NONE, "generation",
	                         (json_int_t)result->generation, "cut",
	                         (json_int_t)result->cut_count, "problems",
	                         pack_problems(result->problems));

	if (client->cuts) /* how many were not told */
		json_object_set_new(last, "more",
		                    json_integer(result->cut_count > told
		                                         ? (json_int_t)(result->cut_count - told)
		                                         : 0));
	answer(client, last);
}

void control_on_cuts(struct parent *parent, const struct child *worker)
{
	for (size_t i = 0; parent->control && i < CLIENTS_MAX; i++) {
		struct control_client *client = &parent->control->clients[i];
		size_t before = buf_len(&client->out);

		/* What comes before the reload or behind a worker's own end of it is nobody's. */
		if (!client->cuts || parent->message.id != parent->current->number ||
		    worker->generation == parent->current->number)
			continue;
		client->cut_lines += add_lines(client, parent->message.payload,
		                               CUT_LINES_MAX - client->cut_lines,
		                               CUT_LINES_MAX_BYTES - client->cut_lines_bytes);
		client->cut_lines_bytes += buf_len(&client->out) - before;
		write_out(client);
	}
}

static void ask_reload(struct control_client *client, const json_t *ask)
{
	struct parent *parent = client->control->parent;
	bool cuts = json_is_true(json_object_get(ask, "cut"));
	enum err err;

	if (parent->state != PARENT_RUNNING) {
		answer_error(client, "the proxy is about to stop");
		return;
	}
	err = loading_start(parent, cuts, on_loaded, client);
	client->cuts = cuts && err == ERR_NONE;
	if (err == ERR_LIMIT)
		answer_error(client, "a reload is under way; try again when it is done");
	else if (err)
		answer_error(client, err_text(err));
}

/* ---- status ---- */

static void ask_status(struct control_client *client)
{
	json_t *status = status_pack(client->control->parent);

	json_object_set_new(status, "ok", json_true());
	answer(client, status);
}

/* ---- sessions: page by page, so that neither a worker nor this process has a long turn ---- */

static void list_on(struct control_client *client)
{
	struct parent *parent = client->control->parent;
	struct ipc_sessions ask = {client->after_id, PAGE_COUNT, 0};

	while (client->worker < parent->worker_count && parent->workers[client->worker].pid == 0) {
		client->worker++;
		ask.after_id = client->after_id = 0;
	}
	if (client->worker >= parent->worker_count) {
		answer(client, json_pack("{s:b}", "ok", 1));
		return;
	}
	client->message_id = ++parent->next_message_id;
	children_send(&parent->workers[client->worker], IPC_SESSIONS, client->message_id,
	              span_of(&ask, sizeof(ask)), NULL, 0);
}

void control_on_sessions(struct parent *parent, const struct child *worker)
{
	struct ipc_sessions_page page;
	struct span lines = span_skip(parent->message.payload, sizeof(page));

	memcpy(&page, parent->message.payload.at, sizeof(page));
	page.is_last = page.is_last != 0; /* a worker may have written anything */
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		struct control_client *client = &parent->control->clients[i];

		if (!client->lists || client->message_id != parent->message.id ||
		    client->worker != worker->number)
			continue;
		/* A listing that does not go on would never end. */
		if (!page.is_last && page.last_id <= client->after_id)
			page.is_last = 1;
		client->after_id = page.is_last ? 0 : page.last_id;
		client->worker += page.is_last;
		add_lines(client, lines, SIZE_MAX, SIZE_MAX);
		client->message_id = 0;
		if (buf_len(&client->out))
			write_out(client);
		else
			list_on(client);
		return;
	}
}

void control_on_death(struct parent *parent, const struct child *worker)
{
	for (size_t i = 0; parent->control && i < CLIENTS_MAX; i++) {
		struct control_client *client = &parent->control->clients[i];

		if (!client->lists || client->worker != worker->number || client->message_id == 0)
			continue;
		client->worker++;
		client->after_id = 0;
		list_on(client);
	}
}

static void ask_sessions(struct control_client *client)
{
	client->lists = true;
	client->worker = 0;
	client->after_id = 0;
	list_on(client);
}

/* ---- hits ---- */

static void add_hit(struct control_client *client, const struct policy_entry *entry, uint32_t cell)
{
	buf_add_string(&client->out, "{\"pattern\":");
	buf_add_json(&client->out, entry->text);
	buf_add_string(&client->out, ",\"file\":");
	buf_add_json(&client->out, entry->file);
	buf_printf(&client->out, ",\"hits\":%u,\"day\":%u}\n", policy_hits_count(cell), policy_hits_day(cell));
}

/* The next of the list's entries that were hit, and the end of the answer behind the last of them. Entries keep their index
 * over a reload, so one in between does no harm. */
static void count_on(struct control_client *client)
{
	const struct loaded *current = client->control->parent->current;
	size_t count = policy_entry_count(current->policy);
	struct policy_entry entry;

	for (; client->next_entry < count && buf_len(&client->out) < HITS_BYTES; client->next_entry++) {
		uint32_t cell = client->next_entry < current->counters.entry_cells
		                        ? atomic_load_explicit(&current->counters.entries[client->next_entry],
		                                               memory_order_relaxed)
		                        : 0;

		if (cell && policy_entry(current->policy, client->next_entry, &entry) &&
		    span_equal(policy_list_name(current->policy, entry.list), span_from(client->counted_list)))
			add_hit(client, &entry, cell);
	}
	if (client->next_entry < count)
		return;
	free(client->counted_list);
	client->counted_list = NULL;
	client->is_answered = true;
	add_json(client, json_pack("{s:b, s:I}", "ok", 1, "since_ms",
	                           (json_int_t)client->control->parent->counting_since_ms));
}

static void ask_hits(struct control_client *client, const json_t *ask)
{
	const char *list = json_string_value(json_object_get(ask, "list"));

	if (list == NULL) {
		answer_error(client, "expected {\"command\": \"hits\", \"list\": NAME}");
		return;
	}
	client->next_entry = 0;
	client->counted_list = strdup(list);
	if (client->counted_list == NULL)
		answer_error(client, "out of memory");
	else
		write_out(client);
}

/* ---- questions ---- */

static void ask_drain(struct control_client *client)
{
	parent_drain(client->control->parent);
	answer(client, json_pack("{s:b}", "ok", 1));
}

static void on_question(struct control_client *client, struct span line)
{
	json_t *ask = json_loadb((const char *)line.at, line.len, 0, NULL);
	const char *command = json_string_value(json_object_get(ask, "command"));

	client->is_asked = true;
	if (command == NULL)
		answer_error(client, "expected {\"command\": ...} on one line");
	else if (strcmp(command, "status") == 0)
		ask_status(client);
	else if (strcmp(command, "sessions") == 0)
		ask_sessions(client);
	else if (strcmp(command, "reload") == 0)
		ask_reload(client, ask);
	else if (strcmp(command, "drain") == 0)
		ask_drain(client);
	else if (strcmp(command, "hits") == 0)
		ask_hits(client, ask);
	else
		answer_error(client, "no such command: status, sessions, hits, reload, drain");
	json_decref(ask);
}

static void read_in(struct control_client *client)
{
	while (client->io.fd >= 0) {
		uint8_t *room = buf_reserve(&client->in, 512);
		ssize_t got = room ? recv(client->io.fd, room, 512, 0) : 0;
		struct span all;

		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			hang_up(client);
			return;
		}
		buf_advance(&client->in, (size_t)got);
		all = buf_span(&client->in);
		if (!client->is_asked && span_find(all, '\n') < all.len)
			on_question(client, span_first(all, span_find(all, '\n')));
		else if (client->is_asked)
			buf_reset(&client->in);
	}
}

static void on_ready(struct loop_io *io, unsigned events)
{
	struct control_client *client = CONTAINER_OF(io, struct control_client, io);

	if (events & LOOP_BROKEN) {
		hang_up(client);
		return;
	}
	if (events & (LOOP_READABLE | LOOP_PEER_CLOSED))
		read_in(client);
	if (client->io.fd >= 0 && (events & LOOP_WRITABLE) && buf_len(&client->out))
		write_out(client);
}

static void on_patience_ended(struct loop_timer *timer)
{
	hang_up(CONTAINER_OF(timer, struct control_client, timer));
}

static struct control_client *free_client(struct control *control)
{
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (control->clients[i].io.fd < 0)
			return &control->clients[i];
	return NULL;
}

static bool is_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void on_client(struct loop_io *io, unsigned events)
{
	struct control *control = CONTAINER_OF(io, struct control, io);
	int fd;

	(void)events;
	while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct control_client *client = free_client(control);

		if (client == NULL || !is_allowed(fd)) {
			close(fd);
			continue;
		}
		*client = (struct control_client){.control = control,
		                                  .io = {.fd = fd, .on_ready = on_ready},
		                                  .timer = {.on_due = on_patience_ended}};
		buf_init(&client->in, ASK_MAX_BYTES);
		buf_init(&client->out, ANSWER_MAX_BYTES);
		loop_timer_set(control->parent->loop, &client->timer, PATIENCE_MS);
		if (loop_watch(control->parent->loop, &client->io))
			hang_up(client);
	}
}

/* ---- the socket ---- */

enum err control_open(struct parent *parent, const char *path, struct problems *problems)
{
	const struct listen_conf conf = {.path = path, .mode = 0600, .backlog = 16,
	                                 .address = {.family = AF_UNIX}};
	struct control *control = calloc(1, sizeof(*control));

	if (control == NULL)
		return ERR_MEMORY;
	control->parent = parent;
	control->io.on_ready = on_client;
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		control->clients[i].io.fd = -1;
	control->path = strdup(path);
	if (control->path == NULL || folder_make_for(path) ||
	    socket_listen(&conf, &control->io.fd) ||
	    loop_watch_listener(parent->loop, &control->io)) {
		problem_add(problems, PROBLEM_ERROR, parent->path, 0, 0,
		            "control: cannot listen on %s: %s%s", path, strerror(errno),
		            errno == EADDRINUSE ? "; another sallyport uses it" : "");
		free(control->path);
		free(control);
		return ERR_SYSTEM;
	}
	parent->control = control;
	return ERR_NONE;
}

void control_close(struct parent *parent)
{
	struct control *control = parent->control;

	if (control == NULL)
		return;
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (control->clients[i].io.fd >= 0)
			hang_up(&control->clients[i]);
	loop_close(parent->loop, &control->io);
	unlink(control->path);
	free(control->path);
	free(control);
	parent->control = NULL;
}
