/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as one line of explain --stdin: it becomes facts that policy can decide on, or a complaint, never both. */
#include <string.h>

#include "cli/question.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		ASSERT(name.at[i] > 0x20 && name.at[i] < 0x7f && !(name.at[i] >= 'A' && name.at[i] <= 'Z'));
}

static void check_facts(const struct policy_facts *facts)
{
	ASSERT(facts->host.len > 0 && facts->port > 0);
	ASSERT((facts->known & facts->absent) == 0);
	ASSERT(!(facts->known & FACT_REQUEST) || facts->url.len > 0);
	ASSERT(!(facts->known & FACT_ADDRESS) || facts->address.family);
	ASSERT(facts->from.family && facts->listener.len > 0);
	ASSERT(facts->group_count <= COMMAND_GROUPS_MAX);
	check_name(facts->host);
	check_name(facts->sni);
	check_name(facts->inner_host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct listen_conf listen[] = {{.name = "main"}, {.name = "office"}};
	struct conf_text_pair hosts[] = {{.name = "a.example", .text = "192.0.2.1"}};
	struct settings settings = {.listen = {.at = listen, .count = COUNT_OF(listen)},
	                            .dns.hosts = {.at = hosts, .count = COUNT_OF(hosts)}};
	struct question question;

	question_init(&question);
	if (question_read(&question, span_of(data, size)) && question_make(&question, &settings, 1)) {
		ASSERT(buf_len(&question.complaint) == 0);
		check_facts(&question.request.facts);
	} else {
		ASSERT(buf_len(&question.complaint) > 0);
	}
	question_fini(&question);
	return 0;
}
