/* SPDX-License-Identifier: Apache-2.0 */
/* What workers and the signer say to each other. A question is a byte for the kind of key (enum leaf_kind), then the host.
 * Whoever reads takes nothing on trust but what these functions have looked at. */
#ifndef TLS_LEAF_MESSAGE_H
#define TLS_LEAF_MESSAGE_H

#include "base/buf.h"
#include "base/cursor.h"
#include "tls/leaves.h"

enum {
	LEAF_QUESTION_MAX_BYTES = 254,
	LEAF_ANSWER_HEAD_BYTES = 10,
	LEAF_ANSWER_MAX_BYTES = 65536,
	LEAF_KEY_MAX_BYTES = 90 << 10,
	LEAF_CHAIN_MAX = 10,
};

enum leaf_verdict { LEAF_SIGNED, LEAF_REFUSED, LEAF_UNAVAILABLE, LEAF_VERDICT_COUNT };

struct leaf_answer {
	enum leaf_verdict verdict;
	enum leaf_kind kind;
	uint64_t key_number;  /* of the key that it is for */
	struct span body;     /* LEAF_SIGNED: DER; else text for people */
};

void leaf_answer_write(const struct leaf_answer *answer, struct buf *out);
MUST_USE bool leaf_answer_parse(struct span message, struct leaf_answer *out);

/* The key of a kind, for all certificates from now on. */
struct leaf_key_message {
	enum leaf_kind kind;
	uint64_t number;
	struct span ca_id;    /* 32 bytes */
	struct span key;      /* PKCS#8 DER; secret */
	struct span chain[LEAF_CHAIN_MAX]; /* DER each */
	size_t chain_count;
};

void leaf_key_write(const struct leaf_key_message *message, struct buf *out);
MUST_USE bool leaf_key_parse(struct span message, struct leaf_key_message *out);

#endif
