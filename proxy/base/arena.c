/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BLOCK_BYTES = 512, LARGEST_BLOCK_BYTES = 65536 };

struct arena_block {
	struct arena_block *next;
	size_t size, used;
	max_align_t bytes[];
};

void arena_init(struct arena *arena, size_t max_bytes)
{
	*arena = (struct arena){.max_bytes = max_bytes};
}

void arena_fini(struct arena *arena)
{
	while (arena->blocks) {
		struct arena_block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
	arena->used_bytes = 0;
}

static struct arena_block *add_block(struct arena *arena, size_t need)
{
	size_t size = arena->blocks ? arena->blocks->size * 2 : FIRST_BLOCK_BYTES;
	size_t left = arena->max_bytes - arena->used_bytes;
	struct arena_block *block;

	if (size > LARGEST_BLOCK_BYTES)
		size = LARGEST_BLOCK_BYTES;
	if (size > left)
		size = left;
	if (size < need)
		size = need;
	if (size > left)
		return NULL;
	block = calloc(1, sizeof(*block) + size);
	if (block == NULL)
		return NULL;
	block->size = size;
	block->next = arena->blocks;
	arena->blocks = block;
	arena->used_bytes += size;
	return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->blocks;
	void *at;

	if (size > arena->max_bytes)
		return NULL;
	size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (block == NULL || block->size - block->used < size)
		block = add_block(arena, size);
	if (block == NULL)
		return NULL;
	at = (uint8_t *)block->bytes + block->used;
	block->used += size;
	return at;
}

char *arena_string(struct arena *arena, struct span bytes)
{
	char *copy = bytes.len < SIZE_MAX ? arena_alloc(arena, bytes.len + 1) : NULL;

	if (copy && bytes.len)
		memcpy(copy, bytes.at, bytes.len);
	return copy;
}

struct span arena_copy(struct arena *arena, struct span bytes)
{
	char *copy = arena_string(arena, bytes);

	return copy ? span_of(copy, bytes.len) : (struct span){NULL, 0};
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
	va_list args, again;
	char *text = NULL;
	int len;

	va_start(args, format);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, format, args);
	if (len >= 0)
		text = arena_alloc(arena, (size_t)len + 1);
	if (text)
		vsnprintf(text, (size_t)len + 1, format, again);
	va_end(again);
	va_end(args);
	return text;
}
