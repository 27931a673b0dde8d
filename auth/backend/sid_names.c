/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/sid_names.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <wbclient.h>

#include "base/clock.h"
#include "base/hash.h"

enum { SETS = 1024, WAYS = 4, LIFE_MS = 10 * 60 * 1000, UNKNOWN_LIFE_MS = 30 * 1000, NAME_MAX_BYTES = 1024 };

struct entry {
	char *sid, *name;          /* one piece of memory; NULL: free */
	uint64_t until_ms;
};

static struct {
	pthread_mutex_t lock;
	bool has_key;
	struct hash_key key;       /* SIDs come from domains, which are no friends of each other */
	struct entry entries[SETS][WAYS];
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Under the lock. */
static struct entry *set_of(struct span sid)
{
	if (!table.has_key)
		table.key = hash_key_random();
	table.has_key = true;
	return table.entries[hash_bytes(&table.key, sid) % SETS];
}

static bool find(struct span sid, uint64_t now_ms, struct buf *names)
{
	struct entry *set;
	bool found = false;

	pthread_mutex_lock(&table.lock);
	set = set_of(sid);
	for (size_t i = 0; i < WAYS && !found; i++) {
		found = set[i].sid && set[i].until_ms > now_ms && span_equal(span_from(set[i].sid), sid);
		if (found)
			buf_add_string(names, set[i].name);
	}
	pthread_mutex_unlock(&table.lock);
	return found;
}

/* In the place of the same, of a free one, or of the oldest. */
static void keep(struct span sid, struct span name, uint64_t until_ms)
{
	char *text = malloc(sid.len + 1 + name.len + 1);
	struct entry *set, *place;

	if (text == NULL)
		return;
	memcpy(text, sid.at, sid.len);
	text[sid.len] = 0;
	memcpy(text + sid.len + 1, name.at, name.len);
	text[sid.len + 1 + name.len] = 0;
	pthread_mutex_lock(&table.lock);
	place = set = set_of(sid);
	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].sid && span_equal(span_from(set[i].sid), sid)) {
			place = &set[i];
			break;
		}
		if (set[i].until_ms < place->until_ms)
			place = &set[i];
	}
	free(place->sid);
	*place = (struct entry){text, text + sid.len + 1, until_ms};
	pthread_mutex_unlock(&table.lock);
}

/* The name, or the SID where there is none. False: winbindd is not there, so that nothing is known. */
static bool ask(struct wbcContext *winbind, const char *text, struct buf *name)
{
	char *domain = NULL, *account = NULL;
	struct wbcDomainSid sid;
	enum wbcSidType type;
	wbcErr err = wbcStringToSid(text, &sid);

	if (err == WBC_ERR_SUCCESS)
		err = wbcCtxLookupSid(winbind, &sid, &domain, &account, &type);
	if (err == WBC_ERR_SUCCESS && account[0]) {
		if (domain[0])
			buf_printf(name, "%s\\", domain);
		buf_add_string(name, account);
	}
	wbcFreeMemory(domain);
	wbcFreeMemory(account);
	if (buf_len(name) == 0 || !buf_is_whole(name)) {
		buf_reset(name);
		buf_add_string(name, text);
	}
	return err != WBC_ERR_WINBIND_NOT_AVAILABLE;
}

void sid_names_add(struct wbcContext *winbind, struct span sids, struct buf *names)
{
	uint64_t now_ms = clock_monotonic_ms();
	struct span sid;
	struct buf name;

	buf_init(&name, NAME_MAX_BYTES);
	while (sids.len && span_split(&sids, 0, &sid)) {
		if (!find(sid, now_ms, names)) {
			buf_reset(&name);
			/* `sid` is ended by a NUL. */
			if (winbind && ask(winbind, (const char *)sid.at, &name))
				keep(sid, buf_span(&name),
				     now_ms + (span_equal(sid, buf_span(&name)) ? UNKNOWN_LIFE_MS : LIFE_MS));
			else
				winbind = NULL;
			buf_add(names, winbind ? buf_span(&name) : sid);
		}
		buf_add_byte(names, 0);
	}
	buf_fini(&name);
}

void sid_names_fini(void)
{
	pthread_mutex_lock(&table.lock);
	for (size_t i = 0; i < SETS; i++)
		for (size_t j = 0; j < WAYS; j++) {
			free(table.entries[i][j].sid);
			table.entries[i][j] = (struct entry){0};
		}
	pthread_mutex_unlock(&table.lock);
}
