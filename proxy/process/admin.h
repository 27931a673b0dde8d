/* SPDX-License-Identifier: Apache-2.0 */
/* The admin role: health and metrics. Everything that it serves is memory which others write and it can only read; it
 * has the token, and no credentials of users. */
#ifndef PROCESS_ADMIN_H
#define PROCESS_ADMIN_H

/* Serve until told to stop, or until the parent has gone. The result is the exit status. */
int admin_main(int channel, unsigned number);

#endif
