/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that must not leak: keys, passwords, tokens. Wiped when freed, never printed, never copied
 * by assignment; compared in constant time. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/span.h"

struct secret {
	uint8_t *at;
	size_t len;
};

/* Take a private copy of `bytes`. False when out of memory; the secret is then empty. */
MUST_USE bool secret_init(struct secret *secret, struct span bytes);

/* Wipe and free. */
void secret_fini(struct secret *secret);

/* Same bytes? Time depends on the lengths alone. */
bool secret_equal(const struct secret *secret, struct span bytes);

/* `len` bytes from the kernel's random generator; stops the process if there are none. */
void secret_random(void *at, size_t len);

#endif
