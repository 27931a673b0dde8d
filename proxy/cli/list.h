/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `list` share: list.c (the command, and where a list is), list_edit.c (add, remove), list_show.c (show,
 * stale, blame), list_hits.c (what the running proxy has counted), list_suggest.c (suggest, which needs no list). */
#ifndef CLI_LIST_H
#define CLI_LIST_H

#include "cli/command.h"
#include "cli/list_text.h"

enum { LIST_FILES_MAX = 256, LIST_NAMES_MAX = 256 };

struct list_place {
	char *path;  /* as compiling opens it */
	char *shown; /* as people name it */
};

/* One list of the policy, and the configuration that it belongs to. */
struct list {
	const struct command_line *line;
	const char *name, *entry; /* as given; entry: NULL if there is none */
	struct settings settings;
	struct list_place files[LIST_FILES_MAX];
	size_t file_count;
	char *others[LIST_NAMES_MAX]; /* names of other lists, for advice */
	size_t other_count;
	struct arena arena;
	struct problems problems; /* of settings and policy */
	enum err err;             /* of the policy as it is now */
};

/* The one file that is meant: --file, or the only one, or the first (said on standard error). NULL, and said so, if there
 * is no such file. */
const struct list_place *list_choose_file(const struct list *list);

/* A line of the list that holds an entry, wherever it is. */
struct list_item {
	const struct list_place *file;
	unsigned number;
	struct span text;      /* the line */
	struct list_line line; /* parsed */
};

/* Call `take` for every entry of every file; lines that are no entries are passed over. errors: ERR_SYSTEM and others, said
 * on standard error. */
typedef void list_take(void *context, const struct list_item *item);
MUST_USE enum err list_each(const struct list *list, list_take *take, void *context);

/* Is the entry no more in force? */
bool list_is_expired(const struct list_item *item, uint64_t now_ms);

/* 2026-12-31 for a time; that of an entry that ends with a day is this day. */
enum { LIST_DATE_BYTES = 24 };
void list_format_date(uint64_t wall_ms, char text[static LIST_DATE_BYTES]);

int list_add(struct list *list);
int list_remove(struct list *list);
int list_show(struct list *list);
int list_stale(struct list *list);
int list_blame(struct list *list);
int list_suggest(const struct command_line *line);

/* ---- hits, as the running proxy counts them ---- */

struct list_hits;

/* Ask the running proxy. NULL: none runs, or it does not know the list; *why then says so (a literal). */
struct list_hits *list_hits_ask(const struct list *list, const char **why);
void list_hits_free(struct list_hits *hits);

/* Hits of an entry, and the day of the last (days since 1970; 0: none). */
uint64_t list_hits_count(struct list_hits *hits, const struct list_item *item, uint32_t *day);

/* Since when it counts, wall clock. */
uint64_t list_hits_since_ms(const struct list_hits *hits);

#endif
