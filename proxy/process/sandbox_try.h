/* SPDX-License-Identifier: Apache-2.0 */
/* Tries what a role must not do, inside its sandbox: so that a test can see that it cannot. */
#ifndef PROCESS_SANDBOX_TRY_H
#define PROCESS_SANDBOX_TRY_H

#include "process/roles.h"

/* Enter the sandbox of the role for good and try it; "list" prints what it must not be able to do. Exit status: 0 if it was possible, 1 if it was
 * refused, 2 for no such role or thing; usually it does not return, because the kernel ends the
 * process with SIGSYS. */
int sandbox_try(enum role role, const char *what);

#endif
