/* SPDX-License-Identifier: Apache-2.0 */
/* Options as tables. One row gives parser, unit, range, default, manual and reload class; the
 * loader, the reference and later the admin form are made from it. This folder knows no option:
 * every module owns its rows and its struct, and whoever loads hands the tables over.
 *
 *   static const struct conf_option dns_options[] = {
 *       {"timeout", CONF_TIME_MS, CONF_AT(struct dns_conf, timeout_ms), .min = 100, .max = 60000,
 *        .preset = "5s", .reload = CONF_LIVE, .manual = "Longest wait for an answer."},
 *       CONF_END};
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/address.h"
#include "base/err.h"
#include "conf/yaml.h"

enum conf_type {
	CONF_BOOL,         /* bool: true, false, yes, no, on, off */
	CONF_COUNT,        /* uint64_t, no unit */
	CONF_SIZE_BYTES,   /* uint64_t: 64K, 16M, 1G, plain bytes */
	CONF_TIME_MS,      /* uint64_t: 250ms, 10s, 5m, 2h, 7d */
	CONF_TEXT,         /* const char *, never NULL ("" when empty) */
	CONF_PATH,         /* const char *, made absolute from the folder of the file that names it; "" when empty */
	CONF_CHOICE,       /* int, from `choices` */
	CONF_NETWORKS,     /* struct conf_networks: a CIDR or a list of them, optionally :port or :a-b */
	CONF_TEXTS,        /* struct conf_texts: a text or a list of them */
	CONF_TEXT_MAP,     /* struct conf_text_map: a mapping of names to texts */
	CONF_GROUP,        /* nested struct, described by `group` */
	CONF_GROUPS,       /* struct conf_groups: a list of such structs, `item_bytes` each */
	CONF_PARSED,       /* whatever `parse` makes of the node */
};

/* What a changed value needs: */
enum conf_reload {
	CONF_LIVE,         /* in force at once, also for sessions that run */
	CONF_NEW_SESSIONS, /* in force for new sessions */
	CONF_RESTART,      /* only a restart changes it; reload warns */
};

struct conf_choice { const char *name; int value; };
struct conf_networks { const struct network *at; size_t count; };
struct conf_texts { const char *const *at; size_t count; };
struct conf_text_map { const struct conf_text_pair { const char *name, *text; unsigned line; } *at; size_t count; };
struct conf_groups { const void *at; size_t count; };

struct conf_loading; /* arena, file name and problems of the load that runs */

/* Make `*at` from `node` (NULL: make the default). Problems via conf_problem(). */
typedef void conf_parse_fn(struct conf_loading *loading, const struct yaml_node *node, void *at);

/* Look at a finished struct (of a group, or the whole): what one row cannot say. */
typedef void conf_check_fn(struct conf_loading *loading, const struct yaml_node *node, const void *at);

struct conf_option {
	const char *name;               /* the key; NULL ends a table */
	enum conf_type type;
	size_t offset;                  /* in the struct: CONF_AT() */
	uint64_t min, max;              /* numbers: range; TEXT and PATH: max length (0: 4096) */
	const char *preset;             /* default, as one would write it; NULL: required; "" : empty */
	enum conf_reload reload;
	const char *manual;             /* one or two sentences, for the reference */
	const struct conf_choice *choices; /* CONF_CHOICE, ended by {NULL, 0} */
	const struct conf_option *group;   /* CONF_GROUP, CONF_GROUPS */
	size_t item_bytes;                 /* CONF_GROUPS */
	conf_parse_fn *parse;              /* CONF_PARSED */
	conf_check_fn *check;              /* optional */
	const char *type_text;             /* CONF_PARSED: how the reference names the type */
};

#define CONF_AT(type, member) offsetof(type, member)
#define CONF_END {.name = NULL}

/* Load `text` (contents of `file`) by `options` into `*out` (a struct of the caller's, zeroed
 * here). Unknown keys are errors with the nearest known name. All problems at once.
 * owns:   everything that *out points to lies in `arena`.
 * errors: ERR_CONFIG if there was any error; *out must then not be used. */
MUST_USE enum err conf_load(struct span text, const char *file, const struct conf_option *options,
                            struct arena *arena, struct problems *problems, void *out,
                            size_t out_bytes);

/* For parse and check functions: */
struct arena *conf_arena(struct conf_loading *loading);
void conf_problem(struct conf_loading *loading, enum problem_level level,
                  const struct yaml_node *node, const char *format, ...) PRINTF_LIKE(4, 5);
/* The same of a kind of its own. */
void conf_problem_code(struct conf_loading *loading, enum problem_code code, const struct yaml_node *node,
                       const char *format, ...) PRINTF_LIKE(4, 5);
/* `text` as CONF_PATH has it; NULL on no memory. */
const char *conf_path(struct conf_loading *loading, struct span text);

/* Parse "250ms", "10s", "5m", "2h", "7d"; "64K", "16M". For other text forms (list fields, flags). */
MUST_USE bool conf_parse_time_ms(struct span text, uint64_t *out);
MUST_USE bool conf_parse_size_bytes(struct span text, uint64_t *out);

/* Append the manual of all options, as text: key, type, range, default, reload class, sentences. */
void conf_reference(const struct conf_option *options, struct buf *out);

/* The nearest of `names` to `text` for "did you mean"; NULL if none is near. */
const char *conf_nearest(struct span text, const char *const *names, size_t count);

#endif
