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

/* The command's standard output, and its status. */
static char *explain(const struct asked *asked, bool json, int *status)
{
	struct command_line line = {.argument = asked->argument};
	char config[100], out[100], *text = calloc(1, 65536);
	struct policy_rig rig;
	FILE *file;
	int saved;

	policy_rig_init(&rig);
	policy_rig_write(&rig, "sallyport.yaml", span_from(settings_text));
	policy_rig_write(&rig, "policy.yaml", span_from(asked->policy));
	policy_rig_path(&rig, "sallyport.yaml", config);
	policy_rig_path(&rig, "out", out);
	line.options[OPTION_config] = config;
	line.options[OPTION_json] = json ? "" : NULL;
	for (size_t i = 0; i < COUNT_OF(asked->option); i++)
		if (asked->option[i])
			line.options[asked->which[i]] = asked->option[i];
	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	assert_non_null(freopen(out, "w", stdout));
	*status = explain_command(&line);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	file = fopen(out, "r");
	assert_non_null(file);
	assert_true(fread(text, 1, 65535, file) < 65535);
	fclose(file);
	policy_rig_fini(&rig);
	return text;
}

#define SNI_RULE "rules: [{name: s, when: {sni: x.example}, then: {access: deny}}]\n" OPEN
#define URL_RULE "rules: [{name: u, when: {url: 'http://a.example/x'}, then: {access: deny}}]\n" OPEN
#define INSPECT "rules: [{name: i, then: {tls: inspect}}]\n" OPEN

static const struct row {
	struct asked asked;
	const char *has[3]; /* in the text; the first NULL: it is refused */
	const char *verdict;
} rows[] = {
	{{OPEN, "a.example", {NULL}, {0}}, {"a.example port 443\n", "=> tunnelled\n"}, "tunnelled"},
	{{OPEN, "a.example:80", {"GET"}, {OPTION_method}}, {"=> forwarded\n"}, "forwarded"},
	{{SNI_RULE, "a.example", {NULL}, {0}}, {"never known here: sni", "=> refused: denied by policy (403)"}, "refused"},
	{{SNI_RULE, "a.example", {"y.example"}, {OPTION_sni}}, {"=> tunnelled"}, "tunnelled"},
	{{URL_RULE, "a.example", {NULL}, {0}}, {"never known here: request", "=> refused"}, "refused"},
	{{URL_RULE, "a.example", {"GET"}, {OPTION_method}}, {"depends on: request", "=> open"}, "open"},
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
	{{INSPECT, "a.example", {NULL}, {0}}, {"refused with 501: this version cannot inspect", "=> refused: "}, "refused"},
	{{INSPECT, "http://a.example", {NULL}, {0}}, {"=> forwarded"}, "forwarded"},
	{{OPEN, "B\xc3\xbc" "cher.example:80", {NULL}, {0}}, {"xn--bcher-kva.example port 80\n"}, "tunnelled"},
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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(explain_says_what_the_proxy_does)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
