/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/asn1.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tls/trust_private.h"

static const struct {
	const char *token, *text;
} faults[] = {
#define ROW(name, token, text) {token, text},
	TRUST_FAULTS(ROW)
#undef ROW
};

const char *trust_fault_token(enum trust_fault fault)
{
	return fault < TRUST_FAULT_COUNT ? faults[fault].token : "";
}

const char *trust_fault_text(enum trust_fault fault)
{
	return fault < TRUST_FAULT_COUNT ? faults[fault].text : "";
}

void trust_add_text(struct buf *out, struct span text, size_t most)
{
	for (size_t i = 0; i < text.len; i++) {
		if (i == most) {
			buf_add(out, SPAN("..."));
			return;
		}
		if (text.at[i] < ' ' || text.at[i] > '~' || text.at[i] == '\\')
			buf_printf(out, "\\x%02x", text.at[i]);
		else
			buf_add_byte(out, text.at[i]);
	}
}

/* A text in memory of the caller's, always ended. */
static void copy_out(const struct buf *from, char *to, size_t bytes)
{
	struct span text = span_first(buf_span(from), bytes - 1);

	if (text.len)
		memcpy(to, text.at, text.len);
	to[text.len] = '\0';
}

const char *trust_text_name(const X509_NAME *name, char text[static TRUST_NAME_TEXT])
{
	static const struct {
		int nid;
		const char *label;
	} parts[] = {{NID_commonName, "CN="}, {NID_organizationalUnitName, "OU="}, {NID_organizationName, "O="}};
	struct buf out;

	buf_init(&out, 512);
	for (size_t i = 0; i < COUNT_OF(parts) && buf_len(&out) == 0; i++) {
		int at = X509_NAME_get_index_by_NID(name, parts[i].nid, -1);
		const ASN1_STRING *value = at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));

		if (value == NULL)
			continue;
		buf_add_string(&out, parts[i].label);
		trust_add_text(&out, span_of(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)), 60);
	}
	if (buf_len(&out) == 0)
		buf_add_string(&out, "without a name");
	copy_out(&out, text, TRUST_NAME_TEXT);
	buf_fini(&out);
	return text;
}

const char *trust_text_date(const ASN1_TIME *time, char text[static TRUST_DATE_TEXT])
{
	struct tm tm;

	if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1)
		snprintf(text, TRUST_DATE_TEXT, "no date");
	else
		snprintf(text, TRUST_DATE_TEXT, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
	return text;
}

uint64_t trust_time_ms(const ASN1_TIME *time)
{
	struct tm tm;
	time_t seconds;

	if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1)
		return 0;
	seconds = timegm(&tm);
	return seconds > 0 ? (uint64_t)seconds * 1000 : 0;
}

static void add_who(struct buf *out, const struct verify *verify, int depth, X509 *certificate)
{
	char name[TRUST_NAME_TEXT];

	if (depth == 0) {
		buf_add_string(out, "certificate of ");
		trust_add_text(out, verify->question->host, 80);
	} else if (certificate) {
		buf_printf(out, "issuing certificate %s of ", trust_text_name(X509_get_subject_name(certificate), name));
		trust_add_text(out, verify->question->host, 80);
	} else {
		buf_printf(out, "chain of ");
		trust_add_text(out, verify->question->host, 80);
	}
}

void trust_say(struct verify *verify, enum trust_fault fault, int depth, X509 *certificate, const char *format, ...)
{
	struct trust_verdict *out = verify->out;
	struct buf text;
	va_list args;

	out->state = TRUST_BAD;
	out->fault = fault;
	out->depth = depth;
	buf_init(&text, 2048);
	add_who(&text, verify, depth, certificate);
	buf_add_string(&text, ": ");
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	copy_out(&text, out->detail, sizeof(out->detail));
	buf_fini(&text);
}
