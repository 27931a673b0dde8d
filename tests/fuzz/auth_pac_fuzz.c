/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the logon information of a PAC: what is taken is a bounded list of SIDs, each ended by a NUL. */
#include "auth/backend/pac.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sids(struct span sids)
{
	struct span sid;
	size_t count = 0;

	ASSERT(sids.len > 0 && sids.at[sids.len - 1] == 0);
	while (sids.len && span_split(&sids, 0, &sid)) {
		ASSERT(span_starts_with(sid, SPAN("S-1-")) && sid.len > 4 && sid.len < 200);
		for (size_t i = 0; i < sid.len; i++)
			ASSERT(sid.at[i] > 0x20 && sid.at[i] < 0x7f);
		count++;
	}
	ASSERT(count <= PAC_GROUPS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *why = NULL;
	struct buf sids;

	buf_init(&sids, 1 << 18);
	if (pac_read_groups(span_of(data, size), &sids, &why)) {
		ASSERT(why[0] == 0);
		check_sids(buf_span(&sids));
	} else {
		ASSERT(why[0]);
	}
	buf_fini(&sids);
	return 0;
}
