/* SPDX-License-Identifier: Apache-2.0 */
/* What neither file alone can be blamed for, and what is valid and still doubtful: `check` and every
 * load say it. */
#ifndef PROCESS_ADVICE_H
#define PROCESS_ADVICE_H

#include "policy/policy.h"
#include "process/settings.h"

/* Look at the settings in `file` together with the policy that they name. errors: ERR_CONFIG. */
MUST_USE enum err advice_add(const struct settings *settings, const struct policy *policy,
                             const char *file, struct problems *problems);

#endif
