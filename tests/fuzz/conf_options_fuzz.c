/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration, by a table that has every type. */
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct item {
	uint64_t count;
	const char *name;
};

struct all {
	bool flag;
	uint64_t count, size, time;
	const char *text, *path;
	int choice;
	struct conf_networks networks;
	struct conf_texts texts;
	struct conf_text_map map;
	struct item group;
	struct conf_groups groups;
};

static const struct conf_choice choices[] = {{"red", 1}, {"green", 2}, {NULL, 0}};

static const struct conf_option item_options[] = {
	{.name = "count", .type = CONF_COUNT, .offset = CONF_AT(struct item, count), .min = 1, .max = 9, .preset = "3"},
	{.name = "name", .type = CONF_TEXT, .offset = CONF_AT(struct item, name), .preset = "x"},
	CONF_END};

static const struct conf_option options[] = {
	{.name = "flag", .type = CONF_BOOL, .offset = CONF_AT(struct all, flag), .preset = "yes"},
	{.name = "count", .type = CONF_COUNT, .offset = CONF_AT(struct all, count), .min = 1, .max = 100, .preset = "7"},
	{.name = "size", .type = CONF_SIZE_BYTES, .offset = CONF_AT(struct all, size), .min = 1024, .max = 1 << 20, .preset = "64K"},
	{.name = "time", .type = CONF_TIME_MS, .offset = CONF_AT(struct all, time), .max = 3600000, .preset = "10s"},
	{.name = "text", .type = CONF_TEXT, .offset = CONF_AT(struct all, text), .max = 10, .preset = ""},
	{.name = "path", .type = CONF_PATH, .offset = CONF_AT(struct all, path), .preset = ""},
	{.name = "choice", .type = CONF_CHOICE, .offset = CONF_AT(struct all, choice), .choices = choices, .preset = "green"},
	{.name = "networks", .type = CONF_NETWORKS, .offset = CONF_AT(struct all, networks), .preset = ""},
	{.name = "texts", .type = CONF_TEXTS, .offset = CONF_AT(struct all, texts), .preset = "[a, b]"},
	{.name = "map", .type = CONF_TEXT_MAP, .offset = CONF_AT(struct all, map), .preset = ""},
	{.name = "group", .type = CONF_GROUP, .offset = CONF_AT(struct all, group), .group = item_options, .preset = ""},
	{.name = "groups", .type = CONF_GROUPS, .offset = CONF_AT(struct all, groups), .group = item_options,
	 .item_bytes = sizeof(struct item), .preset = ""},
	CONF_END};

static void check(const struct all *all)
{
	const struct item *items = all->groups.at;

	ASSERT(all->count >= 1 && all->count <= 100);
	ASSERT(all->size >= 1024 && all->size <= 1 << 20);
	ASSERT(all->time <= 3600000);
	ASSERT(all->text && all->path && span_from(all->text).len <= 10);
	ASSERT(all->choice == 1 || all->choice == 2);
	for (size_t i = 0; i < all->networks.count; i++)
		ASSERT(all->networks.at[i].prefix_len <= 128);
	for (size_t i = 0; i < all->texts.count; i++)
		ASSERT(all->texts.at[i]);
	for (size_t i = 0; i < all->map.count; i++)
		ASSERT(all->map.at[i].name && all->map.at[i].text);
	for (size_t i = 0; i < all->groups.count; i++)
		ASSERT(items[i].name && items[i].count >= 1 && items[i].count <= 9);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems problems;
	struct arena arena;
	struct buf text;
	struct all all;

	arena_init(&arena, 1 << 20);
	problems_init(&problems);
	if (conf_load(span_of(data, size), "/a/b.yaml", options, &arena, &problems, &all, sizeof(all)) ==
	    ERR_NONE)
		check(&all);
	else
		ASSERT(problems.error_count > 0);
	buf_init(&text, 1 << 20);
	problems_format(&problems, &text);
	problems_format_json(&problems, &text);
	buf_fini(&text);
	problems_fini(&problems);
	arena_fini(&arena);
	return 0;
}
