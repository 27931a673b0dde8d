/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's side of the signer: whether it runs, what it is sent, its channels to the workers, and what the public role
 * learns of the CA. Private to the parent's files, as parent_private.h. */
#ifndef PROCESS_SIGNER_CHILDREN_H
#define PROCESS_SIGNER_CHILDREN_H

#include "process/parent_private.h"

/* Read the CA that this configuration names. errors: as ca_files_read(). */
MUST_USE enum err signer_children_load(struct loaded *next, struct problems *problems);

/* What the signer begins with, behind IPC_START; what a worker does; what the public role is told of the CA. */
void signer_children_send(struct child *signer);
void signer_children_connect(struct parent *parent, unsigned worker);
void signer_children_send_ca(struct child *public);

/* The signer sent its revocation list. */
void signer_children_take_crl(struct parent *parent);

/* Start, tell or stop it, as the current generation says. */
void signer_children_update(struct parent *parent);

/* Is this true of it, if it is wanted? */
bool signer_children_are(const struct parent *parent, bool (*is)(const struct child *child));

/* End it; true while it runs. */
bool signer_children_stop(struct parent *parent);

#endif
