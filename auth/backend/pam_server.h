/* SPDX-License-Identifier: Apache-2.0 */
/* The role pam: one question of the verifier is one child of this process, which is killed when its time is over. Modules
 * may hang, leak or crash: it costs their own question. */
#ifndef AUTH_PAM_SERVER_H
#define AUTH_PAM_SERVER_H

#include "auth/ask.h"

enum { PAM_MESSAGE_MAX_BYTES = 8192 };

/* What travels: this, then service, folder, user and password, each ended by a NUL; the answer is an answer_write() behind
 * its id. */
struct pam_question {
	uint64_t id, wait_ms;
	struct span service, folder, user, password; /* ended by NULs, too */
};

void pam_question_write(const struct pam_question *question, struct buf *out);
/* Borrows from `bytes`. False: it is none. */
MUST_USE bool pam_question_read(struct span bytes, struct pam_question *out);

/* Serve questions that come over `fd` (SOCK_SEQPACKET) until its other end is closed. The result is an exit status. */
int pam_server_run(int fd);

#endif
