/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/names.h"

#include <stdlib.h>

void names_init(struct names *names)
{
	*names = (struct names){.key = hash_key_random()};
	arena_init(&names->texts, NAMES_MAX_BYTES);
}

void names_fini(struct names *names)
{
	arena_fini(&names->texts);
	free(names->at);
	free(names->slots);
}

/* The slot that has the text, or that would get it. */
static uint32_t *slot_of(struct names *names, struct span text)
{
	size_t at = hash_bytes(&names->key, text) & (names->slot_count - 1);

	while (names->slots[at] && !span_equal(names->at[names->slots[at] - 1], text))
		at = (at + 1) & (names->slot_count - 1);
	return &names->slots[at];
}

/* Room for one more, with half of the slots free. */
static bool grow(struct names *names)
{
	size_t slot_count = names->slot_count ? names->slot_count * 2 : 1024;
	struct span *at;
	uint32_t *slots;

	if (names->count * 2 < names->slot_count)
		return true;
	if (names->count >= NAMES_MAX)
		return false;
	at = realloc(names->at, slot_count / 2 * sizeof(*at));
	if (at)
		names->at = at;
	slots = at ? calloc(slot_count, sizeof(*slots)) : NULL;
	if (slots == NULL)
		return false;
	free(names->slots);
	names->slots = slots;
	names->slot_count = slot_count;
	for (size_t i = 0; i < names->count; i++)
		*slot_of(names, names->at[i]) = (uint32_t)i + 1;
	return true;
}

uint32_t names_number(struct names *names, struct span text)
{
	struct span copy;
	uint32_t *slot;

	if (names->slot_count) {
		slot = slot_of(names, text);
		if (*slot)
			return *slot - 1;
	}
	if (!grow(names))
		return NAMES_NONE;
	copy = arena_copy(&names->texts, text);
	if (copy.at == NULL)
		return NAMES_NONE;
	slot = slot_of(names, text);
	names->at[names->count] = copy;
	*slot = (uint32_t)++names->count;
	return (uint32_t)names->count - 1;
}
