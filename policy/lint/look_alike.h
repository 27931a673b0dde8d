/* SPDX-License-Identifier: Apache-2.0 */
/* Which letters look like which. Not the whole of Unicode's tables (UTS 39): the letters that are used to imitate names
 * in Latin script. Private to this folder. */
#ifndef POLICY_LOOK_ALIKE_H
#define POLICY_LOOK_ALIKE_H

#include <stdint.h>

#include "base/span.h"

/* The ASCII letter that a code point looks like; itself if it looks like none. */
uint32_t look_alike_letter(uint32_t code);

/* Does a label, in code points, mix scripts that no language mixes? *first and *second are their names then. */
bool look_alike_is_mixed(const uint32_t *label, size_t count, const char **first, const char **second);

/* What an ASCII name looks like at a glance: 0 is o, 1 is l, rn is m, vv is w. Writes at most name.len bytes; how many. */
size_t look_alike_ascii(struct span name, char *out);

#endif
