/* SPDX-License-Identifier: Apache-2.0 */
/* The logger role: takes lines from the workers' rings and from the parent, and writes them to files
 * that the parent opened, standard error, syslog or the journal. It alone may wait for a disk. */
#ifndef PROCESS_LOGGER_H
#define PROCESS_LOGGER_H

/* Serve until told to stop, or until the parent has gone. The result is the exit status. */
int logger_main(int channel, unsigned number);

#endif
