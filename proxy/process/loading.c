/* SPDX-License-Identifier: Apache-2.0 */
/* From files to a generation in force: read and check everything first; any error and nothing changes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/resolve.h"
#include "process/advice.h"
#include "process/auth_children.h"
#include "process/ca_advice.h"
#include "process/folder.h"
#include "process/generation.h"
#include "process/parent_private.h"
#include "process/shared.h"
#include "process/signer_children.h"
#include "process/token.h"
#include "process/web_children.h"
#include "tls/trust.h"

enum {
	ARENA_MAX_BYTES = 64 << 20,
	CONFIG_MAX_BYTES = 4 << 20,
	COMPILE_MAX_MS = 120000,
	SWITCH_MAX_MS = 10000,
};

struct loading {
	struct parent *parent;
	struct loaded *next;      /* NULL once it is in force */
	struct problems problems;
	struct loop_timer timer;
	struct loop_task finish;
	enum err err;
	bool cut, is_switched;
	size_t cut_count;
	loading_done *done;
	void *context;
};

/* ---- what is loaded ---- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void loaded_free(struct loaded *loaded, const struct loaded *next)
{
	if (loaded == NULL)
		return;
	listeners_close(&loaded->listeners, next ? &next->listeners : NULL);
	listeners_close(&loaded->web, next ? &next->web : NULL);
	secret_fini(&loaded->token);
	auth_files_close(&loaded->auth_files);
	ca_files_close(&loaded->ca_files);
	close_fd(&loaded->ages_fd);
	close_fd(&loaded->text_fd);
	close_fd(&loaded->image_fd);
	close_fd(&loaded->trust_fd);
	counters_close(&loaded->counters);
	policy_close(loaded->policy);
	shared_unmap(loaded->image, loaded->image_bytes);
	close_fd(&loaded->access_fd);
	close_fd(&loaded->event_fd);
	close_fd(&loaded->secrets_fd);
	arena_fini(&loaded->arena);
	free(loaded);
}

static struct loaded *loaded_new(void)
{
	struct loaded *loaded = calloc(1, sizeof(*loaded));

	if (loaded == NULL)
		return NULL;
	arena_init(&loaded->arena, ARENA_MAX_BYTES);
	loaded->text_fd = loaded->image_fd = loaded->trust_fd = -1;
	counters_init(&loaded->counters);
	auth_files_init(&loaded->auth_files);
	ca_files_init(&loaded->ca_files);
	loaded->access_fd = loaded->event_fd = loaded->secrets_fd = loaded->ages_fd = -1;
	return loaded;
}

/* As root, perhaps in a folder where others may write: no link is followed, and nothing that waits. */
static int open_file(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode);
	struct stat stat;

	if (fd < 0)
		return -1;
	if (fstat(fd, &stat) == 0 && (S_ISREG(stat.st_mode) || S_ISCHR(stat.st_mode)) &&
	    fcntl(fd, F_SETFL, O_APPEND) == 0)
		return fd;
	close(fd);
	errno = EINVAL;
	return -1;
}

static enum err open_log(const char *path, int target, mode_t mode, const char *option, const char *file,
                         struct problems *problems, int *fd)
{
	int opened;

	if (target != LOG_TO_FILE) {
		close_fd(fd);
		return ERR_NONE;
	}
	opened = folder_make_for(path) == ERR_NONE ? open_file(path, mode) : -1;
	if (opened < 0) {
		problem_add(problems, PROBLEM_ERROR, file, 0, 0, "%s: cannot open %s: %s", option, path,
		            errno == ELOOP     ? "it is a symbolic link; name the file itself"
		            : errno == EINVAL ? "it is no file"
		                              : strerror(errno));
		return ERR_CONFIG;
	}
	close_fd(fd);
	*fd = opened;
	return ERR_NONE;
}

/* Lines are not kept for a log that is not there. */
static void warn_of_socket(int target, const char *option, const char *file,
                           struct problems *problems)
{
	const char *path = target == LOG_TO_SYSLOG     ? "/dev/log"
	                   : target == LOG_TO_JOURNALD ? "/run/systemd/journal/socket"
	                                               : NULL;

	if (path && access(path, F_OK) < 0)
		problem_add_code(problems, PROBLEM_LOG_SOCKET, (struct problem_place){file, 0, 0}, NULL,
		            "%s: there is no %s here; lines are lost until there is", option, path);
}

enum err loaded_open_logs(struct loaded *loaded, const char *path, struct problems *problems)
{
	const struct access_conf *requests = &loaded->settings.session.access;
	const struct events_conf *events = &loaded->settings.events;
	enum err err = open_log(requests->path, requests->target, 0640, "log.access", path, problems,
	                        &loaded->access_fd);
	enum err second = open_log(events->path, events->target, 0640, "log.events", path, problems,
	                           &loaded->event_fd);
	const char *secrets = inspection_is_on(&loaded->settings.inspection) ? loaded->settings.inspection.secrets : "";
	enum err third = open_log(secrets, secrets[0] ? LOG_TO_FILE : LOG_TO_NONE, 0600, "inspection.secrets", path, problems,
	                          &loaded->secrets_fd);

	warn_of_socket(requests->target, "log.access", path, problems);
	warn_of_socket(events->target, "log.events", path, problems);
	return err ? err : second ? second : third;
}

/* ---- the end ---- */

void loading_log_problems(const struct problems *problems)
{
	for (const struct problem *problem = problems->first; problem; problem = problem->next) {
		char place[32] = "";

		if (problem->line)
			snprintf(place, sizeof(place), ":%u:%u", problem->line, problem->column);
		log_event(problem->level == PROBLEM_ERROR ? EV_CONFIG_PROBLEM : EV_CONFIG_WARNING,
		          "%s%s: %s [%s]", problem->file, place, problem->text, problem_row(problem->code)->code);
	}
	for (const struct problem_group *group = problems->groups; group; group = group->next)
		if (group->more)
			log_event(problem_row(group->code)->level == PROBLEM_ERROR ? EV_CONFIG_PROBLEM : EV_CONFIG_WARNING,
			          "%s: and %zu more [%s]", group->file, group->more, problem_row(group->code)->code);
}

static void report(struct loading *loading)
{
	struct parent *parent = loading->parent;
	struct loading_result result = {loading->err, &loading->problems, loading->cut_count,
	                                parent->current ? parent->current->number : 0};

	parent->refused_ms = loading->err ? clock_wall_ms() : 0;
	parent->refused_errors = loading->problems.error_count;
	if (loading->err)
		parent->last_refused_ms = parent->refused_ms;
	if (parent->state != PARENT_STARTING) {
		parent->reloads_total += loading->err == ERR_NONE;
		parent->refused_total += loading->err != ERR_NONE;
	}
	web_children_publish(parent);
	if (parent->state != PARENT_STARTING) {
		loading_log_problems(&loading->problems);
		if (loading->err)
			log_event(EV_RELOAD_REFUSED, "generation=%llu errors=%zu",
			          (unsigned long long)result.generation,
			          loading->problems.error_count);
		else
			log_event(EV_RELOAD, "generation=%llu rules=%zu entries=%zu cut=%zu",
			          (unsigned long long)result.generation,
			          parent->current->stats.rules, parent->current->stats.entries,
			          loading->cut_count);
	}
	if (loading->done)
		loading->done(loading->context, &result);
}

void loading_free(struct loading *loading)
{
	if (loading == NULL)
		return;
	loading->parent->loading = NULL;
	loop_timer_clear(loading->parent->loop, &loading->timer);
	loaded_free(loading->next, loading->parent->current);
	problems_fini(&loading->problems);
	free(loading);
}

static void on_finish(struct loop_task *task)
{
	struct loading *loading = CONTAINER_OF(task, struct loading, finish);
	struct parent *parent = loading->parent;

	report(loading);
	children_forget(&parent->compiler);
	loading_free(loading);
	if (parent->must_reload && parent->state == PARENT_RUNNING) {
		parent->must_reload = false;
		loading_start(parent, false, NULL, NULL);
	}
}

/* At the end of this turn: whoever began it has returned by then. */
static void finish(struct loading *loading, enum err err)
{
	if (err && loading->err == ERR_NONE)
		loading->err = err;
	loop_timer_clear(loading->parent->loop, &loading->timer);
	loop_defer(loading->parent->loop, &loading->finish);
}

static void fail(struct loading *loading, const char *what)
{
	problem_add(&loading->problems, PROBLEM_ERROR, loading->parent->path, 0, 0, "%s", what);
	finish(loading, ERR_CONFIG);
}

void loading_forget(struct parent *parent, const void *context)
{
	if (parent->loading && parent->loading->context == context)
		parent->loading->done = NULL;
}

static void on_due(struct loop_timer *timer)
{
	struct loading *loading = CONTAINER_OF(timer, struct loading, timer);
	struct parent *parent = loading->parent;

	if (!loading->is_switched) {
		children_kill(&parent->compiler);
		fail(loading, "compiling the policy takes too long");
		return;
	}
	/* In force already: who does not take it is of no use any more. */
	children_kill_outdated(parent);
	finish(loading, ERR_NONE);
}

/* ---- third: in force ---- */

static void switch_to_next(struct loading *loading)
{
	struct parent *parent = loading->parent;
	struct loaded *previous = parent->current;

	parent->current = loading->next;
	loading->next = NULL;
	loading->is_switched = true;
	log_set_level((enum log_level)parent->current->settings.events.level);
	if (previous == NULL) {
		finish(loading, ERR_NONE); /* the start: roles come after */
		return;
	}
	counters_take_over(&parent->current->counters, parent->current->policy, &previous->counters, previous->policy);
	loop_timer_set(parent->loop, &loading->timer, SWITCH_MAX_MS);
	children_send_logs(&parent->logger);
	for (size_t i = 0; i < parent->worker_count; i++)
		children_send_generation(&parent->workers[i], loading->cut);
	web_children_tell_token(parent);
	web_children_update(parent);
	auth_children_update(parent);
	signer_children_update(parent);
	loaded_free(previous, parent->current);
	loading_on_worker(parent, 0);
}

void loading_on_worker(struct parent *parent, size_t cut_count)
{
	struct loading *loading = parent->loading;

	if (loading == NULL || !loading->is_switched)
		return;
	loading->cut_count += cut_count;
	if (children_are_current(parent))
		finish(loading, ERR_NONE);
}

/* ---- second: the policy ---- */

/* What is in it, and in *advice what is to be said of it beside the settings. */
static enum err open_image(struct loading *loading, enum err *advice)
{
	const struct loaded *current = loading->parent->current;
	struct loaded *next = loading->next;
	enum err err;

	next->image = shared_map(next->image_fd, next->image_bytes, false);
	if (next->image == NULL)
		return ERR_SYSTEM;
	err = policy_open_as(next->image, next->image_bytes, POLICY_FOR_READING, &next->policy);
	if (err)
		return err;
	policy_stats(next->policy, &next->stats);
	err = web_children_note_ages(next, next->policy);
	if (err)
		return err;
	*advice = advice_add(&next->settings, next->policy, loading->parent->path, &loading->problems);
	ca_advice_add(next->ca_files.ca, &next->settings, next->policy, &loading->problems);
	return counters_make(&next->counters, next->policy, current ? &current->counters : NULL);
}

static void on_compiled(struct loading *loading, struct ipc_message *message)
{
	struct parent *parent = loading->parent;
	struct loaded *next = loading->next;
	struct ipc_compiled compiled;
	enum err err = ERR_NONE;

	memcpy(&compiled, message->payload.at, sizeof(compiled));
	next->image_fd = ipc_take_fd(message, 0);
	next->image_bytes = (size_t)compiled.image_bytes;
	if (next->image_fd < 0 || loading->err) {
		finish(loading, ERR_CONFIG);
		return;
	}
	if (open_image(loading, &err)) {
		fail(loading, "the compiled policy cannot be opened");
		return;
	}
	if (err == ERR_NONE)
		err = listeners_open(&next->settings.listen,
		                     parent->current ? &parent->current->listeners : NULL,
		                     parent->path, &loading->problems, &next->listeners);
	if (err == ERR_NONE)
		err = web_children_open(next, parent->current, parent->path, &loading->problems);
	if (err) {
		finish(loading, err);
		return;
	}
	listeners_set_buffers(&next->listeners, next->settings.session.limits.kernel_buffer_bytes);
	switch_to_next(loading);
}

static void on_problem(struct loading *loading, struct span payload)
{
	struct problem_place at, other = {.file = NULL};
	struct ipc_problem head;
	struct span file, other_file;
	enum problem_code code;

	memcpy(&head, payload.at, sizeof(head));
	payload = span_skip(payload, sizeof(head));
	file = span_first(payload, head.file_bytes);
	payload = span_skip(payload, file.len);
	other_file = span_first(payload, head.related_bytes);
	payload = span_skip(payload, other_file.len);
	code = head.code < PROBLEM_CODE_COUNT ? (enum problem_code)head.code : PROBLEM_CONFIGURATION;
	at = (struct problem_place){arena_string(&loading->problems.arena, file), head.line, head.column};
	if (at.file == NULL)
		at.file = "";
	if (other_file.len)
		other = (struct problem_place){arena_string(&loading->problems.arena, other_file), head.related_line, 0};
	if (head.more)
		problems_add_more(&loading->problems, code, at.file, (size_t)head.more);
	else
		problem_add_code(&loading->problems, code, at, other.file ? &other : NULL, "%.*s", SPAN_ARG(payload));
}

void loading_on_message(struct parent *parent)
{
	struct loading *loading = parent->loading;

	if (loading == NULL || loading->is_switched || loop_is_deferred(&loading->finish))
		return;
	if (parent->message.type == IPC_PROBLEM)
		on_problem(loading, parent->message.payload);
	else if (parent->message.type == IPC_COMPILED)
		on_compiled(loading, &parent->message);
}

void loading_on_compiler_death(struct parent *parent)
{
	struct loading *loading = parent->loading;

	if (loading && !loading->is_switched && !loop_is_deferred(&loading->finish))
		fail(loading, "the role that compiles the policy has died; see the event log");
}

static void send_compile(struct loading *loading)
{
	const struct loaded *current = loading->parent->current;
	struct ipc_compile head = {current ? current->image_bytes : 0};
	struct buf payload;

	buf_init(&payload, 8192);
	buf_add(&payload, span_of(&head, sizeof(head)));
	buf_add(&payload, span_from(loading->next->settings.policy));
	children_send(&loading->parent->compiler, IPC_COMPILE, 0, buf_span(&payload), current ? &current->image_fd : NULL,
	              current ? 1 : 0);
	buf_fini(&payload);
}

static void start_compiler(struct loading *loading)
{
	struct child *compiler = &loading->parent->compiler;

	loop_timer_set(loading->parent->loop, &loading->timer, COMPILE_MAX_MS);
	children_start(compiler);
	send_compile(loading);
}

/* ---- first: the settings ---- */

static void warn_restart(struct loading *loading, bool changed, const char *option)
{
	if (changed)
		problem_add_code(&loading->problems, PROBLEM_RESTART_NEEDED,
		            (struct problem_place){loading->parent->path, 0, 0}, NULL, "%s: a restart is needed to change it; what was there stays", option);
}

static void compare(struct loading *loading)
{
	const struct settings *before, *after = &loading->next->settings;

	if (loading->parent->current == NULL)
		return;
	before = &loading->parent->current->settings;
	warn_restart(loading, before->workers != after->workers, "workers");
	warn_restart(loading, strcmp(before->control, after->control) != 0, "control");
	warn_restart(loading, strcmp(before->user, after->user) != 0, "user");
	warn_restart(loading, strcmp(before->auth.digest.key, after->auth.digest.key) != 0, "authentication.digest.key");
	warn_restart(loading, before->auth.threads != after->auth.threads && auth_conf_is_on(&before->auth), "authentication.threads");
	warn_restart(loading, before->auth.queue != after->auth.queue && auth_conf_is_on(&before->auth), "authentication.queue");
	warn_restart(loading, strcmp(before->group, after->group) != 0, "group");
	warn_restart(loading,
	             places_slots_for(before->session.limits.sessions) <
	                     places_slots_for(after->session.limits.sessions),
	             "limits.sessions (so much more)");
}

static enum err load_token(struct loaded *next, const char *path, struct problems *problems)
{
	const struct admin_conf *admin = &next->settings.admin;

	if (admin->address.family == 0)
		return ERR_NONE;
	return token_load(admin->token, true, path, problems, &next->token, &next->made_token);
}

/* Whom origins are verified by: an image, so that no worker parses what it does not need. */
static enum err load_trust(struct loaded *next, const char *path, struct problems *problems)
{
	void *image;
	enum err err;

	if (!inspection_is_on(&next->settings.inspection))
		return ERR_NONE;
	err = trust_build(&next->settings.inspection, path, problems, &image, &next->trust_bytes);
	if (err)
		return err;
	err = shared_sealed("sallyport-trust", span_of(image, next->trust_bytes), &next->trust_fd);
	free(image);
	return err;
}

static enum err load_settings(struct loading *loading)
{
	struct loaded *next = loading->next;
	const char *path = loading->parent->path;
	enum err err = yaml_read_file(path, CONFIG_MAX_BYTES, &next->arena, &loading->problems,
	                              &next->text);

	if (err)
		return ERR_CONFIG;
	err = settings_load(next->text, path, &next->arena, &loading->problems, &next->settings);
	/* Before anything is started; the compile role, too, is another user. */
	if (loading->parent->current == NULL && (err == ERR_NONE || next->settings.user) &&
	    parent_find_identity(loading->parent, &next->settings, &loading->problems))
		err = ERR_CONFIG;
	if (err)
		return err;
	compare(loading);
	err = resolve_system_servers(&next->settings.dns.servers, &next->arena, &next->servers);
	if (err == ERR_NONE)
		err = loaded_open_logs(next, path, &loading->problems);
	if (err == ERR_NONE)
		err = load_token(next, path, &loading->problems);
	if (err == ERR_NONE)
		err = auth_children_load(next, path, &loading->problems);
	if (err == ERR_NONE)
		err = signer_children_load(next, &loading->problems);
	if (err == ERR_NONE)
		err = load_trust(next, path, &loading->problems);
	if (err == ERR_NONE)
		err = shared_sealed("sallyport-settings", next->text, &next->text_fd);
	return err;
}

enum err loading_start(struct parent *parent, bool cut, loading_done *done, void *context)
{
	struct loading *loading;

	if (parent->loading)
		return ERR_LIMIT;
	loading = calloc(1, sizeof(*loading));
	if (loading == NULL)
		return ERR_MEMORY;
	*loading = (struct loading){.parent = parent,
	                            .cut = cut,
	                            .done = done,
	                            .context = context,
	                            .finish.run = on_finish,
	                            .timer.on_due = on_due};
	problems_init(&loading->problems);
	loading->next = loaded_new();
	parent->loading = loading;
	if (loading->next == NULL) {
		loading_free(loading);
		return ERR_MEMORY;
	}
	loading->next->number = parent->current ? parent->current->number + 1 : 1;
	loading->next->loaded_ms = clock_wall_ms();
	loading->err = load_settings(loading);
	/* What is wrong with the policy is said together with what is wrong here. */
	if (loading->next->settings.policy && loading->next->settings.policy[0])
		start_compiler(loading);
	else
		finish(loading, ERR_CONFIG);
	return ERR_NONE;
}
