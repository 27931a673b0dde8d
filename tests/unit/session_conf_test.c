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
		{"format: '%{bytes_down}%{waited_ms}'", 0},
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

static void rates_are_meant(void **state)
{
	static const struct {
		const char *text;
		size_t errors, warnings;
	} rows[] = {
		{"rate_per_client: 0", 0, 0},
		{"rate_per_client: 16K", 0, 0},
		{"rate_per_client: 16383", 0, 1},
		{"rate_per_user: 1K", 0, 1},
		{"rate_per_user: 1023", 1, 0},
		{"rate_per_user: 1024G", 0, 0},
		{"rate_per_user: 1025G", 1, 0},
		{"rate_burst: 61s", 1, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct limits_conf limits;
		struct problems problems;
		struct arena arena;

		arena_init(&arena, 1 << 18);
		problems_init(&problems);
		if (conf_load(span_from(rows[i].text), "x.yaml", limits_options, &arena, &problems, &limits, sizeof(limits)) !=
		            (rows[i].errors ? ERR_CONFIG : ERR_NONE) ||
		    problems.error_count != rows[i].errors || problems.warning_count != rows[i].warnings)
			fail_msg("%s: %zu, %zu", rows[i].text, problems.error_count, problems.warning_count);
		problems_fini(&problems);
		arena_fini(&arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates_have_known_fields),
		cmocka_unit_test(rates_are_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
