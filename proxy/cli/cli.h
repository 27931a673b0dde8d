/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: a table of commands. Exit status: 0 well, 1 a finding, 2 usage or a broken
 * configuration (DESIGN 4). */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/* The whole program. The result is the exit status. */
int cli_main(int count, char **args);

#endif
