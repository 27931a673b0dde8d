/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/pipes.h"

enum { MIB = 1 << 20, MOST = 16 };

static struct pipes *pipes;

static int open_pool(void **state)
{
	(void)state;
	return pipes_new(2 * MIB, &pipes) == ERR_NONE ? 0 : -1;
}

static int close_pool(void **state)
{
	(void)state;
	pipes_free(pipes);
	return 0;
}

static size_t take_all(struct pipe taken[static MOST])
{
	size_t count = 0;

	while (count < MOST && pipes_take(pipes, &taken[count]))
		count++;
	return count;
}

static void large_ones_come_first(void **state)
{
	struct pipe taken[MOST];

	(void)state;
	assert_int_equal(take_all(taken), 6);
	for (int i = 0; i < 6; i++)
		assert_int_equal(fcntl(taken[i].ends[1], F_GETPIPE_SZ), i < 2 ? MIB / 2 : MIB / 4);
	pipes_give(pipes, &taken[5]);
	pipes_give(pipes, &taken[1]);
	assert_int_equal(taken[1].ends[0], -1);
	assert_true(pipes_take(pipes, &taken[1]));
	assert_int_equal(fcntl(taken[1].ends[1], F_GETPIPE_SZ), MIB / 2);
	for (int i = 0; i < 5; i++)
		pipes_give(pipes, &taken[i]);
}

static void bytes_of_a_tunnel_never_reach_another(void **state)
{
	struct pipe pipe, next;
	char byte;

	(void)state;
	assert_true(pipes_take(pipes, &pipe));
	assert_int_equal(write(pipe.ends[1], "x", 1), 1);
	pipe.bytes = 1;
	pipes_give(pipes, &pipe);
	assert_true(pipes_take(pipes, &next));
	assert_int_equal(read(next.ends[0], &byte, 1), -1);
	pipes_give(pipes, &next);
}

static void what_was_not_taken_is_given_for_nothing(void **state)
{
	struct pipe none = PIPE_NONE;

	(void)state;
	pipes_give(pipes, &none);
	assert_false(pipes_take(NULL, &none));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(large_ones_come_first, open_pool, close_pool),
		cmocka_unit_test_setup_teardown(bytes_of_a_tunnel_never_reach_another, open_pool, close_pool),
		cmocka_unit_test_setup_teardown(what_was_not_taken_is_given_for_nothing, open_pool, close_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
