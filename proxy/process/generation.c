/* SPDX-License-Identifier: Apache-2.0 */
#include "process/generation.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "process/counters.h"
#include "process/shared.h"
#include "tls/trust.h"

enum { ARENA_MAX_BYTES = 64 << 20, SERVERS_MAX = 64, SLICE_BYTES = 16 << 20 };

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

static void close_policy(struct session_generation *session)
{
	union {
		const struct policy *from;
		struct policy *to;
	} cast = {.from = session->policy};

	policy_close(cast.to);
	session->policy = NULL;
}

bool generation_free_some(struct generation *generation)
{
	struct session_generation *session = &generation->session;
	size_t left = generation->image ? generation->image_bytes - generation->unmapped : 0;

	close_policy(session);
	if (session->trust) {
		trust_unref(session->trust);
		session->trust = NULL;
		return true;
	}
	if (left > SLICE_BYTES) {
		shared_unmap((uint8_t *)generation->image + generation->unmapped, SLICE_BYTES);
		generation->unmapped += SLICE_BYTES;
		return true;
	}
	if (left)
		shared_unmap((uint8_t *)generation->image + generation->unmapped, left);
	shared_unmap(generation->trust_image, generation->trust_bytes);
	shared_unmap_cells(session->rule_hits, session->rule_cells);
	shared_unmap_cells(session->entry_hits, session->entry_cells);
	arena_fini(&generation->arena);
	free(generation->own);
	free(generation);
	return false;
}

static void on_unreferenced(struct session_generation *session)
{
	struct generation *generation = CONTAINER_OF(session, struct generation, session);

	generation->on_unused(generation->context, generation);
}

bool generation_populate_some(struct generation *generation)
{
	uint8_t *at = (uint8_t *)generation->image + generation->populated;
	size_t left = generation->image_bytes - generation->populated;
	size_t slice = left < SLICE_BYTES ? left : SLICE_BYTES;

	/* Where the kernel does not know it (before 5.14), each page comes with its first use. */
	if (slice && madvise(at, slice, MADV_POPULATE_READ) < 0)
		slice = left;
	generation->populated += slice;
	return generation->populated < generation->image_bytes;
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
	generation->session.has_pages = generation->settings.public.address.family != 0;
	generation->session.pages_url = generation->settings.public.url;
	if (err == ERR_NONE && !use_servers(generation, parts->servers))
		err = ERR_MEMORY;
	return err;
}

/* The parent has opened the same image, which is sealed: it need not be read through once more, and that would take long. */
static enum err open_policy(struct generation *generation, int image, const struct generation_head *head)
{
	struct session_generation *session = &generation->session;
	struct policy_stats stats;
	struct policy *policy;
	enum err err;

	generation->image_bytes = (size_t)head->image_bytes;
	generation->image = shared_map(image, generation->image_bytes, false);
	if (generation->image == NULL)
		return ERR_SYSTEM;
	err = policy_open_as(generation->image, generation->image_bytes, POLICY_IS_CHECKED, &policy);
	if (err)
		return err;
	session->policy = policy;
	policy_stats(policy, &stats);
	session->asks_user = stats.asks_user;
	if (head->rule_cells != (stats.rules + 1) * POLICY_QUESTION_COUNT || head->entry_cells < stats.counters)
		return ERR_MESSAGE;
	return ERR_NONE;
}

static enum err map_counters(struct generation *generation, int rules, int entries,
                             const struct generation_head *head)
{
	struct session_generation *session = &generation->session;

	session->rule_cells = (size_t)head->rule_cells;
	session->entry_cells = (size_t)head->entry_cells;
	session->rule_hits = shared_map(rules, counters_bytes(head->rule_cells), true);
	session->entry_hits = shared_map(entries, counters_bytes(head->entry_cells), true);
	return session->rule_hits && session->entry_hits ? ERR_NONE : ERR_SYSTEM;
}

static enum err open_trust(struct generation *generation, int image, const struct generation_head *head)
{
	generation->trust_bytes = (size_t)head->trust_bytes;
	if (generation->trust_bytes == 0)
		return ERR_NONE;
	generation->trust_image = shared_map(image, generation->trust_bytes, false);
	if (generation->trust_image == NULL)
		return ERR_SYSTEM;
	return trust_open(generation->trust_image, generation->trust_bytes, &generation->settings.inspection,
	                  &generation->session.trust);
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

static enum err fill(struct generation *generation, const struct generation_parts *parts,
                     const int fds[static GENERATION_FDS])
{
	enum err err = load_settings(generation, fds[0], parts);

	if (err == ERR_NONE)
		err = open_policy(generation, fds[1], &parts->head);
	if (err == ERR_NONE)
		err = map_counters(generation, fds[2], fds[3], &parts->head);
	if (err == ERR_NONE)
		err = open_trust(generation, fds[4], &parts->head);
	return err ? err : copy_own(generation, parts);
}

enum err generation_open(struct ipc_message *message, const struct generation_parts *parts,
                         void (*on_unused)(void *context, struct generation *generation), void *context,
                         struct generation **out)
{
	struct generation *generation = calloc(1, sizeof(*generation));
	int fds[GENERATION_FDS];
	enum err err = ERR_MEMORY;

	for (size_t i = 0; i < GENERATION_FDS; i++)
		fds[i] = ipc_take_fd(message, i);
	if (generation) {
		struct session_generation *session = &generation->session;

		arena_init(&generation->arena, ARENA_MAX_BYTES);
		generation->on_unused = on_unused;
		generation->context = context;
		session->references = 1;
		session->number = parts->head.number;
		session->conf = &generation->settings.session;
		session->auth = &generation->settings.auth;
		session->destinations = &generation->settings.destinations;
		session->dns = &generation->settings.dns;
		session->inspection = &generation->settings.inspection;
		session->free = on_unreferenced;
		err = fill(generation, parts, fds);
		if (err)
			session_generation_unref(session);
	}
	for (size_t i = 0; i < GENERATION_FDS; i++)
		close(fds[i]);
	if (err == ERR_NONE)
		*out = generation;
	return err;
}
