/* SPDX-License-Identifier: Apache-2.0 */
/* Lines: method, target, and the rest credentials of Digest. What is taken is within its bounds, its uri is compared
 * with the target, its nonce looked at, its parameters are the same when written and read again. A nonce that is
 * "ours" is replaced by one, so that what lies behind the check is reached. */
#include <string.h>

#include "auth/scheme/digest.h"
#include "auth/scheme/digest_params.h"
#include "auth/scheme/digest_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1800000000, LIFE = 300000, SLOTS = 8, SLOT_BYTES = 64 };

static const struct digest_keys keys = {.current = "current", .previous = "previous", .has_previous = true};

static void check_nonce(struct span nonce, uint32_t count)
{
	static const uint8_t random[DIGEST_NONCE_RANDOM_BYTES] = {1};
	static _Alignas(64) uint8_t memory[SLOTS * SLOT_BYTES];
	uint8_t ours[DIGEST_NONCE_LEN];
	uint64_t id = 0, expires_ms = 0;
	struct digest_table table;

	ASSERT(digest_nonce_make(&keys, NOW, LIFE, random, ours));
	if (!span_equal(nonce, SPAN("ours")))
		ASSERT(digest_nonce_check(&keys, nonce, NOW + 1, LIFE, &id, &expires_ms) == DIGEST_NONCE_FOREIGN ||
		       span_equal(nonce, span_of(ours, sizeof(ours))));
	ASSERT(digest_nonce_check(&keys, span_of(ours, sizeof(ours)), NOW + 1, LIFE, &id, &expires_ms) ==
	       DIGEST_NONCE_VALID);
	memset(memory, 0, sizeof(memory));
	ASSERT(digest_table_bytes(SLOTS) == sizeof(memory));
	digest_table_init(&table, memory, SLOTS);
	ASSERT(digest_table_use(&table, id, expires_ms, count, NOW + 1) == DIGEST_COUNT_FRESH);
	ASSERT(digest_table_use(&table, id, expires_ms, count, NOW + 1) == DIGEST_COUNT_REPLAYED);
}

static struct span query_of(struct span uri)
{
	return span_skip(uri, span_find(uri, '?'));
}

static void check_uri(struct span uri, struct span method, struct span target)
{
	ASSERT(digest_uri_matches(target, method, target) == (target.len > 0));
	if (!digest_uri_matches(uri, method, target))
		return;
	if (span_equal(method, SPAN("CONNECT")))
		ASSERT(span_equal(uri, SPAN("/")) || span_equal_nocase(uri, target));
	else
		ASSERT(span_equal(query_of(uri), query_of(target)));
}

static void check_again(const struct digest_answer *answer)
{
	const struct ask *ask = &answer->ask;
	struct digest_answer again;
	const char *why;
	struct buf text;

	buf_init(&text, 1 << 18);
	buf_add_string(&text, "username=");
	digest_param_quote(ask->user, &text);
	buf_add_string(&text, ",realm=");
	digest_param_quote(ask->realm, &text);
	buf_add_string(&text, ",nonce=");
	digest_param_quote(ask->nonce, &text);
	buf_add_string(&text, ",uri=");
	digest_param_quote(ask->uri, &text);
	buf_add_string(&text, ",cnonce=");
	digest_param_quote(ask->cnonce, &text);
	buf_printf(&text, ",nc=%08x,qop=auth,userhash=%s,algorithm=%s,response=", answer->count,
	           ask->is_userhash ? "true" : "false", digest_algorithm_name(ask->algorithm, ask->is_session));
	for (size_t i = 0; i < (ask->algorithm == DIGEST_SHA256 ? 32 : 16); i++)
		buf_printf(&text, "%02x", ask->response[i]);
	ASSERT(buf_is_whole(&text));
	/* Escapes can make it too long. */
	if (buf_len(&text) <= DIGEST_CREDENTIALS_MAX_BYTES) {
		ASSERT(digest_parse(buf_span(&text), &again, &why));
		ASSERT(span_equal(again.ask.user, ask->user) && span_equal(again.ask.realm, ask->realm));
		ASSERT(span_equal(again.ask.nonce, ask->nonce) && span_equal(again.ask.cnonce, ask->cnonce));
		ASSERT(span_equal(again.ask.uri, ask->uri) && again.count == answer->count);
		ASSERT(memcmp(again.ask.response, ask->response, sizeof(ask->response)) == 0);
		digest_answer_fini(&again);
	}
	buf_fini(&text);
}

static void check_answer(const struct digest_answer *answer)
{
	const struct ask *ask = &answer->ask;

	ASSERT(ask->kind == ASK_DIGEST && ask->algorithm < DIGEST_ALGORITHM_COUNT);
	ASSERT(ask->user.len > 0 && ask->user.len <= DIGEST_USER_MAX_BYTES);
	ASSERT(ask->realm.len > 0 && ask->realm.len <= DIGEST_REALM_MAX_BYTES);
	ASSERT(ask->nonce.len > 0 && ask->nonce.len <= DIGEST_NONCE_MAX_BYTES);
	ASSERT(ask->cnonce.len > 0 && ask->cnonce.len <= DIGEST_NONCE_MAX_BYTES);
	ASSERT(ask->uri.len > 0 && ask->uri.len <= DIGEST_URI_MAX_BYTES && ask->nc.len == 8);
	check_nonce(ask->nonce, answer->count);
	check_again(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = span_of(data, size), method = SPAN(""), target = SPAN("");
	struct digest_answer answer;
	const char *why;

	if (size == 0 || !span_split(&rest, '\n', &method) || !span_split(&rest, '\n', &target) || rest.at == NULL)
		return 0;
	if (digest_parse(rest, &answer, &why)) {
		ASSERT(why == NULL);
		check_answer(&answer);
		check_uri(answer.ask.uri, method, target);
	} else {
		ASSERT(why);
	}
	digest_answer_fini(&answer);
	check_uri(rest, method, target);
	return 0;
}
