/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's side of verifier and pam: whether they run, what they are sent, and the channels between them and the
 * workers. Private to the parent's files, as parent_private.h. */
#ifndef PROCESS_AUTH_CHILDREN_H
#define PROCESS_AUTH_CHILDREN_H

#include "process/parent_private.h"

/* Read what authentication needs of files, for this configuration. errors: as auth_files_read(). */
MUST_USE enum err auth_children_load(struct loaded *next, const char *file, struct problems *problems);

/* The table of nonces and its key; the replay cache of Kerberos. errors: ERR_SYSTEM, ERR_CONFIG with problems. */
MUST_USE enum err auth_children_make_regions(struct parent *parent, struct problems *problems);

/* The one more group that such a child needs. */
void auth_children_grant(const struct child *child, struct ipc_start *start);

/* What such a child begins with, behind IPC_START; and what a worker does. */
void auth_children_send(struct child *child);
void auth_children_connect(struct parent *parent, unsigned worker);

/* Start, tell or stop them, as the current generation says. */
void auth_children_update(struct parent *parent);

/* Now and then: files that have changed are read again, and told to the verifier. */
void auth_children_watch(struct parent *parent);

/* Is this true of all of them that are wanted? */
bool auth_children_are(const struct parent *parent, bool (*is)(const struct child *child));

/* End them; true while any runs. */
bool auth_children_stop(struct parent *parent);

#endif
