/* SPDX-License-Identifier: Apache-2.0 */
/* What the running proxy has counted for the entries of a list. It may have loaded another version of the files than there
 * is now: an entry is known by its pattern, not by its line. */
#include <stdlib.h>
#include <string.h>

#include "cli/list.h"
#include "cli/names.h"
#include "cli/talk.h"

struct hit {
	uint64_t count;
	uint32_t day;
};

struct list_hits {
	struct names names; /* file, a zero byte, pattern */
	struct hit *at;     /* by number */
	size_t capacity;
	bool failed;
	uint64_t since_ms;
};

static uint32_t number_of(struct list_hits *hits, struct span file, struct span pattern)
{
	struct buf key;
	uint32_t number;

	buf_init(&key, 65536);
	buf_add(&key, file);
	buf_add_byte(&key, 0);
	buf_add(&key, pattern);
	number = names_number(&hits->names, buf_span(&key));
	buf_fini(&key);
	return number;
}

static struct hit *room_for(struct list_hits *hits, uint32_t number)
{
	if (number >= hits->capacity) {
		size_t capacity = hits->capacity ? hits->capacity * 2 : 1024;
		struct hit *grown = realloc(hits->at, capacity * sizeof(*grown));

		if (grown == NULL)
			return NULL;
		memset(grown + hits->capacity, 0, (capacity - hits->capacity) * sizeof(*grown));
		hits->at = grown;
		hits->capacity = capacity;
	}
	return &hits->at[number];
}

/* The same pattern twice in a file, with other ports: together. */
static void take_line(void *context, const char *text)
{
	struct list_hits *hits = context;
	json_t *line = json_loads(text, 0, NULL);
	const char *file = json_string_value(json_object_get(line, "file"));
	const char *pattern = json_string_value(json_object_get(line, "pattern"));
	uint32_t number = file && pattern ? number_of(hits, span_from(file), span_from(pattern)) : NAMES_NONE;
	struct hit *hit = number == NAMES_NONE ? NULL : room_for(hits, number);
	uint32_t day = (uint32_t)json_integer_value(json_object_get(line, "day"));

	if (hit == NULL) {
		hits->failed = true;
	} else {
		hit->count += (uint64_t)json_integer_value(json_object_get(line, "hits"));
		hit->day = day > hit->day ? day : hit->day;
	}
	json_decref(line);
}

static char *make_question(const char *list)
{
	struct buf text;
	char *question;

	buf_init(&text, 4096);
	buf_add_string(&text, "{\"command\":\"hits\",\"list\":");
	buf_add_json(&text, span_from(list));
	buf_add_string(&text, "}\n");
	question = buf_is_whole(&text) ? buf_to_string(&text) : NULL;
	buf_fini(&text);
	return question;
}

struct list_hits *list_hits_ask(const struct list *list, const char **why)
{
	struct list_hits *hits = calloc(1, sizeof(*hits));
	char *question = make_question(list->name);
	json_t *answer = NULL;

	*why = "out of memory";
	if (hits)
		names_init(&hits->names);
	if (hits && question)
		answer = talk_ask(list->line, question, take_line, hits, why);
	if (answer && !json_is_true(json_object_get(answer, "ok")))
		*why = "the running proxy does not tell them";
	else if (answer && hits->failed)
		*why = "the running proxy told them wrongly";
	else if (answer)
		*why = NULL;
	if (hits && answer)
		hits->since_ms = (uint64_t)json_integer_value(json_object_get(answer, "since_ms"));
	json_decref(answer);
	free(question);
	if (*why == NULL)
		return hits;
	list_hits_free(hits);
	return NULL;
}

void list_hits_free(struct list_hits *hits)
{
	if (hits == NULL)
		return;
	names_fini(&hits->names);
	free(hits->at);
	free(hits);
}

uint64_t list_hits_count(struct list_hits *hits, const struct list_item *item, uint32_t *day)
{
	/* What has no hit gets a number, too; that is no harm. */
	uint32_t number = number_of(hits, span_from(item->file->shown), list_line_pattern(&item->line));
	struct hit *hit = number == NAMES_NONE ? NULL : room_for(hits, number);

	*day = hit ? hit->day : 0;
	return hit ? hit->count : 0;
}

uint64_t list_hits_since_ms(const struct list_hits *hits)
{
	return hits->since_ms;
}
