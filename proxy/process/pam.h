/* SPDX-License-Identifier: Apache-2.0 */
/* The role that asks PAM: apart from the verifier, because it cannot live under no-new-privs (pam_unix starts a program
 * that has a privilege of its own), and because modules may do anything. */
#ifndef PROCESS_PAM_H
#define PROCESS_PAM_H

/* The role; the result is the exit status. */
int pam_main(int channel, unsigned number);

#endif
