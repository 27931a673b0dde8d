/* SPDX-License-Identifier: Apache-2.0 */
/* "system" among dns.servers: what /etc/resolv.conf says. Runs in the parent: workers have no files. */
#include <string.h>

#include "conf/yaml.h"
#include "net/resolve.h"

enum { RESOLV_CONF_MAX_BYTES = 1 << 16, SERVERS_MAX = 32 };

/* Add the address of each "nameserver" line (resolv.conf(5)). */
static void add_from_text(struct span text, struct arena *arena, const char **servers,
                          size_t *count)
{
	struct span line;

	while (span_split(&text, '\n', &line)) {
		struct address address;

		line = span_trim(line);
		if (!span_starts_with(line, SPAN("nameserver")))
			continue;
		line = span_trim(span_skip(line, sizeof("nameserver") - 1));
		if (*count == SERVERS_MAX || !address_parse(line, &address))
			continue;
		servers[*count] = arena_string(arena, line);
		if (servers[*count])
			(*count)++;
	}
}

enum err resolve_system_servers(const struct conf_texts *servers, struct arena *arena,
                                struct conf_texts *out)
{
	const char **all = arena_alloc(arena, (servers->count + SERVERS_MAX + 1) * sizeof(*all));
	struct problems problems;
	struct span text;
	size_t count = 0;

	if (all == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < servers->count; i++) {
		if (strcmp(servers->at[i], "system") != 0) {
			all[count++] = servers->at[i];
			continue;
		}
		problems_init(&problems);
		if (yaml_read_file("/etc/resolv.conf", RESOLV_CONF_MAX_BYTES, arena, &problems,
		                   &text) == ERR_NONE)
			add_from_text(text, arena, all, &count);
		problems_fini(&problems);
	}
	if (count == 0)
		all[count++] = "127.0.0.1"; /* as resolv.conf(5) has it */
	*out = (struct conf_texts){all, count};
	return ERR_NONE;
}
