/* SPDX-License-Identifier: Apache-2.0 */
#include "process/generation.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "process/shared.h"

enum { ARENA_MAX_BYTES = 64 << 20, SERVERS_MAX = 64 };

bool generation_parse(struct span payload, struct generation_parts *out)
{
	struct generation_head *head = &out->head;
	struct span rest = payload;
	size_t listeners_bytes, own_bytes;

	if (payload.len < sizeof(*head))
		return false;
	memcpy(head, payload.at, sizeof(*head));
	if (head->listener_count > GENERATION_LISTENERS_MAX || head->own_count > GENERATION_OWN_MAX)
		return false;
	rest = span_skip(rest, sizeof(*head));
	listeners_bytes = head->listener_count * sizeof(struct address);
	own_bytes = head->own_count * sizeof(struct address);
	if ((uint64_t)listeners_bytes + own_bytes + head->path_bytes + head->servers_bytes != rest.len)
		return false;
	out->listeners = span_first(rest, listeners_bytes);
	rest = span_skip(rest, listeners_bytes);
	out->own = span_first(rest, own_bytes);
	rest = span_skip(rest, own_bytes);
	out->path = span_first(rest, head->path_bytes);
	out->servers = span_skip(rest, head->path_bytes);
	return true;
}

struct address generation_address(struct span addresses, size_t at)
{
	struct address address;

	memcpy(&address, addresses.at + at * sizeof(address), sizeof(address));
	return address;
}

size_t generation_counters_bytes(uint64_t rule_count, uint64_t entry_count)
{
	/* One more, since a region of no size cannot be mapped. */
	return (size_t)(rule_count + entry_count + 1) * sizeof(uint32_t);
}

static void generation_free(struct session_generation *session)
{
	struct generation *generation = CONTAINER_OF(session, struct generation, session);
	union {
		const struct policy *from;
		struct policy *to;
	} cast = {.from = session->policy};

	policy_close(cast.to);
	shared_unmap(generation->image, generation->image_bytes);
	shared_unmap(generation->counters, generation->counters_bytes);
	arena_fini(&generation->arena);
	free(generation->own);
	free(generation);
}

/* "system" among the servers was replaced by the parent, which may read files. */
static bool use_servers(struct generation *generation, struct span servers)
{
	const char **at = arena_alloc(&generation->arena, SERVERS_MAX * sizeof(*at));
	size_t count = 0;
	struct span line;

	if (at == NULL)
		return false;
	while (count < SERVERS_MAX && span_split(&servers, '\n', &line)) {
		if (span_is_empty(line))
			continue;
		at[count] = arena_string(&generation->arena, line);
		if (at[count++] == NULL)
			return false;
	}
	generation->settings.dns.servers = (struct conf_texts){at, count};
	return true;
}

static enum err load_settings(struct generation *generation, int fd,
                              const struct generation_parts *parts)
{
	size_t len = (size_t)parts->head.text_bytes;
	void *text = shared_map(fd, len, false);
	const char *path = arena_string(&generation->arena, parts->path);
	struct problems problems;
	struct span copy;
	enum err err;

	if (text == NULL || path == NULL) {
		shared_unmap(text, len);
		return text ? ERR_MEMORY : ERR_SYSTEM;
	}
	copy = arena_copy(&generation->arena, span_of(text, len));
	shared_unmap(text, len);
	if (copy.at == NULL)
		return ERR_MEMORY;
	problems_init(&problems);
	err = settings_load(copy, path, &generation->arena, &problems, &generation->settings);
	if (err && problems.first)
		log_event(EV_CONFIG_PROBLEM, "%s:%u: %s", path, problems.first->line,
		          problems.first->text);
	problems_fini(&problems);
	if (err == ERR_NONE && !use_servers(generation, parts->servers))
		err = ERR_MEMORY;
	return err;
}

static enum err open_policy(struct generation *generation, int image, int counters,
                            const struct generation_head *head)
{
	struct session_generation *session = &generation->session;
	struct policy_stats stats;
	struct policy *policy;
	enum err err;

	generation->image_bytes = (size_t)head->image_bytes;
	generation->image = shared_map(image, generation->image_bytes, false);
	generation->counters_bytes = generation_counters_bytes(head->rule_count, head->entry_count);
	generation->counters = shared_map(counters, generation->counters_bytes, true);
	if (generation->image == NULL || generation->counters == NULL)
		return ERR_SYSTEM;
	err = policy_open(generation->image, generation->image_bytes, &policy);
	if (err)
		return err;
	session->policy = policy;
	policy_stats(policy, &stats);
	if (stats.rules != head->rule_count || stats.entries != head->entry_count)
		return ERR_MESSAGE;
	session->rule_hits = generation->counters;
	session->rule_hit_count = stats.rules;
	session->entry_hits = session->rule_hits + stats.rules;
	session->entry_hit_count = stats.entries;
	return ERR_NONE;
}

static enum err copy_own(struct generation *generation, const struct generation_parts *parts)
{
	generation->own_count = parts->head.own_count;
	generation->own = calloc(generation->own_count + 1, sizeof(*generation->own));
	if (generation->own == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < generation->own_count; i++)
		generation->own[i] = generation_address(parts->own, i);
	return ERR_NONE;
}

enum err generation_open(struct ipc_message *message, const struct generation_parts *parts,
                         struct generation **out)
{
	struct generation *generation = calloc(1, sizeof(*generation));
	int text = ipc_take_fd(message, 0), image = ipc_take_fd(message, 1);
	int counters = ipc_take_fd(message, 2);
	enum err err = ERR_MEMORY;

	if (generation) {
		struct session_generation *session = &generation->session;

		arena_init(&generation->arena, ARENA_MAX_BYTES);
		session->references = 1;
		session->number = parts->head.number;
		session->conf = &generation->settings.session;
		session->destinations = &generation->settings.destinations;
		session->dns = &generation->settings.dns;
		session->free = generation_free;
		err = load_settings(generation, text, parts);
		if (err == ERR_NONE)
			err = open_policy(generation, image, counters, &parts->head);
		if (err == ERR_NONE)
			err = copy_own(generation, parts);
		if (err)
			session_generation_unref(session);
	}
	close(text);
	close(image);
	close(counters);
	if (err == ERR_NONE)
		*out = generation;
	return err;
}
