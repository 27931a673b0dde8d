/* SPDX-License-Identifier: Apache-2.0 */
/* explain says what the proxy would do: absent facts, the guard, what this version cannot; and it reads hosts as
 * people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cli/command.h"
#include "policy_rig.h"

static const char settings_text[] =
	"listen: [{name: local, address: '127.0.0.1:3128'}, {name: office, address: '10.0.0.5:3128'}]\n"
	"policy: policy.yaml\n"
	"dns: {hosts: {intranet.example: 10.1.2.3, www.example: 192.0.2.7}}\n"
	"destinations: {permit: ['10.9.0.0/16']}\n";

#define OPEN "defaults: {access: allow, tls: bypass, ports: [1-65535]}\n"

struct asked {
	const char *policy, *argument, *option[3]; /* indices follow */
	enum command_option which[3];
};

enum { OUT_MAX_BYTES = 1 << 20 };

/* The command's standard output, and its status; `in`: its standard input, or NULL. */
static char *run(const char *policy, const char *in, struct command_line line, int *status)
{
	char config[100], out[100], in_path[100], *text = calloc(1, OUT_MAX_BYTES);
	struct policy_rig rig;
	FILE *file;
	int saved;

	policy_rig_init(&rig);
	policy_rig_write(&rig, "sallyport.yaml", span_from(settings_text));
	policy_rig_write(&rig, "policy.yaml", span_from(policy));
	policy_rig_write(&rig, "a.list", SPAN("*.list.example owner=net reason=\"it was asked for\"\r\n"));
	policy_rig_write(&rig, "in", span_from(in));
	policy_rig_path(&rig, "sallyport.yaml", config);
	policy_rig_path(&rig, "out", out);
	policy_rig_path(&rig, "in", in_path);
	line.options[OPTION_config] = config;
	if (in)
		assert_non_null(freopen(in_path, "r", stdin));
	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	assert_non_null(freopen(out, "w", stdout));
	*status = explain_command(&line);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	file = fopen(out, "r");
	assert_non_null(file);
	assert_true(fread(text, 1, OUT_MAX_BYTES - 1, file) < OUT_MAX_BYTES - 1);
	fclose(file);
	policy_rig_fini(&rig);
	return text;
}

static char *explain(const struct asked *asked, bool json, int *status)
{
	struct command_line line = {.argument = asked->argument};

	line.options[OPTION_json] = json ? "" : NULL;
	for (size_t i = 0; i < COUNT_OF(asked->option); i++)
		if (asked->option[i])
			line.options[asked->which[i]] = asked->option[i];
	return run(asked->policy, NULL, line, status);
}

#define SNI_RULE "rules: [{name: s, when: {sni: x.example}, then: {access: deny}}]\n" OPEN
#define URL_RULE "rules: [{name: u, when: {url: 'http://a.example/x'}, then: {access: deny}}]\n" OPEN
#define INSPECT "rules: [{name: i, then: {tls: inspect}}]\n" OPEN

#define INNER "rules: [{name: b, when: {to: bad.example}, then: {access: deny}}]\n" OPEN
/* A name's address is asked for behind all else, and the guard looks at it before rules do. */
#define LATE "rules: [{name: n, when: {to: [10.0.0.0/8, 192.0.2.0/24], resolved: true}, then: {access: deny}}]\n" OPEN

static const struct row {
	struct asked asked;
	const char *has[3]; /* in the text; the first NULL: it is refused */
	const char *verdict;
} rows[] = {
	{{OPEN, "a.example", {NULL}, {0}}, {"a.example port 443\n", "=> tunnelled\n"}, "tunnelled"},
	{{OPEN, "a.example:80", {"GET"}, {OPTION_method}}, {"=> forwarded\n"}, "forwarded"},
	{{SNI_RULE, "a.example", {NULL}, {0}}, {"depends on: sni", "=> open"}, "open"},
	{{SNI_RULE, "a.example", {"y.example"}, {OPTION_sni}}, {"=> tunnelled"}, "tunnelled"},
	{{URL_RULE, "a.example", {NULL}, {0}}, {"never known here: url", "=> refused"}, "refused"},
	{{URL_RULE, "a.example", {"GET"}, {OPTION_method}}, {"depends on: url", "=> open"}, "open"},
	{{URL_RULE, NULL, {"http://A.example:80/x?y"}, {OPTION_url}}, {"a.example port 80\n", "=> refused"}, "refused"},
	{{URL_RULE, "http://a.example/y", {NULL}, {0}}, {"a.example port 80\n", "=> forwarded"}, "forwarded"},
	{{OPEN, "https://a.example:8443/y", {NULL}, {0}}, {"a.example port 8443\n", "=> tunnelled"}, "tunnelled"},
	{{OPEN, "a.example", {"http://a.example/"}, {OPTION_url}}, {"a.example port 80\n", "=> forwarded"}, "forwarded"},
	{{OPEN, NULL, {"https://a.example/"}, {OPTION_url}}, {"a.example port 443\n", "=> refused"}, "refused"},
	{{OPEN, "10.1.2.3", {NULL}, {0}},
	 {"  destination        refused  private (destinations.deny); destinations.permit makes exceptions\n",
	  "=> refused: the destination address is not allowed (403): private [guard]\n"}, "refused"},
	{{OPEN, "10.9.2.3", {NULL}, {0}}, {"  destination        allowed\n", "=> tunnelled"}, "tunnelled"},
	{{OPEN, "intranet.example", {NULL}, {0}}, {"refused  private"}, "refused"},
	{{OPEN, "www.example", {NULL}, {0}}, {"=> tunnelled"}, "tunnelled"},
	{{OPEN, "a.example", {"127.0.0.9"}, {OPTION_address}}, {"refused  loopback"}, "refused"},
	{{OPEN, "10.0.0.5:3128", {NULL}, {0}}, {"refused  the proxy itself\n"}, "refused"},
	{{INSPECT, "a.example", {NULL}, {0}}, {"refused with 501: there is no CA for it", "=> refused: "}, "refused"},
	{{INSPECT, "http://a.example", {NULL}, {0}}, {"=> forwarded"}, "forwarded"},
	{{OPEN, "B\xc3\xbc" "cher.example:80", {NULL}, {0}}, {"xn--bcher-kva.example port 80\n"}, "tunnelled"},
	{{INNER, "http://a.example/", {"bad.example"}, {OPTION_inner_host}},
	 {"=> refused: denied by policy (403) [rule]\n", "for the inner host, bad.example"}, "refused"},
	{{INNER, "http://a.example/", {"A.example."}, {OPTION_inner_host}}, {"=> forwarded"}, "forwarded"},
	{{LATE, "10.1.2.3", {NULL}, {0}}, {"=> refused: denied by policy (403) [rule]\n"}, "refused"},
	{{LATE, "intranet.example", {NULL}, {0}},
	 {"=> refused: the destination address is not allowed (403): private [guard]\n", "open     depends on: address"},
	 "refused"},
	{{LATE, "www.example", {NULL}, {0}}, {"=> refused: denied by policy (403) [rule]\n"}, "refused"},
	{{LATE, "a.example", {NULL}, {0}}, {"=> open", "could become deny or allow"}, "open"},
	{{OPEN, "a.example", {"office"}, {OPTION_listener}}, {"=> tunnelled"}, "tunnelled"},
	{{OPEN, "a.example", {"home"}, {OPTION_listener}}, {NULL}, NULL},
	{{OPEN, "b.example", {"http://a.example/"}, {OPTION_url}}, {NULL}, NULL},
	{{OPEN, "a.example:81", {"http://a.example/"}, {OPTION_url}}, {NULL}, NULL},
	{{OPEN, "ftp://a.example", {NULL}, {0}}, {NULL}, NULL},
	{{OPEN, "a.example/x", {NULL}, {0}}, {NULL}, NULL},
	{{OPEN, "\xe2\x98\x83\xff.example", {NULL}, {0}}, {NULL}, NULL},
};

static bool is_as_told(const struct row *row)
{
	int status, json_status;
	char *text = explain(&row->asked, false, &status), *json = explain(&row->asked, true, &json_status);
	json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
	const char *verdict = json_string_value(json_object_get(root, "verdict"));
	bool ok = status == (row->verdict ? EXIT_WELL : EXIT_USAGE) && json_status == status;

	for (size_t i = 0; i < COUNT_OF(row->has); i++)
		ok = ok && (row->has[i] == NULL || strstr(text, row->has[i]));
	ok = ok && (row->verdict == NULL || (verdict && strcmp(verdict, row->verdict) == 0));
	if (!ok)
		print_message("wrong: %s (%s): %d\n%s%s", row->asked.argument ? row->asked.argument : "-",
		              row->asked.option[0] ? row->asked.option[0] : "-", status, text, json);
	json_decref(root);
	free(text);
	free(json);
	return ok;
}

static void explain_says_what_the_proxy_does(void **state)
{
	size_t wrong = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		wrong += !is_as_told(&rows[i]);
	assert_int_equal(wrong, 0);
}

/* ---- many questions ---- */

#define LISTED \
	"lists: {l: a.list}\n" \
	"rules: [{name: 'of \"the\" list', when: {to: l}, then: {access: allow}}, {name: g, when: {group: [it people]}, then: {access: allow}}]\n" \
	"defaults: {access: deny, tls: bypass}\n"

static const char questions[] =
	"# a comment, and an empty line\n"
	"\n"
	"x.list.example\r\n"
	"  other.example:8443   --from 10.1.2.3\n"
	"other.example --user jane --group 'it people'\n"
	"other.example --user=jane --group \"it \\\"people\"\n"
	"{\"host\": \"other.example\", \"port\": 8443, \"user\": \"jane\", \"group\": [\"staff\", \"it people\"]}\n"
	"{\"host\": \"x.list.example\", \"at\": \"2026-11-23T08:00:00.250Z\", \"inner-host\": \"y.list.example\"}\n"
	"other.example --form 10.1.2.3\n"
	"other.example --json\n"
	"other.example another.example\n"
	"other.example 'not ended\n"
	"other.example --from\n"
	"other.example --from a.b\n"
	"other.example --from 10.0.0.1 --from 10.0.0.2\n"
	"other.example --listener home\n"
	"other.example --at yesterday\n"
	"{\"host\": \"other.example\", \"hosts\": 1}\n"
	"{\"host\": \"other.example\", \"port\": 70000}\n"
	"{\"host\": \"other.example\", \"host\": \"x\"}\n"
	"{\"host\": [\"other.example\"]}\n"
	"{\"host\": \"a\\u0000b\"}\n"
	"{\"port\": 443}\n"
	"{}\n"
	"[1]\n"
	"x.list.example:80 --method GET"; /* without an end */

/* What is said of each line, in its order. */
static const char *const answers[] = {
	"x.list.example:443 tunnelled access=allow auth=exempt tls=bypass class=normal why=rule by rule \"of \"the\" list\" "
	"(policy.yaml:2), because of *.list.example (a.list:1, list l)",
	"other.example:8443 refused access=deny auth=exempt tls=bypass class=normal error=policy_denied why=default by "
	"defaults (policy.yaml:3)",
	"other.example:443 tunnelled access=allow auth=exempt tls=bypass class=normal why=rule by rule \"g\" (policy.yaml:2)",
	"other.example:443 refused access=deny auth=exempt tls=bypass class=normal error=policy_denied why=default by "
	"defaults (policy.yaml:3)",
	"other.example:8443 refused access=deny auth=exempt tls=bypass class=normal error=policy_denied why=default by "
	"defaults (policy.yaml:3)",
	"x.list.example:443 tunnelled access=allow auth=exempt tls=bypass class=normal why=rule by rule \"of \"the\" list\" "
	"(policy.yaml:2), because of *.list.example (a.list:1, list l)",
	"line 9: \"--form\" is no option of a question; see sallyport explain --help",
	"line 10: \"--json\" is no option of a question; see sallyport explain --help",
	"line 11: \"another.example\" is a second host; one line asks about one",
	"line 12: \"'not ended\" has a quote that does not end",
	"line 13: \"--from\" needs a value",
	"line 14: --from a.b is no IP address",
	"line 15: \"10.0.0.2\" is given a second time",
	"line 16: there is no listener \"home\"; known are local, office",
	"line 17: --at yesterday is no time such as 2026-11-23T08:00:00Z",
	"line 18: \"hosts\" is no key of a question; they are host, port, and the options of sallyport explain",
	"line 19: port is no number from 1 to 65535",
	"line 20: this is no JSON: duplicate object key near '\"host\"' at column",
	"line 21: \"host\" is no text",
	"line 22: \"a",
	"line 23: port needs a host",
	"line 24: which host? sallyport explain HOST[:PORT]",
	"line 25: \"[1]\" is no host and port, such as api.wbx2.com, 192.0.2.1:443 or [2001:db8::1]:443",
	"x.list.example:80 forwarded access=allow",
};

static void lines_are_answered_in_their_place(void **state)
{
	struct command_line line = {.argument = NULL};
	struct span rest, said;
	size_t count = 0;
	char *text;
	int status;

	(void)state;
	line.options[OPTION_stdin] = "";
	text = run(LISTED, questions, line, &status);
	rest = span_from(text);
	while (rest.len && span_split(&rest, '\n', &said)) {
		if (count >= COUNT_OF(answers) || !span_starts_with(said, span_from(answers[count])))
			fail_msg("\"%.*s\" is not \"%s\"", SPAN_ARG(said), count < COUNT_OF(answers) ? answers[count] : "");
		count++;
	}
	assert_int_equal(count, COUNT_OF(answers));
	assert_int_equal(status, EXIT_USAGE);
	free(text);
}

static void json_lines_say_which_line_they_answer(void **state)
{
	struct command_line line = {.argument = NULL};
	struct span rest, said;
	size_t count = 0, errors = 0;
	char *text;
	int status;

	(void)state;
	line.options[OPTION_stdin] = line.options[OPTION_json] = "";
	text = run(LISTED, questions, line, &status);
	rest = span_from(text);
	while (rest.len && span_split(&rest, '\n', &said)) {
		json_t *root = json_loadb((const char *)said.at, said.len, JSON_REJECT_DUPLICATES, NULL);

		if (root == NULL)
			fail_msg("no JSON: %.*s", SPAN_ARG(said));
		/* Two lines of the input ask nothing. */
		assert_int_equal(json_integer_value(json_object_get(root, "line")), count + 3);
		errors += json_object_get(root, "verdict") == NULL;
		assert_true((json_object_get(root, "verdict") == NULL) == (json_object_get(root, "names") == NULL));
		json_decref(root);
		count++;
	}
	assert_int_equal(count, COUNT_OF(answers));
	assert_int_equal(errors, 17);
	assert_int_equal(status, EXIT_USAGE);
	free(text);
}

static void the_line_of_a_list_is_read(void **state)
{
	struct asked asked = {LISTED, "x.list.example", {NULL}, {0}};
	int status;
	char *text = explain(&asked, false, &status);

	(void)state;
	if (strstr(text, "owner net, reason \"it was asked for\"\n") == NULL)
		fail_msg("%s", text);
	free(text);
}

static void stdin_alone_is_asked(void **state)
{
	struct asked asked = {OPEN, "a.example", {""}, {OPTION_stdin}};
	int status;
	char *text = explain(&asked, false, &status);

	(void)state;
	assert_int_equal(status, EXIT_USAGE);
	assert_string_equal(text, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(explain_says_what_the_proxy_does),
		cmocka_unit_test(lines_are_answered_in_their_place),
		cmocka_unit_test(json_lines_say_which_line_they_answer),
		cmocka_unit_test(the_line_of_a_list_is_read),
		cmocka_unit_test(stdin_alone_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
