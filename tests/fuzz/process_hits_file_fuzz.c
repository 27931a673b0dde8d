/* SPDX-License-Identifier: Apache-2.0 */
/* The file of hits: whatever is in it, only cells of entries that are there are set. */
#include <stdatomic.h>

#include "../unit/policy_rig.h"
#include "process/hits_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct policy_rig rig;
	struct counters counters;
	uint64_t since_ms = 1;

	if (rig.policy == NULL) {
		policy_rig_make(&rig,
		                "lists: {a: a.list}\nrules:\n- {name: r, when: {to: [a, x.example]}, then: {access: allow}}\n",
		                "a.example\n*.b.example ports=443,8000-8100\n10.0.0.0/8\n/^c$/\n", NULL);
		policy_rig_remove(&rig);
		ASSERT(rig.err == ERR_NONE);
	}
	if (counters_make(&counters, rig.policy, NULL))
		return 0;
	if (hits_file_parse(span_of(data, size), rig.policy, &counters, &since_ms) == ERR_NONE)
		ASSERT(since_ms <= INT64_MAX);
	for (size_t i = policy_entry_count(rig.policy); i < counters.entry_cells; i++)
		ASSERT(atomic_load(&counters.entries[i]) == 0);
	counters_close(&counters);
	return 0;
}
