/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between roles: what is sent arrives, and what is not valid does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "process/ipc.h"
#include "process/shared.h"

#define BIT(type) (UINT32_C(1) << IPC_##type)

struct rig {
	int ends[2];
	struct ipc_message message;
};

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_int_equal(ipc_pair(rig->ends), ERR_NONE);
	assert_int_equal(fcntl(rig->ends[1], F_SETFL, O_NONBLOCK), 0);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	close(rig->ends[0]);
	close(rig->ends[1]);
	free(rig);
	return 0;
}

static void a_message_arrives_with_its_descriptors(void **state)
{
	struct rig *rig = *state;
	struct ipc_sessions ask = {7, 64, 0};
	struct ipc_compiled compiled = {5};
	int fd, taken;

	assert_int_equal(ipc_send(rig->ends[0], IPC_SESSIONS, 42, span_of(&ask, sizeof(ask)), NULL, 0),
	                 ERR_NONE);
	assert_int_equal(ipc_receive(rig->ends[1], BIT(SESSIONS), &rig->message), IPC_GOT);
	assert_int_equal(rig->message.type, IPC_SESSIONS);
	assert_int_equal(rig->message.id, 42);
	assert_true(span_equal(rig->message.payload, span_of(&ask, sizeof(ask))));
	assert_int_equal(shared_sealed("test", SPAN("image"), &fd), ERR_NONE);
	assert_int_equal(ipc_send(rig->ends[0], IPC_COMPILED, 0, span_of(&compiled, sizeof(compiled)),
	                          &fd, 1),
	                 ERR_NONE);
	assert_int_equal(ipc_receive(rig->ends[1], BIT(COMPILED), &rig->message), IPC_GOT);
	taken = ipc_take_fd(&rig->message, 0);
	assert_true(taken >= 0 && taken != fd);
	assert_int_equal(ipc_take_fd(&rig->message, 0), -1);
	assert_int_equal(ipc_take_fd(&rig->message, 1), -1);
	close(taken);
	close(fd);
	assert_int_equal(ipc_receive(rig->ends[1], BIT(COMPILED), &rig->message), IPC_EMPTY);
}

static void send_raw(struct rig *rig, struct ipc_header header, size_t bytes)
{
	uint8_t text[256] = {0};

	memcpy(text, &header, sizeof(header));
	assert_int_equal(send(rig->ends[0], text, bytes, 0), (ssize_t)bytes);
}

static void what_is_not_valid_is_refused(void **state)
{
	static const struct {
		const char *name;
		struct ipc_header header;
		size_t bytes;
	} rows[] = {
		{"shorter than a header", {IPC_VERSION, IPC_DRAIN, 0, 0}, 8},
		{"another version", {IPC_VERSION + 1, IPC_DRAIN, 0, 0}, sizeof(struct ipc_header)},
		{"no type", {IPC_VERSION, IPC_NONE, 0, 0}, sizeof(struct ipc_header)},
		{"unknown type", {IPC_VERSION, IPC_TYPE_COUNT, 0, 0}, sizeof(struct ipc_header)},
		{"a type far out", {IPC_VERSION, UINT16_MAX, 0, 0}, sizeof(struct ipc_header)},
		{"not this role's", {IPC_VERSION, IPC_STOP, 0, 0}, sizeof(struct ipc_header)},
		{"longer than it says", {IPC_VERSION, IPC_DRAIN, 0, 0}, sizeof(struct ipc_header) + 1},
		{"shorter than it says", {IPC_VERSION, IPC_SESSIONS, 16, 0}, sizeof(struct ipc_header) + 8},
		{"too short for its type", {IPC_VERSION, IPC_SESSIONS, 8, 0}, sizeof(struct ipc_header) + 8},
		{"too long for its type", {IPC_VERSION, IPC_SESSIONS, 32, 0}, sizeof(struct ipc_header) + 32},
		{"without its descriptors", {IPC_VERSION, IPC_GENERATION, 100, 0}, sizeof(struct ipc_header) + 100},
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		enum ipc_got got;

		send_raw(rig, rows[i].header, rows[i].bytes);
		got = ipc_receive(rig->ends[1], BIT(DRAIN) | BIT(SESSIONS) | BIT(GENERATION), &rig->message);
		if (got != IPC_INVALID)
			fail_msg("%s: %d", rows[i].name, got);
	}
}

static void descriptors_nobody_wants_are_closed(void **state)
{
	struct rig *rig = *state;
	struct ipc_compiled compiled = {5};
	int fd, before, after;

	assert_int_equal(shared_sealed("test", SPAN("image"), &fd), ERR_NONE);
	before = dup(fd);
	close(before);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(ipc_send(rig->ends[0], IPC_COMPILED, 0,
		                          span_of(&compiled, sizeof(compiled)), &fd, 1),
		                 ERR_NONE);
		/* Once not this role's, once its own and dropped. */
		assert_int_equal(ipc_receive(rig->ends[1], i % 2 ? BIT(COMPILED) : BIT(DRAIN), &rig->message),
		                 i % 2 ? IPC_GOT : IPC_INVALID);
		ipc_drop(&rig->message);
	}
	after = dup(fd);
	assert_int_equal(before, after);
	close(after);
	close(fd);
}

static void the_end_is_seen(void **state)
{
	struct rig *rig = *state;

	shutdown(rig->ends[0], SHUT_RDWR);
	assert_int_equal(ipc_receive(rig->ends[1], BIT(DRAIN), &rig->message), IPC_CLOSED);
	assert_int_equal(ipc_send(rig->ends[1], IPC_DRAIN, 0, SPAN(""), NULL, 0), ERR_SYSTEM);
}

static void a_reader_that_does_not_read_is_noticed(void **state)
{
	struct rig *rig = *state;
	enum err err = ERR_NONE;

	for (int i = 0; i < 100000 && err == ERR_NONE; i++)
		err = ipc_send(rig->ends[1], IPC_DRAIN, 0, SPAN(""), NULL, 0);
	assert_int_equal(err, ERR_LIMIT);
}

static void regions_keep_their_promise(void **state)
{
	int fd, readonly;
	uint8_t *at;

	(void)state;
	assert_int_equal(shared_new("test", 4096, &fd), ERR_NONE);
	at = shared_map(fd, 4096, true);
	assert_non_null(at);
	at[0] = 1;
	assert_null(shared_map(fd, 8192, true));
	assert_null(shared_map(fd, 0, true));
	assert_null(shared_map(fd, 4096, false)); /* not sealed against changes */
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(shared_readonly(fd, &readonly), ERR_NONE);
	assert_null(shared_map(readonly, 4096, true));
	shared_unmap(at, 4096);
	close(readonly);
	close(fd);
	assert_int_equal(shared_sealed("test", SPAN("fixed"), &fd), ERR_NONE);
	assert_int_equal(write(fd, "x", 1), -1);
	at = shared_map(fd, 5, false);
	assert_memory_equal(at, "fixed", 5);
	assert_null(shared_map(fd, 5, true));
	shared_unmap(at, 5);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_message_arrives_with_its_descriptors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_not_valid_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(descriptors_nobody_wants_are_closed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_end_is_seen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_reader_that_does_not_read_is_noticed, set_up, tear_down),
		cmocka_unit_test(regions_keep_their_promise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
