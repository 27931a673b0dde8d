/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that the proxy counts, in the text format of Prometheus (0.0.4). Labels are bounded by the
 * configuration: rules, lists, errors, states, roles; never hosts, clients or users. Only calls are told by the network
 * that they come from, of which there are MEDIA_NETWORKS_SUM_MAX and "others". */
#ifndef WEB_PROMETHEUS_H
#define WEB_PROMETHEUS_H

#include "base/secret.h"
#include "policy/policy.h"
#include "session/metrics.h"
#include "web/board.h"

enum { PROMETHEUS_WORKERS_MAX = 64, PROMETHEUS_RULES_MAX = 2000 };

/* A list, counted when its policy was loaded. */
struct prometheus_list {
	struct span name;
	uint64_t entries, changed_ms; /* wall clock; 0: not known */
};

/* All borrowed. What other roles write changes while it is read. */
struct prometheus_source {
	const struct board *board;
	const struct metrics *workers[PROMETHEUS_WORKERS_MAX];
	size_t worker_count;
	const struct policy *policy;      /* NULL: none yet */
	const _Atomic uint32_t *rule_hits; /* as struct session_generation has them */
	size_t rule_hit_count;
	const struct prometheus_list *lists;
	size_t list_count;
};

/* Append all. */
void prometheus_write(const struct prometheus_source *source, struct buf *out);

/* Does everything run that should? */
bool prometheus_is_ready(const struct board *board);

/* Append the manual of all of them. */
void prometheus_reference(struct buf *out);

/* Append a label's value with its quotes. */
void prometheus_add_value(struct buf *out, struct span value);

#endif
