/* SPDX-License-Identifier: Apache-2.0 */
/* The options of tls/: what is taken and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "tls/tls_conf.h"

static void hosts_of_exceptions(void **state)
{
	static const struct {
		const char *to, *fault; /* NULL: it is taken */
	} rows[] = {
		{"shop.example", NULL}, {"'*.shop.example'", NULL}, {".shop.example", NULL}, {"192.0.2.1", NULL}, {"'2001:db8::1'", NULL},
		{"'[2001:db8::1]'", NULL}, {"Shop.Example.", NULL}, {"[a.example, '*.b.example']", NULL}, {"localhost", NULL},
		{"xn--bcher-kva.example", NULL}, {"a_b.example", NULL}, {"'*'", "whole labels"}, {"'*.'", "no host name"}, {"'.'", "no host name"},
		{"''", "no host name"}, {"[]", "there is no host"}, {"'a*.example'", "whole labels"}, {"'*.*.example'", "whole labels"},
		{"'a.*.example'", "whole labels"}, {"shop.example:443", "all ports"}, {"https://shop.example", "networks and URLs"},
		{"10.0.0.0/8", "networks and URLs"}, {"'*.192.0.2.1'", "no host name"}, {".192.0.2.1", "no host name"}, {"10.1", "no host name"},
		{"a..b", "no host name"}, {"'a b'", "no host name"}, {"'..a'", "no host name"}, {"b\xc3\xbc" "cher.example", "A-labels"},
		{"/shop/", "networks and URLs"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct inspection_conf conf;
		struct problems problems;
		struct arena arena;
		struct buf text;
		enum err err;

		arena_init(&arena, 1 << 20);
		problems_init(&problems);
		buf_init(&text, 1000);
		buf_printf(&text, "exceptions: [{to: %s}]", rows[i].to);
		err = conf_load(buf_span(&text), "x.yaml", inspection_options, &arena, &problems, &conf, sizeof(conf));
		if ((err != ERR_NONE) != (rows[i].fault != NULL) || (err && strstr(problems.first->text, rows[i].fault) == NULL))
			fail_msg("%s: %s", rows[i].to, err ? problems.first->text : "is taken");
		buf_fini(&text);
		problems_fini(&problems);
		arena_fini(&arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(hosts_of_exceptions)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
