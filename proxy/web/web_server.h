/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd, as the small listeners use it: no thread and no listening socket of its own, connections are handed
 * to it with the address of their client. GET and HEAD alone; bounded in number, by address, and in time. It answers
 * from memory, and never waits. */
#ifndef WEB_WEB_SERVER_H
#define WEB_WEB_SERVER_H

#include "base/address.h"
#include "base/err.h"

struct web_server;

/* An answer that can be given many times. */
struct web_page;

struct web_request {
	struct span path;              /* without the query */
	struct address client;
	struct span host, authorization, if_none_match; /* empty: not there */
};

/* The page is borrowed, unless it is for this once. */
struct web_reply {
	unsigned status;
	struct web_page *page;
	bool is_for_once;
};

/* Answer a GET or HEAD. Runs inside web_server_run(). */
typedef void web_answer(void *context, const struct web_request *request, struct web_reply *out);

struct web_limits {
	unsigned connections, connections_per_client; /* 0: no limit by client */
	unsigned idle_s, life_s;
};

/* borrows: context, for answer(). errors: ERR_SYSTEM. */
MUST_USE enum err web_server_new(const struct web_limits *limits, web_answer *answer, void *context,
                                 struct web_server **out);
void web_server_free(struct web_server *server);

/* Is another connection welcome? */
bool web_server_has_room(const struct web_server *server);

/* Serve a connected, non-blocking stream socket. owns: fd, in every case. */
void web_server_take(struct web_server *server, int fd, const struct address *client);

/* Poll it for reading, for so long at most (-1: for ever); then run. */
int web_server_fd(const struct web_server *server);
int web_server_wait_ms(struct web_server *server);
void web_server_run(struct web_server *server);

/* A page with this content, which is copied; NULL on no memory. `type`: Content-Type, or NULL. */
struct web_page *web_page_new(struct span content, const char *type);
/* One more field. Its text is copied. */
void web_page_add(struct web_page *page, const char *name, const char *value);
void web_page_free(struct web_page *page);

/* A short page that says what its status means, for this once. `allow`: of a 405, else NULL. */
void web_reply_with(struct web_reply *out, unsigned status, const char *text);

/* The token of "Bearer TOKEN" (RFC 6750 section 2.1); false if it is anything else. */
bool web_bearer_parse(struct span authorization, struct span *token);

#endif
