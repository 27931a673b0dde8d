/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the LDAP backend share: one question (ldap_job), and the steps that it is made of. Each step waits for
 * ldap.timeout at most, a whole question for LDAP_STEPS_MAX of them. */
#ifndef AUTH_LDAP_PRIVATE_H
#define AUTH_LDAP_PRIVATE_H

#include <ldap.h>
#include <openssl/types.h>

#include "auth/backend/ldap.h"

enum { LDAP_SERVERS_MAX = 16, LDAP_DN_MAX_BYTES = 4096, LDAP_FILTER_MAX_BYTES = 65536, LDAP_COUNTED_MAX = 2 };

/* A connection; ldap NULL: there is none. */
struct ldap_link {
	LDAP *ldap;
	size_t server;             /* index in ldap.servers */
};

/* What one thread keeps. */
struct ldap_thread {
	struct ldap_link search;   /* bound as ldap.bind_dn, and never as anybody else */
	SSL_CTX *tls;              /* how certificates are verified; NULL: not needed yet */
	uint64_t generation;
	uint64_t rests_until_ms[LDAP_SERVERS_MAX]; /* it did not answer: others are asked first */
	uint64_t refused_until_ms; /* bind_dn was not let in: trying on and on would lock it out */
};

struct ldap_job {
	struct ldap_thread *thread;
	const struct backend_env *env;
	const struct ldap_conf *conf;
	struct answer *answer;
	uint64_t due_ms;
	struct ldap_link own;      /* bound as the user */
	struct ldap_link *at;      /* who searches: `own`, or that of the thread */
	struct buf name, user;     /* mapped (auth_conf_map_name); `user` without its domain */
	/* of the user's entry, each ended by a NUL: */
	struct buf dn, spelling, uid, gid; /* spelling: of the name, as the directory has it */
};

/* verdict and text: "ldaps://dc1: can't contact: why". The library's result, and what the server said to it (or NULL). */
enum ask_verdict ldap_link_say(struct ldap_job *job, const char *what, int result, const char *diagnostic);

/* Connect to a server that answers, and bind; VALID, or what the answer says then. `password` empty: as nobody. */
enum ask_verdict ldap_link_open(struct ldap_job *job, const char *dn, struct span password, struct ldap_link *link);

/* The connection of the thread, opened where it is not, or not as is configured now. */
enum ask_verdict ldap_link_open_search(struct ldap_job *job);
void ldap_link_close(struct ldap_link *link);
void ldap_link_end_thread(struct ldap_thread *thread);

/* Search; *out is the caller's to free (NULL is possible). A connection that is dead is closed, so that job->at->ldap is
 * NULL afterwards; what was the matter has been said. At most `most` entries: more are UNAVAILABLE, unless it is
 * LDAP_COUNTED_MAX, where that there are more is all that is asked. */
enum ask_verdict ldap_link_search(struct ldap_job *job, const char *base, int scope, const char *filter,
                                  const char *const *attributes, int most, LDAPMessage **out);

/* First value of an attribute of an entry, with a NUL behind it; nothing where there is none, or one with a NUL inside. */
void ldap_link_value(struct ldap_job *job, LDAPMessage *entry, const char *attribute, struct buf *out);

/* Groups as ldap.groups says, of the user whose entry was read, to answer->groups. VALID, or UNAVAILABLE where not all of
 * them could be read: rules may deny by group. `entry`, with LDAP_GROUPS_MEMBER_OF: the user's. */
enum ask_verdict ldap_group_add_of_entry(struct ldap_job *job, LDAPMessage *entry);
enum ask_verdict ldap_group_add_by_search(struct ldap_job *job);

#endif
