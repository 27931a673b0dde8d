/* SPDX-License-Identifier: Apache-2.0 */
/* What an image has, for those who count and show it. */
#include "policy/image.h"

bool policy_rule_answers(const struct policy *policy, uint32_t rule, enum policy_question question,
                         unsigned *answer)
{
	if (rule >= policy->image.rules_count || policy->image.rules[rule].answers[question] == NO_ANSWER)
		return false;
	*answer = policy->image.rules[rule].answers[question];
	return true;
}

const char *policy_each_name(enum policy_each each)
{
	static const char *const names[EACH_COUNT] = {"rule", "client", "user"};

	return names[each];
}

bool policy_rate_limit(const struct policy *policy, const struct policy_answer *answer, struct policy_rate_limit *out)
{
	const struct image_rule *rule;

	if (answer->answer != RATE_LIMIT || answer->rule >= policy->image.rules_count)
		return false;
	rule = &policy->image.rules[answer->rule];
	*out = (struct policy_rate_limit){rule->rate_bytes, (enum policy_each)rule->rate_each};
	return true;
}

size_t policy_list_count(const struct policy *policy)
{
	return policy->image.lists_count;
}

size_t policy_file_count(const struct policy *policy)
{
	return policy->image.files_count;
}

struct span policy_file_name(const struct policy *policy, size_t file)
{
	return file < policy->image.files_count ? image_text(policy, policy->image.files[file].name) : SPAN("");
}

struct span policy_rule_name(const struct policy *policy, uint32_t rule)
{
	if (rule >= policy->image.rules_count)
		return SPAN("defaults");
	return image_text(policy, policy->image.rules[rule].name);
}

struct span policy_rule_file(const struct policy *policy, uint32_t rule, unsigned *line)
{
	uint32_t file = policy->header->policy_file;

	*line = policy->header->defaults_line;
	if (rule < policy->image.rules_count) {
		file = policy->image.rules[rule].file;
		*line = policy->image.rules[rule].line;
	}
	return image_text(policy, policy->image.files[file].name);
}

struct span policy_list_name(const struct policy *policy, uint16_t list)
{
	if (list == 0 || list > policy->image.lists_count)
		return SPAN("");
	return image_text(policy, policy->image.lists[list - 1].name);
}

bool policy_place(const struct policy *policy, const struct policy_answer *answer,
                  struct span *file, unsigned *line, struct span *entry_text)
{
	struct policy_entry entry;

	if (answer->list == 0 || !policy_entry(policy, answer->entry, &entry))
		return false;
	*file = entry.file;
	*line = entry.line;
	*entry_text = entry.text;
	return true;
}
