/* SPDX-License-Identifier: Apache-2.0 */
/* Hits over a restart: what is written is read, for the entries that are still there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>

#include "policy_rig.h"
#include "process/hits_file.h"

static const char policy_text[] =
	"lists: {a: a.list}\nrules:\n- {name: r, when: {to: [a, x.example]}, then: {access: allow}}\n";

static uint32_t index_of(const struct policy *policy, const char *text)
{
	struct policy_entry entry;

	for (uint32_t i = 0; i < policy_entry_count(policy); i++)
		if (policy_entry(policy, i, &entry) && span_equal(entry.text, span_from(text)))
			return i;
	fail_msg("no entry %s", text);
	return 0;
}

static uint32_t count_of(const struct policy_rig *rig, const struct counters *counters, const char *text)
{
	return policy_hits_count(atomic_load(&counters->entries[index_of(rig->policy, text)]));
}

static void hits_come_back(void **state)
{
	struct policy_rig before, after;
	struct counters counters, again;
	uint64_t since_ms = 0;
	char path[200];

	(void)state;
	policy_rig_make(&before, policy_text, "a.example\n*.b.example ports=443,8000-8100\n10.0.0.0/8\n", NULL);
	policy_rig_make(&after, policy_text, "new.example\n*.b.example ports=443,8000-8100\na.example ports=80\n", NULL);
	assert_int_equal(before.err, ERR_NONE);
	assert_int_equal(after.err, ERR_NONE);
	snprintf(path, sizeof(path), "%s/run/hits", before.folder);
	assert_int_equal(counters_make(&counters, before.policy, NULL), ERR_NONE);
	assert_int_equal(counters_make(&again, after.policy, NULL), ERR_NONE);
	for (int i = 0; i < 17; i++)
		policy_hits_add(&counters.entries[index_of(before.policy, "*.b.example")], UINT64_C(1795435200000));
	policy_hits_add(&counters.entries[index_of(before.policy, "x.example")], UINT64_C(1795435200000));
	policy_hits_add(&counters.entries[index_of(before.policy, "a.example")], UINT64_C(1795435200000));

	assert_int_equal(hits_file_read(path, after.policy, &again, &since_ms), ERR_NONE);
	assert_int_equal(since_ms, 0); /* there was none */
	assert_int_equal(hits_file_write(path, before.policy, &counters, 1234), ERR_NONE);
	assert_int_equal(hits_file_write(path, before.policy, &counters, 4321), ERR_NONE);
	assert_int_equal(hits_file_read(path, after.policy, &again, &since_ms), ERR_NONE);
	assert_int_equal(since_ms, 4321);
	assert_int_equal(count_of(&after, &again, "*.b.example"), 17);
	assert_int_equal(policy_hits_day(atomic_load(&again.entries[index_of(after.policy, "*.b.example")])), 20780);
	assert_int_equal(count_of(&after, &again, "x.example"), 1);
	assert_int_equal(count_of(&after, &again, "new.example"), 0);
	assert_int_equal(count_of(&after, &again, "a.example"), 0); /* other ports: another entry */
	unlink(path);
	snprintf(path, sizeof(path), "%s/run", before.folder);
	rmdir(path);
	counters_close(&counters);
	counters_close(&again);
	policy_rig_fini(&before);
	policy_rig_fini(&after);
}

static void what_is_no_such_file_is_refused(void **state)
{
	static const char *const texts[] = {"", "x", "sallyport-hits 2 5\n", "sallyport-hits 1 \n",
	                                    "sallyport-hits 1 5\nx a a.example \n",
	                                    "sallyport-hits 1 5\n4294967296 a a.example \n"};
	struct policy_rig rig;
	struct counters counters;
	uint64_t since_ms;

	(void)state;
	policy_rig_make(&rig, policy_text, "a.example\n", NULL);
	assert_int_equal(counters_make(&counters, rig.policy, NULL), ERR_NONE);
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (hits_file_parse(span_from(texts[i]), rig.policy, &counters, &since_ms) != ERR_CONFIG)
			fail_msg("taken: %s", texts[i]);
	counters_close(&counters);
	policy_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hits_come_back),
		cmocka_unit_test(what_is_no_such_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
