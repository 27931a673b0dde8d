/* SPDX-License-Identifier: Apache-2.0 */
/* What LDAP makes of texts, without a connection: names that strangers type, put into filters and DNs; which domain a
 * directory is of; what its refusals mean; which servers may be sent a password. */
#ifndef AUTH_LDAP_TEXT_H
#define AUTH_LDAP_TEXT_H

#include "auth/ask.h"
#include "auth/auth_conf.h"

/* How a text becomes a part of something: of a filter (RFC 4515 section 3), of a DN (RFC 4514 section 2.4), as it is. */
typedef void ldap_text_escape(struct span text, struct buf *out);
ldap_text_escape ldap_text_for_filter, ldap_text_for_dn, ldap_text_raw;

/* Is this ldap.template a DN (uid={user},ou=people), or another kind of name ({user}@ad.test)? */
bool ldap_text_is_dn(const char *pattern);

/* Append `pattern` with {user} and {name} replaced, and a NUL. */
void ldap_text_fill(const char *pattern, struct span user, struct span name, ldap_text_escape *escape, struct buf *out);

/* The attribute that is compared with the first {user} or {name}: "uid" of "(&(uid={user})(!(locked=*)))"; empty where none
 * is. *is_whole: it is {name}. */
struct span ldap_text_key(const char *pattern, bool *is_whole);

/* Append the domain whose users the directory has: behind the @ of the template, or the dc= parts of template or base.
 * Nothing where neither says it. */
void ldap_text_domain(const struct ldap_conf *conf, struct buf *out);

/* Append the value of the first part of a DN, without its escapes: "a,b" of "CN=a\,b,OU=groups". Nothing: it is no DN.
 * `key`: only where that part is of this attribute; NULL: of any. */
void ldap_text_first_value(const char *dn, const char *key, struct buf *out);

/* May a name from outside be put into requests at all? UTF-8, without control characters and without a space at its ends. */
bool ldap_text_is_name(struct span name);

/* Is there one spelling only? Where a directory cannot be asked how it spells a name, another spelling that it takes for the
 * same (RFC 4518: case, width, spaces) must not be another user. */
bool ldap_text_has_one_spelling(struct span name);

/* What a refused bind means: Active Directory says it in its diagnostic text ("data 52e"). */
enum ask_verdict ldap_text_refusal(const char *diagnostic, const char **words);

/* Why passwords cannot go to this server ("ldaps://dc1.ad.test:636"); NULL: they can. */
const char *ldap_text_server_fault(const char *server, bool starttls);

/* Append a library's or server's text as a part of one line, of limited length. */
void ldap_text_one_line(const char *text, struct buf *out);

#endif
