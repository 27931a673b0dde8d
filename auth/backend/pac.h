/* SPDX-License-Identifier: Apache-2.0 */
/* The groups in a PAC: what a Windows domain says in its tickets about their owner. Reads KERB_VALIDATION_INFO
 * (MS-PAC 2.5) in its NDR form (MS-RPCE 2.2.6), as GSSAPI gives it under the name "urn:mspac:logon-info". That its
 * signatures are right is GSSAPI's to say; here only the form is checked. */
#ifndef AUTH_PAC_H
#define AUTH_PAC_H

#include "base/buf.h"

enum { PAC_GROUPS_MAX = 1024, PAC_SID_PARTS_MAX = 15 };

/* Append the SIDs of the groups to `sids`, the primary group first: "S-1-5-21-1-2-3-513", each ended by a NUL. False and
 * *why, a constant: it is not whole, or there are more than PAC_GROUPS_MAX; `sids` may then hold some. */
MUST_USE bool pac_read_groups(struct span logon_info, struct buf *sids, const char **why);

#endif
