/* SPDX-License-Identifier: Apache-2.0 */
/* The worker role: sessions on one loop, one thread, no files, nothing that blocks. It learns
 * everything over its channel; it opens what it needs before its sandbox closes. */
#ifndef PROCESS_WORKER_H
#define PROCESS_WORKER_H

/* Serve until told to stop. The result is the exit status. */
int worker_main(int channel, unsigned number);

#endif
