/* SPDX-License-Identifier: Apache-2.0 */
/* The options under `authentication`. Types here, rows in auth_conf.c. */
#ifndef AUTH_AUTH_CONF_H
#define AUTH_AUTH_CONF_H

#include "auth/ask.h"
#include "conf/conf.h"

/* Schemes in the order in which they are offered. */
struct auth_offer {
	uint8_t schemes[AUTH_SCHEME_COUNT]; /* enum auth_scheme */
	uint8_t count;
	bool is_set;                        /* for networks: this one says so */
};

/* authentication.networks: classes of devices; the first that matches holds. */
struct auth_network_conf {
	struct conf_networks from;          /* none: any address */
	struct conf_texts listeners;        /* none: any listener */
	struct auth_offer offer;
	int require_mic, allow_v1;          /* enum auth_switch */
};
enum auth_switch { AUTH_SWITCH_INHERIT, AUTH_SWITCH_OFF, AUTH_SWITCH_ON };

/* authentication.digest */
struct digest_conf {
	uint8_t algorithms[4];              /* enum digest_algorithm | DIGEST_SESSION, as offered */
	uint8_t algorithm_count;
	bool userhash;                      /* offered (RFC 7616 section 3.4.4) */
	uint64_t nonce_ms;                  /* life of a nonce */
	const char *key;                    /* path of a secret that several nodes share; "": made at the start */
};
enum { DIGEST_SESSION = 0x80 };

/* authentication.ntlm */
struct ntlm_conf {
	int backend;                        /* enum ntlm_backend */
	bool allow_v1, require_mic;
	const char *domain, *computer;      /* NetBIOS names that we give; "": of the joined machine, or the host's */
	uint64_t skew_ms;                   /* how far a client's clock may be off */
};
enum ntlm_backend { NTLM_BACKEND_USERS, NTLM_BACKEND_WINBIND };

/* authentication.negotiate */
struct negotiate_conf {
	const char *keytab;                 /* path; "": no Kerberos */
	bool ntlm;                          /* NTLM inside Negotiate */
	struct conf_texts services;         /* "HTTP@proxy.example.com"; none: every key of the keytab */
	int groups;                         /* enum negotiate_groups: for Kerberos without a PAC */
};
enum negotiate_groups { NEGOTIATE_GROUPS_PAC, NEGOTIATE_GROUPS_USERS, NEGOTIATE_GROUPS_LDAP };

enum basic_backend { BASIC_BACKEND_USERS, BASIC_BACKEND_LDAP, BASIC_BACKEND_PAM, BASIC_BACKEND_COUNT };

/* authentication.basic */
struct basic_conf {
	uint8_t backends[BASIC_BACKEND_COUNT]; /* enum basic_backend, in the order in which they are asked */
	uint8_t backend_count;
};

/* authentication.ldap */
struct ldap_conf {
	struct conf_texts servers;          /* "ldaps://dc1.ad.test"; the next where one does not answer */
	bool starttls;                      /* for ldap:// */
	const char *ca;                     /* path of the authorities that sign them; "": the system's */
	const char *template;               /* "{user}@ad.test", "uid={user},ou=people,dc=example": bind as that; "": search */
	const char *bind_dn, *password_file; /* who searches; "": anonymous */
	const char *base, *filter;          /* "(sAMAccountName={user})" */
	int groups;                         /* enum ldap_groups */
	uint64_t timeout_ms;                /* each step: connect, bind, search */
};
enum ldap_groups {
	LDAP_GROUPS_NONE,
	LDAP_GROUPS_MEMBER_OF, /* attribute memberOf of the user */
	LDAP_GROUPS_NESTED,    /* Active Directory: matching rule in chain (1.2.840.113556.1.4.1941) */
	LDAP_GROUPS_MEMBER,    /* groups whose member, uniqueMember or memberUid is the user, nested up to a bound */
};

/* authentication.pam */
struct pam_conf {
	const char *service;                /* name of its stack in /etc/pam.d */
	const char *folder;                 /* another folder of stacks; "": the system's */
	uint64_t timeout_ms;
};

/* authentication.failures: of verification; 0: no limit */
struct failures_conf {
	uint64_t per_client, per_user;      /* so many at once, then one more every `every_ms` */
	uint64_t every_ms;
};

struct auth_conf {
	const char *realm;
	struct auth_offer offer;
	struct conf_groups networks;        /* of struct auth_network_conf */
	struct conf_texts users;            /* paths of user files, absolute */
	struct conf_text_map domains;       /* domain or realm, and what stands for it in names; "": nothing */
	const char *default_domain;         /* of names without one; "": they stay as they are */
	uint64_t cache_ms, threads, queue;
	struct digest_conf digest;
	struct ntlm_conf ntlm;
	struct negotiate_conf negotiate;
	struct basic_conf basic;
	struct ldap_conf ldap;
	struct pam_conf pam;
	struct failures_conf failures;
};

extern const struct conf_option auth_options[];
conf_check_fn auth_conf_check; /* of the whole group */

/* What is offered to this client at this listener: the first network that matches, else the general offer. `network` is
 * NULL then. */
const struct auth_offer *auth_conf_offer(const struct auth_conf *conf, const struct address *client,
                                         struct span listener, const struct auth_network_conf **network);
bool auth_conf_allow_v1(const struct auth_conf *conf, const struct auth_network_conf *network);
bool auth_conf_require_mic(const struct auth_conf *conf, const struct auth_network_conf *network);
bool auth_offer_has(const struct auth_offer *offer, enum auth_scheme scheme);

/* Could this scheme be offered to somebody? */
bool auth_conf_uses(const struct auth_conf *conf, enum auth_scheme scheme);
bool auth_conf_uses_basic(const struct auth_conf *conf, enum basic_backend backend);
bool auth_conf_uses_ntlm(const struct auth_conf *conf, enum ntlm_backend backend); /* also inside Negotiate */
bool auth_conf_uses_users(const struct auth_conf *conf);

/* Is anything offered to anybody? */
bool auth_conf_is_on(const struct auth_conf *conf);

/* One name for one person: "ADTEST\\alice", "alice@AD.TEST" and "alice" as `domains` and `default_domain` say; for groups
 * in the same way. Appended to `out`: "alice" or "alice@domain" (lower case where a domain was mapped). */
void auth_conf_map_name(const struct auth_conf *conf, struct span name, struct buf *out);

#endif
