/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as YAML: a tree whose texts lie in the arena, or at least one problem. */
#include "conf/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Visit every node; the number of them. */
static size_t walk(const struct yaml_node *node)
{
	size_t count = 1, members = 0;

	ASSERT(node->line >= 1 && node->column >= 1);
	ASSERT(node->text.at != NULL || node->text.len == 0);
	if (node->kind == YAML_SCALAR)
		ASSERT(node->text.at[node->text.len] == 0);
	for (const struct yaml_node *n = node->first; n; n = n->next, members++)
		count += walk(n);
	ASSERT(members == node->count);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems problems;
	struct yaml_node *root;
	struct arena arena;
	enum err err;

	arena_init(&arena, 1 << 20);
	problems_init(&problems);
	err = yaml_parse(span_of(data, size), "fuzz.yaml", &arena, &problems, &root);
	if (err == ERR_NONE)
		walk(root);
	else
		ASSERT(root == NULL && (err == ERR_MEMORY || problems.error_count > 0));
	problems_fini(&problems);
	arena_fini(&arena);
	return 0;
}
