/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/winbind.h"

#include <string.h>
#include <sys/types.h>
#include <time.h>

#include <wbclient.h>

#include "auth/backend/backend.h"
#include "auth/backend/sid_names.h"
#include "auth/fold.h"
#include "auth/scheme/ntlm.h"

enum { NAME_MAX_BYTES = 1024, GROUPS_MAX = IDENTITY_GROUPS_MAX };

static void *open_thread(void)
{
	return wbcCtxCreate();
}

static void close_thread(void *thread)
{
	wbcCtxFree(thread);
}

static const char *words_of(const char *nt_status)
{
	static const char *const words[][2] = {
		{"NT_STATUS_WRONG_PASSWORD", "the password is wrong"},
		{"NT_STATUS_LOGON_FAILURE", "user or password is wrong"},
		{"NT_STATUS_NO_SUCH_USER", "the user is not known to the domain"},
		{"NT_STATUS_ACCOUNT_LOCKED_OUT", "the account is locked"},
		{"NT_STATUS_ACCOUNT_DISABLED", "the account is disabled"},
		{"NT_STATUS_ACCOUNT_EXPIRED", "the account has expired"},
		{"NT_STATUS_PASSWORD_EXPIRED", "the password has expired"},
		{"NT_STATUS_PASSWORD_MUST_CHANGE", "the password must be changed"},
		{"NT_STATUS_INVALID_LOGON_HOURS", "the account may not log on at this hour"},
		{"NT_STATUS_NTLM_BLOCKED", "the domain blocks NTLM"},
	};

	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (strcmp(nt_status, words[i][0]) == 0)
			return words[i][1];
	return "winbind refuses it";
}

static bool is_the_domains_fault(const char *nt_status)
{
	static const char *const statuses[] = {"NT_STATUS_NO_LOGON_SERVERS", "NT_STATUS_DOMAIN_CONTROLLER_NOT_FOUND",
	                                       "NT_STATUS_IO_TIMEOUT", "NT_STATUS_CONNECTION_DISCONNECTED",
	                                       "NT_STATUS_TRUSTED_RELATIONSHIP_FAILURE", "NT_STATUS_ACCESS_DENIED",
	                                       "NT_STATUS_CANT_ACCESS_DOMAIN_INFO", "NT_STATUS_CONNECTION_RESET",
	                                       "NT_STATUS_HOST_UNREACHABLE", "NT_STATUS_CONNECTION_REFUSED"};

	for (size_t i = 0; i < COUNT_OF(statuses); i++)
		if (strcmp(nt_status, statuses[i]) == 0)
			return true;
	return false;
}

static enum ask_verdict refuse(wbcErr err, const struct wbcAuthErrorInfo *info, struct answer *answer)
{
	const char *status = info && info->nt_string ? info->nt_string : "";

	if (err == WBC_ERR_WINBIND_NOT_AVAILABLE)
		return answer_say(answer, VERDICT_UNAVAILABLE,
		                  "winbindd does not run, or this user may not use its privileged socket (group winbindd_priv)");
	if (err != WBC_ERR_AUTH_ERROR && status[0] == 0)
		return answer_say(answer, VERDICT_UNAVAILABLE, "winbind: %s", wbcErrorString(err));
	if (is_the_domains_fault(status))
		return answer_say(answer, VERDICT_UNAVAILABLE, "winbind cannot ask the domain: %s", status);
	return answer_say(answer, strcmp(status, "NT_STATUS_NO_SUCH_USER") == 0 ? VERDICT_UNKNOWN_USER : VERDICT_INVALID,
	                  "%s (%s)", words_of(status), status);
}

/* The first SID is the user's own, the second his primary group's, which comes once more. False: there are too many; who is denied by the last would be let in without it. */
static bool add_groups(struct wbcContext *context, const struct wbcAuthUserInfo *info, struct answer *answer)
{
	char sid[WBC_SID_STRING_BUFLEN], primary[WBC_SID_STRING_BUFLEN];
	struct buf sids;

	if (info->num_sids > GROUPS_MAX)
		return false;
	buf_init(&sids, GROUPS_MAX * WBC_SID_STRING_BUFLEN);
	for (uint32_t i = 1; i < info->num_sids; i++) {
		wbcSidToStringBuf(&info->sids[i].sid, sid, sizeof(sid));
		if (i > 1 && strcmp(sid, primary) == 0)
			continue;
		if (i == 1)
			memcpy(primary, sid, sizeof(primary));
		buf_add_string(&sids, sid);
		buf_add_byte(&sids, 0);
	}
	sid_names_add(context, buf_span(&sids), &answer->groups);
	buf_fini(&sids);
	return buf_is_whole(&answer->groups);
}

static enum ask_verdict accept_user(struct wbcContext *context, const struct ask *ask, bool is_v1,
                               const struct wbcAuthUserInfo *info, struct answer *answer)
{
	enum ask_verdict verdict;

	/* A domain with its guest account on takes any password for names that it does not know. */
	if (info->user_flags & WBC_AUTH_USER_INFO_GUEST)
		return answer_say(answer, VERDICT_UNKNOWN_USER, "the domain would let it in as a guest");
	if (info->domain_name == NULL || info->account_name == NULL || info->account_name[0] == 0)
		return answer_say(answer, VERDICT_UNAVAILABLE, "winbind does not say who it is");
	verdict = ntlm_verify_known_key(ask, is_v1, info->user_session_key, answer);
	if (verdict != VERDICT_VALID)
		return verdict;
	/* Who it is, says the domain, not the client. */
	buf_reset(&answer->user);
	buf_printf(&answer->user, "%s\\%s", info->domain_name, info->account_name);
	if (!add_groups(context, info, answer) || !buf_is_whole(&answer->user))
		return answer_say(answer, VERDICT_UNAVAILABLE, "the user's name and groups are too long");
	return verdict;
}

/* Texts for a library: NUL-terminated. */
static const char *text_of(struct buf *text)
{
	buf_add_byte(text, 0);
	return buf_is_whole(text) ? (const char *)buf_span(text).at : "";
}

static enum ask_verdict ask_winbind(struct wbcContext *context, const struct ask *ask, bool is_v1,
                                    struct buf names[static 3], struct answer *answer)
{
	struct wbcAuthUserParams params = {.level = WBC_AUTH_USER_LEVEL_RESPONSE};
	struct wbcAuthErrorInfo *error = NULL;
	struct wbcAuthUserInfo *info = NULL;
	uint8_t nt[ASK_NTLM_MAX_BYTES], lm[64];
	struct ntlm_responses responses;
	enum ask_verdict verdict;
	const char *why;
	wbcErr err;

	if (!ntlm_responses(ask, &responses, &why) || responses.nt.len > sizeof(nt))
		return answer_say(answer, VERDICT_INVALID, "%s", why);
	memcpy(nt, responses.nt.at, responses.nt.len);
	responses.lm = span_first(responses.lm, is_v1 ? sizeof(lm) : 0); /* with NTLMv2 it proves nothing */
	if (responses.lm.len)
		memcpy(lm, responses.lm.at, responses.lm.len);
	params.domain_name = text_of(&names[0]);
	params.account_name = text_of(&names[1]);
	params.workstation_name = text_of(&names[2]);
	params.parameter_control = WBC_MSV1_0_ALLOW_WORKSTATION_TRUST_ACCOUNT | WBC_MSV1_0_ALLOW_SERVER_TRUST_ACCOUNT;
	memcpy(params.password.response.challenge, responses.challenge, sizeof(responses.challenge));
	params.password.response.nt_length = (uint32_t)responses.nt.len;
	params.password.response.nt_data = nt;
	params.password.response.lm_length = (uint32_t)responses.lm.len;
	params.password.response.lm_data = responses.lm.len ? lm : NULL; /* else the parameter is invalid */
	err = wbcCtxAuthenticateUserEx(context, &params, &info, &error);
	verdict = err == WBC_ERR_SUCCESS && info ? accept_user(context, ask, is_v1, info, answer) : refuse(err, error, answer);
	if (info)
		explicit_bzero(info->user_session_key, sizeof(info->user_session_key));
	wbcFreeMemory(info);
	wbcFreeMemory(error);
	return verdict;
}

static enum ask_verdict verify(void *thread, const struct backend_env *env, const struct ask *ask,
                               struct answer *answer)
{
	struct buf names[3]; /* domain, user, workstation */
	enum ask_verdict verdict;
	const char *why;
	bool is_v1;

	if (thread == NULL)
		return answer_say(answer, VERDICT_UNAVAILABLE, "libwbclient cannot be used");
	if (!ntlm_check_form(ask, env->conf->ntlm.skew_ms, &is_v1, &why))
		return answer_say(answer, VERDICT_INVALID, "%s", why);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		buf_init(&names[i], NAME_MAX_BYTES);
	if (ntlm_who(ask->authenticate, &names[0], &names[1], &names[2], &why))
		verdict = ask_winbind(thread, ask, is_v1, names, answer);
	else
		verdict = answer_say(answer, VERDICT_INVALID, "%s", why);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		buf_fini(&names[i]);
	return verdict;
}

const struct backend backend_winbind = {
	.name = "winbind",
	.kinds = 1u << ASK_NTLM,
	.open = open_thread,
	.close = close_thread,
	.verify = verify,
};

bool winbind_names(struct buf names[static 4], const char **why)
{
	struct wbcInterfaceDetails *details = NULL;
	struct wbcContext *context = wbcCtxCreate();
	wbcErr err = context ? wbcCtxInterfaceDetails(context, &details) : WBC_ERR_NO_MEMORY;
	bool well = err == WBC_ERR_SUCCESS && details && details->netbios_name && details->netbios_domain;

	if (well) {
		const char *dns = details->dns_domain ? details->dns_domain : "";

		buf_add_string(&names[0], details->netbios_domain);
		buf_add_string(&names[1], details->netbios_name);
		buf_add_string(&names[2], dns);
		fold_lower(span_from(details->netbios_name), &names[3]);
		if (dns[0])
			buf_printf(&names[3], ".%s", dns);
	} else {
		*why = "winbindd does not say what this machine is called: it does not run, or has joined no domain";
	}
	wbcFreeMemory(details);
	wbcCtxFree(context);
	return well;
}
