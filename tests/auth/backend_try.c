/* SPDX-License-Identifier: Apache-2.0 */
/* The backends of Kerberos and winbind, asked for real: the client's side by the same libraries that clients have, the
 * authority by tests/rigs. Each answer is one line of JSON on stdout. Used by kerberos.py and winbind.py. */
#include "try.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static const struct {
	const char *name;
	int (*run)(int count, char **args);
	const char *usage;
} modes[] = {
	{"token", try_token, "SERVICE FORM FILE: the client's first token; FORM: raw, raw-one-way, spnego, ms"},
	{"gss", try_gss, "CACHE SERVICES KEYTAB=FILE...: a question for each token; SERVICES: names with commas, users=FILE, or -"},
	{"threads", try_threads, "CACHE KEYTAB=FILE...: every token in four threads at once; how many verdicts"},
	{"mangle", try_mangle, "CACHE KEYTAB=FILE: the token, then every beginning of it, then it with changed bytes"},
	{"talk", try_talk, "CACHE KEYTAB SERVICE FORM: all tokens of an exchange; FORM as above, or negoex"},
	{"pac", try_pac, "KEYTAB FILE PAC: keep the PAC of the token's ticket"},
	{"ntlm", try_ntlm, "DOMAIN USER PASSWORD [WISH...]: an exchange of NTLM, verified by winbind; wishes: mic, v1, allow-v1, "
	                   "require-mic, list-mic, require-list-mic, wrong-mic, wrong-list-mic, wrong-computer"},
	{"names", try_names, ": what winbind says that this machine is called"},
	{"ldap", try_ldap, "CONF: questions line by line: see try_ask.c; CONF: what stands below authentication"},
	{"pam", try_pam, "CONF: the same"},
	{"pam-role", try_pam_role, "CONF: the same, through a process of the role pam"},
};

NORETURN void try_die(const char *what)
{
	fprintf(stderr, "backend_try: %s\n", what);
	exit(2);
}

struct buf try_read(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct buf bytes;
	size_t got;

	if (file == NULL)
		try_die(path);
	buf_init(&bytes, 1 << 20);
	do {
		uint8_t *at = buf_reserve(&bytes, 65536);

		got = at ? fread(at, 1, 65536, file) : 0;
		buf_advance(&bytes, got);
	} while (got);
	fclose(file);
	return bytes;
}

void try_write(const char *path, struct span bytes)
{
	FILE *file = fopen(path, "wb");

	if (file == NULL || fwrite(bytes.at, 1, bytes.len, file) != bytes.len || fclose(file))
		try_die(path);
}

void try_print(const struct answer *answer, unsigned legs)
{
	static const char *const verdicts[VERDICT_COUNT] = {"invalid",    "valid",       "continue", "unknown-user",
	                                                    "other-mech", "unavailable", "busy",     "throttled"};
	struct span groups = buf_span(&answer->groups), group;
	const char *before = "";
	struct buf line;

	buf_init(&line, 1 << 20);
	buf_printf(&line, "{\"verdict\": \"%s\", \"mechanism\": %d, \"token\": %zu, \"legs\": %u, \"user\": ",
	           verdicts[answer->verdict], (int)answer->mechanism, buf_len(&answer->token), legs);
	buf_add_json(&line, buf_span(&answer->user));
	buf_add_string(&line, ", \"why\": ");
	buf_add_json(&line, buf_span(&answer->why));
	buf_add_string(&line, ", \"groups\": [");
	while (groups.len && span_split(&groups, 0, &group)) {
		buf_add_string(&line, before);
		buf_add_json(&line, group);
		before = ", ";
	}
	buf_add_string(&line, "]}\n");
	fwrite(line.at, 1, buf_len(&line), stdout);
	fflush(stdout);
	buf_fini(&line);
}

int main(int count, char **args)
{
	for (size_t i = 0; count > 1 && i < COUNT_OF(modes); i++)
		if (strcmp(args[1], modes[i].name) == 0)
			return modes[i].run(count - 2, args + 2);
	for (size_t i = 0; i < COUNT_OF(modes); i++)
		fprintf(stderr, "backend_try %s %s\n", modes[i].name, modes[i].usage);
	return 2;
}
