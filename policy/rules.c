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
