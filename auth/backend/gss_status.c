/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/gss_status.h"

#include <errno.h>
#include <krb5/krb5.h>

#include "base/cursor.h"

enum { TEXT_MAX_BYTES = 400, TEXTS_MAX = 8 };

static uint8_t kerberos_oid[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02};
static uint8_t negotiate_oid[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x02};

const gss_OID_desc gss_mech_kerberos = {sizeof(kerberos_oid), kerberos_oid};
const gss_OID_desc gss_mech_negotiate = {sizeof(negotiate_oid), negotiate_oid};

/* ---- text ---- */

static void add_line(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		buf_add_byte(out, text.at[i] < 0x20 || text.at[i] == 0x7f ? ' ' : text.at[i]);
}

/* One status may have several texts. */
static void add_status(OM_uint32 status, int type, const gss_OID_desc *mech, struct buf *out)
{
	gss_OID_desc copy = *mech;
	OM_uint32 more = 0, minor;

	for (size_t i = 0; i < TEXTS_MAX; i++) {
		gss_buffer_desc text = GSS_C_EMPTY_BUFFER;

		if (GSS_ERROR(gss_display_status(&minor, status, type, &copy, &more, &text)))
			return;
		if (i && text.length)
			buf_add_string(out, "; ");
		add_line(out, span_of(text.value, text.length));
		gss_release_buffer(&minor, &text);
		if (more == 0)
			return;
	}
}

void gss_status_text(OM_uint32 major, OM_uint32 minor, const gss_OID_desc *mech, struct buf *out)
{
	/* Of this one the library's text is "Minor code may provide more information". */
	bool says_more = GSS_ROUTINE_ERROR(major) == GSS_S_FAILURE && minor;

	if (!says_more)
		add_status(major, GSS_C_GSS_CODE, mech, out);
	if (minor) {
		if (!says_more)
			buf_add_string(out, ": ");
		add_status(minor, GSS_C_MECH_CODE, mech, out);
	}
}

/* ---- meaning ---- */

/* Failures that have a plainer text than the library's. NULL: the library's own. */
struct meaning {
	OM_uint32 minor;
	enum ask_verdict verdict;
	const char *text;
};
#define MINOR(code) (OM_uint32)(code)

static const struct meaning meanings[] = {
	/* The ticket is for a key that is not in the keytab: the client may have something else for us. */
	{MINOR(KRB5KRB_AP_ERR_NOT_US), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5KRB_AP_ERR_NOKEY), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5KRB_AP_ERR_BADKEYVER), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5KRB_AP_ERR_MODIFIED), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5KRB_AP_WRONG_PRINC), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5_KT_NOTFOUND), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5_KT_KVNONOTFOUND), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5_BAD_ENCTYPE), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5_NOPERM_ETYPE), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5KDC_ERR_ETYPE_NOSUPP), VERDICT_OTHER_MECH, NULL},
	{MINOR(KRB5KRB_AP_ERR_REPEAT), VERDICT_INVALID, "the token was used before (a replay)"},
	{MINOR(KRB5KRB_AP_ERR_SKEW), VERDICT_INVALID,
	 "the clocks of the client and of this host differ too much (more than clockskew of krb5.conf, 5 minutes): set both "
	 "by NTP"},
	{MINOR(KRB5KRB_AP_ERR_TKT_EXPIRED), VERDICT_INVALID, "the ticket has expired"},
	{MINOR(KRB5KRB_AP_ERR_TKT_NYV), VERDICT_INVALID,
	 "the ticket is not valid yet: the clock of the KDC or of this host is wrong, set both by NTP"},
	/* Of this host: the replay cache and the keytab. */
	{MINOR(KRB5_RC_IO), VERDICT_UNAVAILABLE, NULL},
	{MINOR(KRB5_RC_IO_PERM), VERDICT_UNAVAILABLE, NULL},
	{MINOR(KRB5_RC_IO_SPACE), VERDICT_UNAVAILABLE, NULL},
	{MINOR(KRB5_RC_IO_IO), VERDICT_UNAVAILABLE, NULL},
	{MINOR(KRB5_RC_IO_UNKNOWN), VERDICT_UNAVAILABLE, NULL},
	{MINOR(KRB5_RC_IO_MALLOC), VERDICT_UNAVAILABLE, NULL},
	{MINOR(KRB5_RC_MALLOC), VERDICT_UNAVAILABLE, NULL},
	{MINOR(KRB5_RC_UNKNOWN), VERDICT_UNAVAILABLE, NULL},
	{MINOR(KRB5_KT_IOERR), VERDICT_UNAVAILABLE, NULL},
	{ENOENT, VERDICT_UNAVAILABLE, NULL},
	{EACCES, VERDICT_UNAVAILABLE, NULL},
	{EPERM, VERDICT_UNAVAILABLE, NULL},
	{EIO, VERDICT_UNAVAILABLE, NULL},
	{ENOMEM, VERDICT_UNAVAILABLE, NULL},
	{ENOSPC, VERDICT_UNAVAILABLE, NULL},
	{EDQUOT, VERDICT_UNAVAILABLE, NULL},
	{EROFS, VERDICT_UNAVAILABLE, NULL},
	{EMFILE, VERDICT_UNAVAILABLE, NULL},
	{ENFILE, VERDICT_UNAVAILABLE, NULL},
	{EBADF, VERDICT_UNAVAILABLE, NULL},
	{ENOLCK, VERDICT_UNAVAILABLE, NULL},
};

static struct meaning find_meaning(OM_uint32 major, OM_uint32 minor)
{
	if (major & (GSS_S_DUPLICATE_TOKEN | GSS_S_OLD_TOKEN) || GSS_ROUTINE_ERROR(major) == GSS_S_DUPLICATE_TOKEN)
		minor = MINOR(KRB5KRB_AP_ERR_REPEAT);
	for (size_t i = 0; i < COUNT_OF(meanings); i++)
		if (meanings[i].minor == minor)
			return meanings[i];
	if (GSS_ROUTINE_ERROR(major) == GSS_S_BAD_MECH)
		return (struct meaning){minor, VERDICT_OTHER_MECH, "the client has nothing but other mechanisms than Kerberos"};
	if (GSS_ROUTINE_ERROR(major) == GSS_S_BAD_BINDINGS)
		return (struct meaning){minor, VERDICT_INVALID, "the token is bound to another TLS connection"};
	return (struct meaning){minor, VERDICT_INVALID, NULL};
}

enum ask_verdict gss_status_judge(OM_uint32 major, OM_uint32 minor, struct answer *answer)
{
	struct meaning meaning = find_meaning(major, minor);
	struct buf text;

	buf_init(&text, TEXT_MAX_BYTES);
	if (meaning.text)
		buf_add_string(&text, meaning.text);
	else
		gss_status_text(major, minor, &gss_mech_kerberos, &text);
	answer_say(answer, meaning.verdict, "Kerberos: %.*s", SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
	return meaning.verdict;
}

/* ---- the token inside ---- */

/* The length of a DER element, definite form; false where there is none. */
static bool read_length(struct cursor *at, size_t *len)
{
	uint8_t first = cursor_u8(at);

	*len = first;
	if (first >= 0x80) {
		*len = 0;
		if (first == 0x80 || first > 0x83)
			return false;
		for (int i = first - 0x80; i > 0; i--)
			*len = *len << 8 | cursor_u8(at);
	}
	return !at->overrun && *len <= at->rest.len;
}

/* 0x60, length, the OID of Kerberos: RFC 2743 section 3.1. */
static bool is_kerberos(struct span bytes, size_t *len)
{
	struct cursor at = cursor_over(bytes);
	size_t content, oid;

	if (cursor_u8(&at) != 0x60 || !read_length(&at, &content))
		return false;
	*len = bytes.len - at.rest.len + content;
	if (cursor_u8(&at) != 0x06 || !read_length(&at, &oid))
		return false;
	return span_equal(span_first(at.rest, oid), span_of(kerberos_oid, sizeof(kerberos_oid)));
}

struct span gss_status_inner(struct span token)
{
	size_t len;

	for (size_t i = 1; i < token.len; i++)
		if (token.at[i] == 0x60 && is_kerberos(span_skip(token, i), &len))
			return span_first(span_skip(token, i), len);
	return SPAN("");
}
