/* SPDX-License-Identifier: Apache-2.0 */
#include "process/status.h"

#include <unistd.h>

#include "base/clock.h"
#include "session/media_networks.h"

/* Schemes that nobody has tried are left out. */
static json_t *pack_auth(const struct auth_metrics *auth)
{
	json_t *object = json_pack("{s:I, s:I, s:I, s:I}", "asks", (json_int_t)auth->asks, "cache_hits",
	                           (json_int_t)auth->cache_hits, "kerberos", (json_int_t)auth->kerberos, "ntlm_v1",
	                           (json_int_t)auth->ntlm_v1);

	for (unsigned i = 0; i < AUTH_SCHEME_COUNT; i++) {
		json_t *results = json_object();
		uint64_t sum = 0;

		for (unsigned j = 0; j < AUTH_RESULT_COUNT; j++) {
			sum += auth->attempts[i][j];
			json_object_set_new(results, auth_result_name((enum auth_result)j),
			                    json_integer((json_int_t)auth->attempts[i][j]));
		}
		if (sum)
			json_object_set(object, auth_scheme_name((enum auth_scheme)i), results);
		json_decref(results);
	}
	return object;
}

static json_t *pack_metrics(const struct metrics *metrics)
{
	json_t *object = json_object(), *errors = json_object();

#define PACK_CELL(name, kind, text) \
	json_object_set_new(object, #name, json_integer((json_int_t)metrics->name));
	METRICS_TABLE(PACK_CELL)
#undef PACK_CELL
	for (int i = 1; i < ERR_COUNT; i++)
		if (metrics->errors[i])
			json_object_set_new(errors, err_name((enum err)i),
			                    json_integer((json_int_t)metrics->errors[i]));
	json_object_set_new(object, "errors", errors);
	json_object_set_new(object, "auth", pack_auth(&metrics->auth));
	return object;
}

/* The longest turn is the longest of any; all else adds up. Cells are uint64_t without gaps. */
static void add_metrics(struct metrics *sum, const struct metrics *one)
{
	uint64_t longest = sum->longest_turn_us > one->longest_turn_us ? sum->longest_turn_us
	                                                               : one->longest_turn_us;

#define ADD_CELL(name, kind, text) sum->name += one->name;
	METRICS_TABLE(ADD_CELL)
#undef ADD_CELL
	for (size_t i = 0; i < ERR_COUNT; i++)
		sum->errors[i] += one->errors[i];
	auth_metrics_add(&sum->auth, &one->auth);
	sum->longest_turn_us = longest;
}

static json_t *pack_child(const struct child *child, const struct metrics *metrics)
{
	json_t *object = json_pack("{s:s, s:i, s:i, s:b, s:i}", "role", roles_row(child->role)->name,
	                           "number", (int)child->number, "pid", (int)child->pid, "ready",
	                           child->pid && child->is_ready, "restarts", (int)child->restart_count);

	if (metrics)
		json_object_set_new(object, "metrics", pack_metrics(metrics));
	return object;
}

static json_t *pack_listeners(const struct listeners *listeners)
{
	json_t *array = json_array();
	struct buf text;

	for (size_t i = 0; i < listeners->count; i++) {
		buf_init(&text, 4096);
		if (listeners->conf[i].address.family == AF_UNIX)
			buf_printf(&text, "unix:%s", listeners->conf[i].path);
		else
			address_format_with_port(&listeners->addresses[i], &text);
		json_array_append_new(array, json_pack("{s:s, s:s%}", "name", listeners->conf[i].name,
		                                       "address", (const char *)buf_span(&text).at,
		                                       buf_len(&text)));
		buf_fini(&text);
	}
	return array;
}

static json_t *pack_policy(const struct loaded *loaded)
{
	char hash[24];
	struct buf time;
	json_t *object;

	snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)loaded->stats.generation_hash);
	buf_init(&time, 64);
	clock_add_rfc3339(&time, loaded->loaded_ms);
	object = json_pack("{s:I, s:s, s:s%, s:I, s:I, s:I, s:I}", "generation",
	                   (json_int_t)loaded->number, "hash", hash, "loaded",
	                   (const char *)buf_span(&time).at, buf_len(&time), "rules",
	                   (json_int_t)loaded->stats.rules, "lists",
	                   (json_int_t)loaded->stats.lists, "entries",
	                   (json_int_t)loaded->stats.entries, "bytes",
	                   (json_int_t)loaded->stats.image_bytes);
	buf_fini(&time);
	return object;
}

/* The last reload, if it was refused: whoever sent SIGHUP was told nothing. */
static json_t *pack_refusal(const struct parent *parent)
{
	struct buf time;
	json_t *object;

	buf_init(&time, 64);
	clock_add_rfc3339(&time, parent->refused_ms);
	object = json_pack("{s:s%, s:I}", "at", (const char *)buf_span(&time).at, buf_len(&time),
	                   "errors", (json_int_t)parent->refused_errors);
	buf_fini(&time);
	return object;
}

enum { MEDIA_TEXT_BYTES = 4096 };

static json_t *pack_network(const char *name, const struct metrics_network *row)
{
	return json_pack("{s:s, s:I, s:I}", "network", name, "tunnels", (json_int_t)row->tunnels, "total", (json_int_t)row->tunnels_total);
}

/* Calls on their last resort: how many, from where, and in words what would help. */
static json_t *pack_media(const struct media_networks_sum *sum)
{
	json_t *networks = json_array(), *object;
	char name[MEDIA_NETWORKS_TEXT_BYTES];
	struct buf text;

	for (size_t i = 0; i < sum->count; i++)
		json_array_append_new(networks, pack_network(media_networks_name(&sum->rows[i], name), &sum->rows[i]));
	if (sum->others.tunnels_total)
		json_array_append_new(networks, pack_network("others", &sum->others));
	object = json_pack("{s:I, s:I, s:o}", "tunnels", (json_int_t)sum->tunnels, "total", (json_int_t)sum->tunnels_total, "networks", networks);
	buf_init(&text, MEDIA_TEXT_BYTES);
	media_networks_say(sum, &text);
	if (buf_len(&text))
		json_object_set_new(object, "text", json_stringn((const char *)buf_span(&text).at, buf_len(&text)));
	buf_fini(&text);
	return object;
}

json_t *status_pack(const struct parent *parent)
{
	static const char *const states[] = {"starting", "running", "draining", "stopping"};
	const struct metrics *workers[PLACES_WORKERS_MAX];
	struct media_networks_sum networks;
	struct metrics sum = {0};
	json_t *roles = json_array(), *status;

	for (size_t i = 0; i < parent->worker_count; i++) {
		const struct metrics *metrics = &parent->regions[i].page->metrics;

		add_metrics(&sum, metrics);
		workers[i] = metrics;
		json_array_append_new(roles, pack_child(&parent->workers[i], metrics));
	}
	json_array_append_new(roles, pack_child(&parent->logger, NULL));
	if (!parent->public.is_unwanted)
		json_array_append_new(roles, pack_child(&parent->public, NULL));
	if (!parent->admin.is_unwanted)
		json_array_append_new(roles, pack_child(&parent->admin, NULL));
	if (!parent->verifier.is_unwanted)
		json_array_append_new(roles, pack_child(&parent->verifier, NULL));
	if (!parent->signer.is_unwanted)
		json_array_append_new(roles, pack_child(&parent->signer, NULL));
	if (!parent->pam.is_unwanted)
		json_array_append_new(roles, pack_child(&parent->pam, NULL));
	status = json_pack("{s:s, s:s, s:i, s:s, s:I, s:o, s:o, s:o, s:o}", "version",
	                   SALLYPORT_VERSION, "state", states[parent->state], "pid", (int)getpid(),
	                   "configuration", parent->path, "uptime_ms",
	                   (json_int_t)(clock_wall_ms() - parent->started_ms), "listeners",
	                   pack_listeners(&parent->current->listeners), "policy",
	                   pack_policy(parent->current), "metrics", pack_metrics(&sum), "roles",
	                   roles);
	media_networks_sum(workers, parent->worker_count, &networks);
	json_object_set_new(status, "media", pack_media(&networks));
	json_object_set_new(status, "small_listeners", pack_listeners(&parent->current->web));
	if (parent->refused_ms)
		json_object_set_new(status, "refused", pack_refusal(parent));
	return status;
}
