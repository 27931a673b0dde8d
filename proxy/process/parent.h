/* SPDX-License-Identifier: Apache-2.0 */
/* The parent role: reads files, binds sockets, starts the other roles and restarts them, swaps
 * configuration and policy, answers the control socket. No byte of a client ever comes here. */
#ifndef PROCESS_PARENT_H
#define PROCESS_PARENT_H

/* Serve with the configuration in this file until told to stop. Prints "ready NAME=ADDRESS ..." to
 * standard output when clients can come. The result is the exit status: 0 stopped in order, 1 an
 * address cannot be had or a role cannot run, 2 the configuration is not valid. */
int parent_run(const char *path);

#endif
