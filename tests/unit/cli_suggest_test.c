/* SPDX-License-Identifier: Apache-2.0 */
/* list suggest: what samples of access logs lead to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <zlib.h>

#include "cli/command.h"
#include "policy_rig.h"

#define POLICY \
	"lists: {a: a.list, b: b.list}\nrules:\n  - {name: known, when: {to: b}, then: {access: allow}}\n" \
	"  - {name: pinned apps, when: {to: a}, then: {tls: bypass}}\n" \
	"defaults: {access: allow, tls: inspect, auth: exempt, ports: [1-65535]}\n"
#define CONFIG "listen: [{name: local, address: '127.0.0.1:3128'}]\npolicy: policy.yaml\nlog: {access: {path: access.log}}\n"

#define JA4 "t13d1516h2_8daaf6152771_b0da82dd1658"

/* A line; `minute` is two digits. */
#define LINE(minute, client, host, port, tls) \
	"{\"ts\":\"2026-11-23T08:" minute ":00.000Z\",\"id\":\"1-1.1\",\"client\":\"" client ":5000\",\"method\":\"CONNECT\"," \
	"\"target\":\"" host ":" port "\",\"host\":\"" host "\",\"port\":" port ",\"sni\":\"" host "\",\"status\":200,\"bytes_up\":0," \
	"\"tls\":" tls "}\n"
#define FAILED(minute, client, host, evidence) \
	LINE(minute, client, host, "443", "{\"opened\":false,\"ja4\":\"" JA4 "\",\"evidence\":\"" evidence "\"}")
#define SILENT(minute, client, host) \
	LINE(minute, client, host, "443", "{\"client\":{\"version\":\"TLSv1.3\",\"cipher\":\"x\",\"resumed\":false,\"ja4\":\"" JA4 \
	     "\"},\"opened\":true,\"certificate\":\"forged\",\"evidence\":\"silent\"}")
#define OPENED(minute, client, host) \
	LINE(minute, client, host, "443", "{\"client\":{\"version\":\"TLSv1.3\",\"cipher\":\"x\",\"resumed\":false},\"opened\":true}")
#define HELD(minute, client, host) LINE(minute, client, host, "443", "{\"opened\":true,\"evidence\":\"unused\"}")
#define PINNED(client, host) \
	FAILED("10", client, host, "alert-48") FAILED("11", client, host, "alert-48") FAILED("12", client, host, "alert-48")

struct ran {
	int status;
	char *text;
};

struct sample {
	const char *name, *text;
	bool is_packed;
};

static void write_sample(const struct policy_rig *rig, const struct sample *sample)
{
	char path[100];
	gzFile packed;

	policy_rig_path(rig, sample->name, path);
	if (!sample->is_packed) {
		policy_rig_write(rig, sample->name, span_from(sample->text));
		return;
	}
	packed = gzopen(path, "wb");
	assert_int_equal(gzwrite(packed, sample->text, (unsigned)strlen(sample->text)), (int)strlen(sample->text));
	assert_int_equal(gzclose(packed), Z_OK);
}

/* The command over samples; without any, over what the configuration names. */
static struct ran run(const struct sample *samples, size_t count, const char *list, bool json)
{
	struct command_line line = {.argument = "suggest"};
	const char *arguments[] = {"suggest", list};
	struct ran ran = {.text = calloc(1, 1 << 20)};
	char config[100], out[100], paths[8][100];
	struct policy_rig rig;
	FILE *file;
	int saved;

	policy_rig_init(&rig);
	policy_rig_write(&rig, "sallyport.yaml", SPAN(CONFIG));
	policy_rig_write(&rig, "policy.yaml", SPAN(POLICY));
	policy_rig_write(&rig, "a.list", SPAN("# apps\n*.known.example\n10.9.0.0/16\n"));
	policy_rig_write(&rig, "b.list", SPAN("api.example.com\n"));
	for (size_t i = 0; i < count; i++) {
		write_sample(&rig, &samples[i]);
		policy_rig_path(&rig, samples[i].name, paths[i]);
		if (strcmp(samples[i].name, "access.log") != 0)
			line.logs[line.log_count++] = paths[i];
	}
	policy_rig_path(&rig, "sallyport.yaml", config);
	policy_rig_path(&rig, "out", out);
	line.options[OPTION_config] = config;
	line.options[OPTION_json] = json ? "" : NULL;
	line.arguments = arguments;
	line.argument_count = list ? 2 : 1;
	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	assert_non_null(freopen(out, "w", stdout));
	ran.status = list_command(&line);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	file = fopen(out, "r");
	assert_non_null(file);
	assert_true(fread(ran.text, 1, (1 << 20) - 1, file) < (1 << 20) - 1);
	fclose(file);
	policy_rig_fini(&rig);
	return ran;
}

static struct ran run_text(const char *log, bool json)
{
	const struct sample sample = {"one.log", log, false};

	return run(&sample, 1, NULL, json);
}

static void assert_says(const char *text, const char *what)
{
	if (strstr(text, what) == NULL)
		fail_msg("it does not say\n%s\nbut\n%s", what, text);
}

static void assert_silent(const char *text, const char *what)
{
	if (strstr(text, what))
		fail_msg("it says\n%s\n: %s", what, text);
}

/* ---- */

static void an_entry_is_proposed(void **state)
{
	struct ran ran = run_text(OPENED("01", "192.0.2.7", "www.example.org") PINNED("192.0.2.7", "api.example.com")
	                          OPENED("02", "192.0.2.8", "www.example.org") PINNED("192.0.2.8", "api.example.com")
	                          FAILED("30", "192.0.2.8", "api.example.com", "closed"), false);

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_says(ran.text, "api.example.com reason=\"pinned: 6 alerts unknown_ca (48), 1 closed in the handshake, 2 clients\" added=");
	assert_says(ran.text, "sallyport list add a 'api.example.com' --reason 'pinned: 6 alerts unknown_ca (48), ");
	assert_says(ran.text, "seen at 192.0.2.7, 192.0.2.8; ja4 " JA4 "\n");
	assert_says(ran.text, "access is allow by api.example.com (b.list:1, list b)\n");
	assert_says(ran.text, "9 lines: 1 entry proposed, 0 needed no more; 0 clients without our CA; 0 origins");
	free(ran.text);
}

static void what_only_looks_like_it_is_not_proposed(void **state)
{
	static const char *const logs[] = {
		"",
		OPENED("01", "192.0.2.7", "www.example.org") FAILED("10", "192.0.2.7", "api.example.com", "alert-48")
		FAILED("11", "192.0.2.7", "api.example.com", "alert-48"),
		/* it was used, too */
		OPENED("01", "192.0.2.7", "www.example.org") PINNED("192.0.2.7", "api.example.com") OPENED("20", "192.0.2.7", "api.example.com"),
		/* held in stock */
		OPENED("01", "192.0.2.7", "www.example.org") HELD("02", "192.0.2.7", "a.example") HELD("03", "192.0.2.7", "a.example")
		HELD("04", "192.0.2.7", "a.example") HELD("05", "192.0.2.7", "a.example") HELD("06", "192.0.2.7", "a.example")
		HELD("07", "192.0.2.7", "a.example") HELD("08", "192.0.2.7", "a.example"),
		/* one burst */
		OPENED("01", "192.0.2.7", "www.example.org") FAILED("10", "192.0.2.7", "a.example", "alert-48")
		FAILED("10", "192.0.2.7", "a.example", "alert-48") FAILED("10", "192.0.2.7", "a.example", "alert-48"),
		/* nothing was opened */
		LINE("01", "192.0.2.7", "a.example", "443", "{\"opened\":false}") LINE("02", "192.0.2.7", "a.example", "443", "{}"),
		/* no name */
		OPENED("01", "192.0.2.7", "www.example.org") PINNED("192.0.2.7", "a.example'; rm -r x; '"),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(logs); i++) {
		struct ran ran = run_text(logs[i], false);

		if (ran.status != EXIT_WELL)
			fail_msg("log %zu: %d\n%s", i, ran.status, ran.text);
		assert_says(ran.text, " 0 entries proposed");
		assert_silent(ran.text, "reason=");
		free(ran.text);
	}
}

static void a_client_without_the_ca_is_no_app(void **state)
{
	struct ran ran = run_text(FAILED("10", "192.0.2.9", "a.example", "alert-45") FAILED("11", "192.0.2.9", "b.example", "alert-45")
	                          FAILED("12", "192.0.2.9", "c.example", "alert-48") PINNED("192.0.2.9", "d.example")
	                          PINNED("192.0.2.10", "a.example"), false);

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_says(ran.text, "    192.0.2.9: 4 alerts unknown_ca (48), 2 alerts certificate_expired (45); no host was taken, 4 were not\n");
	assert_says(ran.text, "not decided: nothing shows whether these clients have our CA\n    192.0.2.10 at a.example:443: 3 alerts");
	assert_says(ran.text, " 0 entries proposed, 0 needed no more; 1 client without our CA; ");
	free(ran.text);
}

static void what_cannot_be_decided_is_no_finding(void **state)
{
	struct ran ran = run_text(PINNED("192.0.2.10", "a.example"), false);

	(void)state;
	assert_int_equal(ran.status, EXIT_WELL);
	assert_says(ran.text, "not decided");
	free(ran.text);
}

/* Trust that shows later in the log is as good. */
static void trust_may_show_later(void **state)
{
	struct ran ran = run_text(PINNED("192.0.2.10", "a.example") OPENED("50", "192.0.2.10", "b.example"), false);

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_says(ran.text, "a.example reason=");
	free(ran.text);
}

static const struct {
	const char *hosts[4];
	const char *pattern; /* NULL: each of its own */
} families[] = {
	{{"a.app.example.com", "b.app.example.com", "c.app.example.com", NULL}, "'*.app.example.com'"},
	{{"a.example.com", "b.example.com", "c.example.com", "d.example.com"}, "'*.example.com'"},
	{{"a.app.example.com", "b.app.example.com", "c.other.example.com", NULL}, NULL},
	{{"a.co.uk", "b.co.uk", "c.co.uk", NULL}, NULL},             /* a public suffix */
	{{"a.github.io", "b.github.io", "c.github.io", NULL}, NULL}, /* a private one */
	{{"a.com", "b.com", "c.com", NULL}, NULL},
	{{"198.51.100.1", "198.51.100.2", "198.51.100.3", NULL}, NULL},
	{{"one", "two", "three", NULL}, NULL},
};

static void a_wide_entry_needs_three_hosts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(families); i++) {
		struct ran ran;
		struct buf log;
		char *text;

		buf_init(&log, 1 << 20);
		buf_add_string(&log, OPENED("01", "192.0.2.7", "www.example.org"));
		for (size_t j = 0; j < COUNT_OF(families[i].hosts) && families[i].hosts[j]; j++)
			for (int minute = 10; minute < 13; minute++)
				buf_printf(&log,
				           "{\"ts\":\"2026-11-23T08:%d:00.000Z\",\"client\":\"192.0.2.7:1\",\"method\":\"CONNECT\",\"host\":\"%s\","
				           "\"port\":443,\"tls\":{\"opened\":false,\"ja4\":\"" JA4 "\",\"evidence\":\"alert-48\"}}\n",
				           minute, families[i].hosts[j]);
		text = buf_to_string(&log);
		ran = run_text(text, false);
		assert_int_equal(ran.status, EXIT_FINDING);
		if (families[i].pattern) {
			assert_says(ran.text, families[i].pattern);
			assert_says(ran.text, " 1 entry proposed");
		} else {
			assert_silent(ran.text, "*");
			assert_says(ran.text, " 3 entries proposed");
		}
		free(ran.text);
		free(text);
		buf_fini(&log);
	}
}

/* Three hosts of one parent by other evidence, or of another app, are three matters. */
static void other_evidence_is_another_matter(void **state)
{
	struct ran ran = run_text(OPENED("01", "192.0.2.7", "www.example.org") PINNED("192.0.2.7", "a.example.com")
	                          PINNED("192.0.2.7", "b.example.com") FAILED("20", "192.0.2.7", "c.example.com", "alert-42")
	                          FAILED("21", "192.0.2.7", "c.example.com", "alert-42") FAILED("22", "192.0.2.7", "c.example.com", "alert-42"),
	                          false);

	(void)state;
	assert_says(ran.text, " 3 entries proposed");
	assert_silent(ran.text, "*");
	free(ran.text);
}

static void what_is_bypassed_by_now_is_no_finding(void **state)
{
	struct ran ran = run_text(OPENED("01", "192.0.2.7", "www.example.org") PINNED("192.0.2.7", "app.known.example"), false);

	(void)state;
	assert_int_equal(ran.status, EXIT_WELL);
	assert_says(ran.text, "needs nothing: policy bypasses it by now");
	assert_says(ran.text, "tls is bypass by *.known.example (a.list:2, list a)");
	free(ran.text);
}

/* A port that is not the usual one belongs to the entry; an address is one, too. */
static void entries_are_narrow(void **state)
{
#define AT(minute, host, port) LINE(minute, "[2001:db8:0:1::5]", host, port, "{\"opened\":false,\"evidence\":\"alert-46\"}")
	struct ran ran = run_text(OPENED("01", "[2001:db8:0:1::9]", "www.example.org")
	                          AT("10", "api.example.com", "8443") AT("11", "api.example.com", "8443") AT("12", "api.example.com", "8443")
	                          "{\"ts\":\"2026-11-23T08:10:00Z\",\"client\":\"[2001:db8:0:1::5]:1\",\"method\":\"CONNECT\",\"host\":\"198.51.100.1\",\"port\":443,\"tls\":{\"evidence\":\"alert-46\"}}\n"
	                          "{\"ts\":\"2026-11-23T08:11:00Z\",\"client\":\"[2001:db8:0:1::5]:1\",\"method\":\"CONNECT\",\"host\":\"198.51.100.1\",\"port\":443,\"tls\":{\"evidence\":\"alert-46\"}}\n"
	                          "{\"ts\":\"2026-11-23T08:12:00Z\",\"client\":\"[2001:db8:0:1::5]:1\",\"method\":\"CONNECT\",\"host\":\"198.51.100.1\",\"port\":443,\"tls\":{\"evidence\":\"alert-46\"}}\n",
	                          false);
#undef AT

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_says(ran.text, " ports=8443\n    sallyport list add a 'api.example.com' --reason 'pinned: 3 alerts certificate_unknown (46), 1 client' --ports 8443\n");
	assert_says(ran.text, "198.51.100.1 reason=");
	assert_says(ran.text, "seen at 2001:db8:0:1::/64\n");
	free(ran.text);
}

/* Policy is asked about each name of a session. */
static void two_names_need_two_entries(void **state)
{
#define TWO(minute, host) \
	"{\"ts\":\"2026-11-23T08:" minute ":00Z\",\"client\":\"192.0.2.7:1\",\"method\":\"CONNECT\",\"host\":\"" host "\",\"port\":443," \
	"\"sni\":\"App.known.example\",\"tls\":{\"evidence\":\"alert-46\"}}\n"
	struct ran ran = run_text(OPENED("01", "192.0.2.7", "www.example.org") TWO("10", "198.51.100.1") TWO("11", "198.51.100.1")
	                          TWO("12", "198.51.100.1"), false);

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_says(ran.text, "app.known.example reason=");
	assert_says(ran.text, "the CONNECT named 198.51.100.1: policy asks about both names");
	free(ran.text);
	ran = run_text(OPENED("01", "192.0.2.7", "www.example.org") TWO("10", "10.9.1.1") TWO("11", "10.9.1.1") TWO("12", "10.9.1.1"), false);
#undef TWO
	assert_int_equal(ran.status, EXIT_WELL);
	assert_says(ran.text, "needs nothing");
	free(ran.text);
}

/* Rotated logs come in any order, packed or not. */
static void logs_are_read_in_the_order_of_time(void **state)
{
	static const struct sample samples[] = {
		{"new.log", FAILED("30", "192.0.2.7", "a.example", "alert-48") FAILED("31", "192.0.2.7", "a.example", "alert-48"), false},
		{"older.gz", OPENED("01", "192.0.2.7", "a.example") OPENED("02", "192.0.2.7", "b.example"), true},
	};
	static const struct sample pinned[] = {
		{"new.log", FAILED("31", "192.0.2.7", "a.example", "alert-48"), false},
		{"old.gz", OPENED("01", "192.0.2.7", "b.example") FAILED("02", "192.0.2.7", "a.example", "alert-48")
		           FAILED("03", "192.0.2.7", "a.example", "alert-48"), true},
	};
	struct ran ran = run(samples, COUNT_OF(samples), NULL, false);

	(void)state;
	assert_int_equal(ran.status, EXIT_WELL);
	free(ran.text);
	ran = run(pinned, COUNT_OF(pinned), NULL, false);
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_says(ran.text, "a.example reason=\"pinned: 3 alerts");
	free(ran.text);
}

static void the_configured_log_is_the_default(void **state)
{
	static const struct sample sample = {"access.log",
		OPENED("01", "192.0.2.7", "b.example") SILENT("02", "192.0.2.7", "a.example") SILENT("03", "192.0.2.7", "a.example")
		SILENT("04", "192.0.2.7", "a.example") SILENT("05", "192.0.2.7", "a.example") SILENT("06", "192.0.2.7", "a.example")
		SILENT("07", "192.0.2.7", "a.example"), false};
	struct ran ran = run(&sample, 1, "b", false);

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_says(ran.text, "sallyport list add b 'a.example' --reason 'pinned: 6 closed behind the handshake without a byte, 1 client'");
	assert_says(ran.text, "ja4 " JA4);
	free(ran.text);
}

static void origins_that_ask_for_a_certificate(void **state)
{
#define ASKS(minute, host) LINE(minute, "192.0.2.7", host, "8443", "{\"client\":{},\"opened\":true,\"asks_certificate\":true}")
	struct ran ran = run_text(ASKS("01", "bank.example") ASKS("02", "bank.example") ASKS("03", "vpn.known.example"), false);
#undef ASKS

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_says(ran.text, "bank.example reason=\"asks for a client certificate\" added=");
	assert_says(ran.text, "--reason 'asks for a client certificate' --ports 8443\n    seen in 2 lines\n");
	assert_says(ran.text, "    needs nothing: policy bypasses it by now\n    seen in 1 line\n");
	free(ran.text);
}

static void programs_get_all_of_it(void **state)
{
	struct ran ran = run_text(OPENED("01", "192.0.2.7", "www.example.org") PINNED("192.0.2.7", "api.example.com")
	                          FAILED("10", "192.0.2.9", "a.example", "alert-45") FAILED("11", "192.0.2.9", "b.example", "alert-45")
	                          FAILED("12", "192.0.2.9", "c.example", "alert-45") PINNED("192.0.2.10", "a.example") "junk\n", true);
	json_t *all = json_loads(ran.text, 0, NULL), *one;
	const char *entry, *line, *command, *evidence, *client;
	int strong, port, clock;
	long long lines;

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	if (all == NULL)
		fail_msg("%s", ran.text);
	assert_int_equal(json_unpack(all, "{s:I}", "lines", &lines), 0);
	assert_int_equal(lines, 11);
	assert_int_equal(json_array_size(json_object_get(all, "proposals")), 1);
	one = json_array_get(json_object_get(all, "proposals"), 0);
	assert_int_equal(json_unpack(one, "{s:s, s:i, s:s, s:s, s:s, s:i, s:[s]}", "entry", &entry, "port", &port, "line", &line, "command",
	                             &command, "evidence", &evidence, "strong", &strong, "clients", &client), 0);
	assert_string_equal(entry, "api.example.com");
	assert_string_equal(evidence, "3 alerts unknown_ca (48)");
	assert_string_equal(client, "192.0.2.7");
	assert_true(strong == 3 && port == 443 && json_is_false(json_object_get(one, "bypassed")));
	assert_true(strncmp(line, "api.example.com reason=\"pinned: ", 32) == 0);
	assert_true(strncmp(command, "sallyport list add a 'api.example.com' ", 39) == 0);
	one = json_array_get(json_object_get(all, "without_ca"), 0);
	assert_int_equal(json_unpack(one, "{s:s, s:b}", "client", &client, "clock", &clock), 0);
	assert_string_equal(client, "192.0.2.9");
	assert_true(clock);
	assert_int_equal(json_array_size(json_object_get(all, "undecided")), 1);
	json_decref(all);
	free(ran.text);
}

static void usage(void **state)
{
	static const struct sample junk = {"one.log", "junk\nmore junk\n", false}, good = {"one.log", "", false};
	struct ran ran = run(&junk, 1, NULL, false);

	(void)state;
	assert_int_equal(ran.status, EXIT_USAGE);
	free(ran.text);
	ran = run(&good, 1, "nolist", false);
	assert_int_equal(ran.status, EXIT_USAGE);
	free(ran.text);
	ran = run(NULL, 0, NULL, false); /* there is no access.log */
	assert_int_equal(ran.status, EXIT_USAGE);
	free(ran.text);
}

/* A hostile log: names, users and addresses are text that others chose. */
static void users_are_written_so_that_lines_stay_lines(void **state)
{
#define USER(minute) \
	"{\"ts\":\"2026-11-23T08:" minute ":00Z\",\"client\":\"192.0.2.7:1\",\"user\":\"b\\nob \\u001b[2J\",\"method\":\"CONNECT\"," \
	"\"host\":\"a.example\",\"port\":443,\"tls\":{\"ja4\":\"x\\n\",\"evidence\":\"alert-48\"}}\n"
	struct ran ran = run_text("{\"ts\":\"2026-11-23T08:00:00Z\",\"client\":\"192.0.2.7:1\",\"user\":\"b\\nob \\u001b[2J\",\"method\":\"CONNECT\","
	                          "\"host\":\"b.example\",\"port\":443,\"tls\":{\"opened\":true}}\n" USER("10") USER("11") USER("12"), false);
#undef USER

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_says(ran.text, "seen at 192.0.2.7 b%0Aob%20%1B[2J");
	assert_silent(ran.text, "\x1b");
	assert_silent(ran.text, "ja4 x\n\n");
	free(ran.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_is_proposed),
		cmocka_unit_test(what_only_looks_like_it_is_not_proposed),
		cmocka_unit_test(a_client_without_the_ca_is_no_app),
		cmocka_unit_test(what_cannot_be_decided_is_no_finding),
		cmocka_unit_test(trust_may_show_later),
		cmocka_unit_test(a_wide_entry_needs_three_hosts),
		cmocka_unit_test(other_evidence_is_another_matter),
		cmocka_unit_test(what_is_bypassed_by_now_is_no_finding),
		cmocka_unit_test(entries_are_narrow),
		cmocka_unit_test(two_names_need_two_entries),
		cmocka_unit_test(logs_are_read_in_the_order_of_time),
		cmocka_unit_test(the_configured_log_is_the_default),
		cmocka_unit_test(origins_that_ask_for_a_certificate),
		cmocka_unit_test(programs_get_all_of_it),
		cmocka_unit_test(usage),
		cmocka_unit_test(users_are_written_so_that_lines_stay_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
