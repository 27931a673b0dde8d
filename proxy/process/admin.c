/* SPDX-License-Identifier: Apache-2.0 */
#include "process/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "process/places.h"
#include "process/sandbox.h"
#include "process/shared.h"
#include "process/web_role.h"
#include "web/admin_pages.h"

/* What one generation has. */
struct facts {
	void *image;
	size_t image_bytes;
	struct policy *policy;
	const void *counters;
	size_t counters_bytes;
	struct prometheus_list *lists;
	size_t list_count;
};

struct admin {
	struct web_role role;
	struct admin_pages pages;
	struct facts facts;
	char *names; /* of pages */
};

static void facts_fini(struct facts *facts)
{
	policy_close(facts->policy);
	shared_unmap(facts->image, facts->image_bytes);
	shared_unmap(facts->counters, facts->counters_bytes);
	free(facts->lists);
	*facts = (struct facts){.image = NULL};
}

/* ---- lists ---- */

/* Which file it is, by the text in the image; most entries are in the same one as the entry before. */
static size_t find_file(const struct policy *policy, struct span name, size_t last)
{
	size_t count = policy_file_count(policy);

	if (policy_file_name(policy, last).at == name.at)
		return last;
	for (size_t i = 0; i < count; i++)
		if (policy_file_name(policy, i).at == name.at)
			return i;
	return count;
}

static void count_entries(const struct policy *policy, const uint64_t *changed_ms, struct prometheus_list *by_list,
                          size_t list_count)
{
	size_t entries = policy_entry_count(policy), files = policy_file_count(policy), file = 0;

	for (uint32_t i = 0; i < entries; i++) {
		struct prometheus_list *list;
		struct policy_entry entry;

		if (!policy_entry(policy, i, &entry) || entry.list == 0 || entry.list > list_count)
			continue;
		list = &by_list[entry.list - 1];
		list->entries++;
		file = find_file(policy, entry.file, file);
		if (file < files && changed_ms[file] > list->changed_ms)
			list->changed_ms = changed_ms[file];
	}
}

static enum err make_lists(struct facts *facts, int ages)
{
	const struct policy *policy = facts->policy;
	size_t files = policy_file_count(policy), lists = policy_list_count(policy), named = 0;
	void *changed_ms = shared_map(ages, files * sizeof(uint64_t), false);

	facts->lists = calloc(lists + 1, sizeof(*facts->lists));
	if (changed_ms && facts->lists)
		count_entries(policy, changed_ms, facts->lists, lists);
	shared_unmap(changed_ms, files * sizeof(uint64_t));
	if (changed_ms == NULL || facts->lists == NULL)
		return ERR_SYSTEM;
	for (size_t i = 0; i < lists; i++) { /* patterns in rules have no name */
		struct span name = policy_list_name(policy, (uint16_t)(i + 1));

		if (name.len == 0)
			continue;
		facts->lists[named] = facts->lists[i];
		facts->lists[named++].name = name;
	}
	facts->list_count = named;
	return ERR_NONE;
}

/* ---- the parent's messages ---- */

static enum err open_facts(struct facts *facts, const struct ipc_admin *head, const int fds[static 3])
{
	enum err err;

	facts->image_bytes = (size_t)head->image_bytes;
	facts->image = shared_map(fds[0], facts->image_bytes, false);
	facts->counters_bytes = (size_t)head->counters_bytes;
	facts->counters = shared_map_changing(fds[1], facts->counters_bytes);
	if (facts->image == NULL || facts->counters == NULL)
		return ERR_SYSTEM;
	err = policy_open_as(facts->image, facts->image_bytes, POLICY_FOR_READING, &facts->policy);
	return err ? err : make_lists(facts, fds[2]);
}

/* `rest`: the token, then names. */
static enum err use_rest(struct admin *admin, struct span rest, uint64_t token_bytes)
{
	struct span names;

	if (token_bytes > rest.len)
		return ERR_MESSAGE;
	names = span_skip(rest, (size_t)token_bytes);
	secret_fini(&admin->pages.token);
	free(admin->names);
	admin->pages.names = SPAN("");
	admin->names = strndup((const char *)names.at, names.len);
	if (admin->names == NULL || !secret_init(&admin->pages.token, span_first(rest, (size_t)token_bytes)))
		return ERR_MEMORY;
	admin->pages.names = span_from(admin->names);
	return ERR_NONE;
}

static void use_facts(struct admin *admin, const struct facts *facts, const struct ipc_admin *head)
{
	struct prometheus_source *source = &admin->pages.source;

	facts_fini(&admin->facts);
	admin->facts = *facts;
	source->policy = facts->policy;
	source->rule_hits = facts->counters;
	source->rule_hit_count = (size_t)head->rule_hit_count;
	if (source->rule_hit_count > facts->counters_bytes / sizeof(uint32_t))
		source->rule_hit_count = facts->counters_bytes / sizeof(uint32_t);
	source->lists = facts->lists;
	source->list_count = facts->list_count;
}

static enum err use(struct admin *admin)
{
	struct ipc_message *message = &admin->role.message;
	struct facts facts = {.image = NULL};
	struct ipc_admin head;
	int fds[3];
	enum err err;

	memcpy(&head, message->payload.at, sizeof(head));
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		fds[i] = ipc_take_fd(message, i);
	err = open_facts(&facts, &head, fds);
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		close(fds[i]);
	if (err == ERR_NONE)
		err = use_rest(admin, span_skip(message->payload, sizeof(head)), head.token_bytes);
	/* The message's memory is used again for the next one, which may have no secret to cover it. */
	explicit_bzero(message->bytes, sizeof(message->bytes));
	if (err) {
		facts_fini(&facts);
		return err;
	}
	use_facts(admin, &facts, &head);
	web_role_listen(&admin->role, ipc_take_fd(message, COUNT_OF(fds)));
	return web_role_acknowledge(&admin->role, head.generation);
}

static enum err on_message(struct web_role *role)
{
	return role->message.type == IPC_ADMIN ? use(CONTAINER_OF(role, struct admin, role)) : ERR_MESSAGE;
}

/* ---- beginning ---- */

static enum err map_pages(struct admin *admin, const struct ipc_start *start)
{
	struct ipc_message *message = &admin->role.message;
	struct prometheus_source *source = &admin->pages.source;
	size_t page_bytes = places_page_bytes((size_t)start->slot_count);

	if (start->worker_count > PROMETHEUS_WORKERS_MAX ||
	    message->fd_count != 1 + (size_t)start->worker_count)
		return ERR_MESSAGE;
	source->board = shared_map_changing(message->fds[0], sizeof(struct board));
	source->worker_count = start->worker_count;
	for (size_t i = 0; i < source->worker_count; i++) {
		const struct place_page *page = shared_map_changing(message->fds[1 + i], page_bytes);

		if (page == NULL)
			return ERR_SYSTEM;
		source->workers[i] = &page->metrics;
	}
	return source->board ? ERR_NONE : ERR_SYSTEM;
}

static enum err set_up(struct admin *admin)
{
	static const struct web_limits limits = {64, 16, 15, 120};
	struct web_role *role = &admin->role;
	struct ipc_start start;
	enum err err = web_role_start(role, ROLE_ADMIN, &start);

	if (err == ERR_NONE)
		err = map_pages(admin, &start);
	ipc_drop(&role->message);
	if (err == ERR_NONE)
		err = web_server_new(&limits, admin_pages_answer, &admin->pages, &role->servers[0]);
	role->server_count = 1;
	if (err == ERR_NONE)
		err = sandbox_close(ROLE_ADMIN);
	if (err == ERR_NONE)
		err = ipc_expect(role->channel, roles_row(ROLE_PARENT)->sends, IPC_ADMIN, &role->message);
	if (err == ERR_NONE) {
		err = use(admin);
		ipc_drop(&role->message);
	}
	return err;
}

int admin_main(int channel, unsigned number)
{
	static struct admin admin = {.role = {.listening = -1, .on_message = on_message}};
	enum err err;
	int status;

	admin.role.channel = channel;
	for (size_t i = 0; i < WEB_ROLE_EXTRAS_MAX; i++)
		admin.role.extras[i] = -1;
	err = set_up(&admin);
	if (err) {
		log_event(EV_SYSTEM, "role=admin number=%u what=start error=%s errno=%d", number, err_name(err), errno);
		return 1;
	}
	status = web_role_serve(&admin.role);
	web_server_free(admin.role.servers[0]);
	facts_fini(&admin.facts);
	secret_fini(&admin.pages.token);
	free(admin.names);
	return status;
}
