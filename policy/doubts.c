/* SPDX-License-Identifier: Apache-2.0 */
/* Warnings of what is valid and yet not what its author can have meant. They look at what was built, and
 * say nothing of single words: that is said where those are read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "policy/build.h"

enum { REPEATED_SHOWN_MAX = 20 };

struct doubts {
	const struct build *build;
	const char *path; /* of the policy file */
	struct problems *problems;
	const struct image_rule *rules;
	size_t rule_count;
};

static struct span text_at(const struct doubts *doubts, struct image_range range)
{
	return span_of(doubts->build->strings.at + range.at, range.count);
}

#define DOUBT(doubts, rule, format, ...) \
	problem_add((doubts)->problems, PROBLEM_WARNING, (doubts)->path, (rule)->line, (rule)->column, \
	            "rule \"%.*s\": " format, SPAN_ARG(text_at(doubts, (rule)->name)), __VA_ARGS__)

/* ---- conditions that can never be known ---- */

/* Answers that hold where a condition can never be known. */
static bool is_strict(const struct image_rule *rule)
{
	return rule->answers[POLICY_ACCESS] == ACCESS_DENY || rule->answers[POLICY_TLS] == TLS_INSPECT ||
	       rule->answers[POLICY_AUTH] == AUTH_REQUIRED;
}

static bool takes_connect(const struct doubts *doubts, const struct image_rule *rule)
{
	const struct image_range *texts = (const void *)doubts->build->texts.at;

	for (uint32_t i = 0; i < rule->method.count; i++)
		if (span_equal(text_at(doubts, texts[rule->method.at + i]), SPAN("CONNECT")))
			return true;
	return rule->method.count == 0;
}

static void doubt_conditions(const struct doubts *doubts)
{
	for (size_t i = 0; i < doubts->rule_count; i++) {
		const struct image_rule *rule = &doubts->rules[i];
		const char *names[3];
		size_t count = 0;

		if (rule->user.count)
			names[count++] = "user";
		if (rule->group.count)
			names[count++] = "group";
		if (rule->sni.count)
			names[count++] = "sni";
		for (size_t j = 0; j < count; j++)
			DOUBT(doubts, rule, "in this version the condition %s holds for everyone where the rule "
			      "denies and for no one where it allows: it is never known", names[j]);
		if (rule->url.count && is_strict(rule) && takes_connect(doubts, rule))
			DOUBT(doubts, rule, "the URL of a CONNECT is never known: the condition %s holds for every "
			      "CONNECT; add method: [GET, POST, ...] if http:// requests are meant", "url");
	}
}

/* ---- rules that are not reached, names that stand for two ---- */

static bool is_for_all(const struct image_rule *rule)
{
	return rule->to.count + rule->sni.count + rule->port.count + rule->from.count + rule->user.count +
	               rule->group.count + rule->method.count + rule->listener.count + rule->url.count +
	               rule->time.count == 0;
}

/* Lists by index, as note: has one an entry with ports=? */
static bool *find_lists_with_ports(const struct doubts *doubts)
{
	const struct build_entry *entries = (const void *)doubts->build->entries.at;
	bool *found = calloc(doubts->build->lists.count + 1, sizeof(*found));

	for (size_t i = 0; found && i < doubts->build->entries.count; i++)
		found[entries[i].list] |= (entries[i].ports & 0xff) != 0;
	return found;
}

/* Has the rule something to say of ports that are not the default ones? */
static bool has_ports(const struct doubts *doubts, const struct image_rule *rule, const bool *with_ports)
{
	const uint16_t *refs = (const void *)doubts->build->list_refs.at;

	for (uint32_t i = 0; i < rule->to.count; i++)
		if (with_ports[refs[rule->to.at + i]])
			return true;
	return rule->port.count > 0;
}

/* The first rule behind one without conditions that answers the same question. */
static void doubt_reach_of(const struct doubts *doubts, enum policy_question question, const bool *with_ports)
{
	const struct image_rule *before = NULL;
	bool loosens = false;

	for (size_t i = 0; i < doubts->rule_count; i++) {
		const struct image_rule *rule = &doubts->rules[i];

		if (rule->answers[question] == NO_ANSWER)
			continue;
		if (before && !(loosens && has_ports(doubts, rule, with_ports))) {
			DOUBT(doubts, rule, "is never reached for %s%s: the rule \"%.*s\" in line %u answers it, "
			      "has no conditions and comes first", policy_question_name(question),
			      loosens ? " at defaults.ports" : "", SPAN_ARG(text_at(doubts, before->name)),
			      before->line);
			return;
		}
		if (before == NULL && is_for_all(rule)) {
			before = rule;
			loosens = policy_is_loosening(question, rule->answers[question]);
		}
	}
}

static void doubt_reach(const struct doubts *doubts)
{
	bool *with_ports = find_lists_with_ports(doubts);

	for (int q = 0; with_ports && q < POLICY_QUESTION_COUNT; q++)
		doubt_reach_of(doubts, (enum policy_question)q, with_ports);
	free(with_ports);
}

struct named {
	struct span name;
	size_t rule;
};

static int compare_named(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = span_compare(x->name, y->name);

	return order ? order : x->rule < y->rule ? -1 : x->rule > y->rule;
}

static void doubt_names(const struct doubts *doubts)
{
	struct named *named = calloc(doubts->rule_count + 1, sizeof(*named));

	for (size_t i = 0; named && i < doubts->rule_count; i++)
		named[i] = (struct named){text_at(doubts, doubts->rules[i].name), i};
	if (named && doubts->rule_count)
		qsort(named, doubts->rule_count, sizeof(*named), compare_named);
	for (size_t i = 1; named && i < doubts->rule_count; i++)
		if (span_equal(named[i - 1].name, named[i].name))
			DOUBT(doubts, &doubts->rules[named[i].rule],
			      "the rule in line %u has the same name: logs do not tell them apart",
			      doubts->rules[named[i - 1].rule].line);
	free(named);
}

/* ---- answers without effect ---- */

static void doubt_answers(const struct doubts *doubts)
{
	static const enum policy_question idle[] = {POLICY_OPAQUE, POLICY_CLIENT_CERTIFICATE, POLICY_PAC};
	const struct build *build = doubts->build;

	for (size_t i = 0; i < COUNT_OF(idle); i++) {
		const char *name = policy_question_name(idle[i]);
		size_t rule = 0;

		while (rule < doubts->rule_count && doubts->rules[rule].answers[idle[i]] == NO_ANSWER)
			rule++;
		if (rule < doubts->rule_count)
			DOUBT(doubts, &doubts->rules[rule], "%s has no effect in this version", name);
		else if (build->answered >> idle[i] & 1)
			problem_add(doubts->problems, PROBLEM_WARNING, doubts->path, build->defaults_line, 1,
			            "defaults: %s has no effect in this version", name);
	}
}

/* ---- entries that are there twice ---- */

static struct span ports_of(const struct doubts *doubts, const struct build_entry *entry)
{
	const struct image_ports *ports = (const void *)doubts->build->ports.at;
	size_t count = entry->ports & 0xff;

	return count ? span_of(ports + (entry->ports >> 8), count * sizeof(*ports)) : SPAN("");
}

static struct span entry_text(const struct doubts *doubts, const struct build_entry *entry)
{
	return build_entry_text(doubts->build, entry);
}

/* Other ports make another entry. */
static uint64_t entry_hash(const struct doubts *doubts, const struct build_entry *entry)
{
	static const struct hash_key fixed = {{3, 4}};
	const uint64_t parts[] = {entry->list, hash_bytes(&fixed, entry_text(doubts, entry)),
	                          hash_bytes(&fixed, ports_of(doubts, entry))};

	return hash_bytes(&fixed, span_of(parts, sizeof(parts)));
}

static bool is_repeated(const struct doubts *doubts, const struct build_entry *entry,
                        const struct build_entry *other)
{
	return entry->list == other->list &&
	       span_equal(entry_text(doubts, entry), entry_text(doubts, other)) &&
	       span_equal(ports_of(doubts, entry), ports_of(doubts, other));
}

/* The path of a list as other problems have it: from where the policy file is. */
static void add_path(const struct doubts *doubts, const struct build_entry *entry, struct buf *out)
{
	const struct image_file *files = (const void *)doubts->build->files.at;
	struct span written = text_at(doubts, files[entry->file].name), policy = span_from(doubts->path);
	size_t slash = span_find_last(policy, '/');

	if (slash < policy.len && !span_starts_with(written, SPAN("/")))
		buf_add(out, span_first(policy, slash + 1));
	buf_add(out, written);
	buf_add_byte(out, 0);
}

static void doubt_entry(const struct doubts *doubts, const struct build_entry *entry,
                        const struct build_entry *first)
{
	struct buf here, there;

	buf_init(&here, 1 << 16);
	buf_init(&there, 1 << 16);
	add_path(doubts, entry, &here);
	add_path(doubts, first, &there);
	if (buf_is_whole(&here) && buf_is_whole(&there))
		problem_add(doubts->problems, PROBLEM_WARNING, (const char *)buf_span(&here).at, entry->line,
		            1, "%.*s is in this list already: %s%s%u", SPAN_ARG(entry_text(doubts, entry)),
		            entry->file == first->file ? "line " : (const char *)buf_span(&there).at,
		            entry->file == first->file ? "" : ":", first->line);
	buf_fini(&here);
	buf_fini(&there);
}

/* One pass with a table of what was seen: lists have a million entries. */
static void doubt_entries(const struct doubts *doubts)
{
	const struct build_entry *entries = (const void *)doubts->build->entries.at;
	size_t count = doubts->build->entries.count, slots = 16, repeated = 0;
	uint32_t *seen;

	while (slots < count * 2)
		slots *= 2;
	seen = calloc(slots, sizeof(*seen));
	for (uint32_t i = 0; seen && i < count; i++) {
		size_t at = entry_hash(doubts, &entries[i]) & (slots - 1);

		while (seen[at] && !is_repeated(doubts, &entries[i], &entries[seen[at] - 1]))
			at = (at + 1) & (slots - 1);
		if (seen[at] == 0)
			seen[at] = i + 1;
		else if (repeated++ < REPEATED_SHOWN_MAX)
			doubt_entry(doubts, &entries[i], &entries[seen[at] - 1]);
	}
	free(seen);
	if (repeated > REPEATED_SHOWN_MAX)
		problem_add(doubts->problems, PROBLEM_WARNING, doubts->path, 0, 0,
		            "%zu more entries are in their list already", repeated - REPEATED_SHOWN_MAX);
}

void doubts_add(const struct build *build, const char *path, struct problems *problems)
{
	const struct doubts doubts = {build, path, problems, (const void *)build->rules.at, build->rules.count};

	doubt_conditions(&doubts);
	doubt_reach(&doubts);
	doubt_names(&doubts);
	doubt_answers(&doubts);
	doubt_entries(&doubts);
}
