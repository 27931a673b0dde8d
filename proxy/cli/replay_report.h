/* SPDX-License-Identifier: Apache-2.0 */
/* What two policies answer differently, counted by host, by who asked, and by what answered. Everything is exact up to
 * its bounds: REPLAY_CHANGES_MAX different changes and REPLAY_PAIRS_MAX pairs of a change and somebody; what comes
 * beyond them is counted as a whole. */
#ifndef CLI_REPLAY_REPORT_H
#define CLI_REPLAY_REPORT_H

#include "cli/names.h"
#include "cli/tally.h"
#include "policy/policy.h"

enum {
	REPLAY_CHANGES_MAX = 1 << 20,
	REPLAY_PAIRS_MAX = 1 << 22,
	REPLAY_OPEN = 0xff, /* an answer that waits for a fact that the log does not have */
	REPLAY_SHOWN_UNREADABLE = 5,
};

/* One policy, and what to call it. */
struct replay_side {
	const struct policy *policy;
	const char *path;
};

struct replay_unreadable {
	const char *file;
	uint64_t line;
	const char *why;
};

/* A row of the summary: one question that went from one answer to another. */
struct replay_sum {
	uint64_t requests, hosts;
};

struct replay_report {
	struct replay_side before, after;
	uint64_t lines, requests, running, asked, without_host, unreadable, blank;
	struct replay_unreadable unreadable_first[REPLAY_SHOWN_UNREADABLE];
	uint64_t changed;             /* requests with any change */
	uint64_t logged, logged_otherwise; /* of which the log says what access was; and another than `before` */
	uint64_t beyond;              /* changes that found no room */
	bool is_beyond_pairs;
	struct names hosts, who;
	struct tally changes, pairs, people;
};

void replay_report_init(struct replay_report *report, struct replay_side before, struct replay_side after);
void replay_report_fini(struct replay_report *report);

/* Decide one request by both policies and note what differs. `logged_access`: enum policy_access or -1. */
void replay_report_add(struct replay_report *report, const struct policy_facts *facts, int logged_access);

/* To standard output. They sort what was noted: nothing can be added afterwards. */
void replay_report_print(struct replay_report *report);
void replay_report_print_json(struct replay_report *report);

/* ---- shared by replay_report.c and replay_print.c ---- */

struct replay_answer {
	uint32_t rule, entry;
	uint16_t list;
	uint8_t answer; /* or REPLAY_OPEN */
	uint8_t needs;  /* bits of enum policy_fact, if it is open */
};

struct replay_change {
	/* key */
	struct replay_answer before, after;
	uint32_t host;
	uint16_t port;
	uint8_t question, reserved;
	/* the rest */
	uint32_t first_pair; /* when sorted */
	uint32_t pair_count;
	uint64_t requests;
};

struct replay_pair {
	uint32_t change, who; /* key */
	uint32_t requests;
};

enum replay_turn { REPLAY_DENIED, REPLAY_ALLOWED, REPLAY_INSPECTED, REPLAY_BYPASSED, REPLAY_OTHER, REPLAY_TURNS };

struct replay_person {
	uint32_t who; /* key */
	uint32_t reserved;
	uint64_t turns[REPLAY_TURNS], requests;
};

/* Sort changes by number of requests, give each its pairs, sort people. */
void replay_report_sort(struct replay_report *report);

/* The summary: rows by question and answers, most requests first. The caller frees it. */
struct replay_row {
	uint8_t question, before, after;
	struct replay_sum sum;
};
MUST_USE bool replay_report_sum(const struct replay_report *report, struct replay_row **rows, size_t *count);

#endif
