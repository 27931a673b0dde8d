/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/tally.h"

#include <stdlib.h>
#include <string.h>

void tally_init(struct tally *tally, size_t element_bytes, size_t key_bytes, size_t max)
{
	*tally = (struct tally){.element_bytes = element_bytes, .key_bytes = key_bytes, .max = max,
	                        .key = hash_key_random()};
}

void tally_fini(struct tally *tally)
{
	free(tally->at);
	free(tally->slots);
}

static uint32_t *slot_of(struct tally *tally, const void *key)
{
	size_t at = hash_bytes(&tally->key, span_of(key, tally->key_bytes)) & (tally->slot_count - 1);

	while (tally->slots[at] && memcmp(tally_at(tally, tally->slots[at] - 1), key, tally->key_bytes) != 0)
		at = (at + 1) & (tally->slot_count - 1);
	return &tally->slots[at];
}

/* Room for one more, with half of the slots free. */
static bool grow(struct tally *tally)
{
	size_t slot_count = tally->slot_count ? tally->slot_count * 2 : 256;
	uint32_t *slots;
	uint8_t *at;

	if (tally->count >= tally->max)
		return false;
	if (tally->count * 2 < tally->slot_count)
		return true;
	at = realloc(tally->at, slot_count / 2 * tally->element_bytes);
	if (at)
		tally->at = at;
	slots = at ? calloc(slot_count, sizeof(*slots)) : NULL;
	if (slots == NULL)
		return false;
	free(tally->slots);
	tally->slots = slots;
	tally->slot_count = slot_count;
	for (size_t i = 0; i < tally->count; i++)
		*slot_of(tally, tally_at(tally, i)) = (uint32_t)i + 1;
	return true;
}

void *tally_find(struct tally *tally, const void *key)
{
	uint32_t *slot = tally->slot_count ? slot_of(tally, key) : NULL;
	uint8_t *element;

	if (slot && *slot)
		return tally_at(tally, *slot - 1);
	if (!grow(tally))
		return NULL;
	slot = slot_of(tally, key);
	element = tally_at(tally, tally->count);
	memset(element, 0, tally->element_bytes);
	memcpy(element, key, tally->key_bytes);
	*slot = (uint32_t)++tally->count;
	return element;
}
