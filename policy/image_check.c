/* SPDX-License-Identifier: Apache-2.0 */
/* An image from a role that may have been taken over: is every index and range inside of it? */
#include "policy/image.h"
#include "policy/pattern.h"

enum { DAY_MIN = 24 * 60 };

static bool in_section(struct image_range range, size_t count)
{
	return range.at <= count && range.count <= count - range.at;
}

static bool check_texts(const struct image *image)
{
	for (size_t i = 0; i < image->files_count; i++)
		if (!in_section(image->files[i].name, image->strings_count))
			return false;
	for (size_t i = 0; i < image->texts_count; i++)
		if (!in_section(image->texts[i], image->strings_count))
			return false;
	for (size_t i = 0; i < image->lists_count; i++)
		if (!in_section(image->lists[i].name, image->strings_count))
			return false;
	for (size_t i = 0; i < image->urls_count; i++)
		if (!in_section(image->urls[i].text, image->strings_count) ||
		    (image->urls[i].regex != NONE && image->urls[i].regex >= image->regexes_count))
			return false;
	return true;
}

static bool check_more(const struct image *image, const struct image_record_more *more)
{
	struct image_range ports = {more->ports >> 8, more->ports & 0xff};

	return in_section(ports, image->ports_count);
}

/* ---- buckets ---- */

static bool check_record(const struct image *image, const struct image_record *record)
{
	size_t least = image_key_skip(record->kind);

	if (record->kind == PATTERN_NETWORK) {
		uint8_t family = record->text.len ? record->text.at[0] : 0;

		if (family != 0x04 && family != 0x06) /* no name begins so, and none is to be compared with it */
			return false;
		least = family == 0x04 ? 6 : 18;
	}
	return record->kind <= PATTERN_NETWORK && record->text.len >= least && record->list &&
	       record->list <= image->lists_count && record->entry < image->entries_count &&
	       check_more(image, &record->more);
}

static bool check_bucket(const struct image *image, const struct image_bucket *bucket)
{
	size_t used = 0;

	for (unsigned i = 0; i < bucket->count; i++) {
		struct image_record_head head;
		struct image_record record;

		if (BUCKET_ROOM - used < RECORD_HEAD_BYTES)
			return false;
		memcpy(&head, bucket->room + used, sizeof(head));
		if (image_record_bytes(&head) > BUCKET_ROOM - used)
			return false;
		record = image_record_read(bucket->room + used);
		if (!check_record(image, &record))
			return false;
		used += record.bytes;
	}
	return true;
}

static bool check_buckets(const struct policy *policy)
{
	const struct image *image = &policy->image;

	if (image->buckets_count == 0 || policy->header->home_count == 0 ||
	    policy->header->home_count > image->buckets_count ||
	    image->buckets[image->buckets_count - 1].goes_on)
		return false;
	for (size_t i = 0; i < image->buckets_count; i++)
		if (!check_bucket(image, &image->buckets[i]))
			return false;
	return true;
}

/* An entry's record must say that it is the entry's, and lie in one bucket; a look-up reads no other. */
static bool check_entry(const struct image *image, uint32_t index)
{
	uint32_t at = image->entries[index].at, inside = at % BUCKET_BYTES;
	const struct image_bucket *bucket;
	struct image_record_head head;
	struct image_record record;

	if (at == NONE)
		return true;
	if (at & IMAGE_SCAN)
		return (at & ~IMAGE_SCAN) < image->scans_count && image->scans[at & ~IMAGE_SCAN].entry == index;
	if (at / BUCKET_BYTES >= image->buckets_count || inside < offsetof(struct image_bucket, room) ||
	    BUCKET_BYTES - inside < RECORD_HEAD_BYTES)
		return false;
	bucket = &image->buckets[at / BUCKET_BYTES];
	memcpy(&head, (const uint8_t *)bucket + inside, sizeof(head));
	if (head.entry != index || image_record_bytes(&head) > BUCKET_BYTES - inside)
		return false;
	record = image_record_read((const uint8_t *)bucket + inside);
	return check_record(image, &record);
}

/* ---- scans ---- */

static bool check_scan(const struct image *image, const struct image_scan *scan)
{
	if (!in_section(scan->text, image->strings_count) || scan->kind > PATTERN_REGEX ||
	    scan->kind == PATTERN_NETWORK || scan->text.count < image_key_skip(scan->kind) || scan->list == 0 ||
	    scan->list > image->lists_count || scan->entry >= image->entries_count ||
	    !check_more(image, &scan->more))
		return false;
	return scan->kind != PATTERN_REGEX || scan->code < image->regexes_count;
}

static bool check_grams(const struct image *image)
{
	if (image->scans_count == 0)
		return image->grams_count == 0;
	if (image->grams_count != GRAM_COUNT + 1 || image->grams[GRAM_COUNT] > image->literals_count)
		return false;
	for (size_t i = 0; i < GRAM_COUNT; i++)
		if (image->grams[i] > image->grams[i + 1])
			return false;
	for (size_t i = 0; i < image->literals_count; i++)
		if (!in_section(image->literals[i].text, image->strings_count) ||
		    image->literals[i].scan >= image->scans_count)
			return false;
	for (size_t i = 0; i < image->always_count; i++)
		if (image->always[i] >= image->scans_count)
			return false;
	return true;
}

static bool check_regexes(const struct image *image)
{
	for (size_t i = 0; i < image->regexes_count; i++)
		if (!in_section(image->regexes[i], image->strings_count))
			return false;
	return true;
}

static bool check_entries(const struct policy *policy)
{
	const struct image *image = &policy->image;

	for (size_t i = 0; i < image->scans_count; i++)
		if (!check_scan(image, &image->scans[i]))
			return false;
	if (!check_grams(image) || !check_regexes(image) || !check_buckets(policy))
		return false;
	for (uint32_t i = 0; i < image->entries_count; i++)
		if (!check_entry(image, i))
			return false;
	return true;
}

/* ---- rules ---- */

static bool check_times(const struct image *image)
{
	for (size_t i = 0; i < image->times_count; i++) {
		const struct image_time *time = &image->times[i];

		if (time->days >= 1 << 7 || time->from_min > DAY_MIN || time->until_min > DAY_MIN ||
		    time->zone_min < -DAY_MIN || time->zone_min > DAY_MIN ||
		    !in_section(time->zone, image->zones_count))
			return false;
	}
	for (size_t i = 0; i < image->zones_count; i++)
		if (image->zones[i].zone_min < -DAY_MIN || image->zones[i].zone_min > DAY_MIN)
			return false;
	return true;
}

/* `may_lack`: a rule need not answer every question. */
static bool check_answers(const uint8_t answers[static POLICY_QUESTION_COUNT], bool may_lack)
{
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (policy_answer_name((enum policy_question)q, answers[q]) == NULL &&
		    !(may_lack && answers[q] == NO_ANSWER))
			return false;
	return true;
}

static bool in_edits(struct image_range range, const struct image *image)
{
	return range.count <= POLICY_HEADER_EDITS_MAX && in_section(range, image->edits_count);
}

/* What would end a field, or frame a message, is written into no head, whoever made the image. */
static bool check_edits(const struct image *image)
{
	for (size_t i = 0; i < image->edits_count; i++) {
		const struct image_edit *edit = &image->edits[i];

		if (!in_section(edit->name, image->strings_count) || !in_section(edit->value, image->strings_count) ||
		    policy_header_name_wrong(span_of(image->strings + edit->name.at, edit->name.count)) ||
		    policy_header_value_wrong(span_of(image->strings + edit->value.at, edit->value.count)))
			return false;
	}
	return true;
}

static bool check_rate(const struct image_rule *rule)
{
	return rule->rate_each < EACH_COUNT &&
	       (rule->answers[POLICY_RATE] != RATE_LIMIT || rule->rate_bytes >= POLICY_RATE_LEAST_BYTES);
}

static bool check_rules(const struct image *image)
{
	for (size_t i = 0; i < image->rules_count; i++) {
		const struct image_rule *rule = &image->rules[i];

		if (!in_section(rule->name, image->strings_count) || rule->file >= image->files_count ||
		    !in_section(rule->to, image->list_refs_count) ||
		    !in_section(rule->sni, image->list_refs_count) ||
		    !in_section(rule->port, image->ports_count) ||
		    !in_section(rule->from, image->networks_count) ||
		    !in_section(rule->user, image->texts_count) ||
		    !in_section(rule->group, image->texts_count) ||
		    !in_section(rule->method, image->texts_count) ||
		    !in_section(rule->listener, image->texts_count) ||
		    !in_section(rule->url, image->urls_count) ||
		    !in_section(rule->time, image->times_count) ||
		    !in_section(rule->content_type, image->texts_count) ||
		    !check_rate(rule) || !in_edits(rule->request_headers, image) || !in_edits(rule->response_headers, image) ||
		    !check_answers(rule->answers, true))
			return false;
	}
	for (size_t i = 0; i < image->list_refs_count; i++)
		if (image->list_refs[i] == 0 || image->list_refs[i] > image->lists_count)
			return false;
	for (size_t i = 0; i < image->networks_count; i++)
		if (image->networks[i].prefix_len > 128)
			return false;
	return true;
}

/* More than people can write would keep whoever goes through it busy for hours. */
static bool check_counts(const struct image *image)
{
	return image->rules_count <= RULES_MAX && image->files_count <= UINT16_MAX && image->entries_count <= ENTRIES_MAX &&
	       image->lists_count <= UINT16_MAX;
}

bool image_is_sound(const struct policy *policy)
{
	const struct image *image = &policy->image;

	return check_counts(image) && in_section(policy->header->default_ports, image->ports_count) &&
	       policy->header->policy_file < image->files_count && check_texts(image) &&
	       check_entries(policy) && check_rules(image) && check_edits(image) && check_times(image) &&
	       check_answers(policy->header->defaults, false) && policy->header->defaults[POLICY_RATE] == RATE_NONE;
}
