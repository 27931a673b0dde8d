/* SPDX-License-Identifier: Apache-2.0 */
#include "base/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

bool secret_init(struct secret *secret, struct span bytes)
{
	*secret = (struct secret){malloc(bytes.len ? bytes.len : 1), bytes.len};
	if (secret->at == NULL) {
		secret->len = 0;
		return false;
	}
	if (bytes.len)
		memcpy(secret->at, bytes.at, bytes.len);
	return true;
}

void secret_fini(struct secret *secret)
{
	if (secret->at)
		explicit_bzero(secret->at, secret->len);
	free(secret->at);
	*secret = (struct secret){NULL, 0};
}

bool secret_equal(const struct secret *secret, struct span bytes)
{
	uint8_t difference = 0;

	if (secret->len != bytes.len)
		return false;
	for (size_t i = 0; i < bytes.len; i++)
		difference |= secret->at[i] ^ bytes.at[i];
	return difference == 0;
}

void secret_random(void *at, size_t len)
{
	uint8_t *bytes = at;

	while (len) {
		ssize_t got = getrandom(bytes, len, 0);

		ASSERT(got > 0 || errno == EINTR);
		if (got > 0) {
			bytes += got;
			len -= (size_t)got;
		}
	}
}
