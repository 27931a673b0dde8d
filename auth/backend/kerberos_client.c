/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/kerberos_client.h"

#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <string.h>

enum { TEXT_MAX_BYTES = 1024 };

static bool fail(krb5_context context, krb5_error_code code, struct buf *why)
{
	const char *text = krb5_get_error_message(context, code);

	buf_add_string(why, text);
	krb5_free_error_message(context, text);
	return false;
}

bool kerberos_client_service(const char *keytab, struct buf *service, struct buf *why)
{
	krb5_kt_cursor cursor;
	krb5_keytab_entry entry;
	krb5_keytab table = NULL;
	krb5_context context;
	krb5_error_code code = krb5_init_context(&context);
	char *name = NULL;

	if (code) {
		buf_add_string(why, "Kerberos cannot be used: is krb5.conf well?");
		return false;
	}
	code = krb5_kt_resolve(context, keytab, &table);
	if (code == 0)
		code = krb5_kt_start_seq_get(context, table, &cursor);
	if (code == 0) {
		code = krb5_kt_next_entry(context, table, &entry, &cursor);
		if (code == 0) {
			code = krb5_unparse_name(context, entry.principal, &name);
			krb5_free_keytab_entry_contents(context, &entry);
		}
		krb5_kt_end_seq_get(context, table, &cursor);
	}
	if (code)
		fail(context, code, why);
	else
		buf_add_string(service, name);
	krb5_free_unparsed_name(context, name);
	if (table)
		krb5_kt_close(context, table);
	krb5_free_context(context);
	return code == 0;
}

static bool copy(struct span text, char out[static TEXT_MAX_BYTES])
{
	if (text.len >= TEXT_MAX_BYTES)
		return false;
	memcpy(out, text.at, text.len);
	out[text.len] = 0;
	return true;
}

/* A ticket-granting ticket, in memory. */
static krb5_error_code log_on(krb5_context context, const char *user, const char *password, krb5_ccache *cache)
{
	krb5_principal principal = NULL;
	krb5_creds credentials;
	krb5_error_code code = krb5_parse_name(context, user, &principal);

	if (code == 0)
		code = krb5_get_init_creds_password(context, &credentials, principal, password, NULL, NULL, 0, NULL, NULL);
	if (code == 0) {
		code = krb5_cc_new_unique(context, "MEMORY", NULL, cache);
		if (code == 0)
			code = krb5_cc_initialize(context, *cache, principal);
		if (code == 0)
			code = krb5_cc_store_cred(context, *cache, &credentials);
		krb5_free_cred_contents(context, &credentials);
	}
	if (principal)
		krb5_free_principal(context, principal);
	return code;
}

static bool add_status(OM_uint32 major, OM_uint32 minor, struct buf *why)
{
	gss_buffer_desc text;
	OM_uint32 more = 0, ignored;

	if (gss_display_status(&ignored, minor ? minor : major, minor ? GSS_C_MECH_CODE : GSS_C_GSS_CODE, GSS_C_NO_OID, &more,
	                       &text) == GSS_S_COMPLETE) {
		buf_add(why, span_of(text.value, text.length));
		gss_release_buffer(&ignored, &text);
	}
	return false;
}

static bool make_token(krb5_ccache cache, char *service, struct buf *token, struct buf *why)
{
	gss_buffer_desc name = {strlen(service), service}, output = GSS_C_EMPTY_BUFFER;
	gss_ctx_id_t context = GSS_C_NO_CONTEXT;
	gss_cred_id_t credential = GSS_C_NO_CREDENTIAL;
	gss_name_t target = GSS_C_NO_NAME;
	OM_uint32 major, minor, ignored;

	major = gss_krb5_import_cred(&minor, cache, NULL, NULL, &credential);
	if (!GSS_ERROR(major))
		major = gss_import_name(&minor, &name, GSS_KRB5_NT_PRINCIPAL_NAME, &target);
	if (!GSS_ERROR(major))
		major = gss_init_sec_context(&minor, credential, &context, target, GSS_C_NO_OID, GSS_C_MUTUAL_FLAG, 0,
		                             GSS_C_NO_CHANNEL_BINDINGS, GSS_C_NO_BUFFER, NULL, &output, NULL, NULL);
	if (GSS_ERROR(major))
		add_status(major, minor, why);
	else
		buf_add(token, span_of(output.value, output.length));
	gss_release_buffer(&ignored, &output);
	gss_release_name(&ignored, &target);
	if (context != GSS_C_NO_CONTEXT)
		gss_delete_sec_context(&ignored, &context, GSS_C_NO_BUFFER);
	gss_release_cred(&ignored, &credential);
	return !GSS_ERROR(major);
}

bool kerberos_client_token(struct span user, struct span password, struct span service, struct buf *token,
                           struct buf *why)
{
	char user_text[TEXT_MAX_BYTES], password_text[TEXT_MAX_BYTES], service_text[TEXT_MAX_BYTES];
	krb5_ccache cache = NULL;
	krb5_context context;
	krb5_error_code code;
	bool well;

	if (!copy(user, user_text) || !copy(password, password_text) || !copy(service, service_text) ||
	    krb5_init_context(&context)) {
		buf_add_string(why, "a name is too long, or Kerberos cannot be used");
		return false;
	}
	code = log_on(context, user_text, password_text, &cache);
	explicit_bzero(password_text, sizeof(password_text));
	well = code ? fail(context, code, why) : make_token(cache, service_text, token, why);
	if (cache)
		krb5_cc_destroy(context, cache);
	krb5_free_context(context);
	return well;
}
