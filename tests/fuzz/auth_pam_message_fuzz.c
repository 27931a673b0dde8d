/* SPDX-License-Identifier: Apache-2.0 */
/* A question to the role pam: texts are ended by NULs inside the message, and writing it again gives the same bytes. Then the
 * input as its answer. */
#include <stdlib.h>
#include <string.h>

#include "auth/backend/pam_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_question(struct span bytes)
{
	struct pam_question question;
	struct buf out;

	if (!pam_question_read(bytes, &question))
		return;
	const struct span texts[] = {question.service, question.folder, question.user, question.password, question.client};

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		ASSERT(texts[i].at >= bytes.at && texts[i].at + texts[i].len < bytes.at + bytes.len);
		ASSERT(texts[i].at[texts[i].len] == 0 && memchr(texts[i].at, 0, texts[i].len) == NULL);
	}
	buf_init(&out, 1 << 20);
	pam_question_write(&question, &out);
	ASSERT(span_equal(buf_span(&out), bytes));
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct answer answer;

	check_question(span_of(data, size));
	answer_init(&answer);
	if (size > 8 && answer_read(span_of(data + 8, size - 8), &answer))
		ASSERT(answer.verdict < VERDICT_COUNT);
	answer_fini(&answer);
	return 0;
}
