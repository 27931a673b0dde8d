/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes of passwords: those of crypt(3) (libxcrypt: yescrypt, bcrypt, SHA-512, .., DES) and Apache's $apr1$. */
#ifndef AUTH_CRYPT_HASH_H
#define AUTH_CRYPT_HASH_H

#include "base/buf.h"

/* Is it the hash of this password? A hash that is none of ours is of no password; a password that is empty, has a NUL in it
 * or is longer than 511 bytes has no hash. Slow, as it is meant to be; safe in threads. */
MUST_USE bool crypt_hash_verify(struct span hash, struct span password);

/* Append a new hash, yescrypt. False: crypt(3) failed, or there is no hash of such a password. */
MUST_USE bool crypt_hash_make(struct span password, struct buf *out);

/* Why this is no hash that is taken; NULL: it is one. */
const char *crypt_hash_check(struct span hash);

#endif
