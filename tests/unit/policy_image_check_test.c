/* SPDX-License-Identifier: Apache-2.0 */
/* Images that a role which was taken over would make: the check refuses what would be read outside, and what no policy of
 * people has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy/image.h"
#include "policy_rig.h"

static const char policy_text[] = "lists: {a: a.list}\n"
                                  "rules:\n"
                                  "- {name: one, when: {to: a}, then: {access: allow, request-headers: {set: {X-Of-Rules: value-of-a-field}}}}\n"
                                  "defaults: {access: deny, ports: [80, 443]}\n";
static const char list_text[] = "a-name-that-has-room-for-a-record-inside.example ports=8000-8100\n172.16.0.0/12\n";

/* A copy of a good image, to be made bad. */
struct forged {
	struct policy_rig rig;
	uint8_t *at;
	size_t len;
	struct image_header *header;
};

static void forge(struct forged *forged)
{
	policy_rig_make(&forged->rig, policy_text, list_text, NULL);
	assert_int_equal(forged->rig.err, ERR_NONE);
	forged->len = forged->rig.image_bytes;
	forged->at = aligned_alloc(64, (forged->len + 63) / 64 * 64);
	assert_non_null(forged->at);
	memcpy(forged->at, forged->rig.image, forged->len);
	forged->header = (void *)forged->at;
}

static void forge_end(struct forged *forged)
{
	free(forged->at);
	policy_rig_fini(&forged->rig);
}

static bool opens(const struct forged *forged)
{
	struct policy *policy;

	if (policy_open(forged->at, forged->len, &policy))
		return false;
	policy_close(policy);
	return true;
}

static struct image_entry *entry_of(const struct forged *forged, uint32_t index)
{
	return (void *)(forged->at + forged->header->entries.at + index * sizeof(struct image_entry));
}

static uint8_t *record_of(const struct forged *forged, uint32_t index)
{
	return forged->at + forged->header->buckets.at + entry_of(forged, index)->at;
}

static void test_good(void **state)
{
	struct forged forged;

	(void)state;
	forge(&forged);
	assert_true(opens(&forged));
	forge_end(&forged);
}

/* The record of an entry stands in the text of another: its ports would be read far outside. */
static void test_record_in_text(void **state)
{
	const struct image_record_head head = {.entry = 0, .list = 1, .kind = PATTERN_EXACT | RECORD_HAS_MORE, .len = 4};
	const struct image_record_more more = {.ports = 0xfffffffe};
	struct forged forged;
	uint8_t *text;

	(void)state;
	forge(&forged);
	text = record_of(&forged, 0) + RECORD_HEAD_BYTES;
	memcpy(text, &head, sizeof(head));
	memcpy(text + RECORD_HEAD_BYTES + head.len, &more, sizeof(more));
	entry_of(&forged, 0)->at += RECORD_HEAD_BYTES;
	assert_false(opens(&forged));
	forge_end(&forged);
}

/* The key of a network begins as no name does: a name that is looked up is not compared with what is behind it. */
static void test_network_like_a_name(void **state)
{
	struct forged forged;

	(void)state;
	forge(&forged);
	for (uint32_t i = 0; i < forged.header->entries.count; i++) {
		struct image_record_head head;

		memcpy(&head, record_of(&forged, i), sizeof(head));
		if (head.kind != PATTERN_NETWORK)
			continue;
		memset(record_of(&forged, i) + RECORD_HEAD_BYTES, 'a', head.len);
	}
	assert_false(opens(&forged));
	forge_end(&forged);
}

/* A line end in a value would be a field that nobody wrote, or the end of the head. */
static void test_hostile_edits(void **state)
{
	static const struct {
		const char *at, *with; /* in the strings of the image */
	} rows[] = {{"value-of-a-field", "value\r\nof: field"}, {"X-Of-Rules", "X-Of:Rules"}, {"X-Of-Rules", "Connection"}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct forged forged;
		struct span strings, at = span_from(rows[i].at);
		size_t place;

		forge(&forged);
		strings = span_of(forged.at + forged.header->strings.at, forged.header->strings.count);
		place = span_find_span(strings, at);
		assert_true(place < strings.len);
		memcpy(forged.at + forged.header->strings.at + place, rows[i].with, at.len);
		assert_false(opens(&forged));
		forge_end(&forged);
	}
}

/* More than people can write would keep the parent busy for hours. */
static void test_too_much(void **state)
{
	struct forged forged;
	size_t rules_at, count = RULES_MAX + 1, len;
	uint8_t *larger;

	(void)state;
	forge(&forged);
	rules_at = (forged.len + 63) / 64 * 64;
	len = rules_at + count * sizeof(struct image_rule);
	larger = aligned_alloc(64, (len + 63) / 64 * 64);
	assert_non_null(larger);
	memcpy(larger, forged.at, forged.len);
	for (size_t i = 0; i < count; i++)
		memcpy(larger + rules_at + i * sizeof(struct image_rule), forged.at + forged.header->rules.at,
		       sizeof(struct image_rule));
	free(forged.at);
	forged.at = larger;
	forged.len = len;
	forged.header = (void *)larger;
	forged.header->total_bytes = len;
	forged.header->rules = (struct image_section){rules_at, count};
	assert_false(opens(&forged));
	forged.header->rules.count = 1000;
	assert_true(opens(&forged));
	forge_end(&forged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_record_in_text),
		cmocka_unit_test(test_network_like_a_name),
		cmocka_unit_test(test_hostile_edits),
		cmocka_unit_test(test_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
