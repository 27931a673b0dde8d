/* SPDX-License-Identifier: Apache-2.0 */
/* Collects what a decision was made of: how every rule stands for every name, and what every list says. */
#include "policy/explain/explain.h"

#include <stdlib.h>

#include "policy/url.h"

#define CODE(name, code, text) code,
#define TEXT(name, code, text) text,
const char *const explain_match_codes[MATCH_STATE_COUNT] = {MATCH_STATES(CODE)};
const char *const explain_match_texts[MATCH_STATE_COUNT] = {MATCH_STATES(TEXT)};
const char *const explain_subject_codes[SUBJECT_COUNT] = {SUBJECTS(CODE)};
const char *const explain_subject_texts[SUBJECT_COUNT] = {SUBJECTS(TEXT)};
const char *const explain_state_codes[STATE_COUNT] = {STATES(CODE)};
const char *const explain_state_texts[STATE_COUNT] = {STATES(TEXT)};
#undef CODE
#undef TEXT

/* ---- small questions ---- */

void explain_add_facts(unsigned facts, const char *quote, struct buf *out)
{
	static const struct {
		enum policy_fact fact;
		const char *text;
	} rows[] = {
		{FACT_USER, "user"},
		{FACT_ADDRESS, "address"},
		{FACT_HELLO, "sni"},
		{FACT_REQUEST, "url"},
		{FACT_RESPONSE, "content-type"},
	};
	bool first = true;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (!(facts & rows[i].fact))
			continue;
		buf_printf(out, "%s%s%s%s", first ? "" : quote[0] ? "," : ", ", quote, rows[i].text, quote);
		first = false;
	}
}

const char *explain_condition(enum condition condition)
{
#define CONDITION_KEY(name, key) key,
	static const char *const keys[CONDITION_COUNT] = {"", CONDITIONS(CONDITION_KEY)};
#undef CONDITION_KEY

	return keys[condition];
}

/* The facts that the conditions of a rule ask for. */
static unsigned asks_for(const struct image_rule *rule)
{
	return (rule->user.count + rule->group.count ? (unsigned)FACT_USER : 0) |
	       (rule->sni.count ? (unsigned)FACT_HELLO : 0) |
	       (rule->url.count ? (unsigned)FACT_REQUEST : 0) |
	       (rule->content_type.count ? (unsigned)FACT_RESPONSE : 0);
}

unsigned explain_missed(const struct explanation *explained)
{
	const struct policy *policy = explained->policy;
	unsigned asked = 0;

	for (size_t i = 0; i < policy->image.rules_count; i++)
		asked |= asks_for(&policy->image.rules[i]);
	return asked & explained->facts->absent & ~explained->facts->known;
}

void policy_entry_add_ports(const struct policy_entry *entry, struct buf *out)
{
	for (size_t i = 0; i < entry->port_count; i++) {
		buf_printf(out, "%s%u", i ? "," : "", entry->ports[i].first);
		if (entry->ports[i].last != entry->ports[i].first)
			buf_printf(out, "-%u", entry->ports[i].last);
	}
}

enum line_state explain_read_line(const struct explanation *explained, const struct policy_entry *entry,
                                  struct pattern_line *out)
{
	const struct policy_explain_options *options = explained->options;
	struct span text;
	const char *why;
	size_t at;

	if (options->read_line == NULL || policy_list_name(explained->policy, entry->list).len == 0 ||
	    !options->read_line(options->context, entry->file, entry->line, &text))
		return LINE_UNREAD;
	if (!pattern_line_parse(text, out, &why, &at) || out->is_empty ||
	    !span_equal(span_of(out->pattern.text, out->pattern.text_len), entry->text))
		return LINE_CHANGED;
	return LINE_SAME;
}

/* ---- rules ---- */

static enum state state_of(enum outcome outcome, unsigned bit, struct progress *progress)
{
	static const uint8_t states[] = {
		[OUTCOME_NONE] = STATE_NONE, [OUTCOME_PORT] = STATE_PORT, [OUTCOME_UNKNOWN] = STATE_UNKNOWN,
		[OUTCOME_NEED] = STATE_WAITS, [OUTCOME_HOLDS] = STATE_DECIDES,
	};

	if (outcome < OUTCOME_NEED)
		return (enum state)states[outcome];
	if (progress->holds & bit)
		return STATE_SHADOWED;
	if (outcome == OUTCOME_NEED) {
		progress->waits |= bit;
		return STATE_WAITS;
	}
	progress->holds |= bit;
	return progress->waits & bit ? STATE_MAY : STATE_DECIDES;
}

/* The second reading of a URL makes answers stricter, and no more. */
bool explain_takes_part(const struct pass *pass, enum policy_question question)
{
	return trace_takes_part(question, &pass->name) && (!pass->is_plain || trace_is_merged(question));
}

void explain_states(const struct explanation *explained, const struct pass *pass, uint32_t rule,
                    struct progress *progress, enum state states[static POLICY_QUESTION_COUNT])
{
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		enum policy_question question = (enum policy_question)q;

		states[q] = STATE_NONE;
		if (!explain_takes_part(pass, question))
			continue;
		states[q] = state_of(trace_outcome(explained->policy, &explained->policy->image.rules[rule],
			                           &pass->facts, &pass->standings[rule], question),
		                     1u << q, progress);
		/* Answered for certain though something was not known: it could change nothing. */
		if (!(pass->decision.open >> q & 1) && states[q] == STATE_MAY)
			states[q] = STATE_DECIDES;
		if (!(pass->decision.open >> q & 1) && states[q] == STATE_WAITS)
			states[q] = STATE_SAME;
	}
}

static unsigned could_for(const struct explanation *explained, const struct pass *pass, enum policy_question question)
{
	const struct policy *policy = explained->policy;
	unsigned could = 0;

	for (uint32_t i = 0; i < policy->image.rules_count; i++) {
		const struct image_rule *rule = &policy->image.rules[i];
		enum outcome outcome = trace_outcome(policy, rule, &pass->facts, &pass->standings[i], question);

		if (outcome >= OUTCOME_NEED)
			could |= 1u << rule->answers[question];
		if (outcome == OUTCOME_HOLDS)
			return could;
	}
	return could | 1u << trace_default(policy, &pass->facts, &pass->name, question).answer;
}

/* Of each answer of the one and each of the other, the stricter. */
static unsigned stricter_of(enum policy_question question, unsigned one, unsigned other)
{
	unsigned both = 0;

	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 4; j++)
			if ((one >> i & 1) && (other >> j & 1))
				both |= 1u << (trace_rank(question, i) < trace_rank(question, j) ? i : j);
	return both;
}

unsigned explain_could(const struct explanation *explained, enum policy_question question)
{
	unsigned could = could_for(explained, &explained->passes[0], question);

	for (size_t i = 1; i < explained->pass_count; i++)
		if (explain_takes_part(&explained->passes[i], question))
			could = stricter_of(question, could, could_for(explained, &explained->passes[i], question));
	return could;
}

/* ---- collecting ---- */

static enum match_state state_of_entry(const struct explanation *explained, const struct policy_entry *entry,
                                       bool is_sure)
{
	uint16_t port = explained->facts->port;
	bool has_port = entry->port_count == 0;

	if (entry->expires_ms && explained->facts->wall_ms >= entry->expires_ms)
		return MATCH_EXPIRED;
	for (size_t i = 0; i < entry->port_count; i++)
		has_port |= port >= entry->ports[i].first && port <= entry->ports[i].last;
	return !has_port ? MATCH_OTHER_PORT : is_sure ? MATCH_IN_FORCE : MATCH_UNSURE;
}

static void add_match(void *context, uint32_t index, bool is_sure)
{
	struct explanation *explained = context;
	uint32_t order = (uint32_t)explained->match_count;
	struct policy_entry entry;

	if (explained->failed || !policy_entry(explained->policy, index, &entry))
		return;
	if (explained->match_count == explained->match_capacity) {
		size_t capacity = explained->match_capacity ? explained->match_capacity * 2 : 64;
		struct match *matches = realloc(explained->matches, capacity * sizeof(*matches));

		explained->failed = matches == NULL;
		if (explained->failed)
			return;
		explained->matches = matches;
		explained->match_capacity = capacity;
	}
	explained->matches[explained->match_count++] = (struct match){
		index, order, entry.list, explained->subject, (uint8_t)state_of_entry(explained, &entry, is_sure)};
}

static int compare_matches(const void *one, const void *other)
{
	const struct match *a = one, *b = other;

	if (a->list != b->list)
		return a->list < b->list ? -1 : 1;
	if (a->subject != b->subject)
		return a->subject < b->subject ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

static void collect_matches(struct explanation *explained)
{
	const struct policy_facts *facts = explained->facts;
	struct name names[NAMES_MAX];
	size_t count = trace_names(facts, names);

	for (size_t i = 0; i < count; i++) {
		explained->subject = names[i].index;
		look_up_and_tell(explained->policy, facts, names[i].text, &names[i].address, add_match, explained);
	}
	explained->subject = SUBJECT_ADDRESS;
	if ((facts->known & FACT_ADDRESS) && facts->host_address.family == 0)
		look_up_and_tell(explained->policy, facts, SPAN(""), &facts->address, add_match, explained);
	if (explained->match_count)
		qsort(explained->matches, explained->match_count, sizeof(*explained->matches), compare_matches);
}

static void add_pass(struct explanation *explained, const struct policy_facts *facts, const struct name *name,
                     bool is_plain)
{
	struct pass *pass = &explained->passes[explained->pass_count];

	*pass = (struct pass){.name = *name, .is_plain = is_plain, .facts = *facts};
	pass->standings = calloc(explained->policy->image.rules_count + 1, sizeof(*pass->standings));
	if (pass->standings == NULL) {
		explained->failed = true;
		return;
	}
	explained->pass_count++;
	trace_rules(explained->policy, facts, name, pass->standings, &pass->decision);
}

static void add_passes(struct explanation *explained, const struct policy_facts *facts, bool is_plain)
{
	struct name names[NAMES_MAX];
	size_t count = trace_names(facts, names);

	for (size_t i = 0; i < count; i++)
		add_pass(explained, facts, &names[i], is_plain);
}

static void collect_used(struct explanation *explained)
{
	const struct image *image = &explained->policy->image;

	explained->is_used = calloc(image->lists_count + 1, sizeof(*explained->is_used));
	explained->failed |= explained->is_used == NULL;
	for (size_t i = 0; i < image->rules_count && !explained->failed; i++) {
		const struct image_range ranges[] = {image->rules[i].to, image->rules[i].sni};

		for (size_t j = 0; j < COUNT_OF(ranges); j++)
			for (uint32_t k = 0; k < ranges[j].count; k++)
				explained->is_used[image->list_refs[ranges[j].at + k]] = true;
	}
}

/* `plain`: the facts with the URL as origins read it; equal to the others where that is the same. */
static void collect(struct explanation *explained, const struct policy_facts *plain)
{
	policy_decide(explained->policy, explained->facts, &explained->decision);
	add_passes(explained, explained->facts, false);
	if (!span_equal(plain->url, explained->facts->url))
		add_passes(explained, plain, true);
	collect_matches(explained);
	collect_used(explained);
}

enum err policy_explain(const struct policy *policy, const struct policy_facts *facts,
                        const struct policy_explain_options *options, struct buf *out)
{
	struct explanation explained = {.policy = policy, .facts = facts, .options = options};
	struct policy_facts plain = *facts;
	uint8_t *copy = NULL;

	if (policy->image.urls_count && (facts->known & FACT_REQUEST) &&
	    !url_make_plain(facts->url, &copy, &plain.url))
		return ERR_MEMORY;
	collect(&explained, &plain);
	if (!explained.failed && options->json)
		explain_json(&explained, out);
	else if (!explained.failed)
		explain_text(&explained, out);
	for (size_t i = 0; i < explained.pass_count; i++)
		free(explained.passes[i].standings);
	free(explained.matches);
	free(explained.is_used);
	free(copy);
	return explained.failed || !buf_is_whole(out) ? ERR_MEMORY : ERR_NONE;
}
