/* SPDX-License-Identifier: Apache-2.0 */
/* Who is asking, once it is proved: a name, the groups that came with it, and how it was proved. Immutable and
 * counted: sessions, exchanges and the cache hold references. One thread (a worker) uses it. */
#ifndef AUTH_IDENTITY_H
#define AUTH_IDENTITY_H

#include "base/buf.h"

/* X(name, as configured and logged, as in Proxy-Authenticate), strongest first */
#define AUTH_SCHEMES(X) \
	X(NEGOTIATE, "negotiate", "Negotiate") \
	X(NTLM, "ntlm", "NTLM") \
	X(DIGEST, "digest", "Digest") \
	X(BASIC, "basic", "Basic")

#define AUTH_SCHEME_ENUM(name, key, wire) AUTH_##name,
enum auth_scheme { AUTH_SCHEMES(AUTH_SCHEME_ENUM) AUTH_SCHEME_COUNT };
#undef AUTH_SCHEME_ENUM

/* "negotiate"; "Negotiate". */
const char *auth_scheme_name(enum auth_scheme scheme);
const char *auth_scheme_wire(enum auth_scheme scheme);

/* What was inside: Kerberos, or NTLM inside Negotiate. */
enum auth_mechanism { AUTH_MECHANISM_NONE, AUTH_MECHANISM_KERBEROS, AUTH_MECHANISM_NTLM, AUTH_MECHANISM_NTLM_V1 };

/* "kerberos", "ntlm", "ntlm-v1"; "" for none. */
const char *auth_mechanism_name(enum auth_mechanism mechanism);

enum { IDENTITY_GROUPS_MAX = 1024, IDENTITY_TEXT_MAX_BYTES = 65536 };

struct identity {
	unsigned references;
	enum auth_scheme scheme;
	enum auth_mechanism mechanism;
	struct span user;          /* mapped: identity_map() */
	struct span *groups;       /* in the order in which the backend gave them */
	size_t group_count;
};

/* `groups` is a run of names, each ended by a NUL; at most IDENTITY_GROUPS_MAX are taken. owns: one reference for the
 * caller. NULL: no memory, or more than IDENTITY_TEXT_MAX_BYTES. */
struct identity *identity_new(enum auth_scheme scheme, enum auth_mechanism mechanism, struct span user,
                              struct span groups);
struct identity *identity_ref(struct identity *identity);
void identity_unref(struct identity *identity); /* NULL is allowed */

#endif
