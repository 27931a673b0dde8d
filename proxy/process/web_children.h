/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's side of public and admin: their sockets, what they are sent, whether they run at all, and the board
 * from which admin reads how the parent is. Private to the parent's files, as parent_private.h. */
#ifndef PROCESS_WEB_CHILDREN_H
#define PROCESS_WEB_CHILDREN_H

#include "process/parent_private.h"

/* Sockets of public and admin, as listeners_open(). */
MUST_USE enum err web_children_open(struct loaded *next, const struct loaded *before, const char *file,
                                    struct problems *problems);

/* Look when the files of this policy were changed. errors: ERR_MEMORY, ERR_SYSTEM. */
MUST_USE enum err web_children_note_ages(struct loaded *next, const struct policy *policy);

/* Say in the event log that a token was made, once there is one to write it. */
void web_children_tell_token(const struct parent *parent);

/* Send the current generation. */
void web_children_send(struct child *child);

/* A pair for what one worker hands over: its end, and (kept, sent by the second) that of the public role. errors: ERR_SYSTEM. */
MUST_USE enum err web_children_make_pages(struct region *region, int *worker_end);
void web_children_send_pages(struct parent *parent, unsigned worker);

/* Start, tell or stop them, as the current generation says. */
void web_children_update(struct parent *parent);

/* Is this true of all of them that are wanted? */
bool web_children_are(const struct parent *parent, bool (*is)(const struct child *child));

/* End them; true while any runs. */
bool web_children_stop(struct parent *parent);

/* What the parent tells of itself: the page, and what is on it now. */
MUST_USE enum err web_children_make_board(struct parent *parent);
void web_children_publish(struct parent *parent);

#endif
