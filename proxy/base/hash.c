/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <string.h>

#include "base/secret.h"

struct hash_key hash_key_random(void)
{
	struct hash_key key;

	secret_random(&key, sizeof(key));
	return key;
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

/* SipHash with one compression and three finalization rounds (Aumasson and Bernstein, 2012). */
uint64_t hash_bytes(const struct hash_key *key, struct span bytes)
{
	uint64_t v[4] = {key->words[0] ^ 0x736f6d6570736575, key->words[1] ^ 0x646f72616e646f6d,
	                 key->words[0] ^ 0x6c7967656e657261, key->words[1] ^ 0x7465646279746573};
	uint64_t word, last = (uint64_t)bytes.len << 56;
	size_t at = 0;

	for (; at + 8 <= bytes.len; at += 8) {
		memcpy(&word, bytes.at + at, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (size_t i = 0; at + i < bytes.len; i++)
		last |= (uint64_t)bytes.at[at + i] << (8 * i);
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
