/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/ldap_text.h"

#include <ldap.h>
#include <string.h>

#include "auth/fold.h"

enum { DN_MAX_BYTES = 4096, LINE_MAX_BYTES = 240 };

/* ---- parts ---- */

void ldap_text_for_filter(struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];

		if (byte < 0x20 || byte >= 0x7f || memchr("*()\\", byte, 4))
			buf_printf(out, "\\%02x", byte);
		else
			buf_add_byte(out, byte);
	}
}

void ldap_text_for_dn(struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];
		bool at_end = (i == 0 && (byte == ' ' || byte == '#')) || (i + 1 == text.len && byte == ' ');

		if (at_end || byte < 0x20 || byte == 0x7f || memchr("\"+,;<>\\=", byte, 8))
			buf_printf(out, "\\%02x", byte);
		else
			buf_add_byte(out, byte);
	}
}

void ldap_text_raw(struct span text, struct buf *out)
{
	buf_add(out, text);
}

bool ldap_text_is_dn(const char *pattern)
{
	return strchr(pattern, '=') != NULL;
}

static bool is_hole(struct span text, bool *is_whole)
{
	*is_whole = span_starts_with(text, SPAN("{name}"));
	return *is_whole || span_starts_with(text, SPAN("{user}"));
}

void ldap_text_fill(const char *pattern, struct span user, struct span name, ldap_text_escape *escape, struct buf *out)
{
	struct span rest = span_from(pattern);
	bool is_whole;

	while (rest.len) {
		if (is_hole(rest, &is_whole)) {
			escape(is_whole ? name : user, out);
			rest = span_skip(rest, sizeof("{user}") - 1);
		} else {
			buf_add_byte(out, rest.at[0]);
			rest = span_skip(rest, 1);
		}
	}
	buf_add_byte(out, 0);
}

static bool is_of_attribute(uint8_t byte)
{
	byte = span_lower(byte);
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == ';';
}

struct span ldap_text_key(const char *pattern, bool *is_whole)
{
	struct span text = span_from(pattern);
	size_t at = 0, start;

	while (at < text.len && !is_hole(span_skip(text, at), is_whole))
		at++;
	if (at == text.len || at == 0 || text.at[at - 1] != '=') {
		if (at == text.len)
			*is_whole = false;
		return SPAN("");
	}
	for (start = at - 1; start > 0 && is_of_attribute(text.at[start - 1]); start--)
		;
	return span_first(span_skip(text, start), at - 1 - start);
}

/* ---- names ---- */

/* "ad.test" of "ou=people,dc=ad,dc=test". */
static void add_components(const char *dn, struct buf *out)
{
	LDAPDN parts = NULL;

	if (ldap_str2dn(dn, &parts, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS)
		return;
	for (size_t i = 0; parts && parts[i]; i++) {
		const LDAPAVA *first = parts[i][0];

		if (!span_equal_nocase(span_of(first->la_attr.bv_val, first->la_attr.bv_len), SPAN("dc")))
			continue;
		if (buf_len(out))
			buf_add_byte(out, '.');
		buf_add(out, span_of(first->la_value.bv_val, first->la_value.bv_len));
	}
	ldap_dnfree(parts);
}

void ldap_text_domain(const struct ldap_conf *conf, struct buf *out)
{
	struct span template = span_from(conf->template);
	struct span behind = span_skip(template, span_find_last(template, '@') + 1);
	struct buf dn;

	if (template.len && !ldap_text_is_dn(conf->template) && behind.len && span_find(behind, '{') == behind.len) {
		buf_add(out, behind);
		return;
	}
	buf_init(&dn, DN_MAX_BYTES);
	if (template.len && ldap_text_is_dn(conf->template)) {
		ldap_text_fill(conf->template, SPAN("x"), SPAN("x"), ldap_text_raw, &dn);
	} else {
		buf_add_string(&dn, conf->base);
		buf_add_byte(&dn, 0);
	}
	if (buf_is_whole(&dn))
		add_components((const char *)buf_span(&dn).at, out);
	buf_fini(&dn);
}

void ldap_text_first_value(const char *dn, const char *key, struct buf *out)
{
	LDAPDN parts = NULL;

	if (ldap_str2dn(dn, &parts, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && parts && parts[0])
		for (size_t i = 0; parts[0][i]; i++) {
			const LDAPAVA *ava = parts[0][i];

			if (key && !span_equal_nocase(span_of(ava->la_attr.bv_val, ava->la_attr.bv_len), span_from(key)))
				continue;
			buf_add(out, span_of(ava->la_value.bv_val, ava->la_value.bv_len));
			break;
		}
	ldap_dnfree(parts);
}

bool ldap_text_is_name(struct span name)
{
	if (name.len == 0 || name.at[0] == ' ' || name.at[name.len - 1] == ' ')
		return false;
	while (name.len) {
		uint32_t character = fold_next(&name);

		if (character == UINT32_MAX || character < 0x20 || (character >= 0x7f && character < 0xa0))
			return false;
	}
	return true;
}

bool ldap_text_has_one_spelling(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.at[i] <= ' ' || name.at[i] >= 0x7f)
			return false;
	return name.len > 0;
}

/* ---- what servers say ---- */

enum ask_verdict ldap_text_refusal(const char *diagnostic, const char **words)
{
	static const struct {
		const char *code, *words;
		enum ask_verdict verdict;
	} rows[] = {{"data 525", "the user is not known to the directory", VERDICT_UNKNOWN_USER},
	            {"data 52e", "user or password is wrong", VERDICT_INVALID},
	            {"data 530", "the account may not log on at this hour", VERDICT_INVALID},
	            {"data 531", "the account may not log on from here", VERDICT_INVALID},
	            {"data 532", "the password has expired", VERDICT_INVALID},
	            {"data 533", "the account is disabled", VERDICT_INVALID},
	            {"data 701", "the account has expired", VERDICT_INVALID},
	            {"data 773", "the password must be changed", VERDICT_INVALID},
	            {"data 775", "the account is locked", VERDICT_INVALID}};

	for (size_t i = 0; diagnostic && i < COUNT_OF(rows); i++) {
		struct span text = span_from(diagnostic), code = span_from(rows[i].code);
		struct span behind = span_skip(text, span_find_span(text, code) + code.len);

		/* "data 52e, v1db1" or "data 52e": not "data 5320". */
		if (span_find_span(text, code) == text.len || (behind.len && is_of_attribute(behind.at[0])))
			continue;
		*words = rows[i].words;
		return rows[i].verdict;
	}
	*words = "user or password is wrong";
	return VERDICT_INVALID;
}

static bool is_loopback(const char *host)
{
	static const uint8_t six[16] = {[15] = 1};
	struct address address;

	if (host == NULL || !address_parse(span_from(host), &address))
		return host && span_equal_nocase(span_from(host), SPAN("localhost"));
	return address.family == AF_INET ? address.bytes[0] == 127 : memcmp(address.bytes, six, sizeof(six)) == 0;
}

const char *ldap_text_server_fault(const char *server, bool starttls)
{
	const char *fault = "write it as ldaps://HOST[:PORT], or ldap:// with starttls: true";
	LDAPURLDesc *url = NULL;

	/* The library would take several at once, and try them one after the other. */
	if (strpbrk(server, " ,\t\r\n") || ldap_url_parse(server, &url) != LDAP_URL_SUCCESS)
		return fault;
	if (url->lud_scheme && strcmp(url->lud_scheme, "ldapi") == 0)
		fault = NULL;
	else if (url->lud_scheme == NULL || url->lud_host == NULL || url->lud_host[0] == 0)
		fault = "it names no host";
	else if (strcmp(url->lud_scheme, "ldaps") == 0 || starttls)
		fault = NULL;
	else if (strcmp(url->lud_scheme, "ldap") == 0)
		fault = is_loopback(url->lud_host) ? NULL
		                                   : "passwords would go to it in clear; write ldaps://, or starttls: true";
	ldap_free_urldesc(url);
	return fault;
}

void ldap_text_one_line(const char *text, struct buf *out)
{
	struct span rest = span_first(span_from(text), LINE_MAX_BYTES);

	while (rest.len) {
		uint32_t character = fold_next(&rest);

		if (character == UINT32_MAX || character < 0x20 || (character >= 0x7f && character < 0xa0))
			character = ' ';
		fold_add(character, out);
	}
}
