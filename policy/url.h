/* SPDX-License-Identifier: Apache-2.0 */
/* A URL as origins read it, however it is spelled. Private to this folder. */
#ifndef POLICY_URL_H
#define POLICY_URL_H

#include "base/span.h"

/* What is percent-encoded without need is decoded, "." and ".." segments are resolved, and slashes behind
 * slashes go, as most origins do it; the digits of what stays encoded are upper case. owns: *copy, the caller frees it. False: no memory. */
bool url_make_plain(struct span url, uint8_t **copy, struct span *out);

#endif
