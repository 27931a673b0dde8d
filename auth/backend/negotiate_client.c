/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/negotiate_client.h"

#include <gssapi/gssapi_ext.h>
#include <stdlib.h>

#include "auth/backend/gss_status.h"

enum { SERVICE_MAX_BYTES = 300 };

struct negotiate_client {
	gss_cred_id_t credential;
	gss_ctx_id_t context;
	gss_name_t service;
};

bool negotiate_client_init(void)
{
	return setenv("GSS_MECH_CONFIG", "/dev/null", 1) == 0;
}

struct negotiate_client *negotiate_client_new(void)
{
	return calloc(1, sizeof(struct negotiate_client));
}

void negotiate_client_free(struct negotiate_client *client)
{
	OM_uint32 minor;

	if (client == NULL)
		return;
	if (client->context != GSS_C_NO_CONTEXT)
		gss_delete_sec_context(&minor, &client->context, GSS_C_NO_BUFFER);
	gss_release_name(&minor, &client->service);
	gss_release_cred(&minor, &client->credential);
	free(client);
}

/* Of both mechanisms by name, as the acceptor has it: SPNEGO may choose Kerberos alone. */
static OM_uint32 acquire(struct negotiate_client *client, OM_uint32 *minor)
{
	gss_OID_desc both[] = {gss_mech_kerberos, gss_mech_negotiate};
	gss_OID_set_desc wanted = {2, both}, inside = {1, both};
	OM_uint32 major = gss_acquire_cred(minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, &wanted, GSS_C_INITIATE, &client->credential,
	                                   NULL, NULL);

	return major == GSS_S_COMPLETE ? gss_set_neg_mechs(minor, client->credential, &inside) : major;
}

static OM_uint32 import_service(struct negotiate_client *client, struct span host, OM_uint32 *minor)
{
	gss_buffer_desc name = GSS_C_EMPTY_BUFFER;
	struct buf text;
	OM_uint32 major = GSS_S_BAD_NAME;

	buf_init(&text, SERVICE_MAX_BYTES);
	buf_printf(&text, "HTTP@%.*s", SPAN_ARG(host));
	if (buf_is_whole(&text) && buf_reserve(&text, 1)) {
		name.value = text.at + text.start;
		name.length = buf_len(&text);
		major = gss_import_name(minor, &name, GSS_C_NT_HOSTBASED_SERVICE, &client->service);
	}
	buf_fini(&text);
	return major;
}

bool negotiate_client_step(struct negotiate_client *client, struct span host, struct span came, struct buf *token,
                           struct buf *why)
{
	OM_uint32 major = GSS_S_COMPLETE, minor = 0, ignored;
	gss_buffer_desc input = GSS_C_EMPTY_BUFFER, output = GSS_C_EMPTY_BUFFER;
	gss_OID_desc mech = gss_mech_negotiate;
	struct buf copy;

	buf_init(&copy, came.len + 1); /* the library wants it writable */
	buf_add(&copy, came);
	if (came.len) {
		input.value = copy.at + copy.start;
		input.length = buf_len(&copy);
	}
	if (client->service == GSS_C_NO_NAME)
		major = import_service(client, host, &minor);
	if (!GSS_ERROR(major) && client->credential == GSS_C_NO_CREDENTIAL)
		major = acquire(client, &minor);
	if (!GSS_ERROR(major))
		major = gss_init_sec_context(&minor, client->credential, &client->context, client->service, &mech, 0, 0,
		                             GSS_C_NO_CHANNEL_BINDINGS, &input, NULL, &output, NULL, NULL);
	if (GSS_ERROR(major))
		gss_status_text(major, minor, &gss_mech_kerberos, why);
	else if (output.length == 0)
		buf_add_string(why, "the library has nothing more to say");
	else
		buf_add(token, span_of(output.value, output.length));
	if (output.length)
		gss_release_buffer(&ignored, &output);
	buf_fini(&copy);
	return !GSS_ERROR(major) && buf_len(token) && buf_is_whole(token);
}

void negotiate_client_user(const struct negotiate_client *client, struct buf *out)
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	gss_name_t name = GSS_C_NO_NAME;
	OM_uint32 minor;

	if (client->credential == GSS_C_NO_CREDENTIAL ||
	    GSS_ERROR(gss_inquire_cred(&minor, client->credential, &name, NULL, NULL, NULL)) || name == GSS_C_NO_NAME)
		return;
	if (!GSS_ERROR(gss_display_name(&minor, name, &text, NULL)))
		buf_add(out, span_of(text.value, text.length));
	gss_release_buffer(&minor, &text);
	gss_release_name(&minor, &name);
}
