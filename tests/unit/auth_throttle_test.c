/* SPDX-License-Identifier: Apache-2.0 */
/* Guessing is slowed down, and nobody locks out others by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "auth/verifier/throttle.h"

static const struct failures_conf conf = {.per_client = 10, .per_user = 3, .every_ms = 60000};
static struct throttle *throttle;

static int make(void **state)
{
	(void)state;
	return throttle_new(&throttle) != ERR_NONE;
}

static int drop(void **state)
{
	(void)state;
	throttle_free(throttle);
	return 0;
}

static struct throttle_try try(const char *client, const char *user, const char *password, uint64_t now_ms)
{
	struct throttle_try one = {.user = span_from(user), .password = span_from(password), .now_ms = now_ms};

	assert_true(address_parse(span_from(client), &one.client));
	return one;
}

static bool attempt(const char *client, const char *user, const char *password, bool valid, uint64_t now_ms)
{
	struct throttle_try one = try(client, user, password, now_ms);

	if (!throttle_allows(throttle, &conf, &one))
		return false;
	throttle_note(throttle, &conf, &one, valid);
	return true;
}

static void a_user_has_a_few_guesses_from_one_address(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(attempt("10.0.0.1", "alice", "guess", false, 1000));
	assert_false(attempt("10.0.0.1", "alice", "guess", false, 1000));
	assert_false(attempt("10.0.0.1", "alice", "alicepw", true, 1000));
	assert_true(attempt("10.0.0.1", "bob", "bobpw", true, 1000));
	/* alice herself sits elsewhere. */
	assert_true(attempt("10.0.0.2", "alice", "alicepw", true, 1000));
	/* One more after each minute. */
	assert_true(attempt("10.0.0.1", "alice", "guess", false, 1000 + 60000));
	assert_false(attempt("10.0.0.1", "alice", "guess", false, 1000 + 60000));
}

static void an_address_has_a_few_guesses_at_all(void **state)
{
	char user[16] = "user0";

	(void)state;
	for (int i = 0; i < 10; i++, user[4]++)
		assert_true(attempt("10.0.0.1", user, "guess", false, 1000));
	assert_false(attempt("10.0.0.1", "somebody", "guess", false, 1000));
	assert_true(attempt("10.0.0.3", "somebody", "guess", false, 1000));
}

/* Who was right lately is let through, whatever the others behind the same address do. */
static void who_was_right_is_not_locked_out_by_others(void **state)
{
	char user[16] = "user0";

	(void)state;
	assert_true(attempt("10.0.0.1", "alice", "alicepw", true, 1000));
	for (int i = 0; i < 10; i++, user[4]++)
		assert_true(attempt("10.0.0.1", user, "guess", false, 1000));
	assert_true(attempt("10.0.0.1", "alice", "alicepw", true, 1000));
	for (int i = 0; i < 20; i++)
		(void)attempt("10.0.0.1", "alice", "guess", false, 1000);
	assert_false(attempt("10.0.0.1", "alice", "guess", false, 1000));
	assert_true(attempt("10.0.0.1", "alice", "alicepw", true, 1000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_user_has_a_few_guesses_from_one_address, make, drop),
		cmocka_unit_test_setup_teardown(an_address_has_a_few_guesses_at_all, make, drop),
		cmocka_unit_test_setup_teardown(who_was_right_is_not_locked_out_by_others, make, drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
