/* SPDX-License-Identifier: Apache-2.0 */
/* A name that a stranger types, in a filter and in a DN: it stays one value, and what is read back is the name. Then the
 * input as a DN, a pattern, a server's address and a server's text. Input: any bytes. */
#include <stdlib.h>
#include <string.h>

#include <ldap.h>

#include "auth/backend/ldap_text.h"
#include "auth/fold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int digit(uint8_t byte)
{
	return byte >= '0' && byte <= '9' ? byte - '0' : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static void check_filter(struct span name)
{
	struct buf out, back;

	buf_init(&out, 1 << 16);
	buf_init(&back, 1 << 16);
	ldap_text_fill("(uid={user})", name, SPAN("x"), ldap_text_for_filter, &out);
	if (buf_is_whole(&out)) {
		struct span text = span_first(buf_span(&out), buf_len(&out) - 1), value;

		ASSERT(span_starts_with(text, SPAN("(uid=")) && span_ends_with(text, SPAN(")")));
		value = span_first(span_skip(text, 5), text.len - 6);
		while (value.len) {
			ASSERT(memchr("*()", value.at[0], 3) == NULL && value.at[0]);
			if (value.at[0] == '\\') {
				ASSERT(value.len >= 3 && digit(value.at[1]) >= 0 && digit(value.at[2]) >= 0);
				buf_add_byte(&back, (uint8_t)(digit(value.at[1]) << 4 | digit(value.at[2])));
				value = span_skip(value, 3);
			} else {
				buf_add_byte(&back, value.at[0]);
				value = span_skip(value, 1);
			}
		}
		ASSERT(span_equal(buf_span(&back), name));
	}
	buf_fini(&out);
	buf_fini(&back);
}

static void check_dn(struct span name)
{
	LDAPDN parts = NULL;
	struct buf out;

	buf_init(&out, 1 << 16);
	ldap_text_fill("uid={user},ou=people", name, SPAN("x"), ldap_text_for_dn, &out);
	if (buf_is_whole(&out) && ldap_text_is_name(name)) {
		ASSERT(ldap_str2dn((const char *)buf_span(&out).at, &parts, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS);
		ASSERT(parts[0] && parts[1] && !parts[2] && parts[0][0] && !parts[0][1]);
		ASSERT(span_equal(span_of(parts[0][0]->la_value.bv_val, parts[0][0]->la_value.bv_len), name));
	}
	ldap_dnfree(parts);
	buf_fini(&out);
}

static void check_as_text(const char *text)
{
	struct ldap_conf conf = {.template = "", .base = text};
	bool is_whole;
	const char *words;
	struct buf out;

	buf_init(&out, 1 << 16);
	ldap_text_domain(&conf, &out);
	conf = (struct ldap_conf){.template = text, .base = ""};
	ldap_text_domain(&conf, &out);
	ldap_text_first_value(text, NULL, &out);
	ldap_text_first_value(text, "cn", &out);
	ldap_text_key(text, &is_whole);
	ldap_text_refusal(text, &words);
	if (ldap_text_server_fault(text, false) == NULL)
		ASSERT(ldap_text_server_fault(text, true) == NULL && strpbrk(text, " ,\n") == NULL);
	buf_reset(&out);
	ldap_text_one_line(text, &out);
	for (size_t i = 0; i < buf_len(&out); i++)
		ASSERT(buf_span(&out).at[i] >= 0x20);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size > 4096)
		return 0;
	fold_init();
	check_filter(span_of(data, size));
	check_dn(span_of(data, size));
	text = malloc(size + 1);
	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	check_as_text(text);
	free(text);
	return 0;
}
