/* SPDX-License-Identifier: Apache-2.0 */
/* One generation of configuration and policy on its way from the parent to a worker, and opened
 * there. What travels: the text of sallyport.yaml, the compiled policy, the counters of rules and of entries and the image of
 * tls/trust.h as memfds (where nothing is opened, the text stands for the last), then one descriptor for each listener, in the order of `listen`. */
#ifndef PROCESS_GENERATION_H
#define PROCESS_GENERATION_H

#include "base/list.h"
#include "process/ipc.h"
#include "process/settings.h"
#include "session/session.h"

enum { GENERATION_OWN_MAX = 1024, GENERATION_LISTENERS_MAX = 200, GENERATION_FDS = 5 };

/* The payload of IPC_GENERATION: this, `listener_count` + `own_count` addresses, then
 * `path_bytes` of the configuration's path and `servers_bytes` of name servers, one per line. */
struct generation_head {
	uint64_t number, text_bytes, image_bytes, rule_cells, entry_cells, trust_bytes; /* trust_bytes 0: nothing is opened */
	uint32_t listener_count, own_count, path_bytes, servers_bytes;
	uint32_t cut, reserved;
};

/* A payload taken apart; borrowed from it. */
struct generation_parts {
	struct generation_head head;
	struct span listeners, own; /* of struct address, unaligned */
	struct span path, servers;
};

/* False if the lengths do not fit together. */
MUST_USE bool generation_parse(struct span payload, struct generation_parts *out);

/* The address at a place of `listeners` or `own`. */
struct address generation_address(struct span addresses, size_t at);

/* Opened in a worker. `session` is what sessions see; when the last of them lets go, on_unused(this) runs, whose caller gives it
 * back with generation_free_some(). */
struct generation {
	struct session_generation session;
	struct settings settings;
	struct arena arena;
	void *image;
	size_t image_bytes, populated, unmapped;
	void *trust_image;
	size_t trust_bytes;
	struct address *own;
	size_t own_count;
	void (*on_unused)(void *context, struct generation *generation);
	void *context;
	struct list link;           /* for whoever on_unused is */
};

/* Take the first GENERATION_FDS descriptors of an IPC_GENERATION message and open what is in them.
 * owns:   *out has one reference, see session_generation. The message's parts are borrowed no longer.
 * errors: ERR_MESSAGE, ERR_CONFIG (what the parent had checked does not load here), ERR_MEMORY, ERR_SYSTEM. */
MUST_USE enum err generation_open(struct ipc_message *message, const struct generation_parts *parts,
                                  void (*on_unused)(void *context, struct generation *generation),
                                  void *context, struct generation **out);

/* Bring some of the image into reach, so that no exchange waits for it: page tables of a million entries take milliseconds.
 * True while there is more. */
bool generation_populate_some(struct generation *generation);

/* Free some of what nobody uses any more; false when all of it is gone, and `generation` with it. */
bool generation_free_some(struct generation *generation);

#endif
