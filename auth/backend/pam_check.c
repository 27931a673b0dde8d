/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/pam_check.h"

#include <security/pam_appl.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX_BYTES = 1024 };

struct talk_to_pam {
	const char *user, *password;
};

/* Whatever is asked without echo is the password; other questions nobody could answer. PAM frees what it gets. */
static int converse(int count, const struct pam_message **messages, struct pam_response **out, void *context)
{
	const struct talk_to_pam *talk = context;
	struct pam_response *responses = count > 0 && count <= PAM_MAX_NUM_MSG ? calloc((size_t)count, sizeof(*responses)) : NULL;

	if (responses == NULL)
		return PAM_CONV_ERR;
	for (int i = 0; i < count; i++) {
		if (messages[i]->msg_style == PAM_PROMPT_ECHO_OFF)
			responses[i].resp = strdup(talk->password);
		else if (messages[i]->msg_style == PAM_PROMPT_ECHO_ON)
			responses[i].resp = strdup(talk->user);
	}
	*out = responses;
	return PAM_SUCCESS;
}

static enum ask_verdict verdict_of(pam_handle_t *pam, int result, struct answer *answer)
{
	switch (result) {
	case PAM_SUCCESS:
		return answer->verdict = VERDICT_VALID;
	case PAM_USER_UNKNOWN:
		return answer_say(answer, VERDICT_UNKNOWN_USER, "PAM does not know the user");
	case PAM_AUTH_ERR:
	case PAM_CRED_ERR:
		return answer_say(answer, VERDICT_INVALID, "the password is wrong, or PAM's stack refuses it");
	case PAM_MAXTRIES:
	case PAM_PERM_DENIED:
		return answer_say(answer, VERDICT_INVALID, "PAM does not let the user in");
	case PAM_ACCT_EXPIRED:
		return answer_say(answer, VERDICT_INVALID, "the account has expired");
	case PAM_NEW_AUTHTOK_REQD:
	case PAM_AUTHTOK_EXPIRED:
		return answer_say(answer, VERDICT_INVALID, "the password has expired");
	default:
		return answer_say(answer, VERDICT_UNAVAILABLE, "PAM: %s", pam_strerror(pam, result));
	}
}

static bool copy(struct span text, char out[static TEXT_MAX_BYTES])
{
	if (text.len == 0 || text.len >= TEXT_MAX_BYTES || memchr(text.at, 0, text.len))
		return false;
	memcpy(out, text.at, text.len);
	out[text.len] = 0;
	return true;
}

enum ask_verdict pam_check(const char *service, const char *folder, struct span user, struct span password,
                           struct answer *answer)
{
	char user_text[TEXT_MAX_BYTES], password_text[TEXT_MAX_BYTES];
	struct talk_to_pam talk = {user_text, password_text};
	struct pam_conv conversation = {converse, &talk};
	const int flags = PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK;
	pam_handle_t *pam = NULL;
	enum ask_verdict verdict;
	int result;

	if (!copy(user, user_text) || !copy(password, password_text))
		return answer_say(answer, VERDICT_INVALID, "user or password is empty, too long, or has a NUL in it");
	result = folder[0] ? pam_start_confdir(service, user_text, &conversation, folder, &pam)
	                   : pam_start(service, user_text, &conversation, &pam);
	if (result == PAM_SUCCESS)
		result = pam_authenticate(pam, flags);
	if (result == PAM_SUCCESS)
		result = pam_acct_mgmt(pam, flags);
	verdict = verdict_of(pam, result, answer);
	if (pam)
		pam_end(pam, result);
	explicit_bzero(password_text, sizeof(password_text));
	buf_reset(&answer->user);
	if (verdict == VERDICT_VALID)
		buf_add(&answer->user, user);
	return verdict;
}
