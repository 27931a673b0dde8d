/* SPDX-License-Identifier: Apache-2.0 */
#include "process/auth_children.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "process/shared.h"

enum { NONCE_SLOTS = 1 << 16 };

/* ---- what belongs to a generation ---- */

enum err auth_children_load(struct loaded *next, const char *file, struct problems *problems)
{
	return auth_files_read(&next->settings.auth, file, problems, &next->auth_files);
}

/* ---- what outlives generations ---- */

/* A file without a name, so that the verifier needs no folder; what one verifier has seen, the next one knows. */
static enum err make_replay_cache(struct parent *parent)
{
	parent->replay_fd = memfd_create("sallyport-replay", MFD_CLOEXEC);
	return parent->replay_fd < 0 ? ERR_SYSTEM : ERR_NONE;
}

static int64_t find_group(const char *name)
{
	const struct group *group = getgrnam(name);

	return group ? (int64_t)group->gr_gid : -1;
}

/* Who may ask winbindd to check a response; and who may see hashes of the system's users, by which pam_unix asks. */
static void find_groups(struct parent *parent)
{
	parent->winbind_group = find_group("winbindd_priv");
	parent->shadow_group = find_group("shadow");
}

void auth_children_grant(const struct child *child, struct ipc_start *start)
{
	const struct parent *parent = child->parent;
	int64_t group = child->role == ROLE_VERIFIER ? parent->winbind_group : child->role == ROLE_PAM ? parent->shadow_group : -1;

	start->has_group = group >= 0;
	start->group = group >= 0 ? (uint32_t)group : 0;
}

enum err auth_children_make_regions(struct parent *parent, struct problems *problems)
{
	enum err err = shared_new("sallyport-nonces", digest_table_bytes(NONCE_SLOTS), &parent->nonces_fd);

	if (err)
		return err;
	parent->identity.nonce_slots = NONCE_SLOTS;
	find_groups(parent);
	err = make_replay_cache(parent);
	if (err)
		return err;
	return auth_files_read_key(&parent->current->settings.auth.digest, problems, parent->path, parent->nonce_key);
}

/* ---- what they are sent ---- */

static void send_auth(struct child *verifier)
{
	struct parent *parent = verifier->parent;
	const struct loaded *loaded = parent->current;
	const struct auth_files *files = &loaded->auth_files;
	struct ipc_auth head = {.generation = loaded->number,
	                        .text_bytes = loaded->text.len,
	                        .path_bytes = (uint32_t)strlen(parent->path),
	                        .users_count = (uint32_t)files->users_count};
	int fds[AUTH_FILES_MAX + 2] = {loaded->text_fd};
	size_t count = 1;
	struct buf payload;

	if (files->keytab_fd >= 0) {
		head.has_keytab = 1;
		fds[count++] = files->keytab_fd;
	}
	if (files->ldap_fd >= 0) {
		head.has_ldap_password = 1;
		fds[count++] = files->ldap_fd;
	}
	if (parent->pam_fd >= 0) {
		head.has_pam = 1;
		fds[count++] = parent->pam_fd;
	}
	for (size_t i = 0; i < files->users_count; i++)
		fds[count++] = files->users_fds[i];
	buf_init(&payload, 8192);
	buf_add(&payload, span_of(&head, sizeof(head)));
	buf_add(&payload, span_from(parent->path));
	if (buf_is_whole(&payload))
		children_send(verifier, IPC_AUTH, loaded->number, buf_span(&payload), fds, count);
	else
		log_event(EV_SYSTEM, "what=auth errno=%d", ENOMEM);
	buf_fini(&payload);
}

void auth_children_connect(struct parent *parent, unsigned worker)
{
	children_connect(&parent->verifier, worker);
}

/* Whoever serves PAM now, and the verifier, that asks it. */
static void connect_pam(struct child *pam)
{
	struct parent *parent = pam->parent;
	struct ipc_channel head = {.role = ROLE_PAM};
	int ends[2];

	if (!children_make_pair(ends, true)) {
		log_event(EV_SYSTEM, "what=channel errno=%d", errno);
		return;
	}
	children_send(pam, IPC_CHANNEL, 0, span_of(&head, sizeof(head)), &ends[1], 1);
	close(ends[1]);
	if (parent->pam_fd >= 0)
		close(parent->pam_fd);
	parent->pam_fd = ends[0];
	if (parent->verifier.pid)
		send_auth(&parent->verifier);
}

void auth_children_send(struct child *child)
{
	struct parent *parent = child->parent;

	if (child->role == ROLE_PAM) {
		connect_pam(child);
		return;
	}
	send_auth(child);
	for (unsigned i = 0; i < parent->worker_count; i++)
		auth_children_connect(parent, i);
}

/* ---- running or not ---- */

static void update(struct child *child, bool is_wanted)
{
	child->is_unwanted = !is_wanted;
	loop_timer_clear(child->parent->loop, &child->restart);
	if (!is_wanted && child->pid)
		children_send(child, IPC_STOP, 0, SPAN(""), NULL, 0);
	else if (is_wanted && child->pid == 0)
		children_start(child);
	else if (is_wanted && child->role == ROLE_VERIFIER)
		send_auth(child);
}

void auth_children_update(struct parent *parent)
{
	const struct auth_conf *conf = &parent->current->settings.auth;
	bool has_pam = auth_conf_uses_basic(conf, BASIC_BACKEND_PAM);

	/* It ends when the verifier lets go of it. */
	if (!has_pam && parent->pam_fd >= 0) {
		close(parent->pam_fd);
		parent->pam_fd = -1;
	}
	parent->pam.is_unwanted = !has_pam;
	update(&parent->verifier, auth_conf_is_on(conf));
	if (has_pam && parent->pam.pid == 0)
		update(&parent->pam, true);
}

void auth_children_watch(struct parent *parent)
{
	struct loaded *loaded = parent->current;
	const struct auth_conf *conf = &loaded->settings.auth;
	struct auth_files files;
	struct problems problems;
	uint64_t stamp;

	if (!auth_conf_is_on(conf) || parent->loading)
		return;
	stamp = auth_files_stamp(conf);
	if (stamp == loaded->auth_files.stamp)
		return;
	problems_init(&problems);
	if (auth_files_read(conf, parent->path, &problems, &files) == ERR_NONE) {
		auth_files_close(&loaded->auth_files);
		loaded->auth_files = files;
		send_auth(&parent->verifier);
		log_event(EV_AUTH_FILES, "generation=%llu", (unsigned long long)loaded->number);
	} else {
		loaded->auth_files.stamp = stamp; /* said once */
		log_event(EV_AUTH_FILES_REFUSED, "errors=%zu", problems.error_count);
	}
	loading_log_problems(&problems);
	problems_fini(&problems);
}

bool auth_children_are(const struct parent *parent, bool (*is)(const struct child *child))
{
	return parent->verifier.is_unwanted || is(&parent->verifier);
}

bool auth_children_stop(struct parent *parent)
{
	struct child *both[] = {&parent->verifier, &parent->pam};
	bool any = false;

	if (parent->pam_fd >= 0)
		close(parent->pam_fd);
	parent->pam_fd = -1;
	for (size_t i = 0; i < COUNT_OF(both); i++) {
		both[i]->is_unwanted = true;
		loop_timer_clear(parent->loop, &both[i]->restart);
		any |= both[i]->pid != 0;
	}
	children_send(&parent->verifier, IPC_STOP, 0, SPAN(""), NULL, 0);
	/* It waits for the verifier, which has gone already where PAM is alone. */
	if (parent->verifier.pid == 0 && parent->pam.pid)
		children_kill(&parent->pam);
	return any;
}
