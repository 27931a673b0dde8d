/* SPDX-License-Identifier: Apache-2.0 */
/* What a failure of GSSAPI means for who is asking, and how it is said. */
#ifndef AUTH_GSS_STATUS_H
#define AUTH_GSS_STATUS_H

#include <gssapi/gssapi.h>

#include "auth/ask.h"

/* Mechanisms of ours: 1.2.840.113554.1.2.2 and 1.3.6.1.5.5.2. */
extern const gss_OID_desc gss_mech_kerberos, gss_mech_negotiate;

/* Append what the library says about it, as one line. */
void gss_status_text(OM_uint32 major, OM_uint32 minor, const gss_OID_desc *mech, struct buf *out);

/* The verdict on a token that was not accepted, with its `why`. `minor` is of Kerberos itself. */
enum ask_verdict gss_status_judge(OM_uint32 major, OM_uint32 minor, struct answer *answer);

/* The token of Kerberos inside one of SPNEGO; empty if there is none. */
struct span gss_status_inner(struct span token);

#endif
