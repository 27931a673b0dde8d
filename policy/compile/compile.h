/* SPDX-License-Identifier: Apache-2.0 */
/* What reading policy files shares: compile.c (rules, the whole), conditions.c (when:), times.c, lists.c.
 * Private to this folder. */
#ifndef POLICY_COMPILE_H
#define POLICY_COMPILE_H

#include "conf/conf.h"
#include "policy/compile/build.h"

/* A policy file: the one that is named in the configuration, or one that is included. */
struct document {
	struct document *next;         /* in the order in which they were read */
	const struct document *from;   /* that includes this one; NULL: the first */
	const struct yaml_node *include; /* where it says so */
	const char *path, *shown;      /* shown: from the folder of the first */
	struct yaml_node *root;
	uint16_t file;                 /* place in build.files */
};

struct compile {
	const char *path, *shown; /* of the policy file that is being read */
	uint16_t file;            /* its place in build.files */
	struct document *documents, **documents_end;
	size_t document_count;
	struct build_section paths; /* by file: const char * */
	struct build_section ages;  /* struct lint_age */
	struct arena arena;
	struct problems *problems;
	struct build build;
	const char **list_names; /* by list - 1; NULL for inline patterns */
	size_t list_count, list_capacity;
	uint64_t now_ms;
	const struct policy_compile_options *options;
};

#define WRONG(compile, node, ...) \
	problem_add((compile)->problems, PROBLEM_ERROR, (compile)->path, (node)->line, \
	            (node)->column, __VA_ARGS__)
#define WARN(compile, code, node, ...) \
	problem_add_code((compile)->problems, PROBLEM_##code, \
	                 (struct problem_place){(compile)->path, (node)->line, (node)->column}, NULL, __VA_ARGS__)

/* ---- documents.c ---- */

/* Read policy.yaml and all that it includes into compile->documents. errors: ERR_CONFIG with problems, ERR_MEMORY. */
MUST_USE enum err compile_read_documents(struct compile *compile, const char *path);

/* What is read from now on stands in this file. */
void compile_enter(struct compile *compile, const struct document *document);

/* Read a file whole, or what stands for it; noted as content of the policy. errors: as yaml_read_file(). */
MUST_USE enum err compile_read_file(struct compile *compile, const char *path, size_t max, struct arena *arena,
                                    struct span *out);

/* Add a file with this content; its place in build.files. `path` is borrowed until the end; `shown` is how people name it. */
uint16_t compile_add_file(struct compile *compile, const char *path, struct span shown, struct span text);

/* The path of a file, for problems. */
const char *compile_file_path(const struct compile *compile, uint16_t file);

/* A path as it is written in the current file, from that file's folder; and as it is shown, from the folder of the first
 * policy file. In the arena; NULL: no memory. */
const char *compile_path(struct compile *compile, struct span path);
struct span compile_shown(struct compile *compile, struct span path);

/* ---- lists.c ---- */

/* Read lists: and the files that it names. */
void compile_lists(struct compile *compile, const struct yaml_node *lists);

/* The lists that a condition names, patterns in their place included. */
struct image_range compile_list_refs(struct compile *compile, const struct yaml_node *node);

/* ---- conditions.c ---- */

/* Read when: into the rule. */
void compile_when(struct compile *compile, const struct yaml_node *when, struct image_rule *rule);

/* Refuse conditions that come too late for what the rule answers. */
void compile_check_questions(struct compile *compile, const struct yaml_node *node,
                             const struct image_rule *rule);

struct image_range compile_ports(struct compile *compile, const struct yaml_node *node);

/* Beginnings of URLs, which must be spelled as URLs come, and regular expressions. */
struct image_range compile_urls(struct compile *compile, const struct yaml_node *node);

/* A value or a sequence of values: the first, and the one behind. */
const struct yaml_node *compile_first(const struct yaml_node *node);
const struct yaml_node *compile_next(const struct yaml_node *list, const struct yaml_node *node);

/* True for a text that is not empty; complains else. */
bool compile_is_text(struct compile *compile, const struct yaml_node *node);

/* Complain of a key that nobody knows. */
void compile_complain_unknown(struct compile *compile, const struct yaml_node *node,
                              const char *const *names, size_t count);

/* ---- headers.c ---- */

/* The answer to request-headers or response-headers, and its edits. */
struct image_range compile_headers(struct compile *compile, const struct yaml_node *node,
                                   enum policy_question question, uint8_t *answer);

/* Media types, and none. */
struct image_range compile_content_types(struct compile *compile, const struct yaml_node *node);

/* ---- rates.c ---- */

/* The answer to rate, and its limit. */
void compile_rate(struct compile *compile, const struct yaml_node *node, struct image_rule *rule);

/* Warn of a limit that can hardly be meant. */
void compile_check_rate(struct compile *compile, const struct yaml_node *then, const struct image_rule *rule);

/* ---- times.c ---- */

struct image_range compile_times(struct compile *compile, const struct yaml_node *node);

#endif
