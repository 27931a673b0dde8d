/* SPDX-License-Identifier: Apache-2.0 */
/* The options of the small listeners: public (for clients) and admin (for people and programs that watch). */
#ifndef WEB_WEB_CONF_H
#define WEB_WEB_CONF_H

#include "conf/conf.h"
#include "http/target.h"

/* public: */
struct public_conf {
	struct address address;    /* family 0: there is none */
	struct http_host url;      /* name.len 0: not given */
	struct conf_texts proxies; /* host:port of other nodes, canonical */
	uint64_t cache_ms;         /* how long clients keep the PAC file */
};

/* admin: */
struct admin_conf {
	struct address address; /* family 0: there is none */
	const char *token;      /* path of its file */
	struct conf_texts names; /* by which it may be asked, canonical */
};

extern const struct conf_option public_options[];
extern const struct conf_option admin_options[];

/* "proxy.example.com:3128", "[2001:db8::1]:3128": as a PAC file names a proxy. The result is canonical and lies in
 * `arena`; empty if it is none, or there is no memory. */
struct span web_conf_proxy(struct span text, struct arena *arena);

#endif
