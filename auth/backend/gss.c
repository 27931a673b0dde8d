/* SPDX-License-Identifier: Apache-2.0 */
/* Kerberos, raw and inside SPNEGO, by GSSAPI. */
#include "auth/backend/gss.h"

#include <gssapi/gssapi_ext.h>
#include <stdio.h>
#include <stdlib.h>
#include <wbclient.h>

#include "auth/backend/backend.h"
#include "auth/backend/gss_contexts.h"
#include "auth/backend/gss_status.h"
#include "auth/backend/ldap.h"
#include "auth/backend/pac.h"
#include "auth/backend/sid_names.h"
#include "auth/backend/users.h"
#include "base/clock.h"

enum { PATH_MAX_BYTES = 4096, TEXT_MAX_BYTES = 300, NAME_MAX_BYTES = 1024, SIDS_MAX_BYTES = 1 << 17 };

/* What one thread keeps. */
struct gss_thread {
	gss_cred_id_t credential;  /* of the keytab of this generation */
	gss_cred_id_t judge;       /* the same without a replay cache: why was a token refused? Made when it is needed */
	uint64_t generation;
	struct wbcContext *winbind; /* for names of groups; NULL: none */
	void *ldap;                /* of backend_ldap, for groups; NULL: not needed yet */
};

/* As the library takes it: "file2:/var/lib/..."; "": its own default. Set before there are threads. */
static char replay_cache_name[PATH_MAX_BYTES];

/* ---- once ---- */

static bool has_mech(gss_OID_set set, const gss_OID_desc *mech)
{
	gss_OID_desc copy = *mech;
	int present = 0;
	OM_uint32 minor;

	return gss_test_oid_set_member(&minor, &copy, set, &present) == GSS_S_COMPLETE && present;
}

bool gss_backend_init(const char *replay_cache, const char **why)
{
	gss_OID_set mechs = GSS_C_NO_OID_SET;
	OM_uint32 minor;
	int len = 0;
	bool works;

	*why = "";
	replay_cache_name[0] = 0;
	if (replay_cache[0])
		len = snprintf(replay_cache_name, sizeof(replay_cache_name), "file2:%s", replay_cache);
	if (len < 0 || (size_t)len >= sizeof(replay_cache_name)) {
		*why = "the path of the replay cache is too long";
		return false;
	}
	/* In the environment too, for whatever makes credentials of its own; it does not hold where the library does not
	 * trust the environment, so the name also goes with each credential. */
	if (setenv("GSS_MECH_CONFIG", "/dev/null", 1) || (len && setenv("KRB5RCACHENAME", replay_cache_name, 1))) {
		*why = "no memory";
		return false;
	}
	/* Reads the lists of mechanisms. */
	works = gss_indicate_mechs(&minor, &mechs) == GSS_S_COMPLETE && has_mech(mechs, &gss_mech_kerberos) &&
	        has_mech(mechs, &gss_mech_negotiate);
	gss_release_oid_set(&minor, &mechs);
	if (!works)
		*why = "the library of GSSAPI has no Kerberos";
	return works;
}

void gss_backend_fini(void)
{
	gss_contexts_fini();
	sid_names_fini();
}

/* ---- of one thread ---- */

static void *open_thread(void)
{
	struct gss_thread *thread = calloc(1, sizeof(*thread));

	if (thread)
		thread->winbind = wbcCtxCreate();
	return thread;
}

static void drop_credential(gss_cred_id_t *credential)
{
	OM_uint32 minor;

	if (*credential != GSS_C_NO_CREDENTIAL)
		gss_release_cred(&minor, credential);
	*credential = GSS_C_NO_CREDENTIAL;
}

static void close_thread(void *context)
{
	struct gss_thread *thread = context;

	drop_credential(&thread->credential);
	drop_credential(&thread->judge);
	wbcCtxFree(thread->winbind);
	if (thread->ldap)
		backend_ldap.close(thread->ldap);
	free(thread);
}

/* A credential of the keytab alone, for both mechanisms by name: the default one would take whatever mechanisms other
 * packages have brought, NTLM among them. SPNEGO may choose Kerberos and nothing else. */
static OM_uint32 acquire(const struct backend_env *env, const char *replay_cache, gss_cred_id_t *credential,
                         OM_uint32 *minor)
{
	gss_OID_desc both[] = {gss_mech_kerberos, gss_mech_negotiate};
	gss_OID_set_desc wanted = {2, both}, inside = {1, both};
	gss_key_value_element_desc elements[] = {{"keytab", env->keytab}, {"rcache", replay_cache}};
	gss_key_value_set_desc store = {replay_cache[0] ? 2 : 1, elements};
	gss_OID_set actual = GSS_C_NO_OID_SET;
	OM_uint32 major, ignored;

	major = gss_acquire_cred_from(minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, &wanted, GSS_C_ACCEPT, &store, credential,
	                              &actual, NULL);
	if (major == GSS_S_COMPLETE && (actual->count != 2 || !has_mech(actual, &both[0]) || !has_mech(actual, &both[1]))) {
		major = GSS_S_NO_CRED;
		*minor = 0;
	}
	if (major == GSS_S_COMPLETE)
		major = gss_set_neg_mechs(minor, *credential, &inside);
	gss_release_oid_set(&ignored, &actual);
	return major;
}

static bool refresh_credential(struct gss_thread *thread, const struct backend_env *env, struct answer *answer)
{
	OM_uint32 major, minor;
	struct buf text;

	if (thread->credential != GSS_C_NO_CREDENTIAL && thread->generation == env->generation)
		return true;
	drop_credential(&thread->credential);
	drop_credential(&thread->judge);
	major = acquire(env, replay_cache_name, &thread->credential, &minor);
	if (major == GSS_S_COMPLETE) {
		thread->generation = env->generation;
		return true;
	}
	buf_init(&text, TEXT_MAX_BYTES);
	gss_status_text(major, minor, &gss_mech_kerberos, &text);
	answer_say(answer, VERDICT_UNAVAILABLE, "the keytab (negotiate.keytab) cannot be used: %.*s",
	           SPAN_ARG(buf_span(&text)));
	buf_fini(&text);
	drop_credential(&thread->credential);
	return false;
}

/* ---- who it is ---- */

/* The name as text: "alice@AD.TEST", "HTTP/proxy.ad.test@AD.TEST". */
static bool add_name(gss_name_t name, struct buf *out)
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	gss_OID type = GSS_C_NO_OID;
	OM_uint32 minor;
	bool is_good;

	if (name == GSS_C_NO_NAME || gss_display_name(&minor, name, &text, &type) != GSS_S_COMPLETE)
		return false;
	is_good = text.length > 0 && !gss_oid_equal(type, GSS_C_NT_ANONYMOUS);
	if (is_good)
		buf_add(out, span_of(text.value, text.length));
	gss_release_buffer(&minor, &text);
	return is_good && buf_is_whole(out);
}

/* Is the principal "HTTP/proxy.example.com@REALM" the service "HTTP@proxy.example.com"? Any realm that gave us a key. */
static bool is_service(struct span principal, struct span service)
{
	size_t at = span_find(service, '@');
	struct span host = span_skip(service, at + 1), rest = span_skip(principal, at);

	if (at == service.len || !span_equal(span_first(principal, at), span_first(service, at)) || rest.len < host.len + 2)
		return false;
	return rest.at[0] == '/' && rest.at[host.len + 1] == '@' &&
	       span_equal_nocase(span_first(span_skip(rest, 1), host.len), host);
}

/* A credential without a name takes tickets for every key of the keytab; which one it was is known afterwards. */
static bool is_for_us(const struct conf_texts *services, gss_ctx_id_t context, struct buf *target)
{
	gss_name_t name = GSS_C_NO_NAME;
	OM_uint32 minor;
	bool found = services->count == 0;

	if (found)
		return true;
	if (gss_inquire_context(&minor, context, NULL, &name, NULL, NULL, NULL, NULL, NULL) == GSS_S_COMPLETE &&
	    add_name(name, target))
		for (size_t i = 0; i < services->count && !found; i++)
			found = is_service(buf_span(target), span_from(services->at[i]));
	gss_release_name(&minor, &name);
	return found;
}

/* ---- groups ---- */

/* Where else the groups come from, the user is looked up by the name that policy and log will see: what stands for the
 * realm is the administrator's to say (authentication.domains), so that alice of another realm is not our alice. */
static bool groups_of_others(struct gss_thread *thread, const struct backend_env *env, struct answer *answer)
{
	const struct users_entry *entry;
	struct buf name;
	bool well = true;

	buf_init(&name, NAME_MAX_BYTES);
	auth_conf_map_name(env->conf, buf_span(&answer->user), &name);
	if (env->conf->negotiate.groups == NEGOTIATE_GROUPS_USERS && env->users) {
		entry = users_find_folded(env->users, buf_span(&name));
		if (entry)
			buf_add(&answer->groups, entry->groups);
	} else if (env->conf->negotiate.groups == NEGOTIATE_GROUPS_LDAP) {
		if (thread->ldap == NULL)
			thread->ldap = backend_ldap.open();
		well = ldap_groups_of(thread->ldap, env, buf_span(&name), answer);
	}
	buf_fini(&name);
	return well;
}

static bool groups_of_pac(struct gss_thread *thread, struct span pac, struct answer *answer)
{
	const char *why;
	struct buf sids;
	bool is_read;

	buf_init(&sids, SIDS_MAX_BYTES);
	is_read = pac_read_groups(pac, &sids, &why);
	if (is_read)
		sid_names_add(thread->winbind, buf_span(&sids), &answer->groups);
	else
		answer_say(answer, VERDICT_INVALID, "the ticket's groups cannot be read: %s", why);
	buf_fini(&sids);
	return is_read;
}

/* A ticket of a Windows domain has a PAC; one of MIT's has none that speaks of groups. Rules may deny by group, so whose
 * groups cannot be trusted or read is not somebody without groups. */
static bool find_groups(struct gss_thread *thread, gss_name_t name, struct answer *answer)
{
	static char logon_info[] = "urn:mspac:logon-info";
	gss_buffer_desc attribute = {sizeof(logon_info) - 1, logon_info}, value = GSS_C_EMPTY_BUFFER,
	                shown = GSS_C_EMPTY_BUFFER;
	int authenticated = 0, complete = 0, more = -1;
	OM_uint32 major, minor;
	bool well = true;

	major = gss_get_name_attribute(&minor, name, &attribute, &authenticated, &complete, &value, &shown, &more);
	if (major == GSS_S_COMPLETE && authenticated) {
		well = groups_of_pac(thread, span_of(value.value, value.length), answer);
	} else if (major != GSS_S_UNAVAILABLE) {
		answer_say(answer, VERDICT_INVALID, "the ticket's groups cannot be trusted: %s",
		           major == GSS_S_COMPLETE ? "the signature of the PAC is missing or wrong" : "the PAC cannot be had");
		well = false;
	}
	gss_release_buffer(&minor, &value);
	gss_release_buffer(&minor, &shown);
	return well;
}

static bool add_groups(struct gss_thread *thread, const struct backend_env *env, gss_name_t name, struct answer *answer)
{
	bool well = true;

	if (env->conf->negotiate.groups == NEGOTIATE_GROUPS_PAC)
		well = find_groups(thread, name, answer);
	else
		well = groups_of_others(thread, env, answer);
	if (well && !buf_is_whole(&answer->groups)) {
		answer_say(answer, VERDICT_UNAVAILABLE, "the names of the user's groups are too long together");
		well = false;
	}
	if (!well)
		buf_reset(&answer->groups);
	return well;
}

/* ---- one token ---- */

struct accepted {
	struct gss_partial partial;
	gss_name_t name;
	gss_OID mech;              /* borrowed from the library, for ever */
	gss_buffer_desc token;
	OM_uint32 flags;
};

static OM_uint32 accept_token(gss_cred_id_t credential, struct span token, struct accepted *accepted, OM_uint32 *minor)
{
	gss_buffer_desc input = {token.len, (void *)(uintptr_t)token.at};

	return gss_accept_sec_context(minor, &accepted->partial.context, credential, &input, GSS_C_NO_CHANNEL_BINDINGS,
	                              &accepted->name, &accepted->mech, &accepted->token, &accepted->flags, NULL, NULL);
}

static void drop_accepted(struct accepted *accepted)
{
	OM_uint32 minor;

	gss_release_name(&minor, &accepted->name);
	gss_release_buffer(&minor, &accepted->token);
	if (accepted->partial.context != GSS_C_NO_CONTEXT)
		gss_delete_sec_context(&minor, &accepted->partial.context, GSS_C_NO_BUFFER);
}

/* What Kerberos says to a token that gets nobody in. False: nothing against it. */
static bool is_refused(gss_cred_id_t credential, struct span token, OM_uint32 *major, OM_uint32 *minor)
{
	struct accepted again = {0};
	OM_uint32 inner_minor, inner_major = accept_token(credential, token, &again, &inner_minor);

	drop_accepted(&again);
	if (!GSS_ERROR(inner_major))
		return false;
	*major = inner_major;
	*minor = inner_minor;
	return true;
}

/* SPNEGO gives the minor status of the mechanism inside as a number of its own, which says nothing but its text. So what
 * was inside is tried once more for its status: without the replay cache, which may have seen it by now, and if nothing
 * is wrong then, it was the replay cache. */
static enum ask_verdict refuse(struct gss_thread *thread, const struct backend_env *env, struct span token,
                               OM_uint32 major, OM_uint32 minor, struct answer *answer)
{
	struct span inner = gss_status_inner(token);
	OM_uint32 ignored;

	if (inner.len == 0 || GSS_ROUTINE_ERROR(major) != GSS_S_FAILURE)
		return gss_status_judge(major, minor, answer);
	if (thread->judge == GSS_C_NO_CREDENTIAL && acquire(env, "none:", &thread->judge, &ignored) != GSS_S_COMPLETE)
		drop_credential(&thread->judge);
	if (thread->judge != GSS_C_NO_CREDENTIAL && !is_refused(thread->judge, inner, &major, &minor) &&
	    !is_refused(thread->credential, inner, &major, &minor))
		return answer_say(answer, VERDICT_INVALID, "the token of SPNEGO is wrong around a right one of Kerberos");
	return gss_status_judge(major, minor, answer);
}

static enum ask_verdict finish(struct gss_thread *thread, const struct backend_env *env, struct accepted *accepted,
                               struct answer *answer)
{
	struct buf target;
	bool for_us;

	if (accepted->mech == GSS_C_NO_OID || !gss_oid_equal(accepted->mech, &gss_mech_kerberos))
		return answer_say(answer, VERDICT_INVALID, "what was inside is not Kerberos");
	if (accepted->flags & GSS_C_ANON_FLAG || !add_name(accepted->name, &answer->user)) {
		buf_reset(&answer->user);
		return answer_say(answer, VERDICT_INVALID, "the ticket is nobody's: it is anonymous, or its name is too long");
	}
	buf_init(&target, NAME_MAX_BYTES);
	for_us = is_for_us(&env->conf->negotiate.services, accepted->partial.context, &target);
	if (!for_us)
		answer_say(answer, VERDICT_OTHER_MECH, "the ticket is for %.*s, which negotiate.services does not name",
		           SPAN_ARG(buf_span(&target)));
	buf_fini(&target);
	if (!for_us || !add_groups(thread, env, accepted->name, answer)) {
		buf_reset(&answer->user);
		return answer->verdict;
	}
	buf_add(&answer->token, span_of(accepted->token.value, accepted->token.length));
	answer->mechanism = AUTH_MECHANISM_KERBEROS;
	return answer->verdict = VERDICT_VALID;
}

static enum ask_verdict go_on(struct accepted *accepted, uint64_t now_ms, struct answer *answer)
{
	if (accepted->token.length == 0)
		return answer_say(answer, VERDICT_INVALID, "Kerberos waits for a token without asking for one");
	buf_add(&answer->token, span_of(accepted->token.value, accepted->token.length));
	answer->context = gss_contexts_put(accepted->partial, now_ms);
	accepted->partial.context = GSS_C_NO_CONTEXT;
	return answer_say(answer, VERDICT_CONTINUE, "Kerberos needs one more token");
}

static enum ask_verdict verify(void *context, const struct backend_env *env, const struct ask *ask,
                               struct answer *answer)
{
	struct gss_thread *thread = context;
	uint64_t now_ms = clock_monotonic_ms();
	struct accepted accepted = {.partial = {GSS_C_NO_CONTEXT, now_ms}};
	OM_uint32 major, minor;

	if (thread == NULL)
		return answer_say(answer, VERDICT_UNAVAILABLE, "no memory");
	/* The library answers an empty token with a list of mechanisms, as if a server began. */
	if (ask->token.len == 0)
		return answer_say(answer, VERDICT_INVALID, "the token is empty");
	if (env->keytab == NULL)
		return answer_say(answer, VERDICT_UNAVAILABLE, "there is no keytab (negotiate.keytab)");
	if (ask->context && !gss_contexts_take(ask->context, now_ms, &accepted.partial))
		return answer_say(answer, VERDICT_INVALID, "the exchange that the token belongs to is over");
	if (!refresh_credential(thread, env, answer)) {
		drop_accepted(&accepted);
		return answer->verdict;
	}
	major = accept_token(thread->credential, ask->token, &accepted, &minor);
	if (major == GSS_S_COMPLETE)
		finish(thread, env, &accepted, answer);
	else if (major == GSS_S_CONTINUE_NEEDED)
		go_on(&accepted, now_ms, answer);
	else
		refuse(thread, env, ask->token, major, minor, answer);
	drop_accepted(&accepted);
	return answer->verdict;
}

const struct backend backend_gss = {"gss", 1 << ASK_GSS, open_thread, close_thread, verify};
