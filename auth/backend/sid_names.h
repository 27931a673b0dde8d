/* SPDX-License-Identifier: Apache-2.0 */
/* Names of SIDs as winbindd knows them: "S-1-5-21-..-1104" is "ADTEST\\proxy-all". What was asked is remembered for ten
 * minutes, half a minute where winbindd did not know it; some thousands of names. One table for all threads of the process. */
#ifndef AUTH_SID_NAMES_H
#define AUTH_SID_NAMES_H

#include "base/buf.h"

struct wbcContext;

/* For each of `sids` (each ended by a NUL) append its name to `names`, ended by a NUL; the SID itself where winbindd does
 * not know it or is not there. `winbind` is the calling thread's own; NULL: nobody is asked.
 * blocks: up to winbindd's own time-outs for names that are not remembered. */
void sid_names_add(struct wbcContext *winbind, struct span sids, struct buf *names);

/* Forget all. */
void sid_names_fini(void);

#endif
