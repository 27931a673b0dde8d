/* SPDX-License-Identifier: Apache-2.0 */
/* The messages between worker and verifier: what is read lies inside the message, and written again it is the same. */
#include "auth/ask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ask(struct span bytes)
{
	struct ask ask;
	struct buf out;

	if (!ask_read(bytes, &ask))
		return;
	const struct span texts[] = {ask.user, ask.password, ask.realm, ask.nonce, ask.cnonce, ask.nc, ask.method, ask.uri, ask.negotiate,
	                             ask.challenge, ask.authenticate, ask.mech_types, ask.mech_list_mic, ask.token};

	ASSERT(ask.kind < ASK_KIND_COUNT && ask.algorithm < DIGEST_ALGORITHM_COUNT && ask.token.len <= ASK_TOKEN_MAX_BYTES);
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		ASSERT(texts[i].len == 0 || (texts[i].at >= bytes.at && texts[i].at + texts[i].len <= bytes.at + bytes.len));
	buf_init(&out, 1 << 20);
	ask_write(&ask, &out);
	ASSERT(span_equal(buf_span(&out), bytes));
	buf_fini(&out);
}

static void check_answer(struct span bytes)
{
	struct answer answer;
	struct buf out;

	answer_init(&answer);
	if (answer_read(bytes, &answer)) {
		ASSERT(answer.verdict < VERDICT_COUNT);
		buf_init(&out, 1 << 20);
		answer_write(&answer, &out);
		ASSERT(span_equal(buf_span(&out), bytes));
		buf_fini(&out);
	}
	answer_fini(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = span_of(data, size < (1 << 17) ? size : 1 << 17);

	check_ask(bytes);
	check_answer(bytes);
	return 0;
}
