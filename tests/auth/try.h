/* SPDX-License-Identifier: Apache-2.0 */
/* What the modes of backend_try share. */
#ifndef TESTS_TRY_H
#define TESTS_TRY_H

#include "auth/backend/backend.h"

NORETURN void try_die(const char *what);

/* Whole files. */
struct buf try_read(const char *path);
void try_write(const char *path, struct span bytes);

/* One line of JSON. */
void try_print(const struct answer *answer, unsigned legs);

/* Modes: their arguments, without the mode. The result is the exit status. */
int try_token(int count, char **args);
int try_gss(int count, char **args);
int try_threads(int count, char **args);
int try_mangle(int count, char **args);
int try_talk(int count, char **args);
int try_pac(int count, char **args);
int try_ntlm(int count, char **args);
int try_names(int count, char **args);
int try_ldap(int count, char **args);
int try_pam(int count, char **args);
int try_pam_role(int count, char **args);

#endif
