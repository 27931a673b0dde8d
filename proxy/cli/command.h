/* SPDX-License-Identifier: Apache-2.0 */
/* What commands share. Private to this folder. Adding a command is a row in cli.c and a function. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "process/settings.h"

enum { EXIT_WELL = 0, EXIT_FINDING = 1, EXIT_USAGE = 2 };

/* What can stand behind a command; each takes the options whose bits its row names. X(member, letter of
 * short form or 0, long name, argument or NULL, help) */
#define COMMAND_OPTIONS(X) \
	X(config, 'c', "config", "FILE", "configuration (default: ./sallyport.yaml, then /etc/sallyport/sallyport.yaml)") \
	X(json, 0, "json", NULL, "answer in JSON") \
	X(cut, 0, "cut", NULL, "end sessions that the new policy denies, and say which") \
	X(sessions, 0, "sessions", NULL, "list the sessions that are open") \
	X(from, 0, "from", "IP", "the client's address (default 127.0.0.1)") \
	X(user, 0, "user", "NAME", "who the client says it is") \
	X(group, 0, "group", "NAME", "a group of the user; several times") \
	X(sni, 0, "sni", "NAME", "the name in the ClientHello") \
	X(inner_host, 0, "inner-host", "NAME", "the Host field, where it names another host") \
	X(method, 0, "method", "METHOD", "the request's method (default CONNECT; GET with --url)") \
	X(url, 0, "url", "URL", "the request's URL") \
	X(content_type, 0, "content-type", "TYPE", "the response's Content-Type, or none") \
	X(address, 0, "address", "IP", "the address that would be dialled") \
	X(listener, 0, "listener", "NAME", "where the client comes in (default: the first)") \
	X(at, 0, "at", "TIME", "when: 2026-11-23T08:00:00Z (default now)") \
	X(stdin, 0, "stdin", NULL, "one question on each line of standard input: HOST[:PORT] and these options, or {\"host\": ...}") \
	X(verbose, 0, "verbose", NULL, "every rule and every list, too") \
	X(with, 0, "with", "POLICY", "the proposed policy file") \
	X(owner, 0, "owner", "NAME", "who answers for the new entry") \
	X(ticket, 0, "ticket", "ID", "where it was asked for") \
	X(reason, 0, "reason", "TEXT", "why") \
	X(expires, 0, "expires", "DATE", "the last day of the new entry: 2026-12-31, or 2026-12-31T18:00:00Z") \
	X(ports, 0, "ports", "PORTS", "the ports of the new entry: 443,5004,8000-8100") \
	X(file, 0, "file", "FILE", "which of the files that a list is made of, or of the user files") \
	X(force, 0, "force", NULL, "list: add it though it is there, or covered; ca: refused, and why") \
	X(dry_run, 0, "dry-run", NULL, "check everything and say what would be done; write nothing") \
	X(replay, 0, "replay", "ACCESS_LOG", "say what the edit would have changed, as sallyport replay does; write nothing") \
	X(reload, 0, "reload", NULL, "then have the running proxy load it") \
	X(log, 0, "log", "ACCESS_LOG", "an access log in JSON (.gz, too; - is standard input); several times (default: the configured one)") \
	X(v1, 0, "v1", NULL, "with NTLMv1, as old devices do (authentication.ntlm.allow_v1)") \
	X(days, 0, "days", "N", "list: without a hit for so long (default 90); ca: valid for so long (default 3650)") \
	X(name, 0, "name", "NAME", "what the CA is called (default: of this host, with the date)") \
	X(exclude, 0, "exclude", "ZONE|NETWORK", "hosts that the CA may never sign for: corp.example, 10.0.0.0/8; several times") \
	X(csr, 0, "csr", NULL, "make a request that another CA shall sign, and no certificate") \
	X(activate, 0, "activate", NULL, "rotate: put the next CA in place of the one in force") \
	X(target, 0, "target", "HOST", "only this one: of doctor.targets by name or host, or any other host; several times") \
	X(proxy, 0, "proxy", "HOST:PORT", "go through this proxy (default: doctor.proxy, or the first listener)") \
	X(proxy_user, 0, "proxy-user", "NAME", "log in at the proxy where it asks (NAME or DOMAIN\\NAME); the password is asked for, or read from standard input") \
	X(proxy_negotiate, 0, "proxy-negotiate", NULL, "with Negotiate alone: the ticket of kinit, or with --proxy-user NTLM inside") \
	X(proxy_ntlm, 0, "proxy-ntlm", NULL, "with NTLM alone") \
	X(proxy_digest, 0, "proxy-digest", NULL, "with Digest alone") \
	X(proxy_basic, 0, "proxy-basic", NULL, "with Basic alone: the password goes in clear text") \
	X(timeout, 0, "timeout", "TIME", "of each probe: 3s, 500ms (default: doctor.timeout)") \
	X(help, 'h', "help", NULL, "this")

#define COMMAND_BIT(member, letter, name, argument, help) OPTION_##member,
enum command_option { COMMAND_OPTIONS(COMMAND_BIT) OPTION_COUNT };
#undef COMMAND_BIT

enum { COMMAND_GROUPS_MAX = 64, COMMAND_LOGS_MAX = 512 };

/* As given; NULL where not. Flags point to "". */
struct command_line {
	const char *options[OPTION_COUNT];
	const char *groups[COMMAND_GROUPS_MAX];
	size_t group_count;
	const char *logs[COMMAND_LOGS_MAX];
	size_t log_count;
	const char *excludes[COMMAND_GROUPS_MAX];
	size_t exclude_count;
	const char *targets[COMMAND_GROUPS_MAX];
	size_t target_count;
	const char *argument;         /* HOST[:PORT]; the first of: */
	const char *const *arguments;
	size_t argument_count;
};

struct command {
	const char *name, *argument, *summary; /* argument: NULL if it takes none, several if it says so by a blank or "..." */
	uint64_t options;                      /* bits 1 << enum command_option */
	int (*run)(const struct command_line *line);
};

/* The configuration file that is meant; NULL, and said so on standard error, if there is none. */
const char *command_config(const struct command_line *line);

/* Print "sallyport: ..." on standard error; the result is EXIT_USAGE. */
int command_complain(const char *format, ...) PRINTF_LIKE(1, 2);

/* Print problems on standard error, or as JSON with `summary` on standard output. */
void command_print_problems(const struct problems *problems);

/* The option of this name (without its dashes) that takes a value; OPTION_COUNT if there is none. */
int command_option(struct span name);

/* "dry-run" */
const char *command_option_name(enum command_option option);

/* Append the manual of every command. */
void command_manual(struct buf *out);

int run_command(const struct command_line *line);
int check_command(const struct command_line *line);
int explain_command(const struct command_line *line);
int reload_command(const struct command_line *line);
int drain_command(const struct command_line *line);
int status_command(const struct command_line *line);
int replay_command(const struct command_line *line);
int list_command(const struct command_line *line);
int auth_command(const struct command_line *line);
int ca_command(const struct command_line *line);
int user_command(const struct command_line *line);
int doctor_command(const struct command_line *line);
int reference_command(const struct command_line *line);

#endif
