/* SPDX-License-Identifier: Apache-2.0 */
#include "session/media_networks.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAMILY_IPV4 = 4, FAMILY_IPV6 = 6, IPV4_BYTES = 3, IPV6_BYTES = 8, NAMED_MAX = 5, READ_TRIES = 4 };

/* ---- the table of one worker ---- */

/* The network of a client; family 0: it has none. */
static struct metrics_network network_of(const struct address *client)
{
	struct address plain = address_unmapped(client);
	struct metrics_network network = {0};

	if (plain.family == AF_INET) {
		network.family = FAMILY_IPV4;
		memcpy(&network.base, plain.bytes, IPV4_BYTES);
	} else if (plain.family == AF_INET6) {
		network.family = FAMILY_IPV6;
		memcpy(&network.base, plain.bytes, IPV6_BYTES);
	}
	return network;
}

static struct metrics_network *row_at(struct metrics *metrics, unsigned row)
{
	return row < METRICS_NETWORKS_MAX ? &metrics->media_networks[row] : &metrics->media_others;
}

/* From now on it is this network's; whose it was has been counted here, and is one of the others. Family 0: it is free. */
static void give_row(struct metrics *metrics, struct metrics_network *row, const struct metrics_network *network)
{
	uint64_t odd = row->version | 1;

	metrics->media_others.tunnels_total += row->tunnels_total;
	__atomic_store_n(&row->version, odd, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	row->family = network->family;
	row->base = network->base;
	row->tunnels_total = 0;
	__atomic_store_n(&row->version, odd + 1, __ATOMIC_RELEASE);
}

/* Would this row rather be given away than that one? */
static bool is_older(const struct metrics_network *row, const struct metrics_network *than)
{
	return row->tunnels == 0 && (than == NULL || (row->family == 0) > (than->family == 0) ||
	                             ((row->family == 0) == (than->family == 0) && row->used_at < than->used_at));
}

/* The row of this network, another one made its own, or that of the others. */
static unsigned find_row(struct metrics *metrics, const struct metrics_network *network)
{
	struct metrics_network *rows = metrics->media_networks, *oldest = NULL;

	if (network->family == 0)
		return MEDIA_NETWORKS_OTHERS;
	for (unsigned i = 0; i < METRICS_NETWORKS_MAX; i++) {
		if (rows[i].family == network->family && rows[i].base == network->base)
			return i;
		if (is_older(&rows[i], oldest))
			oldest = &rows[i];
	}
	if (oldest == NULL)
		return MEDIA_NETWORKS_OTHERS;
	give_row(metrics, oldest, network);
	return (unsigned)(oldest - rows);
}

unsigned media_networks_enter(struct metrics *metrics, const struct address *client)
{
	struct metrics_network network = network_of(client);
	unsigned row = find_row(metrics, &network);

	metrics->media_tunnels++;
	metrics->media_tunnels_total++;
	row_at(metrics, row)->tunnels++;
	row_at(metrics, row)->tunnels_total++;
	row_at(metrics, row)->used_at = metrics->media_tunnels_total;
	return row;
}

void media_networks_leave(struct metrics *metrics, unsigned row)
{
	row_at(metrics, row)->tunnels--;
	row_at(metrics, row)->used_at = metrics->media_tunnels_total;
	metrics->media_tunnels--;
}

void media_networks_clear(struct metrics *metrics)
{
	const struct metrics_network none = {.family = 0};

	for (size_t i = 0; i < METRICS_NETWORKS_MAX; i++) {
		struct metrics_network *row = &metrics->media_networks[i];

		row->tunnels = 0;
		if (row->version % 2) /* it died over this one */
			give_row(metrics, row, &none);
	}
	metrics->media_others.tunnels = 0;
	metrics->media_tunnels = 0;
}

/* ---- all of them ---- */

bool media_networks_row(const struct metrics *worker, size_t row, struct metrics_network *out)
{
	const struct metrics_network *from = &worker->media_networks[row];

	for (int i = 0; i < READ_TRIES; i++) {
		uint64_t version = __atomic_load_n(&from->version, __ATOMIC_ACQUIRE);

		*out = *from;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (version % 2 == 0 && __atomic_load_n(&from->version, __ATOMIC_RELAXED) == version)
			return out->family == FAMILY_IPV4 || out->family == FAMILY_IPV6;
	}
	return false;
}

static void add_to(struct metrics_network *sum, const struct metrics_network *row)
{
	sum->tunnels += row->tunnels;
	sum->tunnels_total += row->tunnels_total;
}

static struct metrics_network *sum_of(struct media_networks_sum *sum, const struct metrics_network *row)
{
	for (size_t i = 0; i < sum->count; i++)
		if (sum->rows[i].family == row->family && sum->rows[i].base == row->base)
			return &sum->rows[i];
	if (sum->count == MEDIA_NETWORKS_SUM_MAX)
		return &sum->others;
	sum->rows[sum->count] = (struct metrics_network){.family = row->family, .base = row->base};
	return &sum->rows[sum->count++];
}

static void add_rows(const struct metrics *const *workers, size_t count, bool with_tunnels, struct media_networks_sum *sum)
{
	struct metrics_network row;

	for (size_t i = 0; i < count * METRICS_NETWORKS_MAX; i++)
		if (media_networks_row(workers[i / METRICS_NETWORKS_MAX], i % METRICS_NETWORKS_MAX, &row) &&
		    (row.tunnels > 0) == with_tunnels)
			add_to(sum_of(sum, &row), &row);
}

static int by_count(const void *a, const void *b)
{
	const struct metrics_network *one = a, *two = b;

	if (one->tunnels != two->tunnels)
		return one->tunnels < two->tunnels ? 1 : -1;
	if (one->tunnels_total != two->tunnels_total)
		return one->tunnels_total < two->tunnels_total ? 1 : -1;
	return memcmp(&one->base, &two->base, sizeof(one->base));
}

void media_networks_sum(const struct metrics *const *workers, size_t count, struct media_networks_sum *out)
{
	*out = (struct media_networks_sum){.count = 0};
	add_rows(workers, count, true, out);
	add_rows(workers, count, false, out);
	for (size_t w = 0; w < count; w++)
		add_to(&out->others, &workers[w]->media_others);
	qsort(out->rows, out->count, sizeof(out->rows[0]), by_count);
	for (size_t i = 0; i < out->count; i++) {
		out->tunnels += out->rows[i].tunnels;
		out->tunnels_total += out->rows[i].tunnels_total;
	}
	out->tunnels += out->others.tunnels;
	out->tunnels_total += out->others.tunnels_total;
}

const char *media_networks_name(const struct metrics_network *row, char text[static MEDIA_NETWORKS_TEXT_BYTES])
{
	uint8_t bytes[16] = {0};
	char address[INET6_ADDRSTRLEN] = "";
	bool is_ipv6 = row->family == FAMILY_IPV6;

	memcpy(bytes, &row->base, is_ipv6 ? IPV6_BYTES : IPV4_BYTES);
	inet_ntop(is_ipv6 ? AF_INET6 : AF_INET, bytes, address, sizeof(address));
	snprintf(text, MEDIA_NETWORKS_TEXT_BYTES, "%s/%d", address, is_ipv6 ? 64 : 24);
	return text;
}

/* ---- in words ---- */

/* "A (2), B (1) and elsewhere (3)", by what is open or by what there was since the start. */
static void say_networks(const struct media_networks_sum *sum, bool since_start, struct buf *out)
{
	uint64_t rest = since_start ? sum->tunnels_total : sum->tunnels;
	size_t named = 0;
	char text[MEDIA_NETWORKS_TEXT_BYTES];

	for (size_t i = 0; i < sum->count && named < NAMED_MAX; i++) {
		uint64_t count = since_start ? sum->rows[i].tunnels_total : sum->rows[i].tunnels;

		if (count == 0)
			continue;
		rest -= count;
		buf_add_string(out, named == 0 ? " from " : rest ? ", " : " and ");
		buf_printf(out, "%s (%llu)", media_networks_name(&sum->rows[i], text), (unsigned long long)count);
		named++;
	}
	if (rest)
		buf_printf(out, named ? " and elsewhere (%llu)" : " from elsewhere (%llu)", (unsigned long long)rest);
}

void media_networks_say(const struct media_networks_sum *sum, struct buf *out)
{
	if (sum->tunnels_total == 0)
		return;
	if (sum->tunnels) {
		buf_printf(out, "%llu %s this proxy as %s last resort,", (unsigned long long)sum->tunnels,
		           sum->tunnels == 1 ? "call goes through" : "calls go through", sum->tunnels == 1 ? "its" : "their");
		say_networks(sum, false, out);
	} else {
		buf_printf(out, "no call goes through this proxy now; %llu did since it was started,",
		           (unsigned long long)sum->tunnels_total);
		say_networks(sum, true, out);
	}
	buf_add_string(out, ": open UDP 5004 to their media networks (sallyport doctor tells which way is open)");
}
