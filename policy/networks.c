/* SPDX-License-Identifier: Apache-2.0 */
/* The networks to which a policy opens the way: what may be dialled at all is not its business. */
#include <stdlib.h>

#include "policy/image.h"

static bool loosens(const struct image_rule *rule)
{
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (rule->answers[q] != NO_ANSWER && policy_is_loosening((enum policy_question)q, rule->answers[q]))
			return true;
	return false;
}

/* By list, from 1; NULL: no memory. *any: some list that loosens has a network. */
static bool *find_loosening(const struct policy *policy, bool *any)
{
	const struct image *image = &policy->image;
	bool *lists = calloc(image->lists_count + 1, sizeof(*lists));

	*any = false;
	for (size_t i = 0; lists && i < image->rules_count; i++) {
		const struct image_rule *rule = &image->rules[i];

		for (uint32_t j = 0; loosens(rule) && j < rule->to.count; j++) {
			uint16_t list = image->list_refs[rule->to.at + j];

			lists[list] = true;
			*any = *any || image->lists[list - 1].has_networks;
		}
	}
	return lists;
}

void policy_each_network(const struct policy *policy,
                         void (*each)(void *context, const struct network *network, const struct policy_entry *entry),
                         void *context)
{
	struct image_record record;
	struct policy_entry entry;
	struct network network;
	bool any, *lists = find_loosening(policy, &any);

	for (uint32_t i = 0; lists && any && i < policy->image.entries_count; i++)
		if (image_record_of(policy, i, &record) && record.kind == PATTERN_NETWORK && lists[record.list] &&
		    policy_entry(policy, i, &entry) && network_parse(entry.text, false, &network))
			each(context, &network, &entry);
	free(lists);
}
