/* SPDX-License-Identifier: Apache-2.0 */
/* What is doubtful only with both: the policy wants hosts inspected that the CA's name constraints keep it from. */
#ifndef PROCESS_CA_ADVICE_H
#define PROCESS_CA_ADVICE_H

#include "policy/policy.h"
#include "process/settings.h"
#include "tls/ca.h"

/* Add it. `ca` may be NULL: there is none. */
void ca_advice_add(const struct ca *ca, const struct settings *settings, const struct policy *policy,
                   struct problems *problems);

#endif
