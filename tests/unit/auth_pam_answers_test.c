/* SPDX-License-Identifier: Apache-2.0 */
/* The role pam outlives a verifier. What it still says to the questions of the last one is no answer to those of the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth/backend/backend.h"

enum { LEFT_OVER = 32 };

static void add_left_over(uint8_t id, struct buf *out)
{
	struct answer answer;

	answer_init(&answer);
	answer.verdict = VERDICT_VALID;
	buf_add(&answer.user, SPAN("alice"));
	buf_add(out, SPAN("\0\0\0\0\0\0\0"));
	buf_add_byte(out, id);
	answer_write(&answer, out);
	answer_fini(&answer);
}

static void an_answer_to_another_verifier_lets_nobody_in(void **state)
{
	struct auth_conf conf = {.default_domain = "", .pam = {.service = "sallyport", .folder = "", .timeout_ms = 60000}};
	struct backend_env env = {.conf = &conf};
	struct ask ask = {.kind = ASK_PASSWORD, .user = SPAN("bob"), .password = SPAN("guess")};
	struct answer answer;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	for (uint8_t id = 0; id < LEFT_OVER; id++) {
		struct buf bytes;

		buf_init(&bytes, ANSWER_WIRE_MAX_BYTES);
		add_left_over(id, &bytes);
		assert_int_equal(send(ends[1], buf_span(&bytes).at, buf_len(&bytes), 0), buf_len(&bytes));
		buf_fini(&bytes);
	}
	/* After them nothing comes. */
	assert_int_equal(shutdown(ends[1], SHUT_WR), 0);
	env.pam_fd = ends[0];
	answer_init(&answer);
	assert_int_equal(backend_pam.verify(NULL, &env, &ask, &answer), VERDICT_UNAVAILABLE);
	assert_int_equal(buf_len(&answer.user), 0);
	answer_fini(&answer);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(an_answer_to_another_verifier_lets_nobody_in)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
