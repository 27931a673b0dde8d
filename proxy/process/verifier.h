/* SPDX-License-Identifier: Apache-2.0 */
/* The role that verifies credentials: it alone holds the keytab, the user files, and connections to authorities. Workers
 * are hostile to it: what they send is checked, and one of them cannot hold up another's questions. */
#ifndef PROCESS_VERIFIER_H
#define PROCESS_VERIFIER_H

/* The role; the result is the exit status. */
int verifier_main(int channel, unsigned number);

#endif
