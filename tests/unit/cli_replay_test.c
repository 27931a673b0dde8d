/* SPDX-License-Identifier: Apache-2.0 */
/* replay: what a line of a log says, in our format and in Squid's; what two policies answer differently. */
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
#include "cli/replay_line.h"
#include "policy_rig.h"

#define TS "\"ts\":\"2026-11-23T12:00:00.250Z\""

static const struct row {
	const char *line;
	enum replay_kind kind;
	const char *facts; /* or why it is not readable */
} rows[] = {
	/* ours */
	{"{" TS ",\"client\":\"192.0.2.7:5000\",\"method\":\"CONNECT\",\"target\":\"a.example:443\",\"host\":\"a.example\",\"port\":443}",
	 REPLAY_REQUEST, "192.0.2.7 first CONNECT a.example 443 known= absent=user,sni,request 1795435200250 logged=-1"},
	{"{" TS ",\"listener\":\"hq\",\"client\":\"[2001:db8::1]:5\",\"user\":\"al\\u00e9 \\\"x\\\"\",\"groups\":[\"a\",\"b\"],\"method\":\"GET\","
	 "\"target\":\"http://A.example:8080/p?q\",\"host\":\"A.example.\",\"port\":8080,\"sni\":\"b.example\",\"origin\":\"198.51.100.1:8080\","
	 "\"decision\":{\"auth\":{\"answer\":\"exempt\"},\"access\":{\"rule\":\"r\",\"answer\":\"deny\"}}}",
	 REPLAY_REQUEST, "2001:db8::1 hq GET a.example 8080 known=user,address,sni,request absent= 1795435200250 logged=0 "
	                 "url=http://a.example:8080/p?q user=al\xc3\xa9 \"x\" groups=a,b, sni=b.example address=198.51.100.1"},
	{"{" TS ",\"client\":\"unix\",\"method\":\"GET\",\"target\":\"http://[2001:DB8::1]\",\"host\":\"2001:db8::1\",\"port\":80,"
	 "\"decision\":{\"access\":{\"answer\":\"allow\"}}}",
	 REPLAY_REQUEST, "unix first GET 2001:db8::1 80 known=address,request absent=user,sni 1795435200250 logged=1 "
	                 "url=http://[2001:db8::1]/ address=2001:db8::1"},
	{"{" TS ",\"host\":\"a.example\",\"port\":443,\"address\":\"10.0.0.1\",\"error\":\"destination_denied\"}\r",
	 REPLAY_REQUEST, "- first  a.example 443 known=address absent=user,sni 1795435200250 logged=-1 address=10.0.0.1"},
	{"{" TS ",\"host\":\"a.example\",\"port\":443,\"status\":407}", REPLAY_ASKED, ""},
	{"{" TS ",\"event\":\"running\",\"host\":\"a.example\",\"port\":443}", REPLAY_RUNNING, ""},
	{"{" TS ",\"target\":\"/\",\"method\":\"GET\"}", REPLAY_NO_HOST, ""},
	{"  \t", REPLAY_BLANK, ""},
	{"", REPLAY_BLANK, ""},
	{"{" TS ",\"host\":\"a.example\"}", REPLAY_UNREADABLE, "no port"},
	{"{" TS ",\"host\":\"a b\",\"port\":1}", REPLAY_UNREADABLE, "neither a name nor an address"},
	{"{" TS ",\"host\":\"a.example\",\"port\":70000}", REPLAY_UNREADABLE, "whole number"},
	{"{\"host\":\"a.example\",\"port\":443}", REPLAY_UNREADABLE, "\"ts\" is not a time"},
	{"{\"ts\":\"2026-13-23T12:00:00Z\"}", REPLAY_UNREADABLE, "\"ts\" is not a time"},
	{"{" TS ",\"host\":\"a.exam", REPLAY_UNREADABLE, "a string does not end"},
	{"{" TS ",\"host\":\"a.example\",\"port\":443} {}", REPLAY_UNREADABLE, "something stands behind"},
	{"{" TS " \"host\":\"a.example\"}", REPLAY_UNREADABLE, "a comma or } was expected"},
	{"{" TS ",\"x\":[1,{\"y\":[]},true,null,-1.5e3]", REPLAY_UNREADABLE, "a comma or } was expected"},
	{"{" TS ",\"x\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}", REPLAY_UNREADABLE, "nested too deeply"},
	{"{" TS ",\"user\":\"\\ud800\"}", REPLAY_UNREADABLE, "surrogate"},
	{"10.0.0.1 - - [23/Nov/2026:12:00:00 +0000] \"GET / HTTP/1.1\" 200 5", REPLAY_UNREADABLE, "ten words"},
	{"what", REPLAY_UNREADABLE, "neither our JSON nor Squid's"},
	/* Squid's */
	{"1795435200.250     12 192.0.2.7 TCP_TUNNEL/200 39 CONNECT a.example:443 - HIER_DIRECT/198.51.100.1 -",
	 REPLAY_REQUEST, "192.0.2.7 first CONNECT a.example 443 known=address absent=user,sni,request 1795435200250 logged=1 address=198.51.100.1"},
	{"1795435200.250     12 192.0.2.7 TCP_DENIED/403 39 GET http://u:p@a.example/x?y#z al%20e HIER_NONE/- text/html [more]",
	 REPLAY_REQUEST, "192.0.2.7 first GET a.example 80 known=user,request absent=sni 1795435200250 logged=0 url=http://a.example/x?y user=al e"},
	{"1795435200.250     12 192.0.2.7 TCP_DENIED/407 39 GET https://a.example - HIER_NONE/- -", REPLAY_ASKED, ""},
	{"1795435200.250     12 192.0.2.7 TCP_MISS/200 39 GET https://a.example - HIER_NONE/- -",
	 REPLAY_REQUEST, "192.0.2.7 first GET a.example 443 known=request absent=user,sni 1795435200250 logged=1 url=https://a.example/"},
	{"1795534243.946     23 127.0.0.1 TCP_MISS/200 795 GET http://[::1]:28080/ al ice%25 b HIER_DIRECT/::1 text/html",
	 REPLAY_REQUEST, "127.0.0.1 first GET ::1 28080 known=user,address,request absent=sni 1795534243946 logged=1 "
	                 "url=http://[::1]:28080/ user=al ice% b address=::1"},
	{"1795534243.975      0 127.0.0.1 NONE_NONE/503 0 CONNECT a.example:443 bob HIER_DIRECT/127.0.0.1 -",
	 REPLAY_REQUEST, "127.0.0.1 first CONNECT a.example 443 known=user,address absent=sni,request 1795534243975 logged=-1 "
	                 "user=bob address=127.0.0.1"},
	{"1795534243.989      0 127.0.0.1 NONE_NONE/000 0 - error:transaction-end-before-headers - HIER_NONE/- -", REPLAY_NO_HOST, ""},
	{"1795534243.989      0 127.0.0.1 NONE_NONE/400 3376 nonsense error:invalid-request - HIER_NONE/- text/html", REPLAY_NO_HOST, ""},
	{"1795435200.250     12 192.0.2.7 TCP_MISS/200 39 GET http://a.example:81/ bob FIRSTUP_PARENT/198.51.100.9 -",
	 REPLAY_REQUEST, "192.0.2.7 first GET a.example 81 known=user,request absent=sni 1795435200250 logged=1 url=http://a.example:81/ user=bob"},
	{"1795435200.250     12 192.0.2.7 NONE/400 39 - - - HIER_NONE/- -", REPLAY_NO_HOST, ""},
	{"1795435200.250     12 192.0.2.7 NONE/400 39 - error:invalid-request - HIER_NONE/- -", REPLAY_NO_HOST, ""},
	{"1795435200.250     12 192.0.2.7 TCP_TUNNEL/200 39 CONNECT a.example - HIER_NONE/- -", REPLAY_UNREADABLE, "no host:port"},
	{"1795435200.250     12 pc.example TCP_TUNNEL/200 39 CONNECT a.example:443 - HIER_NONE/- -", REPLAY_UNREADABLE, "the client is no IP"},
	{"now     12 192.0.2.7 TCP_TUNNEL/200 39 CONNECT a.example:443 - HIER_NONE/- -", REPLAY_UNREADABLE, "neither our JSON"},
	{"1795435200.250 12 192.0.2.7 TCP_TUNNEL/200", REPLAY_UNREADABLE, "ten words"},
	{"17954x.1     12 192.0.2.7 TCP_TUNNEL/200 39 CONNECT a.example:443 - HIER_NONE/- -", REPLAY_UNREADABLE, "seconds since 1970"},
};

static void add_facts(struct buf *out, unsigned facts)
{
	static const char *const names[] = {"user", "address", "sni", "request"};
	const char *comma = "";

	for (unsigned i = 0; i < COUNT_OF(names); i++) {
		if (!(facts >> i & 1))
			continue;
		buf_printf(out, "%s%s", comma, names[i]);
		comma = ",";
	}
}

static void add_text(struct buf *out, const char *key, struct span text)
{
	if (text.len)
		buf_printf(out, " %s=%.*s", key, SPAN_ARG(text));
}

static void show(const struct replay_request *request, struct buf *out)
{
	const struct policy_facts *facts = &request->facts;

	if (facts->from.family)
		address_format(&facts->from, out);
	else
		buf_add_byte(out, '-');
	buf_printf(out, " %.*s %.*s %.*s %u known=", SPAN_ARG(facts->listener), SPAN_ARG(facts->method),
	           SPAN_ARG(facts->host), facts->port);
	add_facts(out, facts->known);
	buf_add_string(out, " absent=");
	add_facts(out, facts->absent);
	buf_printf(out, " %llu logged=%d", (unsigned long long)facts->wall_ms, request->logged_access);
	add_text(out, "url", facts->url);
	add_text(out, "user", facts->user);
	for (size_t i = 0; i < facts->group_count; i++)
		buf_printf(out, "%s%.*s,", i ? "" : " groups=", SPAN_ARG(facts->groups[i]));
	add_text(out, "sni", facts->sni);
	if (facts->known & FACT_ADDRESS) {
		buf_add_string(out, " address=");
		address_format(&facts->address, out);
	}
}

static void lines_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct row *row = &rows[i];
		struct replay_request request;
		const char *why = "";
		struct arena arena;
		struct buf shown;
		enum replay_kind kind;

		arena_init(&arena, 1 << 20);
		buf_init(&shown, 65536);
		kind = replay_line_read(span_from(row->line), SPAN("first"), &arena, &request, &why);
		if (kind == REPLAY_REQUEST)
			show(&request, &shown);
		if (kind != row->kind ||
		    (kind == REPLAY_REQUEST && !span_equal(buf_span(&shown), span_from(row->facts))) ||
		    (kind == REPLAY_UNREADABLE && strstr(why, row->facts) == NULL))
			fail_msg("%s\n is of kind %d: %.*s %s", row->line, (int)kind,
			         SPAN_ARG(buf_span(&shown)), why);
		buf_fini(&shown);
		arena_fini(&arena);
	}
}

/* ---- the command ---- */

#define BEFORE \
	"lists: {a: a.list}\nrules:\n  - {name: blocked, when: {to: a}, then: {access: deny}}\n" \
	"defaults: {access: allow, tls: bypass, ports: [1-65535]}\n"
#define AFTER \
	"rules:\n  - {name: open b, when: {to: b.example}, then: {tls: inspect, class: media}}\n" \
	"  - {name: no d, when: {to: d.example, user: eve}, then: {access: deny}}\n" \
	"  - {name: by address, when: {to: 198.51.100.0/24, resolved: true}, then: {access: deny}}\n" \
	"defaults: {access: allow, tls: bypass, ports: [1-65535]}\n"
#define SQUID(code, user, host) "1795435200.250 12 192.0.2.7 " code " 39 CONNECT " host ":443 " user " HIER_DIRECT/203.0.113.1 -\n"

static const char log_text[] =
	SQUID("TCP_DENIED/403", "bob", "a.example") SQUID("TCP_DENIED/403", "bob", "a.example")
	SQUID("TCP_DENIED/403", "amy", "a.example") SQUID("TCP_TUNNEL/200", "-", "b.example")
	SQUID("TCP_TUNNEL/200", "eve", "d.example") SQUID("TCP_TUNNEL/200", "bob", "d.example")
	SQUID("TCP_TUNNEL/200", "bob", "e.example") "nonsense\n"
	"1795435200.250 12 192.0.2.7 TCP_TUNNEL/200 39 CONNECT f.example:443 - HIER_NONE/- -\n";

struct ran {
	int status;
	char *text;
};

/* The command over a log; `with` is the proposed policy. Standard output is what it printed. */
static struct ran run_replay(const char *with, struct span log, bool is_packed, bool json)
{
	struct command_line line = {.argument = NULL};
	struct ran ran = {.text = calloc(1, 65536)};
	char config[100], proposed[100], path[100], out[100];
	const char *paths[] = {path};
	struct policy_rig rig;
	FILE *file;
	int saved;

	policy_rig_init(&rig);
	policy_rig_write(&rig, "sallyport.yaml",
	                 SPAN("listen: [{name: local, address: '127.0.0.1:3128'}]\npolicy: policy.yaml\n"));
	policy_rig_write(&rig, "policy.yaml", span_from(BEFORE));
	policy_rig_write(&rig, "a.list", SPAN("a.example\n"));
	policy_rig_write(&rig, "new.yaml", span_from(with));
	policy_rig_write(&rig, "access.log", log);
	policy_rig_path(&rig, "sallyport.yaml", config);
	policy_rig_path(&rig, "new.yaml", proposed);
	policy_rig_path(&rig, "access.log", path);
	policy_rig_path(&rig, "out", out);
	if (is_packed) {
		gzFile packed = gzopen(path, "wb");

		assert_int_equal(gzwrite(packed, log.at, (unsigned)log.len), (int)log.len);
		assert_int_equal(gzclose(packed), Z_OK);
	}
	line.options[OPTION_config] = config;
	line.options[OPTION_with] = proposed;
	line.options[OPTION_json] = json ? "" : NULL;
	line.arguments = paths;
	line.argument_count = 1;
	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	assert_non_null(freopen(out, "w", stdout));
	ran.status = replay_command(&line);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	file = fopen(out, "r");
	assert_non_null(file);
	assert_true(fread(ran.text, 1, 65535, file) < 65535);
	fclose(file);
	policy_rig_fini(&rig);
	return ran;
}

static void changes_are_told(void **state)
{
	static const char *const told[] = {
		"3  deny -> allow      a.example:443                            bob 2, amy 1\n"
		"              \"blocked\" policy.yaml:3 by a.example a.list:1 -> defaults new.yaml:5\n",
		"1  bypass -> inspect  b.example:443                            192.0.2.7 1\n",
		"1  allow -> deny      d.example:443                            eve 1\n",
		"1  allow -> open      f.example:443                            192.0.2.7 1\n"
		"              defaults policy.yaml:4 -> open, as the log does not have the address\n",
		"access              deny -> allow: 3 requests, 1 host\n",
		"class               normal -> media: 1 request, 1 host\n",
		":8: neither our JSON",
		"9 lines: 8 requests, 1 not readable; 6 change from ",
	};
	struct ran ran = run_replay(AFTER, span_from(log_text), false, false);

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	for (size_t i = 0; i < COUNT_OF(told); i++)
		if (strstr(ran.text, told[i]) == NULL)
			fail_msg("it does not say\n%s\nbut\n%s", told[i], ran.text);
	assert_null(strstr(ran.text, "e.example"));
	assert_null(strstr(ran.text, "another one then"));
	free(ran.text);
}

static void programs_get_all_of_it(void **state)
{
	struct ran ran = run_replay(AFTER, span_from(log_text), true, true);
	json_t *all = json_loads(ran.text, 0, NULL), *change, *person;
	long long changed, requests;
	const char *question, *host, *rule, *entry, *user, *name;

	(void)state;
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_non_null(all);
	assert_int_equal(json_array_size(json_object_get(all, "changes")), 5);
	assert_int_equal(json_array_size(json_object_get(all, "unreadable_first")), 1);
	change = json_array_get(json_object_get(all, "changes"), 0);
	assert_int_equal(json_unpack(change, "{s:s, s:s, s:I, s:{s:s, s:s}, s:{s:s}}", "question", &question, "host",
	                             &host, "requests", &requests, "before", "rule", &rule, "entry", &entry, "after",
	                             "answer", &name), 0);
	assert_string_equal(question, "access");
	assert_string_equal(host, "a.example");
	assert_string_equal(rule, "blocked");
	assert_string_equal(entry, "a.example");
	assert_string_equal(name, "allow");
	assert_int_equal(requests, 3);
	person = json_array_get(json_object_get(all, "people"), 0);
	assert_int_equal(json_unpack(person, "{s:I}", "requests", &requests), 0);
	user = json_string_value(json_object_get(person, "user"));
	assert_true(requests == 2 && (user == NULL || strcmp(user, "bob") == 0));
	assert_int_equal(json_unpack(all, "{s:I}", "changed", &changed), 0);
	assert_int_equal(changed, 6);
	json_decref(all);
	free(ran.text);
}

static void the_same_policy_changes_nothing(void **state)
{
	struct ran ran = run_replay(BEFORE, span_from(log_text), false, false);

	(void)state;
	assert_int_equal(ran.status, EXIT_WELL);
	assert_non_null(strstr(ran.text, "nothing changes"));
	free(ran.text);
}

static void a_log_of_another_policy_is_noticed(void **state)
{
	struct ran ran = run_replay(BEFORE, SPAN(SQUID("TCP_TUNNEL/200", "-", "a.example")), false, false);

	(void)state;
	assert_int_equal(ran.status, EXIT_WELL);
	assert_non_null(strstr(ran.text, "otherwise than the policy in force for 1 of 1 requests"));
	free(ran.text);
}

static void nothing_readable_is_an_error(void **state)
{
	const struct {
		const char *with;
		struct span log;
	} broken[] = {
		{AFTER, SPAN("GET / HTTP/1.1\n\n200\n")},
		{"rules: 5\n", SPAN(SQUID("TCP_TUNNEL/200", "-", "a.example"))},
		{AFTER, SPAN("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x33")},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(broken); i++) {
		struct ran ran = run_replay(broken[i].with, broken[i].log, false, false);

		assert_int_equal(ran.status, EXIT_USAGE);
		assert_string_equal(ran.text, "");
		free(ran.text);
	}
}

/* A line of more than 1 MiB is one line that cannot be read; the next one can. */
static void a_long_line_is_one_line(void **state)
{
	size_t filler = 5 << 20, tail = sizeof(SQUID("TCP_DENIED/403", "-", "a.example")) - 1;
	char *log = malloc(filler + tail);
	struct ran ran;

	(void)state;
	memset(log, 'x', filler);
	log[filler - 1] = '\n';
	memcpy(log + filler, SQUID("TCP_DENIED/403", "-", "a.example"), tail);
	ran = run_replay(AFTER, span_of(log, filler + tail - 1), false, false);
	assert_int_equal(ran.status, EXIT_FINDING);
	assert_non_null(strstr(ran.text, "2 lines: 1 request, 1 not readable; 1 changes from "));
	assert_non_null(strstr(ran.text, ":1: the line is longer than 1 MiB"));
	free(ran.text);
	free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_read),
		cmocka_unit_test(changes_are_told),
		cmocka_unit_test(programs_get_all_of_it),
		cmocka_unit_test(the_same_policy_changes_nothing),
		cmocka_unit_test(a_log_of_another_policy_is_noticed),
		cmocka_unit_test(nothing_readable_is_an_error),
		cmocka_unit_test(a_long_line_is_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
