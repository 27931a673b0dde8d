/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "policy/look_up.h"
#include "policy/pattern.h"

enum { MATCH_LIMIT = 10000, HEAP_LIMIT_KIB = 1024 };

enum code_state { CODE_TEXT, CODE_READY, CODE_LOST };

struct policy_regex {
	pcre2_code **codes;
	uint8_t *states; /* by code: enum code_state */
	size_t count;
	pcre2_match_data *data;
	pcre2_match_context *context;
};

static bool has_room(const struct image_header *header, const struct image_section *section,
                     size_t size)
{
	return section->at % 64 == 0 && section->at <= header->total_bytes &&
	       section->count <= UINT32_MAX &&
	       section->count <= (header->total_bytes - section->at) / size;
}

static bool read_sections(struct policy *policy, const uint8_t *image, size_t image_bytes)
{
	const struct image_header *header = (const void *)image;

	if (image_bytes < sizeof(*header) || (uintptr_t)image % 64 || header->magic != IMAGE_MAGIC ||
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
	return true;
}

/* ---- regular expressions ---- */

static enum err open_regex(struct policy *policy)
{
	const struct image *image = &policy->image;
	struct policy_regex *regex = policy->regex;

	regex->count = policy->mode == POLICY_FOR_READING ? 0 : image->regexes_count;
	regex->codes = calloc(regex->count + 1, sizeof(pcre2_code *));
	regex->states = calloc(regex->count + 1, 1);
	regex->data = pcre2_match_data_create(1, NULL);
	regex->context = pcre2_match_context_create(NULL);
	if (!regex->codes || !regex->states || !regex->data || !regex->context)
		return ERR_MEMORY;
	pcre2_set_match_limit(regex->context, MATCH_LIMIT);
	pcre2_set_heap_limit(regex->context, HEAP_LIMIT_KIB);
	return ERR_NONE;
}

void *policy_regex_compile(struct span text, int *error, size_t *at)
{
	return pcre2_compile(text.at, text.len, PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C, error, at, NULL);
}

/* At the first name that may match. Not before: ten thousand would be a pause. And not by the role that read the policy: what
 * PCRE2 has compiled it trusts, so that it must not come from anybody else. */
static void make_ready(const struct policy *policy, uint32_t code)
{
	struct policy_regex *regex = policy->regex;
	size_t at;
	int error;

	regex->codes[code] = policy_regex_compile(image_text(policy, policy->image.regexes[code]), &error, &at);
	regex->states[code] = regex->codes[code] ? CODE_READY : CODE_LOST;
	/* Where no executable memory can be had, the interpreter goes on under the same limits. */
	if (regex->codes[code])
		(void)pcre2_jit_compile(regex->codes[code], PCRE2_JIT_COMPLETE);
}

enum policy_match policy_regex_match(const struct policy *policy, uint32_t code, struct span text)
{
	struct policy_regex *regex = policy->regex;
	int result;

	if (code >= regex->count)
		return MATCH_NO;
	if (regex->states[code] == CODE_TEXT)
		make_ready(policy, code);
	if (regex->states[code] == CODE_LOST)
		return MATCH_GAVE_UP; /* no memory for it */
	result = pcre2_match(regex->codes[code], text.at, text.len, 0, PCRE2_NO_UTF_CHECK, regex->data,
	                     regex->context);
	return result >= 0 ? MATCH_YES : result == PCRE2_ERROR_NOMATCH ? MATCH_NO : MATCH_GAVE_UP;
}

enum err policy_open_as(const void *image, size_t image_bytes, enum policy_open_mode mode, struct policy **out)
{
	struct policy *policy = calloc(1, sizeof(*policy));
	enum err err = ERR_MEMORY;

	if (policy == NULL)
		return ERR_MEMORY;
	policy->mode = mode;
	if (!read_sections(policy, image, image_bytes) ||
	    (mode != POLICY_IS_CHECKED && !image_is_sound(policy))) {
		free(policy);
		return ERR_CONFIG;
	}
	policy->regex = calloc(1, sizeof(*policy->regex));
	if (policy->regex && look_up_init(policy))
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
	return policy_open_as(image, image_bytes, POLICY_TO_DECIDE, out);
}

void policy_close(struct policy *policy)
{
	if (policy == NULL)
		return;
	for (size_t i = 0; policy->regex && policy->regex->codes && i < policy->regex->count; i++)
		pcre2_code_free(policy->regex->codes[i]);
	if (policy->regex) {
		free(policy->regex->codes);
		free(policy->regex->states);
		pcre2_match_data_free(policy->regex->data);
		pcre2_match_context_free(policy->regex->context);
	}
	free(policy->regex);
	look_up_fini(policy);
	free(policy);
}

/* ---- entries ---- */

bool image_record_of(const struct policy *policy, uint32_t entry, struct image_record *out)
{
	uint32_t at = entry < policy->image.entries_count ? policy->image.entries[entry].at : NONE;
	const struct image_scan *scan;

	if (at == NONE)
		return false;
	if (!(at & IMAGE_SCAN)) {
		*out = image_record_read((const uint8_t *)policy->image.buckets + at);
		return true;
	}
	scan = &policy->image.scans[at & ~IMAGE_SCAN];
	*out = (struct image_record){.text = image_text(policy, scan->text), .more = scan->more, .entry = entry,
	                             .list = scan->list, .kind = scan->kind};
	return true;
}

/* The last file that begins before this position; of those that begin together all but the last are empty. */
static const struct image_file *find_file(const struct policy *policy, uint32_t position)
{
	size_t low = 0, high = policy->image.files_count;

	while (high - low > 1) {
		size_t middle = (low + high) / 2;

		if (policy->image.files[middle].first < position)
			low = middle;
		else
			high = middle;
	}
	return &policy->image.files[low];
}

size_t policy_entry_count(const struct policy *policy)
{
	return policy->image.entries_count;
}

bool policy_has_entry(const struct policy *policy, uint32_t index)
{
	return index < policy->image.entries_count && policy->image.entries[index].at != NONE;
}

bool policy_entry(const struct policy *policy, uint32_t index, struct policy_entry *out)
{
	struct image_record record;
	const struct image_file *file;
	uint32_t position;

	if (!image_record_of(policy, index, &record))
		return false;
	if (record.kind == PATTERN_NETWORK) /* the key stands in front */
		record.text = span_skip(record.text, image_record_key(record.kind, record.text).len);
	position = policy->image.entries[index].position;
	file = find_file(policy, position);
	*out = (struct policy_entry){
		.text = record.text,
		.file = image_text(policy, file->name),
		.line = position - file->first,
		.list = record.list,
		.expires_ms = (uint64_t)record.more.expires_min * 60000,
		.ports = policy->image.ports + (record.more.ports >> 8),
		.port_count = record.more.ports & 0xff,
	};
	return true;
}

void policy_stats(const struct policy *policy, struct policy_stats *out)
{
	const struct image *image = &policy->image;
	unsigned line = policy->header->defaults_line;
	struct policy_spot defaults_at = {line, line ? 1 : 0};

	*out = (struct policy_stats){
		.generation_hash = policy->header->generation_hash,
		.rules = image->rules_count,
		.entries = (size_t)policy->header->live_count,
		.counters = image->entries_count,
		.image_bytes = policy->header->total_bytes,
		.wants_inspect = policy->header->defaults[POLICY_TLS] == TLS_INSPECT,
		.wants_auth = policy->header->defaults[POLICY_AUTH] == AUTH_REQUIRED,
		.asks_everybody = policy->header->defaults[POLICY_AUTH] == AUTH_REQUIRED,
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
		out->asks_everybody &= rule->answers[POLICY_AUTH] != AUTH_EXEMPT || rule->from.count || rule->to.count;
		out->asks_user |= rule->user.count + rule->group.count > 0;
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
