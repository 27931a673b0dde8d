/* SPDX-License-Identifier: Apache-2.0 */
/* What explain collects before it is told: explain.c collects, explain_text.c and explain_json.c tell. Private to this
 * folder. */
#ifndef POLICY_EXPLAIN_H
#define POLICY_EXPLAIN_H

#include "base/reason.h"
#include "policy/pattern.h"
#include "policy/trace.h"

/* One name, with the URL as it is written, or as origins read it. */
struct pass {
	struct name name;
	bool is_plain; /* as origins read it */
	struct policy_facts facts;
	struct policy_decision decision;
	struct standing *standings; /* by rule */
};

/* X(state, code, clause for people) ; of an entry that matches a name. */
#define MATCH_STATES(X) \
	X(IN_FORCE, "in-force", "matches") \
	X(EXPIRED, "expired", "is no longer in force") \
	X(OTHER_PORT, "other-port", "is for other ports") \
	X(UNSURE, "unsure", "gave up at its limits")

#define MATCH_STATE_ENUM(name, code, text) MATCH_##name,
enum match_state { MATCH_STATES(MATCH_STATE_ENUM) MATCH_STATE_COUNT };
#undef MATCH_STATE_ENUM

/* X(kind, code, clause for people) ; what is looked up in lists: the first three by index of a name. */
#define SUBJECTS(X) \
	X(AUTHORITY, "authority", "the authority") \
	X(SNI, "sni", "the SNI") \
	X(INNER_HOST, "inner-host", "the inner host") \
	X(ADDRESS, "address", "the address")

#define SUBJECT_ENUM(name, code, text) SUBJECT_##name,
enum subject { SUBJECTS(SUBJECT_ENUM) SUBJECT_COUNT };
#undef SUBJECT_ENUM

/* An entry of a list that matches. */
struct match {
	uint32_t entry, order; /* order: as found, the most specific first */
	uint16_t list;
	uint8_t subject, state;
};

enum { PASSES_MAX = 2 * NAMES_MAX };

struct explanation {
	const struct policy *policy;
	const struct policy_facts *facts;
	const struct policy_explain_options *options;
	struct policy_decision decision;
	struct pass passes[PASSES_MAX];
	size_t pass_count;
	struct match *matches; /* by list, then by subject */
	size_t match_count, match_capacity;
	bool *is_used;   /* by list: some rule names it */
	uint8_t subject; /* that is looked up now */
	bool failed;     /* out of memory */
};

/* X(state, code, clause for people) ; of a rule's answer for one name. */
#define STATES(X) \
	X(NONE, "none", "") \
	X(PORT, "port-not-open", "not at this port") \
	X(UNKNOWN, "never-known", "needs what can never be known") \
	X(SAME, "same", "would deny as well, so that nothing is asked for it") \
	X(WAITS, "waits", "waits for") \
	X(MAY, "may-decide", "if no rule before it does") \
	X(DECIDES, "decides", "decides") \
	X(SHADOWED, "shadowed", "too late")

#define STATE_ENUM(name, code, text) STATE_##name,
enum state { STATES(STATE_ENUM) STATE_COUNT };
#undef STATE_ENUM

/* Has the question a part in this pass? */
bool explain_takes_part(const struct pass *pass, enum policy_question question);

/* The rules of a pass, from the first on: begin with a zeroed one, call for each rule in order. */
struct progress {
	unsigned waits, holds; /* bits 1 << question */
};
void explain_states(const struct explanation *explained, const struct pass *pass, uint32_t rule,
                    struct progress *progress, enum state states[static POLICY_QUESTION_COUNT]);

/* What an open question could be answered: bits 1 << answer. */
unsigned explain_could(const struct explanation *explained, enum policy_question question);

/* Of the facts that can never be known here, those that some rule asks for. */
unsigned explain_missed(const struct explanation *explained);

/* "user, sni" */
void explain_add_facts(unsigned facts, const char *quote, struct buf *out);

/* The key of a condition in when:. */
const char *explain_condition(enum condition condition);

/* A line of a list as it stands in the file now. */
enum line_state { LINE_UNREAD, LINE_CHANGED, LINE_SAME };
enum line_state explain_read_line(const struct explanation *explained, const struct policy_entry *entry,
                                  struct pattern_line *out);

extern const char *const explain_match_codes[MATCH_STATE_COUNT], *const explain_match_texts[MATCH_STATE_COUNT];
extern const char *const explain_subject_codes[SUBJECT_COUNT], *const explain_subject_texts[SUBJECT_COUNT];
extern const char *const explain_state_codes[STATE_COUNT], *const explain_state_texts[STATE_COUNT];

void explain_text(const struct explanation *explained, struct buf *out);
void explain_json(const struct explanation *explained, struct buf *out);

#endif
