/* SPDX-License-Identifier: Apache-2.0 */
/* From which networks calls come: a bounded table in each worker's page of metrics, and the sum of all of them, for who runs the
 * network. Readers take whatever a worker may have written. */
#ifndef SESSION_MEDIA_NETWORKS_H
#define SESSION_MEDIA_NETWORKS_H

#include "base/address.h"
#include "session/metrics.h"

enum { MEDIA_NETWORKS_OTHERS = METRICS_NETWORKS_MAX, MEDIA_NETWORKS_SUM_MAX = 64, MEDIA_NETWORKS_TEXT_BYTES = 64 };

/* A tunnel begins and ends; between stands what the first one gave. Who comes when all rows are taken gets that of the network
 * without a tunnel that had one longest ago, whose count goes to the others; who comes when all have tunnels, or has no IP
 * address, is one of the others. */
unsigned media_networks_enter(struct metrics *metrics, const struct address *client);
void media_networks_leave(struct metrics *metrics, unsigned row);

/* No tunnel is open any more: the worker is dead. */
void media_networks_clear(struct metrics *metrics);

/* A copy of one row of a worker (up to METRICS_NETWORKS_MAX). False: it is free, or becomes another's at this moment. */
bool media_networks_row(const struct metrics *worker, size_t row, struct metrics_network *out);

/* Over all workers, those with tunnels first where there is no room for all; then in order: most tunnels first, then most since the start. */
struct media_networks_sum {
	struct metrics_network rows[MEDIA_NETWORKS_SUM_MAX];
	size_t count;
	struct metrics_network others;
	uint64_t tunnels, tunnels_total;
};
void media_networks_sum(const struct metrics *const *workers, size_t count, struct media_networks_sum *out);

/* "10.20.0.0/24", "2001:db8:1:2::/64". */
const char *media_networks_name(const struct metrics_network *row, char text[static MEDIA_NETWORKS_TEXT_BYTES]);

/* Append what whoever runs the network should know: how many calls, from where, and what would help. Nothing if there was none. */
void media_networks_say(const struct media_networks_sum *sum, struct buf *out);

#endif
