/* SPDX-License-Identifier: Apache-2.0 */
/* One decision step by step, by the functions that decide: what explain tells. Private to this folder; decide.c. */
#ifndef POLICY_TRACE_H
#define POLICY_TRACE_H

#include "policy/look_up.h"

/* X(condition, key in when:) ; in the order in which they are looked at. */
#define CONDITIONS(X) \
	X(FROM, "from") \
	X(TIME, "time") \
	X(LISTENER, "listener") \
	X(TO, "to") \
	X(PORT, "port") \
	X(USER, "user") \
	X(GROUP, "group") \
	X(METHOD, "method") \
	X(URL, "url") \
	X(SNI, "sni") \
	X(CONTENT_TYPE, "content-type")

#define CONDITION_ENUM(name, key) CONDITION_##name,
enum condition { CONDITION_NONE, CONDITIONS(CONDITION_ENUM) CONDITION_COUNT };
#undef CONDITION_ENUM

/* How a rule's conditions stand. `reason`: REASON_RULE, or why some condition can never be known here (a regular
 * expression that gave up, too), while everything else holds or may. */
struct standing {
	uint8_t failed;          /* enum condition: the first that does not hold; CONDITION_NONE: there is none */
	uint8_t reason;          /* enum reason */
	uint8_t unknown;         /* enum condition that `reason` speaks of */
	uint8_t need;            /* bits of enum policy_fact that must be asked for */
	struct look_up_hit hit;  /* in the lists of `to` */
};

/* A name that a decision is made for. */
struct name {
	struct span text;
	struct address address; /* family 0: it is a name */
	uint8_t index;          /* as in struct policy_answer */
};

enum { NAMES_MAX = 3 };

/* What becomes of one answer of a rule. */
enum outcome {
	OUTCOME_NONE,    /* the rule does not answer, or some condition does not hold */
	OUTCOME_PORT,    /* it loosens, and the port is not among defaults.ports */
	OUTCOME_UNKNOWN, /* it is not strict, and a condition can never be known */
	OUTCOME_NEED,    /* it would answer, once facts are asked for */
	OUTCOME_HOLDS,
};

/* The names that are known and different, the authority first; how many. */
size_t trace_names(const struct policy_facts *facts, struct name names[static NAMES_MAX]);

/* The decision for one name alone, and how each rule stands: rules_count of them. */
void trace_rules(const struct policy *policy, const struct policy_facts *facts, const struct name *name,
                 struct standing *standings, struct policy_decision *out);

/* What answers for this name if no rule does. */
struct policy_answer trace_default(const struct policy *policy, const struct policy_facts *facts,
                                   const struct name *name, enum policy_question question);

/* What becomes of a rule's answer to a question, if no rule before it has answered. */
enum outcome trace_outcome(const struct policy *policy, const struct image_rule *rule, const struct policy_facts *facts,
                           const struct standing *standing, enum policy_question question);

/* Has the question a part in what is decided for this name? */
bool trace_takes_part(enum policy_question question, const struct name *name);

/* Does the strictest answer hold, of all names and of both spellings of a URL? */
bool trace_is_merged(enum policy_question question);

/* The stricter an answer, the smaller. */
unsigned trace_rank(enum policy_question question, unsigned answer);

#endif
