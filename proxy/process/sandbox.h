/* SPDX-License-Identifier: Apache-2.0 */
/* What a role gives up: user, capabilities, new privileges, and system calls (one list per role).
 * A call that is not in a role's list ends the process. Builds with sanitizers keep their system
 * calls, since the sanitizers need many of their own; all else is in force there too. */
#ifndef PROCESS_SANDBOX_H
#define PROCESS_SANDBOX_H

#include <seccomp.h>

#include "base/err.h"
#include "process/ipc.h"

/* An allowed call, with conditions on its arguments that must all hold. Lists end with call -1. */
struct sandbox_rule {
	int call;
	unsigned condition_count;
	struct scmp_arg_cmp conditions[3];
	int error_number;      /* 0; else the call fails with this, and is not fatal */
};

extern const struct sandbox_rule sandbox_worker_rules[];
extern const struct sandbox_rule sandbox_logger_rules[];
extern const struct sandbox_rule sandbox_compile_rules[];
extern const struct sandbox_rule sandbox_web_rules[]; /* public and admin */
extern const struct sandbox_rule sandbox_verifier_rules[], sandbox_signer_rules[];

/* First step, before anything else is read: another user (if `start` says so), no capabilities but
 * the role's own, no new privileges, no core file, an end when the parent ends. errors: ERR_SYSTEM. */
MUST_USE enum err sandbox_drop(enum role role, const struct ipc_start *start);

/* Second step, before a byte of a stranger is read: the filter. errors: ERR_SYSTEM. */
MUST_USE enum err sandbox_close(enum role role);

#endif
