/* SPDX-License-Identifier: Apache-2.0 */
/* The public role: the PAC file, for everybody. It has the policy, which is no secret to those it is for, and no
 * right to change a thing. Clients come by its own listening socket, and from workers, which hand over the address of
 * the client together with a stream to it. */
#ifndef PROCESS_PUBLIC_H
#define PROCESS_PUBLIC_H

/* Serve until told to stop, or until the parent has gone. The result is the exit status. */
int public_main(int channel, unsigned number);

#endif
