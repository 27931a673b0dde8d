/* SPDX-License-Identifier: Apache-2.0 */
/* Passwords by LDAP: a bind as the user. And who that was: directories take many spellings for one name (case, width, spaces,
 * in Active Directory accents, too), so the user is called as the directory spells it, or denials by name would be for those
 * who write their own name as usual. */
#include "auth/backend/ldap.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "auth/backend/ldap_private.h"
#include "auth/backend/ldap_text.h"
#include "base/clock.h"

enum { NAME_MAX_BYTES = 1024, NUMBER_MAX_BYTES = 64 };

/* ---- threads ---- */

bool ldap_backend_init(const char **why)
{
	LDAP *ldap = NULL;

	if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, NULL) != 1 || setenv("LDAPNOINIT", "1", 1) < 0 ||
	    setenv("SASL_PATH", "/nonexistent", 1) < 0 ||
	    ldap_initialize(&ldap, "ldaps://localhost") != LDAP_SUCCESS) {
		*why = "libldap or OpenSSL cannot be used";
		return false;
	}
	ldap_unbind_ext_s(ldap, NULL, NULL);
	return true;
}

static void *open_thread(void)
{
	return calloc(1, sizeof(struct ldap_thread));
}

static void close_thread(void *at)
{
	struct ldap_thread *thread = at;

	if (thread)
		ldap_link_end_thread(thread);
	free(thread);
}

/* ---- the question ---- */

static void begin(struct ldap_job *job, void *thread, const struct backend_env *env, struct answer *answer)
{
	*job = (struct ldap_job){.thread = thread, .env = env, .conf = &env->conf->ldap, .answer = answer};
	job->due_ms = clock_monotonic_ms() + LDAP_STEPS_MAX * job->conf->timeout_ms;
	buf_init(&job->name, NAME_MAX_BYTES);
	buf_init(&job->user, NAME_MAX_BYTES);
	buf_init(&job->dn, LDAP_DN_MAX_BYTES);
	buf_init(&job->spelling, NAME_MAX_BYTES);
	buf_init(&job->uid, NAME_MAX_BYTES);
	buf_init(&job->gid, NUMBER_MAX_BYTES);
}

static void end(struct ldap_job *job)
{
	ldap_link_close(&job->own);
	buf_fini(&job->name);
	buf_fini(&job->user);
	buf_fini(&job->dn);
	buf_fini(&job->spelling);
	buf_fini(&job->uid);
	buf_fini(&job->gid);
}

static struct span domain_of(const struct buf *name)
{
	struct span text = buf_span(name);

	return span_skip(text, span_find_last(text, '@') + 1);
}

/* {name} and {user}. False: the directory is not to see such a name. */
static bool take_name(struct ldap_job *job, struct span who)
{
	if (!ldap_text_is_name(who) || who.len >= NAME_MAX_BYTES)
		return false;
	auth_conf_map_name(job->env->conf, who, &job->name);
	buf_add(&job->user, span_first(buf_span(&job->name), span_find_last(buf_span(&job->name), '@')));
	return buf_is_whole(&job->name) && buf_is_whole(&job->user) && ldap_text_is_name(buf_span(&job->user));
}

/* Is the name's domain that of those who have none, or the directory's own? Elsewhere {user} would be somebody else. */
static bool is_of_directory(struct ldap_job *job)
{
	struct buf bare, domain;
	bool is;

	buf_init(&bare, NAME_MAX_BYTES);
	buf_init(&domain, NAME_MAX_BYTES);
	auth_conf_map_name(job->env->conf, buf_span(&job->user), &bare);
	ldap_text_domain(job->conf, &domain);
	is = domain_of(&job->name).len == 0 || span_equal_nocase(domain_of(&job->name), domain_of(&bare)) ||
	     span_equal_nocase(domain_of(&job->name), buf_span(&domain));
	buf_fini(&bare);
	buf_fini(&domain);
	return is;
}

/* What says which attribute names users. */
static const char *naming_pattern(const struct ldap_conf *conf)
{
	return conf->template[0] && (ldap_text_is_dn(conf->template) || conf->base[0] == 0) ? conf->template : conf->filter;
}

/* Is only {user} shown to the directory, and {name} never? */
static bool forgets_domain(const struct ldap_conf *conf)
{
	return strstr(conf->template[0] ? conf->template : conf->filter, "{name}") == NULL;
}

/* ---- the user's entry ---- */

/* How the directory spells the name. Of several, that in the DN. */
static void read_spelling(struct ldap_job *job, LDAPMessage *entry, const char *key)
{
	struct berval **values = ldap_get_values_len(job->at->ldap, entry, key);

	buf_reset(&job->spelling);
	if (ldap_count_values_len(values) > 1)
		ldap_text_first_value((const char *)buf_span(&job->dn).at, key, &job->spelling);
	if (buf_len(&job->spelling) == 0 && values && values[0])
		buf_add(&job->spelling, span_of(values[0]->bv_val, values[0]->bv_len));
	ldap_value_free_len(values);
	if (!ldap_text_is_name(buf_span(&job->spelling)) || !buf_is_whole(&job->spelling))
		buf_reset(&job->spelling);
}

static enum ask_verdict read_entry(struct ldap_job *job, LDAPMessage *entry, const char *key)
{
	char *dn = ldap_get_dn(job->at->ldap, entry);

	buf_reset(&job->dn);
	if (dn) {
		buf_add_string(&job->dn, dn);
		buf_add_byte(&job->dn, 0);
	}
	ldap_memfree(dn);
	if (buf_len(&job->dn) < 2 || !buf_is_whole(&job->dn))
		return answer_say(job->answer, VERDICT_INVALID, "the user's entry has no name, or a very long one");
	buf_reset(&job->uid);
	buf_reset(&job->gid);
	ldap_link_value(job, entry, "uid", &job->uid);
	ldap_link_value(job, entry, "gidNumber", &job->gid);
	if (key[0])
		read_spelling(job, entry, key);
	return job->conf->groups == LDAP_GROUPS_MEMBER_OF ? ldap_group_add_of_entry(job, entry) : VERDICT_VALID;
}

/* The one entry that is found; UNKNOWN_USER: none. */
static enum ask_verdict find_entry(struct ldap_job *job, const char *base, int scope, const char *filter)
{
	const char *attributes[] = {"uid", "gidNumber", "memberOf", NULL, NULL};
	bool is_whole;
	struct span key = ldap_text_key(naming_pattern(job->conf), &is_whole);
	LDAPMessage *found = NULL;
	enum ask_verdict verdict;
	char name[128] = "";
	int count;

	if (key.len && key.len < sizeof(name)) {
		memcpy(name, key.at, key.len);
		attributes[3] = name;
	}
	verdict = ldap_link_search(job, base, scope, filter, attributes, LDAP_COUNTED_MAX, &found);
	if (verdict != VERDICT_VALID)
		return verdict;
	count = found ? ldap_count_entries(job->at->ldap, found) : 0;
	if (count == 1)
		verdict = read_entry(job, ldap_first_entry(job->at->ldap, found), name);
	else if (count == 0)
		verdict = answer_say(job->answer, VERDICT_UNKNOWN_USER, "the directory has no such user");
	else
		verdict = answer_say(job->answer, VERDICT_INVALID, "the directory has several such users (ldap.filter)");
	ldap_msgfree(found);
	return verdict;
}

static enum ask_verdict find_by(struct ldap_job *job, const char *pattern)
{
	struct buf filter;
	enum ask_verdict verdict;

	buf_init(&filter, LDAP_FILTER_MAX_BYTES);
	ldap_text_fill(pattern, buf_span(&job->user), buf_span(&job->name), ldap_text_for_filter, &filter);
	if (buf_is_whole(&filter))
		verdict = find_entry(job, job->conf->base, LDAP_SCOPE_SUBTREE, (const char *)buf_span(&filter).at);
	else
		verdict = answer_say(job->answer, VERDICT_INVALID, "the user's name is too long for a filter");
	buf_fini(&filter);
	return verdict;
}

/* What the template makes of the name, and a NUL. */
static bool fill_template(const struct ldap_job *job, struct buf *out)
{
	static const char never[] = "\"\\/[]:;|=,+*?<>"; /* in names of Active Directory, and what DNs are made of */
	bool is_dn = ldap_text_is_dn(job->conf->template);

	for (size_t i = 0; !is_dn && i < buf_len(&job->name); i++)
		if (memchr(never, buf_span(&job->name).at[i], sizeof(never) - 1))
			return false;
	if (!is_dn && span_find(buf_span(&job->user), '@') < buf_len(&job->user))
		return false;
	ldap_text_fill(job->conf->template, buf_span(&job->user), buf_span(&job->name),
	               is_dn ? ldap_text_for_dn : ldap_text_raw, out);
	return buf_is_whole(out);
}

/* A user principal name belongs to the entry that says so, even where another one has the account name before the @. */
static enum ask_verdict find_by_principal(struct ldap_job *job, struct span principal)
{
	enum ask_verdict verdict;
	struct buf filter;

	buf_init(&filter, LDAP_FILTER_MAX_BYTES);
	buf_add_string(&filter, "(userPrincipalName=");
	ldap_text_for_filter(principal, &filter);
	buf_add(&filter, SPAN(")\0"));
	verdict = buf_is_whole(&filter)
	                  ? find_entry(job, job->conf->base, LDAP_SCOPE_SUBTREE, (const char *)buf_span(&filter).at)
	                  : VERDICT_UNKNOWN_USER;
	buf_fini(&filter);
	return verdict;
}

/* By whatever the configuration says of users, on the connection job->at. */
static enum ask_verdict find_once(struct ldap_job *job)
{
	struct buf bound;
	enum ask_verdict verdict = VERDICT_UNKNOWN_USER;

	if (job->conf->template[0] == 0)
		return find_by(job, job->conf->filter);
	buf_init(&bound, LDAP_DN_MAX_BYTES);
	if (!fill_template(job, &bound))
		answer_say(job->answer, VERDICT_UNKNOWN_USER, "the directory can have no such user");
	else if (ldap_text_is_dn(job->conf->template))
		verdict = find_entry(job, (const char *)buf_span(&bound).at, LDAP_SCOPE_BASE, "(objectClass=*)");
	else if (job->conf->base[0] == 0)
		verdict = answer_say(job->answer, VERDICT_UNAVAILABLE, "users cannot be looked up without ldap.base");
	else {
		struct span text = span_first(buf_span(&bound), buf_len(&bound) - 1);

		if (span_find(text, '@') < text.len)
			verdict = find_by_principal(job, text);
		if (verdict == VERDICT_UNKNOWN_USER)
			verdict = find_by(job, job->conf->filter);
	}
	buf_fini(&bound);
	return verdict;
}

/* On the connection that searches, which may have died since it was used: once more then. */
static enum ask_verdict find_user(struct ldap_job *job)
{
	enum ask_verdict verdict = VERDICT_UNAVAILABLE;

	for (int round = 0; round < 2; round++) {
		verdict = ldap_link_open_search(job);
		if (verdict != VERDICT_VALID)
			return verdict;
		verdict = find_once(job);
		if (job->at->ldap || clock_monotonic_ms() >= job->due_ms)
			break;
	}
	return verdict;
}

static enum ask_verdict add_groups(struct ldap_job *job)
{
	return job->conf->groups == LDAP_GROUPS_NESTED || job->conf->groups == LDAP_GROUPS_MEMBER
	               ? ldap_group_add_by_search(job)
	               : VERDICT_VALID;
}

/* ---- passwords ---- */

/* Search with our own rights, then bind as what was found. */
static enum ask_verdict check_found(struct ldap_job *job, struct span password)
{
	enum ask_verdict verdict = find_user(job);

	if (verdict == VERDICT_VALID)
		verdict = ldap_link_open(job, (const char *)buf_span(&job->dn).at, password, &job->own);
	/* Who has bound does not search: the groups are looked up as always. */
	ldap_link_close(&job->own);
	return verdict == VERDICT_VALID ? add_groups(job) : verdict;
}

/* Who is it that has bound? Servers that know the question know the answer: "u:ADTEST\alice" (RFC 4532). */
static void ask_who(struct ldap_job *job)
{
	struct berval *who = NULL;
	struct span text;

	if (ldap_whoami_s(job->own.ldap, &who, NULL, NULL) != LDAP_SUCCESS || who == NULL)
		return;
	text = span_of(who->bv_val, who->bv_len);
	if (span_starts_with(text, SPAN("u:"))) {
		text = span_skip(text, 2);
		text = span_skip(text, span_find(text, '\\') < text.len ? span_find(text, '\\') + 1 : 0);
		buf_add(&job->spelling, span_first(text, span_find_last(text, '@')));
	}
	ber_bvfree(who);
}

/* Bind as what the template says, then look who that is: with the user's rights, if there are no others. */
static enum ask_verdict check_template(struct ldap_job *job, struct span password)
{
	const struct ldap_conf *conf = job->conf;
	enum ask_verdict verdict = VERDICT_UNKNOWN_USER;
	struct buf dn;

	buf_init(&dn, LDAP_DN_MAX_BYTES);
	if (fill_template(job, &dn))
		verdict = ldap_link_open(job, (const char *)buf_span(&dn).at, password, &job->own);
	else
		answer_say(job->answer, verdict, "the directory can have no such user");
	buf_fini(&dn);
	if (verdict != VERDICT_VALID)
		return verdict;
	if (conf->base[0] == 0 && !ldap_text_is_dn(conf->template)) {
		ask_who(job);
		return VERDICT_VALID;
	}
	job->at = &job->own;
	verdict = conf->bind_dn[0] && conf->groups != LDAP_GROUPS_NONE ? find_user(job) : find_once(job);
	if (verdict == VERDICT_UNKNOWN_USER && conf->bind_dn[0] && conf->groups == LDAP_GROUPS_NONE)
		verdict = find_user(job);
	if (verdict == VERDICT_VALID)
		return add_groups(job);
	/* Somebody has bound, and is not to be seen: without groups that may be enough. */
	if (verdict == VERDICT_UNKNOWN_USER && conf->groups == LDAP_GROUPS_NONE)
		return VERDICT_VALID;
	return verdict == VERDICT_UNKNOWN_USER
	               ? answer_say(job->answer, VERDICT_UNAVAILABLE, "the directory does not show the user's entry")
	               : verdict;
}

/* answer->user. */
static enum ask_verdict say_user(struct ldap_job *job)
{
	struct answer *answer = job->answer;
	bool forgets = forgets_domain(job->conf), is_whole = false;
	struct span user = buf_span(&job->spelling), domain = domain_of(&job->name);

	buf_reset(&answer->why);
	buf_reset(&answer->user);
	if (user.len) {
		ldap_text_key(naming_pattern(job->conf), &is_whole);
		buf_add(&answer->user, user);
	} else if (ldap_text_has_one_spelling(buf_span(&job->user))) {
		for (user = buf_span(&job->user); user.len; user = span_skip(user, 1))
			buf_add_byte(&answer->user, span_lower(user.at[0]));
	} else {
		return answer_say(answer, VERDICT_UNAVAILABLE,
		                  "the directory does not say how it spells the user's name (ldap.base)");
	}
	/* Somebody of another domain, whose name is only alike, is not proved by this. */
	if (!is_whole && domain.len && (!forgets || is_of_directory(job))) {
		buf_add_byte(&answer->user, '@');
		buf_add(&answer->user, domain);
	}
	return answer->verdict = VERDICT_VALID;
}

static enum ask_verdict verify(void *thread, const struct backend_env *env, const struct ask *ask,
                               struct answer *answer)
{
	struct ldap_job job;
	enum ask_verdict verdict;

	if (thread == NULL || ask->kind != ASK_PASSWORD)
		return answer_say(answer, VERDICT_UNAVAILABLE, "the directory cannot verify this");
	/* A bind without a password succeeds, and proves nothing (RFC 4513 section 5.1.2). */
	if (ask->password.len == 0 || ask->password.at[0] == 0)
		return answer_say(answer, VERDICT_INVALID, "the password is empty");
	if (memchr(ask->password.at, 0, ask->password.len))
		return answer_say(answer, VERDICT_INVALID, "the password has a NUL in it");
	begin(&job, thread, env, answer);
	if (!take_name(&job, ask->user))
		verdict = answer_say(answer, VERDICT_UNKNOWN_USER, "the directory can have no such user");
	else if (job.conf->template[0])
		verdict = check_template(&job, ask->password);
	else
		verdict = check_found(&job, ask->password);
	if (verdict == VERDICT_VALID)
		verdict = say_user(&job);
	if (verdict != VERDICT_VALID)
		buf_reset(&answer->groups);
	end(&job);
	return answer->verdict = verdict;
}

bool ldap_groups_of(void *thread, const struct backend_env *env, struct span user, struct answer *answer)
{
	enum ask_verdict verdict = VERDICT_UNAVAILABLE;
	struct answer found;
	struct ldap_job job;

	answer_init(&found);
	begin(&job, thread, env, &found);
	if (thread == NULL || job.conf->groups == LDAP_GROUPS_NONE)
		answer_say(&found, verdict, "ldap.groups is none");
	else if (!take_name(&job, user) || (forgets_domain(job.conf) && !is_of_directory(&job)))
		verdict = VERDICT_UNKNOWN_USER;
	else
		verdict = find_user(&job);
	if (verdict == VERDICT_VALID)
		verdict = add_groups(&job);
	buf_reset(&answer->groups);
	if (verdict == VERDICT_VALID)
		buf_add(&answer->groups, buf_span(&found.groups));
	else if (verdict != VERDICT_UNKNOWN_USER)
		answer_say(answer, VERDICT_UNAVAILABLE, "the directory does not say the user's groups: %.*s",
		           SPAN_ARG(buf_span(&found.why)));
	end(&job);
	answer_fini(&found);
	return verdict == VERDICT_VALID || verdict == VERDICT_UNKNOWN_USER;
}

const struct backend backend_ldap = {
	.name = "ldap",
	.kinds = 1u << ASK_PASSWORD,
	.open = open_thread,
	.close = close_thread,
	.verify = verify,
};
