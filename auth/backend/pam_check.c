/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/pam_check.h"

#include <pwd.h>
#include <security/pam_appl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct talk_to_pam {
	const char *user, *password;
};

/* Whatever is asked without echo is the password, and with echo the user; what is only said nobody reads. PAM frees what it
 * gets, after wiping it. */
static int converse(int count, const struct pam_message **messages, struct pam_response **out, void *context)
{
	const struct talk_to_pam *talk = context;
	struct pam_response *responses;

	if (count <= 0 || count > PAM_MAX_NUM_MSG || (responses = calloc((size_t)count, sizeof(*responses))) == NULL)
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

/* Wrong passwords are counted by the verifier (authentication.failures): a child that sleeps for them would only be missing
 * for others. */
static void do_not_delay(int result, unsigned delay_us, void *context)
{
	(void)result;
	(void)delay_us;
	(void)context;
}

static void set_items(pam_handle_t *pam, const char *client)
{
	void (*delay)(int result, unsigned delay_us, void *context) = do_not_delay;
	const void *as_item;

	_Static_assert(sizeof(as_item) == sizeof(delay), "PAM takes functions as pointers to data");
	memcpy(&as_item, &delay, sizeof(as_item));
	if (pam_set_item(pam, PAM_FAIL_DELAY, as_item) != PAM_SUCCESS || (client[0] && pam_set_item(pam, PAM_RHOST, client)))
		return; /* no reason to refuse anybody */
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
		return answer_say(answer, VERDICT_INVALID, "the password is wrong, or the stack refuses it");
	case PAM_MAXTRIES:
		return answer_say(answer, VERDICT_INVALID, "the account is locked: too many wrong passwords");
	case PAM_PERM_DENIED:
		return answer_say(answer, VERDICT_INVALID, "the stack does not let the user in");
	case PAM_ACCT_EXPIRED:
		return answer_say(answer, VERDICT_INVALID, "the account has expired, or is locked");
	case PAM_NEW_AUTHTOK_REQD:
		return answer_say(answer, VERDICT_INVALID, "the password must be changed");
	case PAM_AUTHTOK_EXPIRED:
	case PAM_CRED_EXPIRED:
		return answer_say(answer, VERDICT_INVALID, "the password has expired");
	case PAM_MODULE_UNKNOWN:
	case PAM_OPEN_ERR:
	case PAM_SYMBOL_ERR:
		return answer_say(answer, VERDICT_UNAVAILABLE, "a module of the stack cannot be loaded; the system's log says which");
	case PAM_AUTHINFO_UNAVAIL:
		return answer_say(answer, VERDICT_UNAVAILABLE, "what the stack asks does not answer, or may not be read (pam_unix: by the group shadow)");
	default:
		return answer_say(answer, VERDICT_UNAVAILABLE, "PAM: %s", pam_strerror(pam, result));
	}
}

static bool copy(struct span text, char out[static PAM_TEXT_MAX_BYTES])
{
	if (text.len == 0 || text.len >= PAM_TEXT_MAX_BYTES || memchr(text.at, 0, text.len))
		return false;
	memcpy(out, text.at, text.len);
	out[text.len] = 0;
	return true;
}

/* Where there is no stack of that name, PAM takes "other", which may let every local user in. */
static bool has_stack(const char *service, const char *folder)
{
	static const char *const folders[] = {"/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d"};
	bool found = false;

	if (service[0] == 0 || service[0] == '.' || strchr(service, '/'))
		return false;
	for (size_t i = 0; i < (folder[0] ? 1 : COUNT_OF(folders)) && !found; i++) {
		struct buf path;

		buf_init(&path, 4096);
		buf_printf(&path, "%s/%s", folder[0] ? folder : folders[i], service);
		buf_add_byte(&path, 0);
		found = buf_is_whole(&path) && access((const char *)buf_span(&path).at, R_OK) == 0;
		buf_fini(&path);
	}
	return found;
}

/* Modules may name the user anew, and the system may spell the name in its own way: another spelling that it takes for the same
 * is not another user. */
static void add_user(pam_handle_t *pam, const char *asked, struct buf *out)
{
	const void *item = NULL;
	const char *name = asked;
	const struct passwd *entry;

	if (pam_get_item(pam, PAM_USER, &item) == PAM_SUCCESS && item)
		name = item;
	entry = getpwnam(name);
	buf_add_string(out, entry && entry->pw_name ? entry->pw_name : name);
}

enum ask_verdict pam_check(const char *service, const char *folder, struct span user, struct span password,
                           const char *client, struct answer *answer)
{
	char user_text[PAM_TEXT_MAX_BYTES], password_text[PAM_TEXT_MAX_BYTES];
	struct talk_to_pam talk = {user_text, password_text};
	struct pam_conv conversation = {converse, &talk};
	const int flags = PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK;
	pam_handle_t *pam = NULL;
	int result;

	buf_reset(&answer->user);
	if (!has_stack(service, folder))
		return answer_say(answer, VERDICT_UNAVAILABLE, "there is no stack %s in %s, or it cannot be read", service,
		                  folder[0] ? folder : "/etc/pam.d");
	if (!copy(user, user_text) || !copy(password, password_text))
		return answer_say(answer, VERDICT_INVALID, "user or password is empty, too long, or has a NUL in it");
	result = folder[0] ? pam_start_confdir(service, user_text, &conversation, folder, &pam)
	                   : pam_start(service, user_text, &conversation, &pam);
	if (result == PAM_SUCCESS) {
		set_items(pam, client);
		result = pam_authenticate(pam, flags);
	}
	if (result == PAM_SUCCESS)
		result = pam_acct_mgmt(pam, flags);
	if (verdict_of(pam, result, answer) == VERDICT_VALID)
		add_user(pam, user_text, &answer->user);
	if (pam)
		pam_end(pam, result);
	explicit_bzero(password_text, sizeof(password_text));
	return answer->verdict;
}
