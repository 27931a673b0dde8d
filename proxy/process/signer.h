/* SPDX-License-Identifier: Apache-2.0 */
/* The role that signs: it alone holds the key of the inspection CA, in memory that is locked and dumped nowhere. It has no
 * files and no network; workers are hostile to it. */
#ifndef PROCESS_SIGNER_H
#define PROCESS_SIGNER_H

/* The role; the result is the exit status. */
int signer_main(int channel, unsigned number);

#endif
