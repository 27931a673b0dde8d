/* SPDX-License-Identifier: Apache-2.0 */
/* Where credentials are verified. A backend is a plain blocking function that runs in a thread of its own pool in the
 * verifier (or in a command: sallyport auth test). It keeps nothing between questions but what it opens for a thread.
 * Adding a backend is adding a file and a row in backend.c. */
#ifndef AUTH_BACKEND_H
#define AUTH_BACKEND_H

#include "auth/ask.h"
#include "auth/auth_conf.h"

struct users;

/* What is in force for the verifier; immutable, shared by its threads, replaced at a reload. */
struct backend_env {
	const struct auth_conf *conf;
	const struct users *users;         /* NULL: there is no user file */
	const char *keytab;                /* for GSSAPI: "FILE:/proc/self/fd/7"; NULL: there is none */
	const struct secret *ldap_password; /* of ldap.bind_dn; NULL: none */
	int pam_fd;                        /* to the role pam; -1: PAM is asked in this process (commands) */
	uint64_t generation;               /* changes with every reload of any of this */
};

struct backend {
	const char *name;
	uint32_t kinds;                    /* bits 1 << enum ask_kind */
	/* What one thread keeps: connections, credentials. NULL and *why where it cannot be. */
	void *(*open)(void);
	void (*close)(void *thread);
	/* Verify. blocks: up to the time-outs of `env->conf`, each set on the library. Fills *answer (which was
	 * answer_init()ed) and gives its verdict back. `env` may differ from one call to the next: compare generation. */
	enum ask_verdict (*verify)(void *thread, const struct backend_env *env, const struct ask *ask,
	                           struct answer *answer);
};

extern const struct backend backend_users;   /* PASSWORD, DIGEST, NTLM against the user file */
extern const struct backend backend_ldap;    /* PASSWORD; groups */
extern const struct backend backend_pam;     /* PASSWORD */
extern const struct backend backend_winbind; /* NTLM */
extern const struct backend backend_gss;     /* GSS */

#endif
