/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "auth/backend/ldap_private.h"
#include "auth/backend/ldap_text.h"
#include "base/clock.h"

enum { REST_MS = 15000, REFUSED_MS = 5000, MESSAGE_MAX_BYTES = 4 << 20, KEEPALIVE_S = 60 };

/* ---- time and words ---- */

/* What is left for the next step. */
static struct timeval step_of(const struct ldap_job *job)
{
	uint64_t now_ms = clock_monotonic_ms(), left_ms = job->due_ms > now_ms ? job->due_ms - now_ms : 1;
	uint64_t step_ms = left_ms < job->conf->timeout_ms ? left_ms : job->conf->timeout_ms;

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
	/* What it says when it does not like a certificate, whatever is wrong with it. */
	if (diagnostic && strcmp(diagnostic, "(unknown error code)") == 0)
		diagnostic = "TLS: its certificate is not signed by ldap.ca, not valid now, or of another host";
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

/* The authorities of the system: the library's own configuration (ldap.conf, LDAPTLS_*) is not what is asked. */
static const char *authorities(const struct ldap_conf *conf)
{
	static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
	                                    "/etc/ssl/ca-bundle.pem"};
	size_t at = 0;

	if (conf->ca[0])
		return conf->ca;
	while (at + 1 < COUNT_OF(files) && access(files[at], R_OK) < 0)
		at++;
	return files[at];
}

static bool set_number(LDAP *ldap, int option, int number)
{
	return ldap_set_option(ldap, option, &number) == LDAP_OPT_SUCCESS;
}

static bool set_options(LDAP *ldap, const struct ldap_job *job)
{
	struct timeval wait = step_of(job);
	ber_len_t most = MESSAGE_MAX_BYTES;
	Sockbuf *socket = NULL;
	bool well = set_number(ldap, LDAP_OPT_PROTOCOL_VERSION, LDAP_VERSION3) &&
	            set_number(ldap, LDAP_OPT_DEREF, LDAP_DEREF_NEVER) &&
	            ldap_set_option(ldap, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_OPT_SUCCESS &&
	            ldap_set_option(ldap, LDAP_OPT_RESTART, LDAP_OPT_ON) == LDAP_OPT_SUCCESS &&
	            ldap_set_option(ldap, LDAP_OPT_NETWORK_TIMEOUT, &wait) == LDAP_OPT_SUCCESS &&
	            ldap_set_option(ldap, LDAP_OPT_TIMEOUT, &wait) == LDAP_OPT_SUCCESS &&
	            ldap_get_option(ldap, LDAP_OPT_SOCKBUF, &socket) == LDAP_OPT_SUCCESS &&
	            ber_sockbuf_ctrl(socket, LBER_SB_OPT_SET_MAX_INCOMING, &most) == 1 &&
	            set_number(ldap, LDAP_OPT_X_KEEPALIVE_IDLE, KEEPALIVE_S) &&
	            set_number(ldap, LDAP_OPT_X_KEEPALIVE_INTERVAL, KEEPALIVE_S / 4) &&
	            set_number(ldap, LDAP_OPT_X_TLS_REQUIRE_CERT, LDAP_OPT_X_TLS_HARD) &&
	            ldap_set_option(ldap, LDAP_OPT_X_TLS_CACERTFILE, authorities(job->conf)) == LDAP_OPT_SUCCESS;

	/* Only with a new context is what was set before in force: without this line nothing is verified as configured. */
	return well && set_number(ldap, LDAP_OPT_X_TLS_NEWCTX, 0);
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
static int start_tls(struct ldap_job *job, LDAP *ldap)
{
	LDAPMessage *message = NULL;
	int id = 0, code = LDAP_OTHER, result = ldap_start_tls(ldap, NULL, NULL, &id);

	if (result == LDAP_SUCCESS)
		result = wait_for(job, ldap, id, &message);
	if (result == LDAP_SUCCESS)
		result = ldap_parse_result(ldap, message, &code, NULL, NULL, NULL, NULL, 1);
	if (result == LDAP_SUCCESS)
		result = code;
	if (result == LDAP_SUCCESS)
		result = ldap_install_tls(ldap);
	return result == LDAP_SUCCESS && !ldap_tls_inplace(ldap) ? LDAP_CONNECT_ERROR : result;
}

void ldap_link_close(struct ldap_link *link)
{
	if (link->ldap)
		ldap_unbind_ext_s(link->ldap, NULL, NULL);
	link->ldap = NULL;
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
	const char *fault = ldap_text_server_fault(server, job->conf->starttls);
	int result = LDAP_SUCCESS;
	struct bound bound;

	if (fault) {
		answer_say(job->answer, VERDICT_UNAVAILABLE, "%s: %s", server, fault);
		return false;
	}
	result = ldap_initialize(&link->ldap, server);
	if (result == LDAP_SUCCESS && !set_options(link->ldap, job)) {
		answer_say(job->answer, VERDICT_UNAVAILABLE, "%s: TLS cannot be set up; is ldap.ca readable?", server);
		return false;
	}
	if (result == LDAP_SUCCESS && job->conf->starttls && strncmp(server, "ldap:", 5) == 0)
		result = start_tls(job, link->ldap);
	if (result != LDAP_SUCCESS) {
		say_of(job, link, server, result);
		return false;
	}
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
	ldap_link_close(&thread->search);
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
