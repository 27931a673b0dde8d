/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* CPU of four downloads and of four uploads, times the floor (which has 256 KiB), for pipes and slices of so much:
 * 256 KiB 1.07 and 1.08, 512 KiB 0.89 and 0.96, 1 MiB 0.86 and 0.93. */
enum { SIZES = 2, LARGE_BYTES = 512 * 1024, SMALL_BYTES = 256 * 1024 };

static const int size_bytes[SIZES] = {LARGE_BYTES, SMALL_BYTES};

/* All pipes of one size. */
struct pool {
	size_t free_count, open_count, max_count;
	int (*free)[2];
};

struct pipes {
	struct pool pools[SIZES];
};

static bool init_pool(struct pool *pool, size_t max_count)
{
	pool->max_count = max_count;
	pool->free = calloc(max_count ? max_count : 1, sizeof(*pool->free));
	return pool->free != NULL;
}

enum err pipes_new(size_t max_bytes, struct pipes **out)
{
	struct pipes *pipes = calloc(1, sizeof(*pipes));
	size_t large = max_bytes / 2 / LARGE_BYTES;

	if (pipes && init_pool(&pipes->pools[0], large) &&
	    init_pool(&pipes->pools[1], (max_bytes - large * LARGE_BYTES) / SMALL_BYTES)) {
		*out = pipes;
		return ERR_NONE;
	}
	pipes_free(pipes);
	return ERR_MEMORY;
}

void pipes_free(struct pipes *pipes)
{
	if (pipes == NULL)
		return;
	for (int size = 0; size < SIZES; size++) {
		struct pool *pool = &pipes->pools[size];

		for (size_t i = 0; i < pool->free_count; i++) {
			close(pool->free[i][0]);
			close(pool->free[i][1]);
		}
		free(pool->free);
	}
	free(pipes);
}

static void close_pipe(struct pool *pool, const int ends[2])
{
	close(ends[0]);
	close(ends[1]);
	pool->open_count--;
}

/* One that cannot be as large is given back, and none tried again. */
static bool open_pipe(struct pool *pool, int bytes, int ends[2])
{
	if (pool->open_count >= pool->max_count || pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
		return false;
	pool->open_count++;
	if (fcntl(ends[1], F_SETPIPE_SZ, bytes) >= bytes)
		return true;
	close_pipe(pool, ends);
	pool->max_count = pool->open_count;
	return false;
}

bool pipes_take(struct pipes *pipes, struct pipe *out)
{
	struct pipe taken = {.bytes = 0};

	for (uint8_t size = 0; pipes && size < SIZES; size++) {
		struct pool *pool = &pipes->pools[size];

		taken.size = size;
		if (pool->free_count)
			memcpy(taken.ends, pool->free[--pool->free_count], sizeof(taken.ends));
		else if (!open_pipe(pool, size_bytes[size], taken.ends))
			continue;
		*out = taken;
		return true;
	}
	return false;
}

void pipes_give(struct pipes *pipes, struct pipe *pipe)
{
	struct pool *pool;

	if (pipe->ends[0] < 0)
		return;
	pool = &pipes->pools[pipe->size];
	if (pipe->bytes)
		close_pipe(pool, pipe->ends);
	else
		memcpy(pool->free[pool->free_count++], pipe->ends, sizeof(pipe->ends));
	*pipe = PIPE_NONE;
}
