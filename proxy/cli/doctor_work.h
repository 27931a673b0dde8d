/* SPDX-License-Identifier: Apache-2.0 */
/* What blocks, beside the loop: a name that the system looks up, a ticket of Kerberos. Each piece has a thread of its own, and its
 * end comes back to the loop. A thread cannot be stopped: who no longer waits for it lets go, and what it makes is freed. */
#ifndef CLI_DOCTOR_WORK_H
#define CLI_DOCTOR_WORK_H

#include "net/loop.h"

struct doctor_works;

/* Embedded in what the work needs and makes, on the heap: until done() the thread alone touches it. */
struct doctor_work {
	void (*run)(struct doctor_work *work);   /* in the thread */
	void (*done)(struct doctor_work *work);  /* in the loop, once; not after doctor_work_leave() */
	void (*free)(struct doctor_work *work);  /* last of all, in either */
	struct doctor_works *works;              /* of doctor_work.c, as what follows */
	struct doctor_work *next;
	bool is_left;
};

MUST_USE bool doctor_works_open(struct loop *loop, struct doctor_works **out);
/* Lets go of all that still runs. True: something does, so that the process must end with _exit(): what libraries have for
 * exit() would take away from under a thread what it uses. */
bool doctor_works_close(struct doctor_works *works);

/* owns: `work`, in every case. False: there is no thread to be had; it is freed. */
MUST_USE bool doctor_work_start(struct doctor_works *works, struct doctor_work *work);
/* Nobody waits for it any more. Before done(), in the loop's thread. */
void doctor_work_leave(struct doctor_work *work);

#endif
