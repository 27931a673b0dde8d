/* SPDX-License-Identifier: Apache-2.0 */
/* Letters without case, for names of users and domains: Unicode's simple mapping, as the C library has it. */
#ifndef AUTH_FOLD_H
#define AUTH_FOLD_H

#include "base/buf.h"

/* Before a sandbox closes: later calls need nothing of the system. */
void fold_init(void);

/* Append `text` (UTF-8; bytes that are none stay as they are) in lower, in upper case. */
void fold_lower(struct span text, struct buf *out);
void fold_upper(struct span text, struct buf *out);

/* The next character of UTF-8 text, which is cut off; UINT32_MAX where there is none: one byte is cut off then. */
uint32_t fold_next(struct span *text);

/* Append a character as UTF-8. */
void fold_add(uint32_t character, struct buf *out);

#endif
