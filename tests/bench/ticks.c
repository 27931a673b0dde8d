/* SPDX-License-Identifier: Apache-2.0 */
#include "ticks.h"

#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

enum { INIT_NS = 50000000, COST_COUNT = 20001, LINE_BYTES = 64 };

static double ns_per_tick = 1, cost_ns;

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double ticks_ns(uint64_t begin, uint64_t end)
{
	double ns = (double)(end - begin) * ns_per_tick - cost_ns;

	return ns > 0 ? ns : 0;
}

void ticks_init(void)
{
	uint64_t since_ns = ticks_clock_ns(), since = ticks_begin();
	double *costs = calloc(COST_COUNT, sizeof(*costs));

	if (costs == NULL)
		bench_die("out of memory");
	while (ticks_clock_ns() - since_ns < INIT_NS)
		;
	ns_per_tick = (double)(ticks_clock_ns() - since_ns) / (double)(ticks_end() - since);
	for (size_t i = 0; i < COST_COUNT; i++) {
		uint64_t begin = ticks_begin();

		costs[i] = ticks_ns(begin, ticks_end());
	}
	cost_ns = ticks_summary(costs, COST_COUNT).median;
	free(costs);
}

void ticks_flush(const void *at, size_t bytes)
{
#if defined(__x86_64__)
	_mm_mfence();
	for (size_t i = 0; i < bytes; i += LINE_BYTES)
		_mm_clflush((const char *)at + i);
	_mm_mfence();
#else
	enum { WALK_BYTES = 256 << 20 };
	static volatile unsigned char *walk;

	(void)at;
	(void)bytes;
	if (walk == NULL && (walk = malloc(WALK_BYTES)) == NULL)
		bench_die("out of memory");
	for (size_t i = 0; i < WALK_BYTES; i += LINE_BYTES)
		walk[i]++;
#endif
}

struct ticks_summary ticks_summary(double *ns, size_t count)
{
	qsort(ns, count, sizeof(*ns), compare);
	return (struct ticks_summary){ns[count / 2], ns[count * 9 / 10], ns[count * 99 / 100], count};
}

void ticks_print(const char *name, double *ns, size_t count)
{
	struct ticks_summary summary = ticks_summary(ns, count);

	printf("\"%s\": {\"median\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f, \"count\": %zu}", name,
	       summary.median, summary.p90, summary.p99, ns[count - 1], count);
}
