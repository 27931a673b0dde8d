/* SPDX-License-Identifier: Apache-2.0 */
/* What policy says once there is a response, and of the fields of both heads. */
#include "session/session_private.h"

/* Count what was answered just now, and not what was counted when the request was decided. */
static void count_hits(struct session *session, unsigned open_before)
{
	struct policy_decision answered = session->exchange->decision;

	answered.open |= ~open_before;
	request_count_hits(session, &answered);
}

static enum err deny(struct session *session)
{
	struct exchange *exchange = session->exchange;
	const char *detail;
	struct buf text;

	buf_init(&text, 1024);
	policy_say_refusal(session->generation->policy, &exchange->facts, POLICY_ACCESS,
	                   &exchange->decision.answers[POLICY_ACCESS], &text);
	detail = arena_string(&exchange->arena, buf_span(&text));
	buf_fini(&text);
	exchange->detail = detail ? detail : "";
	exchange->denied_by = POLICY_ACCESS;
	session->env->metrics->denied_total++;
	return ERR_POLICY_DENIED;
}

static bool is_denied(const struct policy_decision *decision)
{
	return !(decision->open >> POLICY_ACCESS & 1) && decision->answers[POLICY_ACCESS].answer == ACCESS_DENY;
}

/* Does the decision wait for a response? What is for ourselves was not decided. */
static bool is_waiting(const struct exchange *exchange)
{
	return exchange->is_decided && (exchange->decision.need & FACT_RESPONSE);
}

/* The types in one value, each decided: clients do not agree on which of several counts. False: one is denied. */
static bool decide_types(struct session *session, struct span value, bool waits)
{
	struct exchange *exchange = session->exchange;

	while (policy_content_type_next(&value, &exchange->facts.content_type)) {
		if (waits)
			policy_decide(session->generation->policy, &exchange->facts, &exchange->decision);
		if (waits && is_denied(&exchange->decision))
			return false;
	}
	return true;
}

/* With the type that the fields say. */
static enum err decide(struct session *session, const struct http_field *fields, size_t count)
{
	struct exchange *exchange = session->exchange;
	unsigned open_before = exchange->decision.open;
	bool waits = is_waiting(exchange);

	exchange->facts.known |= FACT_RESPONSE;
	exchange->facts.content_type = SPAN("");
	for (size_t i = 0; i < count; i++)
		if (span_equal_nocase(fields[i].name, SPAN("content-type")) &&
		    !decide_types(session, fields[i].value, waits))
			break;
	if (!waits)
		return ERR_NONE;
	if (exchange->facts.content_type.len == 0)
		policy_decide(session->generation->policy, &exchange->facts, &exchange->decision);
	count_hits(session, open_before);
	return is_denied(&exchange->decision) ? deny(session) : ERR_NONE;
}

enum err response_decide(struct session *session, struct span content_type)
{
	const struct http_field field = {SPAN("content-type"), content_type};

	return decide(session, &field, 1);
}

enum err response_decide_head(struct session *session, const struct http_head *response)
{
	return decide(session, response->fields, response->field_count);
}

size_t response_header_edits(const struct session *session, enum policy_question question,
                             struct http_edit out[static HTTP_EDITS_MAX])
{
	const struct policy_decision *decision = &session->exchange->decision;
	struct policy_header_edit edits[POLICY_HEADER_EDITS_MAX];
	size_t count;

	_Static_assert((int)HTTP_EDITS_MAX == (int)POLICY_HEADER_EDITS_MAX, "every edit of an answer has room");
	if (!session->exchange->is_decided || (decision->open >> question & 1))
		return 0;
	count = policy_header_edits(session->generation->policy, question, &decision->answers[question], edits);
	for (size_t i = 0; i < count; i++)
		out[i] = (struct http_edit){edits[i].is_set, edits[i].name, edits[i].value};
	return count;
}
