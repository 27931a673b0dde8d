/* SPDX-License-Identifier: Apache-2.0 */
/* A YAML document as a tree whose nodes know their place in the text. Used by the option tables
 * (conf.h) and by policy files. No anchors, no tags, no duplicate keys: those are problems. */
#ifndef CONF_YAML_H
#define CONF_YAML_H

#include "base/err.h"
#include "base/problem.h"

enum yaml_kind { YAML_NULL, YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node {
	enum yaml_kind kind;
	unsigned line, column;   /* from 1 */
	bool quoted;             /* a scalar in quotes: never a number, boolean or null */
	struct span text;        /* of a scalar; NUL-terminated behind its length */
	struct span key;         /* of a member of a mapping */
	unsigned key_line, key_column;
	struct yaml_node *first; /* members of a sequence or mapping */
	struct yaml_node *next;
	size_t count;            /* members */
};

/* Parse one document from memory; `file` is the name for problems. Empty text is an empty mapping.
 * owns:   the tree lies in `arena`.
 * errors: ERR_CONFIG, with every problem added to `problems`; *out is then NULL. */
MUST_USE enum err yaml_parse(struct span text, const char *file, struct arena *arena,
                             struct problems *problems, struct yaml_node **out);

/* The member of a mapping with this key; NULL if there is none, or if it is no mapping. */
const struct yaml_node *yaml_find(const struct yaml_node *mapping, const char *key);

/* Read a whole file into the arena. errors: ERR_SYSTEM (with a problem that names the file and the
 * reason), ERR_LIMIT if it is larger than max_bytes. */
MUST_USE enum err yaml_read_file(const char *path, size_t max_bytes, struct arena *arena,
                                 struct problems *problems, struct span *out);

#endif
