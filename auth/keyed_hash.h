/* SPDX-License-Identifier: Apache-2.0 */
/* HMAC-SHA256 under a key of one process, for tables whose keys are secrets of people. */
#ifndef AUTH_KEYED_HASH_H
#define AUTH_KEYED_HASH_H

#include "base/err.h"
#include "base/span.h"

struct keyed_hash;
enum { KEYED_HASH_BYTES = 16 };

/* With a key from the kernel's random generator. Loads what OpenSSL needs: before a sandbox closes. errors: ERR_MEMORY,
 * ERR_SYSTEM. */
MUST_USE enum err keyed_hash_new(struct keyed_hash **out);
void keyed_hash_free(struct keyed_hash *hash); /* NULL is allowed */

/* Of these texts one after the other, each with its length. False: OpenSSL failed; *out is then of no use. */
MUST_USE bool keyed_hash_make(struct keyed_hash *hash, const struct span *texts, size_t count,
                              uint8_t out[static KEYED_HASH_BYTES]);

#endif
