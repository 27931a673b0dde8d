/* SPDX-License-Identifier: Apache-2.0 */
/* What crosses between worker and signer, both ways. First byte: 0 a worker's question to the signer; 1 the signer's answer
 * and 2 its key, to a worker that waits for one. */
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/ca_rig.h"
#include "base/clock.h"
#include "tls/leaves.h"
#include "tls/signing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_answer(void *context, const struct signing_place *place, struct span bytes)
{
	struct leaf_answer answer;

	(void)context;
	(void)place;
	ASSERT(leaf_answer_parse(bytes, &answer));
}

static void on_key(void *context, struct span message)
{
	struct leaf_key_message key;

	(void)context;
	ASSERT(leaf_key_parse(message, &key));
}

static void on_want_rsa(void *context)
{
	(void)context;
}

static struct signing_time now(void)
{
	return (struct signing_time){clock_monotonic_us(), (int64_t)(clock_wall_ms() / 1000)};
}

static struct signing *make_signer(void)
{
	static const struct signing_env env = {on_answer, on_key, on_want_rsa, NULL};
	const struct mint_conf conf = {SPAN("Fuzz"), SPAN(""), UINT64_C(86400000)};
	struct signing *signing;
	struct ca_rig rig;

	ca_rig_make(&rig, "corp.example", now().wall);
	ASSERT(signing_new(&env, &signing) == ERR_NONE);
	ASSERT(signing_use(signing, rig.ca, &conf, 64, now()) == ERR_NONE);
	rig.ca = NULL;
	ca_rig_free(&rig);
	return signing;
}

static void try_question(struct span bytes)
{
	static struct signing *signing;
	const struct signing_place place = {0, 1, 1};
	struct address address;
	bool is_host = bytes.len > 1 && mint_is_host(span_skip(bytes, 1), &address);

	if (signing == NULL)
		signing = make_signer();
	if (signing_take(signing, &place, bytes, now()))
		ASSERT(is_host && bytes.at[0] < LEAF_KIND_COUNT);
	signing_forget(signing, 0);
}

static enum err on_send(void *context, uint64_t id, struct span question)
{
	(void)question;
	*(uint64_t *)context = id;
	return ERR_NONE;
}

static void on_done(void *context, const struct leaf_result *result)
{
	(void)context;
	ASSERT((result->err == ERR_NONE) == (result->leaf != NULL));
	leaf_unref(result->leaf);
}

static void try_worker(struct span bytes, bool is_key)
{
	static struct loop *loop;
	uint64_t id = 0;
	struct leaves_env env = {NULL, on_send, &id};
	struct leaf_query *query;
	struct leaves *leaves;

	if (loop == NULL)
		ASSERT(loop_new(&loop) == ERR_NONE);
	env.loop = loop;
	ASSERT(leaves_new(&env, 16, &leaves) == ERR_NONE);
	ASSERT(leaves_ask(leaves, SPAN("a.example"), LEAF_ECDSA, on_done, NULL, &query) == ERR_NONE);
	if (is_key ? leaves_take_key(leaves, bytes) : leaves_take_answer(leaves, 1, bytes))
		leaf_unref(leaves_now(leaves, SPAN("a.example"), LEAF_ECDSA));
	leaves_free(leaves);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes;

	if (size == 0)
		return 0;
	/* A copy of its own size, so that a read beyond its end is seen. */
	bytes = span_of(memcpy(malloc(size), data, size), size);
	if (data[0] % 3 == 0)
		try_question(span_skip(bytes, 1));
	else
		try_worker(span_skip(bytes, 1), data[0] % 3 == 2);
	free((void *)(uintptr_t)bytes.at);
	return 0;
}
