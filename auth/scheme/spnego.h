/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of SPNEGO (RFC 4178) in DER, as far as an acceptor of NTLM needs them: Kerberos inside is GSSAPI's. */
#ifndef AUTH_SPNEGO_H
#define AUTH_SPNEGO_H

#include "base/buf.h"

enum spnego_kind {
	SPNEGO_KIND_INVALID,
	SPNEGO_KIND_RAW_NTLM,  /* NTLM without SPNEGO around it */
	SPNEGO_KIND_RAW_KRB5,  /* Kerberos (RFC 4121) without it */
	SPNEGO_KIND_INIT,      /* NegTokenInit */
	SPNEGO_KIND_RESPONSE,  /* NegTokenResp */
};

enum spnego_kind spnego_kind(struct span token);

enum spnego_mech { SPNEGO_OTHER, SPNEGO_KRB5 /* also as Microsoft once miscounted it */, SPNEGO_NTLM, SPNEGO_NEGOEX };
enum spnego_state { SPNEGO_ACCEPT_COMPLETED, SPNEGO_ACCEPT_INCOMPLETE, SPNEGO_REJECT, SPNEGO_REQUEST_MIC };

enum { SPNEGO_MECHS_MAX = 32 };

/* Borrowed from the token. */
struct spnego_init {
	struct span mech_types;    /* the DER of the list, which its MIC is over */
	struct span token, mech_list_mic;
	enum spnego_mech first;
	bool has_krb5, has_ntlm;
};

/* False: *why is a constant text. */
MUST_USE bool spnego_parse_init(struct span token, struct spnego_init *out, const char **why);

struct spnego_response {
	bool has_state;
	enum spnego_state state;
	enum spnego_mech mech;     /* OTHER where it names none, too */
	struct span token, mech_list_mic;
};
MUST_USE bool spnego_parse_response(struct span token, struct spnego_response *out, const char **why);

/* What a NegTokenResp says; empty parts are left out. What is written has to fit into 64 kB: look at buf_is_whole(). */
struct spnego_reply {
	enum spnego_state state;
	enum spnego_mech mech;     /* OTHER: left out */
	struct span token, mech_list_mic;
};
void spnego_write_response(const struct spnego_reply *reply, struct buf *out);

/* A NegTokenInit that proposes these mechanisms; for clients. */
void spnego_write_init(const enum spnego_mech *mechs, size_t count, struct span token, struct buf *out);

/* The DER of a list of mechanisms. */
void spnego_write_mech_types(const enum spnego_mech *mechs, size_t count, struct buf *out);

#endif
