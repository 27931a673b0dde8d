/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of a user in a directory. Whatever cannot be read whole is UNAVAILABLE: rules may deny by group. */
#include <string.h>

#include "auth/backend/ldap_private.h"
#include "auth/backend/ldap_text.h"
#include "base/clock.h"

/* So many groups in groups are followed, and so many DNs stand in one filter. */
enum { DEPTH_MAX = 8, BATCH_MAX = 16, DNS_MAX_BYTES = 1 << 20 };

struct groups {
	struct ldap_job *job;
	struct buf dns;            /* of those that were found, each ended by a NUL */
	size_t dn_count, name_count;
};

static enum ask_verdict too_many(struct ldap_job *job)
{
	return answer_say(job->answer, VERDICT_UNAVAILABLE, "the user is in more than %d groups, or their names are too long",
	                  (int)IDENTITY_GROUPS_MAX);
}

/* Is `text` one of a run of texts, each ended by a NUL? */
static bool is_in(struct span run, struct span text)
{
	struct span one;

	while (run.len && span_split(&run, 0, &one))
		if (span_equal_nocase(one, text))
			return true;
	return false;
}

static size_t count_of(struct span run)
{
	size_t count = 0;
	struct span one;

	while (run.len && span_split(&run, 0, &one))
		count++;
	return count;
}

/* A name that no rule can be about is none. */
static void add_name(struct ldap_job *job, struct span name)
{
	struct buf *names = &job->answer->groups;

	if (!ldap_text_is_name(name) || is_in(buf_span(names), name))
		return;
	buf_add(names, name);
	buf_add_byte(names, 0);
}

static bool fits(const struct ldap_job *job)
{
	return buf_is_whole(&job->answer->groups) && count_of(buf_span(&job->answer->groups)) <= IDENTITY_GROUPS_MAX;
}

/* "staff" of "CN=staff,OU=groups,DC=ad,DC=test". */
static void add_name_of_dn(struct ldap_job *job, const char *dn)
{
	struct buf name;

	buf_init(&name, LDAP_DN_MAX_BYTES);
	ldap_text_first_value(dn, NULL, &name);
	add_name(job, buf_span(&name));
	buf_fini(&name);
}

/* ---- memberOf ---- */

/* Active Directory gives long attributes in parts: "memberOf;range=0-1499". */
static bool has_parts(struct ldap_job *job, LDAPMessage *entry)
{
	BerElement *place = NULL;
	bool found = false;
	char *name;

	for (name = ldap_first_attribute(job->at->ldap, entry, &place); name && !found;
	     name = found ? NULL : ldap_next_attribute(job->at->ldap, entry, place)) {
		found = span_find_span(span_from(name), SPAN(";range=")) < strlen(name);
		ldap_memfree(name);
	}
	ber_free(place, 0);
	return found;
}

enum ask_verdict ldap_group_add_of_entry(struct ldap_job *job, LDAPMessage *entry)
{
	struct berval **values = ldap_get_values_len(job->at->ldap, entry, "memberOf");
	bool is_too_many = has_parts(job, entry) || ldap_count_values_len(values) > IDENTITY_GROUPS_MAX;

	buf_reset(&job->answer->groups);
	for (size_t i = 0; values && values[i] && !is_too_many; i++)
		add_name_of_dn(job, values[i]->bv_val);
	ldap_value_free_len(values);
	return is_too_many || !fits(job) ? too_many(job) : VERDICT_VALID;
}

/* ---- searching for groups ---- */

static void add_entry(struct groups *groups, LDAPMessage *entry)
{
	struct ldap_job *job = groups->job;
	char *dn = ldap_get_dn(job->at->ldap, entry);
	struct buf name;

	if (dn && !is_in(buf_span(&groups->dns), span_from(dn))) {
		buf_add_string(&groups->dns, dn);
		buf_add_byte(&groups->dns, 0);
		groups->dn_count++;
		buf_init(&name, LDAP_DN_MAX_BYTES);
		ldap_link_value(job, entry, "sAMAccountName", &name);
		if (buf_len(&name))
			add_name(job, span_first(buf_span(&name), buf_len(&name) - 1));
		else
			add_name_of_dn(job, dn);
		buf_fini(&name);
	}
	ldap_memfree(dn);
}

static enum ask_verdict add_found(struct groups *groups, struct buf *filter)
{
	static const char *const attributes[] = {"sAMAccountName", NULL};
	struct ldap_job *job = groups->job;
	LDAPMessage *found = NULL;
	enum ask_verdict verdict;

	buf_add_byte(filter, 0);
	if (!buf_is_whole(filter))
		return too_many(job);
	if (clock_monotonic_ms() >= job->due_ms)
		return answer_say(job->answer, VERDICT_UNAVAILABLE, "the directory takes too long to tell the user's groups");
	verdict = ldap_link_search(job, job->conf->base, LDAP_SCOPE_SUBTREE, (const char *)buf_span(filter).at, attributes,
	                           IDENTITY_GROUPS_MAX, &found);
	for (LDAPMessage *entry = found ? ldap_first_entry(job->at->ldap, found) : NULL;
	     entry && groups->dn_count <= IDENTITY_GROUPS_MAX; entry = ldap_next_entry(job->at->ldap, entry))
		add_entry(groups, entry);
	ldap_msgfree(found);
	if (verdict == VERDICT_VALID &&
	    (!buf_is_whole(&groups->dns) || groups->dn_count > IDENTITY_GROUPS_MAX || !fits(job)))
		return too_many(job);
	return verdict;
}

/* "(attribute=value)", unless there is no value. */
static void add_assertion(struct buf *filter, const char *attribute, struct span value)
{
	if (value.len == 0)
		return;
	buf_printf(filter, "(%s=", attribute);
	ldap_text_for_filter(value, filter);
	buf_add_byte(filter, ')');
}

static struct span text_of(const struct buf *buf)
{
	return span_first(buf_span(buf), buf_len(buf) ? buf_len(buf) - 1 : 0);
}

/* Groups that name the user: groupOfNames, groupOfUniqueNames, and posixGroup, where one of them stands at the user. */
static enum ask_verdict add_direct(struct groups *groups)
{
	struct ldap_job *job = groups->job;
	struct span gid = text_of(&job->gid);
	enum ask_verdict verdict;
	struct buf filter;

	buf_init(&filter, LDAP_FILTER_MAX_BYTES);
	buf_add_string(&filter, "(|");
	add_assertion(&filter, "member", text_of(&job->dn));
	add_assertion(&filter, "uniqueMember", text_of(&job->dn));
	add_assertion(&filter, "memberUid", text_of(&job->uid));
	if (gid.len) {
		buf_add_string(&filter, "(&(objectClass=posixGroup)");
		add_assertion(&filter, "gidNumber", gid);
		buf_add_byte(&filter, ')');
	}
	buf_add_byte(&filter, ')');
	verdict = add_found(groups, &filter);
	buf_fini(&filter);
	return verdict;
}

/* Groups that name one of the groups at dns[*done..end). */
static enum ask_verdict add_level(struct groups *groups, size_t *done, size_t end)
{
	enum ask_verdict verdict = VERDICT_VALID;

	while (*done < end && verdict == VERDICT_VALID) {
		struct buf filter;

		buf_init(&filter, LDAP_FILTER_MAX_BYTES);
		buf_add_string(&filter, "(|");
		for (int i = 0; i < BATCH_MAX && *done < end; i++) {
			struct span rest = span_skip(buf_span(&groups->dns), *done);
			struct span dn = span_first(rest, span_find(rest, 0));

			add_assertion(&filter, "member", dn);
			add_assertion(&filter, "uniqueMember", dn);
			*done += dn.len + 1;
		}
		buf_add_byte(&filter, ')');
		verdict = add_found(groups, &filter);
		buf_fini(&filter);
	}
	return verdict;
}

/* A circle ends where nothing new is found. */
static enum ask_verdict add_nested(struct groups *groups)
{
	enum ask_verdict verdict = add_direct(groups);
	size_t done = 0;

	for (int depth = 0; depth < DEPTH_MAX && verdict == VERDICT_VALID && done < buf_len(&groups->dns); depth++)
		verdict = add_level(groups, &done, buf_len(&groups->dns));
	return verdict;
}

/* Active Directory follows groups in groups itself: LDAP_MATCHING_RULE_IN_CHAIN. */
static enum ask_verdict add_chain(struct groups *groups)
{
	enum ask_verdict verdict;
	struct buf filter;

	buf_init(&filter, LDAP_FILTER_MAX_BYTES);
	add_assertion(&filter, "member:1.2.840.113556.1.4.1941:", text_of(&groups->job->dn));
	verdict = add_found(groups, &filter);
	buf_fini(&filter);
	return verdict;
}

enum ask_verdict ldap_group_add_by_search(struct ldap_job *job)
{
	struct groups groups = {.job = job};
	enum ask_verdict verdict;

	buf_init(&groups.dns, DNS_MAX_BYTES);
	buf_reset(&job->answer->groups);
	verdict = job->conf->groups == LDAP_GROUPS_NESTED ? add_chain(&groups) : add_nested(&groups);
	buf_fini(&groups.dns);
	return verdict;
}
