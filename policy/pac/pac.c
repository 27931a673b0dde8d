/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/pac/pac.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "policy/pac/pac_text.h"
#include "policy/pattern.h"

enum { LISTS_NAMED_MAX = 5 };

/* An entry that goes in. Those with the same list, kind and ports= stand together. */
struct item {
	struct span text;
	const struct image_ports *ports;
	size_t port_count;
	uint16_t list;
	uint8_t kind; /* enum pattern_kind */
};

struct items {
	struct item *at;
	size_t count, capacity;
	size_t max_count; /* more do not fit in any case */
	bool failed, is_over;
};

static bool answers_pac(const struct image_rule *rule)
{
	return rule->answers[POLICY_PAC] != NO_ANSWER;
}

/* `from` NULL: any client. */
static bool is_for(const struct policy *policy, const struct image_rule *rule,
                   const struct address *from)
{
	for (uint32_t i = 0; from && i < rule->from.count; i++)
		if (network_has(&policy->image.networks[rule->from.at + i], from))
			return true;
	return from == NULL || rule->from.count == 0;
}

/* ---- what goes in ---- */

static bool *note_lists(const struct policy *policy, const struct address *from)
{
	bool *used = calloc(policy->image.lists_count + 1, sizeof(*used));

	for (size_t i = 0; used && i < policy->image.rules_count; i++) {
		const struct image_rule *rule = &policy->image.rules[i];

		if (!answers_pac(rule) || !is_for(policy, rule, from))
			continue;
		for (uint32_t j = 0; j < rule->to.count; j++)
			used[policy->image.list_refs[rule->to.at + j]] = true;
	}
	return used;
}

static uint8_t kind_of(struct span text)
{
	struct span rest = span_starts_with(text, SPAN("*.")) ? span_skip(text, 2) : text;
	struct network ignored;

	if (text.at[0] == '/')
		return PATTERN_REGEX;
	if (span_find(rest, '*') < rest.len)
		return PATTERN_GLOB;
	if (rest.len < text.len)
		return PATTERN_BELOW;
	if (text.at[0] == '.')
		return PATTERN_SUFFIX;
	return pattern_network_parse(text, &ignored) ? PATTERN_NETWORK : PATTERN_EXACT;
}

static void add_item(struct items *items, const struct policy_entry *entry)
{
	if (items->count == items->max_count)
		items->is_over = true;
	if (items->is_over || items->failed)
		return;
	if (items->count == items->capacity) {
		size_t capacity = items->capacity ? items->capacity * 2 : 256;
		struct item *grown = realloc(items->at, capacity * sizeof(*grown));

		items->failed = grown == NULL;
		if (grown == NULL)
			return;
		items->at = grown;
		items->capacity = capacity;
	}
	items->at[items->count++] = (struct item){entry->text, entry->ports, entry->port_count,
	                                          entry->list, kind_of(entry->text)};
}

static int compare_groups(const struct item *a, const struct item *b)
{
	if (a->list != b->list)
		return a->list < b->list ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->port_count != b->port_count)
		return a->port_count < b->port_count ? -1 : 1;
	return a->port_count ? memcmp(a->ports, b->ports, a->port_count * sizeof(*a->ports)) : 0;
}

/* The same policy gives the same file, byte for byte: its ETag depends on that. */
static int compare_items(const void *left, const void *right)
{
	const struct item *a = left, *b = right;
	int groups = compare_groups(a, b);

	return groups ? groups : span_compare(a->text, b->text);
}

static void collect(const struct policy *policy, const bool *used, uint64_t wall_ms,
                    struct items *items)
{
	size_t count = policy_entry_count(policy);

	for (uint32_t i = 0; i < count; i++) {
		struct policy_entry entry;

		if (!policy_entry(policy, i, &entry) || !used[entry.list] || entry.text.len == 0 ||
		    (entry.expires_ms && wall_ms >= entry.expires_ms))
			continue;
		add_item(items, &entry);
	}
	if (items->count)
		qsort(items->at, items->count, sizeof(*items->at), compare_items);
}

/* ---- writing ---- */

static void write_ports(const struct image_ports *ports, size_t count, struct buf *out)
{
	buf_add_byte(out, '[');
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s%u,%u", i ? "," : "", ports[i].first, ports[i].last);
	buf_add_byte(out, ']');
}

/* "424:3232235776": family, prefix length, and the address as a number; of IPv6 its words. */
static void write_network(struct span text, struct buf *out)
{
	struct network network;
	const uint8_t *bytes = network.base.bytes;

	if (!pattern_network_parse(text, &network))
		return;
	if (network.base.family == AF_INET) {
		buf_printf(out, "4%u:%lu", network.prefix_len,
		           (unsigned long)bytes[0] << 24 | (unsigned long)bytes[1] << 16 |
		                   (unsigned long)bytes[2] << 8 | bytes[3]);
		return;
	}
	buf_printf(out, "6%u:", network.prefix_len);
	for (unsigned i = 0; i * 16 < network.prefix_len; i++)
		buf_printf(out, "%s%u", i ? "." : "", (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1]);
}

/* The prefixes under which keys of this kind lie: those of names look_up.c knows as whole and below. */
static const char *const prefixes[] = {
	[PATTERN_EXACT] = "[\"=\"]",
	[PATTERN_BELOW] = "[\".\"]",
	[PATTERN_SUFFIX] = "[\"=\",\".\"]",
	[PATTERN_NETWORK] = "[\"\"]",
};

void pac_string_write(struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];

		if (byte < 0x20 || byte >= 0x7f || strchr("\"\\'`<>", byte))
			buf_printf(out, "\\x%02x", byte);
		else
			buf_add_byte(out, byte);
	}
}

static void write_item(const struct item *item, struct buf *out)
{
	size_t began = out->end, at;
	const char *why;

	if (item->kind == PATTERN_GLOB)
		pac_glob_write(item->text, out);
	else if (item->kind == PATTERN_NETWORK)
		write_network(item->text, out);
	else if (item->kind != PATTERN_REGEX)
		pac_string_write(span_skip(item->text, image_key_skip(item->kind)), out);
	else if (!pac_regex_write(pattern_regex(item->text), out, &why, &at)) {
		out->end = began; /* compiling refuses it: policy_compile() */
		buf_add_string(out, "/(?!)/");
	}
}

/* One group; the result is how many items it has. */
static size_t write_group(const struct item *items, size_t count, struct buf *out)
{
	const struct item *first = &items[0];
	bool is_tests = first->kind >= PATTERN_GLOB;
	size_t i = 0;

	buf_printf(out, is_tests ? "sp_add_tests(%u," : "sp_add(%u,", first->list);
	write_ports(first->ports, first->port_count, out);
	if (is_tests)
		buf_add_string(out, ",[");
	else
		buf_printf(out, ",%s,\"", prefixes[first->kind]);
	for (; i < count && compare_groups(first, &items[i]) == 0; i++) {
		if (i)
			buf_add_byte(out, is_tests ? ',' : ' ');
		write_item(&items[i], out);
	}
	buf_add_string(out, is_tests ? "]);\n" : "\");\n");
	return i;
}

static void write_prefixes(const struct items *items, struct buf *out)
{
	bool has[2][129] = {{false}};

	for (size_t i = 0; i < items->count; i++) {
		struct network network;

		if (items->at[i].kind == PATTERN_NETWORK &&
		    pattern_network_parse(items->at[i].text, &network))
			has[network.base.family == AF_INET6][network.prefix_len] = true;
	}
	for (int six = 0; six < 2; six++) {
		const char *comma = "";

		buf_printf(out, "var sp_prefixes%d = [", six ? 6 : 4);
		for (int len = 0; len <= 128; len++) {
			if (!has[six][len])
				continue;
			buf_printf(out, "%s%d", comma, len);
			comma = ",";
		}
		buf_add_string(out, "];\n");
	}
}

static void write_rule(const struct policy *policy, const struct image_rule *rule, bool first,
                       struct buf *out)
{
	buf_add_string(out, first ? "\n[[" : ",\n[[");
	for (uint32_t i = 0; i < rule->to.count; i++)
		buf_printf(out, "%s%u", i ? "," : "", policy->image.list_refs[rule->to.at + i]);
	buf_add_string(out, "],");
	write_ports(policy->image.ports + rule->port.at, rule->port.count, out);
	buf_printf(out, ",%u]", rule->answers[POLICY_PAC]);
}

static void write_rules(const struct policy *policy, const struct address *from, struct buf *out)
{
	bool first = true;

	buf_add_string(out, "var sp_rules = [");
	for (size_t i = 0; i < policy->image.rules_count; i++) {
		const struct image_rule *rule = &policy->image.rules[i];

		if (!answers_pac(rule) || !is_for(policy, rule, from))
			continue;
		write_rule(policy, rule, first, out);
		first = false;
	}
	buf_printf(out, "];\nvar sp_default = %u;\n", policy->header->defaults[POLICY_PAC]);
}

void policy_pac_begin(struct span proxies, struct buf *out)
{
	buf_add_string(out, "// What goes through the proxy, and what does not.\nvar sp_answers = [\"");
	pac_string_write(proxies, out);
	buf_add_string(out, "\", \"DIRECT\"];\n");
}

static void write_all(const struct policy *policy, const struct address *from, const struct items *items,
                      struct buf *out)
{
	buf_printf(out, "// Made from the policy %016llx.\n", (unsigned long long)policy->header->generation_hash);
	buf_add_string(out, pac_script_begin);
	for (size_t i = 0; i < items->count;)
		i += write_group(items->at + i, items->count - i, out);
	write_prefixes(items, out);
	write_rules(policy, from, out);
	for (const char *const *part = pac_script_end; *part; part++)
		buf_add_string(out, *part);
}

enum err policy_pac_write(const struct policy *policy, const struct address *from, uint64_t wall_ms,
                          struct buf *out)
{
	/* Each takes two bytes at least. */
	struct items items = {.max_count = out->max_bytes / 2};
	bool *used = note_lists(policy, from);
	enum err err = ERR_NONE;

	if (used == NULL)
		return ERR_MEMORY;
	collect(policy, used, wall_ms, &items);
	free(used);
	if (items.failed)
		err = ERR_MEMORY;
	else if (items.is_over)
		err = ERR_LIMIT;
	else
		write_all(policy, from, &items, out);
	free(items.at);
	return err || buf_is_whole(out) ? err : ERR_LIMIT;
}

/* ---- questions about it ---- */

bool policy_pac_has_classes(const struct policy *policy)
{
	for (size_t i = 0; i < policy->image.rules_count; i++)
		if (answers_pac(&policy->image.rules[i]) && policy->image.rules[i].from.count)
			return true;
	return false;
}

uint64_t policy_pac_class(const struct policy *policy, const struct address *from)
{
	static const struct hash_key fixed = {{3, 4}};
	uint64_t class = 0;

	for (size_t i = 0; i < policy->image.rules_count; i++) {
		const struct image_rule *rule = &policy->image.rules[i];
		uint64_t step[2] = {class, i};

		if (answers_pac(rule) && rule->from.count && is_for(policy, rule, from))
			class = hash_bytes(&fixed, span_of(step, sizeof(step)));
	}
	return class;
}

/* Bytes by list, about; index 0 is the whole. */
static uint64_t *measure(const struct policy *policy, uint64_t wall_ms)
{
	uint64_t *bytes = calloc(policy->image.lists_count + 1, sizeof(*bytes));
	bool *used = note_lists(policy, NULL);
	size_t count = policy_entry_count(policy);
	struct policy_entry entry;

	for (uint32_t i = 0; bytes && used && i < count; i++) {
		if (!policy_entry(policy, i, &entry) || !used[entry.list] ||
		    (entry.expires_ms && wall_ms >= entry.expires_ms))
			continue;
		bytes[0] += entry.text.len + 1;
		bytes[entry.list] += entry.text.len + 1;
	}
	if (used == NULL) {
		free(bytes);
		bytes = NULL;
	}
	free(used);
	return bytes;
}

static void name_largest(const struct policy *policy, uint64_t *bytes, struct buf *why)
{
	for (int named = 0; named < LISTS_NAMED_MAX; named++) {
		uint16_t largest = 0;
		uint64_t most = 0;

		for (uint32_t list = 1; list <= policy->image.lists_count; list++) {
			/* A pattern that stands in a rule has no name, and is not what makes it large. */
			if (bytes[list] > most && policy_list_name(policy, (uint16_t)list).len) {
				most = bytes[list];
				largest = (uint16_t)list;
			}
		}
		if (largest == 0)
			return;
		buf_printf(why, "%s%.*s (%llu KiB)", named ? ", " : "",
		           SPAN_ARG(policy_list_name(policy, largest)),
		           (unsigned long long)((most + 1023) / 1024));
		bytes[largest] = 0;
	}
}

bool policy_pac_fits(const struct policy *policy, uint64_t wall_ms, size_t max_bytes, struct buf *why)
{
	uint64_t *bytes;
	struct buf text;
	enum err err;

	buf_init(&text, max_bytes);
	err = policy_pac_write(policy, NULL, wall_ms, &text);
	buf_fini(&text);
	if (err == ERR_NONE)
		return true;
	bytes = measure(policy, wall_ms);
	buf_add_string(why, "it takes most for the lists ");
	if (bytes)
		name_largest(policy, bytes, why);
	free(bytes);
	return false;
}
