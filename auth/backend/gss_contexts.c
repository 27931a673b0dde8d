/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/gss_contexts.h"

#include <pthread.h>

#include "base/secret.h"

struct slot {
	uint64_t id;               /* 0: free */
	struct gss_partial partial;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot slots[GSS_CONTEXTS_MAX];

static void drop(gss_ctx_id_t context)
{
	OM_uint32 minor;

	gss_delete_sec_context(&minor, &context, GSS_C_NO_BUFFER);
}

static bool is_over(const struct slot *slot, uint64_t now_ms)
{
	return now_ms - slot->partial.began_ms > GSS_CONTEXTS_LIFE_MS;
}

/* A free one, else one whose time is over, else the oldest. */
static struct slot *choose(uint64_t now_ms)
{
	struct slot *oldest = &slots[0];

	for (size_t i = 0; i < GSS_CONTEXTS_MAX; i++) {
		if (slots[i].id == 0 || is_over(&slots[i], now_ms))
			return &slots[i];
		if (slots[i].partial.began_ms < oldest->partial.began_ms)
			oldest = &slots[i];
	}
	return oldest;
}

uint64_t gss_contexts_put(struct gss_partial partial, uint64_t now_ms)
{
	struct slot *slot, old;
	uint64_t id = 0;

	while (id == 0)
		secret_random(&id, sizeof(id));
	pthread_mutex_lock(&lock);
	slot = choose(now_ms);
	old = *slot;
	*slot = (struct slot){id, partial};
	pthread_mutex_unlock(&lock);
	if (old.id)
		drop(old.partial.context);
	return id;
}

bool gss_contexts_take(uint64_t id, uint64_t now_ms, struct gss_partial *partial)
{
	struct slot found = {0};

	pthread_mutex_lock(&lock);
	for (size_t i = 0; id && i < GSS_CONTEXTS_MAX; i++) {
		if (slots[i].id != id)
			continue;
		found = slots[i];
		slots[i] = (struct slot){0};
		break;
	}
	pthread_mutex_unlock(&lock);
	if (found.id == 0)
		return false;
	if (is_over(&found, now_ms)) {
		drop(found.partial.context);
		return false;
	}
	*partial = found.partial;
	return true;
}

void gss_contexts_fini(void)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < GSS_CONTEXTS_MAX; i++) {
		if (slots[i].id)
			drop(slots[i].partial.context);
		slots[i] = (struct slot){0};
	}
	pthread_mutex_unlock(&lock);
}
