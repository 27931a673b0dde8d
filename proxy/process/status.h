/* SPDX-License-Identifier: Apache-2.0 */
/* What `sallyport status` says of a running proxy, as JSON. */
#ifndef PROCESS_STATUS_H
#define PROCESS_STATUS_H

#include <jansson.h>

#include "process/parent_private.h"

/* State, listeners, policy, counters of all workers and of each, roles. owns: the result is the caller's. */
json_t *status_pack(const struct parent *parent);

#endif
