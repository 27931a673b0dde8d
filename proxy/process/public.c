/* SPDX-License-Identifier: Apache-2.0 */
#include "process/public.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "process/sandbox.h"
#include "process/shared.h"
#include "process/web_role.h"
#include "web/public_pages.h"

struct public {
	struct web_role role;
	struct public_pages *pages;
	void *image;
	size_t image_bytes;
	struct policy *policy;
	struct ipc_message handed; /* by a worker */
};

static struct public *public_of(struct web_role *role)
{
	return CONTAINER_OF(role, struct public, role);
}

/* ---- the parent's messages ---- */

static enum err open_policy(struct public *public, const struct ipc_public *head, int fd)
{
	size_t bytes = (size_t)head->image_bytes;
	struct public_source source = {.cache_ms = head->cache_ms};
	struct policy *before = public->policy, *policy;
	void *image = shared_map(fd, bytes, false), *image_before = public->image;
	size_t bytes_before = public->image_bytes;
	enum err err = image ? policy_open_as(image, bytes, POLICY_FOR_READING, &policy) : ERR_SYSTEM;

	if (err) {
		shared_unmap(image, bytes);
		return err;
	}
	source.policy = public->policy = policy;
	public->image = image;
	public->image_bytes = bytes;
	source.proxies = span_skip(public->role.message.payload, sizeof(*head));
	err = public_pages_use(public->pages, &source);
	policy_close(before);
	shared_unmap(image_before, bytes_before);
	return err;
}

static enum err use(struct public *public)
{
	struct ipc_message *message = &public->role.message;
	struct ipc_public head;
	int image = ipc_take_fd(message, 0), listening = ipc_take_fd(message, 1);
	enum err err;

	memcpy(&head, message->payload.at, sizeof(head));
	err = open_policy(public, &head, image);
	close(image);
	web_role_listen(&public->role, listening);
	return err ? err : web_role_acknowledge(&public->role, head.generation);
}

/* errors: ERR_MESSAGE, ERR_MEMORY. */
static enum err use_ca(struct public *public)
{
	struct span rest = public->role.message.payload;
	struct ipc_ca head;

	memcpy(&head, rest.at, sizeof(head));
	rest = span_skip(rest, sizeof(head));
	if (rest.len != (size_t)head.certificate_bytes + head.crl_bytes)
		return ERR_MESSAGE;
	return public_pages_use_ca(public->pages, span_first(rest, head.certificate_bytes), span_skip(rest, head.certificate_bytes));
}

static enum err on_message(struct web_role *role)
{
	struct ipc_pages pages;

	if (role->message.type == IPC_PUBLIC)
		return use(public_of(role));
	if (role->message.type == IPC_CA)
		return use_ca(public_of(role));
	if (role->message.type != IPC_PAGES)
		return ERR_MESSAGE;
	memcpy(&pages, role->message.payload.at, sizeof(pages));
	if (pages.worker >= WEB_ROLE_EXTRAS_MAX)
		return ERR_MESSAGE;
	if (role->extras[pages.worker] >= 0)
		close(role->extras[pages.worker]);
	role->extras[pages.worker] = ipc_take_fd(&role->message, 0);
	return ERR_NONE;
}

/* ---- what workers hand over ---- */

/* A worker is hostile: only a stream socket that can have come from socketpair(). */
static bool is_stream(int fd)
{
	int type = 0, domain = 0, listens = 1;
	socklen_t len = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && !listens;
}

static void forget_worker(struct web_role *role, size_t at)
{
	close(role->extras[at]);
	role->extras[at] = -1;
}

/* One at a time, so that all workers have their turn. */
static void on_extra(struct web_role *role, size_t at)
{
	struct public *public = public_of(role);
	enum ipc_got got = ipc_receive(role->extras[at], UINT32_C(1) << IPC_CLIENT, &public->handed);
	struct address client;
	int fd;

	if (got == IPC_EMPTY)
		return;
	if (got != IPC_GOT) {
		if (got == IPC_INVALID)
			log_event(EV_ROLE_MESSAGE, "role=worker number=%zu what=client", at);
		forget_worker(role, at);
		return;
	}
	memcpy(&client, public->handed.payload.at, sizeof(client));
	fd = ipc_take_fd(&public->handed, 0);
	ipc_drop(&public->handed);
	if (is_stream(fd))
		web_server_take(role->servers[1], fd, &client);
	else
		close(fd);
}

/* ---- beginning ---- */

static enum err make_servers(struct public *public)
{
	static const struct web_limits strangers = {512, 64, 10, 120}, handed = {512, 64, 10, 120};
	enum err err = public_pages_new(&public->pages);

	if (err == ERR_NONE)
		err = web_server_new(&strangers, public_pages_answer, public->pages, &public->role.servers[0]);
	if (err == ERR_NONE)
		err = web_server_new(&handed, public_pages_answer, public->pages, &public->role.servers[1]);
	public->role.server_count = 2;
	return err;
}

static enum err set_up(struct public *public)
{
	struct web_role *role = &public->role;
	struct ipc_start start;
	enum err err = web_role_start(role, ROLE_PUBLIC, &start);

	ipc_drop(&role->message);
	if (err == ERR_NONE)
		err = make_servers(public);
	if (err == ERR_NONE)
		err = sandbox_close(ROLE_PUBLIC);
	if (err == ERR_NONE)
		err = ipc_expect(role->channel, roles_row(ROLE_PARENT)->sends, IPC_PUBLIC, &role->message);
	if (err == ERR_NONE) {
		err = use(public);
		ipc_drop(&role->message);
	}
	return err;
}

int public_main(int channel, unsigned number)
{
	static struct public public = {.role = {.listening = -1, .on_message = on_message, .on_extra = on_extra}};
	enum err err;
	int status;

	public.role.channel = channel;
	for (size_t i = 0; i < WEB_ROLE_EXTRAS_MAX; i++)
		public.role.extras[i] = -1;
	err = set_up(&public);
	if (err) {
		log_event(EV_SYSTEM, "role=public number=%u what=start error=%s errno=%d", number, err_name(err), errno);
		return 1;
	}
	status = web_role_serve(&public.role);
	web_server_free(public.role.servers[0]);
	web_server_free(public.role.servers[1]);
	public_pages_free(public.pages);
	policy_close(public.policy);
	shared_unmap(public.image, public.image_bytes);
	return status;
}
