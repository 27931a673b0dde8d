/* SPDX-License-Identifier: Apache-2.0 */
/* rate: so much per second, for all that a rule answers for, or for each client or user. */
#include "policy/compile/compile.h"

enum { DOUBTFUL_BELOW_BYTES = 16384 };

#define RATE_MOST_BYTES (UINT64_C(1) << 40)

static void read_size(struct compile *compile, const struct yaml_node *node, struct image_rule *rule)
{
	if (node->kind != YAML_SCALAR || !conf_parse_size_bytes(node->text, &rule->rate_bytes))
		WRONG(compile, node, "rate: write bytes per second such as 512K or 10M, {each: client, rate: 512K}, or none");
	else if (rule->rate_bytes < POLICY_RATE_LEAST_BYTES || rule->rate_bytes > RATE_MOST_BYTES)
		WRONG(compile, node, "rate: %.*s is not from 1K to 1024G; none is no limit", SPAN_ARG(node->text));
	else if (rule->rate_bytes < DOUBTFUL_BELOW_BYTES)
		WARN(compile, DOUBTFUL, node, "rate: %.*s are bytes per second; with so little a page takes minutes, and access: deny "
		                              "is kinder", SPAN_ARG(node->text));
}

static void read_each(struct compile *compile, const struct yaml_node *node, struct image_rule *rule)
{
	for (unsigned each = 0; each < EACH_COUNT; each++) {
		if (node->kind != YAML_SCALAR || !span_equal(node->text, span_from(policy_each_name((enum policy_each)each))))
			continue;
		rule->rate_each = each;
		return;
	}
	WRONG(compile, node, "each: \"%.*s\" is not known; it can be rule, client, user", SPAN_ARG(node->text));
}

void compile_rate(struct compile *compile, const struct yaml_node *node, struct image_rule *rule)
{
	static const char *const names[] = {"each", "rate"};
	const struct yaml_node *rate = yaml_find(node, "rate");

	rule->answers[POLICY_RATE] = RATE_LIMIT;
	if (node->kind == YAML_SCALAR && span_equal(node->text, SPAN("none"))) {
		rule->answers[POLICY_RATE] = RATE_NONE;
		return;
	}
	if (node->kind != YAML_MAPPING || rate == NULL) {
		read_size(compile, node, rule);
		return;
	}
	for (const struct yaml_node *part = node->first; part; part = part->next) {
		if (span_equal(part->key, SPAN("each")))
			read_each(compile, part, rule);
		else if (part != rate)
			compile_complain_unknown(compile, part, names, COUNT_OF(names));
	}
	read_size(compile, rate, rule);
}

void compile_check_rate(struct compile *compile, const struct yaml_node *then, const struct image_rule *rule)
{
	if (rule->answers[POLICY_RATE] == RATE_LIMIT && rule->answers[POLICY_CLASS] == CLASS_MEDIA)
		WARN(compile, NO_EFFECT, yaml_find(then, "rate"), "rate: has no effect, as this rule makes it class media, which is "
		                                                  "never limited");
}
