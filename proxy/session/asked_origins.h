/* SPDX-License-Identifier: Apache-2.0 */
/* Origins that asked for a certificate of the client, for twelve hours: the next session is not begun in vain. */
#ifndef SESSION_ASKED_ORIGINS_H
#define SESSION_ASKED_ORIGINS_H

#include "http/target.h"

struct asked_origins;

MUST_USE enum err asked_origins_new(struct asked_origins **out);
void asked_origins_free(struct asked_origins *asked);

void asked_origins_add(struct asked_origins *asked, const struct http_host *authority, struct span sni, uint64_t now_ms);
bool asked_origins_has(const struct asked_origins *asked, const struct http_host *authority, struct span sni, uint64_t now_ms);

#endif
