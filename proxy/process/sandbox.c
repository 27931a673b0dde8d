/* SPDX-License-Identifier: Apache-2.0 */
#include "process/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

static enum err fail(const char *what, int error_number)
{
	log_event(EV_SANDBOX, "step=%s errno=%d", what, error_number);
	errno = error_number;
	return ERR_SYSTEM;
}

static enum err drop_user(const struct role_row *row, const struct ipc_start *start)
{
	capng_clear(CAPNG_SELECT_ALL);
	if (row->capability >= 0 &&
	    capng_update(CAPNG_ADD, (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
	                 (unsigned)row->capability) < 0)
		return fail("capability", EINVAL);
	/* No supplementary groups but the one that the parent grants; the bounding set is emptied. */
	if (setgroups(start->has_group ? 1 : 0, &start->group) < 0 ||
	    capng_change_id((int)start->uid, (int)start->gid, CAPNG_CLEAR_BOUNDING) < 0)
		return fail("user", errno);
	return ERR_NONE;
}

static enum err drop_capabilities(void)
{
	capng_clear(CAPNG_SELECT_ALL);
	/* The bounding set can only be emptied with a capability; without any it means nothing. */
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return fail("capabilities", errno);
	return ERR_NONE;
}

enum err sandbox_drop(enum role role, const struct ipc_start *start)
{
	enum err err = start->switches_user ? drop_user(roles_row(role), start)
	                                    : drop_capabilities();

	if (err)
		return err;
	if (start->switches_user && start->uid && (getuid() != start->uid || setuid(0) == 0))
		return fail("user", EPERM);
	if (!roles_row(role)->may_gain && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail("no-new-privs", errno);
	/* Sanitizers look for leaks with ptrace. */
	if (!SALLYPORT_SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fail("dumpable", errno);
	/* After the change of user, which forgets it. A parent that ended before is seen by the
	 * channel's end. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return fail("parent", errno);
	return ERR_NONE;
}

enum err sandbox_close(enum role role)
{
	const struct sandbox_rule *rule = roles_row(role)->rules;
	scmp_filter_ctx filter;
	int result = 0;

	/* The C library reads the time zone's file at its first use of a calendar, which may be later. */
	tzset();
	if (SALLYPORT_SANITIZED || rule == NULL)
		return ERR_NONE;
	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (filter == NULL)
		return fail("filter", ENOMEM);
	for (; result == 0 && rule->call != -1; rule++)
		result = seccomp_rule_add_array(filter, rule->error_number
		                                                ? SCMP_ACT_ERRNO((uint32_t)rule->error_number)
		                                                : SCMP_ACT_ALLOW,
		                                rule->call, rule->condition_count, rule->conditions);
	if (result == 0)
		result = seccomp_load(filter);
	seccomp_release(filter);
	return result ? fail("filter", -result) : ERR_NONE;
}
