/* SPDX-License-Identifier: Apache-2.0 */
/* The login at the proxy: which scheme is taken of those that it offers, and what is said on each leg.
 *
 * One probe logs in first, and the others wait for what becomes of it: a wrong password is sent once, and locks no account.
 * A proxy that takes the login answers when it has reached the target, which may be never: after a quarter of the time the
 * next one tries. */
#ifndef CLI_DOCTOR_LOGIN_H
#define CLI_DOCTOR_LOGIN_H

#include "base/secret.h"
#include "cli/command.h"
#include "http/head.h"

struct doctor;
struct doctor_probe;

/* In the order in which they are taken. X(name, what the proxy calls it, what people are told) */
#define DOCTOR_SCHEMES(X) \
	X(NEGOTIATE, "Negotiate", "Negotiate (Kerberos)") \
	X(NTLM, "NTLM", "NTLM") \
	X(NEGOTIATE_NTLM, "Negotiate", "Negotiate (NTLM)") /* for who has no ticket, where NTLM by itself is not offered */ \
	X(DIGEST, "Digest", "Digest") \
	X(BASIC, "Basic", "Basic")
#define DOCTOR_SCHEME_ENUM(name, word, label) DOCTOR_SCHEME_##name,
enum doctor_scheme { DOCTOR_SCHEME_NONE, DOCTOR_SCHEMES(DOCTOR_SCHEME_ENUM) DOCTOR_SCHEME_COUNT };
#undef DOCTOR_SCHEME_ENUM

/* Of all probes. */
struct doctor_login {
	struct span user;            /* empty: none */
	struct secret password;
	const char *forced;          /* the only scheme that may be taken; NULL: any */
	struct doctor_probe *first;  /* logs in, while the others wait; NULL: nobody does */
	enum doctor_scheme works;    /* NONE: not known */
	unsigned offered;            /* bits of schemes, at any time */
	unsigned failed;             /* and of those that did not work: they are not tried again */
	unsigned sent_count;         /* of the password, in whatever form */
	bool is_clear;               /* Basic was sent */
	bool is_refused;             /* the password is: nothing more is tried */
	bool is_lost;                /* it was sent, and no answer came: the same */
	char ticket_user[200];       /* whose ticket it is; "": there is none */
	char why[600];               /* why those that failed did: "Negotiate (Kerberos): ..; NTLM: .." */
};

/* Of one probe. */
struct doctor_talk {
	char offers[160];            /* "Negotiate, NTLM", as the proxy offers them */
	unsigned offered;            /* bits of schemes */
	enum doctor_scheme scheme;   /* that was taken; NONE: none yet */
	unsigned leg;                /* requests with credentials */
	struct buf challenge;        /* of Digest, the best one */
	struct buf value;            /* what goes into the next request's Proxy-Authorization */
	struct buf ntlm;             /* NTLM: its first message */
	struct negotiate_client *ticket;
	struct doctor_work *work;    /* a token is being made */
};

/* Read the options. False: said why on standard error. */
MUST_USE bool doctor_login_init(struct doctor *doctor, const struct command_line *line);
void doctor_login_fini(struct doctor *doctor);

/* Credentials went out. */
void doctor_login_sent(struct doctor_probe *probe);
/* The proxy answers 407: go on by itself or end the probe. */
void doctor_login_asked(struct doctor_probe *probe, const struct http_head *head);
/* The proxy answers something else: whatever was sent was taken. */
void doctor_login_taken(struct doctor_probe *probe);
/* Its time has come. */
void doctor_login_due(struct doctor_probe *probe);
/* The probe is over: another one may log in. */
void doctor_login_leave(struct doctor_probe *probe);
void doctor_login_talk_fini(struct doctor_probe *probe);

const char *doctor_login_label(enum doctor_scheme scheme);

/* Sentences, one a line: how the login went, or why it did not and what helps. `probe` is one whose result is LOGIN, or NULL. */
void doctor_login_add_notes(const struct doctor *doctor, const struct doctor_probe *probe, struct buf *out);

#endif
