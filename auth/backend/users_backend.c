/* SPDX-License-Identifier: Apache-2.0 */
/* Passwords, responses of Digest and of NTLM against the user file. */
#include <string.h>

#include "auth/backend/backend.h"
#include "auth/backend/crypt_hash.h"
#include "auth/backend/users.h"
#include "auth/scheme/digest_proof.h"
#include "auth/scheme/ntlm.h"

enum { NAME_MAX_BYTES = 1024 };

static enum ask_verdict valid(const struct users_entry *entry, struct answer *answer)
{
	buf_reset(&answer->user);
	buf_reset(&answer->groups);
	buf_add(&answer->user, entry->name);
	buf_add(&answer->groups, entry->groups);
	return answer->verdict = VERDICT_VALID;
}

static const struct users_entry *find(const struct backend_env *env, struct span user, bool folded)
{
	const struct users_entry *entry;
	struct buf name;

	buf_init(&name, 4 * NAME_MAX_BYTES);
	auth_conf_map_name(env->conf, user, &name);
	entry = !buf_is_whole(&name) ? NULL
	        : folded             ? users_find_folded(env->users, buf_span(&name))
	                             : users_find(env->users, buf_span(&name));
	buf_fini(&name);
	return entry;
}

/* Takes as long as for somebody who is there: with a hash of a kind that is in the files. */
static void verify_nobody(const struct users *users, struct span password)
{
	static const char nobody[] = "$y$j9T$/////////////////////.$0Q2u7gYMDqHAEQwhbOWcdA2TYLnFR39kLyEvBfjYSA2";
	struct span usual = users_usual_crypt(users);

	if (crypt_hash_verify(usual.len ? usual : span_from(nobody), password))
		return;
}

static enum ask_verdict check_password(const struct backend_env *env, const struct ask *ask, struct answer *answer)
{
	const struct users_entry *entry = find(env, ask->user, false);

	if (entry == NULL || entry->crypt.len == 0) {
		verify_nobody(env->users, ask->password);
		return entry ? answer_say(answer, VERDICT_INVALID, "the user file has no hash of this user's password")
		             : answer_say(answer, VERDICT_UNKNOWN_USER, "the user is not in the user file");
	}
	if (!crypt_hash_verify(entry->crypt, ask->password))
		return answer_say(answer, VERDICT_INVALID, "the password is wrong");
	return valid(entry, answer);
}

static enum ask_verdict check_digest(const struct backend_env *env, const struct ask *ask, struct answer *answer)
{
	const struct users_entry *entry = ask->is_userhash ? users_find_hashed(env->users, ask->algorithm, ask->user)
	                                                   : find(env, ask->user, false);

	if (entry == NULL)
		return answer_say(answer, VERDICT_UNKNOWN_USER, "the user is not in the user file");
	if (!entry->has_ha1[ask->algorithm])
		return answer_say(answer, VERDICT_INVALID,
		                  "the user file has no verifier for %s and our realm of this user: set the password again "
		                  "with sallyport user add", ask->algorithm == DIGEST_SHA256 ? "SHA-256" : "MD5");
	if (!digest_is_proved(ask, entry->ha1[ask->algorithm]))
		return answer_say(answer, VERDICT_INVALID, "the response is wrong: the password, or what it was made of%s",
		                  ask->is_userhash || span_equal(entry->name, ask->user)
		                          ? "" : "; the client has hashed its name in another form than the user file has");
	answer->has_ha1 = true;
	memcpy(answer->ha1, entry->ha1[ask->algorithm], sizeof(answer->ha1));
	return valid(entry, answer);
}

/* As it is mapped; else without its domain: clients that have none of ours give the name of their machine. */
static const struct users_entry *find_ntlm(const struct backend_env *env, struct span domain, struct span user)
{
	const struct users_entry *entry;
	struct buf name;

	buf_init(&name, 2 * NAME_MAX_BYTES);
	if (domain.len) {
		buf_add(&name, domain);
		buf_add_byte(&name, '\\');
	}
	buf_add(&name, user);
	entry = find(env, buf_span(&name), true);
	buf_fini(&name);
	return entry ? entry : users_find_folded(env->users, user);
}

static enum ask_verdict check_ntlm(const struct backend_env *env, const struct ask *ask, struct answer *answer)
{
	static const uint8_t nobody[NTLM_HASH_BYTES] = {1};
	const struct users_entry *entry = NULL;
	struct buf domain, user, workstation;
	const char *why = "";
	bool well, is_known;

	buf_init(&domain, NAME_MAX_BYTES);
	buf_init(&user, NAME_MAX_BYTES);
	buf_init(&workstation, NAME_MAX_BYTES);
	well = ntlm_who(ask->authenticate, &domain, &user, &workstation, &why);
	if (well && buf_len(&user))
		entry = find_ntlm(env, buf_span(&domain), buf_span(&user));
	buf_fini(&domain);
	buf_fini(&user);
	buf_fini(&workstation);
	if (!well)
		return answer_say(answer, VERDICT_INVALID, "%s", why);
	is_known = entry && entry->has_nt;
	if (ntlm_verify_local(ask, is_known ? entry->nt : nobody, env->conf->ntlm.skew_ms, answer) == VERDICT_VALID && is_known)
		return valid(entry, answer);
	answer->mechanism = AUTH_MECHANISM_NONE;
	buf_reset(&answer->token);
	if (entry && !is_known)
		return answer_say(answer, VERDICT_INVALID,
		                  "the user file has no NT hash of this user: set the password again with sallyport user add");
	/* Whatever else is wrong with it counts first. */
	if (entry == NULL && (answer->verdict == VERDICT_VALID || span_equal(buf_span(&answer->why), SPAN("the password is wrong"))))
		return answer_say(answer, VERDICT_UNKNOWN_USER, "the user is not in the user file");
	return answer->verdict = VERDICT_INVALID;
}

static enum ask_verdict verify(void *thread, const struct backend_env *env, const struct ask *ask,
                               struct answer *answer)
{
	(void)thread;
	if (env->users == NULL)
		return answer_say(answer, VERDICT_UNAVAILABLE, "there is no user file");
	switch (ask->kind) {
	case ASK_PASSWORD:
		return check_password(env, ask, answer);
	case ASK_DIGEST:
		return check_digest(env, ask, answer);
	case ASK_NTLM:
		return check_ntlm(env, ask, answer);
	case ASK_GSS:
	case ASK_KIND_COUNT:
	default:
		return answer_say(answer, VERDICT_UNAVAILABLE, "the user file cannot verify this");
	}
}

static void close_thread(void *thread)
{
	(void)thread;
	digest_end_thread();
}

const struct backend backend_users = {
	.name = "users",
	.kinds = 1u << ASK_PASSWORD | 1u << ASK_DIGEST | 1u << ASK_NTLM,
	.close = close_thread,
	.verify = verify,
};
