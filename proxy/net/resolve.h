/* SPDX-License-Identifier: Apache-2.0 */
/* Names to addresses: dns.hosts first, then a cache that is true to TTLs, then c-ares. One resolver
 * per worker. Concurrent questions for one name are asked once. */
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include "base/address.h"
#include "net/loop.h"
#include "net/net_conf.h"

struct resolver;

enum { RESOLVE_ADDRESSES_MAX = 16 };

struct resolve_answer {
	enum err err;                 /* ERR_NONE, ERR_DNS_NOT_FOUND, ERR_DNS_FAILED, ERR_DNS_TIMEOUT */
	bool cached;
	struct address at[RESOLVE_ADDRESSES_MAX]; /* ports 0; interleaved by family, IPv6 first (RFC 8305 section 4) */
	size_t count;
};

/* Runs once. It never runs before resolve_name() returned. */
typedef void resolve_done(void *context, const struct resolve_answer *answer);
struct resolve_query; /* a question under way */

/* conf.servers must hold addresses only ("system" was replaced by the parent). Opens the channel:
 * call it before the sandbox closes. borrows: conf, until resolver_set_conf() or resolver_free(). */
MUST_USE enum err resolver_new(struct loop *loop, const struct dns_conf *conf, struct resolver **out);
void resolver_free(struct resolver *resolver);

/* Use other servers, hosts and limits from now on; the cache is emptied. */
MUST_USE enum err resolver_set_conf(struct resolver *resolver, const struct dns_conf *conf);

/* Known without asking (IP literal, hosts, cache)? Then true with *out filled, errors included. */
bool resolve_now(struct resolver *resolver, struct span host, struct resolve_answer *out);

/* Ask. *out can be cancelled until done has run. errors: ERR_LIMIT, ERR_MEMORY (done is not called). */
MUST_USE enum err resolve_name(struct resolver *resolver, struct span host, resolve_done *done,
                               void *context, struct resolve_query **out);
void resolve_cancel(struct resolve_query *query);

/* Questions that were put to name servers since the start. */
uint64_t resolver_queries_count(const struct resolver *resolver);

/* Replace "system" among servers by what /etc/resolv.conf says. For the parent: reads a file. */
MUST_USE enum err resolve_system_servers(const struct conf_texts *servers, struct arena *arena,
                                         struct conf_texts *out);

#endif
