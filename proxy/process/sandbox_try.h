/* SPDX-License-Identifier: Apache-2.0 */
/* Tries what a role must not do, inside its sandbox: so that a test can see that it cannot. */
#ifndef PROCESS_SANDBOX_TRY_H
#define PROCESS_SANDBOX_TRY_H

#include <stdbool.h>
#include <stddef.h>

#include "process/roles.h"

/* The things that can be tried, by name; NULL behind the last. */
const char *sandbox_try_name(size_t at);

/* Must this role not be able to do it? */
bool sandbox_try_is_forbidden(enum role role, size_t at);

/* Enter the sandbox of the role for good and try it. Exit status: 0 if it was possible, 1 if it was
 * refused, 2 for no such role or thing; usually it does not return, because the kernel ends the
 * process with SIGSYS. */
int sandbox_try(enum role role, const char *what);

#endif
