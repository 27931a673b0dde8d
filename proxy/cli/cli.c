/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "conf/conf.h"
#include "process/parent.h"
#include "process/roles.h"

#define BIT(option) (UINT64_C(1) << OPTION_##option)

static const struct command commands[] = {
	{"run", NULL, "serve, in the foreground", BIT(config), run_command},
	{"check", NULL, "look at configuration, policy and lists; say all that is wrong or doubtful",
	 BIT(config) | BIT(json), check_command},
	{"explain", "HOST[:PORT]", "say what policy answers for a host, and which line says it",
	 BIT(config) | BIT(json) | BIT(from) | BIT(user) | BIT(group) | BIT(sni) | BIT(method) |
	         BIT(inner_host) | BIT(url) | BIT(content_type) | BIT(address) | BIT(listener) | BIT(at) | BIT(stdin) | BIT(verbose),
	 explain_command},
	{"replay", "ACCESS_LOG...", "say what a proposed policy would have changed (- is standard input; .gz, too)",
	 BIT(config) | BIT(with) | BIT(listener) | BIT(json), replay_command},
	{"list", "show|add|remove|stale|blame LIST [ENTRY] | suggest [LIST]",
	 "show, add, remove the entries of a list; find stale ones; say who opened a host and why (blame); propose entries for "
	 "clients that do not take our certificates (suggest)",
	 BIT(config) | BIT(file) | BIT(owner) | BIT(ticket) | BIT(reason) | BIT(expires) | BIT(ports) | BIT(force) |
	         BIT(dry_run) | BIT(replay) | BIT(reload) | BIT(days) | BIT(log) | BIT(json),
	 list_command},
	{"user", "add|remove|list|check [NAME]",
	 "local users, in the user file; passwords are asked for, or read from standard input",
	 BIT(config) | BIT(file) | BIT(group) | BIT(json), user_command},
	{"ca", "init|show|rotate",
	 "the CA that signs for opened hosts, in the files that the configuration names: make it, look at it, change it",
	 BIT(config) | BIT(name) | BIT(days) | BIT(exclude) | BIT(csr) | BIT(activate) | BIT(force) | BIT(json), ca_command},
	{"auth", "test SCHEME", "ask the configured backends as the proxy would: basic, digest, ntlm or negotiate; says which leg fails",
	 BIT(config) | BIT(user) | BIT(v1), auth_command},
	{"doctor", NULL,
	 "try from here which way media would go: UDP, TCP, or through the proxy; say what to open in the firewall",
	 BIT(config) | BIT(target) | BIT(proxy) | BIT(proxy_user) | BIT(proxy_negotiate) | BIT(proxy_ntlm) | BIT(proxy_digest) |
	         BIT(proxy_basic) | BIT(timeout) | BIT(json),
	 doctor_command},
	{"reload", NULL, "have the running proxy load its files anew; on any error nothing changes",
	 BIT(config) | BIT(json) | BIT(cut), reload_command},
	{"drain", NULL, "have the running proxy stop when its sessions have ended (timeouts.drain)",
	 BIT(config) | BIT(json), drain_command},
	{"status", NULL, "what the running proxy does", BIT(config) | BIT(json) | BIT(sessions),
	 status_command},
	{"reference", NULL, "the manual of all options, events, errors and metrics", 0, reference_command},
};

static const struct {
	char letter;
	const char *name, *argument, *help;
} options[OPTION_COUNT] = {
#define OPTION_ROW(member, letter, name, argument, help) [OPTION_##member] = {letter, name, argument, help},
	COMMAND_OPTIONS(OPTION_ROW)
#undef OPTION_ROW
};

int command_option(struct span name)
{
	int option = 0;

	while (option < OPTION_COUNT &&
	       !(options[option].argument && span_equal(name, span_from(options[option].name))))
		option++;
	return option;
}

const char *command_option_name(enum command_option option)
{
	return options[option].name;
}

/* ---- help ---- */

/* Of commands whose options do not speak for themselves. */
static const struct {
	const char *command, *lines;
} examples[] = {
	{"doctor",
	 "      sallyport doctor                                     all of doctor.targets, as the configuration says\n"
	 "      sallyport doctor --target media.example.com          one of them, or any other host\n"
	 "      sallyport doctor --target stun.example.com --proxy proxy.example.com:3128\n"
	 "                                                           on a client, where there is no configuration\n"
	 "      ... --proxy-user 'EXAMPLE\\alice'                     where the proxy asks for a login, and there is no ticket\n"
	 "      ... --json | jq '.targets[] | {name, chosen, open}'  for programs\n"
	 "    It takes twice --timeout at the most. Status: 0 if media goes over UDP to every target, 1 if not, 2 if nothing was tried.\n"},
};

static void add_command_help(const struct command *command, struct buf *out)
{
	buf_printf(out, "sallyport %s%s%s\n    %s\n", command->name, command->argument ? " " : "",
	           command->argument ? command->argument : "", command->summary);
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		char shape[64];

		if (!(command->options >> i & 1))
			continue;
		snprintf(shape, sizeof(shape), "%s--%s%s%s", options[i].letter ? "-c, " : "",
		         options[i].name, options[i].argument ? " " : "",
		         options[i].argument ? options[i].argument : "");
		buf_printf(out, "      %-20s %s\n", shape, options[i].help);
	}
	for (size_t i = 0; i < COUNT_OF(examples); i++)
		if (strcmp(examples[i].command, command->name) == 0)
			buf_printf(out, "    Examples:\n%s", examples[i].lines);
}

void command_manual(struct buf *out)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		add_command_help(&commands[i], out);
}

static int print_help(const struct command *command)
{
	struct buf text;

	buf_init(&text, 65536);
	if (command) {
		add_command_help(command, &text);
	} else {
		buf_add_string(&text, "Sallyport " SALLYPORT_VERSION ", a forward HTTP proxy.\n\n");
		for (size_t i = 0; i < COUNT_OF(commands); i++)
			buf_printf(&text, "  sallyport %-10s %s\n", commands[i].name,
			           commands[i].summary);
		buf_add_string(&text, "\n  sallyport COMMAND --help says more; sallyport --version; "
		                      "sallyport reference is the manual.\n"
		                      "  Exit status: 0 well, 1 a finding, 2 usage or a broken configuration.\n");
	}
	printf("%.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
	return EXIT_WELL;
}

/* ---- reading the line ---- */

static bool take_option(const struct command *command, int index, struct command_line *line)
{
	if (index < 0 || index >= OPTION_COUNT ||
	    !((command->options | BIT(help)) >> index & 1)) {
		command_complain("%s does not take this option; see sallyport %s --help",
		                 command->name, command->name);
		return false;
	}
	line->options[index] = optarg ? optarg : "";
	if (index == OPTION_group && line->group_count < COMMAND_GROUPS_MAX)
		line->groups[line->group_count++] = optarg;
	if (index == OPTION_log && line->log_count < COMMAND_LOGS_MAX)
		line->logs[line->log_count++] = optarg;
	if (index == OPTION_exclude && line->exclude_count < COMMAND_GROUPS_MAX)
		line->excludes[line->exclude_count++] = optarg;
	if (index == OPTION_target && line->target_count < COMMAND_GROUPS_MAX)
		line->targets[line->target_count++] = optarg;
	return true;
}

static bool read_line(const struct command *command, int count, char **args,
                      struct command_line *line)
{
	struct option longs[OPTION_COUNT + 1] = {{NULL, 0, NULL, 0}};
	int got;

	for (int i = 0; i < OPTION_COUNT; i++)
		longs[i] = (struct option){options[i].name,
		                           options[i].argument ? required_argument : no_argument, NULL,
		                           256 + i};
	opterr = 0;
	while ((got = getopt_long(count, args, ":c:h", longs, NULL)) != -1) {
		int index = got == 'c' ? OPTION_config : got == 'h' ? OPTION_help : got - 256;

		if (got == '?' || got == ':') {
			command_complain("%s: %s %s; see sallyport %s --help", command->name,
			                 args[optind - 1],
			                 got == ':' ? "needs a value" : "is no option of it",
			                 command->name);
			return false;
		}
		if (!take_option(command, index, line))
			return false;
	}
	if (optind < count && command->argument) {
		line->argument = args[optind];
		line->arguments = (const char *const *)args + optind;
		line->argument_count = strpbrk(command->argument, " .") ? (size_t)(count - optind) : 1;
		optind += (int)line->argument_count;
	}
	if (optind < count) {
		command_complain("%s: what is \"%s\"? See sallyport %s --help", command->name,
		                 args[optind], command->name);
		return false;
	}
	return true;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[COUNT_OF(commands)], *nearest;

	for (size_t i = 0; i < COUNT_OF(commands); i++)
		names[i] = commands[i].name;
	nearest = conf_nearest(span_from(name), names, COUNT_OF(names));
	return command_complain("there is no command \"%s\"%s%s%s (sallyport --help lists them)", name,
	                        nearest ? "; did you mean \"" : "", nearest ? nearest : "",
	                        nearest ? "\"?" : "");
}

/* An answer that could not be written is none: a full disk must not look like a good end. */
static int end_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	return command_complain("cannot write the answer: %s", strerror(errno));
}

int cli_main(int count, char **args)
{
	struct command_line line = {.argument = NULL};
	const struct command *command;

	if (count >= 2 && strcmp(args[1], "--role") == 0)
		return roles_main(count - 2, args + 2);
	if (count >= 2 && (strcmp(args[1], "--version") == 0 || strcmp(args[1], "-V") == 0)) {
		printf("sallyport %s\n", SALLYPORT_VERSION);
		return end_output(EXIT_WELL);
	}
	if (count < 2) {
		print_help(NULL);
		return EXIT_USAGE;
	}
	if (strcmp(args[1], "--help") == 0 || strcmp(args[1], "-h") == 0 ||
	    strcmp(args[1], "help") == 0)
		return end_output(print_help(count > 2 ? find_command(args[2]) : NULL));
	command = find_command(args[1]);
	if (command == NULL)
		return unknown_command(args[1]);
	if (!read_line(command, count - 1, args + 1, &line))
		return EXIT_USAGE;
	return end_output(line.options[OPTION_help] ? print_help(command) : command->run(&line));
}
