/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker remembers of clients that do not like our certificate: tables of fixed size, in which what is oldest makes room.
 * Private to this folder. */
#ifndef SESSION_PINS_TABLE_H
#define SESSION_PINS_TABLE_H

#include "base/address.h"
#include "base/err.h"
#include "session/pins_score.h"

struct pins_table;

MUST_USE enum err pins_table_new(struct pins_table **out);
void pins_table_free(struct pins_table *table);

/* A client is its address, of IPv6 its /64, and its user if there is one. */
struct pins_key {
	struct address client;
	struct span user, host;
	uint16_t port;
};

enum pins_news {
	PINS_NEWS_NONE,
	PINS_NEWS_PIN,     /* it is to be told that this client may pin this host's certificate; once an hour */
	PINS_NEWS_CA,      /* that it does not have our CA; once an hour */
};

struct pins_told {
	struct pins_evidence evidence; /* of this host */
	unsigned hosts;                /* that the client refused a certificate for */
};

/* It did not take a certificate of ours for the host. Fills *told where there is news. */
enum pins_news pins_table_fail(struct pins_table *table, const struct pins_key *key, enum pins_sign sign, uint64_t now_ms,
                               struct pins_told *told);

/* It did. */
void pins_table_succeed(struct pins_table *table, const struct pins_key *key, uint64_t now_ms);

#endif
