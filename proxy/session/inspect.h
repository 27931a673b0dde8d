/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked inside an inspected session. */
#ifndef SESSION_INSPECT_H
#define SESSION_INSPECT_H

#include "session/session_private.h"

/* Decide a request that was read inside: fills facts and decision of session->exchange. errors: ERR_POLICY_DENIED,
 * ERR_INNER_HOST, ERR_SESSION_MEMORY; then exchange->err and detail are set. The state does not change. */
MUST_USE enum err inspect_decide(struct session *session);

#endif
