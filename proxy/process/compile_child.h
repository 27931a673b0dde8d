/* SPDX-License-Identifier: Apache-2.0 */
/* The compile role: short-lived; reads the policy file and its lists, answers with problems and one
 * sealed image. What it parses was written by people; it can write nothing and reach nobody. */
#ifndef PROCESS_COMPILE_CHILD_H
#define PROCESS_COMPILE_CHILD_H

/* Compile one policy. The result is the exit status. */
int compile_child_main(int channel, unsigned number);

#endif
