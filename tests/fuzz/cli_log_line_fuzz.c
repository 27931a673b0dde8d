/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a line of an access log; and any bytes as JSON: what jansson reads, the scanner reads, too. */
#include <jansson.h>
#include <string.h>

#include "cli/json_scan.h"
#include "cli/replay_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_facts(const struct policy_facts *facts)
{
	ASSERT(facts->host.len > 0 && facts->port > 0);
	ASSERT(!(facts->known & facts->absent));
	ASSERT(!(facts->known & FACT_REQUEST) || facts->url.len > 0);
	ASSERT(!(facts->known & FACT_ADDRESS) || facts->address.family);
	ASSERT(facts->group_count <= REPLAY_GROUPS_MAX);
	for (size_t i = 0; i < facts->host.len; i++)
		ASSERT(facts->host.at[i] > 0x20 && facts->host.at[i] < 0x7f);
}

static void check_json(struct span text, struct arena *arena)
{
	json_t *tree = json_loadb((const char *)text.at, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	struct json_scan scan = json_scan_over(text, arena);
	bool is_read = json_scan_skip(&scan) && json_scan_at_end(&scan);

	ASSERT(is_read || scan.why);
	/* jansson takes a zero byte for the end. */
	if (tree && !is_read && span_find(text, 0) == text.len)
		ASSERT(strcmp(scan.why, "objects are nested too deeply") == 0 ||
		       strcmp(scan.why, "the string is too long") == 0);
	if (tree && is_read && json_is_string(tree)) {
		struct span value;

		scan = json_scan_over(text, arena);
		if (json_scan_string(&scan, &value))
			ASSERT(span_equal(value, span_of(json_string_value(tree), json_string_length(tree))));
	}
	json_decref(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct replay_request request;
	const char *why = NULL;
	struct arena arena;

	arena_init(&arena, 8 << 20);
	switch (replay_line_read(span_of(data, size), SPAN("main"), &arena, &request, &why)) {
	case REPLAY_REQUEST: check_facts(&request.facts); break;
	case REPLAY_UNREADABLE: ASSERT(why != NULL); break;
	case REPLAY_BLANK:
	case REPLAY_RUNNING:
	case REPLAY_ASKED:
	case REPLAY_NO_HOST: break;
	}
	check_json(span_of(data, size), &arena);
	arena_fini(&arena);
	return 0;
}
