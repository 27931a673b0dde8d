/* SPDX-License-Identifier: Apache-2.0 */
/* A backend that takes as long as the configuration lets it is not one that hangs. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth/verifier/verify.h"
#include "base/clock.h"

enum { TIMEOUT_MS = 60000 };

static enum ask_verdict told = VERDICT_COUNT;

static void on_reply(void *context, const struct verify_place *place, const struct answer *answer)
{
	(void)context;
	(void)place;
	told = answer->verdict;
}

static void keep(struct pool_env *env)
{
	(void)env;
}

static void ask_for_alice(struct verify *verify)
{
	struct ask ask = {.kind = ASK_PASSWORD, .user = SPAN("alice"), .password = SPAN("alicepw")};
	const struct verify_place place = {0};
	struct buf bytes;

	buf_init(&bytes, ASK_WIRE_MAX_BYTES);
	ask_write(&ask, &bytes);
	assert_true(verify_take(verify, &place, buf_span(&bytes), clock_monotonic_ms()));
	buf_fini(&bytes);
}

static void slow_is_not_lost(void **state)
{
	struct auth_conf conf = {.default_domain = "",
	                         .offer = {.count = 1, .schemes = {AUTH_BASIC}},
	                         .basic = {.backends = {BASIC_BACKEND_PAM}, .backend_count = 1},
	                         .pam = {.service = "sallyport", .folder = "", .timeout_ms = TIMEOUT_MS},
	                         .threads = 1,
	                         .queue = 1};
	struct pool_env env = {.references = 1, .free = keep, .backend = {.conf = &conf}};
	struct verify *verify;
	struct pollfd done;
	uint8_t question[4096];
	uint64_t now_ms;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	env.backend.pam_fd = ends[0];
	assert_int_equal(verify_new(on_reply, NULL, &verify), ERR_NONE);
	assert_int_equal(verify_use(verify, &env), ERR_NONE);
	ask_for_alice(verify);
	/* Its thread is at work. */
	assert_true(recv(ends[1], question, sizeof(question), 0) > 0);
	now_ms = clock_monotonic_ms();
	assert_null(verify_find_lost(verify, now_ms + TIMEOUT_MS + 1000));
	assert_non_null(verify_find_lost(verify, now_ms + 10 * TIMEOUT_MS));
	/* There is no role any more. */
	close(ends[1]);
	done = (struct pollfd){.fd = verify_fd(verify), .events = POLLIN};
	assert_int_equal(poll(&done, 1, -1), 1);
	verify_run(verify, clock_monotonic_ms());
	assert_int_equal(told, VERDICT_UNAVAILABLE);
	verify_free(verify);
	close(ends[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(slow_is_not_lost)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
