/* SPDX-License-Identifier: Apache-2.0 */
/* The options of sessions: what is taken and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "session/session_conf.h"

static void templates_have_known_fields(void **state)
{
	static const struct {
		const char *text;
		size_t errors;
	} rows[] = {
		{"format: json", 0},
		{"format: squid", 0},
		{"format: nonsense", 1},
		{"format: '%{ts} %{client} 100% {x} %{policy}'", 0},
		{"format: '%{ts}%{first_byte_ms}%{reason}%{class}%{sni}'", 0},
		{"format: '%{time} %{client}'", 1},
		{"format: '%{time} %{clients} %{}'", 3},
		{"format: '%{ts} %{client'", 1},
		{"format: '%{ts} %{'", 1},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct access_conf access;
		struct problems problems;
		struct arena arena;

		arena_init(&arena, 1 << 18);
		problems_init(&problems);
		if (conf_load(span_from(rows[i].text), "x.yaml", access_options, &arena, &problems, &access,
		              sizeof(access)) != (rows[i].errors ? ERR_CONFIG : ERR_NONE) ||
		    problems.error_count != rows[i].errors)
			fail_msg("%s: %zu", rows[i].text, problems.error_count);
		problems_fini(&problems);
		arena_fini(&arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates_have_known_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
