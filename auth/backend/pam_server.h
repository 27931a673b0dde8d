/* SPDX-License-Identifier: Apache-2.0 */
/* The role pam: one question of the verifier is one child of this process, which is killed when its time is over. Modules
 * may hang, leak or crash: it costs their own question. */
#ifndef AUTH_PAM_SERVER_H
#define AUTH_PAM_SERVER_H

#include "auth/ask.h"

enum { PAM_QUESTION_MAX_BYTES = 4096 };

/* What travels: these numbers, then the texts, each ended by a NUL. The answer is an answer_write() behind the id. */
struct pam_question {
	uint64_t id;
	uint64_t due_ms;           /* clock_monotonic_ms(), which is the same in all processes */
	struct span service, folder, user, password, client; /* as of pam_check(); in a message ended by NULs, too */
};

void pam_question_write(const struct pam_question *question, struct buf *out);
/* Borrows from `bytes`. False: it is none. */
MUST_USE bool pam_question_read(struct span bytes, struct pam_question *out);

/* Serve questions that come over `fd` (SOCK_SEQPACKET) until its other end is closed: 0, or sends what is no question: 1. While
 * there are as many children as may be, further questions wait in the socket. Nothing but what is asked blocks. */
int pam_server_run(int fd);

#endif
