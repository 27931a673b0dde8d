/* SPDX-License-Identifier: Apache-2.0 */
/* Rules are read in order, for each known name alone; what a list says of a name is found in one
 * pass over the index first. Three values run through it: holds, does not hold, not known yet. */
#include <stdlib.h>
#include <string.h>

#include "policy/image.h"
#include "policy/pattern.h"
#include "policy/url.h"

/* How a rule's conditions stand. `need`: facts that must be asked for. `absent`: some condition can
 * never be known here (a regular expression that gave up, too), and everything else holds. */
struct standing {
	bool fails;
	bool is_absent;
	unsigned need;
	bool ports_by_entry;  /* the entry's ports= took the place of the rule's and the default's */
	uint16_t list;
	uint32_t entry;
};

/* A name that a decision is made for. */
struct name {
	struct span text;
	struct address address; /* family 0: it is a name */
	uint8_t index;
};

static const char *const question_names[] = {
#define QUESTION_NAME(name, key) key,
	POLICY_QUESTIONS(QUESTION_NAME)
#undef QUESTION_NAME
};

static const char *const answer_names[POLICY_QUESTION_COUNT][4] = {
	[POLICY_ACCESS] = {"deny", "allow"},
	[POLICY_AUTH] = {"required", "exempt"},
	[POLICY_TLS] = {"inspect", "bypass"},
	[POLICY_OPAQUE] = {"deny", "tunnel"},
	[POLICY_CLIENT_CERTIFICATE] = {"ignore", "deny", "bypass"},
	[POLICY_CLASS] = {"normal", "media", "bulk"},
	[POLICY_ROUTE] = {"direct", "source"},
	[POLICY_PAC] = {"proxy", "direct"},
	[POLICY_LOG] = {"full", "brief", "none"},
};

const char *policy_question_name(enum policy_question question)
{
	return question_names[question];
}

const char *policy_answer_name(enum policy_question question, unsigned answer)
{
	return answer < 4 ? answer_names[question][answer] : NULL;
}

bool policy_is_loosening(enum policy_question question, unsigned answer)
{
	switch (question) {
	case POLICY_ACCESS:
		return answer == ACCESS_ALLOW;
	case POLICY_AUTH:
		return answer == AUTH_EXEMPT;
	case POLICY_TLS:
		return answer == TLS_BYPASS;
	case POLICY_CLIENT_CERTIFICATE:
		return answer == CLIENT_CERTIFICATE_BYPASS;
	case POLICY_OPAQUE:
	case POLICY_CLASS:
	case POLICY_ROUTE:
	case POLICY_PAC:
	case POLICY_LOG:
	case POLICY_QUESTION_COUNT:
		break;
	}
	return false;
}

/* Answers that hold where a fact can never be known: what cannot be proved shall not loosen. */
static bool is_strict(enum policy_question question, unsigned answer)
{
	return (question == POLICY_ACCESS && answer == ACCESS_DENY) ||
	       (question == POLICY_TLS && answer == TLS_INSPECT) ||
	       (question == POLICY_AUTH && answer == AUTH_REQUIRED);
}

/* ---- what the lists say of a name ---- */

struct look_up {
	const struct policy *policy;
	uint16_t port;
	uint64_t wall_ms;
};

static bool has_port(const struct policy *policy, struct image_range ports, uint16_t port)
{
	for (uint32_t i = 0; i < ports.count; i++) {
		const struct image_ports *range = &policy->image.ports[ports.at + i];

		if (port >= range->first && port <= range->last)
			return true;
	}
	return false;
}

/* Note that an entry matched, or that it may, if it is in force; the first that is noted for its list stays. */
static void note(const struct look_up *look, uint32_t index, bool is_sure)
{
	const struct policy *policy = look->policy;
	const struct image_entry *entry = &policy->image.entries[index];
	struct image_range ports = {entry->ports >> 8, entry->ports & 0xff};
	struct policy_hits *hits = &policy->hits[entry->list];
	int kind = ports.count > 0;

	if (entry->expires_min && look->wall_ms / 60000 >= entry->expires_min)
		return;
	if (kind && !has_port(policy, ports, look->port))
		return;
	if (hits->stamp != *policy->stamp) {
		hits->stamp = *policy->stamp;
		hits->entry[0] = hits->entry[1] = hits->unsure = NONE;
	}
	if (!is_sure && hits->unsure == NONE)
		hits->unsure = index;
	if (is_sure && hits->entry[kind] == NONE)
		hits->entry[kind] = index;
}

static void note_hit(const struct look_up *look, uint32_t index)
{
	note(look, index, true);
}

static bool key_is(const struct policy *policy, const struct image_entry *entry, struct span key,
                   const struct address *address, uint8_t prefix_len)
{
	struct span text = image_entry_text(policy, entry);
	struct network network;

	if (address == NULL)
		return entry->kind < PATTERN_NETWORK &&
		       span_equal(span_skip(text, image_key_skip(entry->kind)), key);
	return entry->kind == PATTERN_NETWORK && entry->prefix_len == prefix_len &&
	       network_parse(text, false, &network) && network.base.family == address->family &&
	       network_has(&network, address);
}

/* The first entry with this key; NONE. */
static uint32_t find_key(const struct policy *policy, uint64_t hash, struct span key,
                         const struct address *address, uint8_t prefix_len)
{
	size_t mask = policy->image.slots_count - 1;

	for (size_t at = hash & mask;; at = (at + 1) & mask) {
		const struct image_slot *slot = &policy->image.slots[at];

		if (slot->entry == 0)
			return NONE;
		if (slot->tag == (uint32_t)(hash >> 32) &&
		    key_is(policy, &policy->image.entries[slot->entry - 1], key, address, prefix_len))
			return slot->entry - 1;
	}
}

static void look_up_key(const struct look_up *look, uint64_t hash, struct span key, bool whole)
{
	const struct policy *policy = look->policy;
	uint32_t index = find_key(policy, hash, key, NULL, 0);

	for (; index < policy->image.entries_count; index++) {
		const struct image_entry *entry = &policy->image.entries[index];

		if (!key_is(policy, entry, key, NULL, 0))
			return;
		if (entry->kind == PATTERN_SUFFIX || (entry->kind == PATTERN_EXACT) == whole)
			note_hit(look, index);
	}
}

enum { LABELS_MAX = 128 };

static void look_up_name(const struct look_up *look, struct span name)
{
	const struct policy *policy = look->policy;
	uint64_t hashes[LABELS_MAX], hash = policy->header->key;
	uint16_t starts[LABELS_MAX];
	size_t count = 0;

	for (size_t i = name.len; i > 0; i--) {
		hash = image_hash_byte(hash, name.at[i - 1]);
		if ((i == 1 || name.at[i - 2] == '.') && count < LABELS_MAX) {
			hashes[count] = image_hash_end(hash);
			starts[count++] = (uint16_t)(i - 1);
			__builtin_prefetch(&policy->image.slots[hashes[count - 1] &
			                                        (policy->image.slots_count - 1)]);
		}
	}
	/* The most specific first: it is the one that is quoted. */
	while (count-- > 0)
		look_up_key(look, hashes[count], span_skip(name, starts[count]), starts[count] == 0);
	for (size_t i = 0; i < policy->image.globs_count; i++) {
		const struct image_entry *entry = &policy->image.entries[policy->image.globs[i]];

		if (pattern_glob_matches(image_entry_text(policy, entry), name))
			note_hit(look, policy->image.globs[i]);
	}
	for (uint32_t i = 0; i < policy->image.regexes_count; i++) {
		enum policy_match match = MATCH_NO;

		if (policy->image.regexes[i] != NONE)
			match = policy_regex_match(policy, i, name);
		if (match != MATCH_NO)
			note(look, policy->image.regexes[i], match == MATCH_YES);
	}
}

static void look_up_prefix(const struct look_up *look, const struct address *address,
                           uint8_t prefix_len)
{
	const struct policy *policy = look->policy;
	uint8_t room[NETWORK_KEY_BYTES];
	struct span key = image_network_key(address, prefix_len, room);
	uint64_t hash = image_hash(policy->header->key, key);
	uint32_t index = find_key(policy, hash, key, address, prefix_len);

	for (; index < policy->image.entries_count; index++) {
		if (!key_is(policy, &policy->image.entries[index], key, address, prefix_len))
			return;
		note_hit(look, index);
	}
}

static bool has_prefix(const struct image_header *header, uint16_t family, int len)
{
	if (family == AF_INET)
		return header->prefixes4 >> len & 1;
	return header->prefixes6[len / 64] >> len % 64 & 1;
}

static void look_up_address(const struct look_up *look, const struct address *address)
{
	struct address plain = address_unmapped(address);

	for (int len = plain.family == AF_INET ? 32 : 128; len >= 0; len--)
		if (has_prefix(look->policy->header, plain.family, len))
			look_up_prefix(look, &plain, (uint8_t)len);
}

static void begin_look_up(const struct policy *policy)
{
	if (++*policy->stamp)
		return;
	memset(policy->hits, 0, (policy->image.lists_count + 1) * sizeof(*policy->hits));
	*policy->stamp = 1;
}

static void look_up(const struct policy *policy, const struct policy_facts *facts,
                    struct span text, const struct address *address)
{
	struct look_up look = {policy, facts->port, facts->wall_ms};

	begin_look_up(policy);
	if (address->family)
		look_up_address(&look, address);
	else if (text.len)
		look_up_name(&look, text);
}

/* Does one of the lists have a hit? The entry with ports= goes before the one without, as it says more. */
static bool find_hit(const struct policy *policy, struct image_range lists,
                     struct standing *standing)
{
	for (int kind = 1; kind >= 0; kind--) {
		for (uint32_t i = 0; i < lists.count; i++) {
			uint16_t list = policy->image.list_refs[lists.at + i];
			const struct policy_hits *hits = &policy->hits[list];

			if (hits->stamp != *policy->stamp || hits->entry[kind] == NONE)
				continue;
			standing->list = list;
			standing->entry = hits->entry[kind];
			standing->ports_by_entry = kind;
			return true;
		}
	}
	return false;
}

/* The lists have no hit: did it remain open for one of them? Nobody shall make an expression give up and
 * so pass what it denies. */
static bool find_unsure(const struct policy *policy, struct image_range lists,
                        struct standing *standing)
{
	for (uint32_t i = 0; i < lists.count; i++) {
		uint16_t list = policy->image.list_refs[lists.at + i];
		const struct policy_hits *hits = &policy->hits[list];

		if (hits->stamp != *policy->stamp || hits->unsure == NONE)
			continue;
		standing->list = list;
		standing->entry = hits->unsure;
		standing->ports_by_entry = policy->image.entries[hits->unsure].ports & 0xff;
		standing->is_absent = true;
		return true;
	}
	return false;
}

static bool lists_have_networks(const struct policy *policy, struct image_range lists)
{
	for (uint32_t i = 0; i < lists.count; i++)
		if (policy->image.lists[policy->image.list_refs[lists.at + i] - 1].has_networks)
			return true;
	return false;
}

/* ---- conditions ---- */

/* A fact that is missing: to be asked for, or never to be known. */
static void miss(struct standing *standing, const struct policy_facts *facts, unsigned fact)
{
	if (facts->absent & fact)
		standing->is_absent = true;
	else
		standing->need |= fact;
}

static bool has_text(const struct policy *policy, struct image_range texts, struct span text)
{
	for (uint32_t i = 0; i < texts.count; i++)
		if (span_equal(image_text(policy, policy->image.texts[texts.at + i]), text))
			return true;
	return false;
}

static bool check_from(const struct policy *policy, const struct image_rule *rule,
                       const struct policy_facts *facts)
{
	for (uint32_t i = 0; i < rule->from.count; i++)
		if (network_has(&policy->image.networks[rule->from.at + i], &facts->from))
			return true;
	return rule->from.count == 0;
}

static bool check_time(const struct policy *policy, const struct image_rule *rule,
                       const struct policy_facts *facts)
{
	for (uint32_t i = 0; i < rule->time.count; i++) {
		const struct image_time *time = &policy->image.times[rule->time.at + i];
		int64_t minutes = (int64_t)(facts->wall_ms / 60000) + time->zone_min;
		uint32_t minute = (uint32_t)(((minutes % 1440) + 1440) % 1440);
		uint32_t day = (uint32_t)((minutes / 1440 + 3) % 7); /* 1970-01-01 was a Thursday */

		if (time->from_min <= time->until_min) {
			if ((time->days >> day & 1) && minute >= time->from_min && minute < time->until_min)
				return true;
		} else if ((minute >= time->from_min && (time->days >> day & 1)) ||
		           (minute < time->until_min && (time->days >> (day + 6) % 7 & 1))) {
			return true; /* over midnight: it belongs to the day on which it began */
		}
	}
	return rule->time.count == 0;
}

static bool check_group(const struct policy *policy, const struct image_rule *rule,
                        const struct policy_facts *facts)
{
	for (size_t i = 0; i < facts->group_count; i++)
		if (has_text(policy, rule->group, facts->groups[i]))
			return true;
	return false;
}

static void check_user(const struct policy *policy, const struct image_rule *rule,
                       const struct policy_facts *facts, struct standing *standing)
{
	if (rule->user.count == 0 && rule->group.count == 0)
		return;
	if (!(facts->known & FACT_USER))
		miss(standing, facts, FACT_USER);
	else if ((rule->user.count && !has_text(policy, rule->user, facts->user)) ||
	         (rule->group.count && !check_group(policy, rule, facts)))
		standing->fails = true;
}

static enum policy_match match_url(const struct policy *policy, const struct image_url *url,
                                   struct span text)
{
	if (url->regex != NONE)
		return policy_regex_match(policy, url->regex, text);
	return span_starts_with(text, image_text(policy, url->text)) ? MATCH_YES : MATCH_NO;
}

static void check_url(const struct policy *policy, const struct image_rule *rule,
                      const struct policy_facts *facts, struct standing *standing)
{
	bool is_unsure = false;

	for (uint32_t i = 0; i < rule->url.count; i++) {
		enum policy_match match =
			match_url(policy, &policy->image.urls[rule->url.at + i], facts->url);

		if (match == MATCH_YES)
			return;
		is_unsure |= match == MATCH_GAVE_UP;
	}
	if (is_unsure)
		standing->is_absent = true;
	else
		standing->fails = true;
}

static void check_request(const struct policy *policy, const struct image_rule *rule,
                          const struct policy_facts *facts, struct standing *standing)
{
	if (rule->method.count && facts->method.len) {
		if (!has_text(policy, rule->method, facts->method))
			standing->fails = true;
	} else if (rule->method.count) {
		miss(standing, facts, FACT_REQUEST);
	}
	if (rule->url.count == 0)
		return;
	if (!(facts->known & FACT_REQUEST))
		miss(standing, facts, FACT_REQUEST);
	else
		check_url(policy, rule, facts, standing);
}

/* The lists were looked up for the name before; a rule with resolved: also asks for the address. */
static void check_to(const struct policy *policy, const struct image_rule *rule,
                     const struct policy_facts *facts, const struct name *name,
                     struct standing *standing)
{
	if (rule->to.count == 0 || find_hit(policy, rule->to, standing) ||
	    find_unsure(policy, rule->to, standing))
		return;
	if (!rule->resolved || name->address.family || !lists_have_networks(policy, rule->to)) {
		standing->fails = true;
	} else if (!(facts->known & FACT_ADDRESS)) {
		miss(standing, facts, FACT_ADDRESS);
	} else {
		look_up(policy, facts, SPAN(""), &facts->address);
		standing->fails = !find_hit(policy, rule->to, standing);
		look_up(policy, facts, name->text, &name->address);
	}
}

static void check_sni(const struct policy *policy, const struct image_rule *rule,
                      const struct policy_facts *facts, const struct name *name,
                      struct standing *standing)
{
	static const struct address none;
	struct standing ignored = {0};

	if (rule->sni.count == 0)
		return;
	if (!(facts->known & FACT_HELLO)) {
		miss(standing, facts, FACT_HELLO);
	} else if (facts->sni.len == 0) {
		standing->is_absent = true;
	} else {
		look_up(policy, facts, facts->sni, &none);
		if (!find_hit(policy, rule->sni, &ignored)) {
			standing->is_absent |= find_unsure(policy, rule->sni, &ignored);
			standing->fails = !ignored.is_absent;
		}
		look_up(policy, facts, name->text, &name->address);
	}
}

static struct standing check_rule(const struct policy *policy, const struct image_rule *rule,
                                  const struct policy_facts *facts, const struct name *name)
{
	struct standing standing = {.entry = NONE};

	if (!check_from(policy, rule, facts) || !check_time(policy, rule, facts) ||
	    (rule->listener.count && !has_text(policy, rule->listener, facts->listener)))
		standing.fails = true;
	if (!standing.fails)
		check_to(policy, rule, facts, name, &standing);
	if (!standing.fails && rule->port.count && !standing.ports_by_entry)
		standing.fails = !has_port(policy, rule->port, facts->port);
	if (!standing.fails)
		check_user(policy, rule, facts, &standing);
	if (!standing.fails)
		check_request(policy, rule, facts, &standing);
	if (!standing.fails)
		check_sni(policy, rule, facts, name, &standing);
	return standing;
}

/* Does the answer hold at this port? Without `port` and ports=, a loosening one only at the default ports. */
static bool holds_at_port(const struct policy *policy, const struct image_rule *rule,
                          const struct policy_facts *facts, const struct standing *standing,
                          enum policy_question question, unsigned answer)
{
	if (rule->port.count || standing->ports_by_entry || !policy_is_loosening(question, answer))
		return true;
	return has_port(policy, policy->header->default_ports, facts->port);
}

/* ---- one name, then all ---- */

/* Questions that take part for a name: all for the authority, the strict ones for the others. */
static bool takes_part(enum policy_question question, const struct name *name)
{
	return name->index == 0 || question <= POLICY_CLIENT_CERTIFICATE;
}

static void apply_rule(const struct policy *policy, uint32_t index, const struct policy_facts *facts,
                       const struct name *name, struct policy_decision *out, unsigned *left)
{
	const struct image_rule *rule = &policy->image.rules[index];
	struct standing standing = check_rule(policy, rule, facts, name);

	if (standing.fails)
		return;
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++) {
		enum policy_question question = (enum policy_question)q;
		uint8_t answer = rule->answers[q];

		if (answer == NO_ANSWER || !(*left >> q & 1) ||
		    !holds_at_port(policy, rule, facts, &standing, question, answer))
			continue;
		if (standing.is_absent && !is_strict(question, answer))
			continue;
		*left &= ~(1u << q);
		if (standing.need) {
			out->needs[q] = (uint8_t)standing.need;
			out->open |= 1u << q;
			continue;
		}
		out->answers[q] = (struct policy_answer){answer, name->index, standing.list, index,
		                                         standing.entry};
		if (question == POLICY_ROUTE)
			out->route_source = rule->route_source;
	}
}

static uint8_t default_answer(const struct policy *policy, const struct policy_facts *facts,
                              enum policy_question question)
{
	uint8_t answer = policy->header->defaults[question];

	if (question == POLICY_ACCESS && answer == ACCESS_ALLOW &&
	    !has_port(policy, policy->header->default_ports, facts->port))
		return ACCESS_DENY;
	return answer;
}

static void decide_name(const struct policy *policy, const struct policy_facts *facts,
                        const struct name *name, struct policy_decision *out)
{
	unsigned left = 0;

	*out = (struct policy_decision){.need = 0};
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (takes_part((enum policy_question)q, name))
			left |= 1u << q;
	look_up(policy, facts, name->text, &name->address);
	for (uint32_t i = 0; left && i < policy->image.rules_count; i++)
		apply_rule(policy, i, facts, name, out, &left);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		if (left >> q & 1)
			out->answers[q] = (struct policy_answer){
				default_answer(policy, facts, (enum policy_question)q), name->index, 0,
				POLICY_NO_RULE, NONE};
}

/* Smaller is stricter. */
static unsigned rank(enum policy_question question, unsigned answer)
{
	static const uint8_t certificate_ranks[] = {1, 0, 2}; /* ignore, deny, bypass */

	return question == POLICY_CLIENT_CERTIFICATE && answer < 3 ? certificate_ranks[answer] : answer;
}

static bool is_open(const struct policy_decision *decision, enum policy_question question)
{
	return decision->open >> question & 1;
}

/* Nothing can be stricter, whatever another name still needs. */
static bool is_strictest(const struct policy_decision *decision, enum policy_question question)
{
	return !is_open(decision, question) && rank(question, decision->answers[question].answer) == 0;
}

static void merge(struct policy_decision *out, const struct policy_decision *other,
                  enum policy_question question)
{
	if (is_strictest(out, question))
		return;
	if (!is_strictest(other, question) && (is_open(out, question) || is_open(other, question))) {
		out->open |= 1u << question;
		out->needs[question] |= other->needs[question];
		return;
	}
	if (is_open(out, question) || rank(question, other->answers[question].answer) <
	                                      rank(question, out->answers[question].answer))
		out->answers[question] = other->answers[question];
	out->open &= ~(1u << question);
	out->needs[question] = 0;
}

static void decide_names(const struct policy *policy, const struct policy_facts *facts,
                         struct policy_decision *out)
{
	struct name names[3] = {{.text = facts->host, .address = facts->host_address, .index = 0},
	                        {.text = SPAN(""), .index = 1},
	                        {.text = facts->inner_host, .index = 2}};
	struct policy_decision other;

	if (facts->known & FACT_HELLO)
		names[1].text = facts->sni;
	decide_name(policy, facts, &names[0], out);
	for (size_t i = 1; i < COUNT_OF(names); i++) {
		if (names[i].text.len == 0 || span_equal(names[i].text, facts->host))
			continue;
		if (address_parse(names[i].text, &names[i].address))
			names[i].address.port = facts->port;
		decide_name(policy, facts, &names[i], &other);
		for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
			if (takes_part((enum policy_question)q, &names[i]))
				merge(out, &other, (enum policy_question)q);
	}
}

/* A URL can be spelled in many ways that an origin takes for the same: as it is written and as origins
 * read it, both are decided, and the strictest answer holds. */
static void decide_plain_url(const struct policy *policy, const struct policy_facts *facts,
                             struct policy_decision *out)
{
	struct policy_facts plain = *facts;
	struct policy_decision other;
	uint8_t *copy;

	if (!url_make_plain(facts->url, &copy, &plain.url)) {
		out->answers[POLICY_ACCESS] =
			(struct policy_answer){ACCESS_DENY, 0, 0, POLICY_NO_RULE, NONE};
		out->open &= ~(1u << POLICY_ACCESS);
		out->needs[POLICY_ACCESS] = 0;
		return;
	}
	if (!span_equal(plain.url, facts->url)) {
		decide_names(policy, &plain, &other);
		for (int q = 0; q <= POLICY_CLIENT_CERTIFICATE; q++)
			merge(out, &other, (enum policy_question)q);
	}
	free(copy);
}

void policy_decide(const struct policy *policy, const struct policy_facts *facts,
                   struct policy_decision *out)
{
	decide_names(policy, facts, out);
	if (policy->image.urls_count && (facts->known & FACT_REQUEST))
		decide_plain_url(policy, facts, out);
	for (int q = 0; q < POLICY_QUESTION_COUNT; q++)
		out->need |= out->needs[q];
}

/* ---- for people ---- */

struct span policy_rule_name(const struct policy *policy, uint32_t rule)
{
	if (rule >= policy->image.rules_count)
		return SPAN("defaults");
	return image_text(policy, policy->image.rules[rule].name);
}

struct span policy_rule_file(const struct policy *policy, uint32_t rule, unsigned *line)
{
	uint32_t file = policy->header->policy_file;

	*line = policy->header->defaults_line;
	if (rule < policy->image.rules_count) {
		file = policy->image.rules[rule].file;
		*line = policy->image.rules[rule].line;
	}
	return image_text(policy, policy->image.files[file]);
}

struct span policy_list_name(const struct policy *policy, uint16_t list)
{
	if (list == 0 || list > policy->image.lists_count)
		return SPAN("");
	return image_text(policy, policy->image.lists[list - 1].name);
}

bool policy_place(const struct policy *policy, const struct policy_answer *answer,
                  struct span *file, unsigned *line, struct span *entry_text)
{
	const struct image_entry *entry;

	if (answer->list == 0 || answer->entry >= policy->image.entries_count)
		return false;
	entry = &policy->image.entries[answer->entry];
	*file = image_text(policy, policy->image.files[entry->file]);
	*line = entry->line;
	*entry_text = image_entry_text(policy, entry);
	return true;
}
