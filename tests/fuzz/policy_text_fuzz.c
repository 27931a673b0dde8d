/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a policy and, behind a line of "====", its list a.list. What compiles must open and decide. */
#include "../unit/policy_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decide(const struct policy *policy, const char *host, uint16_t port, unsigned known)
{
	struct policy_facts facts = policy_rig_facts(host, port);
	struct policy_explain_options options = {.verbose = true, .verdict = SPAN(""), .more = SPAN("")};
	struct policy_decision decision;
	struct buf out;

	facts.known |= known;
	facts.absent = FACT_USER & ~known;
	facts.user = SPAN("jane");
	facts.sni = SPAN("b.example");
	facts.inner_host = SPAN("c.example");
	facts.url = SPAN("http://a.example/x");
	facts.content_type = SPAN("Video/mp4");
	policy_decide(policy, &facts, &decision);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		ASSERT(policy_answer_name((enum policy_question)q, decision.answers[q].answer) != NULL);
	for (int q = POLICY_REQUEST_HEADERS; q <= POLICY_RESPONSE_HEADERS; q++) {
		struct policy_header_edit edits[POLICY_HEADER_EDITS_MAX];
		size_t count = policy_header_edits(policy, (enum policy_question)q, &decision.answers[q], edits);

		ASSERT(count <= POLICY_HEADER_EDITS_MAX);
		ASSERT((count > 0) == (decision.answers[q].answer == HEADERS_EDIT));
		for (size_t i = 0; i < count; i++)
			ASSERT(edits[i].name.len && span_find(edits[i].value, '\n') == edits[i].value.len);
	}
	ASSERT((decision.need & facts.known) == 0 && (decision.need & facts.absent) == 0);
	buf_init(&out, 1 << 28);
	options.json = known & FACT_HELLO;
	ASSERT(policy_explain(policy, &facts, &options, &out) == ERR_NONE);
	buf_fini(&out);
}

static void format(const struct problems *problems)
{
	struct buf out;

	buf_init(&out, 8 << 20);
	problems_format(problems, &out);
	problems_format_json(problems, &out);
	ASSERT(buf_is_whole(&out));
	buf_fini(&out);
}

static bool has(struct span text, const char *part)
{
	return span_find_span(text, span_from(part)) < text.len;
}

/* Other files of this host are none of our business; nor are keys in which letters are written as numbers. */
static bool names_other_files(struct span text)
{
	bool reads = has(text, "lists") || has(text, "include") || has(text, "\\x") || has(text, "\\u") || has(text, "\\U");

	return reads && (has(text, "/") || has(text, "..") || has(text, "\\"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of(data, size), list = SPAN("");
	size_t end = span_find_span(text, SPAN("\n====\n"));
	struct policy_rig rig;

	if (end < text.len) {
		list = span_skip(text, end + 6);
		text = span_first(text, end + 1);
	}
	if (names_other_files(text))
		return 0;
	policy_rig_init(&rig);
	policy_rig_write(&rig, "policy.yaml", text);
	policy_rig_write(&rig, "a.list", list);
	policy_rig_compile(&rig);
	format(&rig.problems);
	if (rig.err == ERR_NONE) {
		decide(rig.policy, "a.example", 443, 0);
		decide(rig.policy, "a.b.example", 80, FACT_HELLO | FACT_REQUEST);
		decide(rig.policy, "10.1.2.3", 5004, FACT_USER | FACT_HELLO | FACT_REQUEST | FACT_RESPONSE);
		decide(rig.policy, "2001:db8::1", 443, FACT_USER);
	} else {
		ASSERT(rig.problems.error_count > 0 || rig.err == ERR_MEMORY);
	}
	policy_rig_fini(&rig);
	return 0;
}
