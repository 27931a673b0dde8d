/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded table of things by their bytes: what was longest not asked for goes first. Embedded in what it holds. */
#ifndef TLS_LRU_H
#define TLS_LRU_H

#include "base/err.h"
#include "base/hash.h"
#include "base/list.h"

struct lru_item {
	struct list link;
	struct lru_item *next;  /* in its bucket */
	uint64_t hash;
	struct span key;        /* lies in what embeds this */
};

struct lru {
	struct lru_item **buckets;
	size_t bucket_count, count, max_count;
	struct list order;      /* the last used first */
	struct hash_key hash_key;
	void (*drop)(struct lru_item *item); /* free it: it is in the table no more */
};

MUST_USE enum err lru_init(struct lru *lru, size_t max_count, void (*drop)(struct lru_item *item));
void lru_fini(struct lru *lru);

/* NULL: not here. Else it is the last used now. */
struct lru_item *lru_find(struct lru *lru, struct span key);

/* Add; what has its key, or is too much, is dropped. owns: item. */
void lru_add(struct lru *lru, struct lru_item *item);

/* Take out and drop. */
void lru_remove(struct lru *lru, struct lru_item *item);

/* Drop all; or all whose key begins with this byte. */
void lru_clear(struct lru *lru);
void lru_clear_kind(struct lru *lru, uint8_t first);

/* From now on at most so many. The table itself keeps its size. */
void lru_limit(struct lru *lru, size_t max_count);

#endif
