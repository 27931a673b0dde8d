/* SPDX-License-Identifier: Apache-2.0 */
#include "process/roles.h"

#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/span.h"
#include "process/admin.h"
#include "process/compile_child.h"
#include "process/ipc.h"
#include "process/logger.h"
#include "process/pam.h"
#include "process/public.h"
#include "process/sandbox.h"
#include "process/sandbox_try.h"
#include "process/signer.h"
#include "process/verifier.h"
#include "process/worker.h"

#define SENDS(type) (UINT32_C(1) << (type))

static const struct role_row rows[ROLE_COUNT] = {
	[ROLE_NONE] = {.name = "none", .capability = -1},
	/* The parent binds, reads files and starts roles; it has no filter because it reads no bytes of
	 * strangers, and what it execs must keep what the role's own row grants. */
	[ROLE_PARENT] = {.name = "parent", .capability = -1,
	                 .sends = SENDS(IPC_START) | SENDS(IPC_GENERATION) | SENDS(IPC_LOGS) |
	                          SENDS(IPC_EVENT) | SENDS(IPC_DRAIN) | SENDS(IPC_STOP) |
	                          SENDS(IPC_SESSIONS) | SENDS(IPC_COMPILE) |
	                          SENDS(IPC_PUBLIC) | SENDS(IPC_ADMIN) | SENDS(IPC_PAGES) |
	                          SENDS(IPC_AUTH) | SENDS(IPC_CHANNEL) |
	                          SENDS(IPC_SIGNER) | SENDS(IPC_CA)},
	[ROLE_WORKER] = {.name = "worker", .main = worker_main, .capability = -1, .is_kept = true,
	                 .sends = SENDS(IPC_READY) | SENDS(IPC_SESSIONS_PAGE) |
	                          SENDS(IPC_CUT_PAGE) | SENDS(IPC_VERIFY) | SENDS(IPC_MINT),
	                 .rules = sandbox_worker_rules},
	[ROLE_LOGGER] = {.name = "logger", .main = logger_main, .capability = -1, .is_kept = true,
	                 .sends = SENDS(IPC_READY), .rules = sandbox_logger_rules},
	/* Policy files may be readable by root alone. */
	[ROLE_COMPILE] = {.name = "compile", .main = compile_child_main,
	                  .capability = CAP_DAC_READ_SEARCH,
	                  .sends = SENDS(IPC_PROBLEM) | SENDS(IPC_COMPILED),
	                  .rules = sandbox_compile_rules},
	[ROLE_PUBLIC] = {.name = "public", .main = public_main, .capability = -1, .is_kept = true,
	                 .is_for_workers = true, .sends = SENDS(IPC_READY), .rules = sandbox_web_rules},
	[ROLE_ADMIN] = {.name = "admin", .main = admin_main, .capability = -1, .is_kept = true,
	                .is_for_workers = true, .sends = SENDS(IPC_READY), .rules = sandbox_web_rules},
	[ROLE_VERIFIER] = {.name = "verifier", .main = verifier_main, .capability = -1, .is_kept = true,
	                   .is_for_workers = true,
	                   .sends = SENDS(IPC_READY) | SENDS(IPC_VERIFIED) | SENDS(IPC_NAMES),
	                   .rules = sandbox_verifier_rules},
	[ROLE_SIGNER] = {.name = "signer", .main = signer_main, .capability = -1, .is_kept = true,
	                 .is_for_workers = true,
	                 .sends = SENDS(IPC_READY) | SENDS(IPC_LEAF) | SENDS(IPC_LEAF_KEY) | SENDS(IPC_CRL),
	                 .rules = sandbox_signer_rules},
	/* PAM's modules are anything, and pam_unix starts a program that reads the shadow file. */
	[ROLE_PAM] = {.name = "pam", .main = pam_main, .capability = -1, .is_kept = true, .is_for_workers = true,
	              .may_gain = true, .sends = SENDS(IPC_READY)},
};

const struct role_row *roles_row(enum role role)
{
	return &rows[(unsigned)role < ROLE_COUNT ? role : ROLE_NONE];
}

enum role roles_find(const char *name)
{
	for (enum role role = ROLE_PARENT; role < ROLE_COUNT; role++)
		if (strcmp(rows[role].name, name) == 0)
			return role;
	return ROLE_NONE;
}

int roles_main(int count, char **args)
{
	enum role role = count >= 2 ? roles_find(args[0]) : ROLE_NONE;
	uint64_t number;

	if (count == 3 && strcmp(args[1], "--forbidden") == 0)
		return sandbox_try(role, args[2]);
	if (count != 2 || rows[role].main == NULL ||
	    !span_to_uint(span_from(args[1]), UINT16_MAX, &number)) {
		fprintf(stderr, "sallyport: --role is for the program itself\n");
		return 2;
	}
	/* Started as /proc/self/exe, it would be called "exe". */
	if (prctl(PR_SET_NAME, "sallyport", 0, 0, 0) < 0)
		return 1;
	return rows[role].main(ROLE_CHANNEL_FD, (unsigned)number);
}
