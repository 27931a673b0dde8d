/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/lru.h"

#include <stdlib.h>

enum { BUCKETS_MIN = 16, BUCKETS_MAX = 1 << 18 };

enum err lru_init(struct lru *lru, size_t max_count, void (*drop)(struct lru_item *item))
{
	size_t count = BUCKETS_MIN;

	while (count < max_count && count < BUCKETS_MAX)
		count *= 2;
	*lru = (struct lru){.bucket_count = count, .max_count = max_count, .drop = drop, .hash_key = hash_key_random()};
	list_init(&lru->order);
	lru->buckets = calloc(count, sizeof(struct lru_item *));
	return lru->buckets ? ERR_NONE : ERR_MEMORY;
}

void lru_fini(struct lru *lru)
{
	if (lru->buckets == NULL)
		return;
	lru_clear(lru);
	free(lru->buckets);
	lru->buckets = NULL;
}

static struct lru_item **bucket_of(struct lru *lru, uint64_t hash)
{
	return &lru->buckets[hash & (lru->bucket_count - 1)];
}

static struct lru_item *find(struct lru *lru, struct span key, uint64_t hash)
{
	struct lru_item *item = *bucket_of(lru, hash);

	while (item && !(item->hash == hash && span_equal(item->key, key)))
		item = item->next;
	return item;
}

struct lru_item *lru_find(struct lru *lru, struct span key)
{
	struct lru_item *item = find(lru, key, hash_bytes(&lru->hash_key, key));

	if (item) {
		list_remove(&item->link);
		list_add_first(&lru->order, &item->link);
	}
	return item;
}

void lru_remove(struct lru *lru, struct lru_item *item)
{
	struct lru_item **at = bucket_of(lru, item->hash);

	while (*at != item)
		at = &(*at)->next;
	*at = item->next;
	list_remove(&item->link);
	lru->count--;
	lru->drop(item);
}

void lru_limit(struct lru *lru, size_t max_count)
{
	lru->max_count = max_count;
	while (lru->count > max_count)
		lru_remove(lru, CONTAINER_OF(lru->order.previous, struct lru_item, link));
}

void lru_add(struct lru *lru, struct lru_item *item)
{
	struct lru_item *before, **at;

	item->hash = hash_bytes(&lru->hash_key, item->key);
	before = find(lru, item->key, item->hash);
	if (before)
		lru_remove(lru, before);
	at = bucket_of(lru, item->hash);
	item->next = *at;
	*at = item;
	list_add_first(&lru->order, &item->link);
	lru->count++;
	lru_limit(lru, lru->max_count);
}

void lru_clear(struct lru *lru)
{
	size_t max_count = lru->max_count;

	lru_limit(lru, 0);
	lru->max_count = max_count;
}

void lru_clear_kind(struct lru *lru, uint8_t first)
{
	LIST_EACH(&lru->order, link) {
		struct lru_item *item = CONTAINER_OF(link, struct lru_item, link);

		if (item->key.len && item->key.at[0] == first)
			lru_remove(lru, item);
	}
}
