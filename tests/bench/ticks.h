/* SPDX-License-Identifier: Apache-2.0 */
/* Nanoseconds of something that takes a hundred of them, and memory that is in no cache. On x86 the processor's own counter
 * and its flush of a cache line; elsewhere the system's clock and a walk over more memory than a cache has. */
#ifndef TICKS_H
#define TICKS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline uint64_t ticks_clock_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Nothing of what is measured runs before the first or behind the second. */
static inline uint64_t ticks_begin(void)
{
#if defined(__x86_64__)
	uint64_t now;

	_mm_lfence();
	now = __rdtsc();
	_mm_lfence();
	return now;
#else
	return ticks_clock_ns();
#endif
}

static inline uint64_t ticks_end(void)
{
#if defined(__x86_64__)
	unsigned core;
	uint64_t now = __rdtscp(&core);

	_mm_lfence();
	return now;
#else
	return ticks_clock_ns();
#endif
}

/* Find out how long a tick is, and what it costs to ask. Takes 50 ms. */
void ticks_init(void);

/* What lies between the two, without the cost of asking. */
double ticks_ns(uint64_t begin, uint64_t end);

/* Take these bytes out of all caches. */
void ticks_flush(const void *at, size_t bytes);

/* Times of many. */
struct ticks_summary {
	double median, p90, p99;
	size_t count;
};

/* Sorts `ns`. */
struct ticks_summary ticks_summary(double *ns, size_t count);

/* "name": {"median": ...} */
void ticks_print(const char *name, double *ns, size_t count);

#endif
