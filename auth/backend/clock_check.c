/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/backend/clock_check.h"

#include <krb5.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SKEW_MAX_S = 90, NAME_MAX_BYTES = 4200, WAIT_MS = 4000 };

/* The first principal in a keytab. */
static krb5_error_code first_principal(krb5_context context, krb5_keytab keytab, krb5_principal *out)
{
	krb5_kt_cursor cursor;
	krb5_keytab_entry entry;
	krb5_error_code code = krb5_kt_start_seq_get(context, keytab, &cursor);

	if (code)
		return code;
	code = krb5_kt_next_entry(context, keytab, &entry, &cursor);
	if (code == 0) {
		code = krb5_copy_principal(context, entry.principal, out);
		krb5_free_keytab_entry_contents(context, &entry);
	}
	krb5_kt_end_seq_get(context, keytab, &cursor);
	return code;
}

/* How far the KDC is ahead of us, in seconds. Its answers tell its time, whatever they say: the library keeps the difference.
 * False: none answered. */
static bool ask_kdc(krb5_context context, krb5_principal principal, krb5_keytab keytab, int *ahead_s)
{
	krb5_creds credentials;
	krb5_timestamp there;
	krb5_int32 seconds = 0, microseconds;
	krb5_error_code code = krb5_get_init_creds_keytab(context, &credentials, principal, keytab, 0, NULL, NULL);

	if (code == 0) {
		there = credentials.times.authtime;
		krb5_free_cred_contents(context, &credentials);
		*ahead_s = (int)((int64_t)(uint32_t)there - (int64_t)time(NULL));
		return true;
	}
	if (code == KRB5KRB_AP_ERR_SKEW || code == KRB5_KDCREP_SKEW) {
		*ahead_s = INT32_MAX;
		return true;
	}
	return krb5_get_time_offsets(context, &seconds, &microseconds) == 0 && (*ahead_s = seconds) != 0;
}

static int find_skew(const char *path)
{
	krb5_principal principal = NULL;
	krb5_keytab keytab = NULL;
	krb5_context context;
	char name[NAME_MAX_BYTES];
	int ahead_s = 0;

	if (krb5_init_context(&context))
		return 0;
	snprintf(name, sizeof(name), "FILE:%s", path);
	if (krb5_kt_resolve(context, name, &keytab) == 0 && first_principal(context, keytab, &principal) == 0 &&
	    !ask_kdc(context, principal, keytab, &ahead_s))
		ahead_s = 0;
	if (principal)
		krb5_free_principal(context, principal);
	if (keytab)
		krb5_kt_close(context, keytab);
	krb5_free_context(context);
	return ahead_s;
}

/* In a process of its own: the library waits long for a KDC that does not answer, and nobody can tell it otherwise. */
static int find_skew_soon(const char *path)
{
	struct pollfd one = {.events = POLLIN};
	int ends[2], ahead_s = 0;
	pid_t pid;

	if (pipe(ends) < 0)
		return 0;
	pid = fork();
	if (pid == 0) {
		ahead_s = find_skew(path);
		_exit(write(ends[1], &ahead_s, sizeof(ahead_s)) < 0);
	}
	close(ends[1]);
	one.fd = ends[0];
	if (pid < 0 || poll(&one, 1, WAIT_MS) != 1 || read(ends[0], &ahead_s, sizeof(ahead_s)) != (ssize_t)sizeof(ahead_s))
		ahead_s = 0;
	close(ends[0]);
	if (pid > 0) {
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	return ahead_s;
}

void auth_clock_check(const struct auth_conf *conf, const char *file, struct problems *problems)
{
	int ahead_s;

	if (conf->negotiate.keytab[0] == 0 || !auth_conf_uses(conf, AUTH_NEGOTIATE))
		return;
	ahead_s = find_skew_soon(conf->negotiate.keytab);
	if (ahead_s == INT32_MAX)
		problem_add_code(problems, PROBLEM_CLOCK_SKEW, (struct problem_place){file, 0, 0}, NULL,
		                 "the clock of the KDC is more than five minutes from this machine's: no ticket will be accepted");
	else if (abs(ahead_s) > SKEW_MAX_S)
		problem_add_code(problems, PROBLEM_CLOCK_SKEW, (struct problem_place){file, 0, 0}, NULL,
		                 "the clock of the KDC is %d seconds %s this machine's; from 300 on no ticket will be accepted",
		                 abs(ahead_s), ahead_s > 0 ? "ahead of" : "behind");
}
