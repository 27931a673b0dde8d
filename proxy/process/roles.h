/* SPDX-License-Identifier: Apache-2.0 */
/* The roles of the one binary (DESIGN 3), one row each. The parent starts every other role as
 * `sallyport --role NAME NUMBER` with its channel as descriptor 3, so that each has an address space
 * that never saw another role's. A new role is a row here, its main function and its sandbox rules. */
#ifndef PROCESS_ROLES_H
#define PROCESS_ROLES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

enum role { ROLE_NONE, ROLE_PARENT, ROLE_WORKER, ROLE_LOGGER, ROLE_COMPILE, ROLE_PUBLIC, ROLE_ADMIN, ROLE_VERIFIER, ROLE_PAM, ROLE_SIGNER,
	    ROLE_COUNT };

enum { ROLE_CHANNEL_FD = 3 };

struct sandbox_rule;

struct role_row {
	const char *name;
	/* Serve until told to stop; the result is the exit status. NULL: not started by this door. */
	int (*main)(int channel, unsigned number);
	uint32_t sends;                   /* messages that it may send: bits 1 << enum ipc_type */
	const struct sandbox_rule *rules; /* system calls that it may make; NULL: no filter */
	int capability;                   /* the one capability that it keeps, or -1 */
	bool is_kept;                     /* runs all the time, and is restarted when it dies */
	bool is_for_workers;              /* they need it until their last session has ended */
	bool may_gain;                    /* programs that it starts may have privileges of their own (set-group-id) */
};

/* The row of a role; ROLE_NONE's may do nothing. */
const struct role_row *roles_row(enum role role);

/* By name; ROLE_NONE if there is none. */
enum role roles_find(const char *name);

/* The hidden door of the binary, with the arguments after "--role":
 *   NAME NUMBER            be that role
 *   NAME --forbidden WHAT  enter its sandbox, then try WHAT (sandbox_try.h) and exit 0 if that was
 *                          possible: for the tests. Grants nothing: the caller could do it anyway.
 * The result is the exit status. */
int roles_main(int count, char **args);

#endif
