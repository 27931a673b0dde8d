/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/ldap.h"

#include <ldap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/clock.h"

enum { TEXT_MAX_BYTES = 4096, GROUPS_MAX = 1024, DEPTH_MAX = 8, SERVERS_MAX = 16, REST_MS = 15000, WHY_BYTES = 300 };

/* What one thread keeps. */
struct ldap_thread {
	LDAP *search;              /* bound as who searches; NULL: not connected */
	uint64_t generation;
	uint64_t rests_until_ms[SERVERS_MAX]; /* it did not answer: others are asked first */
};

struct job {
	struct ldap_thread *thread;
	const struct backend_env *env;
	const struct ldap_conf *conf;
	struct answer *answer;
	char dn[TEXT_MAX_BYTES];
};

static void *open_thread(void)
{
	return calloc(1, sizeof(struct ldap_thread));
}

static void drop(LDAP **ldap)
{
	if (*ldap)
		ldap_unbind_ext_s(*ldap, NULL, NULL);
	*ldap = NULL;
}

static void close_thread(void *at)
{
	struct ldap_thread *thread = at;

	if (thread)
		drop(&thread->search);
	free(thread);
}

/* ---- errors ---- */

/* AD says in its diagnostic text why: "... data 52e, v4563". */
static const char *words_of_ad(const char *text, enum ask_verdict *verdict)
{
	static const struct {
		const char *code, *words;
		enum ask_verdict verdict;
	} rows[] = {{"data 525", "the user is not known to the directory", VERDICT_UNKNOWN_USER},
	            {"data 52e", "user or password is wrong", VERDICT_INVALID},
	            {"data 530", "the account may not log on at this hour", VERDICT_INVALID},
	            {"data 532", "the password has expired", VERDICT_INVALID},
	            {"data 533", "the account is disabled", VERDICT_INVALID},
	            {"data 701", "the account has expired", VERDICT_INVALID},
	            {"data 773", "the password must be changed", VERDICT_INVALID},
	            {"data 775", "the account is locked", VERDICT_INVALID}};

	for (size_t i = 0; text && i < COUNT_OF(rows); i++) {
		if (strstr(text, rows[i].code) == NULL)
			continue;
		*verdict = rows[i].verdict;
		return rows[i].words;
	}
	*verdict = VERDICT_INVALID;
	return "the password is wrong";
}

static enum ask_verdict fail(struct job *job, LDAP *ldap, const char *what, int result)
{
	enum ask_verdict verdict = VERDICT_UNAVAILABLE;
	char *text = NULL;

	if (ldap)
		ldap_get_option(ldap, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text);
	if (result == LDAP_INVALID_CREDENTIALS) {
		const char *words = words_of_ad(text, &verdict);

		answer_say(job->answer, verdict, "%s", words);
	} else {
		answer_say(job->answer, VERDICT_UNAVAILABLE, "%s: %s%s%.*s", what, ldap_err2string(result),
		           text && text[0] ? ": " : "", WHY_BYTES, text ? text : "");
	}
	ldap_memfree(text);
	return verdict;
}

static bool is_connection_lost(int result)
{
	return result == LDAP_SERVER_DOWN || result == LDAP_CONNECT_ERROR || result == LDAP_TIMEOUT ||
	       result == LDAP_UNAVAILABLE || result == LDAP_BUSY;
}

/* ---- connections ---- */

static struct timeval time_of(const struct ldap_conf *conf)
{
	return (struct timeval){(time_t)(conf->timeout_ms / 1000), (suseconds_t)(conf->timeout_ms % 1000 * 1000)};
}

static bool set_options(LDAP *ldap, const struct ldap_conf *conf)
{
	int version = LDAP_VERSION3, hard = LDAP_OPT_X_TLS_HARD, client = 0;
	struct timeval wait = time_of(conf);
	bool well = ldap_set_option(ldap, LDAP_OPT_PROTOCOL_VERSION, &version) == LDAP_SUCCESS &&
	            ldap_set_option(ldap, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_SUCCESS &&
	            ldap_set_option(ldap, LDAP_OPT_RESTART, LDAP_OPT_ON) == LDAP_SUCCESS &&
	            ldap_set_option(ldap, LDAP_OPT_NETWORK_TIMEOUT, &wait) == LDAP_SUCCESS &&
	            ldap_set_option(ldap, LDAP_OPT_TIMEOUT, &wait) == LDAP_SUCCESS &&
	            ldap_set_option(ldap, LDAP_OPT_X_TLS_REQUIRE_CERT, &hard) == LDAP_SUCCESS;

	if (well && conf->ca[0])
		well = ldap_set_option(ldap, LDAP_OPT_X_TLS_CACERTFILE, conf->ca) == LDAP_SUCCESS;
	/* Only now is what was set before in force. */
	return well && ldap_set_option(ldap, LDAP_OPT_X_TLS_NEWCTX, &client) == LDAP_SUCCESS;
}

static LDAP *connect_to(const char *server, const struct ldap_conf *conf, int *result)
{
	LDAP *ldap = NULL;

	*result = ldap_initialize(&ldap, server);
	if (*result == LDAP_SUCCESS && !set_options(ldap, conf))
		*result = LDAP_LOCAL_ERROR;
	if (*result == LDAP_SUCCESS && conf->starttls && strncmp(server, "ldap://", 7) == 0)
		*result = ldap_start_tls_s(ldap, NULL, NULL);
	return ldap;
}

/* A simple bind with a deadline. */
static int bind_as(LDAP *ldap, const struct ldap_conf *conf, const char *dn, struct span password)
{
	char *copy = malloc(password.len + 1);
	struct berval credentials = {password.len, copy};
	struct timeval wait = time_of(conf);
	LDAPMessage *message = NULL;
	int id = 0, result, code = LDAP_OTHER;

	if (copy == NULL)
		return LDAP_NO_MEMORY;
	memcpy(copy, password.at, password.len);
	copy[password.len] = 0;
	result = ldap_sasl_bind(ldap, dn, LDAP_SASL_SIMPLE, &credentials, NULL, NULL, &id);
	explicit_bzero(copy, password.len);
	free(copy);
	if (result != LDAP_SUCCESS)
		return result;
	result = ldap_result(ldap, id, LDAP_MSG_ALL, &wait, &message);
	if (result <= 0)
		return result == 0 ? LDAP_TIMEOUT : LDAP_SERVER_DOWN;
	result = ldap_parse_result(ldap, message, &code, NULL, NULL, NULL, NULL, 1);
	return result == LDAP_SUCCESS ? code : result;
}

/* The next server in turn, those that did not answer lately last. NULL: all were tried. */
static const char *next_server(struct job *job, unsigned *tried)
{
	const struct conf_texts *servers = &job->conf->servers;
	uint64_t now_ms = clock_monotonic_ms();

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < servers->count && i < SERVERS_MAX; i++) {
			if ((*tried >> i & 1) || (round == 0 && job->thread->rests_until_ms[i] > now_ms))
				continue;
			*tried |= 1u << i;
			return servers->at[i];
		}
	}
	return NULL;
}

static void rest(struct job *job, const char *server)
{
	for (size_t i = 0; i < job->conf->servers.count && i < SERVERS_MAX; i++)
		if (job->conf->servers.at[i] == server)
			job->thread->rests_until_ms[i] = clock_monotonic_ms() + REST_MS;
}

/* Connect to one that answers, and bind. VALID, or what is to be said. */
static enum ask_verdict open_bound(struct job *job, const char *dn, struct span password, LDAP **out)
{
	enum ask_verdict verdict = answer_say(job->answer, VERDICT_UNAVAILABLE, "there is no directory (ldap.servers)");
	unsigned tried = 0;
	const char *server;

	while ((server = next_server(job, &tried)) != NULL) {
		int result;
		LDAP *ldap = connect_to(server, job->conf, &result);

		if (result == LDAP_SUCCESS)
			result = bind_as(ldap, job->conf, dn, password);
		if (result == LDAP_SUCCESS) {
			*out = ldap;
			return VERDICT_VALID;
		}
		verdict = fail(job, ldap, server, result);
		drop(&ldap);
		if (!is_connection_lost(result))
			return verdict;
		rest(job, server);
	}
	return verdict;
}

/* The connection that searches. */
static enum ask_verdict open_search(struct job *job)
{
	const struct secret *secret = job->env->ldap_password;
	struct span password = secret ? span_of(secret->at, secret->len) : SPAN("");
	enum ask_verdict verdict;

	if (job->thread->search && job->thread->generation == job->env->generation)
		return VERDICT_VALID;
	drop(&job->thread->search);
	job->thread->generation = job->env->generation;
	verdict = open_bound(job, job->conf->bind_dn, password, &job->thread->search);
	if (verdict == VERDICT_INVALID || verdict == VERDICT_UNKNOWN_USER)
		answer_say(job->answer, verdict = VERDICT_UNAVAILABLE,
		           "the directory does not let ldap.bind_dn in: its name or password is wrong");
	return verdict;
}

/* ---- texts ---- */

static void escape_filter(struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];

		if (byte == '*' || byte == '(' || byte == ')' || byte == '\\' || byte < 0x20 || byte >= 0x7f)
			buf_printf(out, "\\%02x", byte); /* RFC 4515 section 3 */
		else
			buf_add_byte(out, byte);
	}
}

static void escape_dn(struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];
		bool outer = (i == 0 && (byte == ' ' || byte == '#')) || (i + 1 == text.len && byte == ' ');

		if (outer || byte < 0x20 || byte == 0x7f || memchr("\"+,;<>\\=", byte, 8))
			buf_printf(out, "\\%02x", byte); /* RFC 4514 section 2.4 */
		else
			buf_add_byte(out, byte);
	}
}

static void add_raw(struct span text, struct buf *out)
{
	buf_add(out, text);
}

/* {user} and {name} in a text of the configuration. */
static void fill(const char *pattern, const struct backend_env *env, struct span who,
                 void (*escape)(struct span text, struct buf *out), struct buf *out)
{
	struct span rest = span_from(pattern);
	struct buf name;

	buf_init(&name, 1024);
	auth_conf_map_name(env->conf, who, &name);
	while (rest.len) {
		size_t brace = span_find(rest, '{');
		struct span text = buf_span(&name);

		buf_add(out, span_first(rest, brace));
		rest = span_skip(rest, brace);
		if (span_starts_with(rest, SPAN("{user}")) || span_starts_with(rest, SPAN("{name}"))) {
			if (span_starts_with(rest, SPAN("{user}")))
				text = span_first(text, span_find_last(text, '@'));
			escape(text, out);
			rest = span_skip(rest, 6);
		} else if (rest.len) {
			buf_add(out, span_first(rest, 1));
			rest = span_skip(rest, 1);
		}
	}
	buf_add_byte(out, 0);
	buf_fini(&name);
}

/* ---- searching ---- */

static int search(struct job *job, const char *base, int scope, const char *filter, char *const *attributes, int most,
                  LDAPMessage **out)
{
	struct timeval wait = time_of(job->conf);
	char *names[8] = {NULL};
	int result;

	for (size_t i = 0; attributes[i] && i < COUNT_OF(names) - 1; i++)
		names[i] = attributes[i];
	*out = NULL;
	result = ldap_search_ext_s(job->thread->search, base, scope, filter, names, 0, NULL, NULL, &wait, most, out);
	if (result != LDAP_SUCCESS && result != LDAP_SIZELIMIT_EXCEEDED) {
		ldap_msgfree(*out);
		*out = NULL;
		if (is_connection_lost(result))
			drop(&job->thread->search);
	}
	return result;
}

/* The DN of the user, into job->dn. A connection that has died since is opened once more. */
static enum ask_verdict find_user(struct job *job, struct span who)
{
	char attribute[] = "1.1", *attributes[] = {attribute, NULL};
	LDAPMessage *found = NULL;
	enum ask_verdict verdict = VERDICT_UNAVAILABLE;
	struct buf filter;
	int result = LDAP_SERVER_DOWN;
	char *dn;

	buf_init(&filter, TEXT_MAX_BYTES);
	fill(job->conf->filter, job->env, who, escape_filter, &filter);
	if (!buf_is_whole(&filter)) {
		buf_fini(&filter);
		return answer_say(job->answer, VERDICT_INVALID, "the user's name is too long for a filter");
	}
	for (int round = 0; round < 2 && is_connection_lost(result); round++) {
		verdict = open_search(job);
		if (verdict != VERDICT_VALID)
			break;
		result = search(job, job->conf->base, LDAP_SCOPE_SUBTREE, (const char *)buf_span(&filter).at, attributes, 2,
		                &found);
		if (result != LDAP_SUCCESS && result != LDAP_SIZELIMIT_EXCEEDED)
			verdict = fail(job, job->thread->search, "searching for the user", result);
	}
	buf_fini(&filter);
	if (found == NULL)
		return verdict;
	if (ldap_count_entries(job->thread->search, found) != 1) {
		bool none = ldap_count_entries(job->thread->search, found) == 0;

		ldap_msgfree(found);
		return none ? answer_say(job->answer, VERDICT_UNKNOWN_USER, "the directory has no such user")
		            : answer_say(job->answer, VERDICT_INVALID, "the directory has several such users (ldap.filter)");
	}
	dn = ldap_get_dn(job->thread->search, ldap_first_entry(job->thread->search, found));
	snprintf(job->dn, sizeof(job->dn), "%s", dn ? dn : "");
	ldap_memfree(dn);
	ldap_msgfree(found);
	return job->dn[0] ? VERDICT_VALID : answer_say(job->answer, VERDICT_INVALID, "the directory's user has no name");
}

/* ---- groups ---- */

struct names {
	struct buf dns;            /* each ended by a NUL: those that were found */
	size_t count;
};

static bool was_found(const struct names *names, struct span dn)
{
	struct span rest = buf_span(&names->dns), one;

	while (rest.len && span_split(&rest, 0, &one))
		if (span_equal_nocase(one, dn))
			return true;
	return false;
}

static void add_group(struct job *job, LDAPMessage *entry)
{
	static const char *const keys[] = {"sAMAccountName", "cn"};

	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		struct berval **values = ldap_get_values_len(job->thread->search, entry, keys[i]);
		bool has = values && values[0] && values[0]->bv_len;

		if (has) {
			buf_add(&job->answer->groups, span_of(values[0]->bv_val, values[0]->bv_len));
			buf_add_byte(&job->answer->groups, 0);
		}
		ldap_value_free_len(values);
		if (has)
			return;
	}
}

/* Groups that the filter finds, each once. */
static void add_found(struct job *job, const char *filter, struct names *names)
{
	char sam[] = "sAMAccountName", cn[] = "cn", *attributes[] = {sam, cn, NULL};
	LDAPMessage *found = NULL;

	if (job->thread->search == NULL ||
	    (search(job, job->conf->base, LDAP_SCOPE_SUBTREE, filter, attributes, GROUPS_MAX, &found) && found == NULL))
		return;
	for (LDAPMessage *entry = ldap_first_entry(job->thread->search, found); entry && names->count < GROUPS_MAX;
	     entry = ldap_next_entry(job->thread->search, entry)) {
		char *dn = ldap_get_dn(job->thread->search, entry);

		if (dn && !was_found(names, span_from(dn))) {
			buf_add_string(&names->dns, dn);
			buf_add_byte(&names->dns, 0);
			names->count++;
			add_group(job, entry);
		}
		ldap_memfree(dn);
	}
	ldap_msgfree(found);
}

static void add_members(struct job *job, const char *format, struct span dn, struct span user, struct names *names)
{
	struct buf filter, escaped, name;

	buf_init(&filter, 4 * TEXT_MAX_BYTES);
	buf_init(&escaped, TEXT_MAX_BYTES);
	buf_init(&name, TEXT_MAX_BYTES);
	escape_filter(dn, &escaped);
	escape_filter(user, &name);
	if (strcmp(format, "nested") == 0)
		buf_printf(&filter, "(member:1.2.840.113556.1.4.1941:=%.*s)", SPAN_ARG(buf_span(&escaped)));
	else if (user.len)
		buf_printf(&filter, "(|(member=%.*s)(uniqueMember=%.*s)(memberUid=%.*s))", SPAN_ARG(buf_span(&escaped)),
		           SPAN_ARG(buf_span(&escaped)), SPAN_ARG(buf_span(&name)));
	else
		buf_printf(&filter, "(|(member=%.*s)(uniqueMember=%.*s))", SPAN_ARG(buf_span(&escaped)),
		           SPAN_ARG(buf_span(&escaped)));
	buf_add_byte(&filter, 0);
	if (buf_is_whole(&filter))
		add_found(job, (const char *)buf_span(&filter).at, names);
	buf_fini(&filter);
	buf_fini(&escaped);
	buf_fini(&name);
}

/* Groups that name the user, then groups that name these, and so on; a circle ends where nothing new is found. */
static void add_nested(struct job *job, struct span user, struct names *names)
{
	size_t done = 0;

	add_members(job, "member", span_from(job->dn), user, names);
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		size_t end = buf_len(&names->dns);

		while (done < end && names->count < GROUPS_MAX) {
			struct span rest = span_skip(buf_span(&names->dns), done);
			struct span dn = span_first(rest, span_find(rest, 0));
			char copy[TEXT_MAX_BYTES];

			done += dn.len + 1;
			if (dn.len >= sizeof(copy))
				continue;
			memcpy(copy, dn.at, dn.len); /* what is found moves it */
			add_members(job, "member", span_of(copy, dn.len), SPAN(""), names);
		}
	}
}

static void add_member_of(struct job *job)
{
	char attribute[] = "memberOf", *attributes[] = {attribute, NULL};
	LDAPMessage *found = NULL;
	struct berval **values;

	if (search(job, job->dn, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 1, &found) || found == NULL)
		return;
	values = ldap_get_values_len(job->thread->search, ldap_first_entry(job->thread->search, found), attribute);
	for (size_t i = 0; values && values[i] && i < GROUPS_MAX; i++) {
		/* The first RDN's value is its name: CN=staff,OU=.. */
		char **parts = ldap_explode_dn(values[i]->bv_val, 1);

		if (parts && parts[0] && parts[0][0]) {
			buf_add_string(&job->answer->groups, parts[0]);
			buf_add_byte(&job->answer->groups, 0);
		}
		ber_memvfree((void **)parts);
	}
	ldap_value_free_len(values);
	ldap_msgfree(found);
}

static void add_groups(struct job *job, struct span who)
{
	struct names names = {.count = 0};
	struct buf name;
	struct span user;

	if (job->conf->groups == LDAP_GROUPS_NONE || job->thread->search == NULL)
		return;
	buf_init(&names.dns, 1 << 20);
	buf_init(&name, 1024);
	auth_conf_map_name(job->env->conf, who, &name);
	user = span_first(buf_span(&name), span_find_last(buf_span(&name), '@'));
	if (job->conf->groups == LDAP_GROUPS_MEMBER_OF)
		add_member_of(job);
	else if (job->conf->groups == LDAP_GROUPS_NESTED)
		add_members(job, "nested", span_from(job->dn), SPAN(""), &names);
	else
		add_nested(job, user, &names);
	buf_fini(&names.dns);
	buf_fini(&name);
}

/* ---- the backend ---- */

static bool looks_like_dn(const char *template)
{
	return strchr(template, '=') != NULL;
}

static enum ask_verdict check_password(struct job *job, const struct ask *ask)
{
	LDAP *own = NULL;
	struct buf dn;
	enum ask_verdict verdict;

	buf_init(&dn, TEXT_MAX_BYTES);
	if (job->conf->template[0]) {
		fill(job->conf->template, job->env, ask->user, looks_like_dn(job->conf->template) ? escape_dn : add_raw, &dn);
		verdict = VERDICT_VALID;
	} else {
		verdict = find_user(job, ask->user);
		buf_add_string(&dn, job->dn);
		buf_add_byte(&dn, 0);
	}
	if (verdict == VERDICT_VALID && !buf_is_whole(&dn))
		verdict = answer_say(job->answer, VERDICT_INVALID, "the user's name is too long for the directory");
	/* A connection of its own: the one that searches stays who it is. */
	if (verdict == VERDICT_VALID)
		verdict = open_bound(job, (const char *)buf_span(&dn).at, ask->password, &own);
	drop(&own);
	buf_fini(&dn);
	return verdict;
}

static enum ask_verdict verify(void *thread, const struct backend_env *env, const struct ask *ask,
                               struct answer *answer)
{
	struct job job = {.thread = thread, .env = env, .conf = &env->conf->ldap, .answer = answer};
	enum ask_verdict verdict;

	if (thread == NULL || ask->kind != ASK_PASSWORD)
		return answer_say(answer, VERDICT_UNAVAILABLE, "the directory cannot verify this");
	/* A bind without a password succeeds, and proves nothing (RFC 4513 section 5.1.2). */
	if (ask->password.len == 0 || memchr(ask->password.at, 0, ask->password.len) || ask->user.len == 0)
		return answer_say(answer, VERDICT_INVALID, "the password is empty, or has a NUL in it");
	verdict = check_password(&job, ask);
	if (verdict != VERDICT_VALID)
		return verdict;
	buf_reset(&answer->why);
	buf_reset(&answer->user);
	buf_add(&answer->user, ask->user);
	if (job.conf->groups != LDAP_GROUPS_NONE && (job.dn[0] || find_user(&job, ask->user) == VERDICT_VALID))
		add_groups(&job, ask->user);
	else if (job.conf->groups != LDAP_GROUPS_NONE)
		return answer->verdict = VERDICT_UNAVAILABLE; /* without its groups, rules would not hold */
	if (!buf_is_whole(&answer->groups))
		return answer_say(answer, VERDICT_UNAVAILABLE, "the user is in more groups than fit");
	return answer->verdict = VERDICT_VALID;
}

bool ldap_groups_of(void *thread, const struct backend_env *env, struct span user, struct answer *answer)
{
	struct answer found;
	struct job job = {.thread = thread, .env = env, .conf = &env->conf->ldap, .answer = &found};

	enum ask_verdict verdict;

	if (thread == NULL)
		return false;
	answer_init(&found);
	verdict = find_user(&job, user);
	if (verdict == VERDICT_VALID) {
		add_groups(&job, user);
		buf_add(&answer->groups, buf_span(&found.groups));
	} else if (verdict != VERDICT_UNKNOWN_USER) {
		answer_say(answer, VERDICT_UNAVAILABLE, "the directory does not say the user's groups: %.*s",
		           SPAN_ARG(buf_span(&found.why)));
	}
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
