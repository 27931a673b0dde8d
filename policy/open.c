/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "policy/image.h"

enum { MATCH_LIMIT = 10000, HEAP_LIMIT_KIB = 1024, DAY_MIN = 24 * 60 };

struct policy_regex {
	pcre2_code **codes;
	uint8_t *is_jitted; /* by code: tried to */
	size_t count;
	pcre2_match_data *data;
	pcre2_match_context *context;
};

/* ---- what can be wrong with an image ---- */

static bool has_room(const struct image_header *header, const struct image_section *section,
                     size_t size)
{
	return section->at % 8 == 0 && section->at <= header->total_bytes &&
	       section->count <= UINT32_MAX &&
	       section->count <= (header->total_bytes - section->at) / size;
}

static bool in_section(struct image_range range, size_t count)
{
	return range.at <= count && range.count <= count - range.at;
}

static bool check_texts(const struct image *image)
{
	for (size_t i = 0; i < image->files_count; i++)
		if (!in_section(image->files[i], image->strings_count))
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

static bool check_entries(const struct image *image)
{
	for (size_t i = 0; i < image->entries_count; i++) {
		const struct image_entry *entry = &image->entries[i];
		struct image_range text = {entry->text_at, entry->text_len};
		struct image_range ports = {entry->ports >> 8, entry->ports & 0xff};

		if (!in_section(text, image->strings_count) || entry->kind > PATTERN_REGEX ||
		    image_key_skip(entry->kind) > entry->text_len || entry->list == 0 ||
		    entry->list > image->lists_count || entry->file >= image->files_count ||
		    !in_section(ports, image->ports_count))
			return false;
	}
	for (size_t i = 0; i < image->slots_count; i++)
		if (image->slots[i].entry > image->entries_count)
			return false;
	for (size_t i = 0; i < image->globs_count; i++)
		if (image->globs[i] >= image->entries_count)
			return false;
	for (size_t i = 0; i < image->regexes_count; i++)
		if (image->regexes[i] != NONE && image->regexes[i] >= image->entries_count)
			return false;
	return true;
}

static bool check_times(const struct image *image)
{
	for (size_t i = 0; i < image->times_count; i++) {
		const struct image_time *time = &image->times[i];

		if (time->days >= 1 << 7 || time->from_min > DAY_MIN || time->until_min > DAY_MIN ||
		    time->zone_min < -DAY_MIN || time->zone_min > DAY_MIN)
			return false;
	}
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
		    !in_section(rule->time, image->times_count) || !check_answers(rule->answers, true))
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

static bool check_slots_have_end(const struct image *image)
{
	if (image->slots_count == 0 || (image->slots_count & (image->slots_count - 1)))
		return false;
	for (size_t i = 0; i < image->slots_count; i++)
		if (image->slots[i].entry == 0)
			return true;
	return false;
}

static bool read_sections(struct policy *policy, const uint8_t *image, size_t image_bytes)
{
	const struct image_header *header = (const void *)image;

	if (image_bytes < sizeof(*header) || (uintptr_t)image % 8 || header->magic != IMAGE_MAGIC ||
	    header->total_bytes != image_bytes)
		return false;
#define READ_SECTION(name, type) \
	if (!has_room(header, &header->name, sizeof(type))) \
		return false; \
	policy->image.name = (const void *)(image + header->name.at); \
	policy->image.name##_count = header->name.count;
	IMAGE_SECTIONS(READ_SECTION)
#undef READ_SECTION
	policy->header = header;
	return in_section(header->default_ports, policy->image.ports_count) &&
	       header->policy_file < policy->image.files_count && check_texts(&policy->image) &&
	       check_entries(&policy->image) && check_rules(&policy->image) &&
	       check_times(&policy->image) && check_answers(header->defaults, false) &&
	       check_slots_have_end(&policy->image);
}

/* ---- regular expressions ---- */

static enum err open_regex(struct policy *policy)
{
	static const struct hash_key fixed = {{1, 2}};
	const struct image *image = &policy->image;
	struct policy_regex *regex = policy->regex;

	regex->count = image->regexes_count;
	if (hash_bytes(&fixed, span_of(image->codes, image->codes_count)) !=
	    policy->header->codes_hash)
		return ERR_CONFIG;
	regex->codes = calloc(regex->count + 1, sizeof(pcre2_code *));
	regex->is_jitted = calloc(regex->count + 1, 1);
	regex->data = pcre2_match_data_create(1, NULL);
	regex->context = pcre2_match_context_create(NULL);
	if (!regex->codes || !regex->is_jitted || !regex->data || !regex->context)
		return ERR_MEMORY;
	pcre2_set_match_limit(regex->context, MATCH_LIMIT);
	pcre2_set_heap_limit(regex->context, HEAP_LIMIT_KIB);
	if (policy->is_for_reading)
		regex->count = 0;
	if (regex->count && pcre2_serialize_decode(regex->codes, (int32_t)regex->count, image->codes,
	                                           NULL) != (int32_t)regex->count)
		return ERR_CONFIG;
	return ERR_NONE;
}

enum policy_match policy_regex_match(const struct policy *policy, uint32_t code, struct span text)
{
	struct policy_regex *regex = policy->regex;
	int result;

	if (code >= regex->count)
		return MATCH_NO;
	if (!regex->is_jitted[code]) {
		/* Where no executable memory can be had, the interpreter goes on under the same limits. */
		(void)pcre2_jit_compile(regex->codes[code], PCRE2_JIT_COMPLETE);
		regex->is_jitted[code] = true;
	}
	result = pcre2_match(regex->codes[code], text.at, text.len, 0, PCRE2_NO_UTF_CHECK, regex->data,
	                     regex->context);
	return result >= 0 ? MATCH_YES : result == PCRE2_ERROR_NOMATCH ? MATCH_NO : MATCH_GAVE_UP;
}

static enum err open_image(const void *image, size_t image_bytes, bool is_for_reading,
                           struct policy **out)
{
	struct policy *policy = calloc(1, sizeof(*policy));
	enum err err = ERR_MEMORY;

	if (policy == NULL)
		return ERR_MEMORY;
	if (!read_sections(policy, image, image_bytes)) {
		free(policy);
		return ERR_CONFIG;
	}
	policy->is_for_reading = is_for_reading;
	policy->regex = calloc(1, sizeof(*policy->regex));
	policy->hits = calloc(policy->image.lists_count + 1, sizeof(*policy->hits));
	policy->stamp = calloc(1, sizeof(*policy->stamp));
	if (policy->regex && policy->hits && policy->stamp)
		err = open_regex(policy);
	if (err) {
		policy_close(policy);
		return err;
	}
	*out = policy;
	return ERR_NONE;
}

enum err policy_open(const void *image, size_t image_bytes, struct policy **out)
{
	return open_image(image, image_bytes, false, out);
}

enum err policy_open_for_reading(const void *image, size_t image_bytes, struct policy **out)
{
	return open_image(image, image_bytes, true, out);
}

void policy_close(struct policy *policy)
{
	if (policy == NULL)
		return;
	for (size_t i = 0; policy->regex && policy->regex->codes && i < policy->regex->count; i++)
		pcre2_code_free(policy->regex->codes[i]);
	if (policy->regex) {
		free(policy->regex->codes);
		free(policy->regex->is_jitted);
		pcre2_match_data_free(policy->regex->data);
		pcre2_match_context_free(policy->regex->context);
	}
	free(policy->regex);
	free(policy->hits);
	free(policy->stamp);
	free(policy);
}

void policy_stats(const struct policy *policy, struct policy_stats *out)
{
	const struct image *image = &policy->image;
	unsigned line = policy->header->defaults_line;
	struct policy_spot defaults_at = {line, line ? 1 : 0};

	*out = (struct policy_stats){
		.generation_hash = policy->header->generation_hash,
		.rules = image->rules_count,
		.entries = image->entries_count,
		.image_bytes = policy->header->total_bytes,
		.wants_inspect = policy->header->defaults[POLICY_TLS] == TLS_INSPECT,
		.wants_auth = policy->header->defaults[POLICY_AUTH] == AUTH_REQUIRED,
		.allows_anybody = policy->header->defaults[POLICY_ACCESS] == ACCESS_ALLOW,
		.inspect_at = defaults_at,
		.auth_at = defaults_at,
	};
	for (size_t i = 0; i < image->lists_count; i++)
		out->lists += image->lists[i].name.count > 0; /* a pattern in a rule is no list */
	for (size_t i = image->rules_count; i-- > 0;) {
		const struct image_rule *rule = &image->rules[i];
		struct policy_spot spot = {rule->line, rule->column};

		if (rule->answers[POLICY_TLS] == TLS_INSPECT) {
			out->wants_inspect = true;
			out->inspect_at = spot;
		}
		if (rule->answers[POLICY_AUTH] == AUTH_REQUIRED) {
			out->wants_auth = true;
			out->auth_at = spot;
		}
		/* What can never be known never allows. */
		out->allows_anybody |= rule->answers[POLICY_ACCESS] == ACCESS_ALLOW &&
		                       rule->from.count == 0 && rule->user.count == 0 &&
		                       rule->group.count == 0 && rule->sni.count == 0;
	}
}

bool policy_rule_listener(const struct policy *policy, uint32_t rule, uint32_t at, struct span *name,
                          struct policy_spot *spot)
{
	const struct image *image = &policy->image;

	if (rule >= image->rules_count || at >= image->rules[rule].listener.count)
		return false;
	*name = image_text(policy, image->texts[image->rules[rule].listener.at + at]);
	*spot = (struct policy_spot){image->rules[rule].listener_line, image->rules[rule].listener_column};
	return true;
}
