/* SPDX-License-Identifier: Apache-2.0 */
/* Names to addresses, against a name server that the same loop serves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "name_server.h"
#include "net/resolve.h"
#include "net/resolve_soa.h"

enum { WAIT_MS = 30000 };

static const struct name_row rows[] = {
	{.name = "both.example", .type = NAME_SERVER_A, .ttl = 300, .addresses = {"192.0.2.1", "192.0.2.2", "192.0.2.3"}},
	{.name = "both.example", .type = NAME_SERVER_AAAA, .ttl = 300, .addresses = {"2001:db8::1"}},
	{.name = "four.example", .type = NAME_SERVER_A, .ttl = 300, .addresses = {"192.0.2.4"}},
	{.name = "four.example", .type = NAME_SERVER_AAAA, .has_soa = true, .soa_ttl = 300, .soa_minimum = 300},
	{.name = "zero.example", .type = NAME_SERVER_A, .ttl = 0, .addresses = {"192.0.2.5"}},
	{.name = "zero.example", .type = NAME_SERVER_AAAA, .ttl = 0, .addresses = {"2001:db8::5"}},
	{.name = "alias.example", .type = NAME_SERVER_A, .ttl = 300, .cname = "real.example", .addresses = {"192.0.2.6"}},
	{.name = "alias.example", .type = NAME_SERVER_AAAA, .ttl = 300, .cname = "real.example", .addresses = {"2001:db8::6"}},
	{.name = "nodata.example", .type = 99},
	{.name = "short.example", .type = NAME_SERVER_A, .rcode = 3, .has_soa = true, .soa_ttl = 300, .soa_minimum = 0},
	{.name = "short.example", .type = NAME_SERVER_AAAA, .rcode = 3, .has_soa = true, .soa_ttl = 300, .soa_minimum = 0},
	{.name = "nosoa.example", .type = NAME_SERVER_A, .rcode = 3},
	{.name = "nosoa.example", .type = NAME_SERVER_AAAA, .rcode = 3},
	{.name = "fail.example", .type = NAME_SERVER_A, .rcode = 2},
	{.name = "fail.example", .type = NAME_SERVER_AAAA, .rcode = 2},
	{.name = "silent.example", .type = NAME_SERVER_A, .silent = true},
	{.name = "silent.example", .type = NAME_SERVER_AAAA, .silent = true},
	{.name = "half.example", .type = NAME_SERVER_A, .ttl = 300, .addresses = {"192.0.2.7"}},
	{.name = "half.example", .type = NAME_SERVER_AAAA, .silent = true},
	{.name = "noisy.example", .type = NAME_SERVER_A, .ttl = 300, .addresses = {"192.0.2.8"}, .noisy = true},
	{.name = "noisy.example", .type = NAME_SERVER_AAAA, .ttl = 300, .addresses = {"2001:db8::8"}, .noisy = true},
};

static struct loop *loop;
static struct name_server server;
static struct resolver *resolver;
static struct dns_conf conf;
static const char *servers[1];

static struct dns_conf new_conf(void)
{
	servers[0] = server.text;
	return (struct dns_conf){
		.servers = {servers, 1},
		.timeout_ms = 5000,
		.tries_count = 1,
		.cache_count = 100,
		.max_ttl_ms = 86400000,
		.max_negative_ttl_ms = 300000,
		.attempt_delay_ms = 250,
		.resolution_delay_ms = 10,
	};
}

/* That name servers do not answer is what some tests are about. */
static void write_errors(void *context, enum log_level level, struct span line)
{
	(void)context;
	if (level == LOG_LEVEL_ERROR)
		print_error("%.*s\n", SPAN_ARG(line));
}

static int open_all(void **state)
{
	(void)state;
	log_set_sink(write_errors, NULL);
	if (loop_new(&loop))
		return -1;
	name_server_open(&server, loop, rows, COUNT_OF(rows));
	conf = new_conf();
	return resolver_new(loop, &conf, &resolver) == ERR_NONE ? 0 : -1;
}

static int close_all(void **state)
{
	(void)state;
	resolver_free(resolver);
	resolver = NULL;
	name_server_close(&server, loop);
	loop_free(loop);
	return 0;
}

/* With another configuration from the start. */
static void reopen(void)
{
	resolver_free(resolver);
	resolver = NULL;
	assert_int_equal(resolver_new(loop, &conf, &resolver), ERR_NONE);
}

struct box {
	struct resolve_query *query;
	unsigned calls;
	struct resolve_answer answer;
};

static void on_done(void *context, const struct resolve_answer *answer)
{
	struct box *box = context;

	box->calls++;
	box->answer = *answer;
	box->query = NULL;
}

static void ask(struct box *box, const char *name)
{
	*box = (struct box){.calls = 0};
	assert_int_equal(resolve_name(resolver, span_from(name), on_done, box, &box->query), ERR_NONE);
	assert_int_equal(box->calls, 0); /* never before return */
}

static void wait_for(const struct box *box)
{
	uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;

	while (box->calls == 0 && clock_monotonic_ms() < until_ms)
		loop_turn(loop, 100);
	assert_int_equal(box->calls, 1);
}

static struct resolve_answer resolve(const char *name)
{
	struct box box;

	ask(&box, name);
	wait_for(&box);
	return box.answer;
}

/* Fail unless the answer holds these addresses, separated by spaces. */
static void check_addresses(const struct resolve_answer *answer, const char *want)
{
	struct buf text;

	buf_init(&text, 1000);
	for (size_t i = 0; i < answer->count; i++) {
		if (i)
			buf_add_byte(&text, ' ');
		address_format(&answer->at[i], &text);
		assert_int_equal(answer->at[i].port, 0);
	}
	if (answer->err || !span_equal(buf_span(&text), span_from(want)))
		fail_msg("%s: %.*s", err_name(answer->err), SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
}

/* ---- known without asking ---- */

static void literals_are_known_at_once(void **state)
{
	struct resolve_answer answer;

	(void)state;
	assert_true(resolve_now(resolver, SPAN("192.0.2.9"), &answer));
	check_addresses(&answer, "192.0.2.9");
	assert_true(resolve_now(resolver, SPAN("2001:db8::9"), &answer));
	check_addresses(&answer, "2001:db8::9");
	assert_false(resolve_now(resolver, SPAN("both.example"), &answer));
	assert_int_equal(resolver_queries_count(resolver), 0);
}

static void hosts_go_before_name_servers(void **state)
{
	static const struct conf_text_pair pairs[] = {{"both.example", "10.1.2.3", 1}, {"six.example", "fd00::1", 2}};
	struct resolve_answer answer;

	(void)state;
	conf.hosts = (struct conf_text_map){pairs, COUNT_OF(pairs)};
	assert_int_equal(resolver_set_conf(resolver, &conf), ERR_NONE);
	assert_true(resolve_now(resolver, SPAN("both.example"), &answer));
	check_addresses(&answer, "10.1.2.3");
	answer = resolve("six.example");
	check_addresses(&answer, "fd00::1");
	assert_int_equal(server.question_count, 0);
	/* Without them again, the name server is asked. */
	conf.hosts.count = 0;
	assert_int_equal(resolver_set_conf(resolver, &conf), ERR_NONE);
	answer = resolve("both.example");
	check_addresses(&answer, "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3");
}

/* ---- answers ---- */

static void families_take_turns_and_the_answer_is_kept(void **state)
{
	struct resolve_answer answer = resolve("both.example"), again;

	(void)state;
	check_addresses(&answer, "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3");
	assert_false(answer.cached);
	assert_int_equal(server.question_count, 2);
	assert_true(resolve_now(resolver, SPAN("both.example"), &again));
	check_addresses(&again, "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3");
	assert_true(again.cached);
	again = resolve("both.example");
	check_addresses(&again, "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3");
	assert_int_equal(server.question_count, 2);
	assert_int_equal(resolver_queries_count(resolver), 2);
}

static void one_family_is_enough(void **state)
{
	struct resolve_answer answer = resolve("four.example");

	(void)state;
	check_addresses(&answer, "192.0.2.4");
	assert_true(resolve_now(resolver, SPAN("four.example"), &answer));
}

static void a_silent_family_is_not_waited_for(void **state)
{
	struct resolve_answer answer = resolve("half.example");

	(void)state;
	check_addresses(&answer, "192.0.2.7");
}

static void aliases_are_followed(void **state)
{
	struct resolve_answer answer = resolve("alias.example");

	(void)state;
	check_addresses(&answer, "2001:db8::6 192.0.2.6");
}

static void foreign_answers_are_not_believed(void **state)
{
	struct resolve_answer answer = resolve("noisy.example");

	(void)state;
	check_addresses(&answer, "2001:db8::8 192.0.2.8");
}

static void equal_questions_are_asked_once(void **state)
{
	struct box boxes[20];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(boxes); i++)
		ask(&boxes[i], "both.example");
	for (size_t i = 0; i < COUNT_OF(boxes); i++) {
		wait_for(&boxes[i]);
		assert_int_equal(boxes[i].answer.count, 4);
	}
	assert_int_equal(server.question_count, 2);
}

static void absence_is_remembered_as_its_soa_says(void **state)
{
	static const struct {
		const char *name;
		enum err err;
		bool kept;
	} wants[] = {
		{"missing.example", ERR_DNS_NOT_FOUND, true},
		{"nodata.example", ERR_DNS_NOT_FOUND, false}, /* no SOA, no memory */
		{"short.example", ERR_DNS_NOT_FOUND, false},
		{"nosoa.example", ERR_DNS_NOT_FOUND, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(wants); i++) {
		struct resolve_answer answer = resolve(wants[i].name);
		bool kept;

		kept = resolve_now(resolver, span_from(wants[i].name), &answer);
		if (answer.err != wants[i].err || answer.count || kept != wants[i].kept)
			fail_msg("%s: %s, kept %d", wants[i].name, err_name(answer.err), kept);
	}
}

static void failures_have_their_own_errors(void **state)
{
	struct resolve_answer answer = resolve("fail.example");

	(void)state;
	assert_int_equal(answer.err, ERR_DNS_FAILED);
	conf.timeout_ms = 50;
	reopen();
	answer = resolve("silent.example");
	assert_int_equal(answer.err, ERR_DNS_TIMEOUT);
}

/* ---- the cache ---- */

static void a_ttl_ends(void **state)
{
	struct resolve_answer answer;
	uint64_t until_ms;

	(void)state;
	conf.max_ttl_ms = 20;
	conf.max_negative_ttl_ms = 20;
	reopen();
	answer = resolve("both.example");
	resolve("missing.example");
	for (until_ms = clock_monotonic_ms() + 30; clock_monotonic_ms() < until_ms;)
		loop_turn(loop, 10);
	loop_turn(loop, 0);
	assert_false(resolve_now(resolver, SPAN("both.example"), &answer));
	assert_false(resolve_now(resolver, SPAN("missing.example"), &answer));
	answer = resolve("both.example");
	check_addresses(&answer, "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3");
	assert_int_equal(server.question_count, 6);
}

static void a_ttl_of_0_is_for_those_who_wait(void **state)
{
	struct resolve_answer answer = resolve("zero.example");

	(void)state;
	check_addresses(&answer, "2001:db8::5 192.0.2.5");
	loop_turn(loop, 0);
	assert_false(resolve_now(resolver, SPAN("zero.example"), &answer));
	answer = resolve("zero.example");
	check_addresses(&answer, "2001:db8::5 192.0.2.5");
	assert_int_equal(server.question_count, 4);
}

/* Somebody who asks in each turn, behind the events and before the reports of that turn. */
struct asker {
	struct loop_io io;
	struct box boxes[200];
	size_t count;
};

static void ask_again(struct loop_io *io, unsigned events)
{
	struct asker *asker = CONTAINER_OF(io, struct asker, io);

	(void)events;
	if (asker->count == COUNT_OF(asker->boxes) || (asker->count && asker->boxes[0].calls))
		return;
	ask(&asker->boxes[asker->count++], "zero.example");
	loop_again(loop, io, 0);
}

/* An answer whose TTL is 0 has come and is about to be reported, when the name is asked for again. */
static void asking_while_an_answer_is_reported_takes_nothing_away(void **state)
{
	struct asker *asker = calloc(1, sizeof(*asker));
	size_t empty = 0;

	(void)state;
	asker->io = (struct loop_io){.fd = -1, .on_ready = ask_again};
	loop_again(loop, &asker->io, 0);
	loop_turn(loop, 0);
	while (asker->count < COUNT_OF(asker->boxes) && asker->boxes[0].calls == 0)
		loop_turn(loop, 10);
	for (size_t i = 0; i < asker->count; i++) {
		wait_for(&asker->boxes[i]);
		empty += asker->boxes[i].answer.err == ERR_NONE && asker->boxes[i].answer.count == 0;
	}
	free(asker);
	assert_int_equal(empty, 0);
}

static void the_longest_unused_goes_first(void **state)
{
	struct resolve_answer answer;
	char name[40];

	(void)state;
	conf.cache_count = 16;
	reopen();
	resolve("both.example");
	for (int i = 0; i < 15; i++) {
		snprintf(name, sizeof(name), "missing%d.example", i);
		resolve(name);
	}
	assert_true(resolve_now(resolver, SPAN("both.example"), &answer)); /* used: now the youngest */
	resolve("another.example");
	assert_true(resolve_now(resolver, SPAN("both.example"), &answer));
	assert_false(resolve_now(resolver, SPAN("missing0.example"), &answer));
	assert_true(resolve_now(resolver, SPAN("missing1.example"), &answer));
}

static void too_many_names_at_once_are_refused(void **state)
{
	struct resolve_query *query;
	struct box boxes[16], one_more = {0};
	char name[40];

	(void)state;
	conf.cache_count = 16;
	reopen();
	for (size_t i = 0; i < COUNT_OF(boxes); i++) {
		snprintf(name, sizeof(name), "missing%zu.example", i);
		ask(&boxes[i], name);
	}
	assert_int_equal(resolve_name(resolver, SPAN("both.example"), on_done, &one_more, &query), ERR_LIMIT);
	for (size_t i = 0; i < COUNT_OF(boxes); i++)
		wait_for(&boxes[i]);
	assert_int_equal(one_more.calls, 0);
}

static void questions_have_a_bound(void **state)
{
	enum { NAMES = 8192 };
	struct box *boxes = calloc(NAMES + 2, sizeof(*boxes));
	struct resolve_query *query;
	char name[40];

	(void)state;
	assert_non_null(boxes);
	conf.cache_count = 100000;
	conf.timeout_ms = 100;
	reopen();
	for (size_t i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "silent%zu.example", i);
		ask(&boxes[i], name);
	}
	/* Who asks for the same costs nothing more. */
	ask(&boxes[NAMES], "silent0.example");
	assert_int_equal(resolve_name(resolver, SPAN("both.example"), on_done, &boxes[NAMES + 1], &query),
	                 ERR_LIMIT);
	for (size_t i = 0; i <= NAMES; i++)
		wait_for(&boxes[i]);
	resolve("both.example");
	free(boxes);
}

static void names_have_253_bytes_at_most(void **state)
{
	struct resolve_query *query;
	struct box box = {0};
	char name[255];

	(void)state;
	memset(name, 'a', sizeof(name));
	for (size_t i = 50; i < sizeof(name); i += 50)
		name[i] = '.';
	assert_int_equal(resolve_name(resolver, span_of(name, 254), on_done, &box, &query), ERR_LIMIT);
}

/* ---- taking back ---- */

static void a_cancelled_question_is_not_answered(void **state)
{
	struct box cancelled, kept;
	struct resolve_answer answer;

	(void)state;
	ask(&cancelled, "both.example");
	ask(&kept, "both.example");
	resolve_cancel(cancelled.query);
	wait_for(&kept);
	loop_turn(loop, 0);
	assert_int_equal(cancelled.calls, 0);
	ask(&cancelled, "four.example");
	resolve_cancel(cancelled.query);
	for (uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
	     !resolve_now(resolver, SPAN("four.example"), &answer) && clock_monotonic_ms() < until_ms;)
		loop_turn(loop, 10);
	assert_int_equal(cancelled.calls, 0);
	check_addresses(&answer, "192.0.2.4");
	/* Known already: the report is under way when it is taken back. */
	ask(&cancelled, "four.example");
	resolve_cancel(cancelled.query);
	loop_turn(loop, 0);
	assert_int_equal(cancelled.calls, 0);
	resolve_cancel(NULL);
}

static void a_resolver_may_end_with_questions_open(void **state)
{
	struct box boxes[2];

	(void)state;
	ask(&boxes[0], "silent.example");
	ask(&boxes[1], "both.example");
	reopen();
	loop_turn(loop, 0);
	assert_int_equal(boxes[0].calls + boxes[1].calls, 0);
}

/* Run in a process of its own, because the sanitizer ends it when something is wrong. */
static void check_in_child(void (*run)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		run();
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void report_after_free(void)
{
	struct box box = {0};

	resolve("both.example");
	ASSERT(resolve_name(resolver, SPAN("both.example"), on_done, &box, &box.query) == ERR_NONE);
	resolver_free(resolver);
	loop_turn(loop, 0);
	ASSERT(box.calls == 0);
}

static void a_resolver_may_end_with_a_report_under_way(void **state)
{
	(void)state;
	check_in_child(report_after_free);
}

/* A reload gives a name an address while that name is being asked for. */
static void hosts_while_asking(void)
{
	static const struct conf_text_pair pairs[] = {{"both.example", "10.1.2.3", 1}};
	struct dns_conf other = conf;
	struct box box;

	ask(&box, "both.example");
	other.hosts = (struct conf_text_map){pairs, COUNT_OF(pairs)};
	ASSERT(resolver_set_conf(resolver, &other) == ERR_NONE);
	for (int i = 0; i < 50 && box.calls == 0; i++)
		loop_turn(loop, 10);
	if (box.calls == 0)
		resolve_cancel(box.query); /* as a session does whose time is over */
	ASSERT(box.calls == 1);
}

static void new_hosts_do_not_lose_those_who_wait(void **state)
{
	(void)state;
	check_in_child(hosts_while_asking);
}

/* ---- how long absence may be remembered ---- */

static void soa_records_are_read(void **state)
{
	static const struct {
		const char *name;
		struct span message;
		uint32_t seconds;
	} messages[] = {
#define ROW(name, text, seconds) {name, {(const uint8_t *)(text), sizeof(text) - 1}, seconds}
#define QUESTION "\1a\0" "\0\1\0\1"
#define SOA_DATA "\2ns\0" "\xc0\x0c" "\0\0\0\1" "\0\0\0\2" "\0\0\0\3" "\0\0\0\4" "\0\0\0\x3c"
		ROW("minimum", "\0\1\x81\x83\0\1\0\0\0\1\0\0" QUESTION "\xc0\x0c" "\0\6\0\1" "\0\0\1\0" "\0\x1a" SOA_DATA, 60),
		ROW("TTL", "\0\1\x81\x83\0\1\0\0\0\1\0\0" QUESTION "\xc0\x0c" "\0\6\0\1" "\0\0\0\5" "\0\x1a" SOA_DATA, 5),
		ROW("behind another record", "\0\1\x81\x83\0\1\0\0\0\2\0\0" QUESTION "\0" "\0\2\0\1" "\0\0\0\5" "\0\1\0"
		    "\xc0\x0c" "\0\6\0\1" "\0\0\1\0" "\0\x1a" SOA_DATA, 60),
		ROW("in the answer section", "\0\1\x81\x83\0\1\0\1\0\0\0\0" QUESTION "\xc0\x0c" "\0\6\0\1" "\0\0\1\0" "\0\x1a" SOA_DATA, 60),
		ROW("none", "\0\1\x81\x83\0\1\0\0\0\0\0\0" QUESTION, 0),
		ROW("counted, not there", "\0\1\x81\x83\0\1\0\0\0\1\0\0" QUESTION, 0),
		ROW("data too short", "\0\1\x81\x83\0\1\0\0\0\1\0\0" QUESTION "\xc0\x0c" "\0\6\0\1" "\0\0\1\0" "\0\x19" SOA_DATA, 0),
		ROW("data longer than the message", "\0\1\x81\x83\0\1\0\0\0\1\0\0" QUESTION "\xc0\x0c" "\0\6\0\1" "\0\0\1\0" "\xff\xff" SOA_DATA, 0),
		ROW("nothing", "", 0),
		ROW("half a header", "\0\1\x81\x83\0\1", 0),
#undef ROW
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(messages); i++) {
		uint32_t seconds = resolve_soa_parse(messages[i].message);

		if (seconds != messages[i].seconds)
			fail_msg("%s: %u", messages[i].name, seconds);
	}
}

int main(void)
{
#define ONE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
	const struct CMUnitTest tests[] = {
		ONE(literals_are_known_at_once),
		ONE(hosts_go_before_name_servers),
		ONE(families_take_turns_and_the_answer_is_kept),
		ONE(one_family_is_enough),
		ONE(a_silent_family_is_not_waited_for),
		ONE(aliases_are_followed),
		ONE(foreign_answers_are_not_believed),
		ONE(equal_questions_are_asked_once),
		ONE(absence_is_remembered_as_its_soa_says),
		ONE(failures_have_their_own_errors),
		ONE(a_ttl_ends),
		ONE(a_ttl_of_0_is_for_those_who_wait),
		ONE(asking_while_an_answer_is_reported_takes_nothing_away),
		ONE(the_longest_unused_goes_first),
		ONE(too_many_names_at_once_are_refused),
		ONE(questions_have_a_bound),
		ONE(names_have_253_bytes_at_most),
		ONE(a_cancelled_question_is_not_answered),
		ONE(a_resolver_may_end_with_questions_open),
		ONE(a_resolver_may_end_with_a_report_under_way),
		ONE(new_hosts_do_not_lose_those_who_wait),
		cmocka_unit_test(soa_records_are_read),
	};
#undef ONE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
