/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "auth/backend/ldap_private.h"
#include "auth/backend/ldap_socket.h"
#include "auth/backend/ldap_text.h"
#include "base/clock.h"

enum { REST_MS = 15000, REFUSED_MS = 5000, WHY_MAX_BYTES = 400 };

/* ---- time and words ---- */

/* When the next step must be over; how long that is. */
static uint64_t step_end(const struct ldap_job *job)
{
	uint64_t end_ms = clock_monotonic_ms() + job->conf->timeout_ms;

	return end_ms < job->due_ms ? end_ms : job->due_ms;
}

static struct timeval step_of(const struct ldap_job *job)
{
	uint64_t now_ms = clock_monotonic_ms(), end_ms = step_end(job), step_ms = end_ms > now_ms ? end_ms - now_ms : 1;

	return (struct timeval){(time_t)(step_ms / 1000), (suseconds_t)(step_ms % 1000 * 1000)};
}

static bool is_late(const struct ldap_job *job)
{
	return clock_monotonic_ms() >= job->due_ms;
}

enum ask_verdict ldap_link_say(struct ldap_job *job, const char *what, int result, const char *diagnostic)
{
	answer_say(job->answer, VERDICT_UNAVAILABLE, "%s: %s", what,
	           result == LDAP_STRONG_AUTH_REQUIRED ? "it takes no passwords without TLS" : ldap_err2string(result));
	if (diagnostic && diagnostic[0]) {
		buf_add_string(&job->answer->why, ": ");
		ldap_text_one_line(diagnostic, &job->answer->why);
	}
	return VERDICT_UNAVAILABLE;
}

static void say_of(struct ldap_job *job, const struct ldap_link *link, const char *what, int result)
{
	char *diagnostic = NULL;

	if (link->ldap)
		ldap_get_option(link->ldap, LDAP_OPT_DIAGNOSTIC_MESSAGE, &diagnostic);
	ldap_link_say(job, what, result, diagnostic);
	ldap_memfree(diagnostic);
}

/* Another server may do better. */
static bool is_lost(int result)
{
	return result == LDAP_SERVER_DOWN || result == LDAP_CONNECT_ERROR || result == LDAP_TIMEOUT ||
	       result == LDAP_UNAVAILABLE || result == LDAP_BUSY || result == LDAP_DECODING_ERROR ||
	       result == LDAP_LOCAL_ERROR;
}

/* ---- connections ---- */

static bool set_number(LDAP *ldap, int option, int number)
{
	return ldap_set_option(ldap, option, &number) == LDAP_OPT_SUCCESS;
}

static bool set_options(LDAP *ldap, const struct ldap_job *job)
{
	struct timeval wait = step_of(job);

	return set_number(ldap, LDAP_OPT_PROTOCOL_VERSION, LDAP_VERSION3) &&
	       set_number(ldap, LDAP_OPT_DEREF, LDAP_DEREF_NEVER) &&
	       ldap_set_option(ldap, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_OPT_SUCCESS &&
	       ldap_set_option(ldap, LDAP_OPT_RESTART, LDAP_OPT_ON) == LDAP_OPT_SUCCESS &&
	       ldap_set_option(ldap, LDAP_OPT_NETWORK_TIMEOUT, &wait) == LDAP_OPT_SUCCESS &&
	       ldap_set_option(ldap, LDAP_OPT_TIMEOUT, &wait) == LDAP_OPT_SUCCESS;
}

/* Wait for the one result of a request; LDAP_SUCCESS: *message is there. */
static int wait_for(struct ldap_job *job, LDAP *ldap, int id, LDAPMessage **message)
{
	struct timeval wait = step_of(job);
	int result = ldap_result(ldap, id, LDAP_MSG_ALL, &wait, message);

	if (result > 0)
		return LDAP_SUCCESS;
	if (result == 0)
		return LDAP_TIMEOUT;
	if (ldap_get_option(ldap, LDAP_OPT_RESULT_CODE, &result) != LDAP_OPT_SUCCESS || result == LDAP_SUCCESS)
		result = LDAP_SERVER_DOWN;
	return result;
}

/* After this TLS is there, or the connection is not used. */
static bool start_tls(struct ldap_job *job, LDAP *ldap, struct buf *why)
{
	LDAPMessage *message = NULL;
	char *diagnostic = NULL;
	int id = 0, code = LDAP_OTHER, result = ldap_start_tls(ldap, NULL, NULL, &id);

	if (result == LDAP_SUCCESS)
		result = wait_for(job, ldap, id, &message);
	if (result == LDAP_SUCCESS)
		result = ldap_parse_result(ldap, message, &code, NULL, &diagnostic, NULL, NULL, 1);
	if (result == LDAP_SUCCESS)
		result = code;
	if (result != LDAP_SUCCESS) {
		buf_printf(why, "no StartTLS: %s%s", ldap_err2string(result), diagnostic && diagnostic[0] ? ": " : "");
		ldap_text_one_line(diagnostic, why);
	}
	ldap_memfree(diagnostic);
	return result == LDAP_SUCCESS && ldap_socket_begin_tls(ldap, job->thread->tls, step_end(job), why);
}

/* A connection that may be used; NULL: why. */
static LDAP *connect_to(struct ldap_job *job, const char *server, struct buf *why)
{
	const char *fault = ldap_text_server_fault(server, job->conf->starttls);
	LDAP *ldap = NULL;

	if (fault)
		buf_add_string(why, fault);
	else if (job->thread->tls || (job->thread->tls = ldap_socket_new_tls(job->conf->ca, why)) != NULL)
		ldap = ldap_socket_open(server, job->thread->tls, step_end(job), why);
	if (ldap == NULL)
		return NULL;
	if (set_options(ldap, job) &&
	    (!job->conf->starttls || strncmp(server, "ldap:", 5) != 0 || start_tls(job, ldap, why)))
		return ldap;
	ldap_unbind_ext_s(ldap, NULL, NULL);
	return NULL;
}

void ldap_link_close(struct ldap_link *link)
{
	if (link->ldap)
		ldap_unbind_ext_s(link->ldap, NULL, NULL);
	link->ldap = NULL;
}

void ldap_link_end_thread(struct ldap_thread *thread)
{
	ldap_link_close(&thread->search);
	ldap_socket_free_tls(thread->tls);
	thread->tls = NULL;
}

/* ---- binding ---- */

/* What the server said to a bind: result, text, and OpenLDAP's password policy. */
struct bound {
	int result;
	char *diagnostic;          /* free with ldap_memfree() */
	LDAPPasswordPolicyError policy;
};

static void parse_bound(LDAP *ldap, LDAPMessage *message, struct bound *out)
{
	LDAPControl **controls = NULL, *control;
	ber_int_t expires, grace;
	int code = LDAP_OTHER;

	out->result = ldap_parse_result(ldap, message, &code, NULL, &out->diagnostic, NULL, &controls, 1);
	if (out->result == LDAP_SUCCESS)
		out->result = code;
	control = ldap_control_find(LDAP_CONTROL_PASSWORDPOLICYRESPONSE, controls, NULL);
	if (control && ldap_parse_passwordpolicy_control(ldap, control, &expires, &grace, &out->policy) != LDAP_SUCCESS)
		out->policy = PP_noError;
	ldap_controls_free(controls);
}

/* A simple bind. The connection is made here, too, where it is not yet. */
static void bind_as(struct ldap_job *job, LDAP *ldap, const char *dn, struct span password, struct bound *out)
{
	char policy_type[] = LDAP_CONTROL_PASSWORDPOLICYREQUEST;
	LDAPControl policy = {policy_type, {0, NULL}, 0}, *controls[] = {&policy, NULL};
	char *copy = malloc(password.len + 1);
	struct berval credentials = {password.len, copy};
	LDAPMessage *message = NULL;
	int id = 0;

	*out = (struct bound){LDAP_NO_MEMORY, NULL, PP_noError};
	if (copy == NULL)
		return;
	if (password.len)
		memcpy(copy, password.at, password.len);
	copy[password.len] = 0;
	out->result = ldap_sasl_bind(ldap, dn, LDAP_SASL_SIMPLE, &credentials, controls, NULL, &id);
	explicit_bzero(copy, password.len);
	free(copy);
	if (out->result == LDAP_SUCCESS)
		out->result = wait_for(job, ldap, id, &message);
	if (out->result == LDAP_SUCCESS)
		parse_bound(ldap, message, out);
	else
		ldap_get_option(ldap, LDAP_OPT_DIAGNOSTIC_MESSAGE, &out->diagnostic);
}

static enum ask_verdict verdict_of(struct ldap_job *job, const char *server, const struct bound *bound)
{
	enum ask_verdict verdict = VERDICT_INVALID;
	const char *words;

	/* Such a bind succeeds, and is good for nothing but to change the password. */
	if (bound->policy == PP_changeAfterReset)
		words = "the password must be changed";
	else if (bound->result == LDAP_SUCCESS)
		return answer_say(job->answer, VERDICT_VALID, "%s", "");
	else if (bound->policy == PP_accountLocked)
		words = "the account is locked";
	else if (bound->policy == PP_passwordExpired)
		words = "the password has expired";
	else if (bound->result == LDAP_INVALID_CREDENTIALS)
		verdict = ldap_text_refusal(bound->diagnostic, &words);
	else if (bound->result == LDAP_NO_SUCH_OBJECT)
		return answer_say(job->answer, VERDICT_UNKNOWN_USER, "the directory has no such user");
	else if (bound->result == LDAP_INAPPROPRIATE_AUTH || bound->result == LDAP_INSUFFICIENT_ACCESS)
		words = "the user has no password, or may not bind";
	else if (bound->result == LDAP_CONSTRAINT_VIOLATION)
		words = "the account is locked: too many wrong passwords";
	else
		return ldap_link_say(job, server, bound->result, bound->diagnostic);
	return answer_say(job->answer, verdict, "%s", words);
}

/* One server. True: it was reached, and has said something about the bind. */
static bool try_server(struct ldap_job *job, const char *server, const char *dn, struct span password,
                       struct ldap_link *link)
{
	struct bound bound;
	struct buf why;

	buf_init(&why, WHY_MAX_BYTES);
	link->ldap = connect_to(job, server, &why);
	if (link->ldap == NULL) {
		answer_say(job->answer, VERDICT_UNAVAILABLE, "%s: %.*s", server, SPAN_ARG(buf_span(&why)));
		buf_fini(&why);
		return false;
	}
	buf_fini(&why);
	bind_as(job, link->ldap, dn, password, &bound);
	verdict_of(job, server, &bound);
	ldap_memfree(bound.diagnostic);
	return !is_lost(bound.result);
}

/* The next server in turn, those that did not answer lately last. False: all were tried. */
static bool next_server(struct ldap_job *job, unsigned *tried, size_t *out)
{
	const struct conf_texts *servers = &job->conf->servers;
	uint64_t now_ms = clock_monotonic_ms();

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < servers->count && i < LDAP_SERVERS_MAX; i++) {
			if ((*tried >> i & 1) || (round == 0 && job->thread->rests_until_ms[i] > now_ms))
				continue;
			*tried |= 1u << i;
			*out = i;
			return true;
		}
	}
	return false;
}

/* What is remembered is of the configuration that was in force then. */
static void forget_old(struct ldap_job *job)
{
	struct ldap_thread *thread = job->thread;

	if (thread->generation == job->env->generation)
		return;
	ldap_link_end_thread(thread);
	*thread = (struct ldap_thread){.generation = job->env->generation};
}

enum ask_verdict ldap_link_open(struct ldap_job *job, const char *dn, struct span password, struct ldap_link *link)
{
	unsigned tried = 0;

	forget_old(job);
	answer_say(job->answer, VERDICT_UNAVAILABLE, "there is no directory (ldap.servers)");
	while (next_server(job, &tried, &link->server)) {
		bool reached = try_server(job, job->conf->servers.at[link->server], dn, password, link);

		if (job->answer->verdict == VERDICT_VALID) {
			job->thread->rests_until_ms[link->server] = 0;
			return VERDICT_VALID;
		}
		ldap_link_close(link);
		if (reached || is_late(job))
			break;
		job->thread->rests_until_ms[link->server] = clock_monotonic_ms() + REST_MS;
	}
	return job->answer->verdict;
}

enum ask_verdict ldap_link_open_search(struct ldap_job *job)
{
	static const char not_let_in[] = "the directory does not let ldap.bind_dn in";
	const struct secret *secret = job->env->ldap_password;
	const char *dn = job->conf->bind_dn;
	struct span password = secret && dn[0] ? span_of(secret->at, secret->len) : SPAN("");
	struct buf why;

	forget_old(job);
	job->at = &job->thread->search;
	if (job->at->ldap)
		return VERDICT_VALID;
	/* A name without a password would be taken as nobody (RFC 4513 section 5.1.2). */
	if (dn[0] && password.len == 0)
		return answer_say(job->answer, VERDICT_UNAVAILABLE, "ldap.bind_dn has no password (ldap.password_file)");
	if (job->thread->refused_until_ms > clock_monotonic_ms())
		return answer_say(job->answer, VERDICT_UNAVAILABLE, "%s", not_let_in);
	if (ldap_link_open(job, dn, password, job->at) == VERDICT_VALID)
		return VERDICT_VALID;
	if (job->answer->verdict == VERDICT_UNAVAILABLE)
		return VERDICT_UNAVAILABLE;
	job->thread->refused_until_ms = clock_monotonic_ms() + REFUSED_MS;
	buf_init(&why, 500);
	buf_add(&why, buf_span(&job->answer->why));
	answer_say(job->answer, VERDICT_UNAVAILABLE, "%s: %.*s", not_let_in, SPAN_ARG(buf_span(&why)));
	buf_fini(&why);
	return VERDICT_UNAVAILABLE;
}

/* ---- searching ---- */

enum ask_verdict ldap_link_search(struct ldap_job *job, const char *base, int scope, const char *filter,
                                  const char *const *attributes, int most, LDAPMessage **out)
{
	struct timeval wait = step_of(job);
	char *names[8] = {NULL};
	int result = LDAP_NO_MEMORY;
	bool well = true;

	for (size_t i = 0; attributes[i] && i < COUNT_OF(names) - 1; i++)
		well = (names[i] = strdup(attributes[i])) != NULL && well;
	*out = NULL;
	if (well)
		result = ldap_search_ext_s(job->at->ldap, base, scope, filter, names, 0, NULL, NULL, &wait, most, out);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		free(names[i]);
	if (result == LDAP_SUCCESS || (result == LDAP_SIZELIMIT_EXCEEDED && most <= LDAP_COUNTED_MAX))
		return VERDICT_VALID;
	ldap_msgfree(*out);
	*out = NULL;
	if (result == LDAP_NO_SUCH_OBJECT && scope == LDAP_SCOPE_BASE)
		return VERDICT_VALID; /* that entry is not there, or not to be seen */
	say_of(job, job->at, "searching", result);
	if (is_lost(result)) {
		if (result == LDAP_TIMEOUT)
			job->thread->rests_until_ms[job->at->server] = clock_monotonic_ms() + REST_MS;
		ldap_link_close(job->at);
	}
	return VERDICT_UNAVAILABLE;
}

void ldap_link_value(struct ldap_job *job, LDAPMessage *entry, const char *attribute, struct buf *out)
{
	struct berval **values = ldap_get_values_len(job->at->ldap, entry, attribute);

	if (values && values[0] && memchr(values[0]->bv_val, 0, values[0]->bv_len) == NULL) {
		buf_add(out, span_of(values[0]->bv_val, values[0]->bv_len));
		buf_add_byte(out, 0);
	}
	ldap_value_free_len(values);
}
