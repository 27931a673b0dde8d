/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a target of each kind of method; a canonical host is canonical when read again. */
#include "http/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_host(const struct http_host *host, struct arena *arena)
{
	struct http_host again;
	char *text;

	ASSERT(host->port > 0 && host->name.len > 0 && host->name.len <= 253);
	for (size_t i = 0; i < host->name.len; i++)
		ASSERT(host->name.at[i] == span_lower(host->name.at[i]) && host->name.at[i] > 0x20 &&
		       host->name.at[i] < 0x7f);
	text = host->address.family == AF_INET6
	               ? arena_printf(arena, "[%.*s]:%u", SPAN_ARG(host->name), host->port)
	               : arena_printf(arena, "%.*s:%u", SPAN_ARG(host->name), host->port);
	ASSERT(text && http_host_parse(span_from(text), 0, arena, &again) == ERR_NONE);
	ASSERT(span_equal(again.name, host->name) && again.port == host->port);
	ASSERT(again.address.family == host->address.family);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const methods[] = {"CONNECT", "GET", "OPTIONS"};

	for (size_t i = 0; i < COUNT_OF(methods); i++) {
		struct http_target target;
		struct arena arena;

		arena_init(&arena, 1 << 20);
		if (http_target_parse(span_from(methods[i]), span_of(data, size), &arena, &target) == ERR_NONE) {
			if (target.form == HTTP_TARGET_ABSOLUTE || target.form == HTTP_TARGET_AUTHORITY)
				check_host(&target.host, &arena);
			if (target.form == HTTP_TARGET_ORIGIN || target.form == HTTP_TARGET_ABSOLUTE)
				ASSERT(target.path.at[0] == '/' || span_equal(target.path, SPAN("*")));
		}
		arena_fini(&arena);
	}
	return 0;
}
