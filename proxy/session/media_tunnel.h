/* SPDX-License-Identifier: Apache-2.0 */
/* Tunnels of class media, and those of class auto that may become such: what the pump shows goes to media.c, what that says goes
 * to metrics, to the table of networks and to the event log. Private to this folder. */
#ifndef SESSION_MEDIA_TUNNEL_H
#define SESSION_MEDIA_TUNNEL_H

#include "session/media.h"
#include "session/session_private.h"

struct media_tunnel {
	struct media media;
	struct tunnel *tunnel;
	struct loop_task task; /* class media begins at the end of the turn that recognised it: its pump is at work */
	unsigned row;          /* of the networks, where is_counted */
	bool is_counted, is_switched, has_place; /* has_place: under classes.media.per_client */
};

/* The tunnel runs and has the class that policy says. `first` are bytes of the client that go on unlooked at. */
void media_tunnel_start(struct tunnel *tunnel, struct span first);

/* It has ended so: before its figures are taken. */
void media_tunnel_end(struct tunnel *tunnel, struct pump_end end);

/* It is over, or no tunnel any more. */
void media_tunnel_free(struct tunnel *tunnel);

/* Its figures; NULL: it is and was no call. */
const struct media *media_tunnel_figures(const struct tunnel *tunnel);

/* How it is served, or was when it ended: "media", "normal", "bulk". */
const char *media_tunnel_class(const struct tunnel *tunnel);

#endif
