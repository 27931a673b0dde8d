/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/replay_report.h"

#include <stdlib.h>
#include <string.h>

void replay_report_init(struct replay_report *report, struct replay_side before, struct replay_side after)
{
	*report = (struct replay_report){.before = before, .after = after};
	names_init(&report->hosts);
	names_init(&report->who);
	tally_init(&report->changes, sizeof(struct replay_change), offsetof(struct replay_change, first_pair),
	           REPLAY_CHANGES_MAX);
	tally_init(&report->pairs, sizeof(struct replay_pair), offsetof(struct replay_pair, requests),
	           REPLAY_PAIRS_MAX);
	tally_init(&report->people, sizeof(struct replay_person), offsetof(struct replay_person, reserved),
	           NAMES_MAX);
}

void replay_report_fini(struct replay_report *report)
{
	tally_fini(&report->people);
	tally_fini(&report->pairs);
	tally_fini(&report->changes);
	names_fini(&report->who);
	names_fini(&report->hosts);
}

/* ---- who ---- */

/* Users and addresses are told apart by their first byte. */
static uint32_t number_of_who(struct replay_report *report, const struct policy_facts *facts)
{
	uint8_t text[512];
	struct buf address;
	uint32_t number;
	size_t len;

	if (facts->user.len) {
		len = facts->user.len < sizeof(text) ? facts->user.len : sizeof(text) - 1;
		text[0] = 'u';
		memcpy(text + 1, facts->user.at, len);
		return names_number(&report->who, span_of(text, len + 1));
	}
	buf_init(&address, 128);
	buf_add_byte(&address, 'c');
	if (facts->from.family)
		address_format(&facts->from, &address);
	else
		buf_add_byte(&address, '-');
	number = names_number(&report->who, buf_span(&address));
	buf_fini(&address);
	return number;
}

static enum replay_turn turn_of(enum policy_question question, uint8_t before, uint8_t after)
{
	if (before == REPLAY_OPEN || after == REPLAY_OPEN)
		return REPLAY_OTHER;
	if (question == POLICY_ACCESS)
		return after == ACCESS_DENY ? REPLAY_DENIED : REPLAY_ALLOWED;
	if (question == POLICY_TLS)
		return after == TLS_INSPECT ? REPLAY_INSPECTED : REPLAY_BYPASSED;
	return REPLAY_OTHER;
}

/* ---- changes ---- */

static struct replay_answer answer_of(const struct policy_decision *decision, enum policy_question question)
{
	const struct policy_answer *answer = &decision->answers[question];

	if (decision->open >> question & 1)
		return (struct replay_answer){.rule = POLICY_NO_RULE, .answer = REPLAY_OPEN,
		                              .needs = decision->needs[question]};
	return (struct replay_answer){
		.rule = answer->rule,
		.entry = answer->list ? answer->entry : 0,
		.list = answer->list,
		.answer = answer->answer,
	};
}

static void note(struct replay_report *report, const struct policy_facts *facts, uint32_t who,
                 enum policy_question question, struct replay_answer before, struct replay_answer after)
{
	struct replay_change key, *change = NULL;
	struct replay_pair pair_key, *pair = NULL;
	struct replay_person person_key, *person;

	memset(&key, 0, sizeof(key));
	key.before = before;
	key.after = after;
	key.port = facts->port;
	key.question = (uint8_t)question;
	key.host = names_number(&report->hosts, facts->host);
	if (key.host != NAMES_NONE)
		change = tally_find(&report->changes, &key);
	if (change == NULL) {
		report->beyond++;
		return;
	}
	change->requests++;
	pair_key = (struct replay_pair){
		.change = (uint32_t)(change - (struct replay_change *)tally_at(&report->changes, 0)), .who = who};
	if (who != NAMES_NONE)
		pair = tally_find(&report->pairs, &pair_key);
	if (pair)
		pair->requests++;
	else
		report->is_beyond_pairs = true;
	person_key = (struct replay_person){.who = who};
	person = who != NAMES_NONE ? tally_find(&report->people, &person_key) : NULL;
	if (person)
		person->turns[turn_of(question, before.answer, after.answer)]++;
}

/* Is the question asked at all? What is denied is not opened; what is no tunnel has no TLS to open. */
static bool is_asked(enum policy_question question, const struct policy_facts *facts, bool is_denied)
{
	if (question == POLICY_ACCESS)
		return true;
	if (question == POLICY_TLS || question == POLICY_OPAQUE || question == POLICY_CLIENT_CERTIFICATE)
		return !is_denied && span_equal(facts->method, SPAN("CONNECT"));
	if (question == POLICY_REQUEST_HEADERS || question == POLICY_RESPONSE_HEADERS)
		return !is_denied && !span_equal(facts->method, SPAN("CONNECT"));
	return !is_denied;
}

/* Is not the same set and removed? */
static bool has_other_edits(const struct replay_report *report, enum policy_question question,
                            const struct policy_answer *before, const struct policy_answer *after)
{
	struct policy_header_edit one[POLICY_HEADER_EDITS_MAX], other[POLICY_HEADER_EDITS_MAX];
	size_t count = policy_header_edits(report->before.policy, question, before, one);

	if (policy_header_edits(report->after.policy, question, after, other) != count)
		return true;
	for (size_t i = 0; i < count; i++)
		if (one[i].is_set != other[i].is_set || !span_equal_nocase(one[i].name, other[i].name) ||
		    !span_equal(one[i].value, other[i].value))
			return true;
	return false;
}

static bool has_other_rate(const struct replay_report *report, const struct policy_answer *before,
                           const struct policy_answer *after)
{
	struct policy_rate_limit one, other;

	return policy_rate_limit(report->before.policy, before, &one) && policy_rate_limit(report->after.policy, after, &other) &&
	       (one.bytes_per_s != other.bytes_per_s || one.each != other.each);
}

static bool differs(const struct replay_report *report, enum policy_question question,
                    const struct policy_decision *before, const struct policy_decision *after)
{
	bool was_open = before->open >> question & 1, is_open = after->open >> question & 1;

	if (was_open || is_open)
		return was_open != is_open;
	if (before->answers[question].answer != after->answers[question].answer)
		return true;
	if (question == POLICY_REQUEST_HEADERS || question == POLICY_RESPONSE_HEADERS)
		return has_other_edits(report, question, &before->answers[question], &after->answers[question]);
	if (question == POLICY_RATE)
		return has_other_rate(report, &before->answers[question], &after->answers[question]);
	return question == POLICY_ROUTE && before->answers[question].answer == ROUTE_SOURCE &&
	       !address_equal(&before->route_source, &after->route_source);
}

static bool denies(const struct policy_decision *decision)
{
	return !(decision->open >> POLICY_ACCESS & 1) &&
	       decision->answers[POLICY_ACCESS].answer == ACCESS_DENY;
}

static void compare_with_log(struct replay_report *report, const struct policy_decision *before, int logged)
{
	if (logged < 0 || before->open >> POLICY_ACCESS & 1)
		return;
	report->logged++;
	report->logged_otherwise += before->answers[POLICY_ACCESS].answer != logged;
}

void replay_report_add(struct replay_report *report, const struct policy_facts *facts, int logged_access)
{
	struct policy_decision before, after;
	uint32_t who = NAMES_NONE;
	struct replay_person person_key, *person;
	bool is_changed = false, is_denied;

	policy_decide(report->before.policy, facts, &before);
	policy_decide(report->after.policy, facts, &after);
	report->requests++;
	compare_with_log(report, &before, logged_access);
	is_denied = denies(&before) || denies(&after);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		enum policy_question question = (enum policy_question)q;

		if (!is_asked(question, facts, is_denied) || !differs(report, question, &before, &after))
			continue;
		if (!is_changed)
			who = number_of_who(report, facts);
		is_changed = true;
		note(report, facts, who, question, answer_of(&before, question), answer_of(&after, question));
	}
	report->changed += is_changed;
	person_key = (struct replay_person){.who = who};
	person = who != NAMES_NONE ? tally_find(&report->people, &person_key) : NULL;
	if (person)
		person->requests++;
}

/* ---- sorting ---- */

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_requests(const void *a, const void *b)
{
	const struct replay_change *one = a, *other = b;
	int order = compare(other->requests, one->requests);

	if (order == 0)
		order = compare(one->question, other->question);
	if (order == 0)
		order = compare(one->host, other->host);
	return order ? order : compare(one->port, other->port);
}

static int by_change(const void *a, const void *b)
{
	const struct replay_pair *one = a, *other = b;
	int order = compare(one->change, other->change);

	if (order == 0)
		order = compare(other->requests, one->requests);
	return order ? order : compare(one->who, other->who);
}

static int by_turns(const void *a, const void *b)
{
	const struct replay_person *one = a, *other = b;
	int order = compare(other->requests, one->requests);

	return order ? order : compare(one->who, other->who);
}

static void sort(struct tally *tally, int (*order)(const void *, const void *))
{
	if (tally->count)
		qsort(tally->at, tally->count, tally->element_bytes, order);
}

void replay_report_sort(struct replay_report *report)
{
	struct replay_change *changes = (void *)report->changes.at;
	const struct replay_pair *pairs = (const void *)report->pairs.at;

	/* Pairs know their change by its index: they come first. */
	sort(&report->pairs, by_change);
	for (size_t i = 0; i < report->pairs.count; i++) {
		struct replay_change *change = &changes[pairs[i].change];

		if (change->pair_count++ == 0)
			change->first_pair = (uint32_t)i;
	}
	sort(&report->changes, by_requests);
	sort(&report->people, by_turns);
}

/* ---- summary ---- */

static int by_answers(const void *a, const void *b)
{
	const struct replay_change *one = *(const struct replay_change *const *)a;
	const struct replay_change *other = *(const struct replay_change *const *)b;
	int order = compare(one->question, other->question);

	if (order == 0)
		order = compare(one->before.answer, other->before.answer);
	if (order == 0)
		order = compare(one->after.answer, other->after.answer);
	return order ? order : compare(one->host, other->host);
}

static bool is_same_row(const struct replay_row *row, const struct replay_change *change)
{
	return row->question == change->question && row->before == change->before.answer &&
	       row->after == change->after.answer;
}

bool replay_report_sum(const struct replay_report *report, struct replay_row **rows, size_t *count)
{
	size_t total = report->changes.count;
	const struct replay_change **sorted = calloc(total + 1, sizeof(const struct replay_change *));
	struct replay_row *row = NULL;

	*count = 0;
	*rows = calloc(total + 1, sizeof(**rows));
	for (size_t i = 0; sorted && i < total; i++)
		sorted[i] = tally_at(&report->changes, i);
	if (sorted && total)
		qsort(sorted, total, sizeof(*sorted), by_answers);
	for (size_t i = 0; sorted && *rows && i < total; i++) {
		const struct replay_change *change = sorted[i];
		bool is_new = row == NULL || !is_same_row(row, change);

		if (is_new) {
			row = &(*rows)[(*count)++];
			*row = (struct replay_row){.question = change->question, .before = change->before.answer,
			                           .after = change->after.answer};
		}
		row->sum.requests += change->requests;
		row->sum.hosts += is_new || sorted[i - 1]->host != change->host;
	}
	if (sorted && *rows) {
		free(sorted);
		return true;
	}
	free(sorted);
	free(*rows);
	*rows = NULL;
	return false;
}
