/* SPDX-License-Identifier: Apache-2.0 */
/* A doubly linked ring, embedded in what it links. A link is in at most one list. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/compiler.h"

struct list {
	struct list *next, *previous;
};

static inline void list_init(struct list *list)
{
	list->next = list->previous = list;
}

static inline bool list_is_empty(const struct list *list)
{
	return list->next == list;
}

/* Is this link in some list? Needs list_init() or list_remove() before. */
static inline bool list_is_linked(const struct list *link)
{
	return link->next != link;
}

static inline void list_add_last(struct list *list, struct list *link)
{
	link->previous = list->previous;
	link->next = list;
	list->previous->next = link;
	list->previous = link;
}

static inline void list_add_first(struct list *list, struct list *link)
{
	list_add_last(list->next, link);
}

static inline void list_remove(struct list *link)
{
	link->previous->next = link->next;
	link->next->previous = link->previous;
	list_init(link);
}

/* The first link, or NULL. */
static inline struct list *list_first(struct list *list)
{
	return list_is_empty(list) ? NULL : list->next;
}

#define LIST_ENTRY(link, type, member) CONTAINER_OF(link, type, member)

/* Visit each link; the current one may be removed inside. */
#define LIST_EACH(ring, link) \
	for (struct list *link = (ring)->next, *link##_next = link->next; link != (ring); \
	     link = link##_next, link##_next = link->next)

#endif
