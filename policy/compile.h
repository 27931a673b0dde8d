/* SPDX-License-Identifier: Apache-2.0 */
/* What reading policy files shares: compile.c (rules, the whole), conditions.c (when:), times.c, lists.c.
 * Private to this folder. */
#ifndef POLICY_COMPILE_H
#define POLICY_COMPILE_H

#include "conf/conf.h"
#include "policy/build.h"

struct compile {
	const char *path; /* of the policy file that is being read */
	uint16_t file;    /* its place in build.files */
	struct arena arena;
	struct problems *problems;
	struct build build;
	const char **list_names; /* by list - 1; NULL for inline patterns */
	bool *list_used;
	size_t list_count, list_capacity;
	uint64_t now_ms;
};

#define WRONG(compile, node, ...) \
	problem_add((compile)->problems, PROBLEM_ERROR, (compile)->path, (node)->line, \
	            (node)->column, __VA_ARGS__)
#define WARN(compile, node, ...) \
	problem_add((compile)->problems, PROBLEM_WARNING, (compile)->path, (node)->line, \
	            (node)->column, __VA_ARGS__)

/* ---- lists.c ---- */

/* Read lists: and the files that it names. */
void compile_lists(struct compile *compile, const struct yaml_node *lists);

/* A file by its name in the policy; its place in build.files. */
uint16_t compile_add_file(struct compile *compile, struct span shown);

/* A path as it is written in the policy file, from that file's folder. In the arena; NULL: no memory. */
const char *compile_path(struct compile *compile, struct span path);

/* The lists that a condition names, patterns in their place included. */
struct image_range compile_list_refs(struct compile *compile, const struct yaml_node *node);

/* Warn of lists that no rule uses. */
void compile_check_lists(struct compile *compile);

/* ---- conditions.c ---- */

/* Read when: into the rule. */
void compile_when(struct compile *compile, const struct yaml_node *when, struct image_rule *rule);

/* Refuse conditions that come too late for what the rule answers. */
void compile_check_questions(struct compile *compile, const struct yaml_node *node,
                             const struct image_rule *rule);

struct image_range compile_ports(struct compile *compile, const struct yaml_node *node);

/* A value or a sequence of values: the first, and the one behind. */
const struct yaml_node *compile_first(const struct yaml_node *node);
const struct yaml_node *compile_next(const struct yaml_node *list, const struct yaml_node *node);

/* True for a text that is not empty; complains else. */
bool compile_is_text(struct compile *compile, const struct yaml_node *node);

/* Complain of a key that nobody knows. */
void compile_complain_unknown(struct compile *compile, const struct yaml_node *node,
                              const char *const *names, size_t count);

/* ---- times.c ---- */

struct image_range compile_times(struct compile *compile, const struct yaml_node *node);

#endif
